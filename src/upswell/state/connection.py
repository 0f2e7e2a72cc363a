"""The checkpoint's database: its tables, how they came about, and how a connection to it is made.

Owns the migrations, the pragmas and the translation of SQLite's errors into ours. Reads and writes no rows but those
of ``migration``. Every connection is made here, so each has the same guarantees: a commit is on disk when it returns,
and a damaged page is an error, not an answer.
"""

import contextlib
import os
import sqlite3
import stat
import urllib.parse
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from upswell.errors import ConfigError, Locked, StorageError, UpswellError
from upswell.privacy import escape
from upswell.state.codec import seal
from upswell.storage.files import RECOVERS, next_step, sync_directory

DATABASE = "checkpoint.db"
APPLICATION_ID = 0x75707377  # "upsw"
EXPORTED = "exported"
"""Of ``meta``: the files that the state was written to, or was made of; see ``transfer.exported``."""
STATE_ID = "state_id"
"""The entry of ``meta`` that no other state has: batches are sealed with it."""
SQLITE_MIN = (3, 37, 0)  # the first with STRICT tables
RESTORE_HINT = (
    "restore a backup of the state together with its OUTPUT, or begin a new state over this OUTPUT with --state,"
    " --adopt and --since"
)
DAMAGED_HINT = f"`upswell state verify` says what is wrong; {RESTORE_HINT}"
_PAGE_BYTES = 8192
_CACHE_KIB = 8192  # as fast as 64 MiB, which a long run fills: the system caches the file, too
_WAL_BYTES_KEPT = 64 << 20  # a longer write-ahead log is cut back when it starts again
BUSY_S = 5.0


class Migration(NamedTuple):
    """One step of the schema: applied once, in a transaction of its own."""

    name: str
    statements: tuple[str, ...]


