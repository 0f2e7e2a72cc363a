"""Writes generated inputs: RULES, SEGMENT and DATA, seeded, of any size, with faults, at once or as time passes.

Owns the options, and the names, the order and the timing of the files. Their content is that of ``population`` and of
the tables of faults. It never changes or replaces an existing file: one with the same content is left as it is, any
other is an error.
"""

import itertools
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from upswell.errors import UsageError
from upswell.generate.file_faults import (
    BESIDE_FAULTS,
    FILE_FAULTS,
    GZIP_NAME,
    OWN_FAULTS,
    FileFault,
    compress,
)
from upswell.generate.population import (
    CUSTOMERS_MAX,
    Traffic,
    choose_segment,
    make_msisdns,
    make_rules,
)
from upswell.storage.new_file import (
    already_exists,
    grow_file,
    make_directory,
    translate_write_errors,
    write_file,
)

SEED = 1
CUSTOMERS = 1_000_000
SHARE = 0.1
RULES_SERVICES = 7
DATA_SERVICES = 10
FAULTS = 0.01
"""The ratio of odd lines: every kind occurs within an hour of even a few hundred records a minute."""
START = datetime(2026, 1, 5, 8)  # noqa: DTZ001 - a local time of the data's zone
"""Fixed, so that the same command gives the same bytes on any day."""
FAULT_PERIOD_FILES = 60
"""Every kind of odd file occurs once in so many files: an hour of minutes."""
BESIDE_RECORDS_MAX = 100

_PLAIN = FileFault("an ordinary file", "done")
_ZIPPED = FileFault("an ordinary file, compressed", "done", compress, GZIP_NAME)
_MSISDNS_AT_ONCE = 100_000


@dataclass(frozen=True, slots=True)
class DataOptions:
    """Options of DATA. The defaults fit those of ``write_rules`` and ``write_segment``."""

    seed: int = SEED
    files: int | None = 60
    """None: until stopped; requires ``live``."""
    records_per_file: int = 100_000
    rate: float | None = None
    """Records per second of the data's time; overrides ``records_per_file``."""
    start: datetime | None = None
    """Of the first file, a local time of the data's zone; None: START or, when live, now in UTC."""
    minutes_between: int = 1
    """From one file's stamp to the next."""
    customers: int = CUSTOMERS
    """All are kept in memory, about 100 bytes each."""
    share: float = SHARE
    """Of the customers, those in the segment; odd lines are made of their records."""
    services: int = DATA_SERVICES
    faults: float = 0.0
    """The ratio of odd lines; above 0, odd files occur, too."""
    gzip_share: float = 0.0
    live: bool = False
    grow: bool = False
    speed: float = 1.0
    """How many times faster than the clock the data's time passes when live."""

    @property
    def records(self) -> int:
        """Records per file."""
        if self.rate is None:
            return self.records_per_file
        return round(self.rate * 60 * self.minutes_between)

    def validate(self) -> None:
        """Raise UsageError when an option is out of range, or two exclude each other."""
        ranges: list[tuple[str, float, float, float]] = [
            ("files", 1 if self.files is None else self.files, 1, 10_000_000),
            ("records per file", self.records, 1, 1_000_000_000),
            ("minutes between files", self.minutes_between, 1, 1440),
            ("customers", self.customers, 1, CUSTOMERS_MAX),
            ("share", self.share, 0, 1),
            ("services", self.services, 1, 1_000_000),
            ("faults", self.faults, 0, 1),
            ("gzip share", self.gzip_share, 0, 1),
            ("speed", self.speed, 0.001, 1_000_000),
        ]
        for name, value, low, high in ranges:
            _check_range(name, value, low, high)
        if self.files is None and not self.live:
            raise UsageError(
                "--files is required unless --live is set", "pass the number of files, or --live"
            )
        if self.grow and not self.live:
            raise UsageError("--grow requires --live", "add --live, or omit --grow")
        if self.start is not None and not 2000 <= self.start.year <= 2090:
            raise UsageError(
                f"start year {self.start:%Y} is out of range", "choose a year from 2000 to 2090"
            )


class MadeFile(NamedTuple):
    """A file that was written, or was already there with this content."""

    name: str
    kind: str
    """A key of FILE_FAULTS; empty for an ordinary file."""
    stamp: str
    """yyyyMMddHHmm, from its name; empty when a run ignores it."""
    bytes: int
    """On disk."""


class DataReport(NamedTuple):
    """The files, lines and faults that were made."""

    files: list[MadeFile]
    lines: int
    """Of all files, broken and ignored ones included; those of a copy are not counted again."""
    bytes: int
    """On disk."""
    faults: Counter[str]
    """Odd lines and odd files, by kind."""


def write_rules(path: Path, *, seed: int = SEED, services: int = RULES_SERVICES) -> Path:
    """Write RULES, with a rule for each of the services 1, 2, …, and return the path of the file.

    ``path``: a file that ends in .csv, or a directory to hold RULES.csv, which is created if its parent exists.
    Raises UsageError, OutputUnwritable, StorageError.
    """
    _check_range("services", services, 1, 1_000_000)
    lines = (
        f"{rule.service},{rule.application},{rule.start_min // 60},{rule.end_min // 60},{rule.threshold}\n"
        for rule in make_rules(seed, services)
    )
    return _write_reference(path, "RULES.csv", ("".join(lines).encode(),))


def write_segment(
    path: Path, *, seed: int = SEED, customers: int = CUSTOMERS, share: float = SHARE
) -> Path:
    """Write SEGMENT, this share of the customers, and return its path. ``path`` and errors as in ``write_rules``."""
    _check_range("customers", customers, 1, CUSTOMERS_MAX)
    _check_range("share", share, 0, 1)
    return _write_reference(path, "SEGMENT.csv", _segment_chunks(seed, customers, share))


