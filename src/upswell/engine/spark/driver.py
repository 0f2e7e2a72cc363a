"""A batch as one job of many tasks: the driver's half of a run on a cluster.

Owns how ranges are cut into splits, the attempts at a batch, and which files hold the ledger. ``tasks`` has what a task
does, the runner where it runs. The loop, the source and the commit are those of every run.

The invariant: whatever a task writes is named by its attempt and counts only once a commit names it. So a task that
runs twice, late or for a driver that is dead changes nothing; and the result of a batch is a function of its ranges,
its reference and the files that the commit before named.
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
from upswell.reference.loading import LoadedReference
from upswell.state import ledger_directory
from upswell.state.checkpoint import Checkpoint
from upswell.state.identity import ledger_form
from upswell.state.ledger import committed_shard_files
from upswell.state.ledger_formats import to_files
from upswell.state.shard_files import DamagedShard, ShardFile, new_attempt
from upswell.storage.files import RECOVERS, translate_os_errors

SPLIT_BYTES = 64 << 20
"""A fraction of a second of a core, so that a task's own cost is small in comparison."""
BATCH_BYTES = 1 << 30
"""Some seconds of a few cores, so that the cost of a job and a commit is small in comparison."""
REPORT_BYTES_MAX = 128 << 20
"""About how much the tasks of a batch may report. The driver holds several copies of it, for two batches. A gigabyte of
normal data reports some megabytes; only rejects and notifications can be more."""
FRUITLESS_MAX = 8
"""Jobs in a row over the same ranges; a file that changes between two tasks needs fewer."""
COMPACT_BYTES_MIN = 1 << 20  # a shard's deltas up to here are read in milliseconds


class Runner(Protocol):
    """Runs the tasks of a job: ``tasks.scan`` of each split, and ``tasks.step`` of each shard over its blobs.

    A task may run again, or twice at once.
    """

    def check(self, data: Path, ledger: Path) -> None:
        """Check that wherever tasks run both directories are seen, and the second can be written.

        Raises:
            UpswellError: they are not, or cannot.
        """

    def run(
        self,
        job: Job,
        splits: Sequence[Split],
        shards: Mapping[int, ShardTask],
        reference: LoadedReference,
    ) -> list[SplitReport | ShardReport]:
        """Run a job, and return the reports in any order: one of each split, and one of each shard that got blobs.

        A shard that is not among ``shards`` has no files yet.

        Raises:
            DamagedShard, OSError: a task raised it. UpswellError: the job cannot be run.
        """

    def check_alive(self) -> None:
        """Raise UpswellError when jobs can no longer be run, as far as that is known without one. Cheap."""

    def close(self) -> None:
        """Release the resources. A second call does nothing."""


