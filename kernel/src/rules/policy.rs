//! Keeps records of targeted msisdns back: the suppression list, forgotten msisdns, a limit per customer and day, and
//! the control group. With all of them off a record pays for one branch.

use crate::segment::Segment;
use crate::types::msisdn;
use siphasher::sip::SipHasher24;
use std::collections::HashSet;
use std::sync::Arc;

/// Bytes of a hash's key.
pub const KEY_BYTES: usize = 16;
/// The share of all customers, in hundredths of a percent.
pub const SHARE_ALL: u64 = 10_000;

/// The policy of a batch.
#[derive(Debug, Default)]
pub struct Policy {
    /// Msisdns whose records are `suppressed`.
    pub suppressed: Option<Arc<Segment>>,
    /// Msisdns that are suppressed, too, and whose digits are kept no longer.
    pub forgotten: Vec<Forgotten>,
    /// Most notifications of an msisdn on a day, over all applications; 0: no limit.
    pub max_per_customer_per_day: u64,
    /// The control group, whose notifications are not to be sent.
    pub control: Option<Control>,
}

/// Msisdns known only by their hashes.
#[derive(Debug)]
pub struct Forgotten {
    /// Hashes the digits of an msisdn under the key, as `keyed_hash.py` does.
    pub hasher: SipHasher24,
    /// The hashes.
    pub hashes: HashSet<u64>,
}

/// A keyed share of all msisdns.
#[derive(Debug)]
pub struct Control {
    /// Hashes the digits of an msisdn under the key that draws them, as `keyed_hash.py` does.
    pub hasher: SipHasher24,
    /// The share, of `SHARE_ALL`.
    pub share: u64,
}

impl Policy {
    /// Return true when any msisdn is suppressed.
    pub(crate) fn suppresses(&self) -> bool {
        self.suppressed.is_some() || !self.forgotten.is_empty()
    }

    /// Return true when this mixed msisdn is suppressed.
    pub(crate) fn is_suppressed(&self, mixed: u64) -> bool {
        self.suppressed
            .as_ref()
            .is_some_and(|list| list.contains(mixed))
            || self
                .forgotten
                .iter()
                .any(|forgotten| forgotten.has(msisdn::unmix(mixed)))
    }

    /// Return true when the notifications per msisdn and day are limited.
    pub(crate) fn has_limit(&self) -> bool {
        self.max_per_customer_per_day > 0
    }

    /// Return true when this mixed msisdn is in the control group.
    pub(crate) fn is_control(&self, mixed: u64) -> bool {
        self.control.as_ref().is_some_and(|control| {
            let hash =
                msisdn::with_digits(msisdn::unmix(mixed), |digits| control.hasher.hash(digits));
            hash % SHARE_ALL < control.share
        })
    }
}

impl Forgotten {
    /// Return true when the msisdn of this key is one of them.
    pub(crate) fn has(&self, key: u64) -> bool {
        self.find(key).is_some()
    }

    /// Return the hash of the msisdn of this key, if it is one of them.
    pub(crate) fn find(&self, key: u64) -> Option<u64> {
        let hash = msisdn::with_digits(key, |digits| self.hasher.hash(digits));
        self.hashes.get(&hash).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_siphash() {
        let key: [u8; KEY_BYTES] = std::array::from_fn(|at| at as u8);
        let hasher = SipHasher24::new_with_key(&key);
        let bytes: Vec<u8> = (0..15).collect();
        assert_eq!(key, hasher.key());
        // From the paper by its authors, and its reference implementation.
        assert_eq!(0xa129_ca61_49be_45e5, hasher.hash(&bytes));
        assert_eq!(0x726f_db47_dd0e_0e31, hasher.hash(b""));
        assert_eq!(0x93f5_f579_9a93_2462, hasher.hash(&bytes[..8]));
    }
}
