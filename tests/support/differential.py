"""Kernel and specification at scale: one seed makes files, cuts and settings, and says where the two differ.

Apart from the tests, so that a pool of processes can import it: the specification is slow, and uses one core.
"""

import os
import random
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple, TypeVar

from support.kernel_runs import (
    CAIRO,
    HOSTILE_BYTES,
    HOSTILE_ENDS,
    REJECTS_ALL,
    Asked,
    Run,
    Settings,
    random_content,
    random_file,
    run_kernel,
    run_specification,
    same,
)
from upswell import kernel
from upswell.zones import Zones

C = TypeVar("C")
LINES = 10_000
"""Of one seed, about."""
DIALS = tuple(f"01{number:08}" for number in range(0, 3000, 7))
ZONES = (Zones(), Zones(), CAIRO, Zones("Asia/Kathmandu", "America/New_York"))
REFERENCE_EVERY = 20
"""Of so many mutated blocks one is held against the reference, too: it takes most of the time."""


CUT_FILE_BYTES = 4096
LINE_ENDS = {
    "LF": (b"\n",),
    "CR LF": (b"\r\n",),
    "mixed": (b"\n", b"\r\n", b"\r\r\n", b"\r", b"\n\n"),
}


class Cut(NamedTuple):
    """A file with one kind of line ends, cut at a byte."""

    ends: str
    at: int


CUTS = [Cut(ends, at) for ends in LINE_ENDS for at in range(1, CUT_FILE_BYTES + 1)]


def by_all_cores(attempt: Callable[[C], str], cases: Sequence[C]) -> list[str]:
    """What is wrong with the cases, tried on all cores."""
    workers = min(os.cpu_count() or 1, len(cases))
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        return [wrong for wrong in pool.map(attempt, cases, chunksize=4) if wrong]


def settings_of(generator: random.Random, path: str) -> Settings:
    """Threads, chunks, stops, measure, zones and days of a seed; the path is given."""
    return Settings(
        threads=generator.randint(1, 3),
        path=path,
        chunk_bytes=generator.choice((0, generator.randint(64, 3000), generator.randint(3000, 99_999))),
        output_bytes_max=generator.choice((REJECTS_ALL, 20_000)),
        measure=generator.choice(("total", "total", "session")),
        zones=generator.choice(ZONES),
        keep_days=generator.randint(1, 3),
        dials=DIALS,
    )  # fmt: skip


def calls_of(generator: random.Random, files: Sequence[bytes]) -> list[list[Asked]]:
    """Calls that read the files in steps, cut anywhere, and in the end to their last byte."""
    calls = []
    ends = [0] * len(files)
    for _ in range(generator.randint(0, 4)):
        call = []
        for number, content in enumerate(files):
            ends[number] = generator.randint(ends[number], len(content))
            call.append(Asked(number, ends[number], generator.random() < 0.3))
        calls.append(call)
    return [*calls, [Asked(number, len(content), True) for number, content in enumerate(files)]]


def difference(seed: int) -> str:
    """Where kernel and reference differ on a seed's lines; empty when they agree."""
    generator = random.Random(seed)
    settings = settings_of(generator, kernel.PATHS[seed % len(kernel.PATHS)])
    dirty = generator.choice((0.01, 0.3, 0.6))
    parts = generator.randint(1, 3)
    files = [random_file(generator, LINES // parts, dirty, DIALS) for _ in range(parts)]
    with tempfile.TemporaryDirectory() as directory:
        run = run_kernel(Path(directory), files, calls_of(generator, files), settings)
    return complaint(seed, settings, run_specification(run.taken, settings), run)


def complaint(seed: int, settings: Settings, expected: Run, actual: Run) -> str:
    """What differs, in a sentence with the seed and the settings, or nothing."""
    try:
        same(expected, actual)
    except AssertionError as error:
        return f"seed {seed}: {error} by {settings._replace(dials=())}"
    return ""


def mutated(generator: random.Random) -> bytes:
    """Real lines after some damage to nearly every one of them: bytes changed, lost, doubled, put in."""
    pool = [random_content(generator, 0.0, DIALS) + b"\n" for _ in range(500)]
    data = bytearray(b"".join(generator.choices(pool, k=LINES)))
    places = memoryview(generator.randbytes(4 * LINES)).cast("I")
    # Half of the bytes have a meaning in the grammar, the others are any.
    for place, byte in zip(places, generator.randbytes(LINES), strict=True):
        data[place % len(data)] = byte if byte & 1 else HOSTILE_BYTES[byte % len(HOSTILE_BYTES)]
    for _ in range(200):
        at, length = generator.randrange(len(data)), generator.randrange(80)
        match generator.randrange(4):
            case 0:
                del data[at : at + length]
            case 1:
                data[at:at] = data[at : at + length]
            case 2:
                data[at:at] = generator.choice(HOSTILE_ENDS)
            case _:
                other = generator.randrange(len(data))
                data[at : at + length] = data[other : other + generator.randrange(80)]
    return bytes(data)


def disagreement(seed: int) -> str:
    """Where the paths disagree on a seed's mutated lines; empty when they say the same."""
    generator = random.Random(seed)
    files = [mutated(generator)]
    whole = [[Asked(0, len(files[0]), True)]]
    plain = Settings(path="scalar", dials=DIALS)
    with tempfile.TemporaryDirectory() as directory:
        expected = run_kernel(Path(directory), files, whole, plain)
        for path in kernel.PATHS:
            settings = settings_of(generator, path)._replace(
                measure=plain.measure, zones=plain.zones, keep_days=plain.keep_days
            )
            run = run_kernel(Path(directory), files, whole, settings)
            if wrong := complaint(seed, settings, expected, run):
                return wrong
    if seed % REFERENCE_EVERY == 0:
        return complaint(seed, plain, run_specification(expected.taken, plain), expected)
    return ""


@cache
def cut_file(ends: str) -> bytes:
    """Lines of all kinds with these ends, in so many bytes that each can be cut at."""
    generator = random.Random(ends)
    data = b""
    while len(data) < CUT_FILE_BYTES:
        data += random_content(generator)[:200] + generator.choice(LINE_ENDS[ends])
    return data[:CUT_FILE_BYTES]


@cache
def uncut(ends: str) -> Run:
    """What the whole file gives, by the plain path in one chunk."""
    with tempfile.TemporaryDirectory() as directory:
        whole = [[Asked(0, CUT_FILE_BYTES, True)]]
        return run_kernel(Path(directory), [cut_file(ends)], whole, Settings(path="scalar"))


def cut_difference(cut: Cut) -> str:
    """What a cut between two reads, or between chunks, changes; empty when it is nothing."""
    path = kernel.PATHS[cut.at % len(kernel.PATHS)]
    end = Asked(0, CUT_FILE_BYTES, True)
    reads = [[Asked(0, cut.at, False)], [end]]
    with tempfile.TemporaryDirectory() as directory:
        for calls, settings in (
            (reads, Settings(path=path)),
            ([[end]], Settings(2, path, cut.at)),
        ):
            run = run_kernel(Path(directory), [cut_file(cut.ends)], calls, settings)
            try:
                same(uncut(cut.ends), run)
                assert uncut(cut.ends).places == run.places, "places"
            except AssertionError as error:
                return f"{cut}: {error} by {settings._replace(dials=())}"
    return ""
