//! The grammar: from the bytes of a line to a record, or to the reason why it is not one.
//!
//! Plain code without I/O, which defines what a line means. `wide` finds the same answers sooner, and hands every line
//! that is not plain to `parse_line`. If you change the grammar, change `plain_bytes` in `wide` with it; the tests
//! compare the two on random and hostile bytes.
//!
//! The content of a line is the line without its `\n` and without one `\r` before that. A byte-order mark belongs to no
//! line.

use crate::scan::filter::Filter;
use crate::scan::outcome::Reason;
use crate::types::clock;
use crate::types::msisdn;

/// Longest content of a line, in bytes.
pub const LINE_BYTES_MAX: usize = 4096;
/// The UTF-8 byte-order mark, skipped at the start of a file.
pub const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

const SERVICE_DIGITS_MAX: usize = 9;
const VOLUME_DIGITS_MAX: usize = 15;
const TIMESTAMP_DIGITS: usize = 14;

/// One usage session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// The msisdn in its mixed form (see `msisdn`).
    pub msisdn: u64,
    /// The service, up to 9 digits.
    pub service: u32,
    /// The traffic, up to 15 digits.
    pub volume: u64,
    /// `yyyymmdd` as written.
    pub date: u32,
    /// `hhmmss` as written.
    pub time: u32,
}

/// The meaning of a line's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// A usage session.
    Record(Record),
    /// Empty, or only spaces and tabs.
    Blank,
    /// A file's first line, without any digit.
    Header,
    /// Not a record.
    Reject(Reason),
}

/// Receives the lines that a scanner meets, in order.
///
/// A record is first checked against `filter`, then against `contains`, and passed to `record` only then. Msisdns are
/// in their mixed form. `record` and `other` are called in the order of the lines, except that a line that is not a
/// record may come before records of lines above it.
pub trait Visitor<'s> {
    /// Return the filter that says "surely not" for most records of no interest: these are only counted.
    fn filter(&self) -> Filter<'s>;
    /// Return true while `non_member` is still to be called.
    fn wants_non_member(&self) -> bool;
    /// Take the first record, among some, that the filter or `contains` refused; others may lie before it.
    fn non_member(&mut self, msisdn: u64, start: usize);
    /// Ask memory for what `contains` will look at.
    fn prefetch(&self, msisdn: u64);
    /// Return the exact answer for an msisdn that the filter let pass.
    fn contains(&self, msisdn: u64) -> bool;
    /// Take a record that is contained, with its content at [start, start + length).
    fn record(&mut self, start: usize, length: usize, record: &Record);
    /// Take any other line; `line` counts the lines before it within the bytes scanned.
    fn other(&mut self, start: usize, length: usize, line: u32, kind: Line);
}

/// The lines that a scanner counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineCounts {
    /// All lines.
    pub lines: u32,
    /// Lines that are records, whatever the visitor does with them.
    pub records: u32,
}

