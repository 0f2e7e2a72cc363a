//! Runs calls of `process`: plans the chunks of each pass, and keeps buffers and decompressors between calls.

use crate::batch::chunk::Chunk;
use crate::batch::classify::Context;
use crate::batch::job::{BegunRange, Job, Processed};
use crate::batch::pass::{Call, Opened};
use crate::batch::progress::Progress;
use crate::batch::range::RangeSpec;
use crate::input::gzip::Gzip;
use crate::input::source::{Problem, Source};
use crate::ledger::Ledger;
use crate::ledger::counters::{COUNTERS_FULL, Counters};
use crate::rules::policy::Policy;
use crate::scan::path::ScanPath;
use crate::threads::lock;
use crate::types::clock::Clock;
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Instant;

/// Bytes of a chunk: with everything that scanning touches it stays within a second-level cache.
pub const CHUNK_BYTES: usize = 256 << 10;
/// Chunks per thread and pass: enough to balance threads, few enough to stay within a last-level cache.
const PASS_CHUNKS: usize = 8;
/// Most decompressors that are kept open between calls.
const KEPT_GZIPS_MAX: usize = 8;

/// Scans ranges; owns buffers and open decompressors between calls.
pub struct Scanner {
    threads: usize,
    /// Volumes are added up (measure "total").
    adds: bool,
    clock: Clock,
    path: ScanPath,
    chunk_bytes: usize,
    pool: Vec<Chunk>,
    gzips: HashMap<Vec<u8>, Box<Gzip>>,
}

impl Scanner {
    /// Make a scanner.
    pub fn new(
        threads: usize,
        adds: bool,
        clock: Clock,
        path: ScanPath,
        chunk_bytes: usize,
    ) -> Scanner {
        let (threads, chunk_bytes) = (threads.max(1), chunk_bytes.max(1));
        Scanner {
            threads,
            adds,
            clock,
            path,
            chunk_bytes,
            pool: Vec::new(),
            gzips: HashMap::new(),
        }
    }

    /// Scan ranges in order and apply their records to the ledger. Err: the caller broke the contract.
    pub fn process(&mut self, job: &Job, ledger: &mut Ledger) -> Result<Processed, String> {
        let begun = Instant::now();
        let tables = (ledger.branches.full.len(), ledger.branches.points.len());
        if (job.branches.len(), job.points.len()) != tables {
            return Err("a job has other branches than its ledger".into());
        }
        let mut points = job.points.windows(2);
        if !points.all(|two| two[0].rules.has_windows_of(two[1].rules)) {
            return Err("points of a curve have other windows".into());
        }
        let branches = job.branches.iter().chain(job.points);
        if branches.map(|branch| branch.policy).any(Policy::has_limit) || job.policy.has_limit() {
            ledger.count_customers(self.threads).ok_or(COUNTERS_FULL)?;
        }
        for chunk in &mut self.pool {
            chunk.clear_cache();
        }
        let clock = std::mem::take(&mut self.clock);
        let mut call = Call::new(job, &clock);
        let result = loop {
            match self.run_pass(&mut call, ledger) {
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
                done.ranges.push(BegunRange { progress, inode });
            }
        }
        done.order();
        done.delta = ledger.take_delta(self.threads);
        ledger.branches.forget_changes();
        ledger.sweep();
        Ok(done)
    }

    /// Keep the decompressor of a range that may go on, if it is at the right position.
    fn keep_gzip(
        &mut self,
        spec: &RangeSpec,
        progress: &Progress,
        source: Option<Result<Source, Problem>>,
    ) {
        if let Some(Ok(Source::Gzip(gzip))) = source
            && progress.problem.is_none()
            && gzip.position() == progress.consumed
            && !gzip.has_failed()
            && !(spec.is_final && progress.complete)
        {
            // Without a limit, decompressors of files that are never read again would stay for good.
            if self.gzips.len() >= KEPT_GZIPS_MAX {
                self.gzips.clear();
            }
            self.gzips.insert(spec.path.clone(), gzip);
        }
    }

    /// Return the chunks of the next pass, beginning where the last range stopped.
    fn plan(&mut self, call: &mut Call) -> Vec<Chunk> {
        let mut chunks = Vec::new();
        let most = self.threads * PASS_CHUNKS;
        let mut index = call.progress.len().saturating_sub(1);
        while chunks.len() < most && index < call.job.ranges.len() {
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
            while !progress.complete && chunks.len() < most && (progress.next < spec.end || once) {
                let bytes = spec
                    .end
                    .saturating_sub(progress.next)
                    .min(self.chunk_bytes as u64);
                let mut chunk = self.pool.pop().unwrap_or_default();
                chunk.reset(index, progress.next, bytes as usize);
                progress.next += bytes;
                chunks.push(chunk);
                once = false;
            }
            index += 1;
        }
        chunks
    }

    /// Read, scan and merge the chunks of the next pass. Return those that were merged, and the rest, as `Call::merge`.
    pub(crate) fn read(
        &mut self,
        call: &mut Call,
        counters: &mut Counters,
    ) -> Result<(Vec<Chunk>, Vec<Chunk>), String> {
        let chunks = self.plan(call);
        let windows = call.windows.clone();
        let context = Context {
            path: self.path,
            segment: call.job.segment,
            rules: &windows,
            policy: call.job.policy,
            clock: call.clock,
            counters: Mutex::new(counters),
        };
        let chunks = call.scan(&context, chunks, self.threads);
        let (chunks, rest) = call.merge(&context, chunks, &mut self.pool);
        if chunks
            .iter()
            .any(|chunk| chunk.front.counters_full || chunk.body.counters_full)
        {
            return Err(COUNTERS_FULL.into());
        }
        Ok((chunks, rest))
    }

    /// Keep the buffers of chunks for later ones.
    pub(crate) fn recycle(&mut self, chunks: Vec<Chunk>) {
        self.pool.extend(chunks);
    }

    /// Run one pass. Return the chunks that were read and not merged.
    fn run_pass(&mut self, call: &mut Call, ledger: &mut Ledger) -> Result<Vec<Chunk>, String> {
        let (chunks, rest) = self.read(call, &mut ledger.counters)?;
        call.apply(ledger, &chunks, self.threads, self.adds);
        self.recycle(chunks);
        Ok(rest)
    }
}
