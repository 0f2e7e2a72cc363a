"""How tests compute batches in tasks: cut anywhere, run in any order and more than once, over files of shards."""

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from support.kernel_runs import REJECTS_ALL, Settings, environment, stamp_of
from upswell import kernel
from upswell.engine.spark import tasks
from upswell.state import shard_files
from upswell.zones import day_max_of

SCANNED = (
    "end", "complete", "newlines", "digest", "tail", "outcomes", "rejects", "lines", "rejects_kept_bytes",
    "rejects_dropped", "problem", "problem_detail", "inode",
)  # fmt: skip


T = TypeVar("T")


class Way(NamedTuple):
    """How batches are computed in tasks: nothing of it may show."""

    shards: int = 8
    compact_bytes_min: int = 0
    cut: Callable[[random.Random, int, int], list[int]] = lambda _, begin, end: [begin, end]
    """Where splits of [begin, end) begin and end, both included."""


def fields(result: kernel.Result) -> dict[str, Any]:
    """All that a result says, but for the delta."""
    return {
        "ranges": [{name: getattr(scanned, name) for name in SCANNED} for scanned in result.ranges],
        "outputs": result.outputs,
        "notifications": result.notifications,
        "control_outputs": result.control_outputs,
        "control_notifications": result.control_notifications,
        "rejects": result.rejects,
        "outside_over": result.outside_over,
        "outside_over_example": result.outside_over_example,
        "unmatched_example": result.unmatched_example,
    }


def bytewise(_: random.Random, begin: int, end: int) -> list[int]:
    """A split for each byte."""
    return list(range(begin, end + 1)) if begin < end else [begin, end]


def anywhere(generator: random.Random, begin: int, end: int) -> list[int]:
    """Some splits, most of them of about a line, some of a byte, some of many lines."""
    cuts, at = [begin], begin
    while at < end:
        at = min(end, at + generator.choice((1, 2, 30, 40, 45, 100, 500, 5000)))
        cuts.append(at)
    return cuts if begin < end else [begin, end]


class Batches:
    """Computes one batch after another in tasks, and commits their shard files as a driver would."""

    def __init__(
        self,
        ledger: Path,
        settings: Settings,
        way: Way,
        segment: kernel.Segment,
        rules: kernel.Rules,
        generator: random.Random,
    ) -> None:
        self.ledger = ledger
        self.settings = settings
        self.way = way
        self.segment = segment
        self.rules = rules
        self.policy = settings.kernel_policy()
        self.generator = generator
        self.committed: dict[int, tuple[shard_files.ShardFile, ...]] = {}
        self.batch = 0

    def splits(self, ranges: Sequence[kernel.Range]) -> list[tasks.Split]:
        """The splits of ranges."""
        found = []
        for sequence, item in enumerate(ranges):
            cuts = [item.start, item.end]
            if not item.compressed:
                cuts = self.way.cut(self.generator, item.start, item.end)
            for part, (begin, end) in enumerate(pairwise(cuts)):
                found.append(tasks.Split(sequence, part, item, begin, end))
        return found

    def often(self, items: Iterable[T]) -> list[T]:
        """The items in any order, some of them more than once."""
        found = [item for item in items for _ in range(self.generator.choice((1, 1, 1, 2)))]
        self.generator.shuffle(found)
        return found

    def job(self, day_open: int) -> tasks.Job:
        """A new attempt at the next batch."""
        return tasks.Job(
            batch=self.batch + 1,
            attempt=f"{self.generator.getrandbits(64):016x}",
            shards=self.way.shards,
            measure=self.settings.measure,
            shifts=self.settings.zones.shifts(),
            day_open=day_open,
            ledger=str(self.ledger),
            compact_bytes_min=self.way.compact_bytes_min,
        )

    def run(
        self, ranges: Sequence[kernel.Range], before: Callable[[int], None] = lambda _: None
    ) -> kernel.Result | kernel.Cut:
        """An attempt at a batch; committed when it is whole. ``before`` is told the number of each scan before it."""
        job = self.job(max((item.day_open for item in ranges), default=0))
        splits = self.splits(ranges)
        rows: dict[tuple[int, int], list[tuple[int, Any]]] = {}
        with environment(self.settings):
            for number, split in enumerate(self.often(splits)):
                before(number)
                done = list(tasks.scan(job, split, self.segment, self.rules, self.policy))
                rows[split[:2]] = done
        candidates: dict[int, list[bytes]] = defaultdict(list)
        reports = []
        for done in rows.values():
            for shard, blob in done[:-1]:
                candidates[shard].append(blob)
            last, report = done[-1]
            assert job.shards == last
            reports.append(report)
        stepped: dict[int, tasks.ShardReport] = {}
        for shard in self.often(range(job.shards) if job.shards < 9 else candidates):
            self.generator.shuffle(candidates[shard])
            task = tasks.ShardTask(shard, self.committed.get(shard, ()))
            report = tasks.step(job, task, candidates[shard], self.rules, self.policy)
            assert bool(candidates[shard]) == (report is not None)
            if report is not None:
                assert report == stepped.get(shard, report)
                stepped[shard] = report
        decided = [report.decided for report in stepped.values()]
        for told in (splits, reports, decided):
            self.generator.shuffle(told)
        result = kernel.gather(ranges, splits, reports, decided, self.rules)
        if isinstance(result, kernel.Result):
            self.commit(stepped.values())
        return result

    def commit(self, reports: Iterable[tasks.ShardReport]) -> None:
        """Name what was written."""
        self.batch += 1
        for report in reports:
            if (written := report.written) is not None:
                before = () if written.kind == "base" else self.committed.get(report.shard, ())
                self.committed[report.shard] = (*before, written)

    def load(self, day_open: int) -> kernel.Ledger:
        """The ledger of all shards, read as any reader would."""
        blobs = [
            (file.kind, (file.batch, blob))
            for files in self.committed.values()
            for file in files
            for blob in shard_files.read_shard_file(self.ledger, file)
        ]
        bases = [pair for kind, pair in blobs if kind == "base"]
        deltas = [pair for kind, pair in blobs if kind == "delta"]
        return kernel.Ledger.load(bases, deltas, day_open, 1)


def range_of(number: int, path: Path, size: int, *, final: bool) -> kernel.Range:
    """All of a file as the first range of it."""
    return kernel.Range(
        name=path.name,
        path=bytes(path),
        compressed=False,
        start=0,
        end=size,
        final=final,
        tail=0,
        newlines=0,
        digest=0,
        day_max=day_max_of(stamp_of(number)),
        day_open=20200416,
        rejects_left_bytes=REJECTS_ALL,
    )
