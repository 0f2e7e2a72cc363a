"""The same content under a new name is consumed once; what only looks alike is read."""

import gzip
import os
from pathlib import Path

import pytest

from support.arrivals import Arrivals, name, record, records
from upswell import kernel

LINE = len(record(0))


@pytest.fixture
def arrivals(tmp_path: Path) -> Arrivals:
    """An empty DATA directory."""
    return Arrivals(tmp_path / "data")


@pytest.fixture
def done(arrivals: Arrivals) -> Arrivals:
    """A DATA directory whose first file is done."""
    arrivals.write(1, records(0, 4), age_s=9)
    arrivals.write(2, record(90), age_s=9)
    arrivals.turn()
    assert ("done", "") == arrivals.state(name(1))
    return arrivals


def test_a_copy_of_a_done_file_is_a_duplicate(done: Arrivals) -> None:
    """Its row says of which file, and what its content is; nothing of it is consumed."""
    done.write(3, records(0, 4), age_s=9)

    assert [] == done.turn()
    assert ("duplicate", "content") == done.state(name(3))
    row = done.row(name(3))
    assert (name(1), 4 * LINE, kernel.crc64(records(0, 4))) == (
        row.detail,
        row.content_bytes,
        row.content_digest,
    )
    assert 0 == row.offset


@pytest.mark.parametrize("minute", [0, 3])
def test_the_stamp_does_not_matter(done: Arrivals, minute: int) -> None:
    """A copy under an older name is a duplicate, too."""
    done.write(minute, records(0, 4), age_s=9)

    assert [] == done.turn()
    assert "duplicate" == done.state(name(minute))[0]


@pytest.mark.parametrize("suffixes", [("csv", "csv.gz"), ("csv.gz", "csv"), ("csv.gz", "csv.gz")])
def test_compression_does_not_matter(arrivals: Arrivals, suffixes: tuple[str, str]) -> None:
    """The uncompressed content is what is compared."""
    for minute, suffix in zip((1, 2), suffixes, strict=True):
        if suffix == "csv":
            arrivals.write(minute, records(0, 4), age_s=9)
        else:
            arrivals.write_gzip(minute, records(0, 4), age_s=9)
    arrivals.write(3, record(90))
    arrivals.turn()
    arrivals.turn()

    assert ("done", "") == arrivals.state(name(1, suffixes[0]))
    assert "duplicate" == arrivals.state(name(2, suffixes[1]))[0]


def test_the_original_may_be_deleted_and_the_run_restarted(done: Arrivals) -> None:
    """The checkpoint remembers what was consumed."""
    done.path(1).unlink()
    done.turn()
    done.restart()
    done.write(3, records(0, 4), age_s=9)

    assert [] == done.turn()
    assert ("reading", name(1)) == (done.state(name(3))[0], done.row(name(3)).continues)


def test_an_original_that_nobody_remembers_but_the_checkpoint(done: Arrivals) -> None:
    """Also when the done file is still there and only its stat is in memory."""
    for _ in range(4):
        done.turn()
    done.write(3, records(0, 4), age_s=9)

    assert [] == done.turn()
    assert "duplicate" == done.state(name(3))[0]


def test_another_first_record_is_no_suspect(done: Arrivals) -> None:
    """Such a file is read at once, while it is written."""
    done.write(3, records(5, 1))

    assert [(name(3), 0, LINE)] == done.turn()


def test_a_header_and_rejects_do_not_make_a_suspect(done: Arrivals) -> None:
    """Files are compared by their first record line, not by their first line."""
    done.write(3, b"msisdn,service,volume,timestamp\nnonsense\n" + record(5))
    done.write(4, b"msisdn,service,volume,timestamp\nnonsense\n" + record(6))

    assert [name(3), name(4)] == [consumed[0] for consumed in done.turn()]


