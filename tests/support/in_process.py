"""The tasks of a job run in this process: what a cluster does to a batch, without a cluster.

``InProcess`` runs each task once, in order. ``Disorderly`` does what a cluster may do, too: tasks in any order, twice,
and left over from an attempt of a driver that is dead. Neither knows anything that a runner on a cluster does not.
"""

import random
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from support import law
from support.engine_runs import Place
from upswell.engine.run import run
from upswell.engine.spark.driver import ClusterCompute
from upswell.engine.spark.tasks import Job, ShardReport, ShardTask, Split, SplitReport, scan, step
from upswell.engine.summary import Summary
from upswell.reference.loading import LoadedReference
from upswell.state.reader import StateReader

T = TypeVar("T")


class Recording:
    """A runner that remembers its jobs; ``tasks`` runs those of one."""

    tasks: Callable[..., list[SplitReport | ShardReport]]

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.done: list[Job] = []
        self.closed = False

    def run(self, job: Job, *given: Any) -> list[SplitReport | ShardReport]:
        """The reports of all tasks."""
        self.jobs.append(job)
        reports = self.tasks(job, *given)
        self.done.append(job)
        return reports

    def close(self) -> None:
        """Remember it."""
        self.closed = True


class InProcess(Recording):
    """Every task once, in order."""

    def __init__(self, between: Callable[[Split], None] = lambda _: None) -> None:
        super().__init__()
        self.between = between
        """Called before each split is scanned."""

    def check(self, data: Path, ledger: Path) -> None:
        """Both are there."""
        assert data.is_dir()
        assert ledger.is_dir()

    def tasks(
        self,
        job: Job,
        splits: Sequence[Split],
        shards: Mapping[int, ShardTask],
        reference: LoadedReference,
    ) -> list[SplitReport | ShardReport]:
        """Scan all splits, then step all shards that got something."""
        blobs: defaultdict[int, list[bytes]] = defaultdict(list)
        reports: list[SplitReport | ShardReport] = []
        for split in self.order(splits):
            self.between(split)
            for key, value in self.scanned(job, split, reference):
                if isinstance(value, SplitReport):
                    assert key == job.shards
                    reports.append(value)
                else:
                    assert 0 <= key < job.shards
                    blobs[key].append(value)
        for shard in self.order(sorted(blobs)):
            task = shards.get(shard, ShardTask(shard, ()))
            report = self.stepped(job, task, self.order(blobs[shard]), reference)
            assert report is not None
            reports.append(report)
        return self.order(reports)

    def order(self, items: Sequence[T]) -> Sequence[T]:
        """The order in which they are done, or come."""
        return items

    def scanned(
        self, job: Job, split: Split, reference: LoadedReference
    ) -> list[tuple[int, bytes | SplitReport]]:
        """What came of a split."""
        return list(scan(job, split, reference.segment, reference.rules, reference.policy))

    def stepped(
        self, job: Job, task: ShardTask, blobs: Sequence[bytes], reference: LoadedReference
    ) -> ShardReport | None:
        """What came of a shard."""
        return step(job, task, blobs, reference.rules, reference.policy)

    def check_alive(self) -> None:
        """This process is."""


class Disorderly(InProcess):
    """Tasks in any order, some of them twice, some jobs run before by somebody whose reports nobody hears."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.chance = random.Random(seed)

    def run(
        self, job: Job, splits: Sequence[Split], *given: Any
    ) -> list[SplitReport | ShardReport]:
        """The reports of all tasks, after what is left of other attempts."""
        if self.chance.random() < 0.3:
            stale = job._replace(attempt=f"{self.chance.getrandbits(32):08x}")
            some = self.chance.choice([splits, splits[: len(splits) // 2]])
            self.tasks(stale, some, *given)
        return super().run(job, splits, *given)

    def order(self, items: Sequence[T]) -> Sequence[T]:
        """Any."""
        return self.chance.sample(items, len(items))

    def scanned(
        self, job: Job, split: Split, reference: LoadedReference
    ) -> list[tuple[int, bytes | SplitReport]]:
        """The same, whether a task ran once or was run again after it had half ended."""
        if self.chance.random() < 0.3:
            next(iter(scan(job, split, reference.segment, reference.rules, reference.policy)), None)
        return super().scanned(job, split, reference)

    def stepped(
        self, job: Job, task: ShardTask, blobs: Sequence[bytes], reference: LoadedReference
    ) -> ShardReport | None:
        """The same, whether a task ran once or had a twin."""
        if self.chance.random() < 0.3:
            twin = super().stepped(job, task, self.order(blobs), reference)
            assert twin == super().stepped(job, task, blobs, reference)
        return super().stepped(job, task, blobs, reference)


MEMORY = Path("/dev/shm")


SMALL = {"split_bytes": 100, "batch_bytes": 400}


class Cluster(Place):
    """Four directories, and runs over them whose tasks run in this process."""

    def __init__(self, root: Path, runner: InProcess | None = None, **options: Any) -> None:
        super().__init__(root)
        self.runner = runner or InProcess()
        self.options = {"shards": 2, **SMALL, **options}

    def once(self, **changes: object) -> Summary:
        """One run over what is there."""
        return self.run(threading.Event(), **changes)

    def run(self, stop: threading.Event, **changes: object) -> Summary:
        """A run until it is stopped or done."""
        compute = partial(ClusterCompute, runner=self.runner, **self.options)
        return run(replace(self.settings, **changes), self.heard, stop, compute)

    @property
    def state(self) -> Path:
        """Where the state is."""
        return self.output / ".upswell"

    def ledger_files(self) -> list[Path]:
        """What lies in the ledger's directory."""
        return sorted((self.state / "ledger").iterdir())

    def embedded(self) -> Place:
        """The same inputs, for another OUTPUT by the embedded engine."""
        other = object.__new__(Place)
        other.__dict__.update(self.__dict__)
        other.output = self.root / "embedded"
        other.settings = replace(self.settings, output=other.output)
        return other


def kept(output: Path) -> tuple[object, ...]:
    """All that a run leaves that does not hang on where a batch ended."""
    with StateReader.open(output / ".upswell") as reader:
        files = {
            file.name: (
                file.state, file.reason, file.offset, file.newlines, file.digest, file.tail, file.late, file.lines,
                file.outcomes, file.reasons, file.rejects_kept_bytes,
            )
            for file in reader.files_in()
        }  # fmt: skip
        ends: dict[str, list[tuple[str, int, int]]] = {}
        for taken in reader.log():
            ends.setdefault(taken.file, []).append((taken.newest_stamp, taken.start, taken.end))
        totals = reader.totals()
        order = list(ends)
    rejects = sorted((output / ".upswell" / "rejects").glob("*"))
    content = b"".join(path.read_bytes() for path in rejects)
    published = law.published(output), law.published(output / ".control")
    return published, files, order, totals[1:], content
