"""Compressed files: nothing of one is applied before its end and checksum were seen."""

import bz2
import gzip
import io
import lzma
import os
import zipfile
import zlib
from pathlib import Path

import pytest

from support.arrivals import Arrivals, name, record, records, stamp
from upswell import kernel
from upswell.source import tracked_file

LINE = len(record(0))


@pytest.fixture
def arrivals(tmp_path: Path) -> Arrivals:
    """An empty DATA directory."""
    return Arrivals(tmp_path / "data")


def zipped(content: bytes) -> bytes:
    """The content in a zip archive."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a.csv", content)
    return stream.getvalue()


def test_a_whole_file_is_read_like_a_plain_one(arrivals: Arrivals) -> None:
    """Positions, counts and digest are those of its uncompressed bytes."""
    content = records(0, 3)
    one = arrivals.write_gzip(1, content)

    assert [(one, 0, 3 * LINE)] == arrivals.turn()
    row = arrivals.row(one)
    assert (3 * LINE, 3, 3) == (row.offset, row.newlines, row.lines)
    assert kernel.crc64(content) == row.digest == row.content_digest
    assert len(content) == row.content_bytes

    arrivals.write(2, record(9))
    arrivals.wait()
    arrivals.turn()
    assert ("done", "") == arrivals.state(one)


def test_several_members_are_one_file(arrivals: Arrivals) -> None:
    """A line may even cross from one to the next."""
    content = records(0, 4)
    raw = gzip.compress(content[: LINE + 7]) + gzip.compress(content[LINE + 7 :])
    one = arrivals.write(1, raw, suffix="csv.gz")

    assert [(one, 0, len(content))] == arrivals.turn()


def test_an_incomplete_file_waits(arrivals: Arrivals) -> None:
    """Nothing of it is read until it has its end, however many records are there."""
    raw = gzip.compress(records(0, 500), mtime=0)
    one = arrivals.write(1, raw[:-9], suffix="csv.gz")

    assert [] == arrivals.turn()
    assert ("waiting", "incomplete") == arrivals.state(one)

    arrivals.wait(1)
    arrivals.write(1, raw, suffix="csv.gz")
    arrivals.wait(2)

    assert [(one, 0, 500 * LINE)] == arrivals.turn()


def test_an_incomplete_file_that_is_still_is_broken(arrivals: Arrivals) -> None:
    """It is held with a next step, and checked again when it changes."""
    raw = gzip.compress(records(0, 500), mtime=0)
    one = arrivals.write(1, raw[:-9], suffix="csv.gz")
    arrivals.turn()
    arrivals.wait()

    assert [] == arrivals.turn()
    assert ("held", "broken") == arrivals.state(one)
    assert "deliver it again" in arrivals.row(one).detail

    arrivals.wait(100)
    arrivals.write(1, raw, suffix="csv.gz")

    assert [(one, 0, 500 * LINE)] == arrivals.turn()


def test_an_incomplete_file_is_not_read_with_every_piece_that_arrives(
    arrivals: Arrivals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once it was seen to lack its end it is checked again after its quiet period."""
    checked = []
    check = kernel.check_gzip

    def count(path: bytes, bytes_max: int) -> kernel.CheckedGzip:
        checked.append(path)
        return check(path, bytes_max)

    monkeypatch.setattr(kernel, "check_gzip", count)
    raw = gzip.compress(records(0, 500), mtime=0)
    for length in range(100, len(raw), 100):
        arrivals.write(1, raw[:length], suffix="csv.gz")
        arrivals.turn()
        arrivals.wait(1)
    arrivals.write(1, raw, suffix="csv.gz")
    arrivals.turn()
    arrivals.wait()
    arrivals.turn()

    assert ("reading", "") == arrivals.state(name(1, "csv.gz"))
    assert 2 == len(checked)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"plain text, not gzip\n",
        gzip.compress(b"a\n")[:-4] + b"abcd",
        gzip.compress(records(0, 50))[:40] + b"\0" * 40,
    ],
    ids=["empty", "plain", "checksum", "damaged"],
)
def test_broken_data_is_held(arrivals: Arrivals, raw: bytes) -> None:
    """Whatever is wrong with it, the file is held and nothing of it is applied."""
    one = arrivals.write(1, raw, age_s=9, suffix="csv.gz")

    assert [] == arrivals.turn()
    assert ("held", "broken") == arrivals.state(one)


