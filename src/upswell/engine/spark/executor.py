"""What Spark runs on its executors: the tasks of a job, each after a check that this node sees what the driver sees.

Owns the form in which a reference travels, and the proof that DATA and the ledger's directory are the driver's. A file
that is missing on a node whose DATA is not the driver's must never be taken for one that is gone: so every task checks
first, and raises NotShared. ``tasks`` has what a task does; nothing here touches a byte of it. Whatever is raised is
tried again by Spark, on another executor if there is one, and ends the job after some tries. What no other try would
mend is returned as a value, Damage or Fault: of an exception Spark would hand on no more than its words.
"""

import errno
import gc
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from upswell.engine.spark.tasks import Job, ShardReport, ShardTask, Split, SplitReport, scan, step
from upswell.kernel import SOURCE_DIGEST, Policy, Rules, Segment
from upswell.state.shard_files import DamagedShard, Unsynced

_SAME_EVERYWHERE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EEXIST)
"""What a shared file system reports to every node."""
_LINKLESS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
"""What file systems without hard links report when one is made."""


class NotShared(Exception):
    """A directory on this node is not the driver's; the message names both and the reason."""


class OtherBuild(Exception):
    """This node has another kernel than the driver; the message names the node."""


class NodeFault(Exception):
    """This node could not read or write a file of the ledger; the message names path, reason and node."""


class Damage(NamedTuple):
    """A shard's file is missing or damaged: returned and not raised, since no other executor would find it whole."""

    words: str


class Fault(NamedTuple):
    """An error that the system reported of the ledger's directory.

    Returned and not raised where another try is no better, as for a full disk, or must not be made, as after a failed
    sync.
    """

    number: int
    """The errno."""
    words: str
    """The reason, and the node."""
    name: str
    """Of the file, or the path; empty when the system named none."""

    @classmethod
    def of(cls, error: OSError) -> "Fault":
        """Make it of an error on this node."""
        words = f"{error.strerror or error} (on {socket.gethostname()})"
        name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
        return cls(error.errno or 0, words, name)

    def error(self) -> OSError:
        """Return the same as an error, to be raised on the driver."""
        return OSError(self.number, self.words, self.name)


class SharedDirectory(NamedTuple):
    """A directory as the driver sees it."""

    path: str
    inode: int
    """The same on every node of a shared file system."""

    @classmethod
    def of(cls, path: Path) -> "SharedDirectory":
        """Describe the directory as it is here and now. Raises OSError when it cannot be seen."""
        return cls(str(path.absolute()), path.stat().st_ino)

    def check(self) -> None:
        """Raise NotShared when this node sees another directory there, or none."""
        try:
            inode = Path(self.path).stat().st_ino
        except OSError as error:
            raise NotShared(f"{socket.gethostname()}: {self.path}: {error.strerror}") from error
        if inode != self.inode:
            raise NotShared(
                f"{socket.gethostname()}: {self.path}: another directory than the driver's"
            )


class SentReference:
    """Segment, rules and policy of one batch as they are sent to executors. Each worker process loads them once."""

    def __init__(
        self,
        segment: Segment,
        rules: Sequence[tuple[int, str, int, int, int]],
        policy: Policy,
    ) -> None:
        self.segment = segment
        self.rules = Rules(rules)
        self.policy = policy
        self._rules = tuple(map(tuple, rules))

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        suppressed, *rest = self.policy.parts()
        listed = None if suppressed is None else suppressed.encode()
        return _received, (self.segment.encode(), self._rules, listed, tuple(rest))


def _received(
    segment: bytes,
    rules: Sequence[tuple[int, str, int, int, int]],
    listed: bytes | None,
    rest: tuple[Any, ...],
) -> SentReference:
    suppressed = None if listed is None else Segment.decode(listed)
    return SentReference(Segment.decode(segment), rules, Policy(suppressed, *rest))


class StageInput(NamedTuple):
    """The input that all tasks of one stage of a job share."""

    job: Job
    directory: SharedDirectory
    """The directory that the stage reads: DATA when it scans, the ledger's when it steps."""
    build: str
    """The driver's kernel.SOURCE_DIGEST."""

    def check(self) -> None:
        """Raise OtherBuild or NotShared when this executor, which may have come after the start, cannot run tasks."""
        if self.build != SOURCE_DIGEST:
            raise OtherBuild(f"{socket.gethostname()}: its Upswell is not the driver's")
        self.directory.check()


