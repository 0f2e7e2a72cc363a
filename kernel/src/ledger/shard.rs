//! One table of the ledger: totals, fired window instances and caps of the msisdns of one shard.
//!
//! Memory: an entry is 16 bytes. A shard (256 of them, by the top 8 bits of the mixed msisdn) is one open-addressed
//! table of cache lines, each of four `[key, value]` with
//!
//! ```text
//! key   = lower 43 bits of the mixed msisdn << 21 | counter << 1 | dirty
//! value = fired << 63 | total (saturating at 2^63-1)
//! ```
//!
//! A counter says what the value counts: the total of a service and window instance, or the cap of an application and
//! day. Counters are few and numbered as they appear; 0 is never used, so that no key is zero. The place of an entry
//! follows from its msisdn and from the definition of its counter, never from the counter's number: tables written in
//! order are read back in order, whatever the numbers.

use crate::ledger::counters::{COUNTER_BITS, COUNTERS_MAX, Counters};
use crate::ledger::pages::{TableLine, TableLines};
use crate::prefetch::prefetch;
use crate::types::msisdn;

/// Shards of a ledger.
pub const SHARDS: usize = 256;
/// Totals saturate here.
pub const TOTAL_MAX: u64 = (1 << 63) - 1;

/// Bits of a mixed msisdn below those of its shard.
pub(crate) const REST_BITS: u32 = msisdn::KEY_BITS - SHARDS.trailing_zeros();
const DIRTY: u64 = 1;
pub(crate) const FIRED: u64 = 1 << 63;
/// Entries whose places are asked of memory before they are looked at.
pub(crate) const LOOKED_AHEAD: usize = 16;
/// Lines of the smallest table: those of a page, as no mapping takes less.
const LINES_MIN: usize = 4096 / size_of::<TableLine>();
/// Entries of a line. A search begins at the start of a line, and mostly ends within it.
const LINE_ENTRIES: usize = size_of::<TableLine>() / size_of::<[u64; 2]>();

/// A place in a table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    line: usize,
    entry: usize,
}

/// One table.
#[derive(Clone, Debug, Default)]
pub struct Shard {
    lines: TableLines,
    len: usize,
    /// Keys of changed entries, in the order of their first change.
    pub(crate) dirty: Vec<u64>,
    /// Entries by counter.
    pub(crate) counts: Vec<u32>,
    /// Caps still to be set.
    caps: Vec<u64>,
}

#[inline]
pub(crate) fn key_of(mixed: u64, counter: u32) -> u64 {
    (mixed & ((1 << REST_BITS) - 1)) << (COUNTER_BITS + 1) | u64::from(counter) << 1
}

/// Return the shard of a mixed msisdn.
#[inline]
pub fn shard_of(mixed: u64) -> usize {
    (mixed >> REST_BITS) as usize
}

pub(crate) fn counter_of(key: u64) -> u32 {
    (key >> 1) as u32 & (COUNTERS_MAX as u32 - 1)
}

/// Return the key with another counter, and clean.
pub(crate) fn with_counter(key: u64, counter: u32) -> u64 {
    key >> (COUNTER_BITS + 1) << (COUNTER_BITS + 1) | u64::from(counter) << 1
}

impl Shard {
    #[inline]
    fn place(&self, key: u64, salt: u64) -> usize {
        let spread = (key >> (COUNTER_BITS + 1) << (COUNTER_BITS + 1) ^ salt)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ((u128::from(spread) * self.lines.len() as u128) >> 64) as usize
    }

