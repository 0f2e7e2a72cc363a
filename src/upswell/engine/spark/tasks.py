"""What runs on an executor: one split of a file is scanned, one shard of the ledger is stepped.

Owns the values that pass between a driver and its executors, and the files of shards: their names, their content, when
one is written anew. It never decides what a line is: that is the kernel's, whose blobs pass through here unread. It
knows no engine, so that whatever moves bytes can run it, and imports no more than the kernel and durable files. What a
task writes is named by its attempt, and means nothing until a commit names it: a task that is run twice, too late or
not to its end harms nobody.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from upswell import kernel
from upswell.kernel import Clock, Ledger, Policy, Range, Rules, Segment, Splitting
from upswell.state.shard_files import (
    KINDS,
    DamagedShard,
    ShardFile,
    kernel_shards,
    read_shard_file,
    write_shard_file,
)

FILES_MAX = 32  # of a shard, however small: each batch opens all of them


class Job(NamedTuple):
    """What all tasks of one attempt at a batch share."""

    batch: int
    """The number that the batch will have."""
    attempt: str
    """Random hex: it names all that the attempt writes."""
    shards: int
    """A power of two, 1 to 256. Shard k holds the kernel's 256 / shards consecutive shards from k * 256 / shards."""
    measure: str
    """"total" or "session"."""
    shifts: Sequence[tuple[int, int]]
    """What ``kernel.Clock`` takes."""
    day_open: int
    """First open day after this batch: what earlier days alone can ask for is left out when a base is written."""
    ledger: str
    """The directory of shard files, shared by all nodes."""
    fold_bytes_min: int
    """A shard whose deltas, the new one among them, outgrow this and half of its base is written anew as a base."""


class Split(NamedTuple):
    """A part of a range: it owns the lines that start in [begin, end)."""

    sequence: int
    """Index of its range in the batch."""
    part: int
    """Index of the split in its range, from 0."""
    range: Range
    """The whole range that was asked for."""
    begin: int
    """Of part 0 the start of the range, of others where the split before ends."""
    end: int
    """Of the last part the end of the range."""


class ShardTask(NamedTuple):
    """A shard before the batch."""

    shard: int
    files: tuple[ShardFile, ...]
    """The newest base, if there is one, and the deltas after it in commit order."""


class ShardReport(NamedTuple):
    """What the ledger decided in one shard."""

    shard: int
    decided: bytes
    """The kernel's report: to be given to ``kernel.gather``."""
    written: ShardFile | None
    """None when nothing changed."""


class SplitReport(NamedTuple):
    """What one split was, but for the records that the ledger decides."""

    sequence: int
    part: int
    report: bytes
    """The kernel's report: to be given to ``kernel.gather``."""


def scan(
    job: Job, split: Split, segment: Segment, rules: Rules, policy: Policy | None = None
) -> Iterator[tuple[int, bytes | SplitReport]]:
    """Scan the lines of a split: (shard, blob of candidates) in rounds, and (job.shards, SplitReport) in the end.

    Whom the policy suppresses is found here, what else it keeps back in ``step``: both must be given the same.
    Never raises on data: that the file has vanished or cannot be read is in the report. Reads, and writes nothing.
    """
    place = split.sequence, split.part
    splitting = Splitting(
        split.range,
        place,
        (split.begin, split.end),
        job.shards,
        Clock(job.shifts),
        segment,
        rules,
        policy,
    )
    yield from splitting
    yield job.shards, SplitReport(*place, splitting.report())


def step(
    job: Job,
    task: ShardTask,
    blobs: Iterable[bytes],
    rules: Rules,
    policy: Policy | None = None,
) -> ShardReport | None:
    """Apply the candidates of a batch, in any order of blobs, to a shard; None without any: nothing is done then.

    The file that is written is durable under its name when this returns. A crash before leaves a file of a name that
    no one asks for, or the whole file; twice the same attempt writes the same content.

    Raises:
        DamagedShard: a file of the shard is missing or damaged.
        OSError: the ledger's directory cannot be read or written. FileExistsError: somebody else has the name.
        Unsynced: as it says.
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
    outgrown = sizes["delta"] + len(delta) > max(job.fold_bytes_min, sizes["base"] // 2)
    if outgrown or len(task.files) >= FILES_MAX:
        ledger.drop_before(job.day_open)
        kind, content = (
            "base",
            [ledger.shard(index) for index in kernel_shards(task.shard, job.shards)],
        )
    written = write_shard_file(Path(job.ledger), task.shard, job.batch, job.attempt, kind, content)
    return ShardReport(task.shard, decided, written)


def _load(job: Job, task: ShardTask) -> Ledger:
    """The ledger of a shard before the batch, closed days and all: a record of this batch may still be of one."""
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
