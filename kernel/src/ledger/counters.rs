//! Counters: the quantities that the entries of the ledger count, by number.
//!
//! There are few counters at a time: services and applications, times windows, times open days. A counter gets its
//! number when it first appears, and its number is free again when its days are over. Nothing that is stored depends on
//! numbers.

use crate::crc::crc64;
use crate::rules::Rules;
use crate::types::clock;
use crate::wire::Input;
use std::collections::HashMap;
use std::sync::Arc;

/// Bits of a counter's number.
pub const COUNTER_BITS: u32 = 20;
/// Numbers of counters; 0 is never used.
pub const COUNTERS_MAX: usize = 1 << COUNTER_BITS;

/// The error when there are more open counters than numbers.
pub(crate) const COUNTERS_FULL: &str = "too many open windows and days for one ledger";

/// The quantity that an entry counts for its msisdn.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Counter {
    /// The volume of a service within a window instance.
    Total {
        /// The service.
        service: u32,
        /// First minute of the window.
        start_min: u16,
        /// First minute after it.
        end_min: u16,
        /// The day it opened.
        day: u32,
    },
    /// The cap of an application on a day.
    Cap {
        /// Its name.
        application: Arc<str>,
        /// The record's day.
        day: u32,
    },
    /// The notifications of a day, over all applications: as many as there are caps. Never stored, since the caps give
    /// it.
    Customer {
        /// The records' day.
        day: u32,
    },
}

impl Counter {
    /// Return the last day whose records may need it.
    pub(crate) fn last_day(&self) -> u32 {
        match *self {
            Counter::Total {
                start_min,
                end_min,
                day,
                ..
            } if end_min <= start_min => clock::day_after(day),
            Counter::Total { day, .. } | Counter::Cap { day, .. } | Counter::Customer { day } => {
                day
            }
        }
    }

    /// Return a number that spreads the entries of different counters for one msisdn.
    fn salt(&self) -> u64 {
        let mut bytes = Vec::new();
        self.put(&mut bytes);
        crc64(&bytes, 0)
    }

    /// Append its definition, as blobs have it.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        match self {
            Counter::Total {
                service,
                start_min,
                end_min,
                day,
            } => {
                out.push(b'T');
                out.extend_from_slice(&service.to_le_bytes());
                out.extend_from_slice(&start_min.to_le_bytes());
                out.extend_from_slice(&end_min.to_le_bytes());
                out.extend_from_slice(&day.to_le_bytes());
            }
            Counter::Cap { application, day } => {
                out.push(b'C');
                out.extend_from_slice(&day.to_le_bytes());
                out.extend_from_slice(&(application.len() as u32).to_le_bytes());
                out.extend_from_slice(application.as_bytes());
            }
            // No blob has it: only its salt is made of it.
            Counter::Customer { day } => {
                out.push(b'N');
                out.extend_from_slice(&day.to_le_bytes());
            }
        }
    }

    /// Read a definition that `put` wrote; None when it is damaged.
    pub(crate) fn read(input: &mut Input) -> Option<Counter> {
        match input.u8()? {
            b'T' => Some(Counter::Total {
                service: input.u32()?,
                start_min: input.u16()?,
                end_min: input.u16()?,
                day: input.day()?,
            }),
            b'C' => {
                let day = input.day()?;
                let length = input.u32()? as usize;
                let application = std::str::from_utf8(input.take(length)?).ok()?.into();
                Some(Counter::Cap { application, day })
            }
            _ => None,
        }
    }
}

/// All counters, by number.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// None: never used (number 0), or free again.
    pub(crate) defined: Vec<Option<Counter>>,
    pub(crate) salts: Vec<u64>,
    /// No record can need it any more, but entries may still hold its number.
    pub(crate) dead: Vec<bool>,
    numbers: HashMap<Counter, u32>,
    free: Vec<u32>,
    /// Of a cap: the only total whose firing sets it, so that the fired bit of this total says the same; 0 for none
    /// yet, or `SHARED`. This saves nearly every record a second look into the table.
    pub(crate) partners: Vec<u32>,
    /// Of a cap: the customer's counter of its day, once customers are counted; otherwise 0.
    pub(crate) customers: Vec<u32>,
    /// Customers are counted.
    counting: bool,
}

