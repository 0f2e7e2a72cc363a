"""Figures for Prometheus, and whether a run is alive and ready, over HTTP.

Owns the names of the figures and the server. The engine hands over what it knows after each turn, as to any listener;
the server answers out of that copy in threads of its own. So it never touches engine, checkpoint or DATA, a reader
that is slow or hostile holds up neither the run nor another reader, and an answer is that of one moment. No msisdn is
ever a label. Counters that the checkpoint keeps go on over restarts.
"""

import os
import shutil
import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from upswell import __version__
from upswell.config.parsers import split_address
from upswell.engine.metrics_server import MetricsServer
from upswell.engine.summary import Standing, Summary
from upswell.errors import ConfigError
from upswell.privacy import escape

COMMIT_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_PREFIX = "upswell_"
Labels = Mapping[str, str]


class Snapshot(NamedTuple):
    """What a run knew at the end of a turn; all of it is over the whole state, but what says otherwise."""

    at_s: float
    """Seconds since the epoch. It stands still while DATA cannot be listed: nothing turns then."""
    data_away: bool
    lines: Mapping[str, int]
    """By outcome."""
    rejects: Mapping[str, int]
    """By reason."""
    notifications: Mapping[str, int]
    """By application; 0 for one in force that was not notified yet, so that its first one is an increase."""
    bytes: int
    batches: int
    files: Mapping[str, int]
    """In DATA, by state; of a run once those that it read."""
    backlog_files: int
    backlog_bytes: int
    committed_at_s: float
    refused_edits: int
    """By this run."""
    out_of_step: Mapping[str, int]
    """Files missing, late and unusual, as this run told of them."""
    standing: Standing


class Metrics:
    """A listener of the engine that serves what it hears. Made before the run, so that a bad address stops a start."""

    def __init__(self, address: str, state_dir: Path, output: Path, stop: threading.Event) -> None:
        """``stop``: when it is set the run is ready no more.

        Raises ConfigError when the address cannot be listened on.
        """
        self._latest: Snapshot | None = None
        self._places = {"state": state_dir, "output": output}
        self._stop = stop
        self._began_s = time.time()
        self._batches = 0
        self._commits = [0] * (len(COMMIT_BUCKETS_S) + 1)
        self._commits_s = 0.0
        try:
            self._server = MetricsServer(split_address(address), self.render, self.not_ready)
        except OSError as error:
            raise ConfigError(
                f"--metrics: cannot listen on {escape(address)}: {error.strerror or error}",
                "choose another port, or an address of this host",
            ) from error
        host, port = self._server.server_address[:2]
        self.address = f"[{host!s}]:{port}" if ":" in str(host) else f"{host!s}:{port}"

    def __enter__(self) -> Self:
        threading.Thread(
            target=self._server.serve_forever, name="upswell-metrics", daemon=True
        ).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def event(self, event: str, /, **fields: object) -> None:
        """Nothing: events are for the log."""

    def progress(self, summary: Summary) -> None:
        """Take a copy of what the run knows."""
        if summary.batches > self._batches:
            self._batches = summary.batches
            self._commits[bisect_left(COMMIT_BUCKETS_S, summary.commit_s)] += 1
            self._commits_s += summary.commit_s
        before = summary.before
        old = (before.outcomes, before.reasons) if before else ({}, {})
        self._latest = Snapshot(
            at_s=latest.at_s if summary.data_away and (latest := self._latest) else time.time(),
            data_away=summary.data_away,
            lines=_sum(old[0], summary.outcomes),
            rejects=_sum(old[1], summary.rejects),
            notifications=dict.fromkeys(summary.standing.applications, 0)
            | _sum(summary.notified_before, summary.notifications),
            bytes=summary.bytes + (before.bytes if before else 0),
            batches=summary.batches + (before.batches if before else 0),
            files=dict(summary.files),
            backlog_files=summary.backlog_files,
            backlog_bytes=summary.backlog_bytes,
            committed_at_s=summary.committed_at_s,
            refused_edits=summary.refused_edits,
            out_of_step=dict(summary.out_of_step),
            standing=summary.standing,
        )

    def not_ready(self) -> str:
        """Why the run is not ready to turn files into notifications; empty when it is."""
        if self._stop.is_set():
            return "stopping"
        if self._latest is None:
            return "starting: nothing was looked at yet"
        if self._latest.data_away:
            return "DATA cannot be listed: it is tried again"
        return ""

    def render(self) -> str:
        """All figures in Prometheus' text format."""
        return "".join(f"{line}\n" for line in self._lines())

    def _lines(self) -> Iterator[str]:
        now_s, latest = time.time(), self._latest
        yield from _metric(
            "build_info", "gauge", "The version that runs.", [({"version": __version__}, 1)]
        )
        yield from _one(
            "ready",
            "gauge",
            "1 when files are turned into notifications.",
            int(not self.not_ready()),
        )
        yield from _process(self._began_s)
        yield from _disks(self._places)
        if latest is None:
            return
        yield from _counted(latest)
        yield from _standing(latest, now_s)
        yield from self._commit_lines()

    def _commit_lines(self) -> Iterator[str]:
        name = f"{_PREFIX}commit_duration_seconds"
        yield f"# HELP {name} How long a commit and its publication took."
        yield f"# TYPE {name} histogram"
        commits = 0
        for bound, number in zip((*COMMIT_BUCKETS_S, "+Inf"), self._commits, strict=True):
            commits += number
            yield f'{name}_bucket{{le="{bound}"}} {commits}'
        yield f"{name}_sum {self._commits_s:.6f}"
        yield f"{name}_count {commits}"


