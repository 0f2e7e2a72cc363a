"""The compiled kernel, wrapped with names and types for the rest of the package.

Owns the only import of ``_kernel``, whose stub documents each name that is passed on here, and gives names to the
tuples that it returns. Holds no state and does no I/O of its own. An executor of another engine imports this module
and nothing heavier.
"""

from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import NamedTuple

from upswell.kernel import _kernel
from upswell.kernel._kernel import (
    LINE_BYTES_MAX,
    OUTCOMES,
    PATHS,
    REASONS,
    SHARDS,
    SOURCE_DIGEST,
    VERSION,
    Clock,
    Ledger,
    LedgerTotal,
    Policy,
    Result,
    Rules,
    Scanned,
    Scanner,
    Segment,
    SegmentReport,
    SplitScanner,
    count_lines,
    crc64,
    forget_in,
    step,
)

__all__ = (
    "LINE_BYTES_MAX",
    "OUTCOMES",
    "PATHS",
    "REASONS",
    "SHARDS",
    "SOURCE_DIGEST",
    "VERSION",
    "CheckedGzip",
    "Clock",
    "Cut",
    "Digest",
    "FirstRecord",
    "Found",
    "Hit",
    "Ledger",
    "LedgerTotal",
    "ParsedLine",
    "Policy",
    "Range",
    "Result",
    "Rules",
    "Scanned",
    "Scanner",
    "Segment",
    "SegmentReport",
    "SplitScanner",
    "check_gzip",
    "count_lines",
    "crc64",
    "digest",
    "first_record",
    "forget_in",
    "gather",
    "parse_lines",
    "search",
    "step",
)


class Range(NamedTuple):
    """Bytes of one file to be read, and what reading them needs. Positions count uncompressed bytes.

    The kernel reads these attributes by name (kernel/src/batch/range.rs), except for the stamps.
    """

    name: str
    """The file's name in encoded rejects."""
    path: bytes
    compressed: bool
    start: int
    end: int
    """[start, end) may be read; whole lines only."""
    final: bool
    """An unterminated last line is consumed, too."""
    tail: int
    """0: a line starts at start; 1: it continues a line that was consumed unterminated; 2: that ended in a CR."""
    newlines: int
    """Line ends before start."""
    digest: int
    """CRC-64/NVME of the bytes before start."""
    day_max: int
    """A later date, as written, is `future`."""
    day_open: int
    """An earlier day is `late`."""
    rejects_left_bytes: int
    """Bytes of encoded rejects that may still be kept for this file."""
    stamp: str = ""
    """The file's; passed on to the commit."""
    newest_stamp: str = ""
    """The newest among the ranges before it and its own; passed on to the commit."""


class Digest(NamedTuple):
    """A digest, and the number of bytes that it covers."""

    crc: int
    bytes: int


class FirstRecord(NamedTuple):
    """The first line of a file that is a record."""

    crc: int
    """CRC-64/NVME of the line without its line end."""
    byte: int


class CheckedGzip(NamedTuple):
    """The result of decompressing a file to its end."""

    verdict: str
    """whole, incomplete, broken or too_large."""
    bytes: int
    crc: int
    detail: str


class ParsedLine(NamedTuple):
    """A line by the kernel's grammar."""

    kind: str
    """record, blank, header or a reject reason."""
    msisdn: str
    service: int
    volume: int
    timestamp: str


class Hit(NamedTuple):
    """A line that holds the digits of an msisdn, anywhere in it."""

    byte: int
    newlines: int
    """Line ends before it."""
    continues: bytes
    """The last byte of the line that it continues, when that one was consumed unterminated; else empty."""
    line: bytes
    """With its line end; of a line that is too long only the beginning."""


class Found(NamedTuple):
    """The lines that a search through a file found, and the digest of the bytes searched."""

    hits: list[Hit]
    digest: Digest


class Cut(NamedTuple):
    """Tells how to compute a batch again whose splits do not join: end this range early, and take none after it."""

    sequence: int
    """Index of the range."""
    end: int
    """Its new end: between its start and its present end."""


def gather(
    ranges: Sequence[Range],
    splits: Iterable[tuple[int, int, Range, int, int]],
    split_reports: Iterable[tuple[int, int, bytes]],
    shard_reports: Sequence[bytes],
    rules: Rules,
) -> Result | Cut:
    """Return the result of a batch that was computed in tasks: all that ``Scanner.process`` returns, but no delta.

    Splits are (sequence, part, range, begin, end), their reports (sequence, part, report): as ``tasks`` has them, in
    any order. A Cut is returned when a file failed or changed between two splits: nothing of the batch counts then.

    Raises:
        ValueError: a report is damaged, or missing.
    """
    reports = {(sequence, part): report for sequence, part, report in split_reports}
    parts = [
        (sequence, part, begin, end, reports.get((sequence, part), b""))
        for sequence, part, _, begin, end in sorted(splits, key=itemgetter(0, 1))
    ]
    found = _kernel.gather(ranges, parts, shard_reports, rules)
    return Cut(*found) if isinstance(found, tuple) else found


def digest(path: bytes, start: int, end: int, initial: int, *, compressed: bool) -> Digest:
    """Return the digest of the uncompressed bytes [start, end), continued from ``initial``.

    Raises:
        OSError: it cannot be read. ValueError: its compressed data is broken.
    """
    return Digest(*_kernel.digest(path, start, end, initial, compressed=compressed))


def first_record(path: bytes, end: int, day_max: int, *, compressed: bool) -> FirstRecord | None:
    """Return the first record within [0, end), or None. Raises as ``digest`` does."""
    found = _kernel.first_record(path, end, day_max, compressed=compressed)
    return None if found is None else FirstRecord(*found)


def check_gzip(path: bytes, bytes_max: int) -> CheckedGzip:
    """Decompress a file to its end, in bounded memory, and return its verdict. OSError when it cannot be read."""
    return CheckedGzip(*_kernel.check_gzip(path, bytes_max))


def parse_lines(data: bytes, day_max: int, path: str, *, first: bool) -> list[ParsedLine]:
    """Return each line of data by the scanner path ``path``; ``first``: data is the start of a file."""
    lines = _kernel.parse_lines(data, day_max, path, first=first)
    return [ParsedLine(*line) for line in lines]


def search(path: bytes, cuts: Sequence[int], msisdn: str, *, compressed: bool) -> Found:
    """Find the lines with the digits up to the last of ``cuts``, the ends of ranges. Raises as ``digest`` does."""
    hits, crc, length = _kernel.search(path, cuts, msisdn, compressed=compressed)
    return Found(
        [
            Hit(byte, newlines, bytes([last] if last else []), line)
            for byte, newlines, last, line in hits
        ],
        Digest(crc, length),
    )
