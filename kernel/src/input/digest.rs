//! One pass over the bytes of a file: its digest, and its first record.

use crate::crc::crc64;
use crate::input::file::{READ_BYTES, open, read_at};
use crate::input::gzip::Gzip;
use crate::input::source::Source;
use crate::scan::fragment::Fragment;
use crate::scan::grammar::{self, Line};
use std::io;
use std::sync::Arc;

/// Call `visit` with the bytes [start, end) in order, as far as the file has them, until it returns false.
pub(crate) fn read_through(
    path: &[u8],
    compressed: bool,
    (start, end): (u64, u64),
    mut visit: impl FnMut(&[u8]) -> bool,
) -> io::Result<()> {
    let (file, identity) = open(path)?;
    let (mut source, mut position) = if compressed {
        (Source::Gzip(Box::new(Gzip::new(file, identity))), 0)
    } else {
        (Source::Plain(Arc::new(file)), start)
    };
    let mut buffer = vec![0; READ_BYTES];
    while position < end {
        // Compressed bytes before the start are read too, and dropped.
        let upto = if position < start { start } else { end };
        let wanted = buffer.len().min((upto - position) as usize);
        let bytes = match &mut source {
            Source::Gzip(gzip) => gzip.read(&mut buffer[..wanted])?,
            Source::Plain(file) => read_at(file, position, &mut buffer[..wanted])?,
        };
        position += bytes as u64;
        if upto == start && bytes > 0 {
            continue;
        }
        if bytes == 0 || !visit(&buffer[..bytes]) {
            break;
        }
    }
    Ok(())
}

/// Return (CRC-64/NVME continued over the uncompressed bytes [start, end), bytes read). Err of damaged compressed data
/// is `InvalidData` or `UnexpectedEof` without an errno.
pub fn digest(
    path: &[u8],
    compressed: bool,
    start: u64,
    end: u64,
    initial: u64,
) -> io::Result<(u64, u64)> {
    let (mut crc, mut bytes) = (initial, 0);
    read_through(path, compressed, (start, end), |buffer| {
        crc = crc64(buffer, crc);
        bytes += buffer.len() as u64;
        true
    })?;
    Ok((crc, bytes))
}

/// Return (CRC-64/NVME of the content, byte) of the first line within [0, end) that is a record.
pub fn first_record(
    path: &[u8],
    compressed: bool,
    end: u64,
    day_max: u32,
) -> io::Result<Option<(u64, u64)>> {
    let mut found = None;
    let mut fragment = Fragment::default();
    let mut start = 0;
    let mut check = |fragment: &Fragment, start: u64| {
        let mark = if start == 0 {
            fragment.byte_order_mark()
        } else {
            0
        };
        let content = fragment.content(mark);
        if let Line::Record(_) = grammar::parse_line(content, start == 0, day_max) {
            found = Some((crc64(content, 0), start + mark as u64));
        }
        found.is_some()
    };
    let mut done = false;
    read_through(path, compressed, (0, end), |mut buffer| {
        while let Some(newline) = memchr::memchr(b'\n', buffer) {
            let (line, rest) = buffer.split_at(newline + 1);
            fragment.extend(line);
            buffer = rest;
            if check(&fragment, start) {
                done = true;
                return false;
            }
            start += fragment.len();
            fragment.clear();
        }
        fragment.extend(buffer);
        true
    })?;
    if !done && !fragment.is_empty() {
        check(&fragment, start);
    }
    Ok(found)
}
