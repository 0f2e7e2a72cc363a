"""The durable state that a restart continues from: the one read-write connection and its transactions.

Owns the lock on the state directory and every write to the database. It never touches OUTPUT and never decides what a
batch holds. ``append`` is the commit: all of a batch or nothing of it is true after a crash. After a failed write it
takes no other: the process is to stop, and the restart recovers.
"""

import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple, Self

from upswell.errors import OutputUnwritable, StorageError, UpswellError
from upswell.output.names import Staged
from upswell.output.reject_files import digest_of
from upswell.privacy import escape
from upswell.reference.application import directory_name
from upswell.reference.versions import Kind
from upswell.source.file import File
from upswell.state.batch import Batch
from upswell.state.codec import encode_name, row_checksum, storable_text, to_signed
from upswell.state.connection import BUSY_S, DATABASE, open_writer, storage_errors
from upswell.state.identity import StateIdentity, write_identity
from upswell.state.reader import BATCH_COLUMNS, FILE_COLUMNS, StateReader
from upswell.state.rows import Archived
from upswell.state.shard_files import ShardFile
from upswell.storage import syscalls
from upswell.storage.files import sync_directory
from upswell.storage.lock import LOCK_NAME, lock
from upswell.storage.mounts import refuse_network

_GROUP_ROWS = (
    100  # rows of one INSERT: measured twice as fast as one row each, and no faster with more
)
PRUNED_ROWS_MIN = 2000  # of a commit: some 10 ms
_ROW_VALUES = 4  # those of a row that are not the same for the whole group
_ENCODER = json.JSONEncoder(separators=(",", ":"))  # made once, as each row has two such texts
_FILE_UPDATES = ", ".join(
    f"{column} = excluded.{column}" for column in [*FILE_COLUMNS.split(", ")[1:], "row_checksum"]
)


class LedgerSizes(NamedTuple):
    """What is stored of the ledger, for deciding what to compact."""

    bases: int
    """Bytes of all bases."""
    deltas: int
    """Bytes of the deltas that a restart would load, but for adopted caps."""
    oldest_shards: list[int]
    """Every shard, the one with the oldest base (or none) first."""


