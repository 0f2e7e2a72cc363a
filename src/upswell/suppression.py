"""When a suppression list may be taken, and what taking it changes, in words.

Owns the list's own rules, which err on the side of silence: a dial that is lost is a person who is told what they did
not want to hear. It reads nothing and keeps nothing. No sentence holds a whole msisdn.
"""

from upswell.errors import ConfigError
from upswell.kernel import Segment, SegmentReport
from upswell.privacy import mask_digits

LOST_MAX_RATIO = 0.1
"""A list that lost more of its dials is refused: people come off it one by one."""


def refusals(
    old: Segment | None, new: Segment, report: SegmentReport, names: list[str], *, accept: bool
) -> list[str]:
    """Why the new list may not take the place of the old, if any. ``names``: of its files.

    An empty list is never taken: it looks like a failed export, and leaving the option out says the same on purpose.
    """
    if not len(new):
        return ["SUPPRESS has no dial"]
    if accept:
        return []
    found = bad_lines("SUPPRESS", report, names)
    if old is not None:
        _, removed = old.diff(new)
        if removed > len(old) * LOST_MAX_RATIO:
            found.append(f"SUPPRESS lost {removed:,} of {len(old):,} dials (over a tenth)")
    return found


def bad_lines(what: str, report: SegmentReport, names: list[str]) -> list[str]:
    """The lines of SUPPRESS, or of SEGMENT, that are no dial, in a sentence, if there are any."""
    if not report.bad:
        return []
    index, line, reason, _ = report.errors[0]
    return [
        f"{report.bad:,} {what} lines are no dial, the first is {mask_digits(names[index])} line {line}: {reason}"
    ]


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


def refuse_loss(accept: bool) -> None:
    """A start without the list that the state's last batch had. Raises ConfigError unless that is accepted."""
    if not accept:
        raise ConfigError(
            "this state had a suppression list, and the start names none",
            "give --suppress again or, to lift all suppressions, --accept-reference once",
        )
