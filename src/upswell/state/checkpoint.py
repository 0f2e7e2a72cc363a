"""The durable state that a restart continues from: its one writer and its transactions.

Owns the lock on the state directory and every transaction that changes the database. It never touches OUTPUT and never
decides what a batch holds. ``append`` is the commit: after a crash either all of a batch is true or none of it. After
a failed write it accepts no other: the process must stop, and the restart recovers.
"""

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Self

from upswell.errors import OutputUnwritable, StorageError, UpswellError
from upswell.output.names import Staged
from upswell.privacy import escape
from upswell.reference.versions import Kind
from upswell.source.file import File
from upswell.state.batch import Batch
from upswell.state.codec import storable_text
from upswell.state.connection import BUSY_S, open_writer, storage_errors
from upswell.state.directory import make_directory
from upswell.state.identity import StateIdentity
from upswell.state.ledger_writer import LedgerSizes, LedgerWriter
from upswell.state.queries.edits import refused_edit
from upswell.state.reader import StateReader
from upswell.state.row_writer import RowWriter
from upswell.state.rows import Archived
from upswell.state.shard_files import ShardFile
from upswell.storage import syscalls
from upswell.storage.files import directory
from upswell.storage.lock import LOCK_NAME, lock
from upswell.storage.mounts import refuse_network


