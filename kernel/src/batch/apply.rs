//! The last step of a pass: candidates are decided, group of shards by group, and notifications put into input order.

use crate::batch::chunk::Chunk;
use crate::batch::curve;
use crate::batch::findings::{GROUP_SHARDS, GROUPS};
use crate::batch::job::{Branch, Emissions, Job, Processed};
use crate::batch::pass::Call;
use crate::ledger::Ledger;
use crate::ledger::branches::Branches;
use crate::ledger::counters::Counters;
use crate::ledger::decide::{Candidate, DECIDED_AHEAD, DECIDED_OUTCOMES, Terms, decide};
use crate::ledger::shard::{Shard, shard_of};
use crate::rules::Rules;
use crate::scan::outcome::encode_into;
use crate::threads::{self, lock};
use std::sync::{Mutex, PoisonError};

/// With fewer candidates and rejects in a pass, threads cost more than they save.
const INLINE_LINES: usize = 2_000;

impl Call<'_> {
    /// Apply candidates to the ledger and its branches and encode rejects, in parallel; then emit notifications in input order.
    pub(crate) fn apply(
        &mut self,
        ledger: &mut Ledger,
        chunks: &[Chunk],
        threads: usize,
        adds: bool,
    ) {
        let counters = &ledger.counters;
        let Branches { full, points, sums } = &mut ledger.branches;
        let tables = std::iter::once(&mut ledger.shards).chain(full);
        let groups = groups(self.job, &self.windows_of, tables, adds);
        let windows = self.windows_of.last().copied().unwrap_or_default();
        let curves = curve::groups(self.job.points, windows, sums, points, adds);
        let with_rejects: Vec<usize> = (0..chunks.len())
            .filter(|index| {
                !chunks[*index].front.rejects.is_empty() || !chunks[*index].body.rejects.is_empty()
            })
            .collect();
        let encoded: Vec<Mutex<Vec<u8>>> = with_rejects.iter().map(|_| Mutex::default()).collect();
        let lines: usize = chunks
            .iter()
            .map(|chunk| {
                let candidates = chunk.body.candidates_of(0).len();
                candidates * (1 + self.windows_of.len()) + chunk.body.rejects.len()
            })
            .sum();
        let threads = if lines < INLINE_LINES { 1 } else { threads };
        let decisions = groups.len() + curves.len();
        threads::for_each(threads, decisions + with_rejects.len(), |task| {
            if let Some(group) = groups.get(task) {
                lock(group).apply(counters, chunks);
            } else if let Some(curve) = curves.get(task - groups.len()) {
                lock(curve).apply(&self.lowest, counters, chunks);
            } else {
                let task = task - decisions;
                let chunk = &chunks[with_rejects[task]];
                *lock(&encoded[task]) = encode_rejects(&self.job.ranges[chunk.range].name, chunk);
            }
        });
        for encoded in encoded {
            self.done.rejects.extend_from_slice(&lock(&encoded));
        }
        let mut groups = groups
            .into_iter()
            .map(|group| group.into_inner().unwrap_or_else(PoisonError::into_inner));
        let mut notified = Vec::new();
        for group in groups.by_ref().take(GROUPS) {
            for (index, counts) in group.counts {
                for (outcome, count) in DECIDED_OUTCOMES.into_iter().zip(counts) {
                    self.progress[index].outcomes[outcome as usize] += count;
                }
            }
            notified.extend(group.notified);
        }
        let Processed {
            sent,
            control,
            branches,
            points,
            ..
        } = &mut self.done;
        emit(self.job.rules, chunks, notified, sent, Some(control));
        for (branch, sent) in self.job.branches.iter().zip(branches) {
            let groups = groups.by_ref().take(GROUPS);
            let notified = groups.flat_map(|group| group.notified).collect();
            emit(branch.rules, chunks, notified, sent, None);
        }
        curve::count(curves, points);
    }
}

