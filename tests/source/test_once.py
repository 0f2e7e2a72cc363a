"""A run --once consumes what one listing showed, waits once for what is undecided, and ends."""

import gzip
from pathlib import Path

import pytest

from support.arrivals import SETTLE_S, Arrivals, name, record, records
from support.faults.limits import bound_by_modes
from upswell.source import tracked_file

LINE = len(record(0))


@pytest.fixture
def arrivals(tmp_path: Path) -> Arrivals:
    """An empty DATA directory."""
    return Arrivals(tmp_path / "data")


def test_what_is_still_is_taken_without_a_wait(arrivals: Arrivals) -> None:
    """In stamp order, unterminated last lines and lone files included, and is done."""
    arrivals.write(2, records(0, 2)[:-1], age_s=9)
    arrivals.write(1, records(5, 2), age_s=9)
    arrivals.write_gzip(3, records(10, 2)[:-1], age_s=9)
    arrivals.source.freeze()

    assert not arrivals.source.undecided()
    consumed, warnings = arrivals.once()
    assert [
        (name(1), 0, 2 * LINE),
        (name(2), 0, 2 * LINE - 1),
        (name(3, "csv.gz"), 0, 2 * LINE - 1),
    ] == consumed
    assert [] == warnings
    assert 3 == arrivals.source.counts()["done"]


def test_files_just_written_need_no_wait_when_nothing_is_undecided(arrivals: Arrivals) -> None:
    """Whole lines and first records of their own say enough."""
    for minute in range(5):
        arrivals.write(minute, records(10 * minute, 3))
    arrivals.write(6, b"")
    arrivals.write_gzip(7, records(100, 3))
    arrivals.source.freeze()

    assert 0 == arrivals.wait_for_quiet()
    assert [] == arrivals.once()[1]
    assert 7 == arrivals.source.counts()["done"]


def test_nothing_after_the_listing_is_taken(arrivals: Arrivals) -> None:
    """Neither new files nor what files grew by."""
    arrivals.write(1, records(0, 2))
    arrivals.source.freeze()
    arrivals.append(1, record(2))
    arrivals.write(2, record(9))
    consumed, warnings = arrivals.once()

    assert ([(name(1), 0, 2 * LINE)], []) == (consumed, warnings)

    arrivals.restart()
    arrivals.source.freeze()

    assert [(name(1), 2 * LINE, 3 * LINE), (name(2), 0, LINE)] == arrivals.once()[0]


def test_an_unfinished_line_is_waited_for_and_taken(arrivals: Arrivals) -> None:
    """The quiet period of the file ends, at most `settle_s` after the listing."""
    arrivals.write(1, records(0, 2)[:-1])
    arrivals.source.freeze()

    assert SETTLE_S == arrivals.wait_for_quiet()
    assert ([(name(1), 0, 2 * LINE - 1)], []) == arrivals.once()
    assert ("done", "") == arrivals.state(name(1))


def test_an_unfinished_line_of_a_file_that_grows_is_left(arrivals: Arrivals) -> None:
    """Its whole lines are consumed, the rest waits for the next run with a warning."""
    arrivals.write(1, records(0, 2)[:-1])
    arrivals.source.freeze()
    arrivals.source.undecided()
    arrivals.wait(0.5)
    arrivals.append(1, b"\n" + record(2))
    waited = arrivals.wait_for_quiet()
    consumed, warnings = arrivals.once()

    assert 0 == waited
    assert [(name(1), 0, LINE)] == consumed
    assert [
        f"{LINE - 1} bytes of {name(1)} were left for the next run: it is still being written"
    ] == warnings
    assert ("reading", "") == arrivals.state(name(1))


def test_a_file_that_changed_during_the_wait_is_not_still_after_it(arrivals: Arrivals) -> None:
    """Even when its new mtime is old, the listing's size cuts a line in it."""
    arrivals.write(1, records(0, 2)[:-1])
    arrivals.write(2, record(9)[:-1])
    arrivals.source.freeze()
    arrivals.source.undecided()
    arrivals.append(1, b"\n")
    arrivals.touch(name(1), age_s=3600)

    assert SETTLE_S == arrivals.wait_for_quiet()
    assert [(name(1), 0, LINE), (name(2), 0, LINE - 1)] == arrivals.once()[0]


def test_a_suspect_is_decided_in_the_wait(arrivals: Arrivals) -> None:
    """The quiet periods of both files end."""
    arrivals.write(1, records(0, 3))
    arrivals.write(2, records(0, 3))
    arrivals.write(3, record(0) + record(7))
    arrivals.source.freeze()

    assert SETTLE_S == arrivals.wait_for_quiet()
    assert ([(name(1), 0, 3 * LINE), (name(3), 0, 2 * LINE)], []) == arrivals.once()
    assert ("duplicate", "content") == arrivals.state(name(2))


