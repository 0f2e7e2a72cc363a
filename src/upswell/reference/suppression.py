"""The suppression list: decides whether a new one is accepted, and describes what it changes.

Owns the list's own rules, which err on the side of silence: an msisdn that is lost from it is a person who gets
messages they asked not to get. It reads nothing and keeps nothing. No sentence holds a whole msisdn.
"""

from typing import NamedTuple

from upswell.kernel import Segment, SegmentReport
from upswell.privacy import mask_digits
from upswell.reference.keyed_hash import keyed_hash
from upswell.reference.segment import describe_bad_lines

LOST_MAX_RATIO = 0.1
"""A list that lost more of its msisdns is refused: people leave it one by one."""
LEFT_OUT = (
    "this state has a suppression list, and the start gives none",
    "pass --suppress again or, to lift all suppressions, --accept-reference once",
)
"""(message, hint) of a start without the list that the state's last batch had, unless that is accepted."""
_NAMED_MAX = 3  # files of a list


def refusals(
    old: Segment | None, new: Segment, report: SegmentReport, names: list[str], *, accept: bool
) -> list[str]:
    """Return the reasons why the new list may not replace the old one, if any. ``names``: of its files.

    An empty list is never accepted: it looks like a failed export, and leaving the option out means the same on
    purpose.
    """
    bad = describe_bad_lines("SUPPRESS", report.bad, report.errors, names)
    if not len(new):
        files = ", ".join(map(mask_digits, names[:_NAMED_MAX])) + " …" * (len(names) > _NAMED_MAX)
        none = f"SUPPRESS holds no MSISDN ({files}): leave the option out to suppress nobody"
        return [none, *bad]
    return [] if accept else bad + lost(old, new)


def lost(old: Segment | None, new: Segment) -> list[str]:
    """Return a sentence if the new list has lost more than it may."""
    _, removed = (0, 0) if old is None else old.diff(new)
    if old is None or removed <= len(old) * LOST_MAX_RATIO:
        return []
    return [f"SUPPRESS lost {removed:,} of {len(old):,} MSISDNs (limit {LOST_MAX_RATIO:.0%})"]


def describe_change(old: Segment | None, new: Segment | None) -> list[str]:
    """Describe what the new list changes; None stands for no list."""
    if old is None:
        if new is None:
            return []
        return [f"suppressed: {_count(len(new))}"]
    if new is None:
        return ["the suppression list is off"]
    added, removed = old.diff(new)
    return [f"suppressed: +{_count(added)}, -{removed:,}"]


def _count(msisdns: int) -> str:
    return f"{msisdns:,} MSISDN{'s' * (msisdns != 1)}"


class Forgetting(NamedTuple):
    """Customers who were forgotten with one command."""

    id: int
    key: bytes | None
    """The key of the hashes; None once their days are closed, from when on nobody can tell who they were."""
    hashes: frozenset[int]
    people: int
    first_batch: int
    """The first batch in which their records are suppressed."""
    until_day: int
    """The last day on which they are suppressed: they are while it is open."""
    until_batch: int | None
    """The last batch in which they are suppressed; None while the key is there."""

    def has(self, msisdn: str) -> bool:
        """Return whether the customer is among them; False once the key is gone."""
        return self.key is not None and keyed_hash(self.key, msisdn.encode()) in self.hashes
