"""A file is its name, size and digest: what was consumed is never read again, and never goes on over other bytes."""

import os
from pathlib import Path

import pytest

from support.arrivals import Arrivals, name, record, records
from upswell import kernel
from upswell.source import listing, tracked_file

LINE = len(record(0))


@pytest.fixture
def arrivals(tmp_path: Path) -> Arrivals:
    """A DATA directory with a done file and one that is being read."""
    made = Arrivals(tmp_path / "data")
    made.write(1, records(0, 4), age_s=9)
    made.write(2, records(10, 2), age_s=9)
    made.turn()
    made.turn()
    assert ("done", "") == made.state(name(1))
    assert ("reading", "") == made.state(name(2))
    made.wait()
    return made


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The lengths over which digests are computed."""
    lengths = []
    digest = kernel.digest

    def count(
        path: bytes, start: int, end: int, initial: int, *, compressed: bool
    ) -> kernel.Digest:
        lengths.append(end - start)
        return digest(path, start, end, initial, compressed=compressed)

    monkeypatch.setattr(kernel, "digest", count)
    return lengths


def test_what_nobody_touched_is_not_read_again(arrivals: Arrivals, reads: list[int]) -> None:
    """Neither by scans nor by a start, but for the file that is being read."""
    arrivals.turn()

    assert [] == reads

    arrivals.restart()

    assert [] == arrivals.source.verify_consumed()
    assert [] == arrivals.consume()
    assert [2 * LINE] == reads


@pytest.mark.parametrize("minute", [1, 2])
def test_a_touched_file_is_nothing_new(arrivals: Arrivals, reads: list[int], minute: int) -> None:
    """The same content with another mtime, or under another inode, changes no state."""
    before = arrivals.row(name(minute))
    arrivals.touch(name(minute))
    assert [] == arrivals.turn()
    arrivals.move_in(minute, arrivals.path(minute).read_bytes(), age_s=1)
    assert [] == arrivals.turn()
    after = arrivals.row(name(minute))

    assert 2 == len(reads)
    assert (before.state, before.offset, before.digest) == (after.state, after.offset, after.digest)
    assert arrivals.path(minute).stat().st_ino == after.inode != before.inode


@pytest.mark.parametrize("minute", [1, 2])
def test_the_same_name_again_with_more(arrivals: Arrivals, minute: int) -> None:
    """A file that was deleted and comes back longer, with the same beginning, goes on at its offset."""
    content = arrivals.path(minute).read_bytes()
    arrivals.path(minute).unlink()
    arrivals.turn()
    arrivals.write(minute, content + record(99))

    assert [(name(minute), len(content), len(content) + LINE)] == arrivals.turn()
    assert ("reading", "") == arrivals.state(name(minute))
    assert kernel.crc64(content + record(99)) == arrivals.row(name(minute)).digest


def test_the_same_name_again_with_the_same_content(arrivals: Arrivals) -> None:
    """A done file that was deleted and comes back is still done."""
    content = arrivals.path(1).read_bytes()
    arrivals.path(1).unlink()
    arrivals.turn()
    arrivals.write(1, content)

    assert [] == arrivals.turn()
    assert ("done", "") == arrivals.state(name(1))


@pytest.mark.parametrize("minute", [1, 2])
@pytest.mark.parametrize("how", ["in place", "moved in", "deleted first", "while away"])
def test_changed_content_is_held(arrivals: Arrivals, minute: int, how: str) -> None:
    """Whatever way the consumed part changed, the file is held with a next step, and nothing of it is read."""
    content = arrivals.path(minute).read_bytes()
    other = b"9" + content[1:] + record(99)
    if how == "in place":
        arrivals.write(minute, other)
    elif how == "moved in":
        arrivals.move_in(minute, other)
    elif how == "deleted first":
        arrivals.path(minute).unlink()
        arrivals.turn()
        arrivals.write(minute, other)
    else:
        arrivals.restart()
        arrivals.write(minute, other)
        assert [name(minute)] == [
            row.name for row in arrivals.source.verify_consumed() if row.name == name(minute)
        ]

    assert [] == arrivals.turn()
    assert ("held", "changed") == arrivals.state(name(minute))
    assert "under a new name" in arrivals.row(name(minute)).detail
    assert len(content) == arrivals.row(name(minute)).offset


@pytest.mark.parametrize("minute", [1, 2])
def test_a_file_that_shrank_is_held(arrivals: Arrivals, minute: int) -> None:
    """And released when its old content is back."""
    content = arrivals.path(minute).read_bytes()
    arrivals.write(minute, content[:LINE])

    assert [] == arrivals.turn()
    assert ("held", "shrank") == arrivals.state(name(minute))

    arrivals.wait()
    arrivals.write(minute, content + record(99))

    assert [(name(minute), len(content), len(content) + LINE)] == arrivals.turn()
    assert ("reading", "") == arrivals.state(name(minute))


def test_a_file_copied_over_itself_comes_back_when_the_copy_is_whole(arrivals: Arrivals) -> None:
    """While the copy is under way it is held, and nothing of it is read again."""
    content = arrivals.path(1).read_bytes()
    for length in range(0, len(content) + 1, LINE):
        arrivals.write(1, content[:length])
        assert [] == arrivals.turn()
        arrivals.wait(1)

    assert ("done", "") == arrivals.state(name(1)) or ("reading", "") == arrivals.state(name(1))
    arrivals.wait()
    arrivals.turn()
    assert ("done", "") == arrivals.state(name(1))


def test_a_held_file_blocks_no_other_and_survives_a_restart(arrivals: Arrivals) -> None:
    """It is checked again only when its stat changes."""
    arrivals.write(2, b"x" * LINE)
    arrivals.write(3, record(50))

    assert [(name(3), 0, LINE)] == arrivals.turn()

    arrivals.restart()
    arrivals.wait(3600)
    assert [] == arrivals.turn()
    assert ("held", "shrank") == arrivals.state(name(2))


def test_a_change_is_found_at_a_start_though_the_stat_says_nothing(arrivals: Arrivals) -> None:
    """Of a file that is being read the consumed part is compared at every start."""
    at = arrivals.path(2).stat()
    arrivals.path(2).write_bytes(b"9" * (2 * LINE))
    os.utime(arrivals.path(2), ns=(at.st_atime_ns, at.st_mtime_ns))
    arrivals.restart()

    assert [name(2)] == [row.name for row in arrivals.source.verify_consumed()]
    assert ("held", "changed") == arrivals.state(name(2))


def test_a_long_file_is_not_compared_at_every_growth(
    arrivals: Arrivals, reads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond a size it is compared every ten seconds of growth, and before it is done."""
    monkeypatch.setattr(tracked_file, "REVERIFY_BYTES_MAX", LINE)
    for number in range(40):
        arrivals.append(2, record(100 + number))
        arrivals.turn()
        arrivals.wait(0.5)

    assert 1 <= len(reads) <= 3
    reads.clear()

    arrivals.append(2, record(200))
    arrivals.turn()
    arrivals.write(3, record(300))
    arrivals.wait(2)
    arrivals.turn()

    assert ("done", "") == arrivals.state(name(2))
    assert [43 * LINE] == reads