MIGRATIONS = (
    Migration(
        "first",
        (
            "CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL, seal INTEGER NOT NULL)"
            " STRICT, WITHOUT ROWID",
            """CREATE TABLE batch(
                number INTEGER PRIMARY KEY, stamp TEXT NOT NULL, newest_stamp TEXT NOT NULL,
                day_open INTEGER NOT NULL, rules_version TEXT NOT NULL, segment_version TEXT NOT NULL,
                lines INTEGER NOT NULL, bytes INTEGER NOT NULL, rejects_bytes INTEGER NOT NULL,
                outcomes TEXT NOT NULL, reasons TEXT NOT NULL, committed_at TEXT NOT NULL, seal INTEGER NOT NULL
            ) STRICT""",
            # A name that is no UTF-8 is kept as bytes, hence ANY.
            """CREATE TABLE file(
                id INTEGER PRIMARY KEY, name ANY NOT NULL UNIQUE, state TEXT NOT NULL, stamp TEXT NOT NULL,
                reason TEXT NOT NULL, detail TEXT NOT NULL, inode INTEGER NOT NULL, size INTEGER NOT NULL,
                mtime_ns INTEGER NOT NULL, "offset" INTEGER NOT NULL, newlines INTEGER NOT NULL,
                digest INTEGER NOT NULL, tail INTEGER NOT NULL, content_bytes INTEGER NOT NULL,
                content_digest INTEGER NOT NULL, first_record INTEGER, late INTEGER NOT NULL,
                rejects_kept_bytes INTEGER NOT NULL, lines INTEGER NOT NULL, outcomes TEXT NOT NULL,
                reasons TEXT NOT NULL, seal INTEGER NOT NULL
            ) STRICT""",
            "CREATE INDEX file_state ON file(state)",
            "CREATE INDEX file_first_record ON file(first_record) WHERE first_record IS NOT NULL",
            """CREATE TABLE log(
                batch INTEGER NOT NULL REFERENCES batch, sequence INTEGER NOT NULL,
                file INTEGER NOT NULL REFERENCES file, stamp TEXT NOT NULL, from_byte INTEGER NOT NULL,
                to_byte INTEGER NOT NULL, newest_stamp TEXT NOT NULL, PRIMARY KEY(batch, sequence)
            ) STRICT, WITHOUT ROWID""",
            """CREATE TABLE dropped_rejects(
                batch INTEGER NOT NULL REFERENCES batch, sequence INTEGER NOT NULL, lines INTEGER NOT NULL,
                from_byte INTEGER NOT NULL, to_byte INTEGER NOT NULL, PRIMARY KEY(batch, sequence)
            ) STRICT, WITHOUT ROWID""",
            "CREATE TABLE application(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,"
            " directory TEXT NOT NULL UNIQUE) STRICT",
            # No references here: these rows come by the million, and the commit writes their parents itself.
            """CREATE TABLE notification(
                day INTEGER NOT NULL, application INTEGER NOT NULL, msisdn TEXT NOT NULL, batch INTEGER NOT NULL,
                sequence INTEGER NOT NULL, byte INTEGER NOT NULL, raw BLOB NOT NULL,
                PRIMARY KEY(day, application, msisdn)
            ) STRICT, WITHOUT ROWID""",
            """CREATE TABLE notified_total(
                day INTEGER NOT NULL, application INTEGER NOT NULL REFERENCES application, lines INTEGER NOT NULL,
                PRIMARY KEY(day, application)
            ) STRICT, WITHOUT ROWID""",
            """CREATE TABLE staged(
                batch INTEGER NOT NULL REFERENCES batch, application INTEGER NOT NULL REFERENCES application,
                length INTEGER NOT NULL, digest BLOB NOT NULL, PRIMARY KEY(batch, application)
            ) STRICT, WITHOUT ROWID""",
            """CREATE TABLE total(
                kind TEXT NOT NULL, name TEXT NOT NULL, value INTEGER NOT NULL, PRIMARY KEY(kind, name)
            ) STRICT, WITHOUT ROWID""",
            """CREATE TABLE reference(
                id INTEGER PRIMARY KEY, kind TEXT NOT NULL, version TEXT NOT NULL, content BLOB NOT NULL,
                digest BLOB NOT NULL, note TEXT NOT NULL, taken_at TEXT NOT NULL, first_batch INTEGER,
                UNIQUE(kind, version)
            ) STRICT""",
            "CREATE TABLE ledger_base(shard INTEGER PRIMARY KEY, batch INTEGER NOT NULL, content BLOB NOT NULL,"
            " seal INTEGER NOT NULL) STRICT",
            "CREATE TABLE ledger_delta(batch INTEGER PRIMARY KEY, content BLOB NOT NULL, seal INTEGER NOT NULL)"
            " STRICT",
        ),
    ),
    Migration(
        "answers",
        (
            # What a version was taken over again for is lost in `reference`, and a refused edit never came there.
            """CREATE TABLE edit(
                id INTEGER PRIMARY KEY,
                kind TEXT NOT NULL CHECK(kind IN ('rules', 'segment', 'suppress', 'policy', 'refused')),
                version TEXT NOT NULL, first_batch INTEGER NOT NULL, words TEXT NOT NULL, at TEXT NOT NULL
            ) STRICT""",
            """INSERT INTO edit(kind, version, first_batch, words, at)
                SELECT kind, version, coalesce(first_batch, (SELECT max(number) + 1 FROM batch),
                    (SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'first_batch'), 1), note, taken_at
                FROM reference ORDER BY taken_at, id""",
            "CREATE INDEX file_stamp ON file(stamp)",
            # Not part of a row's seal while it is 0, so that the rows of before keep theirs.
            "ALTER TABLE file ADD COLUMN repeats INTEGER NOT NULL DEFAULT 0",
            "CREATE INDEX file_repeats ON file(repeats) WHERE repeats > 0",
            # The same with a batch's row while it is empty.
            "ALTER TABLE batch ADD COLUMN rejects_digest TEXT NOT NULL DEFAULT ''",
            # The ledger of a run on a cluster lies in files beside the database: those that are named here.
            """CREATE TABLE shard_file(
                shard INTEGER NOT NULL, batch INTEGER NOT NULL, kind TEXT NOT NULL CHECK(kind IN ('base', 'delta')),
                name TEXT NOT NULL UNIQUE, bytes INTEGER NOT NULL, digest INTEGER NOT NULL, seal INTEGER NOT NULL,
                PRIMARY KEY(shard, batch)
            ) STRICT, WITHOUT ROWID""",
        ),
    ),
    Migration(
        "archive",
        (
            """CREATE TABLE archived(
                file INTEGER PRIMARY KEY REFERENCES file ON DELETE CASCADE,
                state TEXT NOT NULL CHECK(state IN ('moving', 'moved', 'grew', 'taken'))
            ) STRICT""",
            "CREATE INDEX archived_open ON archived(state) WHERE state <> 'moved'",
        ),
    ),
    Migration(
        "policies",
        (
            "ALTER TABLE batch ADD COLUMN suppress_version TEXT NOT NULL DEFAULT ''",
            "ALTER TABLE batch ADD COLUMN policy_version TEXT NOT NULL DEFAULT ''",
            # Rows of the control group stand among the others, so that one key keeps both at one a day.
            "ALTER TABLE notification ADD COLUMN control INTEGER NOT NULL DEFAULT 0",
            """CREATE TABLE control_total(
                day INTEGER NOT NULL, application INTEGER NOT NULL REFERENCES application, lines INTEGER NOT NULL,
                PRIMARY KEY(day, application)
            ) STRICT, WITHOUT ROWID""",
            # Who was forgotten is known by a hash whose key goes with the days that it is needed for.
            """CREATE TABLE forgetting(
                id INTEGER PRIMARY KEY, hash_key BLOB, people INTEGER NOT NULL, first_batch INTEGER NOT NULL,
                until_day INTEGER NOT NULL, until_batch INTEGER, at TEXT NOT NULL
            ) STRICT""",
            """CREATE TABLE forgotten(
                forgetting INTEGER NOT NULL REFERENCES forgetting, hash INTEGER NOT NULL,
                PRIMARY KEY(forgetting, hash)
            ) STRICT, WITHOUT ROWID""",
            """CREATE TABLE forgotten_lines(
                batch INTEGER NOT NULL REFERENCES batch, application INTEGER NOT NULL REFERENCES application,
                control INTEGER NOT NULL, day INTEGER NOT NULL, lines INTEGER NOT NULL, bytes INTEGER NOT NULL,
                PRIMARY KEY(batch, application, control, day)
            ) STRICT, WITHOUT ROWID""",
            "ALTER TABLE staged RENAME TO staged_before",
            """CREATE TABLE staged(
                batch INTEGER NOT NULL REFERENCES batch, application INTEGER NOT NULL REFERENCES application,
                control INTEGER NOT NULL, length INTEGER NOT NULL, digest BLOB NOT NULL,
                PRIMARY KEY(batch, application, control)
            ) STRICT, WITHOUT ROWID""",
            "INSERT INTO staged SELECT batch, application, 0, length, digest FROM staged_before",
            "DROP TABLE staged_before",
        ),
    ),
)