/// The cap may have been set by several totals, or before this process.
const SHARED: u32 = u32::MAX;

impl Counters {
    /// Return the number of a counter, a new one if it has none; None when all 2^20 are in use.
    pub fn intern(&mut self, counter: &Counter) -> Option<u32> {
        if let Some(number) = self.numbers.get(counter) {
            return Some(*number);
        }
        if self.defined.is_empty() {
            self.push(None);
        }
        let customer = match *counter {
            Counter::Cap { day, .. } if self.counting => self.intern(&Counter::Customer { day })?,
            _ => 0,
        };
        let number = self.free.pop().unwrap_or(self.defined.len() as u32);
        if number as usize >= COUNTERS_MAX {
            return None;
        }
        if number as usize == self.defined.len() {
            self.push(None);
        }
        self.salts[number as usize] = counter.salt();
        self.defined[number as usize] = Some(counter.clone());
        self.dead[number as usize] = false;
        self.partners[number as usize] = 0;
        self.customers[number as usize] = customer;
        self.numbers.insert(counter.clone(), number);
        Some(number)
    }

    /// Return the counters of a rule's total and of its application's cap, for a record of that day whose window opened
    /// on it or the day before; None when all numbers are in use.
    pub(crate) fn of_rule(
        &mut self,
        rules: &Rules,
        rule: u32,
        yesterday: bool,
        day: u32,
    ) -> Option<(u32, u32)> {
        let of = &rules.rules[rule as usize];
        let opened = if yesterday {
            clock::day_before(day)
        } else {
            day
        };
        let total = self.intern(&Counter::Total {
            service: of.service,
            start_min: of.start_min,
            end_min: of.end_min,
            day: opened,
        })?;
        let application = rules.applications[of.application as usize].clone();
        let cap = self.intern(&Counter::Cap { application, day })?;
        self.pair(total, cap);
        Some((total, cap))
    }

    fn push(&mut self, counter: Option<Counter>) {
        self.defined.push(counter);
        self.salts.push(0);
        self.dead.push(false);
        self.partners.push(0);
        self.customers.push(0);
    }

    /// Count customers from now on; return false when they were counted already. None when all numbers are in use.
    pub(crate) fn count_customers(&mut self) -> Option<bool> {
        if self.counting {
            return Some(false);
        }
        for number in 1..self.defined.len() {
            if let Some(Counter::Cap { day, .. }) = self.defined[number]
                && !self.dead[number]
            {
                self.customers[number] = self.intern(&Counter::Customer { day })?;
            }
        }
        self.counting = true;
        Some(true)
    }

    /// Declare that this total may set this cap. Call it before the cap is set.
    pub fn pair(&mut self, total: u32, cap: u32) {
        let partner = &mut self.partners[cap as usize];
        *partner = if *partner == 0 || *partner == total {
            total
        } else {
            SHARED
        };
    }

    /// Declare that a cap is set by something else than the firing of a total.
    pub(crate) fn share(&mut self, cap: u32) {
        self.partners[cap as usize] = SHARED;
    }

    /// Return true when entries of a counter are stored.
    pub(crate) fn is_stored(&self, number: u32) -> bool {
        !matches!(
            self.defined[number as usize],
            None | Some(Counter::Customer { .. })
        )
    }

    pub(crate) fn is_dead(&self, number: u32) -> bool {
        self.dead[number as usize]
    }

    /// Mark counters that no record of `day_open` or later can need as dead; return true when there were any.
    pub(crate) fn close(&mut self, day_open: u32) -> bool {
        let mut any = false;
        for number in 1..self.defined.len() {
            if let Some(counter) = &self.defined[number]
                && !self.dead[number]
                && counter.last_day() < day_open
            {
                self.numbers.remove(counter);
                self.dead[number] = true;
                any = true;
            }
        }
        any
    }

    /// Free the numbers of dead counters. Call it when no entry holds them any more.
    pub(crate) fn release(&mut self) {
        for number in 1..self.defined.len() {
            if self.dead[number] && self.defined[number].take().is_some() {
                self.free.push(number as u32);
            }
        }
    }
}
