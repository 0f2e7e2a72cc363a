//! The stored form of a segment: magic, count, sorted keys as differences of 7 bits a byte, CRC-64.
//!
//! Equal sets have equal bytes, whatever they were made from. Msisdns are assigned densely, so most take one byte.

use crate::crc::crc64;
use crate::partition::{self, Partitioned};
use crate::segment::Segment;
use crate::segment::table::keys_of;
use crate::threads;
use crate::types::msisdn;
use crate::wire::{number_of, put_number};

const MAGIC: &[u8; 8] = b"UPSWSEG1";
const HEAD_BYTES: usize = MAGIC.len() + size_of::<u64>();
/// Bytes of the longest difference: seven bits of a key each.
const DIFFERENCE_BYTES_MAX: usize = msisdn::KEY_BITS.div_ceil(7) as usize;
/// Keys that are decoded into one block.
const BLOCK_KEYS: usize = 1 << 16;
/// About the keys of a partition: they are sorted within a second-level cache.
const PARTITION_KEYS: usize = 1 << 14;
/// Keys sampled from each stretch of the table to place the bounds of partitions.
const SAMPLE_KEYS: usize = 128;
/// Up to so many values for each key, keys are sorted as bits, which is faster than by comparison.
const DENSE_VALUES: u64 = 256;

impl Segment {
    /// Return a compact form that `decode` reads.
    pub fn encode(&self) -> Vec<u8> {
        let stretches = self.table().stretches();
        let count = partition::count_for(self.len(), PARTITION_KEYS);
        // Places follow mixed keys, so the first of each stretch are a random sample of keys: it says where partitions
        // should begin.
        let some = stretches
            .iter()
            .flat_map(|places| keys_of(places).take(SAMPLE_KEYS));
        let mut some: Vec<u64> = some.collect();
        some.sort_unstable();
        let begins: Vec<u64> = (1..count)
            .map(|partition| some[partition * some.len() / count])
            .collect();
        let partition_of = |key: u64| begins.partition_point(|begin| *begin <= key);
        let threads = threads::worth(stretches.len());
        let blocks = threads::map(threads, stretches.len(), |at| {
            let keys: Vec<u64> = keys_of(stretches[at]).collect();
            Partitioned::new(&keys, count, partition_of, |key| key)
        });
        let written = threads::map(threads, count, |partition| {
            EncodedPartition::new(blocks.iter().map(|block| block.run(partition)))
        });
        let bytes: usize = written.iter().map(|partition| partition.rest.len()).sum();
        let mut out = Vec::with_capacity(HEAD_BYTES + bytes + count * DIFFERENCE_BYTES_MAX + 8);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&(self.len() as u64).to_le_bytes());
        let mut last = 0;
        for partition in written.iter().filter(|partition| partition.first != 0) {
            put_number(&mut out, partition.first - last);
            out.extend_from_slice(&partition.rest);
            last = partition.last;
        }
        let crc = crc64(&out, 0);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// Return the segment that `encode` wrote; None when the bytes are damaged or something else.
    pub fn decode(encoded: &[u8]) -> Option<Segment> {
        let (body, crc) = encoded.split_last_chunk::<8>()?;
        if crc64(body, 0) != u64::from_le_bytes(*crc) {
            return None;
        }
        let (count, mut rest) = body.strip_prefix(MAGIC)?.split_first_chunk::<8>()?;
        let mut blocks = vec![Vec::new()];
        let (mut key, mut keys) = (0, 0u64);
        while !rest.is_empty() {
            let (difference, after) = number_of(rest)?;
            (key, rest) = (key + difference, after);
            // `encode` writes nothing but msisdns in order, so other bytes are refused even when the checksum fits.
            if difference == 0 || !msisdn::is_key(key) {
                return None;
            }
            if keys % BLOCK_KEYS as u64 == 0 {
                blocks.push(Vec::with_capacity(rest.len().min(BLOCK_KEYS)));
            }
            if let Some(block) = blocks.last_mut() {
                block.push(key);
            }
            keys += 1;
        }
        (keys == u64::from_le_bytes(*count)).then(|| Segment::of(&blocks))
    }
}

/// The keys of a partition, encoded.
#[derive(Default)]
struct EncodedPartition {
    /// The smallest; 0 when there is none.
    first: u64,
    /// The largest.
    last: u64,
    /// The differences after the first.
    rest: Vec<u8>,
}

