//! What was found in some lines, as far as that needs no ledger: counts, rejects, and candidates for the ledger.

use crate::reject::{OUTCOMES, REASONS};
use crate::shard::{Candidate, SHARDS, shard_of};

/// Groups of shards: the units of parallel work on the ledger.
pub const GROUPS: usize = 32;
const GROUP_SHARDS: usize = SHARDS / GROUPS;

/// A line that is kept with its reason.
#[derive(Clone, Copy, Debug)]
pub struct Reject {
    /// Where its content starts in the buffer.
    pub start: u32,
    /// Lines before it in the same findings.
    pub line: u32,
    /// Length of its content.
    pub length: u64,
    /// A `Reason` or `LATE`.
    pub reason: u8,
    /// False when it is counted, but its bytes are not kept.
    pub kept: bool,
}

/// What was found in some lines.
#[derive(Debug, Default)]
pub struct Findings {
    /// All lines.
    pub lines: u64,
    /// Lines by outcome, as far as the outcome needs no ledger.
    pub outcomes: [u64; OUTCOMES.len()],
    /// Rejected lines by reason.
    pub reasons: [u64; REASONS.len()],
    /// Rejected and late lines, in order.
    pub rejects: Vec<Reject>,
    /// Records for the ledger, in order.
    pub candidates: Vec<Candidate>,
    /// The same by group, in order within each: what applies them reads memory in sequence.
    grouped: Vec<Candidate>,
    /// Where each group begins in `grouped`.
    groups: Vec<u32>,
    /// Records outside their hours with a volume above a threshold of their service.
    pub outside_over: u64,
    /// (start, length) of the first of them.
    pub outside_over_first: Option<(u32, u32)>,
    /// (start, mixed msisdn) of the first record that is not in the segment.
    pub unmatched: Option<(usize, u64)>,
    /// There were more open columns than the ledger can number.
    pub columns_full: bool,
}

impl Findings {
    pub(crate) fn clear(&mut self) {
        let Findings {
            rejects,
            candidates,
            grouped,
            groups,
            ..
        } = std::mem::take(self);
        *self = Findings {
            rejects,
            candidates,
            grouped,
            groups,
            ..Findings::default()
        };
        self.rejects.clear();
        self.candidates.clear();
        self.grouped.clear();
        self.groups.clear();
    }

    /// Order the candidates by group, keeping their order within each.
    pub(crate) fn group(&mut self) {
        let mut counts = [0u32; GROUPS + 1];
        for candidate in &self.candidates {
            counts[group_of(candidate) + 1] += 1;
        }
        for group in 0..GROUPS {
            counts[group + 1] += counts[group];
        }
        self.groups.extend_from_slice(&counts);
        self.grouped.clone_from(&self.candidates);
        for candidate in &self.candidates {
            let next = &mut counts[group_of(candidate)];
            self.grouped[*next as usize] = *candidate;
            *next += 1;
        }
    }

    /// The candidates of a group, in order.
    pub fn of_group(&self, group: usize) -> &[Candidate] {
        match self.groups.as_slice() {
            [] => &[],
            groups => &self.grouped[groups[group] as usize..groups[group + 1] as usize],
        }
    }
}

fn group_of(candidate: &Candidate) -> usize {
    shard_of(candidate.mixed) / GROUP_SHARDS
}
