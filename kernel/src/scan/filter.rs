//! The first layer of a segment: says "surely not" for nearly all non-members.
//!
//! One word and two bits for each key, 8 to 20 bits an msisdn, so that it is small enough to stay in a near cache.

use crate::partition::Partitioned;
use crate::prefetch::prefetch;
use crate::threads::{self, lock};
use std::sync::Mutex;

/// Low bits of a spread key that select the bits within its word.
const BITS: u32 = 12;
/// Highest bits of a spread key, which select its partition of the filter.
const PARTITION_BITS: u32 = 6;
/// Bits after these, at most, that select the word within the partition.
const WORD_BITS: u32 = 20;
/// Filters up to this many words (512 KiB) get twice the bits per msisdn: they still stay in a second-level cache.
const WORDS_NEAR: usize = 1 << 16;

/// A view of a filter: small enough to live in registers while lines are scanned.
#[derive(Clone, Copy, Debug)]
pub struct Filter<'a> {
    words: &'a [u64],
    shift: u32,
}

impl<'a> Filter<'a> {
    /// Lets everything pass.
    pub const OPEN: Filter<'static> = Filter::of(&[u64::MAX, u64::MAX]);

    /// View words that `fill` made; their number is a power of two, and at least two.
    pub(crate) const fn of(words: &'a [u64]) -> Filter<'a> {
        let shift = u64::BITS - words.len().trailing_zeros();
        Filter { words, shift }
    }

    /// Spread a key: its highest bits select a word, two times six low ones the bits within it. Less thorough than
    /// mixing the key, and a good deal faster.
    #[inline(always)]
    pub fn spread(key: u64) -> u64 {
        let product = u128::from(key) * 0x9e37_79b9_7f4a_7c15;
        product as u64 ^ (product >> 64) as u64
    }

    /// Return false when the key that was spread is surely not in the set.
    #[inline(always)]
    pub fn may_contain(self, spread: u64) -> bool {
        let word = self.words[(spread >> self.shift) as usize];
        word >> (spread & 63) & word >> (spread >> 6 & 63) & 1 != 0
    }

    /// Ask memory for what `may_contain` looks at.
    #[inline(always)]
    pub fn prefetch(self, spread: u64) {
        prefetch(self.words, (spread >> self.shift) as usize);
    }
}

/// Return the mark of each key, by partition of the filter: its word within the partition, and its bits.
pub(crate) fn marks(keys: &[u64]) -> Partitioned<u32> {
    let partition_of = |key| (Filter::spread(key) >> (u64::BITS - PARTITION_BITS)) as usize;
    let mark_of = |key| {
        let spread = Filter::spread(key);
        let word = spread << PARTITION_BITS >> (u64::BITS - WORD_BITS);
        (word << BITS | spread & ((1 << BITS) - 1)) as u32
    };
    Partitioned::new(keys, 1 << PARTITION_BITS, partition_of, mark_of)
}

/// Make the words of a filter for so many keys, which lets those with these marks pass.
pub(crate) fn fill(keys: usize, marks: &[&Partitioned<u32>]) -> Vec<u64> {
    let words = if keys / 4 <= WORDS_NEAR {
        keys / 4
    } else {
        keys / 8
    };
    let words = words.next_power_of_two();
    let mut words = vec![0; words.clamp(1 << PARTITION_BITS, 1 << (PARTITION_BITS + WORD_BITS))];
    let partition_words = words.len() >> PARTITION_BITS;
    let shift = BITS + WORD_BITS - partition_words.trailing_zeros();
    let partitions: Vec<_> = words.chunks_mut(partition_words).map(Mutex::new).collect();
    threads::for_each(threads::worth(marks.len()), partitions.len(), |partition| {
        let words = &mut **lock(&partitions[partition]);
        // Written first, each page costs one fault, and is in this core's cache then.
        words.fill(0);
        for block in marks {
            for mark in block.run(partition) {
                words[(u64::from(*mark) >> shift) as usize] |=
                    1 << (mark & 63) | 1 << (mark >> 6 & 63);
            }
        }
    });
    drop(partitions);
    words
}
