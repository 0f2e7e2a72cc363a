"""The row of one name in DATA: the value that the source keeps up to date and the checkpoint stores.

Owns its fields and the closed list of file states; it does nothing. Positions count uncompressed bytes.
"""

from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Literal, get_args

State = Literal[
    "waiting", "reading", "done", "held", "duplicate", "skipped", "gone", "continued", "ignored"
]
STATES: tuple[State, ...] = get_args(State)
REFUSED = "refused"
"""The reason of a file that was read, or is being read, and holds no record."""
EXPORTED_AGAIN = "exported_again"
"""The reason of a file whose content is that of a consumed one and more: all of it counts anew."""
WHOLE = "whole"
"""The reason of a file that is gone with all that it had shown consumed."""


@dataclass(slots=True)
class File:
    """The row of one name in DATA. Positions count uncompressed bytes."""

    name: str
    state: State
    stamp: str = ""
    """yyyyMMddHHmm of the name; empty when ignored."""
    reason: str = ""
    """A slug: why it is held, ignored, skipped or waiting; of one that is read REFUSED, EXPORTED_AGAIN or empty."""
    detail: str = ""
    """The reason in words with the next step, or the name of the file that a duplicate repeats or that continues it."""
    inode: int = 0
    size: int = 0
    """Bytes on disk at the last scan."""
    mtime_ns: int = 0
    offset: int = 0
    """Bytes [0, offset) are consumed: committed, each line once."""
    newlines: int = 0
    """Line ends before the offset."""
    digest: int = 0
    """CRC-64/NVME of the bytes before the offset; of the whole content for a duplicate."""
    tail: int = 0
    """0: a line starts at the offset; 1: an unterminated line was consumed up to it; 2: it ended in a lone CR."""
    content_bytes: int = 0
    """Uncompressed size of a compressed file that was checked whole, or of a duplicate; otherwise 0."""
    content_digest: int = 0
    """CRC-64/NVME of those content_bytes."""
    first_record: int | None = None
    """CRC-64/NVME of the first line that is a record; None while there is none."""
    late: bool = False
    """Its first range followed a range with a higher stamp."""
    rejects_kept_bytes: int = 0
    """Used of the bytes of rejects that may be kept of it: all of them once one did not fit."""
    lines: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    """Lines consumed, by outcome (those above zero)."""
    reasons: dict[str, int] = field(default_factory=dict)
    """Rejected lines, by reason (those above zero)."""
    repeats: int = 0
    """Number of times it was delivered again under its name with the same content."""
    continues: str = ""
    """Name of the file that goes on under this name: what was consumed of it was not consumed again here."""
    continued_by: str = ""
    """Name under which this file goes on; nothing under its own name is read ever again."""

    def copy(self) -> "File":
        """Return a copy that shares nothing with this row."""
        copied = File(*_VALUES_OF(self))
        copied.outcomes, copied.reasons = dict(self.outcomes), dict(self.reasons)
        return copied

    @property
    def compressed(self) -> bool:
        """True when the name says that the content is gzip."""
        return self.name.endswith(".gz")

    @property
    def is_refused(self) -> bool:
        """True when lines were consumed, some were refused, and not one of them was a record, under any name."""
        refused = self.outcomes.get("rejected", 0)
        empty = self.outcomes.get("blank", 0) + self.outcomes.get("header", 0)
        return refused > 0 and refused + empty == self.lines and not self.continues


_VALUES_OF = attrgetter(*(each.name for each in fields(File)))
