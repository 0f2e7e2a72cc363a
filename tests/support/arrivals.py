"""A DATA directory with a clock of its own, and a run of the source over it with the real kernel.

``Arrivals`` writes files as a producer would, and plays the engine: it reads what the source offers and keeps the rows
that a commit would save. ``restart`` begins again from these rows, as after a kill. Nothing of a row is shared with the
source, so that what was not saved is lost as it would be.
"""

import copy
import gzip
import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from upswell import kernel
from upswell.source.file import File, State
from upswell.source.planner import Source
from upswell.zones import Zones

START = datetime(2020, 4, 17, 20, 0, tzinfo=UTC).timestamp()
SETTLE_S = 2.0
FRUITLESS_MAX = 3
"""Batches of which nothing was consumed, one after another, that a scan may cause."""
Consumed = tuple[str, int, int]
"""Name, first byte, byte after the last."""


def stamp(minute: int) -> str:
    """The stamp of the minute after 19:00 of the day."""
    return f"{datetime(2020, 4, 17, 19, 0, tzinfo=UTC) + timedelta(minutes=minute):%Y%m%d%H%M}"


def name(minute: int, suffix: str = "csv") -> str:
    """The name of that minute's file."""
    return f"DATA_{stamp(minute)}.{suffix}"


def record(number: int) -> bytes:
    """A record, different for each number and always as long, with its line end."""
    return b"%011d,1,%03d,20200417193743\n" % (number, number % 1000)


def records(first: int, count: int) -> bytes:
    """So many records, from this number on."""
    return b"".join(record(number) for number in range(first, first + count))


class Rows:
    """The rows as a checkpoint would keep them."""

    def __init__(self) -> None:
        self.by_name: dict[str, File] = {}
        self.newest = ""
        self.archived: set[str] = set()
        self.asked = 0

    def files(self, names: Iterable[str]) -> dict[str, File]:
        """Rows of these names."""
        wanted = list(names)
        self.asked += len(wanted)
        return {one: copy.deepcopy(self.by_name[one]) for one in wanted if one in self.by_name}

    def files_in(self, state: State) -> Iterator[File]:
        """Rows in this state."""
        return iter([copy.deepcopy(row) for row in self.by_name.values() if row.state == state])

    def find_first_record(self, crc: int) -> list[File]:
        """Rows of files that something was consumed of, with this first record."""
        rows = [row for row in self.by_name.values() if row.first_record == crc and row.offset]
        return copy.deepcopy(rows)

    def is_archived(self, one: str) -> bool:
        """Whether the archive took it."""
        return one in self.archived

    def newest_stamp(self) -> str:
        """Of the log."""
        return self.newest

    def day_open(self) -> int:
        """Of the log, which keeps it only where other tables of the zones could open it again."""
        return 0


class Arrivals:
    """The directory, the clock and one run."""

    def __init__(self, data: Path, **settings: Any) -> None:
        self.data = data
        data.mkdir()
        self.now = START
        self.rows = Rows()
        self.settings = {
            "settle_s": SETTLE_S,
            "keep_days": 2,
            "zones": Zones(),
            "max_stamp_ahead_days": 1,
            "since": None,
            "rejects_max_bytes_per_file": 1 << 20,
        } | settings
        self.scanner = kernel.Scanner(1, "total", kernel.Clock([]))
        self.segment, _ = kernel.Segment.parse([b"0126545098\n"])
        self.rules = kernel.Rules([(1, "Twitter", 480, 1200, 147)])
        self.ledger = kernel.Ledger()
        self.log: list[Consumed] = []
        self.saves = True
        self.unsaved: list[File] = []
        self.restart()

    def restart(self, **settings: Any) -> None:
        """Begin a new run from the rows that were saved."""
        self.settings |= settings
        self.source = Source(self.data, self.rows, clock=lambda: self.now, **self.settings)

    def path(self, minute: int | str, suffix: str = "csv") -> Path:
        """The path of that minute's file, or of a name."""
        return self.data / (minute if isinstance(minute, str) else name(minute, suffix))

    def write(
        self, minute: int | str, content: bytes, *, age_s: float = 0, suffix: str = "csv"
    ) -> str:
        """Write a file anew, over its old content if there is one; last changed so long ago. Its name."""
        path = self.path(minute, suffix)
        path.write_bytes(content)
        self.touch(path.name, age_s)
        return path.name

    def write_gzip(self, minute: int, content: bytes, *, age_s: float = 0) -> str:
        """Write a compressed file."""
        return self.write(minute, gzip.compress(content, mtime=0), age_s=age_s, suffix="csv.gz")

    def append(self, minute: int | str, content: bytes, *, suffix: str = "csv") -> None:
        """Let a file grow."""
        path = self.path(minute, suffix)
        with path.open("ab") as stream:
            stream.write(content)
        self.touch(path.name)

    def move_in(self, minute: int, content: bytes, *, age_s: float = 0) -> None:
        """Put another file of that name in its place, with a new inode."""
        other = self.data.parent / "other"
        other.write_bytes(content)
        os.utime(other, ns=self._times(age_s))
        other.replace(self.path(minute))

    def touch(self, one: str, age_s: float = 0) -> None:
        """Set when a file was last changed."""
        os.utime(self.data / one, ns=self._times(age_s))

    def _times(self, age_s: float) -> tuple[int, int]:
        at = int((self.now - age_s) * 1e9)
        return at, at

    def wait(self, seconds: float = SETTLE_S) -> None:
        """Let time pass."""
        self.now += seconds

    def turn(self) -> list[Consumed]:
        """One scan, and all batches that follow from it; what was consumed."""
        self.source.scan()
        return self.consume()

    def consume(self) -> list[Consumed]:
        """Batches until nothing is ready."""
        consumed: list[Consumed] = []
        fruitless = 0
        while ranges := self.source.ready():
            some = self.read(ranges)
            consumed += some
            fruitless = 0 if some else fruitless + 1
            assert fruitless < FRUITLESS_MAX, "it would turn for ever"
        self.save()
        return consumed

    def read(self, ranges: list[kernel.Range]) -> list[Consumed]:
        """One batch, committed."""
        result = self.scanner.process(ranges, self.segment, self.rules, self.ledger, 32 << 20, 1000)
        pairs = list(zip(ranges, result.ranges, strict=False))
        self.source.advance(pairs)
        consumed = [(one.name, one.start, done.end) for one, done in pairs if done.end > one.start]
        for planned, done in pairs:
            if done.end > planned.start:
                self.rows.newest = planned.newest_stamp
        self.log += consumed
        self.save()
        return consumed

    def save(self) -> None:
        """What a commit does with the rows; while it is not through, they are asked for in vain."""
        self.unsaved += self.source.changed()
        if self.saves:
            for row in self.unsaved:
                self.rows.by_name[row.name] = row
            self.unsaved = []

    def once(self) -> tuple[list[Consumed], list[str]]:
        """A whole run ``--once`` over a listing that was frozen: what was consumed, and the warnings."""
        self.wait_for_quiet()
        consumed = self.consume()
        warnings = self.source.finish_once()
        self.save()
        return consumed, warnings

    def wait_for_quiet(self) -> float:
        """The wait of a run ``--once``; how long it was."""
        began = self.now
        while self.source.undecided():
            self.wait(0.25)
        return self.now - began

    def row(self, one: str) -> File:
        """The row of a file as it was saved last."""
        self.save()
        return self.rows.by_name[one]

    def state(self, one: str) -> tuple[str, str]:
        """State and reason of a file as they were saved last."""
        row = self.row(one)
        return row.state, row.reason
