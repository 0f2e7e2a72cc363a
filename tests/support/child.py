"""The command as a process of its own: what it wrote, how it ended, and how much memory it took.

For tests of what an operator sees and what a host must bear. What it wrote is bytes: they are what matters there.
"""

import os
import pty
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

from support.command import clean_environment

TIMEOUT_S = 60
T = TypeVar("T")
# Asked of the process itself: what wait4 tells includes the memory of the test that started it.
_PEAK = """
import re, sys
from pathlib import Path
from upswell.cli.main import main
try:
    main()
finally:
    status = Path("/proc/self/status").read_text()
    print(re.search("VmHWM.*", status)[0], file=sys.__stderr__)
"""


class Ended(NamedTuple):
    """A process that ended."""

    code: int
    """Its exit code; negative when a signal ended it, as the timeout does."""
    out: bytes
    """What it wrote to stdout, or to the terminal."""
    err: bytes

    @property
    def told(self) -> bytes:
        """All that it wrote."""
        return self.out + self.err

    @property
    def peak_mib(self) -> float:
        """The most memory that it had resident, when it was asked to measure it."""
        (kib,) = re.findall(rb"VmHWM:\s+([0-9]+) kB", self.err)
        return int(kib) / 1024


def run(
    *words: str | bytes | Path,
    cwd: Path,
    terminal: bool = False,
    measure: bool = False,
    umask: int = -1,
    timeout_s: float = TIMEOUT_S,
    during: Callable[[int], None] = lambda _: None,
    seen: Callable[[int, bytes], None] = lambda _, __: None,
    **environment: str,
) -> Ended:
    """Run the command to its end.

    Args:
        words: its arguments.
        cwd: the directory that it is run in.
        terminal: whether stdin, stdout and stderr are a terminal.
        measure: whether it tells its peak memory.
        umask: that it is started with; negative: that of the test.
        timeout_s: one that takes longer is killed.
        during: called with its process id once it runs.
        seen: called with its process id and all that it has written to the terminal, whenever that is more.
        environment: variables besides those that every test gives.
    """
    command = [sys.executable, *(("-c", _PEAK) if measure else ("-m", "upswell")), *words]
    variables = clean_environment() | environment
    ours, theirs = pty.openpty() if terminal else (-1, subprocess.PIPE)
    with subprocess.Popen(
        command, cwd=cwd, env=variables, umask=umask, stdout=theirs, stderr=theirs,
        stdin=theirs if terminal else subprocess.DEVNULL,
    ) as child:  # fmt: skip
        killer = threading.Timer(timeout_s, child.kill)
        killer.start()
        try:
            during(child.pid)
            if terminal:
                os.close(theirs)
                out, err = _read(ours, partial(seen, child.pid)), b""
            else:
                out, err = child.communicate()
        finally:
            killer.cancel()
    return Ended(child.returncode, out, err)


def _read(terminal: int, seen: Callable[[bytes], None]) -> bytes:
    told = b""
    try:
        while piece := os.read(terminal, 1 << 16):
            told += piece
            seen(told)
    except OSError:  # so a terminal says that its other side is closed
        pass
    finally:
        os.close(terminal)
    return told


def each(work: Callable[[T], Iterable[str]], items: Sequence[T]) -> list[str]:
    """Do the work on all items, as many at a time as there are cores; the complaints that it gave, with their item."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(lambda item: list(work(item)), items)
        return [
            f"{item}: {complaint}"
            for item, some in zip(items, found, strict=True)
            for complaint in some
        ]
