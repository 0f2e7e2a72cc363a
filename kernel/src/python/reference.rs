//! Segment, rules, policy and clock: immutable values.

use super::arguments::contract_error;
use crate::rules::Rules;
use crate::rules::policy::{Control, Forgotten, KEY_BYTES, Policy, SHARE_ALL};
use crate::segment::Segment;
use crate::types::clock::Clock;
use crate::types::msisdn;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;
use siphasher::sip::SipHasher24;
use std::collections::BTreeMap;
use std::sync::Arc;

#[pyclass(frozen, name = "Segment", module = "upswell.kernel._kernel")]
pub(super) struct PySegment(pub(super) Arc<Segment>);

#[pyclass(
    frozen,
    get_all,
    name = "SegmentReport",
    module = "upswell.kernel._kernel"
)]
pub(super) struct PySegmentReport {
    lines: u64,
    bad: u64,
    duplicates: u64,
    errors: Py<PyAny>,
}

#[pymethods]
impl PySegment {
    #[staticmethod]
    #[pyo3(signature = (files, errors_max = 1000))]
    fn parse(
        py: Python<'_>,
        files: Vec<PyBackedBytes>,
        errors_max: usize,
    ) -> PyResult<(PySegment, PySegmentReport)> {
        let (segment, report) = py.detach(|| {
            let files: Vec<&[u8]> = files.iter().map(|file| &**file).collect();
            Segment::parse(&files, errors_max)
        });
        let errors: Vec<_> = report
            .errors
            .iter()
            .map(|(file, line, reason, raw)| (file, line, reason, PyBytes::new(py, raw)))
            .collect();
        let errors = errors.into_pyobject(py)?.unbind();
        let report = PySegmentReport {
            lines: report.lines,
            bad: report.bad,
            duplicates: report.duplicates,
            errors,
        };
        Ok((PySegment(Arc::new(segment)), report))
    }

    #[staticmethod]
    fn decode(py: Python<'_>, encoded: PyBackedBytes) -> PyResult<PySegment> {
        let segment = py.detach(|| Segment::decode(&encoded));
        segment
            .map(|segment| PySegment(Arc::new(segment)))
            .ok_or_else(|| contract_error("the encoded segment is damaged"))
    }

    fn encode<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &py.detach(|| self.0.encode()))
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }

    fn __contains__(&self, msisdn: &str) -> bool {
        msisdn::key_of(msisdn.as_bytes()).is_some_and(|key| self.0.contains(msisdn::mix(key)))
    }

    fn diff(&self, py: Python<'_>, newer: &PySegment) -> (u64, u64) {
        py.detach(|| self.0.diff(&newer.0))
    }

    fn sample(&self, py: Python<'_>, n: usize) -> Vec<String> {
        py.detach(|| self.0.sample(n))
    }

    fn lengths(&self, py: Python<'_>) -> BTreeMap<usize, u64> {
        let lengths = py.detach(|| self.0.lengths());
        lengths
            .into_iter()
            .enumerate()
            .filter(|(_, count)| *count > 0)
            .collect()
    }

    fn memory_bytes(&self) -> usize {
        self.0.memory_bytes()
    }
}

#[pyclass(frozen, name = "Rules", module = "upswell.kernel._kernel")]
pub(super) struct PyRules(pub(super) Rules);

#[pymethods]
impl PyRules {
    #[new]
    fn new(rules: Vec<(u32, String, u16, u16, u64)>) -> PyResult<PyRules> {
        let lines: Vec<_> = rules
            .iter()
            .map(|(a, name, c, d, e)| (*a, name.as_str(), *c, *d, *e))
            .collect();
        Rules::new(&lines).map(PyRules).map_err(contract_error)
    }

    #[getter]
    fn applications(&self) -> Vec<&str> {
        self.0.applications.iter().map(|name| &**name).collect()
    }
}

#[pyclass(frozen, name = "Clock", module = "upswell.kernel._kernel")]
pub(super) struct PyClock(pub(super) Vec<(i64, i64)>);

#[pymethods]
impl PyClock {
    #[new]
    fn new(shifts: Vec<(i64, i64)>) -> PyResult<PyClock> {
        match Clock::new(shifts.clone()) {
            Some(_) => Ok(PyClock(shifts)),
            None => Err(contract_error("the clock's shifts do not ascend")),
        }
    }
}

impl PyClock {
    pub(super) fn clock(&self) -> PyResult<Clock> {
        Clock::new(self.0.clone()).ok_or_else(|| contract_error("the clock's shifts do not ascend"))
    }
}

#[pyclass(frozen, name = "Policy", module = "upswell.kernel._kernel")]
pub(super) struct PyPolicy(pub(super) Policy);

/// The arguments of `PyPolicy::new`.
type PolicyParts = (
    Option<PySegment>,
    Vec<([u8; KEY_BYTES], Vec<u64>)>,
    u64,
    u64,
    Option<[u8; KEY_BYTES]>,
);

fn hasher(key: &[u8]) -> PyResult<SipHasher24> {
    let key: [u8; KEY_BYTES] = key
        .try_into()
        .map_err(|_| contract_error(format!("a key of {} bytes", key.len())))?;
    Ok(SipHasher24::new_with_key(&key))
}

pub(super) fn forgotten_of(key: &[u8], hashes: Vec<u64>) -> PyResult<Forgotten> {
    Ok(Forgotten {
        hasher: hasher(key)?,
        hashes: hashes.into_iter().collect(),
    })
}

#[pymethods]
impl PyPolicy {
    #[new]
    #[pyo3(signature = (suppressed = None, forgotten = None, max_per_customer_per_day = 0, control_share = 0, control_key = None))]
    fn new(
        suppressed: Option<&PySegment>,
        forgotten: Option<Vec<(PyBackedBytes, Vec<u64>)>>,
        max_per_customer_per_day: u64,
        control_share: u64,
        control_key: Option<PyBackedBytes>,
    ) -> PyResult<PyPolicy> {
        if control_share > SHARE_ALL || (control_share > 0) != control_key.is_some() {
            return Err(contract_error("a control share without its key"));
        }
        let control = control_key.map(|key| {
            hasher(&key).map(|hasher| Control {
                hasher,
                share: control_share,
            })
        });
        Ok(PyPolicy(Policy {
            suppressed: suppressed.map(|list| list.0.clone()),
            forgotten: forgotten
                .unwrap_or_default()
                .into_iter()
                .map(|(key, hashes)| forgotten_of(&key, hashes))
                .collect::<PyResult<_>>()?,
            max_per_customer_per_day,
            control: control.transpose()?,
        }))
    }

    fn parts(&self) -> PolicyParts {
        let policy = &self.0;
        let forgotten = policy.forgotten.iter().map(|forgotten| {
            let mut hashes: Vec<u64> = forgotten.hashes.iter().copied().collect();
            hashes.sort_unstable();
            (forgotten.hasher.key(), hashes)
        });
        let control = policy.control.as_ref();
        (
            policy.suppressed.clone().map(PySegment),
            forgotten.collect(),
            policy.max_per_customer_per_day,
            control.map_or(0, |control| control.share),
            control.map(|control| control.hasher.key()),
        )
    }
}
