//! Batches computed in tasks: some scan splits without a ledger, others decide in shards without files; both are joined.
//!
//! Here: the scanner of a split. Records that need a ledger leave it as candidates, shard by shard.
//!
//! A split owns the lines that start in [begin, end), wherever they end. So the splits of a range share its lines,
//! however it is cut, and no task needs to know of another one. Once its lines are found, they are a range like any
//! other, read and decided by the same code. Memory is bounded by a pass over chunks, and by the rejects that may be
//! kept.
//!
//! - `bounds` finds the lines of a split; `candidates` is the form in which records leave for a shard.
//! - `step` decides the candidates of a batch in one shard.
//! - `report` is the account of a split; `gather` puts all reports together to the result of the batch.

mod bounds;
pub mod candidates;
pub mod gather;
mod report;
pub mod step;

use crate::batch::chunk::Chunk;
use crate::batch::job::Job;
use crate::batch::pass::{Call, Paused};
use crate::batch::range::RangeSpec;
use crate::batch::scanner::Scanner;
use crate::crc::crc64;
use crate::input::source::{Problem, SHORT};
use crate::ledger::counters::Counters;
use crate::ledger::shard::{SHARDS, shard_of};
use crate::rules::Rules;
use crate::rules::policy::Policy;
use crate::scan::path::ScanPath;
use crate::segment::Segment;
use crate::split::candidates::{CandidateWriter, SplitId};
use crate::split::report::{SplitReject, SplitReport};
use crate::threads::lock;
use crate::types::clock::Clock;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Candidates leave when they take as many bytes as so many chunks: often enough for memory, seldom enough that each of
/// many shards gets more than a few at a time.
const PASS_CHUNKS: usize = 16;

/// A blob of candidates, with the shard that it is for.
pub type ShardBlob = (usize, Vec<u8>);

/// A split: some lines of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    /// Its identity.
    pub id: SplitId,
    /// It owns the lines that start in [begin, end).
    pub begin: u64,
    /// See `begin`.
    pub end: u64,
}

/// Scans a split, pass by pass.
pub struct SplitScanner {
    scanner: Scanner,
    clock: Clock,
    counters: Counters,
    id: SplitId,
    /// End of the whole range.
    end: u64,
    /// Its own lines, as a range; None when there are none.
    spec: Option<RangeSpec>,
    paused: Paused,
    /// One for each shard of the job.
    writers: Vec<CandidateWriter>,
    pass_bytes: usize,
    report: SplitReport,
}

impl SplitScanner {
    /// Find the lines of a split. `shards`: the number of shards for which candidates leave, a power of two. Err: the
    /// caller broke the contract.
    pub fn new(
        range: &RangeSpec,
        split: Split,
        shards: usize,
        clock: Clock,
        path: ScanPath,
        chunk_bytes: usize,
    ) -> Result<SplitScanner, String> {
        let Split { id, begin, end } = split;
        if begin < range.start
            || end > range.end
            || (end <= begin && range.start < range.end)
            || (id.number == 0) != (begin == range.start)
            || (range.compressed && (begin, end) != (range.start, range.end))
        {
            return Err(format!(
                "no split of {}: bytes {begin} to {end}",
                range.name
            ));
        }
        if !shards.is_power_of_two() || shards > SHARDS {
            return Err(format!("{shards} is not a number of shards"));
        }
        let mut scanner = SplitScanner {
            // Only the ledger needs the measure and the threads.
            scanner: Scanner::new(1, true, Clock::default(), path, chunk_bytes),
            clock,
            counters: Counters::default(),
            id,
            end: range.end,
            spec: None,
            paused: Paused::default(),
            writers: Vec::new(),
            pass_bytes: chunk_bytes.saturating_mul(PASS_CHUNKS),
            report: SplitReport::default(),
        };
        scanner
            .writers
            .resize_with(shards, CandidateWriter::default);
        let (opened, bounds) = bounds::find(range, begin, end, chunk_bytes);
        scanner.report.inode = opened.inode;
        match bounds {
            Ok(Some(bounds)) => scanner.spec = Some(spec_of(range, bounds)),
            Ok(None) => {}
            Err(problem) => scanner.report.problem = Some(problem),
        }
        scanner.paused.files.push(Mutex::new(opened));
        Ok(scanner)
    }

