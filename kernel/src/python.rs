//! The module `upswell._kernel`: the only file that knows Python. `_kernel.pyi` is its contract and documentation.

// What Python sees is documented in the stub; clippy's wishes about signatures do not fit what PyO3 calls.
#![allow(
    missing_docs,
    clippy::needless_pass_by_value,
    clippy::unnecessary_wraps,
    clippy::type_complexity
)]

use crate::clock::Clock;
use crate::fast::{PAD_AFTER, PAD_BEFORE, Path};
use crate::ledger::{Item, Ledger, SHARDS};
use crate::process::{self, Job, Processed, Scanner};
use crate::progress::RangeSpec;
use crate::reader;
use crate::reject::{OUTCOMES, REASONS};
use crate::rules::Rules;
use crate::scan::{self, LINE_BYTES_MAX, Line, Record, Visitor};
use crate::segment::Segment;
use crate::{crc, msisdn};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyTuple};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::time::Duration;

const PATH_VARIABLE: &str = "UPSWELL_KERNEL_PATH";
const PIECE_BYTES_VARIABLE: &str = "UPSWELL_KERNEL_PIECE_BYTES";

fn broken(message: impl Into<String>) -> PyErr {
    PyValueError::new_err(message.into())
}

/// Damage of compressed data is a `ValueError`, anything else an `OSError`.
fn read_error(error: io::Error) -> PyErr {
    match (error.kind(), error.raw_os_error()) {
        (ErrorKind::InvalidData | ErrorKind::UnexpectedEof, None) => broken(error.to_string()),
        _ => error.into(),
    }
}

fn path_of(name: &str) -> PyResult<Path> {
    Path::named(name).ok_or_else(|| broken(format!("{name:?} is no scanner path of this CPU")))
}

fn variable<T>(name: &str, default: T, parse: impl Fn(&str) -> PyResult<T>) -> PyResult<T> {
    match std::env::var(name) {
        Ok(text) if !text.is_empty() => parse(&text),
        _ => Ok(default),
    }
}

#[pyclass(frozen, name = "Segment", module = "upswell._kernel")]
struct PySegment(Segment);

#[pyclass(frozen, get_all, module = "upswell._kernel")]
struct SegmentReport {
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
    ) -> PyResult<(PySegment, SegmentReport)> {
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
        let report = SegmentReport {
            lines: report.lines,
            bad: report.bad,
            duplicates: report.duplicates,
            errors,
        };
        Ok((PySegment(segment), report))
    }

    #[staticmethod]
    fn load(py: Python<'_>, dump: PyBackedBytes) -> PyResult<PySegment> {
        let segment = py.detach(|| Segment::load(&dump));
        segment
            .map(PySegment)
            .ok_or_else(|| broken("the dump of the segment is damaged"))
    }

    fn dump<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &py.detach(|| self.0.dump()))
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

#[pyclass(frozen, name = "Rules", module = "upswell._kernel")]
struct PyRules(Rules);

#[pymethods]
impl PyRules {
    #[new]
    fn new(rules: Vec<(u32, String, u16, u16, u64)>) -> PyResult<PyRules> {
        let lines: Vec<_> = rules
            .iter()
            .map(|(a, name, c, d, e)| (*a, name.as_str(), *c, *d, *e))
            .collect();
        Rules::new(&lines).map(PyRules).map_err(broken)
    }

    #[getter]
    fn applications(&self) -> Vec<&str> {
        self.0.applications.iter().map(|name| &**name).collect()
    }
}

#[pyclass(frozen, name = "Clock", module = "upswell._kernel")]
struct PyClock(Vec<(i64, i64)>);

#[pymethods]
impl PyClock {
    #[new]
    fn new(shifts: Vec<(i64, i64)>) -> PyResult<PyClock> {
        match Clock::new(shifts.clone()) {
            Some(_) => Ok(PyClock(shifts)),
            None => Err(broken("the clock's shifts do not ascend")),
        }
    }
}

#[pyclass(name = "Ledger", module = "upswell._kernel")]
#[derive(Default)]
struct PyLedger(Ledger);

