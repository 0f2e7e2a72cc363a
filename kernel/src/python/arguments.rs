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
const CHUNK_BYTES_VARIABLE: &str = "UPSWELL_KERNEL_CHUNK_BYTES";

fn variable<T>(name: &str, default: T, parse: impl Fn(&str) -> PyResult<T>) -> PyResult<T> {
    match std::env::var(name) {
        Ok(text) if !text.is_empty() => parse(&text),
        _ => Ok(default),
    }
}

pub(super) fn path_in_force() -> PyResult<Path> {
    variable(PATH_VARIABLE, Path::available()[0], path_of)
}

pub(super) fn chunk_bytes_in_force() -> PyResult<usize> {
    variable(CHUNK_BYTES_VARIABLE, process::CHUNK_BYTES, |text| {
        text.parse()
            .map_err(|_| broken(format!("{CHUNK_BYTES_VARIABLE}={text:?} is no number")))
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

/// A range that can be.
pub(super) struct PyRange(pub(super) RangeSpec);

impl<'a, 'py> FromPyObject<'a, 'py> for PyRange {
    type Error = PyErr;

    fn extract(range: Borrowed<'a, 'py, PyAny>) -> PyResult<PyRange> {
        let range: RangeSpec = range.extract()?;
        range.check().map_err(broken)?;
        Ok(PyRange(range))
    }
}
