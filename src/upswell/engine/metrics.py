"""Metrics for Prometheus: what each one is called, and how a run's summary becomes its value.

Owns the names, types and help texts, and the copy of the summary that they are made of. ``metrics_server`` has the
HTTP, ``prometheus_client`` the text format; both are loaded with ``--metrics`` alone. The run hands over its summary
after each turn, as to any listener, and the server answers out of that copy in its own threads. So a scrape never
touches engine, checkpoint or DATA, a slow or hostile client holds up neither the run nor another client, and all
values of an answer are of one moment. No msisdn is ever a label. Counters that the checkpoint keeps go on over
restarts.
"""

import errno
import os
import shutil
import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from prometheus_client import Metric, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)

from upswell import __version__
from upswell.config.parsers import split_address
from upswell.engine.metrics_server import MetricsServer
from upswell.engine.summary import Standing, Summary
from upswell.errors import ConfigError, Locked
from upswell.privacy import escape

COMMIT_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Snapshot(NamedTuple):
    """A copy of what a run knew at the end of a turn: over all runs of the state, unless a field says otherwise."""

    at_s: float
    """Seconds since the epoch. Stands still while DATA cannot be listed: no turn ends then."""
    data_away: bool
    lines: Mapping[str, int]
    """By outcome."""
    rejects: Mapping[str, int]
    """By reason."""
    notifications: Mapping[str, int]
    """By application; 0 for an active one that was not notified yet, so that its first notification is an increase."""
    bytes: int
    batches: int
    files: Mapping[str, int]
    """Files in DATA, by state; with ``--once`` the files that the run read."""
    backlog_files: int
    backlog_bytes: int
    committed_at_s: float
    refused_edits: int
    """By this run."""
    out_of_step: Mapping[str, int]
    """Files missing, late, unusual, duplicate, exported again and refused, as noticed by this run."""
    standing: Standing


class Metrics:
    """Serves what it hears as a listener of a run. Made before the run, so that a bad address stops the start."""

    def __init__(self, address: str, state_dir: Path, output: Path, stop: threading.Event) -> None:
        """Listen on the address; nothing is answered before the block is entered.

        Args:
            address: HOST:PORT.
            state_dir: whose disk is measured.
            output: likewise.
            stop: once it is set, the run is no longer ready.

        Raises:
            ConfigError: the address cannot be listened on.
        """
        self._latest: Snapshot | None = None
        self._places = {"state": state_dir, "output": output}
        self._stop = stop
        self._began_s = time.time()
        self._batches = 0
        self._commits = [0] * (len(COMMIT_BUCKETS_S) + 1)
        """By bucket, the last one without an upper bound; not cumulative."""
        self._commits_s = 0.0
        try:
            self._server = MetricsServer(split_address(address), self.render, self.not_ready)
        except OSError as error:
            in_use = error.errno == errno.EADDRINUSE  # whoever uses it may end
            raise (Locked if in_use else ConfigError)(
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
        """Ignore the event: events are for the log output."""

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
        """Return why the run is not ready to turn files into notifications; empty when it is."""
        if self._stop.is_set():
            return "stopping"
        if self._latest is None:
            return "starting: DATA was not scanned yet"
        if self._latest.data_away:
            return "DATA cannot be listed: it is tried again"
        return ""

    def render(self) -> str:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self).decode()

    def collect(self) -> Iterator[Metric]:
        """Yield each metric with its samples: how ``prometheus_client`` asks for them."""
        now_s, latest = time.time(), self._latest
        yield _gauges("build_info", "The version that runs.", "version", {__version__: 1})
        yield _gauge(
            "ready", "1 when files are turned into notifications.", int(not self.not_ready())
        )
        yield from _process(self._began_s)
        yield from _disks(self._places)
        if latest is None:
            return
        yield from _counters(latest)
        yield from _standing(latest, now_s)
        yield self._commit_histogram()

    def _commit_histogram(self) -> Metric:
        commits, buckets = 0, []
        for bound, number in zip((*COMMIT_BUCKETS_S, "+Inf"), self._commits, strict=True):
            commits += number
            buckets.append((str(bound), float(commits)))
        return HistogramMetricFamily(
            "upswell_commit_duration_seconds",
            "How long a commit and its publication took.",
            buckets=buckets,
            sum_value=self._commits_s,
        )


