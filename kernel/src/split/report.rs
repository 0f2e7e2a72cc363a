//! The report of a split: all but the records that the ledger decides. `gather` reads it.
//!
//! Counts are those of the split alone, and lines are counted from its first one, since no split knows how many lines
//! come before it. Rejects carry their bytes, and are encoded when their lines have numbers.

use crate::input::source::{PROBLEMS, Problem, UNREADABLE};
use crate::scan::grammar::LINE_BYTES_MAX;
use crate::scan::outcome::{LATE, OUTCOMES, REASONS};
use crate::wire::{Input, put_bytes, put_number};

/// The counts, rejects and position of a split.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SplitReport {
    /// Inode of the file.
    pub(crate) inode: u64,
    /// The bytes [from, consumed) are lines that were decided.
    pub(crate) from: u64,
    pub(crate) consumed: u64,
    /// Line ends among them.
    pub(crate) newlines: u64,
    /// CRC of these bytes.
    pub(crate) crc: u64,
    /// The same as in `RangeSpec`, at `consumed`.
    pub(crate) tail: u8,
    pub(crate) lines: u64,
    /// Lines by outcome, without those that the ledger decides.
    pub(crate) outcomes: [u64; OUTCOMES.len()],
    pub(crate) reasons: [u64; REASONS.len()],
    /// Sum of the CRCs of the blobs of candidates.
    pub(crate) candidates: u64,
    pub(crate) problem: Option<Problem>,
    /// (lines, from, to) of rejects that cannot be kept, whatever comes before the split.
    pub(crate) dropped: Option<(u64, u64, u64)>,
    pub(crate) outside_over: u64,
    /// (position, content) of the first record outside its hours with a volume above a threshold of its service.
    pub(crate) outside_over_example: Option<(u64, Vec<u8>)>,
    /// The msisdn of the first record that is not in the segment.
    pub(crate) unmatched_example: Option<String>,
    /// `SplitReject`s, encoded.
    pub(crate) rejects: Vec<u8>,
}

/// A rejected or late line of a split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SplitReject<'a> {
    /// Line ends of the split before it.
    pub(crate) newlines: u64,
    pub(crate) byte: u64,
    /// Length of its content.
    pub(crate) length: u64,
    /// A `Reason` or `LATE`.
    pub(crate) reason: u8,
    /// The kept part of its content.
    pub(crate) raw: &'a [u8],
}

impl SplitReport {
    /// Append the next reject.
    pub(crate) fn put(&mut self, reject: &SplitReject) {
        let out = &mut self.rejects;
        for number in [reject.newlines, reject.byte, reject.length] {
            put_number(out, number);
        }
        out.push(reject.reason);
        put_bytes(out, reject.raw);
    }

    /// Iterate over the rejects in order; the first that cannot be read is None, and the last.
    pub(crate) fn each_reject(&self) -> impl Iterator<Item = Option<SplitReject<'_>>> {
        let mut input = Input(&self.rejects);
        std::iter::from_fn(move || {
            if input.0.is_empty() {
                return None;
            }
            let reject = reject(&mut input);
            if reject.is_none() {
                input.0 = &[];
            }
            Some(reject)
        })
    }

    /// Encode it for `decode`.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.rejects.len() + 128);
        for word in [self.inode, self.crc, self.candidates] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        for number in [self.from, self.consumed, self.newlines, self.lines] {
            put_number(&mut out, number);
        }
        out.push(self.tail);
        for count in self.outcomes.iter().chain(&self.reasons) {
            put_number(&mut out, *count);
        }
        put_option(&mut out, self.problem.as_ref(), |out, problem| {
            let known = |wanted| PROBLEMS.iter().position(|slug| *slug == wanted);
            // A slug that is not in the list must not be taken for that of a missing file.
            let slug = known(problem.slug).or_else(|| known(UNREADABLE));
            out.push(slug.unwrap_or_default() as u8);
            put_bytes(out, problem.detail.as_bytes());
        });
        put_option(&mut out, self.dropped, |out, (lines, from, to)| {
            for number in [lines, from, to] {
                put_number(out, number);
            }
        });
        put_number(&mut out, self.outside_over);
        put_option(
            &mut out,
            self.outside_over_example.as_ref(),
            |out, (byte, content)| {
                put_number(out, *byte);
                put_bytes(out, content);
            },
        );
        put_option(&mut out, self.unmatched_example.as_ref(), |out, digits| {
            put_bytes(out, digits.as_bytes());
        });
        out.extend_from_slice(&self.rejects);
        out
    }

    /// Decode it; None when the bytes are damaged.
    pub(crate) fn decode(bytes: &[u8]) -> Option<SplitReport> {
        let mut input = Input(bytes);
        let [inode, crc, candidates] = [input.u64()?, input.u64()?, input.u64()?];
        let [from, consumed, newlines, lines] = [
            input.number()?,
            input.number()?,
            input.number()?,
            input.number()?,
        ];
        let tail = input.u8().filter(|tail| *tail <= 2 && from <= consumed)?;
        let mut report = SplitReport {
            inode,
            from,
            consumed,
            newlines,
            crc,
            tail,
            lines,
            candidates,
            ..SplitReport::default()
        };
        for count in report.outcomes.iter_mut().chain(&mut report.reasons) {
            *count = input.number()?;
        }
        report.problem = option(&mut input, |input| {
            let slug = PROBLEMS.get(usize::from(input.u8()?))?;
            Some(Problem::new(slug, text(input)?))
        })?;
        report.dropped = option(&mut input, |input| {
            Some((input.number()?, input.number()?, input.number()?))
        })?;
        report.outside_over = input.number()?;
        report.outside_over_example = option(&mut input, |input| {
            Some((input.number()?, input.bytes()?.to_vec()))
        })?;
        report.unmatched_example = option(&mut input, text)?;
        report.rejects = input.0.to_vec();
        report.is_sound().then_some(report)
    }
}

