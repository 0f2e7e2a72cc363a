//! Totals, fired occurrences and caps of every msisdn, in shards that threads can own one at a time.
//!
//! Days are forgotten by counter: `drop_before` marks counters dead, and their entries go when their shard is next
//! rebuilt or swept, so that no commit pays for a whole day at once. `shard` has the memory layout, `blob` the form in
//! which a ledger is kept.

pub mod codec;
pub mod counters;
pub mod decide;
pub mod loading;
mod pages;
pub mod shard;

use crate::ledger::counters::{COUNTER_BITS, Counter, Counters};
use crate::ledger::shard::{FIRED, REST_BITS, SHARDS, Shard, counter_of, key_of, shard_of};
use crate::rules::policy::Forgotten;
use crate::threads;
use crate::types::msisdn;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Mutex;

/// Shards cleaned of dead entries after each call: a day's end is worked off within some seconds.
const SWEEP_SHARDS: usize = 16;

/// What an msisdn has come to within an occurrence of a window.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Total {
    /// Its digits.
    pub msisdn: String,
    /// The service.
    pub service: u32,
    /// First minute of the window.
    pub start_min: u16,
    /// First minute after it.
    pub end_min: u16,
    /// The day it opened.
    pub day: u32,
    /// The volume so far; 0 when volumes are not added up.
    pub total: u64,
    /// It has notified, or would have.
    pub fired: bool,
}

/// The whole: counters and shards.
#[derive(Debug)]
pub struct Ledger {
    /// What entries are about.
    pub counters: Counters,
    /// The tables, by `shard_of`.
    pub shards: Vec<Shard>,
    /// Next shard to clean of dead entries.
    swept: usize,
}

/// The key of the msisdn of an entry in a shard.
pub(crate) fn key_in(shard: usize, key: u64) -> u64 {
    msisdn::unmix((shard as u64) << REST_BITS | key >> (COUNTER_BITS + 1))
}

impl Default for Ledger {
    fn default() -> Ledger {
        let mut shards = Vec::new();
        shards.resize_with(SHARDS, Shard::default);
        Ledger {
            counters: Counters::default(),
            shards,
            swept: SHARDS,
        }
    }
}

impl Ledger {
    /// Forget what can receive no record of `day_open` or later.
    pub fn drop_before(&mut self, day_open: u32) {
        if self.counters.close(day_open) {
            self.swept = 0;
        }
    }

    /// Work off a part of what `drop_before` left.
    pub fn sweep(&mut self) {
        if self.swept == SHARDS {
            return;
        }
        let to = (self.swept + SWEEP_SHARDS).min(SHARDS);
        for shard in &mut self.shards[self.swept..to] {
            shard.sweep(&self.counters);
        }
        self.swept = to;
        if to == SHARDS {
            self.counters.release();
        }
    }

    /// Note that the application has notified this msisdn on this day. None when there are too many counters.
    pub fn add_cap(&mut self, key: u64, application: &str, day: u32) -> Option<()> {
        let counter = self.counters.intern(&Counter::Cap {
            application: application.into(),
            day,
        })?;
        self.counters.share(counter);
        let mixed = msisdn::mix(key);
        self.shards[shard_of(mixed)].set(&self.counters, key_of(mixed, counter), FIRED, true);
        Some(())
    }

    /// Count, from now on, how many notifications each msisdn has had on a day. None when there are too many counters.
    pub fn count_customers(&mut self, threads: usize) -> Option<()> {
        if self.counters.count_customers()? {
            let counters = &self.counters;
            let shards: Vec<Mutex<&mut Shard>> = self.shards.iter_mut().map(Mutex::new).collect();
            threads::for_each(threads, SHARDS, |index| {
                threads::lock(&shards[index]).count_customers(counters);
            });
        }
        Some(())
    }

    /// Take out all that is about some msisdns: nothing of it is in a blob that is made from now on.
    pub fn forget(&mut self, forgotten: &Forgotten) {
        for index in 0..SHARDS {
            let counters = &self.counters;
            self.shards[index].retain(counters, |key| !forgotten.has(key_in(index, key)));
        }
    }