/// Return the groups of shards of the ledger, and after them those of each branch, before their decisions.
fn groups<'a>(
    job: &Job<'a>,
    windows_of: &[usize],
    tables: impl Iterator<Item = &'a mut Vec<Shard>>,
    adds: bool,
) -> Vec<Mutex<Group<'a>>> {
    let own = Branch {
        rules: job.rules,
        policy: job.policy,
    };
    let branches = std::iter::once(&own).chain(job.branches);
    let windows = std::iter::once(&0).chain(windows_of);
    let mut groups = Vec::new();
    for ((branch, windows), shards) in branches.zip(windows).zip(tables) {
        for (number, shards) in shards.chunks_mut(GROUP_SHARDS).enumerate() {
            groups.push(Mutex::new(Group {
                number,
                windows: *windows,
                terms: branch.terms(adds),
                shards,
                notified: Vec::new(),
                counts: Vec::new(),
            }));
        }
    }
    groups
}

/// A candidate whose line is emitted: (index of the chunk, candidate, true for the control group).
type Notified = (usize, Candidate, bool);

/// Emit lines in input order, those of the control group apart; without `control` they are dropped.
fn emit(
    rules: &Rules,
    chunks: &[Chunk],
    mut notified: Vec<Notified>,
    sent: &mut Emissions,
    mut control: Option<&mut Emissions>,
) {
    notified.sort_unstable_by_key(|(chunk, candidate, _)| (*chunk, candidate.start));
    for (chunk, candidate, is_control) in notified {
        let emissions = if is_control {
            control.as_deref_mut()
        } else {
            Some(&mut *sent)
        };
        if let Some(emissions) = emissions {
            let chunk = &chunks[chunk];
            let place = (chunk.range, chunk.position_of(candidate.start));
            let content = chunk.content(candidate.start, candidate.length);
            emissions.emit(rules, &candidate, place, content);
        }
    }
}

/// One group of shards of the ledger or of a branch, and the decisions about its candidates.
struct Group<'a> {
    /// Number of the group, from which its first shard follows.
    number: usize,
    /// Index of the windows whose candidates it decides.
    windows: usize,
    terms: Terms<'a>,
    shards: &'a mut [Shard],
    /// In input order.
    notified: Vec<Notified>,
    /// For each range its lines by outcome, in the order of `DECIDED_OUTCOMES`.
    counts: Vec<(usize, [u64; DECIDED_OUTCOMES.len()])>,
}

impl Group<'_> {
    fn apply(&mut self, counters: &Counters, chunks: &[Chunk]) {
        let (windows, number) = (self.windows, self.number);
        let first = number * self.shards.len();
        for (index, chunk) in chunks.iter().enumerate() {
            if self
                .counts
                .last()
                .is_none_or(|(range, _)| *range != chunk.range)
            {
                self.counts.push((chunk.range, [0; DECIDED_OUTCOMES.len()]));
            }
            if let Some(next) = chunks.get(index + 1) {
                for ahead in next
                    .body
                    .of_group(windows, number)
                    .iter()
                    .take(DECIDED_AHEAD)
                {
                    self.shards[shard_of(ahead.mixed) - first].prefetch(counters, ahead);
                }
            }
            for findings in [&chunk.front, &chunk.body] {
                let candidates = findings.of_group(windows, number);
                let (counts, notified) = (&mut self.counts, &mut self.notified);
                decide(
                    self.shards,
                    first,
                    counters,
                    self.terms,
                    candidates,
                    |at, decision| {
                        if let Some((_, counts)) = counts.last_mut() {
                            counts[decision as usize] += 1;
                        }
                        if let Some(control) = decision.emits() {
                            notified.push((index, candidates[at], control));
                        }
                    },
                );
            }
        }
        for shard in &mut *self.shards {
            shard.set_caps(counters);
        }
    }
}

fn encode_rejects(name: &str, chunk: &Chunk) -> Vec<u8> {
    let mut out = Vec::new();
    for (newlines, byte, reject, raw) in chunk.kept_rejects() {
        encode_into(
            &mut out,
            name,
            newlines + 1,
            byte,
            reject.length,
            reject.reason,
            raw,
        );
    }
    out
}
