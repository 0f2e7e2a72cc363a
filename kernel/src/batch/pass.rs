//! The first two steps of a pass: chunks are read and scanned in parallel, and merged in order.

use crate::batch::chunk::Chunk;
use crate::batch::classify::Context;
use crate::batch::curve;
use crate::batch::job::{Emissions, Job, Processed};
use crate::batch::progress::Progress;
use crate::input::source::{Problem, Source, UNREADABLE};
use crate::ledger::codec::ENTRY_BYTES;
use crate::ledger::points::Counts;
use crate::rules::Rules;
use crate::threads::{self, lock};
use crate::types::clock::Clock;
use crate::types::msisdn;
use std::ops::Range;
use std::sync::Mutex;
use std::time::Instant;

/// With fewer bytes in a pass, threads cost more than they save.
const INLINE_BYTES: u64 = 96 << 10;

/// A file that a call uses.
#[derive(Default)]
pub(crate) struct Opened {
    pub(crate) inode: u64,
    /// Opening it was tried.
    pub(crate) tried: bool,
    pub(crate) source: Option<Result<Source, Problem>>,
}

/// The state of one call of `Scanner::process`.
pub(crate) struct Call<'a> {
    pub(crate) job: &'a Job<'a>,
    pub(crate) clock: &'a Clock,
    pub(crate) files: Vec<Mutex<Opened>>,
    /// Of the ranges that were begun: all but the last are complete.
    pub(crate) progress: Vec<Progress>,
    /// Something was consumed.
    moved: bool,
    /// Chunks were left out because there is enough output.
    cut: bool,
    pub(crate) done: Processed,
    /// The rules of the job, and after them those of branches whose windows differ from all before.
    pub(crate) windows: Vec<&'a Rules>,
    /// By branch, and last for all points of the curve: the index of its windows among these.
    pub(crate) windows_of: Vec<usize>,
    /// By rule: the lowest threshold of any point of the curve.
    pub(crate) lowest: Vec<u64>,
}

/// The state of a call between two passes, without its job.
#[derive(Default)]
pub(crate) struct Paused {
    pub(crate) files: Vec<Mutex<Opened>>,
    pub(crate) progress: Vec<Progress>,
    pub(crate) done: Processed,
}

