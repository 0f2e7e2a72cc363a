"""A campaign: workloads, faulted at many system calls, each faulted run followed by one without faults and judged.

The judge sees OUTPUT after the restart and what a consumer took out of it: once with one that took every file between
the two runs, once with one that came after. Everything that a case runs is in processes of the campaign's own.
"""

import multiprocessing
import os
import re
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import NamedTuple, TypeVar

from support import strace
from support.faults.ending import end
from support.faults.workloads import ALL, ARRIVALS, BY_NAME, Taken, Workload
from support.strace import Faulted, Point
from upswell.errors import InputMissing, OutputUnwritable, StorageError, UpswellError
from upswell.state.maintenance.verify import verify

KILL = "signal=KILL"
MACHINE_CODES = {0, OutputUnwritable.exit_code, StorageError.exit_code}
"""What a fault of the machine under OUTPUT and state may end in."""
T = TypeVar("T")
R = TypeVar("R")
_numbers = count()


class Case(NamedTuple):
    """One fault in one run."""

    workload: str
    point: Point
    fault: str
    more: str = ""
    """"+": all later calls of the same name fail, too."""
    start: str = "start"
    """The world that the run begins with."""

    def __str__(self) -> str:
        after = "" if self.start == "start" else f" after {self.start}"
        return f"{self.workload}{after}: {self.fault}{self.more} at {self.point}"


class Campaign:
    """All workloads under one directory, ready to be disturbed."""

    def __init__(self, root: Path, pool: ProcessPoolExecutor) -> None:
        self.root = root
        self._pool = pool
        names = [workload.name for workload in ALL]
        self.points = dict(zip(names, self.each(recorded, names), strict=True))
        """By workload, the calls of an undisturbed run that read or change something of it, in order."""

    def attempt(self, cases: Iterable[Case]) -> list[str]:
        """Try each of these cases; what is wrong."""
        return [sentence for sentence in self.each(judged, cases) if sentence]

    def each(self, work: Callable[[Path, T], R], items: Iterable[T]) -> list[R]:
        """Do the work on all items, as many at a time as there are cores; what it returned, in order."""
        return list(self._pool.map(partial(work, self.root), items))


def pool() -> ProcessPoolExecutor:
    """Processes for a campaign: they have imported everything and hold no thread, so forking them is quick and safe."""
    return ProcessPoolExecutor(
        len(os.sched_getaffinity(0)), multiprocessing.get_context("spawn"), _begin
    )


def _begin() -> None:
    """Forget the developer's settings, and run everything once: what is imported late would count among the calls."""
    for name in [name for name in os.environ if name.startswith("UPSWELL_")]:
        del os.environ[name]
    with tempfile.TemporaryDirectory() as root:
        for workload in ALL:
            place = Path(root) / workload.name
            place.mkdir()
            workload.prepare(place / "inputs", place / "start")
            workload.run(place / "inputs", place / "start")


def recorded(root: Path, name: str) -> list[Point]:
    """Prepare a workload, and run it undisturbed; its calls."""
    workload = BY_NAME[name]
    place = root / name
    place.mkdir(parents=True)
    workload.prepare(place / "inputs", place / "start")
    with world_like(place, "start") as world:
        found = record(root, workload, world)
        assert None is _complaint(root, workload, world, greedy=False)
    return found


def record(root: Path, workload: Workload, world: Path) -> list[Point]:
    """The calls of an undisturbed run that read or change something of the workload."""
    found = strace.record_calls(program(root, workload, world), world.with_suffix(".trace"))
    return [point for point in found if str(root) in point.text]


def judged(root: Path, case: Case) -> str | None:
    """Try a case; what is wrong with how the run ended, and after the restarts."""
    try:
        workload = BY_NAME[case.workload]
        with world_like(root / case.workload, case.start) as world:
            trace = world.with_suffix(".trace")
            run = program(root, workload, world)
            done = strace.inject(run, case.point, case.fault, trace, case.more)
            found = _ending(case, done) or both(root, workload, world)
        return found and f"{case}: {found}"
    except Exception as error:
        error.add_note(str(case))
        raise


