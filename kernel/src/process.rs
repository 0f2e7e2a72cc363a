//! From ranges to outcomes: rounds of pieces, scanned in parallel, merged in order, applied per shard.
//!
//! A round has three steps. *Scan*: threads take pieces (a compressed range is one task, as it can only be read in
//! order) and decide what needs no ledger. *Merge*, on this thread: lines that cross pieces are put together, counts are
//! added, and the round is cut where output would grow too large. *Apply*: threads take groups of shards, each with its
//! candidates in input order, and pieces whose rejects are to be written down. Then what was notified is put back into
//! input order. So threads, pieces and stops never show in a result, and memory is bounded by the round.

use crate::clock::Clock;
use crate::fast::Path;
use crate::ledger::{Applied, Candidate, Columns, Ledger, SHARDS, Shard, shard_of};
use crate::msisdn;
use crate::piece::{Context, Days, GROUPS, Piece};
use crate::progress::{Progress, RangeSpec};
use crate::reader::{Gzip, Problem, Source};
use crate::reject::{Outcome, encode_into};
use crate::rules::Rules;
use crate::scan::LINE_BYTES_MAX;
use crate::segment::Segment;
use crate::threads::{self, lock};
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Bytes of a piece: with what scanning touches it stays within a second-level cache.
pub const PIECE_BYTES: usize = 256 << 10;
/// Pieces per thread and round: enough to level out, few enough to stay within a last-level cache.
const ROUND_PIECES: usize = 8;
/// Below this much data in a round, threads cost more than they give.
const INLINE_BYTES: u64 = 96 << 10;
/// Likewise for candidates and rejects to work off.
const INLINE_LINES: usize = 2_000;
/// Candidates whose places are asked of memory before they are applied.
const APPLIED_AHEAD: usize = 16;
/// Open decompressors kept between calls.
const KEPT_GZIPS_MAX: usize = 8;
/// What an encoded reject takes besides its name and raw bytes, about.
const REJECT_FRAME_BYTES: u64 = 40;

/// A notification.
#[derive(Clone, Copy, Debug)]
pub struct Notification {
    /// The record's day.
    pub day: u32,
    /// Index of the application.
    pub application: u32,
    /// Key of the msisdn.
    pub msisdn: u64,
    /// Orders msisdns as text.
    pub order: u64,
    /// Index of the range.
    pub range: usize,
    /// Position of the content in the file.
    pub byte: u64,
    /// Where its content lies in the application's output.
    pub at: usize,
    /// Length of the content.
    pub length: usize,
}

/// A range that was begun.
#[derive(Debug)]
pub struct Begun {
    /// Where it stands.
    pub progress: Progress,
    /// Of the file.
    pub inode: u64,
}

/// What a call gives.
#[derive(Debug, Default)]
pub struct Processed {
    /// A prefix of the ranges asked for.
    pub ranges: Vec<Begun>,
    /// Output by application.
    pub outputs: BTreeMap<u32, Vec<u8>>,
    /// Sorted by day, application and digits.
    pub notifications: Vec<Notification>,
    /// Encoded rejects.
    pub rejects: Vec<u8>,
    /// The ledger's delta.
    pub delta: Vec<u8>,
    /// Records outside their hours whose own volume is above a threshold of their service.
    pub outside_over: u64,
    /// (range, byte, content) of the first of them.
    pub outside_over_example: Option<(usize, u64, Vec<u8>)>,
    /// The first record's msisdn that is not in the segment.
    pub unmatched_example: Option<String>,
}

impl Processed {
    fn bytes(&self) -> u64 {
        (self.rejects.len() + self.outputs.values().map(Vec::len).sum::<usize>()) as u64
    }
}

/// What a call works with.
pub struct Job<'a> {
    /// What to read, in order.
    pub ranges: &'a [RangeSpec],
    /// The targeted msisdns.
    pub segment: &'a Segment,
    /// The rules.
    pub rules: &'a Rules,
    /// Stop when output and rejects exceed this.
    pub output_bytes_max: u64,
    /// Stop when the work lasted as long.
    pub work_max: Duration,
}

/// A file in use by a call.
#[derive(Default)]
struct Opened {
    inode: u64,
    tried: bool,
    source: Option<Result<Source, Problem>>,
}

/// Scans ranges; owns buffers and open decompressors between calls.
pub struct Scanner {
    threads: usize,
    /// Volumes are added up (measure "total").
    adds: bool,
    clock: Clock,
    path: Path,
    piece_bytes: usize,
    pool: Vec<Piece>,
    gzips: HashMap<Vec<u8>, Box<Gzip>>,
}

