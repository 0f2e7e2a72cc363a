//! From the blobs of a checkpoint to a ledger.
//!
//! Deltas come first and stay; bases come some at a time, and each shard is filled once and for all when its base is
//! there: so only some bases need be in memory at once. A delta says nothing about a shard whose base is of its batch or
//! a later one.

use crate::blob::{Blob, ENTRY_BYTES, is_whole};
use crate::columns::{Column, Columns};
use crate::ledger::Ledger;
use crate::shard::{SHARDS, Shard, column_of, with_column};
use crate::threads;
use std::sync::Mutex;

/// Stands for a column that is closed, among the numbers of a blob's columns.
const CLOSED: u32 = 0;

/// A batch and a blob of it.
pub type Kept<'a> = (u64, &'a [u8]);

/// A ledger of which bases are still to come.
pub struct Loading<'a> {
    ledger: Ledger,
    deltas: Vec<Source<'a>>,
    /// By shard: the batch of the base that it was filled with.
    filled: Vec<Option<u64>>,
    day_open: u32,
    threads: usize,
}

impl<'a> Loading<'a> {
    /// Begin with the deltas, in commit order, without what can receive no record of `day_open` or later. Err says which
    /// is damaged.
    pub fn new(deltas: &[Kept<'a>], day_open: u32, threads: usize) -> Result<Self, String> {
        let mut loading = Loading {
            ledger: Ledger::default(),
            deltas: Vec::new(),
            filled: vec![None; SHARDS],
            day_open,
            threads,
        };
        for (shard, source) in loading.read(deltas, "delta")? {
            if shard.is_some() {
                return Err(damaged("delta", source.batch));
            }
            loading.deltas.push(source);
        }
        Ok(loading)
    }

    /// Fill the shards of some bases. Of two bases of a shard the newer counts. Err says which is damaged.
    pub fn add(&mut self, bases: &[Kept]) -> Result<(), String> {
        let mut base_of: Vec<Option<Source>> = Vec::new();
        base_of.resize_with(SHARDS, || None);
        for (shard, source) in self.read(bases, "base")? {
            let Some(shard) = shard else {
                return Err(damaged("base", source.batch));
            };
            let newest = base_of[shard].as_ref().map(|base| base.batch);
            if newest.max(self.filled[shard]) < Some(source.batch) {
                base_of[shard] = Some(source);
            }
        }
        for (shard, base) in base_of.iter().enumerate() {
            if let Some(base) = base {
                if self.filled[shard].is_some() {
                    self.ledger.shards[shard] = Shard::default();
                }
                self.filled[shard] = Some(base.batch);
            }
        }
        self.fill(|shard| base_of[shard].as_ref(), |_, base| base.is_some())
    }

    /// The ledger, once all bases are there.
    pub fn finish(mut self) -> Result<Ledger, String> {
        self.fill(|_| None, |filled, _| filled.is_none())?;
        Ok(self.ledger)
    }

    /// What blobs hold, by shard if they are bases.
    fn read<'b>(
        &mut self,
        blobs: &[Kept<'b>],
        kind: &str,
    ) -> Result<Vec<(Option<usize>, Source<'b>)>, String> {
        let whole = threads::map(self.threads, blobs.len(), |at| is_whole(blobs[at].1));
        let mut found = Vec::with_capacity(blobs.len());
        for ((batch, bytes), whole) in blobs.iter().zip(whole) {
            let blob = Blob::read(bytes).filter(|_| whole);
            let blob = blob.ok_or_else(|| damaged(kind, *batch))?;
            let numbers = self.ledger.open_columns(&blob.columns, self.day_open);
            let source = Source {
                batch: *batch,
                numbers: numbers.ok_or("too many open columns")?,
                entries: blob.entries,
            };
            found.push((blob.shard, source));
        }
        Ok(found)
    }

    /// Fill the shards that are wanted with their bases and what is newer.
    fn fill<'b>(
        &mut self,
        base_of: impl Fn(usize) -> Option<&'b Source<'b>> + Sync,
        wanted: impl Fn(Option<u64>, Option<&Source>) -> bool + Sync,
    ) -> Result<(), String> {
        let (columns, deltas, filled) = (&self.ledger.columns, &self.deltas, &self.filled);
        let shards: Vec<Mutex<&mut Shard>> =
            self.ledger.shards.iter_mut().map(Mutex::new).collect();
        let sound = threads::map(self.threads, SHARDS, |index| {
            let base = base_of(index);
            if !wanted(filled[index], base) {
                return true;
            }
            let mut shard = threads::lock(&shards[index]);
            shard.reserve(
                columns,
                base.map_or(0, |base| base.entries[0].len() / ENTRY_BYTES),
            );
            let newer = deltas
                .iter()
                .filter(|delta| base.is_none_or(|base| base.batch < delta.batch));
            base.is_none_or(|base| base.apply(&mut shard, columns, base.entries[0]).is_some())
                && newer
                    .map(|delta| delta.apply(&mut shard, columns, delta.entries[index]))
                    .all(|applied| applied.is_some())
        });
        if sound.contains(&false) {
            return Err("a ledger blob names an unknown column".into());
        }
        Ok(())
    }
}

fn damaged(kind: &str, batch: u64) -> String {
    format!("the {kind} blob of batch {batch} is damaged")
}

impl Ledger {
    /// The ledger of (batch, base blob) of any shards and (batch, delta blob) in commit order, without what can receive
    /// no record of `day_open` or later. Err says which blob is damaged.
    pub fn load(
        bases: &[Kept],
        deltas: &[Kept],
        day_open: u32,
        threads: usize,
    ) -> Result<Ledger, String> {
        let mut loading = Loading::new(deltas, day_open, threads)?;
        loading.add(bases)?;
        loading.finish()
    }

    /// The numbers of a blob's columns in this ledger, `CLOSED` for those that are over.
    fn open_columns(&mut self, columns: &[Column], day_open: u32) -> Option<Vec<u32>> {
        columns
            .iter()
            .map(|column| {
                let open = column.last_day() >= day_open;
                let number = if open {
                    self.columns.number(column)?
                } else {
                    CLOSED
                };
                if open && matches!(column, Column::Cap { .. }) {
                    self.columns.share(number);
                }
                Some(number)
            })
            .collect()
    }
}

/// The entries of a blob, with its columns in the numbers of the ledger.
struct Source<'a> {
    batch: u64,
    numbers: Vec<u32>,
    entries: Vec<&'a [u8]>,
}

impl Source<'_> {
    fn apply(&self, shard: &mut Shard, columns: &Columns, entries: &[u8]) -> Option<()> {
        for entry in entries.chunks_exact(ENTRY_BYTES) {
            let (key, value) = entry.split_first_chunk::<8>()?;
            let key = u64::from_le_bytes(*key);
            let value = u64::from_le_bytes(value.try_into().ok()?);
            let number = *self.numbers.get(column_of(key) as usize)?;
            if number != CLOSED {
                shard.set(columns, with_column(key, number), value, false);
            }
        }
        Some(())
    }
}
