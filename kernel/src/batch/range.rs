//! One range: bytes of one file, and what reading them needs.

/// Bytes of one file that are to be read.
///
/// Python's `upswell.kernel.Range` has the same attributes, which are read by name.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "python", derive(pyo3::FromPyObject))]
pub struct RangeSpec {
    /// The file's name in encoded rejects.
    pub name: String,
    /// The path of the file.
    pub path: Vec<u8>,
    /// The file is gzip.
    pub compressed: bool,
    /// First byte.
    pub start: u64,
    /// The bytes before it may be read.
    pub end: u64,
    /// An unterminated last line is consumed, too.
    #[cfg_attr(feature = "python", pyo3(attribute("final")))]
    pub is_final: bool,
    /// 0: a line starts at `start`; 1: it continues a line that was consumed unterminated; 2: the same, and that
    /// line ended in `\r`.
    pub tail: u8,
    /// Line ends before `start`.
    pub newlines: u64,
    /// CRC of the bytes before `start`.
    pub digest: u64,
    /// A later date, as written, is `future`.
    pub day_max: u32,
    /// An earlier day is `late`.
    pub day_open: u32,
    /// Bytes of encoded rejects that may still be kept.
    pub rejects_left_bytes: u64,
}

/// The days that records of a range may have.
#[derive(Clone, Copy, Debug)]
pub struct Days {
    /// A later date, as written, is `future`.
    pub max: u32,
    /// An earlier day is `late`.
    pub open: u32,
}

impl RangeSpec {
    /// Refuse a range that cannot exist; Err says why.
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

    /// Return the days that its records may have.
    pub fn days(&self) -> Days {
        Days {
            max: self.day_max,
            open: self.day_open,
        }
    }
}