def test_a_bomb_is_held(arrivals: Arrivals, monkeypatch: pytest.MonkeyPatch) -> None:
    """More content than is ever read is a fault of its own."""
    monkeypatch.setattr(tracked_file, "CONTENT_BYTES_MAX", 1 << 20)
    one = arrivals.write_gzip(1, b"\n" * (2 << 20))

    assert [] == arrivals.turn()
    assert ("held", "too_large") == arrivals.state(one)
    assert 64 << 30 == 64 * 1024**3


@pytest.mark.parametrize(
    ("kind", "raw"),
    [
        ("gzip", gzip.compress(records(0, 3))),
        ("zip", zipped(records(0, 3))),
        ("bzip2", bz2.compress(records(0, 3))),
        ("xz", lzma.compress(records(0, 3))),
        ("zstd", b"\x28\xb5\x2f\xfd" + b"x" * 40),
    ],
)
def test_compressed_bytes_under_a_plain_name_are_held(
    arrivals: Arrivals, kind: str, raw: bytes
) -> None:
    """They would be nothing but rejects."""
    one = arrivals.write(1, raw, age_s=9)

    assert [] == arrivals.turn()
    assert ("held", "compressed") == arrivals.state(one)
    assert kind in arrivals.row(one).detail

    arrivals.write(1, records(0, 3))
    assert [(one, 0, 3 * LINE)] == arrivals.turn()


def test_text_that_begins_like_a_mark_is_text(arrivals: Arrivals) -> None:
    """The letters BZh and PK alone make no archive."""
    arrivals.write(1, b"BZh,PK\n" + record(0))
    arrivals.write(2, b"PK,BZh\n" + record(1))

    assert [name(1), name(2)] == [consumed[0] for consumed in arrivals.turn()]


