"""The data of the view Flow: the funnel of lines, and the minutes, files and rejects of a day.

Owns what this view, made for data engineers, needs beyond ``status``. It only reads, one day at a time, so that
an answer costs the same however old the state is.
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

DAYS_MAX = 14  # offered on the page; the command line shows older ones
FILES_MAX = 1500  # one file a minute for a day, and some duplicates
SAMPLES_MAX = 3  # for each reason
_SEARCHED_MAX = 20_000  # rejects of a day, to find samples of all reasons
# From the first batch with files of the day: hours if files grow every second, days otherwise.
_SAMPLED_BATCHES_MAX = 5000
_RECENT_BATCHES = 5000  # searched for the commit of each file: about 20 ms
_WORST = ("gone", "held", "waiting", "reading", "late", "done", "duplicate", "skipped", "continued")
"""The state shown for a minute with several files: the most urgent comes first."""
STAGES = (
    ("records", "header"),
    ("in segment", "not_in_segment"),
    ("in window", "outside_window"),
    ("counted", "capped"),
)
"""Each stage, and the last outcome that does not reach it; earlier outcomes do not either."""


class FunnelStage(NamedTuple):
    """A stage of the funnel."""

    name: str
    lines: int
    """Lines that reached the stage."""
    lost: dict[str, int]
    """Lines that reached the stage before but not this one, by outcome."""


class Minute(NamedTuple):
    """An expected minute and its file."""

    stamp: str
    state: str
    """The state of its file; ``late`` if it is done and arrived late; ``missing`` if there is none."""
    lines: int
    rejected: int
    notified: int


class FileRow(NamedTuple):
    """A file of a day."""

    name: str
    stamp: str
    state: str
    late: bool
    lines: int
    rejected: int
    notified: int
    bytes: int
    """Consumed bytes, uncompressed."""
    detail: str
    taken_at: str
    """When its last bytes were committed: UTC, ISO 8601; empty if not yet, or long ago."""
    took_s: float | None
    """Seconds from its last change to that commit."""


def funnel(outcomes: Mapping[str, int]) -> list[FunnelStage]:
    """Return how many lines reached each stage; each line is lost at one stage, or notified."""
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
    """Return the newest days with files, by their stamps, newest first, at most DAYS_MAX."""
    with StateReader.open(state_dir) as reader:
        return newest_days(reader, DAYS_MAX)


def minutes(found: Status, day: int) -> dict[str, object]:
    """Return the expected minutes of a day, each with its file or as missing, and their sums.

    ``found``: the status of the state, which knows the missing files of the last days only.
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


def files(state_dir: Path, day: int) -> list[FileRow]:
    """Return the files of a day, newest first, at most FILES_MAX."""
    with StateReader.open(state_dir) as reader:
        names = newest_names(reader, day, FILES_MAX)
        found = reader.files(names)
        taken = last_commits(reader, day, after_batch=reader.last_batch() - _RECENT_BATCHES)
    ordered = (found[name] for name in names if name in found)
    return [_row(file, taken.get(file.name, "")) for file in ordered]


def samples(state_dir: Path, day: int, *, unmasked: bool) -> dict[str, list[dict[str, object]]]:
    """Return some rejects of the files of a day by reason, masked unless ``unmasked``."""
    found: dict[str, list[dict[str, object]]] = {}
    kept = rejects.KeptRejects(state_dir, rejects.RejectFilter(day=day), _SAMPLED_BATCHES_MAX)
    for one in islice(kept, _SEARCHED_MAX):
        some = found.setdefault(one.reason, [])
        if len(some) < SAMPLES_MAX:
            raw = one.raw[:200]
            text = escape(raw.decode("utf-8", "surrogateescape")) if unmasked else mask_line(raw)
            some.append({"file": show_name(one.file), "line": one.line, "raw": text})
    return found


def _row(file: File, taken_at: str) -> FileRow:
    took_s = None
    if taken_at:
        took_s = max(datetime.fromisoformat(taken_at).timestamp() - file.mtime_ns / 1e9, 0.0)
    return FileRow(
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
    """Return the stamps of a gap that are on this day."""
    first, last = (max(gap.first, stamps_of(day)[0]), min(gap.last, stamps_of(day)[1]))
    if first > last:
        return []
    # Starts at the first stamp of the gap, to stay on its intervals.
    at, found = stamp_time(gap.first), []
    while (stamp := stamp_of(at)) <= last:
        if stamp >= first:
            found.append(stamp)
        at += timedelta(seconds=cadence_s)
    return found
