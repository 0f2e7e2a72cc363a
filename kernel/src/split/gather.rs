//! Puts the reports of splits and shards together to the result of their batch: the one that `Scanner::process` has for
//! the same ranges.
//!
//! Files may change between two tasks, and a lost task may run again after some of its output was used. So nothing is
//! trusted: the splits of a range must join to the byte, be of one file, and have sent the very candidates that were
//! decided. Where they do not, the batch is to be computed again, over less: see `Cut`.

use crate::batch::job::{BegunRange, Processed};
use crate::batch::progress::Progress;
use crate::batch::range::RangeSpec;
use crate::ledger::decide::DECIDED_OUTCOMES;
use crate::rules::Rules;
use crate::scan::outcome::{encode_into, encoded_bytes, escaped_bytes};
use crate::split::candidates::SplitId;
use crate::split::report::SplitReport;
use crate::split::step::{Emitted, read_report};
use std::collections::HashMap;

/// A split with its report.
pub struct ReportedSplit<'a> {
    /// Its identity.
    pub id: SplitId,
    /// It owns the lines that start in [begin, end).
    pub begin: u64,
    /// See `begin`.
    pub end: u64,
    /// The report of `SplitScanner::report`.
    pub report: &'a [u8],
}

/// The result of gathering a batch.
pub enum Gathered {
    /// The ranges, as far as they can be read.
    Whole(Box<Processed>),
    /// Its splits do not join: nothing of the batch counts.
    Cut(Cut),
}

/// How to compute the batch again: end this range early, and take no range after it. The batch is shorter than before,
/// unless a task ran again after its file had changed: then the same may succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Index of the range.
    pub range: usize,
    /// Its new end.
    pub end: u64,
}

/// Gather a batch from the splits of all ranges, in order, and the reports of the shards with candidates, in any order.
/// Err: the caller broke the contract, or a report is damaged.
pub fn gather(
    ranges: &[RangeSpec],
    splits: &[ReportedSplit],
    decided: &[&[u8]],
    rules: &Rules,
) -> Result<Gathered, String> {
    let mut shards = ShardReports::read(decided, rules)?;
    let mut done = Processed::default();
    let mut rest = splits;
    for (index, spec) in ranges.iter().enumerate() {
        let count = rest
            .iter()
            .take_while(|split| split.id.range as usize == index)
            .count();
        let (own, others) = rest.split_at(count);
        rest = others;
        check_splits(spec, own)?;
        if let Some(end) = gather_range(index, spec, own, &mut shards, &mut done)? {
            return Ok(Gathered::Cut(Cut { range: index, end }));
        }
    }
    if !rest.is_empty() || !shards.of.is_empty() {
        return Err("a split of no range".into());
    }
    shards
        .emitted
        .sort_unstable_by_key(|(range, emitted)| (*range, emitted.position));
    for (range, emitted) in shards.emitted {
        let place = (range as usize, emitted.position);
        let emissions = if emitted.control {
            &mut done.control
        } else {
            &mut done.sent
        };
        emissions.emit(rules, &emitted.candidate, place, emitted.content);
    }
    done.order();
    Ok(Gathered::Whole(Box::new(done)))
}

/// Refuse splits that are not those of the range, in order and without a gap.
fn check_splits(spec: &RangeSpec, splits: &[ReportedSplit]) -> Result<(), String> {
    let mut at = spec.start;
    for (number, split) in splits.iter().enumerate() {
        if split.id.number as usize != number || split.begin != at || split.end < at {
            return Err(format!("the splits of {} have a gap", spec.name));
        }
        at = split.end;
    }
    if splits.is_empty() || at != spec.end {
        return Err(format!("the splits of {} are not all there", spec.name));
    }
    Ok(())
}