class Broadcast(Protocol):
    """Spark's broadcast of the reference, which comes to a worker once and stays until another is asked for."""

    @property
    def value(self) -> SentReference:
        """The reference, fetched and loaded at the first call."""


def scan_splits(
    stage: StageInput, broadcast: Broadcast, splits: Sequence[Split]
) -> Iterator[tuple[int, bytes | SplitReport]]:
    """Yield what ``tasks.scan`` gives for each split, one split after the other.

    Raises:
        OtherBuild, NotShared: this executor cannot run tasks of this job.
    """
    _freeze_loaded()
    stage.check()
    reference = broadcast.value
    for split in splits:
        yield from scan(stage.job, split, reference.segment, reference.rules, reference.policy)


def step_shards(
    stage: StageInput,
    shards: Mapping[int, ShardTask],
    broadcast: Broadcast,
    rows: Iterable[tuple[int, bytes | SplitReport]],
) -> Iterator[SplitReport | ShardReport | Damage | Fault]:
    """Yield the reports of splits among the rows, then what ``tasks.step`` gives for each shard with candidates.

    Nothing is stepped after Damage or a Fault.

    Args:
        stage: of the job.
        shards: those that have files; one that is not among them has none yet.
        broadcast: the reference.
        rows: (shard, blob of candidates) or (anything, report of a split).

    Raises:
        OtherBuild, NotShared: this executor cannot run tasks of this job. NodeFault: what another node may be spared.
    """
    _freeze_loaded()
    blobs: dict[int, list[bytes]] = {}
    for shard, row in rows:
        if isinstance(row, bytes):
            blobs.setdefault(shard, []).append(row)
        else:
            yield row
    if blobs:
        stage.check()
    for shard in sorted(blobs):
        task = shards.get(shard, ShardTask(shard, ()))
        reference = broadcast.value
        try:
            report = step(stage.job, task, blobs.pop(shard), reference.rules, reference.policy)
        except DamagedShard as damaged:
            yield Damage(str(damaged))
            return
        except OSError as error:
            fault = Fault.of(error)
            if error.errno not in _SAME_EVERYWHERE and not isinstance(error, Unsynced):
                path = Path(stage.job.ledger, fault.name)
                raise NodeFault(f"{path}: {fault.words}") from error
            yield fault
            return
        if report is not None:
            yield report


def _freeze_loaded() -> None:
    """Exempt what is loaded by now from the garbage collection that Spark's worker does after every task.

    It would go through all modules each time, for as long as a task of a small batch takes.
    """
    if not gc.get_freeze_count():
        gc.freeze()


class ProbeResult(NamedTuple):
    """The report of one executor on itself and the directories."""

    executor: str
    build: str
    """Its kernel's SOURCE_DIGEST, which must be the driver's."""
    reply: str
    """The name of the file that it wrote into the ledger's directory."""
    fault: str
    """Why it does not share the driver's directories; empty when it does."""
    linkless: bool = False
    """True when the fault is that the ledger's file system has no hard links."""


def probe(
    data: SharedDirectory, ledger: SharedDirectory, pause_s: float, token: str
) -> ProbeResult:
    """Try whether this node reads what the driver wrote, and writes what the driver can read.

    The driver's file ``token`` must be seen in the ledger's directory, and an empty file of two names is left beside
    it. The pause, in seconds, leaves the other probes to other executors.
    """
    host = socket.gethostname()
    executor = f"{host}, process {os.getppid()}"
    time.sleep(pause_s)
    try:
        data.check()
        ledger.check()
        os.scandir(data.path).close()
        Path(ledger.path, token).stat()
        unready = Path(ledger.path, f"{token}-{secrets.token_hex(4)}")
        unready.touch(mode=0o600, exist_ok=False)
        # Tasks name what they wrote by a link, too.
        reply = unready.with_name(f"{unready.name}-linked")
        reply.hardlink_to(unready)
    except NotShared as error:
        return ProbeResult(executor, SOURCE_DIGEST, "", str(error))
    except OSError as error:
        words = f"{host}: {error.filename}: {error.strerror}"
        # Of these calls a link alone has two names.
        linkless = error.filename2 is not None and error.errno in _LINKLESS
        return ProbeResult(executor, SOURCE_DIGEST, "", words, linkless)
    return ProbeResult(executor, SOURCE_DIGEST, reply.name, "")
