//! The scanner and its result.

use super::arguments::{PyRange, active_chunk_bytes, active_path, adds_volumes, contract_error};
use super::ledger::PyLedger;
use super::reference::{PyClock, PyPolicy, PyRules, PySegment};
use crate::batch::job::{Branch, Emissions, Job, Notification, Processed};
use crate::batch::progress::Progress;
use crate::batch::scanner::Scanner;
use crate::ledger::points::Counts;
use crate::rules::policy::Policy;
use crate::types::msisdn;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use std::time::Duration;

#[pyclass(frozen, name = "Scanned", module = "upswell.kernel._kernel")]
pub(super) struct PyScanned {
    #[pyo3(get)]
    inode: u64,
    progress: Progress,
}

#[pymethods]
impl PyScanned {
    #[getter]
    fn end(&self) -> u64 {
        self.progress.consumed
    }

    #[getter]
    fn complete(&self) -> bool {
        self.progress.complete
    }

    #[getter]
    fn newlines(&self) -> u64 {
        self.progress.newlines
    }

    #[getter]
    fn digest(&self) -> u64 {
        self.progress.digest()
    }

    #[getter]
    fn tail(&self) -> u8 {
        self.progress.tail
    }

    #[getter]
    fn outcomes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.progress.outcomes)
    }

    #[getter]
    fn rejects<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.progress.reasons)
    }

    #[getter]
    fn lines(&self) -> u64 {
        self.progress.lines
    }

    #[getter]
    fn rejects_kept_bytes(&self) -> u64 {
        self.progress.kept_bytes
    }

    #[getter]
    fn rejects_dropped(&self) -> Option<(u64, u64, u64)> {
        self.progress.dropped
    }

    #[getter]
    fn problem(&self) -> Option<&str> {
        self.progress.problem.as_ref().map(|problem| problem.slug)
    }

    #[getter]
    fn problem_detail(&self) -> &str {
        self.progress
            .problem
            .as_ref()
            .map_or("", |problem| &problem.detail)
    }
}

#[pyclass(frozen, name = "Result", module = "upswell.kernel._kernel")]
pub(super) struct PyProcessed {
    #[pyo3(get)]
    ranges: Vec<Py<PyScanned>>,
    #[pyo3(get)]
    rejects: Py<PyBytes>,
    #[pyo3(get)]
    delta: Py<PyBytes>,
    done: Processed,
}

impl PyProcessed {
    pub(super) fn new(py: Python<'_>, mut done: Processed) -> PyResult<PyProcessed> {
        let ranges = std::mem::take(&mut done.ranges)
            .into_iter()
            .map(|begun| {
                Py::new(
                    py,
                    PyScanned {
                        inode: begun.inode,
                        progress: begun.progress,
                    },
                )
            })
            .collect::<PyResult<_>>()?;
        // These are large, so the kernel's copy is freed at once.
        let bytes_of = |own: Vec<u8>| PyBytes::new(py, &own).unbind();
        Ok(PyProcessed {
            ranges,
            rejects: bytes_of(std::mem::take(&mut done.rejects)),
            delta: bytes_of(std::mem::take(&mut done.delta)),
            done,
        })
    }

    fn branch(&self, index: usize) -> PyResult<&Emissions> {
        let branch = self.done.branches.get(index);
        branch.ok_or_else(|| contract_error(format!("there is no branch {index}")))
    }
}

