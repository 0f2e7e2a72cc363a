"""Describes what a newer ``tzdata`` changes: which time zones, and on which days records are converted otherwise.

Owns the sentence, which a start and ``check`` have in common. The tables themselves belong to ``zones``.
"""

from typing import NamedTuple

from upswell.zones import LAST_TRANSITION_YEAR, Zones, add_days, changed_days, date_of

_PERIODS_MAX = 3  # summer time that comes or goes makes a period for every year to come
_LAST_DAY = (LAST_TRANSITION_YEAR - 1) * 10000 + 1231


class TableChange(NamedTuple):
    """The effect of other tables of the same time zones."""

    note: str
    """It in words that stay true: for the version's row."""
    words: str
    """The same to an operator, at a start."""
    is_ahead: bool
    """Days change that are open or still to come."""


def describe_change(before: Zones, after: Zones, day_open: int) -> TableChange:
    """Describe what the tables of ``after`` change for a state whose last batches were made by those of ``before``.

    ``day_open``: its first open day, in the rules' zone. Days that are over by then are not listed.
    """
    names = " and ".join(before.differing(after))
    note = f"another table of {names}"
    changed = f"the installed tzdata has another table of {names} than this state's last batches"
    since = add_days(day_open, -1)  # a day of the data's zone may end on the next one of the rules'
    ahead = [period for period in changed_days(before, after) if period[1] >= since]
    if not ahead:
        words = f"{changed}; no record of {date_of(since)} or later changes"
        return TableChange(note, words, is_ahead=False)
    days = [_describe(*period) for period in ahead[:_PERIODS_MAX]]
    if len(ahead) > _PERIODS_MAX:
        days.append(f"{len(ahead) - _PERIODS_MAX} later periods")
    listed = " and ".join(filter(None, [", ".join(days[:-1]), days[-1]]))
    words = (
        f"{changed}: from the next batch on, records of {listed} (days of {before.data}) get another day or minute;"
        " what was decided before stays as it is"
    )
    return TableChange(f"{note}, for {listed} (days of {before.data})", words, is_ahead=True)


def _describe(first: int, last: int) -> str:
    if last == _LAST_DAY:
        return f"{date_of(first)} and later"
    return f"{date_of(first)}" if first == last else f"{date_of(first)} to {date_of(last)}"
