//! Totals, fired window instances and caps of every msisdn, in shards that threads can own one at a time.
//!
//! Days are dropped by counter: `drop_before` marks counters dead, and their entries go when their shard is next
//! rebuilt or swept, so that no commit pays for a whole day at once.
//!
//! - `counters` numbers what entries count; `shard` is one table of entries, in memory that `pages` maps.
//! - `decide` decides candidates.
//! - `codec` is the stored form; `loading` reads it back.

pub mod branches;
pub mod codec;
pub mod counters;
pub mod decide;
pub mod loading;
mod pages;
pub mod points;
pub mod shard;

use crate::ledger::branches::Branches;
use crate::ledger::counters::{COUNTER_BITS, Counter, Counters};
use crate::ledger::shard::{FIRED, REST_BITS, SHARDS, Shard, counter_of, key_of, shard_of};
use crate::rules::policy::Forgotten;
use crate::threads;
use crate::types::msisdn;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Mutex;

/// Shards swept after each call: the end of a day is worked off within some seconds.
const SWEEP_SHARDS: usize = 16;

/// The total of an msisdn within a window instance.
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

/// All counters and shards.
#[derive(Debug)]
pub struct Ledger {
    /// The counters of entries.
    pub counters: Counters,
    /// The tables, by `shard_of`.
    pub shards: Vec<Shard>,
    /// Further tables, decided by other terms.
    pub branches: Branches,
    /// Next shard to sweep.
    swept: usize,
}

/// Return the key of the msisdn of an entry in a shard.
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
            branches: Branches::default(),
            swept: SHARDS,
        }
    }
}

impl Ledger {
    /// Drop entries that no record of `day_open` or later can need.
    pub fn drop_before(&mut self, day_open: u32) {
        if self.counters.close(day_open) {
            self.swept = 0;
        }
    }

    /// Remove some of the entries that `drop_before` dropped from memory.
    pub fn sweep(&mut self) {
        if self.swept == SHARDS {
            return;
        }
        let to = (self.swept + SWEEP_SHARDS).min(SHARDS);
        let own = std::iter::once(self.shards.as_mut_slice());
        for tables in own.chain(self.branches.tables_mut()) {
            for shard in tables.iter_mut().take(to).skip(self.swept) {
                shard.sweep(&self.counters);
            }
        }
        self.swept = to;
        if to == SHARDS {
            self.counters.release();
        }
    }

    /// Record that the application has notified this msisdn on this day. None when all numbers of counters are in use.
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

    /// Count the notifications of each msisdn and day from now on. None when all numbers of counters are in use.
    pub fn count_customers(&mut self, threads: usize) -> Option<()> {
        if self.counters.count_customers()? {
            let counters = &self.counters;
            let own = std::iter::once(self.shards.as_mut_slice());
            let tables = own.chain(self.branches.tables_mut());
            let shards: Vec<Mutex<&mut Shard>> = tables.flatten().map(Mutex::new).collect();
            threads::for_each(threads, shards.len(), |index| {
                threads::lock(&shards[index]).count_customers(counters);
            });
        }
        Some(())
    }

    /// Remove all entries of some msisdns: no blob that is made from now on has any.
    pub fn forget(&mut self, forgotten: &Forgotten) {
        let own = std::iter::once(self.shards.as_mut_slice());
        for tables in own.chain(self.branches.tables_mut()) {
            for (index, shard) in tables.iter_mut().enumerate() {
                shard.retain(&self.counters, |key| !forgotten.has(key_in(index, key)));
            }
        }
    }

    /// Add branches, and points of a curve, each a copy of the present tables.
    pub fn branch(&mut self, full: usize, points: usize) {
        self.branches.add(full, points, &self.shards);
    }

    /// Take the branches out, each as a ledger of its own.
    pub fn take_branches(&mut self) -> Vec<Ledger> {
        let tables = std::mem::take(&mut self.branches).full.into_iter();
        tables
            .map(|shards| Ledger {
                counters: self.counters.clone(),
                shards,
                branches: Branches::default(),
                swept: self.swept,
            })
            .collect()
    }

    /// Return (live totals, live caps).
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

    /// Return the number of entries that changed since the last delta.
    pub(crate) fn changed(&self) -> usize {
        self.shards.iter().map(|shard| shard.dirty.len()).sum()
    }

    /// Return the bytes of memory.
    pub fn memory_bytes(&self) -> usize {
        let own: usize = self.shards.iter().map(Shard::memory_bytes).sum();
        own + self.branches.memory_bytes()
    }

    /// Return the highest totals of a service and window that are not above the threshold and have not fired, highest
    /// first.
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
                // A fired total is above every threshold here. Of equal totals the first msisdn is the nearest.
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

    /// Iterate over live entries, of one msisdn by its key or of all: (key of the msisdn, counter, value).
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

    /// Return all totals, sorted.
    pub fn totals(&self) -> Vec<Total> {
        self.totals_of(None)
    }

    /// Return all caps (msisdn, application, day), sorted.
    pub fn caps(&self) -> Vec<(String, String, u32)> {
        self.caps_of(None)
    }

    /// Return the totals of one msisdn by its key, or all, sorted.
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

    /// Return the caps of one msisdn by its key, or all, sorted.
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