impl Scanner {
    /// A scanner with buffers of its own.
    pub fn new(
        threads: usize,
        adds: bool,
        clock: Clock,
        path: Path,
        piece_bytes: usize,
    ) -> Scanner {
        let (threads, piece_bytes) = (threads.max(1), piece_bytes.max(1));
        Scanner {
            threads,
            adds,
            clock,
            path,
            piece_bytes,
            pool: Vec::new(),
            gzips: HashMap::new(),
        }
    }

    /// Scan ranges in order and apply their records to the ledger. Err: the caller broke the contract.
    pub fn process(&mut self, job: &Job, ledger: &mut Ledger) -> Result<Processed, String> {
        let begun = Instant::now();
        for piece in &mut self.pool {
            piece.forget_columns();
        }
        let clock = std::mem::take(&mut self.clock);
        let mut call = Call {
            job,
            clock: &clock,
            files: job.ranges.iter().map(|_| Mutex::default()).collect(),
            progress: Vec::new(),
            moved: false,
            cut: false,
            done: Processed::default(),
        };
        let result = loop {
            match self.round(&mut call, ledger) {
                Ok(rest) if call.is_over(begun) => {
                    call.give_back(&rest);
                    self.pool.extend(rest);
                    break Ok(());
                }
                Ok(rest) => self.pool.extend(rest),
                Err(error) => break Err(error),
            }
        };
        let Call {
            files,
            progress,
            mut done,
            ..
        } = call;
        self.clock = clock;
        result?;
        for (index, (file, progress)) in files.into_iter().zip(progress).enumerate() {
            let spec = &job.ranges[index];
            let Opened { inode, source, .. } = file.into_inner().unwrap_or_default();
            self.keep_gzip(spec, &progress, source);
            if progress.has_moved(spec) {
                done.ranges.push(Begun { progress, inode });
            }
        }
        done.notifications
            .sort_unstable_by_key(|n| (n.day, n.application, n.order));
        done.delta = ledger.take_delta(self.threads);
        ledger.sweep();
        Ok(done)
    }

    /// Keep the decompressor of a range that goes on, if it stands right.
    fn keep_gzip(
        &mut self,
        spec: &RangeSpec,
        progress: &Progress,
        source: Option<Result<Source, Problem>>,
    ) {
        if let Some(Ok(Source::Gzip(gzip))) = source
            && progress.problem.is_none()
            && gzip.position() == progress.taken
            && !(spec.last && progress.complete)
            && self.gzips.len() < KEPT_GZIPS_MAX
        {
            self.gzips.insert(spec.path.clone(), gzip);
        }
    }

    /// Pieces for the next round, from where the last range stands.
    fn plan(&mut self, call: &mut Call) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let most = self.threads * ROUND_PIECES;
        let mut index = call.progress.len().saturating_sub(1);
        while pieces.len() < most && index < call.job.ranges.len() {
            let spec = &call.job.ranges[index];
            let begins = index == call.progress.len();
            if begins {
                call.progress.push(Progress::new(spec));
                let opened = self
                    .gzips
                    .remove(&spec.path)
                    .map(|gzip| Ok(Source::Gzip(gzip)));
                lock(&call.files[index]).source = opened;
            }
            let progress = &mut call.progress[index];
            let mut once = begins;
            while !progress.complete && pieces.len() < most && (progress.next < spec.end || once) {
                let bytes = spec
                    .end
                    .saturating_sub(progress.next)
                    .min(self.piece_bytes as u64);
                let mut piece = self.pool.pop().unwrap_or_default();
                piece.reset(index, progress.next, bytes as usize);
                progress.next += bytes;
                pieces.push(piece);
                once = false;
            }
            index += 1;
        }
        pieces
    }

    /// One round. Gives the pieces that were read and do not count.
    fn round(&mut self, call: &mut Call, ledger: &mut Ledger) -> Result<Vec<Piece>, String> {
        let pieces = self.plan(call);
        let context = Context {
            path: self.path,
            segment: call.job.segment,
            rules: call.job.rules,
            clock: call.clock,
            columns: Mutex::new(&mut ledger.columns),
        };
        let pieces = call.scan(&context, pieces, self.threads);
        let (pieces, rest) = call.merge(&context, pieces, &mut self.pool);
        if pieces
            .iter()
            .any(|piece| piece.front.columns_full || piece.body.columns_full)
        {
            return Err("too many open windows and days for one ledger".into());
        }
        call.apply(ledger, &pieces, self.threads, self.adds);
        self.pool.extend(pieces);
        Ok(rest)
    }
}

