//! A chunk: some bytes of a range, scanned by one thread as far as that needs no ledger.
//!
//! A chunk does not know where its first line began, nor how its last one ends: it decides only the whole lines after
//! its first `\n`, its *body*. Its head (up to that `\n`) and its rest are put together with those of its neighbours,
//! in order, and the line made of them is decided as the *front* of the chunk in which it ended. So every byte is read
//! once, a line may be longer than any buffer, and no result depends on where chunks are cut.
//!
//! Layout of the buffer: pad | front content | data | pad. An offset below `DATA` is in the front.

use crate::batch::classify::{CachedCounters, Classifier, Context};
use crate::batch::findings::{Findings, Reject};
use crate::batch::range::Days;
use crate::crc::crc64;
use crate::input::source::Problem;
use crate::scan::grammar::{LINE_BYTES_MAX, Line, Visitor};
use crate::scan::path::{PAD_AFTER, PAD_BEFORE};

/// Offset of a front's content in the buffer.
pub const FRONT: usize = PAD_BEFORE;
/// Offset of the data: the start of a cache line, with room for a front (which may be one byte too long) before it.
pub const DATA: usize = (FRONT + LINE_BYTES_MAX + 1).next_multiple_of(64);

/// One chunk and its buffer, which is used again for other chunks.
#[derive(Debug, Default)]
pub struct Chunk {
    /// The buffer.
    pub bytes: Vec<u8>,
    /// Index of its range.
    pub range: usize,
    /// Position in the file of the data's first byte.
    pub position: u64,
    /// Bytes to read.
    pub wanted: usize,
    /// Bytes read.
    pub len: usize,
    /// Bytes up to the first `\n`, including it; 0 when there is none.
    pub head: usize,
    /// Bytes up to the last `\n`, including it.
    pub body_end: usize,
    /// CRC of the data up to `body_end`.
    pub body_crc: u64,
    /// CRC of all the data.
    pub crc: u64,
    /// The reason why not all bytes were read.
    pub problem: Option<Problem>,
    /// Findings of the line that ended in the head.
    pub front: Findings,
    /// Position in the file of the front's content.
    pub front_position: u64,
    /// Line ends in the file before the front.
    pub front_newlines: u64,
    /// Findings of the lines of the body.
    pub body: Findings,
    /// Line ends in the file before the body.
    pub body_newlines: u64,
    cached: Vec<Vec<CachedCounters>>,
}

impl Chunk {
    /// Make it the chunk of that range and position.
    pub fn reset(&mut self, range: usize, position: u64, wanted: usize) {
        let size = DATA + wanted + PAD_AFTER;
        if self.bytes.len() < size {
            self.bytes.resize(size, 0);
        }
        self.front.clear();
        self.body.clear();
        (self.range, self.position, self.wanted) = (range, position, wanted);
        (self.len, self.head, self.body_end, self.body_crc, self.crc) = (0, 0, 0, 0, 0);
        self.problem = None;
    }

    /// Clear the numbers of counters cached in an earlier call: they may belong to other counters now.
    pub fn clear_cache(&mut self) {
        self.cached.clear();
    }

    /// Return the buffer to read into.
    pub fn buffer(&mut self) -> &mut [u8] {
        &mut self.bytes[DATA..DATA + self.wanted]
    }

    /// Return the data that was read.
    pub fn data(&self) -> &[u8] {
        &self.bytes[DATA..DATA + self.len]
    }

    /// Return the position in the file of content that starts at this offset of the buffer.
    pub fn position_of(&self, start: u32) -> u64 {
        match (start as usize).checked_sub(DATA) {
            Some(offset) => self.position + offset as u64,
            None => self.front_position,
        }
    }

    /// Iterate over the rejects that are kept, in order: (line ends in the file before it, position, reject, kept
    /// bytes).
    pub(crate) fn kept_rejects(&self) -> impl Iterator<Item = (u64, u64, &Reject, &[u8])> {
        let parts = [
            (&self.front, self.front_newlines),
            (&self.body, self.body_newlines),
        ];
        parts.into_iter().flat_map(move |(findings, newlines)| {
            let kept = findings.rejects.iter().filter(|reject| reject.kept);
            kept.map(move |reject| {
                let newlines = newlines + u64::from(reject.line);
                let byte = self.position_of(reject.start);
                (newlines, byte, reject, reject.raw(&self.bytes))
            })
        })
    }

    /// Return the content at this offset of the buffer.
    pub fn content(&self, start: u32, length: u32) -> &[u8] {
        &self.bytes[start as usize..][..length as usize]
    }

    /// Scan the data that was read.
    pub fn scan(&mut self, context: &Context, days: Days) {
        let data = &self.bytes[DATA..DATA + self.len];
        if let Some(newline) = memchr::memchr(b'\n', data) {
            self.head = newline + 1;
            self.body_end = memchr::memrchr(b'\n', data).map_or(0, |last| last + 1);
        }
        self.body_crc = crc64(&data[..self.body_end], 0);
        self.crc = crc64(&data[self.body_end..], self.body_crc);
        if self.body_end > self.head {
            let (from, to) = (DATA + self.head, DATA + self.body_end);
            let mut classifier = Classifier::new(context, days, &mut self.body, &mut self.cached);
            let scanned = context
                .path
                .scan_lines(&self.bytes, from, to, days.max, &mut classifier);
            classifier.finish(scanned.lines, scanned.records);
            self.body.measure_rejects(&self.bytes, from);
        }
    }

    /// Decide a line that did not lie within one chunk as the front of this one. `length`: the length of its content.
    pub fn scan_front(
        &mut self,
        context: &Context,
        days: Days,
        content: &[u8],
        length: u64,
        kind: Line,
    ) {
        self.bytes[FRONT..FRONT + content.len()].copy_from_slice(content);
        let mut classifier = Classifier::new(context, days, &mut self.front, &mut self.cached);
        let mut records = 0;
        if let Line::Record(record) = &kind {
            records = 1;
            if classifier.contains(record.msisdn) {
                classifier.record(FRONT, content.len(), record);
            } else {
                classifier.non_member(record.msisdn, FRONT);
            }
        } else {
            classifier.other(FRONT, content.len(), 0, kind);
        }
        classifier.finish(1, records);
        if let [reject] = self.front.rejects.as_mut_slice() {
            reject.length = length;
        }
        self.front.measure_rejects(&self.bytes, FRONT);
    }
}
