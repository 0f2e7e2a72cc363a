"""DATA files that their writers change while a run reads them, in every way that a writer can."""

import random
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

import pytest

from support import law
from support.engine_runs import DIALS, Place
from support.trust import Trust
from upswell.kernel import crc64
from upswell.source.file import File
from upswell.state.batch import LogRange
from upswell.state.maintenance.verify import verify
from upswell.state.reader import StateReader

KINDS = ("append", "move in", "rewrite", "truncate", "delete", "replace", "swap")
INTERLEAVINGS = 200  # of each kind
TOGETHER = 14
"""Files that are written at once, each by a writer of its own."""
LEFT_ALONE = ("append", "move in")
"""Kinds whose writers destroy nothing: all of their lines must be taken."""
PAUSE_S = 0.02  # at most, between two steps of a writer


class Writer:
    """One file, or two that change places: what its writer does to it, and all that it ever held."""

    def __init__(self, place: Place, number: int, versions: defaultdict[str, list[bytes]]) -> None:
        self.kind = KINDS[number % len(KINDS)]
        self.chance = random.Random(number)
        self.data = place.data
        self.root = place.root
        self.versions = versions
        minute = 2 * (number // len(KINDS) % 700) + 1440 * (number % len(KINDS))
        day, left = divmod(minute, 1440)
        self.names = [
            f"DATA_202004{10 + day:02}{at // 60:02}{at % 60:02}.csv" for at in (left, left + 1)
        ]
        self.day = f"202004{10 + day:02}"
        self.written = 0

    def work(self) -> None:
        """The whole life of the file."""
        name = self.names[0]
        if self.kind == "move in":
            return self._move_in(name, self._lines(40))
        first = self._lines(40)
        self._append(name, first, b"")
        if self.kind == "rewrite":
            (self.data / name).write_bytes(b"")
            self._append(name, self._lines(40), b"")
        elif self.kind == "truncate":
            with (self.data / name).open("r+b") as stream:
                stream.truncate(self.chance.randrange(len(first)))
        elif self.kind == "delete":
            (self.data / name).unlink()
        elif self.kind == "replace":
            self._move_in(
                name, self.chance.choice((first, first + self._lines(5), self._lines(40)))
            )
        elif self.kind == "swap":
            second = self._lines(40)
            self._move_in(self.names[1], second)
            self._pause()
            self._swap(first, second)
        return None

    def _append(self, name: str, content: bytes, before: bytes) -> None:
        """Write in arbitrary cuts; what is written is remembered first, since a reader may see it at once."""
        self._remember(name, before + content)
        with (self.data / name).open("ab", buffering=0) as stream:
            while content:
                cut = self.chance.randrange(1, 1 + len(content))
                stream.write(content[:cut])
                content = content[cut:]
                self._pause()

    def _move_in(self, name: str, content: bytes) -> None:
        self._remember(name, content)
        fresh = self.root / f"fresh {name}"
        fresh.write_bytes(content)
        self._pause()
        fresh.rename(self.data / name)

    def _swap(self, first: bytes, second: bytes) -> None:
        self._remember(self.names[0], second)
        self._remember(self.names[1], first)
        aside = self.root / f"aside {self.names[0]}"
        (self.data / self.names[0]).rename(aside)
        self._pause()
        (self.data / self.names[1]).rename(self.data / self.names[0])
        aside.rename(self.data / self.names[1])

    def _remember(self, name: str, content: bytes) -> None:
        self.versions[name].append(content)

    def _pause(self) -> None:
        time.sleep(self.chance.random() * PAUSE_S)

    def _lines(self, most: int) -> bytes:
        made = []
        for _ in range(self.chance.randrange(2, most)):
            usage = f"{self.chance.choice(DIALS)},{self.chance.randrange(1, 4)},{self.chance.randrange(200)}"
            bad = self.chance.random() < 0.1
            made.append(f"bad {self.chance.random()}\n" if bad else f"{usage},{self.day}120000\n")
        return "".join(made).encode()


class Memory:
    """What a run took out of files that may hold something else by now: found by the digest that it noted."""

    def __init__(self, state: Path, versions: dict[str, list[bytes]]) -> None:
        ranges: defaultdict[str, list[LogRange]] = defaultdict(list)
        with StateReader.open(state) as reader:
            self.files = {file.name: file for file in reader.files_in()}
            for taken in reader.log():
                ranges[taken.file].append(taken)
        self.parts: dict[tuple[str, int], bytes] = {}
        self.unknown: list[str] = []
        """Files of which something was taken that no version of them held."""
        for name, some in ranges.items():
            parts = _parts(self.files[name], some, versions[name])
            if parts is None:
                self.unknown.append(name)
                continue
            for taken, part in zip(some, parts, strict=True):
                self.parts[name, taken.start] = part

    def read(self, taken: LogRange) -> bytes:
        """The bytes of a range."""
        return self.parts[taken.file, taken.start]


def _parts(file: File, ranges: Sequence[LogRange], versions: Sequence[bytes]) -> list[bytes] | None:
    """Each range's bytes, out of one version after another, so that all together have the file's digest."""
    for choice in (
        product(versions, repeat=len(ranges)) if len(versions) > 1 else [versions * len(ranges)]
    ):
        parts = [one[taken.start : taken.end] for one, taken in zip(choice, ranges, strict=True)]
        if crc64(b"".join(parts)) == file.digest:
            return parts
    return None


@pytest.mark.trust("T16")
def test_writers_race_with_a_run(tmp_path: Path, trust: Trust) -> None:
    """Whatever writers do to files while they are read, each line taken has one outcome, and what is left is known."""

    def race(numbers: Sequence[int]) -> list[str]:
        wrong = []
        for at in range(0, len(numbers), TOGETHER):
            some = numbers[at : at + TOGETHER]
            with tempfile.TemporaryDirectory(dir=tmp_path) as place:
                found = _race(Path(place), some)
            wrong += [f"interleavings {some[0]} to {some[-1]}: {sentence}" for sentence in found]
        return wrong

    trust(range(INTERLEAVINGS * len(KINDS)), race, case="interleavings", sample=56, chunk=70)


def _race(root: Path, numbers: Sequence[int]) -> list[str]:
    place = Place(root)
    versions: defaultdict[str, list[bytes]] = defaultdict(list)
    writers = [Writer(place, number, versions) for number in numbers]
    _write_beside_runs(place, [writer.work for writer in writers])
    # A newer file, so that those before it can be done; then all that is left is taken.
    place.file("202004202359", b"")
    place.once()
    memory = Memory(place.output / ".upswell", versions)
    if memory.unknown:
        return [f"what was taken of {name} was never in it" for name in memory.unknown]
    wrong = verify(place.output / ".upswell")
    try:
        law.check(place.data, place.output, remembered=memory.read)
    except AssertionError as error:
        wrong.append(f"the law is broken: {error}")
    for writer in writers:
        wrong += [f"{writer.kind}: {sentence}" for sentence in _left(writer, memory)]
    return wrong


def _write_beside_runs(place: Place, works: Sequence[Callable[[], None]]) -> None:
    """All writers at once, beside a run for ever that is stopped and started again."""
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        with place.running():
            until = time.monotonic() + 0.3
            while time.monotonic() < until and any(thread.is_alive() for thread in threads):
                time.sleep(0.01)
    with place.running():
        time.sleep(0.2)
    for thread in threads:
        thread.join()


def _left(writer: Writer, memory: Memory) -> list[str]:
    """What the state says of the writer's files against what they hold in the end."""
    wrong = []
    for name in writer.names:
        path, file = writer.data / name, memory.files.get(name)
        if not path.exists():
            if file is not None and file.state not in ("gone", "done", "duplicate"):
                wrong.append(f"{name} is not there, but {file.state}")
            continue
        content = path.read_bytes()
        if file is None:
            wrong.append(f"{name} is not known")
        elif file.state == "done" and (file.offset, file.digest) != (len(content), crc64(content)):
            wrong.append(f"{name} is done, but holds something else")
        elif file.state not in ("done", "held", "duplicate"):
            wrong.append(f"{name} is {file.state} ({file.detail})")
        if writer.kind in LEFT_ALONE and file is not None and file.state != "done":
            wrong.append(f"{name} is {file.state} ({file.detail})")
    return wrong