impl SplitReport {
    /// Return true when no count exceeds the bytes consumed, and every reject can be read.
    fn is_sound(&self) -> bool {
        let dropped = self.dropped.map_or(0, |(lines, _, _)| lines);
        let own = [self.newlines, self.lines, self.outside_over, dropped];
        let mut counts = own.iter().chain(&self.outcomes).chain(&self.reasons);
        counts.all(|count| *count <= self.consumed - self.from)
            && self
                .each_reject()
                .all(|reject| reject.is_some_and(|reject| reject.newlines <= self.newlines))
    }
}

fn reject<'a>(input: &mut Input<'a>) -> Option<SplitReject<'a>> {
    Some(SplitReject {
        newlines: input.number()?,
        byte: input.number()?,
        length: input.number()?,
        reason: input.u8().filter(|reason| *reason <= LATE)?,
        raw: input.bytes().filter(|raw| raw.len() <= LINE_BYTES_MAX)?,
    })
}

fn text(input: &mut Input) -> Option<String> {
    String::from_utf8(input.bytes()?.to_vec()).ok()
}

fn put_option<T>(out: &mut Vec<u8>, value: Option<T>, put: impl FnOnce(&mut Vec<u8>, T)) {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        put(out, value);
    }
}

/// Read an optional value; None when the bytes are damaged.
#[allow(clippy::option_option)] // a value that may not be there, or may not be readable
fn option<'a, T>(
    input: &mut Input<'a>,
    read: impl FnOnce(&mut Input<'a>) -> Option<T>,
) -> Option<Option<T>> {
    match input.u8()? {
        0 => Some(None),
        1 => read(input).map(Some),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> SplitReport {
        let mut report = SplitReport {
            inode: u64::MAX,
            from: 1 << 40,
            consumed: 1 << 41,
            newlines: 7,
            crc: u64::MAX - 1,
            tail: 2,
            lines: 300,
            outcomes: std::array::from_fn(|at| 100 + at as u64),
            reasons: std::array::from_fn(|at| at as u64),
            candidates: 5,
            problem: Some(Problem::new("short", "in words")),
            dropped: Some((1, 2, 3)),
            outside_over: 4,
            outside_over_example: Some((5, b"12345,1,1,2".to_vec())),
            unmatched_example: Some("12345".into()),
            rejects: Vec::new(),
        };
        for raw in [b"".as_slice(), b"a,b", &[0xff; LINE_BYTES_MAX]] {
            report.put(&SplitReject {
                newlines: 1,
                byte: 1 << 50,
                length: raw.len() as u64,
                reason: LATE,
                raw,
            });
        }
        report
    }

    #[test]
    fn a_report_comes_back() {
        for report in [SplitReport::default(), full()] {
            assert_eq!(
                Some(&report),
                SplitReport::decode(&report.encode()).as_ref()
            );
        }
        assert_eq!(3, full().each_reject().count());
    }

    #[test]
    fn every_problem_comes_back_and_a_new_one_is_never_a_loss() {
        let told = |slug| {
            let problem = Some(Problem::new(slug, ""));
            let report = SplitReport {
                problem,
                ..SplitReport::default()
            };
            let found = SplitReport::decode(&report.encode()).and_then(|report| report.problem);
            found.map(|problem| problem.slug)
        };
        for slug in PROBLEMS {
            assert_eq!(Some(slug), told(slug));
        }
        assert_eq!(Some(UNREADABLE), told("new"));
    }

    #[test]
    fn a_report_that_was_cut_or_changed_never_panics() {
        let bytes = full().encode();
        for end in 0..bytes.len() {
            if let Some(cut) = SplitReport::decode(&bytes[..end]) {
                // Only whole rejects may be missing from a cut one.
                assert!(cut.each_reject().count() < 3);
            }
        }
        for at in 0..200 {
            let mut changed = bytes.clone();
            changed[at] ^= 255;
            let _ = SplitReport::decode(&changed);
        }
    }
}
