"""A file goes on under another name: what was consumed of it is not consumed again, and both rows say so."""

import gzip
from pathlib import Path

import pytest

from support.arrivals import Arrivals, name, record, records, stamp
from upswell import kernel

LINE = len(record(0))


@pytest.fixture
def arrivals(tmp_path: Path) -> Arrivals:
    """A DATA directory with a growing file, of which two lines were consumed."""
    made = Arrivals(tmp_path / "data")
    made.write(1, records(0, 2))
    made.turn()
    return made


def goes_on(arrivals: Arrivals, one: str, before: str, offset: int) -> None:
    """Assert that the one took over from the other at this byte, and both rows say so."""
    old, new = arrivals.row(before), arrivals.row(one)
    assert ("continued", one, one) == (old.state, old.detail, old.continued_by)
    assert offset == old.offset
    assert before == new.continues
    assert [] == [taken for taken in arrivals.log if taken[0] == one and taken[1] < offset]


def test_a_renamed_file_goes_on_while_it_grows(arrivals: Arrivals) -> None:
    """Under another stamp; only what is new is consumed, and its counts begin at none."""
    arrivals.path(1).rename(arrivals.path(5))
    arrivals.append(5, records(2, 3))

    assert [(name(5), 2 * LINE, 5 * LINE)] == arrivals.turn()
    goes_on(arrivals, name(5), name(1), 2 * LINE)
    row = arrivals.row(name(5))
    assert (3, {"not_in_segment": 3}, 5) == (row.lines, row.outcomes, row.newlines)
    assert kernel.crc64(records(0, 5)) == row.digest
    assert [name(5)] == [file.name for file in arrivals.source.continuing()]
    assert [] == arrivals.source.continuing()


@pytest.mark.parametrize("tail", [b"", b"0126"])
def test_a_packed_file_goes_on(arrivals: Arrivals, tail: bytes) -> None:
    """Its last lines came between the last scan and the packing; an unfinished line is read whole."""
    arrivals.append(1, tail)
    arrivals.turn()
    arrivals.path(1).unlink()
    one = arrivals.write_gzip(1, records(0, 2) + tail + record(3))

    assert [(one, 2 * LINE, 3 * LINE + len(tail))] == arrivals.turn()
    goes_on(arrivals, one, name(1), 2 * LINE)
    assert 0 == arrivals.source.counts()["gone"]
    arrivals.write(2, record(9))
    arrivals.wait()
    arrivals.turn()
    assert ("done", "") == arrivals.state(one)


def test_a_file_that_was_packed_while_nothing_ran_goes_on(arrivals: Arrivals) -> None:
    """A run --once finds it, too; its name was never seen to be gone."""
    arrivals.path(1).unlink()
    one = arrivals.write_gzip(1, records(0, 4), age_s=9)
    arrivals.restart()
    arrivals.source.freeze()
    taken, warnings = arrivals.once()

    assert ([(one, 2 * LINE, 4 * LINE)], []) == (taken, warnings)
    goes_on(arrivals, one, name(1), 2 * LINE)
    assert ("done", "") == arrivals.state(one)


def test_a_file_that_was_long_gone_goes_on(arrivals: Arrivals) -> None:
    """It was reported as gone; a later start finds the rest of it under another name."""
    arrivals.path(1).unlink()
    arrivals.turn()
    assert ("gone", "whole") == arrivals.state(name(1))
    assert 1 == arrivals.source.counts()["gone"]
    assert "deliver it whole and under exactly this name" in arrivals.row(name(1)).detail

    arrivals.write(3, records(0, 3))
    assert [(name(3), 2 * LINE, 3 * LINE)] == arrivals.turn()
    goes_on(arrivals, name(3), name(1), 2 * LINE)
    assert 0 == arrivals.source.counts()["gone"]


def test_a_file_that_was_done_goes_on(arrivals: Arrivals) -> None:
    """Done or not: what its producer appends after the renaming is all that is new."""
    arrivals.write(2, record(9))
    arrivals.wait()
    for _ in range(3):
        arrivals.turn()
    assert ("done", "") == arrivals.state(name(1))
    arrivals.path(1).rename(arrivals.path(3))
    arrivals.append(3, record(2))

    assert [(name(3), 2 * LINE, 3 * LINE)] == arrivals.turn()
    goes_on(arrivals, name(3), name(1), 2 * LINE)


def test_a_settled_file_is_seen_to_be_away_before_a_scan_says_so(arrivals: Arrivals) -> None:
    """A rescan of the new name alone must not take the file for a longer one beside the old."""
    arrivals.write(2, record(9))
    arrivals.wait()
    for _ in range(3):
        arrivals.turn()
    arrivals.path(1).rename(arrivals.path(3))
    arrivals.append(3, record(2))
    arrivals.source.rescan([name(3)])

    assert [(name(3), 2 * LINE, 3 * LINE)] == arrivals.consume()
    goes_on(arrivals, name(3), name(1), 2 * LINE)


