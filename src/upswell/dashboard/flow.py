"""What becomes of the data on its way: the funnel of lines, a day's minutes, its files and its rejects.

Owns what the page's view for the data engineer asks beyond ``status``. It only reads, page by page, and looks at one
day at a time, so that a look costs the same however old a state is.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from upswell import kernel
from upswell.audit import rejects
from upswell.audit.status import Status
from upswell.engine.arrivals import Gap
from upswell.privacy import escape, mask_line
from upswell.source.file import STATES, File
from upswell.source.listing import show_name
from upswell.state.queries.batches import last_commits
from upswell.state.queries.files import files_of_day, newest_days, newest_names
from upswell.state.reader import StateReader
from upswell.zones import stamp_of, stamp_time, stamps_of

DAYS_MAX = 14  # that are offered: older ones are asked for by the command line
FILES_MAX = 1500  # a day of a file a minute, and some that came twice
SAMPLES_MAX = 3  # of each reason
_LOOKED_THROUGH_MAX = 20_000  # rejects of a day, for samples of all reasons
_SAMPLED_BATCHES_MAX = (
    5000  # from the first that read of the day: hours of a file that grows each second, or days
)
_BATCHES_LOOKED_AT = 5000  # the last ones, for when files were taken: some 20 ms
_WORST = ("gone", "held", "waiting", "reading", "late", "done", "duplicate", "skipped")
"""Of two files of one minute, what the minute shows: that which needs somebody most."""
STAGES = (
    ("records", "header"),
    ("in segment", "not_in_segment"),
    ("in window", "outside_window"),
    ("counted", "capped"),
)
"""What is left of the lines after this outcome was taken off, and all that are decided before it."""


class FunnelStage(NamedTuple):
    """A stage of the funnel."""

    name: str
    lines: int
    """That came so far."""
    lost: dict[str, int]
    """Those that did not, by outcome."""


class Minute(NamedTuple):
    """A stamp, and what came of it."""

    stamp: str
    state: str
    """That of its file; ``late`` for one that was done late; ``missing`` without one."""
    lines: int
    rejected: int
    notified: int


class Row(NamedTuple):
    """A file of a day."""

    name: str
    stamp: str
    state: str
    late: bool
    lines: int
    rejected: int
    notified: int
    bytes: int
    """Taken, uncompressed."""
    detail: str
    taken_at: str
    """When the last of it was committed: UTC, ISO 8601; empty when that is long ago, or not yet."""
    took_s: float | None
    """From its last change to that commit."""


def funnel(outcomes: Mapping[str, int]) -> list[FunnelStage]:
    """How many lines came how far; each line is lost once, or notified."""
    order = [name for name in kernel.OUTCOMES if name in outcomes]
    left = sum(outcomes.values())
    stages, at = [FunnelStage("lines", left, {})], 0
    for name, last in STAGES:
        end = order.index(last) + 1
        lost = {each: outcomes[each] for each in order[at:end]}
        left, at = left - sum(lost.values()), end
        stages.append(FunnelStage(name, left, lost))
    lost = {each: outcomes[each] for each in order[at:] if each != "notified"}
    return [*stages, FunnelStage("notified", outcomes["notified"], lost)]


def days(state_dir: Path) -> list[int]:
    """The newest days that files have stamps of, newest first, at most DAYS_MAX."""
    with StateReader.open(state_dir) as reader:
        return newest_days(reader, DAYS_MAX)


def minutes(found: Status, day: int) -> dict[str, object]:
    """A day as its expected minutes: each stamp with what came of it, and those that are missing; and their sums.

    ``found``: the state's status, which tells the missing ones, of the last days alone.
    """
    with StateReader.open(found.state_dir) as reader:
        every = list(files_of_day(reader, day))
    cells: dict[str, Minute] = {}
    states, sums = Counter[str](), dict.fromkeys(kernel.OUTCOMES, 0)
    late_files = 0
    for file in every:
        states[file.state] += 1
        late_files += file.late
        if file.state == "ignored":
            continue
        for name, n in file.outcomes.items():
            sums[name] += n
        kind = "late" if file.late and file.state == "done" else file.state
        known = cells.get(file.stamp)
        if known is None or _WORST.index(kind) < _WORST.index(known.state):
            rejected, notified = file.outcomes.get("rejected", 0), file.outcomes.get("notified", 0)
            cells[file.stamp] = Minute(file.stamp, kind, file.lines, rejected, notified)
    for gap in found.arrivals.gaps:
        for stamp in _stamps(gap, found.cadence_s, day):
            cells.setdefault(stamp, Minute(stamp, "missing", 0, 0, 0))
    return {
        "day": day,
        "cadence_s": found.cadence_s,
        "timezone": found.identity.zones.data,
        "cells": [cells[stamp]._asdict() for stamp in sorted(cells)],
        "counts": Counter(cell.state for cell in cells.values()),
        "files": {state: states[state] for state in STATES},
        "late_files": late_files,
        "funnel": [stage._asdict() for stage in funnel(sums)],
    }


def files(state_dir: Path, day: int) -> list[Row]:
    """The files of a day, newest first, at most FILES_MAX."""
    with StateReader.open(state_dir) as reader:
        names = newest_names(reader, day, FILES_MAX)
        found = reader.files(names)
        taken = last_commits(reader, day, after_batch=reader.last_batch() - _BATCHES_LOOKED_AT)
    ordered = (found[name] for name in names if name in found)
    return [_row(file, taken.get(file.name, "")) for file in ordered]


def samples(state_dir: Path, day: int, *, whole: bool) -> dict[str, list[dict[str, object]]]:
    """Some rejects of the files of a day by reason, masked unless ``whole``."""
    found: dict[str, list[dict[str, object]]] = {}
    kept = rejects.KeptRejects(state_dir, rejects.RejectFilter(day=day), _SAMPLED_BATCHES_MAX)
    for one in islice(kept, _LOOKED_THROUGH_MAX):
        some = found.setdefault(one.reason, [])
        if len(some) < SAMPLES_MAX:
            raw = one.raw[:200]
            text = escape(raw.decode("utf-8", "surrogateescape")) if whole else mask_line(raw)
            some.append({"file": show_name(one.file), "line": one.line, "raw": text})
    return found


def _row(file: File, taken_at: str) -> Row:
    took_s = None
    if taken_at:
        took_s = max(datetime.fromisoformat(taken_at).timestamp() - file.mtime_ns / 1e9, 0.0)
    return Row(
        show_name(file.name),
        file.stamp,
        file.state,
        file.late,
        file.lines,
        file.outcomes.get("rejected", 0),
        file.outcomes.get("notified", 0),
        file.offset,
        escape(file.detail or file.reason),
        taken_at,
        None if took_s is None else round(took_s, 3),
    )


def _stamps(gap: Gap, cadence_s: int, day: int) -> Sequence[str]:
    """The stamps of a gap that are of this day."""
    first, last = (max(gap.first, stamps_of(day)[0]), min(gap.last, stamps_of(day)[1]))
    if first > last:
        return []
    # From the gap's own first stamp on, so that its beat is kept.
    at, found = stamp_time(gap.first), []
    while (stamp := stamp_of(at)) <= last:
        if stamp >= first:
            found.append(stamp)
        at += timedelta(seconds=cadence_s)
    return found
