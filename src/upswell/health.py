"""Whether a run is well, seen from outside: how old, how far behind, how large, and what somebody should do.

Owns what the page's view for whoever is paged asks beyond ``status``, and the words of what needs somebody. It only
reads: the checkpoint, and what the system says of the process and the disks.
"""

import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from upswell.batch import State
from upswell.listing import show_name
from upswell.status import Status, sizes
from upswell.summary import describe_unmatched
from upswell.view import View
from upswell.words import REASON_WORDS

RATE_MINUTES = 60
WAITING_MAX_S = 600.0  # then somebody is to look, as contrib/alerts.yml has it
DISK_FREE_MIN_BYTES = 2_000_000_000
REJECTED_MAX_RATIO = 0.05
_NAMED_MAX = 3
_BATCHES_LOOKED_AT = 20_000  # the last ones: an hour has at most some thousand


class Need(NamedTuple):
    """Something that needs somebody."""

    level: str
    """page: now; ticket: soon."""
    alert: str
    """Its name in contrib/alerts.yml and docs/operations.md."""
    words: str
    """What is."""
    next: str
    """What to do."""


def health(found: Status) -> dict[str, object]:
    """How the run is. ``found``: its status."""
    with View.open(found.state_dir) as view:
        files, waiting_bytes, oldest_ns = _backlog(view)
        rate = _rate(view)
    now_s = found.looked_at.timestamp()
    oldest_s = max(now_s - oldest_ns / 1e9, 0.0) if oldest_ns else 0.0
    free = {name: _free(place) for name, place in _places(found).items()}
    needs = list(_needs(found, oldest_s, free))
    return {
        "running": found.holder is not None,
        "holder": found.holder or "",
        "now": found.looked_at.isoformat(),
        "commit_age_s": found.age_s,
        "newest_stamp": found.last.newest_stamp if found.last else "",
        "backlog_files": files,
        "backlog_bytes": waiting_bytes,
        "oldest_waiting_s": round(oldest_s, 1),
        "rate": rate,
        "memory_bytes": _memory(found.holder or ""),
        "disk_free_bytes": free,
        "state_bytes": sizes(found.state_dir),
        "runs": [run._asdict() for run in reversed(found.runs)],
        "needs": [need._asdict() for need in needs],
        "well": not needs,
    }


def _backlog(view: View) -> tuple[int, int, int]:
    """Files and bytes that the last saved look showed and that are not taken, and the oldest change of them in ns."""
    # Of a compressed file the bytes on disk and the offset are of two kinds: its own size is known once it was checked.
    left = """max(CASE WHEN content_bytes > 0 THEN content_bytes ELSE size END - "offset", 0)"""
    rows = view.rows(
        f"SELECT count(*), coalesce(sum({left}), 0), coalesce(min(mtime_ns), 0) FROM file"
        f" WHERE state IN ('waiting', 'reading') AND {left} > 0"
    )
    files, size, oldest_ns = rows[0]
    return files, size, oldest_ns


def _rate(view: View) -> list[dict[str, object]]:
    """Lines, bytes and batches of each minute of the last hour before the last commit; minutes without any, too."""
    last = view.last()
    if last is None:
        return []
    end = datetime.fromisoformat(last.committed_at).astimezone(UTC).replace(second=0, microsecond=0)
    start = end - timedelta(minutes=RATE_MINUTES - 1)
    rows = view.rows(
        "SELECT substr(committed_at, 1, 16), sum(lines), sum(bytes), count(*) FROM batch"
        " WHERE number > ? AND committed_at >= ? GROUP BY 1",
        (last.number - _BATCHES_LOOKED_AT, start.isoformat()[:16]),
    )
    by_minute = {minute: values for minute, *values in rows}
    found: list[dict[str, object]] = []
    for at in range(RATE_MINUTES):
        minute = (start + timedelta(minutes=at)).isoformat()[:16]
        lines, taken, batches = by_minute.get(minute, (0, 0, 0))
        found.append({"minute": minute, "lines": lines, "bytes": taken, "batches": batches})
    return found


def _memory(holder: str) -> dict[str, int] | None:
    """Resident memory of the run's process, now and at its peak; None when it is not on this host, or not ours."""
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
    output = Path(found.meta.get("output", ""))
    return {"state": found.state_dir} | ({"output": output} if output.is_dir() else {})


def _free(place: Path) -> int:
    return shutil.disk_usage(place).free


def _needs(found: Status, oldest_s: float, free: dict[str, int]) -> Iterator[Need]:
    """What needs somebody, the most urgent first."""
    yield from _of_the_run(found, oldest_s)
    for place, left in free.items():
        if left < DISK_FREE_MIN_BYTES:
            words = f"{left / 1e9:.1f} GB are left on the disk of the {place}."
            yield Need("page", "UpswellDiskFull", words, "Make room before it is full.")
    yield from _of_files(found)
    yield from _of_lines(found)


def _of_the_run(found: Status, oldest_s: float) -> Iterator[Need]:
    if found.holder is None and found.runs and found.runs[-1].code != 0:
        words = f"Nothing runs. The last run ended so: {found.runs[-1].why}"
        yield Need("page", "UpswellDown", words, "Start the same command again: nothing is lost.")
    elif found.holder is None:
        words = "Nothing runs: the last run ended as it was told to."
        yield Need("ticket", "UpswellDown", words, "Start it again when there is more to do.")
    elif oldest_s > WAITING_MAX_S:
        words = f"A file has been waiting for {oldest_s / 60:,.0f} minutes."
        yield Need("page", "UpswellWaiting", words, "See the files that are waiting, in Flow.")
    if found.silent_s is not None:
        words = f"Nothing has come for {found.silent_s / 60:,.0f} minutes."
        yield Need("ticket", "UpswellSilent", words, "Ask the producer.")


def _of_files(found: Status) -> Iterator[Need]:
    if missing := sum(gap.files for gap in found.arrivals.gaps):
        words = f"{_count(missing, 'is', 'are')} missing, of the last days."
        yield Need(
            "ticket", "UpswellFilesMissing", words, "See the minutes in Flow; ask the producer."
        )
    states: tuple[tuple[State, str, str], ...] = (
        ("held", "UpswellFilesHeld", "held"),
        ("gone", "UpswellFilesGone", "gone, deleted before all was read"),
    )
    for state, alert, what in states:
        if n := found.summary.files[state]:
            some = [show_name(file.name) for file in found.notable.get(state, [])[:_NAMED_MAX]]
            words = f"{_count(n, 'is', 'are')} {what}: {', '.join(some)}{' …' * (n > len(some))}"
            yield Need("ticket", alert, words, "See the reason of each, in Flow.")


def _of_lines(found: Status) -> Iterator[Need]:
    summary = found.summary
    refused = summary.outcomes["rejected"]
    if refused > REJECTED_MAX_RATIO * summary.lines:
        worst, n = summary.rejects.most_common(1)[0]
        words = f"{refused / summary.lines:.1%} of all lines are refused, {n:,} for this: {REASON_WORDS[worst]}."
        yield Need(
            "ticket", "UpswellRejects", words, "See the samples in Flow; correct the producer."
        )
    if unmatched := describe_unmatched(summary):
        yield Need("ticket", "UpswellNobodyMatches", f"{unmatched}.", "Run upswell check.")
    if found.refused:
        words = f"The last edit is refused: {found.refused}"
        next_step = "Repair the file; the last good version stays in force."
        yield Need("ticket", "UpswellEditRefused", words, next_step)


def _count(n: int, one: str, more: str) -> str:
    return f"1 file {one}" if n == 1 else f"{n:,} files {more}"
