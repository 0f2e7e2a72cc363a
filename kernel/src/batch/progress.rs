//! The progress of one range: chunks are merged in order, and lines that cross them are put together.

use crate::batch::chunk::{Chunk, DATA};
use crate::batch::classify::Context;
use crate::batch::findings::Findings;
use crate::batch::range::RangeSpec;
use crate::crc::combine;
use crate::input::source::Problem;
use crate::scan::fragment::Fragment;
use crate::scan::grammar::{self, Line};
use crate::scan::outcome::{OUTCOMES, REASONS, Reason, encoded_bytes, escaped_bytes};

/// How far a range was consumed, and the counts of its lines.
#[derive(Debug, Default)]
pub struct Progress {
    /// Bytes [start, consumed) are lines that were decided.
    pub consumed: u64,
    /// Position of the next chunk to plan.
    pub next: u64,
    /// Line ends before `consumed`.
    pub newlines: u64,
    /// The same as in `RangeSpec`, at `consumed`.
    pub tail: u8,
    /// Nothing more can be consumed now.
    pub complete: bool,
    /// Lines consumed.
    pub lines: u64,
    /// Lines by outcome.
    pub outcomes: [u64; OUTCOMES.len()],
    /// Rejected lines by reason.
    pub reasons: [u64; REASONS.len()],
    /// Bytes of the encoded rejects that are kept.
    pub kept_bytes: u64,
    /// (lines, from, to) of rejects that are only counted.
    pub dropped: Option<(u64, u64, u64)>,
    /// The reason why no more could be read.
    pub problem: Option<Problem>,
    /// The bytes from `consumed` on that were merged: a line whose end is not known yet.
    pub fragment: Fragment,
    /// CRC of all merged bytes.
    crc: u64,
    /// CRC of the bytes before `consumed`.
    digest: PrefixCrc,
}

/// A CRC that is combined only on demand, as that takes about a microsecond.
#[derive(Clone, Copy, Debug, Default)]
struct PrefixCrc {
    before: u64,
    after: u64,
    after_bytes: u64,
}

impl Progress {
    /// Begin a range.
    pub fn new(spec: &RangeSpec) -> Progress {
        Progress {
            consumed: spec.start,
            next: spec.start,
            newlines: spec.newlines,
            tail: spec.tail,
            crc: spec.digest,
            digest: PrefixCrc {
                before: spec.digest,
                ..PrefixCrc::default()
            },
            ..Progress::default()
        }
    }

    /// Return the CRC of the bytes before `consumed`.
    pub fn digest(&self) -> u64 {
        combine(
            self.digest.before,
            self.digest.after,
            self.digest.after_bytes,
        )
    }

    /// Return true when anything was consumed, or nothing can be.
    pub fn has_moved(&self, spec: &RangeSpec) -> bool {
        self.complete || self.consumed > spec.start
    }

    /// Merge the next chunk of the range. A line that ends in its head becomes its front.
    pub fn merge(&mut self, spec: &RangeSpec, context: &Context, chunk: &mut Chunk) {
        if chunk.head == 0 {
            self.fragment.extend(chunk.data());
        } else {
            self.fragment.extend(&chunk.data()[..chunk.head]);
            self.decide(spec, context, chunk);
            self.newlines += 1;
            chunk.body_newlines = self.newlines;
            self.newlines += chunk.body.lines;
            self.consumed = chunk.position + chunk.body_end as u64;
            self.tail = 0;
            self.fragment.extend(&chunk.data()[chunk.body_end..]);
            self.digest = PrefixCrc {
                before: self.crc,
                after: chunk.body_crc,
                after_bytes: chunk.body_end as u64,
            };
        }
        self.crc = combine(self.crc, chunk.crc, chunk.len as u64);
        self.count(spec, chunk);
        if chunk.problem.is_some() || chunk.len < chunk.wanted {
            let short = || Problem::short(spec.end);
            self.problem = Some(chunk.problem.take().unwrap_or_else(short));
            self.complete = true;
        } else if chunk.position + chunk.len as u64 >= spec.end {
            self.complete = true;
        }
    }

    /// Return true when the range ended with an unterminated line that is to be consumed.
    pub fn has_last_line(&self, spec: &RangeSpec) -> bool {
        spec.is_final && self.complete && self.problem.is_none() && !self.fragment.is_empty()
    }

