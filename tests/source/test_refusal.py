"""A file without one record: its likely cause by value, and when its row says so."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from pathlib import Path

import pytest

from support.arrivals import Arrivals, name, record, records
from upswell.source.file import File
from upswell.source.refusal import CAUSE_BYTES, likely_cause

LINE = b"0126545098,1,315,20200417193743\n"
PAGE = b"<!DOCTYPE html>\n<html><body>502 Bad Gateway</body></html>\n"


def packed_as_zip() -> bytes:
    """A zip archive of a file of records."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("DATA_202004171937.csv", LINE)
    return buffer.getvalue()


def packed_as_tar() -> bytes:
    """A tar archive of a file of records."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo("DATA_202004171937.csv")
        member.size = len(LINE)
        archive.addfile(member, io.BytesIO(LINE))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (LINE.replace(b",", b";") * 3, "its fields are separated by semicolons: deliver commas"),
        (b"msisdn;service\n" + LINE.replace(b",", b";"), "its fields are separated by semicolons"),
        (LINE.replace(b",", b";").replace(b"315", b"315,5"), "separated by semicolons"),
        (LINE.replace(b",", b"\t") * 2, "its fields are separated by tabs"),
        (LINE.replace(b",", b"|") * 2, "its fields are separated by vertical bars"),
        (LINE.replace(b",", b"\x01") * 9, "its fields are separated by the control character 01"),
        (LINE.replace(b",", b" ") * 2, "its fields are separated by blanks"),
        (LINE.replace(b"\n", b"\r") * 300, "its line ends are CR alone: deliver LF, or CR and LF"),
        (LINE.replace(b"\n", b"\r") * 2, "its line ends are CR alone"),
        (LINE.decode().encode("utf-16"), "it is UTF-16: deliver it as UTF-8"),
        (LINE.decode().encode("utf-16-le") * 200, "it is UTF-16"),
        (LINE.decode().encode("utf-16-be") * 200, "it is UTF-16"),
        (LINE.decode().encode("utf-32") * 2, "it is UTF-16"),
        (LINE.decode().encode("cp037") * 5, "it is EBCDIC: deliver it as ASCII"),
        (PAGE, "it is an HTML page"),
        (b"\xef\xbb\xbf \r\n<HTML>\n", "it is an HTML page"),
        (b'<?xml version="1.0"?><records/>', "it is XML"),
        (b'{"msisdn": "0126545098"}\n' * 5, "it is JSON"),
        (b'[{"msisdn": "0126545098"}]', "it is JSON"),
        (packed_as_zip(), "it is a zip archive: deliver the plain lines"),
        (packed_as_tar(), "it is a tar archive"),
        (gzip.compress(LINE), "it is gzip data"),
        (bz2.compress(LINE), "it is bzip2 data"),
        (lzma.compress(LINE), "it is xz data"),
        (b"\x04\x22\x4d\x18\x64\x40\xa7" + LINE, "it is lz4 data"),
        (bytes(range(128, 256)) + bytes(range(2, 9)) * 40, "it is not text"),
        (b"\0" * CAUSE_BYTES, "it begins with NUL bytes alone"),
        (LINE.replace(b"\n", b",7\n") * 3, "its lines have 5 fields: deliver four"),
        (b"0126545098,315\n" * 3, "its lines have 2 fields"),
        (b"0126545098\n" * 3, "its lines have 1 field: deliver four"),
        (LINE.replace(b",", b", ") * 3, "blanks stand beside its commas"),
        (LINE.replace(b"20200417193743", b"17.04.2020 19:37") * 3, ""),
        (b"nonsense\nmore of it\n", ""),
        (b"", ""),
    ],
)
def test_the_cause_is_guessed_from_the_first_bytes(content: bytes, cause: str) -> None:
    """What each kind of file is called, with what to deliver; nothing where nothing can be said."""
    found = likely_cause(content[:CAUSE_BYTES])

    assert (cause in found) if cause else (found == "")


def test_a_line_end_that_the_first_bytes_cut_is_no_carriage_return() -> None:
    """The first bytes may end between CR and LF."""
    assert "CR alone" not in likely_cause(b"0126545098;1;315;20200417193743\r")


@pytest.fixture
def arrivals(tmp_path: Path) -> Arrivals:
    """An empty DATA directory."""
    return Arrivals(tmp_path / "data")


def test_a_refused_file_says_so_when_it_is_done(arrivals: Arrivals) -> None:
    """Whether plain or compressed; one with a record, or of blank lines alone, says nothing."""
    bad = records(0, 3).replace(b",", b";")
    arrivals.write(1, b"msisdn;service;volume;timestamp\n\n" + bad, age_s=9)
    arrivals.write_gzip(2, records(0, 2).replace(b",", b"\t"), age_s=9)
    arrivals.write(3, records(0, 3).replace(b"\n", b"\r"), age_s=9)
    arrivals.write(4, bad + record(5), age_s=9)
    arrivals.write(5, b"\n\n", age_s=9)
    arrivals.write(6, record(9))
    arrivals.turn()
    arrivals.turn()

    assert [("done", "refused")] * 3 == [arrivals.state(name(at)) for at in (1, 3)] + [
        arrivals.state(name(2, "csv.gz"))
    ]
    assert [("done", "")] * 2 == [arrivals.state(name(at)) for at in (4, 5)]
    assert (
        "none of its 5 lines is a record: its fields are separated by semicolons: deliver commas"
        == arrivals.row(name(1)).detail
    )
    assert "separated by tabs" in arrivals.row(name(2, "csv.gz")).detail
    assert (
        "its only line is not a record: its line ends are CR alone: deliver LF, or CR and LF"
        == arrivals.row(name(3)).detail
    )


def test_the_newest_file_says_so_once_it_is_quiet(arrivals: Arrivals) -> None:
    """It need not wait for a newer one, and a record that it gets later ends it."""
    arrivals.write(1, b"0126545098|1|5|20200417193743\n")
    arrivals.turn()
    arrivals.wait(9)
    arrivals.turn()
    assert ("reading", "refused") == arrivals.state(name(1))
    arrivals.wait(9)
    arrivals.turn()
    assert "separated by vertical bars" in arrivals.row(name(1)).detail

    arrivals.append(1, record(0))
    arrivals.turn()
    arrivals.wait(9)
    arrivals.turn()
    assert ("reading", "") == arrivals.state(name(1))


def test_a_run_once_ends_with_it(arrivals: Arrivals) -> None:
    """The end of the listing makes it done."""
    arrivals.write(1, b"<html>\n<h1>502</h1>\n", age_s=9)
    arrivals.source.freeze()
    arrivals.once()

    assert ("done", "refused") == arrivals.state(name(1))
    assert "HTML" in arrivals.row(name(1)).detail


def test_a_file_that_cannot_be_read_again_has_no_cause(
    arrivals: Arrivals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lines were refused all the same."""

    def fail(*_: object, **__: object) -> bytes:
        raise PermissionError

    monkeypatch.setattr("upswell.source.tracked_file.read_head", fail)
    arrivals.write(1, b"a;1;2;3\nb;1;2;3\n", age_s=9)
    arrivals.write(2, record(9))
    arrivals.turn()

    detail = arrivals.row(name(1)).detail
    assert "none of its 2 lines is a record: upswell rejects has the reasons" == detail


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ({"rejected": 3}, True),
        ({"rejected": 1, "blank": 1, "header": 1}, True),
        ({"header": 1, "blank": 2}, False),
        ({"rejected": 2, "late": 1}, False),
        ({"rejected": 2, "not_in_segment": 1}, False),
        ({}, False),
    ],
)
def test_refused_is_a_file_with_rejects_and_no_record(
    outcomes: dict[str, int], expected: bool
) -> None:
    """A record of whatever outcome is a record."""
    file = File("DATA_202004171937.csv", "done", lines=sum(outcomes.values()), outcomes=outcomes)

    assert expected is file.is_refused