def open_writer(state_dir: Path) -> sqlite3.Connection:
    """The one read-write connection, to a database that is created or brought up to date. The lock must be held.

    A crash in the middle leaves no database, an empty one, or one between two migrations; the next start goes on.
    """
    path = state_dir / DATABASE
    _check_sqlite()
    with storage_errors(path):
        try:
            # Made here first: SQLite gives the same mode to every file that it puts beside it.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
            sync_directory(state_dir)
        except FileExistsError:
            pass
        wal = path.with_name(DATABASE + "-wal")
        for file in (path, wal, path.with_name(DATABASE + "-shm")):
            # A mode that somebody changed would be copied to the log beside it, and outlive its correction.
            with contextlib.suppress(FileNotFoundError):
                _refuse_special(file)
                file.chmod(0o600)
        unclean = wal.exists() and wal.stat().st_size > 0
        db = connect(path, "rw")
        try:
            _pragma(db, "page_size", _PAGE_BYTES)
            _check_identity(db, path)
            for name, value, expected in _WRITER_PRAGMAS:
                _pragma(db, name, value, expected)
            if unclean:
                _quick_check(db, path)
            _migrate(db)
        except BaseException:
            db.close()
            raise
    return db


def open_reader(state_dir: Path) -> sqlite3.Connection:
    """A read-only connection; its transactions should be brief, since the writer's log grows meanwhile."""
    path = state_dir / DATABASE
    _check_sqlite()
    with storage_errors(path):
        try:
            _refuse_special(path)
        except (FileNotFoundError, NotADirectoryError):
            raise StorageError(
                f"there is no state in {escape(str(state_dir))}",
                "check --output or --state; a first run makes the state",
            ) from None
        db = connect(path, "ro")
        try:
            _check_identity(db, path)
            _pragma(db, "query_only", 1, 1)
            for name, value in _SAFETY_PRAGMAS:
                _pragma(db, name, value)
            if _pragma(db, "user_version") < len(MIGRATIONS):
                raise StorageError(
                    f"the state {escape(str(path))} is of an older version, or was never begun",
                    "start a run with this version first: it brings the state up to date",
                )
        except BaseException:
            db.close()
            raise
    return db