impl EncodedPartition {
    fn new<'a>(runs: impl Iterator<Item = &'a [u64]>) -> EncodedPartition {
        let mut keys = Vec::new();
        runs.for_each(|run| keys.extend_from_slice(run));
        order(&mut keys);
        let (Some(first), Some(last)) = (keys.first(), keys.last()) else {
            return EncodedPartition::default();
        };
        let mut rest = Vec::with_capacity(keys.len() * 2);
        for pair in keys.windows(2) {
            put_number(&mut rest, pair[1] - pair[0]);
        }
        EncodedPartition {
            first: *first,
            last: *last,
            rest,
        }
    }
}

/// Sort keys, each of which is there once.
fn order(keys: &mut [u64]) {
    let (Some(least), Some(most)) = (keys.iter().min().copied(), keys.iter().max().copied()) else {
        return;
    };
    if (most - least) / DENSE_VALUES >= keys.len() as u64 {
        keys.sort_unstable();
        return;
    }
    let mut words = vec![0u64; ((most - least) / 64 + 1) as usize];
    for key in &*keys {
        let bit = key - least;
        words[(bit / 64) as usize] |= 1 << (bit % 64);
    }
    let mut ordered = keys.iter_mut();
    for (word, at) in words.iter().zip((least..).step_by(64)) {
        let mut bits = *word;
        while bits != 0 {
            if let Some(key) = ordered.next() {
                *key = at + u64::from(bits.trailing_zeros());
            }
            bits &= bits - 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_one_form_however_many_partitions_it_is_written_in() {
        // Dense and sparse msisdns, of two lengths, and one far after all others.
        let dense = (0..200_000).map(|i| msisdn::POW10[10] + 1_000_000 + 3 * i);
        let sparse = (0..200_000).map(|i| msisdn::POW10[12] + 4_999_999 * i);
        let last = [2 * msisdn::POW10[15] - 1];
        let keys: Vec<u64> = dense.chain(sparse).chain(last).collect();
        assert!(partition::count_for(keys.len(), PARTITION_KEYS) > 2);
        let mut expected = MAGIC.to_vec();
        expected.extend_from_slice(&(keys.len() as u64).to_le_bytes());
        put_number(&mut expected, keys[0]);
        for pair in keys.windows(2) {
            put_number(&mut expected, pair[1] - pair[0]);
        }
        let crc = crc64(&expected, 0);
        expected.extend_from_slice(&crc.to_le_bytes());
        let backwards: Vec<u64> = keys.iter().rev().copied().collect();
        let blocks: Vec<Vec<u64>> = backwards.chunks(99_999).map(<[u64]>::to_vec).collect();
        assert_eq!(expected, Segment::of(&blocks).encode());
        let again = Segment::decode(&expected).expect("undamaged");
        assert_eq!(expected, again.encode());
    }

    #[test]
    fn damage_is_noticed() {
        let (segment, _) = Segment::parse(&[b"12345\n67890\n"], 0);
        let encoded = segment.encode();
        for i in 0..encoded.len() {
            let mut damaged = encoded.clone();
            damaged[i] ^= 1;
            assert!(Segment::decode(&damaged).is_none());
            assert!(Segment::decode(&encoded[..i]).is_none());
        }
    }

    #[test]
    fn bytes_that_are_not_msisdns_are_refused_whatever_their_checksum() {
        let load = |keys: &[u8], count: u8| {
            let mut encoded = [MAGIC, [count, 0, 0, 0, 0, 0, 0, 0].as_slice(), keys].concat();
            let crc = crc64(&encoded, 0);
            encoded.extend_from_slice(&crc.to_le_bytes());
            Segment::decode(&encoded).map(|segment| segment.len())
        };
        assert_eq!(Some(0), load(b"", 0));
        assert_eq!(Some(1), load(b"\xa0\x8d\x06", 1)); // 10^5: the msisdn 00000
        assert_eq!(None, load(b"\xa0\x8d\x06", 2));
        assert_eq!(None, load(b"\x01", 1)); // below all keys
        assert_eq!(None, load(b"\xc0\x9a\x0c", 1)); // 2 * 10^5, between those of five digits and of six
        assert_eq!(None, load(b"\xa0\x8d\x06\x00", 2)); // the same again
        assert_eq!(None, load(b"\xa0\x8d\x86\x00", 1)); // written longer than it is
        assert_eq!(None, load(b"\xa0\x8d", 1)); // cut off
        assert_eq!(None, load(&[255; 12], 1)); // more bits than a key has
    }
}
