"""RESULTS.md and the plots, out of the figures that were measured.

Owns the page. It measures nothing and keeps nothing: the page follows from results/*.json alone, and says
of each question what it was measured on. A goal that is not reached says so; what holds it back is told in words by
results/<question>.md, where somebody has written one.
"""

from pathlib import Path
from statistics import median
from typing import Any

from bench import plot, results
from bench.goals import GOALS_OF, PAUSE_MS_MAX, SERIES_LABELS, Cases
from bench.results import percentile

PAGE = Path(__file__).parent / "RESULTS.md"

TITLES = {
    "throughput": "How many times faster",
    "latency": "How soon",
    "sustained": "Does it keep up",
    "memory": "How much memory, how soon after a restart",
    "growth": "How it grows",
    "spark": "On Spark",
}


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """Markdown."""
    return ["| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *rows]]


def goal_table(question: str, cases: Cases) -> list[str]:
    """The lines of one question, without a head."""
    words = {True: "yes", False: "**no**", None: ""}
    rows = [
        [goal.what, goal.measured, goal.goal, words[goal.reached]]
        for goal in GOALS_OF[question](cases)
    ]
    return table([], rows)[2:] if rows else []


def details(question: str, cases: Cases) -> list[str]:
    """What of a question is more than its goals."""
    if question in ("throughput", "spark"):
        played = {case: figures for case, figures in cases.items() if "rounds" in figures}
        return [line for case, figures in played.items() for line in programs(case, figures)]
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
            [case, name, f"{figures['files']:,}",
             *(f"{figures[f'{word}{part}_ms']:.0f}" for word in ("p50", "p99", "most")),
             "" if part else str(figures["pauses"]),
             f"{len(figures['reloads_s'])} of {figures['dials']:,}"]
            for case, figures in cases.items()
            for part, name in (("", "in all"), ("_beyond_disk", "beyond the disk's syncs"))
        ]  # fmt: skip
        head = [
            "",
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
        runs = [each[name] for each in figures["rounds"] if name in each]
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
        *table([SERIES_LABELS[series], unit, "against the first", "of it the start, s"], rows),
        "",
    ]


def page() -> str:
    """The page of all that was measured."""
    measured = {
        question: cases for question in results.QUESTIONS if (cases := results.load(question))
    }
    lines = [
        "# Results",
        "",
        "Made by `make bench` and its parts; what each measures, and how, is told at the top of its program. Ratios",
        "are of programs that ran one after the other on the same files, in turns; a median stands before its least",
        "and most. Every answer was compared with ours: the counts of outcomes, and the bytes for every application.",
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
        told = {(case["machine"], case["versions"], case["commit"]) for case in cases.values()}
        lines += [
            f"On {where}; {versions}; at {commit}." for where, versions, commit in sorted(told)
        ]
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
