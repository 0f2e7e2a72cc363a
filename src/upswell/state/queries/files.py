"""Files by day, by state and by what was rejected of them, from some columns of their rows.

Owns the SQL over ``file`` that reads more than a few names. Row checksums are not verified here: nothing is decided by
what is read, and decoding and verifying whole rows takes many times as long. ``StateReader.files`` verifies those that
it returns.
"""

import json
from collections.abc import Iterator
from typing import NamedTuple

from upswell.source.file import State
from upswell.state.codec import decode_name
from upswell.state.reader import StateReader
from upswell.zones import stamps_of

_PAGE_ROWS = 5000  # gone through at once: some 10 ms
# "late" is the outcome that is kept with the rejects.
_HAS_REJECTS = """(reasons <> '{}' OR instr(outcomes, '"late":'))"""


class DayFile(NamedTuple):
    """A file of a day, and what came of its lines."""

    stamp: str
    state: State
    late: bool
    lines: int
    outcomes: dict[str, int]


class Backlog(NamedTuple):
    """What the last saved scan showed and no batch consumed."""

    files: int
    bytes: int
    """Uncompressed where a compressed file was checked already, else on disk."""
    oldest_ns: int
    """The oldest mtime of these files, ns since the epoch; 0 without any."""


def newest_days(reader: StateReader, days_max: int) -> list[int]:
    """Return the newest days that files have stamps of, newest first, at most ``days_max``.

    Held and ignored files do not count: a stamp that lies ahead, or is none, must not be the newest day.
    """
    found: list[int] = []
    before = "9"
    while len(found) < days_max:
        ((stamp,),) = reader._rows(
            "SELECT max(stamp) FROM file WHERE stamp < ? AND stamp <> '' AND +state NOT IN ('held', 'ignored')",
            (before,),
        )
        if stamp is None:
            break
        before = stamp[:8]
        found.append(int(before))
    return found


def files_of_day(reader: StateReader, day: int) -> Iterator[DayFile]:
    """Yield all files with a stamp of the day, by stamp."""
    rows = reader._rows(
        "SELECT stamp, state, late, lines, outcomes FROM file WHERE stamp >= ? AND stamp <= ? ORDER BY stamp",
        stamps_of(day),
    )
    for stamp, state, late, lines, outcomes in rows:
        yield DayFile(stamp, state, bool(late), lines, json.loads(outcomes))


def newest_names(reader: StateReader, day: int, files_max: int) -> list[str]:
    """Return the names of the files with a stamp of the day, newest first, at most ``files_max``."""
    rows = reader._rows(
        "SELECT name FROM file WHERE stamp >= ? AND stamp <= ? ORDER BY stamp DESC, id DESC LIMIT ?",
        (*stamps_of(day), files_max),
    )
    return [decode_name(name) for (name,) in rows]


def gone_since(reader: StateReader, stamp: str) -> list[str]:
    """Return, newest first, the names of files of this stamp or later that vanished before they were fully read."""
    rows = reader._rows(
        # The plus keeps SQLite from going through all that ever went.
        "SELECT name FROM file WHERE stamp >= ? AND +state = 'gone' ORDER BY stamp DESC",
        (stamp,),
    )
    return [decode_name(name) for (name,) in rows]


def backlog(reader: StateReader) -> Backlog:
    """Return the files, and parts of files, that wait to be consumed."""
    # Of a compressed file the bytes on disk and the offset are of two kinds: its own size is known once it was checked.
    left = """max(CASE WHEN content_bytes > 0 THEN content_bytes ELSE size END - "offset", 0)"""
    rows = reader._rows(
        f"SELECT count(*), coalesce(sum({left}), 0), coalesce(min(mtime_ns), 0) FROM file"
        f" WHERE state IN ('waiting', 'reading') AND {left} > 0"
    )
    return Backlog(*rows[0])


def names_with_rejects(reader: StateReader, day: int | None = None) -> Iterator[str]:
    """Yield the names of files that have rejects or late records; with ``day`` only of files with a stamp of it."""
    if day is not None:  # found without going through the others
        sql = (
            f"SELECT name FROM file WHERE stamp >= ? AND stamp <= ? AND {_HAS_REJECTS} ORDER BY id"
        )
        yield from (decode_name(name) for (name,) in reader._rows(sql, stamps_of(day)))
        return
    (last,) = reader._rows("SELECT coalesce(max(id), 0) FROM file")[0]
    sql = f"SELECT name FROM file WHERE id > ?1 AND id <= ?1 + ?2 AND {_HAS_REJECTS} ORDER BY id"
    for after in range(0, last, _PAGE_ROWS):
        yield from (decode_name(name) for (name,) in reader._rows(sql, (after, _PAGE_ROWS)))
