"""A whole state as one file, and a new state out of such a file: how a state moves to another engine or machine.

Owns the form of that file: the database, its ledger written as bases whichever engine kept it, and the reject files in
a table of their own. OUTPUT is not in it, but its identity is. A file or a state that is half made is none: either gets
its name in the last step, and what a crash left before it is replaced by the next attempt.
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
from upswell.state.migrations import APPLICATION_ID, refuse_newer
from upswell.state.reader import StateReader
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
_HALF = ".half"  # suffix of a file in the making
_IMPORTED = "imported.half"  # a state's database before it is whole
_TABLE = (
    "CREATE TABLE reject_file(batch INTEGER NOT NULL, part INTEGER NOT NULL, content BLOB NOT NULL,"
    " PRIMARY KEY(batch, part)) STRICT"
)
_MAGIC, _HEADER_BYTES = b"SQLite format 3\0", 100
_PART_BYTES = 16 << 20  # of a reject file in one row: SQLite's rows end at a gigabyte


class Moved(NamedTuple):
    """What a file holds, or what a new state was made of."""

    last_batch: int
    bytes: int
    """Of the file."""
    reject_files: int


def shards_of(engine: str, shards: int | None) -> int | None:
    """Into how many files the ledger of a new state is to go; None: into its database. Raises UsageError."""
    if engine == EMBEDDED:
        if shards is not None:
            raise UsageError(
                f"the {EMBEDDED} engine has no --shards", f"leave it out, or add --engine {SPARK}"
            )
        return None
    if shards not in SHARD_COUNTS:
        raise UsageError(
            "how many shards shall the ledger have?",
            f"give --shards N, one of {', '.join(map(str, SHARD_COUNTS))}: they are the state's for good, and at"
            " most so many tasks share its work",
        )
    return shards


def export_state(state_dir: Path, file: Path) -> Moved:
    """Write the whole state to a new file, which only its owner may read. The state stays, and remembers where it is.

    A crash leaves no file of that name, or the whole file; and perhaps its ``half_of``. The state has a note of both.

    Raises:
        Locked: a run holds the state. StorageError: it is damaged, or the disk failed. UsageError: the file is there.
    """
    if os.path.lexists(file):
        raise UsageError(f"{escape(str(file))} is there already", "name a file that is not")
    StateReader.open(state_dir).close()  # a writer would make a state where there is none
    half = half_of(file)
    with Checkpoint.open(state_dir, SHARDS) as checkpoint:
        with translate_os_errors(
            file, StorageError, "name a file in a directory that can be written"
        ):
            half.unlink(missing_ok=True)
            os.close(os.open(half, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
        try:
            # Before anything is in it: a crash must not leave a copy of which the state knows nothing.
            checkpoint.set_identity(_with_export(checkpoint.reader.identity(), file))
            with storage_errors(half), closing(connect(half, "rw")) as db:
                checkpoint.copy_to(db)
                rejects = _fill(db, checkpoint)
            length = _name(half, file)
        except BaseException:
            half.unlink(missing_ok=True)
            raise
        return Moved(checkpoint.reader.last_batch(), length, rejects)


def half_of(file: Path) -> Path:
    """What a file of ``export_state`` is called until it is whole."""
    return file.with_name(file.name + _HALF)


def _with_export(identity: StateIdentity, file: Path) -> StateIdentity:
    """Return the identity with one more file that holds a copy of the same persons."""
    files = dict.fromkeys((*identity.exported, file.absolute()))
    return replace(identity, exported=tuple(files))


def _fill(db: sqlite3.Connection, checkpoint: Checkpoint) -> int:
    """Make a copy of the database what the file holds; how many reject files are in it."""
    _unfinished(db)
    db.execute("BEGIN")
    db.execute("DELETE FROM shard_file")
    db.execute("DELETE FROM ledger_base")
    db.execute("DELETE FROM ledger_delta WHERE batch >= ?", (checkpoint.reader.first_batch(),))
    last = checkpoint.reader.last_batch()
    for shard, content in to_bases(checkpoint.reader):
        db.execute(
            "INSERT INTO ledger_base VALUES (?, ?, ?, ?)",
            (shard, last, content, row_checksum(shard, last, content)),
        )
    db.execute(_TABLE)
    count = 0
    for batch, content in _rejects(checkpoint):
        count += 1
        for part, at in enumerate(range(0, len(content), _PART_BYTES)):
            some = content[at : at + _PART_BYTES]
            db.execute("INSERT INTO reject_file VALUES (?, ?, ?)", (batch, part, some))
    db.execute(f"PRAGMA application_id = {EXPORT_ID}")
    db.execute("COMMIT")
    return count


def _unfinished(db: sqlite3.Connection) -> None:
    """Nobody else sees this database, and it is worthless until it is whole: no log, and one sync at its end."""
    db.execute("PRAGMA journal_mode = MEMORY").fetchall()
    db.execute("PRAGMA synchronous = OFF")


def _rejects(checkpoint: Checkpoint) -> Iterator[tuple[int, bytes]]:
    """Batch and content of every reject file that is there; operators may have removed some."""
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
                "restore it, or delete it once it was looked at; then export again",
            )
        yield batch.number, content


def _name(half: Path, final: Path) -> int:
    """Give a whole file its name, never over another; its length. Durable when it returns."""
    with translate_os_errors(final, StorageError, RECOVERS), directory(half.parent) as fd:
        file = syscalls.open(half.name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=fd)
        try:
            syscalls.fsync(file)
        finally:
            syscalls.close(file)
        syscalls.rename_new(half.name, fd, final.name, fd)
        syscalls.fsync(fd)
        # Read back: an export that is not there could be found out when its state is gone.
        return syscalls.stat(final.name, dir_fd=fd).st_size


def import_state(file: Path, state_dir: Path, shards: int | None) -> Moved:
    """Make a new state out of an exported file; ``shards``: as ``shards_of``.

    A crash leaves no state there: import again.

    Raises:
        ConfigError: the directory has a state, or the file is none of ours. StorageError: it is damaged, or the disk
            failed. OutputUnwritable: the directory cannot be made. Locked: somebody uses it.
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
    """Whether it is a database that export made, without asking SQLite, which would not say so of another file."""
    if not file.is_file():
        raise InputMissing(
            f"{escape(str(file))}: there is no such file",
            "name one that `upswell state export` wrote",
        )
    with translate_os_errors(file, StorageError, RECOVERS), file.open("rb") as opened:
        header = opened.read(_HEADER_BYTES)
    if header[:16] != _MAGIC or int.from_bytes(header[68:72]) != EXPORT_ID:
        raise ConfigError(
            f"{escape(str(file))} was not made by `upswell state export`",
            "export the state first: its own database is not to be copied",
        )


