//! The second layer of a segment: the set itself.
//!
//! Buckets of eight mixed keys (see `types/msisdn.rs`), each a cache line, two thirds full. Places follow the order of
//! mixed keys, so their highest bits select the stretch of buckets that a partition owns. A full bucket spills into the
//! next one; zero marks a free place (no key mixes to zero).

use crate::partition::{self, Partitioned};
use crate::prefetch::prefetch;
use crate::threads::{self, lock};
use crate::types::msisdn;
use std::sync::Mutex;

/// About the keys of a partition: their places stay within a second-level cache.
const PARTITION_KEYS: usize = 1 << 14;
/// Places that a thread goes through at a time.
const STRETCH_PLACES: usize = 1 << 16;
const BUCKET_KEYS: usize = 8;
const BUCKET_BYTES: usize = BUCKET_KEYS * size_of::<u64>();

type Bucket = [u64; BUCKET_KEYS];

/// Return the number of partitions that a table for about so many keys is filled in.
pub(crate) fn partitions_for(keys: usize) -> usize {
    partition::count_for(keys, PARTITION_KEYS)
}

/// Return the mixed forms of these keys, by partition of the table.
pub(crate) fn mixed(keys: &[u64], count: usize) -> Partitioned<u64> {
    let shift = msisdn::KEY_BITS - count.trailing_zeros();
    let partition_of = |key| (msisdn::mix(key) >> shift) as usize;
    Partitioned::new(keys, count, partition_of, msisdn::mix)
}

/// An immutable set of mixed keys.
#[derive(Debug)]
pub(crate) struct Table {
    /// The buckets, after some places that stay free so that buckets are aligned to cache lines. A vector of numbers,
    /// because the system zeroes their pages when they are first touched, near the thread that does so.
    places: Vec<u64>,
    unaligned: usize,
    /// Number of keys.
    len: usize,
}

impl Table {
    /// Make a table of these mixed keys.
    pub(crate) fn new(blocks: &[&Partitioned<u64>], count: usize) -> Table {
        let room: usize = blocks.iter().map(|block| block.len()).sum();
        // Each partition owns as many buckets.
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
            // Written first, each page costs one fault, and is in this core's cache then.
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
            // A key that found no place in its partition's stretch goes to one after it, now that all are filled.
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

    /// Return true when the mixed key is in the set.
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

    /// Return the number of keys.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Return its places, in stretches for one thread each.
    pub(crate) fn stretches(&self) -> Vec<&[u64]> {
        let places = self.buckets().as_flattened();
        places.chunks(STRETCH_PLACES).collect()
    }

    /// Return the bytes of memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.places.len() * size_of::<u64>()
    }
}

/// Iterate over the keys in some places, in no particular order.
pub(crate) fn keys_of(places: &[u64]) -> impl Iterator<Item = u64> + '_ {
    let taken = places.iter().filter(|mixed| **mixed != 0);
    taken.map(|mixed| msisdn::unmix(*mixed))
}

/// The result of filling a partition.
#[derive(Default)]
struct Filled {
    /// Keys that were placed.
    len: usize,
    /// Keys that found no place.
    spilled: Vec<u64>,
}

/// Put a key into the first of these buckets with a free place; return false when it is there already, None when all
/// are full.
#[inline(always)]
fn insert(buckets: &mut [Bucket], key: u64) -> Option<bool> {
    for bucket in buckets {
        // The CPU cannot predict how full a bucket is, so there is no branch on it until it is full.
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
    fn a_key_that_does_not_fit_goes_after_its_partition_and_from_the_last_to_the_first() {
        const COUNT: usize = 4;
        const EACH: u64 = 100;
        let partition = 1 << (msisdn::KEY_BITS - 2);
        // Far more keys want the last places of the second and of the last partition than fit there.
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
        for non_member in [1, 2 * partition - EACH - 1, 2 * partition, 3 * partition] {
            assert!(!table.contains(non_member));
        }
    }
}
