"""Reads a state, during a run or after it, for the engine and for every observer.

Owns the way from rows to values, and the reads that many callers share; ``queries`` and ``ledger`` hold the others. It
never writes, and keeps no transaction open between two calls (except inside ``snapshot``), so reading the state of a
run does not hold it up. A row whose checksum does not match, and a value of a wrong type, raise StorageError: a damaged
state is never taken for a sound one. One file because every row that is read passes through the checks at its end.
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, cast

from upswell.errors import StorageError, UsageError
from upswell.output.names import Staged, place_of
from upswell.output.reject_files import is_as_written
from upswell.reference.application import directory_name
from upswell.reference.origin import Origin
from upswell.reference.versions import Versions
from upswell.source.file import File, State
from upswell.source.listing import show_name
from upswell.state import ledger_directory
from upswell.state.batch import LogRange
from upswell.state.codec import decode_name, encode_name, row_checksum, to_signed, to_unsigned
from upswell.state.column_types import has_right_types
from upswell.state.connection import DATABASE, damaged, open_reader, openable_path, storage_errors
from upswell.state.identity import StateIdentity, read_identity
from upswell.state.rows import (
    CommittedBatch,
    ReferenceVersion,
    Totals,
)
from upswell.state.seal import broken_seal

FILE_COLUMNS = (
    'name, state, stamp, reason, detail, inode, size, mtime_ns, "offset", newlines, digest, tail, content_bytes,'
    " content_digest, first_record, late, rejects_kept_bytes, lines, outcomes, reasons, repeats,"
    " continues, continued_by"
)
BATCH_COLUMNS = (
    "number, stamp, newest_stamp, day_open, rules_version, segment_version, suppress_version, policy_version,"
    " zones_version, lines, bytes, rejects_bytes, rejects_digest, outcomes, reasons, committed_at, checksum_before"
)
_COLUMNS = [column.strip('"') for column in FILE_COLUMNS.split(", ")]
_UNSIGNED = [_COLUMNS.index(name) for name in ("inode", "digest", "content_digest", "first_record")]
_LATE = _COLUMNS.index("late")
_COUNTS = [_COLUMNS.index(name) for name in ("outcomes", "reasons")]
_KINDS = len(Versions._fields)
_PAGE_ROWS = 5000
_NAMES_PER_QUERY = 500


def has_state(state_dir: Path) -> bool:
    """Return whether there is a state's database in this directory, sound or not."""
    return (state_dir / DATABASE).exists()


def refuse_long_path(state_dir: Path) -> None:
    """Raise ConfigError when the path of a state's directory is too long for its database."""
    openable_path(state_dir / DATABASE)


