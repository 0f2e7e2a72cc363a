"""What runs on an executor: one split of a file is scanned, one shard of the ledger is stepped.

Owns the values that pass between a driver and its executors, and the files of shards: their names, their content, when
one is written anew. It never decides what a line is: that is the kernel's, whose blobs pass through here unread. It
knows no engine, so that whatever moves bytes can run it: the kernel, durable files and the standard library are all it
imports. Whatever a task writes is named by its attempt, and means nothing until a commit names it: a task that is run
twice, too late or not to its end harms nobody.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from upswell.kernel import Range, Rules, Segment, crc64


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


class ShardFile(NamedTuple):
    """A file in the ledger's directory that a task wrote."""

    shard: int
    batch: int
    kind: str
    """"base": all that lives in the shard; "delta": what the batch changed."""
    name: str
    bytes: int
    digest: int
    """CRC-64/NVME of the content."""


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


class DamagedShard(Exception):
    """A file of a shard is missing or damaged; the message has its name and the reason."""


def scan(
    job: Job, split: Split, segment: Segment, rules: Rules
) -> Iterator[tuple[int, bytes | SplitReport]]:
    """Scan the lines of a split: (shard, blob of candidates) in rounds, and (job.shards, SplitReport) in the end.

    Never raises on data: that the file has vanished or cannot be read is in the report. Reads, and writes nothing.
    """
    raise NotImplementedError


def step(job: Job, task: ShardTask, blobs: Iterable[bytes], rules: Rules) -> ShardReport | None:
    """Apply the candidates of a batch, in any order of blobs, to a shard; None without any: nothing is done then.

    The file that is written is durable under its name when this returns. A crash before leaves a file of a name that
    no one asks for, or the whole file; twice the same attempt writes the same content.

    Raises:
        DamagedShard: a file of the shard is missing or damaged.
        OSError: the ledger's directory cannot be read or written.
    """
    raise NotImplementedError


def write_shard_file(
    directory: Path, shard: int, batch: int, attempt: str, kind: str, blobs: Sequence[bytes]
) -> ShardFile:
    """Write a shard's file of these blobs; as ``step``."""
    content = b"".join(len(blob).to_bytes(8, "big") + blob for blob in blobs)
    name = f"shard-{shard}-{batch}-{attempt}.{kind}"
    path = directory / name
    half = path.with_name(name + ".half")
    half.write_bytes(content)
    half.rename(path)
    return ShardFile(shard, batch, kind, name, len(content), crc64(content))


def read_shard_file(directory: Path, file: ShardFile) -> list[bytes]:
    """The blobs of a shard's file: of a base one for each of its kernel shards, of a delta one. Raises DamagedShard."""
    try:
        content = (directory / file.name).read_bytes()
    except OSError as error:
        raise DamagedShard(f"{file.name}: {error.strerror}") from error
    if (len(content), crc64(content)) != (file.bytes, file.digest):
        raise DamagedShard(f"{file.name}: its content is another")
    blobs = []
    while content:
        length = int.from_bytes(content[:8], "big")
        blobs.append(content[8 : 8 + length])
        content = content[8 + length :]
    return blobs
