"""The data of the view Health: age, backlog and size of a run, and alerts with their next steps.

Owns what this view, made for whoever is on call, needs beyond ``status``, and the texts of the alerts. It only reads:
the checkpoint, and what the system reports about the process and the disks. A single incident is an alert for one hour,
as in contrib/alerts.yml, counted back from the last commit or the newest stamp; no alert lasts for ever.
"""

import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from upswell.audit.labels import EXIT_STEPS, REASON_WORDS
from upswell.audit.status import Status
from upswell.engine.summary import Summary, describe_unmatched, unread_words
from upswell.source.file import File
from upswell.source.listing import read_name, show_name
from upswell.state.queries.batches import commits_since
from upswell.state.queries.files import (
    duplicates_since,
    gone_since,
    refused_files,
    waiting_files,
)
from upswell.state.reader import StateReader
from upswell.zones import load_zone, stamp_of, stamp_time

RECENT_MINUTES = 60  # for commits, and for stamps
WAITING_MAX_S = 600.0  # after that, a file that waits is an alert, as in contrib/alerts.yml
DISK_FREE_MIN_BYTES = 2_000_000_000
REJECTED_MAX_RATIO = 0.05
UNUSUAL_MAX_FILES = 3
_NAMED_MAX = 3
_RECENT_BATCHES = 20_000  # searched for the last hour, which has at most a few thousand


class Alert(NamedTuple):
    """A problem that needs attention."""

    level: str
    """page: act now; ticket: act soon."""
    alert: str
    """Its name in contrib/alerts.yml and docs/operations.md."""
    words: str
    """What is wrong."""
    next: str
    """What to do."""


class _Recent(NamedTuple):
    """The last hour."""

    rate: list[dict[str, object]]
    """Lines, bytes and batches of each minute before the last commit, including empty minutes."""
    summary: Summary
    """Outcomes of all these lines."""
    since: str
    """The stamp one hour before the newest one, or before now if that is earlier; "" before the first commit."""
    gone: list[str]
    """Files with a stamp since then that were deleted before they were fully read, newest first."""
    duplicates: list[str]
    """Files with a stamp since then whose content is another's, newest first."""
    refused_files: int
    """The number of files with a stamp since then that hold no record."""
    refused: list[File]
    """The newest of them."""


def health(found: Status, state_bytes: Mapping[str, int]) -> dict[str, object]:
    """Return the health of the run, as JSON for the page.

    Keys end in their units: ``_s`` seconds, ``_bytes``, ``_files``. ``rate`` has an object for each minute of the last
    hour, ``runs`` the last runs, newest first, and ``needs`` the alerts, each with its fields; ``well`` is true without
    alerts. ``holder`` is the process that runs; "" when none does.

    Args:
        found: the status of the run.
        state_bytes: bytes of the state by purpose.
    """
    with StateReader.open(found.state_dir) as reader:
        waiting = waiting_files(reader)
        recent = _recent(reader, found)
    now_s = found.looked_at.timestamp()
    oldest_s = max(now_s - waiting.oldest_ns / 1e9, 0.0) if waiting.oldest_ns else 0.0
    free = {name: _free(place) for name, place in _places(found).items()}
    needs = list(_alerts(found, recent, oldest_s, free))
    return {
        "running": found.holder is not None,
        "holder": found.holder or "",
        "now": found.looked_at.isoformat(),
        "commit_age_s": found.age_s,
        "newest_stamp": found.last.newest_stamp if found.last else "",
        "backlog_files": waiting.files,
        "backlog_bytes": waiting.bytes,
        "oldest_waiting_s": round(oldest_s, 1),
        "rate": recent.rate,
        "memory_bytes": _memory(found.holder or ""),
        "disk_free_bytes": free,
        "state_bytes": dict(state_bytes),
        "runs": [run._asdict() for run in reversed(found.runs)],
        "needs": [need._asdict() for need in needs],
        "well": not needs,
    }