/// Return the content of a line, given the bytes up to its `\n` or up to the end.
pub fn content_of(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Scan whole lines: `bytes[from..to]` begins with a line's start and ends with `\n`, or is empty.
pub fn scan_lines<'s, V: Visitor<'s>>(
    bytes: &[u8],
    from: usize,
    to: usize,
    day_max: u32,
    visitor: &mut V,
) -> LineCounts {
    let mut scanned = LineCounts::default();
    let mut start = from;
    for newline in memchr::memchr_iter(b'\n', &bytes[from..to]) {
        let content = content_of(&bytes[start..from + newline]);
        let line = parse_line(content, false, day_max);
        scanned.records += u32::from(matches!(line, Line::Record(_)));
        tell(visitor, line, start, content.len(), scanned.lines);
        scanned.lines += 1;
        start = from + newline + 1;
    }
    scanned
}

/// Pass a parsed line to the visitor; `before` counts the lines before it within the bytes scanned.
pub fn tell<'s, V: Visitor<'s>>(
    visitor: &mut V,
    line: Line,
    start: usize,
    length: usize,
    before: u32,
) {
    match line {
        Line::Record(record) if visitor.contains(record.msisdn) => {
            visitor.record(start, length, &record);
        }
        Line::Record(record) => visitor.non_member(record.msisdn, start),
        other => visitor.other(start, length, before, other),
    }
}

/// Parse the content of a line. `first`: it is the first line of its file. A date after `day_max` is `future`.
pub fn parse_line(content: &[u8], first: bool, day_max: u32) -> Line {
    if content.len() > LINE_BYTES_MAX {
        return Line::Reject(Reason::TooLong);
    }
    if content.iter().all(|byte| matches!(byte, b' ' | b'\t')) {
        return Line::Blank;
    }
    if first && !content.iter().any(u8::is_ascii_digit) {
        return Line::Header;
    }
    match parse_record(content, day_max) {
        Ok(record) => Line::Record(record),
        Err(reason) => Line::Reject(reason),
    }
}

fn parse_record(content: &[u8], day_max: u32) -> Result<Record, Reason> {
    let mut parts = content.split(|byte| *byte == b',');
    let (Some(msisdn), Some(service), Some(volume), Some(timestamp), None) = (
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
    ) else {
        return Err(Reason::Columns);
    };
    let msisdn = msisdn::mix(parse_msisdn(unquoted(msisdn)).ok_or(Reason::Msisdn)?);
    let service = digits(unquoted(service), SERVICE_DIGITS_MAX).ok_or(Reason::Service)?;
    let volume = digits(unquoted(volume), VOLUME_DIGITS_MAX).ok_or(Reason::Volume)?;
    let (date, time) = parse_timestamp(unquoted(timestamp)).ok_or(Reason::Timestamp)?;
    if date > day_max {
        return Err(Reason::Future);
    }
    Ok(Record {
        msisdn,
        service: service as u32,
        volume,
        date,
        time,
    })
}

/// Parse an msisdn, 5 to 15 digits after an optional `+`, to its key.
pub fn parse_msisdn(field: &[u8]) -> Option<u64> {
    msisdn::key_of(field.strip_prefix(b"+").unwrap_or(field))
}

/// Return the field without the double quotes that wrap it, if any do.
pub fn unquoted(field: &[u8]) -> &[u8] {
    match field {
        [b'"', inner @ .., b'"'] => inner,
        _ => field,
    }
}

fn digits(field: &[u8], longest: usize) -> Option<u64> {
    if field.is_empty() || field.len() > longest {
        return None;
    }
    msisdn::number(field)
}

fn parse_timestamp(field: &[u8]) -> Option<(u32, u32)> {
    if field.len() != TIMESTAMP_DIGITS {
        return None;
    }
    let number = msisdn::number(field)?;
    let (date, time) = ((number / 1_000_000) as u32, (number % 1_000_000) as u32);
    (clock::is_date(date) && clock::is_time(time)).then_some((date, time))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(content: &[u8]) -> Line {
        parse_line(content, false, 20_200_418)
    }

    #[test]
    fn a_record_may_be_quoted_and_have_a_plus() {
        let plain = kind(b"0126545098,1,315,20200417193743");
        assert!(
            matches!(plain, Line::Record(record) if record.volume == 315 && record.time == 193_743)
        );
        assert_eq!(
            plain,
            kind(b"\"+0126545098\",\"1\",\"315\",\"20200417193743\"")
        );
    }

    #[test]
    fn the_first_reason_that_applies_is_given() {
        let cases: [(&[u8], Reason); 14] = [
            (&[b'1'; 4097], Reason::TooLong),
            (b"a,b,c", Reason::Columns),
            (b"a,b,c,d,", Reason::Columns),
            (b"1234,x,y,z", Reason::Msisdn),
            (b"1234567890123456,1,1,20200417193743", Reason::Msisdn),
            (b"++12345,1,1,20200417193743", Reason::Msisdn),
            (b"\"12345,1,1,20200417193743", Reason::Msisdn),
            (b"12345,1234567890,1,20200417193743", Reason::Service),
            (b"12345,1,-1,20200417193743", Reason::Volume),
            (b"12345,1,,20200417193743", Reason::Volume),
            (b"12345,1,1234567890123456,20200417193743", Reason::Volume),
            (b"12345,1,1,20200431193743", Reason::Timestamp),
            (b"12345,1,1,20200417193743\r", Reason::Timestamp),
            (b"12345,1,1,20200419000000", Reason::Future),
        ];
        for (content, reason) in cases {
            assert_eq!(
                Line::Reject(reason),
                kind(content),
                "{}",
                content.escape_ascii()
            );
        }
    }

    #[test]
    fn only_a_first_line_without_digits_is_a_header() {
        assert_eq!(Line::Header, parse_line(b"msisdn,service", true, 0));
        assert_eq!(
            Line::Reject(Reason::Columns),
            parse_line(b"msisdn,service", false, 0)
        );
        assert_eq!(Line::Blank, parse_line(b" \t", true, 0));
    }
}