/// Add a range to `done`; when its splits do not join, return its new end instead.
fn gather_range(
    index: usize,
    spec: &RangeSpec,
    splits: &[ReportedSplit],
    shards: &mut ShardReports,
    done: &mut Processed,
) -> Result<Option<u64>, String> {
    let mut progress = Progress::new(spec);
    let mut inode = 0;
    // End of the split that could not be read to its end.
    let mut failed = None;
    for split in splits {
        let report = SplitReport::decode(split.report)
            .ok_or_else(|| format!("the report of a split of {} is damaged", spec.name))?;
        let decided = shards.of.remove(&split.id).unwrap_or_default();
        if decided.candidates != report.candidates {
            return Ok(Some(spec.end));
        }
        let (first, moved) = (split.id.number == 0, report.consumed > report.from);
        // A line that began earlier may cover all of this split, or the range ended before it.
        if !moved && (failed.is_some() || (!first && split.end <= progress.consumed)) {
            continue;
        }
        if failed.is_some() {
            // The bytes between cannot be consumed after this split: so the range ends with the one that failed.
            return Ok(failed);
        }
        if first {
            inode = report.inode;
        }
        let is_other = report.inode != 0 && report.inode != inode;
        if is_other || (moved && report.from != progress.consumed) {
            return Ok(Some(split.begin));
        }
        add(index, spec, &report, &decided, &mut progress, done);
        if moved {
            progress.append(report.consumed, report.newlines, report.crc, report.tail);
        }
        failed = report.problem.as_ref().map(|_| split.end);
        progress.problem = report.problem;
    }
    progress.complete = true;
    done.ranges.push(BegunRange { progress, inode });
    Ok(None)
}

/// Add the counts of a split, its rejects and its examples.
fn add(
    index: usize,
    spec: &RangeSpec,
    report: &SplitReport,
    decided: &DecidedSplit,
    progress: &mut Progress,
    done: &mut Processed,
) {
    progress.lines += report.lines;
    for (sum, count) in progress.outcomes.iter_mut().zip(report.outcomes) {
        *sum += count;
    }
    for (outcome, count) in DECIDED_OUTCOMES.into_iter().zip(decided.counts) {
        progress.outcomes[outcome as usize] += count;
    }
    for (sum, count) in progress.reasons.iter_mut().zip(report.reasons) {
        *sum += count;
    }
    let name_bytes = escaped_bytes(spec.name.as_bytes());
    // `SplitReport::decode` has read all of them.
    for reject in report.each_reject().flatten() {
        let line = progress.newlines + reject.newlines + 1;
        let bytes = encoded_bytes(
            name_bytes,
            line,
            reject.byte,
            reject.length,
            reject.reason,
            escaped_bytes(reject.raw),
        );
        let span = (reject.byte, reject.byte + reject.length);
        if progress.keep(spec, bytes as u64, span) {
            encode_into(
                &mut done.rejects,
                &spec.name,
                line,
                reject.byte,
                reject.length,
                reject.reason,
                reject.raw,
            );
        }
    }
    if let Some(dropped) = report.dropped {
        progress.drop_rejects(dropped);
    }
    done.outside_over += report.outside_over;
    if let (None, Some((byte, content))) =
        (&done.outside_over_example, &report.outside_over_example)
    {
        done.outside_over_example = Some((index, *byte, content.clone()));
    }
    if done.unmatched_example.is_none() {
        done.unmatched_example.clone_from(&report.unmatched_example);
    }
}

/// The decisions about the candidates of one split.
#[derive(Default)]
struct DecidedSplit {
    /// Sum of the CRCs of their blobs.
    candidates: u64,
    counts: [u64; DECIDED_OUTCOMES.len()],
}

/// The decisions of all shards.
struct ShardReports<'a> {
    of: HashMap<SplitId, DecidedSplit>,
    /// (range, emitted candidate), in no order.
    emitted: Vec<(u32, Emitted<'a>)>,
}

impl<'a> ShardReports<'a> {
    fn read(reports: &[&'a [u8]], rules: &Rules) -> Result<ShardReports<'a>, String> {
        let mut decisions = ShardReports {
            of: HashMap::new(),
            emitted: Vec::new(),
        };
        for report in reports {
            let blobs = read_report(report, rules).ok_or("the report of a shard is damaged")?;
            for decided in blobs {
                let of = decisions.of.entry(decided.split).or_default();
                of.candidates = of.candidates.wrapping_add(decided.crc);
                for (sum, count) in of.counts.iter_mut().zip(decided.counts) {
                    *sum = sum.wrapping_add(count);
                }
                let range = decided.split.range;
                let emitted = decided.emitted.into_iter();
                decisions
                    .emitted
                    .extend(emitted.map(|emitted| (range, emitted)));
            }
        }
        Ok(decisions)
    }
}