def _counted(latest: Snapshot) -> Iterator[str]:
    """What only grows."""
    yield from _by("lines_total", "counter", "Lines read, by outcome.", "outcome", latest.lines)
    yield from _by(
        "rejects_total", "counter", "Lines rejected, by reason.", "reason", latest.rejects
    )
    yield from _by(
        "notifications_total", "counter", "Records published.", "application", latest.notifications
    )
    yield from _one("bytes_total", "counter", "Uncompressed bytes read of DATA.", latest.bytes)
    yield from _one("batches_total", "counter", "Commits.", latest.batches)
    yield from _one(
        "reload_failures_total",
        "counter",
        "Edits of SEGMENT and RULES that this run refused.",
        latest.refused_edits,
    )
    for kind, words in (
        ("missing", "Stamps without a file, as this run noticed."),
        ("late", "Files that came after one with a higher stamp, as this run noticed."),
        ("unusual", "Files of unusual size, as this run noticed."),
    ):
        yield from _one(f"{kind}_files_total", "counter", words, latest.out_of_step.get(kind, 0))


def _standing(latest: Snapshot, now_s: float) -> Iterator[str]:
    """What goes up and down."""
    standing = latest.standing
    waiting_s = max(now_s - standing.oldest_at_s, 0.0) if standing.oldest_at_s else 0.0
    yield from _by("files", "gauge", "Files in DATA, by state.", "state", latest.files)
    yield from _one(
        "archive_held_files",
        "gauge",
        "Finished files that need somebody's hand on their way to the archive.",
        standing.archive_held,
    )
    yield from _one("backlog_files", "gauge", "Files with something to read.", latest.backlog_files)
    yield from _one("backlog_bytes", "gauge", "Bytes to read.", latest.backlog_bytes)
    yield from _one(
        "oldest_waiting_seconds",
        "gauge",
        "Since the oldest file of the backlog was changed; 0: none.",
        waiting_s,
    )
    yield from _one(
        "last_turn_timestamp_seconds", "gauge", "When the run last ended a turn.", latest.at_s
    )
    yield from _one(
        "commit_timestamp_seconds",
        "gauge",
        "When the last commit was made; 0: none yet.",
        latest.committed_at_s,
    )
    if standing.totals is not None and standing.caps is not None:
        yield from _by(
            "ledger_entries", "gauge", "Live entries of the ledger, where it is in this process.", "kind",
            {"totals": standing.totals, "caps": standing.caps},
        )  # fmt: skip
    yield from _metric(
        "reference_info", "gauge", "The versions in force.",
        # What is off has no version.
        [
            ({"kind": kind, "version": version[:12]}, 1)
            for kind, version in standing.versions._asdict().items() if version
        ],
    )  # fmt: skip
    yield from _by(
        "reference_entries", "gauge", "Rules, and dials of the segment and the suppression list, in force.", "kind",
        {"rules": standing.rules, "segment": standing.dials, "suppress": standing.suppressed},
    )  # fmt: skip


def _process(began_s: float) -> Iterator[str]:
    """What Prometheus' own clients tell of a process, under their names."""
    times = os.times()
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    for name, kind, words, value in (
        ("start_time_seconds", "gauge", "When the process began.", began_s),
        ("cpu_seconds_total", "counter", "Processor time.", times.user + times.system),
        ("resident_memory_bytes", "gauge", "Memory.", pages * os.sysconf("SC_PAGE_SIZE")),
        ("threads", "gauge", "Threads of Python.", threading.active_count()),
    ):
        yield from _metric(f"process_{name}", kind, words, [({}, value)], prefix="")


def _disks(places: Mapping[str, Path]) -> Iterator[str]:
    free = {}
    for name, place in places.items():
        try:
            free[name] = shutil.disk_usage(place).free
        except OSError:
            continue  # it is not made yet
    yield from _by(
        "disk_free_bytes", "gauge", "Free on the disk of the state and of OUTPUT.", "place", free
    )


def _sum(before: Mapping[str, int], now: Mapping[str, int]) -> dict[str, int]:
    found = Counter(before)
    found.update(now)
    return dict(found)


def _one(name: str, kind: str, words: str, value: float) -> Iterator[str]:
    yield from _metric(name, kind, words, [({}, value)])


def _by(name: str, kind: str, words: str, label: str, values: Mapping[str, int]) -> Iterator[str]:
    yield from _metric(name, kind, words, [({label: key}, n) for key, n in values.items()])


def _metric(
    name: str,
    kind: str,
    words: str,
    samples: Iterable[tuple[Labels, float]],
    prefix: str = _PREFIX,
) -> Iterator[str]:
    yield f"# HELP {prefix}{name} {words}"
    yield f"# TYPE {prefix}{name} {kind}"
    for labels, value in samples:
        told = ",".join(f'{key}="{_quote(text)}"' for key, text in labels.items())
        yield f"{prefix}{name}{{{told}}} {value}" if told else f"{prefix}{name} {value}"


def _quote(text: str) -> str:
    """A label's value: what RULES calls an application is a stranger's text."""
    return escape(text).replace("\\", "\\\\").replace('"', '\\"')
