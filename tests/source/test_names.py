"""Which names are DATA files, and that nothing else is ever opened."""

import os
import socket
from pathlib import Path

import pytest

from support.arrivals import Arrivals, name, record
from support.faults.limits import bound_by_modes
from upswell.errors import InputMissing
from upswell.source.listing import (
    list_directory,
    looks_like_data,
    read_head,
    read_name,
    show_name,
)
from upswell.source.tracked_file import CONTENT_BYTES_MAX


@pytest.fixture
def arrivals(tmp_path: Path) -> Arrivals:
    """An empty DATA directory."""
    return Arrivals(tmp_path / "data")


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        ("DATA_202004171937.csv", ("202004171937", "")),
        ("DATA_202004171937.csv.gz", ("202004171937", "")),
        ("DATA_202002290000.csv", ("202002290000", "")),
        ("DATA_000101010000.csv", ("000101010000", "")),
        ("DATA_202102290000.csv", ("", "stamp")),
        ("DATA_202013010000.csv", ("", "stamp")),
        ("DATA_202004171960.csv", ("", "stamp")),
        ("DATA_202004172400.csv", ("", "stamp")),
        ("DATA_000000000000.csv.gz", ("", "stamp")),
        ("data_202004171937.csv", ("", "name")),
        ("DATA_202004171937.CSV", ("", "name")),
        ("DATA_202004171937.csv.GZ", ("", "name")),
        ("DATA_202004171937.csv.tmp", ("", "name")),
        ("DATA_202004171937.csv.gz.part", ("", "name")),
        ("DATA_202004171937.csv\n", ("", "name")),
        (".DATA_202004171937.csv", ("", "name")),
        ("DATA_20200417193.csv", ("", "name")),
        ("DATA_2020041719370.csv", ("", "name")),
        ("DATA_٢٠٢٠٠٤١٧١٩٣٧.csv", ("", "name")),
        ("DATA_202004171937.csv\udcff", ("", "name")),
        ("DATA_.csv", ("", "name")),
        ("", ("", "name")),
    ],
)
def test_names(one: str, expected: tuple[str, str]) -> None:
    """DATA_, twelve digits that are a real date and time, .csv or .csv.gz, in exactly these letters."""
    assert expected == read_name(one)


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        ("DATA_202004171937.CSV", True),
        ("DATA_202004171937.csv.lz4", True),
        ("DATA_202004171937.csv.zip", True),
        ("DATA_202004171937.txt", True),
        ("DATA_202004171937", True),
        ("data_202004171937.csv", True),
        ("DATA_202013010000.csv", True),
        ("DATA_2020041719374.csv", True),
        ("Data-2.xlsx", True),
        ("usage-20200417193700.txt", True),
        ("cdr_2020-04-17_19-37.csv", True),
        ("202004171937.csv.gz", True),
        ("usage-20201399193700.txt", False),
        ("0126545098.csv", False),
        ("x1202004171937.csv", False),
        ("README", False),
        (".DATA_202004171937.csv", False),
        ("DATA_202004171937.csv.md5", False),
        ("DATA_202004171937.csv.SHA256", False),
        ("DATA_202004171937.ok", False),
        ("DATA_202004171937.csv.part", False),
        ("DATA_202004171937.csv.tmp", False),
        ("DATA_202004171937.csv~", False),
        ("DATA_202004171937.csv\udcff", True),
    ],
)
def test_names_that_look_like_data(one: str, expected: bool) -> None:
    """They begin with DATA or hold a stamp, and are no checksum, marker or unfinished file."""
    assert expected is looks_like_data(one)


def test_unread_names_are_those_that_look_like_data(arrivals: Arrivals) -> None:
    """As of the last scan, over a restart, too; a link counts, and what left does not."""
    for one in ("DATA_202004171937.CSV", "README", "DATA_202004171938.csv.zip"):
        arrivals.write(one, b"")
    arrivals.path(9).symlink_to("nowhere")
    arrivals.write(1, record(0))
    arrivals.turn()
    assert [name(9), "DATA_202004171937.CSV", "DATA_202004171938.csv.zip"] == sorted(
        arrivals.source.unread(), key=lambda one: (one != name(9), one)
    )

    arrivals.path("DATA_202004171937.CSV").unlink()
    arrivals.path(9).unlink()
    arrivals.restart()
    arrivals.turn()
    assert ["DATA_202004171938.csv.zip"] == arrivals.source.unread()