def _refuse_special(path: Path) -> None:
    """Refuse a link, a pipe and the like in the place of a database file. FileNotFoundError when nothing is there."""
    if not stat.S_ISREG(path.lstat().st_mode):
        raise StorageError(
            f"{escape(str(path))}: is a link or no regular file",
            "move it away, and put the state's own file there; --state names a state in another place",
        )


def damaged(path: Path, what: str) -> StorageError:
    """The error for a state that cannot be true."""
    return StorageError(f"the state {escape(str(path))} is damaged: {what}", DAMAGED_HINT)


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn what SQLite and the disk report into our errors. Texts of SQLite that may quote a row are left out."""
    try:
        yield
    except sqlite3.Error as error:
        raise _translate(error, path) from error
    except UnicodeDecodeError:
        raise damaged(path, "a text in it cannot be read") from None
    except OSError as error:
        raise StorageError(
            f"{escape(str(error.filename or path))}: {error.strerror}",
            next_step(error, RECOVERS),
        ) from error


def _translate(error: sqlite3.Error, path: Path) -> UpswellError:
    name = getattr(error, "sqlite_errorname", "")
    primary = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return Locked(
            f"the state {escape(str(path))} is locked by another program ({name})",
            "close whatever has it open for writing, then start again",
        )
    if primary in (
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PERM,
    ):
        return StorageError(
            f"the state {escape(str(path))} cannot be read or written: {error} ({name})",
            "give this user permission to read and write it and the -wal and -shm beside it, and enough open files"
            " (ulimit -n)"
            if primary in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM)
            else RECOVERS,
        )
    if primary == sqlite3.SQLITE_CONSTRAINT:
        return UpswellError(
            f"the state {escape(str(path))} refused a row that breaks its rules: {error} ({name})",
            "nothing of this batch was committed or published; please report this with the output of"
            " `upswell state verify`",
        )
    return damaged(path, name or "a value in it cannot be read")


def _check_sqlite() -> None:
    if sqlite3.sqlite_version_info < SQLITE_MIN:
        needed = ".".join(map(str, SQLITE_MIN))
        raise ConfigError(
            f"SQLite {sqlite3.sqlite_version} is too old: {needed} is needed",
            "use a Python that is built with a newer SQLite",
        )


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """A connection to a database that is there, without any guarantee yet: "ro" or "rw"."""
    uri = f"file:{urllib.parse.quote(os.fsencode(path.absolute()))}?mode={mode}"
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
            f"SQLite does not accept {name} = {value}: it says {found}",
            "use a Python with a standard build of SQLite, and a local disk",
        )
    return int(found) if expected is None else 0


def _check_identity(db: sqlite3.Connection, path: Path) -> None:
    application, version = _pragma(db, "application_id"), _pragma(db, "user_version")
    empty = db.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,)
    if application != APPLICATION_ID and not (empty and application == version == 0):
        raise ConfigError(
            f"{escape(str(path))} is a database, but not a state of Upswell",
            "check --output and --state, or move the file away",
        )
    if version > len(MIGRATIONS):
        raise ConfigError(
            f"the state {escape(str(path))} was written by a newer version (schema {version}, known {len(MIGRATIONS)})",
            "use that version or a later one",
        )


def _quick_check(db: sqlite3.Connection, path: Path) -> None:
    rows = db.execute("PRAGMA quick_check(1)").fetchall()
    if rows != [("ok",)]:
        raise damaged(path, "its pages do not fit together")


def _migrate(db: sqlite3.Connection) -> None:
    for number in range(_pragma(db, "user_version") + 1, len(MIGRATIONS) + 1):
        migration = MIGRATIONS[number - 1]
        db.execute("BEGIN IMMEDIATE")
        if number == 1:
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute(
                "CREATE TABLE migration(number INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at TEXT NOT NULL)"
                " STRICT"
            )
        for statement in migration.statements:
            db.execute(statement)
        if number == 1:
            identity = str(uuid.uuid4())
            db.execute(
                "INSERT INTO meta VALUES (?, ?, ?)", (STATE_ID, identity, seal(STATE_ID, identity))
            )
        applied_at = datetime.now(UTC).isoformat(timespec="seconds")
        db.execute("INSERT INTO migration VALUES (?, ?, ?)", (number, migration.name, applied_at))
        db.execute(f"PRAGMA user_version = {number}")
        db.execute("COMMIT")
