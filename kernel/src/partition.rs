//! Many items in partitions: each of them is small enough for a near cache and is worked on by one thread.
//!
//! Items come in chunks. Each chunk is put in the order of its partitions, and a partition is then a run of every chunk. So nothing
//! is ever sorted as a whole, no thread writes where another one does, and the order of chunks is kept within a partition.

/// Most partitions that there are: the runs of a chunk are then still longer than a line of the cache.
const PARTITIONS_MAX: usize = 1 << 10;

/// How many partitions so many items are worth, each of about as many: a power of two.
pub(crate) fn count_for(items: usize, each: usize) -> usize {
    (items / each)
        .max(1)
        .next_power_of_two()
        .min(PARTITIONS_MAX)
}

/// The items of a chunk by partition.
#[derive(Debug, Default)]
pub(crate) struct Partitioned<T> {
    items: Vec<T>,
    /// Where the run of each partition ends.
    ends: Vec<u32>,
}

impl<T: Copy + Default> Partitioned<T> {
    /// What `item_of` makes of these keys, in so many partitions.
    pub(crate) fn new(
        keys: &[u64],
        count: usize,
        partition_of: impl Fn(u64) -> usize,
        item_of: impl Fn(u64) -> T,
    ) -> Partitioned<T> {
        let partitions: Vec<u16> = keys.iter().map(|key| partition_of(*key) as u16).collect();
        let mut ends = vec![0; count];
        for partition in &partitions {
            ends[usize::from(*partition)] += 1;
        }
        // Each becomes where its partition begins, and moves on to where it ends.
        let mut begin = 0;
        for end in &mut ends {
            begin += std::mem::replace(end, begin);
        }
        let mut items = vec![T::default(); keys.len()];
        for (key, partition) in keys.iter().zip(&partitions) {
            let at = &mut ends[usize::from(*partition)];
            items[*at as usize] = item_of(*key);
            *at += 1;
        }
        Partitioned { items, ends }
    }

    /// How many items it has.
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// Its items of a partition, in the order in which they came.
    pub(crate) fn run(&self, partition: usize) -> &[T] {
        let start = partition
            .checked_sub(1)
            .map_or(0, |before| self.ends[before]);
        &self.items[start as usize..self.ends[partition] as usize]
    }
}
