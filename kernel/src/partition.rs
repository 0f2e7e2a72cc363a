//! Many items in parts: each of them is small enough for a near cache and is worked on by one thread.
//!
//! Items come in chunks. Each chunk is put in the order of its parts, and a part is then a run of every chunk. So nothing
//! is ever sorted as a whole, no thread writes where another one does, and the order of chunks is kept within a part.

/// Most parts that there are: the runs of a chunk are then still longer than a line of the cache.
const PARTS_MAX: usize = 1 << 10;

/// How many parts so many items are worth, each of about as many: a power of two.
pub(crate) fn count_for(items: usize, each: usize) -> usize {
    (items / each).max(1).next_power_of_two().min(PARTS_MAX)
}

/// The items of a chunk by part.
#[derive(Debug, Default)]
pub(crate) struct Chunk<T> {
    items: Vec<T>,
    /// Where the run of each part ends.
    ends: Vec<u32>,
}

impl<T: Copy + Default> Chunk<T> {
    /// What `item_of` makes of these keys, in so many parts.
    pub(crate) fn new(
        keys: &[u64],
        count: usize,
        part_of: impl Fn(u64) -> usize,
        item_of: impl Fn(u64) -> T,
    ) -> Chunk<T> {
        let parts: Vec<u16> = keys.iter().map(|key| part_of(*key) as u16).collect();
        let mut ends = vec![0; count];
        for part in &parts {
            ends[usize::from(*part)] += 1;
        }
        // Each becomes where its part begins, and moves on to where it ends.
        let mut begin = 0;
        for end in &mut ends {
            begin += std::mem::replace(end, begin);
        }
        let mut items = vec![T::default(); keys.len()];
        for (key, part) in keys.iter().zip(&parts) {
            let at = &mut ends[usize::from(*part)];
            items[*at as usize] = item_of(*key);
            *at += 1;
        }
        Chunk { items, ends }
    }

    /// How many items it has.
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// Its items of a part, in the order in which they came.
    pub(crate) fn run(&self, part: usize) -> &[T] {
        let start = part.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.items[start as usize..self.ends[part] as usize]
    }
}
