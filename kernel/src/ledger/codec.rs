//! The stored form of a ledger: one base blob per shard, and delta blobs with the changes of all shards.
//!
//! A blob is self-contained, little endian:
//!
//! ```text
//! magic "UPSWLDG1" | kind u8 (B, D) | base: shard u8 | counters u32 | counters …
//! | entries per shard u32 (B: 1, D: 256) | entries: key u64 (its counter numbered within this blob, from 0), value u64
//! | CRC-64/NVME of all before
//! ```
//!
//! Values are absolute, so that applying a delta twice changes nothing. Entries of a base are in table order, which
//! makes reading them back sequential in memory. `loading` reads blobs.

use crate::crc::crc64;
use crate::ledger::counters::{Counter, Counters};
use crate::ledger::shard::{SHARDS, counter_of, with_counter};
use crate::ledger::{Ledger, key_in};
use crate::rules::policy::Forgotten;
use crate::threads;
use crate::wire::Input;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

const MAGIC: &[u8; 8] = b"UPSWLDG1";
pub(crate) const ENTRY_BYTES: usize = 16;
/// With fewer changed entries threads cost more than they save.
const INLINE_ENTRIES: usize = 20_000;

/// Writes one blob, in memory of its exact length since blobs are large. Its counters are numbered in the order of
/// their first use, and are written before its entries.
struct BlobWriter {
    numbers: Vec<u32>,
    out: Vec<u8>,
}

impl BlobWriter {
    /// Begin a blob with so many entries per shard; `keys` are their keys, in order.
    fn new(
        counters: &Counters,
        kind: &[u8],
        counts: &[u32],
        keys: impl Iterator<Item = u64>,
    ) -> BlobWriter {
        let mut numbers = vec![u32::MAX; counters.defined.len()];
        let (mut used, mut definitions) = (0u32, Vec::new());
        for key in keys {
            let number = counter_of(key) as usize;
            if numbers[number] == u32::MAX
                && let Some(counter) = &counters.defined[number]
            {
                counter.put(&mut definitions);
                numbers[number] = used;
                used += 1;
            }
        }
        let entries: usize = counts.iter().map(|count| *count as usize).sum();
        let around = MAGIC.len() + kind.len() + definitions.len() + counts.len() * 4 + 12;
        let mut out = Vec::with_capacity(around + entries * ENTRY_BYTES);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(kind);
        out.extend_from_slice(&used.to_le_bytes());
        out.extend_from_slice(&definitions);
        for count in counts {
            out.extend_from_slice(&count.to_le_bytes());
        }
        BlobWriter { numbers, out }
    }

    fn put(&mut self, key: u64, value: u64) {
        let number = self.numbers[counter_of(key) as usize];
        self.out
            .extend_from_slice(&with_counter(key, number).to_le_bytes());
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    fn finish(mut self) -> Vec<u8> {
        let crc = crc64(&self.out, 0);
        self.out.extend_from_slice(&crc.to_le_bytes());
        self.out
    }
}

/// The content of a blob. Its form was checked, its CRC was not.
pub(crate) struct LedgerBlob<'a> {
    pub(crate) counters: Vec<Counter>,
    /// The entries of each shard; of a base only those of its own shard.
    pub(crate) entries: Vec<&'a [u8]>,
    /// The shard of a base; None of a delta.
    pub(crate) shard: Option<usize>,
}