def test_a_still_suspect_waits_for_the_file_it_resembles(arrivals: Arrivals) -> None:
    """Only that one is being written."""
    arrivals.write(1, records(0, 3))
    arrivals.write(2, records(0, 3), age_s=9)
    arrivals.source.freeze()

    assert SETTLE_S == arrivals.wait_for_quiet()
    assert [(name(1), 0, 3 * LINE)] == arrivals.once()[0]
    assert ("duplicate", "content") == arrivals.state(name(2))


def test_a_suspect_that_stays_undecided_is_left(arrivals: Arrivals) -> None:
    """With a warning; it keeps waiting."""
    arrivals.write(1, records(0, 3), age_s=9)
    arrivals.write(2, records(0, 2))
    arrivals.source.freeze()
    arrivals.source.undecided()
    arrivals.append(2, record(2))
    consumed, warnings = arrivals.once()

    assert [(name(1), 0, 3 * LINE)] == consumed
    assert [f"{name(2)} was left for the next run: it begins like {name(1)}"] == warnings
    assert ("waiting", "suspect") == arrivals.state(name(2))


def test_an_incomplete_compressed_file_may_become_whole_in_the_wait(arrivals: Arrivals) -> None:
    """It is checked once more at its end."""
    raw = gzip.compress(records(0, 500), mtime=0)
    one = arrivals.write(1, raw[:-9], suffix="csv.gz")
    arrivals.source.freeze()
    arrivals.source.undecided()
    arrivals.wait(1)
    arrivals.write(1, raw, suffix="csv.gz")

    assert 1 == arrivals.wait_for_quiet()
    assert ([(one, 0, 500 * LINE)], []) == arrivals.once()
    assert ("done", "") == arrivals.state(one)


def test_a_compressed_file_that_still_grows_is_left(arrivals: Arrivals) -> None:
    """Waiting is not holding: the next run goes on."""
    raw = gzip.compress(records(0, 500), mtime=0)
    one = arrivals.write(1, raw[:-99], suffix="csv.gz")
    arrivals.source.freeze()
    arrivals.source.undecided()
    arrivals.wait(1)
    arrivals.write(1, raw[:-9], suffix="csv.gz")
    consumed, warnings = arrivals.once()

    assert [] == consumed
    assert [f"{one} was left for the next run: its gzip data is incomplete"] == warnings
    assert ("waiting", "incomplete") == arrivals.state(one)


def test_a_compressed_file_without_an_end_is_held(arrivals: Arrivals) -> None:
    """When nobody wrote to it during the wait."""
    one = arrivals.write(1, gzip.compress(records(0, 500))[:-9], suffix="csv.gz")
    arrivals.source.freeze()

    assert SETTLE_S == arrivals.wait_for_quiet()
    assert ([], []) == arrivals.once()
    assert ("held", "broken") == arrivals.state(one)


def test_a_file_without_a_record_is_decided_in_the_wait(arrivals: Arrivals) -> None:
    """Its rejects are counted after its quiet period."""
    arrivals.write(1, b"nonsense\n")
    arrivals.source.freeze()

    assert SETTLE_S == arrivals.wait_for_quiet()
    assert [(name(1), 0, 9)] == arrivals.once()[0]


def test_one_wait_for_all_files(arrivals: Arrivals) -> None:
    """However many are undecided, and however long each is written to."""
    for minute in range(5):
        arrivals.write(minute, records(10 * minute, 2)[:-1])
    arrivals.source.freeze()
    waited = 0.0
    while arrivals.source.undecided():
        arrivals.append(int(waited * 2) % 5, b"\n012")
        arrivals.wait(0.25)
        waited += 0.25

    assert waited <= SETTLE_S


def test_a_clock_that_is_set_back_ends_the_wait(arrivals: Arrivals) -> None:
    """Nothing waits for a time that is long to come."""
    arrivals.write(1, record(0)[:-1])
    arrivals.source.freeze()
    assert arrivals.source.undecided()
    arrivals.wait(-3600)

    assert not arrivals.source.undecided()


def test_held_files_do_not_delay_the_end(arrivals: Arrivals) -> None:
    """They are neither waited for nor left with a warning: their state says enough."""
    arrivals.write("DATA_209901010000.csv", record(0)[:-1])
    arrivals.source.freeze()

    assert 0 == arrivals.wait_for_quiet()
    assert ([], []) == arrivals.once()


