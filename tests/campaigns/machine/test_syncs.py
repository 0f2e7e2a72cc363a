"""What a run syncs, and a sync that fails: the machine may have dropped the data, and reports success the next time."""

from functools import partial
from pathlib import Path

import pytest

from support import strace
from support.faults.ending import end
from support.faults.order import Order
from support.faults.workload import go_on

LAST = 3


def test_every_step_waits_for_the_syncs_it_relies_on(tmp_path: Path) -> None:
    """Three commits into a new OUTPUT: the short form of what test_durability_order tries a thousand times."""
    strace.available()
    found = strace.record_calls(partial(program, tmp_path / "out"), tmp_path / "trace")
    order = Order().read([point for point in found if point.mutates])
    assert LAST == len(order.batches)
    assert [] == order.wrong


@pytest.mark.trust("T2")
def test_failed_sync_ends_the_run_and_is_never_tried_again(trust, tmp_path: Path) -> None:
    """When any sync fails, once, the run ends with 73 or 74; of the files outside the database none is synced after."""
    strace.available()
    found = strace.record_calls(partial(program, tmp_path / "0-0"), tmp_path / "0-0.trace")
    syncs = [point for point in found if point.name in ("fsync", "fdatasync")]
    assert len(syncs) >= 40

    def attempt(some: list[strace.Point]) -> list[str]:
        return [found for point in some if (found := complaint(tmp_path, point))]

    trust(syncs, attempt, case="syncs", sample=20, always=lambda point: "staging" in point.text)


def program(output: Path) -> int:
    """A few commits into a new OUTPUT."""
    return end(lambda: go_on(output, LAST))


def complaint(tmp_path: Path, point: strace.Point) -> str | None:
    """What is wrong with how a run ends in which this sync fails."""
    place = tmp_path / f"{int(point.name == 'fsync')}-{point.count}"
    trace = place.with_suffix(".trace")
    done = strace.inject(partial(program, place), point, "error=EIO", trace)
    if done.code not in (73, 74):
        return f"{point}: exit code {done.code}"
    # SQLite syncs by fdatasync. What it folds into the database when it is closed are commits that were synced before.
    after = strace.calls(trace)[point.count :] if point.name == "fsync" else []
    return f"{point}: {after[0]} after it" if after else None