def test_an_unterminated_last_line_is_taken_over(arrivals: Arrivals) -> None:
    """What continues it is a reject, and its line end alone is nothing."""
    arrivals.append(1, record(2)[:-1])
    arrivals.write(2, record(9))
    arrivals.wait(9)
    arrivals.turn()
    assert 1 == arrivals.row(name(1)).tail
    arrivals.path(1).rename(arrivals.path(3))
    arrivals.append(3, b"\n" + record(4))

    assert [(name(3), 3 * LINE - 1, 4 * LINE)] == arrivals.turn()
    assert {"not_in_segment": 1} == arrivals.row(name(3)).outcomes


def test_it_may_go_on_more_than_once(arrivals: Arrivals) -> None:
    """Each name continues the one before; no file is continued twice."""
    arrivals.path(1).rename(arrivals.path(2))
    arrivals.append(2, record(2))
    arrivals.turn()
    arrivals.path(2).unlink()
    one = arrivals.write_gzip(3, records(0, 4))
    assert [(one, 3 * LINE, 4 * LINE)] == arrivals.turn()

    goes_on(arrivals, one, name(2), 3 * LINE)
    assert name(2) == arrivals.row(name(1)).continued_by
    arrivals.write(4, records(0, 2) + record(7), age_s=9)
    assert [(name(4), 0, 3 * LINE)] == arrivals.turn()


def test_the_longest_of_several_goes_on(arrivals: Arrivals) -> None:
    """One began with the content of the other, and both are away."""
    arrivals.write(2, records(0, 2) + record(5), age_s=9)
    arrivals.wait()
    arrivals.turn()
    assert 3 * LINE == arrivals.row(name(2)).offset
    for minute in (1, 2):
        arrivals.path(minute).unlink()
    one = arrivals.write_gzip(3, records(0, 2) + record(5) + record(6))

    assert [(one, 3 * LINE, 4 * LINE)] == arrivals.turn()
    goes_on(arrivals, one, name(2), 3 * LINE)
    assert "" == arrivals.row(name(1)).continued_by


def test_another_content_with_the_same_first_record_is_read_from_its_start(
    arrivals: Arrivals,
) -> None:
    """The first record makes a suspect; the bytes decide."""
    arrivals.path(1).unlink()
    arrivals.turn()
    arrivals.write(3, record(0) + records(7, 3))

    assert [(name(3), 0, 4 * LINE)] == arrivals.turn()
    assert "" == arrivals.row(name(3)).continues


@pytest.mark.parametrize("compressed", [False, True])
def test_a_shorter_one_waits_and_is_held(arrivals: Arrivals, compressed: bool) -> None:
    """It is a copy that has not come far, or another file: somebody must say which."""
    arrivals.path(1).unlink()
    arrivals.turn()
    content = record(0)
    one = arrivals.write_gzip(3, content) if compressed else arrivals.write(3, content)
    arrivals.turn()
    arrivals.wait(100)
    arrivals.turn()
    if not compressed:
        assert ("waiting", "suspect") == arrivals.state(one)

    arrivals.write(4, record(9))
    arrivals.turn()
    assert ("held", "shorter") == arrivals.state(one)
    assert name(1) in arrivals.row(one).detail

    arrivals.write(one, gzip.compress(records(0, 3)) if compressed else records(0, 3))
    assert [(one, 2 * LINE, 3 * LINE)] == arrivals.turn()
    goes_on(arrivals, one, name(1), 2 * LINE)


def test_a_run_once_leaves_a_shorter_one(arrivals: Arrivals) -> None:
    """With a warning, and for the next run."""
    arrivals.path(1).unlink()
    arrivals.write(3, record(0), age_s=900)
    arrivals.restart()
    arrivals.source.freeze()
    taken, warnings = arrivals.once()

    assert [] == taken
    assert [f"{name(3)} was left for the next run"] == [
        words.partition(":")[0] for words in warnings
    ]


