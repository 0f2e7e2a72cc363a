"""Faults in system calls, by strace: which ones a program makes, and the same run with one of them failing.

strace counts the calls of one name in one thread. So a run is recorded first, each call that changes something gets
its (name, count), and the faulted run must prove that the fault happened.
"""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

import pytest

MUTATING = (
    "openat", "write", "pwrite64", "writev", "fsync", "fdatasync", "ftruncate", "fallocate", "rename", "renameat",
    "renameat2", "link", "linkat", "symlink", "symlinkat", "unlink", "unlinkat", "mkdir", "mkdirat", "rmdir", "chmod",
    "fchmod", "fchmodat", "chown", "fchown", "fchownat",
)  # fmt: skip
TIMEOUT_S = 50  # of one run of a few commits
_CALL = re.compile(r"([0-9]+) +([a-z0-9_]+)\((.*)")
T = TypeVar("T")
_ROOT = Path(__file__).parent.parent


class Point(NamedTuple):
    """A system call of a recorded run that changes something."""

    name: str
    count: int
    """It is the count-th of its name in its thread."""
    text: str
    """Its arguments and result, as strace prints them (descriptors with their paths)."""

    def __str__(self) -> str:
        return f"{self.name} {self.count}: {self.text}"


class Faulted(NamedTuple):
    """A run in which one call was faulted."""

    code: int
    """Exit code; -9 when killed."""
    errors: str
    """Its standard error."""


def available() -> None:
    """Skip where strace is missing or may not trace; in CI that is a failure."""
    reason = ""
    if shutil.which("strace") is None:
        reason = "strace is not installed"
    elif subprocess.run(["strace", "-qq", "-o", "/dev/null", "true"], check=False).returncode:
        reason = "strace may not trace here"
    if reason and os.environ.get("CI"):
        pytest.fail(f"{reason}, and CI must run the fault tests")
    if reason:
        pytest.skip(reason)


def python(program: Path, *arguments: object) -> list[str]:
    """The command that runs a program of the tests, with as few system calls of its own as can be."""
    return [sys.executable, "-B", str(program), *map(str, arguments)]


def record(command: Sequence[str], trace: Path, timeout_s: float = TIMEOUT_S) -> list[Point]:
    """Run a command to its end, unharmed; its mutating calls in order."""
    options = ["-y", "-s", "64", "-e", f"trace={','.join(MUTATING)}"]
    code, errors = _strace(command, trace, options, timeout_s)
    assert (0, "") == (code, errors)
    return [point for point in calls(trace) if _mutates(point)]


def calls(trace: Path) -> list[Point]:
    """Every call in the trace, counted as strace counts."""
    counts: Counter[tuple[str, str]] = Counter()
    found = []
    for line in trace.read_text("utf-8", "replace").splitlines():
        match = _CALL.match(line)
        if match:
            thread, name, text = match.groups()
            counts[thread, name] += 1
            found.append(Point(name, counts[thread, name], text))
    return found


def inject(
    command: Sequence[str], point: Point, fault: str, trace: Path, more: str = ""
) -> Faulted:
    """Run the command with this call faulted: ``signal=KILL``, ``error=EIO`` or ``retval=0``.

    ``more``: "+" faults all later calls of the name too. Fails when the fault did not happen.
    """
    when = f"{point.count}{more}"
    options = ["-e", f"trace={point.name}", "-e", f"inject={point.name}:{fault}:when={when}"]
    code, errors = _strace(command, trace, options)
    text = trace.read_text("utf-8", "replace")
    happened = (
        code == -9 and "+++ killed by SIGKILL +++" in text
        if "KILL" in fault
        else "(INJECTED)" in text
    )
    assert happened, f"{fault} did not happen at {point}: exit code {code}, {errors}"
    return Faulted(code, errors)


def each(work: Callable[[T], str | None], items: Iterable[T]) -> list[str]:
    """Do the work on all items, as many at a time as there are cores; the complaints it returned."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return [complaint for complaint in pool.map(work, items) if complaint]


def _strace(
    command: Sequence[str], trace: Path, options: Sequence[str], timeout_s: float = TIMEOUT_S
) -> tuple[int, str]:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("UPSWELL_")
    }
    environment["PYTHONPATH"] = f"{_ROOT / 'src'}:{_ROOT / 'tests'}"
    done = subprocess.run(
        ["strace", "-f", "-qq", "-o", str(trace), *options, *command],
        env=environment, capture_output=True, text=True, timeout=timeout_s, check=False,
    )  # fmt: skip
    return done.returncode, done.stderr


def _mutates(point: Point) -> bool:
    if point.name == "openat":
        return "O_CREAT" in point.text or "O_TRUNC" in point.text
    if point.name in ("write", "writev"):
        return not point.text.startswith(("1<", "2<"))
    return True
