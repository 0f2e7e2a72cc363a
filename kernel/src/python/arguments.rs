//! Arguments from Python, converted to what the kernel takes.

use crate::batch::range::RangeSpec;
use crate::batch::scanner::CHUNK_BYTES;
use crate::scan::path::ScanPath;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// The error of a caller that broke the contract.
pub(super) fn contract_error(message: impl Into<String>) -> PyErr {
    PyValueError::new_err(message.into())
}

pub(super) fn named_path(name: &str) -> PyResult<ScanPath> {
    ScanPath::named(name)
        .ok_or_else(|| contract_error(format!("{name:?} is not a scanner path of this CPU")))
}

const PATH_VARIABLE: &str = "UPSWELL_KERNEL_PATH";
const CHUNK_BYTES_VARIABLE: &str = "UPSWELL_KERNEL_CHUNK_BYTES";

fn variable<T>(name: &str, default: T, parse: impl Fn(&str) -> PyResult<T>) -> PyResult<T> {
    match std::env::var(name) {
        Ok(text) if !text.is_empty() => parse(&text),
        _ => Ok(default),
    }
}

pub(super) fn active_path() -> PyResult<ScanPath> {
    variable(PATH_VARIABLE, ScanPath::available()[0], named_path)
}

pub(super) fn active_chunk_bytes() -> PyResult<usize> {
    variable(CHUNK_BYTES_VARIABLE, CHUNK_BYTES, |text| {
        text.parse()
            .map_err(|_| contract_error(format!("{CHUNK_BYTES_VARIABLE}={text:?} is not a number")))
    })
}

/// Return true when the measure adds volumes up.
pub(super) fn adds_volumes(measure: &str) -> PyResult<bool> {
    match measure {
        "total" => Ok(true),
        "session" => Ok(false),
        _ => Err(contract_error(format!("{measure:?} is not a measure"))),
    }
}

/// A range that was checked.
pub(super) struct PyRange(pub(super) RangeSpec);

impl<'a, 'py> FromPyObject<'a, 'py> for PyRange {
    type Error = PyErr;

    fn extract(range: Borrowed<'a, 'py, PyAny>) -> PyResult<PyRange> {
        let range: RangeSpec = range.extract()?;
        range.check().map_err(contract_error)?;
        Ok(PyRange(range))
    }
}
