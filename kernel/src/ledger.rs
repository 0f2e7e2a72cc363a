//! Totals, fired occurrences and caps of every msisdn, in shards that threads can own one at a time.
//!
//! Memory: an entry is 16 bytes. A shard (256 of them, by the top 8 bits of the mixed msisdn) is one open-addressed
//! table of cache lines, each of four `[key, value]` with
//!
//! ```text
//! key   = lower 43 bits of the mixed msisdn << 21 | column << 1 | dirty
//! value = fired << 63 | total (saturating at 2^63-1)
//! ```
//!
//! A column says what the value is about: the total of a service, window and occurrence day, or the cap of an
//! application and day. Columns are few and numbered as they appear; 0 is never given, so that no key is zero. An
//! entry's place follows from its msisdn and from what its column says, never from the column's number: tables written
//! in order are read back in order, whatever the numbers.
//!
//! Days are forgotten by column: `drop_before` marks columns dead, and their entries go when their shard is next
//! rebuilt or swept, so that no commit pays for a whole day at once.

use crate::clock;
use crate::crc::crc64;
use crate::fast;
use crate::msisdn;
use std::collections::HashMap;
use std::sync::Arc;

/// Shards of a ledger.
pub const SHARDS: usize = 256;
/// Totals saturate here.
pub const TOTAL_MAX: u64 = (1 << 63) - 1;

const REST_BITS: u32 = msisdn::KEY_BITS - 8;
const COLUMN_BITS: u32 = 20;
const COLUMNS_MAX: usize = 1 << COLUMN_BITS;
const DIRTY: u64 = 1;
const FIRED: u64 = 1 << 63;
/// Shards cleaned of dead entries after each call: a day's end is worked off within some seconds.
const SWEEP_SHARDS: usize = 16;

/// What an entry is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Column {
    /// The total of a service within a window's occurrence.
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
}

impl Column {
    /// The last day whose records may ask for it.
    pub(crate) fn last_day(&self) -> u32 {
        match *self {
            Column::Total {
                start_min,
                end_min,
                day,
                ..
            } if end_min <= start_min => clock::day_after(day),
            Column::Total { day, .. } | Column::Cap { day, .. } => day,
        }
    }

    fn salt(&self) -> u64 {
        let mut bytes = Vec::new();
        crate::blob::put_column(&mut bytes, self);
        crc64(&bytes, 0)
    }
}

/// The columns by number.
#[derive(Debug, Default)]
pub struct Columns {
    /// None: never given (number 0) or given back.
    pub(crate) defined: Vec<Option<Column>>,
    salts: Vec<u64>,
    dead: Vec<bool>,
    numbers: HashMap<Column, u32>,
    free: Vec<u32>,
    /// Of a cap: the only total whose firing has set it, so that this total's fired bit says all; or 0 for none yet, or
    /// `SHARED`. It spares nearly every record a second look into the table.
    partners: Vec<u32>,
}

/// The cap may have been set by several totals, or before this process.
const SHARED: u32 = u32::MAX;

impl Columns {
    /// The number of a column; None when there are too many open ones (2^20).
    pub fn number(&mut self, column: &Column) -> Option<u32> {
        if let Some(number) = self.numbers.get(column) {
            return Some(*number);
        }
        if self.defined.is_empty() {
            self.push(None);
        }
        let number = self.free.pop().unwrap_or(self.defined.len() as u32);
        if number as usize >= COLUMNS_MAX {
            return None;
        }
        if number as usize == self.defined.len() {
            self.push(None);
        }
        self.salts[number as usize] = column.salt();
        self.defined[number as usize] = Some(column.clone());
        self.dead[number as usize] = false;
        self.partners[number as usize] = 0;
        self.numbers.insert(column.clone(), number);
        Some(number)
    }

    fn push(&mut self, column: Option<Column>) {
        self.defined.push(column);
        self.salts.push(0);
        self.dead.push(false);
        self.partners.push(0);
    }

    /// Say that this total and this cap are asked for together from now on. Whoever sets a cap says so before.
    pub fn pair(&mut self, total: u32, cap: u32) {
        let partner = &mut self.partners[cap as usize];
        *partner = if *partner == 0 || *partner == total {
            total
        } else {
            SHARED
        };
    }

    /// Say that a cap is set otherwise than by the firing of a total.
    pub(crate) fn share(&mut self, cap: u32) {
        self.partners[cap as usize] = SHARED;
    }

    pub(crate) fn is_dead(&self, number: u32) -> bool {
        self.dead[number as usize]
    }

