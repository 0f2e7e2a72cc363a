"""The plots of the results, as SVG: small, the same bytes for the same figures, every axis with its unit.

Owns how figures look, and none of them. Imports matplotlib, which is the benchmark's alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.goals import SERIES_LABELS, ratios

PLOTS = Path(__file__).parent / "plots"
BYTES_MAX = 100 * 1024
OURS, OTHERS, QUIET = "#0b6e4f", "#c0c7cd", "#5c6770"
# Text as text, and ids that do not change: a plot differs only when its figures do.
mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "upswell", "font.size": 9})


@contextmanager
def drawing(name: str, width_in: float, height_in: float) -> Iterator[Figure]:
    """A figure that is written to plots/<name>.svg when the block ends."""
    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    yield figure
    PLOTS.mkdir(exist_ok=True)
    target = PLOTS / f"{name}.svg"
    figure.savefig(target, format="svg", metadata={"Date": None, "Creator": None})
    size = target.stat().st_size
    if size > BYTES_MAX:
        raise ValueError(f"{target.name} has {size:,} bytes, more than {BYTES_MAX:,}")


def plain(axes: Axes) -> None:
    """No frame where no axis is."""
    axes.spines[["top", "right"]].set_visible(False)


def throughput(cases: dict[str, dict[str, Any]]) -> None:
    """For each case, the time of each program as a multiple of ours."""
    with drawing("throughput", 7.5, 0.6 + 1.35 * len(cases)) as figure:
        for axes, (case, figures) in zip(
            figure.subplots(len(cases), squeeze=False)[:, 0], cases.items(), strict=True
        ):
            names = list(figures["rounds"][0])[::-1]
            rounds = figures["rounds"]
            walls = [[runs[name]["wall_s"] for runs in rounds if name in runs] for name in names]
            factors = [median(ratios(rounds, name, "Upswell")) for name in names]
            middles = [median(times) for times in walls]
            spread = [
                [middle - min(times) for middle, times in zip(middles, walls, strict=True)],
                [max(times) - middle for middle, times in zip(middles, walls, strict=True)],
            ]
            colors = [OURS if name.startswith("Upswell") else OTHERS for name in names]
            bars = axes.barh(names, middles, xerr=spread, color=colors, ecolor=QUIET, capsize=2)
            axes.bar_label(bars, [f"{ratio:.2g} x" for ratio in factors], padding=12)
            axes.margins(x=0.2)
            axes.set_title(case, loc="left", fontsize=9)
            axes.set_xlabel("wall, s")
            plain(axes)


def latency(cases: dict[str, dict[str, Any]]) -> None:
    """A histogram for each case: in all, and without the disk's syncs."""
    with drawing("latency", 7.5, 2.6 * len(cases)) as figure:
        for axes, (case, figures) in zip(
            figure.subplots(len(cases), squeeze=False)[:, 0], cases.items(), strict=True
        ):
            most_ms = max(figures["total_ms"])
            bins = [most_ms * number / 60 for number in range(61)]
            axes.hist(figures["total_ms"], bins, color=OTHERS, label="in all")
            axes.hist(
                figures["beyond_disk_ms"],
                bins,
                histtype="step",
                color=OURS,
                label="without the disk's syncs",
            )
            axes.set_title(case, loc="left", fontsize=9)
            axes.set_xlabel("from arrival to notification, ms")
            axes.set_ylabel("notifications")
            axes.legend(frameon=False)
            plain(axes)


def sustained(cases: dict[str, dict[str, Any]]) -> None:
    """Of the longest case: the longest wait in each second, reloads, and memory."""
    figures = max(cases.values(), key=itemgetter("seconds"))
    longest: dict[int, float] = {}
    for at_s, wait_ms in figures["waits"]:
        longest[int(at_s)] = max(wait_ms, longest.get(int(at_s), 0.0))
    with drawing("sustained", 7.5, 4.2) as figure:
        waits, memory = figure.subplots(2, sharex=True)
        waits.plot(list(longest), list(longest.values()), color=OURS, linewidth=1)
        for at_s in figures["reloads_s"]:
            waits.axvline(at_s, color=QUIET, linestyle=":", linewidth=1)
        waits.set_ylabel("longest wait, ms")
        waits.set_title("dotted: a reload of the segment", loc="left", fontsize=9)
        memory.plot(*zip(*figures["memory"], strict=True), color=OURS, linewidth=1)
        memory.set_ylabel("memory, MiB")
        memory.set_xlabel("s")
        for axes in (waits, memory):
            axes.set_ylim(bottom=0)
            plain(axes)


def growth(cases: dict[str, dict[str, Any]]) -> None:
    """A curve for each series, with each size's ratio to the smallest."""
    rows = (len(cases) + 1) // 2
    with drawing("growth", 7.5, 2.4 * rows) as figure:
        places = figure.subplots(rows, 2, squeeze=False).flatten()
        for axes in places[len(cases) :]:
            axes.set_visible(False)
        for axes, (series, figures) in zip(places, cases.items(), strict=False):
            points = figures["points"]
            sizes = [point["size"] for point in points]
            if series == "names":
                heights = [median(point["taken_ms"]) for point in points]
                axes.set_ylabel("arrival to notification, ms")
            else:
                heights = [figures["records"] / median(point["walls_s"]) / 1e6 for point in points]
                axes.set_ylabel("million records a second")
            axes.plot(sizes, heights, color=OURS, marker="o", markersize=3)
            for size, height in zip(sizes, heights, strict=True):
                axes.annotate(
                    f"{height / heights[0]:.2f} x",
                    (size, height),
                    (0, 6),
                    textcoords="offset points",
                    ha="center",
                )
            axes.set_xscale("symlog" if sizes[0] == 0 else "log")
            axes.set_ylim(0, 1.25 * max(heights))
            axes.margins(x=0.12)
            axes.set_xlabel(SERIES_LABELS[series])
            plain(axes)


DRAWN = {"throughput": throughput, "latency": latency, "sustained": sustained, "growth": growth}
"""By question."""