def test_a_suspect_waits_while_it_is_written(done: Arrivals) -> None:
    """No longer than the file it resembles, it may still become its copy."""
    for count in (1, 2, 3, 4):
        done.write(3, records(0, count))
        assert [] == done.turn()
        assert ("waiting", "suspect") == done.state(name(3))
        done.wait(1)
    done.wait(1)

    assert [] == done.turn()
    assert "duplicate" == done.state(name(3))[0]


def test_a_suspect_is_cleared_as_soon_as_it_is_longer(done: Arrivals) -> None:
    """It is read while it is written then, from its first byte."""
    done.write(3, records(0, 4))
    assert [] == done.turn()
    done.append(3, record(9))

    assert [(name(3), 0, 5 * LINE)] == done.turn()
    assert ("reading", "exported_again") == done.state(name(3))


@pytest.mark.parametrize("content", [records(0, 3), record(0) + records(50, 3)])
def test_a_suspect_that_is_still_and_differs_is_read(done: Arrivals, content: bytes) -> None:
    """A shorter one by its size, one as long by its digest."""
    done.write(3, content)
    assert [] == done.turn()
    done.wait()

    assert [(name(3), 0, len(content))] == done.turn()


def test_a_suspect_of_a_growing_file_waits_until_that_is_still(arrivals: Arrivals) -> None:
    """Even a longer one: the other may catch up."""
    arrivals.write(1, records(0, 2))
    arrivals.turn()
    arrivals.write(2, records(0, 3), age_s=9)

    assert [] == arrivals.turn()
    assert ("waiting", "suspect") == arrivals.state(name(2))

    arrivals.append(1, record(2))
    arrivals.turn()
    arrivals.wait()
    arrivals.turn()

    assert "duplicate" == arrivals.state(name(2))[0]


def test_twins_that_arrive_together(arrivals: Arrivals) -> None:
    """The first in order is consumed, the others are duplicates, in their quiet period or not."""
    for minute in (1, 2, 3):
        arrivals.write(minute, records(0, 4))

    assert [(name(1), 0, 4 * LINE)] == arrivals.turn()
    assert ("waiting", "suspect") == arrivals.state(name(2))
    arrivals.wait()
    assert [] == arrivals.turn()
    assert ["duplicate", "duplicate"] == [arrivals.state(name(at))[0] for at in (2, 3)]
    assert [name(1), name(1)] == [arrivals.row(name(at)).detail for at in (2, 3)]


def test_twins_with_an_unfinished_last_line(arrivals: Arrivals) -> None:
    """The suspect counts as newer, so the first is consumed to its end and the suspect is its duplicate."""
    for minute in (1, 2):
        arrivals.write(minute, records(0, 4)[:-1], age_s=9)

    assert [(name(1), 0, 4 * LINE - 1)] == arrivals.turn()
    arrivals.turn()
    assert "duplicate" == arrivals.state(name(2))[0]


def test_a_twin_is_read_when_the_first_vanishes_untaken(arrivals: Arrivals) -> None:
    """What was not consumed cannot make another file a duplicate."""
    for minute in (1, 2):
        arrivals.write(minute, records(0, 4), age_s=9)
    arrivals.source.scan()
    assert [name(1)] == [planned.name for planned in arrivals.source.ready()]
    arrivals.path(1).unlink()

    assert [(name(2), 0, 4 * LINE)] == arrivals.turn()


def test_a_compressed_suspect_is_decided_before_its_first_line(arrivals: Arrivals) -> None:
    """Its whole content is known, so it waits only for the other one."""
    arrivals.write(1, records(0, 2))
    arrivals.turn()
    arrivals.write_gzip(2, records(0, 4))

    assert [] == arrivals.turn()
    assert ("waiting", "suspect") == arrivals.state(name(2, "csv.gz"))

    arrivals.wait()

    assert [(name(2, "csv.gz"), 0, 4 * LINE)] == arrivals.turn()