def _recent(reader: StateReader, found: Status) -> _Recent:
    last = found.last
    if last is None:
        return _Recent([], Summary(), "", [], [], 0, [])
    end = datetime.fromisoformat(last.committed_at).astimezone(UTC).replace(second=0, microsecond=0)
    start = end - timedelta(minutes=RECENT_MINUTES - 1)
    every = [(start + timedelta(minutes=at)).isoformat()[:16] for at in range(RECENT_MINUTES)]
    summary, sums = Summary(), {minute: Counter[str]() for minute in every}
    after_batch = last.number - _RECENT_BATCHES
    for one in commits_since(reader, every[0], after_batch=after_batch):
        # After the clock was set back, batches may be of a later minute than the last one.
        sums.get(one.minute, Counter()).update(lines=one.lines, bytes=one.bytes, batches=1)
        summary.lines += one.lines
        summary.outcomes.update(one.outcomes)
        summary.rejects.update(one.reasons)
    since = _hour_before(last.newest_stamp, found)
    rate: list[dict[str, object]] = [
        {"minute": minute} | {name: sums[minute][name] for name in ("lines", "bytes", "batches")}
        for minute in every
    ]
    gone, duplicates = gone_since(reader, since), duplicates_since(reader, since)
    return _Recent(rate, summary, since, gone, duplicates, *refused_files(reader, 1, since))


def _hour_before(stamp: str, found: Status) -> str:
    # A stamp in the future must not make present incidents seem old.
    now = found.looked_at.astimezone(load_zone(found.identity.zones.data))
    try:
        at = min(stamp_time(stamp), now.replace(tzinfo=None)) - timedelta(minutes=RECENT_MINUTES)
    except OverflowError:  # in the first hour of the year 1
        return ""
    return stamp_of(at)


def _memory(holder: str) -> dict[str, int] | None:
    """Return the resident memory of the run's process in bytes; None if it is on another host or of another user."""
    found = re.match(r"process (\d+)", holder)
    try:
        text = Path(f"/proc/{found[1]}/status").read_text("ascii") if found else ""
    except OSError:
        return None
    values = dict(re.findall(r"(VmRSS|VmHWM):\s+(\d+) kB", text))
    return (
        {"now": int(values["VmRSS"]) << 10, "peak": int(values["VmHWM"]) << 10} if values else None
    )


def _places(found: Status) -> dict[str, Path]:
    output = found.identity.output
    return {"state": found.state_dir} | ({"output": output} if output and output.is_dir() else {})


def _free(place: Path) -> int:
    return shutil.disk_usage(place).free


def _alerts(
    found: Status, recent: _Recent, oldest_s: float, free: dict[str, int]
) -> Iterator[Alert]:
    """Yield the alerts, most urgent first."""
    yield from _run_alerts(found, oldest_s)
    for place, left in free.items():
        if left < DISK_FREE_MIN_BYTES:
            words = f"Only {left / 1e9:.1f} GB are free on the disk of the {place}."
            yield Alert("page", "UpswellDiskFull", words, "Free space before it is full.")
    yield from _file_alerts(found, recent)
    yield from _line_alerts(found, recent.summary)


def _run_alerts(found: Status, oldest_s: float) -> Iterator[Alert]:
    if found.holder is None and found.runs and (last := found.runs[-1]).code != 0:
        words = f"No run is active. The last run failed: {last.why}"
        # The hint of the error is more specific than that of its exit code.
        step = last.hint or EXIT_STEPS.get(last.code or 0, "")
        again = "Start the same command again: nothing is lost."
        next_step = f"Exit code {last.code}: {step}." if step else again
        yield Alert("page", "UpswellDown", words, next_step)
    elif found.holder is None:
        words = "No run is active. The last run ended normally."
        yield Alert("ticket", "UpswellDown", words, "Start it again when there is more to process.")
    elif oldest_s > WAITING_MAX_S:
        words = f"A file has been waiting for {oldest_s / 60:,.0f} minutes."
        yield Alert("page", "UpswellWaiting", words, "See the waiting files in Flow.")
    if found.silent_s is not None:
        words = f"No file has arrived for {found.silent_s / 60:,.0f} minutes."
        step = (
            "Files that are not read lie in DATA: see below."
            if found.unread
            else "Ask the producer of DATA."
        )
        yield Alert("ticket", "UpswellSilent", words, step)


