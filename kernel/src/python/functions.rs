//! Functions over bytes and files.

use super::arguments::{contract_error, named_path};
use super::reference::forgotten_of;
use crate::crc;
use crate::input::gzip;
use crate::ledger::codec;
use crate::scan::collect::collect;
use crate::scan::grammar::{self, Line};
use crate::scan::outcome::REASONS;
use crate::types::msisdn;
use pyo3::prelude::*;
use pyo3::pybacked::{PyBackedBytes, PyBackedStr};
use pyo3::types::PyBytes;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::{self, ErrorKind};

/// Damage of compressed data is a `ValueError`, anything else an `OSError`.
fn read_error(error: io::Error) -> PyErr {
    match (error.kind(), error.raw_os_error()) {
        (ErrorKind::InvalidData | ErrorKind::UnexpectedEof, None) => {
            contract_error(error.to_string())
        }
        _ => error.into(),
    }
}

#[pyfunction]
pub(super) fn forget_in(
    py: Python<'_>,
    blob: PyBackedBytes,
    key: PyBackedBytes,
    hashes: Vec<u64>,
) -> PyResult<Option<(Bound<'_, PyBytes>, BTreeSet<u64>)>> {
    let forgotten = forgotten_of(&key, hashes)?;
    let rest = py.detach(|| codec::without(&blob, &forgotten));
    let rest = rest.map_err(contract_error)?;
    Ok(rest.map(|(rest, gone)| (PyBytes::new(py, &rest), gone)))
}

#[pyfunction]
#[pyo3(signature = (data, day_max, path, *, first))]
pub(super) fn parse_lines(
    data: &[u8],
    day_max: u32,
    path: &str,
    first: bool,
) -> PyResult<Vec<(String, String, u32, u64, String)>> {
    let data = match data.strip_prefix(grammar::BYTE_ORDER_MARK) {
        Some(rest) if first => rest,
        _ => data,
    };
    let (_, lines) = collect(named_path(path)?, data, day_max, b'7');
    let mut lines: BTreeMap<usize, Line> = lines
        .into_iter()
        .map(|(start, (_, line))| (start, line))
        .collect();
    let parse = |line: &[u8], first| grammar::parse_line(grammar::content_of(line), first, day_max);
    let unterminated = memchr::memrchr(b'\n', data).map_or(0, |last| last + 1);
    if unterminated < data.len() {
        lines.insert(unterminated, parse(&data[unterminated..], false));
    }
    if first && !data.is_empty() {
        let end = memchr::memchr(b'\n', data).unwrap_or(data.len());
        lines.insert(0, parse(&data[..end], true));
    }
    let other = |kind: &str| (kind.to_owned(), String::new(), 0, 0, String::new());
    let lines = lines.into_values().map(|line| match line {
        Line::Record(r) => {
            let timestamp = format!("{:08}{:06}", r.date, r.time);
            (
                "record".to_owned(),
                msisdn::digits_of(msisdn::unmix(r.msisdn)),
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
pub(super) fn crc64(py: Python<'_>, data: PyBackedBytes, initial: u64) -> u64 {
    py.detach(|| crc::crc64(&data, initial))
}

#[pyfunction]
#[pyo3(signature = (path, start, end, initial, *, compressed))]
pub(super) fn digest(
    py: Python<'_>,
    path: PyBackedBytes,
    start: u64,
    end: u64,
    initial: u64,
    compressed: bool,
) -> PyResult<(u64, u64)> {
    py.detach(|| crate::input::digest::digest(&path, compressed, start, end, initial))
        .map_err(read_error)
}

#[pyfunction]
#[pyo3(signature = (path, end, day_max, *, compressed))]
pub(super) fn first_record(
    py: Python<'_>,
    path: PyBackedBytes,
    end: u64,
    day_max: u32,
    compressed: bool,
) -> PyResult<Option<(u64, u64)>> {
    py.detach(|| crate::input::digest::first_record(&path, compressed, end, day_max))
        .map_err(read_error)
}

#[pyfunction]
pub(super) fn check_gzip(
    py: Python<'_>,
    path: PyBackedBytes,
    bytes_max: u64,
) -> PyResult<(&'static str, u64, u64, String)> {
    let checked = py
        .detach(|| gzip::check_gzip(&path, bytes_max))
        .map_err(read_error)?;
    Ok((
        checked.verdict,
        checked.bytes,
        checked.digest,
        checked.detail,
    ))
}

#[pyfunction]
#[pyo3(signature = (path, msisdns, *, compressed))]
pub(super) fn count_lines(
    py: Python<'_>,
    path: PyBackedBytes,
    msisdns: Vec<PyBackedStr>,
    compressed: bool,
) -> PyResult<u64> {
    let keys: Option<HashSet<u64>> = msisdns
        .iter()
        .map(|each| msisdn::key_of(each.as_bytes()))
        .collect();
    let keys = keys.ok_or_else(|| contract_error("count_lines needs msisdns of 5 to 15 digits"))?;
    py.detach(|| crate::search::count_lines(&path, compressed, &keys))
        .map_err(read_error)
}

#[pyfunction]
#[pyo3(signature = (path, cuts, msisdn, *, compressed))]
pub(super) fn search<'py>(
    py: Python<'py>,
    path: PyBackedBytes,
    cuts: Vec<u64>,
    msisdn: &str,
    compressed: bool,
) -> PyResult<(Vec<(u64, u64, u8, Bound<'py, PyBytes>)>, u64, u64)> {
    if msisdn::key_of(msisdn.as_bytes()).is_none() || !cuts.is_sorted() {
        return Err(contract_error(
            "search needs an msisdn of 5 to 15 digits, and ascending cuts",
        ));
    }
    let found = py
        .detach(|| crate::search::search(&path, compressed, &cuts, msisdn.as_bytes()))
        .map_err(read_error)?;
    let hits = found.hits.into_iter().map(|hit| {
        (
            hit.byte,
            hit.newlines,
            hit.continues,
            PyBytes::new(py, &hit.line),
        )
    });
    Ok((hits.collect(), found.digest, found.bytes))
}
