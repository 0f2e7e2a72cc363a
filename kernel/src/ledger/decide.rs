//! Decides candidates: the one place where a record meets totals, caps, the limit per customer and the control group,
//! for a batch and for a task alike.

use crate::ledger::counters::Counters;
use crate::ledger::shard::{FIRED, Shard, TOTAL_MAX, key_of, shard_of};
use crate::rules::Rules;
use crate::rules::policy::Policy;
use crate::scan::outcome::Outcome;

/// Candidates whose places are asked of memory before they are decided.
pub(crate) const DECIDED_AHEAD: usize = 16;
/// The outcomes that the ledger decides, in the order of `Decision`.
pub(crate) const DECIDED_OUTCOMES: [Outcome; 5] = [
    Outcome::Capped,
    Outcome::CappedCustomer,
    Outcome::Control,
    Outcome::Counted,
    Outcome::Notified,
];

/// The rules, policy and measure by which candidates are decided.
#[derive(Clone, Copy)]
pub struct Terms<'a> {
    /// The rules.
    pub rules: &'a Rules,
    /// The policy.
    pub policy: &'a Policy,
    /// Volumes are added up (measure "total").
    pub adds: bool,
}

/// A record that passed every check which needs no ledger.
#[derive(Clone, Copy, Debug, Default)]
pub struct Candidate {
    /// Mixed msisdn.
    pub mixed: u64,
    /// Its traffic.
    pub volume: u64,
    /// Start of the line's content within its bytes.
    pub start: u32,
    /// Length of the content.
    pub length: u32,
    /// Counter of the total.
    pub total: u32,
    /// Counter of the cap.
    pub cap: u32,
    /// Index of the rule.
    pub rule: u32,
    /// The record's day.
    pub day: u32,
}

/// The outcomes that the ledger decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The application has notified this msisdn on this day, or the window instance has fired.
    Capped,
    /// Above it, but the msisdn has had as many notifications on this day as it may.
    CappedCustomer,
    /// Above it, and the msisdn is in the control group.
    Control,
    /// Not above the threshold.
    Counted,
    /// Above it.
    Notified,
}

impl Decision {
    /// Return Some when the line is emitted, true when it goes to the control group's output.
    pub(crate) fn emits(self) -> Option<bool> {
        match self {
            Decision::Control => Some(true),
            Decision::Notified => Some(false),
            Decision::Capped | Decision::CappedCustomer | Decision::Counted => None,
        }
    }
}

impl Shard {
    /// Ask memory for the lines that `decide` will look at.
    #[inline]
    pub fn prefetch(&self, counters: &Counters, candidate: &Candidate) {
        let ask = |counter| self.prefetch_key(counters, key_of(candidate.mixed, counter));
        ask(candidate.total);
        if counters.partners[candidate.cap as usize] != candidate.total {
            ask(candidate.cap);
        }
    }

    /// Decide one candidate, and update its entries. `adds`: volumes are added up (measure "total").
    #[inline]
    pub fn decide(
        &mut self,
        counters: &Counters,
        candidate: &Candidate,
        threshold: u64,
        adds: bool,
        policy: &Policy,
    ) -> Decision {
        self.make_room(counters, 2);
        let cap_key = key_of(candidate.mixed, candidate.cap);
        let alone = counters.partners[candidate.cap as usize] == candidate.total;
        let capped = !alone && self.find(cap_key, counters.salts[candidate.cap as usize]).0;
        let key = key_of(candidate.mixed, candidate.total);
        let (found, at) = self.find(key, counters.salts[candidate.total as usize]);
        let before = if found { self.slot(at)[1] } else { 0 };
        if capped || before & FIRED != 0 {
            return Decision::Capped;
        }
        let measured = if adds {
            (before + candidate.volume).min(TOTAL_MAX)
        } else {
            candidate.volume
        };
        let total = if adds { measured } else { before };
        if measured <= threshold {
            if adds {
                self.write(at, found, key, total, true);
            }
            return Decision::Counted;
        }
        let customer = counters.customers[candidate.cap as usize];
        if self.has_enough(counters, candidate.mixed, customer, policy) {
            if adds {
                self.write(at, found, key, total, true);
            }
            return Decision::CappedCustomer;
        }
        self.write(at, found, key, total | FIRED, true);
        if alone {
            self.put_off_cap(counters, cap_key);
        } else {
            self.set(counters, cap_key, FIRED, true);
        }
        self.notify(counters, candidate.mixed, customer, policy)
    }

    /// Add one to the counter `customer`, unless it is 0, and return the decision about a record that fires.
    #[inline]
    pub(super) fn notify(
        &mut self,
        counters: &Counters,
        mixed: u64,
        customer: u32,
        policy: &Policy,
    ) -> Decision {
        if customer != 0 {
            self.count(counters, key_of(mixed, customer));
        }
        if policy.is_control(mixed) {
            Decision::Control
        } else {
            Decision::Notified
        }
    }

    /// Return true when an msisdn has had as many notifications as it may on the day of the counter `customer`.
    pub(super) fn has_enough(
        &mut self,
        counters: &Counters,
        mixed: u64,
        customer: u32,
        policy: &Policy,
    ) -> bool {
        if !policy.has_limit() {
            return false;
        }
        let (found, at) = self.find(key_of(mixed, customer), counters.salts[customer as usize]);
        found && self.slot(at)[1] >= policy.max_per_customer_per_day
    }
}

/// Decide candidates in order, in shards of which the first has the number `first`, and call `tell` with the index and
/// the decision of each. Call `Shard::set_caps` afterwards, before any new counter is declared.
#[inline]
pub(crate) fn decide(
    shards: &mut [Shard],
    first: usize,
    counters: &Counters,
    terms: Terms,
    candidates: &[Candidate],
    mut tell: impl FnMut(usize, Decision),
) {
    for (at, candidate) in candidates.iter().enumerate() {
        if let Some(ahead) = candidates.get(at + DECIDED_AHEAD) {
            shards[shard_of(ahead.mixed) - first].prefetch(counters, ahead);
        }
        let shard = &mut shards[shard_of(candidate.mixed) - first];
        let threshold = terms.rules.rules[candidate.rule as usize].threshold;
        let decision = shard.decide(counters, candidate, threshold, terms.adds, terms.policy);
        tell(at, decision);
    }
}