def test_what_comes_under_the_old_name_is_never_read(arrivals: Arrivals) -> None:
    """It is a duplicate while it begins with what was consumed, otherwise held; restarts change nothing."""
    arrivals.path(1).rename(arrivals.path(5))
    arrivals.append(5, record(2))
    arrivals.turn()
    arrivals.write(1, records(0, 2) + record(77))
    assert [] == arrivals.turn()
    assert ("duplicate", name(5)) == (arrivals.state(name(1))[0], arrivals.row(name(1)).detail)

    arrivals.write(1, records(40, 9))
    arrivals.restart()
    assert [] == arrivals.turn()
    assert ("held", "changed") == arrivals.state(name(1))

    arrivals.path(1).unlink()
    arrivals.turn()
    goes_on(arrivals, name(5), name(1), 2 * LINE)

    arrivals.write(1, records(40, 9))
    arrivals.turn()
    arrivals.path(1).unlink()
    arrivals.restart()
    arrivals.turn()
    goes_on(arrivals, name(5), name(1), 2 * LINE)
    arrivals.write(1, records(0, 2))
    arrivals.turn()
    arrivals.path(1).unlink()
    arrivals.turn()
    assert name(5) == arrivals.row(name(1)).continued_by


def test_a_file_that_the_archive_took_is_not_away(arrivals: Arrivals) -> None:
    """A longer content is then another one, read from its start."""
    arrivals.path(1).unlink()
    arrivals.rows.archived.add(name(1))
    arrivals.turn()
    arrivals.write(3, records(0, 3), age_s=9)

    assert [(name(3), 0, 3 * LINE)] == arrivals.turn()


def test_a_file_that_changed_since_the_scan_decides_nothing(arrivals: Arrivals) -> None:
    """Its producer may be packing it just now: a longer copy beside it is no other content yet."""
    arrivals.write(2, record(9))
    arrivals.wait(9)
    for _ in range(3):
        arrivals.turn()
    arrivals.append(1, record(2))
    one = arrivals.write_gzip(1, records(0, 3))
    arrivals.source.rescan([one])
    assert [] == arrivals.consume()
    assert ("waiting", "suspect") == arrivals.state(one)

    arrivals.path(1).unlink()
    assert [(one, 2 * LINE, 3 * LINE)] == arrivals.turn()
    goes_on(arrivals, one, name(1), 2 * LINE)


def test_rows_that_were_not_saved_are_decided_again(arrivals: Arrivals) -> None:
    """Both are saved together, or neither: a kill before that changes nothing."""
    arrivals.saves = False
    arrivals.path(1).rename(arrivals.path(5))
    arrivals.append(5, record(2))
    arrivals.source.scan()
    arrivals.source.ready()
    arrivals.unsaved, arrivals.saves = [], True
    arrivals.restart()

    assert [(name(5), 2 * LINE, 3 * LINE)] == arrivals.turn()
    goes_on(arrivals, name(5), name(1), 2 * LINE)


def test_a_late_file_is_marked_by_its_own_first_range(arrivals: Arrivals) -> None:
    """It is late when its stamp is older than what came before, whatever its old name was."""
    arrivals.write(9, record(9))
    arrivals.turn()
    arrivals.path(1).rename(arrivals.path(2))
    arrivals.append(2, record(2))
    arrivals.turn()

    assert arrivals.row(name(2)).late
    assert stamp(2) == arrivals.row(name(2)).stamp


def test_one_that_just_left_is_compared_by_what_was_consumed_of_it(arrivals: Arrivals) -> None:
    """Its row may still be in memory when another content with its first record comes."""
    arrivals.write(2, record(9))
    arrivals.wait(9)
    arrivals.saves = False
    arrivals.turn()
    arrivals.path(1).unlink()
    arrivals.write(3, record(0) + records(7, 2), age_s=5)
    arrivals.source.rescan([name(3)])
    assert arrivals.source._inventory.get(name(1)) is not None

    assert [(name(3), 0, 3 * LINE)] == arrivals.consume()


@pytest.mark.parametrize("compressed", [False, True])
def test_a_file_cut_short_between_look_and_comparison_continues_nothing(
    arrivals: Arrivals, compressed: bool
) -> None:
    """The next scan shows what is left of it."""
    content = records(0, 4)
    one = arrivals.write_gzip(3, content) if compressed else arrivals.write(3, content)
    arrivals.source.scan()
    tracked = arrivals.source._inventory.get(one)
    old = arrivals.source._inventory.get(name(1))
    assert tracked is not None
    assert old is not None
    arrivals.path(one).write_bytes(gzip.compress(record(0)) if compressed else record(0))

    assert None is tracked.begins_as([old.file])


def test_rejects_alone_behind_records_are_no_refused_file(arrivals: Arrivals) -> None:
    """Its records were consumed under the old name."""
    arrivals.path(1).rename(arrivals.path(2))
    arrivals.append(2, b"nonsense\n")
    arrivals.write(3, record(9))
    arrivals.turn()
    arrivals.wait(9)
    arrivals.turn()

    assert ("done", "") == arrivals.state(name(2))
    assert {"rejected": 1} == arrivals.row(name(2)).outcomes