class StateReader:
    """Reads a state over any connection to it.

    Methods and queries raise StorageError when the database cannot be read or is damaged.
    """

    def __init__(self, state_dir: Path, db: sqlite3.Connection) -> None:
        self.state_dir = state_dir
        self.path = state_dir / DATABASE
        self._db = db
        self._state_id = ""
        """Read when it is needed."""

    @classmethod
    def open(cls, state_dir: Path) -> Self:
        """Open a state read-only, whether a run writes it or not. Raises InputMissing when there is none."""
        return cls(state_dir, open_reader(state_dir))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Make all reads inside the block see one moment of the state.

        Keep it brief while a run may be writing: its write-ahead log cannot be folded meanwhile.
        """
        with storage_errors(self.path):
            self._db.execute("BEGIN")
        try:
            yield
        finally:
            with storage_errors(self.path):
                self._db.execute("COMMIT")

    def data_version(self) -> int:
        """Return a number that changes with every commit of another connection, such as a run's."""
        return int(self._rows("PRAGMA data_version")[0][0])

    def identity(self) -> StateIdentity:
        """Return what the state records about itself."""
        with storage_errors(self.path):
            try:
                return read_identity(self._db)
            except ValueError:
                raise self.damaged("an entry of meta") from None

    def first_batch(self) -> int:
        """Return the number of the first batch of this state: 1, or the one after those of an adopted OUTPUT."""
        return self.identity().first_batch

    def pruned_before(self) -> int:
        """Return the first day whose notifications are kept; 0 when all are. Earlier ones may not be deleted yet."""
        return self.identity().pruned_before

    def last(self) -> CommittedBatch | None:
        """Return the last batch; None before the first commit."""
        rows = self._rows(
            f"SELECT {BATCH_COLUMNS}, row_checksum FROM batch ORDER BY number DESC LIMIT 1"
        )
        return self._batch(rows[0]) if rows else None

    def last_batch(self) -> int:
        """Return the number of the last batch; before the first commit, the number before the first."""
        last = self.last()
        return last.number if last else self.first_batch() - 1

    def newest_stamp(self) -> str:
        """Return the newest stamp of the log; "" before the first commit."""
        last = self.last()
        return last.newest_stamp if last else ""

    def day_open(self) -> int:
        """Return the first day that is open after the last batch; 0 before the first commit."""
        last = self.last()
        return last.day_open if last else 0

    def last_zones(self) -> str:
        """Return the version of the zones' tables of the last batch; "" without one, or when it converted nothing."""
        last = self.last()
        return last.versions.zones if last else ""

    def batches(self, after: int = 0) -> Iterator[CommittedBatch]:
        """Yield the batches numbered above ``after``, in order."""
        sql = f"SELECT {BATCH_COLUMNS}, row_checksum FROM batch WHERE number > ? ORDER BY number LIMIT {_PAGE_ROWS}"
        while rows := self._rows(sql, (after,)):
            for row in rows:
                yield self._batch(row)
            after = rows[-1][0]

    def has_rejects(self, number: int, content: bytes) -> bool:
        """Return whether ``content`` is the reject file of this batch, and the batch is committed."""
        batch = next(self.batches(number - 1), None)
        return (
            batch is not None
            and batch.number == number
            and is_as_written(content, batch.rejects_bytes, batch.rejects_digest)
        )

    def log(self, after_batch: int = 0) -> Iterator[LogRange]:
        """Yield the ranges of the log in commit order, those of batches above ``after_batch``."""
        sql = (
            "SELECT log.batch, log.sequence, file.name, log.stamp, log.from_byte, log.to_byte, log.newest_stamp,"
            " batch.day_open, batch.rules_version, batch.segment_version, batch.suppress_version,"
            " batch.policy_version, batch.zones_version"
            " FROM log JOIN file ON file.id = log.file"
            " JOIN batch ON batch.number = log.batch WHERE (log.batch, log.sequence) > (?, ?)"
            f" ORDER BY log.batch, log.sequence LIMIT {_PAGE_ROWS}"
        )
        place = (after_batch, 2**62)
        now, before, after = after_batch, 0, self._day_open_after(after_batch)
        while rows := self._rows(sql, place):
            for batch, sequence, name, stamp, start, end, newest, day_open, *versions in rows:
                if batch != now:
                    now, before, after = batch, after, day_open
                yield LogRange(
                    batch,
                    sequence,
                    decode_name(name),
                    stamp,
                    start,
                    end,
                    newest,
                    Versions(*versions),
                    before,
                )
            place = (rows[-1][0], rows[-1][1])

    def _day_open_after(self, batch: int) -> int:
        rows = self._rows(
            "SELECT day_open FROM batch WHERE number <= ? ORDER BY number DESC LIMIT 1", (batch,)
        )
        return int(rows[0][0]) if rows else 0

    def files(self, names: Iterable[str]) -> dict[str, File]:
        """Return the files of these names by name; unknown names are absent."""
        files = map(self._file, self._named(f"{FILE_COLUMNS}, row_checksum", names))
        return {file.name: file for file in files}

    def file_ids(self, names: Iterable[str]) -> dict[str, int]:
        """Return the ids of the rows of these names; unknown names are absent."""
        return {decode_name(name): number for name, number in self._named("name, id", names)}

    def _named(self, columns: str, names: Iterable[str]) -> Iterator[Any]:
        """Yield these columns of the rows of these names."""
        wanted = [encode_name(name) for name in names]
        for at in range(0, len(wanted), _NAMES_PER_QUERY):
            some = wanted[at : at + _NAMES_PER_QUERY]
            marks = ",".join("?" * len(some))
            yield from self._rows(f"SELECT {columns} FROM file WHERE name IN ({marks})", some)

    def file(self, name: str) -> File:
        """Return the file of this name. Raises UsageError when this state never saw it."""
        found = self.files([name]).get(name)
        if found is None:
            raise UsageError(
                f"this state never saw a file {show_name(name)}",
                "give a name as `upswell status --files` lists it, without its directory",
            )
        return found

    def files_in(self, state: State | None = None) -> Iterator[File]:
        """Yield the files in this state, or all files, in no particular order."""
        sql = f"SELECT {FILE_COLUMNS}, row_checksum, id FROM file WHERE id > ?"
        if state is not None:
            sql += " AND state = ?"
        sql += f" ORDER BY id LIMIT {_PAGE_ROWS}"
        after = 0
        while rows := self._rows(sql, (after,) if state is None else (after, state)):
            for row in rows:
                yield self._file(row[:-1])
            after = rows[-1][-1]

    def find_first_record(self, crc: int) -> list[File]:
        """Return the files whose first record has this CRC and of which something was consumed."""
        sql = f"SELECT {FILE_COLUMNS}, row_checksum FROM file WHERE first_record = ?"
        files = [self._file(row) for row in self._rows(sql, (to_signed(crc),))]
        return [file for file in files if file.offset > 0]

    def is_archived(self, name: str) -> bool:
        """Return whether this file was moved to the archive, or its move began."""
        sql = "SELECT 1 FROM archived JOIN file ON file.id = archived.file WHERE name = ? AND archived.state <> 'taken'"
        return bool(self._rows(sql, (encode_name(name),)))

    def totals(self) -> Totals:
        """Return the sums over all batches; each commit keeps them, so reading them costs nothing."""
        kinds: dict[str, dict[str, int]] = {"": {}, "outcome": {}, "reason": {}}
        for kind, name, value in self._rows("SELECT kind, name, value FROM total"):
            kinds.setdefault(kind, {})[name] = value
        sums = kinds[""]
        return Totals(
            sums.get("batches", 0), sums.get("lines", 0), sums.get("bytes", 0), kinds["outcome"], kinds["reason"]
        )  # fmt: skip

    def applications(self) -> dict[str, int]:
        """Return the ids of all applications that were ever active, by name."""
        found = {}
        for name, number, place in self._rows(
            "SELECT name AS application_name, id, directory FROM application"
        ):
            self._check(
                place == directory_name(name),
                "an application's name does not match its directory",
            )
            found[name] = number
        return found

    def staged(self, batch: int) -> dict[str, Staged]:
        """Return the files that a batch staged, by name in the staging directory."""
        sql = (
            "SELECT staged.batch, staged.application, batch.stamp, directory, length, digest, control FROM staged"
            " JOIN batch ON batch.number = staged.batch JOIN application ON application.id = staged.application"
            " WHERE staged.batch = ? ORDER BY staged.application, control"
        )
        found = {}
        for number, application, stamp, name, length, digest, control in self._rows(sql, (batch,)):
            place = place_of(name, bool(control))
            one = Staged(number, application, stamp, place, length, digest, bool(control))
            found[one.staged_name] = one
        return found

    def current_versions(self) -> Versions | None:
        """Return the versions accepted last; None until there are rules and a segment."""
        versions = self.identity().versions
        if "rules" in versions and "segment" in versions:
            return Versions(*(versions.get(kind, "") for kind in Versions._fields))
        return None

    def origins(self) -> Mapping[str, Origin]:
        """Return by kind what the current versions were read from; what is off has none."""
        return self.identity().origins

    def reference(self, kind: str, version: str) -> bytes:
        """Return the content of a version, as given to ``add_reference``. Raises StorageError when it is missing."""
        rows = self._rows(
            "SELECT content, digest FROM reference WHERE kind = ? AND version = ?", (kind, version)
        )
        self._check(bool(rows), f"version {version[:12]} of the {kind} is missing")
        content, digest = rows[0]
        self._check(
            hashlib.sha256(content).digest() == digest,
            f"version {version[:12]} of the {kind} does not match its digest",
        )
        return cast("bytes", content)

    def references(self) -> list[ReferenceVersion]:
        """Return every kept version, in the order in which they were first active."""
        sql = "SELECT kind, version, note, taken_at, first_batch, length(content) FROM reference ORDER BY id"
        return [ReferenceVersion(*row) for row in self._rows(sql)]

    @property
    def ledger_dir(self) -> Path:
        """The directory of the shard files; it need not exist."""
        return self.state_dir / ledger_directory.DIRECTORY

    def batch_checksum(self, values: Sequence[object]) -> int:
        """Return the checksum of a batch's row, which holds for this state alone.

        The write-ahead log of another state, copied beside this database, would bring in its batches: sound rows, but
        never published to this OUTPUT.
        """
        if not self._state_id:
            self._state_id = self.identity().state_id
            self._check(bool(self._state_id), "the id of the state is missing")
        return row_checksum(*values, self._state_id)

    def checksum_of(self, batch: int) -> int:
        """Return the checksum of a batch's row, which that of the next batch covers; 0 when there is none."""
        rows = self._rows("SELECT row_checksum FROM batch WHERE number = ?", (batch,))
        return int(rows[0][0]) if rows else 0

    def check_seal(self, *, whole: bool) -> None:
        """Raise StorageError when some rows are of another moment than the last commit, or lost.

        ``whole``: notifications, too.
        """
        with storage_errors(self.path):
            broken = broken_seal(self._db, whole=whole)
        self._check(not broken, broken)

    def _rows(self, sql: str, parameters: Sequence[object] = ()) -> list[Any]:
        """Return the rows of a query. For the modules of ``state`` alone."""
        with storage_errors(self.path):
            cursor = self._db.execute(sql, parameters)
            rows = cursor.fetchall()
        self._check_types(cursor, rows, sql)
        return rows

    def _stream(self, sql: str, parameters: Sequence[object] = ()) -> Iterator[Any]:
        """Yield the rows of a query one at a time; its read transaction lasts until the last one."""
        with storage_errors(self.path):
            cursor = self._db.execute(sql, parameters)
            for row in cursor:
                self._check_types(cursor, [row], sql)
                yield row

    def _check_types(self, cursor: sqlite3.Cursor, rows: Sequence[Any], sql: str) -> None:
        self._check(has_right_types(cursor, rows, sql), "a value in it has another type")

    def counts(self, text: str) -> dict[str, int]:
        """Return counts by name as a row holds them. Raises StorageError for a text that is none."""
        try:
            found = json.loads(text)
        except ValueError:
            found = None
        if not isinstance(found, dict) or not all(type(value) is int for value in found.values()):
            raise self.damaged("counts in it cannot be read")
        return found

    def damaged(self, what: str) -> StorageError:
        """Return the error for a state in which ``what`` cannot be true."""
        return damaged(self.path, what)

    def _verify(self, matches: bool, row: str) -> None:
        self._check(matches, f"{row} does not match its checksum")

    def _check(self, true: bool, what: str) -> None:
        if not true:
            raise self.damaged(what)

    def _batch(self, row: tuple[Any, ...]) -> CommittedBatch:
        *values, checksum = row
        self._verify(checksum == self.batch_checksum(values), f"the row of batch {values[0]}")
        number, stamp, newest, day_open, *rest = values
        versions = Versions(*rest[:_KINDS])
        lines, taken, rejects, digest, outcomes, reasons, at, _ = rest[_KINDS:]
        return CommittedBatch(
            number, stamp, newest, day_open, versions, lines, taken, rejects, digest,
            self.counts(outcomes), self.counts(reasons), at,
        )  # fmt: skip

    def _file(self, row: tuple[Any, ...]) -> File:
        *values, checksum = row
        name = decode_name(values[0])
        self._verify(checksum == row_checksum(*values), "the row of a file")
        values[0] = name
        for at in _UNSIGNED:
            values[at] = None if values[at] is None else to_unsigned(values[at])
        values[_LATE] = bool(values[_LATE])
        for at in _COUNTS:
            values[at] = self.counts(values[at])
        return File(*values)
