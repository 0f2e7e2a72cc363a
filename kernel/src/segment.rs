//! The set of targeted msisdns, laid out for a stream of which most records are not in it.
//!
//! Two layers: a filter of 8 to 20 bits a dial, one word and two bits per key, that is small enough to stay in a near
//! cache and says "surely not" for nearly all strangers; and a table of cache-line buckets of eight mixed keys (see
//! `msisdn`), two thirds full, that knows exactly. About 15 bytes a dial together.
//! A full bucket spills into the next one; zero marks a free place (no key mixes to zero).

use crate::crc::crc64;
use crate::dials::{self, Report};
use crate::fast;
use crate::msisdn;
use crate::threads::{self, lock};
use std::sync::Mutex;

/// Keys whose words of the filter are asked of memory at once while it is filled.
const FILLED_AHEAD: usize = 32;
/// Keys that one thread is to work on at least.
const THREAD_KEYS_MIN: usize = 1 << 16;
const BUCKET_KEYS: usize = 8;
/// Filters up to this many words (512 KiB) get twice the bits per dial: they still stay in a second-level cache.
const FILTER_WORDS_NEAR: usize = 1 << 16;
const FILTER_WORDS_MIN: usize = 64;
const MAGIC: &[u8; 8] = b"UPSWSEG1";
/// Seven bits of a key each.
const DIFFERENCE_BYTES_MAX: usize = msisdn::KEY_BITS.div_ceil(7) as usize;

#[derive(Clone, Copy, Default, Debug)]
#[repr(align(64))]
struct Bucket([u64; BUCKET_KEYS]);

/// An immutable set of msisdns.
#[derive(Debug)]
pub struct Segment {
    filter: Vec<u64>,
    filter_shift: u32,
    buckets: Vec<Bucket>,
    len: usize,
}

/// A view of a filter: small enough to live in registers while lines are scanned.
#[derive(Clone, Copy, Debug)]
pub struct Filter<'a> {
    words: &'a [u64],
    shift: u32,
}

impl Filter<'_> {
    /// Lets everything pass.
    pub const OPEN: Filter<'static> = Filter {
        words: &[u64::MAX, u64::MAX],
        shift: 63,
    };

    /// A key as filters see it: its highest bits say which word is its own, two times six low ones which bits of that.
    /// Less thorough than mixing it, and a good deal quicker.
    #[inline(always)]
    pub fn spread(key: u64) -> u64 {
        let product = u128::from(key) * 0x9e37_79b9_7f4a_7c15;
        product as u64 ^ (product >> 64) as u64
    }

    /// False when the key that was spread is surely not in the set.
    #[inline(always)]
    pub fn may_contain(self, spread: u64) -> bool {
        let word = self.words[(spread >> self.shift) as usize];
        word >> (spread & 63) & word >> (spread >> 6 & 63) & 1 != 0
    }

    /// Ask memory for what `may_contain` looks at.
    #[inline(always)]
    pub fn prefetch(self, spread: u64) {
        fast::prefetch(self.words, (spread >> self.shift) as usize);
    }
}

impl Segment {
    /// Parse the contents of SEGMENT's files.
    pub fn parse(files: &[&[u8]], errors_max: usize) -> (Segment, Report) {
        let (mixed, mut report) = dials::parse(files, errors_max);
        let given = mixed.len();
        let segment = Segment::from_mixed(mixed);
        report.duplicates = (given - segment.len) as u64;
        (segment, report)
    }