def test_a_file_that_vanishes_after_the_listing(arrivals: Arrivals) -> None:
    """Taken in part it is gone; of the others nothing was ever said."""
    arrivals.write(1, records(0, 2), age_s=9)
    arrivals.turn()
    arrivals.append(1, record(2))
    arrivals.write(2, record(9))
    arrivals.restart()
    arrivals.source.freeze()
    arrivals.wait_for_quiet()
    arrivals.path(1).unlink()
    arrivals.path(2).unlink()

    assert ([], []) == arrivals.once()
    assert ("gone", "deleted") == arrivals.state(name(1))
    assert 2 * LINE == arrivals.row(name(1)).offset


def test_what_was_taken_before_is_compared(arrivals: Arrivals) -> None:
    """A run --once holds a changed file like any other run."""
    arrivals.write(1, records(0, 2), age_s=9)
    arrivals.turn()
    arrivals.write(1, b"9" + records(0, 3)[1:], age_s=9)
    arrivals.restart()
    arrivals.source.freeze()

    assert [name(1)] == [row.name for row in arrivals.source.verify_consumed()]
    assert ([], []) == arrivals.once()
    assert ("held", "changed") == arrivals.state(name(1))


def test_a_second_run_finds_nothing(arrivals: Arrivals) -> None:
    """What is done stays done."""
    for minute in range(3):
        arrivals.write(minute, records(10 * minute, 3))
    arrivals.source.freeze()
    arrivals.once()
    arrivals.restart()
    arrivals.source.freeze()

    assert ([], []) == arrivals.once()
    assert [] == arrivals.source.changed()


def test_a_truncated_file_is_left(arrivals: Arrivals) -> None:
    """It is cut short between listing and read: whole lines are consumed, and the next run checks the rest."""
    arrivals.write(1, records(0, 5), age_s=9)
    arrivals.source.freeze()
    arrivals.wait_for_quiet()
    arrivals.write(1, records(0, 3)[:-2], age_s=9)
    consumed, warnings = arrivals.once()

    assert [(name(1), 0, 2 * LINE)] == consumed
    assert 1 == len(warnings)
    assert ("reading", "") == arrivals.state(name(1))


def test_a_file_that_was_swapped_under_the_read_is_held(arrivals: Arrivals) -> None:
    """No scan follows, so the inode that was read must tell."""
    arrivals.write(1, records(0, 2), age_s=9)
    arrivals.turn()
    arrivals.append(1, records(2, 2))
    arrivals.restart()
    arrivals.source.freeze()
    arrivals.wait_for_quiet()
    arrivals.move_in(1, records(50, 4))
    arrivals.once()

    assert ("held", "changed") == arrivals.state(name(1))


def test_a_long_file_is_compared_before_it_is_done(
    arrivals: Arrivals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though it only grew; one that cannot be read any more is held instead."""
    monkeypatch.setattr(tracked_file, "REVERIFY_BYTES_MAX", 0)
    for minute in (1, 2):
        arrivals.write(minute, records(10 * minute, 2), age_s=9)
    arrivals.turn()
    for minute in (1, 2):
        arrivals.write(minute, b"9" + records(10 * minute, 3)[1:])
    arrivals.source.freeze()
    arrivals.consume()
    arrivals.path(2).unlink()

    assert [] == arrivals.source.finish_once()
    assert ("held", "changed") == arrivals.state(name(1))
    assert ("held", "unreadable") == arrivals.state(name(2))


def test_a_file_that_may_no_longer_be_read_is_not_waited_for(arrivals: Arrivals) -> None:
    """Waiting cannot decide what its unfinished line is; it is left, with the reason."""
    arrivals.write(1, record(0), age_s=9)
    arrivals.turn()
    arrivals.append(1, record(1)[:-1])
    arrivals.restart()
    arrivals.source.freeze()
    assert arrivals.source.undecided()
    arrivals.path(1).chmod(0)
    with bound_by_modes():
        assert not arrivals.source.undecided()
        assert [] == arrivals.once()[0]


def test_a_directory_that_is_replaced_after_the_listing_ends_the_wait(arrivals: Arrivals) -> None:
    """What can be seen no more has changed: its quiet period does not end in this run."""
    arrivals.write(1, records(0, 2)[:-1])
    arrivals.source.freeze()
    arrivals.data.rename(arrivals.data.with_name("away"))
    arrivals.data.write_bytes(b"")

    assert not arrivals.source.undecided()
    assert [] == arrivals.once()[0]
