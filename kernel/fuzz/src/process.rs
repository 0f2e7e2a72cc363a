//! Whole calls over hostile files: the counts add up, and no result depends on how the files are read.

use super::scan::{DAY_MAX, DAY_OPEN, rules, segment};
use super::{Temporary, controls};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;
use upswell_kernel::batch::job::Job;
use upswell_kernel::batch::range::RangeSpec;
use upswell_kernel::batch::scanner::Scanner;
use upswell_kernel::ledger::{Ledger, Total};
use upswell_kernel::rules::policy::Policy;
use upswell_kernel::scan::outcome::{OUTCOMES, REASONS};
use upswell_kernel::scan::path::ScanPath;
use upswell_kernel::types::clock::Clock;

/// Lines, lines by outcome, and rejected lines by reason.
type Counts = (u64, Vec<u64>, Vec<u64>);

/// The way in which a file is read.
#[derive(Clone, Copy)]
struct Way {
    path: ScanPath,
    threads: usize,
    chunk_bytes: usize,
    compressed: bool,
    /// End of the first range.
    cut: usize,
    output_bytes_max: u64,
}

/// The result of reading both files.
#[derive(Debug, Default, PartialEq)]
struct Said {
    counts: Vec<Counts>,
    /// Consumed bytes, line ends, digest, tail, bytes of kept rejects.
    places: Vec<(u64, u64, u64, u8, u64)>,
    outputs: BTreeMap<u32, Vec<u8>>,
    rejects: Vec<u8>,
    totals: Vec<Total>,
    caps: Vec<(String, String, u32)>,
}

/// Six control bytes (threads and compression, size of chunks, cut, start of the second file, limits of output
/// and of rejects), then two files.
pub fn attempt(input: &[u8]) {
    let ([how, size, cut, part, output, rejects], data) = controls(input);
    let (first, second) = data.split_at(data.len() * usize::from(part) / 256);
    let files = [first, second];
    let left = if rejects == 255 {
        u64::MAX
    } else {
        u64::from(rejects) * 16
    };
    let plain = Way {
        path: ScanPath::Scalar,
        threads: 1,
        chunk_bytes: 256 << 10,
        compressed: false,
        cut: usize::MAX,
        output_bytes_max: u64::MAX,
    };
    let expected = run(files, plain, left);
    for path in ScanPath::available() {
        let way = Way {
            path,
            threads: usize::from(how) % 3 + 1,
            chunk_bytes: usize::from(size) * 8 + 16,
            compressed: how & 128 != 0,
            cut: usize::from(cut) * 8,
            output_bytes_max: u64::from(output) * 64 + 64,
        };
        assert_eq!(expected, run(files, way, left), "{path:?}");
    }
}

fn run(files: [&[u8]; 2], way: Way, left: u64) -> Said {
    let (segment, rules) = (segment(), rules());
    let (mut scanner, mut ledger) = (
        Scanner::new(
            way.threads,
            true,
            Clock::default(),
            way.path,
            way.chunk_bytes,
        ),
        Ledger::default(),
    );
    let policy = Policy::default();
    let mut said = Said::default();
    for (number, data) in files.into_iter().enumerate() {
        let file = if way.compressed {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(data).expect("room");
            Temporary::new(&encoder.finish().expect("room"))
        } else {
            Temporary::new(data)
        };
        let mut spec = RangeSpec {
            name: format!("DATA_{number}.csv"),
            path: file.path().to_vec(),
            compressed: way.compressed,
            day_max: DAY_MAX,
            day_open: DAY_OPEN,
            ..RangeSpec::default()
        };
        let mut counts = (0, vec![0; OUTCOMES.len()], vec![0; REASONS.len()]);
        let (mut kept_bytes, mut dropped) = (0, false);
        for end in [way.cut.min(data.len()), data.len()] {
            (spec.end, spec.is_final) = (end as u64, end == data.len());
            loop {
                // After the first reject that does not fit, no reject of the file is kept: that is up to the caller.
                spec.rejects_left_bytes = if dropped { 0 } else { left - kept_bytes };
                let job = Job {
                    ranges: std::slice::from_ref(&spec),
                    segment: &segment,
                    rules: &rules,
                    policy: &policy,
                    branches: &[],
                    points: &[],
                    output_bytes_max: way.output_bytes_max,
                    work_max: Duration::MAX,
                };
                let done = scanner
                    .process(&job, &mut ledger)
                    .expect("a sound contract");
                let progress = &done.ranges[0].progress;
                assert_eq!(None, progress.problem);
                assert_eq!(progress.lines, progress.outcomes.iter().sum::<u64>());
                assert_eq!(progress.outcomes[0], progress.reasons.iter().sum::<u64>());
                assert_eq!(progress.kept_bytes, done.rejects.len() as u64);
                counts.0 += progress.lines;
                add(&mut counts.1, &progress.outcomes);
                add(&mut counts.2, &progress.reasons);
                kept_bytes += progress.kept_bytes;
                dropped |= progress.dropped.is_some();
                (spec.start, spec.newlines, spec.digest, spec.tail) = (
                    progress.consumed,
                    progress.newlines,
                    progress.digest(),
                    progress.tail,
                );
                said.rejects.extend_from_slice(&done.rejects);
                for (application, bytes) in &done.sent.outputs {
                    said.outputs
                        .entry(*application)
                        .or_default()
                        .extend_from_slice(bytes);
                }
                if progress.complete {
                    break;
                }
            }
        }
        said.places.push((
            spec.start,
            spec.newlines,
            spec.digest,
            spec.tail,
            kept_bytes,
        ));
        said.counts.push(counts);
    }
    said.totals = ledger.totals();
    said.caps = ledger.caps();
    said
}

fn add(sums: &mut [u64], counts: &[u64]) {
    for (sum, count) in sums.iter_mut().zip(counts) {
        *sum += count;
    }
}
