"""Whole runs under faults of the machine, at every system call that changes or reads something of theirs.

Each faulted run is followed by one without faults, once beside a consumer that takes every file the moment it appears
and once without. Then the law holds: every notification was there exactly once, in order, every line was counted, the
state is sound and nothing is left staged.
"""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import strace
from support.faults.campaign import KILL, Campaign, Case, pool
from support.faults.crashes import crashed, crashes
from support.strace import Point

MEMORY = Path("/dev/shm")
ROOM_BYTES = 512 << 20
LYING = (
    "rename", "renameat", "renameat2", "unlink", "unlinkat", "mkdir", "mkdirat", "rmdir", "fsync", "fdatasync",
)  # fmt: skip
ONCE_AND_FOR_GOOD = ("", "+")


@pytest.fixture(scope="module")
def campaign() -> Iterator[Campaign]:
    """All workloads, recorded; in memory where there is room, for the calls are what is tried, and a disk is slow."""
    strace.available()
    roomy = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM_BYTES
    with tempfile.TemporaryDirectory(dir=MEMORY if roomy else None) as root, pool() as processes:
        yield Campaign(Path(root), processes)


@pytest.mark.trust("T1")
def test_kill_before_every_call_that_changes_something(campaign, trust):
    """A run that is killed before any of its calls that change something loses and repeats nothing."""
    cases = [
        Case(name, point, KILL)
        for name, points in campaign.points.items()
        for point in points
        if point.mutates
    ]
    assert len(cases) >= 3000
    trust(cases, campaign.attempt, case="kills", sample=300, always=lambda case: vital(case.point))


@pytest.mark.trust("T2")
def test_error_in_every_call(campaign, trust):
    """An I/O error or a full disk in any call, once or for good, ends a run in words, and the restart recovers."""
    cases = [
        Case(name, point, f"error={error}", more)
        for name, points in campaign.points.items()
        for point in points
        if point.succeeded
        for error in errors(point)
        for more in ONCE_AND_FOR_GOOD
    ]
    trust(cases, campaign.attempt, case="errors", sample=300)


@pytest.mark.trust("T3")
def test_calls_that_lie(campaign, trust):
    """A move, removal, new directory or sync that reports success and does nothing is put right by the next start."""
    cases = [
        Case(name, point, "retval=0", more)
        for name, points in campaign.points.items()
        for point in points
        if point.succeeded and point.name in LYING
        for more in ONCE_AND_FOR_GOOD
    ]
    trust(cases, campaign.attempt, case="lies", sample=100)


@pytest.mark.trust("T7")
def test_kill_or_error_in_every_call_of_recovery(campaign, trust):
    """A recovery that is killed or fails at any of its calls is recovered from, whatever the first crash was."""
    first = [crash for name, points in campaign.points.items() for crash in crashes(name, points)]
    cases = [
        Case(after.workload, point, fault, start=after.kind)
        for after in campaign.each(crashed, first)
        for point in after.recovery
        if point.mutates
        for fault in ((KILL, "error=EIO") if point.succeeded else (KILL,))
    ]
    trust(cases, campaign.attempt, case="faults in a recovery", sample=150)


def vital(point: Point) -> bool:
    """Whether what others see changes with it."""
    return point.name.startswith("rename")


def errors(point: Point) -> list[str]:
    """What may happen to a call."""
    found = ["EIO"]
    if point.mutates:
        found += ["ENOSPC", "EDQUOT", "EROFS"]
    if point.name == "openat":
        found.append("EMFILE")
    return found
