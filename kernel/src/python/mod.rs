//! The module `upswell.kernel._kernel`; its stub is the contract and the documentation.
//!
//! No other folder knows Python, except that `RangeSpec` reads Python's `Range`.
//!
//! - `arguments` converts arguments; `functions` are functions over bytes and files.
//! - `reference`, `ledger`, `scanner` and `split` are the classes.

// The stub documents what Python sees. PyO3 calls these functions, and sets their signatures.
#![allow(
    missing_docs,
    clippy::needless_pass_by_value,
    clippy::unnecessary_wraps,
    clippy::type_complexity
)]

mod arguments;
mod functions;
mod ledger;
mod reference;
mod scanner;
mod split;

use pyo3::prelude::*;

#[pymodule]
mod _kernel {
    #[pymodule_export]
    use super::functions::{
        check_gzip, count_lines, crc64, digest, first_record, forget_in, parse_lines, search,
    };
    #[pymodule_export]
    use super::ledger::{PyLedger, PyTotal};
    #[pymodule_export]
    use super::reference::{PyClock, PyPolicy, PyRules, PySegment, PySegmentReport};
    #[pymodule_export]
    use super::scanner::{PyProcessed, PyScanned, PyScanner};
    #[pymodule_export]
    use super::split::{PySplitScanner, gather, step};
    use crate::ledger::shard::SHARDS;
    use crate::scan::grammar::LINE_BYTES_MAX;
    use crate::scan::outcome::{OUTCOMES, REASONS};
    use crate::scan::path::ScanPath;
    use pyo3::prelude::*;
    use pyo3::types::PyTuple;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        let py = module.py();
        module.add("VERSION", env!("CARGO_PKG_VERSION"))?;
        module.add("SOURCE_DIGEST", env!("UPSWELL_SOURCE_DIGEST"))?;
        module.add("OUTCOMES", PyTuple::new(py, OUTCOMES)?)?;
        module.add("REASONS", PyTuple::new(py, REASONS)?)?;
        module.add("LINE_BYTES_MAX", LINE_BYTES_MAX)?;
        module.add("SHARDS", SHARDS)?;
        module.add(
            "PATHS",
            PyTuple::new(py, ScanPath::available().into_iter().map(ScanPath::name))?,
        )
    }
}
