"""A place with inputs, state and OUTPUT in which tests run the engine in this process, and a listener that hears it."""

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from support import law
from upswell.config.settings import Settings
from upswell.engine.run import run
from upswell.engine.summary import Summary

DIALS = [f"010000000{index:02}" for index in range(20)]


RULES = b"1,Twitter,8,20,147\n2,WhatsApp,9,18,68\n3,Night,22,6,300\n"


LONG_AGO_S = 1_600_000_000


class Heard:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, object]]] = []
        self.lines = 0
        self.summary = Summary()

    def event(self, event: str, /, **fields: object) -> None:
        self.events.append((event, fields))

    def progress(self, summary: Summary) -> None:
        self.lines, self.summary = summary.lines, summary

    def text(self) -> str:
        """Everything heard, in one string."""
        return "\n".join(f"{event} {fields}" for event, fields in self.events)


class Place:
    """Four directories and the runs over them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.data = root / "data"
        self.output = root / "output"
        for name in ("data", "segment", "rules"):
            (root / name).mkdir()
        self.write(root / "segment" / "SEGMENT.csv", "\n".join(DIALS).encode() + b"\n")
        self.write(root / "rules" / "RULES.csv", RULES)
        self.heard = Heard()
        self.settings = Settings(
            data=self.data,
            segment=root / "segment",
            rules=root / "rules",
            output=self.output,
            once=True,
            threads=1,
            settle_s=0.05,
            poll_s=0.05,
        )

    def write(self, path: Path, content: bytes, mtime_s: float = LONG_AGO_S) -> Path:
        """A file that has been still for long."""
        path.write_bytes(content)
        os.utime(path, (mtime_s, mtime_s))
        return path

    def file(self, stamp: str, content: bytes) -> Path:
        """A DATA file that has been still for long."""
        return self.write(self.data / f"DATA_{stamp}.csv", content)

    def once(self, **changes: object) -> Summary:
        """One run over what is there."""
        return run(replace(self.settings, **changes), self.heard, threading.Event())

    @contextmanager
    def running(self, **changes: object) -> Iterator[None]:
        """A run for ever, in a thread, stopped at the end of the block."""
        stop = threading.Event()
        failures: list[BaseException] = []

        def target() -> None:
            try:
                run(replace(self.settings, once=False, **changes), self.heard, stop)
            except BaseException as failure:  # noqa: BLE001 - shown below, in the test's own thread
                failures.append(failure)

        thread = threading.Thread(target=target)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(30)
        if failures:
            raise failures[0]

    def law(self) -> None:
        """Assert that the output is what the specification makes of the log."""
        law.check(self.data, self.output)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Fresh directories with a segment and rules."""
    return Place(tmp_path)


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Wait until the condition holds; fail with ``what`` after a generous while."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def record(dial: int, service: int, volume: int, time_of_day: str, day: str = "20200417") -> bytes:
    """One line of DATA."""
    return f"{DIALS[dial]},{service},{volume},{day}{time_of_day}\n".encode()


def traffic(generator: random.Random, lines: int, day: str = "20200417") -> bytes:
    """Random lines, some of them bad, some of strangers."""
    made = []
    for _ in range(lines):
        dial = generator.choice([*DIALS, "01999999999"])
        time_of_day = f"{generator.randrange(24):02}{generator.randrange(60):02}00"
        line = f"{dial},{generator.randrange(1, 5)},{generator.randrange(200)},{day}{time_of_day}\n"
        made.append(
            line
            if generator.random() > 0.1
            else generator.choice(["\n", "x,1\n", line[:-3] + "\n"])
        )
    return "".join(made).encode()