    /// Scan on, and return the next blobs of candidates; None at the end. Err: there are more open counters than
    /// numbers.
    pub fn next_pass(
        &mut self,
        segment: &Segment,
        rules: &Rules,
        policy: &Policy,
    ) -> Result<Option<Vec<ShardBlob>>, String> {
        let Some(spec) = self.spec.take() else {
            return Ok(None);
        };
        let job = Job {
            ranges: std::slice::from_ref(&spec),
            segment,
            rules,
            policy,
            branches: &[],
            points: &[],
            output_bytes_max: u64::MAX,
            work_max: Duration::MAX,
        };
        let mut call = Call::resumed(&job, &self.clock, std::mem::take(&mut self.paused));
        let begun = Instant::now();
        let over = loop {
            let (chunks, rest) = self.scanner.read(&mut call, &mut self.counters)?;
            for chunk in &chunks {
                send(chunk, &self.counters, &mut self.writers);
                for (newlines, byte, reject, raw) in chunk.kept_rejects() {
                    self.report.put(&SplitReject {
                        newlines: newlines - spec.newlines,
                        byte,
                        length: reject.length,
                        reason: reject.reason,
                        raw,
                    });
                }
            }
            self.scanner.recycle(chunks);
            self.scanner.recycle(rest);
            let bytes = self
                .writers
                .iter()
                .map(CandidateWriter::bytes)
                .sum::<usize>();
            let over = call.is_over(begun, 0);
            if over || bytes >= self.pass_bytes {
                break over;
            }
        };
        self.paused = call.pause();
        if over {
            self.finish(&spec);
        } else {
            self.spec = Some(spec);
        }
        Ok(Some(self.take_blobs()))
    }

    fn take_blobs(&mut self) -> Vec<ShardBlob> {
        let mut blobs = Vec::new();
        for (shard, writer) in self.writers.iter_mut().enumerate() {
            if let Some(blob) = writer.take(self.id) {
                self.report.candidates = self.report.candidates.wrapping_add(crc64(&blob, 0));
                blobs.push((shard, blob));
            }
        }
        blobs
    }

    /// Complete the report with the position and the counts at the end.
    fn finish(&mut self, spec: &RangeSpec) {
        let Paused {
            files,
            progress,
            done,
        } = std::mem::take(&mut self.paused);
        let inode = files.first().map(|file| lock(file).inode);
        let Some(progress) = progress.into_iter().next() else {
            return;
        };
        let is_short = |problem: &Problem| problem.slug == SHORT && !spec.compressed;
        self.report = SplitReport {
            inode: inode.unwrap_or_default(),
            from: spec.start,
            consumed: progress.consumed,
            newlines: progress.newlines - spec.newlines,
            crc: progress.digest(),
            tail: progress.tail,
            lines: progress.lines,
            outcomes: progress.outcomes,
            reasons: progress.reasons,
            dropped: progress.dropped,
            outside_over: done.outside_over,
            outside_over_example: done
                .outside_over_example
                .map(|(_, byte, content)| (byte, content)),
            unmatched_example: done.unmatched_example,
            // The caller knows the end of the whole range, not that of this split.
            problem: progress.problem.map(|problem| {
                if is_short(&problem) {
                    Problem::short(self.end)
                } else {
                    problem
                }
            }),
            ..std::mem::take(&mut self.report)
        };
    }

    /// Return the encoded report, after the last pass.
    pub fn report(&self) -> Vec<u8> {
        self.report.encode()
    }
}

/// Make a range of the lines of a split.
fn spec_of(range: &RangeSpec, (from, to): (u64, u64)) -> RangeSpec {
    let first = from == range.start;
    RangeSpec {
        start: from,
        end: to,
        is_final: range.is_final && to == range.end,
        tail: if first { range.tail } else { 0 },
        // At least one line end lies before any split but the first. There may be more: so a reject never takes fewer
        // bytes encoded than are assumed here.
        newlines: range.newlines + u64::from(!first),
        digest: 0,
        ..range.clone()
    }
}

/// Append the candidates of a chunk to the blobs of their shards.
fn send(chunk: &Chunk, counters: &Counters, writers: &mut [CandidateWriter]) {
    let of_one = SHARDS / writers.len();
    for candidate in [&chunk.front, &chunk.body]
        .into_iter()
        .flat_map(|findings| findings.candidates_of(0))
    {
        let position = chunk.position_of(candidate.start);
        let content = chunk.content(candidate.start, candidate.length);
        writers[shard_of(candidate.mixed) / of_one].put(counters, candidate, position, content);
    }
}