def test_a_restart_goes_on_at_the_offset(
    arrivals: Arrivals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It decompresses again up to it, compares, and does not check the whole file once more."""
    content = records(0, 40)
    one = arrivals.write_gzip(1, content, age_s=9)
    arrivals.source.scan()
    [planned] = arrivals.source.ready()
    arrivals.read([planned._replace(end=10 * LINE)])

    arrivals.restart()
    monkeypatch.setattr(kernel, "check_gzip", None)

    assert [] == arrivals.source.verify_consumed()
    assert [(one, 10 * LINE, 40 * LINE)] == arrivals.consume()
    assert kernel.crc64(content) == arrivals.row(one).digest


def test_a_check_is_not_believed_of_a_file_that_changed_before_a_restart(
    arrivals: Arrivals,
) -> None:
    """The row may have been saved between a change and the next check."""
    one = arrivals.write_gzip(1, records(0, 40))
    arrivals.source.scan()
    [planned] = arrivals.source.ready()
    arrivals.read([planned._replace(end=10 * LINE)])
    raw = arrivals.path(1, "csv.gz").read_bytes()
    arrivals.wait(1)
    arrivals.write(1, raw[:-9], suffix="csv.gz")
    arrivals.source.scan()
    arrivals.save()
    arrivals.restart()

    assert [] == arrivals.turn()
    assert ("waiting", "incomplete") == arrivals.state(one)
    assert 10 * LINE == arrivals.row(one).offset


@pytest.mark.parametrize("same", [True, False])
def test_a_change_between_the_check_and_the_last_read(arrivals: Arrivals, same: bool) -> None:
    """The file goes on when the new data holds the same beginning; otherwise it is held at its offset."""
    content = records(0, 40)
    one = arrivals.write_gzip(1, content)
    arrivals.source.scan()
    [planned] = arrivals.source.ready()
    arrivals.read([planned._replace(end=10 * LINE)])
    arrivals.wait(1)
    other = content + record(77) if same else records(500, 60)
    arrivals.write(1, gzip.compress(other, 1, mtime=0), suffix="csv.gz")

    if same:
        assert [(one, 10 * LINE, 41 * LINE)] == arrivals.turn()
    else:
        assert [] == arrivals.turn()
        assert ("held", "changed") == arrivals.state(one)
        assert 10 * LINE == arrivals.row(one).offset


def test_a_change_after_the_look_is_held_at_the_offset_reached(arrivals: Arrivals) -> None:
    """Data that was swapped under the read is noticed by its digest at the end, and held."""
    one = arrivals.write_gzip(1, records(0, 40))
    arrivals.source.scan()
    ranges = arrivals.source.ready()
    arrivals.write_gzip(1, records(500, 40))
    arrivals.read(ranges)

    assert ("held", "changed") == arrivals.state(one)
    assert [] == arrivals.turn()


def test_data_that_broke_after_the_look_is_held(arrivals: Arrivals) -> None:
    """What was read of it before stays consumed."""
    one = arrivals.write_gzip(1, records(0, 4000))
    arrivals.source.scan()
    ranges = arrivals.source.ready()
    raw = arrivals.path(1, "csv.gz").read_bytes()
    arrivals.write(1, raw[: len(raw) // 2], suffix="csv.gz")
    arrivals.read(ranges)

    assert ("held", "changed") == arrivals.state(one)


def rot(arrivals: Arrivals, one: str, raw: bytes) -> None:
    """Put other bytes into a file in place, with nothing in its stat to tell of it."""
    path = arrivals.data / one
    before = path.stat()
    path.write_bytes(raw)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_data_that_rots_without_a_trace_is_checked_once_more_and_then_held(
    arrivals: Arrivals,
) -> None:
    """Reading it fails twice though checking it does not: it is not turned over for ever."""
    one = arrivals.write_gzip(1, records(0, 4000))
    good = (arrivals.data / one).read_bytes()
    bad = good[:20] + bytes(len(good) - 20)
    states = []
    for _ in range(2):
        arrivals.source.scan()
        ranges = arrivals.source.ready()
        rot(arrivals, one, bad)
        arrivals.read(ranges)
        rot(arrivals, one, good)
        states.append(arrivals.state(one))

    assert [("waiting", ""), ("held", "changed")] == states


def test_taken_data_that_rotted_before_a_restart_is_held(arrivals: Arrivals) -> None:
    """The check of before is believed, but what was consumed is compared, and that fails."""
    content = records(0, 4000)
    one = arrivals.write_gzip(1, content[:-1])
    arrivals.turn()
    assert 0 < arrivals.row(one).offset < len(content) - 1
    good = (arrivals.data / one).read_bytes()
    rot(arrivals, one, good[:20] + bytes(len(good) - 20))
    arrivals.restart()

    assert [[], []] == [arrivals.turn(), arrivals.turn()]
    assert ("held", "broken") == arrivals.state(one)


def test_done_data_that_is_packed_anew_is_nothing_new(arrivals: Arrivals) -> None:
    """Identity is that of the uncompressed bytes."""
    content = records(0, 40)
    one = arrivals.write_gzip(1, content, age_s=9)
    arrivals.write(2, record(90))
    arrivals.turn()
    assert ("done", "") == arrivals.state(one)

    arrivals.write(1, gzip.compress(content, 1), suffix="csv.gz")

    assert [] == arrivals.turn()
    assert ("done", "") == arrivals.state(one)


def test_a_member_that_is_added_later_is_read(arrivals: Arrivals) -> None:
    """The file goes on like a plain one that grew."""
    one = arrivals.write_gzip(1, records(0, 4), age_s=9)
    arrivals.write(2, record(90))
    arrivals.turn()
    arrivals.append(1, gzip.compress(records(4, 2)), suffix="csv.gz")

    assert [(one, 4 * LINE, 6 * LINE)] == arrivals.turn()


def test_an_unterminated_last_line_of_a_whole_file_is_taken_once_still(arrivals: Arrivals) -> None:
    """While members may be added, the line may not be at its end."""
    content = records(0, 2)[:-1]
    one = arrivals.write_gzip(1, content)

    assert [(one, 0, LINE)] == arrivals.turn()

    arrivals.wait()

    assert [(one, LINE, 2 * LINE - 1)] == arrivals.turn()


def test_a_file_without_a_line_is_done(arrivals: Arrivals) -> None:
    """Empty content in whole gzip data is a file like any other."""
    one = arrivals.write_gzip(1, b"", age_s=9)
    arrivals.write(2, record(90))
    arrivals.turn()

    assert ("done", "") == arrivals.state(one)
    assert zlib.crc32(b"") == 0 == arrivals.row(one).offset
    assert stamp(1) == arrivals.row(one).stamp
