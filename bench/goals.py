"""What the figures should be: the goals of each question, and whether the figures reach them.

Owns the numbers and the arithmetic from what was measured to what is compared. A goal holds for the size it names; of
other sizes the figures are told without one.
"""

from collections.abc import Callable, Iterator
from statistics import median
from typing import Any, NamedTuple

from bench.results import percentile

Cases = dict[str, dict[str, Any]]
"""Of one question, as ``results`` keeps them."""

SERIES_LABELS = {
    "dials": "dials in the segment",
    "rules": "rules",
    "threads": "threads",
    "lines": "lines in a file",
    "names": "files taken before",
}
FASTER_MIN = {
    20_000_000: {"Polars": 4, "DuckDB": 9, "Spark": 40},
    100_000_000: {"Polars": 6, "DuckDB": 12, "Spark": 55},
}
ON_SPARK_MIN = 5
"""Times faster on Spark than the plain program on it, on the same cores."""
WC_MAX = {100_000_000: 5}
"""Our time as a multiple of that of ``wc -l``."""
DIRTY_MAX = 1.3
BEYOND_DISK_MS_MAX = 30
PAUSE_MS_MAX = 200
FLAT_MAX = 1.05
"""What still counts as flat memory: the last quarter of the run against its second."""
DIAL_BYTES_MAX = 16
TOTAL_BYTES_MAX = 32
PEAK_MIB_MAX = 2048
READY_S_MAX = 2
GROWTH_MAX = {
    "dials": (10_000, 10_000_000, 2.5),
    "rules": (7, 1_000, 1.2),
    "names": (0, 1_000_000, 1.1),
}
"""By series: from this size to that one, times the cost."""
LOOK_S_MAX = 0.5
LEFT = 100_000


class Goal(NamedTuple):
    """One line of the table."""

    what: str
    measured: str
    goal: str
    reached: bool | None
    """None: there is no goal at this size."""


def at_least(what: str, values: list[float], low: float | None, unit: str = "x") -> Goal:
    """A median with its spread that should not be below ``low``."""
    goal = f"at least {low:g} {unit}" if low is not None else ""
    return Goal(what, spread(values, unit), goal, None if low is None else median(values) >= low)


def at_most(what: str, values: list[float], high: float | None, unit: str = "x") -> Goal:
    """A median with its spread that should not be above ``high``."""
    goal = f"at most {high:g} {unit}" if high is not None else ""
    return Goal(what, spread(values, unit), goal, None if high is None else median(values) <= high)


def spread(values: list[float], unit: str) -> str:
    """Median and, of several, the least and the most."""
    middle = f"{median(values):.3g} {unit}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.3g} to {max(values):.3g})"


def ratios(rounds: list[dict[str, Any]], above: str, below: str) -> list[float]:
    """Of each round that both played, one program's time over another's."""
    return [
        runs[above]["wall_s"] / runs[below]["wall_s"]
        for runs in rounds
        if above in runs and below in runs
    ]


def throughput_goals(cases: Cases) -> Iterator[Goal]:
    """Times faster than each program."""
    for case, figures in cases.items():
        rounds, records = figures["rounds"], figures["records"]
        lows = FASTER_MIN.get(records, {}) if not figures["dirty"] else {}
        for name in rounds[0]:
            if name in ("Polars", "DuckDB", "Spark"):
                values = ratios(rounds, name, "Upswell")
                yield at_least(f"{case}: faster than {name}", values, lows.get(name))
        if "wc -l" in rounds[0]:
            high = WC_MAX.get(records) if not figures["dirty"] else None
            yield at_most(f"{case}: the time of `wc -l`", ratios(rounds, "Upswell", "wc -l"), high)
        if "Upswell, clean" in rounds[0]:
            values = ratios(rounds, "Upswell", "Upswell, clean")
            yield at_most(f"{case}: the time of clean input", values, DIRTY_MAX)


def latency_goals(cases: Cases) -> Iterator[Goal]:
    """The 99th percentile beyond the disk's part."""
    for case, figures in cases.items():
        p99_ms = percentile(figures["beyond_disk_ms"], 0.99)
        yield at_most(f"{case}: p99 beyond the disk's syncs", [p99_ms], BEYOND_DISK_MS_MAX, "ms")