    /// Consume the unterminated last line, as the front of an empty chunk.
    pub fn merge_last_line(&mut self, spec: &RangeSpec, context: &Context, chunk: &mut Chunk) {
        let bytes = self.fragment.len();
        let tail = if self.fragment.last() == b'\r' { 2 } else { 1 };
        // After a byte-order mark alone the first line has yet to begin.
        let begun = self.decide(spec, context, chunk);
        self.consumed += bytes;
        self.tail = if begun { tail } else { 0 };
        self.digest = PrefixCrc {
            before: self.crc,
            ..PrefixCrc::default()
        };
        self.count(spec, chunk);
    }

    /// Decide the line in the fragment and clear it; return false when it was only a byte-order mark.
    fn decide(&mut self, spec: &RangeSpec, context: &Context, chunk: &mut Chunk) -> bool {
        let first = self.newlines == 0 && self.tail == 0;
        let mark = if self.consumed == 0 {
            self.fragment.byte_order_mark()
        } else {
            0
        };
        let (content, length) = (
            self.fragment.content(mark),
            self.fragment.content_bytes(mark),
        );
        chunk.front_position = self.consumed + mark as u64;
        chunk.front_newlines = self.newlines;
        let kind = match (self.tail, self.fragment.short()) {
            (0, _) if mark as u64 == self.fragment.len() => {
                self.fragment.clear();
                return false;
            }
            (0, _) => Some(grammar::parse_line(content, first, spec.day_max)),
            // This is the line end of a line that was consumed without it.
            (_, Some(b"\n")) | (1, Some(b"\r\n" | b"\r")) => None,
            _ => Some(Line::Reject(Reason::Columns)),
        };
        if let Some(kind) = kind {
            chunk.scan_front(context, spec.days(), content, length, kind);
        }
        self.fragment.clear();
        true
    }

    fn count(&mut self, spec: &RangeSpec, chunk: &mut Chunk) {
        let (position, front_position) = (chunk.position, chunk.front_position);
        for (in_front, newlines, findings) in [
            (true, chunk.front_newlines, &mut chunk.front),
            (false, chunk.body_newlines, &mut chunk.body),
        ] {
            self.lines += findings.lines;
            for (sum, count) in self.outcomes.iter_mut().zip(findings.outcomes) {
                *sum += count;
            }
            for (sum, count) in self.reasons.iter_mut().zip(findings.reasons) {
                *sum += count;
            }
            let place = |start: u32| {
                if in_front {
                    front_position
                } else {
                    position + u64::from(start) - DATA as u64
                }
            };
            self.keep_rejects(spec, findings, newlines, place);
        }
    }

    fn keep_rejects(
        &mut self,
        spec: &RangeSpec,
        findings: &mut Findings,
        newlines: u64,
        place: impl Fn(u32) -> u64,
    ) {
        let name_bytes = escaped_bytes(spec.name.as_bytes());
        for reject in &mut findings.rejects {
            let from = place(reject.start);
            let bytes = encoded_bytes(
                name_bytes,
                newlines + u64::from(reject.line) + 1,
                from,
                reject.length,
                reject.reason,
                reject.written as usize,
            );
            reject.kept = self.keep(spec, bytes as u64, (from, from + reject.length));
        }
    }

    /// Return true when a reject at [from, to) that takes so many bytes encoded is kept. The first that does not fit
    /// into the limit ends it for all after it: so a split can tell which of its rejects may be kept without knowing
    /// how many rejects come before.
    pub(crate) fn keep(&mut self, spec: &RangeSpec, bytes: u64, (from, to): (u64, u64)) -> bool {
        if self.dropped.is_none() && self.kept_bytes + bytes <= spec.rejects_left_bytes {
            self.kept_bytes += bytes;
            return true;
        }
        self.drop_rejects((1, from, to));
        false
    }

    /// Count rejects (lines, from, to) whose bytes are not kept.
    pub(crate) fn drop_rejects(&mut self, (lines, from, to): (u64, u64, u64)) {
        let dropped = self.dropped.get_or_insert((0, from, to));
        dropped.0 += lines;
        dropped.2 = to;
    }

    /// Append a split of the range, up to `consumed`: its line ends, its CRC, and the tail at its end.
    pub(crate) fn append(&mut self, consumed: u64, newlines: u64, crc: u64, tail: u8) {
        self.digest.before = combine(self.digest.before, crc, consumed - self.consumed);
        self.newlines += newlines;
        (self.consumed, self.tail) = (consumed, tail);
    }
}