class Checkpoint:
    """The state, for the one process that changes it. Calls must not overlap; they may come from any thread."""

    def __init__(
        self, reader: StateReader, db: sqlite3.Connection, lock_fd: int, shards: int
    ) -> None:
        self.reader = reader
        """Reads the state as it is, and inside a transaction as it will be."""
        self._db = db
        self._lock_fd = lock_fd
        self._failed = False
        self._applications = reader.applications()
        self._writer = RowWriter(reader, db)
        with storage_errors(reader.path):
            self._ledger = LedgerWriter(db, shards, reader.first_batch())

    @classmethod
    def open(cls, state_dir: Path, shards: int) -> Self:
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
            db = open_writer(state_dir)
            return cls(StateReader(state_dir, db), db, lock_fd, shards)
        except BaseException:
            syscalls.close(lock_fd)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Move the write-ahead log into the database, close it, and release the lock."""
        try:
            if not self._failed:
                self.release(idle=True)
        finally:
            self._db.close()
            syscalls.close(self._lock_fd)

    def set_identity(self, identity: StateIdentity) -> None:
        """Record this about the state, in a small transaction."""
        with self.transaction():
            self._writer.put_identity(identity)

    def adopt(self, last_batch: int, delta: bytes) -> None:
        """Begin after the batches of an OUTPUT that another state wrote; ``delta`` holds the caps read out of it.

        They are kept for good: a replay of the log begins with them. Before the first commit only. A crash leaves the
        adoption done or not begun.
        """
        if self.reader.last() is not None:
            raise UpswellError("a state that has batches cannot adopt others")
        with self.transaction():
            adopted = replace(
                self.reader.identity(), first_batch=last_batch + 1, adopted_bytes=len(delta)
            )
            self._writer.put_identity(adopted)
            self._ledger.put_adopted(last_batch, delta)

    def application_ids(self, names: Iterable[str]) -> dict[str, int]:
        """The ids of these applications; new ones get theirs in a small transaction. An id is for ever."""
        names = list(dict.fromkeys(names))
        missing = [name for name in names if name not in self._applications]
        if missing:
            with self.transaction():
                self._writer.put_applications(missing)
            self._applications = self.reader.applications()
        return {name: self._applications[name] for name in names}

    def save_files(self, files: Iterable[File], left_unconsumed: Iterable[str] = ()) -> None:
        """Save files whose state changed without a batch, and forget names that left, in a small transaction."""
        with self.transaction():
            self._writer.drop_unconsumed_files(left_unconsumed)
            self._writer.put_files(files)

    def save_archived(self, states: Mapping[str, Archived | None]) -> None:
        """Save how far these files are on their way into the archive; None: in DATA as before. A small transaction."""
        with self.transaction():
            self._writer.put_archived(states)

    def add_reference(self, kind: Kind, version: str, content: bytes, note: str) -> None:
        """Keep a version and make it the current one of its kind, in one transaction; "": the kind is off from now on.

        Versions that no batch was scanned with, and that are no longer current, are dropped.
        """
        with self.transaction():
            if version:
                self._writer.put_reference(kind, version, content, note)
            self._writer.put_edit(kind, version, note)
            identity = self.reader.identity()
            versions = {**identity.versions, kind: version}
            self._writer.put_identity(replace(identity, versions=versions))
            self._writer.drop_unused_references(kind, version)

    def set_refused(self, words: str) -> None:
        """Keep why the edit on disk was refused, for others to see, until another is; "": it was repaired.

        In a small transaction, unless that is known already.
        """
        known = refused_edit(self.reader)
        if (known.words if known else "") == storable_text(words):
            return
        with self.transaction():
            self._writer.replace_refused(words)

    def append(self, batch: Batch, staged: Sequence[Staged]) -> None:
        """Commit a batch: from here on everything in it is true. Its staged files and rejects must be durable.

        A crash, or an error, leaves all of it or nothing. A notification that was already made (same day,
        application and msisdn) raises UpswellError and leaves nothing.
        """
        with self.transaction():
            self._writer.put_files(batch.files)
            self._writer.put_batch(batch)
            self._writer.put_staged(batch.number, staged)
            self._writer.put_notifications(batch, self._applications)
            self._writer.prune(batch)
            self._ledger.put(batch, self.reader.first_batch())

    def move_ledger_to_files(self, files: Sequence[ShardFile]) -> None:
        """From here on the ledger is in these files, which must be durable, and no more in the database.

        But for the adopted caps, which stay. A crash leaves all of it here or all of it there.
        """
        with self.transaction():
            self._ledger.move_to_files(files, self.reader.first_batch())

    def end_forgetting(self, day_open: int) -> None:
        """Destroy the keys of those who were forgotten and whose days are closed now, in a small transaction.

        No batch may be in the making: the last one is the last in which they are suppressed.
        """
        with self.transaction():
            self._writer.end_forgetting(day_open)

    def ledger_sizes(self) -> LedgerSizes:
        """Return what is stored of the ledger, without reading it."""
        return self._ledger.sizes()

    def release(self, *, idle: bool = False) -> None:
        """Fold the write-ahead log into the database: between two batches what can be, when idle all of it.

        Never waits for readers. A crash leaves a log that the next start folds.
        """
        with storage_errors(self.reader.path):
            # A reader is not waited for: what it holds up is folded the next time.
            self._db.execute("PRAGMA busy_timeout = 0")
            try:
                mode = "TRUNCATE" if idle else "PASSIVE"
                self._db.execute(f"PRAGMA wal_checkpoint({mode})").fetchall()
            finally:
                self._db.execute(f"PRAGMA busy_timeout = {BUSY_S * 1000:.0f}")

    def copy_to(self, other: sqlite3.Connection) -> None:
        """Copy the whole database into another, which is then as a reader would see this one now."""
        with storage_errors(self.reader.path):
            self._db.backup(other)

    def scrub(self) -> bool:
        """Remove from the disk what was deleted: free places of pages may still hold it, and so does the log.

        Returns False when another program read the state all the while: the log still holds it then.
        """
        with storage_errors(self.reader.path):
            self.release(idle=True)
            with self._temporary_files():
                self._db.execute("VACUUM")
            # Unlike ``release``, this waits for readers, and tells when they did not end.
            ((is_read, *_),) = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return not is_read

    @contextmanager
    def _temporary_files(self) -> Iterator[None]:
        """Within the block the database's second copy is a file without a name in the state's own directory.

        In memory, where all else that is temporary goes, it would take as much as the database has bytes.
        """
        with directory(self.reader.state_dir) as fd:
            # Through its descriptor: no name of a directory needs to be written in SQL.
            self._db.execute(f"PRAGMA temp_store_directory = '/proc/self/fd/{fd}'")
            self._db.execute("PRAGMA temp_store = 1")
            try:
                yield
            finally:
                self._db.execute("PRAGMA temp_store = 2")
                self._db.execute("PRAGMA temp_store_directory = ''")

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Make what the block writes over the connection true at once when it ends, and none of it on an error."""
        if self._failed:
            raise StorageError(
                "a write to the state failed before", "start again: the restart recovers"
            )
        with storage_errors(self.reader.path):
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                self._failed = True
                if self._db.in_transaction:
                    with contextlib.suppress(sqlite3.Error):
                        self._db.execute("ROLLBACK")
                raise
