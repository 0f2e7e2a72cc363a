"""A sync that fails: the machine may have dropped the data and would report success the next time."""

from pathlib import Path

import pytest

import strace

WORKLOAD = Path(__file__).parent / "faults" / "workload.py"
LAST = 3


@pytest.mark.trust("T2")
def test_failed_sync_ends_the_run_and_is_never_tried_again(trust, tmp_path: Path) -> None:
    """When any sync fails, once, the run ends with 73 or 74; of the files outside the database none is synced after."""
    strace.available()
    found = strace.record(
        strace.python(WORKLOAD, tmp_path / "recorded", LAST), tmp_path / "recorded.trace"
    )
    syncs = [point for point in found if point.name in ("fsync", "fdatasync")]
    assert len(syncs) >= 40

    def attempt(some: list[strace.Point]) -> list[str]:
        return strace.each(lambda point: complaint(tmp_path, point), some)

    trust(syncs, attempt, case="syncs", sample=20, always=lambda point: "staging" in point.text)


def complaint(tmp_path: Path, point: strace.Point) -> str | None:
    """What is wrong with how a run ends in which this sync fails."""
    place = f"{point.name}{point.count}"
    trace = tmp_path / f"{place}.trace"
    command = strace.python(WORKLOAD, tmp_path / place, LAST)
    done = strace.inject(command, point, "error=EIO", trace)
    # SQLite syncs by fdatasync. What it folds into the database when it is closed are commits that were synced before.
    after = strace.calls(trace)[point.count :] if point.name == "fsync" else []
    if done.code not in (73, 74):
        return f"{point}: exit code {done.code}, {done.errors}"
    return f"{point}: {after[0]} after it" if after else None
