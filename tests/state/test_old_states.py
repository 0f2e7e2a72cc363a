"""A later version goes on with the state of every version before it, as if it had written it."""

import sqlite3
import subprocess
import sys
import tarfile
from contextlib import closing
from pathlib import Path

import pytest

from support import law
from support.command import ROOT, clean_environment
from support.engine_runs import Heard, Place
from support.states.make import GROWN, LAST, lines, write
from upswell import kernel
from upswell.audit.replay.reconcile import reconcile
from upswell.config.settings import Settings
from upswell.state.checkpoint import Checkpoint
from upswell.state.maintenance.backup import back_up
from upswell.state.maintenance.verify import verify
from upswell.state.migrations import MIGRATIONS
from upswell.state.reader import StateReader

STATES = ROOT / "tests/support/states"
OLD = sorted(path.name.removesuffix(".tar.gz") for path in STATES.glob("*.tar.gz"))


class Old(Place):
    """The directories as a version before left them."""

    def __init__(self, root: Path, name: str) -> None:
        with tarfile.open(STATES / f"{name}.tar.gz") as packed:
            packed.extractall(root, filter="data")
        self.root = root / "upswell"
        self.data, self.output = self.root / "data", self.root / "out"
        self.heard = Heard()
        self.settings = Settings(
            data=self.data, segment=self.root / "segment", rules=self.root / "rules", output=self.output,
            once=True, settle_s=0.05, poll_s=0.05,
        )  # fmt: skip


@pytest.fixture(params=OLD)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Old:
    """The state of each version, in directories of its own."""
    return Old(tmp_path, request.param)


def test_there_is_a_state_of_each_schema() -> None:
    """Every schema that a state may have is tried."""
    assert [f"schema-{number}" for number in range(1, len(MIGRATIONS) + 1)] == OLD


def test_run_goes_on_with_an_old_state(old: Old) -> None:
    """It publishes what was cut off, reads what grew and came, and all of it is what one version would have done."""
    (staged,) = (old.output / ".upswell" / "staging").iterdir()
    content = staged.read_bytes()
    (growing,) = old.data.glob("*1001.csv")
    write(growing, GROWN)
    write(old.data / LAST, lines(200, 60, "2231"))
    summary = old.once()
    assert summary.outcomes["notified"] > 0
    assert content in law.published(old.output)["Night"]
    old.law()
    state = old.output / ".upswell"
    assert [] == verify(state)
    found = reconcile(state)
    assert ([], []) == (found.differences, found.unproven)
    with StateReader.open(state) as reader:
        assert len(MIGRATIONS) == reader._rows("PRAGMA user_version")[0][0]
        assert list(range(1, len(MIGRATIONS) + 1)) == [
            number for (number,) in reader._rows("SELECT number FROM migration ORDER BY number")
        ]
        # All that it knew before is known after: each file, with what was taken of it.
        assert 4 == len(list(reader.files_in("done")))


def test_old_state_in_which_nothing_happened_is_sound(old: Old) -> None:
    """Being brought up to date alone changes nothing of what a state says, and it can be copied and archived."""
    archive = old.root / "archive"
    before = law.published(old.output)
    assert 0 == old.once(archive=archive).lines
    assert before.keys() <= law.published(old.output).keys()
    assert 3 == len(list(archive.glob("*/DATA_*")))
    back_up(old.output / ".upswell", old.root / "copy")
    assert [] == verify(old.root / "copy")
    assert [] == reconcile(old.output / ".upswell").unproven


def test_old_state_is_read_by_nobody_before_a_run(old: Old) -> None:
    """Those who look on say that a run must come first, instead of guessing."""
    with closing(sqlite3.connect(old.output / ".upswell" / "checkpoint.db")) as db:
        db.execute("PRAGMA user_version = 0")
    done = subprocess.run(
        [sys.executable, "-m", "upswell", "status", "--state", old.output / ".upswell"],
        capture_output=True, text=True, check=False, cwd=old.root, env=clean_environment(),
    )  # fmt: skip
    assert 74 == done.returncode
    assert "start a run with this version first" in done.stderr


def test_state_that_this_version_makes_can_be_kept_for_the_next_ones(tmp_path: Path) -> None:
    """The program that a release makes its state with works with the present version."""
    made = tmp_path / "now.tar.gz"
    subprocess.run(
        [sys.executable, STATES / "make.py", made, sys.executable, "-m", "upswell"],
        check=True, capture_output=True, env=clean_environment(), cwd=tmp_path,
    )  # fmt: skip
    with tarfile.open(made) as packed:
        packed.extractall(tmp_path, filter="data")
    state = tmp_path / "upswell" / "out" / ".upswell"
    assert 1 == len(list((state / "staging").iterdir()))
    with Checkpoint.open(state, kernel.SHARDS) as checkpoint:
        assert 2 == checkpoint.reader.last_batch()