    /// The set of these mixed keys. Sorting them makes the filling sequential: places follow the order of mixed keys.
    fn from_mixed(mut mixed: Vec<u64>) -> Segment {
        sort(&mut mixed);
        mixed.dedup();
        let len = mixed.len();
        let words = if len / 4 <= FILTER_WORDS_NEAR {
            len / 4
        } else {
            len / 8
        };
        let words = words.next_power_of_two().max(FILTER_WORDS_MIN);
        let mut segment = Segment {
            filter: vec![0; words],
            filter_shift: u64::BITS - words.trailing_zeros(),
            buckets: vec![Bucket::default(); (len * 3 / 2).div_ceil(BUCKET_KEYS).max(1)],
            len,
        };
        let (filter, buckets) = (
            Mutex::new(&mut *segment.filter),
            Mutex::new(&mut *segment.buckets),
        );
        threads::for_each(
            threads::worth(len / THREAD_KEYS_MIN),
            2,
            |task| match task {
                0 => fill_filter(&mut lock(&filter), segment.filter_shift, &mixed),
                _ => fill_buckets(&mut lock(&buckets), &mixed),
            },
        );
        segment
    }

    /// The first layer.
    #[inline]
    pub fn filter(&self) -> Filter<'_> {
        Filter {
            words: &self.filter,
            shift: self.filter_shift,
        }
    }

    /// Ask memory for the place in the table of this mixed key.
    #[inline(always)]
    pub fn prefetch(&self, mixed: u64) {
        fast::prefetch(&self.buckets, bucket_of(&self.buckets, mixed));
    }

    /// Whether the mixed key is in the set.
    #[inline]
    pub fn contains(&self, mixed: u64) -> bool {
        let mut at = bucket_of(&self.buckets, mixed);
        loop {
            let bucket = &self.buckets[at].0;
            if bucket
                .iter()
                .fold(false, |found, key| found | (*key == mixed))
            {
                return true;
            }
            if bucket[BUCKET_KEYS - 1] == 0 {
                return false;
            }
            at = next(&self.buckets, at);
        }
    }

    /// How many dials it holds.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds no dial.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All keys, in no useful order.
    pub fn keys(&self) -> impl Iterator<Item = u64> + '_ {
        self.buckets
            .iter()
            .flat_map(|bucket| bucket.0)
            .filter(|mixed| *mixed != 0)
            .map(msisdn::unmix)
    }

    /// (dials added, dials removed) from this one to the newer.
    pub fn diff(&self, newer: &Segment) -> (u64, u64) {
        let missing = |from: &Segment, key: u64| u64::from(!from.contains(msisdn::mix(key)));
        let added = newer.keys().map(|key| missing(self, key)).sum();
        (added, self.keys().map(|key| missing(newer, key)).sum())
    }

    /// The `n` smallest dials, as text.
    pub fn sample(&self, n: usize) -> Vec<String> {
        if n == 1 {
            // Each run asks for one at its start: a copy of all keys would cost more than the rest of it.
            let first = self.keys().min_by_key(|key| msisdn::text_order(*key));
            return first.map(msisdn::digits_of).into_iter().collect();
        }
        let mut keys: Vec<u64> = self.keys().collect();
        let n = n.min(keys.len());
        if n < keys.len() {
            keys.select_nth_unstable_by_key(n, |key| msisdn::text_order(*key));
            keys.truncate(n);
        }
        keys.sort_unstable_by_key(|key| msisdn::text_order(*key));
        keys.into_iter().map(msisdn::digits_of).collect()
    }

    /// Dials by number of digits.
    pub fn lengths(&self) -> [u64; msisdn::DIGITS_MAX + 1] {
        let mut lengths = [0; msisdn::DIGITS_MAX + 1];
        for key in self.keys() {
            lengths[key.ilog10() as usize] += 1;
        }
        lengths
    }

    /// Bytes of memory.
    pub fn memory_bytes(&self) -> usize {
        self.filter.len() * size_of::<u64>() + self.buckets.len() * size_of::<Bucket>()
    }

    /// A compact form: magic, count, sorted keys as differences of 7 bits a byte, CRC-64.
    pub fn dump(&self) -> Vec<u8> {
        let mut keys: Vec<u64> = self.keys().collect();
        sort(&mut keys);
        let mut out = Vec::with_capacity(24 + keys.len() * 2);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&(keys.len() as u64).to_le_bytes());
        let mut last = 0;
        for key in keys {
            let mut difference = key - last;
            last = key;
            while difference >= 128 {
                out.push(difference as u8 | 128);
                difference >>= 7;
            }
            out.push(difference as u8);
        }
        let crc = crc64(&out, 0);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// The segment that `dump` wrote; None when the bytes are damaged or no dump.
    pub fn load(dump: &[u8]) -> Option<Segment> {
        let (body, crc) = dump.split_last_chunk::<8>()?;
        if crc64(body, 0) != u64::from_le_bytes(*crc) {
            return None;
        }
        let (count, mut rest) = body.strip_prefix(MAGIC)?.split_first_chunk::<8>()?;
        let mut mixed = Vec::with_capacity(rest.len().min(u64::from_le_bytes(*count) as usize));
        let mut key = 0;
        while !rest.is_empty() {
            let (difference, after) = difference_of(rest)?;
            (key, rest) = (key + difference, after);
            // What is no dial, or not in order, was never dumped, whatever the checksum says.
            if difference == 0 || !msisdn::is_key(key) {
                return None;
            }
            mixed.push(msisdn::mix(key));
        }
        (mixed.len() as u64 == u64::from_le_bytes(*count)).then(|| Segment::from_mixed(mixed))
    }
}

