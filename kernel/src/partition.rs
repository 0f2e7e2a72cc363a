//! Groups many keys by partition: each is small enough for a near cache, and one thread works on it.
//!
//! Keys come in blocks. Each block is ordered by partition, so a partition is a run of every block. Nothing is sorted
//! as a whole, no two threads write to one place, and the order of blocks is kept within a partition.

/// With more partitions the runs of a block would be shorter than a cache line.
const PARTITIONS_MAX: usize = 1 << 10;

/// Return the number of partitions for so many items, about `each` in a partition: a power of two.
pub(crate) fn count_for(items: usize, each: usize) -> usize {
    (items / each)
        .max(1)
        .next_power_of_two()
        .min(PARTITIONS_MAX)
}

/// The items of a block, grouped by partition.
#[derive(Debug, Default)]
pub(crate) struct Partitioned<T> {
    items: Vec<T>,
    /// End of each partition's run.
    ends: Vec<u32>,
}

impl<T: Copy + Default> Partitioned<T> {
    /// Make an item of each key, and group the items in `count` partitions.
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
        // Each entry first becomes the begin of its partition, and then moves on to its end.
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

    /// Return the number of items.
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// Return the items of a partition, in the order of their keys in the block.
    pub(crate) fn run(&self, partition: usize) -> &[T] {
        let start = partition
            .checked_sub(1)
            .map_or(0, |before| self.ends[before]);
        &self.items[start as usize..self.ends[partition] as usize]
    }
}
