"""Ranges come in arrival order, bounded, and say what their scan must know before it."""

import gzip
from datetime import datetime
from pathlib import Path

import pytest

from support.arrivals import START, Arrivals, name, record, records, stamp
from upswell.errors import UpswellError
from upswell.kernel import Range
from upswell.source import planner
from upswell.zones import Zones

LINE = len(record(0))


@pytest.fixture
def arrivals(tmp_path: Path) -> Arrivals:
    """An empty DATA directory."""
    return Arrivals(tmp_path / "data")


def ranges(arrivals: Arrivals) -> list[Range]:
    """What is ready after a scan."""
    arrivals.source.scan()
    return arrivals.source.ready()


def test_files_found_together_come_by_stamp_then_by_name(arrivals: Arrivals) -> None:
    """Not by the order in which they were written or listed."""
    arrivals.write_gzip(2, record(20))
    for minute in (3, 1, 2):
        arrivals.write(minute, record(minute))
    found = [planned.name for planned in ranges(arrivals)]

    assert [name(1), name(2), name(2, "csv.gz"), name(3)] == found


def test_a_range_says_where_its_file_stands(arrivals: Arrivals) -> None:
    """Everything that the scan needs comes from the row, the stamp and the log so far."""
    arrivals.write(1, records(0, 2) + b"nonsense\n")
    arrivals.turn()
    arrivals.append(1, record(2))
    [planned] = ranges(arrivals)
    row = arrivals.row(name(1))

    assert row.rejects_kept_bytes > len(b"nonsense")
    assert (
        Range(
            name=name(1),
            path=bytes(arrivals.path(1)),
            compressed=False,
            start=row.offset,
            end=row.offset + LINE,
            final=False,
            tail=0,
            newlines=3,
            digest=row.digest,
            day_max=20200418,
            day_open=20200416,
            rejects_left_bytes=(1 << 20) - row.rejects_kept_bytes,
            stamp=stamp(1),
            newest_stamp=stamp(1),
        )
        == planned
    )


def test_the_newest_stamp_runs_over_the_log(arrivals: Arrivals) -> None:
    """It is the highest among the ranges before and its own, over restarts too."""
    arrivals.write(5, record(5))
    arrivals.turn()
    arrivals.write(1, record(1))
    arrivals.write(9, record(9))
    expected = [(name(1), stamp(5)), (name(9), stamp(9))]

    assert expected == [(planned.name, planned.newest_stamp) for planned in ranges(arrivals)]

    arrivals.read(arrivals.source.ready()[:1])
    arrivals.write(2, record(2))
    expected = [(name(2), stamp(5)), (name(9), stamp(9))]

    assert expected == [(planned.name, planned.newest_stamp) for planned in ranges(arrivals)]

    arrivals.restart()

    assert expected == [(planned.name, planned.newest_stamp) for planned in ranges(arrivals)]


def test_a_planned_range_that_was_not_taken_moves_nothing(arrivals: Arrivals) -> None:
    """Only what was consumed is in the log."""
    arrivals.write(9, b"", age_s=9)
    arrivals.write(8, record(8))
    ranges(arrivals)
    arrivals.write(1, record(1))

    assert [stamp(1), stamp(8)] == [planned.newest_stamp for planned in ranges(arrivals)]


def test_late_files_are_marked(arrivals: Arrivals) -> None:
    """A file is late when its first range follows a range with a higher stamp, and stays so."""
    arrivals.write(5, record(5))
    arrivals.write(6, record(6))
    arrivals.turn()
    arrivals.write(1, record(1))
    arrivals.append(5, record(50))
    arrivals.turn()
    arrivals.append(1, record(2))
    arrivals.turn()

    assert [True, False, False] == [arrivals.row(name(minute)).late for minute in (1, 5, 6)]


def test_the_open_day_follows_the_newest_stamp(arrivals: Arrivals) -> None:
    """Carried into the rules' zone, and kept as many days as the settings say."""
    arrivals.restart(zones=Zones("Africa/Cairo", "UTC"), keep_days=3)
    arrivals.write(1, record(1))
    [planned] = ranges(arrivals)

    # The 17th begins in Cairo on the 16th of UTC; with three days open, the 14th is the first.
    assert (20200414, 20200418) == (planned.day_open, planned.day_max)


