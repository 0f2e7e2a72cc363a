"""The tasks of a job run in this process: what a cluster does to a batch, without a cluster.

``InProcess`` runs each task once, in order. ``Disorderly`` does what a cluster may do, too: tasks in any order, twice,
and left over from an attempt of a driver that is dead. Neither knows anything that a runner on a cluster does not.
"""

import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from upswell.engine.spark.tasks import Job, ShardReport, ShardTask, Split, SplitReport, scan, step
from upswell.reference.loading import Reference

T = TypeVar("T")


class InProcess:
    """Every task once, in order."""

    def __init__(self, between: Callable[[Split], None] = lambda _: None) -> None:
        self.between = between
        """Called before each split is scanned."""
        self.jobs: list[Job] = []
        self.done: list[Job] = []
        self.closed = False

    def check(self, data: Path, ledger: Path) -> None:
        """Both are there."""
        assert data.is_dir()
        assert ledger.is_dir()

    def run(
        self,
        job: Job,
        splits: Sequence[Split],
        shards: Mapping[int, ShardTask],
        reference: Reference,
    ) -> list[SplitReport | ShardReport]:
        """The reports of all tasks."""
        self.jobs.append(job)
        reports = self.tasks(job, splits, shards, reference)
        self.done.append(job)
        return reports

    def tasks(
        self,
        job: Job,
        splits: Sequence[Split],
        shards: Mapping[int, ShardTask],
        reference: Reference,
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
        self, job: Job, split: Split, reference: Reference
    ) -> list[tuple[int, bytes | SplitReport]]:
        """What came of a split."""
        return list(scan(job, split, reference.segment, reference.rules, reference.policy))

    def stepped(
        self, job: Job, task: ShardTask, blobs: Sequence[bytes], reference: Reference
    ) -> ShardReport | None:
        """What came of a shard."""
        return step(job, task, blobs, reference.rules, reference.policy)

    def check_alive(self) -> None:
        """This process is."""

    def close(self) -> None:
        """Remember it."""
        self.closed = True


class Disorderly(InProcess):
    """Tasks in any order, some of them twice, some jobs run before by somebody whose reports nobody hears."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.chance = random.Random(seed)

    def run(
        self,
        job: Job,
        splits: Sequence[Split],
        shards: Mapping[int, ShardTask],
        reference: Reference,
    ) -> list[SplitReport | ShardReport]:
        """The reports of all tasks, after what is left of other attempts."""
        if self.chance.random() < 0.3:
            stale = job._replace(attempt=f"{self.chance.getrandbits(32):08x}")
            some = self.chance.choice([splits, splits[: len(splits) // 2]])
            self.tasks(stale, some, shards, reference)
        return super().run(job, splits, shards, reference)

    def order(self, items: Sequence[T]) -> Sequence[T]:
        """Any."""
        return self.chance.sample(items, len(items))

    def scanned(
        self, job: Job, split: Split, reference: Reference
    ) -> list[tuple[int, bytes | SplitReport]]:
        """The same, whether a task ran once or was run again after it had half ended."""
        if self.chance.random() < 0.3:
            next(iter(scan(job, split, reference.segment, reference.rules, reference.policy)), None)
        return super().scanned(job, split, reference)

    def stepped(
        self, job: Job, task: ShardTask, blobs: Sequence[bytes], reference: Reference
    ) -> ShardReport | None:
        """The same, whether a task ran once or had a twin."""
        if self.chance.random() < 0.3:
            twin = super().stepped(job, task, self.order(blobs), reference)
            assert twin == super().stepped(job, task, blobs, reference)
        return super().stepped(job, task, blobs, reference)
