//! From the blobs of a checkpoint to a ledger.
//!
//! Bases come first, each of which fills its shard, then the deltas, which add what is newer; both some at a time, so
//! that few need be in memory at once. A delta does not apply to a shard whose base is of its batch or a later one.

use crate::ledger::Ledger;
use crate::ledger::codec::{ENTRY_BYTES, LedgerBlob, is_whole};
use crate::ledger::counters::{COUNTERS_FULL, Counter, Counters};
use crate::ledger::shard::{LOOKED_AHEAD, SHARDS, Shard, counter_of, with_counter};
use crate::threads;
use std::sync::Mutex;

/// Stands for a counter that is over, among the numbers of a blob's counters.
const OVER: u32 = 0;

/// A batch and a blob of it.
pub type StoredBlob<'a> = (u64, &'a [u8]);

/// A ledger that is being loaded.
pub struct Loading {
    ledger: Ledger,
    /// The batch of each shard's base.
    filled: Vec<Option<u64>>,
    /// Entries for which room is made in each shard besides those of its base.
    newer: usize,
    day_open: u32,
    threads: usize,
}

impl Loading {
    /// Begin; entries that no record of `day_open` or later can need are left out. `delta_bytes`: about the bytes of
    /// all deltas. Many of their entries are new, and a table that has to grow for them costs its pages twice.
    pub fn new(day_open: u32, threads: usize, delta_bytes: usize) -> Self {
        Loading {
            ledger: Ledger::default(),
            filled: vec![None; SHARDS],
            newer: delta_bytes / (SHARDS * ENTRY_BYTES) * 3 / 4,
            day_open,
            threads,
        }
    }

    /// Fill the shards of some bases. Of two bases of a shard the newer one counts. Err says which is damaged.
    pub fn add_bases(&mut self, bases: &[StoredBlob]) -> Result<(), String> {
        let mut base_of: Vec<Option<LoadedBlob>> = Vec::new();
        base_of.resize_with(SHARDS, || None);
        for (shard, source) in self.read(bases, "base")? {
            let Some(shard) = shard else {
                return Err(damaged("base", source.batch));
            };
            if self.filled[shard] < Some(source.batch) {
                self.filled[shard] = Some(source.batch);
                base_of[shard] = Some(source);
            }
        }
        let newer = self.newer;
        self.fill(|index, shard, counters| {
            let Some(base) = &base_of[index] else {
                return Some(());
            };
            *shard = Shard::default();
            shard.reserve(counters, base.entries[0].len() / ENTRY_BYTES + newer);
            base.apply(shard, counters, base.entries[0])
        })
    }

    /// Add some deltas, in commit order, once all bases are there. Err says which is damaged.
    pub fn add_deltas(&mut self, deltas: &[StoredBlob]) -> Result<(), String> {
        let mut sources = Vec::new();
        for (shard, source) in self.read(deltas, "delta")? {
            if shard.is_some() {
                return Err(damaged("delta", source.batch));
            }
            sources.push(source);
        }
        let filled = self.filled.clone();
        self.fill(|index, shard, counters| {
            sources
                .iter()
                .filter(|delta| filled[index] < Some(delta.batch))
                .try_for_each(|delta| delta.apply(shard, counters, delta.entries[index]))
        })
    }

    /// Return the ledger, once all blobs were added.
    pub fn finish(self) -> Ledger {
        self.ledger
    }

    /// Read blobs; each with its shard if it is a base.
    fn read<'b>(
        &mut self,
        blobs: &[StoredBlob<'b>],
        kind: &str,
    ) -> Result<Vec<(Option<usize>, LoadedBlob<'b>)>, String> {
        let whole = threads::map(self.threads, blobs.len(), |at| is_whole(blobs[at].1));
        let mut found = Vec::with_capacity(blobs.len());
        for ((batch, bytes), whole) in blobs.iter().zip(whole) {
            let blob = LedgerBlob::read(bytes).filter(|_| whole);
            let blob = blob.ok_or_else(|| damaged(kind, *batch))?;
            let numbers = self.ledger.open_counters(&blob.counters, self.day_open);
            let source = LoadedBlob {
                batch: *batch,
                numbers: numbers.ok_or(COUNTERS_FULL)?,
                entries: blob.entries,
            };
            found.push((blob.shard, source));
        }
        Ok(found)
    }

    /// Call `each` with every shard, in parallel; it returns None when a counter of an entry is not in the blob.
    fn fill(
        &mut self,
        each: impl Fn(usize, &mut Shard, &Counters) -> Option<()> + Sync,
    ) -> Result<(), String> {
        let counters = &self.ledger.counters;
        let shards: Vec<Mutex<&mut Shard>> =
            self.ledger.shards.iter_mut().map(Mutex::new).collect();
        let sound = threads::map(self.threads, SHARDS, |index| {
            each(index, &mut threads::lock(&shards[index]), counters).is_some()
        });
        if sound.contains(&false) {
            return Err("a ledger blob uses a counter that it does not define".into());
        }
        Ok(())
    }
}

fn damaged(kind: &str, batch: u64) -> String {
    format!("the {kind} blob of batch {batch} is damaged")
}

impl Ledger {
    /// Load (batch, base blob) of any shards and (batch, delta blob) in commit order, without entries that no record of
    /// `day_open` or later can need. Err says which blob is damaged.
    pub fn load(
        bases: &[StoredBlob],
        deltas: &[StoredBlob],
        day_open: u32,
        threads: usize,
    ) -> Result<Ledger, String> {
        let delta_bytes = deltas.iter().map(|(_, blob)| blob.len()).sum();
        let mut loading = Loading::new(day_open, threads, delta_bytes);
        loading.add_bases(bases)?;
        loading.add_deltas(deltas)?;
        Ok(loading.finish())
    }

    /// Return the numbers of a blob's counters in this ledger, `OVER` for those that are over.
    fn open_counters(&mut self, counters: &[Counter], day_open: u32) -> Option<Vec<u32>> {
        counters
            .iter()
            .map(|counter| {
                let open = counter.last_day() >= day_open;
                let number = if open {
                    self.counters.intern(counter)?
                } else {
                    OVER
                };
                if open && matches!(counter, Counter::Cap { .. }) {
                    self.counters.share(number);
                }
                Some(number)
            })
            .collect()
    }
}

/// The entries of a blob, and the ledger's numbers of its counters.
struct LoadedBlob<'a> {
    batch: u64,
    numbers: Vec<u32>,
    entries: Vec<&'a [u8]>,
}

impl LoadedBlob<'_> {
    fn apply(&self, shard: &mut Shard, counters: &Counters, entries: &[u8]) -> Option<()> {
        let (entries, _) = entries.as_chunks::<ENTRY_BYTES>();
        for (at, entry) in entries.iter().enumerate() {
            // Entries of a base follow each other in the table, those of a delta lie anywhere.
            if let Some(ahead) = entries.get(at + LOOKED_AHEAD) {
                shard.prefetch_key(counters, self.read(ahead)?.0);
            }
            let (key, value) = self.read(entry)?;
            if counter_of(key) != OVER {
                shard.set(counters, key, value, false);
            }
        }
        Some(())
    }

    /// Return the key of an entry, with the ledger's number of its counter, and its value.
    #[inline]
    fn read(&self, entry: &[u8; ENTRY_BYTES]) -> Option<(u64, u64)> {
        let (key, value) = entry.split_first_chunk::<8>()?;
        let key = u64::from_le_bytes(*key);
        let number = *self.numbers.get(counter_of(key) as usize)?;
        Some((
            with_counter(key, number),
            u64::from_le_bytes(value.try_into().ok()?),
        ))
    }
}
