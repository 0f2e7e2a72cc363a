//! A piece: some bytes of a range, scanned by one thread as far as that goes without the ledger.
//!
//! A piece does not know where its first line began, nor how its last one ends: it decides the whole lines after its
//! first `\n` alone. Its head (up to that `\n`) and its rest are put together with those of its neighbours by `process`,
//! in order, and the line made of them is decided as the *front* of the piece in which it ended. So every byte is read
//! once, a line may be longer than any buffer, and where pieces are cut never shows.
//!
//! Layout of the buffer: pad | front content | data | pad. An offset below `DATA` is one of the front.

use crate::clock::{self, Clock};
use crate::crc::crc64;
use crate::fast::{PAD_AFTER, PAD_BEFORE, Path};
use crate::ledger::{Candidate, Column, Columns, SHARDS, shard_of};
use crate::msisdn;
use crate::reader::Problem;
use crate::reject::{LATE, OUTCOMES, Outcome, REASONS};
use crate::rules::{Fit, Rules};
use crate::scan::{LINE_BYTES_MAX, Line, Record, Visitor};
use crate::segment::Segment;
use crate::threads;
use std::sync::Mutex;

/// Where a front's content begins in the buffer.
pub const FRONT: usize = PAD_BEFORE;
/// Where the data begins: a cache line's start, with room for a front (which may be one byte too long) before it.
pub const DATA: usize = (FRONT + LINE_BYTES_MAX + 1).next_multiple_of(64);
/// Groups of shards: the units of parallel work on the ledger.
pub const GROUPS: usize = 32;
const GROUP_SHARDS: usize = SHARDS / GROUPS;

/// What scanning needs and does not change.
pub struct Context<'a> {
    /// The scanner path.
    pub path: Path,
    /// The targeted msisdns.
    pub segment: &'a Segment,
    /// The rules.
    pub rules: &'a Rules,
    /// The zones.
    pub clock: &'a Clock,
    /// The columns of the ledger; asked rarely, as pieces remember them.
    pub columns: Mutex<&'a mut Columns>,
}

/// The days of a range.
#[derive(Clone, Copy, Debug)]
pub struct Days {
    /// A later date as written is `future`.
    pub max: u32,
    /// An earlier day is `late`.
    pub open: u32,
}

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
    /// (start, msisdn) of the first record that is not in the segment.
    pub unmatched: Option<(usize, u64)>,
    /// There were more open columns than the ledger can number.
    pub columns_full: bool,
}

