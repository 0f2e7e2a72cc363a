"""Commit and recovery under faults of the machine, at every system call that changes something.

Each faulted run is followed by one without faults. Then every notification is in OUTPUT or was taken out of it exactly
once, in order, the state is sound and nothing is left staged.
"""

import os
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

import strace
from batches import expected_output
from conftest import PROFILE
from faults.workload import go_on
from upswell.errors import UpswellError
from upswell.verify import verify

LAST = 3
WORKLOAD = Path(__file__).parent / "faults" / "workload.py"
pytestmark = [pytest.mark.timeout(1800 if PROFILE == "slow" else 240)]


@pytest.fixture(autouse=True)
def needs_strace():
    """Every test here injects faults."""
    strace.available()


def run_of(output: Path) -> list[str]:
    """The command that brings an OUTPUT to its last batch."""
    return strace.python(WORKLOAD, output, LAST)


def points(tmp_path: Path, output: Path | None = None) -> list[strace.Point]:
    """The calls of a whole run, over a copy of ``output`` or over nothing."""
    copy = tmp_path / "recorded"
    if output:
        shutil.copytree(output, copy)
    found = strace.record(run_of(copy), tmp_path / "recorded.trace")
    shutil.rmtree(copy)
    return found


def some(found: list[strace.Point], share: int) -> list[strace.Point]:
    """All points in the slow profile; else one of ``share`` among the writes to the database, and all others."""
    writes = [point for point in found if point.name == "pwrite64"]
    kept = set(writes if PROFILE == "slow" else writes[::share])
    return [point for point in found if point.name != "pwrite64" or point in kept]


class Consumer:
    """Takes files out of OUTPUT as a consumer may, and remembers each."""

    def __init__(self, output: Path) -> None:
        self.output = output
        self.taken: defaultdict[str, list[tuple[str, bytes]]] = defaultdict(list)

    def take(self) -> None:
        """Take all there is."""
        for path in sorted(self.output.glob("*/NOTIFY_*")):
            self.taken[path.parent.name].append((path.name, path.read_bytes()))
            path.unlink()

    def contents(self) -> dict[str, bytes]:
        """By application, what was taken, in the order of the names."""
        return {
            place: b"".join(content for _, content in sorted(files))
            for place, files in self.taken.items()
        }


def complaint(output: Path, greedy: bool, at: object) -> str | None:
    """Restart what a fault left, with a consumer that takes files before or not; what is wrong then."""
    consumer = Consumer(output)
    if greedy:
        consumer.take()
    try:
        go_on(output, LAST)
    except UpswellError as error:
        return f"{at}: the restart failed: {error}"
    consumer.take()
    wrong = []
    if expected_output(range(1, LAST + 1)) != consumer.contents():
        wrong.append(f"OUTPUT was {dict(consumer.taken)}")
    wrong += verify(output / ".upswell")
    wrong += [f"{path} is left" for path in (output / ".upswell" / "staging").iterdir()]
    modes = {oct(path.stat().st_mode & 0o777) for path in output.iterdir() if path.name[0] != "."}
    if modes != {"0o750"}:
        wrong.append(f"directories have the modes {modes}")
    return f"{at} (greedy: {greedy}): {'; '.join(wrong)}" if wrong else None


def both(output: Path, at: object) -> str | None:
    """The complaint with a greedy consumer, or that without one."""
    kept = output.with_name(output.name + "-kept")
    shutil.copytree(output, kept)
    found = complaint(output, True, at)
    shutil.rmtree(output)
    kept.rename(output)
    found = found or complaint(output, False, at)
    shutil.rmtree(output)
    return found


def killed(
    tmp_path: Path, start: Path | None = None
) -> Callable[[tuple[int, strace.Point]], str | None]:
    """Kills a run (over a copy of ``start``) at a point, and judges what follows."""

    def work(item: tuple[int, strace.Point]) -> str | None:
        index, point = item
        output = tmp_path / f"out{index}"
        if start:
            shutil.copytree(start, output)
        strace.inject(run_of(output), point, "signal=KILL", tmp_path / f"trace{index}")
        output.mkdir(exist_ok=True)
        return both(output, point)

    return work


def test_kill_before_every_system_call(tmp_path):
    """SIGKILL before each call of three commits, from an empty place on: nothing lost, nothing twice."""
    found = points(tmp_path)
    assert len(found) >= 300
    assert [] == strace.each(killed(tmp_path), enumerate(some(found, 4)))


def crashed(tmp_path: Path, wanted: str, which: int) -> Path:
    """An OUTPUT that was killed before the which-th call whose text has ``wanted`` in it."""
    point = [point for point in points(tmp_path) if wanted in point.text][which]
    output = tmp_path / "crashed"
    strace.inject(run_of(output), point, "signal=KILL", tmp_path / "crashed.trace")
    return output


