"""The values of a batch, which pass between kernel, sink, checkpoint and commit.

Owns their shape and does nothing. A Batch is everything that one commit makes true at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from upswell.reference.versions import Versions
from upswell.source.file import File

if TYPE_CHECKING:  # it imports the kernel, which readers of a batch do not need
    from upswell.state.shard_files import ShardFile


class LogRange(NamedTuple):
    """One line of the log, in commit order: the bytes [start, end) of a file that a batch consumed."""

    batch: int
    sequence: int
    file: str
    stamp: str
    start: int
    end: int
    newest_stamp: str
    versions: Versions
    day_open_before: int = 0
    """Of a range that is read back: the first open day after the batch before, which no later batch opens again."""


class Output(NamedTuple):
    """The lines that one batch publishes for one application."""

    application: str
    content: bytes
    """Raw lines, each with a newline, in input order."""


class Notification(NamedTuple):
    """A record that was emitted. The kernel's plain tuples of this shape are used as they are: there may be many."""

    day: int
    application: int
    """Index among the batch's applications."""
    msisdn: str
    sequence: int
    """That of its range in the batch; with ``byte`` it gives the order of emission."""
    byte: int
    raw: bytes
    """Without its line end."""


class DroppedRejects(NamedTuple):
    """Rejects of a file beyond what is written: their number, and the bytes [start, end) they lie in."""

    sequence: int
    lines: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Everything that one commit makes true at once."""

    number: int
    """Counted from the state's first batch, without a gap."""
    ranges: Sequence[LogRange]
    files: Sequence[File]
    """The new rows of the files that it read, and of others whose state changed."""
    outputs: Sequence[Output]
    """Of applications with notifications only."""
    applications: Sequence[str]
    """The names that ``Notification.application`` is an index of: those of the active rules."""
    notifications: Sequence[tuple[int, int, str, int, int, bytes]]
    """In the shape of ``Notification``, sorted by day, application and msisdn."""
    rejects: bytes
    """Encoded rejects, empty when there are none."""
    dropped: Sequence[DroppedRejects]
    delta: bytes
    """The ledger's change, empty when there is none."""
    compactions: Sequence[tuple[int, bytes]]
    """(shard, new base that holds this batch too)."""
    day_open: int
    """First open day after this batch."""
    lines: int
    outcomes: dict[str, int]
    """Every outcome, zeros included."""
    reasons: dict[str, int]
    """Every reject reason, zeros included."""
    shard_files: "Sequence[ShardFile]" = ()
    """Of a ledger in files, those that the batch's tasks wrote, in the place of delta and compactions."""
    control_outputs: Sequence[Output] = ()
    """As outputs, of the control group."""
    control: Sequence[tuple[int, int, str, int, int, bytes]] = ()
    """As notifications, of the control group."""
    prune_before: int = 0
    """Notifications of earlier days are no longer kept; 0: all are."""

    @property
    def stamp(self) -> str:
        """The stamp in the names of its output files: that of its first range."""
        return self.ranges[0].stamp
