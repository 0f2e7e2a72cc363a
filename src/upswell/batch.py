"""The values that pass between source, kernel, sink, checkpoint and commit.

Owns their shape and the closed list of file states; does nothing. A File is where one DATA file stands; a Batch is
everything that one commit makes true at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

if TYPE_CHECKING:  # the kernel comes with it, which not everybody needs who names a state
    from upswell.tasks import ShardFile

State = Literal["waiting", "reading", "done", "held", "duplicate", "skipped", "gone", "ignored"]
STATES: tuple[State, ...] = get_args(State)
Kind = Literal["rules", "segment", "suppress", "policy"]
"""What a version may be of: the fields of Versions."""


@dataclass(slots=True)
class File:
    """Where one name in DATA stands. Positions count uncompressed bytes."""

    name: str
    state: State
    stamp: str = ""
    """yyyyMMddHHmm out of the name; empty when ignored."""
    reason: str = ""
    """A slug that says why it is in this state (held, ignored, skipped, waiting), or empty."""
    detail: str = ""
    """The reason in words with the next step, or the name of the file that a duplicate repeats."""
    inode: int = 0
    size: int = 0
    """Bytes on disk at the last look."""
    mtime_ns: int = 0
    offset: int = 0
    """Bytes [0, offset) are taken: committed, each line once."""
    newlines: int = 0
    """Line ends before the offset."""
    digest: int = 0
    """CRC-64/NVME of the bytes before the offset; of the whole content for a duplicate."""
    tail: int = 0
    """0: a line starts at the offset; 1: an unterminated line was taken up to it; 2: that one ended in a lone CR."""
    content_bytes: int = 0
    """Of a compressed file that was checked whole, or of a duplicate: its uncompressed size. Otherwise 0."""
    content_digest: int = 0
    """CRC-64/NVME that belongs to content_bytes."""
    first_record: int | None = None
    """CRC-64/NVME of the first line that is a record; None while there is none."""
    late: bool = False
    """Its first range followed a range with a higher stamp."""
    rejects_kept_bytes: int = 0
    """Used up of what may be kept of its rejects: all of it once one did not fit."""
    lines: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    """Lines taken, by outcome (those above zero)."""
    reasons: dict[str, int] = field(default_factory=dict)
    """Rejected lines, by reason (those above zero)."""
    repeats: int = 0
    """How often it was delivered again under its name with the same content."""

    def copy(self) -> "File":
        """A file that stands where this one does, and stays there."""
        copied = File(*_VALUES_OF(self))
        copied.outcomes, copied.reasons = dict(self.outcomes), dict(self.reasons)
        return copied

    @property
    def compressed(self) -> bool:
        """Whether the name says that the content is gzip."""
        return self.name.endswith(".gz")


_VALUES_OF = attrgetter(*(each.name for each in fields(File)))


class Versions(NamedTuple):
    """The versions of what is in force: content hashes (SHA-256, hex)."""

    rules: str
    segment: str
    suppress: str = ""
    """Of the suppression list; "" without one."""
    policy: str = ""
    """Of the limit per customer and the control group; "" without both."""


class LogRange(NamedTuple):
    """One line of the log: the bytes [start, end) of a file that a batch took, in commit order."""

    batch: int
    sequence: int
    file: str
    stamp: str
    start: int
    end: int
    newest_stamp: str
    versions: Versions


class Output(NamedTuple):
    """What one application gets from one batch."""

    application: str
    content: bytes
    """Raw lines, each with a newline, in input order."""


class Notification(NamedTuple):
    """A record that was emitted. The kernel's plain tuples of this shape are used as they come: there may be many."""

    day: int
    application: int
    """Index among the batch's applications."""
    msisdn: str
    sequence: int
    """Of its range in the batch; with `byte` it gives the order of emission."""
    byte: int
    raw: bytes
    """Without its line end."""


class DroppedRejects(NamedTuple):
    """Rejects of a file beyond what is written: counted, with the byte range they lie in."""

    sequence: int
    lines: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Everything that one commit makes true at once."""

    number: int
    """From 1, without a hole."""
    ranges: Sequence[LogRange]
    files: Sequence[File]
    """The new rows of the files it read, and of any others whose state changed."""
    outputs: Sequence[Output]
    """Applications with notifications only."""
    applications: Sequence[str]
    """The names that Notification.application counts in: those of the rules in force."""
    notifications: Sequence[tuple[int, int, str, int, int, bytes]]
    """In the shape of Notification, sorted by day, application and msisdn."""
    rejects: bytes
    """Encoded rejects, empty when there are none."""
    dropped: Sequence[DroppedRejects]
    delta: bytes
    """The ledger's change, empty when there is none."""
    folds: Sequence[tuple[int, bytes]]
    """(shard, base blob that holds this batch too)."""
    day_open: int
    """First open day after this batch."""
    lines: int
    outcomes: dict[str, int]
    """Every outcome, zeros included."""
    reasons: dict[str, int]
    """Every reject reason, zeros included."""
    shard_files: "Sequence[ShardFile]" = ()
    """Of a ledger in files, those that the batch's tasks wrote, in the place of delta and folds."""
    control_outputs: Sequence[Output] = ()
    """As outputs, of the control group."""
    control: Sequence[tuple[int, int, str, int, int, bytes]] = ()
    """As notifications, of the control group."""
    prune_before: int = 0
    """Notifications of earlier days are no longer kept; 0: all are."""

    @property
    def stamp(self) -> str:
        """The stamp that its output files carry: that of its first range."""
        return self.ranges[0].stamp