impl Findings {
    fn clear(&mut self) {
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
    fn group(&mut self) {
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

/// Columns as last asked for a rule: no lock while the day stays.
#[derive(Clone, Copy, Debug, Default)]
struct Remembered {
    day: u32,
    total: u32,
    cap: u32,
}

/// One piece and its buffer, used again for others.
#[derive(Debug, Default)]
pub struct Piece {
    /// The buffer.
    pub bytes: Vec<u8>,
    /// Index of its range.
    pub range: usize,
    /// Position in the file of the data's first byte.
    pub position: u64,
    /// Bytes asked for.
    pub wanted: usize,
    /// Bytes read.
    pub len: usize,
    /// Bytes up to and with the first `\n`; 0 when there is none.
    pub head: usize,
    /// Bytes up to and with the last `\n`.
    pub body_end: usize,
    /// CRC of the data up to `body_end`.
    pub body_crc: u64,
    /// CRC of all the data.
    pub crc: u64,
    /// Why not all was read, if so.
    pub problem: Option<Problem>,
    /// Of the line that ended in the head.
    pub front: Findings,
    /// Position in the file of the front's content.
    pub front_position: u64,
    /// Line ends in the file before the front.
    pub front_newlines: u64,
    /// Of the lines after the head.
    pub body: Findings,
    /// Line ends in the file before the body.
    pub body_newlines: u64,
    remembered: Vec<Remembered>,
}

impl Piece {
    /// Make it a piece of that range and place.
    pub fn reset(&mut self, range: usize, position: u64, wanted: usize) {
        let size = DATA + wanted + PAD_AFTER;
        if self.bytes.len() < size {
            self.bytes.resize(size, 0);
        }
        self.front.clear();
        self.body.clear();
        (self.range, self.position, self.wanted) = (range, position, wanted);
        (self.len, self.head, self.body_end, self.body_crc, self.crc) = (0, 0, 0, 0, 0);
        self.problem = None;
    }

    /// Forget columns that were asked for in an earlier call: they may be others now.
    pub fn forget_columns(&mut self) {
        self.remembered.clear();
    }

    /// The buffer to read into.
    pub fn buffer(&mut self) -> &mut [u8] {
        &mut self.bytes[DATA..DATA + self.wanted]
    }

    /// The data that was read.
    pub fn data(&self) -> &[u8] {
        &self.bytes[DATA..DATA + self.len]
    }

    /// Position in the file of a content that starts at this place of the buffer.
    pub fn position_of(&self, start: u32) -> u64 {
        match (start as usize).checked_sub(DATA) {
            Some(offset) => self.position + offset as u64,
            None => self.front_position,
        }
    }

    /// The content at this place of the buffer.
    pub fn content(&self, start: u32, length: u32) -> &[u8] {
        &self.bytes[start as usize..][..length as usize]
    }

    /// Scan what was read.
    pub fn scan(&mut self, context: &Context, days: Days) {
        let data = &self.bytes[DATA..DATA + self.len];
        if let Some(newline) = memchr::memchr(b'\n', data) {
            self.head = newline + 1;
            self.body_end = memchr::memrchr(b'\n', data).map_or(0, |last| last + 1);
        }
        self.body_crc = crc64(&data[..self.body_end], 0);
        self.crc = crc64(&data[self.body_end..], self.body_crc);
        if self.body_end > self.head {
            let (from, to) = (DATA + self.head, DATA + self.body_end);
            let mut finder = Finder {
                context,
                days,
                findings: &mut self.body,
                remembered: &mut self.remembered,
                matched: 0,
            };
            let scanned = context
                .path
                .scan_lines(&self.bytes, from, to, days.max, &mut finder);
            finder.finish(scanned.lines, scanned.records);
        }
    }

    /// Decide a line that did not lie within one piece, as the front of this one. `length`: of its content.
    pub fn scan_front(
        &mut self,
        context: &Context,
        days: Days,
        content: &[u8],
        length: u64,
        kind: Line,
    ) {
        self.bytes[FRONT..FRONT + content.len()].copy_from_slice(content);
        let mut finder = Finder {
            context,
            days,
            findings: &mut self.front,
            remembered: &mut self.remembered,
            matched: 0,
        };
        let mut records = 0;
        if let Line::Record(record) = &kind {
            records = 1;
            if finder.wants(record.msisdn, FRONT) && finder.contains(record.msisdn, FRONT) {
                finder.record(FRONT, content.len(), record);
            }
        } else {
            finder.other(FRONT, content.len(), 0, kind);
        }
        finder.finish(1, records);
        if let [reject] = self.front.rejects.as_mut_slice() {
            reject.length = length;
        }
    }
}

/// Decides what needs no ledger: the visitor of a piece.
struct Finder<'a, 'b> {
    context: &'a Context<'b>,
    days: Days,
    findings: &'a mut Findings,
    remembered: &'a mut Vec<Remembered>,
    /// Records that were found in the segment.
    matched: u64,
}

impl Finder<'_, '_> {
    fn count(&mut self, outcome: Outcome) {
        self.findings.outcomes[outcome as usize] += 1;
    }

    #[cold]
    fn unmatched(&mut self, msisdn: u64, start: usize) {
        if self
            .findings
            .unmatched
            .is_none_or(|(other, _)| start < other)
        {
            self.findings.unmatched = Some((start, msisdn));
        }
    }

    /// Counts what was only skipped, and puts things in order.
    fn finish(self, lines: u32, records: u32) {
        let findings = self.findings;
        findings.lines = u64::from(lines);
        findings.outcomes[Outcome::NotInSegment as usize] = u64::from(records) - self.matched;
        // Only late records can have come after the rejects of lines below them.
        if findings.outcomes[Outcome::Late as usize] > 0 {
            findings.rejects.sort_by_key(|reject| reject.start);
        }
        findings.group();
    }

    fn columns_of(&mut self, rule: u32, yesterday: bool, day: u32) -> Option<Remembered> {
        let rules = self.context.rules;
        if self.remembered.is_empty() {
            self.remembered
                .resize(rules.rules.len() * 2, Remembered::default());
        }
        let remembered = &mut self.remembered[rule as usize * 2 + usize::from(yesterday)];
        if remembered.day != day {
            let of = &rules.rules[rule as usize];
            let opened = if yesterday {
                clock::day_before(day)
            } else {
                day
            };
            let total = Column::Total {
                service: of.service,
                start_min: of.start_min,
                end_min: of.end_min,
                day: opened,
            };
            let application = rules.applications[of.application as usize].clone();
            let mut columns = threads::lock(&self.context.columns);
            let total = columns.number(&total)?;
            let cap = columns.number(&Column::Cap { application, day })?;
            columns.pair(total, cap);
            *remembered = Remembered { day, total, cap };
        }
        Some(*remembered)
    }
}

impl Visitor for Finder<'_, '_> {
    #[inline(always)]
    fn wants(&mut self, msisdn: u64, start: usize) -> bool {
        let maybe = self.context.segment.may_contain(msisdn::mix(msisdn));
        // In this order: the first is nearly never so, and nothing can foresee the second.
        if self.findings.unmatched.is_none() && !maybe {
            self.unmatched(msisdn, start);
        }
        maybe
    }

    #[inline(always)]
    fn prefetch_filter(&self, msisdn: u64) {
        self.context.segment.prefetch_filter(msisdn::mix(msisdn));
    }

    #[inline(always)]
    fn prefetch(&self, msisdn: u64) {
        self.context.segment.prefetch(msisdn::mix(msisdn));
    }

    #[inline(always)]
    fn contains(&mut self, msisdn: u64, start: usize) -> bool {
        let contains = self.context.segment.contains(msisdn::mix(msisdn));
        if !contains
            && self
                .findings
                .unmatched
                .is_none_or(|(other, _)| start < other)
        {
            self.unmatched(msisdn, start);
        }
        contains
    }

    fn record(&mut self, start: usize, length: usize, record: &Record) {
        self.matched += 1;
        let (start, length) = (start as u32, length as u32);
        let mut day = record.date;
        let fit = self.context.rules.fit(record.service, || {
            let converted = self.context.clock.convert(record.date, record.time);
            day = converted.0;
            converted.1
        });
        let span = match fit {
            Fit::NoRule => return self.count(Outcome::NoRule),
            Fit::Outside(threshold_min) => {
                if record.volume > threshold_min {
                    self.findings.outside_over += 1;
                    self.findings
                        .outside_over_first
                        .get_or_insert((start, length));
                }
                return self.count(Outcome::OutsideWindow);
            }
            Fit::Inside(span) => span,
        };
        if day < self.days.open {
            // The number of lines before it is found when it is written down: there are few late ones.
            let late = Reject {
                start,
                line: u32::MAX,
                length: u64::from(length),
                reason: LATE,
                kept: true,
            };
            self.findings.rejects.push(late);
            return self.count(Outcome::Late);
        }
        let Some(columns) = self.columns_of(span.rule, span.yesterday, day) else {
            self.findings.columns_full = true;
            return;
        };
        self.findings.candidates.push(Candidate {
            mixed: msisdn::mix(record.msisdn),
            volume: record.volume,
            start,
            length,
            total: columns.total,
            cap: columns.cap,
            rule: span.rule,
            day,
        });
    }

    fn other(&mut self, start: usize, length: usize, line: u32, kind: Line) {
        match kind {
            Line::Blank => self.count(Outcome::Blank),
            Line::Header => self.count(Outcome::Header),
            Line::Reject(reason) => {
                self.count(Outcome::Rejected);
                self.findings.reasons[reason as usize] += 1;
                self.findings.rejects.push(Reject {
                    start: start as u32,
                    line,
                    length: length as u64,
                    reason: reason as u8,
                    kept: true,
                });
            }
            Line::Record(_) => {}
        }
    }
}
