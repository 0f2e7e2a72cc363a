"""The compiled kernel for the rest of the package: values in, values out.

Owns the only import of ``_kernel``, whose stub documents each name that is passed on here. Adds names to what crosses
the border as plain tuples, and nothing else: no state, no I/O of its own. An executor of another engine imports this
module and nothing heavier.
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
    Splitting,
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
    "Splitting",
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
    """Bytes of one file to be read, and what its reading needs to know. Positions count uncompressed bytes.

    The kernel reads these attributes by name (kernel/src/batch/range.rs), the stamps excepted.
    """

    name: str
    """What its rejects carry."""
    path: bytes
    compressed: bool
    start: int
    end: int
    """[start, end) may be read; whole lines only."""
    final: bool
    """An unterminated last line is taken, too."""
    tail: int
    """0: a line starts at start; 1: it continues a line that was taken unterminated; 2: that ended in a CR."""
    newlines: int
    """Line ends before start."""
    digest: int
    """CRC-64/NVME of the bytes before start."""
    day_max: int
    """A later date as written is `future`."""
    day_open: int
    """An earlier day is `late`."""
    rejects_left_bytes: int
    """Bytes of encoded rejects that may still be kept of this file."""
    stamp: str = ""
    """Of the file; carried through for the commit."""
    newest_stamp: str = ""
    """Among the ranges before it and its own; carried through for the commit."""


class Digest(NamedTuple):
    """A digest, and how many bytes it went over."""

    crc: int
    bytes: int


class FirstRecord(NamedTuple):
    """The first line of a file that is a record."""

    crc: int
    """CRC-64/NVME of the line without its line end."""
    byte: int


class CheckedGzip(NamedTuple):
    """What a pass over compressed data found."""

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
    """A line that holds the digits of an msisdn, wherever."""

    byte: int
    newlines: int
    """Line ends before it."""
    continues: bytes
    """The last byte of the line that it continues, when that one was taken unterminated; else empty."""
    line: bytes
    """With its line end; the beginning alone of a line that is too long."""


class Found(NamedTuple):
    """What a search through a file gave."""

    hits: list[Hit]
    digest: Digest


class Cut(NamedTuple):
    """How to compute a batch again whose splits do not join: with a range ended early, and no range after it."""

    sequence: int
    """Index of the range."""
    end: int
    """Where it is to end: between its start and the end that it had."""


def gather(
    ranges: Sequence[Range],
    splits: Iterable[tuple[int, int, Range, int, int]],
    split_reports: Iterable[tuple[int, int, bytes]],
    shard_reports: Sequence[bytes],
    rules: Rules,
) -> Result | Cut:
    """The result of a batch that was computed in tasks: what ``Scanner.process`` gives, field by field, but no delta.

    Splits are (sequence, part, range, begin, end), their reports (sequence, part, report): as ``tasks`` has them, in
    any order. A Cut says that nothing of it counts, because a file failed or changed between two splits.

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
    """The digest of the uncompressed bytes [start, end), continued from ``initial``.

    Raises:
        OSError: it cannot be read. ValueError: its compressed data is broken.
    """
    return Digest(*_kernel.digest(path, start, end, initial, compressed=compressed))


def first_record(path: bytes, end: int, day_max: int, *, compressed: bool) -> FirstRecord | None:
    """The first record within [0, end), or None. Errors as ``digest``."""
    found = _kernel.first_record(path, end, day_max, compressed=compressed)
    return None if found is None else FirstRecord(*found)


def check_gzip(path: bytes, bytes_max: int) -> CheckedGzip:
    """Decompress a file to its end, in bounded memory, and say whether it is whole. OSError when unreadable."""
    return CheckedGzip(*_kernel.check_gzip(path, bytes_max))


def parse_lines(data: bytes, day_max: int, path: str, *, first: bool) -> list[ParsedLine]:
    """Each line of data by the scanner path ``path``; ``first``: data is the start of a file."""
    lines = _kernel.parse_lines(data, day_max, path, first=first)
    return [ParsedLine(*line) for line in lines]


def search(path: bytes, cuts: Sequence[int], msisdn: str, *, compressed: bool) -> Found:
    """The lines that hold the digits, up to the last of ``cuts``: where ranges ended. Errors as ``digest``."""
    hits, crc, length = _kernel.search(path, cuts, msisdn, compressed=compressed)
    return Found(
        [
            Hit(byte, newlines, bytes([last] if last else []), line)
            for byte, newlines, last, line in hits
        ],
        Digest(crc, length),
    )