impl<'a> LedgerBlob<'a> {
    /// Read a blob; None when its form is wrong.
    pub(crate) fn read(bytes: &'a [u8]) -> Option<LedgerBlob<'a>> {
        let (body, _) = bytes.split_last_chunk::<8>()?;
        let mut input = Input(body);
        if input.take(MAGIC.len())? != MAGIC {
            return None;
        }
        let shard = match input.u8()? {
            b'B' => Some(usize::from(input.u8()?)),
            b'D' => None,
            _ => return None,
        };
        let mut counters = Vec::new();
        for _ in 0..input.u32()? {
            counters.push(Counter::read(&mut input)?);
        }
        let mut counts = Vec::new();
        for _ in 0..if shard.is_some() { 1 } else { SHARDS } {
            counts.push(input.u32()? as usize);
        }
        let mut entries = Vec::new();
        for count in counts {
            entries.push(input.take(count.checked_mul(ENTRY_BYTES)?)?);
        }
        input.0.is_empty().then_some(LedgerBlob {
            counters,
            entries,
            shard,
        })
    }
}

/// A blob without the entries of some msisdns, and the hashes of those that had entries.
pub type Remaining = (Vec<u8>, BTreeSet<u64>);

/// Remove the entries of forgotten msisdns from a blob; None when it has no such entry. Err: it is damaged.
pub fn without(bytes: &[u8], forgotten: &Forgotten) -> Result<Option<Remaining>, &'static str> {
    const DAMAGED: &str = "the blob is damaged";
    let blob = LedgerBlob::read(bytes)
        .filter(|_| is_whole(bytes))
        .ok_or(DAMAGED)?;
    let mut gone = BTreeSet::new();
    let mut stays = |shard: usize, entry: &[u8]| {
        let key = entry.first_chunk::<8>().map(|key| u64::from_le_bytes(*key));
        let hash = key.and_then(|key| forgotten.find(key_in(shard, key)));
        gone.extend(hash);
        hash.is_none()
    };
    let first = blob.shard.unwrap_or(0);
    let mut kept: Vec<Vec<&[u8]>> = Vec::with_capacity(blob.entries.len());
    for (at, entries) in blob.entries.iter().enumerate() {
        let entries = entries.chunks_exact(ENTRY_BYTES);
        kept.push(entries.filter(|entry| stays(first + at, entry)).collect());
    }
    let before: usize = blob.entries.iter().map(|entries| entries.len()).sum();
    let after: usize = kept.iter().map(|entries| entries.len() * ENTRY_BYTES).sum();
    if before == after {
        return Ok(None);
    }
    // Counters that no entry uses any more do no harm.
    let head = bytes.len() - before - kept.len() * size_of::<u32>() - size_of::<u64>();
    let mut out = bytes[..head].to_vec();
    for entries in &kept {
        out.extend_from_slice(&(entries.len() as u32).to_le_bytes());
    }
    for entry in kept.iter().flatten() {
        out.extend_from_slice(entry);
    }
    let crc = crc64(&out, 0);
    out.extend_from_slice(&crc.to_le_bytes());
    Ok(Some((out, gone)))
}

/// Return true when the CRC of a blob fits.
pub(crate) fn is_whole(blob: &[u8]) -> bool {
    blob.split_last_chunk::<8>()
        .is_some_and(|(body, crc)| crc64(body, 0) == u64::from_le_bytes(*crc))
}

impl Ledger {
    /// Return one shard as a base blob: all of its live entries.
    pub fn shard_blob(&self, index: usize) -> Vec<u8> {
        let shard = &self.shards[index];
        let counters = &self.counters;
        let count = shard.stored(counters) as u32;
        let entries = || {
            let entries = shard.entries(counters);
            entries.filter(|(key, _)| counters.is_stored(counter_of(*key)))
        };
        let keys = entries().map(|(key, _)| key);
        let mut writer = BlobWriter::new(counters, &[b'B', index as u8], &[count], keys);
        for (key, value) in entries() {
            writer.put(key, value);
        }
        writer.finish()
    }

