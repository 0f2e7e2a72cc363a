"""What is remembered of files that need nothing, and what it costs to scan many."""

from pathlib import Path

import pytest

from support.arrivals import Arrivals, name, record, records
from upswell.source.duplicates import Content, FirstRecords, Verdict, compare, judge
from upswell.source.listing import list_directory

LINE = len(record(0))
FILES = 300


@pytest.fixture
def arrivals(tmp_path: Path) -> Arrivals:
    """A DATA directory of done files, and a last one that is being read."""
    made = Arrivals(tmp_path / "data")
    for minute in range(FILES):
        made.write(minute, record(minute), age_s=9)
    made.turn()
    made.turn()
    assert FILES - 1 == made.source.counts()["done"]
    return made


def test_an_idle_look_asks_the_checkpoint_nothing(arrivals: Arrivals) -> None:
    """Nor does it open a file or change a row."""
    arrivals.turn()
    asked = arrivals.rows.asked
    arrivals.turn()

    assert asked == arrivals.rows.asked
    assert [] == arrivals.source.changed()


def test_of_done_files_only_the_stat_is_kept(arrivals: Arrivals) -> None:
    """As soon as the checkpoint has the row; the file is known all the same when it grows."""
    arrivals.turn()
    assert arrivals.source._inventory.get(name(5)) is None

    arrivals.append(5, record(900))

    assert [(name(5), LINE, 2 * LINE)] == arrivals.turn()


def test_a_start_over_done_files_keeps_only_stats(arrivals: Arrivals) -> None:
    """Their rows are fetched once, in one go."""
    arrivals.restart()
    arrivals.rows.asked = 0
    arrivals.turn()

    assert FILES == arrivals.rows.asked
    assert arrivals.source._inventory.get(name(5)) is None
    assert FILES - 1 == arrivals.source.counts()["done"]


def test_a_row_stays_in_memory_until_the_checkpoint_has_it(arrivals: Arrivals) -> None:
    """However late the engine saves it: what was consumed is not consumed again."""
    arrivals.saves = False
    arrivals.append(5, record(900))
    assert [(name(5), LINE, 2 * LINE)] == arrivals.turn()
    arrivals.wait()
    for _ in range(3):
        assert [] == arrivals.turn()
    arrivals.append(5, record(901))

    assert [(name(5), 2 * LINE, 3 * LINE)] == arrivals.turn()


def test_a_deleted_file_is_remembered_until_the_checkpoint_has_it(arrivals: Arrivals) -> None:
    """It may come back before its row was saved."""
    arrivals.saves = False
    arrivals.append(5, record(900))
    arrivals.turn()
    content = arrivals.path(5).read_bytes()
    arrivals.path(5).unlink()
    arrivals.turn()
    arrivals.turn()
    arrivals.write(5, content + record(901))

    assert [(name(5), 2 * LINE, 3 * LINE)] == arrivals.turn()


def test_a_file_that_left_untaken_while_nobody_looked_is_forgotten(arrivals: Arrivals) -> None:
    """Its row can go: nothing of it was consumed, so nothing needs to be known should it come again."""
    arrivals.write(300, b"no record yet 1\n")
    arrivals.turn()
    assert ("waiting", "no_record") == arrivals.state(name(300))
    arrivals.path(300).unlink()
    arrivals.restart()
    arrivals.turn()

    assert [name(300)] == arrivals.source.left_unconsumed()
    assert [] == arrivals.source.left_unconsumed()


def test_given_rows_do_not_change_under_a_commit(arrivals: Arrivals) -> None:
    """They are copies: a commit may still be writing them while the next batch is read."""
    arrivals.append(5, record(900))
    arrivals.source.scan()
    arrivals.read(arrivals.source.ready())
    row = arrivals.rows.by_name[name(5)]
    outcomes = dict(row.outcomes)
    arrivals.append(5, record(901))
    arrivals.turn()

    assert (2 * LINE, outcomes) == (row.offset, row.outcomes)


@pytest.mark.slow
def test_a_look_at_many_done_files_costs_little_more_than_their_stats(tmp_path: Path) -> None:
    """A directory of a hundred thousand files can be polled every second."""
    from time import process_time

    arrivals = Arrivals(tmp_path / "data")
    arrivals.restart(since="202101010000")
    days = [f"2020{month:02}{day:02}" for month in range(1, 13) for day in range(1, 29)]
    for count, one in enumerate(
        f"DATA_{day}{hour:02}{minute:02}.csv"
        for day in days
        for hour in range(10, 23)
        for minute in range(10, 60)
    ):
        if count == 100_000:
            break
        (arrivals.data / one).touch()
    arrivals.source.scan()
    began = process_time()
    names = sum(1 for _ in list_directory(bytes(arrivals.data)))
    scanned = process_time()
    arrivals.source.scan()

    assert 100_000 == names == arrivals.source.counts()["skipped"]
    assert process_time() - scanned < 2.5 * (scanned - began)


def content(size: int, digest: int, *, complete: bool = True, consumed: bool = True) -> Content:
    """A content to compare."""
    return Content("old", size, complete, consumed, lambda: digest)


@pytest.mark.parametrize(
    ("new", "old", "expected"),
    [
        (content(5, 1), content(5, 1), "same"),
        (content(5, 1), content(5, 2), "clear"),
        (content(4, 1), content(5, 1), "clear"),
        (content(6, 1), content(5, 1), "clear"),
        (content(6, 1, complete=False), content(5, 1), "clear"),
        (content(5, 1, complete=False), content(5, 1), "wait"),
        (content(4, 1, complete=False), content(5, 1), "wait"),
        (content(6, 1), content(5, 1, complete=False), "wait"),
        (content(5, 1), content(5, 1, complete=False), "wait"),
        (content(5, 1), content(5, 1, consumed=False), "wait"),
        (content(5, 1), content(5, 2, consumed=False), "clear"),
    ],
)
def test_comparisons(new: Content, old: Content, expected: Verdict) -> None:
    """Longer than a complete one: another; both complete: size and digest; the same only when all of it is consumed."""
    assert expected == compare(new, old)


def test_a_digest_that_cannot_be_said_decides_nothing() -> None:
    """The file is shorter than its stat said, for example."""
    assert "wait" == compare(Content("new", 5, True, False, lambda: None), content(5, 1))


def test_one_equal_file_is_enough_and_one_undecided_one_delays() -> None:
    """A duplicate of one is a duplicate, whatever the others are."""
    new = content(5, 1)

    assert ("clear", "") == judge(new, [])
    assert ("clear", "") == judge(new, [content(4, 1), content(5, 2)])
    assert ("wait", "old") == judge(new, [content(4, 1), content(5, 1, complete=False)])
    assert ("same", "old") == judge(new, [content(5, 1, complete=False), content(5, 1)])


def test_first_records() -> None:
    """Names by first record, in arrival order."""
    records_of = FirstRecords()
    for one, crc in (("b", 1), ("a", 1), ("c", 2), ("d", None)):
        records_of.put(one, crc)
    assert (["a", "b"], ["c"], []) == tuple(records_of.names(crc) for crc in (1, 2, 3))

    records_of.put("a", 2)
    records_of.put("c", None)
    records_of.drop("b")
    records_of.drop("x")

    assert ([], ["a"]) == (records_of.names(1), records_of.names(2))
    assert records(0, 2) == record(0) + record(1)
