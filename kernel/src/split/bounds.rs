//! Finds the lines of a split: from the first line start at or after its begin to the first at or after its end.
//!
//! A line that is longer than some splits is read to its end by its owner alone: the others find no line start within
//! their bounds, and look no further.

use crate::batch::pass::Opened;
use crate::batch::range::RangeSpec;
use crate::input::source::{Problem, Source};

/// Bytes read at a time to find a line start: a few hundred lines of usual length.
const LOOK_BYTES: usize = 16 << 10;

/// Return the bytes of the lines that start in [begin, end), None when there are none, and the file of the range, if it
/// had to be opened.
pub(crate) fn find(
    range: &RangeSpec,
    begin: u64,
    end: u64,
    chunk_bytes: usize,
) -> (Opened, Result<Option<(u64, u64)>, Problem>) {
    if (begin, end) == (range.start, range.end) {
        return (Opened::default(), Ok(Some((begin, end))));
    }
    let (inode, opened) = Source::open(&range.path, range.compressed, begin, None);
    let (source, bounds) = match opened {
        Ok(source) => {
            let mut search = BoundsSearch {
                source,
                range,
                buffer: vec![0; LOOK_BYTES.min(chunk_bytes.max(1))],
            };
            let bounds = search.bounds(begin, end);
            (Some(Ok(search.source)), bounds)
        }
        Err(problem) => (None, Err(problem)),
    };
    let opened = Opened {
        inode,
        tried: true,
        source,
    };
    (opened, bounds)
}

/// A search for line starts.
struct BoundsSearch<'a> {
    source: Source,
    range: &'a RangeSpec,
    buffer: Vec<u8>,
}

/// The first line start within some bounds.
enum Start {
    At(u64),
    /// There is none within the bounds.
    Beyond,
    /// The file ends before the bounds do.
    Short,
}

impl BoundsSearch<'_> {
    /// Return the bytes of the lines that start in [begin, end); None when there are none.
    fn bounds(&mut self, begin: u64, end: u64) -> Result<Option<(u64, u64)>, Problem> {
        let mut from = begin;
        if begin > self.range.start {
            match self.first(begin, end)? {
                Start::At(start) => from = start,
                Start::Beyond => return Ok(None),
                Start::Short => return Err(Problem::short(self.range.end)),
            }
        }
        // An end of the file before that is met again when the lines are read.
        let to = match self.first(end, self.range.end)? {
            Start::At(start) => start,
            Start::Beyond | Start::Short => self.range.end,
        };
        Ok(Some((from, to)))
    }

    /// Find the first line start in [from, to): it follows the first `\n` at or after the byte before `from`.
    fn first(&mut self, from: u64, to: u64) -> Result<Start, Problem> {
        let mut position = from.saturating_sub(1);
        while position + 1 < to {
            let wanted = self.buffer.len().min((to - 1 - position) as usize);
            let read = self.source.read(position, &mut self.buffer[..wanted])?;
            if let Some(at) = memchr::memchr(b'\n', &self.buffer[..read]) {
                return Ok(Start::At(position + at as u64 + 1));
            }
            if read < wanted {
                return Ok(Start::Short);
            }
            position += read as u64;
        }
        Ok(Start::Beyond)
    }
}
