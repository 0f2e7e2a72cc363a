//! Lines by every path, and lines in chunks: all must equal the plain path over the whole.

use super::controls;
use std::sync::Mutex;
use upswell_kernel::batch::chunk::Chunk;
use upswell_kernel::batch::classify::Context;
use upswell_kernel::batch::progress::Progress;
use upswell_kernel::batch::range::{Days, RangeSpec};
use upswell_kernel::ledger::counters::Counters;
use upswell_kernel::rules::Rules;
use upswell_kernel::rules::policy::Policy;
use upswell_kernel::scan::collect::collect;
use upswell_kernel::scan::path::ScanPath;
use upswell_kernel::segment::Segment;
use upswell_kernel::types::clock::Clock;

/// The last day that is not `future`, in all attempts.
pub const DAY_MAX: u32 = 20_200_418;
/// The first day that is not `late`, in all attempts.
pub const DAY_OPEN: u32 = 20_200_416;

/// Two control bytes (size of chunks, content of the pads), then the bytes of a file.
pub fn attempt(input: &[u8]) {
    let ([size, filler], data) = controls(input);
    let expected = collect(ScanPath::Scalar, data, DAY_MAX, filler);
    let whole = merged(ScanPath::Scalar, data, data.len().max(1));
    for path in ScanPath::available() {
        assert_eq!(expected, collect(path, data, DAY_MAX, filler), "{path:?}");
        assert_eq!(whole, merged(path, data, data.len().max(1)), "{path:?}");
        assert_eq!(
            whole,
            merged(path, data, usize::from(size) + 1),
            "{path:?} in chunks"
        );
    }
}

/// The segment of all attempts: some of the msisdns of the corpus.
pub fn segment() -> Segment {
    Segment::parse(&[b"0126545098\n00000\n999999999999999\n12345\n"], 0).0
}

/// The rules of all attempts.
pub fn rules() -> Rules {
    Rules::new(&[
        (1, "Twitter", 0, 1440, 300),
        (2, "WhatsApp", 540, 1080, 68),
        (3, "Night", 1320, 360, 100),
    ])
    .expect("sound rules")
}

/// The result of merged chunks: nothing of it may depend on where they are cut.
#[derive(Debug, Default, PartialEq, Eq)]
struct Merged {
    /// Consumed bytes, digest, line ends, tail, lines, bytes of kept rejects.
    place: (u64, u64, u64, u8, u64, u64),
    outcomes: Vec<u64>,
    reasons: Vec<u64>,
    /// Position, line, length, reason.
    rejects: Vec<(u64, u64, u64, u8)>,
    /// Position, length, msisdn, volume, day.
    candidates: Vec<(u64, u32, u64, u64, u32)>,
}

fn merged(path: ScanPath, data: &[u8], chunk_bytes: usize) -> Merged {
    let (segment, rules, clock, mut counters) =
        (segment(), rules(), Clock::default(), Counters::default());
    let policy = Policy::default();
    let context = Context {
        path,
        segment: &segment,
        rules: &[&rules],
        policy: &policy,
        clock: &clock,
        counters: Mutex::new(&mut counters),
    };
    let spec = RangeSpec {
        end: data.len() as u64,
        is_final: true,
        day_max: DAY_MAX,
        day_open: DAY_OPEN,
        rejects_left_bytes: u64::MAX,
        ..RangeSpec::default()
    };
    let days = Days {
        max: DAY_MAX,
        open: DAY_OPEN,
    };
    let mut progress = Progress::new(&spec);
    let mut said = Merged::default();
    let mut chunk = Chunk::default();
    for (index, bytes) in data.chunks(chunk_bytes).enumerate() {
        chunk.reset(0, (index * chunk_bytes) as u64, bytes.len());
        chunk.buffer().copy_from_slice(bytes);
        chunk.len = bytes.len();
        chunk.scan(&context, days);
        progress.merge(&spec, &context, &mut chunk);
        said.hear(&chunk);
    }
    if progress.has_last_line(&spec) {
        chunk.reset(0, data.len() as u64, 0);
        progress.merge_last_line(&spec, &context, &mut chunk);
        said.hear(&chunk);
    }
    // Outcomes that the ledger would decide are not among them.
    let decided: u64 = progress.outcomes.iter().sum();
    assert_eq!(progress.lines, decided + said.candidates.len() as u64);
    assert_eq!(progress.outcomes[0], progress.reasons.iter().sum::<u64>());
    said.place = (
        progress.consumed,
        progress.digest(),
        progress.newlines,
        progress.tail,
        progress.lines,
        progress.kept_bytes,
    );
    said.outcomes = progress.outcomes.to_vec();
    said.reasons = progress.reasons.to_vec();
    said
}

impl Merged {
    fn hear(&mut self, chunk: &Chunk) {
        for (findings, newlines) in [
            (&chunk.front, chunk.front_newlines),
            (&chunk.body, chunk.body_newlines),
        ] {
            self.rejects.extend(findings.rejects.iter().map(|reject| {
                let line = newlines + u64::from(reject.line);
                (
                    chunk.position_of(reject.start),
                    line,
                    reject.length,
                    reject.reason,
                )
            }));
            self.candidates
                .extend(findings.candidates_of(0).iter().map(|one| {
                    (
                        chunk.position_of(one.start),
                        one.length,
                        one.mixed,
                        one.volume,
                        one.day,
                    )
                }));
        }
    }
}
