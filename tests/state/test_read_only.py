"""A state on a read-only mount: every reader reads one that was stopped cleanly, and says so of another."""

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from support.command import Upswell, clean_environment
from support.faults.limits import own_namespace
from support.inputs import inside, write_inputs
from upswell.errors import InputMissing, OutOfMemory, StorageError
from upswell.state import connection
from upswell.state.reader import StateReader
from upswell.storage import syscalls

COMMANDS = (
    ["status", "--json"], ["sent"], ["rejects"], ["history"], ["explain", "0126545098"], ["reconcile"],
    ["whatif", "--rules", "rules", "--no-curve"], ["effect"], ["state", "verify"], ["state", "show"],
)  # fmt: skip


@pytest.fixture
def upswell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Upswell:
    """The command, within this process."""
    return inside(tmp_path, monkeypatch)


def test_every_reader_reads_a_read_only_mount(upswell: Upswell, tmp_path: Path) -> None:
    """As a snapshot of a volume, or a disk that is looked into elsewhere; a run there is refused with the reason."""
    mounting = own_namespace()
    paths = write_inputs(tmp_path)
    upswell(*paths, "--once", "--settle-s", "0")
    expected = json.loads(upswell("status", "--output", "out", "--json").stdout)["lines"]
    script = (
        'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && cd "$1" && shift && exec "$@"'
    )

    def told(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                *mounting,
                "sh",
                "-c",
                script,
                "sh",
                tmp_path,
                sys.executable,
                "-P",
                "-m",
                "upswell",
                *words,
            ],
            capture_output=True,
            text=True,
            check=False,
            env=clean_environment(),
        )

    for words in COMMANDS:
        done = told(*words, "--output", "out")
        assert 0 == done.returncode, (words, done.stderr)
        if words[0] == "status":
            assert expected == json.loads(done.stdout)["lines"]
    done = told(*paths, "--once")
    assert 73 == done.returncode
    assert "its file system is read-only: mount it writable" in done.stderr


def test_a_frozen_state_is_read_without_a_file_beside_it(
    upswell: Upswell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite would make its files otherwise. A state with a log, which a run may be writing, is read as ever."""
    upswell(*write_inputs(tmp_path), "--once", "--settle-s", "0")
    state_dir = tmp_path / "out" / ".upswell"
    before = sorted(state_dir.iterdir())
    monkeypatch.setattr(connection, "is_read_only", lambda directory: True)

    with StateReader.open(state_dir) as reader:
        assert 1 == reader.last_batch()
        assert before == sorted(state_dir.iterdir())
    with closing(sqlite3.connect(state_dir / "checkpoint.db")) as db:
        db.execute("BEGIN IMMEDIATE")
        db.execute("PRAGMA user_version")
        assert (state_dir / "checkpoint.db-wal").exists()
        with StateReader.open(state_dir) as reader:
            assert 1 == reader.last_batch()


def test_a_database_that_cannot_be_opened_says_why(
    upswell: Upswell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its owner, or a log that a read-only mount keeps from being read; otherwise the permissions that it needs."""
    upswell(*write_inputs(tmp_path), "--once", "--settle-s", "0")
    state_dir = tmp_path / "out" / ".upswell"

    def fail(path: Path, mode: str) -> sqlite3.Connection:
        db = sqlite3.connect(f"file:{tmp_path}/nowhere/x?mode={mode}", uri=True)
        pytest.fail(f"opened {path}: {db}")

    monkeypatch.setattr(connection, "connect", fail)
    hints = []
    for read_only, readable in ((False, True), (True, True), (False, False)):
        monkeypatch.setattr(connection, "is_read_only", lambda directory, found=read_only: found)
        monkeypatch.setattr(
            syscalls, "access", lambda path, mode, found=readable, **_: found or mode == 0
        )
        with pytest.raises(StorageError) as raised:
            StateReader.open(state_dir)
        hints.append(raised.value.hint)

    assert "-wal and -shm files beside it" in hints[0]
    assert "was not stopped cleanly: mount it writable, or copy" in hints[1]
    assert "correct the mode of" in hints[2]


def test_lack_of_memory_is_told_as_that(tmp_path: Path) -> None:
    """No disk is to be repaired for it."""
    error = sqlite3.OperationalError("out of memory")
    error.sqlite_errorcode, error.sqlite_errorname = sqlite3.SQLITE_NOMEM, "SQLITE_NOMEM"

    with (
        pytest.raises(OutOfMemory, match="not enough memory to read") as raised,
        connection.storage_errors(tmp_path),
    ):
        raise error
    assert 74 == raised.value.exit_code


def test_no_state_is_a_missing_input(tmp_path: Path) -> None:
    """The path is wrong, or no run was there yet."""
    for place in (tmp_path, tmp_path / "none" / "at all"):
        with pytest.raises(InputMissing, match="there is no state"):
            StateReader.open(place)
