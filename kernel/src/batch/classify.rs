//! Decides the lines of a chunk as far as that needs no ledger: the visitor that a chunk scans with.

use crate::batch::findings::{Findings, LINE_UNKNOWN, Reject};
use crate::batch::range::Days;
use crate::ledger::counters::Counters;
use crate::ledger::decide::Candidate;
use crate::rules::policy::Policy;
use crate::rules::{Fit, Rules, Span};
use crate::scan::filter::Filter;
use crate::scan::grammar::{Line, Record, Visitor};
use crate::scan::outcome::{LATE, Outcome};
use crate::scan::path::ScanPath;
use crate::segment::Segment;
use crate::threads;
use crate::types::clock::Clock;
use std::sync::Mutex;

/// All that scanning needs; it changes nothing but the counters.
pub struct Context<'a> {
    /// The scanner path.
    pub path: ScanPath,
    /// The targeted msisdns.
    pub segment: &'a Segment,
    /// The rules of the job, and after them those of branches whose windows differ from all before.
    pub rules: &'a [&'a Rules],
    /// Suppressed msisdns.
    pub policy: &'a Policy,
    /// The conversion to the rules' zone.
    pub clock: &'a Clock,
    /// The counters of the ledger; locked rarely, as chunks cache their numbers.
    pub counters: Mutex<&'a mut Counters>,
}

/// Numbers of the counters last used for a rule: no lock is needed while the day stays the same.
#[derive(Clone, Copy, Debug, Default)]
pub struct CachedCounters {
    day: u32,
    total: u32,
    cap: u32,
}

/// Decides lines as far as that needs no ledger: the visitor of a chunk.
pub struct Classifier<'a, 'b> {
    context: &'a Context<'b>,
    days: Days,
    findings: &'a mut Findings,
    cached: &'a mut Vec<Vec<CachedCounters>>,
    /// Records that were found in the segment.
    matched: u64,
    /// Some msisdn is suppressed.
    suppresses: bool,
}

impl<'a, 'b> Classifier<'a, 'b> {
    /// Begin; the result goes to `findings`.
    pub fn new(
        context: &'a Context<'b>,
        days: Days,
        findings: &'a mut Findings,
        cached: &'a mut Vec<Vec<CachedCounters>>,
    ) -> Classifier<'a, 'b> {
        let windows = context.rules.len();
        findings.candidates.resize_with(windows, Default::default);
        cached.resize_with(windows, Vec::new);
        Classifier {
            context,
            days,
            findings,
            cached,
            matched: 0,
            suppresses: context.policy.suppresses(),
        }
    }

    fn count(&mut self, outcome: Outcome) {
        self.findings.outcomes[outcome as usize] += 1;
    }

    /// Count the records that were only skipped, and order rejects and candidates.
    pub fn finish(self, lines: u32, records: u32) {
        let findings = self.findings;
        findings.lines = u64::from(lines);
        findings.outcomes[Outcome::NotInSegment as usize] = u64::from(records) - self.matched;
        // Only late records can have come after rejects of later lines.
        if findings.outcomes[Outcome::Late as usize] > 0 {
            findings.rejects.sort_by_key(|reject| reject.start);
        }
        findings.group();
    }

    fn counters_of(&mut self, windows: usize, span: Span, day: u32) -> Option<CachedCounters> {
        let rules = self.context.rules[windows];
        let all = &mut self.cached[windows];
        if all.is_empty() {
            all.resize(rules.rules.len() * 2, CachedCounters::default());
        }
        let cached = &mut all[span.rule as usize * 2 + usize::from(span.yesterday)];
        if cached.day != day {
            let mut counters = threads::lock(&self.context.counters);
            let (total, cap) = counters.of_rule(rules, span.rule, span.yesterday, day)?;
            *cached = CachedCounters { day, total, cap };
        }
        Some(*cached)
    }

    /// Return how a record fits the rules at an index, and its day in their zone if a rule is about its service.
    #[inline]
    fn fit(&self, windows: usize, record: &Record) -> (Fit, u32) {
        let mut day = record.date;
        let fit = self.context.rules[windows].fit(record.service, || {
            let converted = self.context.clock.convert(record.date, record.time);
            day = converted.0;
            converted.1
        });
        (fit, day)
    }

    /// Add a record to the candidates of the rules at an index. `line`: start and length of its content.
    #[inline]
    fn keep(&mut self, windows: usize, span: Span, day: u32, record: &Record, line: (u32, u32)) {
        let Some(counters) = self.counters_of(windows, span, day) else {
            self.findings.counters_full = true;
            return;
        };
        self.findings.candidates[windows].all.push(Candidate {
            mixed: record.msisdn,
            volume: record.volume,
            start: line.0,
            length: line.1,
            total: counters.total,
            cap: counters.cap,
            rule: span.rule,
            day,
        });
    }
}

impl<'s> Visitor<'s> for Classifier<'_, 's> {
    fn filter(&self) -> Filter<'s> {
        self.context.segment.filter()
    }

    fn wants_non_member(&self) -> bool {
        self.findings.unmatched.is_none()
    }

    #[cold]
    fn non_member(&mut self, msisdn: u64, start: usize) {
        if self
            .findings
            .unmatched
            .is_none_or(|(other, _)| start < other)
        {
            self.findings.unmatched = Some((start, msisdn));
        }
    }

    #[inline(always)]
    fn prefetch(&self, msisdn: u64) {
        self.context.segment.prefetch(msisdn);
    }

    #[inline(always)]
    fn contains(&self, msisdn: u64) -> bool {
        self.context.segment.contains(msisdn)
    }

    fn record(&mut self, start: usize, length: usize, record: &Record) {
        self.matched += 1;
        if self.suppresses && self.context.policy.is_suppressed(record.msisdn) {
            return self.count(Outcome::Suppressed);
        }
        let (start, length) = (start as u32, length as u32);
        for windows in 1..self.context.rules.len() {
            if let (Fit::Inside(span), day) = self.fit(windows, record)
                && day >= self.days.open
            {
                self.keep(windows, span, day, record, (start, length));
            }
        }
        let (fit, day) = self.fit(0, record);
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
            // The lines before it are counted when rejects are measured: late records are few.
            let late = Reject {
                start,
                line: LINE_UNKNOWN,
                length: u64::from(length),
                written: 0,
                reason: LATE,
                kept: true,
            };
            self.findings.rejects.push(late);
            return self.count(Outcome::Late);
        }
        self.keep(0, span, day, record, (start, length));
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
                    written: 0,
                    reason: reason as u8,
                    kept: true,
                });
            }
            Line::Record(_) => {}
        }
    }
}
