"""Runs one program from its start to its end, and says what it took.

Owns the ways of measuring: the wall's clock; the processor time and the peak memory of one process as the system
counts them (wait4), and for a tree of processes sums over what a sampler saw of each. The peaks that are added up need
not have been at one moment, and count shared pages for each. A program that fails ends the benchmark, with its words.
"""

import os
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

SAMPLE_S = 0.2
"""Often enough for processes that live for seconds, and not felt by them."""
_TICKS_S = os.sysconf("SC_CLK_TCK")


class Run(NamedTuple):
    """One process, or one tree of them, from its start to its end."""

    wall_s: float
    cpu_s: float
    peak_mib: float


def run(command: list[str], stdout: Path, *, tree: bool = False) -> Run:
    """Run a program to its end, its output in the file ``stdout`` and its messages in ``stdout``.log."""
    log = stdout.with_suffix(".log")
    with stdout.open("wb") as out, log.open("wb") as err:
        actions = [(os.POSIX_SPAWN_DUP2, out.fileno(), 1), (os.POSIX_SPAWN_DUP2, err.fileno(), 2)]
        begun = time.perf_counter()
        child = os.posix_spawn(command[0], command, os.environ, file_actions=actions)
        sampler = Tree(child) if tree else None
        _, status, usage = os.wait4(child, 0)
        wall_s = time.perf_counter() - begun
        cpu_s, peak_mib = (
            sampler.stop() if sampler else (usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
        )
    if status:
        sys.exit(f"bench: {' '.join(command)} failed:\n{log.read_text('utf-8', 'replace')[-4000:]}")
    return Run(wall_s, cpu_s, peak_mib)


class Tree:
    """Watches a process and all that it starts."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._peaks_kib: dict[int, int] = {}
        self._cpu_s: dict[int, float] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def stop(self) -> tuple[float, float]:
        """(processor seconds, sum of the peaks in MiB) of all of them, as far as they were seen."""
        self._ended.set()
        self._thread.join()
        return sum(self._cpu_s.values()), sum(self._peaks_kib.values()) / 1024

    def _watch(self) -> None:
        while not self._ended.wait(SAMPLE_S):
            for pid in descendants(self._root):
                try:
                    fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
                    self._cpu_s[pid] = (int(fields[11]) + int(fields[12])) / _TICKS_S
                    self._peaks_kib[pid] = memory_kib(pid)["VmHWM"]
                except (OSError, KeyError):
                    continue  # it has ended meanwhile


def descendants(root: int) -> set[int]:
    """A process and all that it started and that live."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text("utf-8", "replace")
            except OSError:
                continue
            parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    found, fresh = set(), {root}
    while fresh:
        found |= fresh
        fresh = {pid for pid, parent in parents.items() if parent in fresh}
    return found


def memory_kib(pid: int) -> dict[str, int]:
    """What the system says of a process's memory: VmHWM, VmRSS, RssAnon … in KiB."""
    lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
    return {
        line.partition(":")[0]: int(line.split()[1])
        for line in lines
        if line.startswith(("Vm", "Rss"))
    }
