//! What keeps back a record of a targeted msisdn: the suppression list, whoever was forgotten, a limit per customer and
//! day, and the control group. With all of it off, records pay one branch for it.

use crate::rules::siphash::Keyed;
use crate::segment::Segment;
use crate::types::msisdn;
use std::collections::HashSet;
use std::sync::Arc;

/// A share of all customers: shares are hundredths of a percent.
pub const SHARE_ALL: u64 = 10_000;

/// The policy of a batch.
#[derive(Debug, Default)]
pub struct Policy {
    /// Whose records are `suppressed`.
    pub suppressed: Option<Arc<Segment>>,
    /// Likewise, of those whose digits nobody keeps any more.
    pub forgotten: Vec<Forgotten>,
    /// Notifications of an msisdn on a day, over all applications; 0: no limit.
    pub max_per_customer_per_day: u64,
    /// Whose notifications are nobody's to send.
    pub control: Option<Control>,
}

/// Msisdns that are known by their hashes alone.
#[derive(Debug)]
pub struct Forgotten {
    /// The hash.
    pub keyed: Keyed,
    /// Theirs.
    pub hashes: HashSet<u64>,
}

/// A keyed share of all msisdns.
#[derive(Debug)]
pub struct Control {
    /// The hash that draws them.
    pub keyed: Keyed,
    /// Out of `SHARE_ALL`.
    pub share: u64,
}

impl Policy {
    /// Whether any msisdn is suppressed.
    pub(crate) fn suppresses(&self) -> bool {
        self.suppressed.is_some() || !self.forgotten.is_empty()
    }

    /// Whether the records of a mixed msisdn are.
    pub(crate) fn is_suppressed(&self, mixed: u64) -> bool {
        self.suppressed
            .as_ref()
            .is_some_and(|list| list.contains(mixed))
            || self
                .forgotten
                .iter()
                .any(|forgotten| forgotten.has(msisdn::unmix(mixed)))
    }

    /// Whether a mixed msisdn is in the control group.
    pub(crate) fn is_control(&self, mixed: u64) -> bool {
        self.control.as_ref().is_some_and(|control| {
            let hash =
                msisdn::with_digits(msisdn::unmix(mixed), |digits| control.keyed.hash(digits));
            hash % SHARE_ALL < control.share
        })
    }
}

impl Forgotten {
    /// Whether the msisdn of this key is one of them.
    pub(crate) fn has(&self, key: u64) -> bool {
        self.find(key).is_some()
    }

    /// The hash of the msisdn of this key, if it is one of them.
    pub(crate) fn find(&self, key: u64) -> Option<u64> {
        let hash = msisdn::with_digits(key, |digits| self.keyed.hash(digits));
        self.hashes.get(&hash).copied()
    }
}
