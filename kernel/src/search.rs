//! Searches files for the lines that hold given digits, anywhere in the line: for questions about one msisdn, or
//! counted for many.
//!
//! Digits beside them make another number: the few digits of a short msisdn stand in many a timestamp. A file is read
//! once, in bounded memory: for one msisdn at the speed of a search for bytes, for many byte by byte. The meaning of a
//! line is not decided here. Lines end as they were consumed: at `\n`, and at the end of a range, which may be within a
//! line.

use crate::crc::crc64;
use crate::input::digest::read_through;
use crate::scan::grammar::{BYTE_ORDER_MARK, LINE_BYTES_MAX};
use crate::types::msisdn::{DIGITS_MAX, DIGITS_MIN, POW10};
use memchr::memmem::Finder;
use memchr::{memchr, memchr_iter, memrchr};
use std::collections::HashSet;
use std::hash::BuildHasher;
use std::io;

/// Kept bytes of a line: the longest that is not too long, with mark and line end, and one more.
const KEPT_BYTES: usize = LINE_BYTES_MAX + 6;

/// A line that holds the digits.
#[derive(Debug, PartialEq, Eq)]
pub struct Hit {
    /// Position of its first byte.
    pub byte: u64,
    /// Line ends before it.
    pub newlines: u64,
    /// The last byte of the line that it continues, when that one was consumed unterminated; else 0.
    pub continues: u8,
    /// With its line end; of a line that is too long only the beginning.
    pub line: Vec<u8>,
}

/// The lines found in a file.
#[derive(Debug, Default)]
pub struct Found {
    /// In order.
    pub hits: Vec<Hit>,
    /// CRC-64/NVME of the bytes read.
    pub digest: u64,
    /// Bytes read.
    pub bytes: u64,
}

/// Find the lines with the digits up to the last of `cuts`, the ends of the ranges that were consumed, ascending.
pub fn search(path: &[u8], compressed: bool, cuts: &[u64], digits: &[u8]) -> io::Result<Found> {
    let mut search = Search {
        finder: Finder::new(digits),
        found: Found::default(),
        newlines: 0,
        continues: 0,
        open: Vec::new(),
        open_bytes: 0,
        open_hit: false,
        last: Vec::new(),
    };
    let mut cuts = cuts.iter().copied().peekable();
    let end = cuts.clone().last().unwrap_or_default();
    read_through(path, compressed, (0, end), |mut bytes| {
        search.found.digest = crc64(bytes, search.found.digest);
        while let Some(&cut) = cuts.peek()
            && cut <= search.found.bytes + bytes.len() as u64
        {
            let (before, after) = bytes.split_at((cut - search.found.bytes) as usize);
            search.take(before);
            search.cut();
            bytes = after;
            cuts.next();
        }
        search.take(bytes);
        true
    })?;
    search.cut();
    Ok(search.found)
}

/// Count the lines of a file that hold the digits of one of these msisdns, given by their keys, in one pass.
pub fn count_lines<S: BuildHasher>(
    path: &[u8],
    compressed: bool,
    keys: &HashSet<u64, S>,
) -> io::Result<u64> {
    let (mut lines, mut is_hit) = (0, false);
    let (mut value, mut digits) = (0, 0);
    let is_one = |value: u64, digits: usize| {
        (DIGITS_MIN..=DIGITS_MAX).contains(&digits) && keys.contains(&(POW10[digits] + value))
    };
    read_through(path, compressed, (0, u64::MAX), |bytes| {
        for &byte in bytes {
            if byte.is_ascii_digit() {
                if digits < DIGITS_MAX {
                    value = value * 10 + u64::from(byte - b'0');
                }
                digits += 1;
                continue;
            }
            is_hit |= is_one(value, digits);
            (value, digits) = (0, 0);
            if byte == b'\n' {
                lines += u64::from(is_hit);
                is_hit = false;
            }
        }
        true
    })?;
    Ok(lines + u64::from(is_hit || is_one(value, digits)))
}

struct Search<'a> {
    finder: Finder<'a>,
    /// Its `bytes` are the position of the search.
    found: Found,
    newlines: u64,
    /// `Hit::continues` of the line that is open or begins next.
    continues: u8,
    /// The first bytes of the open line: the one whose end is not reached yet.
    open: Vec<u8>,
    open_bytes: u64,
    open_hit: bool,
    /// Its last bytes, one more than the digits: the digits, or a digit beside them, may come with the next bytes.
    last: Vec<u8>,
}

