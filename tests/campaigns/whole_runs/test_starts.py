"""Runs that are started at the same moment over one OUTPUT or one state: one of them runs, the others say why not."""

import os
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from support import law
from support.command import clean_environment
from support.inputs import RECORDS, write_inputs
from support.surroundings import WAIT_S, wait_for
from support.trust import Trust
from upswell.state.maintenance.verify import verify
from upswell.storage.lock import holder

RACERS = 4
KINDS = ("the same command", "two states", "two OUTPUTs", "after a kill")
# Everything is imported before the start, so that the racers meet at the locks and not in the interpreter's start.
RACER = "import sys; from upswell.cli.main import main; from upswell.engine import run; sys.stdin.read(); main()"
LOCKED = 75


class Race:
    """Processes that begin at one moment, and what became of them."""

    def __init__(self, place: Path, kind: str) -> None:
        self.place = place
        self.kind = kind
        self.words = write_inputs(place)
        self.outputs = [place / "out", place / "out"]
        self.states = [place / "out" / ".upswell"] * 2
        if kind == "two states":
            self.states = [place / "state0", place / "state1"]
        elif kind == "two OUTPUTs":
            self.outputs = [place / "out0", place / "out1"]
            self.states = [place / "state"] * 2
        elif kind == "after a kill":
            self._leave_a_killed_run()

    def command(self, lane: int) -> list[str]:
        """The words of a racer; its OUTPUT and state are those of its lane."""
        paths = [*self.words[:3], str(self.outputs[lane])]
        return [*paths, "--state", str(self.states[lane]), "--poll-s", "0.05", "--no-watch"]

    def run(self, chance: random.Random) -> list[str]:
        """The race; what is wrong with it."""
        lanes = [0, 1, *(chance.randrange(2) for _ in range(RACERS - 2))]
        read_end, write_end = os.pipe()
        racers = [
            subprocess.Popen(
                [sys.executable, "-c", RACER, *self.command(lane)],
                cwd=self.place,
                env=clean_environment(),
                stdin=read_end,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            for lane in lanes
        ]
        os.close(read_end)
        os.close(write_end)  # the start
        try:
            return self._judge(racers, lanes)
        finally:
            for racer in racers:
                racer.kill()
                racer.communicate()

    def _leave_a_killed_run(self) -> None:
        run = subprocess.Popen(
            [sys.executable, "-m", "upswell", *self.command(0)],
            cwd=self.place, env=clean_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        wait_for(lambda: bool(self._published(0)), "the run to be killed did not publish")
        run.kill()
        run.wait()

    def _published(self, lane: int) -> dict[str, bytes]:
        return law.published(self.outputs[lane])

    def _judge(self, racers: Sequence["subprocess.Popen[str]"], lanes: Sequence[int]) -> list[str]:
        wait_for(
            lambda: sum(racer.poll() is not None for racer in racers) >= RACERS - 1,
            "more than one run goes on",
        )
        running = [at for at, racer in enumerate(racers) if racer.poll() is None]
        if len(running) != 1:
            ends = [(racer.returncode, racer.communicate()[1]) for racer in racers]
            return [f"{len(running)} of {RACERS} run: {ends}"]
        (winner,) = running
        output, state = self.outputs[lanes[winner]], self.states[lanes[winner]]
        wait_for(lambda: bool(law.published(output)), "the one that runs published nothing")
        wrong = []
        told = holder(state) or ""
        if not told.startswith(f"process {racers[winner].pid},"):
            wrong.append(f"the lock names {told!r}, but {racers[winner].pid} runs")
        racers[winner].send_signal(signal.SIGTERM)
        for at, racer in enumerate(racers):
            _, errors = racer.communicate(timeout=WAIT_S)
            expected = 0 if at == winner else LOCKED
            sentence = (
                "error: another run uses" in errors and "next: wait until it has ended" in errors
            )
            if racer.returncode != expected or (at != winner and not sentence):
                wrong.append(f"exit code {racer.returncode} instead of {expected}: {errors}")
        return wrong + self._complaints(output, state)

    def _complaints(self, output: Path, state: Path) -> list[str]:
        found = verify(state)
        try:
            reference = law.check(self.place / "data", output, state=state)
        except AssertionError as error:
            return [*found, f"the law is broken: {error}"]
        if reference.lines != RECORDS.count("\n"):
            found.append(f"{reference.lines} lines were read")
        others = {*self.outputs} - {output}
        found += [f"{other} was written to" for other in others if law.published(other)]
        return found


@pytest.mark.trust("T11")
def test_one_of_several_starts_at_once_runs(tmp_path: Path, trust: Trust) -> None:
    """Of runs started at the same moment over one OUTPUT or one state one runs; the others end with 75 and say why."""

    def races(numbers: Sequence[int]) -> list[str]:
        wrong = []
        for number in numbers:
            kind = KINDS[number % len(KINDS)]
            with tempfile.TemporaryDirectory(dir=tmp_path) as place:
                found = Race(Path(place), kind).run(random.Random(number))
            wrong += [f"race {number} ({kind}): {sentence}" for sentence in found]
        return wrong

    trust(
        range(50),
        races,
        case="starts at once",
        sample=8,
        chunk=10,
        always=lambda at: at < len(KINDS),
    )
