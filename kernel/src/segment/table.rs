//! The second layer of a segment: the set itself.
//!
//! Buckets of eight mixed keys (see `msisdn`), each of which is a line of the cache, two thirds full. Places follow the
//! order of mixed keys, so the highest bits of these say which stretch of buckets is a partition's own. A full bucket spills
//! into the next one; zero marks a free place (no key mixes to zero).

use crate::partition::{self, Partitioned};
use crate::prefetch::prefetch;
use crate::threads::{self, lock};
use crate::types::msisdn;
use std::sync::Mutex;

/// Keys of a partition, about: their places stay within a second-level cache.
const PARTITION_KEYS: usize = 1 << 14;
/// Places that a thread looks through at a time.
const STRETCH_PLACES: usize = 1 << 16;
const BUCKET_KEYS: usize = 8;
const BUCKET_BYTES: usize = BUCKET_KEYS * size_of::<u64>();

type Bucket = [u64; BUCKET_KEYS];

/// How many partitions a table for about so many keys is filled in.
pub(crate) fn partitions_for(keys: usize) -> usize {
    partition::count_for(keys, PARTITION_KEYS)
}

/// The mixed forms of these keys, by partition of the table.
pub(crate) fn mixed(keys: &[u64], count: usize) -> Partitioned<u64> {
    let shift = msisdn::KEY_BITS - count.trailing_zeros();
    let partition_of = |key| (msisdn::mix(key) >> shift) as usize;
    Partitioned::new(keys, count, partition_of, msisdn::mix)
}

/// An immutable set of mixed keys.
#[derive(Debug)]
pub(crate) struct Table {
    /// The buckets, after some places that stay free so that a bucket begins where a line does. They are kept as numbers
    /// because the system gives zeroed numbers page by page as they are touched, to whichever thread does so.
    places: Vec<u64>,
    unaligned: usize,
    /// Keys.
    len: usize,
}

impl Table {
    /// A table with room for as many mixed keys as these, that holds them.
    pub(crate) fn new(blocks: &[&Partitioned<u64>], count: usize) -> Table {
        let room: usize = blocks.iter().map(|block| block.len()).sum();
        // Each partition has as many buckets of its own.
        let partition_buckets = (room * 3 / 2).div_ceil(BUCKET_KEYS * count).max(1);
        let places = vec![0; (partition_buckets * count + 1) * BUCKET_KEYS];
        let unaligned = places.as_ptr().align_offset(BUCKET_BYTES) % BUCKET_KEYS;
        let mut table = Table {
            places,
            unaligned,
            len: 0,
        };
        let stretches = table.buckets_mut().chunks_mut(partition_buckets);
        let stretches: Vec<_> = stretches.map(Mutex::new).collect();
        let filled = threads::map(threads::worth(blocks.len()), count, |partition| {
            let buckets = &mut **lock(&stretches[partition]);
            // Memory that is written before it is read is asked of the system once, and then near.
            buckets.fill([0; BUCKET_KEYS]);
            let first = partition * partition_buckets;
            let mut filled = Filled::default();
            for block in blocks {
                for key in block.run(partition) {
                    let at = bucket_of(partition_buckets * count, *key) - first;
                    match insert(&mut buckets[at..], *key) {
                        Some(is_new) => filled.len += usize::from(is_new),
                        None => filled.spilled.push(*key),
                    }
                }
            }
            filled
        });
        drop(stretches);
        for stretch in filled {
            table.len += stretch.len;
            // What found no place in the stretch of its partition goes on behind it, now that all of them are filled.
            for key in stretch.spilled {
                table.len += usize::from(table.insert_anywhere(key));
            }
        }
        table
    }

    fn insert_anywhere(&mut self, key: u64) -> bool {
        let buckets = self.buckets_mut();
        let at = bucket_of(buckets.len(), key);
        let found = insert(&mut buckets[at..], key);
        found.or_else(|| insert(buckets, key)).unwrap_or(false)
    }