@pytest.mark.parametrize(
    ("wanted", "which", "damage"),
    [
        ("REJECTS_0000000003", 0, False),  # staged, not committed
        ("begun-0000000003", 0, False),  # committed, nothing published
        ("begun-0000000003", 0, True),  # likewise, and the staged files are damaged
        ('WhatsApp>, "NOTIFY_0000000003', 0, False),  # one of two published
        ("directory.new", 1, False),  # an application's directory half made
    ],
)
def test_kill_before_every_system_call_of_recovery(tmp_path, wanted, which, damage):
    """SIGKILL during the recovery from a crash, then another recovery."""
    start = crashed(tmp_path, wanted, which)
    if damage:
        for path in (start / ".upswell" / "staging").iterdir():
            path.write_bytes(b"01")
    found = some(points(tmp_path, start), 8)
    assert [] == strace.each(killed(tmp_path, start), enumerate(found))


def failed(
    tmp_path: Path, fault: str, more: str
) -> Callable[[tuple[int, strace.Point]], str | None]:
    """Lets a call of a run fail, and judges how the run ends and what follows."""

    def work(item: tuple[int, strace.Point]) -> str | None:
        index, point = item
        output = tmp_path / f"out{index}"
        done = strace.inject(run_of(output), point, fault, tmp_path / f"trace{index}", more)
        told = done.errors or point.name == "write"  # then it could not tell
        if done.code not in (0, 73, 74) or (done.code and not told) or "Traceback" in done.errors:
            return f"{point}: exit code {done.code}, {done.errors}"
        if re.search("01000[0-9]0", done.errors):
            return f"{point}: a message holds a msisdn: {done.errors}"
        output.mkdir(exist_ok=True)
        return both(output, f"{fault} {point}")

    return work


@pytest.mark.parametrize(
    ("fault", "more"),
    [
        ("error=EIO", ""),
        ("error=ENOSPC", "+"),
        pytest.param("error=EIO", "+", marks=pytest.mark.slow),
        pytest.param("error=ENOSPC", "", marks=pytest.mark.slow),
        pytest.param("error=EDQUOT", "+", marks=pytest.mark.slow),
        pytest.param("error=EROFS", "+", marks=pytest.mark.slow),
    ],
)
def test_error_in_every_system_call(tmp_path, fault, more):
    """An I/O error or a full disk, once or for good: exit code and words, and the restart recovers."""
    found = [point for point in points(tmp_path) if "= -1" not in point.text]
    assert [] == strace.each(failed(tmp_path, fault, more), enumerate(some(found, 12)))


def test_lying_moves_and_removals(tmp_path):
    """A move or removal that reports success and does nothing is found by the next start."""
    names = ("renameat", "renameat2", "rename", "unlinkat", "mkdirat", "mkdir")
    found = [
        point for point in points(tmp_path) if point.name in names and "= -1" not in point.text
    ]
    assert len(found) >= 10
    assert [] == strace.each(failed(tmp_path, "retval=0", ""), enumerate(found))


def test_everything_is_durable_before_the_next_step_says_so(tmp_path):
    """Content, then names, then the commit, then the moves: each is synced before what relies on it."""
    output = tmp_path / "out"
    assert [] == disorder(strace.record(run_of(output), tmp_path / "trace"))


def disorder(found: list[strace.Point]) -> list[str]:
    """Every step in a trace that relies on something that was not synced."""
    dirty: dict[str, str] = {}
    wrong = []
    moved = 0
    for point in found:
        place = re.match(r"[0-9]+<([^>]*)>", point.text)
        path = place[1] if place else ""
        if "= -1" in point.text:
            continue
        if point.name in ("fsync", "fdatasync"):
            dirty.pop(path, None)
        elif point.name in ("write", "pwrite64", "ftruncate", "fchmod"):
            dirty[path] = str(point)
        elif point.name == "openat" and "-shm" not in point.text:  # of no use after a crash
            dirty[path] = dirty[re.search(r"= [0-9]+<(.*)>", point.text)[1]] = str(point)  # type: ignore[index]
        elif point.name == "renameat2" and "NOTIFY" in point.text:
            moved += 1
            source, target = re.findall(r"[0-9]+<([^>]*)>", point.text)
            # The moves themselves are synced together, after the last of them.
            held = {
                name: text
                for name, text in dirty.items()
                if not name.endswith(("-shm", "lock")) and "NOTIFY" not in text
            }
            wrong += [f"{point} relies on {text}" for text in held.values()]
            dirty[source] = dirty[target] = str(point)
    wrong += [f"never synced: {text}" for text in dirty.values() if "NOTIFY" in text]
    assert moved == 5
    return wrong


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