def test_the_head_of_a_file_is_uncompressed(arrivals: Arrivals) -> None:
    """Up to so many bytes; broken compressed data is an error of reading."""
    arrivals.write(1, b"abcdef")
    arrivals.write_gzip(2, b"abcdef")
    arrivals.write("broken.gz", b"nothing of the kind")
    plain, packed, broken = (
        os.fsencode(arrivals.path(one)) for one in (1, name(2, "csv.gz"), "broken.gz")
    )

    assert b"abc" == read_head(plain, 3, compressed=False)
    assert b"abc" == read_head(packed, 20, compressed=True)[:3]
    with pytest.raises(OSError, match="incorrect header"):
        read_head(broken, 20, compressed=True)


def test_messages_show_no_msisdn_that_a_name_holds() -> None:
    """The name of a DATA file is shown whole; any other could be anything."""
    assert "DATA_202004171937.csv" == show_name("DATA_202004171937.csv")
    assert "0126545098" not in show_name("0126545098.csv")


def test_a_plain_file_without_measure_is_held(arrivals: Arrivals) -> None:
    """More than any batch of files holds is a mistake; nothing of it is read."""
    with arrivals.path(1).open("wb") as stream:
        stream.truncate(CONTENT_BYTES_MAX + 1)

    assert [] == arrivals.turn()
    assert ("held", "too_large") == arrivals.state(name(1))


def test_what_is_no_regular_file_is_never_opened(arrivals: Arrivals, tmp_path: Path) -> None:
    """Links, directories, pipes and sockets under a DATA name are ignored; a pipe does not hang the run."""
    elsewhere = tmp_path / "elsewhere.csv"
    elsewhere.write_bytes(record(0))
    arrivals.path(1).symlink_to(elsewhere)
    arrivals.path(2).symlink_to(tmp_path / "nothing")
    arrivals.path(3).symlink_to(arrivals.path(3))
    arrivals.path(4).mkdir()
    os.mkfifo(arrivals.path(5))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(arrivals.path(6)))

        assert [] == arrivals.turn()
    assert {("ignored", "not_regular")} == {arrivals.state(name(at)) for at in range(1, 7)}


def test_a_hard_link_is_a_file(arrivals: Arrivals, tmp_path: Path) -> None:
    """Some producers publish by linking."""
    elsewhere = tmp_path / "elsewhere.csv"
    elsewhere.write_bytes(record(0))
    os.link(elsewhere, arrivals.path(1))

    assert [(name(1), 0, len(record(0)))] == arrivals.turn()


def test_an_inode_that_comes_again_is_another_file(arrivals: Arrivals) -> None:
    """File systems give a deleted file's inode to the next one, and producers write into files they had before."""
    arrivals.write(1, record(0), age_s=9)
    arrivals.write(2, record(1), age_s=9)
    arrivals.turn()
    inode = arrivals.path(1).stat().st_ino
    arrivals.path(1).rename(arrivals.path(3))
    arrivals.write(3, record(2) + record(3))

    assert inode == arrivals.path(3).stat().st_ino
    assert [(name(3), 0, 2 * len(record(2)))] == arrivals.turn()


def test_files_in_directories_are_not_seen(arrivals: Arrivals) -> None:
    """Only what lies directly in DATA counts."""
    (arrivals.data / "old").mkdir()
    (arrivals.data / "old" / name(1)).write_bytes(record(0))

    assert [] == arrivals.turn()
    assert ("ignored", "name") == arrivals.state("old")


def test_odd_names_are_ignored_and_said_once(arrivals: Arrivals) -> None:
    """Their rows are given as they appear, and not again with each scan."""
    odd = [name(1) + ".tmp", "DATA_202013010000.csv", "a\nb\x1b[31m", "DATA_\udcff.csv"]
    for one in odd:
        (arrivals.data / one).write_bytes(record(0))
    arrivals.source.scan()

    assert sorted(odd) == sorted(row.name for row in arrivals.source.changed())
    assert 4 == arrivals.source.counts()["ignored"]

    arrivals.source.scan()

    assert [] == arrivals.source.changed()


