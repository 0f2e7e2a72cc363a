//! Branches of a ledger: further tables that began as copies of its own, decided by other terms over the same records.
//!
//! Their entries use the ledger's counters, so that candidates are found once for all of them, and days are closed and
//! msisdns forgotten in all at once. No delta and no blob contains any of their entries.

use crate::ledger::shard::Shard;

/// The tables beside those of a ledger, each in the order of `shard_of`.
#[derive(Debug, Default)]
pub struct Branches {
    /// By branch, decided in full.
    pub full: Vec<Vec<Shard>>,
    /// By point of a curve: see `points`.
    pub points: Vec<Vec<Shard>>,
    /// Sums that all points share; empty without points.
    pub sums: Vec<Shard>,
}

impl Branches {
    /// Add branches, and points of a curve, each a copy of these tables.
    pub(super) fn add(&mut self, full: usize, points: usize, tables: &[Shard]) {
        let copies = |count| std::iter::repeat_n(tables, count).map(<[Shard]>::to_vec);
        self.full.extend(copies(full));
        self.points.extend(copies(points));
        if points > 0 && self.sums.is_empty() {
            self.sums = tables.to_vec();
        }
    }

    /// Clear the lists of changed entries. The entries stay marked, so that none is listed again.
    pub(crate) fn forget_changes(&mut self) {
        for shard in self.tables_mut().flatten() {
            shard.dirty.clear();
        }
    }

    /// Iterate over all tables.
    pub(super) fn tables_mut(&mut self) -> impl Iterator<Item = &mut [Shard]> {
        let shared = std::iter::once(&mut self.sums);
        let tables = self.full.iter_mut().chain(&mut self.points).chain(shared);
        tables.map(Vec::as_mut_slice)
    }

    /// Return the bytes of memory.
    pub(super) fn memory_bytes(&self) -> usize {
        let tables = self.full.iter().chain(&self.points).flatten();
        tables.chain(&self.sums).map(Shard::memory_bytes).sum()
    }
}