    /// Mark what can receive no record of `day_open` or later; true when anything was.
    fn close(&mut self, day_open: u32) -> bool {
        let mut any = false;
        for number in 1..self.defined.len() {
            if let Some(column) = &self.defined[number]
                && !self.dead[number]
                && column.last_day() < day_open
            {
                self.numbers.remove(column);
                self.dead[number] = true;
                any = true;
            }
        }
        any
    }

    /// Give back the numbers of dead columns; no entry holds them any more.
    fn release(&mut self) {
        for number in 1..self.defined.len() {
            if self.dead[number] && self.defined[number].take().is_some() {
                self.free.push(number as u32);
            }
        }
    }
}

/// Lines of the smallest table.
const LINES_MIN: usize = 4;
/// Entries of a line.
const LINE_ENTRIES: usize = 4;

/// A cache line of entries. A search begins at a line's start: most end within it.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct TableLine([[u64; 2]; LINE_ENTRIES]);

/// A place in a table.
#[derive(Clone, Copy, Debug)]
struct Slot {
    line: usize,
    entry: usize,
}

/// One table.
#[derive(Debug, Default)]
pub struct Shard {
    lines: Vec<TableLine>,
    len: usize,
    /// Keys of changed entries, in the order of their first change.
    pub(crate) dirty: Vec<u64>,
    /// Entries by column.
    counts: Vec<u32>,
    /// Caps still to be set.
    caps: Vec<u64>,
}

/// A record that passed every check which needs no ledger.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// Mixed msisdn.
    pub mixed: u64,
    /// Its traffic.
    pub volume: u64,
    /// Where the line's content starts within its bytes.
    pub start: u32,
    /// Length of the content.
    pub length: u32,
    /// Column of the total.
    pub total: u32,
    /// Column of the cap.
    pub cap: u32,
    /// Index of the rule.
    pub rule: u32,
    /// The record's day.
    pub day: u32,
}

/// The outcomes that the ledger decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The application has notified this msisdn on this day, or the occurrence has fired.
    Capped,
    /// Not above the threshold.
    Counted,
    /// Above it.
    Notified,
}

#[inline]
fn key_of(mixed: u64, column: u32) -> u64 {
    (mixed & ((1 << REST_BITS) - 1)) << (COLUMN_BITS + 1) | u64::from(column) << 1
}

/// The shard of a mixed msisdn.
#[inline]
pub fn shard_of(mixed: u64) -> usize {
    (mixed >> REST_BITS) as usize
}

pub(crate) fn column_of(key: u64) -> u32 {
    (key >> 1) as u32 & (COLUMNS_MAX as u32 - 1)
}

/// The key with another column, and clean.
pub(crate) fn with_column(key: u64, column: u32) -> u64 {
    key >> (COLUMN_BITS + 1) << (COLUMN_BITS + 1) | u64::from(column) << 1
}

impl Shard {
    #[inline]
    fn place(&self, key: u64, salt: u64) -> usize {
        let spread = (key >> (COLUMN_BITS + 1) << (COLUMN_BITS + 1) ^ salt)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ((u128::from(spread) * self.lines.len() as u128) >> 64) as usize
    }

    /// The slot of a clean key: (true, where it is) or (false, where it would go). The table has a free slot.
    #[inline]
    fn find(&self, key: u64, salt: u64) -> (bool, Slot) {
        let mut line = self.place(key, salt);
        loop {
            for (entry, [held, _]) in self.lines[line].0.iter().enumerate() {
                if held & !DIRTY == key {
                    return (true, Slot { line, entry });
                }
                if *held == 0 {
                    return (false, Slot { line, entry });
                }
            }
            line += 1;
            if line == self.lines.len() {
                line = 0;
            }
        }
    }

    #[inline]
    fn slot(&mut self, at: Slot) -> &mut [u64; 2] {
        &mut self.lines[at.line].0[at.entry]
    }

    fn slots(&self) -> usize {
        self.lines.len() * LINE_ENTRIES
    }

    /// Ask memory for what `apply` will look at.
    #[inline]
    pub fn prefetch(&self, columns: &Columns, candidate: &Candidate) {
        let ask = |column: u32| {
            let place = self.place(
                key_of(candidate.mixed, column),
                columns.salts[column as usize],
            );
            fast::prefetch(&self.lines, place);
        };
        ask(candidate.total);
        if columns.partners[candidate.cap as usize] != candidate.total {
            ask(candidate.cap);
        }
    }

    /// Write an entry. `dirty`: it is part of the next delta.
    pub(crate) fn set(&mut self, columns: &Columns, key: u64, value: u64, dirty: bool) {
        // At most three in four are taken: longer runs cost more than the memory.
        if (self.len + 1) * 4 > self.slots() * 3 {
            self.grow(columns);
        }
        let column = column_of(key) as usize;
        let (found, at) = self.find(key, columns.salts[column]);
        self.write(at, found, key, value, dirty);
    }

