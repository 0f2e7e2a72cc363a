"""The tables of the checkpoint's database, and the steps by which a database gets them.

Owns the schema. ``user_version`` counts the migrations that a database has; each is applied once, in a transaction of
its own, so a crash leaves a database between two of them and the next start goes on. Until a version of Upswell is
released the one migration may change in place (``tests/support/states`` is made anew in the same commit), and a
database that another build made is refused by the checksum that it notes; from the first release on, a change of the
schema is a migration of its own.
"""

import sqlite3
import uuid
import zlib
from datetime import UTC, datetime
from typing import NamedTuple

from upswell.errors import ConfigError
from upswell.state.identity import StateIdentity, write_identity
from upswell.state.seal import seal_anew

APPLICATION_ID = 0x75707377  # "upsw"


class Migration(NamedTuple):
    """One step of the schema."""

    name: str
    statements: tuple[str, ...]

    @property
    def recorded(self) -> str:
        """Its name as a database notes it, with a checksum of the statements."""
        return f"{self.name}-{zlib.crc32(';'.join(self.statements).encode()):08x}"


MIGRATIONS = (
    Migration(
        "first",
        (
            f"PRAGMA application_id = {APPLICATION_ID}",
            "CREATE TABLE migration(number INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at TEXT NOT NULL) STRICT",
            "CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL, row_checksum INTEGER NOT NULL)"
            " STRICT, WITHOUT ROWID",
            """CREATE TABLE batch(
                number INTEGER PRIMARY KEY, stamp TEXT NOT NULL, newest_stamp TEXT NOT NULL,
                day_open INTEGER NOT NULL, rules_version TEXT NOT NULL, segment_version TEXT NOT NULL,
                suppress_version TEXT NOT NULL, policy_version TEXT NOT NULL, zones_version TEXT NOT NULL,
                lines INTEGER NOT NULL, bytes INTEGER NOT NULL, rejects_bytes INTEGER NOT NULL,
                rejects_digest TEXT NOT NULL, outcomes TEXT NOT NULL, reasons TEXT NOT NULL,
                committed_at TEXT NOT NULL, checksum_before INTEGER NOT NULL, row_checksum INTEGER NOT NULL
            ) STRICT""",
            # A name that is not UTF-8 is kept as bytes, hence ANY.
            """CREATE TABLE file(
                id INTEGER PRIMARY KEY, name ANY NOT NULL UNIQUE, state TEXT NOT NULL, stamp TEXT NOT NULL,
                reason TEXT NOT NULL, detail TEXT NOT NULL, inode INTEGER NOT NULL, size INTEGER NOT NULL,
                mtime_ns INTEGER NOT NULL, "offset" INTEGER NOT NULL, newlines INTEGER NOT NULL,
                digest INTEGER NOT NULL, tail INTEGER NOT NULL, content_bytes INTEGER NOT NULL,
                content_digest INTEGER NOT NULL, first_record INTEGER, late INTEGER NOT NULL,
                rejects_kept_bytes INTEGER NOT NULL, lines INTEGER NOT NULL, outcomes TEXT NOT NULL,
                reasons TEXT NOT NULL, repeats INTEGER NOT NULL, continues TEXT NOT NULL,
                continued_by TEXT NOT NULL, row_checksum INTEGER NOT NULL
            ) STRICT""",
            "CREATE INDEX file_state ON file(state)",
            "CREATE INDEX file_stamp ON file(stamp)",
            "CREATE INDEX file_first_record ON file(first_record) WHERE first_record IS NOT NULL",
            "CREATE INDEX file_repeats ON file(repeats) WHERE repeats > 0",
            """CREATE TABLE archived(
                file INTEGER PRIMARY KEY REFERENCES file ON DELETE CASCADE,
                state TEXT NOT NULL CHECK(state IN ('moving', 'moved', 'grew', 'taken'))
            ) STRICT""",
            "CREATE INDEX archived_open ON archived(state) WHERE state <> 'moved'",
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
            # Rows of the control group stand among the others, so that one key keeps both at one a day. No references
            # here: these rows come by the million, and the commit writes their parents itself.
            """CREATE TABLE notification(
                day INTEGER NOT NULL, application INTEGER NOT NULL, msisdn TEXT NOT NULL, batch INTEGER NOT NULL,
                sequence INTEGER NOT NULL, byte INTEGER NOT NULL, raw BLOB NOT NULL, control INTEGER NOT NULL,
                PRIMARY KEY(day, application, msisdn)
            ) STRICT, WITHOUT ROWID""",
            """CREATE TABLE notified_total(
                day INTEGER NOT NULL, application INTEGER NOT NULL REFERENCES application, lines INTEGER NOT NULL,
                PRIMARY KEY(day, application)
            ) STRICT, WITHOUT ROWID""",
            """CREATE TABLE control_total(
                day INTEGER NOT NULL, application INTEGER NOT NULL REFERENCES application, lines INTEGER NOT NULL,
                PRIMARY KEY(day, application)
            ) STRICT, WITHOUT ROWID""",
            """CREATE TABLE staged(
                batch INTEGER NOT NULL REFERENCES batch, application INTEGER NOT NULL REFERENCES application,
                control INTEGER NOT NULL, length INTEGER NOT NULL, digest BLOB NOT NULL,
                PRIMARY KEY(batch, application, control)
            ) STRICT, WITHOUT ROWID""",
            """CREATE TABLE total(
                kind TEXT NOT NULL, name TEXT NOT NULL, value INTEGER NOT NULL, PRIMARY KEY(kind, name)
            ) STRICT, WITHOUT ROWID""",
            """CREATE TABLE reference(
                id INTEGER PRIMARY KEY, kind TEXT NOT NULL, version TEXT NOT NULL, content BLOB NOT NULL,
                digest BLOB NOT NULL, note TEXT NOT NULL, taken_at TEXT NOT NULL, first_batch INTEGER,
                UNIQUE(kind, version)
            ) STRICT""",
            # `reference` has a version once: not when it was made current again, nor an edit that was refused.
            """CREATE TABLE edit(
                id INTEGER PRIMARY KEY,
                kind TEXT NOT NULL CHECK(kind IN ('rules', 'segment', 'suppress', 'policy', 'zones', 'refused')),
                version TEXT NOT NULL, first_batch INTEGER NOT NULL, words TEXT NOT NULL, at TEXT NOT NULL
            ) STRICT""",
            # Contents come last: the columns before them are read without their pages.
            "CREATE TABLE ledger_base(shard INTEGER PRIMARY KEY, batch INTEGER NOT NULL, row_checksum INTEGER NOT NULL,"
            " content BLOB NOT NULL) STRICT",
            "CREATE TABLE ledger_delta(batch INTEGER PRIMARY KEY, row_checksum INTEGER NOT NULL, content BLOB NOT NULL)"
            " STRICT",
            # The ledger of a run on a cluster lies in files beside the database: those that are named here.
            """CREATE TABLE shard_file(
                shard INTEGER NOT NULL, batch INTEGER NOT NULL, kind TEXT NOT NULL CHECK(kind IN ('base', 'delta')),
                name TEXT NOT NULL UNIQUE, bytes INTEGER NOT NULL, digest INTEGER NOT NULL,
                row_checksum INTEGER NOT NULL, PRIMARY KEY(shard, batch)
            ) STRICT, WITHOUT ROWID""",
            # Who was forgotten is known by a hash, whose key goes with the days that it is needed for.
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
        ),
    ),
)


