//! Findings of some lines, as far as they need no ledger: counts, rejects, and candidates for the ledger.

use crate::ledger::decide::Candidate;
use crate::ledger::shard::{SHARDS, shard_of};
use crate::scan::grammar::LINE_BYTES_MAX;
use crate::scan::outcome::{OUTCOMES, REASONS, escaped_bytes};

/// Groups of shards: the units of parallel work on the ledger.
pub const GROUPS: usize = 32;
/// Shards of a group.
pub const GROUP_SHARDS: usize = SHARDS / GROUPS;
/// Stands for the line of a late record whose lines before it were not counted yet.
pub const LINE_UNKNOWN: u32 = u32::MAX;

/// A rejected or late line.
#[derive(Clone, Copy, Debug)]
pub struct Reject {
    /// Offset of its content in the buffer.
    pub start: u32,
    /// Lines before it in the same findings; `LINE_UNKNOWN` of a late record until they are counted.
    pub line: u32,
    /// Length of its content.
    pub length: u64,
    /// Bytes that the kept part of its content takes when it is encoded.
    pub written: u32,
    /// A `Reason` or `LATE`.
    pub reason: u8,
    /// False when it is only counted, and its bytes are not kept.
    pub kept: bool,
}

impl Reject {
    /// Return the kept part of its content, from the buffer that it was found in.
    pub fn raw<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[self.start as usize..][..self.length.min(LINE_BYTES_MAX as u64) as usize]
    }
}

/// Records for the ledger.
#[derive(Debug, Default)]
pub struct Candidates {
    /// In input order.
    pub all: Vec<Candidate>,
    /// The same by group, in order within each, so that they are applied from sequential memory.
    grouped: Vec<Candidate>,
    /// Begin of each group in `grouped`.
    groups: Vec<u32>,
}

impl Candidates {
    fn clear(&mut self) {
        self.all.clear();
        self.grouped.clear();
        self.groups.clear();
    }

    /// Order the candidates by group, keeping their order within each.
    fn group(&mut self) {
        let mut counts = [0u32; GROUPS + 1];
        for candidate in &self.all {
            counts[group_of(candidate) + 1] += 1;
        }
        for group in 0..GROUPS {
            counts[group + 1] += counts[group];
        }
        self.groups.extend_from_slice(&counts);
        self.grouped.clone_from(&self.all);
        for candidate in &self.all {
            let next = &mut counts[group_of(candidate)];
            self.grouped[*next as usize] = *candidate;
            *next += 1;
        }
    }

    /// Return the candidates of a group, in order.
    pub fn of_group(&self, group: usize) -> &[Candidate] {
        match self.groups.as_slice() {
            [] => &[],
            groups => &self.grouped[groups[group] as usize..groups[group + 1] as usize],
        }
    }
}

/// Counts, rejects and candidates of some lines.
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
    /// Records for the ledger by index of the rules that select them. Empty before the first line is scanned.
    pub candidates: Vec<Candidates>,
    /// Records outside their hours with a volume above a threshold of their service.
    pub outside_over: u64,
    /// (start, length) of the first of them.
    pub outside_over_first: Option<(u32, u32)>,
    /// (start, mixed msisdn) of the first record that is not in the segment.
    pub unmatched: Option<(usize, u64)>,
    /// There were more open counters than numbers.
    pub counters_full: bool,
}

impl Findings {
    pub(crate) fn clear(&mut self) {
        let (mut rejects, mut candidates) = (
            std::mem::take(&mut self.rejects),
            std::mem::take(&mut self.candidates),
        );
        rejects.clear();
        candidates.iter_mut().for_each(Candidates::clear);
        *self = Findings {
            rejects,
            candidates,
            ..Findings::default()
        };
    }

    /// Finish the rejects of `bytes`, whose first line starts at `begin`: count the lines before late ones, and the
    /// bytes that each takes when it is encoded.
    pub(crate) fn measure_rejects(&mut self, bytes: &[u8], begin: usize) {
        // The line of a late record is unknown: lines are counted on from the last known one.
        let (mut at, mut line) = (begin, 0);
        for reject in &mut self.rejects {
            let start = reject.start as usize;
            if reject.line == LINE_UNKNOWN {
                reject.line = line + memchr::memchr_iter(b'\n', &bytes[at..start]).count() as u32;
            }
            (at, line) = (start, reject.line);
            reject.written = escaped_bytes(reject.raw(bytes)) as u32;
        }
    }

    /// Order all candidates by group.
    pub(crate) fn group(&mut self) {
        self.candidates.iter_mut().for_each(Candidates::group);
    }

    /// Return the candidates of the rules at an index, in order.
    pub fn candidates_of(&self, windows: usize) -> &[Candidate] {
        self.candidates.get(windows).map_or(&[], |some| &some.all)
    }

    /// Return those of a group of shards, in order.
    pub(crate) fn of_group(&self, windows: usize, group: usize) -> &[Candidate] {
        self.candidates
            .get(windows)
            .map_or(&[], |some| some.of_group(group))
    }
}

fn group_of(candidate: &Candidate) -> usize {
    shard_of(candidate.mixed) / GROUP_SHARDS
}
