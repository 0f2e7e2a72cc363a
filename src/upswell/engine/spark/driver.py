"""A batch as one job of many tasks: the driver's half of a run on a cluster.

Owns how ranges are cut into splits, the attempts at a batch, and which files hold the ledger. What a task does is
``tasks``'s, where it runs the runner's. The loop, the source and the commit are those of every run.

The invariant: whatever a task writes is named by its attempt and counts only once a commit names it. So a task that
runs twice, late or for a driver that is dead changes nothing; and what a batch gives is a function of its ranges, its
reference and the files that the commit before named.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from upswell.config.settings import Settings
from upswell.engine.assembly import LedgerChange
from upswell.engine.compute import Read, damaged_ledger
from upswell.engine.spark.tasks import Job, ShardReport, ShardTask, Split, SplitReport
from upswell.errors import StorageError, UpswellError
from upswell.kernel import Cut, Range, Result, gather
from upswell.privacy import escape
from upswell.reference.loading import Reference
from upswell.state import ledger_directory
from upswell.state.checkpoint import Checkpoint
from upswell.state.identity import engine_of
from upswell.state.ledger import committed_shard_files
from upswell.state.ledger_formats import to_files
from upswell.state.shard_files import DamagedShard, ShardFile, new_attempt
from upswell.storage.files import RECOVERS, translate_os_errors

SPLIT_BYTES = (
    64 << 20
)  # a fraction of a second of a core, so that a task's own cost is small beside it
BATCH_BYTES = (
    1 << 30
)  # some seconds of a few cores, so that a job's and a commit's cost is small beside it
REPORT_BYTES_MAX = 128 << 20
"""About how much the tasks of a batch may report: the driver holds it some times over, of two batches. Of normal data a
gigabyte reports some megabytes; only rejects and notifications can be more."""
IN_VAIN_MAX = 8  # jobs in a row over the same ranges: a file that changes between two tasks is no reason for more
COMPACT_BYTES_MIN = 1 << 20  # a shard's deltas up to here are read in milliseconds


class Runner(Protocol):
    """Runs the tasks of a job somewhere: ``tasks.scan`` of each split, and ``tasks.step`` of each shard over its blobs.

    A task may run again, or twice at once.
    """

    def check(self, data: Path, ledger: Path) -> None:
        """Whether both directories are seen, and the second written, from wherever tasks run. UpswellError if not."""

    def run(
        self,
        job: Job,
        splits: Sequence[Split],
        shards: Mapping[int, ShardTask],
        reference: Reference,
    ) -> list[SplitReport | ShardReport]:
        """What the tasks reported, in any order: one report a split, and one of each shard that got blobs.

        A shard that is not among ``shards`` has no files yet.

        Raises:
            DamagedShard, OSError: a task did. UpswellError: the job cannot be run.
        """

    def check_alive(self) -> None:
        """Whether jobs can still be run, as far as that is known without one. UpswellError if not; cheap."""

    def close(self) -> None:
        """Give up what is held. Again is nothing."""


class Spread:
    """Computes batches as jobs of a runner, over a ledger in files."""

    def __init__(
        self,
        settings: Settings,
        checkpoint: Checkpoint,
        runner: Runner,
        *,
        shards: int,
        split_bytes: int = SPLIT_BYTES,
        batch_bytes: int = BATCH_BYTES,
    ) -> None:
        """Take nothing up yet.

        Args:
            settings: of the run.
            checkpoint: names the files of the ledger.
            runner: runs the jobs; closed with this.
            shards: how many tasks share the ledger: a power of two up to kernel.SHARDS, the state's for good.
            split_bytes: about how much of a file one task reads.
            batch_bytes: about how much a batch reads at most. A compressed file is read whole.
        """
        self.pinned = engine_of(shards)
        # A job leaves the driver idle; but with one thread every call of a run comes in one order.
        self.beside = settings.threads > 1
        self._settings = settings
        self._checkpoint = checkpoint
        self._runner = runner
        self._shards = shards
        self._split_bytes = split_bytes
        self._batch_bytes_max = batch_bytes
        self._batch_bytes = min(batch_bytes, REPORT_BYTES_MAX)
        """Of the next batch: what it will report is known from those before alone, so it begins small."""
        self._ledger_dir = checkpoint.ledger_dir.absolute()
        self._files: dict[int, tuple[ShardFile, ...]] = {}
        """By shard: its newest base and the deltas after it, of all that was read, committed or about to be."""
        self._written: tuple[ShardFile, ...] = ()
        """By the last read."""
        self._number = 0
        """Of the next batch."""
        self._day_open = 0

    def prepare(self) -> None:
        """As Compute says: nothing, as what is there stays where it is."""

    def begin(self) -> None:
        """As Compute says. A ledger that lies in the database, as of adopted caps, is written to files first.

        A crash leaves files that no commit names: swept here, at the next start.
        """
        ledger_directory.make(self._ledger_dir)
        self._runner.check(self._settings.data.absolute(), self._ledger_dir)
        self._number = self._checkpoint.last_batch() + 1
        self._day_open = self._checkpoint.day_open()
        files = committed_shard_files(self._checkpoint)
        ledger_directory.sweep(self._ledger_dir, {file.name for file in files})
        if not files and (files := to_files(self._checkpoint, self._shards, new_attempt())):
            self._checkpoint.move_ledger_to_files(files)
        self._take(files)

    def read(self, ranges: Sequence[Range], reference: Reference, commit_s: float) -> Read:
        """As Compute says: as many ranges as make a batch, in as many attempts as it takes.

        A crash leaves files of an attempt that no commit names.
        """
        del commit_s  # a batch is as long as its bytes say
        ranges = [anywhere(wanted) for wanted in ranges]
        times, in_vain = 1, 0
        asked = first_bytes(ranges, self._batch_bytes)
        while True:
            found = self._attempt(asked, self._split_bytes * times, reference)
            if isinstance(found, Cut):
                shorter = shortened(asked, found)
                in_vain = in_vain + 1 if shorter == asked else 0
                if in_vain == IN_VAIN_MAX:
                    raise UpswellError(
                        f"{in_vain} jobs over the same ranges did not decide what they had scanned",
                        "nothing of their batch was committed; please report this",
                    )
                asked = shorter
            elif is_line_longer(ranges, asked, found):
                # Splits grow, too: when what fails lies within the line, one of them meets it and says so at last.
                times *= 2
                asked = first_bytes(ranges, self._batch_bytes * times)
            else:
                return Read(asked, found)

    def change(self, result: Result, day_open: int) -> LedgerChange:
        """As Compute says: the names of the files that the last read wrote."""
        del result
        self._number += 1
        self._day_open = day_open
        return LedgerChange(shard_files=self._written)

    def committed(self) -> None:
        """As Compute says: what the batch replaced goes, and what attempts at it left.

        A later batch may be in the making: its files are not looked at.
        """
        names = {file.name for file in committed_shard_files(self._checkpoint)}
        ledger_directory.sweep(self._ledger_dir, names, self._checkpoint.last_batch())

    def entries(self) -> None:
        """As Compute says: no task sees all of it."""

    def check_alive(self) -> None:
        """As Compute says: the runner is asked."""
        self._runner.check_alive()

    def close(self) -> None:
        """As Compute says: the runner is closed."""
        self._runner.close()

    def _attempt(
        self, asked: Sequence[Range], split_bytes: int, reference: Reference
    ) -> Result | Cut:
        """Run the job of a batch once. What it wrote is taken up, or removed when it is of no use."""
        splits = splits_of(asked, split_bytes)
        job = Job(
            batch=self._number,
            attempt=new_attempt(),
            shards=self._shards,
            measure=self._settings.measure,
            shifts=self._settings.zones.shifts(),
            day_open=self._day_open,
            ledger=str(self._ledger_dir),
            fold_bytes_min=COMPACT_BYTES_MIN,
        )
        tasks = {shard: ShardTask(shard, files) for shard, files in self._files.items()}
        try:
            with translate_os_errors(self._ledger_dir, StorageError, RECOVERS):
                reports = self._runner.run(job, splits, tasks, reference)
        except DamagedShard as error:
            raise damaged_ledger(self._ledger_dir, error) from error
        of_splits = sorted(report for report in reports if isinstance(report, SplitReport))
        of_shards = sorted(
            (report for report in reports if isinstance(report, ShardReport)),
            key=lambda report: report.shard,
        )
        _check(splits, of_splits, of_shards)
        decided = [report.decided for report in of_shards]
        found = gather(asked, splits, of_splits, decided, reference.rules)
        if isinstance(found, Cut):
            ledger_directory.discard(self._ledger_dir, job.attempt)
        else:
            check_gone(asked, found)
            told_bytes = sum(len(report.report) for report in of_splits) + sum(map(len, decided))
            self._pace(sum(wanted.end - wanted.start for wanted in asked), told_bytes)
            self._written = tuple(report.written for report in of_shards if report.written)
            ledger_directory.check_seen(self._ledger_dir, self._written)
            self._take(self._written)
        return found

    def _pace(self, read_bytes: int, told_bytes: int) -> None:
        """Halve the next batches when one reported too much, double them when a full one reported little."""
        if told_bytes > REPORT_BYTES_MAX:
            # The least may be more than a run begins with, and no batch is to grow by reporting too much.
            least = min(self._batch_bytes_max // 256, self._batch_bytes)
            self._batch_bytes = max(self._batch_bytes // 2, least, 1)
        elif read_bytes >= self._batch_bytes and told_bytes <= REPORT_BYTES_MAX // 2:
            self._batch_bytes = min(self._batch_bytes * 2, self._batch_bytes_max)

    def _take(self, files: Sequence[ShardFile]) -> None:
        """Take up newer files: a base stands for all that its shard had."""
        for file in files:
            before = () if file.kind == "base" else self._files.get(file.shard, ())
            self._files[file.shard] = (*before, file)


def check_gone(asked: Sequence[Range], found: Result) -> None:
    """Whether the driver, too, misses what tasks say is gone: what is not shared with them must not be taken for lost.

    Raises StorageError.
    """
    for wanted, scanned in zip(asked, found.ranges, strict=False):
        if scanned.problem == "gone" and Path(os.fsdecode(wanted.path)).exists():
            raise StorageError(
                f"{escape(wanted.name)} is there, and an executor says that it is gone",
                "DATA must be one file system, shared by the driver and all executors; then start again",
            )


def splits_of(ranges: Sequence[Range], split_bytes: int) -> list[Split]:
    """The ranges in pieces for one task each, in order. A compressed range is one: it is read from its start."""
    found = []
    for sequence, wanted in enumerate(ranges):
        step = max(wanted.end - wanted.start, 1) if wanted.compressed else split_bytes
        begins = range(wanted.start, max(wanted.end, wanted.start + 1), step)
        for part, begin in enumerate(begins):
            found.append(Split(sequence, part, wanted, begin, min(begin + step, wanted.end)))
    return found


def anywhere(wanted: Range) -> Range:
    """The same range for a task that runs in another directory."""
    return wanted._replace(path=bytes(Path(os.fsdecode(wanted.path)).absolute()))


def first_bytes(ranges: Sequence[Range], batch_bytes: int) -> list[Range]:
    """The first of the ranges, as many as hold so many bytes, the last one up to a nearer end unless compressed."""
    found = []
    left = batch_bytes
    for wanted in ranges:
        if left <= 0:
            break
        if wanted.end - wanted.start > left and not wanted.compressed:
            wanted = wanted._replace(end=wanted.start + left, final=False)
        found.append(wanted)
        left -= wanted.end - wanted.start
    return found


def shortened(asked: Sequence[Range], cut: Cut) -> list[Range]:
    """What to ask for when the splits of a range do not join: what is before the cut, and nothing after it."""
    failed = asked[cut.sequence]
    final = failed.final and cut.end == failed.end
    return [*asked[: cut.sequence], failed._replace(end=cut.end, final=final)]


def is_line_longer(ranges: Sequence[Range], asked: Sequence[Range], result: Result) -> bool:
    """Whether nothing was taken because the end of a line is beyond the nearer end that was asked for."""
    last = len(asked) - 1
    if asked[last].end == ranges[last].end or len(result.ranges) <= last:
        return False
    return all(
        scanned.end == wanted.start and scanned.problem is None
        for wanted, scanned in zip(asked, result.ranges, strict=True)
    )


def _check(
    splits: Sequence[Split], of_splits: Sequence[SplitReport], of_shards: Sequence[ShardReport]
) -> None:
    """A job that lost or doubled a task is not to be believed in anything."""
    wanted = [(split.sequence, split.part) for split in splits]
    found = [(report.sequence, report.part) for report in of_splits]
    numbers = [report.shard for report in of_shards]
    if found != wanted or len(set(numbers)) != len(numbers):
        raise UpswellError(
            f"a job of {len(wanted)} splits gave {len(found)} reports of them and {len(numbers)} of"
            f" {len(set(numbers))} shards",
            "nothing of its batch was committed; please report this",
        )