    /// Return the entries that changed since the last delta as a delta blob; empty when none did.
    pub fn take_delta(&mut self, threads: usize) -> Vec<u8> {
        let changed = self.changed();
        if changed == 0 {
            return Vec::new();
        }
        let threads = if changed < INLINE_ENTRIES { 1 } else { threads };
        let counters = &self.counters;
        let shards: Vec<_> = self
            .shards
            .iter_mut()
            .map(|shard| Mutex::new((shard, Vec::new())))
            .collect();
        threads::for_each(threads, SHARDS, |index| {
            let (shard, entries) = &mut *threads::lock(&shards[index]);
            *entries = shard.take_dirty(counters);
        });
        let shards: Vec<Vec<(u64, u64)>> = shards
            .into_iter()
            .map(|shard| shard.into_inner().unwrap_or_else(PoisonError::into_inner).1)
            .collect();
        let counts: Vec<u32> = shards.iter().map(|entries| entries.len() as u32).collect();
        let keys = shards.iter().flatten().map(|(key, _)| *key);
        let mut writer = BlobWriter::new(counters, b"D", &counts, keys);
        for entries in shards {
            for (key, value) in entries {
                writer.put(key, value);
            }
        }
        writer.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::decide::{Candidate, Decision};
    use crate::ledger::loading::Loading;
    use crate::ledger::shard::shard_of;
    use crate::rules::policy::Policy;
    use crate::types::msisdn;
    use siphasher::sip::SipHasher24;

    fn total(day: u32) -> Counter {
        Counter::Total {
            service: 1,
            start_min: 0,
            end_min: 1440,
            day,
        }
    }

    fn add(ledger: &mut Ledger, number: u64, day: u32, volume: u64) -> Decision {
        let total = ledger.counters.intern(&total(day)).expect("room");
        let cap = ledger
            .counters
            .intern(&Counter::Cap {
                application: "A".into(),
                day,
            })
            .expect("room");
        let mixed = msisdn::mix(msisdn::POW10[10] + number);
        let candidate = Candidate {
            mixed,
            volume,
            start: 0,
            length: 0,
            total,
            cap,
            rule: 0,
            day,
        };
        let shard = &mut ledger.shards[shard_of(mixed)];
        let applied = shard.decide(&ledger.counters, &candidate, 100, true, &Policy::default());
        shard.set_caps(&ledger.counters);
        applied
    }

    #[test]
    fn bases_and_deltas_give_the_ledger_back() {
        let mut ledger = Ledger::default();
        let mut deltas = Vec::new();
        let mut bases = Vec::new();
        for batch in 0..6u64 {
            for i in 0..5000 {
                add(
                    &mut ledger,
                    i * 13 % 4000,
                    20_200_417 + (i % 2) as u32,
                    i % 60,
                );
            }
            deltas.push((batch, ledger.take_delta(1)));
            let shards = batch as usize * 40..batch as usize * 40 + 56;
            bases.extend(shards.map(|shard| (batch, ledger.shard_blob(shard))));
        }
        assert!(ledger.take_delta(1).is_empty());
        let bases: Vec<(u64, &[u8])> = bases
            .iter()
            .map(|(batch, blob)| (*batch, blob.as_slice()))
            .collect();
        let deltas: Vec<(u64, &[u8])> = deltas
            .iter()
            .map(|(batch, blob)| (*batch, blob.as_slice()))
            .collect();
        let backwards: Vec<(u64, &[u8])> = bases.iter().rev().copied().collect();
        let orders = [(&bases, bases.len()), (&bases, 7), (&backwards, 100)];
        for (threads, (bases, at_once)) in [1, 2, 2].into_iter().zip(orders) {
            let mut loading = Loading::new(0, threads, 0);
            for some in bases.chunks(at_once) {
                loading.add_bases(some).expect("whole");
            }
            for some in deltas.chunks(at_once) {
                loading.add_deltas(some).expect("whole");
            }
            let loaded = loading.finish();
            assert_eq!(ledger.totals(), loaded.totals());
            assert_eq!(ledger.caps(), loaded.caps());
            assert_eq!(ledger.entries(), loaded.entries());
        }
        let mut damaged = deltas[0].1.to_vec();
        damaged[40] ^= 4;
        assert!(Ledger::load(&[], &[(0, &damaged)], 0, 1).is_err());
        assert!(Ledger::load(&deltas, &[], 0, 1).is_err());
    }

    #[test]
    fn who_is_forgotten_is_in_no_blob() {
        let mut ledger = Ledger::default();
        for number in 0..2000 {
            add(&mut ledger, number, 20_200_417, 101);
        }
        let hasher = SipHasher24::new_with_key(&[7; 16]);
        let digits = msisdn::digits_of(msisdn::POW10[10] + 1234);
        let forgotten = Forgotten {
            hasher,
            hashes: std::iter::once(hasher.hash(digits.as_bytes())).collect(),
        };
        let delta = ledger.take_delta(1);
        let bases: Vec<Vec<u8>> = (0..SHARDS).map(|shard| ledger.shard_blob(shard)).collect();
        let without = |blob: &Vec<u8>| {
            let (rest, gone) = without(blob, &forgotten).expect("whole")?;
            assert!(gone.iter().eq(&forgotten.hashes));
            Some(rest)
        };
        let changed: Vec<Vec<u8>> = bases.iter().filter_map(without).collect();
        assert_eq!(1, changed.len());
        assert_eq!(None, without(&changed[0]));
        let delta = without(&delta).expect("it is there");
        let loaded = Ledger::load(&[], &[(1, &delta)], 0, 1).expect("whole");
        ledger.forget(&forgotten);
        for (expected, actual) in ledger.totals().into_iter().zip(loaded.totals()) {
            assert_eq!(expected, actual);
        }
        assert_eq!((1999, 1999), loaded.entries());
        assert_eq!((1999, 1999), ledger.entries());
        assert!(ledger.take_delta(1).is_empty());
        assert!(super::without(&bases[0][1..], &forgotten).is_err());
    }

    #[test]
    fn closed_days_are_dropped_and_their_counters_used_again() {
        let mut ledger = Ledger::default();
        for day in 20_200_401..20_200_431 {
            for number in 0..300 {
                assert_eq!(Decision::Counted, add(&mut ledger, number, day, 100));
                assert_eq!(Decision::Notified, add(&mut ledger, number, day, 1));
                assert_eq!(Decision::Capped, add(&mut ledger, number, day, 1));
            }
            ledger.drop_before(day);
            assert_eq!((300, 300), ledger.entries());
            for _ in 0..16 {
                ledger.sweep();
            }
            ledger.take_delta(1);
        }
        assert!(ledger.counters.defined.len() <= 5);
        assert_eq!(300, ledger.totals().len());
    }
}
