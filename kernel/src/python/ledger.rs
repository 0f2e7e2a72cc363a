//! The ledger, and the loading of one from blobs that Python reads.

use super::arguments::contract_error;
use super::reference::forgotten_of;
use crate::ledger::loading::{Loading, StoredBlob};
use crate::ledger::shard::SHARDS;
use crate::ledger::{Ledger, Total};
use crate::threads::lock;
use crate::types::msisdn;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyIterator};
use std::panic::resume_unwind;
use std::sync::Mutex;
use std::thread;

#[pyclass(name = "Ledger", module = "upswell.kernel._kernel")]
#[derive(Default)]
pub(super) struct PyLedger(pub(super) Ledger);

#[pyclass(frozen, eq, name = "LedgerTotal", module = "upswell.kernel._kernel")]
#[derive(PartialEq)]
pub(super) struct PyTotal(Total);

#[pymethods]
impl PyTotal {
    #[getter]
    fn key(&self) -> (&str, u32, u16, u16, u32) {
        let Total {
            msisdn,
            service,
            start_min,
            end_min,
            day,
            ..
        } = &self.0;
        (msisdn, *service, *start_min, *end_min, *day)
    }

    #[getter]
    fn msisdn(&self) -> &str {
        &self.0.msisdn
    }

    #[getter]
    fn service(&self) -> u32 {
        self.0.service
    }

    #[getter]
    fn start_min(&self) -> u16 {
        self.0.start_min
    }

    #[getter]
    fn end_min(&self) -> u16 {
        self.0.end_min
    }

    #[getter]
    fn day(&self) -> u32 {
        self.0.day
    }

    #[getter]
    fn total(&self) -> u64 {
        self.0.total
    }

    #[getter]
    fn fired(&self) -> bool {
        self.0.fired
    }
}

/// Bytes of blobs that are loaded together: some for each thread. As many are read meanwhile.
const LOADED_BYTES: usize = 16 << 20;

type Blobs = Vec<(u64, PyBackedBytes)>;

/// Return the next blobs, up to `LOADED_BYTES` but at least one; none after the last.
fn next_blobs(blobs: &mut Bound<'_, PyIterator>) -> PyResult<Blobs> {
    let (mut some, mut bytes) = (Vec::new(), 0);
    while bytes < LOADED_BYTES
        && let Some(blob) = blobs.next()
    {
        let blob: (u64, PyBackedBytes) = blob?.extract()?;
        bytes += blob.1.len();
        some.push(blob);
    }
    Ok(some)
}

/// Pass all blobs to `load`, some at a time; with more than one thread, the next are read meanwhile.
fn load_all(
    blobs: &Bound<'_, PyAny>,
    threads: usize,
    load: impl FnMut(&[StoredBlob]) -> Result<(), String> + Send,
) -> PyResult<()> {
    let py = blobs.py();
    let load = Mutex::new(load);
    let mut blobs = blobs.try_iter()?;
    let mut some = next_blobs(&mut blobs)?;
    while !some.is_empty() {
        let kept: Vec<StoredBlob> = some.iter().map(|(batch, blob)| (*batch, &**blob)).collect();
        let load_some = || lock(&load)(&kept);
        let (loaded, next) = thread::scope(|scope| {
            let loading = (threads > 1)
                .then(|| thread::Builder::new().spawn_scoped(scope, load_some).ok())
                .flatten();
            let Some(loading) = loading else {
                // With one thread, or when no other can be started, one after the other.
                return (py.detach(load_some), next_blobs(&mut blobs));
            };
            let next = next_blobs(&mut blobs);
            let loaded = py.detach(|| loading.join());
            (loaded.unwrap_or_else(|panic| resume_unwind(panic)), next)
        });
        loaded.map_err(contract_error)?;
        some = next?;
    }
    Ok(())
}

fn check_shard(index: usize) -> PyResult<()> {
    if index < SHARDS {
        Ok(())
    } else {
        Err(contract_error(format!("there is no shard {index}")))
    }
}

fn key_of(msisdn: &str) -> PyResult<u64> {
    msisdn::key_of(msisdn.as_bytes())
        .ok_or_else(|| contract_error("not an msisdn of 5 to 15 digits"))
}

#[pymethods]
impl PyLedger {
    #[new]
    fn new() -> PyLedger {
        PyLedger::default()
    }

    #[staticmethod]
    #[pyo3(signature = (bases, deltas, day_open, threads, delta_bytes = 0))]
    fn load(
        bases: &Bound<'_, PyAny>,
        deltas: &Bound<'_, PyAny>,
        day_open: u32,
        threads: usize,
        delta_bytes: usize,
    ) -> PyResult<PyLedger> {
        let mut loading = Loading::new(day_open, threads, delta_bytes);
        load_all(bases, threads, |some| loading.add_bases(some))?;
        load_all(deltas, threads, |some| loading.add_deltas(some))?;
        Ok(PyLedger(loading.finish()))
    }

    fn shard<'py>(&self, py: Python<'py>, index: usize) -> PyResult<Bound<'py, PyBytes>> {
        check_shard(index)?;
        let ledger = &self.0;
        Ok(PyBytes::new(py, &py.detach(|| ledger.shard_blob(index))))
    }

    fn drop_before(&mut self, day_open: u32) {
        self.0.drop_before(day_open);
    }

    fn add_cap(&mut self, msisdn: &str, application: &str, day: u32) -> PyResult<()> {
        self.0
            .add_cap(key_of(msisdn)?, application, day)
            .ok_or_else(|| contract_error("too many open applications and days"))
    }

    fn take_delta<'py>(&mut self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let ledger = &mut self.0;
        let delta = py.detach(|| ledger.take_delta(1));
        PyBytes::new(py, &delta)
    }

    fn forget(&mut self, py: Python<'_>, key: PyBackedBytes, hashes: Vec<u64>) -> PyResult<()> {
        let forgotten = forgotten_of(&key, hashes)?;
        let ledger = &mut self.0;
        py.detach(|| ledger.forget(&forgotten));
        Ok(())
    }

    #[pyo3(signature = (count, points = 0))]
    fn branch(&mut self, py: Python<'_>, count: usize, points: usize) {
        let ledger = &mut self.0;
        py.detach(|| ledger.branch(count, points));
    }

    fn take_branches(&mut self) -> Vec<PyLedger> {
        self.0.take_branches().into_iter().map(PyLedger).collect()
    }

    fn entries(&self) -> (u64, u64) {
        self.0.entries()
    }

    fn memory_bytes(&self) -> usize {
        self.0.memory_bytes()
    }

    fn nearest(
        &self,
        py: Python<'_>,
        window: (u32, u16, u16),
        threshold: u64,
        most: usize,
    ) -> Vec<PyTotal> {
        let nearest = py.detach(|| self.0.nearest(window, threshold, most));
        nearest.into_iter().map(PyTotal).collect()
    }

    #[pyo3(signature = (msisdn = None))]
    fn totals(&self, msisdn: Option<&str>) -> PyResult<Vec<PyTotal>> {
        let totals = self.0.totals_of(msisdn.map(key_of).transpose()?);
        Ok(totals.into_iter().map(PyTotal).collect())
    }

    #[pyo3(signature = (msisdn = None))]
    fn caps(&self, msisdn: Option<&str>) -> PyResult<Vec<(String, String, u32)>> {
        Ok(self.0.caps_of(msisdn.map(key_of).transpose()?))
    }
}
