"""Files that are made to fill memory or disk: what the kernel holds follows its buffers, never the file."""

import gzip
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from support.command import ROOT, clean_environment
from support.trust import Trust

SCRIPT = ROOT / "tests/support/faults" / "bomb.py"
MIB = 1 << 20
STEP_BYTES = 64 * MIB
GROWN_BYTES_MAX = 256 * MIB
"""Two threads' round, its findings, and what they are written down as; a run of small files has about as much."""
WRITTEN_BYTES_MAX = 64 * MIB
CALL_BYTES_MAX = 64 * MIB
"""Twice the output that a batch may hold: a call ends with the chunk that goes beyond it."""


class Bomb(NamedTuple):
    """Units of some bytes, repeated to a size."""

    name: str
    unit: bytes
    size: int

    @property
    def lines(self) -> int:
        """How many it has."""
        return max(1, self.size // len(self.unit) * self.unit.count(b"\n"))


def bombs(kinds: dict[str, bytes], sizes: Sequence[int]) -> list[Bomb]:
    """Each kind in each size."""
    return [Bomb(name, unit, size) for size in sizes for name, unit in kinds.items()]


COMPRESSED = bombs(
    {"zeros": b"\0", "newlines": b"\n", "two-byte lines": b"x\n", "ones": b"1"},
    (64 * MIB, 1024 * MIB, 10 * 1024 * MIB),
)
PLAIN = bombs(
    {
        "two-byte lines": b"x\n",
        "two-byte lines to be escaped": b"\xff\n",
        "one line": b"7",
        "commas": b",",
    },
    (64 * MIB, 1024 * MIB),
)
SPARSE = bombs({"holes": b"\0"}, (256 * MIB, 10 * 1024 * MIB))


@pytest.mark.trust("S7")
def test_a_decompression_bomb_needs_no_memory(trust: Trust) -> None:
    """A compressed file of a thousand times its size is read in the memory that any file takes."""
    trust(COMPRESSED, explode, case="bombs", sample=4, always=is_small(COMPRESSED))


@pytest.mark.trust("S8")
def test_a_file_of_endless_rejects_needs_no_memory(trust: Trust) -> None:
    """A gibibyte in one line, or of lines that are all refused, takes bounded memory to read and disk to reject."""
    cases = PLAIN + SPARSE
    trust(cases, explode, case="files", sample=5, always=is_small(cases))


def is_small(cases: Sequence[Bomb]) -> Callable[[Bomb], bool]:
    """Whether a bomb is the smallest of its kind."""
    least: dict[str, int] = {}
    for bomb in cases:
        least[bomb.name] = min(bomb.size, least.get(bomb.name, bomb.size))
    return lambda bomb: bomb.size == least[bomb.name]


def explode(cases: Sequence[Bomb]) -> list[str]:
    """What was wrong with the bombs: memory, disk or lines."""
    return [wrong for bomb in cases if (wrong := complaint(bomb))]


def complaint(bomb: Bomb) -> str:
    """What was wrong with one."""
    with tempfile.TemporaryDirectory() as directory:
        path = lay(Path(directory), bomb)
        done = subprocess.run(
            [sys.executable, SCRIPT, path, str(bomb.size)],
            env=clean_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        return f"{bomb.name} of {bomb.size}: {done.stderr[-500:]}"
    said = json.loads(done.stdout)
    sound = (
        said["lines"] == bomb.lines
        and said["grown"] <= GROWN_BYTES_MAX
        and said["kept"] <= WRITTEN_BYTES_MAX
        and said["longest"] <= CALL_BYTES_MAX
    )
    return "" if sound else f"{bomb.name} of {bomb.size}: {said}"


def lay(directory: Path, bomb: Bomb) -> Path:
    """The file: sparse, compressed or plain."""
    step = bomb.unit * (STEP_BYTES // len(bomb.unit))
    path = directory / ("f.csv.gz" if bomb in COMPRESSED else "f.csv")
    with path.open("wb") as stream:
        if bomb in SPARSE:
            stream.truncate(bomb.size)
        else:
            part = gzip.compress(step, 6) if bomb in COMPRESSED else step
            for _ in range(bomb.size // STEP_BYTES):
                stream.write(part)
    return path
