//! What Python passes, as the kernel takes it.

use crate::batch::range::RangeSpec;
use crate::batch::scanner as process;
use crate::scan::path::Path;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

pub(super) fn broken(message: impl Into<String>) -> PyErr {
    PyValueError::new_err(message.into())
}

pub(super) fn path_of(name: &str) -> PyResult<Path> {
    Path::named(name).ok_or_else(|| broken(format!("{name:?} is no scanner path of this CPU")))
}

const PATH_VARIABLE: &str = "UPSWELL_KERNEL_PATH";
const PIECE_BYTES_VARIABLE: &str = "UPSWELL_KERNEL_PIECE_BYTES";

fn variable<T>(name: &str, default: T, parse: impl Fn(&str) -> PyResult<T>) -> PyResult<T> {
    match std::env::var(name) {
        Ok(text) if !text.is_empty() => parse(&text),
        _ => Ok(default),
    }
}

pub(super) fn path_in_force() -> PyResult<Path> {
    variable(PATH_VARIABLE, Path::available()[0], path_of)
}

pub(super) fn piece_bytes_in_force() -> PyResult<usize> {
    variable(PIECE_BYTES_VARIABLE, process::PIECE_BYTES, |text| {
        text.parse()
            .map_err(|_| broken(format!("{PIECE_BYTES_VARIABLE}={text:?} is no number")))
    })
}

/// Whether the measure adds volumes up.
pub(super) fn adds_of(measure: &str) -> PyResult<bool> {
    match measure {
        "total" => Ok(true),
        "session" => Ok(false),
        _ => Err(broken(format!("{measure:?} is no measure"))),
    }
}

type RangeTuple = (
    String,
    Vec<u8>,
    bool,
    u64,
    u64,
    bool,
    u8,
    u64,
    u64,
    u32,
    u32,
    u64,
);

/// What Python says of a range.
pub(super) struct RangeSpecOf(pub(super) RangeSpec);

impl<'a, 'py> FromPyObject<'a, 'py> for RangeSpecOf {
    type Error = PyErr;

    fn extract(range: Borrowed<'a, 'py, PyAny>) -> PyResult<RangeSpecOf> {
        spec_of(&range).map(RangeSpecOf)
    }
}

fn spec_of(range: &Bound<'_, PyAny>) -> PyResult<RangeSpec> {
    let (
        name,
        path,
        compressed,
        start,
        end,
        last,
        tail,
        newlines,
        digest,
        day_max,
        day_open,
        rejects_left_bytes,
    ) = range.extract::<RangeTuple>()?;
    if tail > 2 || end < start || (tail != 0 && start == 0) {
        return Err(broken(format!(
            "a range of tail {tail} over bytes {start} to {end}"
        )));
    }
    Ok(RangeSpec {
        name,
        path,
        compressed,
        start,
        end,
        last,
        tail,
        newlines,
        digest,
        day_max,
        day_open,
        rejects_left_bytes,
    })
}
