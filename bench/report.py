"""RESULTS.md and the plots, out of the figures that were measured.

Owns the goals and the page. It measures nothing and keeps nothing: the page follows from results/*.json alone, and says
of each question what it was measured on. A goal that is not reached says so; what holds it back is told in words by
results/<question>.md, where somebody has written one.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from bench import plot, results
from bench.results import percentile

PAGE = Path(__file__).parent / "RESULTS.md"
Cases = dict[str, dict[str, Any]]

FASTER_MIN = {
    20_000_000: {"Polars": 4, "DuckDB": 9, "Spark": 40},
    100_000_000: {"Polars": 6, "DuckDB": 12, "Spark": 55},
}
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
    """Of each round, one program's time over another's."""
    return [runs[above]["wall_s"] / runs[below]["wall_s"] for runs in rounds]


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
        yield at_most(f"{case} of {rate}: longest wait", [figures["most_ms"]], PAUSE_MS_MAX, "ms")
        mib = [held for _, held in figures["memory"]]
        quarter = max(1, len(mib) // 4)
        grown = median(mib[-quarter:]) / median(mib[quarter : 2 * quarter] or mib)
        yield at_most(f"{case}: memory at the end against the first half", [grown], FLAT_MAX)


def memory_goals(cases: Cases) -> Iterator[Goal]:
    """Bytes, peaks, restart and commit."""
    states = [figures for case, figures in cases.items() if case != "input"]
    if states:
        small, big = states[0], states[-1]
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
        label = plot.SERIES_LABELS[series]
        yield at_most(f"{label}: the time of {till:,} against {since:,}", values, high)
        if "look_s" in figures:
            limit = LOOK_S_MAX if figures["left"] == LEFT else None
            what = f"a full scan with {figures['left']:,} files left in DATA"
            yield at_most(what, [figures["look_s"]], limit, "s")


GOALS: dict[str, Callable[[Cases], Iterator[Goal]]] = {
    "throughput": throughput_goals,
    "latency": latency_goals,
    "sustained": sustained_goals,
    "memory": memory_goals,
    "growth": growth_goals,
}
TITLES = {
    "throughput": "How many times faster",
    "latency": "How soon",
    "sustained": "Does it keep up",
    "memory": "How much memory, how soon after a restart",
    "growth": "How it grows",
}


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """Markdown."""
    return ["| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *rows]]


def goal_table(question: str, cases: Cases) -> list[str]:
    """The lines of one question, without a head."""
    words = {True: "yes", False: "**no**", None: ""}
    rows = [
        [goal.what, goal.measured, goal.goal, words[goal.reached]]
        for goal in GOALS[question](cases)
    ]
    return table([], rows)[2:] if rows else []


def details(question: str, cases: Cases) -> list[str]:
    """What of a question is more than its goals."""
    if question == "throughput":
        return [line for case, figures in cases.items() for line in programs(case, figures)]
    if question == "latency":
        rows = [
            [case, name, *(f"{percentile(figures[key], share):.1f}" for share in (0.5, 0.99, 1.0))]
            for case, figures in cases.items()
            for key, name in (("total_ms", "in all"), ("beyond_disk_ms", "beyond the disk's syncs"))
        ]
        return table(["", "", "p50, ms", "p99, ms", "most, ms"], rows)
    if question == "growth":
        return [line for series, figures in cases.items() for line in sizes(series, figures)]
    if question == "sustained":
        rows = [
            [case, f"{figures['files']:,}", f"{figures['p50_ms']:.0f}", f"{figures['p99_ms']:.0f}",
             f"{figures['most_ms']:.0f}", str(figures["pauses"]),
             f"{len(figures['reloads_s'])} of {figures['dials']:,}"]
            for case, figures in cases.items()
        ]  # fmt: skip
        head = [
            "",
            "files",
            "wait p50, ms",
            "p99, ms",
            "most, ms",
            f"over {PAUSE_MS_MAX} ms",
            "reloads, dials",
        ]
        return table(head, rows)
    return []


def programs(case: str, figures: dict[str, Any]) -> list[str]:
    """What each program took in one case."""
    rows = []
    for name in figures["rounds"][0]:
        runs = [each[name] for each in figures["rounds"]]
        walls = sorted(run["wall_s"] for run in runs)
        rows.append(
            [
                name,
                f"{median(walls):.2f} ({walls[0]:.2f} to {walls[-1]:.2f})",
                f"{figures['lines'] / median(walls) / 1e6:.1f}",
                f"{median(run['cpu_s'] for run in runs):.2f}",
                f"{median(run['peak_mib'] for run in runs):.0f}",
            ]
        )
    head = [
        case,
        "wall, s (least to most)",
        "million records a second",
        "processor, s",
        "peak memory, MiB",
    ]
    outcomes = ", ".join(
        f"{count:,} {name}" for name, count in figures["outcomes"].items() if count
    )
    size_mib = figures["bytes"] / 2**20
    return [
        *table(head, rows),
        "",
        f"{len(figures['rounds'])} rounds, {size_mib:,.0f} MiB; {outcomes}.",
        "",
    ]


def sizes(series: str, figures: dict[str, Any]) -> list[str]:
    """What each size of a series took."""
    key = "taken_ms" if series == "names" else "walls_s"
    first = median(figures["points"][0][key])
    rows = [
        [
            f"{point['size']:,}",
            f"{median(point[key]):.3g} ({min(point[key]):.3g} to {max(point[key]):.3g})",
            f"{median(point[key]) / first:.2f}",
            f"{median(point['starts_s']):.3g}" if "starts_s" in point else "",
        ]
        for point in figures["points"]
    ]
    unit = "ms to a notification" if series == "names" else f"s for {figures['records']:,} records"
    return [
        *table([plot.SERIES_LABELS[series], unit, "against the first", "of it the start, s"], rows),
        "",
    ]


def page() -> str:
    """The page of all that was measured."""
    measured = {question: cases for question in GOALS if (cases := results.load(question))}
    lines = [
        "# Results",
        "",
        "Made by `make bench` and its parts; what each measures, and how, is told at the top of its program. Ratios",
        "are of programs that ran one after the other on the same files, in turns; a median stands before its least and",
        "most. Every answer was compared with ours: the counts of outcomes, and the bytes for every application.",
        "",
        *table(["", "measured", "goal", "reached"], []),
    ]
    for question, cases in measured.items():
        lines += goal_table(question, cases)
    for question, cases in measured.items():
        lines += ["", f"## {TITLES[question]}", ""]
        if question in plot.DRAWN:
            lines += [f"![{TITLES[question]}](plots/{question}.svg)", ""]
        lines += [*details(question, cases), ""]
        words = results.RESULTS / f"{question}.md"
        if words.exists():
            lines += [words.read_text("utf-8").strip(), ""]
        told = {(case["machine"], case["versions"]) for case in cases.values()}
        lines += [f"On {where}; {versions}." for where, versions in sorted(told)]
        loads = [float(case["load"]) for case in cases.values()]
        lines += [f"Load before it began: {min(loads):.1f} to {max(loads):.1f}."]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the page and the plots, and print the table."""
    text = page()
    PAGE.write_text(text, "utf-8")
    for question, draw in plot.DRAWN.items():
        if cases := results.load(question):
            draw(cases)
    print(text.partition("\n## ")[0])


if __name__ == "__main__":
    main()
