"""The kernel says what the specification says, whatever the bytes, the cuts, the threads and the scanner path."""

import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.kernel_runs import (
    DIALS,
    Asked,
    Settings,
    files_and_calls,
    random_file,
    run_kernel,
    run_specification,
    same,
    settings_strategy,
    totals_of,
)
from upswell import kernel


@given(files_and_calls(), settings_strategy)
def test_the_kernel_agrees_with_the_reference(
    asked: tuple[list[bytes], list[list[Asked]]], settings: Settings
) -> None:
    """Any files, read in any steps under any settings: outcomes, outputs, rejects and ledger are the reference's."""
    files, calls = asked
    with tempfile.TemporaryDirectory() as directory:
        run = run_kernel(Path(directory), files, calls, settings)

    same(run_specification(run.taken, settings), run)
    for number, content in enumerate(files):
        assert len(content) == run.places.get(number, (0,))[0]


@given(files_and_calls(), st.sampled_from(kernel.PATHS), st.sampled_from((0, 50)))
def test_threads_pieces_and_stops_never_show(
    asked: tuple[list[bytes], list[list[Asked]]], path: str, output_bytes_max: int
) -> None:
    """The same calls give the same bytes, deltas included, with any threads, chunks and scanner path."""
    files, calls = asked
    with tempfile.TemporaryDirectory() as directory:
        plain = run_kernel(Path(directory), files, calls, Settings(path="scalar"))
        other = run_kernel(Path(directory), files, calls, Settings(3, path, 5))
        stopped = run_kernel(Path(directory), files, calls, Settings(2, path, 9, output_bytes_max))

    same(plain, other)
    assert plain.places == other.places == stopped.places
    assert plain.deltas == other.deltas
    same(plain, stopped)


@pytest.mark.parametrize("path", kernel.PATHS)
def test_a_long_file_agrees_too(tmp_path: Path, path: str) -> None:
    """Thousands of lines over many chunks and threads are decided as the specification does."""
    generator = random.Random(7)
    files = [random_file(generator, 6_000, 0.1), random_file(generator, 4_000, 0.01)]
    calls = [
        [Asked(0, len(files[0]), False), Asked(1, 90_000, False)],
        [Asked(1, len(files[1]), True)],
    ]
    for chunk_bytes in (0, 999, 20_000):
        settings = Settings(2, path, chunk_bytes)
        run = run_kernel(tmp_path, files, calls, settings)
        same(run_specification(run.taken, settings), run)


@given(files_and_calls(), settings_strategy, st.data())
def test_a_ledger_comes_back_from_its_blobs(
    asked: tuple[list[bytes], list[list[Asked]]], settings: Settings, data: st.DataObject
) -> None:
    """Deltas alone, or bases of some shards with the deltas after them, give the ledger back."""
    files, calls = asked
    with tempfile.TemporaryDirectory() as directory:
        run = run_kernel(Path(directory), files, calls, settings)
    deltas = list(enumerate(run.deltas, 1))
    last = len(deltas)
    based = data.draw(st.sets(st.integers(0, kernel.SHARDS - 1), max_size=200))
    bases = [(last, run.ledger.shard(shard)) for shard in based]

    full = [blob for _, blob in deltas if blob]
    loaded = kernel.Ledger.load(bases, [pair for pair in deltas if pair[1]], 0, settings.threads)
    assert (run.totals, run.caps) == (totals_of(loaded), loaded.caps())
    assert run.ledger.entries() == loaded.entries() == (len(run.totals), len(run.caps))
    from_bases = kernel.Ledger.load(
        [(last, run.ledger.shard(shard)) for shard in range(kernel.SHARDS)], deltas[:0], 0, 1
    )
    assert (run.totals, run.caps) == (totals_of(from_bases), from_bases.caps())
    open_from = 20200418
    later = kernel.Ledger.load(bases, [pair for pair in deltas if pair[1]], open_from, 1)
    run.ledger.drop_before(open_from)
    assert run.ledger.totals() == later.totals()
    assert all(day >= open_from for _, _, day in later.caps())
    for blob in full[:1]:
        damaged = bytearray(blob)
        damaged[data.draw(st.integers(0, len(blob) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        with pytest.raises(ValueError, match="damaged"):
            kernel.Ledger.load([], [(1, bytes(damaged))], 0, 1)


def test_an_added_cap_is_a_cap(tmp_path: Path) -> None:
    """What --adopt adds caps later records and is part of the next delta."""
    ledger = kernel.Ledger()
    ledger.add_cap(DIALS[0], "Twitter", 20200417)
    delta = ledger.take_delta()

    assert [(DIALS[0], "Twitter", 20200417)] == ledger.caps()
    assert ledger.caps() == kernel.Ledger.load([], [(1, delta)], 0, 1).caps()
    assert b"" == ledger.take_delta()
