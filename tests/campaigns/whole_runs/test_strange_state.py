"""A state that is not what the last run left: parts lost, of another time or place, or something else altogether."""

import os
import shutil
import sqlite3
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner

from support import law
from support.inputs import write, write_inputs
from support.trust import Trust
from upswell.cli.main import commands
from upswell.state.reader import StateReader

DATABASE, LOG = "checkpoint.db", "checkpoint.db-wal"
VERIFIED = (0, 1, 66, 74, 78)
"""Exit codes that ``state verify`` may end in."""


class States(NamedTuple):
    """What a strange state is made of: copies of ``.upswell`` directories, and the one that becomes strange."""

    state: Path
    older: Path
    """The same state before its last batch."""
    other: Path
    """The state of another OUTPUT."""


class Strange(NamedTuple):
    """One thing that happens to a state, and the exit codes that the next run may have."""

    what: str
    happen: Callable[[States], object]
    codes: tuple[int, ...]


def sql(*statements: str) -> Callable[[States], None]:
    """Somebody's hand in the database."""

    def happen(states: States) -> None:
        db = sqlite3.connect(states.state / DATABASE, isolation_level=None)
        for statement in statements:
            db.execute(statement)
        db.close()

    return happen


def lose(*names: str) -> Callable[[States], None]:
    """Files that are gone."""

    def happen(states: States) -> None:
        for name in names:
            (states.state / name).unlink(missing_ok=True)

    return happen


def put(name: str, content: bytes, *lost: str) -> Callable[[States], None]:
    """Other content in a file, and others gone."""

    def happen(states: States) -> None:
        lose(*lost)(states)
        (states.state / name).write_bytes(content)

    return happen


def take(source: str, *names: str) -> Callable[[States], None]:
    """Files out of another state, in the place of all of the database's."""

    def happen(states: States) -> None:
        if DATABASE in names:
            lose(DATABASE, LOG)(states)
        for name in names:
            if (getattr(states, source) / name).exists():
                shutil.copy(getattr(states, source) / name, states.state / name)

    return happen


def replace(name: str, make: Callable[[Path], object]) -> Callable[[States], None]:
    """Something else under the name of a file or directory."""

    def happen(states: States) -> None:
        path = states.state / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        make(path)

    return happen


def foreign(states: States) -> None:
    """A database of some other program."""
    lose(DATABASE, LOG)(states)
    sql("CREATE TABLE invoice(number INTEGER)")(states)


def begun(batch: int) -> Callable[[States], None]:
    """Another batch in the mark of what was begun to be published."""

    def happen(states: States) -> None:
        (mark,) = states.state.glob("begun-*")
        mark.rename(states.state / f"begun-{batch:010}")

    return happen


def link_away(path: Path) -> None:
    """A link that leads nowhere."""
    path.symlink_to("/nonexistent/elsewhere")


CASES = [
    Strange("the write-ahead log is lost", lose(LOG), (0, 74)),
    Strange("the database is lost", lose(DATABASE), (74, 78)),
    Strange("database and log are lost", lose(DATABASE, LOG), (74, 78)),
    Strange("the database is empty", put(DATABASE, b""), (74, 78)),
    Strange("the database is empty and the log lost", put(DATABASE, b"", LOG), (74, 78)),
    Strange("the database is text", put(DATABASE, b"notes\n" * 2000, LOG), (74,)),
    Strange("the database is a header", put(DATABASE, b"SQLite format 3\0", LOG), (74,)),
    Strange("the log is text", put(LOG, b"notes\n" * 2000), (0, 74)),
    Strange("the database is older", take("older", DATABASE), (74,)),
    Strange("the database is another OUTPUT's", take("other", DATABASE, LOG), (78,)),
    Strange("the database is another OUTPUT's, without its log", take("other", DATABASE), (74, 78)),
    Strange("the log is another OUTPUT's", take("other", LOG), (0, 74, 78)),
    Strange("the database is of another program", foreign, (78,)),
    Strange("the schema was never begun", sql("PRAGMA user_version = 0"), (74,)),
    Strange("the schema is from the future", sql("PRAGMA user_version = 99"), (78,)),
    Strange("the mark of our databases is gone", sql("PRAGMA application_id = 0"), (78,)),
    Strange(
        "an entry was edited", sql("UPDATE meta SET value = '9' WHERE key = 'keep_days'"), (74,)
    ),
    Strange("an entry was removed", sql("DELETE FROM meta WHERE key = 'output_id'"), (0, 74, 78)),
    Strange("a table was removed", sql("DROP TABLE ledger_delta"), (74,)),
    Strange("the last batch was removed", sql("DELETE FROM batch WHERE number = 2"), (74,)),
    Strange("a file's row was edited", sql('UPDATE file SET "offset" = 0'), (74,)),
    Strange("the identity is empty", put("output.id", b""), (73,)),
    Strange("the identity is text", put("output.id", b"\xff\x00id"), (73,)),
    Strange("the identity is another", put("output.id", f"{uuid.uuid4()}\n".encode()), (78,)),
    Strange("the identity is lost", lose("output.id"), (0,)),  # OUTPUT's mark has it
    Strange("the identity is a directory", replace("output.id", Path.mkdir), (73,)),
    Strange("the identity is a link", replace("output.id", link_away), (73,)),
    Strange("the lock is lost", lose("lock", "output.lock"), (0,)),
    Strange("the lock holds bytes", put("lock", bytes(range(256)) * 99), (0,)),
    Strange("the lock is a directory", replace("lock", Path.mkdir), (74,)),
    Strange("the lock is a link", replace("lock", link_away), (74,)),
    Strange("the lock is a pipe", replace("lock", os.mkfifo), (74,)),
    Strange("OUTPUT's lock is a directory", replace("output.lock", Path.mkdir), (73,)),
    Strange("the database is a directory", replace(DATABASE, Path.mkdir), (74,)),
    Strange("the database is a pipe", replace(DATABASE, os.mkfifo), (74,)),
    Strange("the staging directory is lost", replace("staging", lambda _: None), (0,)),
    Strange("the staging directory is a file", replace("staging", Path.touch), (73,)),
    Strange("a stranger is in the staging directory", put("staging/notes.txt", b"x"), (0,)),
    Strange("the rejects are a file", replace("rejects", Path.touch), (73, 74)),
    Strange("the mark of the last batch is newer", begun(3), (74,)),
    Strange("the mark of the last batch is older", begun(1), (0, 74)),
]
KINDS = ("closed", "cut off")


