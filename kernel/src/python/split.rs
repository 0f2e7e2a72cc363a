//! Batches in tasks: the scanner of a split, the step of a shard, and the result put together from both.

use super::arguments::{PyRange, active_chunk_bytes, active_path, adds_volumes, contract_error};
use super::ledger::PyLedger;
use super::reference::{PyClock, PyPolicy, PyRules, PySegment};
use super::scanner::PyProcessed;
use crate::ledger::decide::Terms;
use crate::ledger::shard::SHARDS;
use crate::rules::policy::Policy;
use crate::split::candidates::SplitId;
use crate::split::gather::{Gathered, ReportedSplit};
use crate::split::{ShardBlob, Split, SplitScanner};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

#[pyclass(name = "SplitScanner", module = "upswell.kernel._kernel")]
pub(super) struct PySplitScanner {
    scanner: SplitScanner,
    segment: Py<PySegment>,
    rules: Py<PyRules>,
    policy: Option<Py<PyPolicy>>,
    /// Blobs of the last pass that are still to be returned.
    blobs: std::vec::IntoIter<ShardBlob>,
}

#[pymethods]
impl PySplitScanner {
    #[new]
    #[allow(clippy::too_many_arguments)]
    #[pyo3(signature = (range, split, bounds, shards, clock, segment, rules, policy = None))]
    fn new(
        py: Python<'_>,
        range: PyRange,
        split: (u32, u32),
        bounds: (u64, u64),
        shards: usize,
        clock: &PyClock,
        segment: Py<PySegment>,
        rules: Py<PyRules>,
        policy: Option<Py<PyPolicy>>,
    ) -> PyResult<PySplitScanner> {
        let (begin, end) = bounds;
        let id = split_id(split);
        let split = Split { id, begin, end };
        let (clock, path, chunk_bytes) = (clock.clock()?, active_path()?, active_chunk_bytes()?);
        let scanner = py
            .detach(|| SplitScanner::new(&range.0, split, shards, clock, path, chunk_bytes))
            .map_err(contract_error)?;
        Ok(PySplitScanner {
            scanner,
            segment,
            rules,
            policy,
            blobs: Vec::new().into_iter(),
        })
    }

    fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __next__<'py>(&mut self, py: Python<'py>) -> PyResult<Option<(usize, Bound<'py, PyBytes>)>> {
        let (segment, rules) = (&self.segment.get().0, &self.rules.get().0);
        let off = Policy::default();
        let policy = self.policy.as_ref().map_or(&off, |policy| &policy.get().0);
        loop {
            if let Some((shard, blob)) = self.blobs.next() {
                return Ok(Some((shard, PyBytes::new(py, &blob))));
            }
            let scanner = &mut self.scanner;
            let blobs = py.detach(|| scanner.next_pass(segment, rules, policy));
            match blobs.map_err(contract_error)? {
                Some(blobs) => self.blobs = blobs.into_iter(),
                None => return Ok(None),
            }
        }
    }

    fn report<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.scanner.report())
    }
}

fn split_id((range, number): (u32, u32)) -> SplitId {
    SplitId { range, number }
}

#[pyfunction]
#[allow(clippy::too_many_arguments)]
#[pyo3(signature = (ledger, shard, shards, measure, rules, blobs, policy = None))]
pub(super) fn step<'py>(
    py: Python<'py>,
    ledger: &mut PyLedger,
    shard: usize,
    shards: usize,
    measure: &str,
    rules: &PyRules,
    blobs: Vec<PyBackedBytes>,
    policy: Option<&PyPolicy>,
) -> PyResult<Bound<'py, PyBytes>> {
    if !shards.is_power_of_two() || shards > SHARDS || shard >= shards {
        return Err(contract_error(format!(
            "there is no shard {shard} of {shards}"
        )));
    }
    let of_one = SHARDS / shards;
    let owned = shard * of_one..(shard + 1) * of_one;
    let off = Policy::default();
    let terms = Terms {
        rules: &rules.0,
        policy: policy.map_or(&off, |policy| &policy.0),
        adds: adds_volumes(measure)?,
    };
    let ledger = &mut ledger.0;
    let report = py.detach(|| {
        let blobs: Vec<&[u8]> = blobs.iter().map(|blob| &**blob).collect();
        crate::split::step::step(ledger, owned, terms, &blobs)
    });
    Ok(PyBytes::new(py, &report.map_err(contract_error)?))
}

/// The result of `gather`.
#[derive(IntoPyObject)]
#[allow(clippy::large_enum_variant)] // there is one of them at a time, and it goes at once
pub(super) enum PyGathered {
    Whole(Py<PyProcessed>),
    Cut((usize, u64)),
}

/// A split with its report: range, split, begin, end, report.
type ReportedTuple = (u32, u32, u64, u64, PyBackedBytes);

#[pyfunction]
pub(super) fn gather(
    py: Python<'_>,
    ranges: Vec<PyRange>,
    splits: Vec<ReportedTuple>,
    decided: Vec<PyBackedBytes>,
    rules: &PyRules,
) -> PyResult<PyGathered> {
    let gathered = py.detach(|| {
        let ranges: Vec<_> = ranges.into_iter().map(|range| range.0).collect();
        let splits: Vec<_> = splits
            .iter()
            .map(|(range, number, begin, end, report)| ReportedSplit {
                id: split_id((*range, *number)),
                begin: *begin,
                end: *end,
                report,
            })
            .collect();
        let decided: Vec<&[u8]> = decided.iter().map(|report| &**report).collect();
        crate::split::gather::gather(&ranges, &splits, &decided, &rules.0)
    });
    match gathered.map_err(contract_error)? {
        Gathered::Whole(done) => Ok(PyGathered::Whole(Py::new(
            py,
            PyProcessed::new(py, *done)?,
        )?)),
        Gathered::Cut(cut) => Ok(PyGathered::Cut((cut.range, cut.end))),
    }
}
