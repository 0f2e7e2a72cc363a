//! One call of `process`: what scans the pieces of a round, and what puts them together in order.

use crate::batch::chunk::Piece;
use crate::batch::classify::Context;
use crate::batch::job::{Job, Processed};
use crate::batch::progress::Progress;
use crate::input::source::{Problem, Source, UNREADABLE};
use crate::ledger::codec::ENTRY_BYTES;
use crate::threads::{self, lock};
use crate::types::clock::Clock;
use crate::types::msisdn;
use std::ops::Range;
use std::sync::Mutex;
use std::time::Instant;

/// Below this much data in a round, threads cost more than they give.
const INLINE_BYTES: u64 = 96 << 10;

/// A file in use by a call.
#[derive(Default)]
pub(crate) struct Opened {
    pub(crate) inode: u64,
    /// It was opened, or could not be.
    pub(crate) tried: bool,
    pub(crate) source: Option<Result<Source, Problem>>,
}

/// One call of `process`.
pub(crate) struct Call<'a> {
    pub(crate) job: &'a Job<'a>,
    pub(crate) clock: &'a Clock,
    pub(crate) files: Vec<Mutex<Opened>>,
    /// Of the ranges begun: all but the last are complete.
    pub(crate) progress: Vec<Progress>,
    /// Something was taken.
    moved: bool,
    /// Pieces were left out because there is enough output.
    cut: bool,
    pub(crate) done: Processed,
}

/// What a call has done so far, without what it works with.
#[derive(Default)]
pub(crate) struct Paused {
    pub(crate) files: Vec<Mutex<Opened>>,
    pub(crate) progress: Vec<Progress>,
    pub(crate) done: Processed,
}

