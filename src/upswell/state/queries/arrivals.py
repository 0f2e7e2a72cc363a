"""Files in the order of their stamps, for judging how they arrive.

Owns the SQL behind missing, late and unusual files. Row checksums are not verified, as nothing is decided by these
rows; but each stamp is checked to be one, since times are worked out of it: StorageError when it is not.
"""

from collections.abc import Iterator
from typing import NamedTuple

from upswell.source.file import State
from upswell.state.codec import decode_name
from upswell.state.reader import StateReader
from upswell.zones import stamp_time

_PAGE_ROWS = 5000


class ArrivedFile(NamedTuple):
    """A file as it arrived."""

    stamp: str
    id: int
    """Of its row; ascending as files were first seen."""
    name: str
    state: State
    offset: int
    """Bytes consumed, uncompressed."""
    late: bool
    """Its first range followed a range with a higher stamp."""
    mtime_ns: int


def newest_done_stamp(reader: StateReader) -> str | None:
    """Return the newest stamp of a file that is done; None before the first."""
    # The plus keeps SQLite from sorting all that are done.
    rows = reader._rows("SELECT stamp FROM file WHERE +state = 'done' ORDER BY stamp DESC LIMIT 1")
    return _checked(reader, rows[0][0]) if rows else None


def stamp_of_files_before(reader: StateReader, stamp: str, files: int, *, since: str) -> str:
    """Return the stamp of the first of the last ``files`` done files before ``stamp``; "" without any.

    Files before the stamp ``since`` are not looked at.
    """
    rows = reader._rows(
        "SELECT stamp FROM file WHERE stamp < ? AND stamp >= ? AND +state = 'done'"
        " ORDER BY stamp DESC LIMIT ?",
        (stamp, since, files),
    )
    return str(rows[-1][0]) if rows else ""


def arrived_files(reader: StateReader, first: str, last: str) -> Iterator[ArrivedFile]:
    """Yield the files with stamps from ``first`` to ``last``, by stamp; ignored files are left out."""
    sql = (
        'SELECT stamp, id, name, state, "offset", late, mtime_ns FROM file WHERE (stamp, id) > (?, ?) AND stamp <= ?'
        f" AND state <> 'ignored' ORDER BY stamp, id LIMIT {_PAGE_ROWS}"
    )
    after = (first, 0)
    while rows := reader._rows(sql, (*after, last)):
        for stamp, number, name, state, offset, late, mtime_ns in rows:
            name = decode_name(name)
            yield ArrivedFile(
                _checked(reader, stamp), number, name, state, offset, bool(late), mtime_ns
            )
        after = rows[-1][:2]


def _checked(reader: StateReader, stamp: str) -> str:
    try:
        stamp_time(stamp)
    except ValueError:
        raise reader.damaged("the row of a file has a stamp that is not a time") from None
    return stamp
