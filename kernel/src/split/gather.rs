//! From what splits and shards report to the result of their batch: what `Scanner::process` gives for the same ranges.
//!
//! Files may change between two tasks, and a task that was lost may be done again after some of what it gave was used.
//! So nothing is taken on trust: the splits of a range must join to the byte, be of one file, and have sent the very
//! candidates that were decided. Where they do not, the batch is to be computed again, over less: see `Cut`.

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

/// A split with what it reports.
pub struct ReportedSplit<'a> {
    /// (range, part of the range).
    pub id: SplitId,
    /// It owns the lines that start in [begin, end).
    pub begin: u64,
    /// See `begin`.
    pub end: u64,
    /// What `SplitScanner::report` gave.
    pub report: &'a [u8],
}

/// What came of a batch.
pub enum Gathered {
    /// All that was asked for, as far as it can be read.
    Whole(Box<Processed>),
    /// Its splits do not join: nothing of it counts.
    Cut(Cut),
}

/// How to compute the batch again: with this range ended there, and no range after it. It is shorter than it was,
/// unless it is a matter of chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Index of the range.
    pub range: usize,
    /// Where it is to end.
    pub end: u64,
}

/// Put together what the splits of all ranges, in order, and the shards that had candidates report. Err: the caller
/// broke the contract, or a report is damaged.
pub fn gather(
    ranges: &[RangeSpec],
    parts: &[ReportedSplit],
    decided: &[&[u8]],
    rules: &Rules,
) -> Result<Gathered, String> {
    let mut shards = ShardReports::read(decided, rules)?;
    let mut done = Processed::default();
    let mut rest = parts;
    for (index, spec) in ranges.iter().enumerate() {
        let count = rest
            .iter()
            .take_while(|part| part.id.range as usize == index)
            .count();
        let (own, others) = rest.split_at(count);
        rest = others;
        check_parts(spec, own)?;
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
        done.emit(
            rules,
            &emitted.candidate,
            emitted.control,
            place,
            emitted.content,
        );
    }
    done.order();
    Ok(Gathered::Whole(Box::new(done)))
}

/// Whether splits are those of the range, in order and without a hole.
fn check_parts(spec: &RangeSpec, parts: &[ReportedSplit]) -> Result<(), String> {
    let mut at = spec.start;
    for (number, part) in parts.iter().enumerate() {
        if part.id.number as usize != number || part.begin != at || part.end < at {
            return Err(format!("the splits of {} have a hole", spec.name));
        }
        at = part.end;
    }
    if parts.is_empty() || at != spec.end {
        return Err(format!("the splits of {} are not all there", spec.name));
    }
    Ok(())
}

/// Add what a range was; or where it is to end when its splits do not join.
fn gather_range(
    index: usize,
    spec: &RangeSpec,
    parts: &[ReportedSplit],
    shards: &mut ShardReports,
    done: &mut Processed,
) -> Result<Option<u64>, String> {
    let mut progress = Progress::new(spec);
    let mut inode = 0;
    // Where the split ends that could not be read to its end.
    let mut failed = None;
    for part in parts {
        let report = SplitReport::decode(part.report)
            .ok_or_else(|| format!("the report of a split of {} is damaged", spec.name))?;
        let decided = shards.of.remove(&part.id).unwrap_or_default();
        if decided.candidates != report.candidates {
            return Ok(Some(spec.end));
        }
        let (first, moved) = (part.id.number == 0, report.consumed > report.from);
        // A line that began before may have taken all of it, or the range ended before it.
        if !moved && (failed.is_some() || (!first && part.end <= progress.consumed)) {
            continue;
        }
        if failed.is_some() {
            // What lies between cannot be taken after this: so the range ends with the split that failed.
            return Ok(failed);
        }
        if first {
            inode = report.inode;
        }
        let is_other = report.inode != 0 && report.inode != inode;
        if is_other || (moved && report.from != progress.consumed) {
            return Ok(Some(part.begin));
        }
        add(index, spec, &report, &decided, &mut progress, done);
        if moved {
            progress.append(report.consumed, report.newlines, report.crc, report.tail);
        }
        failed = report.problem.as_ref().map(|_| part.end);
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
    // They were all read once: see `SplitReport::decode`.
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

/// What was decided of the candidates of one split.
#[derive(Default)]
struct DecidedSplit {
    /// Sum of the CRCs of their blobs.
    candidates: u64,
    counts: [u64; DECIDED_OUTCOMES.len()],
}

/// What all shards decided.
struct ShardReports<'a> {
    of: HashMap<SplitId, DecidedSplit>,
    /// (range, what is emitted), in no order.
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
