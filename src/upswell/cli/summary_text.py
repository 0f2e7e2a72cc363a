"""The summary of a run as text and tables for people.

Owns the text of the summary that ``run --once``, ``status`` and ``demo`` print, and the formats of numbers, sizes and
durations. It prints nothing itself: every function returns text, or parts for ``terminal.say``.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from upswell.audit.labels import OUTCOME_WORDS, POLICY_OUTCOMES, REASON_WORDS, STATE_WORDS
from upswell.cli.tables import Part, count_table

if TYPE_CHECKING:
    from upswell.engine.summary import Summary

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def count(n: int) -> str:
    """Format a count with separators: 1,234,567."""
    return f"{n:,}"


def size(n: float) -> str:
    """Format a number of bytes in a suitable unit: 1.5 MiB."""
    unit = 0
    while n >= 1024 and unit < len(_UNITS) - 1:
        n /= 1024
        unit += 1
    return f"{n:.0f} {_UNITS[unit]}" if unit == 0 or n >= 100 else f"{n:.1f} {_UNITS[unit]}"


def seconds(s: float) -> str:
    """Format a duration: 0.4 s, 12 s, 3 min 05 s, 2 h 10 min, 4 d 3 h."""
    if s < 10:
        return f"{s:.1f} s"
    whole = round(s)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    if whole < 2 * 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def moment(at: str) -> str:
    """Format a UTC time (ISO 8601) to the second: 2020-04-17 19:37:43 UTC."""
    return f"{at[:19].replace('T', ' ')} UTC"


def plural(n: int, noun: str) -> str:
    """Format a count with its noun: 1 file, 2 files, 3 batches."""
    if n == 1:
        return f"1 {noun}"
    return f"{n:,} {noun}es" if noun.endswith("ch") else f"{n:,} {noun}s"


def describe_summary(
    summary: "Summary", *, title: str, today: tuple[str, Mapping[str, int]] | None = None
) -> list[Part]:
    """Describe outcomes (which add up to the lines read), rejects, notifications, files and warnings.

    ``today``: the name of the newest day and its notifications by application.
    """
    lines: list[Part] = [title]
    lines += _outcome_table(summary.outcomes, summary.lines)
    lines += _slug_table("Rejects by reason", summary.rejects, REASON_WORDS)
    lines += _notification_table(summary.notifications, "Notifications by application")
    if summary.control:
        lines += _notification_table(
            summary.control, "Withheld from the control group, by application"
        )
    if today is not None:
        lines += _notification_table(today[1], f"Notifications of {today[0]}")
    lines += _slug_table("Files by state", summary.files, STATE_WORDS)
    if summary.warnings:
        lines += ["", "Warnings", *(f"  ! {sentence}" for sentence in summary.warnings)]
    return lines


def describe_proof(unproven: Sequence[str], differences: Sequence[str], proven: str) -> list[str]:
    """Describe the result of a check: what could not be checked, what differs, or ``proven`` if there is neither."""
    lines = []
    if unproven:
        lines += ["", "Not proven", *(f"  ? {sentence}" for sentence in unproven)]
    if differences:
        lines += ["", "Differences", *(f"  ! {sentence}" for sentence in differences)]
    return lines or ["", proven]


def run_title(summary: "Summary") -> str:
    """Return the first line of a finished run's summary."""
    if not summary.batches:
        return f"Nothing new to read after {seconds(summary.elapsed_s)}."
    return (
        f"Read {plural(summary.lines, 'line')} ({size(summary.bytes)}) in {seconds(summary.elapsed_s)},"
        f" {plural(summary.batches, 'batch')}."
    )


def _notification_table(by_application: Mapping[str, int], title: str) -> list[Part]:
    if not by_application:
        return ["", title, "  none"]
    rows = [(name, n, "") for name, n in sorted(by_application.items())]
    return ["", title, count_table([*rows, ("= all", sum(by_application.values()), "")])]


def _outcome_table(outcomes: Mapping[str, int], lines: int) -> list[Part]:
    rows = [
        (name, n, OUTCOME_WORDS.get(name, ""))
        for name, n in outcomes.items()
        if n or name not in POLICY_OUTCOMES
    ]
    return ["", "Lines by outcome", count_table([*rows, ("= lines read", lines, "")])]


def _slug_table(title: str, values: Mapping[str, int], words: Mapping[str, str]) -> list[Part]:
    rows = [(name, n, words.get(name, "")) for name, n in values.items() if n]
    return ["", title, count_table(rows)] if rows else []
