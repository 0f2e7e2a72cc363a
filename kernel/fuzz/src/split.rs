//! Batches computed in tasks: their result is that of one scanner, and bytes that no task wrote are refused.

use super::scan::{DAY_MAX, DAY_OPEN, rules, segment};
use super::{Temporary, controls};
use std::time::Duration;
use upswell_kernel::batch::job::{Job, Processed};
use upswell_kernel::batch::range::RangeSpec;
use upswell_kernel::batch::scanner::Scanner;
use upswell_kernel::ledger::decide::Terms;
use upswell_kernel::ledger::shard::SHARDS;
use upswell_kernel::ledger::{Ledger, Total};
use upswell_kernel::rules::policy::Policy;
use upswell_kernel::scan::path::ScanPath;
use upswell_kernel::split::candidates::SplitId;
use upswell_kernel::split::gather::{Gathered, ReportedSplit, gather};
use upswell_kernel::split::step::step;
use upswell_kernel::split::{Split, SplitScanner};
use upswell_kernel::types::clock::Clock;

/// The report of a split without lines.
const NOTHING: [u8; 54] = [0; 54];

/// Four control bytes (the kind of input; sizes of chunks and splits; limit of rejects), then a blob, a report or a
/// file.
pub fn attempt(input: &[u8]) {
    let ([kind, chunks, splits, rejects], data) = controls(input);
    match kind % 4 {
        0 => blob(data),
        1 => {
            reports(data, &[]);
            reports(&NOTHING, &[]);
        }
        2 => reports(&NOTHING, data),
        _ => file(
            data,
            usize::from(chunks) + 1,
            // Thousands of splits of one file would show no more.
            (u64::from(splits) + 1).max(data.len() as u64 / 256),
            match rejects {
                255 => u64::MAX,
                rejects => u64::from(rejects) * 16,
            },
        ),
    }
}

/// Step a shard over a blob: it is refused, or its report can be read.
fn blob(data: &[u8]) {
    let (mut ledger, rules) = (Ledger::default(), rules());
    let terms = Terms {
        rules: &rules,
        policy: &Policy::default(),
        adds: true,
    };
    if let Ok(report) = step(&mut ledger, 0..SHARDS, terms, &[data]) {
        reports(&NOTHING, &report);
        ledger.take_delta(1);
        ledger.totals();
        ledger.caps();
    }
}

/// Gather reports: they are refused, or make a result.
fn reports(split: &[u8], shard: &[u8]) {
    let part = ReportedSplit {
        id: SplitId::default(),
        begin: 0,
        end: 0,
        report: split,
    };
    let ranges = [RangeSpec::default()];
    let gathered = gather(&ranges, &[part], &[shard], &rules());
    assert!(gathered.is_ok() || !shard.is_empty() || split != NOTHING);
}

fn file(data: &[u8], chunk_bytes: usize, split_bytes: u64, left: u64) {
    let file = Temporary::new(data);
    let range = RangeSpec {
        name: "DATA.csv".into(),
        path: file.path().to_vec(),
        end: data.len() as u64,
        is_final: split_bytes.is_multiple_of(2),
        day_max: DAY_MAX,
        day_open: DAY_OPEN,
        rejects_left_bytes: left,
        ..RangeSpec::default()
    };
    let (segment, rules, policy) = (segment(), rules(), Policy::default());
    let job = Job {
        ranges: std::slice::from_ref(&range),
        segment: &segment,
        rules: &rules,
        policy: &policy,
        branches: &[],
        points: &[],
        output_bytes_max: u64::MAX,
        work_max: Duration::MAX,
    };
    let mut ledger = Ledger::default();
    let mut scanner = Scanner::new(1, true, Clock::default(), ScanPath::Scalar, 256 << 10);
    let expected = scanner
        .process(&job, &mut ledger)
        .expect("a sound contract");
    let expected = said(&expected, &ledger);

    let (mut reports, mut blobs) = (Vec::new(), Vec::new());
    let mut begin = 0;
    while begin < range.end || reports.is_empty() {
        let split = Split {
            id: SplitId {
                range: 0,
                number: reports.len() as u32,
            },
            begin,
            end: range.end.min(begin + split_bytes),
        };
        let path = ScanPath::available()[0];
        let mut scanner = SplitScanner::new(&range, split, 1, Clock::default(), path, chunk_bytes)
            .expect("a sound split");
        while let Some(pass) = scanner
            .next_pass(&segment, &rules, &policy)
            .expect("few counters")
        {
            blobs.extend(pass.into_iter().map(|(_, blob)| blob));
        }
        reports.push((split, scanner.report()));
        begin = split.end;
    }
    let mut ledger = Ledger::default();
    let blobs: Vec<&[u8]> = blobs.iter().rev().map(Vec::as_slice).collect();
    let terms = Terms {
        rules: &rules,
        policy: &policy,
        adds: true,
    };
    let decided = step(&mut ledger, 0..SHARDS, terms, &blobs).expect("sound blobs");
    let parts: Vec<ReportedSplit> = reports
        .iter()
        .map(|(split, report)| ReportedSplit {
            id: split.id,
            begin: split.begin,
            end: split.end,
            report,
        })
        .collect();
    let Ok(Gathered::Whole(done)) =
        gather(std::slice::from_ref(&range), &parts, &[&decided], &rules)
    else {
        panic!("splits of a file that stays do not join");
    };
    assert_eq!(expected, said(&done, &ledger));
}

/// Return all that a result holds of a range, and the content of the ledger.
fn said(done: &Processed, ledger: &Ledger) -> (String, Vec<Total>, Vec<(String, String, u32)>) {
    let progress = &done.ranges[0].progress;
    let said = (
        (
            progress.consumed,
            progress.newlines,
            progress.digest(),
            progress.tail,
        ),
        (progress.lines, progress.outcomes, progress.reasons),
        (progress.kept_bytes, progress.dropped, &progress.problem),
        (&done.sent, &done.control, &done.rejects),
        (
            done.outside_over,
            &done.outside_over_example,
            &done.unmatched_example,
        ),
    );
    (format!("{said:?}"), ledger.totals(), ledger.caps())
}