fn check_shard(index: usize) -> PyResult<()> {
    if index < SHARDS {
        Ok(())
    } else {
        Err(broken(format!("there is no shard {index}")))
    }
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
        bases: Vec<(u64, PyBackedBytes)>,
        deltas: Vec<(u64, PyBackedBytes)>,
        day_open: u32,
        threads: usize,
    ) -> PyResult<PyLedger> {
        fn slices(blobs: &[(u64, PyBackedBytes)]) -> Vec<(u64, &[u8])> {
            blobs
                .iter()
                .map(|(batch, blob)| (*batch, &**blob))
                .collect()
        }
        py.detach(|| Ledger::load(&slices(&bases), &slices(&deltas), day_open, threads))
            .map(PyLedger)
            .map_err(broken)
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
        let key = msisdn::key_of(msisdn.as_bytes())
            .ok_or_else(|| broken("not an msisdn of 5 to 15 digits"))?;
        self.0
            .add_cap(key, application, day)
            .ok_or_else(|| broken("too many open applications and days"))
    }

    fn take_delta<'py>(&mut self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let ledger = &mut self.0;
        let delta = py.detach(|| ledger.take_delta(1));
        PyBytes::new(py, &delta)
    }

    fn entries(&self) -> (u64, u64) {
        self.0.entries()
    }

    fn memory_bytes(&self) -> usize {
        self.0.memory_bytes()
    }

    fn items(&self) -> Vec<Item> {
        self.0.items()
    }

    fn caps(&self) -> Vec<(String, String, u32)> {
        self.0.caps()
    }
}

#[pyclass(frozen, module = "upswell._kernel")]
struct Scanned {
    #[pyo3(get)]
    inode: u64,
    progress: crate::progress::Progress,
}

#[pymethods]
impl Scanned {
    #[getter]
    fn end(&self) -> u64 {
        self.progress.taken
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

#[pyclass(frozen, name = "Result", module = "upswell._kernel")]
struct PyResultOf {
    #[pyo3(get)]
    ranges: Vec<Py<Scanned>>,
    done: Processed,
}

#[pymethods]
impl PyResultOf {
    #[getter]
    fn outputs<'py>(&self, py: Python<'py>) -> Vec<(u32, Bound<'py, PyBytes>)> {
        self.done
            .outputs
            .iter()
            .map(|(application, bytes)| (*application, PyBytes::new(py, bytes)))
            .collect()
    }

    #[getter]
    fn notifications<'py>(
        &self,
        py: Python<'py>,
    ) -> Vec<(u32, u32, String, usize, u64, Bound<'py, PyBytes>)> {
        let raw =
            |n: &process::Notification| &self.done.outputs[&n.application][n.at..n.at + n.length];
        let notifications = self.done.notifications.iter();
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

    #[getter]
    fn rejects<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.done.rejects)
    }

    #[getter]
    fn delta<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.done.delta)
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

#[pyclass(name = "Scanner", module = "upswell._kernel")]
struct PyScanner(Scanner);

#[pymethods]
impl PyScanner {
    #[new]
    fn new(threads: usize, measure: &str, clock: &PyClock) -> PyResult<PyScanner> {
        let adds = match measure {
            "total" => true,
            "session" => false,
            _ => return Err(broken(format!("{measure:?} is no measure"))),
        };
        let clock = Clock::new(clock.0.clone())
            .ok_or_else(|| broken("the clock's shifts do not ascend"))?;
        let path = variable(PATH_VARIABLE, Path::available()[0], path_of)?;
        let piece_bytes = variable(PIECE_BYTES_VARIABLE, process::PIECE_BYTES, |text| {
            text.parse()
                .map_err(|_| broken(format!("{PIECE_BYTES_VARIABLE}={text:?} is no number")))
        })?;
        Ok(PyScanner(Scanner::new(
            threads,
            adds,
            clock,
            path,
            piece_bytes,
        )))
    }

    #[allow(clippy::too_many_arguments)]
    fn process(
        &mut self,
        py: Python<'_>,
        ranges: Vec<Bound<'_, PyAny>>,
        segment: &PySegment,
        rules: &PyRules,
        ledger: &mut PyLedger,
        output_bytes_max: u64,
        work_ms_max: u64,
    ) -> PyResult<PyResultOf> {
        let ranges = ranges.iter().map(spec_of).collect::<PyResult<Vec<_>>>()?;
        let job = Job {
            ranges: &ranges,
            segment: &segment.0,
            rules: &rules.0,
            output_bytes_max,
            work_max: Duration::from_millis(work_ms_max),
        };
        let (scanner, ledger) = (&mut self.0, &mut ledger.0);
        let mut done = py
            .detach(|| scanner.process(&job, ledger))
            .map_err(broken)?;
        let ranges = std::mem::take(&mut done.ranges)
            .into_iter()
            .map(|begun| {
                Py::new(
                    py,
                    Scanned {
                        inode: begun.inode,
                        progress: begun.progress,
                    },
                )
            })
            .collect::<PyResult<_>>()?;
        Ok(PyResultOf { ranges, done })
    }
}

