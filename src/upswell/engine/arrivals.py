"""How files arrive: missing stamps, silence, late files, and files of unusual size.

Owns what each of these means (docs/operations.md) and which of them a run has reported. It decides nothing about a file
and changes nothing; its findings are for people. It looks back LOOK_BACK_DAYS from the newest file that is done, so
that the cost does not grow with the age of a state.
"""

from bisect import bisect_left, insort
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from upswell.source.file import File
from upswell.state.queries.arrivals import (
    ArrivedFile,
    arrived_files,
    newest_done_stamp,
    stamp_of_files_before,
)
from upswell.state.queries.files import file_standings
from upswell.state.reader import StateReader
from upswell.zones import load_zone, stamp_of, stamp_time

LOOK_BACK_DAYS = 7
SILENT_CADENCES = 5  # with fewer, a file that is a little late would look like an outage
UNUSUAL_RATIO = 10  # sizes change by less from one hour to the next, at dusk and dawn, too
MEDIAN_FILES = 60  # an hour of files a minute
MEDIAN_FILES_MIN = 10  # with fewer the usual size is not known
REPORTED_MAX = 10  # of each kind at a time: a cadence that is set wrong must not fill the log


class Gap(NamedTuple):
    """A run of expected stamps that no file has."""

    first: str
    last: str
    files: int
    """The number of files that were expected."""
    followed_by: str
    """The stamp of the file that came instead."""


class Unusual(NamedTuple):
    """A file much larger or smaller than those before it."""

    name: str
    bytes: int
    """Of its content, uncompressed."""
    median_bytes: int
    """Of the MEDIAN_FILES files before it."""


@dataclass(slots=True)
class Arrivals:
    """The findings, in the order of the files' stamps."""

    gaps: list[Gap] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    """Files whose first range followed a range with a higher stamp."""
    unusual: list[Unusual] = field(default_factory=list)
    changed_ns: int = 0
    """The newest mtime of the files, in nanoseconds since the epoch; 0 when there are none."""


class _Done(NamedTuple):
    """A file that became done and is not reported yet."""

    stamp: str
    late: bool


