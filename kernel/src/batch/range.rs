//! What is asked of the reading of one file.

/// What the caller asks to be read.
///
/// Python's `upswell.kernel.Range` has these attributes.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "python", derive(pyo3::FromPyObject))]
pub struct RangeSpec {
    /// What rejects carry.
    pub name: String,
    /// The file.
    pub path: Vec<u8>,
    /// It is gzip.
    pub compressed: bool,
    /// First byte.
    pub start: u64,
    /// The bytes before it may be read.
    pub end: u64,
    /// An unterminated last line is taken, too.
    #[cfg_attr(feature = "python", pyo3(attribute("final")))]
    pub last: bool,
    /// 0: a line starts at `start`; 1: it continues a line that was taken; 2: likewise, and that ended in `\r`.
    pub tail: u8,
    /// Line ends before `start`.
    pub newlines: u64,
    /// CRC of the bytes before `start`.
    pub digest: u64,
    /// A later date as written is `future`.
    pub day_max: u32,
    /// An earlier day is `late`.
    pub day_open: u32,
    /// Bytes of encoded rejects that may still be kept.
    pub rejects_left_bytes: u64,
}

/// The days of a range.
#[derive(Clone, Copy, Debug)]
pub struct Days {
    /// A later date as written is `future`.
    pub max: u32,
    /// An earlier day is `late`.
    pub open: u32,
}

impl RangeSpec {
    /// Err: it says what cannot be.
    pub fn check(&self) -> Result<(), String> {
        let RangeSpec {
            start, end, tail, ..
        } = self;
        if *tail > 2 || end < start || (*tail != 0 && *start == 0) {
            return Err(format!(
                "a range of tail {tail} over bytes {start} to {end}"
            ));
        }
        Ok(())
    }

    /// Its days.
    pub fn days(&self) -> Days {
        Days {
            max: self.day_max,
            open: self.day_open,
        }
    }
}
