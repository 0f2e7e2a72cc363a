//! Ranges of input files, plain or gzip, into our own buffers. Never mmap: a file may shrink under us.
//!
//! Opens regular files alone: links are not followed, and a FIFO cannot block us. Positions count uncompressed bytes.

use crate::crc::crc64;
use crate::scan::fragment::Fragment;
use crate::scan::grammar::{self as scan, Line};
use flate2::bufread::MultiGzDecoder;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::sync::Arc;

/// Bytes per read where nothing else says: fits a second-level cache.
const CHUNK_BYTES: usize = 256 << 10;
/// Compressed bytes per read.
const COMPRESSED_BYTES: usize = 64 << 10;

/// The slug of what no other names.
pub(crate) const UNREADABLE: &str = "unreadable";
/// The slugs of problems.
pub(crate) const PROBLEMS: [&str; 5] = ["gone", UNREADABLE, SHORT, "not_regular", "broken"];
pub(crate) const SHORT: &str = "short";

/// Why a range cannot be read on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// One of `PROBLEMS`.
    pub slug: &'static str,
    /// In words.
    pub detail: String,
}

impl Problem {
    /// A problem with its words.
    pub fn new(slug: &'static str, detail: impl Into<String>) -> Problem {
        Problem {
            slug,
            detail: detail.into(),
        }
    }

    /// The file ends before a byte that was to be read.
    pub(crate) fn short(end: u64) -> Problem {
        Problem::new(SHORT, format!("the file ends before byte {end}"))
    }

    fn of(error: &io::Error) -> Problem {
        let slug = match (error.kind(), error.raw_os_error()) {
            (ErrorKind::NotFound, _) => "gone",
            (_, Some(libc::ELOOP | libc::ENXIO)) => "not_regular",
            (ErrorKind::InvalidData, None) => "broken",
            // Decompression wants more than there is.
            (ErrorKind::UnexpectedEof, None) => SHORT,
            _ => UNREADABLE,
        };
        Problem::new(slug, error.to_string())
    }
}

/// What tells whether a file is still the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

fn open(path: &[u8]) -> io::Result<(File, Identity)> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(OsStr::from_bytes(path))?;
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(io::Error::from_raw_os_error(libc::ENXIO));
    }
    let identity = Identity {
        device: about.dev(),
        inode: about.ino(),
        bytes: about.len(),
        modified: (about.mtime(), about.mtime_nsec()),
    };
    Ok((file, identity))
}

/// A decompressor with its position.
pub struct Gzip {
    stream: MultiGzDecoder<BufReader<File>>,
    identity: Identity,
    /// Uncompressed bytes given out and not given back.
    position: u64,
    /// Bytes given back: they come before the stream's.
    returned: Vec<u8>,
    /// A read has failed: the bytes that it had decompressed are lost, so nothing can follow them.
    failed: bool,
}

impl Gzip {
    fn new(file: File, identity: Identity) -> Gzip {
        let stream = MultiGzDecoder::new(BufReader::with_capacity(COMPRESSED_BYTES, file));
        Gzip {
            stream,
            identity,
            position: 0,
            returned: Vec::new(),
            failed: false,
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.failed {
            return Err(io::Error::other("an earlier read of it failed"));
        }
        let mut filled = self.returned.len().min(buffer.len());
        buffer[..filled].copy_from_slice(&self.returned[..filled]);
        self.returned.drain(..filled);
        while filled < buffer.len() {
            match self.stream.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(bytes) => filled += bytes,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    self.failed = true;
                    return Err(decompression_error(error));
                }
            }
        }
        self.position += filled as u64;
        Ok(filled)
    }

    /// Give back the last bytes read, which the next read repeats.
    pub fn give_back(&mut self, bytes: &[u8]) {
        self.position -= bytes.len() as u64;
        self.returned.splice(..0, bytes.iter().copied());
    }

    /// Whether a read has failed, so that it must not be kept.
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    /// Where the next read is.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Move on to a position.
    fn skip_to(&mut self, position: u64) -> io::Result<()> {
        let mut chunk = vec![0; CHUNK_BYTES];
        while self.position < position {
            let wanted = chunk.len().min((position - self.position) as usize);
            if self.read(&mut chunk[..wanted])? == 0 {
                return Err(io::Error::new(
                    ErrorKind::UnexpectedEof,
                    "the compressed data ends before this position",
                ));
            }
        }
        Ok(())
    }
}

/// Errors of the decompressor carry no errno; give damage one kind and a missing end another.
fn decompression_error(error: io::Error) -> io::Error {
    match error.kind() {
        _ if error.raw_os_error().is_some() => error,
        ErrorKind::UnexpectedEof => {
            io::Error::new(ErrorKind::UnexpectedEof, "the compressed data has no end")
        }
        _ => io::Error::new(ErrorKind::InvalidData, error.to_string()),
    }
}

/// An open file.
pub enum Source {
    /// Read at any place.
    Plain(Arc<File>),
    /// Read on from where it stands.
    Gzip(Box<Gzip>),
}