/// A difference of two keys, as `dump` writes it, and what follows it.
fn difference_of(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut difference = 0;
    for (at, byte) in bytes.iter().enumerate().take(DIFFERENCE_BYTES_MAX) {
        difference |= u64::from(byte & 127) << (7 * at);
        if byte & 128 == 0 {
            // There is one way to write a number: its last byte is zero only when it is its first.
            return (*byte != 0 || at == 0).then_some((difference, &bytes[at + 1..]));
        }
    }
    None
}

fn fill_filter(filter: &mut [u64], shift: u32, mixed: &[u64]) {
    for some in mixed.chunks(FILLED_AHEAD) {
        let mut spreads = [0; FILLED_AHEAD];
        for (spread, key) in spreads.iter_mut().zip(some) {
            *spread = Filter::spread(msisdn::unmix(*key));
            fast::prefetch(filter, (*spread >> shift) as usize);
        }
        for spread in &spreads[..some.len()] {
            filter[(spread >> shift) as usize] |= 1 << (spread & 63) | 1 << (spread >> 6 & 63);
        }
    }
}

fn fill_buckets(buckets: &mut [Bucket], mixed: &[u64]) {
    for key in mixed {
        let mut at = bucket_of(buckets, *key);
        loop {
            if let Some(free) = buckets[at].0.iter_mut().find(|place| **place == 0) {
                *free = *key;
                break;
            }
            at = next(buckets, at);
        }
    }
}

#[inline]
fn bucket_of(buckets: &[Bucket], mixed: u64) -> usize {
    let scaled = u128::from(mixed << (64 - msisdn::KEY_BITS)) * buckets.len() as u128;
    (scaled >> 64) as usize
}

fn next(buckets: &[Bucket], bucket: usize) -> usize {
    if bucket + 1 == buckets.len() {
        0
    } else {
        bucket + 1
    }
}