impl<'a> Call<'a> {
    /// Begin a call.
    pub(crate) fn new(job: &'a Job<'a>, clock: &'a Clock) -> Call<'a> {
        let mut windows = vec![job.rules];
        let mut windows_of = Vec::new();
        for branch in job.branches.iter().chain(job.points.first()) {
            let known = windows
                .iter()
                .position(|rules| rules.has_windows_of(branch.rules));
            windows_of.push(known.unwrap_or(windows.len()));
            if known.is_none() {
                windows.push(branch.rules);
            }
        }
        let mut done = Processed::default();
        done.branches
            .resize_with(job.branches.len(), Emissions::default);
        done.points.resize_with(job.points.len(), Counts::default);
        Call {
            job,
            clock,
            windows,
            windows_of,
            lowest: curve::lowest_thresholds(job.points),
            files: job.ranges.iter().map(|_| Mutex::default()).collect(),
            progress: Vec::new(),
            moved: false,
            cut: false,
            done,
        }
    }

    /// Go on where another call was paused.
    pub(crate) fn resumed(job: &'a Job<'a>, clock: &'a Clock, paused: Paused) -> Call<'a> {
        Call {
            files: paused.files,
            progress: paused.progress,
            done: paused.done,
            ..Call::new(job, clock)
        }
    }

    /// Return its state, to be resumed.
    pub(crate) fn pause(self) -> Paused {
        Paused {
            files: self.files,
            progress: self.progress,
            done: self.done,
        }
    }

    /// Return true when there is enough output, or nothing left to read. `changed`: changed entries of the ledger.
    pub(crate) fn is_over(&self, begun: Instant, changed: usize) -> bool {
        let all = self.progress.len() == self.job.ranges.len()
            && self.progress.last().is_none_or(|p| p.complete);
        let bytes = self.done.bytes() + (changed * ENTRY_BYTES) as u64;
        let enough = bytes > self.job.output_bytes_max || begun.elapsed() >= self.job.work_max;
        all || self.cut || (self.moved && enough)
    }

    /// Read and scan the chunks.
    pub(crate) fn scan(&self, context: &Context, chunks: Vec<Chunk>, threads: usize) -> Vec<Chunk> {
        let mut tasks: Vec<Range<usize>> = Vec::new();
        for (index, chunk) in chunks.iter().enumerate() {
            match tasks.last_mut() {
                Some(task)
                    if self.job.ranges[chunk.range].compressed
                        && chunks[task.start].range == chunk.range =>
                {
                    task.end += 1;
                }
                _ => tasks.push(index..index + 1),
            }
        }
        let bytes: u64 = chunks.iter().map(|chunk| chunk.wanted as u64).sum();
        let threads = if bytes < INLINE_BYTES { 1 } else { threads };
        let chunks: Vec<Mutex<Chunk>> = chunks.into_iter().map(Mutex::new).collect();
        threads::for_each(threads, tasks.len(), |task| {
            for chunk in &chunks[tasks[task].clone()] {
                let chunk = &mut *lock(chunk);
                self.read(chunk);
                let spec = &self.job.ranges[chunk.range];
                chunk.scan(context, spec.days());
            }
        });
        chunks
            .into_iter()
            .map(|chunk| chunk.into_inner().unwrap_or_default())
            .collect()
    }

    fn read(&self, chunk: &mut Chunk) {
        let spec = &self.job.ranges[chunk.range];
        let mut opened = lock(&self.files[chunk.range]);
        if !opened.tried {
            let kept = match opened.source.take() {
                Some(Ok(Source::Gzip(gzip))) => Some(gzip),
                _ => None,
            };
            let (inode, source) = Source::open(&spec.path, spec.compressed, spec.start, kept);
            *opened = Opened {
                inode,
                tried: true,
                source: Some(source),
            };
        }
        let position = chunk.position;
        let read = match &mut opened.source {
            Some(Ok(Source::Plain(file))) => {
                let mut file = Source::Plain(file.clone());
                drop(opened);
                file.read(position, chunk.buffer())
            }
            Some(Ok(source)) => source.read(position, chunk.buffer()),
            Some(Err(problem)) => Err(problem.clone()),
            None => Err(Problem::new(UNREADABLE, "")),
        };
        match read {
            Ok(len) => chunk.len = len,
            Err(problem) => chunk.problem = Some(problem),
        }
    }

    /// Merge chunks in order. Return those that were merged, with chunks for unterminated last lines added, and the rest:
    /// chunks beyond the end of their file or of the call.
    pub(crate) fn merge(
        &mut self,
        context: &Context,
        chunks: Vec<Chunk>,
        pool: &mut Vec<Chunk>,
    ) -> (Vec<Chunk>, Vec<Chunk>) {
        let mut bytes = self.done.bytes();
        let (mut merged, mut rest) = (Vec::with_capacity(chunks.len() + 1), Vec::new());
        let mut chunks = chunks.into_iter();
        for mut chunk in chunks.by_ref() {
            let index = chunk.range;
            let (spec, progress) = (&self.job.ranges[index], &mut self.progress[index]);
            if progress.complete {
                // The file ended before this chunk.
                rest.push(chunk);
                continue;
            }
            let kept_before = progress.kept_bytes;
            progress.merge(spec, context, &mut chunk);
            self.note(index, &chunk);
            merged.push(chunk);
            let progress = &mut self.progress[index];
            if progress.has_last_line(spec) {
                let mut chunk = pool.pop().unwrap_or_default();
                chunk.reset(index, progress.next, 0);
                progress.merge_last_line(spec, context, &mut chunk);
                self.note(index, &chunk);
                merged.push(chunk);
            }
            let progress = &self.progress[index];
            bytes += progress.kept_bytes - kept_before;
            self.moved |= progress.has_moved(spec);
            // A decompressor is only kept when it may go on: its state and its descriptor are expensive.
            if progress.complete
                && (!spec.compressed || spec.is_final || progress.problem.is_some())
            {
                lock(&self.files[index]).source = None;
            }
            if self.moved && bytes > self.job.output_bytes_max {
                self.cut = true;
                break;
            }
        }
        rest.extend(chunks);
        if let (true, Some(last)) = (self.cut, merged.last()) {
            // Ranges after the cut were not begun.
            self.progress.truncate(last.range + 1);
        }
        (merged, rest)
    }

    /// Keep the first examples of records outside their hours and of non-members.
    fn note(&mut self, range: usize, chunk: &Chunk) {
        for findings in [&chunk.front, &chunk.body] {
            self.done.outside_over += findings.outside_over;
            if let (None, Some((start, length))) =
                (&self.done.outside_over_example, findings.outside_over_first)
            {
                let content = chunk.content(start, length).to_vec();
                self.done.outside_over_example = Some((range, chunk.position_of(start), content));
            }
            if let (None, Some((_, mixed))) = (&self.done.unmatched_example, findings.unmatched) {
                self.done.unmatched_example = Some(msisdn::digits_of(msisdn::unmix(mixed)));
            }
        }
    }

    /// Give bytes that were read and not consumed back to the decompressor, so that the next call can go on.
    pub(crate) fn give_back(&mut self, rest: &[Chunk]) {
        let Some((index, progress)) = self.progress.iter().enumerate().next_back() else {
            return;
        };
        if let Some(Ok(Source::Gzip(gzip))) = &mut lock(&self.files[index]).source
            && let Some(fragment) = progress.fragment.whole()
        {
            let mut bytes = fragment.to_vec();
            for chunk in rest.iter().filter(|chunk| chunk.range == index) {
                bytes.extend_from_slice(chunk.data());
            }
            gzip.give_back(&bytes);
        }
    }
}
