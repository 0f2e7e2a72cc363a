//! From the bytes of SEGMENT to keys: the grammar of its lines, and their parsing in parallel.
//!
//! A file is cut into chunks of whole lines. The result, line numbers of bad lines included, does not depend on where
//! it is cut or on the number of threads.

use crate::scan::grammar;
use crate::threads;
use crate::types::msisdn;

/// Bytes of SEGMENT that one thread parses at a time.
const CHUNK_BYTES: usize = 1 << 20;
/// Bytes of the shortest msisdn with its line end.
const LINE_BYTES_MIN: usize = msisdn::DIGITS_MIN + 1;
const ERROR_RAW_BYTES_MAX: usize = 64;

/// Counts of the lines of SEGMENT, and the first bad ones.
#[derive(Debug, Default)]
pub struct SegmentReport {
    /// Lines that should be an msisdn: all but blank and header lines.
    pub lines: u64,
    /// Those of them that are not.
    pub bad: u64,
    /// Msisdns that an earlier line has, too.
    pub duplicates: u64,
    /// (file, line from 1, reason, first bytes) of the first bad lines.
    pub errors: Vec<(usize, u64, &'static str, Vec<u8>)>,
}

/// Parse SEGMENT's files: return what `take` makes of their keys, chunk by chunk in order, and the report without its
/// `duplicates`.
pub(crate) fn parse<T: Default + Send>(
    files: &[&[u8]],
    errors_max: usize,
    take: impl Fn(&[u64]) -> T + Sync,
) -> (Vec<T>, SegmentReport) {
    let chunks: Vec<_> = (0..).zip(files).flat_map(cut).collect();
    let threads = threads::worth(chunks.len());
    let parsed = threads::map(threads, chunks.len(), |at| {
        let mut keys = Vec::with_capacity(chunks[at].lines.len() / LINE_BYTES_MIN + 1);
        let parsed = parse_chunk(&chunks[at], errors_max, &mut keys);
        (parsed, take(&keys))
    });
    let (mut report, mut taken) = (SegmentReport::default(), Vec::with_capacity(chunks.len()));
    let mut before = 0;
    for (chunk, (parsed, keys)) in chunks.iter().zip(parsed) {
        before = if chunk.first { 0 } else { before };
        report.lines += parsed.keys + parsed.bad;
        report.bad += parsed.bad;
        let room = errors_max - report.errors.len();
        let errors = parsed.errors.into_iter().take(room);
        report
            .errors
            .extend(errors.map(|(line, reason, raw)| (chunk.file, before + line + 1, reason, raw)));
        before += parsed.lines;
        taken.push(keys);
    }
    (taken, report)
}

/// Some whole lines of a file of SEGMENT.
struct FileChunk<'a> {
    file: usize,
    /// It begins the file.
    first: bool,
    lines: &'a [u8],
}

/// Counts of the lines of a chunk, and its first bad ones.
#[derive(Default)]
struct Parsed {
    /// All lines.
    lines: u64,
    /// Those that are an msisdn.
    keys: u64,
    bad: u64,
    /// (line from 0, reason, first bytes).
    errors: Vec<(u64, &'static str, Vec<u8>)>,
}

/// Cut a file into chunks; none when it is empty.
fn cut<'a>((file, data): (usize, &&'a [u8])) -> Vec<FileChunk<'a>> {
    let data = data.strip_prefix(grammar::BYTE_ORDER_MARK).unwrap_or(data);
    let mut rest = data.strip_suffix(b"\n").unwrap_or(data);
    let mut chunks = Vec::new();
    while !rest.is_empty() {
        let after = rest.get(CHUNK_BYTES..).unwrap_or_default();
        let end = memchr::memchr(b'\n', after).map_or(rest.len(), |at| CHUNK_BYTES + at);
        chunks.push(FileChunk {
            file,
            first: chunks.is_empty(),
            lines: &rest[..end],
        });
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    chunks
}

