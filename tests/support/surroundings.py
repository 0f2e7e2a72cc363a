"""What goes on around a run: writers of DATA, SEGMENT and RULES, a consumer of OUTPUT, and the law in the end.

The run is a process of its own, so that it can be killed, stopped and paused; everything that its output is judged by
is remembered here, outside of it. All that is random comes from the seed; when it happens, from the machine.
"""

import gzip
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from support import law
from support.command import clean_environment
from upswell.state.maintenance.verify import verify

DIALS = [f"010000{index:05}" for index in range(400)]
RULES = (
    "1,Twitter,8,20,300\n2,WhatsApp,9,18,200\n3,Night,22,6,400\n",
    "1,Twitter,8,20,200\n2,WhatsApp,9,18,300\n",
)
SMALL_BATCHES = """
from upswell.engine import compute
from upswell.cli.main import main
compute.WORK_MS_MAX = 0
main()
"""
"""A run whose batches are a pass over chunks each, so that most are read while another is committed."""
CHUNK_BYTES = "200"  # of those
QUICK = ("--settle-s", "0.1", "--poll-s", "0.05")
LONG_AGO_S = 1_600_000_000
WAIT_S = 180.0  # for what takes a fraction of a second on an idle machine


class Surroundings:
    """One DATA, SEGMENT, RULES and OUTPUT, and all who use them beside the run."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root = root
        self.data, self.output = root / "data", root / "output"
        self.state = self.output / ".upswell"
        self.segment, self.rules = root / "SEGMENT.csv", root / "RULES.csv"
        self.random = random.Random(seed)
        self.over = threading.Event()
        self.taken: defaultdict[str, list[tuple[str, bytes]]] = defaultdict(list)
        """By application directory, what the consumer took: names and contents, as they came."""
        self.lines = 0
        """Lines of DATA that were written."""
        self.data.mkdir(parents=True)
        self.segment.write_text("".join(f"{dial}\n" for dial in DIALS[::2]))
        self.rules.write_text(RULES[0])
        for path in (self.segment, self.rules):
            os.utime(path, (LONG_AGO_S, LONG_AGO_S))

    # The run

    def start(self, *options: str, small: bool = False) -> subprocess.Popen[str]:
        """A run for ever, or with ``--once`` one over what is there; ``small``: with batches of few lines."""
        paths = map(str, (self.data, self.segment, self.rules, self.output))
        program = ("-c", SMALL_BATCHES) if small else ("-m", "upswell")
        chunks = {"UPSWELL_KERNEL_CHUNK_BYTES": CHUNK_BYTES} if small else {}
        return subprocess.Popen(
            [sys.executable, *program, *paths, *QUICK, *options],
            env=clean_environment() | chunks, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def wait_until_locked(self, process: subprocess.Popen[str]) -> None:
        """Wait until the process holds the state: from then on it recovers, reads and commits."""
        lock, mine = self.state / "lock", f"process {process.pid},"
        wait_for(lambda: lock.exists() and lock.read_text().startswith(mine), "it did not start")

    def finish(self) -> None:
        """A last run over what is there; the consumer takes the rest."""
        process = self.start("--once")
        _, errors = process.communicate(timeout=WAIT_S)
        assert 0 == process.returncode, errors
        self.take()

    # Those around it

    @contextmanager
    def traffic(self) -> Iterator[None]:
        """Writers and a consumer at work until the block ends."""
        failures: list[BaseException] = []

        def guarded(work: Callable[[], None]) -> Callable[[], None]:
            def target() -> None:
                try:
                    work()
                except BaseException as failure:  # noqa: BLE001 - raised below, in the test's own thread
                    failures.append(failure)

            return target

        threads = [threading.Thread(target=guarded(work)) for work in (self._write, self._consume)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.over.set()
            for thread in threads:
                thread.join()
        if failures:
            raise failures[0]

    def take(self) -> None:
        """Take every notification file that is there, in the order of the names."""
        for path in sorted(self.output.glob("*/NOTIFY_*")):
            self.taken[path.parent.name].append((path.name, path.read_bytes()))
            path.unlink()

    def _consume(self) -> None:
        while not self.over.is_set():
            self.take()
            time.sleep(0.002)

    def _write(self) -> None:
        """Files that appear whole, grow in the middle of lines or come late, some compressed; and edits."""
        stamp = datetime(2020, 4, 17, tzinfo=UTC)
        while not self.over.is_set():
            self._write_file(stamp)
            if self.random.random() < 0.15:
                minutes = self.random.randrange(1, 4 * 24 * 60)
                self._write_file(stamp - timedelta(minutes=minutes))
            if self.random.random() < 0.1:
                self._edit()
            # Days pass, too, so that some are closed.
            stamp += timedelta(minutes=self.random.choice((1, 1, 1, 1, 400)))
            time.sleep(self.random.random() * 0.05)

    def _write_file(self, stamp: datetime) -> None:
        compressed = self.random.random() < 0.25
        name = self.data / f"DATA_{stamp:%Y%m%d%H%M}.csv{'.gz' if compressed else ''}"
        if name.exists():
            return
        content = self._content(stamp)
        self.lines += content.count(b"\n")
        content = gzip.compress(content, mtime=0) if compressed else content
        if self.random.random() < 0.5:
            partial = self.root / "partial"
            partial.write_bytes(content)
            partial.rename(name)
            return
        with name.open("wb", buffering=0) as stream:
            while content:
                cut = self.random.randrange(1, 4000)
                stream.write(content[:cut])
                content = content[cut:]
                time.sleep(0.005)

    def _content(self, stamp: datetime) -> bytes:
        """Traffic of the days around the stamp, some of it bad."""
        made = []
        for _ in range(self.random.randrange(1, 400)):
            time_of_day = f"{self.random.randrange(24):02}{self.random.randrange(60):02}00"
            day = f"{stamp - timedelta(days=self.random.choice((-2, 0, 0, 0, 0, 1, 1, 2))):%Y%m%d}"
            line = f"{self.random.choice(DIALS)},{self.random.randrange(1, 5)},{self.random.randrange(200)}"
            bad = self.random.random() < 0.05
            made.append("oops 1\n" if bad else f"{line},{day}{time_of_day}\n")
        return "".join(made).encode()

    def _edit(self) -> None:
        """Another RULES, another SEGMENT, or a RULES with a bad line, which is refused."""
        fresh = self.root / "fresh"
        if self.random.random() < 0.5:
            few = self.random.sample(DIALS, len(DIALS) * 2 // 5)
            fresh.write_text("".join(f"{dial}\n" for dial in {*few, *DIALS[::4]}))
            fresh.rename(self.segment)
        else:
            fresh.write_text(self.random.choice((*RULES, RULES[0] + "2,Whats\n")))
            fresh.rename(self.rules)

    # The judgement

    def complaints(self) -> list[str]:
        """What is wrong once the last run is over: the law over all that was written and all that was taken."""
        found = verify(self.state)
        for place, files in self.taken.items():
            names = [name for name, _ in files]
            if names != sorted(set(names)):
                found.append(f"{place}: names came twice or out of order: {names}")
        taken = {
            place: b"".join(content for _, content in files) for place, files in self.taken.items()
        }
        try:
            reference = law.check(self.data, self.output, taken_away=taken)
        except AssertionError as error:
            return [*found, f"the law is broken: {error}"]
        if reference.lines != self.lines:
            found.append(f"{reference.lines} lines were read, {self.lines} were written")
        return found


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Wait until the condition holds; fail with ``what`` after a generous while."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a process as the machine would: now, and for good."""
    process.send_signal(signal.SIGKILL)
    _, errors = process.communicate(timeout=WAIT_S)
    assert process.returncode == -signal.SIGKILL, f"it had ended before: {errors}"