def test_a_copy_of_a_file_that_was_held_in_the_middle(arrivals: Arrivals) -> None:
    """It is compared with what was consumed."""
    arrivals.write(1, records(0, 4))
    arrivals.turn()
    arrivals.write(1, b"x")
    arrivals.turn()
    assert "held" == arrivals.state(name(1))[0]
    arrivals.write(2, records(0, 4), age_s=9)
    arrivals.write(3, records(0, 5), age_s=9)

    assert [(name(3), 0, 5 * LINE)] == arrivals.turn()
    assert ("duplicate", name(1)) == (arrivals.state(name(2))[0], arrivals.row(name(2)).detail)


@pytest.mark.parametrize("content", [b"", b"\n\n", b"customer,number\n", b"nonsense\nmore\n"])
def test_files_without_a_record_are_never_duplicates(arrivals: Arrivals, content: bytes) -> None:
    """Empty files of quiet minutes are all done; refused lines are told of."""
    for minute in (1, 2):
        arrivals.write(minute, content, age_s=9)
    arrivals.write(3, record(9))
    arrivals.turn()

    reason = "refused" if b"nonsense" in content else ""
    assert [("done", reason)] * 2 == [arrivals.state(name(minute)) for minute in (1, 2)]


def test_a_duplicate_that_grows_is_no_duplicate_any_more(done: Arrivals) -> None:
    """It is longer than what it resembles, so it is read from its first byte."""
    done.write(3, records(0, 4), age_s=9)
    done.turn()
    done.turn()
    done.append(3, record(9))

    assert [(name(3), 0, 5 * LINE)] == done.turn()
    assert 0 == done.row(name(3)).content_bytes


def test_a_duplicate_stays_one_over_a_restart(done: Arrivals) -> None:
    """Nobody reads it again for that."""
    done.write(3, records(0, 4), age_s=9)
    done.turn()
    done.restart()

    assert [] == done.turn()
    assert "duplicate" == done.state(name(3))[0]
    assert 1 == done.source.counts()["duplicate"]


def test_an_unterminated_copy_differs(done: Arrivals) -> None:
    """Identity is of bytes: one line end less is another content."""
    done.write(3, records(0, 4)[:-1], age_s=9)
    done.write(4, record(91), age_s=9)

    assert [name(3), name(4)] == [consumed[0] for consumed in done.turn()]


def test_a_compressed_copy_is_decided_at_once(done: Arrivals) -> None:
    """It has its end, so nobody needs to wait for its quiet period."""
    done.write_gzip(3, records(0, 4))

    assert [] == done.turn()
    assert ("duplicate", "content") == done.state(name(3, "csv.gz"))


