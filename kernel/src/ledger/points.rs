//! Points of a curve: the same records decided by many thresholds, for their counts alone.
//!
//! While an application has not notified a customer on a day, its total of each window within that day is the sum of all
//! of the customer's records in the window so far, whatever the threshold: none was left out yet. So the sums are kept
//! once for all points, and a point keeps caps alone: a record exceeds its threshold when the sum does. A window over
//! midnight has records of two days, and may lack those of a day on which the application had already notified: an
//! application with such a window is decided by each point in full, over totals of its own.

use crate::ledger::counters::Counters;
use crate::ledger::decide::{Candidate, DECIDED_AHEAD, Decision, Terms};
use crate::ledger::shard::{FIRED, Shard, TOTAL_MAX, key_of, shard_of};
use crate::rules::policy::Policy;
use std::collections::BTreeMap;

/// Notifications by (day, application).
pub type Counts = BTreeMap<(u32, u32), u64>;

/// One point, within one group of shards.
pub(crate) struct Point<'a> {
    pub(crate) terms: Terms<'a>,
    pub(crate) shards: &'a mut [Shard],
    pub(crate) counts: Counts,
}

impl Shard {
    /// Add a candidate's volume to its sum, and return the sum.
    #[inline]
    fn add_up(&mut self, counters: &Counters, candidate: &Candidate) -> u64 {
        self.make_room(counters, 1);
        let key = key_of(candidate.mixed, candidate.total);
        let (found, at) = self.find(key, counters.salts[candidate.total as usize]);
        let before = if found { self.slot(at)[1] & !FIRED } else { 0 };
        let sum = (before + candidate.volume).min(TOTAL_MAX);
        self.write(at, found, key, sum, false);
        sum
    }

    /// Decide a candidate whose sum exceeds its threshold.
    #[inline]
    fn exceed(&mut self, counters: &Counters, candidate: &Candidate, policy: &Policy) -> Decision {
        self.make_room(counters, 2);
        let key = key_of(candidate.mixed, candidate.cap);
        let (capped, at) = self.find(key, counters.salts[candidate.cap as usize]);
        if capped {
            return Decision::Capped;
        }
        let customer = counters.customers[candidate.cap as usize];
        if self.has_enough(counters, candidate.mixed, customer, policy) {
            return Decision::CappedCustomer;
        }
        self.write(at, false, key, FIRED, false);
        self.notify(counters, candidate.mixed, customer, policy)
    }
}

/// Decide candidates, in order, for all points. `first` is the number of the first shard, `lowest` has by rule the lowest
/// threshold of any point, and `above` is a buffer. Call `Shard::set_caps` on the shards of the points afterwards.
pub(crate) fn decide_points(
    sums: &mut [Shard],
    points: &mut [Point],
    first: usize,
    lowest: &[u64],
    counters: &Counters,
    candidates: &[Candidate],
    above: &mut Vec<(u64, Candidate)>,
) {
    let Some(Terms { rules, adds, .. }) = points.first().map(|point| point.terms) else {
        return;
    };
    above.clear();
    for (at, candidate) in candidates.iter().enumerate() {
        if let Some(ahead) = candidates.get(at + DECIDED_AHEAD) {
            let key = key_of(ahead.mixed, ahead.total);
            sums[shard_of(ahead.mixed) - first].prefetch_key(counters, key);
        }
        let mut measured = candidate.volume;
        let crosses = rules.crosses_midnight(candidate.rule);
        if adds && !crosses {
            measured = sums[shard_of(candidate.mixed) - first].add_up(counters, candidate);
        }
        if crosses || measured > lowest[candidate.rule as usize] {
            above.push((measured, *candidate));
        }
    }
    for Point {
        terms,
        shards,
        counts,
    } in points
    {
        for (measured, candidate) in &*above {
            let rule = &terms.rules.rules[candidate.rule as usize];
            let shard = &mut shards[shard_of(candidate.mixed) - first];
            let decision = if rules.crosses_midnight(candidate.rule) {
                shard.decide(counters, candidate, rule.threshold, adds, terms.policy)
            } else if *measured > rule.threshold {
                shard.exceed(counters, candidate, terms.policy)
            } else {
                Decision::Counted
            };
            if decision == Decision::Notified {
                *counts.entry((candidate.day, rule.application)).or_default() += 1;
            }
        }
    }
}
