"""Connections to the checkpoint's database.

Owns the pragmas and the translation of SQLite's errors into ours. It never reads or writes a row. Every connection is
made here, so each has the same guarantees: a commit is on disk when it returns, and a damaged page is an error, not an
answer.
"""

import contextlib
import os
import sqlite3
import stat
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from upswell.errors import (
    DAMAGED_HINT,
    ConfigError,
    InputMissing,
    Locked,
    OutOfMemory,
    StorageError,
    UpswellError,
)
from upswell.privacy import escape
from upswell.state.migrations import APPLICATION_ID, is_current, migrate, refuse_unknown
from upswell.storage import syscalls
from upswell.storage.files import RECOVERS, next_step, sync_directory, who_may

DATABASE = "checkpoint.db"
MOVED = "moved"
"""A file in the directory of a state that was moved away: where it is now, and its id."""
MOVING = "moving.half"
"""In a directory that a state is being moved to: its database before it is whole."""
SQLITE_MIN = (3, 37, 0)  # the first with STRICT tables
_PAGE_BYTES = 8192
_CACHE_KIB = 8192  # as fast as 64 MiB, which a long run fills: the system caches the file, too
_WAL_BYTES_KEPT = 64 << 20  # a longer write-ahead log is cut back when it starts again
BUSY_S = 5.0
_PATH_BYTES_MAX = (
    504  # SQLite's 512, less what it appends for the names of the files beside a database
)


def open_writer(state_dir: Path) -> sqlite3.Connection:
    """Open the one read-write connection, to a database that is created or migrated when it must be.

    The caller holds the lock. A crash in the middle leaves no database, an empty one, or one between two migrations;
    the next start continues from there.
    """
    path = state_dir / DATABASE
    _check_sqlite()
    refuse_moved(state_dir)
    with storage_errors(path):
        try:
            # Create it here first: SQLite gives its mode to every file that it puts beside it.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
            sync_directory(state_dir)
        except FileExistsError:
            pass
        wal = path.with_name(DATABASE + "-wal")
        for file in (path, wal, path.with_name(DATABASE + "-shm")):
            # A mode that somebody changed would be copied to the log beside it, and outlive its correction there.
            with contextlib.suppress(FileNotFoundError):
                _refuse_special(file)
                file.chmod(0o600)
        unclean = has_log(state_dir)
        db = connect(path, "rw")
        try:
            _pragma(db, "page_size", _PAGE_BYTES)
            _check_identity(db, path)
            for name, value, expected in _WRITER_PRAGMAS:
                _pragma(db, name, value, expected)
            _check_pages(db, path, unclean)
            migrate(db)
        except BaseException:
            db.close()
            raise
    return db


def has_log(state_dir: Path) -> bool:
    """Return whether a log with changes lies beside the database: its last run was killed, or has not ended."""
    log = state_dir / f"{DATABASE}-wal"
    return log.exists() and log.stat().st_size > 0


def open_reader(state_dir: Path) -> sqlite3.Connection:
    """Open a read-only connection. Keep its transactions brief: the writer's log grows meanwhile.

    A cleanly stopped state can be read from a read-only mount.

    Raises InputMissing when there is no state, StorageError when a run must migrate it first.
    """
    path = state_dir / DATABASE
    _check_sqlite()
    refuse_moved(state_dir)
    with storage_errors(path):
        try:
            _refuse_special(path)
        except (FileNotFoundError, NotADirectoryError):
            raise InputMissing(
                f"there is no state in {escape(str(state_dir))}",
                "check --output or --state; the first run creates the state",
            ) from None
        # Beside a database in WAL mode SQLite makes files, which such a mount forbids; where there is no log, no run
        # writes it.
        frozen = is_read_only(state_dir) and not path.with_name(DATABASE + "-wal").exists()
        db = connect(path, "ro&immutable=1" if frozen else "ro")
        try:
            _check_identity(db, path)
            _pragma(db, "query_only", 1, 1)
            for name, value in _SAFETY_PRAGMAS:
                _pragma(db, name, value)
            if not is_current(db):
                raise StorageError(
                    f"the state {escape(str(path))} was written by an older version, or no run has begun it",
                    "start a run with this version first: it upgrades the state",
                )
        except BaseException:
            db.close()
            raise
    return db


