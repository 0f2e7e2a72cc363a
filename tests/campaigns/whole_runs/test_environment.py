"""What a host may do to a run beside faults of its disk: scarce resources, odd settings, pauses, OUTPUT moved away."""

import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from support import law
from support.command import clean_environment
from support.inputs import DIALS, write, write_inputs
from support.surroundings import WAIT_S, Surroundings, wait_for
from support.trust import Trust
from upswell.state.maintenance.verify import verify

MIB = 1 << 20
TOLD = (0, 66, 70, 73, 74)
"""Exit codes of a run that a limit may end. Without a limit the next one ends with 0."""


class Limit(NamedTuple):
    """One scarce thing."""

    what: str
    kind: int
    value: int


LIMITS = [
    *(Limit("descriptors", resource.RLIMIT_NOFILE, count) for count in (*range(8, 33, 2), 48, 64)),
    *(Limit("bytes of a file", resource.RLIMIT_FSIZE, 1 << shift) for shift in range(0, 20)),
    *(Limit("bytes of memory", resource.RLIMIT_AS, mib * MIB) for mib in range(24, 65, 2)),
]
VARIABLES = (
    {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"LANG": "tr_TR.UTF-8", "LC_ALL": "tr_TR.UTF-8"},
    {"PYTHONOPTIMIZE": "2"},
    {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0"},
    {"HOME": "/nonexistent", "TMPDIR": "/nonexistent"},
    {"TERM": "", "COLUMNS": "x"},
)


class Place:
    """Inputs for several batches, and runs over them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.words = write_inputs(root)
        self.output = root / "out"
        chance = random.Random(3)
        for minute in range(6):
            lines = [
                f"{chance.choice(DIALS)},{chance.randrange(1, 4)},{chance.randrange(300)},20200417{hour:02}0000\n"
                for hour in range(24)
                for _ in range(40)
            ]
            write(root / "data" / f"DATA_20200417230{minute}.csv", "".join(lines) + "bad 1\n" * 20)

    def run(
        self, limit: Limit | None = None, **variables: str
    ) -> "subprocess.CompletedProcess[str]":
        """One run over what is there, under a limit or not."""

        def restrict() -> None:
            if limit is not None:
                resource.setrlimit(limit.kind, (limit.value, limit.value))

        return subprocess.run(
            [sys.executable, "-m", "upswell", *self.words, "--once"], cwd=self.root,
            env=clean_environment() | variables, preexec_fn=restrict, capture_output=True,
            text=True, errors="replace", timeout=WAIT_S, check=False,
        )  # fmt: skip

    def complaints(self) -> list[str]:
        """What is wrong after a run without a limit."""
        done = self.run()
        if done.returncode:
            return [f"the next run ends with {done.returncode}: {done.stderr}"]
        try:
            law.check(self.root / "data", self.output)
        except AssertionError as error:
            return [f"the law is broken: {error}"]
        return verify(self.output / ".upswell")


@pytest.mark.trust("T20")
def test_scarce_resources_are_told_and_lose_nothing(tmp_path: Path, trust: Trust) -> None:
    """With few descriptors, short files or little memory a run does its work or says why not; the next goes on."""

    def try_all(limits: Sequence[Limit]) -> list[str]:
        wrong = []
        for limit in limits:
            with tempfile.TemporaryDirectory(dir=tmp_path) as root:
                place = Place(Path(root))
                done = place.run(limit)
                found = place.complaints()
            # An interpreter that cannot even load what it needs says so by itself.
            started = "upswell/engine" in done.stderr or "error: " in done.stderr
            if done.returncode not in TOLD and started:
                found.append(f"exit code {done.returncode}: {done.stderr}")
            if done.returncode and not done.stderr and limit.kind != resource.RLIMIT_FSIZE:
                found.append("nothing was told")
            if "Traceback" in done.stderr and started:
                found.append(f"a traceback: {done.stderr}")
            wrong += [f"{limit.value} {limit.what}: {sentence}" for sentence in found]
        return wrong

    trust(LIMITS, try_all, case="scarce resources", sample=8)


@pytest.mark.trust("T20")
def test_odd_variables_change_nothing(tmp_path: Path, trust: Trust) -> None:
    """Another locale, an optimizing interpreter or a missing home give the same output."""
    usual = Place(tmp_path / "usual")
    assert [] == usual.complaints()
    expected = law.published(usual.output)

    def try_all(cases: Sequence[dict[str, str]]) -> list[str]:
        wrong = []
        for variables in cases:
            with tempfile.TemporaryDirectory(dir=tmp_path) as root:
                place = Place(Path(root))
                done = place.run(**variables)
                if done.returncode or law.published(place.output) != expected:
                    wrong.append(f"{variables}: exit code {done.returncode}: {done.stderr}")
        return wrong

    trust(VARIABLES, try_all, case="odd environments", sample=3)


@pytest.mark.trust("T20")
def test_a_pause_loses_nothing(tmp_path: Path, trust: Trust) -> None:
    """Paused at a random moment among writers and a consumer, and woken again, a run goes on as if nothing had been."""

    def try_all(numbers: Sequence[int]) -> list[str]:
        with tempfile.TemporaryDirectory(dir=tmp_path) as root:
            around = Surroundings(Path(root), numbers[0])
            with around.traffic():
                process = around.start()
                around.wait_until_locked(process)
                for number in numbers:
                    chance = random.Random(number)
                    time.sleep(chance.random() * 0.3)
                    process.send_signal(signal.SIGSTOP)
                    time.sleep(chance.random() * 0.7)
                    process.send_signal(signal.SIGCONT)
                process.terminate()
                _, errors = process.communicate(timeout=WAIT_S)
            around.finish()
            wrong = around.complaints()
            if process.returncode:
                wrong.append(f"exit code {process.returncode}: {errors}")
            return wrong

    trust(range(200), try_all, case="pauses", sample=8, chunk=50)


def moved(output: Path, away: Path) -> None:
    """OUTPUT has another name."""
    output.rename(away)


def replaced(output: Path, away: Path) -> None:
    """Another directory is where OUTPUT was."""
    output.rename(away)
    output.mkdir()


def linked(output: Path, away: Path) -> None:
    """A link to OUTPUT is where it was: nothing has changed for those who look."""
    output.rename(away)
    output.symlink_to(away)


def applications_removed(output: Path, away: Path) -> None:
    """The consumer takes whole directories away."""
    away.mkdir()
    for place in output.iterdir():
        if not place.name.startswith("."):
            place.rename(away / place.name)


@pytest.mark.trust("T20")
def test_an_output_that_is_moved_away_stays_whole(tmp_path: Path, trust: Trust) -> None:
    """OUTPUT renamed, replaced or linked under a run: what was OUTPUT is whole, and a run over it goes on."""

    def complaints(change: Callable[[Path, Path], None]) -> list[str]:
        with tempfile.TemporaryDirectory(dir=tmp_path) as root:
            around = Surroundings(Path(root), 1)
            away = around.root / "away"
            process = around.start()
            record = "01000000000,1,500,2020041712000{}\n"
            write(around.data / "DATA_202004171200.csv", record.format(0))
            wait_for(lambda: "Twitter" in law.published(around.output), "nothing was published")
            change(around.output, away)
            write(
                around.data / "DATA_202004171201.csv",
                "01000000002,1,500,20200417120100\n" + "bad 1\n",
            )
            time.sleep(0.5)
            process.terminate()
            _, errors = process.communicate(timeout=WAIT_S)
            wrong = []
            if process.returncode not in (0, 73, 74):
                wrong.append(f"exit code {process.returncode}: {errors}")
            taken: dict[str, bytes] = {}
            if change is applications_removed:
                taken = law.published(away)
            else:
                if around.output.is_symlink():
                    around.output.unlink()
                elif around.output.exists():
                    shutil.rmtree(around.output)
                away.rename(around.output)
            process = around.start("--once")
            _, errors = process.communicate(timeout=WAIT_S)
            if process.returncode:
                wrong.append(f"the next run ends with {process.returncode}: {errors}")
            law.check(around.data, around.output, taken_away=taken)
            return [f"{change.__doc__} {sentence}" for sentence in wrong + verify(around.state)]

    def try_all(changes: Sequence[Callable[[Path, Path], None]]) -> list[str]:
        return [sentence for change in changes for sentence in complaints(change)]

    changes = [moved, replaced, linked, applications_removed]
    trust(changes, try_all, case="changes of OUTPUT", sample=2)
