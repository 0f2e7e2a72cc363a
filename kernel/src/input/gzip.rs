//! Compressed files: a decompressor that knows its position, and the check of a whole file.

use crate::crc::crc64;
use crate::input::file::{Identity, READ_BYTES, open};
use flate2::bufread::MultiGzDecoder;
use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read};

/// Compressed bytes per read.
const COMPRESSED_BYTES: usize = 64 << 10;

/// A decompressor with its position.
pub struct Gzip {
    stream: MultiGzDecoder<BufReader<File>>,
    pub(super) identity: Identity,
    /// Uncompressed bytes read and not given back.
    position: u64,
    /// Bytes given back: they are read before the stream goes on.
    returned: Vec<u8>,
    /// A read has failed: the bytes that it had decompressed are lost, so no later read can follow.
    failed: bool,
}

impl Gzip {
    pub(super) fn new(file: File, identity: Identity) -> Gzip {
        let stream = MultiGzDecoder::new(BufReader::with_capacity(COMPRESSED_BYTES, file));
        Gzip {
            stream,
            identity,
            position: 0,
            returned: Vec::new(),
            failed: false,
        }
    }

    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
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

    /// Give the last bytes read back: the next read repeats them.
    pub fn give_back(&mut self, bytes: &[u8]) {
        self.position -= bytes.len() as u64;
        self.returned.splice(..0, bytes.iter().copied());
    }

    /// Return true when a read has failed, so that the decompressor must not be kept.
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    /// Return the position of the next read.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Decompress up to a position, and drop the bytes before it.
    pub(super) fn skip_to(&mut self, position: u64) -> io::Result<()> {
        let mut buffer = vec![0; READ_BYTES];
        while self.position < position {
            let wanted = buffer.len().min((position - self.position) as usize);
            if self.read(&mut buffer[..wanted])? == 0 {
                return Err(io::Error::new(
                    ErrorKind::UnexpectedEof,
                    "the compressed data ends before this position",
                ));
            }
        }
        Ok(())
    }
}

/// Give an error of the decompressor, which has no errno, its kind: one for damage, another for a missing end.
fn decompression_error(error: io::Error) -> io::Error {
    match error.kind() {
        _ if error.raw_os_error().is_some() => error,
        ErrorKind::UnexpectedEof => {
            io::Error::new(ErrorKind::UnexpectedEof, "the compressed data has no end")
        }
        _ => io::Error::new(ErrorKind::InvalidData, error.to_string()),
    }
}

/// The result of `check_gzip`.
pub struct CheckedGzip {
    /// One of whole, incomplete, broken and `too_large`.
    pub verdict: &'static str,
    /// Uncompressed bytes read.
    pub bytes: u64,
    /// Their CRC-64/NVME.
    pub digest: u64,
    /// The reason, in words.
    pub detail: String,
}

/// Decompress a file to its end and compare its checksums, in bounded memory. Err: it cannot be read.
pub fn check_gzip(path: &[u8], bytes_max: u64) -> io::Result<CheckedGzip> {
    let (file, identity) = open(path)?;
    let mut checked = CheckedGzip {
        verdict: "whole",
        bytes: 0,
        digest: 0,
        detail: String::new(),
    };
    if identity.bytes == 0 {
        return Ok(CheckedGzip {
            verdict: "incomplete",
            detail: "the file is empty".into(),
            ..checked
        });
    }
    let mut gzip = Gzip::new(file, identity);
    let mut buffer = vec![0; READ_BYTES];
    loop {
        // The decompressor may fail after some good bytes of a buffer; these do not matter any more.
        match gzip.read(&mut buffer) {
            Ok(0) => return Ok(checked),
            Ok(bytes) => {
                checked.digest = crc64(&buffer[..bytes], checked.digest);
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
