"""When a suppression list may be taken, and what taking it changes, in words.

Owns the list's own rules, which err on the side of silence: a dial that is lost is a person who is told what they did
not want to hear. It reads nothing and keeps nothing. No sentence holds a whole msisdn.
"""

from typing import NamedTuple

from upswell.kernel import Segment, SegmentReport
from upswell.privacy import mask_digits
from upswell.reference.keyed_hash import keyed_hash
from upswell.reference.segment import describe_bad_lines

LOST_MAX_RATIO = 0.1
"""A list that lost more of its dials is refused: people come off it one by one."""
LEFT_OUT = (
    "this state has a suppression list, and the start names none",
    "give --suppress again or, to lift all suppressions, --accept-reference once",
)
"""Message and next step of a start without the list that the state's last batch had, unless that is accepted."""
_NAMED_MAX = 3  # files of a list


def refusals(
    old: Segment | None, new: Segment, report: SegmentReport, names: list[str], *, accept: bool
) -> list[str]:
    """Why the new list may not take the place of the old, if any. ``names``: of its files.

    An empty list is never taken: it looks like a failed export, and leaving the option out says the same on purpose.
    """
    bad = describe_bad_lines("SUPPRESS", report.bad, report.errors, names)
    if not len(new):
        files = ", ".join(map(mask_digits, names[:_NAMED_MAX])) + " …" * (len(names) > _NAMED_MAX)
        none = f"SUPPRESS has no dial ({files}): leave the option out to suppress nobody"
        return [none, *bad]
    return [] if accept else bad + lost(old, new)


def lost(old: Segment | None, new: Segment) -> list[str]:
    """That the new list has lost more than it may, in a sentence, if it has."""
    _, removed = (0, 0) if old is None else old.diff(new)
    if old is None or removed <= len(old) * LOST_MAX_RATIO:
        return []
    return [f"SUPPRESS lost {removed:,} of {len(old):,} dials (over a tenth)"]


def describe_change(old: Segment | None, new: Segment | None) -> list[str]:
    """What the new list changes, in words; None: no list."""
    if old is None:
        if new is None:
            return []
        return ["1 dial is suppressed" if len(new) == 1 else f"{len(new):,} dials are suppressed"]
    if new is None:
        return ["the suppression list is off"]
    added, removed = old.diff(new)
    return [f"suppressed: +{added:,} dials, -{removed:,}"]


class Forgetting(NamedTuple):
    """Some customers who were forgotten at once."""

    id: int
    key: bytes | None
    """Of the hashes; None once their days are closed: then nobody can tell any more who it was."""
    hashes: frozenset[int]
    people: int
    first_batch: int
    """The first batch in which their records are suppressed."""
    until_day: int
    """Their last day: while it is open they are suppressed."""
    until_batch: int | None
    """The last batch in which they are; None while the key is there."""

    def has(self, msisdn: str) -> bool:
        """Whether it is about this customer, as long as that can be told."""
        return self.key is not None and keyed_hash(self.key, msisdn.encode()) in self.hashes