    /// Find the slot of a clean key: (true, its slot) or (false, the slot where it would go). The table has a free
    /// slot.
    #[inline]
    pub(super) fn find(&self, key: u64, salt: u64) -> (bool, Slot) {
        let mut line = self.place(key, salt);
        loop {
            for (entry, [held, _]) in self.lines[line].iter().enumerate() {
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
    pub(super) fn slot(&mut self, at: Slot) -> &mut [u64; 2] {
        &mut self.lines[at.line][at.entry]
    }

    fn slots(&self) -> usize {
        self.lines.len() * LINE_ENTRIES
    }

    /// Ask memory for the place of a key.
    #[inline]
    pub(crate) fn prefetch_key(&self, counters: &Counters, key: u64) {
        let place = self.place(key, counters.salts[counter_of(key) as usize]);
        prefetch(&self.lines, place);
    }

    /// Write an entry. `dirty`: it is part of the next delta.
    pub(crate) fn set(&mut self, counters: &Counters, key: u64, value: u64, dirty: bool) {
        self.make_room(counters, 1);
        let counter = counter_of(key) as usize;
        let (found, at) = self.find(key, counters.salts[counter]);
        self.write(at, found, key, value, dirty);
    }

    #[inline]
    pub(super) fn write(&mut self, at: Slot, found: bool, key: u64, value: u64, dirty: bool) {
        if !found {
            self.len += 1;
            let counter = counter_of(key) as usize;
            if self.counts.len() <= counter {
                self.counts.resize(counter + 1, 0);
            }
            self.counts[counter] += 1;
            self.slot(at)[0] = key;
        }
        let slot = self.slot(at);
        slot[1] = value;
        if dirty && slot[0] & DIRTY == 0 {
            slot[0] |= DIRTY;
            self.dirty.push(key);
        }
    }

    /// Grow when so many more entries would take more than three in four slots: longer runs cost more than the memory.
    #[inline]
    pub(super) fn make_room(&mut self, counters: &Counters, entries: usize) {
        if (self.len + entries) * 4 > self.slots() * 3 {
            self.grow(counters);
        }
    }

    fn grow(&mut self, counters: &Counters) {
        let alive = self.alive(counters);
        // Dropping dead entries may leave room enough.
        let slots = if alive * 2 > self.slots() {
            self.slots() * 3 / 2
        } else {
            self.slots()
        };
        self.rebuild(counters, slots);
    }

    /// Make room for `entries` in all.
    pub(crate) fn reserve(&mut self, counters: &Counters, entries: usize) {
        if entries * 3 / 2 > self.slots() {
            self.rebuild(counters, entries * 3 / 2);
        }
    }

    /// Return the number of live entries.
    pub(crate) fn alive(&self, counters: &Counters) -> usize {
        self.counts
            .iter()
            .zip(&counters.dead)
            .filter(|(_, dead)| !**dead)
            .map(|(count, _)| *count as usize)
            .sum()
    }

    /// Return the number of live entries that are stored.
    pub(crate) fn stored(&self, counters: &Counters) -> usize {
        (0..)
            .zip(self.counts.iter().zip(&counters.dead))
            .filter(|(number, (_, dead))| !**dead && counters.is_stored(*number))
            .map(|(_, (count, _))| *count as usize)
            .sum()
    }

    /// Move live entries to a table of about that many slots.
    fn rebuild(&mut self, counters: &Counters, slots: usize) {
        let lines = slots.div_ceil(LINE_ENTRIES).max(LINES_MIN);
        let old = std::mem::replace(&mut self.lines, TableLines::zeroed(lines));
        for [key, value] in old.iter().flatten().copied() {
            let counter = counter_of(key);
            if key == 0 || counters.is_dead(counter) {
                continue;
            }
            let (_, at) = self.find(key & !DIRTY, counters.salts[counter as usize]);
            *self.slot(at) = [key, value];
        }
        for (count, dead) in self.counts.iter_mut().zip(&counters.dead) {
            if *dead {
                *count = 0;
            }
        }
        self.dirty.retain(|key| !counters.is_dead(counter_of(*key)));
        self.len = self.alive(counters);
    }

    /// Remove dead entries now.
    pub(crate) fn sweep(&mut self, counters: &Counters) {
        let alive = self.alive(counters);
        if alive != self.len {
            self.rebuild(counters, alive * 3 / 2);
        }
    }

    /// Count one more. It is not part of a delta: the cap that it counts is.
    pub(super) fn count(&mut self, counters: &Counters, key: u64) {
        let (found, at) = self.find(key, counters.salts[counter_of(key) as usize]);
        let before = if found { self.slot(at)[1] } else { 0 };
        self.set(counters, key, before + 1, false);
    }

    /// Count all caps.
    pub(crate) fn count_customers(&mut self, counters: &Counters) {
        let counted = |key: u64| (key, counters.customers[counter_of(key) as usize]);
        let caps: Vec<_> = self
            .entries(counters)
            .map(|(key, _)| counted(key))
            .filter(|(_, customer)| *customer != 0)
            .collect();
        for (key, customer) in caps {
            self.make_room(counters, 1);
            self.count(counters, with_counter(key, customer));
        }
    }

    /// Remove the entries whose keys are not to stay.
    pub(crate) fn retain(&mut self, counters: &Counters, stays: impl Fn(u64) -> bool) {
        if self.entries(counters).all(|(key, _)| stays(key)) {
            return;
        }
        let kept: Vec<_> = self
            .entries(counters)
            .filter(|(key, _)| stays(*key))
            .collect();
        let mut dirty = std::mem::take(self).dirty;
        for (key, value) in kept {
            self.set(counters, key, value, false);
        }
        dirty.retain(|key| stays(*key));
        for key in &dirty {
            let (found, at) = self.find(*key, counters.salts[counter_of(*key) as usize]);
            if found {
                self.slot(at)[0] |= DIRTY;
            }
        }
        self.dirty = dirty;
    }

    /// Set this cap later, with all others that were put off. It is not looked up before; its place comes from memory
    /// meanwhile.
    #[inline]
    pub(super) fn put_off_cap(&mut self, counters: &Counters, key: u64) {
        self.prefetch_key(counters, key);
        self.caps.push(key);
        self.dirty.push(key);
    }

    /// Set the caps that `decide` put off. Call it before any other method than `decide`.
    pub fn set_caps(&mut self, counters: &Counters) {
        let mut caps = std::mem::take(&mut self.caps);
        for key in caps.drain(..) {
            self.make_room(counters, 1);
            let (found, at) = self.find(key, counters.salts[counter_of(key) as usize]);
            self.write(at, found, key, FIRED, false);
            // Its key is in `dirty` already, so that the order there is that of the records.
            self.slot(at)[0] |= DIRTY;
        }
        self.caps = caps;
    }

    /// Return the bytes of memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        size_of_val(&*self.lines) + self.dirty.capacity() * size_of::<u64>()
    }

    /// Iterate over live entries in table order, with clean keys.
    pub(crate) fn entries<'a>(
        &'a self,
        counters: &'a Counters,
    ) -> impl Iterator<Item = (u64, u64)> + 'a {
        self.lines
            .iter()
            .flatten()
            .filter(|slot| slot[0] != 0 && !counters.is_dead(counter_of(slot[0])))
            .map(|slot| (slot[0] & !DIRTY, slot[1]))
    }

    /// Return the entries changed since the last call, and make them clean.
    pub(crate) fn take_dirty(&mut self, counters: &Counters) -> Vec<(u64, u64)> {
        let keys = std::mem::take(&mut self.dirty);
        let mut taken = Vec::with_capacity(keys.len());
        for (at, &key) in keys.iter().enumerate() {
            if let Some(&ahead) = keys.get(at + LOOKED_AHEAD) {
                self.prefetch_key(counters, ahead);
            }
            let counter = counter_of(key);
            let (found, at) = self.find(key, counters.salts[counter as usize]);
            if found {
                let slot = self.slot(at);
                slot[0] = key;
                if !counters.is_dead(counter) {
                    taken.push((key, slot[1]));
                }
            }
        }
        taken
    }
}
