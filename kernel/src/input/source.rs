//! Ranges of a file, plain or compressed, and the problems that end their reading.

use crate::input::file::{open, read_at};
use crate::input::gzip::Gzip;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::sync::Arc;

/// The slug of a problem that no other slug names.
pub(crate) const UNREADABLE: &str = "unreadable";
/// The slug of a file that ends before the range does.
pub(crate) const SHORT: &str = "short";
/// The slugs of problems.
pub(crate) const PROBLEMS: [&str; 5] = ["gone", UNREADABLE, SHORT, "not_regular", "broken"];

/// The reason why a range cannot be read further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// One of `PROBLEMS`.
    pub slug: &'static str,
    /// The same in words.
    pub detail: String,
}

impl Problem {
    /// Make a problem.
    pub fn new(slug: &'static str, detail: impl Into<String>) -> Problem {
        Problem {
            slug,
            detail: detail.into(),
        }
    }

    /// Make the problem of a file that ends before byte `end`.
    pub(crate) fn short(end: u64) -> Problem {
        Problem::new(SHORT, format!("the file ends before byte {end}"))
    }

    fn of(error: &io::Error) -> Problem {
        let slug = match (error.kind(), error.raw_os_error()) {
            (ErrorKind::NotFound, _) => "gone",
            (_, Some(libc::ELOOP | libc::ENXIO)) => "not_regular",
            (ErrorKind::InvalidData, None) => "broken",
            // The compressed data ends too early.
            (ErrorKind::UnexpectedEof, None) => SHORT,
            _ => UNREADABLE,
        };
        Problem::new(slug, error.to_string())
    }
}

/// An open file.
pub enum Source {
    /// Read at any position.
    Plain(Arc<File>),
    /// Read on from its position.
    Gzip(Box<Gzip>),
}

impl Source {
    /// Open a file to be read from `start` on; return its inode, 0 when it cannot be opened, and the source. `kept` is
    /// the decompressor of an earlier call for this path.
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
            Some(kept) if kept.position() <= start => kept,
            _ => Box::new(Gzip::new(file, identity)),
        };
        let skipped = gzip.skip_to(start).map_err(|error| Problem::of(&error));
        (identity.inode, skipped.map(|()| Source::Gzip(gzip)))
    }

    /// Fill the buffer from a position on; return the bytes read, fewer only at the end of the file. A compressed file
    /// is read in order.
    pub fn read(&mut self, position: u64, buffer: &mut [u8]) -> Result<usize, Problem> {
        match self {
            Source::Plain(file) => {
                read_at(file, position, buffer).map_err(|error| Problem::of(&error))
            }
            Source::Gzip(gzip) => gzip.read(buffer).map_err(|error| Problem::of(&error)),
        }
    }
}
