//! From ranges to outcomes: rounds of pieces, scanned in parallel, merged in order, applied per shard.
//!
//! A round has three steps. *Scan*: threads take pieces (a compressed range is one task, as it can only be read in
//! order) and decide what needs no ledger. *Merge*, on this thread: lines that cross pieces are put together, counts are
//! added, and the round is cut where output would grow too large. *Apply*: threads take groups of shards, each with its
//! candidates in input order, and pieces whose rejects are to be written down. Then what was notified is put back into
//! input order. So threads, pieces and stops never show in a result, and memory is bounded by the round. This file plans
//! the rounds; `call` scans and merges, `apply` applies.

use crate::batch::chunk::Piece;
use crate::batch::classify::Context;
use crate::batch::pass::{Call, Opened};
use crate::batch::progress::{Progress, RangeSpec};
use crate::input::source::{Gzip, Problem, Source};
use crate::ledger::Ledger;
use crate::ledger::keys::Columns;
use crate::ledger::shard::Candidate;
use crate::rules::Rules;
use crate::rules::policy::Policy;
use crate::scan::path::Path;
use crate::segment::Segment;
use crate::threads::lock;
use crate::types::clock::Clock;
use crate::types::msisdn;
use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Bytes of a piece: with what scanning touches it stays within a second-level cache.
pub const PIECE_BYTES: usize = 256 << 10;
/// Pieces per thread and round: enough to level out, few enough to stay within a last-level cache.
const ROUND_PIECES: usize = 8;
/// What a caller is told when there are more open columns than a ledger can number.
pub(crate) const COLUMNS_FULL: &str = "too many open windows and days for one ledger";
/// What a notification takes besides its line, once its caller has a row of it: about a tuple, its numbers and texts.
const ROW_BYTES: usize = 400;
/// Open decompressors kept between calls.
const KEPT_GZIPS_MAX: usize = 8;

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
    /// As `outputs`, of the control group.
    pub control_outputs: BTreeMap<u32, Vec<u8>>,
    /// As `notifications`, of the control group.
    pub control_notifications: Vec<Notification>,
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
    /// Bytes of output, rejects and the rows of notifications.
    pub(crate) fn bytes(&self) -> u64 {
        let outputs = self.outputs.values().chain(self.control_outputs.values());
        let output: usize = outputs.map(Vec::len).sum();
        let rows = self.notifications.len() + self.control_notifications.len();
        (self.rejects.len() + output + rows * ROW_BYTES) as u64
    }

    /// Note what the ledger has decided to notify, or would have were it not of the control group, in input order. Its
    /// content is at that (range, position).
    pub(crate) fn emit(
        &mut self,
        rules: &Rules,
        candidate: &Candidate,
        control: bool,
        (range, byte): (usize, u64),
        content: &[u8],
    ) {
        let (outputs, notifications) = if control {
            (&mut self.control_outputs, &mut self.control_notifications)
        } else {
            (&mut self.outputs, &mut self.notifications)
        };
        let application = rules.rules[candidate.rule as usize].application;
        let output = outputs.entry(application).or_default();
        let msisdn = msisdn::unmix(candidate.mixed);
        notifications.push(Notification {
            day: candidate.day,
            application,
            msisdn,
            order: msisdn::text_order(msisdn),
            range,
            byte,
            at: output.len(),
            length: content.len(),
        });
        output.extend_from_slice(content);
        output.push(b'\n');
    }

    /// Put what was noted in input order into the order of notifications.
    pub(crate) fn order(&mut self) {
        for notifications in [&mut self.notifications, &mut self.control_notifications] {
            notifications.sort_unstable_by_key(|n| (n.day, n.application, n.order));
        }
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
    /// What keeps records back.
    pub policy: &'a Policy,
    /// Stop when output, rejects, rows of notifications and the ledger's delta exceed this.
    pub output_bytes_max: u64,
    /// Stop when the work lasted as long.
    pub work_max: Duration,
}

/// By what candidates are decided.
#[derive(Clone, Copy)]
pub struct Terms<'a> {
    /// The rules.
    pub rules: &'a Rules,
    /// What keeps notifications back.
    pub policy: &'a Policy,
    /// Volumes are added up (measure "total").
    pub adds: bool,
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
        if job.policy.max_per_customer_per_day > 0 {
            ledger.count_customers(self.threads).ok_or(COLUMNS_FULL)?;
        }
        for piece in &mut self.pool {
            piece.forget_columns();
        }
        let clock = std::mem::take(&mut self.clock);
        let mut call = Call::new(job, &clock);
        let result = loop {
            match self.round(&mut call, ledger) {
                Ok(rest) if call.is_over(begun, ledger.changed()) => {
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
        done.order();
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
            && !gzip.has_failed()
            && !(spec.last && progress.complete)
        {
            // Those of files that never came back would fill it for good.
            if self.gzips.len() >= KEPT_GZIPS_MAX {
                self.gzips.clear();
            }
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
                if let Some(gzip) = self.gzips.remove(&spec.path) {
                    lock(&call.files[index]).source = Some(Ok(Source::Gzip(gzip)));
                }
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

    /// Read, scan and merge the pieces of the next round: those that count, and those that do not.
    pub(crate) fn read(
        &mut self,
        call: &mut Call,
        columns: &mut Columns,
    ) -> Result<(Vec<Piece>, Vec<Piece>), String> {
        let pieces = self.plan(call);
        let context = Context {
            path: self.path,
            segment: call.job.segment,
            rules: call.job.rules,
            policy: call.job.policy,
            clock: call.clock,
            columns: Mutex::new(columns),
        };
        let pieces = call.scan(&context, pieces, self.threads);
        let (pieces, rest) = call.merge(&context, pieces, &mut self.pool);
        if pieces
            .iter()
            .any(|piece| piece.front.columns_full || piece.body.columns_full)
        {
            return Err(COLUMNS_FULL.into());
        }
        Ok((pieces, rest))
    }

    /// Keep the buffers of pieces for others.
    pub(crate) fn recycle(&mut self, pieces: Vec<Piece>) {
        self.pool.extend(pieces);
    }

    /// One round. Gives the pieces that were read and do not count.
    fn round(&mut self, call: &mut Call, ledger: &mut Ledger) -> Result<Vec<Piece>, String> {
        let (pieces, rest) = self.read(call, &mut ledger.columns)?;
        call.apply(ledger, &pieces, self.threads, self.adds);
        self.recycle(pieces);
        Ok(rest)
    }
}