class Checkpoint(StateReader):
    """The state, for the one process that changes it. Calls must not overlap; they may come from any thread."""

    def __init__(self, state_dir: Path, db: sqlite3.Connection, lock_fd: int, shards: int) -> None:
        super().__init__(state_dir, db)
        self._lock_fd = lock_fd
        self._shards = shards
        self._failed = False
        self._applications = self.applications()
        self._bases = {
            shard: (batch, length)
            for shard, batch, length in self._rows(
                "SELECT shard, batch, length(content) FROM ledger_base"
            )
        }
        # Not the adopted caps, which stay: no compaction removes them.
        self._deltas: dict[int, int] = dict(
            self._rows(
                "SELECT batch, length(content) FROM ledger_delta WHERE batch >= ?",
                (self.first_batch(),),
            )
        )

    # A writer needs to know the shards; nobody opens one through the type of its base.
    @classmethod
    def open(cls, state_dir: Path, shards: int) -> Self:  # type: ignore[override]
        """Lock and open the state in this directory, created (its parent must exist) when there is none.

        Args:
            state_dir: holds the database, the lock and the rejects; mode 0700.
            shards: how many shards the ledger has (kernel.SHARDS): deltas go once each has a newer base.

        Raises:
            Locked: another run holds it. StorageError: damaged, or the disk fails. ConfigError: not ours, or of a
                newer version, or on a network file system. OutputUnwritable: the directory cannot be made.
        """
        make_directory(state_dir)
        refuse_network(state_dir, "the state directory", OutputUnwritable)
        with storage_errors(state_dir):
            lock_fd = lock(state_dir / LOCK_NAME, f"the state {escape(str(state_dir))}")
        try:
            return cls(state_dir, open_writer(state_dir), lock_fd, shards)
        except BaseException:
            syscalls.close(lock_fd)
            raise

    def close(self) -> None:
        """Close the database, folded into one file, and give up the lock."""
        try:
            if not self._failed:
                self.release(idle=True)
        finally:
            self._db.close()
            syscalls.close(self._lock_fd)

    def set_identity(self, identity: StateIdentity) -> None:
        """Record this about the state, in a small transaction."""
        with self._transaction():
            self._put_identity(identity)

    def adopt(self, last_batch: int, delta: bytes) -> None:
        """Begin after the batches of an OUTPUT that another state wrote; ``delta`` holds the caps read out of it.

        They are kept for good: a replay of the log begins with them. Before the first commit only. A crash leaves the
        adoption done or not begun.
        """
        if self.last() is not None:
            raise UpswellError("a state that has batches cannot adopt others")
        with self._transaction():
            adopted = replace(self.identity(), first_batch=last_batch + 1, adopted_bytes=len(delta))
            self._put_identity(adopted)
            self._db.execute("DELETE FROM ledger_delta")
            if delta:
                self._db.execute(
                    "INSERT INTO ledger_delta VALUES (?, ?, ?)",
                    (last_batch, delta, row_checksum(last_batch, delta)),
                )
        self._deltas = {}

    def application_ids(self, names: Iterable[str]) -> dict[str, int]:
        """The ids of these applications; new ones get theirs in a small transaction. An id is for ever."""
        names = list(dict.fromkeys(names))
        missing = [name for name in names if name not in self._applications]
        if missing:
            with self._transaction():
                self._db.executemany(
                    "INSERT INTO application(name, directory) VALUES (?, ?)",
                    [(name, directory_name(name)) for name in missing],
                )
            self._applications = self.applications()
        return {name: self._applications[name] for name in names}

    def save_files(self, files: Iterable[File], left_unconsumed: Iterable[str] = ()) -> None:
        """Save files whose state changed without a batch, and forget names that left, in a small transaction."""
        with self._transaction():
            self._db.executemany(
                'DELETE FROM file WHERE name = ? AND "offset" = 0'
                " AND state IN ('ignored', 'waiting', 'reading', 'held')",
                [(encode_name(name),) for name in left_unconsumed],
            )
            self._put_files(files)

    def save_archived(self, states: Mapping[str, Archived | None]) -> None:
        """Save how far these files are on their way into the archive; None: in DATA as before. A small transaction."""
        with self._transaction():
            self._db.executemany(
                "INSERT INTO archived SELECT id, ?2 FROM file WHERE name = ?1 AND ?2 IS NOT NULL"
                " ON CONFLICT(file) DO UPDATE SET state = excluded.state",
                [(encode_name(name), state) for name, state in states.items()],
            )
            self._db.executemany(
                "DELETE FROM archived WHERE file = (SELECT id FROM file WHERE name = ?)",
                [(encode_name(name),) for name, state in states.items() if state is None],
            )

    def add_reference(self, kind: Kind, version: str, content: bytes, note: str) -> None:
        """Keep a version and make it the current one of its kind, in one transaction; "": the kind is off from now on.

        Versions that no batch was scanned with, and that are no longer current, are dropped.
        """
        with self._transaction():
            if version:
                self._db.execute(
                    "INSERT INTO reference(kind, version, content, digest, note, taken_at) VALUES (?, ?, ?, ?, ?, ?)"
                    " ON CONFLICT(kind, version) DO UPDATE SET note = excluded.note, taken_at = excluded.taken_at",
                    (
                        kind,
                        version,
                        content,
                        hashlib.sha256(content).digest(),
                        storable_text(note),
                        _now(),
                    ),
                )
            self._put_edit(kind, version, note)
            identity = self.identity()
            versions = {**identity.versions, kind: version}
            self._put_identity(replace(identity, versions=versions))
            self._db.execute(
                "DELETE FROM reference WHERE kind = ? AND version <> ? AND first_batch IS NULL",
                (kind, version),
            )

    def set_refused(self, words: str) -> None:
        """Keep why the edit on disk was refused, for others to see, until another is; "": it was repaired.

        In a small transaction, unless that is known already.
        """
        known = self._rows("SELECT words FROM edit WHERE kind = 'refused'")
        if known == ([(storable_text(words),)] if words else []):
            return
        with self._transaction():
            self._db.execute("DELETE FROM edit WHERE kind = 'refused'")
            if words:
                self._put_edit("refused", "", words)

    def append(self, batch: Batch, staged: Sequence[Staged]) -> None:
        """Commit a batch: from here on everything in it is true. Its staged files and rejects must be durable.

        A crash, or an error, leaves all of it or nothing. A notification that was already made (same day,
        application and msisdn) raises UpswellError and leaves nothing.
        """
        number, versions = batch.number, batch.ranges[0].versions
        taken_bytes = sum(taken.end - taken.start for taken in batch.ranges)
        with self._transaction():
            self._put_files(batch.files)
            file_ids = self._file_ids({taken.file for taken in batch.ranges})
            values = (
                number, batch.stamp, batch.ranges[-1].newest_stamp, batch.day_open, *versions, batch.lines, taken_bytes,
                len(batch.rejects), digest_of(batch.rejects), _json(batch.outcomes), _json(batch.reasons), _now(),
            )  # fmt: skip
            self._db.execute(
                f"INSERT INTO batch({BATCH_COLUMNS}, row_checksum) VALUES ({'?,' * len(values)}?)",
                (*values, self.batch_checksum(values)),
            )
            self._db.executemany(
                "INSERT INTO log VALUES (?, ?, ?, ?, ?, ?, ?)",
                [
                    (number, taken.sequence, file_ids[taken.file], taken.stamp, taken.start, taken.end,
                     taken.newest_stamp)
                    for taken in batch.ranges
                ],
            )  # fmt: skip
            self._db.executemany(
                "INSERT INTO dropped_rejects VALUES (?, ?, ?, ?, ?)",
                [(number, *dropped) for dropped in batch.dropped],
            )
            self._db.executemany(
                "INSERT INTO staged VALUES (?, ?, ?, ?, ?)",
                [
                    (number, one.application, int(one.control), one.length, one.digest)
                    for one in staged
                ],
            )
            self._put_notifications(batch, batch.notifications, control=False)
            self._put_notifications(batch, batch.control, control=True)
            self._put_totals(batch, taken_bytes)
            self._prune(batch)
            for kind, version in versions._asdict().items():
                self._db.execute(
                    "UPDATE reference SET first_batch = ? WHERE kind = ? AND version = ? AND first_batch IS NULL",
                    (number, kind, version),
                )
            bases, deltas = self._put_ledger(batch)
            self._put_shard_files(batch.shard_files)
        self._bases, self._deltas = bases, deltas

    def move_ledger_to_files(self, files: Sequence[ShardFile]) -> None:
        """From here on the ledger is in these files, which must be durable, and no more in the database.

        But for the adopted caps, which stay. A crash leaves all of it here or all of it there.
        """
        with self._transaction():
            self._db.execute("DELETE FROM ledger_base")
            self._db.execute("DELETE FROM ledger_delta WHERE batch >= ?", (self.first_batch(),))
            self._put_shard_files(files)
        self._bases, self._deltas = {}, {}

    def end_forgetting(self, day_open: int) -> None:
        """Destroy the keys of those who were forgotten and whose days are closed now, in a small transaction.

        No batch may be in the making: the last one is the last in which they are suppressed.
        """
        over = "SELECT id FROM forgetting WHERE until_batch IS NULL AND until_day < ?"
        with self._transaction():
            self._db.execute(f"DELETE FROM forgotten WHERE forgetting IN ({over})", (day_open,))
            self._db.execute(
                f"UPDATE forgetting SET hash_key = NULL, until_batch = ? WHERE id IN ({over})",
                (self.last_batch(), day_open),
            )

    def ledger_sizes(self) -> LedgerSizes:
        """What is stored of the ledger, without reading it."""
        shards = sorted(range(self._shards), key=lambda shard: self._bases.get(shard, (0, 0))[0])
        bases = sum(length for _, length in self._bases.values())
        return LedgerSizes(bases, sum(self._deltas.values()), shards)

    def release(self, *, idle: bool = False) -> None:
        """Fold the write-ahead log into the database: between two batches what can be, when idle all of it.

        Never waits for readers. A crash leaves a log that the next start folds.
        """
        with storage_errors(self.path):
            # A reader is not waited for: what it holds up is folded the next time.
            self._db.execute("PRAGMA busy_timeout = 0")
            try:
                mode = "TRUNCATE" if idle else "PASSIVE"
                self._db.execute(f"PRAGMA wal_checkpoint({mode})").fetchall()
            finally:
                self._db.execute(f"PRAGMA busy_timeout = {BUSY_S * 1000:.0f}")

    def copy_to(self, other: sqlite3.Connection) -> None:
        """Copy the whole database into another, which is then as a reader would see this one now."""
        with storage_errors(self.path):
            self._db.backup(other)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        if self._failed:
            raise StorageError(
                "a write to the state failed before", "start again: the restart recovers"
            )
        with storage_errors(self.path):
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield
                self._db.execute("COMMIT")
            except BaseException:
                self._failed = True
                if self._db.in_transaction:
                    with contextlib.suppress(sqlite3.Error):
                        self._db.execute("ROLLBACK")
                raise

    def _put_identity(self, identity: StateIdentity) -> None:
        write_identity(self._db, self.identity(), identity)

    def _put_edit(self, kind: str, version: str, words: str) -> None:
        self._db.execute(
            "INSERT INTO edit(kind, version, first_batch, words, at) VALUES (?, ?, ?, ?, ?)",
            (kind, version, self.last_batch() + 1, storable_text(words), _now()),
        )

    def _put_files(self, files: Iterable[File]) -> None:
        rows = []
        for file in files:
            values = (
                encode_name(file.name), file.state, file.stamp, file.reason, storable_text(file.detail),
                to_signed(file.inode), file.size, file.mtime_ns, file.offset, file.newlines, to_signed(file.digest),
                file.tail, file.content_bytes, to_signed(file.content_digest),
                None if file.first_record is None else to_signed(file.first_record), int(file.late),
                file.rejects_kept_bytes, file.lines, _json(file.outcomes), _json(file.reasons), file.repeats,
            )  # fmt: skip
            rows.append((*values, row_checksum(*values)))
        self._db.executemany(
            f"INSERT INTO file({FILE_COLUMNS}, row_checksum) VALUES ({'?,' * FILE_COLUMNS.count(', ')}?,?)"
            f" ON CONFLICT(name) DO UPDATE SET {_FILE_UPDATES}",
            rows,
        )

    def _put_notifications(
        self, batch: Batch, notifications: Iterable[tuple[object, ...]], *, control: bool
    ) -> None:
        totals = "control_total" if control else "notified_total"
        for (day, application), rows in groupby(notifications, itemgetter(0, 1)):
            # One without an id has no output in this batch, so no row counts in it.
            number = self._applications.get(batch.applications[application], -1)
            values = list(chain.from_iterable(map(itemgetter(2, 3, 4, 5), rows)))
            row = f"({day:d},{number:d},?,{batch.number:d},?,?,?,{control:d})"
            for at in range(0, len(values), _ROW_VALUES * _GROUP_ROWS):
                some = values[at : at + _ROW_VALUES * _GROUP_ROWS]
                # Plain INSERT: a second notification of the same day must end the transaction.
                self._db.execute(
                    "INSERT INTO notification VALUES "
                    + ",".join([row] * (len(some) // _ROW_VALUES)),
                    some,
                )
            self._db.execute(
                f"INSERT INTO {totals} VALUES (?, ?, ?)"
                " ON CONFLICT(day, application) DO UPDATE SET lines = lines + excluded.lines",
                (day, number, len(values) // _ROW_VALUES),
            )

    def _prune(self, batch: Batch) -> None:
        """Delete notifications of days that are no longer kept: so many at a time that no commit pays for a whole day.

        Twice as many as came: so it keeps up with them.
        """
        if not batch.prune_before:
            return
        before = max(batch.prune_before, self.pruned_before())
        rows = max(PRUNED_ROWS_MIN, 2 * (len(batch.notifications) + len(batch.control)))
        place = "SELECT day, application, msisdn FROM notification WHERE day < ? ORDER BY day, application, msisdn"
        ends = self._rows(f"{place} LIMIT 1 OFFSET ?", (before, rows)) or [(before, -1, "")]
        gone = self._db.execute(
            "DELETE FROM notification WHERE (day, application, msisdn) < (?, ?, ?)", ends[0]
        )
        if gone.rowcount:
            self._put_identity(replace(self.identity(), pruned_before=before))

    def _put_totals(self, batch: Batch, taken_bytes: int) -> None:
        rows: list[tuple[str, str, object]] = [
            ("", "batches", 1), ("", "lines", batch.lines), ("", "bytes", taken_bytes)
        ]  # fmt: skip
        rows += [("outcome", name, lines) for name, lines in batch.outcomes.items()]
        rows += [("reason", name, lines) for name, lines in batch.reasons.items()]
        self._db.executemany(
            "INSERT INTO total VALUES (?, ?, ?) ON CONFLICT(kind, name) DO UPDATE SET value = value + excluded.value",
            rows,
        )

    def _put_shard_files(self, files: Iterable[ShardFile]) -> None:
        for file in files:
            if file.kind == "base":
                self._db.execute("DELETE FROM shard_file WHERE shard = ?", (file.shard,))
            values = (*file[:-1], to_signed(file.digest))
            self._db.execute(
                "INSERT INTO shard_file VALUES (?, ?, ?, ?, ?, ?, ?)",
                (*values, row_checksum(*values)),
            )

    def _put_ledger(self, batch: Batch) -> tuple[dict[int, tuple[int, int]], dict[int, int]]:
        """Write the batch's delta and compactions, drop the deltas that no shard needs; what is stored then."""
        number, bases, deltas = batch.number, dict(self._bases), dict(self._deltas)
        # A delta says nothing about a shard whose base is as new: with all of them compacted it need not be written.
        if batch.delta and len(batch.compactions) < self._shards:
            self._db.execute(
                "INSERT INTO ledger_delta VALUES (?, ?, ?)",
                (number, batch.delta, row_checksum(number, batch.delta)),
            )
            deltas[number] = len(batch.delta)
        for shard, content in batch.compactions:
            self._db.execute(
                "INSERT INTO ledger_base VALUES (?, ?, ?, ?) ON CONFLICT(shard) DO UPDATE SET"
                " batch = excluded.batch, content = excluded.content, row_checksum = excluded.row_checksum",
                (shard, number, content, row_checksum(shard, number, content)),
            )
            bases[shard] = (number, len(content))
        if len(bases) == self._shards:
            oldest = min(at for at, _ in bases.values())
            unneeded = (self.first_batch(), oldest)
            self._db.execute("DELETE FROM ledger_delta WHERE batch BETWEEN ? AND ?", unneeded)
            deltas = {at: length for at, length in deltas.items() if at > oldest}
        return bases, deltas


def make_directory(state_dir: Path) -> None:
    """Make a state's directory when it is missing: durable then, and closed to others unless it holds other things."""
    try:
        with contextlib.suppress(FileExistsError):
            syscalls.mkdir(state_dir, 0o700)
        names = syscalls.listdir(state_dir)
        if DATABASE in names or not names:
            # One that holds other things is not ours to close to others: it may hold OUTPUT.
            syscalls.chmod(state_dir, 0o700)
        # At every start, since a crash may have kept the last one from it.
        sync_directory(state_dir)
        with contextlib.suppress(PermissionError):  # then it was there before us
            sync_directory(state_dir.absolute().parent)
    except OSError as error:
        raise OutputUnwritable(
            f"the state directory {escape(str(state_dir))} cannot be used: {error.strerror}",
            "create its parent directory, or name another with --state",
        ) from error


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _json(counts: Mapping[str, int]) -> str:
    return _ENCODER.encode(counts)