def is_current(db: sqlite3.Connection) -> bool:
    """Return whether the database has every migration."""
    return _version(db) == len(MIGRATIONS)


def refuse_unknown(db: sqlite3.Connection, what: str) -> None:
    """Raise ConfigError when the database has migrations that this version does not know. ``what``: it, in words."""
    if (version := _version(db)) > len(MIGRATIONS):
        raise ConfigError(
            f"{what} was written by a newer version (schema {version}, known {len(MIGRATIONS)})",
            "use that version or a later one",
        )
    if not version:
        return
    known = MIGRATIONS[:version]
    try:
        noted = [str(name) for (name,) in db.execute("SELECT name FROM migration ORDER BY number")]
    except sqlite3.DatabaseError:
        return  # of damage the checks say more
    is_other = noted != [migration.recorded for migration in known]
    # Other names than those that any build gave are damage, too.
    if is_other and [name.partition("-")[0] for name in noted] == [one.name for one in known]:
        raise ConfigError(
            f"{what} was made by a build of Upswell that was not released, with other tables",
            "go on with that build, or begin a new state with --state, --adopt and --since",
        )


def migrate(db: sqlite3.Connection) -> None:
    """Apply the migrations that the database lacks; the first also gives the state its id."""
    version = _version(db)
    for number, migration in enumerate(MIGRATIONS[version:], version + 1):
        db.execute("BEGIN IMMEDIATE")
        for statement in migration.statements:
            db.execute(statement)
        if number == 1:
            write_identity(db, StateIdentity(), StateIdentity(state_id=str(uuid.uuid4())))
            seal_anew(db)
        applied_at = datetime.now(UTC).isoformat(timespec="seconds")
        db.execute(
            "INSERT INTO migration VALUES (?, ?, ?)", (number, migration.recorded, applied_at)
        )
        db.execute(f"PRAGMA user_version = {number}")
        db.execute("COMMIT")


def _version(db: sqlite3.Connection) -> int:
    ((version,),) = db.execute("PRAGMA user_version").fetchall()
    return int(version)