/// Parse the lines of a chunk, and append their keys to `keys`.
fn parse_chunk(chunk: &FileChunk, errors_max: usize, keys: &mut Vec<u64>) -> Parsed {
    let mut parsed = Parsed::default();
    let mut start = 0;
    for end in memchr::memchr_iter(b'\n', chunk.lines).chain([chunk.lines.len()]) {
        let content = grammar::content_of(&chunk.lines[start..end]);
        let line = parsed.lines;
        (start, parsed.lines) = (end + 1, line + 1);
        match entry_of(content, chunk.first && line == 0) {
            Entry::Empty => {}
            Entry::Key(key) => keys.push(key),
            Entry::Bad(reason) => {
                parsed.bad += 1;
                if parsed.errors.len() < errors_max {
                    let raw = &content[..content.len().min(ERROR_RAW_BYTES_MAX)];
                    parsed.errors.push((line, reason, raw.to_vec()));
                }
            }
        }
    }
    parsed.keys = keys.len() as u64;
    parsed
}

/// Whether the line holds a digit of any script (Unicode's general category N), so that it cannot be a header.
fn has_number(content: &[u8]) -> bool {
    content.iter().any(u8::is_ascii_digit)
        || String::from_utf8_lossy(content)
            .chars()
            .any(char::is_numeric)
}

/// The meaning of a line of SEGMENT.
enum Entry {
    /// A blank or header line.
    Empty,
    Key(u64),
    /// Not an msisdn, for this reason.
    Bad(&'static str),
}

fn entry_of(content: &[u8], first: bool) -> Entry {
    // The plain case first; the general one would give the same.
    if let Some(key) = msisdn::key_of(content) {
        return Entry::Key(key);
    }
    if content.len() > grammar::LINE_BYTES_MAX {
        return Entry::Bad("too_long");
    }
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    // A spreadsheet writes a row that was emptied as commas alone.
    if content.iter().all(|byte| is_space(byte) || *byte == b',') {
        return Entry::Empty;
    }
    let (Some(from), Some(to)) = (
        content.iter().position(|b| !is_space(b)),
        content.iter().rposition(|b| !is_space(b)),
    ) else {
        return Entry::Empty;
    };
    if first && !has_number(content) {
        return Entry::Empty;
    }
    match grammar::parse_msisdn(grammar::unquoted(&content[from..=to])) {
        Some(key) => Entry::Key(key),
        None if content.contains(&b',') => Entry::Bad("columns"),
        None => Entry::Bad("msisdn"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::Segment;

    #[test]
    fn where_a_large_file_is_cut_never_shows() {
        const LINES: usize = 400_000;
        const BAD_EVERY: usize = 997;
        let mut file = Vec::from(b"DIAL\n".as_slice());
        for line in 1..LINES {
            let text = match line % BAD_EVERY {
                0 => "no dial\n".into(),
                _ => format!("{:010}\r\n", 7 * line),
            };
            file.extend_from_slice(text.as_bytes());
        }
        assert!(file.len() > 3 * CHUNK_BYTES);
        let (segment, report) = Segment::parse(&[b"12345\n", &file], LINES);
        let bad: Vec<u64> = (1..LINES)
            .filter(|line| line % BAD_EVERY == 0)
            .map(|line| line as u64 + 1)
            .collect();
        let found: Vec<u64> = report.errors.iter().map(|error| error.1).collect();
        assert_eq!(bad, found);
        assert_eq!(
            (LINES as u64, bad.len() as u64, 0),
            (report.lines, report.bad, report.duplicates)
        );
        assert_eq!(LINES - bad.len(), segment.len());
        let missed = (1..LINES).filter(|line| {
            let mixed = msisdn::mix(msisdn::POW10[10] + 7 * *line as u64);
            segment.contains(mixed) == line.is_multiple_of(BAD_EVERY)
        });
        assert_eq!(0, missed.count());
    }
}