/// One call of `process`.
struct Call<'a> {
    job: &'a Job<'a>,
    clock: &'a Clock,
    files: Vec<Mutex<Opened>>,
    /// Of the ranges begun: all but the last are complete.
    progress: Vec<Progress>,
    /// Something was taken.
    moved: bool,
    /// Pieces were left out because there is enough output.
    cut: bool,
    done: Processed,
}

impl Call<'_> {
    fn is_over(&self, begun: Instant) -> bool {
        let all = self.progress.len() == self.job.ranges.len()
            && self.progress.last().is_none_or(|p| p.complete);
        let enough =
            self.done.bytes() > self.job.output_bytes_max || begun.elapsed() >= self.job.work_max;
        all || self.cut || (self.moved && enough)
    }

    /// Read and scan the pieces.
    fn scan(&self, context: &Context, pieces: Vec<Piece>, threads: usize) -> Vec<Piece> {
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
                piece.scan(
                    context,
                    Days {
                        max: spec.day_max,
                        open: spec.day_open,
                    },
                );
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
            None => Err(Problem::new("unreadable", "")),
        };
        match read {
            Ok(len) => piece.len = len,
            Err(problem) => piece.problem = Some(problem),
        }
    }

    /// Put the pieces together. Gives those that count, with last lines added, and those that do not.
    fn merge(
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
            progress.merge(spec, context, &mut piece);
            bytes += self.note(index, &piece);
            merged.push(piece);
            let progress = &mut self.progress[index];
            if progress.has_last_line(spec) {
                let mut piece = pool.pop().unwrap_or_default();
                piece.reset(index, progress.next, 0);
                progress.merge_last_line(spec, context, &mut piece);
                bytes += self.note(index, &piece);
                merged.push(piece);
            }
            let progress = &self.progress[index];
            self.moved |= progress.has_moved(spec);
            if progress.complete && !spec.compressed {
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

    /// Note examples; about how many bytes of rejects a piece will give.
    fn note(&mut self, range: usize, piece: &Piece) -> u64 {
        let name = self.job.ranges[range].name.len() as u64;
        let mut bytes = 0;
        for findings in [&piece.front, &piece.body] {
            self.done.outside_over += findings.outside_over;
            if let (None, Some((start, length))) =
                (&self.done.outside_over_example, findings.outside_over_first)
            {
                let content = piece.content(start, length).to_vec();
                self.done.outside_over_example = Some((range, piece.position_of(start), content));
            }
            if let (None, Some((_, key))) = (&self.done.unmatched_example, findings.unmatched) {
                self.done.unmatched_example = Some(msisdn::digits_of(key));
            }
            let kept = findings.rejects.iter().filter(|reject| reject.kept);
            bytes += kept
                .map(|r| r.length.min(LINE_BYTES_MAX as u64) + name + REJECT_FRAME_BYTES)
                .sum::<u64>();
        }
        bytes
    }

    /// Apply candidates to the ledger and write down rejects, in parallel; then put everything in order.
    fn apply(&mut self, ledger: &mut Ledger, pieces: &[Piece], threads: usize, adds: bool) {
        let columns = &ledger.columns;
        let groups: Vec<Mutex<Group>> = ledger
            .shards
            .chunks_mut(SHARDS / GROUPS)
            .map(|shards| {
                Mutex::new(Group {
                    shards,
                    ..Group::default()
                })
            })
            .collect();
        let with_rejects: Vec<usize> = (0..pieces.len())
            .filter(|index| {
                !pieces[*index].front.rejects.is_empty() || !pieces[*index].body.rejects.is_empty()
            })
            .collect();
        let encoded: Vec<Mutex<Vec<u8>>> = with_rejects.iter().map(|_| Mutex::default()).collect();
        let lines: usize = pieces
            .iter()
            .map(|piece| piece.body.candidates.len() + piece.body.rejects.len())
            .sum();
        let threads = if lines < INLINE_LINES { 1 } else { threads };
        threads::for_each(threads, GROUPS + with_rejects.len(), |task| {
            if let Some(group) = groups.get(task) {
                lock(group).apply(task, columns, self.job.rules, pieces, adds);
            } else {
                let piece = &pieces[with_rejects[task - GROUPS]];
                *lock(&encoded[task - GROUPS]) =
                    encode_rejects(&self.job.ranges[piece.range].name, piece);
            }
        });
        for encoded in encoded {
            self.done.rejects.extend_from_slice(&lock(&encoded));
        }
        let mut notified = Vec::new();
        for group in groups {
            let group = group.into_inner().unwrap_or_default();
            for (index, counts) in group.counts {
                for (outcome, count) in [Outcome::Capped, Outcome::Counted, Outcome::Notified]
                    .into_iter()
                    .zip(counts)
                {
                    self.progress[index].outcomes[outcome as usize] += count;
                }
            }
            notified.extend(group.notified);
        }
        notified.sort_unstable_by_key(|(piece, candidate)| (*piece, candidate.start));
        for (piece, candidate) in notified {
            self.emit(&pieces[piece], &candidate);
        }
    }

    fn emit(&mut self, piece: &Piece, candidate: &Candidate) {
        let application = self.job.rules.rules[candidate.rule as usize].application;
        let output = self.done.outputs.entry(application).or_default();
        let content = piece.content(candidate.start, candidate.length);
        let msisdn = msisdn::unmix(candidate.mixed);
        self.done.notifications.push(Notification {
            day: candidate.day,
            application,
            msisdn,
            order: msisdn::text_order(msisdn),
            range: piece.range,
            byte: piece.position_of(candidate.start),
            at: output.len(),
            length: content.len(),
        });
        output.extend_from_slice(content);
        output.push(b'\n');
    }

    /// Give back to the decompressor what was read and not taken, so that the next call can go on.
    fn give_back(&mut self, rest: &[Piece]) {
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

/// What the ledger decides for one group of shards.
#[derive(Default)]
struct Group<'a> {
    shards: &'a mut [Shard],
    /// (piece, candidate), in input order.
    notified: Vec<(usize, Candidate)>,
    /// Range: capped, counted, notified.
    counts: Vec<(usize, [u64; 3])>,
}

impl Group<'_> {
    fn apply(
        &mut self,
        group: usize,
        columns: &Columns,
        rules: &Rules,
        pieces: &[Piece],
        adds: bool,
    ) {
        let first = group * self.shards.len();
        for (index, piece) in pieces.iter().enumerate() {
            if self
                .counts
                .last()
                .is_none_or(|(range, _)| *range != piece.range)
            {
                self.counts.push((piece.range, [0; 3]));
            }
            if let Some(next) = pieces.get(index + 1) {
                for ahead in next.body.of_group(group).iter().take(APPLIED_AHEAD) {
                    self.shards[shard_of(ahead.mixed) - first].prefetch(columns, ahead);
                }
            }
            for findings in [&piece.front, &piece.body] {
                let candidates = findings.of_group(group);
                for (at, candidate) in candidates.iter().enumerate() {
                    if let Some(ahead) = candidates.get(at + APPLIED_AHEAD) {
                        self.shards[shard_of(ahead.mixed) - first].prefetch(columns, ahead);
                    }
                    let shard = &mut self.shards[shard_of(candidate.mixed) - first];
                    let threshold = rules.rules[candidate.rule as usize].threshold;
                    let applied = shard.apply(columns, candidate, threshold, adds);
                    if let Some((_, counts)) = self.counts.last_mut() {
                        counts[applied as usize] += 1;
                    }
                    if applied == Applied::Notified {
                        self.notified.push((index, *candidate));
                    }
                }
            }
        }
        for shard in &mut *self.shards {
            shard.set_caps(columns);
        }
    }
}

fn encode_rejects(name: &str, piece: &Piece) -> Vec<u8> {
    let mut out = Vec::new();
    for (findings, newlines, begin) in [
        (&piece.front, piece.front_newlines, crate::piece::FRONT),
        (
            &piece.body,
            piece.body_newlines,
            crate::piece::DATA + piece.head,
        ),
    ] {
        // Late records do not know their line: it is counted from the last one that is known.
        let (mut at, mut line) = (begin, 0);
        for reject in &findings.rejects {
            let start = reject.start as usize;
            line = match reject.line {
                u32::MAX => {
                    line + memchr::memchr_iter(b'\n', &piece.bytes[at..start]).count() as u64
                }
                known => u64::from(known),
            };
            at = start;
            if reject.kept {
                let raw = piece.content(
                    reject.start,
                    reject.length.min(LINE_BYTES_MAX as u64) as u32,
                );
                let byte = piece.position_of(reject.start);
                encode_into(
                    &mut out,
                    name,
                    newlines + line + 1,
                    byte,
                    reject.length,
                    reject.reason,
                    raw,
                );
            }
        }
    }
    out
}
