//! A line put together from fragments, in bounded memory: it begins in one chunk and ends in a later one.

use crate::scan::grammar::{BYTE_ORDER_MARK, LINE_BYTES_MAX};

/// Kept bytes: the longest content that is not too long, a byte-order mark before it, `\r\n` after it, and one more.
const KEPT_BYTES: usize = LINE_BYTES_MAX + 6;

/// The bytes of a line so far.
#[derive(Debug, Default)]
pub struct Fragment {
    kept: Vec<u8>,
    bytes: u64,
    /// The last two bytes, the later one last; zeros where there are none.
    last: [u8; 2],
}

impl Fragment {
    /// Append the next bytes.
    pub fn extend(&mut self, bytes: &[u8]) {
        let room = KEPT_BYTES - self.kept.len();
        self.kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.bytes += bytes.len() as u64;
        match bytes {
            [.., a, b] => self.last = [*a, *b],
            [b] => self.last = [self.last[1], *b],
            [] => {}
        }
    }

    /// Remove all bytes.
    pub fn clear(&mut self) {
        self.kept.clear();
        self.bytes = 0;
        self.last = [0; 2];
    }

    /// Return the number of bytes so far, the line end included.
    pub fn len(&self) -> u64 {
        self.bytes
    }

    /// Return true when there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Return the whole line, when it is at most two bytes long.
    pub fn short(&self) -> Option<&[u8]> {
        (self.bytes <= 2).then_some(&self.kept)
    }

    /// Return all of its bytes, when all were kept.
    pub fn whole(&self) -> Option<&[u8]> {
        (self.bytes == self.kept.len() as u64).then_some(&self.kept)
    }

    /// Return the last byte; 0 when there is none.
    pub fn last(&self) -> u8 {
        self.last[1]
    }

    /// Return the bytes of the byte-order mark that it starts with.
    pub fn byte_order_mark(&self) -> usize {
        if self.kept.starts_with(BYTE_ORDER_MARK) {
            BYTE_ORDER_MARK.len()
        } else {
            0
        }
    }

    /// Return the length of the content, without the first `skip` bytes.
    pub fn content_bytes(&self, skip: usize) -> u64 {
        let end = match self.last {
            [b'\r', b'\n'] => 2,
            [_, b'\n' | b'\r'] => 1,
            _ => 0,
        };
        // There may be nothing but a line end after the mark.
        (self.bytes - skip as u64).saturating_sub(end)
    }

    /// Return the content, without the first `skip` bytes; of a content that is too long at least one byte more than is
    /// allowed.
    pub fn content(&self, skip: usize) -> &[u8] {
        let kept = &self.kept[skip..];
        &kept[..kept
            .len()
            .min(self.content_bytes(skip).min(LINE_BYTES_MAX as u64 + 1) as usize)]
    }
}
