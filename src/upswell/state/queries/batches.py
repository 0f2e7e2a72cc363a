"""Batches, their sums, their reject files and the lines that were not kept.

Owns the SQL over ``batch``, ``log`` and ``dropped_rejects`` that picks some of their columns. The row checksums of
batches are not verified here, as nothing is decided by what is read and verifying takes twenty times as long;
`upswell state verify` checks them all, and ``StateReader.batches`` those that it reads.
"""

from collections.abc import Iterator
from typing import NamedTuple

from upswell.state.codec import decode_name, encode_name
from upswell.state.reader import StateReader
from upswell.zones import stamps_of

_PAGE_ROWS = 5000  # of batches or ranges, gone through at once: some 10 ms
_SUMMED_ROWS = 20_000  # of batches, summed up at once: some 20 ms
_ANY_SEQUENCE = 2**62


class BatchSums(NamedTuple):
    """Sums over some batches."""

    batches: int
    lines: int
    notifications: int


class CommittedCounts(NamedTuple):
    """The counts of a batch, and the minute in which it was committed."""

    minute: str
    """UTC, yyyy-mm-ddThh:mm."""
    lines: int
    bytes: int
    """Of DATA, uncompressed."""
    outcomes: dict[str, int]
    reasons: dict[str, int]


class RejectFile(NamedTuple):
    """The reject file that a batch wrote."""

    batch: int
    length: int
    digest: str
    """As ``CommittedBatch.rejects_digest``."""


class DroppedLines(NamedTuple):
    """Rejected or late lines of a range that were counted but not kept."""

    file: str
    lines: int


def sum_batches(reader: StateReader, first: int, end: int) -> BatchSums:
    """Return the sums over the batches from ``first`` up to, but not including, ``end``."""
    # CAST takes the digits at the beginning of a text; not every SQLite knows JSON.
    at = """instr(outcomes, '"notified":')"""
    notified = f"CASE WHEN {at} THEN CAST(substr(outcomes, {at} + 11) AS INTEGER) ELSE 0 END"
    sql = (
        f"SELECT count(*), coalesce(sum(lines), 0), coalesce(sum({notified}), 0) FROM batch"
        " WHERE number >= ? AND number < ?"
    )
    batches = lines = notifications = 0
    for start in range(first, end, _SUMMED_ROWS):
        ((some, of_lines, notified_lines),) = reader._rows(
            sql, (start, min(start + _SUMMED_ROWS, end))
        )
        batches += some
        lines += of_lines
        notifications += notified_lines
    return BatchSums(batches, lines, notifications)


def commits_since(
    reader: StateReader, minute: str, *, after_batch: int
) -> Iterator[CommittedCounts]:
    """Yield the batches numbered above ``after_batch`` that were committed in this minute or later.

    ``minute``: UTC, yyyy-mm-ddThh:mm.
    """
    rows = reader._rows(
        "SELECT substr(committed_at, 1, 16), lines, bytes, outcomes, reasons FROM batch"
        " WHERE number > ? AND committed_at >= ?",
        (after_batch, minute),
    )
    for at, lines, size, outcomes, reasons in rows:
        yield CommittedCounts(at, lines, size, reader.counts(outcomes), reader.counts(reasons))


def last_commits(reader: StateReader, day: int, *, after_batch: int) -> dict[str, str]:
    """Return, by name, when the last range of each file with a stamp of this day was committed: UTC, ISO 8601.

    Files that were in no batch above ``after_batch`` are absent.
    """
    rows = reader._rows(
        "SELECT file.name, max(committed_at) FROM log JOIN batch ON batch.number = log.batch"
        " JOIN file ON file.id = log.file WHERE log.batch > ? AND file.stamp >= ? AND file.stamp <= ?"
        " GROUP BY log.file",
        (after_batch, *stamps_of(day)),
    )
    return {decode_name(name): at for name, at in rows}


def first_batch_reaching(reader: StateReader, stamp: str) -> int:
    """Return the number of the first batch that can have read a file with this stamp or a later one.

    It is the number of the next batch when none can have. A batch's newest stamp is at least that of each file it read,
    and never less than that of the batch before.
    """
    first, after = reader.first_batch(), reader.last_batch() + 1
    while first < after:
        middle = (first + after) // 2
        rows = reader._rows("SELECT newest_stamp FROM batch WHERE number = ?", (middle,))
        if rows and rows[0][0] >= stamp:
            after = middle
        else:
            first = middle + 1
    return first


def reject_files(
    reader: StateReader, first: int, last: int, *, file: str | None, day: int | None
) -> Iterator[RejectFile]:
    """Yield, in order of batches, the reject files of the batches ``first`` to ``last``.

    With ``file`` only of batches that read it, with ``day`` only of batches that read a file with a stamp of it.
    """
    sql = (
        "SELECT number, rejects_bytes, rejects_digest FROM batch"
        " WHERE number >= ?1 AND number < ?1 + ?2 AND number <= ?3"
        " AND rejects_bytes > 0 AND EXISTS (SELECT 1 FROM log JOIN file ON file.id = log.file"
        " WHERE log.batch = number AND (?4 IS NULL OR file.name = ?4)"
        " AND (?5 IS NULL OR substr(file.stamp, 1, 8) = ?5)) ORDER BY number"
    )
    only = (None if file is None else encode_name(file), None if day is None else f"{day:08}")
    for start in range(first, last + 1, _PAGE_ROWS):
        yield from map(RejectFile._make, reader._rows(sql, (start, _PAGE_ROWS, last, *only)))


def dropped_lines(reader: StateReader, first_batch: int) -> Iterator[DroppedLines]:
    """Yield every range, from a batch on, of which some rejected or late lines were not kept."""
    sql = (
        "SELECT one.batch, one.sequence, file.name, one.lines FROM dropped_rejects AS one"
        " JOIN log ON log.batch = one.batch AND log.sequence = one.sequence JOIN file ON file.id = log.file"
        f" WHERE (one.batch, one.sequence) > (?, ?) ORDER BY one.batch, one.sequence LIMIT {_PAGE_ROWS}"
    )
    after = (first_batch - 1, _ANY_SEQUENCE)
    while rows := reader._rows(sql, after):
        for _, _, name, lines in rows:
            yield DroppedLines(decode_name(name), lines)
        after = rows[-1][:2]