    /// (live totals, live caps).
    pub fn entries(&self) -> (u64, u64) {
        let mut counts = (0, 0);
        for shard in &self.shards {
            for (number, count) in shard
                .counts
                .iter()
                .enumerate()
                .filter(|(number, _)| !self.counters.dead[*number])
            {
                match self.counters.defined[number] {
                    Some(Counter::Total { .. }) => counts.0 += u64::from(*count),
                    Some(Counter::Cap { .. }) => counts.1 += u64::from(*count),
                    Some(Counter::Customer { .. }) | None => {}
                }
            }
        }
        counts
    }

    /// Entries that changed since the last delta.
    pub(crate) fn changed(&self) -> usize {
        self.shards.iter().map(|shard| shard.dirty.len()).sum()
    }

    /// Bytes of memory.
    pub fn memory_bytes(&self) -> usize {
        self.shards.iter().map(Shard::memory_bytes).sum()
    }

    /// The highest totals of a service and window that are not above the threshold and have not fired, highest first.
    pub fn nearest(&self, window: (u32, u16, u16), threshold: u64, most: usize) -> Vec<Total> {
        let mut found = BinaryHeap::new();
        for (key, counter, value) in self.live(None) {
            if let Counter::Total {
                service,
                start_min,
                end_min,
                day,
            } = *counter
                && (service, start_min, end_min) == window
                && value <= threshold
            {
                // What has fired is above every threshold here. Of equal totals the first msisdn is the nearest.
                found.push(Reverse((
                    value,
                    Reverse((msisdn::text_order(key), key, day)),
                )));
                if found.len() > most {
                    found.pop();
                }
            }
        }
        let (service, start_min, end_min) = window;
        let nearest = found.into_sorted_vec().into_iter();
        nearest
            .map(|Reverse((total, Reverse((_, key, day))))| Total {
                msisdn: msisdn::digits_of(key),
                service,
                start_min,
                end_min,
                day,
                total,
                fired: false,
            })
            .collect()
    }

    /// What lives, of all or of one msisdn by its key.
    fn live(&self, only: Option<u64>) -> impl Iterator<Item = (u64, &Counter, u64)> {
        let shards = only.map_or(0..SHARDS, |key| {
            let shard = shard_of(msisdn::mix(key));
            shard..shard + 1
        });
        let of_shard = move |index: usize| {
            self.shards[index]
                .entries(&self.counters)
                .filter_map(move |(key, value)| {
                    let counter = self.counters.defined[counter_of(key) as usize].as_ref()?;
                    Some((key_in(index, key), counter, value))
                })
        };
        shards
            .flat_map(of_shard)
            .filter(move |(key, ..)| only.is_none_or(|only| only == *key))
    }

    /// All totals, sorted.
    pub fn totals(&self) -> Vec<Total> {
        self.totals_of(None)
    }

    /// All caps (msisdn, application, day), sorted.
    pub fn caps(&self) -> Vec<(String, String, u32)> {
        self.caps_of(None)
    }

    /// As `totals`: of one msisdn by its key, or all.
    pub fn totals_of(&self, only: Option<u64>) -> Vec<Total> {
        let mut totals: Vec<Total> = self
            .live(only)
            .filter_map(|(key, counter, value)| match *counter {
                Counter::Total {
                    service,
                    start_min,
                    end_min,
                    day,
                } => Some(Total {
                    msisdn: msisdn::digits_of(key),
                    service,
                    start_min,
                    end_min,
                    day,
                    total: value & !FIRED,
                    fired: value & FIRED != 0,
                }),
                Counter::Cap { .. } | Counter::Customer { .. } => None,
            })
            .collect();
        totals.sort();
        totals
    }

    /// As `caps`: of one msisdn by its key, or all.
    pub fn caps_of(&self, only: Option<u64>) -> Vec<(String, String, u32)> {
        let mut caps: Vec<_> = self
            .live(only)
            .filter_map(|(key, counter, _)| match counter {
                Counter::Cap { application, day } => {
                    Some((msisdn::digits_of(key), application.to_string(), *day))
                }
                Counter::Total { .. } | Counter::Customer { .. } => None,
            })
            .collect();
        caps.sort();
        caps
    }
}
