//! Where the reading of one range stands: lines are put together from chunks here, in order.

use crate::batch::chunk::{Chunk, DATA};
use crate::batch::classify::Context;
use crate::batch::findings::Findings;
use crate::batch::range::RangeSpec;
use crate::crc::combine;
use crate::input::source::Problem;
use crate::scan::fragment::Fragment;
use crate::scan::grammar::{self, Line};
use crate::scan::outcome::{OUTCOMES, REASONS, Reason, encoded_bytes, escaped_bytes};

/// Where a range stands.
#[derive(Debug, Default)]
pub struct Progress {
    /// Bytes [start, taken) are lines that were decided.
    pub taken: u64,
    /// Position of the next chunk to plan.
    pub next: u64,
    /// Line ends before `taken`.
    pub newlines: u64,
    /// As in `RangeSpec`, at `taken`.
    pub tail: u8,
    /// Nothing more can be taken now.
    pub complete: bool,
    /// Lines taken.
    pub lines: u64,
    /// Lines by outcome.
    pub outcomes: [u64; OUTCOMES.len()],
    /// Rejected lines by reason.
    pub reasons: [u64; REASONS.len()],
    /// Bytes of encoded rejects kept.
    pub kept_bytes: u64,
    /// (lines, from, to) of rejects counted alone.
    pub dropped: Option<(u64, u64, u64)>,
    /// Why no more could be read.
    pub problem: Option<Problem>,
    /// The bytes from `taken` on that were merged: a line whose end is not known yet.
    pub fragment: Fragment,
    /// CRC of all merged bytes.
    crc: u64,
    /// CRC of the bytes before `taken`.
    digest: PrefixCrc,
}

/// A CRC that is only put together when it is asked for: that costs about a microsecond.
#[derive(Clone, Copy, Debug, Default)]
struct PrefixCrc {
    before: u64,
    after: u64,
    after_bytes: u64,
}

impl Progress {
    /// The beginning of a range.
    pub fn new(spec: &RangeSpec) -> Progress {
        Progress {
            taken: spec.start,
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

    /// CRC of the bytes before `taken`.
    pub fn digest(&self) -> u64 {
        combine(
            self.digest.before,
            self.digest.after,
            self.digest.after_bytes,
        )
    }

    /// Whether anything came of this range.
    pub fn has_moved(&self, spec: &RangeSpec) -> bool {
        self.complete || self.taken > spec.start
    }

    /// Add the next chunk of the range. A line that ends in its head becomes its front.
    pub fn merge(&mut self, spec: &RangeSpec, context: &Context, chunk: &mut Chunk) {
        if chunk.head == 0 {
            self.fragment.extend(chunk.data());
        } else {
            self.fragment.extend(&chunk.data()[..chunk.head]);
            self.decide(spec, context, chunk);
            self.newlines += 1;
            chunk.body_newlines = self.newlines;
            self.newlines += chunk.body.lines;
            self.taken = chunk.position + chunk.body_end as u64;
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

    /// Whether the range is over with an unterminated line that is to be taken.
    pub fn has_last_line(&self, spec: &RangeSpec) -> bool {
        spec.last && self.complete && self.problem.is_none() && !self.fragment.is_empty()
    }

    /// Take the unterminated last line, as the front of an empty chunk.
    pub fn merge_last_line(&mut self, spec: &RangeSpec, context: &Context, chunk: &mut Chunk) {
        let bytes = self.fragment.len();
        let tail = if self.fragment.last() == b'\r' { 2 } else { 1 };
        // After a byte-order mark alone the first line has yet to begin.
        let begun = self.decide(spec, context, chunk);
        self.taken += bytes;
        self.tail = if begun { tail } else { 0 };
        self.digest = PrefixCrc {
            before: self.crc,
            ..PrefixCrc::default()
        };
        self.count(spec, chunk);
    }

    /// Decide the line in the fragment and forget it; false when there was no more than a byte-order mark.
    fn decide(&mut self, spec: &RangeSpec, context: &Context, chunk: &mut Chunk) -> bool {
        let first = self.newlines == 0 && self.tail == 0;
        let mark = if self.taken == 0 {
            self.fragment.byte_order_mark()
        } else {
            0
        };
        let (content, length) = (
            self.fragment.content(mark),
            self.fragment.content_bytes(mark),
        );
        chunk.front_position = self.taken + mark as u64;
        chunk.front_newlines = self.newlines;
        let kind = match (self.tail, self.fragment.short()) {
            (0, _) if mark as u64 == self.fragment.len() => {
                self.fragment.clear();
                return false;
            }
            (0, _) => Some(grammar::parse_line(content, first, spec.day_max)),
            // It is the line end of a line that was taken without it.
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

    /// Whether a reject at [from, to) is kept that takes so many bytes as it is written down. The first that does not
    /// fit into what is left ends it for all after it: so some bytes of a range can say what may be kept of them
    /// without knowing how many rejects come before.
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

    /// Add a part of the range that was read elsewhere, up to `taken`: its line ends, its CRC, and the tail at its end.
    pub(crate) fn append(&mut self, taken: u64, newlines: u64, crc: u64, tail: u8) {
        self.digest.before = combine(self.digest.before, crc, taken - self.taken);
        self.newlines += newlines;
        (self.taken, self.tail) = (taken, tail);
    }
}
