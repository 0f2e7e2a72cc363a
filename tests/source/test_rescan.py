"""Names that the watcher reports are stat alone, and need not wait for the end of a scan of all names."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.arrivals import SETTLE_S, Arrivals, name, record, records
from upswell.errors import InputMissing
from upswell.source import directory_scan

LINE = len(record(0))
FILES = 40


@pytest.fixture
def arrivals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Arrivals:
    """A DATA directory of done files and a last one; a scan has as many steps as there are names."""
    monkeypatch.setattr(directory_scan, "STEP_FILES", 1)
    made = Arrivals(tmp_path / "data")
    for minute in range(FILES):
        made.write(minute, record(minute), age_s=9)
    for _ in range(3):
        made.turn()
    assert FILES - 1 == made.source.counts()["done"]
    return made


def steps(arrivals: Arrivals, count: int) -> Iterator[None]:
    """A scan of which so many steps were made."""
    scan = arrivals.source.scan_in_steps()
    for _ in range(count):
        next(scan)
    return scan


def finish(arrivals: Arrivals, scan: Iterator[None]) -> list[tuple[str, int, int]]:
    """The rest of a scan, and what is consumed after it."""
    for _ in scan:
        pass
    return arrivals.consume()


@pytest.mark.parametrize("step", [1, FILES // 2, FILES])
def test_a_new_file_does_not_wait_for_a_look_in_progress(arrivals: Arrivals, step: int) -> None:
    """It is consumed as soon as its name is reported, once, wherever the scan stands."""
    scan = steps(arrivals, step)
    arrivals.write(50, records(900, 2))
    arrivals.source.rescan([name(50)])

    assert [(name(50), 0, 2 * LINE)] == arrivals.consume()
    assert [] == finish(arrivals, scan)
    assert FILES == arrivals.source.counts()["done"]


def test_a_glance_sees_growth_of_a_done_file(arrivals: Arrivals) -> None:
    """And consumes only what was added."""
    arrivals.append(5, record(901))
    arrivals.source.rescan([name(5)])

    assert [(name(5), LINE, 2 * LINE)] == arrivals.consume()


def test_a_glance_sees_a_name_leave(arrivals: Arrivals) -> None:
    """Of a file that was read nothing is offered any more, and a done one is forgotten."""
    arrivals.append(FILES - 1, record(902))
    for minute in (7, FILES - 1):
        arrivals.path(minute).unlink()
    arrivals.source.rescan([name(7), name(FILES - 1), name(99)])

    assert [] == arrivals.consume()
    assert (FILES - 2, 1) == tuple(arrivals.source.counts()[state] for state in ("done", "gone"))


def test_a_glance_leaves_other_names_to_the_look(arrivals: Arrivals) -> None:
    """A temporary name, a date that is none, a link: the next scan ignores them with a reason."""
    odd = ["DATA_202004171930.csv.part", "DATA_202004319999.csv"]
    for one in odd:
        arrivals.write(one, record(1))
    arrivals.path(60).symlink_to(arrivals.path(1))
    arrivals.source.rescan([*odd, name(60)])
    assert (0, []) == (arrivals.source.counts()["ignored"], arrivals.consume())

    finish(arrivals, steps(arrivals, 1))
    assert 3 == arrivals.source.counts()["ignored"]


def test_what_became_a_file_during_a_look_is_no_longer_odd(arrivals: Arrivals) -> None:
    """A link that the scan met, and that a file replaced before its end, is read like any other."""
    arrivals.path(60).symlink_to(arrivals.path(1))
    scan = steps(arrivals, FILES + 1)
    arrivals.path(60).unlink()
    arrivals.write(60, record(903))
    arrivals.source.rescan([name(60)])

    assert [(name(60), 0, LINE)] == arrivals.consume()
    assert [] == finish(arrivals, scan)
    assert (0, "reading") == (arrivals.source.counts()["ignored"], arrivals.row(name(60)).state)


def test_what_left_during_a_look_is_not_brought_back(arrivals: Arrivals) -> None:
    """A file that the scan met, and that was reported to have left before its end, stays away."""
    arrivals.write(50, record(904))
    scan = steps(arrivals, FILES + 1)
    arrivals.path(50).unlink()
    arrivals.source.rescan([name(50)])

    assert [] == finish(arrivals, scan)
    assert FILES == sum(arrivals.source.counts().values())


def test_a_look_in_steps_finds_what_nobody_told_of(arrivals: Arrivals) -> None:
    """A new file, one that grew and one that left: the watcher is only a hint."""
    arrivals.write(50, record(905))
    arrivals.append(5, record(906))
    arrivals.path(7).unlink()

    consumed = finish(arrivals, steps(arrivals, 1))

    assert [(name(5), LINE, 2 * LINE), (name(50), 0, LINE)] == consumed
    arrivals.turn()
    assert FILES == sum(arrivals.source.counts()[state] for state in ("done", "reading"))


def test_a_file_is_still_only_by_a_look_at_itself(arrivals: Arrivals) -> None:
    """A rescan of another name stats every undecided file, too: a last line that grows meanwhile is not cut off."""
    arrivals.write(50, records(906, 2)[:-1])
    arrivals.write(51, record(908))
    arrivals.turn()
    arrivals.wait(SETTLE_S)
    arrivals.append(50, b"1\n")  # nobody tells of it
    arrivals.source.rescan([name(51)])

    assert [(name(50), LINE, 2 * LINE + 1)] == arrivals.consume()


def test_a_name_that_cannot_be_seen_is_left_to_later(
    arrivals: Arrivals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of the stat says neither that a file is gone nor that it changed."""

    def fail(path: bytes) -> None:
        raise OSError(5, "Input/output error", path)

    arrivals.append(5, record(909))
    with monkeypatch.context() as patched:
        patched.setattr(directory_scan, "stat_regular", fail)
        arrivals.source.rescan([name(5)])
        assert [] == arrivals.consume()
    arrivals.source.rescan([name(5)])
    assert [(name(5), LINE, 2 * LINE)] == arrivals.consume()


def test_a_directory_that_is_away_ends_the_look(arrivals: Arrivals) -> None:
    """Nothing changes then, and a later scan goes on."""
    away = arrivals.data.with_name("away")
    arrivals.data.rename(away)
    with pytest.raises(InputMissing):
        steps(arrivals, 1)
    away.rename(arrivals.data)

    assert [] == finish(arrivals, steps(arrivals, 1))
    assert FILES - 1 == arrivals.source.counts()["done"]