#[pymethods]
impl PyProcessed {
    #[getter]
    fn outputs<'py>(&self, py: Python<'py>) -> Vec<OutputTuple<'py>> {
        outputs(py, &self.done.sent)
    }

    #[getter]
    fn notifications<'py>(&self, py: Python<'py>) -> Vec<NotificationTuple<'py>> {
        notifications(py, &self.done.sent)
    }

    #[getter]
    fn control_outputs<'py>(&self, py: Python<'py>) -> Vec<OutputTuple<'py>> {
        outputs(py, &self.done.control)
    }

    #[getter]
    fn control_notifications<'py>(&self, py: Python<'py>) -> Vec<NotificationTuple<'py>> {
        notifications(py, &self.done.control)
    }

    fn branch_notifications<'py>(
        &self,
        py: Python<'py>,
        branch: usize,
    ) -> PyResult<Vec<NotificationTuple<'py>>> {
        Ok(notifications(py, self.branch(branch)?))
    }

    #[getter]
    fn point_counts(&self) -> Vec<Vec<(u32, u32, u64)>> {
        let counts = |counts: &Counts| {
            let counts = counts.iter();
            counts
                .map(|((day, application), n)| (*day, *application, *n))
                .collect()
        };
        self.done.points.iter().map(counts).collect()
    }

    #[getter]
    fn outside_over(&self) -> u64 {
        self.done.outside_over
    }

    #[getter]
    fn outside_over_example<'py>(
        &self,
        py: Python<'py>,
    ) -> Option<(usize, u64, Bound<'py, PyBytes>)> {
        let (range, byte, raw) = self.done.outside_over_example.as_ref()?;
        Some((*range, *byte, PyBytes::new(py, raw)))
    }

    #[getter]
    fn unmatched_example(&self) -> Option<&str> {
        self.done.unmatched_example.as_deref()
    }
}

type OutputTuple<'py> = (u32, Bound<'py, PyBytes>);
type NotificationTuple<'py> = (u32, u32, String, usize, u64, Bound<'py, PyBytes>);

fn outputs<'py>(py: Python<'py>, emissions: &Emissions) -> Vec<OutputTuple<'py>> {
    let outputs = emissions.outputs.iter();
    outputs
        .map(|(application, bytes)| (*application, PyBytes::new(py, bytes)))
        .collect()
}

fn notifications<'py>(py: Python<'py>, emissions: &Emissions) -> Vec<NotificationTuple<'py>> {
    let raw = |n: &Notification| &emissions.outputs[&n.application][n.at..n.at + n.length];
    let notifications = emissions.notifications.iter();
    notifications
        .map(|n| {
            let digits = msisdn::digits_of(n.msisdn);
            (
                n.day,
                n.application,
                digits,
                n.range,
                n.byte,
                PyBytes::new(py, raw(n)),
            )
        })
        .collect()
}

/// The rules and the policy of a branch.
type BranchTuple = (Py<PyRules>, Option<Py<PyPolicy>>);

fn branch_of<'a>((rules, policy): &'a BranchTuple, off: &'a Policy) -> Branch<'a> {
    Branch {
        rules: &rules.get().0,
        policy: policy.as_ref().map_or(off, |policy| &policy.get().0),
    }
}

#[pyclass(name = "Scanner", module = "upswell.kernel._kernel")]
pub(super) struct PyScanner(Scanner);

#[pymethods]
impl PyScanner {
    #[new]
    fn new(threads: usize, measure: &str, clock: &PyClock) -> PyResult<PyScanner> {
        Ok(PyScanner(Scanner::new(
            threads,
            adds_volumes(measure)?,
            clock.clock()?,
            active_path()?,
            active_chunk_bytes()?,
        )))
    }

    #[allow(clippy::too_many_arguments)]
    #[pyo3(signature = (ranges, segment, rules, ledger, output_bytes_max, work_ms_max, policy = None, branches = Vec::new(), points = Vec::new()))]
    fn process(
        &mut self,
        py: Python<'_>,
        ranges: Vec<PyRange>,
        segment: &PySegment,
        rules: &PyRules,
        ledger: &mut PyLedger,
        output_bytes_max: u64,
        work_ms_max: u64,
        policy: Option<&PyPolicy>,
        branches: Vec<BranchTuple>,
        points: Vec<BranchTuple>,
    ) -> PyResult<PyProcessed> {
        let off = Policy::default();
        let branches: Vec<_> = branches.iter().map(|one| branch_of(one, &off)).collect();
        let points: Vec<_> = points.iter().map(|one| branch_of(one, &off)).collect();
        let ranges: Vec<_> = ranges.into_iter().map(|range| range.0).collect();
        let job = Job {
            ranges: &ranges,
            segment: &segment.0,
            rules: &rules.0,
            policy: policy.map_or(&off, |policy| &policy.0),
            branches: &branches,
            points: &points,
            output_bytes_max,
            work_max: Duration::from_millis(work_ms_max),
        };
        let (scanner, ledger) = (&mut self.0, &mut ledger.0);
        let done = py
            .detach(|| scanner.process(&job, ledger))
            .map_err(contract_error)?;
        PyProcessed::new(py, done)
    }
}
