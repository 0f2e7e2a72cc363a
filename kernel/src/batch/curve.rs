//! Points of a job's curve, decided group of shards by group.

use crate::batch::chunk::Chunk;
use crate::batch::findings::GROUP_SHARDS;
use crate::batch::job::Branch;
use crate::ledger::counters::Counters;
use crate::ledger::points::{Counts, Point, decide_points};
use crate::ledger::shard::Shard;
use crate::threads::lock;
use std::sync::{Mutex, PoisonError};

/// One group of shards, of all points and of the sums that they share.
pub(crate) struct Group<'a> {
    /// Number of the group, from which its first shard follows.
    number: usize,
    /// Index of the windows whose candidates it decides.
    windows: usize,
    sums: &'a mut [Shard],
    points: Vec<Point<'a>>,
}

/// Return the groups before their decisions; none without points.
pub(crate) fn groups<'a>(
    branches: &'a [Branch<'a>],
    windows: usize,
    sums: &'a mut [Shard],
    tables: &'a mut [Vec<Shard>],
    adds: bool,
) -> Vec<Mutex<Group<'a>>> {
    let sums = sums.chunks_mut(GROUP_SHARDS).enumerate();
    let groups: Vec<_> = sums
        .map(|(number, sums)| {
            Mutex::new(Group {
                number,
                windows,
                sums,
                points: Vec::new(),
            })
        })
        .collect();
    for (branch, shards) in branches.iter().zip(tables) {
        for (group, shards) in groups.iter().zip(shards.chunks_mut(GROUP_SHARDS)) {
            lock(group).points.push(Point {
                terms: branch.terms(adds),
                shards,
                counts: Counts::default(),
            });
        }
    }
    groups
}

/// Return by rule the lowest threshold of any point.
pub(crate) fn lowest_thresholds(branches: &[Branch]) -> Vec<u64> {
    let mut lowest = Vec::new();
    for branch in branches {
        let rules = &branch.rules.rules;
        lowest.resize(rules.len(), u64::MAX);
        for (least, rule) in lowest.iter_mut().zip(rules) {
            *least = rule.threshold.min(*least);
        }
    }
    lowest
}

impl Group<'_> {
    /// Decide the candidates of all chunks.
    pub(crate) fn apply(&mut self, lowest: &[u64], counters: &Counters, chunks: &[Chunk]) {
        let first = self.number * self.sums.len();
        let (sums, points, mut above) = (&mut *self.sums, &mut self.points, Vec::new());
        for findings in chunks.iter().flat_map(|chunk| [&chunk.front, &chunk.body]) {
            let candidates = findings.of_group(self.windows, self.number);
            decide_points(
                sums, points, first, lowest, counters, candidates, &mut above,
            );
        }
        for shard in points.iter_mut().flat_map(|point| &mut *point.shards) {
            shard.set_caps(counters);
        }
    }
}

/// Add the counts of the groups to those of each point.
pub(crate) fn count(groups: Vec<Mutex<Group>>, counts: &mut [Counts]) {
    for group in groups {
        let group = group.into_inner().unwrap_or_else(PoisonError::into_inner);
        for (point, counts) in group.points.into_iter().zip(&mut *counts) {
            for (key, count) in point.counts {
                *counts.entry(key).or_default() += count;
            }
        }
    }
}
