"""Exports a whole state to one file, and imports a new state from it, to move it to another engine or machine.

Owns the form of that file: the database, its ledger as bases whichever engine kept it, and the reject files in a table
of their own. OUTPUT is not in it, but its identity is. A half-written file is never taken for an export, nor half an
import for a state: either gets its name in the last step, and the next attempt replaces what a crash left.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from upswell.errors import ConfigError, InputMissing, OutputUnwritable, StorageError, UsageError
from upswell.kernel import SHARDS
from upswell.output.names import rejects_name
from upswell.output.reject_files import Rejects, is_as_written
from upswell.privacy import escape
from upswell.state.checkpoint import Checkpoint
from upswell.state.codec import row_checksum
from upswell.state.connection import (
    DATABASE,
    MOVED,
    connect,
    storage_errors,
)
from upswell.state.directory import make_directory
from upswell.state.identity import (
    EMBEDDED,
    SPARK,
    LedgerForm,
    StateIdentity,
    ledger_form,
    read_identity,
    write_identity,
)
from upswell.state.ledger_directory import DIRECTORY, SHARD_COUNTS
from upswell.state.ledger_formats import to_bases
from upswell.state.migrations import APPLICATION_ID, refuse_unknown
from upswell.state.reader import StateReader
from upswell.state.seal import broken_seal, seal_anew
from upswell.storage import syscalls
from upswell.storage.files import (
    RECOVERS,
    create_file,
    directory,
    list_names,
    read_file,
    remove_files,
    translate_os_errors,
)
from upswell.storage.lock import LOCK_NAME, lock
from upswell.storage.mounts import refuse_network

EXPORT_ID = 0x75707378  # "upsx": no run takes such a file for its state
_HALF = ".half"  # suffix of a file that is being written
_IMPORTED = "imported.half"  # a state's database before it is whole
_TABLE = (
    "CREATE TABLE reject_file(batch INTEGER NOT NULL, part INTEGER NOT NULL, content BLOB NOT NULL,"
    " PRIMARY KEY(batch, part)) STRICT"
)
_MAGIC, _HEADER_BYTES = b"SQLite format 3\0", 100
_PART_BYTES = 16 << 20  # of a reject file in one row: SQLite's rows end at a gigabyte


class Moved(NamedTuple):
    """The result of an export or import."""

    last_batch: int
    bytes: int
    """Length of the exported file, or of the new database."""
    reject_files: int


def shards_of(engine: str, shards: int | None) -> int | None:
    """Return the number of shards of a new state with its ledger in files; None: in its database. Raises UsageError."""
    if engine == EMBEDDED:
        if shards is not None:
            raise UsageError(
                f"the {EMBEDDED} engine has no --shards", f"leave it out, or add --engine {SPARK}"
            )
        return None
    if shards not in SHARD_COUNTS:
        raise UsageError(
            "--shards is required with --engine spark",
            f"pass --shards N, one of {', '.join(map(str, SHARD_COUNTS))}: a state keeps this number for good, and"
            " no more tasks share its work",
        )
    return shards


def export_state(state_dir: Path, file: Path) -> Moved:
    """Write the whole state to a new file, which only its owner may read. The state stays, and records the file's path.

    A crash leaves no file of that name, or the whole file, and perhaps its ``half_of``; the recorded path finds both.

    Raises:
        Locked: a run holds the state.
        StorageError: it is damaged, or the disk failed.
        UsageError: the file exists.
    """
    if os.path.lexists(file):
        raise UsageError(f"{escape(str(file))} already exists", "name a new file")
    StateReader.open(state_dir).close()  # a writer would create a state where there is none
    half = half_of(file)
    with Checkpoint.open(state_dir, SHARDS) as checkpoint:
        with translate_os_errors(
            file, StorageError, "name a file in a directory that this user can write"
        ):
            half.unlink(missing_ok=True)
            os.close(os.open(half, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
        try:
            # Before anything is in it: a crash must not leave a copy that the state has no record of.
            checkpoint.set_identity(_with_export(checkpoint.reader.identity(), file))
            with storage_errors(half), closing(connect(half, "rw")) as db:
                checkpoint.copy_to(db)
                rejects = _fill(db, checkpoint)
            length = put_name(half, file)
        except BaseException:
            half.unlink(missing_ok=True)
            raise
        return Moved(checkpoint.reader.last_batch(), length, rejects)


def half_of(file: Path) -> Path:
    """Return the path of an exported file until it is whole."""
    return file.with_name(file.name + _HALF)


def _with_export(identity: StateIdentity, file: Path) -> StateIdentity:
    """Return the identity with one more file in which the same customers occur."""
    files = dict.fromkeys((*identity.exported, file.absolute()))
    return replace(identity, exported=tuple(files))


def _fill(db: sqlite3.Connection, checkpoint: Checkpoint) -> int:
    """Turn a copy of the database into the content of an exported file; return the number of reject files in it."""
    unfinished(db)
    db.execute("BEGIN")
    db.execute("DELETE FROM shard_file")
    db.execute("DELETE FROM ledger_base")
    db.execute("DELETE FROM ledger_delta WHERE batch >= ?", (checkpoint.reader.first_batch(),))
    last = checkpoint.reader.last_batch()
    for shard, content in to_bases(checkpoint.reader):
        db.execute(
            "INSERT INTO ledger_base(shard, batch, content, row_checksum) VALUES (?, ?, ?, ?)",
            (shard, last, content, row_checksum(shard, last, content)),
        )
    db.execute(_TABLE)
    count = 0
    for batch, content in _rejects(checkpoint):
        count += 1
        for part, at in enumerate(range(0, len(content), _PART_BYTES)):
            some = content[at : at + _PART_BYTES]
            db.execute("INSERT INTO reject_file VALUES (?, ?, ?)", (batch, part, some))
    seal_anew(db)
    db.execute(f"PRAGMA application_id = {EXPORT_ID}")
    db.execute("COMMIT")
    return count


def unfinished(db: sqlite3.Connection) -> None:
    """Do without log and syncs: nobody else sees this database, and it is synced once when it is whole."""
    db.execute("PRAGMA journal_mode = MEMORY").fetchall()
    db.execute("PRAGMA synchronous = OFF")


def _rejects(checkpoint: Checkpoint) -> Iterator[tuple[int, bytes]]:
    """Yield (batch, content) of every reject file that still exists; operators may have removed some."""
    place = checkpoint.reader.state_dir / "rejects"
    if not place.is_dir():
        return
    for batch in checkpoint.reader.batches():
        if not batch.rejects_bytes or not os.path.lexists(place / rejects_name(batch.number)):
            continue
        with translate_os_errors(place, StorageError, RECOVERS), directory(place) as fd:
            content = read_file(rejects_name(batch.number), fd)
        if not is_as_written(content, batch.rejects_bytes, batch.rejects_digest):
            raise StorageError(
                f"{escape(str(place / rejects_name(batch.number)))} was changed after it was written",
                "restore it, or delete it once it has been reviewed; then export again",
            )
        yield batch.number, content


def put_name(half: Path, final: Path) -> int:
    """Give a whole file its name, durably and never over another; return its length."""
    with translate_os_errors(final, StorageError, RECOVERS), directory(half.parent) as fd:
        file = syscalls.open(half.name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=fd)
        try:
            syscalls.fsync(file)
        finally:
            syscalls.close(file)
        syscalls.rename_new(half.name, fd, final.name, fd)
        syscalls.fsync(fd)
        # Looked up again: that an export is missing must not show when its state is deleted.
        return syscalls.stat(final.name, dir_fd=fd).st_size


def import_state(file: Path, state_dir: Path, shards: int | None) -> Moved:
    """Create a new state from an exported file; ``shards``: as ``shards_of`` returns.

    A crash leaves no state there: import again.

    Raises:
        ConfigError: the directory has a state, or the file is not an export.
        StorageError: the file is damaged, or the disk failed.
        OutputUnwritable: the directory cannot be created.
        Locked: another process uses the directory.
    """
    _check_header(file)
    with storage_errors(file), closing(connect(file, "ro")) as source:
        _check_content(source, file)
        make_directory(state_dir)
        refuse_network(state_dir, "the state directory", OutputUnwritable)
        with translate_os_errors(state_dir, StorageError, RECOVERS):
            lock_fd = lock(state_dir / LOCK_NAME, f"the state {escape(str(state_dir))}")
        try:
            return _import(source, state_dir, file, ledger_form(shards))
        finally:
            syscalls.close(lock_fd)


def _check_header(file: Path) -> None:
    """Check that export wrote the file, by its header: SQLite could not say so of another file."""
    if not file.is_file():
        raise InputMissing(
            f"{escape(str(file))}: no such file",
            "name a file that `upswell state export` wrote",
        )
    with translate_os_errors(file, StorageError, RECOVERS), file.open("rb") as opened:
        header = opened.read(_HEADER_BYTES)
    if header[:16] != _MAGIC or int.from_bytes(header[68:72]) != EXPORT_ID:
        raise ConfigError(
            f"{escape(str(file))} was not written by `upswell state export`",
            "export the state first: its database cannot be imported",
        )


def _check_content(db: sqlite3.Connection, file: Path) -> None:
    refuse_unknown(db, escape(str(file)))
    if db.execute("PRAGMA integrity_check(1)").fetchall() != [("ok",)]:
        raise StorageError(
            f"{escape(str(file))} is damaged: its pages are inconsistent", "export it again"
        )
    if broken := broken_seal(db, whole=True):
        raise StorageError(f"{escape(str(file))} is damaged: {broken}", "export it again")


def _identity(db: sqlite3.Connection, file: Path) -> StateIdentity:
    try:
        return read_identity(db)
    except ValueError as error:
        raise StorageError(
            f"{escape(str(file))} is damaged: an entry of meta", "export it again"
        ) from error


def _import(source: sqlite3.Connection, state_dir: Path, file: Path, ledger: LedgerForm) -> Moved:
    """Fill the directory, whose lock is held, the database last. ``ledger``: the form that it will have."""
    half = state_dir / _IMPORTED
    with translate_os_errors(state_dir, StorageError, RECOVERS), directory(state_dir) as fd:
        refuse_other(state_dir, set(list_names(fd)), _IMPORTED)
        remove_files([_IMPORTED, MOVED], fd)
        create_file(_IMPORTED, fd, b"", 0o600)
        syscalls.fsync(fd)
    with storage_errors(half), closing(connect(half, "rw")) as db:
        source.backup(db)
        unfinished(db)
        batches = _put_rejects(db, Rejects(state_dir))
        db.execute("BEGIN")
        db.execute("DROP TABLE reject_file")
        identity = _identity(db, file)
        write_identity(db, identity, replace(_with_export(identity, file), ledger=ledger))
        seal_anew(db)
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute("COMMIT")
        if batches:
            db.execute("VACUUM")  # their contents must not stay in unused pages
    length = put_name(half, state_dir / DATABASE)
    with StateReader.open(state_dir) as reader:
        return Moved(reader.last_batch(), length, batches)


def refuse_other(state_dir: Path, names: set[str], half: str) -> None:
    """Refuse a directory with a state, or with parts of one, unless what was cut off left them and ``half``."""
    parts = ["rejects", DIRECTORY]
    left = [part for part in parts if part in names and syscalls.listdir(state_dir / part)]
    if any(name.startswith(DATABASE) for name in names) or (left and half not in names):
        raise ConfigError(
            f"{escape(str(state_dir))} already has a state, or parts of one",
            "name a directory without one: states are never merged",
        )


def _put_rejects(db: sqlite3.Connection, rejects: Rejects) -> int:
    """Write the reject files, over those that an interrupted import left; return how many."""
    rejects.remove_after(0)
    known = {
        number: (length, digest)
        for number, length, digest in db.execute(
            "SELECT number, rejects_bytes, rejects_digest FROM batch"
        )
    }
    batches = [
        batch for (batch,) in db.execute("SELECT DISTINCT batch FROM reject_file ORDER BY batch")
    ]
    for batch in batches:
        rows = db.execute("SELECT content FROM reject_file WHERE batch = ? ORDER BY part", (batch,))
        content = b"".join(content for (content,) in rows)
        if batch not in known or not is_as_written(content, *known[batch]):
            raise StorageError(
                f"the rejects of batch {batch} in the exported file are damaged", "export it again"
            )
        rejects.write(batch, content)
    return len(batches)