class ClusterCompute:
    """Computes batches as jobs of a runner, over a ledger in files. Implements ``Compute``."""

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
        """Keep the arguments; ``begin`` checks the runner and finds the ledger's files.

        Args:
            settings: of the run.
            checkpoint: names the files of the ledger.
            runner: runs the jobs; closed with this.
            shards: how many tasks share the ledger: a power of two up to kernel.SHARDS, the state's for good.
            split_bytes: about how much of a file one task reads.
            batch_bytes: about how much a batch reads at most. A compressed file is read whole.
        """
        self.ledger_form = ledger_form(shards)
        # A job leaves the driver idle; but with one thread every call of a run comes in one order.
        self.overlaps = settings.threads > 1
        self._settings = settings
        self._checkpoint = checkpoint
        self._runner = runner
        self._shards = shards
        self._split_bytes = split_bytes
        self._batch_bytes_max = batch_bytes
        self._batch_bytes = min(batch_bytes, REPORT_BYTES_MAX)
        """Of the next batch. How much it will report is only known from those before, so the first ones are small."""
        self._ledger_dir = checkpoint.reader.ledger_dir.absolute()
        self._files: dict[int, tuple[ShardFile, ...]] = {}
        """By shard: its newest base and the deltas after it, of every batch that was read, committed or not."""
        self._written: tuple[ShardFile, ...] = ()
        """The files that the last read wrote."""
        self._number = 0
        """Of the next batch."""
        self._day_open = 0

    def prepare(self) -> None:
        """Do nothing: the ledger stays in its files."""

    def begin(self) -> None:
        """Check the runner, sweep files that no commit names, and take up those that one does.

        A ledger that lies in the database, such as adopted caps, is written to files first. A crash leaves files that
        no commit names; the next start sweeps them.

        Raises:
            UpswellError: as ``Runner.check``. StorageError: the ledger's directory cannot be read or written.
        """
        ledger_directory.make(self._ledger_dir)
        self._runner.check(self._settings.data.absolute(), self._ledger_dir)
        self._number = self._checkpoint.reader.last_batch() + 1
        self._day_open = self._checkpoint.reader.day_open()
        files = committed_shard_files(self._checkpoint.reader)
        ledger_directory.sweep(self._ledger_dir, {file.name for file in files})
        if not files and (files := to_files(self._checkpoint.reader, self._shards, new_attempt())):
            self._checkpoint.move_ledger_to_files(files)
        self._take(files)

    def read(self, ranges: Sequence[Range], reference: LoadedReference, commit_s: float) -> Read:
        """Read and decide as many ranges as make a batch, in as many attempts as it takes.

        ``commit_s`` is not needed: the length of a batch follows from bytes. A crash leaves files of an attempt that no
        commit names.

        Raises:
            StorageError: the ledger is damaged, or a directory is not shared. UpswellError: the job cannot be run.
        """
        del commit_s
        ranges = [absolute(wanted) for wanted in ranges]
        times, fruitless = 1, 0
        asked = first_bytes(ranges, self._batch_bytes)
        while True:
            found = self._attempt(asked, self._split_bytes * times, reference)
            if isinstance(found, Cut):
                shorter = shortened(asked, found)
                fruitless = fruitless + 1 if shorter == asked else 0
                if fruitless == FRUITLESS_MAX:
                    raise UpswellError(
                        f"{fruitless} jobs over the same ranges did not decide what they had scanned",
                        "nothing of their batch was committed; please report this",
                    )
                asked = shorter
            elif is_line_longer(ranges, asked, found):
                # Splits grow, too: when a part of the line cannot be read, one of them reaches it and reports that.
                times *= 2
                asked = first_bytes(ranges, self._batch_bytes * times)
            else:
                return Read(asked, found)

    def change(self, result: Result, day_open: int) -> LedgerChange:
        """Return the files that the last read wrote, for its commit to name."""
        del result
        self._number += 1
        self._day_open = day_open
        return LedgerChange(shard_files=self._written)

    def committed(self) -> None:
        """Remove the files that the committed batch replaced, and those that other attempts at it left.

        Files of later batches stay: one may be in the making.
        """
        names = {file.name for file in committed_shard_files(self._checkpoint.reader)}
        ledger_directory.sweep(self._ledger_dir, names, self._checkpoint.reader.last_batch())

    def entries(self) -> None:
        """Return None: no process holds all of the ledger."""

    def check_alive(self) -> None:
        """Raise UpswellError when the runner can no longer run jobs, as far as that is known without one."""
        self._runner.check_alive()

    def close(self) -> None:
        """Close the runner."""
        self._runner.close()

    def _attempt(
        self, asked: Sequence[Range], split_bytes: int, reference: LoadedReference
    ) -> Result | Cut:
        """Run the job of a batch once; take up the files that it wrote, or remove them when it was cut."""
        splits = splits_of(asked, split_bytes)
        job = Job(
            batch=self._number,
            attempt=new_attempt(),
            shards=self._shards,
            measure=self._settings.measure,
            shifts=self._settings.zones.shifts(),
            day_open=self._day_open,
            ledger=str(self._ledger_dir),
            compact_bytes_min=COMPACT_BYTES_MIN,
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
            refuse_unshared_data(asked, found)
            report_bytes = sum(len(report.report) for report in of_splits) + sum(map(len, decided))
            self._pace(sum(wanted.end - wanted.start for wanted in asked), report_bytes)
            self._written = tuple(report.written for report in of_shards if report.written)
            ledger_directory.check_seen(self._ledger_dir, self._written)
            self._take(self._written)
        return found

    def _pace(self, read_bytes: int, report_bytes: int) -> None:
        """Halve the size of the next batches when one reported too much; double it when a full one reported little."""
        if report_bytes > REPORT_BYTES_MAX:
            # The lower bound may be more than a run begins with, and no batch must grow by reporting too much.
            least = min(self._batch_bytes_max // 256, self._batch_bytes)
            self._batch_bytes = max(self._batch_bytes // 2, least, 1)
        elif read_bytes >= self._batch_bytes and report_bytes <= REPORT_BYTES_MAX // 2:
            self._batch_bytes = min(self._batch_bytes * 2, self._batch_bytes_max)

    def _take(self, files: Sequence[ShardFile]) -> None:
        """Add files to the ledger, in order; a base replaces all that its shard had."""
        for file in files:
            before = () if file.kind == "base" else self._files.get(file.shard, ())
            self._files[file.shard] = (*before, file)


def refuse_unshared_data(asked: Sequence[Range], found: Result) -> None:
    """Check that each file that a task reported as gone is gone for the driver too.

    Otherwise an executor does not see the same DATA, and its records would be taken for deleted.

    Raises:
        StorageError: the driver sees a file that a task did not find.
    """
    for wanted, scanned in zip(asked, found.ranges, strict=False):
        if scanned.problem == "gone" and Path(os.fsdecode(wanted.path)).exists():
            raise StorageError(
                f"{escape(wanted.name)} exists, but an executor reports that it is gone",
                "DATA must be one file system, shared by the driver and all executors; then start again",
            )


def splits_of(ranges: Sequence[Range], split_bytes: int) -> list[Split]:
    """Cut the ranges into splits for one task each, in order. A compressed range is one split: it has one start."""
    found = []
    for sequence, wanted in enumerate(ranges):
        step = max(wanted.end - wanted.start, 1) if wanted.compressed else split_bytes
        begins = range(wanted.start, max(wanted.end, wanted.start + 1), step)
        for part, begin in enumerate(begins):
            found.append(Split(sequence, part, wanted, begin, min(begin + step, wanted.end)))
    return found


def absolute(wanted: Range) -> Range:
    """Return the same range for a task that runs in another working directory."""
    return wanted._replace(path=bytes(Path(os.fsdecode(wanted.path)).absolute()))


def first_bytes(ranges: Sequence[Range], batch_bytes: int) -> list[Range]:
    """Return the first ranges, up to ``batch_bytes`` in all; the last is cut short to fit, unless it is compressed."""
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
    """Return the ranges to read after a cut, when the splits of a range do not join: only what comes before it."""
    failed = asked[cut.sequence]
    final = failed.final and cut.end == failed.end
    return [*asked[: cut.sequence], failed._replace(end=cut.end, final=final)]


def is_line_longer(ranges: Sequence[Range], asked: Sequence[Range], result: Result) -> bool:
    """Return whether nothing was consumed because a line ends beyond the nearer end that was asked for."""
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
    """Raise UpswellError when the job lost or doubled a task: nothing that it reports can be trusted then."""
    wanted = [(split.sequence, split.part) for split in splits]
    found = [(report.sequence, report.part) for report in of_splits]
    numbers = [report.shard for report in of_shards]
    if found != wanted or len(set(numbers)) != len(numbers):
        raise UpswellError(
            f"a job of {len(wanted)} splits gave {len(found)} reports of them and {len(numbers)} of"
            f" {len(set(numbers))} shards",
            "nothing of its batch was committed; please report this",
        )