class Making:
    """A state of two batches with one file of DATA left to take, and what that must come to."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.arguments = [str(root / word) for word in write_inputs(root)]
        self.output = root / "out"
        state = self.output / ".upswell"
        self._run(self.arguments)
        self._data(1, "0123917827,1,500,20200417193800\nbad 1\n")
        shutil.copytree(state, root / "older")
        # While somebody looks on, nothing is folded into the database: as if the run had been cut off.
        with StateReader.open(state) as reader, reader.snapshot():
            reader.last()
            self._run(self.arguments)
            shutil.copytree(self.output, root / "cut off")
        self._run(self.arguments)
        shutil.copytree(self.output, root / "closed")
        self._make_other()
        self._run(self.arguments)
        self.expected = law.published(self.output)

    def _data(self, minute: int, content: str) -> None:
        write(self.root / "data" / f"DATA_20200417193{7 + minute}.csv", content)

    def _make_other(self) -> None:
        other = [*self.arguments[:3], str(self.root / "another")]
        self._run(other)
        state = self.root / "another" / ".upswell"
        self._data(2, "0128419091,3,500,20200417193900\n0126545098,1,900,20200417193901\n")
        with StateReader.open(state) as reader, reader.snapshot():
            reader.last()
            self._run(other)
            shutil.copytree(state, self.root / "other")

    def _run(self, arguments: Sequence[str]) -> None:
        done = CliRunner().invoke(commands, ["run", *arguments, "--once"])
        assert 0 == done.exit_code, done.stderr

    def complaints(self, strange: Strange, kind: str) -> list[str]:
        """What is wrong with the next run, and with the look at its state."""
        shutil.rmtree(self.output)
        shutil.copytree(self.root / kind, self.output, symlinks=True)
        state = self.output / ".upswell"
        strange.happen(States(state, self.root / "older", self.root / "other"))
        found = []
        looked = CliRunner().invoke(commands, ["state", "verify", "--output", str(self.output)])
        if looked.exit_code not in VERIFIED:
            found.append(f"verify: exit code {looked.exit_code}: {looked.output}")
        done = CliRunner().invoke(commands, ["run", *self.arguments, "--once"])
        if done.exit_code not in strange.codes:
            found.append(f"exit code {done.exit_code} instead of {strange.codes}: {done.stderr}")
        elif done.exit_code and "next: " not in done.stderr:
            found.append(f"no next step: {done.stderr}")
        if done.exit_code == 0 and law.published(self.output) != self.expected:
            found.append(f"wrong output: {law.published(self.output)}")
        return [f"{strange.what} ({kind}): {sentence}" for sentence in found]


@pytest.mark.trust("T14")
def test_a_strange_state_is_told_or_harmless(tmp_path: Path, trust: Trust) -> None:
    """A state with parts lost, exchanged or edited stops the next run with a next step, or changes nothing it sends."""
    making = Making(tmp_path)

    def try_all(cases: Sequence[tuple[Strange, str]]) -> list[str]:
        return [sentence for case in cases for sentence in making.complaints(*case)]

    cases = [(strange, kind) for strange in CASES for kind in KINDS]
    trust(cases, try_all, case="strange states", sample=30)
