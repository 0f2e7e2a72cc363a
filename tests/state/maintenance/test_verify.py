"""``upswell state verify`` beside a run: what is sound is said to be sound, and the run is not held up."""

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from support.batches import World, made
from upswell.state.maintenance import verify
from upswell.state.reader import StateReader
from upswell.storage.lock import LOCK_NAME, holder

BATCHES_MAX = 60


class Beside:
    """A run that commits and publishes a batch before each read of those who look on, up to BATCHES_MAX."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world = world
        self.batches = 0
        self.in_snapshot: list[str] = []
        """What was read while the writer's log could not start again."""
        self._committing = False
        rows = StateReader._rows

        def read(reader: StateReader, sql: str, parameters: Sequence[object] = ()) -> list[Any]:
            if type(reader) is StateReader:
                self.commit()
                if reader._db.in_transaction:
                    self.in_snapshot.append(sql)
            return rows(reader, sql, parameters)

        monkeypatch.setattr(StateReader, "_rows", read)

    def commit(self) -> None:
        """The next batch, unless a commit is under way."""
        if not self._committing and self.batches < BATCHES_MAX:
            self._committing = True
            self.batches += 1
            self.world.committer.commit(made(self.batches))
            self._committing = False


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A state that a run holds, with its OUTPUT known to it."""
    with World(tmp_path / "out") as world:
        world.committer.recover()
        bound = replace(world.checkpoint.reader.identity(), begun=True, output=tmp_path / "out")
        world.checkpoint.set_identity(bound)
        yield world


def test_a_sound_state_is_sound_while_batches_are_committed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many batches are committed and published between two reads, there is no false fault."""
    monkeypatch.setattr(verify, "_PAGE_ROWS", 3)
    beside = Beside(world, monkeypatch)
    beside.commit()

    assert [] == verify.verify(world.state)
    assert beside.batches > 10


def test_a_snapshot_is_held_for_what_changes_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages, batches, log, notifications and ledger are gone through without holding up the run's log."""
    beside = Beside(world, monkeypatch)
    beside.commit()
    verify.verify(world.state)

    assert beside.in_snapshot
    for grows in ("integrity_check", "FROM log", "number > ?", "FROM notification ", "ledger_base"):
        assert not [sql for sql in beside.in_snapshot if grows in sql]


def test_a_mark_that_appears_after_the_last_look_is_no_fault(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OUTPUT's mark is compared with a look that began after it was read."""
    world.committer.commit(made(1))
    with StateReader.open(world.state) as reader, reader.snapshot():
        reader.last()
        world.committer.commit(made(2))

        assert [] == list(verify._beside(reader))


def test_a_name_in_passing_is_no_fault(world: World) -> None:
    """A directory that the run is about to move to its place is its own; what stays there is a stranger's."""
    world.committer.commit(made(1))
    (world.staging / "directory.new").mkdir()
    moved = threading.Timer(0.1, (world.staging / "directory.new").rmdir)
    moved.start()
    assert [] == verify.verify(world.state)
    moved.join()

    (world.staging / "stranger").touch()
    assert "stranger is not a file of Upswell" in " ".join(verify.verify(world.state))


def test_notifications_of_no_batch_are_told(world: World) -> None:
    """Rows beyond the last batch are never taken for those of a commit that is under way."""
    world.committer.commit(made(1))
    with _database(world) as db:
        db.execute("UPDATE notification SET batch = 7")

    assert "batch 7, but no such batch" in " ".join(verify.verify(world.state))


def test_a_finding_is_said_once_in_one_line(world: World) -> None:
    """Damaged pages are told in sentences without line ends, none of them twice."""
    world.committer.commit(made(1))
    world.checkpoint.drain_wal(idle=True)
    path = world.state / "checkpoint.db"
    data = path.read_bytes()
    path.write_bytes(data[:8192] + b"\xa5" * (len(data) - 8192))
    found = verify.verify(world.state)
    path.write_bytes(data)

    assert "pages are inconsistent" in found[0]
    assert len(set(found)) == len(found)
    assert not [sentence for sentence in found if "\n" in sentence]


def test_the_holder_is_who_took_the_lock(world: World) -> None:
    """One name and one length of the lock file, whoever writes and whoever looks."""
    assert (world.state / LOCK_NAME).is_file()
    assert "process " in (holder(world.state) or "")


@contextmanager
def _database(world: World) -> Iterator[sqlite3.Connection]:
    db = sqlite3.connect(world.state / "checkpoint.db")
    try:
        with db:
            yield db
    finally:
        db.close()
