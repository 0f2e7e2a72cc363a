"""Commit and recovery under faults of the machine, at every system call that changes something.

Each faulted run is followed by one without faults. Then every notification is in OUTPUT or was taken out of it exactly
once, in order, the state is sound and nothing is left staged.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import strace
from batches import expected_output
from conftest import PROFILE
from faults.campaign import Campaign, some, successful
from faults.workload import go_on

LAST = 3
WORKLOAD = Path(__file__).parent / "faults" / "workload.py"
pytestmark = [pytest.mark.timeout(1800 if PROFILE == "slow" else 600)]


@pytest.fixture
def campaign(tmp_path):
    """Faults in three commits."""
    strace.available()
    return Campaign(tmp_path, WORKLOAD, [LAST], lambda output: go_on(output, LAST), judge)


def judge(output: Path, taken: dict[str, bytes]) -> list[str]:
    """Every notification of the batches, once and in order."""
    del output
    expected = expected_output(range(1, LAST + 1))
    return [] if expected == taken else [f"the notifications are {taken}"]


def test_kill_before_every_system_call(campaign):
    """SIGKILL before each call of three commits, from an empty place on: nothing lost, nothing twice."""
    points = campaign.points()
    assert len(points) >= 300
    assert [] == campaign.kill(some(points, 4))


@pytest.mark.parametrize(
    ("wanted", "which", "damage"),
    [
        ("REJECTS_0000000003", 0, False),  # staged, not committed
        pytest.param("begun-0000000003", 0, False, marks=pytest.mark.slow),  # committed
        ("begun-0000000003", 0, True),  # committed, and the staged files are damaged
        ('WhatsApp>, "NOTIFY_0000000003', 0, False),  # one of two published
        pytest.param("directory.new", 1, False, marks=pytest.mark.slow),  # a directory half made
    ],
)
def test_kill_before_every_system_call_of_recovery(campaign, wanted, which, damage):
    """SIGKILL during the recovery from a crash, then another recovery."""
    output = campaign.crash(wanted, which)
    if damage:
        for path in (output / ".upswell" / "staging").iterdir():
            path.write_bytes(b"01")
    assert [] == campaign.kill(some(campaign.points(), 8))


@pytest.mark.parametrize(
    ("fault", "more"),
    [
        ("error=EIO", ""),
        pytest.param("error=EIO", "+", marks=pytest.mark.slow),
        pytest.param("error=ENOSPC", "", marks=pytest.mark.slow),
        pytest.param("error=ENOSPC", "+", marks=pytest.mark.slow),
        pytest.param("error=EDQUOT", "+", marks=pytest.mark.slow),
        pytest.param("error=EROFS", "+", marks=pytest.mark.slow),
    ],
)
def test_error_in_every_system_call(campaign, fault, more):
    """An I/O error or a full disk, once or for good: exit code and words, and the restart recovers."""
    assert [] == campaign.fail(some(successful(campaign.points()), 12), fault, more)


def test_lying_moves_and_removals(campaign):
    """A move or removal that reports success and does nothing is found by the next start."""
    names = ("renameat", "renameat2", "rename", "unlinkat", "mkdirat", "mkdir")
    points = [point for point in successful(campaign.points()) if point.name in names]
    assert len(points) >= 10
    assert [] == campaign.fail(points, "retval=0")


def test_full_disk_at_any_size(tmp_path):
    """A disk that is full, then has space again."""
    own = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    if subprocess.run(
        [*own, "mount", "-t", "tmpfs", "none", str(tmp_path)], check=False
    ).returncode:
        pytest.skip("mounting is not allowed here")
    step = 16 if PROFILE == "slow" else 64
    script = (
        'for size in $(seq 16 "$3" 720); do mount -t tmpfs -o size=${size}k none "$1";'
        ' "$4" -B "$2" "$1/out" 3 2> "$5"; code=$?;'
        ' if [ $code != 0 ] && [ $code != 73 ] && [ $code != 74 ]; then echo "$size: $code"; cat "$5"; fi;'
        ' mount -o remount,size=8m "$1"; "$4" -B "$2" "$1/out" 3 || echo "$size: not recovered";'
        ' cat "$1"/out/*/NOTIFY_* | sha256sum; umount "$1"; done'
    )
    place = tmp_path / "place"
    place.mkdir()
    environment = os.environ | {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [*own, "sh", "-c", script, "sh", str(place), str(WORKLOAD), str(step), sys.executable, str(tmp_path / "err")],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    assert 1 == len(set(done.stdout.splitlines())), done.stdout
    assert "" == done.stderr
