"""A campaign: one program, faulted at many system calls, each run followed by one without faults and judged.

The judge sees OUTPUT after the restart and what a consumer took out of it: once with one that took every file between
the two runs, once without. It answers with what is wrong, a sentence each.
"""

import re
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import strace
from conftest import PROFILE
from upswell.errors import UpswellError
from upswell.verify import verify

EXIT_CODES = (0, 73, 74)
"""What a fault of the machine may end in."""


class Consumer:
    """Takes files out of OUTPUT as a consumer may, and remembers each."""

    def __init__(self, output: Path) -> None:
        self.output = output
        self.taken: defaultdict[str, list[tuple[str, bytes]]] = defaultdict(list)

    def take(self) -> None:
        """Take all there is."""
        for path in sorted(self.output.glob("*/NOTIFY_*")):
            self.taken[path.parent.name].append((path.name, path.read_bytes()))
            path.unlink()

    def contents(self) -> dict[str, bytes]:
        """By application directory, all that was taken, in the order of the names."""
        return {
            place: b"".join(content for _, content in sorted(files))
            for place, files in self.taken.items()
        }


class Campaign:
    """Faults in a program that brings an OUTPUT, which it gets as its first argument, to an end."""

    def __init__(
        self,
        place: Path,
        program: Path,
        arguments: Sequence[object],
        go_on: Callable[[Path], object],
        judge: Callable[[Path, dict[str, bytes]], list[str]],
    ) -> None:
        """``go_on``: the same without faults, in this process. ``judge``: OUTPUT, and what was taken out of it."""
        self.place = place
        self.program = program
        self.arguments = arguments
        self.go_on = go_on
        self.judge = judge
        self.start: Path | None = None
        """What every run begins with a copy of; None: nothing."""

    def command(self, output: Path) -> list[str]:
        """The program over an OUTPUT."""
        return strace.python(self.program, output, *self.arguments)

    def points(self) -> list[strace.Point]:
        """The calls of a whole run that change something."""
        output = self._new("recorded")
        found = strace.record(self.command(output), self.place / "recorded.trace")
        shutil.rmtree(output)
        return found

    def crash(self, wanted: str, which: int = 0) -> Path:
        """Begin from now on with an OUTPUT killed before the which-th call whose text has ``wanted`` in it."""
        point = [point for point in self.points() if wanted in point.text][which]
        output = self._new("crashed")
        strace.inject(self.command(output), point, "signal=KILL", self.place / "crashed.trace")
        self.start = output
        return output

    def kill(self, points: Iterable[strace.Point]) -> list[str]:
        """SIGKILL before each of these calls; what is wrong after the restarts."""

        def work(item: tuple[int, strace.Point]) -> str | None:
            index, point = item
            output = self._new(f"out{index}")
            strace.inject(self.command(output), point, "signal=KILL", self.place / f"trace{index}")
            return self._both(output, f"killed before {point}")

        return strace.each(work, enumerate(points))

    def fail(self, points: Iterable[strace.Point], fault: str, more: str = "") -> list[str]:
        """Let each of these calls fail; what is wrong with how the runs end and after the restarts."""

        def work(item: tuple[int, strace.Point]) -> str | None:
            index, point = item
            output = self._new(f"out{index}")
            done = strace.inject(
                self.command(output), point, fault, self.place / f"trace{index}", more
            )
            what = f"{fault}{more} in {point}"
            told = done.errors or point.name == "write"  # then it could not tell
            if done.code not in EXIT_CODES or (done.code and not told):
                return f"{what}: exit code {done.code}, {done.errors}"
            if "Traceback" in done.errors or re.search(r"\b01[0-9]{8,}", done.errors):
                return f"{what}: a traceback or a msisdn: {done.errors}"
            return self._both(output, what)

        return strace.each(work, enumerate(points))

    def _new(self, name: str) -> Path:
        output = self.place / name
        if self.start:
            shutil.copytree(self.start, output)
        return output

    def _both(self, output: Path, what: str) -> str | None:
        """The complaint with a consumer that took everything, or that without one."""
        output.mkdir(exist_ok=True)
        kept = output.with_name(output.name + "-kept")
        shutil.copytree(output, kept)
        found = self._complaint(output, what, greedy=True)
        shutil.rmtree(output)
        kept.rename(output)
        found = found or self._complaint(output, what, greedy=False)
        shutil.rmtree(output)
        return found

    def _complaint(self, output: Path, what: str, *, greedy: bool) -> str | None:
        consumer = Consumer(output)
        if greedy:
            consumer.take()
        try:
            self.go_on(output)
        except UpswellError as error:
            return f"{what}: the restart failed: {error}"
        consumer.take()
        wrong = self.judge(output, consumer.contents())
        wrong += verify(output / ".upswell")
        wrong += [f"{path} is left" for path in (output / ".upswell" / "staging").iterdir()]
        places = [path for path in output.iterdir() if not path.name.startswith(".")]
        modes = {oct(path.stat().st_mode & 0o777) for path in places}
        if modes - {"0o750"}:
            wrong.append(f"directories have the modes {modes}")
        return f"{what} (greedy: {greedy}): {'; '.join(wrong)}" if wrong else None


def some(found: list[strace.Point], share: int) -> list[strace.Point]:
    """All points in the slow profile; else one of ``share`` among the writes to the database, and all others."""
    writes = [point for point in found if point.name == "pwrite64"]
    kept = set(writes if PROFILE == "slow" else writes[::share])
    return [point for point in found if point.name != "pwrite64" or point in kept]


def successful(found: list[strace.Point]) -> list[strace.Point]:
    """The points that did something: a call that failed anyway says nothing when it fails."""
    return [point for point in found if "= -1" not in point.text]
