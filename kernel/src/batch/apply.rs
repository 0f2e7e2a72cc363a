//! The last step of a pass: candidates are decided, group of shards by group, and notifications put into input order.

use crate::batch::chunk::Chunk;
use crate::batch::findings::GROUPS;
use crate::batch::pass::Call;
use crate::ledger::Ledger;
use crate::ledger::counters::Counters;
use crate::ledger::decide::{Candidate, DECIDED_AHEAD, DECIDED_OUTCOMES, Terms, decide};
use crate::ledger::shard::{SHARDS, Shard, shard_of};
use crate::scan::outcome::encode_into;
use crate::threads::{self, lock};
use std::sync::Mutex;

/// With fewer candidates and rejects in a pass, threads cost more than they save.
const INLINE_LINES: usize = 2_000;

impl Call<'_> {
    /// Apply candidates to the ledger and encode rejects, in parallel; then emit notifications in input order.
    pub(crate) fn apply(
        &mut self,
        ledger: &mut Ledger,
        chunks: &[Chunk],
        threads: usize,
        adds: bool,
    ) {
        let counters = &ledger.counters;
        let terms = Terms {
            rules: self.job.rules,
            policy: self.job.policy,
            adds,
        };
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
        let with_rejects: Vec<usize> = (0..chunks.len())
            .filter(|index| {
                !chunks[*index].front.rejects.is_empty() || !chunks[*index].body.rejects.is_empty()
            })
            .collect();
        let encoded: Vec<Mutex<Vec<u8>>> = with_rejects.iter().map(|_| Mutex::default()).collect();
        let lines: usize = chunks
            .iter()
            .map(|chunk| chunk.body.candidates.len() + chunk.body.rejects.len())
            .sum();
        let threads = if lines < INLINE_LINES { 1 } else { threads };
        threads::for_each(threads, GROUPS + with_rejects.len(), |task| {
            if let Some(group) = groups.get(task) {
                lock(group).apply(task, counters, terms, chunks);
            } else {
                let chunk = &chunks[with_rejects[task - GROUPS]];
                *lock(&encoded[task - GROUPS]) =
                    encode_rejects(&self.job.ranges[chunk.range].name, chunk);
            }
        });
        for encoded in encoded {
            self.done.rejects.extend_from_slice(&lock(&encoded));
        }
        let mut notified = Vec::new();
        for group in groups {
            let group = group.into_inner().unwrap_or_default();
            for (index, counts) in group.counts {
                for (outcome, count) in DECIDED_OUTCOMES.into_iter().zip(counts) {
                    self.progress[index].outcomes[outcome as usize] += count;
                }
            }
            notified.extend(group.notified);
        }
        notified.sort_unstable_by_key(|(chunk, candidate, _)| (*chunk, candidate.start));
        for (chunk, candidate, control) in notified {
            self.emit(&chunks[chunk], &candidate, control);
        }
    }

    fn emit(&mut self, chunk: &Chunk, candidate: &Candidate, control: bool) {
        let place = (chunk.range, chunk.position_of(candidate.start));
        let content = chunk.content(candidate.start, candidate.length);
        self.done
            .emit(self.job.rules, candidate, control, place, content);
    }
}

/// One group of shards, and the decisions about its candidates.
#[derive(Default)]
struct Group<'a> {
    shards: &'a mut [Shard],
    /// (index of the chunk, candidate, true for the control group), in input order.
    notified: Vec<(usize, Candidate, bool)>,
    /// For each range its lines by outcome, in the order of `DECIDED_OUTCOMES`.
    counts: Vec<(usize, [u64; DECIDED_OUTCOMES.len()])>,
}

impl Group<'_> {
    fn apply(&mut self, group: usize, counters: &Counters, terms: Terms, chunks: &[Chunk]) {
        let first = group * self.shards.len();
        for (index, chunk) in chunks.iter().enumerate() {
            if self
                .counts
                .last()
                .is_none_or(|(range, _)| *range != chunk.range)
            {
                self.counts.push((chunk.range, [0; DECIDED_OUTCOMES.len()]));
            }
            if let Some(next) = chunks.get(index + 1) {
                for ahead in next.body.of_group(group).iter().take(DECIDED_AHEAD) {
                    self.shards[shard_of(ahead.mixed) - first].prefetch(counters, ahead);
                }
            }
            for findings in [&chunk.front, &chunk.body] {
                let candidates = findings.of_group(group);
                let (counts, notified) = (&mut self.counts, &mut self.notified);
                decide(
                    self.shards,
                    first,
                    counters,
                    terms,
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