impl<'a> Call<'a> {
    /// A call that has not begun.
    pub(crate) fn new(job: &'a Job<'a>, clock: &'a Clock) -> Call<'a> {
        Call {
            job,
            clock,
            files: job.ranges.iter().map(|_| Mutex::default()).collect(),
            progress: Vec::new(),
            moved: false,
            cut: false,
            done: Processed::default(),
        }
    }

    /// A call that goes on where another one was paused.
    pub(crate) fn resumed(job: &'a Job<'a>, clock: &'a Clock, paused: Paused) -> Call<'a> {
        Call {
            files: paused.files,
            progress: paused.progress,
            done: paused.done,
            ..Call::new(job, clock)
        }
    }

    /// What it has done so far.
    pub(crate) fn pause(self) -> Paused {
        Paused {
            files: self.files,
            progress: self.progress,
            done: self.done,
        }
    }

    /// Whether there is enough, or nothing more. `changed`: entries of the ledger.
    pub(crate) fn is_over(&self, begun: Instant, changed: usize) -> bool {
        let all = self.progress.len() == self.job.ranges.len()
            && self.progress.last().is_none_or(|p| p.complete);
        let bytes = self.done.bytes() + (changed * ENTRY_BYTES) as u64;
        let enough = bytes > self.job.output_bytes_max || begun.elapsed() >= self.job.work_max;
        all || self.cut || (self.moved && enough)
    }

    /// Read and scan the pieces.
    pub(crate) fn scan(&self, context: &Context, pieces: Vec<Piece>, threads: usize) -> Vec<Piece> {
        let mut tasks: Vec<Range<usize>> = Vec::new();
        for (index, piece) in pieces.iter().enumerate() {
            match tasks.last_mut() {
                Some(task)
                    if self.job.ranges[piece.range].compressed
                        && pieces[task.start].range == piece.range =>
                {
                    task.end += 1;
                }
                _ => tasks.push(index..index + 1),
            }
        }
        let bytes: u64 = pieces.iter().map(|piece| piece.wanted as u64).sum();
        let threads = if bytes < INLINE_BYTES { 1 } else { threads };
        let pieces: Vec<Mutex<Piece>> = pieces.into_iter().map(Mutex::new).collect();
        threads::for_each(threads, tasks.len(), |task| {
            for piece in &pieces[tasks[task].clone()] {
                let piece = &mut *lock(piece);
                self.read(piece);
                let spec = &self.job.ranges[piece.range];
                piece.scan(context, spec.days());
            }
        });
        pieces
            .into_iter()
            .map(|piece| piece.into_inner().unwrap_or_default())
            .collect()
    }

    fn read(&self, piece: &mut Piece) {
        let spec = &self.job.ranges[piece.range];
        let mut opened = lock(&self.files[piece.range]);
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
        let position = piece.position;
        let read = match &mut opened.source {
            Some(Ok(Source::Plain(file))) => {
                let mut file = Source::Plain(file.clone());
                drop(opened);
                file.read(position, piece.buffer())
            }
            Some(Ok(source)) => source.read(position, piece.buffer()),
            Some(Err(problem)) => Err(problem.clone()),
            None => Err(Problem::new(UNREADABLE, "")),
        };
        match read {
            Ok(len) => piece.len = len,
            Err(problem) => piece.problem = Some(problem),
        }
    }

    /// Put the pieces together. Gives those that count, with last lines added, and those that do not.
    pub(crate) fn merge(
        &mut self,
        context: &Context,
        pieces: Vec<Piece>,
        pool: &mut Vec<Piece>,
    ) -> (Vec<Piece>, Vec<Piece>) {
        let mut bytes = self.done.bytes();
        let (mut merged, mut rest) = (Vec::with_capacity(pieces.len() + 1), Vec::new());
        let mut pieces = pieces.into_iter();
        for mut piece in pieces.by_ref() {
            let index = piece.range;
            let (spec, progress) = (&self.job.ranges[index], &mut self.progress[index]);
            if progress.complete {
                // The file ended before this piece.
                rest.push(piece);
                continue;
            }
            let kept_before = progress.kept_bytes;
            progress.merge(spec, context, &mut piece);
            self.note(index, &piece);
            merged.push(piece);
            let progress = &mut self.progress[index];
            if progress.has_last_line(spec) {
                let mut piece = pool.pop().unwrap_or_default();
                piece.reset(index, progress.next, 0);
                progress.merge_last_line(spec, context, &mut piece);
                self.note(index, &piece);
                merged.push(piece);
            }
            let progress = &self.progress[index];
            bytes += progress.kept_bytes - kept_before;
            self.moved |= progress.has_moved(spec);
            // Only a decompressor that may go on is kept: descriptors and its state are dear.
            if progress.complete && (!spec.compressed || spec.last || progress.problem.is_some()) {
                lock(&self.files[index]).source = None;
            }
            if self.moved && bytes > self.job.output_bytes_max {
                self.cut = true;
                break;
            }
        }
        rest.extend(pieces);
        if let (true, Some(last)) = (self.cut, merged.last()) {
            // Ranges after the cut were not begun.
            self.progress.truncate(last.range + 1);
        }
        (merged, rest)
    }

    /// Note examples.
    fn note(&mut self, range: usize, piece: &Piece) {
        for findings in [&piece.front, &piece.body] {
            self.done.outside_over += findings.outside_over;
            if let (None, Some((start, length))) =
                (&self.done.outside_over_example, findings.outside_over_first)
            {
                let content = piece.content(start, length).to_vec();
                self.done.outside_over_example = Some((range, piece.position_of(start), content));
            }
            if let (None, Some((_, mixed))) = (&self.done.unmatched_example, findings.unmatched) {
                self.done.unmatched_example = Some(msisdn::digits_of(msisdn::unmix(mixed)));
            }
        }
    }

    /// Give back to the decompressor what was read and not taken, so that the next call can go on.
    pub(crate) fn give_back(&mut self, rest: &[Piece]) {
        let Some((index, progress)) = self.progress.iter().enumerate().next_back() else {
            return;
        };
        if let Some(Ok(Source::Gzip(gzip))) = &mut lock(&self.files[index]).source
            && let Some(fragment) = progress.fragment.whole()
        {
            let mut bytes = fragment.to_vec();
            for piece in rest.iter().filter(|piece| piece.range == index) {
                bytes.extend_from_slice(piece.data());
            }
            gzip.give_back(&bytes);
        }
    }
}