def test_an_unreadable_file_keeps_no_twin_waiting(
    arrivals: Arrivals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was consumed of it, so its copy takes its place."""
    arrivals.write(1, records(0, 4))
    arrivals.write(2, records(0, 4))
    arrivals.source.scan()
    arrivals.source.ready()

    def refuse(*_: object, compressed: bool) -> kernel.FirstRecord:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as context:
        context.setattr(kernel, "first_record", refuse)
        arrivals.wait(1)
        arrivals.touch(name(1))
        arrivals.source.scan()
        arrivals.source.ready()
    arrivals.wait(2)

    assert [(name(2), 0, 4 * LINE)] == arrivals.turn()
    assert ("held", "unreadable") == arrivals.state(name(1))


def test_a_copy_waits_for_a_file_that_cannot_be_read_just_now(
    arrivals: Arrivals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first half was consumed and the second will be: consuming the copy would consume the first half twice."""
    arrivals.write(1, records(0, 2), age_s=9)
    arrivals.turn()

    def refuse(*_: object, compressed: bool) -> tuple[int, int]:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as context:
        context.setattr(kernel, "digest", refuse)
        arrivals.append(1, records(2, 2))
        arrivals.wait(9)
        arrivals.turn()
    assert ("held", "unreadable") == arrivals.state(name(1))
    arrivals.write(2, records(0, 4), age_s=9)

    assert [] == arrivals.turn()
    assert ("waiting", "suspect") == arrivals.state(name(2))
    arrivals.wait(61)
    arrivals.turn()
    arrivals.turn()
    assert [(name(1), 0, 2 * LINE), (name(1), 2 * LINE, 4 * LINE)] == arrivals.log
    assert ("duplicate", "content") == arrivals.state(name(2))


def test_the_same_name_with_the_same_content_is_counted(done: Arrivals) -> None:
    """Moved in anew or written over in place, each delivery counts once, and nothing is consumed again."""
    done.wait()
    done.move_in(1, records(0, 4))
    assert [] == done.turn()
    assert (1, "done") == (done.row(name(1)).repeats, done.row(name(1)).state)

    done.wait()
    done.write(1, records(0, 4))
    assert [] == [*done.turn(), *done.turn()]
    assert (2, "done") == (done.row(name(1)).repeats, done.row(name(1)).state)


def test_a_delivery_that_is_seen_half_done_counts_once(done: Arrivals) -> None:
    """A file that is written over is shorter for a while."""
    done.wait()
    done.write(1, records(0, 2))
    assert [] == done.turn()
    assert ("held", "shrank") == done.state(name(1))

    done.append(1, records(2, 2))
    assert [] == done.turn()
    assert 1 == done.row(name(1)).repeats


def test_a_delivery_while_nobody_runs_is_counted(done: Arrivals) -> None:
    """Also that of a file that had been taken away."""
    done.wait()
    done.path(1).unlink()
    done.turn()
    done.write(1, records(0, 4))
    done.restart()

    assert [] == done.turn()
    assert 1 == done.row(name(1)).repeats
    done.restart()
    assert [] == done.turn()
    assert 1 == done.row(name(1)).repeats


def test_a_compressed_file_that_came_again_is_counted(arrivals: Arrivals) -> None:
    """Its content is what is compared, however it is compressed."""
    arrivals.write_gzip(1, records(0, 4), age_s=9)
    arrivals.write(2, record(90), age_s=9)
    arrivals.turn()
    arrivals.wait()
    arrivals.write(1, gzip.compress(records(0, 4), 1, mtime=7), suffix="csv.gz")

    assert [] == arrivals.turn()
    assert 1 == arrivals.row(name(1, "csv.gz")).repeats


def test_growth_is_no_repeat(done: Arrivals) -> None:
    """A file that is replaced by a longer one that begins alike brings something new, and so does one that grows."""
    done.wait()
    done.move_in(1, records(0, 6))
    assert [(name(1), 4 * LINE, 6 * LINE)] == done.turn()
    done.wait()
    done.append(1, records(6, 2))
    assert [(name(1), 6 * LINE, 8 * LINE)] == done.turn()
    done.wait()
    done.turn()

    assert 0 == done.row(name(1)).repeats


def test_another_inode_alone_is_no_repeat(done: Arrivals) -> None:
    """Some network file systems give their files new ones at each mount."""
    changed_ns = done.path(1).stat().st_mtime_ns
    done.move_in(1, records(0, 4))
    os.utime(done.path(1), ns=(changed_ns, changed_ns))

    assert [] == done.turn()
    assert 0 == done.row(name(1)).repeats


def test_a_copy_that_is_given_its_old_time_is_no_repeat(arrivals: Arrivals) -> None:
    """Until a file is done it may still be under delivery, as by a tool that sets its time last."""
    arrivals.write(1, records(0, 4))
    assert [(name(1), 0, 4 * LINE)] == arrivals.turn()
    arrivals.touch(name(1), age_s=100)
    arrivals.write(2, record(90), age_s=9)
    arrivals.turn()

    assert ("done", "") == arrivals.state(name(1))
    assert 0 == arrivals.row(name(1)).repeats


def test_other_content_under_the_name_is_no_repeat(done: Arrivals) -> None:
    """It is held."""
    done.wait()
    done.move_in(1, records(10, 4))

    assert [] == done.turn()
    assert ("held", "changed") == done.state(name(1))
    assert 0 == done.row(name(1)).repeats