def _check_content(db: sqlite3.Connection, file: Path) -> None:
    refuse_newer(db, escape(str(file)))
    if db.execute("PRAGMA integrity_check(1)").fetchall() != [("ok",)]:
        raise StorageError(
            f"{escape(str(file))} is damaged: its pages do not fit together", "export it again"
        )


def _identity(db: sqlite3.Connection, file: Path) -> StateIdentity:
    try:
        return read_identity(db)
    except ValueError as error:
        raise StorageError(
            f"{escape(str(file))} is damaged: what it says of its state", "export it again"
        ) from error


def _import(source: sqlite3.Connection, state_dir: Path, file: Path, ledger: LedgerForm) -> Moved:
    """Under the state's lock: fill the directory, the database last. ``ledger``: the form that it will have."""
    half = state_dir / _IMPORTED
    with translate_os_errors(state_dir, StorageError, RECOVERS), directory(state_dir) as fd:
        _refuse_other(state_dir, set(list_names(fd)))
        remove_files([_IMPORTED], fd)
        create_file(_IMPORTED, fd, b"", 0o600)
        syscalls.fsync(fd)
    with storage_errors(half), closing(connect(half, "rw")) as db:
        source.backup(db)
        _unfinished(db)
        batches = _put_rejects(db, Rejects(state_dir))
        db.execute("BEGIN")
        db.execute("DROP TABLE reject_file")
        identity = _identity(db, file)
        write_identity(db, identity, replace(_with_export(identity, file), ledger=ledger))
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute("COMMIT")
        if batches:
            db.execute("VACUUM")  # their contents are not to stay in unused pages
    length = _name(half, state_dir / DATABASE)
    with StateReader.open(state_dir) as reader:
        return Moved(reader.last_batch(), length, batches)


def _refuse_other(state_dir: Path, names: set[str]) -> None:
    """Refuse a directory with a state, or with what one has left; what an import left that was cut off may go."""
    parts = ["rejects", DIRECTORY]
    left = [part for part in parts if part in names and syscalls.listdir(state_dir / part)]
    if any(name.startswith(DATABASE) for name in names) or (left and _IMPORTED not in names):
        raise ConfigError(
            f"{escape(str(state_dir))} has a state already, or parts of one",
            "name a directory without one: nothing is ever joined with another state",
        )


def _put_rejects(db: sqlite3.Connection, rejects: Rejects) -> int:
    """Write the reject files again, over what an import that was cut off left of them; how many."""
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