def test_a_long_file_that_changed_is_found_before_it_is_done(
    arrivals: Arrivals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Growth alone may put the comparison off, but not beyond the end."""
    monkeypatch.setattr(tracked_file, "REVERIFY_BYTES_MAX", LINE)
    arrivals.append(2, record(100))
    arrivals.turn()
    with arrivals.path(2).open("r+b") as stream:
        stream.write(b"9")
    arrivals.append(2, record(101))
    arrivals.write(3, record(300))
    arrivals.turn()
    arrivals.wait(2)
    arrivals.turn()

    assert ("held", "changed") == arrivals.state(name(2))


def test_a_file_deleted_while_it_is_read_is_gone(arrivals: Arrivals) -> None:
    """The row keeps the offset that was reached, and the file goes on when it comes back."""
    content = arrivals.path(2).read_bytes()
    arrivals.append(2, b"0126")
    arrivals.turn()
    arrivals.path(2).unlink()
    arrivals.turn()

    assert ("gone", "deleted") == arrivals.state(name(2))
    detail = arrivals.row(name(2)).detail
    assert detail.startswith(f"deleted after {len(content)} bytes of it were consumed: deliver it")
    assert len(content) == arrivals.row(name(2)).offset
    assert 1 == arrivals.source.counts()["gone"]

    arrivals.restart()
    arrivals.write(2, content + record(12))

    assert [(name(2), len(content), len(content) + LINE)] == arrivals.turn()


def test_a_file_deleted_while_nobody_looked_is_gone(arrivals: Arrivals) -> None:
    """A restart finds it by its row; of one that was read to its end nothing is missing, and its words say so."""
    size = arrivals.path(2).stat().st_size
    arrivals.path(2).unlink()
    arrivals.restart()
    arrivals.turn()

    assert ("gone", "whole") == arrivals.state(name(2))
    expected = (
        f"deleted when all {size} bytes that it had shown were consumed: nothing is missing unless"
    )
    assert arrivals.row(name(2)).detail.startswith(expected)


def test_a_done_file_may_be_deleted(arrivals: Arrivals) -> None:
    """It stays done, and memory forgets it."""
    arrivals.path(1).unlink()
    arrivals.turn()

    assert ("done", "") == arrivals.state(name(1))
    assert 0 == arrivals.source.counts()["done"]


def test_a_file_that_vanished_before_it_was_recorded_leaves_no_trace(arrivals: Arrivals) -> None:
    """Nothing was ever said of it."""
    arrivals.write(5, record(0))
    arrivals.source.scan()
    arrivals.path(5).unlink()
    arrivals.source.scan()

    assert name(5) not in [row.name for row in arrivals.source.changed()]


def test_a_file_that_vanished_untaken_is_forgotten(arrivals: Arrivals) -> None:
    """Nothing of it was lost to the campaign, so its row can go; it is new when it comes back."""
    arrivals.write(5, b"no record", age_s=0)
    arrivals.turn()
    assert ("waiting", "no_record") == arrivals.state(name(5))
    arrivals.path(5).unlink()
    arrivals.turn()
    assert [name(5)] == arrivals.source.left_unconsumed()
    arrivals.write(5, record(70))

    assert [(name(5), 0, LINE)] == arrivals.turn()


def test_a_file_that_cannot_be_read_is_tried_every_minute(
    arrivals: Arrivals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is held meanwhile, and nothing else waits for it."""
    opened = []
    os_open = os.open

    def refuse(path: bytes, flags: int, **more: int) -> int:
        if isinstance(path, bytes) and path.endswith(name(5).encode()):
            opened.append(path)
            raise PermissionError(13, "Permission denied")
        return os_open(path, flags, **more)

    monkeypatch.setattr(os, "open", refuse)
    arrivals.write(5, record(70))
    arrivals.write(6, record(71))

    assert [(name(6), 0, LINE)] == arrivals.turn()
    assert ("held", "unreadable") == arrivals.state(name(5))
    assert "Permission denied" in arrivals.row(name(5)).detail

    opened.clear()
    arrivals.wait(59)
    arrivals.turn()
    assert [] == opened
    arrivals.wait(1)
    arrivals.turn()
    assert 1 == len(opened)

    # A clock that was set back must not hold it for as long.
    arrivals.wait(-86400)
    arrivals.turn()
    assert 2 == len(opened)

    monkeypatch.undo()
    arrivals.wait(60)
    assert [(name(5), 0, LINE)] == arrivals.turn()


@pytest.mark.parametrize("how", ["longer under another inode", "as long in place"])
def test_what_is_no_mere_growth_is_compared_at_once(
    arrivals: Arrivals, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """However long the file is, and however lately it was compared."""
    monkeypatch.setattr(tracked_file, "REVERIFY_BYTES_MAX", LINE)
    arrivals.write(5, records(50, 2))
    arrivals.turn()
    arrivals.wait(1)
    if how == "as long in place":
        arrivals.write(5, records(60, 2))
    else:
        arrivals.move_in(5, records(60, 3))

    assert [] == arrivals.turn()
    assert ("held", "changed") == arrivals.state(name(5))


def test_a_held_file_is_not_read_at_a_start(arrivals: Arrivals, reads: list[int]) -> None:
    """Nobody touched it, so it would only be held again."""
    arrivals.write(1, records(60, 4))
    arrivals.turn()
    assert ("held", "changed") == arrivals.state(name(1))
    reads.clear()
    arrivals.restart()
    arrivals.turn()

    assert [2 * LINE] == reads  # the one that is being read


def test_only_regular_files_are_opened(arrivals: Arrivals) -> None:
    """A link is not followed, and a pipe does not block."""
    arrivals.path(5).symlink_to(arrivals.path(1))
    os.mkfifo(arrivals.path(6))

    for minute in (5, 6):
        with pytest.raises(OSError, match=r"symbolic links|regular"):
            listing.read_at(bytes(arrivals.path(minute)), 0, 1)