def _counters(latest: Snapshot) -> Iterator[Metric]:
    """Yield what only grows."""
    for name, words, label, values in (
        ("lines", "Lines read, by outcome.", "outcome", latest.lines),
        ("rejects", "Lines rejected, by reason.", "reason", latest.rejects),
        ("notifications", "Records published.", "application", latest.notifications),
    ):
        counter = CounterMetricFamily(f"upswell_{name}", words, labels=[label])
        for key, value in values.items():
            counter.add_metric([escape(key)], value)
        yield counter
    late = latest.out_of_step
    for name, words, total in (
        ("bytes", "Uncompressed bytes read of DATA.", latest.bytes),
        ("batches", "Commits.", latest.batches),
        (
            "reload_failures",
            "Edits of SEGMENT and RULES that this run refused.",
            latest.refused_edits,
        ),
        ("missing_files", "Stamps without a file, as this run noticed.", late.get("missing", 0)),
        (
            "late_files",
            "Files that came after one with a higher stamp, as this run noticed.",
            late.get("late", 0),
        ),
        ("unusual_files", "Files of unusual size, as this run noticed.", late.get("unusual", 0)),
        (
            "duplicate_files",
            "Files with the content of another, as this run noticed.",
            late.get("duplicate", 0),
        ),
        (
            "exported_again_files",
            "Files with the content of another and more, counted anew, as this run noticed.",
            late.get("exported_again", 0),
        ),
        (
            "refused_files",
            "Files of which not one line is a record, as this run noticed.",
            late.get("refused", 0),
        ),
    ):
        yield CounterMetricFamily(f"upswell_{name}", words, total)


def _standing(latest: Snapshot, now_s: float) -> Iterator[Metric]:
    """Yield what goes up and down."""
    standing = latest.standing
    waiting_s = max(now_s - standing.oldest_at_s, 0.0) if standing.oldest_at_s else 0.0
    yield _gauges("files", "Files in DATA, by state.", "state", latest.files)
    yield _gauge(
        "archive_held_files",
        "Finished files that need manual action before they can be archived.",
        standing.archive_held,
    )
    yield _gauge(
        "unread_files", "Names in DATA that look like data and are not read.", standing.unread
    )
    yield _gauge(
        "other_form_ratio",
        "Of the sampled MSISDNs outside the segment, those that are in it in another form.",
        standing.other_form_share,
    )
    yield _gauge("backlog_files", "Files with something to read.", latest.backlog_files)
    yield _gauge("backlog_bytes", "Bytes to read.", latest.backlog_bytes)
    yield _gauge(
        "oldest_waiting_seconds",
        "Since the oldest file of the backlog was changed; 0: none.",
        waiting_s,
    )
    yield _gauge("last_turn_timestamp_seconds", "When the run last ended a turn.", latest.at_s)
    yield _gauge(
        "commit_timestamp_seconds",
        "When the last commit was made; 0: none yet.",
        latest.committed_at_s,
    )
    if standing.totals is not None and standing.caps is not None:
        yield _gauges(
            "ledger_entries",
            "Live entries of the ledger, where it is in this process.",
            "kind",
            {"totals": standing.totals, "caps": standing.caps},
        )
    versions = GaugeMetricFamily(
        "upswell_reference_info", "The active versions.", labels=["kind", "version"]
    )
    for kind, version in standing.versions._asdict().items():
        if version:  # what is off has none
            versions.add_metric([kind, version[:12]], 1)
    yield versions
    yield _gauges(
        "reference_entries",
        "Active rules, and MSISDNs of the active segment and suppression list.",
        "kind",
        {"rules": standing.rules, "segment": standing.msisdns, "suppress": standing.suppressed},
    )
    yield _gauges(
        "reference_left_out_lines",
        "Lines that were left out of the active versions.",
        "kind",
        {"rules": 0, "segment": 0} | dict(standing.left_out),
    )


def _process(began_s: float) -> Iterator[Metric]:
    """Yield what Prometheus' own clients report of a process, under their names.

    The collector of ``prometheus_client`` would also report open files and virtual memory.
    """
    times = os.times()
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    yield GaugeMetricFamily("process_start_time_seconds", "When the process began.", began_s)
    yield CounterMetricFamily("process_cpu_seconds", "Processor time.", times.user + times.system)
    yield GaugeMetricFamily(
        "process_resident_memory_bytes", "Memory.", pages * os.sysconf("SC_PAGE_SIZE")
    )
    yield GaugeMetricFamily("process_threads", "Threads of Python.", threading.active_count())


def _disks(places: Mapping[str, Path]) -> Iterator[Metric]:
    free = {}
    for name, place in places.items():
        try:
            free[name] = shutil.disk_usage(place).free
        except OSError:
            continue  # it is not made yet
    yield _gauges("disk_free_bytes", "Free on the disk of the state and of OUTPUT.", "place", free)


def _sum(before: Mapping[str, int], now: Mapping[str, int]) -> dict[str, int]:
    found = Counter(before)
    found.update(now)
    return dict(found)


def _gauge(name: str, words: str, value: float) -> Metric:
    return GaugeMetricFamily(f"upswell_{name}", words, value)


def _gauges(name: str, words: str, label: str, values: Mapping[str, int]) -> Metric:
    """Return a gauge with one sample for each value of the label."""
    gauge = GaugeMetricFamily(f"upswell_{name}", words, labels=[label])
    for key, value in values.items():
        gauge.add_metric([key], value)
    return gauge