impl Source {
    /// Open a file to be read from `start` on. `kept` is the decompressor of an earlier call for this path. Also gives
    /// the inode.
    pub fn open(
        path: &[u8],
        compressed: bool,
        start: u64,
        kept: Option<Box<Gzip>>,
    ) -> (u64, Result<Source, Problem>) {
        let (file, identity) = match open(path) {
            Ok(opened) => opened,
            Err(error) => return (0, Err(Problem::of(&error))),
        };
        if !compressed {
            return (identity.inode, Ok(Source::Plain(Arc::new(file))));
        }
        if kept.as_ref().is_some_and(|kept| kept.identity != identity) {
            return (
                identity.inode,
                Err(Problem::new(
                    "broken",
                    "the file changed while it was being read",
                )),
            );
        }
        let mut gzip = match kept {
            Some(kept) if kept.position <= start => kept,
            _ => Box::new(Gzip::new(file, identity)),
        };
        let skipped = gzip.skip_to(start).map_err(|error| Problem::of(&error));
        (identity.inode, skipped.map(|()| Source::Gzip(gzip)))
    }

    /// Fill the buffer from a position on: fewer bytes only where the file ends. A compressed file is read in order.
    pub fn read(&mut self, position: u64, buffer: &mut [u8]) -> Result<usize, Problem> {
        match self {
            Source::Plain(file) => {
                read_at(file, position, buffer).map_err(|error| Problem::of(&error))
            }
            Source::Gzip(gzip) => gzip.read(buffer).map_err(|error| Problem::of(&error)),
        }
    }
}

/// Fill the buffer from a position on: fewer bytes only where the file ends.
pub fn read_at(file: &File, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], position + filled as u64) {
            Ok(0) => break,
            Ok(bytes) => filled += bytes,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Call `visit` with the bytes [start, end) in order, as far as there are any, until it says false.
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
    let mut chunk = vec![0; CHUNK_BYTES];
    while position < end {
        // Compressed bytes before the start are read too, and dropped.
        let upto = if position < start { start } else { end };
        let wanted = chunk.len().min((upto - position) as usize);
        let bytes = match &mut source {
            Source::Gzip(gzip) => gzip.read(&mut chunk[..wanted])?,
            Source::Plain(file) => read_at(file, position, &mut chunk[..wanted])?,
        };
        position += bytes as u64;
        if upto == start && bytes > 0 {
            continue;
        }
        if bytes == 0 || !visit(&chunk[..bytes]) {
            break;
        }
    }
    Ok(())
}

/// (CRC-64/NVME continued over the uncompressed bytes [start, end), bytes really read). Damage is `InvalidData` or
/// `UnexpectedEof` without an errno.
pub fn digest(
    path: &[u8],
    compressed: bool,
    start: u64,
    end: u64,
    initial: u64,
) -> io::Result<(u64, u64)> {
    let (mut crc, mut bytes) = (initial, 0);
    read_through(path, compressed, (start, end), |chunk| {
        crc = crc64(chunk, crc);
        bytes += chunk.len() as u64;
        true
    })?;
    Ok((crc, bytes))
}

/// (CRC-64/NVME of the content of the first line that is a record, its byte).
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
        if let Line::Record(_) = scan::parse_line(content, start == 0, day_max) {
            found = Some((crc64(content, 0), start + mark as u64));
        }
        found.is_some()
    };
    let mut done = false;
    read_through(path, compressed, (0, end), |mut chunk| {
        while let Some(newline) = memchr::memchr(b'\n', chunk) {
            let (line, rest) = chunk.split_at(newline + 1);
            fragment.extend(line);
            chunk = rest;
            if check(&fragment, start) {
                done = true;
                return false;
            }
            start += fragment.len();
            fragment.clear();
        }
        fragment.extend(chunk);
        true
    })?;
    if !done && !fragment.is_empty() {
        check(&fragment, start);
    }
    Ok(found)
}

/// What `check_gzip` found.
pub struct Checked {
    /// whole, incomplete, broken or `too_large`.
    pub verdict: &'static str,
    /// Uncompressed bytes seen.
    pub bytes: u64,
    /// Their CRC-64/NVME.
    pub digest: u64,
    /// In words.
    pub detail: String,
}

/// Decompress a file to its end and compare its checksums, in bounded memory.
pub fn check_gzip(path: &[u8], bytes_max: u64) -> io::Result<Checked> {
    let (file, identity) = open(path)?;
    let mut checked = Checked {
        verdict: "whole",
        bytes: 0,
        digest: 0,
        detail: String::new(),
    };
    if identity.bytes == 0 {
        return Ok(Checked {
            verdict: "incomplete",
            detail: "the file is empty".into(),
            ..checked
        });
    }
    let mut gzip = Gzip::new(file, identity);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        // The decompressor may fail after some good bytes of a chunk; those do not matter any more.
        match gzip.read(&mut chunk) {
            Ok(0) => return Ok(checked),
            Ok(bytes) => {
                checked.digest = crc64(&chunk[..bytes], checked.digest);
                checked.bytes += bytes as u64;
            }
            Err(error) if error.raw_os_error().is_some() => return Err(error),
            Err(error) => {
                checked.verdict = if error.kind() == ErrorKind::UnexpectedEof {
                    "incomplete"
                } else {
                    "broken"
                };
                checked.detail = error.to_string();
                return Ok(checked);
            }
        }
        if checked.bytes > bytes_max {
            checked.verdict = "too_large";
            checked.detail = format!("more than {bytes_max} bytes");
            return Ok(checked);
        }
    }
}