def test_ignored_names_are_forgotten_when_they_leave(arrivals: Arrivals) -> None:
    """They are remembered only while they are there."""
    path = arrivals.data / (name(1) + ".tmp")
    path.write_bytes(record(0))
    arrivals.turn()
    path.rename(arrivals.path(1))

    assert [(name(1), 0, len(record(0)))] == arrivals.turn()
    assert 0 == arrivals.source.counts()["ignored"]


def test_a_link_in_place_of_a_file_that_was_read_loses_nothing(arrivals: Arrivals) -> None:
    """The row of what was consumed stays, and the file goes on when it is back."""
    arrivals.write(1, record(0))
    arrivals.turn()
    arrivals.path(1).unlink()
    arrivals.path(1).symlink_to("/dev/null")
    arrivals.turn()

    assert ("gone", "whole") == arrivals.state(name(1))
    assert len(record(0)) == arrivals.row(name(1)).offset

    arrivals.restart()
    arrivals.turn()
    arrivals.path(1).unlink()
    arrivals.write(1, record(0) + record(1))

    assert [(name(1), len(record(0)), 2 * len(record(0)))] == arrivals.turn()


def test_an_irregular_name_that_becomes_a_file_is_read(arrivals: Arrivals) -> None:
    """Even when the row of its ignored days was saved."""
    arrivals.path(1).mkdir()
    arrivals.turn()
    arrivals.restart()
    arrivals.path(1).rmdir()
    arrivals.write(1, record(0))

    assert [(name(1), 0, len(record(0)))] == arrivals.turn()
    assert ("reading", "") == arrivals.state(name(1))


def test_a_directory_that_cannot_be_listed(arrivals: Arrivals) -> None:
    """It is an error of its own, after which nothing is lost: a later scan goes on."""
    arrivals.write(1, record(0))
    arrivals.turn()
    arrivals.data.rename(arrivals.data.with_name("away"))

    with pytest.raises(InputMissing) as caught:
        arrivals.source.scan()
    assert caught.value.hint
    assert [] == arrivals.source.ready()

    arrivals.data.with_name("away").rename(arrivals.data)
    arrivals.append(1, record(1))

    assert [(name(1), len(record(0)), 2 * len(record(0)))] == arrivals.turn()
    assert ("reading", "") == arrivals.state(name(1))


def test_a_scan_gives_every_name_with_its_own_stat(arrivals: Arrivals) -> None:
    """Links are not followed."""
    arrivals.write(1, record(0))
    arrivals.path(2).symlink_to(arrivals.path(1))
    found = dict(list_directory(os.fsencode(arrivals.data)))

    assert {name(1), name(2)} == set(found)
    assert found[name(2)].st_ino == os.lstat(arrivals.path(2)).st_ino


def test_a_name_that_goes_during_a_scan_is_left_out(arrivals: Arrivals) -> None:
    """Between the listing and its stat; the scan goes on with the others."""
    for minute in range(5):
        arrivals.write(minute, record(minute))
    scanning = list_directory(os.fsencode(arrivals.data))
    first, _ = next(scanning)
    kept = next(name(minute) for minute in range(5) if name(minute) != first)
    for minute in range(5):
        if name(minute) != kept:
            arrivals.path(minute).unlink()

    assert [kept] == [one for one, _ in scanning]


def test_files_that_cannot_be_looked_at_are_not_gone(arrivals: Arrivals) -> None:
    """A directory that may be listed but not entered shows names without stats: what is known of them stays."""
    arrivals.write(1, record(0))
    arrivals.turn()
    arrivals.append(1, record(1))
    arrivals.data.chmod(0o400)
    try:
        with bound_by_modes():
            arrivals.source.scan()
    finally:
        arrivals.data.chmod(0o700)

    assert 0 == arrivals.source.counts()["gone"]
    assert 1 == arrivals.source.counts()["reading"]
    assert [(name(1), len(record(0)), 2 * len(record(0)))] == arrivals.turn()
