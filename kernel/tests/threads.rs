//! Calls with several threads over several files, in which the thread sanitizer sees every way that threads interact.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;
use upswell_kernel::batch::job::{Job, Processed};
use upswell_kernel::batch::range::RangeSpec;
use upswell_kernel::batch::scanner::Scanner;
use upswell_kernel::ledger::Ledger;
use upswell_kernel::rules::Rules;
use upswell_kernel::rules::policy::Policy;
use upswell_kernel::scan::path::ScanPath;
use upswell_kernel::segment::Segment;
use upswell_kernel::types::clock::Clock;

const FILES: u64 = 3;
const LINES: u64 = 30_000;

/// Make files of records of many msisdns, services and days, with late and rejected lines among them.
fn files(test: &str) -> Vec<PathBuf> {
    (0..FILES)
        .map(|file| {
            let line_of = |line: u64| {
                let (number, day) = ((line * 7919 + file) % 5000, 15 + line % 4);
                match line % 50 {
                    0 => format!("refused {line}"),
                    _ => format!("01{number:08},{},{},202004{day}100000", line % 4, line % 97),
                }
            };
            let content = (0..LINES).map(line_of).collect::<Vec<_>>().join("\n");
            let name = format!("upswell-{test}-{}-{file}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::write(&path, content).expect("room");
            path
        })
        .collect()
}

/// Process all files in one call.
fn call(
    files: &[PathBuf],
    path: ScanPath,
    threads: usize,
    chunk_bytes: usize,
) -> (Processed, Ledger) {
    let msisdns: Vec<String> = (0..5000)
        .step_by(3)
        .map(|number| format!("01{number:08}"))
        .collect();
    let (segment, _) = Segment::parse(&[msisdns.join("\n").as_bytes()], 0);
    let rules = Rules::new(&[
        (1, "A", 0, 1440, 100),
        (2, "B", 540, 1080, 68),
        (3, "A", 0, 1440, 9),
    ])
    .expect("sound rules");
    let ranges: Vec<RangeSpec> = files
        .iter()
        .map(|file| RangeSpec {
            name: "f".into(),
            path: file.as_os_str().as_encoded_bytes().to_vec(),
            end: fs::metadata(file).expect("a file").len(),
            is_final: true,
            day_max: 20_200_417,
            day_open: 20_200_416,
            rejects_left_bytes: u64::MAX,
            ..RangeSpec::default()
        })
        .collect();
    let mut ledger = Ledger::default();
    let job = Job {
        ranges: &ranges,
        segment: &segment,
        rules: &rules,
        policy: &Policy::default(),
        branches: &[],
        points: &[],
        output_bytes_max: u64::MAX,
        work_max: Duration::MAX,
    };
    let done = Scanner::new(threads, true, Clock::default(), path, chunk_bytes)
        .process(&job, &mut ledger)
        .expect("a sound contract");
    (done, ledger)
}

#[test]
fn threads_give_the_same_bytes_as_one() {
    let files = files("threads");
    for path in ScanPath::available() {
        let (expected, ledger) = call(&files, path, 1, 256 << 10);
        for threads in [2, 3] {
            let (actual, other) = call(&files, path, threads, 20_000);
            assert_eq!(expected.sent.outputs, actual.sent.outputs);
            assert_eq!(expected.rejects, actual.rejects);
            assert_eq!(expected.delta, actual.delta);
            assert_eq!(ledger.totals(), other.totals());
            assert_eq!(FILES as usize, actual.ranges.len());
            // A stored ledger is read by threads, too.
            let loaded = Ledger::load(&[], &[(1, &actual.delta)], 0, threads).expect("whole");
            assert_eq!(ledger.caps(), loaded.caps());
        }
        assert!(!expected.sent.outputs.is_empty() && !expected.rejects.is_empty());
    }
    for file in files {
        let _ = fs::remove_file(file);
    }
}