    #[inline(always)]
    fn buckets(&self) -> &[Bucket] {
        let count = self.places.len() / BUCKET_KEYS - 1;
        &self.places[self.unaligned..].as_chunks().0[..count]
    }

    fn buckets_mut(&mut self) -> &mut [Bucket] {
        let count = self.places.len() / BUCKET_KEYS - 1;
        &mut self.places[self.unaligned..].as_chunks_mut().0[..count]
    }

    /// Ask memory for the place of this mixed key.
    #[inline(always)]
    pub(crate) fn prefetch(&self, mixed: u64) {
        let buckets = self.buckets();
        prefetch(buckets, bucket_of(buckets.len(), mixed));
    }

    /// Whether the mixed key is in the set.
    #[inline]
    pub(crate) fn contains(&self, mixed: u64) -> bool {
        let buckets = self.buckets();
        let mut at = bucket_of(buckets.len(), mixed);
        loop {
            let bucket = &buckets[at];
            if bucket
                .iter()
                .fold(false, |found, key| found | (*key == mixed))
            {
                return true;
            }
            if bucket[BUCKET_KEYS - 1] == 0 {
                return false;
            }
            at = if at + 1 == buckets.len() { 0 } else { at + 1 };
        }
    }

    /// How many keys it holds.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Its places, as many at a time as a thread is to look through.
    pub(crate) fn stretches(&self) -> Vec<&[u64]> {
        let places = self.buckets().as_flattened();
        places.chunks(STRETCH_PLACES).collect()
    }

    /// Bytes of memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.places.len() * size_of::<u64>()
    }
}

/// The keys in some places, in no useful order.
pub(crate) fn keys_of(places: &[u64]) -> impl Iterator<Item = u64> + '_ {
    let taken = places.iter().filter(|mixed| **mixed != 0);
    taken.map(|mixed| msisdn::unmix(*mixed))
}

/// What became of the keys of a partition.
#[derive(Default)]
struct Filled {
    /// Keys that were placed.
    len: usize,
    /// Keys that found no place.
    spilled: Vec<u64>,
}

/// Put a key into the first of these buckets that has a place; false when it is there already, None when all are full.
#[inline(always)]
fn insert(buckets: &mut [Bucket], key: u64) -> Option<bool> {
    for bucket in buckets {
        // How full a bucket is cannot be foreseen, so there is no branch on it until it is full.
        let (mut taken, mut found) = (0, false);
        for place in &*bucket {
            taken += usize::from(*place != 0);
            found |= *place == key;
        }
        if found {
            return Some(false);
        }
        if let Some(place) = bucket.get_mut(taken) {
            *place = key;
            return Some(true);
        }
    }
    None
}

#[inline(always)]
fn bucket_of(buckets: usize, mixed: u64) -> usize {
    let scaled = u128::from(mixed << (64 - msisdn::KEY_BITS)) * buckets as u128;
    (scaled >> 64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_goes_on_behind_its_part_and_behind_the_last_in_the_first() {
        const COUNT: usize = 4;
        const EACH: u64 = 100;
        let partition = 1 << (msisdn::KEY_BITS - 2);
        // The last places of the second and of the last partition are asked for by far more keys than they take.
        let crowd =
            [2 * partition, 4 * partition].map(|end: u64| (end - EACH..end).map(msisdn::unmix));
        let keys: Vec<u64> = crowd.into_iter().flatten().collect();
        let blocks = [mixed(&keys, COUNT), mixed(&keys, COUNT)];
        let table = Table::new(&[&blocks[0], &blocks[1]], COUNT);
        assert_eq!(keys.len(), table.len());
        assert_eq!(
            keys.len(),
            table.stretches().into_iter().flat_map(keys_of).count()
        );
        for key in &keys {
            assert!(table.contains(msisdn::mix(*key)));
        }
        for stranger in [1, 2 * partition - EACH - 1, 2 * partition, 3 * partition] {
            assert!(!table.contains(stranger));
        }
    }
}