def both(root: Path, workload: Workload, world: Path) -> str | None:
    """Go on from here with a consumer that has already taken everything, and with one that has not."""
    if any((world / "out").glob("*/NOTIFY_*")):  # else the two are the same
        with world_like(world.parent, world.name) as copy:
            if found := _complaint(root, workload, copy, greedy=True):
                return found
    return _complaint(root, workload, world, greedy=False)


def program(root: Path, workload: Workload, world: Path) -> Callable[[], int]:
    """The workload's run in this world, as the command would end it."""
    inputs = root / workload.name / "inputs"
    return lambda: end(lambda: workload.run(inputs, world))


@contextmanager
def world_like(place: Path, start: str) -> Iterator[Path]:
    """A copy of a world, which goes when it is left."""
    world = place / f"{os.getpid()}-{next(_numbers)}"
    shutil.copytree(place / start, world)
    try:
        yield world
    finally:
        shutil.rmtree(world, ignore_errors=True)  # it may have been moved to be kept


class Consumer:
    """Takes files out of OUTPUT as a consumer may, and remembers each."""

    def __init__(self, output: Path) -> None:
        self.output = output
        self.taken: defaultdict[str, list[tuple[str, bytes]]] = defaultdict(list)

    def take(self, but: Collection[str] = ()) -> None:
        """Take all there is, but for these, as application/name."""
        for path in sorted(self.output.glob("*/NOTIFY_*")):
            if f"{path.parent.name}/{path.name}" in but:
                continue
            self.taken[path.parent.name].append((path.name, path.read_bytes()))
            path.unlink()

    def contents(self) -> Taken:
        """By application directory, all that was taken, in the order of the names."""
        return {
            place: b"".join(content for _, content in sorted(files))
            for place, files in self.taken.items()
        }


def _ending(case: Case, done: Faulted) -> str | None:
    """What is wrong with how a faulted run ended."""
    if case.fault == KILL:
        return None
    codes = MACHINE_CODES
    if "/inputs/" in case.point.text:
        codes = {0, InputMissing.exit_code} | (codes if case.more else set())
    elif f"/{ARRIVALS}" in case.point.text:
        codes = codes | {InputMissing.exit_code}
    return ending(done, codes, mute=case.point.name == "write")


def ending(
    done: Faulted, codes: Collection[int] = MACHINE_CODES, *, mute: bool = False
) -> str | None:
    """What is wrong with how a run ended that may end so; ``mute``: it could perhaps not write what it had to say."""
    if done.code not in codes:
        return f"exit code {done.code}, {done.errors}"
    told = len(done.errors.splitlines()) >= 2  # what happened, and the next step
    if told != bool(done.code) and not mute:
        return f"exit code {done.code}, and says {done.errors!r}"
    if "Traceback" in done.errors or re.search(r"\b01[0-9]{8,}", done.errors):
        return f"a traceback or a msisdn: {done.errors}"
    return None


def _complaint(root: Path, workload: Workload, world: Path, *, greedy: bool) -> str | None:
    """What is wrong after a restart and all that follows from it."""
    output, inputs = world / "out", root / workload.name / "inputs"
    consumer = Consumer(output)
    if greedy:
        consumer.take(but=workload.to_adopt(inputs))
    try:
        workload.run(inputs, world)
    except UpswellError as error:
        return f"the restart failed (greedy: {greedy}): {error}"
    consumer.take()
    wrong = workload.judge(inputs, world, consumer.contents())
    wrong += verify(workload.state(world))
    wrong += [f"{path} is left" for path in (output / ".upswell" / "staging").iterdir()]
    places = [path for path in output.iterdir() if not path.name.startswith(".")]
    modes = {oct(path.stat().st_mode & 0o777) for path in places}
    if modes - {"0o750"}:
        wrong.append(f"directories have the modes {modes}")
    return f"(greedy: {greedy}) {'; '.join(wrong)}" if wrong else None