/// Sort in parallel: a part on each thread, and then all of it by the stable sort, which finds the sorted parts and
/// merges them.
fn sort(keys: &mut [u64]) {
    let threads = threads::worth(keys.len() / THREAD_KEYS_MIN);
    let part = keys.len().div_ceil(threads).max(1);
    let parts: Vec<_> = keys.chunks_mut(part).map(Mutex::new).collect();
    threads::for_each(threads, parts.len(), |task| {
        lock(&parts[task]).sort_unstable();
    });
    if threads > 1 {
        #[allow(clippy::stable_sort_primitive, reason = "it merges what is sorted")]
        keys.sort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_exactly_what_it_was_given() {
        let text: String = (0..20_000)
            .flat_map(|i| {
                [
                    String::from("01"),
                    (i * 7 + 100_000_000).to_string().split_off(1),
                    "\n".into(),
                ]
            })
            .collect();
        let (segment, report) = Segment::parse(&[text.as_bytes()], 10);
        assert_eq!(
            (20_000, 0, 0),
            (report.lines, report.bad, report.duplicates)
        );
        for i in 0..140_000u64 {
            let mixed = msisdn::mix(msisdn::POW10[10] + 100_000_000 + i);
            assert_eq!(i % 7 == 0, segment.contains(mixed));
            assert!(
                segment
                    .filter()
                    .may_contain(Filter::spread(msisdn::unmix(mixed)))
                    || i % 7 != 0
            );
        }
        let again = Segment::load(&segment.dump()).expect("undamaged");
        assert_eq!((0, 0), segment.diff(&again));
        assert!(segment.memory_bytes() <= 16 * segment.len());
    }

    #[test]
    fn the_filter_refuses_nearly_all_strangers_however_dials_are_given_out() {
        const DIALS: u64 = 30_000;
        for stride in [1, 2, 7, 10, 16, 64, 100, 256, 1_000, 1_024, 10_000] {
            let dial = |i: u64| msisdn::POW10[11] + 20_100_000_000 + i * stride;
            // Strangers lie between the dials, and behind them.
            let is_dial = |i: u64| i.is_multiple_of(10) && i < 10 * DIALS;
            let mixed = (0..10 * DIALS).filter(|i| is_dial(*i));
            let segment = Segment::from_mixed(mixed.map(|i| msisdn::mix(dial(i))).collect());
            let strangers = (0..20 * DIALS).filter(|i| !is_dial(*i));
            let passed =
                strangers.filter(|i| segment.filter().may_contain(Filter::spread(dial(*i))));
            let passed = passed.count() as u64;
            assert!(passed * 40 < 19 * DIALS, "stride {stride}: {passed}");
        }
    }

    #[test]
    fn damage_is_noticed() {
        let (segment, _) = Segment::parse(&[b"12345\n67890\n"], 0);
        let dump = segment.dump();
        for i in 0..dump.len() {
            let mut damaged = dump.clone();
            damaged[i] ^= 1;
            assert!(Segment::load(&damaged).is_none());
            assert!(Segment::load(&dump[..i]).is_none());
        }
    }

    #[test]
    fn a_dump_of_what_is_no_dial_is_refused_whatever_its_checksum() {
        let load = |keys: &[u8], count: u8| {
            let mut dump = [MAGIC, [count, 0, 0, 0, 0, 0, 0, 0].as_slice(), keys].concat();
            let crc = crc64(&dump, 0);
            dump.extend_from_slice(&crc.to_le_bytes());
            Segment::load(&dump).map(|segment| segment.len())
        };
        assert_eq!(Some(0), load(b"", 0));
        assert_eq!(Some(1), load(b"\xa0\x8d\x06", 1)); // 10^5: the dial 00000
        assert_eq!(None, load(b"\xa0\x8d\x06", 2));
        assert_eq!(None, load(b"\x01", 1)); // below all keys
        assert_eq!(None, load(b"\xc0\x9a\x0c", 1)); // 2 * 10^5, between those of five digits and of six
        assert_eq!(None, load(b"\xa0\x8d\x06\x00", 2)); // the same again
        assert_eq!(None, load(b"\xa0\x8d\x86\x00", 1)); // written longer than it is
        assert_eq!(None, load(b"\xa0\x8d", 1)); // cut off
        assert_eq!(None, load(&[255; 12], 1)); // more bits than a key has
    }

    #[test]
    fn bad_lines_are_reported_with_their_place() {
        let file = b"\xef\xbb\xbfDIAL\r\n 12345 \n\n\"+12345\"\n1,2\n12\r\n".as_slice();
        let (segment, report) = Segment::parse(&[b"", file], 1);
        assert_eq!(
            (4, 2, 1, 1),
            (report.lines, report.bad, report.duplicates, segment.len())
        );
        assert_eq!(vec![(1, 5, "columns", b"1,2".to_vec())], report.errors);
    }
}
