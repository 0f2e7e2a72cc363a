"""The tasks of a job: one scans a split of a file, the other steps a shard of the ledger.

Owns the values that pass between a driver and its executors, and when a shard is compacted into a new base. It never
decides what a line is: the kernel does, whose blobs pass through here unread. It knows no engine, so that whatever
moves bytes can run it, and imports no more than the kernel and durable files. The invariant: what a task writes is
named by its attempt, and means nothing until a commit names it. So a task that runs twice, too late or not to its end
changes nothing.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from upswell import kernel
from upswell.kernel import Clock, Ledger, Policy, Range, Rules, Segment, SplitScanner
from upswell.state.shard_files import (
    KINDS,
    DamagedShard,
    ShardFile,
    kernel_shards,
    read_shard_file,
    write_shard_file,
)

FILES_MAX = 32  # of a shard, however small they are: each batch opens all of them


class Job(NamedTuple):
    """The part that all tasks of one attempt at a batch share."""

    batch: int
    """The number that the batch will have."""
    attempt: str
    """Random hex: it names all that the attempt writes."""
    shards: int
    """A power of two, 1 to 256. Shard k holds the kernel's 256 / shards consecutive shards from k * 256 / shards."""
    measure: str
    """"total" or "session"."""
    shifts: Sequence[tuple[int, int]]
    """The conversion between the zones, as ``kernel.Clock`` takes it."""
    day_open: int
    """First open day after this batch: a new base leaves out what only records of earlier days could ask for."""
    ledger: str
    """The directory of shard files, shared by all nodes."""
    compact_bytes_min: int
    """A shard is compacted into a new base once its deltas, the new one among them, outgrow this and half its base."""


class Split(NamedTuple):
    """A part of a range, which owns the lines that start in [begin, end)."""

    sequence: int
    """Index of its range in the batch."""
    part: int
    """Index of the split in its range, from 0."""
    range: Range
    """The whole range that it is a part of."""
    begin: int
    """Of part 0 the start of the range, of the others the end of the split before."""
    end: int
    """Of the last part the end of the range."""


class ShardTask(NamedTuple):
    """A shard before the batch."""

    shard: int
    files: tuple[ShardFile, ...]
    """The newest base, if there is one, and the deltas after it in commit order."""


class ShardReport(NamedTuple):
    """The decisions of the ledger in one shard."""

    shard: int
    decided: bytes
    """The kernel's report, for ``kernel.gather``."""
    written: ShardFile | None
    """The new file of the shard; None when nothing changed."""


class SplitReport(NamedTuple):
    """The lines of one split, but for the records that the ledger decides."""

    sequence: int
    part: int
    report: bytes
    """The kernel's report, for ``kernel.gather``."""


def scan(
    job: Job, split: Split, segment: Segment, rules: Rules, policy: Policy | None = None
) -> Iterator[tuple[int, bytes | SplitReport]]:
    """Scan the lines of a split: yield (shard, blob of candidates) in rounds, and (job.shards, SplitReport) at the end.

    Records of suppressed customers are found here, what else the policy keeps back in ``step``: both must be given the
    same policy. Never raises on data: that the file has vanished or cannot be read is in the report. Writes nothing.
    """
    place = split.sequence, split.part
    scanner = SplitScanner(
        split.range,
        place,
        (split.begin, split.end),
        job.shards,
        Clock(job.shifts),
        segment,
        rules,
        policy,
    )
    yield from scanner
    yield job.shards, SplitReport(*place, scanner.report())


def step(
    job: Job,
    task: ShardTask,
    blobs: Iterable[bytes],
    rules: Rules,
    policy: Policy | None = None,
) -> ShardReport | None:
    """Apply a batch's blobs of candidates, in any order, to a shard. Without any, do nothing and return None.

    The file that is written is durable under its name when this returns. A crash before leaves a file of a name that
    nothing refers to, or the whole file; the same attempt, run again, writes the same content.

    Raises:
        DamagedShard: a file of the shard is missing or damaged.
        OSError: the ledger's directory cannot be read or written. FileExistsError: the name is taken by other content.
        Unsynced: the file could not be synced; it must not be tried again.
    """
    candidates = list(blobs)
    if not candidates:
        return None
    ledger = _load(job, task)
    decided = kernel.step(ledger, task.shard, job.shards, job.measure, rules, candidates, policy)
    delta = ledger.take_delta()
    if not delta:
        return ShardReport(task.shard, decided, None)
    kind, content = "delta", [delta]
    sizes = {kind: sum(file.bytes for file in task.files if file.kind == kind) for kind in KINDS}
    outgrown = sizes["delta"] + len(delta) > max(job.compact_bytes_min, sizes["base"] // 2)
    if outgrown or len(task.files) >= FILES_MAX:
        ledger.drop_before(job.day_open)
        kind, content = (
            "base",
            [ledger.shard(index) for index in kernel_shards(task.shard, job.shards)],
        )
    written = write_shard_file(Path(job.ledger), task.shard, job.batch, job.attempt, kind, content)
    return ShardReport(task.shard, decided, written)


def _load(job: Job, task: ShardTask) -> Ledger:
    """Load a shard as it was before the batch, closed days included: a record of this batch may still be of one."""
    blobs = [
        (file.kind, file.batch, blob)
        for file in task.files
        for blob in read_shard_file(Path(job.ledger), file)
    ]
    bases = [(batch, blob) for kind, batch, blob in blobs if kind == "base"]
    deltas = [(batch, blob) for kind, batch, blob in blobs if kind == "delta"]
    try:
        return Ledger.load(bases, deltas, 0, 1)
    except ValueError as error:
        raise DamagedShard(f"shard {task.shard}: {error}") from error
