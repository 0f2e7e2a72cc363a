//! Candidates on their way from the task that scanned them to the task that has their shard of the ledger.
//!
//! A blob has candidates of one split and shard, in input order, each with the bytes of its line:
//!
//! ```text
//! range | split | position of the first | number of kinds | kinds: 2 * rule + (1 if yesterday), day
//! | candidates: bytes after the last position, kind, volume, mixed msisdn, content
//! ```
//!
//! All of these are numbers as `wire` writes them. A kind stands for a pair of counters. Counters have other numbers in
//! another task, so a blob defines its kinds by rule and day.

use crate::ledger::counters::{Counter, Counters};
use crate::ledger::decide::Candidate;
use crate::rules::Rules;
use crate::types::clock;
use crate::wire::{Input, put_bytes, put_number};

/// Identifies a split within its batch. Splits are ordered as their lines are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SplitId {
    /// Index of its range in the batch.
    pub range: u32,
    /// Index of the split in its range.
    pub number: u32,
}

/// Stands for the number of a kind that is not in the blob yet.
const UNKNOWN: u32 = u32::MAX;

/// Writes the blobs of a split for one shard, one after another.
#[derive(Debug, Default)]
pub(crate) struct CandidateWriter {
    /// The number of each kind in this blob, by twice the counter of the total, plus one when the window opened the day
    /// before.
    numbers: Vec<u32>,
    kinds: Vec<u8>,
    used: u32,
    /// Positions of the first and of the last candidate.
    first: u64,
    last: u64,
    candidates: Vec<u8>,
}

impl CandidateWriter {
    /// Return the approximate bytes so far.
    pub(crate) fn bytes(&self) -> usize {
        self.candidates.len()
    }

    /// Append the next candidate, with the position of its content in the file.
    pub(crate) fn put(
        &mut self,
        counters: &Counters,
        candidate: &Candidate,
        position: u64,
        content: &[u8],
    ) {
        if self.candidates.is_empty() {
            (self.first, self.last) = (position, position);
        }
        let kind = self.kind_of(counters, candidate);
        let out = &mut self.candidates;
        put_number(out, position - self.last);
        put_number(out, u64::from(kind));
        put_number(out, candidate.volume);
        put_number(out, candidate.mixed);
        put_bytes(out, content);
        self.last = position;
    }

    fn kind_of(&mut self, counters: &Counters, candidate: &Candidate) -> u32 {
        let yesterday = counters.defined[candidate.total as usize]
            .as_ref()
            .is_some_and(
                |counter| matches!(*counter, Counter::Total { day, .. } if day != candidate.day),
            );
        let index = candidate.total as usize * 2 + usize::from(yesterday);
        if self.numbers.len() <= index {
            self.numbers.resize(index + 1, UNKNOWN);
        }
        if self.numbers[index] == UNKNOWN {
            self.numbers[index] = self.used;
            self.used += 1;
            let rule = u64::from(candidate.rule) << 1 | u64::from(yesterday);
            put_number(&mut self.kinds, rule);
            put_number(&mut self.kinds, u64::from(candidate.day));
        }
        self.numbers[index]
    }

    /// Return the blob of the candidates appended since the last one; None when there are none.
    pub(crate) fn take(&mut self, id: SplitId) -> Option<Vec<u8>> {
        if self.candidates.is_empty() {
            return None;
        }
        let mut out = Vec::with_capacity(self.kinds.len() + self.candidates.len() + 32);
        for number in [id.range, id.number] {
            put_number(&mut out, u64::from(number));
        }
        put_number(&mut out, self.first);
        put_number(&mut out, u64::from(self.used));
        out.append(&mut self.kinds);
        out.append(&mut self.candidates);
        self.numbers.fill(UNKNOWN);
        self.used = 0;
        Some(out)
    }
}

/// Reads the candidates of a blob.
pub(crate) struct CandidateReader<'a> {
    pub(crate) split: SplitId,
    /// Position of the first candidate, then of the last one read.
    pub(crate) position: u64,
    kinds: Vec<CandidateKind>,
    blob: &'a [u8],
    rest: Input<'a>,
}

#[derive(Clone, Copy)]
struct CandidateKind {
    rule: u32,
    day: u32,
    total: u32,
    cap: u32,
}

/// The reason why a blob cannot be read.
#[derive(Clone, Copy)]
pub(crate) enum BlobError {
    Damaged,
    /// There are more open counters than numbers.
    CountersFull,
}

impl<'a> CandidateReader<'a> {
    /// Read the kinds, and declare their counters.
    pub(crate) fn new(
        blob: &'a [u8],
        rules: &Rules,
        counters: &mut Counters,
    ) -> Result<CandidateReader<'a>, BlobError> {
        let mut rest = Input(blob);
        let mut head = || {
            Some((
                SplitId {
                    range: rest.small()?,
                    number: rest.small()?,
                },
                rest.number()?,
                rest.small()?,
            ))
        };
        let (split, position, count) = head().ok_or(BlobError::Damaged)?;
        let mut kinds = Vec::new();
        for _ in 0..count {
            let mut kind = || Some((rest.number()?, rest.small()?));
            let (number, day) = kind().ok_or(BlobError::Damaged)?;
            let rule = u32::try_from(number >> 1).map_err(|_| BlobError::Damaged)?;
            // A writer has no such rule or day.
            if rule as usize >= rules.rules.len() || day == 0 || day > clock::DAY_MAX {
                return Err(BlobError::Damaged);
            }
            let (total, cap) = counters
                .of_rule(rules, rule, number & 1 == 1, day)
                .ok_or(BlobError::CountersFull)?;
            kinds.push(CandidateKind {
                rule,
                day,
                total,
                cap,
            });
        }
        Ok(CandidateReader {
            split,
            position,
            kinds,
            blob,
            rest,
        })
    }

    /// Return the next candidate, with the offset of its content in the blob, and its position; None at the end.
    pub(crate) fn next(&mut self) -> Option<Result<(Candidate, u64), BlobError>> {
        if self.rest.0.is_empty() {
            return None;
        }
        Some(self.read().ok_or(BlobError::Damaged))
    }

    fn read(&mut self) -> Option<(Candidate, u64)> {
        let rest = &mut self.rest;
        self.position = self.position.checked_add(rest.number()?)?;
        let kind = self.kinds.get(rest.small()? as usize)?;
        let volume = rest.number()?;
        let mixed = rest.mixed()?;
        let length = rest.bytes()?.len();
        let end = self.blob.len() - rest.0.len();
        let candidate = Candidate {
            mixed,
            volume,
            start: u32::try_from(end - length).ok()?,
            length: length as u32,
            total: kind.total,
            cap: kind.cap,
            rule: kind.rule,
            day: kind.day,
        };
        Some((candidate, self.position))
    }

    /// Return the content of a candidate.
    pub(crate) fn content(&self, candidate: &Candidate) -> &'a [u8] {
        &self.blob[candidate.start as usize..][..candidate.length as usize]
    }
}
