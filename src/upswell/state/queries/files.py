"""Files by day, by state, by what was consumed and by what was rejected of them.

Owns the SQL over ``file`` but for look-ups by name, which are the reader's. A function that returns ``File`` verifies
row checksums. The others read some columns and do not: nothing is decided by those, and decoding and verifying whole
rows takes many times as long.
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from upswell.source.file import EXPORTED_AGAIN, REFUSED, STATES, WHOLE, File, State
from upswell.source.listing import looks_like_data
from upswell.state.codec import decode_name
from upswell.state.reader import FILE_COLUMNS, StateReader
from upswell.zones import stamps_of

_PAGE_ROWS = 5000  # gone through at once: some 10 ms
# "late" is the outcome that is kept with the rejects.
_HAS_REJECTS = """(reasons <> '{}' OR instr(outcomes, '"late":'))"""


class FileStanding(NamedTuple):
    """The part of a file's row that changes with its content."""

    state: State
    offset: int
    size: int
    repeats: int


class DayFile(NamedTuple):
    """A file of a day, and what came of its lines."""

    stamp: str
    state: State
    late: bool
    lines: int
    outcomes: dict[str, int]


class WaitingFiles(NamedTuple):
    """Files, and parts of files, that the last saved scan showed and no batch consumed."""

    files: int
    bytes: int
    """Uncompressed where a compressed file was checked already, else on disk."""
    oldest_ns: int
    """The oldest mtime of these files, ns since the epoch; 0 without any."""


def file_standings(reader: StateReader, names: Iterable[str]) -> dict[str, FileStanding]:
    """Return, by name, where these files stand; unknown names are absent."""
    rows = reader._named('name, state, "offset", size, repeats', names)
    return {decode_name(name): FileStanding(*standing) for name, *standing in rows}


def fetch_consumed_files(reader: StateReader) -> list[Any]:
    """Fetch the rows of all files of which something was consumed, for ``decode_files``.

    Quick, and fit for a snapshot, while decoding all of them takes long.
    """
    return reader._rows(f'SELECT {FILE_COLUMNS}, row_checksum FROM file WHERE "offset" > 0')


def decode_files(reader: StateReader, rows: Iterable[Any]) -> Iterator[File]:
    """Yield the files that these rows hold, checksums verified. Raises StorageError when one does not match."""
    return map(reader._file, rows)


def count_by_state(reader: StateReader) -> dict[State, int]:
    """Return the number of files in each state, zeros included."""
    counts = dict(reader._rows("SELECT state, count(*) FROM file GROUP BY state"))
    return {state: counts.get(state, 0) for state in STATES}


def count_late_files(reader: StateReader) -> int:
    """Return the number of files whose first range followed a range with a higher stamp."""
    return int(reader._rows("SELECT count(*) FROM file WHERE late")[0][0])


def repeated_files(reader: StateReader, files_max: int) -> list[File]:
    """Return the newest files that were delivered again under their names, by stamp; at most ``files_max``."""
    sql = f"SELECT {FILE_COLUMNS}, row_checksum FROM file WHERE repeats > 0 ORDER BY stamp DESC, name DESC LIMIT ?"
    return list(decode_files(reader, reader._rows(sql, (files_max,))))[::-1]


def count_repeats(reader: StateReader) -> int:
    """Return how often files were delivered again under their names, all files together."""
    return int(reader._rows("SELECT coalesce(sum(repeats), 0) FROM file WHERE repeats > 0")[0][0])


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
        yield DayFile(stamp, state, bool(late), lines, reader.counts(outcomes))


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
        "SELECT name FROM file WHERE stamp >= ? AND +state = 'gone' AND reason <> ? ORDER BY stamp DESC",
        (stamp, WHOLE),
    )
    return [decode_name(name) for (name,) in rows]


def refused_files(reader: StateReader, files_max: int, since: str = "") -> tuple[int, list[File]]:
    """Return how many files hold no record, and the newest of them by stamp, at most ``files_max``.

    ``since``: a stamp; files before it are left out.
    """
    return _files_of(reader, REFUSED, files_max, since)


def files_exported_again(reader: StateReader, files_max: int) -> tuple[int, list[File]]:
    """Return how many files have the content of another and more, and the newest of them, at most ``files_max``."""
    return _files_of(reader, EXPORTED_AGAIN, files_max, "")


def _files_of(
    reader: StateReader, reason: str, files_max: int, since: str
) -> tuple[int, list[File]]:
    where = "FROM file WHERE stamp >= ? AND +reason = ?"
    ((files,),) = reader._rows(f"SELECT count(*) {where}", (since, reason))
    sql = f"SELECT {FILE_COLUMNS}, row_checksum {where} ORDER BY stamp DESC, name DESC LIMIT ?"
    rows = reader._rows(sql, (since, reason, files_max)) if files else []
    return files, list(decode_files(reader, rows))[::-1]


def count_gone_whole(reader: StateReader) -> int:
    """Return the number of files that are gone with all that they had shown consumed."""
    sql = "SELECT count(*) FROM file WHERE state = 'gone' AND reason = ?"
    return int(reader._rows(sql, (WHOLE,))[0][0])


def duplicates_since(reader: StateReader, stamp: str) -> list[str]:
    """Return, newest first, the names of duplicates of this stamp or later."""
    rows = reader._rows(
        "SELECT name FROM file WHERE stamp >= ? AND +state = 'duplicate' ORDER BY stamp DESC",
        (stamp,),
    )
    return [decode_name(name) for (name,) in rows]


def unread_names(reader: StateReader) -> list[str]:
    """Return the names that look like those of data and are not read, sorted."""
    rows = reader._rows("SELECT name FROM file WHERE state = 'ignored'")
    return sorted(filter(looks_like_data, (decode_name(name) for (name,) in rows)))


def waiting_files(reader: StateReader) -> WaitingFiles:
    """Return the files, and parts of files, that wait to be consumed."""
    # Of a compressed file the bytes on disk and the offset are of two kinds: its own size is known once it was checked.
    left = """max(CASE WHEN content_bytes > 0 THEN content_bytes ELSE size END - "offset", 0)"""
    rows = reader._rows(
        f"SELECT count(*), coalesce(sum({left}), 0), coalesce(min(mtime_ns), 0) FROM file"
        f" WHERE state IN ('waiting', 'reading') AND {left} > 0"
    )
    return WaitingFiles(*rows[0])


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