def _segment_chunks(seed: int, customers: int, share: float) -> Iterator[bytes]:
    msisdns = make_msisdns(seed, choose_segment(seed, customers, share))
    while chunk := b"".join(one + b"\n" for one in itertools.islice(msisdns, _MSISDNS_AT_ONCE)):
        yield chunk


def _write_reference(path: Path, name: str, chunks: Iterable[bytes]) -> Path:
    target = path
    if path.suffix != ".csv" or path.is_dir():
        make_directory(path)
        target = path / name
    write_file(target, chunks)
    return target


def write_data(
    path: Path,
    options: DataOptions,
    *,
    stop: threading.Event | None = None,
    listener: Callable[[MadeFile], None] | None = None,
) -> DataReport:
    """Write DATA files into the directory ``path``, which is created if its parent exists.

    ``stop`` ends a live stream early; ``listener`` is called with each file once it is complete. A crash leaves whole
    files, at most one ``.….part`` and, when files grow, one shorter file. Raises UsageError, OutputUnwritable (also
    when a name is taken by another file), StorageError.
    """
    options.validate()
    make_directory(path)
    return _Writer(path, options, stop or threading.Event(), listener).run()


class _Writer:
    """One call of write_data."""

    def __init__(
        self,
        path: Path,
        options: DataOptions,
        stop: threading.Event,
        listener: Callable[[MadeFile], None] | None,
    ) -> None:
        self._path = path
        self._options = options
        self._stop = stop
        self._listener = listener
        self._made: list[MadeFile] = []
        self._kinds: Counter[str] = Counter()
        self._previous: Path | None = None
        """The last ordinary file."""
        self._traffic = Traffic(
            options.seed, options.customers, options.services, options.share, options.faults
        )
        now = datetime.now(UTC).replace(tzinfo=None)
        self._begun_s = time.monotonic()
        self._origin = options.start or (now if options.live else START)
        """The data's time at ``_begun_s``."""
        self._duration = timedelta(minutes=options.minutes_between)

    def run(self) -> DataReport:
        first = self._origin.replace(second=0, microsecond=0)
        count = self._options.files
        for index in itertools.count() if count is None else range(count):
            start = first + index * self._duration
            if self._options.live:
                # A growing file begins at the start of its minute, a whole one appears at its end.
                self._wait_until(start if self._options.grow else start + self._duration)
            if self._stop.is_set():
                break
            self._write_minute(index, start)
        return DataReport(
            self._made,
            self._traffic.lines,
            sum(made.bytes for made in self._made),
            self._traffic.faults + self._kinds,
        )

    def _write_minute(self, index: int, start: datetime) -> None:
        """Write one file, odd or not, and an odd one beside it when it is the turn of one."""
        # Odd files are at odd places, so that each has an ordinary one before it to copy or link to.
        place = index % FAULT_PERIOD_FILES
        own = _turn(OWN_FAULTS, place // 2) if place % 2 else ""
        beside = _turn(BESIDE_FAULTS, place // 2 - 1) if place % 2 == 0 and place else ""
        if self._options.faults == 0:
            own = beside = ""
        if own:
            self._make(own, FILE_FAULTS[own], start, self._options.records)
        else:
            share = self._options.gzip_share
            zipped = int((index + 1) * share) > int(index * share)
            self._make("", _ZIPPED if zipped else _PLAIN, start, self._options.records)
            self._previous = self._path / self._made[-1].name
        if beside:
            records = min(self._options.records, BESIDE_RECORDS_MAX)
            self._make(beside, FILE_FAULTS[beside], start, records)

    def _make(self, kind: str, fault: FileFault, start: datetime, records: int) -> None:
        name, moment = fault.name_at(start), fault.when(start)
        target = self._path / name
        seconds = int(self._duration.total_seconds())
        grow = self._options.grow and not fault.beside
        # The same minute has the same content, compressed or not.
        chunks = self._traffic.chunks(name.removesuffix(".gz"), moment, seconds, records, grow)
        with translate_write_errors(target):
            if fault.node != "file":
                self._make_node(fault, target)
            elif grow:
                grow_file(target, fault.edit(self._paced(chunks, start), self._previous))
            else:
                write_file(target, fault.edit((chunk for _, chunk in chunks), self._previous))
            size = target.lstat().st_size if fault.node == "file" else 0
        stamp = name[5:17] if fault.state != "ignored" else ""
        self._made.append(MadeFile(name, kind, stamp, size))
        if kind:
            self._kinds[kind] += 1
        if self._listener:
            self._listener(self._made[-1])

    def _make_node(self, fault: FileFault, target: Path) -> None:
        if os.path.lexists(target):
            if target.is_symlink() or target.is_dir():
                return
            raise already_exists(target)
        if fault.node == "directory":
            target.mkdir()
        elif fault.node == "link" and self._previous:
            target.symlink_to(self._previous.name)
        else:
            target.symlink_to("DATA_of_nobody.csv")

    def _paced(self, chunks: Iterable[tuple[int, bytes]], start: datetime) -> Iterator[bytes]:
        """Yield the chunks, each when its seconds have passed; no more once stopped."""
        for second, chunk in chunks:
            self._wait_until(start + timedelta(seconds=second))
            if self._stop.is_set():
                return
            yield chunk

    def _wait_until(self, moment: datetime) -> None:
        due_s = self._begun_s + (moment - self._origin).total_seconds() / self._options.speed
        wait_s = due_s - time.monotonic()
        if wait_s > 0:
            self._stop.wait(wait_s)


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise UsageError(f"{name} {value:,} is out of range", f"choose from {low:,} to {high:,}")


def _turn(kinds: tuple[str, ...], number: int) -> str:
    return kinds[number] if number < len(kinds) else ""
