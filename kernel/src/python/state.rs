//! The ledger.

use super::broken;
use super::reference::forgotten_of;
use crate::ledger::{Item, Ledger};
use crate::loading::{Kept, Loading};
use crate::msisdn;
use crate::shard::SHARDS;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

#[pyclass(name = "Ledger", module = "upswell._kernel")]
#[derive(Default)]
pub(super) struct PyLedger(pub(super) Ledger);

/// Bases that are in memory at once while they are loaded: some for each thread.
const LOADED_AT_ONCE: usize = 16;

fn slices(blobs: &[(u64, PyBackedBytes)]) -> Vec<Kept<'_>> {
    blobs
        .iter()
        .map(|(batch, blob)| (*batch, &**blob))
        .collect()
}

fn check_shard(index: usize) -> PyResult<()> {
    if index < SHARDS {
        Ok(())
    } else {
        Err(broken(format!("there is no shard {index}")))
    }
}

fn key_of(msisdn: &str) -> PyResult<u64> {
    msisdn::key_of(msisdn.as_bytes()).ok_or_else(|| broken("not an msisdn of 5 to 15 digits"))
}

#[pymethods]
impl PyLedger {
    #[new]
    fn new() -> PyLedger {
        PyLedger::default()
    }

    #[staticmethod]
    fn load(
        py: Python<'_>,
        bases: &Bound<'_, PyAny>,
        deltas: Vec<(u64, PyBackedBytes)>,
        day_open: u32,
        threads: usize,
    ) -> PyResult<PyLedger> {
        let deltas = slices(&deltas);
        let loading = py.detach(|| Loading::new(&deltas, day_open, threads));
        let mut loading = loading.map_err(broken)?;
        let mut bases = bases.try_iter()?;
        loop {
            let some: Vec<(u64, PyBackedBytes)> = bases
                .by_ref()
                .take(LOADED_AT_ONCE)
                .map(|base| base?.extract())
                .collect::<PyResult<_>>()?;
            if some.is_empty() {
                break;
            }
            py.detach(|| loading.add(&slices(&some))).map_err(broken)?;
        }
        py.detach(|| loading.finish()).map(PyLedger).map_err(broken)
    }

    fn shard<'py>(&self, py: Python<'py>, index: usize) -> PyResult<Bound<'py, PyBytes>> {
        check_shard(index)?;
        let ledger = &self.0;
        Ok(PyBytes::new(py, &py.detach(|| ledger.shard_blob(index))))
    }

    fn shard_bytes(&self, index: usize) -> PyResult<usize> {
        check_shard(index)?;
        Ok(self.0.shard_blob_bytes(index))
    }

    fn drop_before(&mut self, day_open: u32) {
        self.0.drop_before(day_open);
    }

    fn add_cap(&mut self, msisdn: &str, application: &str, day: u32) -> PyResult<()> {
        self.0
            .add_cap(key_of(msisdn)?, application, day)
            .ok_or_else(|| broken("too many open applications and days"))
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
    ) -> Vec<Item> {
        py.detach(|| self.0.nearest(window, threshold, most))
    }

    #[pyo3(signature = (msisdn = None))]
    fn items(&self, msisdn: Option<&str>) -> PyResult<Vec<Item>> {
        Ok(self.0.items_of(msisdn.map(key_of).transpose()?))
    }

    #[pyo3(signature = (msisdn = None))]
    fn caps(&self, msisdn: Option<&str>) -> PyResult<Vec<(String, String, u32)>> {
        Ok(self.0.caps_of(msisdn.map(key_of).transpose()?))
    }
}