impl Search<'_> {
    /// Return the place of the digits in the bytes, with no digit beside them.
    fn find(&self, bytes: &[u8], mut from: usize) -> Option<usize> {
        let is_digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
        while let Some(at) = self.finder.find(&bytes[from..]).map(|at| from + at) {
            let (before, after) = (at.checked_sub(1), at + self.finder.needle().len());
            if !before.is_some_and(is_digit) && !is_digit(after) {
                return Some(at);
            }
            from = at + 1;
        }
        None
    }

    fn take(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        if self.open_bytes > 0 || self.continues != 0 {
            let Some(newline) = memchr(b'\n', rest) else {
                self.extend(rest);
                return;
            };
            self.extend(&rest[..=newline]);
            self.close();
            self.newlines += 1;
            self.continues = 0;
            rest = &rest[newline + 1..];
        }
        let whole = memrchr(b'\n', rest).map_or(0, |newline| newline + 1);
        self.take_whole(&rest[..whole]);
        self.extend(&rest[whole..]);
    }

    /// Take whole lines.
    fn take_whole(&mut self, bytes: &[u8]) {
        let lines = |bytes: &[u8]| memchr_iter(b'\n', bytes).count() as u64;
        let mut from = 0;
        while let Some(at) = self.find(bytes, from) {
            let start = memrchr(b'\n', &bytes[from..at]).map_or(from, |newline| from + newline + 1);
            let end = memchr(b'\n', &bytes[at..]).map_or(bytes.len(), |newline| at + newline + 1);
            self.newlines += lines(&bytes[from..start]);
            self.found.hits.push(Hit {
                byte: self.found.bytes + start as u64,
                newlines: self.newlines,
                continues: 0,
                line: bytes[start..end.min(start + KEPT_BYTES)].to_vec(),
            });
            self.newlines += 1;
            from = end;
        }
        self.newlines += lines(&bytes[from..]);
        self.found.bytes += bytes.len() as u64;
    }

    /// Add to the open line.
    fn extend(&mut self, bytes: &[u8]) {
        let room = KEPT_BYTES - self.open.len();
        self.open.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.open_bytes += bytes.len() as u64;
        self.found.bytes += bytes.len() as u64;
        let cut = self.last_is_cut(bytes.len());
        self.last.extend_from_slice(bytes);
        // Digits at the very end may go on: `close` looks at them.
        let end = self.last.len() - self.finder.needle().len().min(self.last.len());
        self.open_hit |= self
            .find(&self.last, usize::from(cut))
            .is_some_and(|at| at < end);
        let kept = self.finder.needle().len() + 1;
        self.last.drain(..self.last.len().saturating_sub(kept));
    }

    /// Return true when `last` begins within the open line, of which `more` bytes are not in it yet.
    fn last_is_cut(&self, more: usize) -> bool {
        self.open_bytes > (self.last.len() + more) as u64
    }

    /// End the open line here.
    fn close(&mut self) {
        let cut = usize::from(self.last_is_cut(0));
        if self.open_hit || self.find(&self.last, cut).is_some() {
            self.found.hits.push(Hit {
                byte: self.found.bytes - self.open_bytes,
                newlines: self.newlines,
                continues: self.continues,
                line: self.open.clone(),
            });
        }
        self.open.clear();
        self.last.clear();
        self.open_bytes = 0;
        self.open_hit = false;
    }

    /// End a range here, and with it the open line.
    fn cut(&mut self) {
        // After a byte-order mark alone the first line has yet to begin.
        let mark = self.found.bytes == BYTE_ORDER_MARK.len() as u64 && self.open == BYTE_ORDER_MARK;
        let last = self.last.last().copied().unwrap_or(self.continues);
        self.close();
        self.continues = if mark { 0 } else { last };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::msisdn::key_of;
    use std::io::Write;

    fn lines(content: &[u8], cuts: &[u64]) -> Vec<(u64, u64, u8, Vec<u8>)> {
        let name = format!("upswell-search-{}-{:p}", std::process::id(), content);
        let path = std::env::temp_dir().join(name);
        let mut file = std::fs::File::create(&path).expect("a file");
        file.write_all(content).expect("written");
        let found = search(path.as_os_str().as_encoded_bytes(), false, cuts, b"12345");
        std::fs::remove_file(&path).expect("removed");
        let found = found.expect("read");
        assert_eq!(cuts.last().copied().unwrap_or_default(), found.bytes);
        assert_eq!(crc64(&content[..found.bytes as usize], 0), found.digest);
        let hits = found.hits.into_iter();
        hits.map(|hit| (hit.byte, hit.newlines, hit.continues, hit.line))
            .collect()
    }

    #[test]
    fn lines_that_hold_the_digits_are_found_with_their_place() {
        let content = b"12345,a\nb\n\nx12345y12345\r\nlast 12345";
        let expected = vec![
            (0, 0, 0, b"12345,a\n".to_vec()),
            (11, 3, 0, b"x12345y12345\r\n".to_vec()),
            (25, 4, 0, b"last 12345".to_vec()),
        ];
        assert_eq!(expected, lines(content, &[content.len() as u64]));
        assert_eq!(expected, lines(content, &[8, 10, 25, content.len() as u64]));
    }

    #[test]
    fn lines_of_many_msisdns_are_counted_in_one_pass_wherever_a_chunk_ends() {
        let keys = [&b"12345"[..], b"012345", b"999999999999999"];
        let keys: HashSet<u64> = keys.iter().filter_map(|digits| key_of(digits)).collect();
        for shift in 0..20 {
            let mut content = vec![b'x'; (256 << 10) - shift];
            content.extend_from_slice(b"12345 012345\n0012345,112345,1234\n\n");
            content.extend_from_slice(b"a,+999999999999999\r\n9999999999999999\n012345");
            let path = std::env::temp_dir().join(format!("upswell-count-{}", std::process::id()));
            std::fs::write(&path, &content).expect("written");
            let found = count_lines(path.as_os_str().as_encoded_bytes(), false, &keys);
            std::fs::remove_file(&path).expect("removed");
            assert_eq!(3, found.expect("read"));
        }
    }

    #[test]
    fn a_range_ends_a_line_and_what_follows_continues_it() {
        let content = b"a 12345\rb 12345\n12345\n";
        let expected = vec![
            (0, 0, 0, b"a 12345\r".to_vec()),
            (8, 0, b'\r', b"b 12345\n".to_vec()),
            (16, 1, 0, b"12345\n".to_vec()),
        ];
        assert_eq!(expected, lines(content, &[8, 22]));
    }

    #[test]
    fn digits_within_a_longer_number_are_not_found_wherever_a_range_or_a_chunk_ends() {
        let content = b"012345\n123456\n1234512345\n12345 612345\n";
        let found = vec![(25, 3, 0, b"12345 612345\n".to_vec())];
        assert_eq!(found, lines(content, &[content.len() as u64]));
        for shift in 0..16 {
            for (line, expected) in [
                (&b"9123456,"[..], 0),
                (b"9,12345,", 1),
                (b"9,123456", 0),
                (b"9,912345", 0),
                (b"9 x12345", 1),
            ] {
                let mut content = vec![b'x'; (256 << 10) - shift];
                content.extend_from_slice(line);
                let end = content.len() as u64;
                assert_eq!(expected, lines(&content, &[end]).len());
                content.push(b'\n');
                assert_eq!(expected, lines(&content, &[end + 1]).len());
            }
        }
    }

    #[test]
    fn what_continues_a_long_line_knows_its_true_last_byte() {
        let mut content = vec![b'x'; 2 * KEPT_BYTES];
        content.extend_from_slice(b"\r");
        let cut = content.len() as u64;
        content.extend_from_slice(b"12345\n");
        let found = lines(&content, &[cut, cut + 6]);
        assert_eq!(vec![(cut, 0, b'\r', b"12345\n".to_vec())], found);
    }

    #[test]
    fn digits_are_found_across_chunks_and_long_lines_are_cut() {
        for shift in 0..8 {
            let mut content = vec![b'x'; (256 << 10) - shift];
            content.extend_from_slice(b"12345\n12345\n");
            let found = lines(&content, &[content.len() as u64]);
            assert_eq!(2, found.len());
            assert_eq!(KEPT_BYTES, found[0].3.len());
            assert_eq!((content.len() as u64 - 6, 1), (found[1].0, found[1].1));
        }
    }
}