def test_how_many_ranges_at_once(arrivals: Arrivals, monkeypatch: pytest.MonkeyPatch) -> None:
    """Number and bytes are bounded, and nothing is lost by it."""
    monkeypatch.setattr(planner, "RANGES_MAX", 7)
    for minute in range(20):
        arrivals.write(minute, record(minute))

    assert [name(minute) for minute in range(7)] == [planned.name for planned in ranges(arrivals)]

    monkeypatch.setattr(planner, "RANGE_BYTES_MAX", 2 * LINE)

    assert 2 == len(arrivals.source.ready())
    assert 20 == len(arrivals.consume())


def test_planning_ends_when_it_takes_long(
    arrivals: Arrivals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is always at least one range when one is ready."""
    monkeypatch.setattr(planner, "PLAN_S", 0)
    for minute in range(3):
        arrivals.write(minute, record(minute))

    assert 1 == len(ranges(arrivals))
    assert 3 == len(arrivals.consume())


def test_what_the_kernel_did_not_finish_is_offered_again(arrivals: Arrivals) -> None:
    """From the byte after the last that was consumed."""
    arrivals.write(1, records(0, 5))
    arrivals.write(2, records(9, 1))
    first, second = ranges(arrivals)
    arrivals.read([first._replace(end=2 * LINE)])
    again = arrivals.source.ready()

    assert [(name(1), 2 * LINE), (name(2), 0)] == [(one.name, one.start) for one in again]
    assert second == again[1]


def test_a_range_out_of_place_is_a_broken_invariant(arrivals: Arrivals) -> None:
    """The run must stop before it commits such a thing."""
    arrivals.write(1, records(0, 5))
    planned = ranges(arrivals)
    arrivals.read(planned)

    with pytest.raises(UpswellError) as caught:
        arrivals.read(planned)
    assert 70 == caught.value.exit_code


def test_a_stop_ends_planning(arrivals: Arrivals) -> None:
    """Between two files."""
    arrivals.restart(stopping=lambda: True)
    arrivals.write(1, records(0, 5))

    assert [] == ranges(arrivals)


@pytest.mark.parametrize(
    ("ahead", "state"), [("202004182000", "reading"), ("202004182001", "held")]
)
def test_a_stamp_ahead_of_the_clock(arrivals: Arrivals, ahead: str, state: str) -> None:
    """More than a day ahead a file is held, and moves nothing; a day ahead is the limit."""
    one = f"DATA_{ahead}.csv"
    arrivals.write(one, record(0))
    arrivals.write(1, record(1))
    arrivals.turn()

    assert state == arrivals.state(one)[0]
    if state == "held":
        assert "ahead" == arrivals.state(one)[1]
        assert stamp(1) == arrivals.rows.newest


def test_a_file_ahead_is_looked_at_every_minute(arrivals: Arrivals) -> None:
    """It is read when the clock has come near enough, without being touched."""
    one = arrivals.write("DATA_202004182001.csv", record(0))
    arrivals.turn()
    arrivals.wait(59)
    arrivals.turn()
    assert "held" == arrivals.state(one)[0]
    arrivals.wait(2)

    assert [(one, 0, LINE)] == arrivals.turn()


def test_a_file_ahead_is_looked_at_after_a_restart(arrivals: Arrivals) -> None:
    """The clock may have been corrected."""
    one = arrivals.write("DATA_202004182001.csv", record(0))
    arrivals.turn()
    arrivals.restart()
    arrivals.wait(60)

    assert [(one, 0, LINE)] == arrivals.turn()


def test_the_clock_is_read_in_the_zone_of_the_data(arrivals: Arrivals) -> None:
    """Stamps are local times."""
    arrivals.restart(zones=Zones("Africa/Cairo", "UTC"), max_stamp_ahead_days=0)
    arrivals.write("DATA_202004172200.csv", record(0))
    arrivals.write("DATA_202004172201.csv", record(1))
    arrivals.turn()

    # 20:00 UTC is 22:00 in Cairo.
    assert ["reading", "held"] == [
        arrivals.state(f"DATA_20200417220{minute}.csv")[0] for minute in (0, 1)
    ]


def test_a_limit_beyond_the_calendar_holds_nothing(arrivals: Arrivals) -> None:
    """Who sets it that high wants no check."""
    arrivals.restart(max_stamp_ahead_days=10**7)
    arrivals.write("DATA_999912312359.csv", record(0))

    assert 1 == len(ranges(arrivals))


def test_older_files_are_skipped(arrivals: Arrivals) -> None:
    """Those with a stamp before --since; the mark stays without the option."""
    arrivals.restart(since=stamp(2))
    for minute in (1, 2, 3):
        arrivals.write(minute, record(minute))

    assert [name(2), name(3)] == [consumed[0] for consumed in arrivals.turn()]
    assert ("skipped", "since") == arrivals.state(name(1))

    arrivals.restart(since=None)
    arrivals.append(1, record(9))

    assert [] == arrivals.turn()
    assert ("skipped", "since") == arrivals.state(name(1))


def test_what_was_begun_is_not_skipped(arrivals: Arrivals) -> None:
    """A restart with a later --since finishes it."""
    arrivals.write(1, record(1))
    arrivals.turn()
    arrivals.restart(since=stamp(5))
    arrivals.append(1, record(2))

    assert [(name(1), LINE, 2 * LINE)] == arrivals.turn()


def test_since_now_is_the_present_minute_of_the_data(arrivals: Arrivals) -> None:
    """Files of this minute are read."""
    arrivals.restart(since="now", zones=Zones("Africa/Cairo", "UTC"))
    assert datetime.fromisoformat("2020-04-17T22:00+02:00").timestamp() == START
    arrivals.write("DATA_202004172159.csv", record(0))
    arrivals.write("DATA_202004172200.csv", record(1))

    assert ["DATA_202004172200.csv"] == [consumed[0] for consumed in arrivals.turn()]


def test_waiting_and_held_files_block_nobody(arrivals: Arrivals) -> None:
    """Whatever is wrong with the files before, the next one is read."""
    arrivals.write(1, b"no record yet")
    arrivals.write(2, b"\x1f\x8b", suffix="csv.gz")
    arrivals.write(3, b"\x1f\x8b compressed")
    arrivals.write(4, record(0))
    arrivals.write(5, record(0))
    arrivals.write(6, record(1))

    assert [name(4), name(6)] == [consumed[0] for consumed in arrivals.turn()]


def test_backlog_and_counts(arrivals: Arrivals) -> None:
    """What is there and not consumed, and all files by state."""
    arrivals.write(1, record(1))
    arrivals.write(2, records(2, 3))
    arrivals.write(3, b"\x1f\x8b compressed")
    arrivals.write("x", b"")
    arrivals.source.scan()
    arrivals.source.ready()

    assert (2, 4 * LINE) == arrivals.source.backlog()
    counts = arrivals.source.counts()
    assert {"waiting": 2, "held": 1, "ignored": 1} == {
        state: count for state, count in counts.items() if count
    }

    arrivals.consume()

    assert (0, 0) == arrivals.source.backlog()


def test_while_a_batch_is_in_hand_nothing_is_opened(arrivals: Arrivals) -> None:
    """What was opened before is offered, in order, and nothing behind a file that was not."""
    arrivals.write(1, record(1))
    arrivals.write(2, gzip.compress(record(2)))
    for minute in (3, 5):
        arrivals.write(minute, record(minute))
    first, *rest = ranges(arrivals)
    assert [name(1), name(3), name(5)] == [planned.name for planned in (first, *rest)]
    arrivals.read([first])

    assert rest == arrivals.source.ready(without_opening=True)

    arrivals.write(4, record(4))
    arrivals.source.scan()
    assert rest[:1] == arrivals.source.ready(without_opening=True)
    assert [name(3), name(4), name(5)] == [planned.name for planned in arrivals.source.ready()]


def test_what_may_repeat_another_file_is_compared_with_no_batch_in_hand(arrivals: Arrivals) -> None:
    """A suspect, and a consumed part that must be read again, wait for the next time that files are opened."""
    arrivals.write(1, records(0, 2))
    arrivals.turn()
    arrivals.write(2, record(0))
    arrivals.write(3, record(3))
    assert [name(3)] == [planned.name for planned in ranges(arrivals)]
    assert ("waiting", "suspect") == arrivals.state(name(2))
    assert [] == arrivals.source.ready(without_opening=True)

    arrivals.append(1, record(4))
    arrivals.source.scan()
    assert [] == arrivals.source.ready(without_opening=True)
    assert [name(1), name(3)] == [planned.name for planned in arrivals.source.ready()]