    #[inline]
    fn write(&mut self, at: Slot, found: bool, key: u64, value: u64, dirty: bool) {
        if !found {
            self.len += 1;
            let column = column_of(key) as usize;
            if self.counts.len() <= column {
                self.counts.resize(column + 1, 0);
            }
            self.counts[column] += 1;
            self.slot(at)[0] = key;
        }
        let slot = self.slot(at);
        slot[1] = value;
        if dirty && slot[0] & DIRTY == 0 {
            slot[0] |= DIRTY;
            self.dirty.push(key);
        }
    }

    fn grow(&mut self, columns: &Columns) {
        let alive = self.alive(columns);
        // What is dead may have left room enough.
        let slots = if alive * 2 > self.slots() {
            self.slots() * 3 / 2
        } else {
            self.slots()
        };
        self.rebuild(columns, slots);
    }

    /// Make room for `entries` in all.
    pub(crate) fn reserve(&mut self, columns: &Columns, entries: usize) {
        if entries * 3 / 2 > self.slots() {
            self.rebuild(columns, entries * 3 / 2);
        }
    }

    /// Entries of columns that are not dead.
    pub(crate) fn alive(&self, columns: &Columns) -> usize {
        self.counts
            .iter()
            .zip(&columns.dead)
            .filter(|(_, dead)| !**dead)
            .map(|(count, _)| *count as usize)
            .sum()
    }

    /// Move what is alive to a table of about that many slots.
    fn rebuild(&mut self, columns: &Columns, slots: usize) {
        let lines = slots.div_ceil(LINE_ENTRIES).max(LINES_MIN);
        let old = std::mem::replace(&mut self.lines, vec![TableLine::default(); lines]);
        for [key, value] in old.into_iter().flat_map(|line| line.0) {
            let column = column_of(key);
            if key == 0 || columns.is_dead(column) {
                continue;
            }
            let (_, at) = self.find(key & !DIRTY, columns.salts[column as usize]);
            *self.slot(at) = [key, value];
        }
        for (count, dead) in self.counts.iter_mut().zip(&columns.dead) {
            if *dead {
                *count = 0;
            }
        }
        self.dirty.retain(|key| !columns.is_dead(column_of(*key)));
        self.len = self.alive(columns);
    }

    /// Forget dead entries now.
    pub(crate) fn sweep(&mut self, columns: &Columns) {
        let alive = self.alive(columns);
        if alive != self.len {
            self.rebuild(columns, alive * 3 / 2);
        }
    }

    /// Decide one candidate and write down what follows. `adds`: volumes are added up (measure "total").
    #[inline]
    pub fn apply(
        &mut self,
        columns: &Columns,
        candidate: &Candidate,
        threshold: u64,
        adds: bool,
    ) -> Applied {
        if (self.len + 2) * 4 > self.slots() * 3 {
            self.grow(columns);
        }
        let cap_key = key_of(candidate.mixed, candidate.cap);
        let alone = columns.partners[candidate.cap as usize] == candidate.total;
        let capped = !alone && self.find(cap_key, columns.salts[candidate.cap as usize]).0;
        let key = key_of(candidate.mixed, candidate.total);
        let (found, at) = self.find(key, columns.salts[candidate.total as usize]);
        let before = if found { self.slot(at)[1] } else { 0 };
        if capped || before & FIRED != 0 {
            return Applied::Capped;
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
            return Applied::Counted;
        }
        self.write(at, found, key, total | FIRED, true);
        if alone {
            // Nobody looks at this cap before all are set: its place comes from memory meanwhile.
            fast::prefetch(
                &self.lines,
                self.place(cap_key, columns.salts[candidate.cap as usize]),
            );
            self.caps.push(cap_key);
        } else {
            self.set(columns, cap_key, FIRED, true);
        }
        Applied::Notified
    }

    /// Set the caps that `apply` put off. To be called before anything else than `apply`.
    pub fn set_caps(&mut self, columns: &Columns) {
        let mut caps = std::mem::take(&mut self.caps);
        for key in caps.drain(..) {
            self.set(columns, key, FIRED, true);
        }
        self.caps = caps;
    }

