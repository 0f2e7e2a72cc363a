"""A run of Upswell that goes on for ever, as those who measure it need it: started, watched from outside, and stopped.

Owns the process, the watch on the directories and the marked records: records of made-up customers who are surely
notified, so that the moment of each one's notification can be told. When it stops, its own counts are checked: a run
that lost a line or ended badly ends the benchmark.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

from inotify_simple import INotify, flags

from bench.data import Inputs
from bench.machine import UPSWELL

MARK = re.compile(rb"^099([0-9]{8}),", re.MULTILINE)
MARKED_SERVICE = 4
"""Its hours are the whole day in every RULES that is generated."""
MARKED_VOLUME = 9_999
"""Above the threshold of every rule that is generated."""
READY_S_MAX = 60.0
SYNCS = "fsync,fdatasync,sync_file_range,syncfs"
_SYNC = re.compile(r"^([0-9.]+) \w+\(.*<([0-9.]+)>$", re.MULTILINE)


class Appeared(NamedTuple):
    """A name that was moved into a watched directory."""

    moment: float
    """Seconds since the epoch."""
    path: Path


class Service:
    """The process and what was seen of it."""

    def __init__(self, process: subprocess.Popen[bytes], work: Path, traces: Path | None) -> None:
        self.process = process
        self.work = work
        self.appeared: list[Appeared] = []
        """Of the watched directories, in order."""
        self.summary: dict[str, Any] = {}
        """What it said at its end."""
        self._traces = traces
        self._read = 0
        self._marks: dict[int, float] = {}

    def marks(self) -> dict[int, float]:
        """When the notification of each marked record appeared, by its number."""
        while self._read < len(self.appeared):
            moment, path = self.appeared[self._read]
            self._read += 1
            if path.name.startswith("NOTIFY"):
                for found in MARK.finditer(path.read_bytes()):
                    self._marks[int(found[1])] = moment
        return self._marks

    def wait_for(self, number: int, timeout_s: float = READY_S_MAX) -> float:
        """The moment at which the notification of a marked record appeared. Ends the program when it does not come."""
        until = time.monotonic() + timeout_s
        while number not in self.marks():
            if time.monotonic() > until or self.process.poll() is not None:
                sys.exit(f"bench: no notification of record {number}:\n{self.log()[-2000:]}")
            time.sleep(0.001)
        return self._marks[number]

    def log(self) -> str:
        """What it has narrated."""
        return (self.work / "log").read_text("utf-8")

    def stop(self) -> None:
        """End it as an operator does, and read its summary."""
        self.process.send_signal(signal.SIGTERM)
        if self.process.wait(READY_S_MAX):
            sys.exit(f"bench: the run ended with {self.process.returncode}:\n{self.log()[-2000:]}")
        self.summary = json.loads((self.work / "summary").read_text("utf-8"))

    def check_lines(self, expected: int) -> None:
        """End the program when the run did not take exactly so many lines."""
        if self.summary["lines"] != expected:
            sys.exit(f"bench: the run took {self.summary['lines']:,} of {expected:,} lines")

    def syncs(self) -> list[tuple[float, float]]:
        """(begin, end) of every call that waited for the disk, by begin; those of one moment are joined."""
        calls = sorted(
            (float(begin), float(begin) + float(length))
            for trace in (
                self._traces.parent.glob(f"{self._traces.name}.*") if self._traces else ()
            )
            for begin, length in _SYNC.findall(trace.read_text("utf-8", "replace"))
        )
        joined: list[tuple[float, float]] = []
        for begin, end in calls:
            if joined and begin <= joined[-1][1]:
                joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
            else:
                joined.append((begin, end))
        return joined

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@contextmanager
def serving(
    inputs: Inputs,
    work: Path,
    *,
    traced: bool = False,
    watched: tuple[Path, ...] = (),
    options: tuple[str, ...] = (),
) -> Iterator[Service]:
    """A run over the inputs with its output in ``work``/out, and a watch on the applications' and other directories.

    ``traced``: the calls that wait for the disk are timed by strace, which stops the run at no other call.
    """
    output = work / "out"
    directories = [output / application for application in applications(inputs.rules)]
    for directory in directories:
        directory.mkdir(parents=True, exist_ok=True)
    traces = work / "trace" if traced else None
    command = [str(UPSWELL), *inputs.arguments(output), "--json", *options]
    if traces:
        if not shutil.which("strace"):
            sys.exit("bench: strace is needed to tell the disk's part: install the package strace")
        # -D: the run is our child, not strace's.
        command = [
            *f"strace -D -ff --seccomp-bpf -qq -ttt -T -e trace={SYNCS} -o {traces}".split(),
            *command,
        ]
    with (
        (work / "summary").open("wb") as summary,
        (work / "log").open("wb") as log,
        INotify() as notify,
    ):
        places = {notify.add_watch(path, flags.MOVED_TO): path for path in (*directories, *watched)}
        process = subprocess.Popen(command, stdout=summary, stderr=log)
        with Service(process, work, traces) as service:
            ended = threading.Event()

            def listen() -> None:
                while not ended.is_set():
                    for event in notify.read(timeout=100):
                        service.appeared.append(
                            Appeared(time.time(), places[event.wd] / event.name)
                        )

            thread = threading.Thread(target=listen, name="bench-watch")
            thread.start()
            try:
                yield service
            finally:
                ended.set()
                thread.join()


def applications(rules: Path) -> list[str]:
    """The names of the applications of generated RULES."""
    lines = (rules / "RULES.csv").read_text("utf-8").splitlines()
    return [line.split(",")[1] for line in lines]


def marked(number: int, timestamp: str) -> bytes:
    """A record of the marked customer of this number."""
    return b"099%08d,%d,%d,%b\n" % (number, MARKED_SERVICE, MARKED_VOLUME, timestamp.encode())


def with_marked(segment: Path, target: Path, count: int) -> Path:
    """SEGMENT with so many marked customers besides, in the directory ``target``."""
    target.mkdir(parents=True)
    os.link(segment / "SEGMENT.csv", target / "SEGMENT.csv")
    (target / "MARKED.csv").write_bytes(b"".join(b"099%08d\n" % number for number in range(count)))
    return target


def overlap(begin: float, end: float, spans: list[tuple[float, float]]) -> float:
    """How much of [begin, end] lies in the spans."""
    return sum(max(0.0, min(end, till) - max(begin, since)) for since, till in spans)