def _file_alerts(found: Status, recent: _Recent) -> Iterator[Alert]:
    arrivals = found.arrivals
    if missing := sum(gap.files for gap in arrivals.gaps if gap.followed_by >= recent.since):
        words = f"{_count(missing, 'is', 'are')} missing before the files of the last hour."
        yield Alert(
            "ticket",
            "UpswellFilesMissing",
            words,
            "See the minutes in Flow; ask the producer of DATA.",
        )
    held, named = found.summary.files["held"], found.notable.get("held", [])
    for n, names, alert, what in (
        (held, [file.name for file in named], "UpswellFilesHeld", "held"),
        (
            len(recent.gone),
            recent.gone,
            "UpswellFilesGone",
            "gone (deleted before they were fully read)",
        ),
    ):
        if n:
            words = f"{_count(n, 'is', 'are')} {what}: {_names(names, n)}"
            yield Alert("ticket", alert, words, "See the reason of each in Flow.")
    if n := len(recent.duplicates):
        words = f"{_count(n, 'repeats', 'repeat')} the content of another: {_names(recent.duplicates, n)}"
        next_step = "Nothing was read twice; ask the producer of DATA why it sends them again."
        yield Alert("ticket", "UpswellDuplicateFiles", words, next_step)
    if n := recent.refused_files:
        newest = recent.refused[-1]
        words = f"{_count(n, 'holds', 'hold')} no record. {newest.name}: {newest.detail}."
        yield Alert("ticket", "UpswellRefusedFiles", words, "Correct the producer of DATA.")
    if n := len(found.unread):
        words = f"{unread_words(n)}: {_names(found.unread, n)}"
        next_step = "Deliver regular files named DATA_yyyyMMddHHmm.csv or .csv.gz."
        yield Alert("ticket", "UpswellUnreadFiles", words, next_step)
    if held := len(found.archive_held):
        words = f"{_count(held, 'needs', 'need')} manual action to be archived: {_names(found.archive_held, held)}"
        next_step = "Run upswell status to see what to do with each."
        yield Alert("ticket", "UpswellArchiveHeld", words, next_step)
    unusual = [one.name for one in arrivals.unusual if read_name(one.name)[0] >= recent.since]
    if (n := len(unusual)) > UNUSUAL_MAX_FILES:
        words = f"{n:,} files of the last hour have an unusual size: {_names(unusual, n)}"
        next_step = "Run upswell status; check if the producer truncates or repeats its files."
        yield Alert("ticket", "UpswellUnusualFiles", words, next_step)


def _line_alerts(found: Status, recent: Summary) -> Iterator[Alert]:
    rejected = recent.outcomes["rejected"]
    if rejected > REJECTED_MAX_RATIO * recent.lines:
        worst, n = recent.rejects.most_common(1)[0]
        words = (
            f"{rejected / recent.lines:.1%} of the lines of the last hour were rejected,"
            f" {n:,} of them because: {REASON_WORDS[worst]}."
        )
        yield Alert(
            "ticket",
            "UpswellRejects",
            words,
            "See the samples in Flow; correct the producer of DATA.",
        )
    if late := recent.outcomes["late"]:
        whose = (
            "record of the last hour arrived after its"
            if late == 1
            else "records of the last hour arrived after their"
        )
        words = f"{late:,} {whose} day was closed."
        next_step = "See the files marked late in Flow; ask the producer of DATA."
        yield Alert("ticket", "UpswellLateRecords", words, next_step)
    if unmatched := describe_unmatched(recent):
        words = f"In the last hour {unmatched}."
        yield Alert("ticket", "UpswellNobodyMatches", words, "Run upswell check.")
    if words := found.identity.other_forms:
        yield Alert("ticket", "UpswellOtherForm", f"{words}.", "Run upswell check.")
    if found.left_out:
        next_step = "Correct these lines; upswell check says what to write."
        yield Alert("ticket", "UpswellLinesLeftOut", f"{found.left_out}.", next_step)
    if found.refused:
        words = f"The last change was refused: {found.refused}"
        next_step = "Correct the file; the last good version stays active."
        yield Alert("ticket", "UpswellEditRefused", words, next_step)


def _names(names: Iterable[str], n: int) -> str:
    """Join some of n names."""
    some = [show_name(name) for name in islice(names, _NAMED_MAX)]
    return f"{', '.join(some)}{' …' * (n > len(some))}"


def _count(n: int, one: str, more: str) -> str:
    return f"1 file {one}" if n == 1 else f"{n:,} files {more}"