    /// All entries with a column that is not dead, in table order, keys clean.
    pub(crate) fn entries<'a>(
        &'a self,
        columns: &'a Columns,
    ) -> impl Iterator<Item = (u64, u64)> + 'a {
        self.lines
            .iter()
            .flat_map(|line| &line.0)
            .filter(|slot| slot[0] != 0 && !columns.is_dead(column_of(slot[0])))
            .map(|slot| (slot[0] & !DIRTY, slot[1]))
    }

    /// Changed keys since the last call, with their values; they are clean then.
    pub(crate) fn take_dirty(&mut self, columns: &Columns) -> Vec<(u64, u64)> {
        let keys = std::mem::take(&mut self.dirty);
        let mut taken = Vec::with_capacity(keys.len());
        for key in keys {
            let column = column_of(key);
            let (found, at) = self.find(key, columns.salts[column as usize]);
            if found {
                let slot = self.slot(at);
                slot[0] = key;
                if !columns.is_dead(column) {
                    taken.push((key, slot[1]));
                }
            }
        }
        taken
    }
}

/// A total of `Ledger::items`: msisdn, service, first minute, end minute, day of the occurrence, total, fired.
pub type Item = (String, u32, u16, u16, u32, u64, bool);

/// The whole: columns and shards.
#[derive(Debug)]
pub struct Ledger {
    /// What entries are about.
    pub columns: Columns,
    /// The tables, by `shard_of`.
    pub shards: Vec<Shard>,
    /// Next shard to clean of dead entries.
    swept: usize,
}

impl Default for Ledger {
    fn default() -> Ledger {
        let mut shards = Vec::new();
        shards.resize_with(SHARDS, Shard::default);
        Ledger {
            columns: Columns::default(),
            shards,
            swept: SHARDS,
        }
    }
}

impl Ledger {
    /// Forget what can receive no record of `day_open` or later.
    pub fn drop_before(&mut self, day_open: u32) {
        if self.columns.close(day_open) {
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
            shard.sweep(&self.columns);
        }
        self.swept = to;
        if to == SHARDS {
            self.columns.release();
        }
    }

    /// Note that the application has notified this msisdn on this day. None when there are too many columns.
    pub fn add_cap(&mut self, key: u64, application: &str, day: u32) -> Option<()> {
        let column = self.columns.number(&Column::Cap {
            application: application.into(),
            day,
        })?;
        self.columns.share(column);
        let mixed = msisdn::mix(key);
        self.shards[shard_of(mixed)].set(&self.columns, key_of(mixed, column), FIRED, true);
        Some(())
    }

    /// (live totals, live caps).
    pub fn entries(&self) -> (u64, u64) {
        let mut counts = (0, 0);
        for shard in &self.shards {
            for (number, count) in shard
                .counts
                .iter()
                .enumerate()
                .filter(|(number, _)| !self.columns.dead[*number])
            {
                match self.columns.defined[number] {
                    Some(Column::Total { .. }) => counts.0 += u64::from(*count),
                    Some(Column::Cap { .. }) => counts.1 += u64::from(*count),
                    None => {}
                }
            }
        }
        counts
    }

    /// Bytes of memory.
    pub fn memory_bytes(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| {
                shard.lines.capacity() * size_of::<TableLine>() + shard.dirty.capacity() * 8
            })
            .sum()
    }

    fn live(&self) -> impl Iterator<Item = (u64, &Column, u64)> {
        self.shards
            .iter()
            .enumerate()
            .flat_map(move |(index, shard)| {
                shard
                    .entries(&self.columns)
                    .filter_map(move |(key, value)| {
                        let mixed = (index as u64) << REST_BITS | key >> (COLUMN_BITS + 1);
                        let column = self.columns.defined[column_of(key) as usize].as_ref()?;
                        Some((msisdn::unmix(mixed), column, value))
                    })
            })
    }

    /// All totals, sorted.
    pub fn items(&self) -> Vec<Item> {
        let mut items: Vec<Item> = self
            .live()
            .filter_map(|(key, column, value)| match *column {
                Column::Total {
                    service,
                    start_min,
                    end_min,
                    day,
                } => {
                    let fired = value & FIRED != 0;
                    Some((
                        msisdn::digits_of(key),
                        service,
                        start_min,
                        end_min,
                        day,
                        value & !FIRED,
                        fired,
                    ))
                }
                Column::Cap { .. } => None,
            })
            .collect();
        items.sort();
        items
    }

    /// All caps (msisdn, application, day), sorted.
    pub fn caps(&self) -> Vec<(String, String, u32)> {
        let mut caps: Vec<_> = self
            .live()
            .filter_map(|(key, column, _)| match column {
                Column::Cap { application, day } => {
                    Some((msisdn::digits_of(key), application.to_string(), *day))
                }
                Column::Total { .. } => None,
            })
            .collect();
        caps.sort();
        caps
    }
}
