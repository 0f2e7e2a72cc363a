"""Where one name in DATA stands: the value that source and checkpoint share.

Owns its shape and the closed list of file states; does nothing. Positions count uncompressed bytes.
"""

from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Literal, get_args

State = Literal["waiting", "reading", "done", "held", "duplicate", "skipped", "gone", "ignored"]
STATES: tuple[State, ...] = get_args(State)


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
