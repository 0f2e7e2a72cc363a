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

from upswell.errors import Locked, OutputUnwritable, StorageError, UpswellError
from upswell.output.names import Staged
from upswell.privacy import escape
from upswell.reference.origin import NO_ORIGIN, Origin
from upswell.reference.versions import Kind
from upswell.source.file import File
from upswell.state.batch import Batch
from upswell.state.codec import storable_text
from upswell.state.connection import BUSY_S, has_log, open_writer, storage_errors
from upswell.state.directory import make_directory
from upswell.state.identity import StateIdentity
from upswell.state.ledger_writer import LedgerWriter
from upswell.state.queries.edits import refused_edit
from upswell.state.reader import StateReader
from upswell.state.row_writer import RowWriter
from upswell.state.rows import Archived, LedgerSizes
from upswell.state.seal import watch, write_seal
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
        with storage_errors(reader.path):
            watch(db)
        self._applications = reader.applications()
        self._writer = RowWriter(reader, db)
        self._ledger = LedgerWriter(reader, db, shards)

    @classmethod
    def open(cls, state_dir: Path, shards: int) -> Self:
        """Lock and open the state in this directory; create it, in a parent that exists, when there is none.

        Args:
            state_dir: holds the database, the lock and the rejects; mode 0700.
            shards: how many shards the ledger has (kernel.SHARDS): deltas go once each has a newer base.

        Raises:
            Locked: another run holds it.
            StorageError: it is damaged, or the disk fails.
            ConfigError: it is not a state of Upswell, or of a newer version.
            OutputUnwritable: the directory cannot be created, or is on a network file system.
        """
        make_directory(state_dir)
        refuse_network(state_dir, "the state directory", OutputUnwritable)
        with storage_errors(state_dir):
            lock_fd = lock(state_dir / LOCK_NAME, f"the state {escape(str(state_dir))}")
        try:
            with storage_errors(state_dir):
                unclean = has_log(state_dir)
            db = open_writer(state_dir)
            reader = StateReader(state_dir, db)
            try:
                reader.check_seal(whole=unclean)
                return cls(reader, db, lock_fd, shards)
            except BaseException:
                db.close()
                raise
        except BaseException:
            syscalls.close(lock_fd)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        # A read that an error has cut off holds the log up: the error is what must be told.
        with contextlib.suppress(*([Locked] if error else [])):
            self.close()

    def close(self) -> None:
        """Move the write-ahead log into the database, close it, and release the lock."""
        try:
            if not self._failed:
                self.drain_wal(idle=True)
        finally:
            self._db.close()
            syscalls.close(self._lock_fd)

    def set_identity(self, identity: StateIdentity) -> None:
        """Record this about the state, in a small transaction."""
        with self.transaction():
            self._writer.put_identity(identity)

    def adopt(self, last_batch: int, delta: bytes) -> None:
        """Continue after the batches of an OUTPUT that another state wrote. Only before the first commit.

        A crash leaves the adoption done or not begun.

        Args:
            last_batch: the number of the last batch of that OUTPUT.
            delta: the caps read from it, kept for good since a replay of the log begins with them.
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
        """Return the ids of these applications; new ones get theirs for good, in a small transaction."""
        names = list(dict.fromkeys(names))
        missing = [name for name in names if name not in self._applications]
        if missing:
            with self.transaction():
                self._writer.put_applications(missing)
            self._applications = self.reader.applications()
        return {name: self._applications[name] for name in names}

    def save_files(self, files: Iterable[File], left_unconsumed: Iterable[str] = ()) -> None:
        """Save files whose state changed without a batch, in a small transaction.

        ``left_unconsumed``: names that left DATA, whose rows are deleted if nothing was consumed of them.
        """
        with self.transaction():
            self._writer.drop_unconsumed_files(left_unconsumed)
            self._writer.put_files(files)

    def save_archived(self, states: Mapping[str, Archived | None]) -> None:
        """Save how far these files are on their way to the archive, in a small transaction; None: they stay in DATA."""
        with self.transaction():
            self._writer.put_archived(states)

    def add_reference(
        self, kind: Kind, version: str, content: bytes, note: str, origin: Origin = NO_ORIGIN
    ) -> None:
        """Keep a version and make it the current one of its kind, in one transaction; "" switches the kind off.

        Drop versions that are no longer current and that no batch was scanned with.
        """
        with self.transaction():
            if version:
                self._writer.put_reference(kind, version, content, note)
            self._writer.put_edit(kind, version, note)
            identity = self.reader.identity()
            versions = {**identity.versions, kind: version}
            origins = {**identity.origins, kind: origin}
            if not origin.files:
                del origins[kind]
            self._writer.put_identity(replace(identity, versions=versions, origins=origins))
            self._writer.drop_unused_references(kind, version)

    def set_refused(self, words: str) -> None:
        """Keep why the edit on disk was refused, for readers, in a small transaction; "" when it was repaired.

        Does nothing when these words are known already.
        """
        known = refused_edit(self.reader)
        if (known.words if known else "") == storable_text(words):
            return
        with self.transaction():
            self._writer.replace_refused(words)

    def append(self, batch: Batch, staged: Sequence[Staged]) -> None:
        """Commit a batch: from here on everything in it is true. Its staged files and rejects must be durable.

        A crash or an error leaves all of it or nothing. A notification that was already made (of the same day,
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
        """Switch the ledger from rows to these files, which must be durable, in one transaction.

        Adopted caps stay in their row. A crash leaves the whole ledger in rows, or all of it in files.
        """
        with self.transaction():
            self._ledger.move_to_files(files, self.reader.first_batch())

    def end_forgetting(self, day_open: int) -> None:
        """Destroy the keys of forgotten customers whose days are closed now, in a small transaction.

        Call it between batches only: the last batch is the last in which they are suppressed.
        """
        with self.transaction():
            self._writer.end_forgetting(day_open)

    def ledger_sizes(self) -> LedgerSizes:
        """Return what is stored of the ledger, without reading it."""
        return self._ledger.sizes()

    def drain_wal(self, *, idle: bool = False) -> None:
        """Move the write-ahead log into the database: all of it when idle, else as much as is possible at once.

        Never wait for readers. A crash leaves a log that the next start moves.
        """
        with storage_errors(self.reader.path):
            # A reader is not waited for: what it holds up is moved the next time.
            self._db.execute("PRAGMA busy_timeout = 0")
            try:
                mode = "TRUNCATE" if idle else "PASSIVE"
                self._db.execute(f"PRAGMA wal_checkpoint({mode})").fetchall()
            finally:
                self._db.execute(f"PRAGMA busy_timeout = {BUSY_S * 1000:.0f}")

    def copy_to(self, other: sqlite3.Connection) -> None:
        """Copy the whole database, as a reader would see it now, into another."""
        with storage_errors(self.reader.path):
            self._db.backup(other)

    def scrub(self) -> bool:
        """Remove from the disk what was deleted: free places of pages may still hold it, and so does the log.

        Returns False when another program read the state all the while: the log still holds it then.
        """
        with storage_errors(self.reader.path):
            self.drain_wal(idle=True)
            with self._temporary_files():
                self._db.execute("VACUUM")
            # Unlike ``drain_wal``, this waits for readers, and tells when they did not end.
            ((is_read, *_),) = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return not is_read

    @contextmanager
    def _temporary_files(self) -> Iterator[None]:
        """Keep SQLite's temporary copy of the database, within the block, in a file without a name beside it.

        In memory, where all else that is temporary goes, it would take as many bytes as the database has.
        """
        with directory(self.reader.state_dir) as fd:
            # By its descriptor: no name of a directory has to be quoted in SQL.
            self._db.execute(f"PRAGMA temp_store_directory = '/proc/self/fd/{fd}'")
            self._db.execute("PRAGMA temp_store = 1")
            try:
                yield
            finally:
                self._db.execute("PRAGMA temp_store = 2")
                self._db.execute("PRAGMA temp_store_directory = ''")
                watch(self._db)  # with temp_store all temporary tables and triggers went

    def _seal(self) -> None:
        try:
            write_seal(self._db)
        except ValueError:
            raise self.reader.damaged("an entry of meta") from None

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Commit what the block writes over the connection when it ends, or none of it when it raises.

        After a failure every further transaction raises StorageError.
        """
        if self._failed:
            raise StorageError(
                "an earlier write to the state failed", "start again: the restart recovers"
            )
        with storage_errors(self.reader.path):
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                self._seal()
                self._db.execute("COMMIT")
            except BaseException:
                self._failed = True
                if self._db.in_transaction:
                    with contextlib.suppress(sqlite3.Error):
                        self._db.execute("ROLLBACK")
                raise