/// Collects every line, for `parse_lines`.
#[derive(Default)]
struct Collector {
    /// By the place where the line starts.
    lines: BTreeMap<usize, Line>,
}

impl Visitor for Collector {
    fn wants(&mut self, _: u64, _: usize) -> bool {
        true
    }

    fn contains(&mut self, _: u64, _: usize) -> bool {
        true
    }

    fn record(&mut self, start: usize, _: usize, record: &Record) {
        self.lines.insert(start, Line::Record(*record));
    }

    fn other(&mut self, start: usize, _: usize, _: u32, kind: Line) {
        self.lines.insert(start, kind);
    }
}

#[pyfunction]
fn parse_lines(
    data: &[u8],
    first: bool,
    day_max: u32,
    path: &str,
) -> PyResult<Vec<(String, String, u32, u64, String)>> {
    let path = path_of(path)?;
    let mut bytes = vec![0; PAD_BEFORE];
    bytes.extend_from_slice(if first {
        data.strip_prefix(scan::BYTE_ORDER_MARK).unwrap_or(data)
    } else {
        data
    });
    let mut collector = Collector::default();
    let to = memchr::memrchr(b'\n', &bytes).map_or(PAD_BEFORE, |last| last + 1);
    let end = bytes.len();
    let rest = bytes[to..].to_vec();
    bytes.resize(end + PAD_AFTER, b'7');
    path.scan_lines(&bytes, PAD_BEFORE, to, day_max, &mut collector);
    if !rest.is_empty() {
        collector.lines.insert(
            to,
            scan::parse_line(scan::content_of(&rest), false, day_max),
        );
    }
    if first && end > PAD_BEFORE {
        let line = bytes[PAD_BEFORE..end]
            .split(|byte| *byte == b'\n')
            .next()
            .unwrap_or_default();
        collector.lines.insert(
            PAD_BEFORE,
            scan::parse_line(scan::content_of(line), true, day_max),
        );
    }
    let other = |kind: &str| (kind.to_owned(), String::new(), 0, 0, String::new());
    let lines = collector.lines.into_values().map(|line| match line {
        Line::Record(r) => {
            let timestamp = format!("{:08}{:06}", r.date, r.time);
            (
                "record".to_owned(),
                msisdn::digits_of(r.msisdn),
                r.service,
                r.volume,
                timestamp,
            )
        }
        Line::Blank => other("blank"),
        Line::Header => other("header"),
        Line::Reject(reason) => other(REASONS[reason as usize]),
    });
    Ok(lines.collect())
}

#[pyfunction]
#[pyo3(signature = (data, initial = 0))]
fn crc64(py: Python<'_>, data: PyBackedBytes, initial: u64) -> u64 {
    py.detach(|| crc::crc64(&data, initial))
}

#[pyfunction]
fn digest(
    py: Python<'_>,
    path: PyBackedBytes,
    compressed: bool,
    start: u64,
    end: u64,
    initial: u64,
) -> PyResult<(u64, u64)> {
    py.detach(|| reader::digest(&path, compressed, start, end, initial))
        .map_err(read_error)
}

#[pyfunction]
fn first_record(
    py: Python<'_>,
    path: PyBackedBytes,
    compressed: bool,
    end: u64,
    day_max: u32,
) -> PyResult<Option<(u64, u64)>> {
    py.detach(|| reader::first_record(&path, compressed, end, day_max))
        .map_err(read_error)
}

#[pyfunction]
fn check_gzip(
    py: Python<'_>,
    path: PyBackedBytes,
    bytes_max: u64,
) -> PyResult<(&'static str, u64, u64, String)> {
    let checked = py
        .detach(|| reader::check_gzip(&path, bytes_max))
        .map_err(read_error)?;
    Ok((
        checked.verdict,
        checked.bytes,
        checked.digest,
        checked.detail,
    ))
}

#[pymodule]
mod _kernel {
    use super::{LINE_BYTES_MAX, OUTCOMES, Path, REASONS, SHARDS};
    #[pymodule_export]
    use super::{
        PyClock, PyLedger, PyResultOf, PyRules, PyScanner, PySegment, Scanned, SegmentReport,
        check_gzip, crc64, digest, first_record, parse_lines,
    };
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
            PyTuple::new(py, Path::available().into_iter().map(Path::name))?,
        )
    }
}
