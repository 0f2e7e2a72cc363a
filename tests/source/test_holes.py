"""A hole of NUL bytes: nothing from it on is consumed before its time, and one at the end holds a file."""

import os
from pathlib import Path

import pytest

from support.arrivals import Arrivals, name, record, records

LINE = len(record(0))
WHOLE = records(0, 40)


@pytest.fixture
def arrivals(tmp_path: Path) -> Arrivals:
    """An empty DATA directory."""
    return Arrivals(tmp_path / "data")


def filled(bytes_there: int) -> bytes:
    """The file of its whole size, of which so many bytes are written."""
    return WHOLE[:bytes_there] + b"\0" * (len(WHOLE) - bytes_there)


def consumed(arrivals: Arrivals, one: str) -> list[tuple[int, int]]:
    """The ranges of a file, in order."""
    return [(start, end) for file, start, end in arrivals.log if file == one]


@pytest.mark.parametrize("step", [LINE, 7, 500])
def test_a_copy_that_reserved_its_size_is_read_as_it_is_filled(
    arrivals: Arrivals, step: int
) -> None:
    """Whole lines up to the first NUL byte, each once; no reject comes of it."""
    for bytes_there in [*range(0, len(WHOLE), step), len(WHOLE)]:
        arrivals.write(1, filled(bytes_there))
        arrivals.turn()
        assert bytes_there // LINE * LINE == arrivals.row(name(1)).offset
        arrivals.wait(1)
    row = arrivals.row(name(1))

    assert ("reading", "") == (row.state, row.reason)
    assert {"not_in_segment": 40} == row.outcomes


@pytest.mark.parametrize("bytes_there", [0, 9, LINE, LINE + 9, len(WHOLE) - 1])
def test_one_that_stalls_is_held_once_a_newer_file_is_there(
    arrivals: Arrivals, bytes_there: int
) -> None:
    """Without one it only waits; filled, it is read to its end."""
    arrivals.write(1, filled(bytes_there))
    arrivals.turn()
    arrivals.wait(9)
    assert [] == arrivals.turn()
    assert arrivals.row(name(1)).state in ("waiting", "reading")

    arrivals.write(2, record(99))
    arrivals.turn()
    assert ("held", "hole") == arrivals.state(name(1))
    assert "deliver it again under the same name" in arrivals.row(name(1)).detail
    arrivals.wait(60)
    assert [] == arrivals.turn()

    arrivals.write(1, WHOLE, age_s=9)
    arrivals.turn()
    assert ("done", "") == arrivals.state(name(1))
    assert {"not_in_segment": 40} == arrivals.row(name(1)).outcomes


def test_nul_bytes_in_the_middle_are_a_reject_at_the_end(arrivals: Arrivals) -> None:
    """They wait for the quiet period and a newer file; then nobody will fill them."""
    content = record(0) + b"\0" * 40 + b"\n" + record(1)
    arrivals.write(1, content)
    assert [(name(1), 0, LINE)] == arrivals.turn()
    arrivals.wait(9)
    assert [] == arrivals.turn()

    arrivals.write(2, record(99))
    arrivals.turn()
    assert ("done", "") == arrivals.state(name(1))
    assert {"not_in_segment": 2, "rejected": 1} == arrivals.row(name(1)).outcomes


def test_of_a_growing_file_each_byte_is_searched_once(
    arrivals: Arrivals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that grows by small pieces is not searched from its offset each time."""
    searched: list[tuple[int, int]] = []
    pread = os.pread

    def note(fd: int, length: int, at: int) -> bytes:
        block = pread(fd, length, at)
        searched.append((at, len(block)))
        return block

    arrivals.write(1, record(0) + b"0126")
    arrivals.turn()
    monkeypatch.setattr(os, "pread", note)
    for _ in range(5):
        arrivals.wait(1)
        arrivals.append(1, b"1" * 9)
        arrivals.turn()

    blocks = [(at, length) for at, length in searched if length > 1]
    assert [(LINE + 4 + 9 * at, 9) for at in range(5)] == blocks


def test_a_run_once_holds_it(arrivals: Arrivals) -> None:
    """It needs no newer file, as for a last line."""
    arrivals.write(1, filled(3 * LINE + 4), age_s=9)
    arrivals.source.freeze()

    assert ([], []) == arrivals.once()
    assert ("held", "hole") == arrivals.state(name(1))


def test_a_run_once_leaves_one_that_is_written_to(arrivals: Arrivals) -> None:
    """What is there before the hole is read, the rest is left with a warning."""
    arrivals.write(1, filled(3 * LINE + 4))
    arrivals.source.freeze()
    arrivals.wait(1)
    arrivals.touch(name(1))
    taken, warnings = arrivals.once()

    assert [(name(1), 0, 3 * LINE)] == taken
    assert [f"{37 * LINE:,} bytes of {name(1)} were left for the next run"] == [
        words.partition(":")[0] for words in warnings
    ]


@pytest.mark.parametrize("bytes_there", [LINE, 20 * LINE])
def test_a_copy_of_a_file_is_a_duplicate_only_when_it_is_filled(
    arrivals: Arrivals, bytes_there: int
) -> None:
    """A stalled one is not taken for another content because of its hole."""
    arrivals.write(1, WHOLE, age_s=9)
    arrivals.turn()
    arrivals.write(2, filled(bytes_there))
    arrivals.turn()
    arrivals.wait(9)
    arrivals.turn()
    assert ("waiting", "suspect") == arrivals.state(name(2))

    arrivals.write(2, WHOLE, age_s=5)
    arrivals.turn()
    assert ("duplicate", "content") == arrivals.state(name(2))
    assert [] == consumed(arrivals, name(2))


def test_a_file_cut_short_between_look_and_search_is_searched_to_its_end(
    arrivals: Arrivals,
) -> None:
    """What is no longer there is looked at again with the next scan."""
    arrivals.write(1, WHOLE)
    arrivals.source.scan()
    tracked = arrivals.source._inventory.get(name(1))
    assert tracked is not None
    arrivals.path(1).write_bytes(WHOLE[:LINE])

    assert LINE == tracked.filled_to()
