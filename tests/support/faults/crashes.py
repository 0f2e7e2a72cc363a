"""First crashes, each at another step of the commit, for faults in the recovery that follows."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from support import strace
from support.faults import campaign
from support.faults.workloads import BY_NAME
from support.strace import Point

_WAL = "checkpoint.db-wal>"
_NEW_BATCH = re.compile(r'staging>, "[0-9_]+\.csv", .*O_CREAT|"REJECTS_.*O_CREAT')


class Crash(NamedTuple):
    """A run that is killed at a step of its last published batch, or of its start."""

    workload: str
    kind: str
    point: Point


class Crashed(NamedTuple):
    """The world after it, kept under the kind's name, and what recovers from it."""

    workload: str
    kind: str
    recovery: list[Point]
    """The calls of the next run, up to the first one for a new batch."""


def crashes(workload: str, points: list[Point]) -> list[Crash]:
    """One of each kind that the workload has."""
    moved = _last(points, len(points), lambda point: '"NOTIFY_' in point.text)
    begun = _last(points, moved, lambda point: '"begun-' in point.text)
    append = begun
    while _WAL in points[append - 1].text:
        append -= 1
    first = next(at for at, point in enumerate(points) if _NEW_BATCH.search(point.text))
    at = {
        "starting": _last(points, first, lambda point: point.name == "fdatasync"),
        "staged": append,
        "half appended": (append + begun) // 2,
        "committed": begun,
        "damaged": begun,
        "lost": begun,
        "directory half made": _last(points, moved, lambda point: '"directory.new"' in point.text),
        "moving": moved,
        "moved": moved + 1,
        "rejects written": _last(
            points, len(points), lambda point: point.name == "fsync" and "/rejects>" in point.text
        ),
    }
    return [Crash(workload, kind, points[index]) for kind, index in at.items() if index >= 0]


def crashed(root: Path, crash: Crash) -> Crashed:
    """Crash a run, and record what the next one does."""
    workload = BY_NAME[crash.workload]
    place = root / crash.workload
    with campaign.world_like(place, "start") as world:
        program = campaign.program(root, workload, world)
        strace.inject(program, crash.point, campaign.KILL, world.with_suffix(".trace"))
        if crash.kind == "damaged":
            for path in (world / "out" / ".upswell" / "staging").glob("*.csv"):
                path.write_bytes(b"01")
        if crash.kind == "lost":
            shutil.rmtree(world / "out" / ".upswell" / "staging")
        world.rename(place / crash.kind)
    with campaign.world_like(place, crash.kind) as world:
        points = campaign.record(root, workload, world)
    end = next(
        (at for at, point in enumerate(points) if _NEW_BATCH.search(point.text)), len(points)
    )
    return Crashed(crash.workload, crash.kind, points[:end])


def _last(points: list[Point], end: int, wanted: Callable[[Point], bool]) -> int:
    """The last one before ``end`` that is wanted; -1: none."""
    return next((at for at in reversed(range(end)) if wanted(points[at])), -1)
