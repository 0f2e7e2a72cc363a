"""What Spark runs on its executors: the tasks of a job, each behind a look at whether this node sees what it must.

Owns the form in which a reference travels, and the proof that DATA and the ledger's directory are the driver's. A file
that is missing on a node whose DATA is not the driver's must never be taken for one that is gone: so every task looks
first, and raises NotShared. What a task means is ``tasks``'; nothing here touches a byte of it. Whatever is raised is
tried again by Spark, on another executor if there is one, and ends the job after some times; what is no better anywhere
is told as a value, since Spark would hand on no more than words: Damage and Fault.
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

_ALIKE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EEXIST)
"""What a shared file system says to every node."""
_LINKLESS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
"""What file systems without hard links say of one."""


class NotShared(Exception):
    """A directory on this node is not the driver's; the message names both and the reason."""


class OtherBuild(Exception):
    """This node has another kernel than the driver; the message names it."""


class NodeFault(Exception):
    """This node could not read or write a file of the ledger; the message names path, reason and node."""


class Damage(NamedTuple):
    """A shard's file is missing or damaged: told and not raised, since no other executor would find it whole."""

    words: str


class Fault(NamedTuple):
    """What the system said of the ledger's directory.

    Told and not raised where another try is no better, as for a full disk, or must not be made, as after a failed sync.
    """

    number: int
    """As errno has it."""
    words: str
    """The reason, and the node."""
    name: str
    """Of the file, or the path; empty when the system named none."""

    @classmethod
    def of(cls, error: OSError) -> "Fault":
        """The error, as it happened on this node."""
        words = f"{error.strerror or error} (on {socket.gethostname()})"
        name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
        return cls(error.errno or 0, words, name)

    def error(self) -> OSError:
        """The same for whoever hears of it."""
        return OSError(self.number, self.words, self.name)


class Place(NamedTuple):
    """A directory as the driver sees it."""

    path: str
    inode: int
    """The same on every node of a shared file system."""

    @classmethod
    def of(cls, path: Path) -> "Place":
        """The directory as it is here and now. OSError when it cannot be seen."""
        return cls(str(path.absolute()), path.stat().st_ino)

    def look(self) -> None:
        """Raise NotShared when this node sees another directory there, or none."""
        try:
            inode = Path(self.path).stat().st_ino
        except OSError as error:
            raise NotShared(f"{socket.gethostname()}: {self.path}: {error.strerror}") from error
        if inode != self.inode:
            raise NotShared(
                f"{socket.gethostname()}: {self.path}: another directory than the driver's"
            )


class Reference:
    """Segment, rules and policy of one batch, as they are sent to executors: each worker makes them once."""

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
        listed = None if suppressed is None else suppressed.dump()
        return _received, (self.segment.dump(), self._rules, listed, tuple(rest))


def _received(
    segment: bytes,
    rules: Sequence[tuple[int, str, int, int, int]],
    listed: bytes | None,
    rest: tuple[Any, ...],
) -> Reference:
    suppressed = None if listed is None else Segment.load(listed)
    return Reference(Segment.load(segment), rules, Policy(suppressed, *rest))


class Sent(NamedTuple):
    """What all tasks of a stage are given."""

    job: Job
    place: Place
    """DATA, or the ledger's directory."""
    build: str
    """The driver's kernel.SOURCE_DIGEST."""

    def look(self) -> None:
        """Raise OtherBuild or NotShared when this executor is not fit for the job: it may have come after its start."""
        if self.build != SOURCE_DIGEST:
            raise OtherBuild(f"{socket.gethostname()}: its Upswell is not the driver's")
        self.place.look()


class Shared(Protocol):
    """What Spark broadcasts: the reference comes to a worker once, and stays until another is asked for."""

    @property
    def value(self) -> Reference:
        """The reference, fetched and made at the first call."""


def scan_splits(
    sent: Sent, shared: Shared, splits: Sequence[Split]
) -> Iterator[tuple[int, bytes | SplitReport]]:
    """``tasks.scan`` of each, one after the other, where DATA is the driver's."""
    _settle()
    sent.look()
    reference = shared.value
    for split in splits:
        yield from scan(sent.job, split, reference.segment, reference.rules, reference.policy)


def step_shards(
    sent: Sent,
    shards: Mapping[int, ShardTask],
    shared: Shared,
    rows: Iterable[tuple[int, bytes | SplitReport]],
) -> Iterator[SplitReport | ShardReport | Damage | Fault]:
    """``tasks.step`` for each shard among the rows, one after the other; reports of splits are passed on.

    ``shards``: those that have files. Nothing is stepped after Damage or a Fault. Raises NodeFault for what another
    node may be spared.
    """
    _settle()
    blobs: dict[int, list[bytes]] = {}
    for shard, row in rows:
        if isinstance(row, bytes):
            blobs.setdefault(shard, []).append(row)
        else:
            yield row
    if blobs:
        sent.look()
    for shard in sorted(blobs):
        task = shards.get(shard, ShardTask(shard, ()))
        reference = shared.value
        try:
            report = step(sent.job, task, blobs.pop(shard), reference.rules, reference.policy)
        except DamagedShard as damaged:
            yield Damage(str(damaged))
            return
        except OSError as error:
            fault = Fault.of(error)
            if error.errno not in _ALIKE and not isinstance(error, Unsynced):
                place = Path(sent.job.ledger, fault.name)
                raise NodeFault(f"{place}: {fault.words}") from error
            yield fault
            return
        if report is not None:
            yield report


def _settle() -> None:
    """Take what is loaded by now out of the garbage collection that Spark's worker does after every task.

    It would look through all modules each time, for as long as a task of a small batch takes.
    """
    if not gc.get_freeze_count():
        gc.freeze()


class Answer(NamedTuple):
    """What one executor says of itself and of the places."""

    executor: str
    build: str
    """Of its kernel, which must be the driver's."""
    reply: str
    """The name of the file that it wrote into the ledger's directory."""
    fault: str
    """Why it does not share the driver's directories; empty when it does."""
    linkless: bool = False
    """Whether the fault is that the ledger's file system has no hard links."""


def try_places(data: Place, ledger: Place, token: str, pause_s: float) -> Answer:
    """Whether this node reads what the driver wrote, and writes what the driver can read.

    The driver's file ``token`` must be seen in the ledger's directory, and an empty file of two names is left beside
    it. The pause leaves to other executors what else is to be tried.
    """
    host = socket.gethostname()
    executor = f"{host}, process {os.getppid()}"
    time.sleep(pause_s)
    try:
        data.look()
        ledger.look()
        os.scandir(data.path).close()
        Path(ledger.path, token).stat()
        unready = Path(ledger.path, f"{token}-{secrets.token_hex(4)}")
        unready.touch(mode=0o600, exist_ok=False)
        # Tasks name what they wrote by a link, too.
        reply = unready.with_name(f"{unready.name}-linked")
        reply.hardlink_to(unready)
    except NotShared as error:
        return Answer(executor, SOURCE_DIGEST, "", str(error))
    except OSError as error:
        words = f"{host}: {error.filename}: {error.strerror}"
        # Of these calls a link alone has two names.
        linkless = error.filename2 is not None and error.errno in _LINKLESS
        return Answer(executor, SOURCE_DIGEST, "", words, linkless)
    return Answer(executor, SOURCE_DIGEST, reply.name, "")
