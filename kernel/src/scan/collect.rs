//! Collects every line of some bytes, whatever it is: for `check`, and for comparing paths.

use crate::scan::filter::Filter;
use crate::scan::grammar::{Line, LineCounts, Record, Visitor};
use crate::scan::path::{PAD_AFTER, PAD_BEFORE, ScanPath};
use std::collections::BTreeMap;

/// Lines by their start: the length of the content, and its meaning.
pub type Lines = BTreeMap<usize, (usize, Line)>;

/// Scan the lines of `data` that end with `\n`. `filler` surrounds them in the buffer: no result depends on it.
pub fn collect(path: ScanPath, data: &[u8], day_max: u32, filler: u8) -> (LineCounts, Lines) {
    let whole = memchr::memrchr(b'\n', data).map_or(0, |last| last + 1);
    let mut bytes = vec![filler; PAD_BEFORE + whole + PAD_AFTER];
    let (from, to) = (PAD_BEFORE, PAD_BEFORE + whole);
    bytes[from..to].copy_from_slice(&data[..whole]);
    let mut collector = Collector::default();
    let scanned = path.scan_lines(&bytes, from, to, day_max, &mut collector);
    (scanned, collector.0)
}

#[derive(Default)]
struct Collector(Lines);

impl Visitor<'static> for Collector {
    fn filter(&self) -> Filter<'static> {
        Filter::OPEN
    }

    fn wants_non_member(&self) -> bool {
        false
    }

    fn non_member(&mut self, _: u64, _: usize) {}

    fn prefetch(&self, _: u64) {}

    fn contains(&self, _: u64) -> bool {
        true
    }

    fn record(&mut self, start: usize, length: usize, record: &Record) {
        self.0
            .insert(start - PAD_BEFORE, (length, Line::Record(*record)));
    }

    fn other(&mut self, start: usize, length: usize, _: u32, kind: Line) {
        self.0.insert(start - PAD_BEFORE, (length, kind));
    }
}