class Departure(NamedTuple):
    """A note that a state has left its directory, or is about to."""

    state_id: str
    target: str
    """The new directory, as an absolute path."""


def departure(state_dir: Path) -> Departure | None:
    """Return where the state of this directory was moved to, or is being moved; None when it was not."""
    with storage_errors(state_dir / MOVED):
        try:
            text = os.fsdecode((state_dir / MOVED).read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None
    state_id, _, target = text.removesuffix("\n").partition(" ")
    # As it lies from here: the two may have been moved together.
    return Departure(state_id, os.path.normpath(Path(os.path.realpath(state_dir)) / target))


def refuse_moved(state_dir: Path) -> None:
    """Raise ConfigError for a directory whose state was moved away, or is still being moved in: only one may run."""
    place = escape(str(state_dir))
    if (gone := departure(state_dir)) is not None:
        target = escape(gone.target)
        raise ConfigError(
            f"the state of {place} was moved to {target}",
            f"give --state {target}; if the move was cut off, complete it:"
            f" upswell state move {target} --state {place}",
        )
    if (state_dir / MOVING).exists() and not (state_dir / DATABASE).exists():
        raise ConfigError(
            f"a state was being moved to {place}, and is not there yet",
            "run the same `upswell state move` again",
        )


def _refuse_special(path: Path) -> None:
    """Refuse a link, a pipe and the like in the place of a database file. Raises FileNotFoundError without a file."""
    if not stat.S_ISREG(path.lstat().st_mode):
        raise StorageError(
            f"{escape(str(path))}: not a regular file",
            "replace it with the state's own file; --state names a state in another place",
        )


def damaged(path: Path, what: str) -> StorageError:
    """Return the error for a state in which ``what`` cannot be true."""
    return StorageError(f"the state {escape(str(path))} is damaged: {what}", DAMAGED_HINT)


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Translate the errors of SQLite and of the disk into ours, without the texts of SQLite that may quote a row."""
    try:
        yield
    except sqlite3.Error as error:
        raise _translate(error, path) from error
    except UnicodeDecodeError:
        raise damaged(path, "a text in it cannot be read") from None
    except OSError as error:
        raise StorageError(
            f"{escape(str(error.filename or path))}: {error.strerror}",
            next_step(error, Path(error.filename or path), RECOVERS),
        ) from error


def _translate(error: sqlite3.Error, path: Path) -> UpswellError:
    name = getattr(error, "sqlite_errorname", "")
    primary = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return Locked(
            f"the state {escape(str(path))} is locked by another program ({name})",
            "close whatever has it open for writing, then start again",
        )
    if primary == sqlite3.SQLITE_NOMEM:
        return OutOfMemory(
            f"not enough memory to read the state {escape(str(path))}",
            "provide more, and start again",
        )
    if primary in (
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_PERM,
    ):
        return StorageError(
            f"the state {escape(str(path))} cannot be read or written: {error} ({name})",
            _openable(path)
            if primary in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM)
            else RECOVERS,
        )
    if primary == sqlite3.SQLITE_CONSTRAINT:
        return UpswellError(
            f"the state {escape(str(path))} refused a row that violates a constraint: {error} ({name})",
            "nothing of this batch was committed or published; please report this with the output of"
            " `upswell state verify`",
        )
    return damaged(path, name or "a value in it cannot be read")


def _check_sqlite() -> None:
    if sqlite3.sqlite_version_info < SQLITE_MIN:
        needed = ".".join(map(str, SQLITE_MIN))
        raise ConfigError(
            f"SQLite {sqlite3.sqlite_version} is too old: {needed} is required",
            "use a Python that is built with a newer SQLite",
        )


def _openable(path: Path) -> str:
    """Return the next step for a database that cannot be opened."""
    if syscalls.access(path, os.F_OK) and not syscalls.access(path, os.R_OK, effective_ids=True):
        return who_may(path)
    if syscalls.access(path.parent, os.F_OK) and is_read_only(path.parent):
        return (
            "its file system is read-only, and its last run was not stopped cleanly: mount it writable, or copy all of"
            " the directory to where this user may write"
        )
    return (
        "give this user permission to read and write it and the -wal and -shm files beside it, and enough open files"
        " (ulimit -n)"
    )


def is_read_only(directory: Path) -> bool:
    """Return whether the directory lies on a read-only mount."""
    return bool(os.statvfs(directory).f_flag & os.ST_RDONLY)


def openable_path(path: Path) -> Path:
    """Return the path of a database with the links on the way to it resolved, as SQLite measures it.

    Raises ConfigError when it is too long for SQLite, which would say only that it cannot open the file.
    """
    resolved = Path(os.path.realpath(path.parent)) / path.name
    length = len(os.fsencode(resolved))
    if length > _PATH_BYTES_MAX:
        raise ConfigError(
            f"the path of {escape(str(path))} has {length} bytes, and SQLite opens at most {_PATH_BYTES_MAX}"
            " (counted from /, links resolved)",
            "name a directory with a shorter path (that of a state by --state DIR)",
        )
    return resolved


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """Open an existing database, read-only ("ro") or read-write ("rw"), without any of the guarantees yet.

    Raises ConfigError when its path is too long.
    """
    uri = f"file:{urllib.parse.quote(os.fsencode(openable_path(path)))}?mode={mode}"
    return sqlite3.connect(
        uri, uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False
    )


_SAFETY_PRAGMAS = (
    ("trusted_schema", 0),
    ("cell_size_check", 1),
    ("mmap_size", 0),  # an I/O error must be an error, not a signal
    ("temp_store", 2),  # in memory: rows are personal data
)
_WRITER_PRAGMAS: tuple[tuple[str, object, object], ...] = (
    ("journal_mode", "WAL", "wal"),
    ("synchronous", "FULL", 2),
    ("wal_autocheckpoint", 0, 0),
    ("journal_size_limit", _WAL_BYTES_KEPT, _WAL_BYTES_KEPT),
    ("foreign_keys", 1, 1),
    ("secure_delete", 1, 1),
    ("cache_size", -_CACHE_KIB, -_CACHE_KIB),
    *((name, value, value) for name, value in _SAFETY_PRAGMAS),
)


def _pragma(
    db: sqlite3.Connection, name: str, value: object = None, expected: object = None
) -> int:
    if value is not None:
        db.execute(f"PRAGMA {name} = {value}").fetchall()
    if value is not None and expected is None:
        return 0
    (found,) = db.execute(f"PRAGMA {name}").fetchone() or (0,)
    if expected is not None and found != expected:
        raise StorageError(
            f"SQLite does not accept {name} = {value}: it keeps {found}",
            "use a Python with a standard build of SQLite, and a local disk",
        )
    return int(found) if expected is None else 0


def _check_identity(db: sqlite3.Connection, path: Path) -> None:
    application, version = _pragma(db, "application_id"), _pragma(db, "user_version")
    empty = db.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,)
    if application != APPLICATION_ID and not (empty and application == version == 0):
        raise ConfigError(
            f"{escape(str(path))} is a database, but not a state of Upswell",
            "check --output and --state, or move the file elsewhere",
        )
    refuse_unknown(db, f"the state {escape(str(path))}")


def _check_pages(db: sqlite3.Connection, path: Path, unclean: bool) -> None:
    """Check pages and indexes: after a crash of the whole database, else of the tables that a start relies on."""
    checks = ["quick_check(1)"] if unclean else []
    # An index that lost an entry answers as if there were no such row, which quick_check does not look for.
    checks += [
        f"integrity_check({name})"
        for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
        if name not in _PROVEN_WHEN_READ
    ]
    for check in checks:
        if db.execute(f"PRAGMA {check}").fetchall() != [("ok",)]:
            raise damaged(path, "its pages are inconsistent")


_PROVEN_WHEN_READ = {"ledger_base", "ledger_delta", "reference", "notification"}
"""Tables of many pages that are checked after a crash alone. Contents have digests, and the seal knows how many there
are; a notification is read back only to make a staged file again, whose digest is known, too."""
