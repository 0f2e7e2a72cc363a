"""What a state refuses to be opened with or over, and that an older one is brought up to date."""

import os
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest

from support.batches import SHARDS, World, made, refused
from upswell.errors import ConfigError, Locked, StorageError
from upswell.state import connection, migrations
from upswell.state.checkpoint import Checkpoint
from upswell.state.identity import StateIdentity
from upswell.state.ledger import read_ledger
from upswell.state.maintenance.verify import verify
from upswell.state.migrations import Migration
from upswell.state.reader import StateReader


@pytest.fixture
def state(tmp_path):
    """The directory of a state with one batch, closed."""
    with World(tmp_path / "out") as world:
        world.committer.commit(made(1))
    return world.state


def test_writer_that_is_not_ours_is_told_and_not_waited_for_again(tmp_path, monkeypatch):
    """Another program inside a write ends the run with 75; after it nothing more is written, and a restart goes on."""
    monkeypatch.setattr(connection, "BUSY_S", 0.05)
    with World(tmp_path / "out") as world:
        known = world.checkpoint.reader.identity()

        def noted(since: str) -> StateIdentity:
            return replace(known, since=since)

        with sqlite3.connect(world.state / "checkpoint.db", isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")
            with refused(Locked, "locked by another program"):
                world.checkpoint.set_identity(noted("1"))
        other.close()
        with refused(StorageError, "earlier write to the state failed"):
            world.checkpoint.set_identity(noted("2"))
    with World(tmp_path / "out") as world:
        world.checkpoint.set_identity(noted("3"))
        assert "3" == world.checkpoint.reader.identity().since


def test_lock_that_is_no_file_is_told(tmp_path):
    """A directory or a pipe in the lock's place is an error of the disk, with its path."""
    lock = tmp_path / "state" / "lock"
    lock.mkdir(parents=True)
    with refused(StorageError, "lock: Is a directory"):
        Checkpoint.open(tmp_path / "state", SHARDS)
    lock.rmdir()
    os.mkfifo(lock)
    with refused(StorageError, "lock: not a regular file"):
        Checkpoint.open(tmp_path / "state", SHARDS)


def test_database_that_is_a_link_is_told(state):
    """It could lead anywhere, and what is written through it could not be trusted to be ours."""
    (state / "checkpoint.db").rename(state / "elsewhere.db")
    (state / "checkpoint.db").symlink_to("elsewhere.db")
    with refused(StorageError, r"checkpoint\.db: not a regular file"):
        Checkpoint.open(state, SHARDS)


def test_damaged_schema_whose_text_cannot_be_read_is_damage(state):
    """SQLite quotes the damaged bytes, which are no text; the refusal is a sentence all the same."""
    with sqlite3.connect(state / "checkpoint.db") as db:
        db.execute("PRAGMA writable_schema = 1")
        db.execute("UPDATE sqlite_schema SET name = CAST(x'ff' AS TEXT), sql = 'CREATE TABLE x'")
    db.close()
    with refused(StorageError, "is damaged"):
        Checkpoint.open(state, SHARDS)


def test_sqlite_that_is_too_old_is_refused(state, monkeypatch):
    """Both versions are named."""
    monkeypatch.setattr(connection, "SQLITE_MIN", (99, 1, 0))
    with refused(ConfigError, f"SQLite {sqlite3.sqlite_version} is too old: 99.1.0"):
        StateReader.open(state)


def test_guarantee_that_sqlite_does_not_give_is_refused(state, monkeypatch):
    """Every pragma is read back: a database that cannot keep a write-ahead log is not written."""
    monkeypatch.setattr(connection, "connect", lambda *_: sqlite3.connect(":memory:"))
    with refused(StorageError, "does not accept journal_mode = WAL: it keeps memory"):
        Checkpoint.open(state, SHARDS)


def test_older_state_is_brought_up_to_date(state, monkeypatch):
    """The migrations that a state lacks are applied at its next start, each once, and nothing of it is lost."""
    known = len(migrations.MIGRATIONS)
    newer = Migration("newer", ("CREATE TABLE more(x INTEGER) STRICT",))
    monkeypatch.setattr(migrations, "MIGRATIONS", (*migrations.MIGRATIONS, newer))
    with refused(StorageError, "older version"):
        StateReader.open(state)
    for _ in range(2):
        with Checkpoint.open(state, SHARDS) as checkpoint:
            assert 1 == checkpoint.reader.last_batch()
            applied = checkpoint.reader._rows("SELECT number, name FROM migration")
            names = [name.partition("-")[0] for _, name in applied]
            assert ["first", "newer"] == [names[0], names[-1]]
            assert known + 1 == len(applied)
            assert [] == checkpoint.reader._rows("SELECT x FROM more")
    assert [] == verify(state)


@pytest.mark.parametrize("name", ["first", "first-00000000"])
def test_a_state_of_an_unreleased_build_is_refused_as_such(tmp_path, name):
    """Its tables may be others: it is neither damaged nor newer, and a service does not start again and again."""
    with World(tmp_path / "out") as world:
        world.committer.commit(made(1))
    state = tmp_path / "out" / ".upswell"
    with closing(sqlite3.connect(state / "checkpoint.db", isolation_level=None)) as db:
        db.execute("UPDATE migration SET name = ?", (name,))
    for opened in (StateReader.open, lambda path: Checkpoint.open(path, SHARDS)):
        with refused(ConfigError, "a build of Upswell that was not released"):
            opened(state)


def test_output_without_caps_can_be_adopted(tmp_path):
    """Then only the batch numbers go on, and no change of the ledger is stored."""
    with Checkpoint.open(tmp_path / "state", SHARDS) as checkpoint:
        checkpoint.adopt(7, b"")
        assert 7 == checkpoint.reader.last_batch()
        assert ([], []) == read_ledger(checkpoint.reader)
        assert 0 == checkpoint.ledger_sizes().deltas


def test_pages_that_do_not_fit_together_are_found_after_a_crash(tmp_path):
    """A start that finds a write-ahead log left behind looks over the whole database first."""
    with World(tmp_path / "out") as world:
        world.committer.commit(made(1))
        world.checkpoint.drain_wal(idle=True)
        world.committer.commit(made(2))
        ((root, page_bytes),) = world.checkpoint.reader._rows(
            "SELECT rootpage, page_size FROM sqlite_schema, pragma_page_size WHERE name = 'application'"
        )
        left = tmp_path / "left"
        shutil.copytree(world.state, left)
    with (left / "checkpoint.db").open("r+b") as stream:
        stream.seek((root - 1) * page_bytes)
        stream.write(bytes(page_bytes))
    with refused(StorageError, "pages are inconsistent"):
        Checkpoint.open(left, SHARDS)
