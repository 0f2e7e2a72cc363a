"""Faults in system calls, by strace: which ones a program makes, and the same run with one of them failing.

A program is a function. It is run in a process forked off this one, which strace is attached to before the first of its
calls: an interpreter that starts anew would take ten times as long as the calls that matter. strace counts the calls of
one name in one thread. So a run is recorded first, each call that matters gets its (name, count), and the faulted run
must prove that the fault happened.
"""

import ctypes
import os
import re
import shutil
import signal
import subprocess
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, Never, TypeVar

import pytest

MUTATING = (
    "openat", "write", "pwrite64", "writev", "fsync", "fdatasync", "ftruncate", "fallocate", "rename", "renameat",
    "renameat2", "link", "linkat", "symlink", "symlinkat", "unlink", "unlinkat", "mkdir", "mkdirat", "rmdir", "chmod",
    "fchmod", "fchmodat", "chown", "fchown", "fchownat",
)  # fmt: skip
READING = ("openat", "read", "pread64", "getdents64")
_OF_CONTENT = {"read", "pread64", "write", "pwrite64", "writev", "getdents64"}
_WORLD = re.compile(r"/[0-9]+-[0-9]+(?=[/>\"])")
"""What tells the copies of one world apart."""
_ATTEMPT = re.compile(r"(?<=[-.])[0-9a-f]{16}(?=\.)")
"""What tells attempts at one batch apart."""
TIMEOUT_S = 50  # of one run of a few commits
_CALL = re.compile(r"([0-9]+) +([a-z0-9_]+)\((.*)")
_ROOT = Path(__file__).parents[2]
_HANGS_S = 120  # a program that takes longer is ended, which no test expects
_PR_SET_PTRACER, _ANY_PROCESS = 0x59616D61, 2**64 - 1
_libc = ctypes.CDLL(None)


T = TypeVar("T")


class Point(NamedTuple):
    """A system call of a recorded run."""

    name: str
    count: int
    """It is the count-th of its name in its thread."""
    text: str
    """Its arguments and result, as strace prints them (descriptors with their paths)."""

    def __str__(self) -> str:
        return f"{self.name} {self.count}: {self.text}"

    @property
    def mutates(self) -> bool:
        """Whether it changes something, if it succeeds."""
        if self.name == "openat":
            return "O_CREAT" in self.text or "O_TRUNC" in self.text
        if self.name in ("write", "writev"):
            return not self.text.startswith(("1<", "2<"))
        return self.name in MUTATING

    @property
    def subject(self) -> str:
        """The file or names it is about, which are the same in a run over another world."""
        named = re.findall(r'"[^"]*"|<[^>]*>', self.text.rpartition(" = ")[0])
        if self.name in _OF_CONTENT:
            named = named[:1]
        return _ATTEMPT.sub("", _WORLD.sub("", " ".join(named)))

    @property
    def succeeded(self) -> bool:
        """Whether it did what it was asked for: a call that failed anyway says nothing when it fails."""
        return "= -1" not in self.text


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
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("UPSWELL_")
    }
    environment["PYTHONPATH"] = f"{_ROOT / 'src'}:{_ROOT / 'tests'}"
    done = subprocess.run(
        ["strace", "-f", "-qq", "-o", str(trace), *_recording(MUTATING), *command],
        env=environment, capture_output=True, text=True, timeout=timeout_s, check=False,
    )  # fmt: skip
    assert (0, "") == (done.returncode, done.stderr)
    return [point for point in calls(trace) if point.mutates]


def record_calls(program: Callable[[], int], trace: Path) -> list[Point]:
    """Run a program to its end, unharmed; its reading and mutating calls in order."""
    done = _traced(program, trace, _recording({*MUTATING, *READING}))
    assert Faulted(0, "") == done
    return calls(trace)


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
    program: Callable[[], int], point: Point, fault: str, trace: Path, more: str = ""
) -> Faulted:
    """Run the program with this call faulted: ``signal=KILL``, ``error=EIO`` or ``retval=0``.

    ``more``: "+" faults all later calls of the name too. Fails when the fault did not happen.
    """
    when = f"{point.count}{more}"
    options = [
        "-y",
        "-s",
        "64",
        "-e",
        f"trace={point.name}",
        "-e",
        f"inject={point.name}:{fault}:when={when}",
    ]
    done = _traced(program, trace, options)
    wanted = " = ?" if "KILL" in fault else "(INJECTED)"
    hit = next((call for call in calls(trace) if wanted in call.text), None)
    assert hit is not None, f"{fault} did not happen at {point}: {done}"
    assert point.subject == hit.subject, f"{fault} happened at {hit} instead of {point}"
    assert (done.code == -signal.SIGKILL) == ("KILL" in fault), f"{done} after {fault} at {point}"
    return done


def each(work: Callable[[T], str | None], items: Iterable[T]) -> list[str]:
    """Do the work on all items, as many at a time as there are cores; the complaints it returned."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return [complaint for complaint in pool.map(work, items) if complaint]


def _recording(names: Sequence[str] | set[str]) -> list[str]:
    return ["-y", "-s", "64", "-e", f"trace={','.join(sorted(names))}"]


def forked(program: Callable[[], int], errors: Path, tracer: Sequence[str] = ()) -> Faulted:
    """The program in a process of its own; with a tracer attached to it, as if it had been started so."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    readable, writable = os.pipe()
    child = os.fork()
    if not child:
        _become(program, errors, writable)
    os.close(writable)
    os.read(readable, 1)
    os.close(readable)
    if not tracer:
        os.kill(child, signal.SIGUSR1)
        return Faulted(_code(child), errors.read_text())
    with subprocess.Popen(
        [*tracer, "-p", str(child)], stderr=subprocess.PIPE, text=True
    ) as attached:
        assert attached.stderr
        said = attached.stderr.readline()
        os.kill(child, signal.SIGUSR1 if "attached" in said else signal.SIGKILL)
        code = _code(child)
        said += attached.stderr.read()
    assert "attached" in said, said
    return Faulted(code, errors.read_text())


def _code(child: int) -> int:
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def _traced(program: Callable[[], int], trace: Path, options: Sequence[str]) -> Faulted:
    errors = trace.with_name(trace.name + ".errors")
    return forked(program, errors, ["strace", "-f", "-o", str(trace), *options])


def _become(program: Callable[[], int], errors: Path, ready: int) -> Never:
    """In the forked process: say so when no call but the program's will follow, wait to be traced, and be it."""
    fd = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(fd, 2)
    # Where only a parent may trace (Yama), strace is let in by name of all.
    _libc.prctl(_PR_SET_PTRACER, ctypes.c_ulong(_ANY_PROCESS), 0, 0, 0)
    signal.alarm(_HANGS_S)
    os.write(ready, b".")
    signal.sigwait({signal.SIGUSR1})
    code = 1
    try:
        code = program()
    except BaseException:  # noqa: BLE001 - the process ends with it, as an interpreter would
        traceback.print_exc()
    os._exit(code)