def sustained_goals(cases: Cases) -> Iterator[Goal]:
    """Pauses and memory."""
    for case, figures in cases.items():
        rate = f"{figures['records_per_s'] / 1e6:.2g} million records a second"
        # Without a rate of its own there is always a backlog of what was made meanwhile.
        limit = PAUSE_MS_MAX if figures["rate"] else None
        yield at_most(f"{case} of {rate}: longest wait", [figures["most_ms"]], limit, "ms")
        beyond_ms = [figures["most_beyond_disk_ms"]]
        yield at_most(f"{case}: of it beyond the disk's syncs", beyond_ms, None, "ms")
        mib = [held for _, held in figures["memory"]]
        quarter = max(1, len(mib) // 4)
        grown = median(mib[-quarter:]) / median(mib[quarter : 2 * quarter] or mib)
        yield at_most(f"{case}: memory at the end against the first half", [grown], FLAT_MAX)


def memory_goals(cases: Cases) -> Iterator[Goal]:
    """Bytes, peaks, restart and commit."""
    states = [figures for case, figures in cases.items() if case != "input"]
    if states:
        small = min(states, key=lambda figures: int(figures["dials"]))
        big = max(states, key=lambda figures: int(figures["dials"]))
        what = f"{big['dials']:,} dials, {big['totals']:,} live totals"
        restarts = big.get("restarts", [])
        yield at_most(f"{what}: bytes a dial", [big["bytes_a_dial"]], DIAL_BYTES_MAX, "B")
        yield at_most(f"{what}: bytes a live total", [big["bytes_a_total"]], TOTAL_BYTES_MAX, "B")
        peak = max([big["peak_mib"], *(each["peak_mib"] for each in restarts)])
        yield at_most(f"{what}: peak of the whole process", [peak], PEAK_MIB_MAX, "MiB")
        if restarts:
            ready = [each["ready_s"] for each in restarts]
            yield at_most(
                f"{what}: from a restart to its first notification", ready, READY_S_MAX, "s"
            )
            pairs = zip(restarts, small["restarts"], strict=False)
            dearer = [one["commit_ms"] / other["commit_ms"] for one, other in pairs]
            yield at_most(
                f"{what}: a commit, against that of {small['dials']:,} dials", dearer, None
            )
    if "input" in cases:
        (first, least), *_, (last, most) = cases["input"]["peaks_mib"]
        yield at_most(f"peak memory, {last:,} records against {first:,}", [most / least], FLAT_MAX)


def growth_goals(cases: Cases) -> Iterator[Goal]:
    """Times the cost from one size to another."""
    for series, figures in cases.items():
        points = {point["size"]: point for point in figures["points"]}
        since, till, high = GROWTH_MAX.get(series, (min(points), max(points), None))
        if since not in points or till not in points:
            since, till, high = min(points), max(points), None
        key = "taken_ms" if series == "names" else "walls_s"
        before, after = points[since][key], points[till][key]
        values = (
            [median(after) / median(before)]
            if series == "names"
            else [two / one for one, two in zip(before, after, strict=True)]
        )
        label = SERIES_LABELS[series]
        yield at_most(f"{label}: the time of {till:,} against {since:,}", values, high)
        if "look_s" in figures:
            limit = LOOK_S_MAX if figures["left"] == LEFT else None
            what = f"a full scan with {figures['left']:,} files left in DATA"
            yield at_most(what, [figures["look_s"]], limit, "s")
            beside = [median(figures["left_taken_ms"]) / median(points[min(points)]["taken_ms"])]
            what = (
                f"a notification beside {figures['left']:,} files left in DATA, against beside none"
            )
            yield at_most(what, beside, None)


def spark_goals(cases: Cases) -> Iterator[Goal]:
    """Times faster than the plain program, and what a batch costs that holds next to nothing."""
    two, one = "Upswell on Spark, 2 cores", "Upswell on Spark, 1 core"
    for case, figures in cases.items():
        if "rounds" in figures:
            rounds = figures["rounds"]
            plain = ratios(rounds, "Spark", two)
            yield at_least(
                f"{case}: on Spark, faster than a plain program on it", plain, ON_SPARK_MIN
            )
            yield at_most(
                f"{case}: on Spark, the time without it", ratios(rounds, two, "Upswell"), None
            )
            yield at_least(f"{case}: two cores, faster than one", ratios(rounds, one, two), None)
            each = figures["sent_bytes"] / figures["lines"]
            yield at_most(f"{case}: sent between the stages", [each], None, "B a line")
        else:
            yield at_most(f"{case}: from commit to commit", figures["ours_ms"], None, "ms")
            own = [median(figures["ours_ms"]) - median(figures["job_ms"])]
            yield at_most(f"{case}: of it the driver's own work", own, None, "ms")
            streamed = [median(figures["stream_ms"]) / median(figures["ours_ms"])]
            yield at_least(f"{case}: quicker than a micro-batch of a stream", streamed, None)


GOALS_OF: dict[str, Callable[[Cases], Iterator[Goal]]] = {
    "throughput": throughput_goals,
    "latency": latency_goals,
    "sustained": sustained_goals,
    "memory": memory_goals,
    "growth": growth_goals,
    "spark": spark_goals,
}
"""By question."""