def find_arrivals(reader: StateReader, cadence_s: int, timezone: str, since: str = "") -> Arrivals:
    """Find gaps, late files and files of unusual size among the files of the last LOOK_BACK_DAYS.

    Args:
        reader: of the state; rows are read page by page.
        cadence_s: seconds between two files; 0: none is expected, so none is missing.
        timezone: that the stamps are written in: an hour that its clocks skip is not a gap.
        since: a stamp; files before it are left out.

    Raises:
        StorageError: a row's stamp is not one.
    """
    found = Arrivals()
    sizes: deque[int] = deque()
    ordered: list[int] = []  # the same sizes, ascending
    before = ""
    for row in _files(reader, since):
        found.changed_ns = max(found.changed_ns, row.mtime_ns)
        if row.late:
            found.late.append(row.name)
        if cadence_s and before and (gap := _gap(before, row.stamp, cadence_s, timezone)):
            found.gaps.append(gap)
        before = row.stamp
        if row.state != "done":
            continue
        if len(sizes) >= MEDIAN_FILES_MIN:
            median = ordered[len(ordered) // 2]
            if row.offset > median * UNUSUAL_RATIO or row.offset * UNUSUAL_RATIO < median:
                found.unusual.append(Unusual(row.name, row.offset, median))
        sizes.append(row.offset)
        insort(ordered, row.offset)
        if len(sizes) > MEDIAN_FILES:
            del ordered[bisect_left(ordered, sizes.popleft())]
    return found


def silence_s(now_s: float, moved_s: float, cadence_s: int) -> float | None:
    """Return the seconds since a file last changed when they are more than SILENT_CADENCES; None otherwise."""
    passed_s = now_s - moved_s
    return passed_s if cadence_s and passed_s > SILENT_CADENCES * cadence_s else None


class ArrivalMonitor:
    """Turns a run's arrivals into events, each once: when the file that shows it is done. For the run's own thread."""

    def __init__(self, reader: StateReader, cadence_s: int, timezone: str, now_s: float) -> None:
        self._reader = reader
        self._cadence_s = cadence_s
        self._timezone = timezone
        self._moved_s = now_s
        self._silent = False
        self._done: dict[str, _Done] = {}
        self.counts: Counter[str] = Counter()
        """Files missing, late and unusual that were reported, duplicates, and what the reporter adds."""

    def files_changed(self, files: Sequence[File], now_s: float) -> None:
        """Take note of files whose rows changed. Call it before the rows are saved.

        Only a change that has to do with content ends a silence: a share that is mounted again may give each file
        another inode.
        """
        before = file_standings(self._reader, (file.name for file in files))
        for file in files:
            known = before.get(file.name)
            if known != (file.state, file.offset, file.size, file.repeats):
                self._moved_s, self._silent = now_s, False
            if file.state == "duplicate" and (known is None or known.state != "duplicate"):
                self.counts["duplicate"] += 1
            # A file that came again was reported when it came first.
            is_new = known is None or known.state != "done"
            if file.state == "done" and is_new and not file.repeats:
                self._done[file.name] = _Done(file.stamp, file.late)

    def pop_events(self, now_s: float) -> Iterator[tuple[str, dict[str, object]]]:
        """Yield (event, fields) for what was not reported yet. Call it when the rows are saved.

        Reads the rows of files that have become done since the last call, and of those that show what is usual.
        """
        silent = silence_s(now_s, self._moved_s, self._cadence_s)
        if silent is not None and not self._silent:
            self._silent = True
            yield "silence", {"seconds": round(silent), "cadence_s": self._cadence_s}
        if not self._done:
            return
        done, self._done = self._done, {}
        oldest = min(file.stamp for file in done.values())
        since = _usual_since(self._reader, oldest)
        found = find_arrivals(self._reader, self._cadence_s, self._timezone, since)
        # What a late file leaves of a gap was reported before.
        ends = {file.stamp for file in done.values() if not file.late}
        gaps = [gap for gap in found.gaps if gap.followed_by in ends]
        late = [name for name in found.late if name in done]
        unusual = [one for one in found.unusual if one.name in done]
        self.counts["missing"] += sum(gap.files for gap in gaps)
        self.counts["late"] += len(late)
        self.counts["unusual"] += len(unusual)
        yield from _newest(
            "gap", [{"first": gap.first, "last": gap.last, "files": gap.files} for gap in gaps]
        )
        yield from _newest("late file", [{"file": name} for name in late])
        yield from _newest(
            "file of unusual size",
            [
                {"file": one.name, "bytes": one.bytes, "median_bytes": one.median_bytes}
                for one in unusual
            ],
        )


def _newest(event: str, found: list[dict[str, object]]) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield how many more there are, if any, then the newest REPORTED_MAX, oldest first."""
    if more := len(found[:-REPORTED_MAX]):
        yield event, {"more": more, "see": "upswell status"}
    for fields in found[-REPORTED_MAX:]:
        yield event, fields


def _usual_since(reader: StateReader, stamp: str) -> str:
    """Return the stamp from which on files show what size is usual for the file with this stamp."""
    return stamp_of_files_before(reader, stamp, MEDIAN_FILES, since=_days_before(stamp))


def _files(reader: StateReader, since: str) -> Iterator[ArrivedFile]:
    """Return the files of the last days up to the newest that is done, by stamp, without ignored ones."""
    last = newest_done_stamp(reader)
    if last is None:
        return iter(())
    return arrived_files(reader, max(since, _days_before(last)), last)


def _days_before(stamp: str) -> str:
    try:
        return stamp_of(stamp_time(stamp) - timedelta(days=LOOK_BACK_DAYS))
    except OverflowError:  # in the first days of the year 1
        return ""


def _gap(before: str, after: str, cadence_s: int, timezone: str) -> Gap | None:
    """Return what is missing between two neighbouring stamps; None when nothing is."""
    # Quick answer for most: nearly all neighbours are one cadence apart, or less, within one hour of any clock.
    if before[:-2] == after[:-2] and (int(after[-2:]) - int(before[-2:])) * 60 < 2 * cadence_s:
        return None
    start = stamp_time(before)
    if (stamp_time(after) - start).total_seconds() < 2 * cadence_s:
        return None
    zone = load_zone(timezone)
    began_s = start.replace(tzinfo=zone).timestamp()
    ended_s = stamp_time(after).replace(tzinfo=zone).timestamp()
    missing = [
        stamp
        for step in range(1, int((ended_s - began_s) // cadence_s))
        # An hour that the clock repeats has the same names again: they are not expected twice.
        if before
        < (stamp := stamp_of(datetime.fromtimestamp(began_s + step * cadence_s, zone)))
        < after
    ]
    return Gap(missing[0], missing[-1], len(missing), after) if missing else None
