"""``upswell rejects``: what was refused, listed, filtered, counted, and given back to be corrected."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from support.child import run
from support.command import Upswell, clean_environment
from support.inputs import inside, write, write_inputs
from upswell.audit import rejects
from upswell.audit.rejects import KeptRejects, RejectFilter
from upswell.errors import StorageError

FIRST = (
    b"0126545098,1,315,20200417193743\n"
    b"not a record\n"
    b"0126545098,1,many,20200417193743\r\n"
    b"=1+\\\xff\x00\t,1,1,20200417193743\n"
)
SECOND = b"0126545098,1,1,20200415193743\n,,,\n" + b"9" * 5000 + b"\n"
REFUSED = {
    "DATA_202004171937.csv": {"columns": 1, "msisdn": 1, "volume": 1},
    "DATA_202004180001.csv": {"too_long": 1, "msisdn": 1},
}


@pytest.fixture
def upswell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Upswell:
    """The command, within this process."""
    return inside(tmp_path, monkeypatch)


@pytest.fixture
def two_files(upswell: Upswell, tmp_path: Path) -> Upswell:
    """The command over a state of two files: five rejects, and one record of a closed day."""
    paths = write_inputs(tmp_path, FIRST)
    upswell(*paths, "--once")
    write(tmp_path / "data" / "DATA_202004180001.csv", SECOND)
    upswell(*paths, "--once")
    return upswell


def counted(upswell: Upswell, *words: str) -> dict[str, object]:
    """What ``--json`` counts."""
    found: dict[str, object] = json.loads(
        upswell("rejects", "--output", "out", "--json", *words).stdout
    )
    return found


def listed(upswell: Upswell, *words: str) -> list[dict[str, object]]:
    """What ``--list --json`` lists."""
    text = upswell("rejects", "--output", "out", "--list", "--json", *words).stdout
    return [json.loads(line) for line in text.splitlines()]


def test_every_reject_is_counted_under_its_reason_and_file(two_files: Upswell) -> None:
    """The counts are those of the files' rows; late records are told apart."""
    found = counted(two_files)

    assert REFUSED == found["files"]
    assert {"too_long": 1, "columns": 1, "msisdn": 2, "volume": 1} == found["reasons"]
    assert (5, 1, {}) == (found["lines"], found["late"], found["not_kept"])


def test_the_list_holds_as_many_as_are_counted(two_files: Upswell) -> None:
    """With the place at which each line stands in its file."""
    rows = listed(two_files)

    assert 5 == len(rows)
    assert [("DATA_202004171937.csv", 2, 32), ("DATA_202004171937.csv", 3, 45)] == [
        (row["file"], row["line"], row["byte"]) for row in rows[:2]
    ]
    assert r"\x3d1+\\\xff\x00\x09,1,1,20200417193743" == rows[2]["raw"]


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (("--file", "DATA_202004171937.csv"), 3),
        (("--day", "2020-04-18"), 2),
        (("--day", "2020-04-19"), 0),
        (("--reason", "msisdn"), 2),
        (("--reason", "late"), 1),
        (("--reason", "msisdn", "--day", "20200417"), 1),
        (("--file", "DATA_202004171937.csv", "--day", "20200418"), 0),
    ],
)
def test_filters_choose_rows_and_counts_alike(
    two_files: Upswell, words: tuple[str, ...], lines: int
) -> None:
    """Each filter, and several together, leave the same in the list and in the counts."""
    assert lines == counted(two_files, *words)["lines"] == len(listed(two_files, *words))


def test_late_records_come_only_when_asked_for(two_files: Upswell) -> None:
    """They are no rejects: the summary says how many there are, and where to see them."""
    assert ["late"] == [row["reason"] for row in listed(two_files, "--reason", "late")]
    assert "late" not in {row["reason"] for row in listed(two_files)}
    assert "1 record; see --reason late" in two_files("rejects", "--output", "out").stdout


def test_late_records_are_not_called_refused(two_files: Upswell) -> None:
    """Asked for alone they have a title of their own, also when there is none."""
    found = two_files("rejects", "--output", "out", "--reason", "late").stdout
    none = two_files("rejects", "--output", "out", "--reason", "late", "--day", "2020-04-17").stdout

    assert found.startswith("Late records\n  late   1  ")
    assert "No record was late.\n" == none
    assert "efused" not in found


def test_people_see_reason_meaning_and_file(two_files: Upswell) -> None:
    """The summary explains each reason; a row begins with file and line."""
    text = two_files("rejects", "--output", "out").stdout
    row = two_files("rejects", "--output", "out", "--reason", "columns", "--list").stdout

    assert "  columns   1  not four fields\n" in text
    assert "  DATA_202004171937.csv  3  " in text
    assert "DATA_202004171937.csv:2  byte 32  columns  not a record\n" == row


def test_a_spreadsheet_gets_no_formula(two_files: Upswell) -> None:
    """No cell of either table begins one."""
    for words in (["--csv"], ["--csv", "--list"]):
        text = two_files("rejects", "--output", "out", *words).stdout
        cells = [cell for row in csv.reader(io.StringIO(text)) for cell in row]

        assert len(cells) > 10
        assert [] == [cell for cell in cells if cell[:1] in set('=+-@"\t\r')]


def test_raw_lines_are_those_of_data_byte_for_byte(two_files: Upswell, tmp_path: Path) -> None:
    """Whatever bytes they hold; their line ends become line feeds."""
    two_files("rejects", "--output", "out")
    done = run(
        "rejects", "--output", "out", "--raw", "--file", "DATA_202004171937.csv", cwd=tmp_path
    )
    expected = b"".join(line.rstrip(b"\r") + b"\n" for line in FIRST.split(b"\n")[1:-1])

    assert expected == done.out


def test_a_line_that_is_not_whole_is_told(two_files: Upswell, tmp_path: Path) -> None:
    """Of one that was too long only the beginning can be given back."""
    done = run("rejects", "--output", "out", "--raw", "--reason", "too_long", cwd=tmp_path)

    assert b"9" * 4096 + b"\n" == done.out
    assert b"truncated: 1 line too long" in done.err


def test_raw_bytes_do_not_reach_a_terminal(two_files: Upswell, tmp_path: Path) -> None:
    """A line of DATA could steer it."""
    done = run("rejects", "--output", "out", "--raw", cwd=tmp_path, terminal=True)

    assert 2 == done.code
    assert b"redirect it" in done.out
    assert (
        "cannot be combined"
        in two_files("rejects", "--output", "out", "--raw", "--csv", code=2).stderr
    )


def test_what_was_corrected_comes_in_as_a_new_file(upswell: Upswell, tmp_path: Path) -> None:
    """Raw lines, edited and delivered under a stamp of their own, notify as they would have; nothing comes twice."""
    paths = write_inputs(
        tmp_path, "0126545098,1,3I5,20200417193743\n0128419091,3,20,20200417193744\n"
    )
    upswell(*paths, "--once")
    raw = run("rejects", "--output", "out", "--raw", cwd=tmp_path).out
    write(tmp_path / "data" / "DATA_202004171938.csv", raw.replace(b"3I5", b"315"))
    upswell(*paths, "--once")
    sent = upswell("sent", "--output", "out", "--list", "--json").stdout

    assert ["0126545098,1,315,20200417193743"] == [
        json.loads(line)["record"] for line in sent.splitlines()
    ]
    assert {"DATA_202004171937.csv": {"volume": 1}} == counted(upswell)["files"]


def test_what_is_not_kept_is_told(upswell: Upswell, tmp_path: Path) -> None:
    """Lines beyond the limit of a file are counted by reason and told by file; the list says what it lacks."""
    paths = write_inputs(tmp_path, "no record 1\n" * 100)
    upswell(*paths, "--once", "--rejects-max-bytes-per-file", "600")
    found = counted(upswell)
    done = upswell("rejects", "--output", "out", "--list", "--json")
    rows = done.stdout.splitlines()

    assert 100 == found["lines"]
    assert {"DATA_202004171937.csv": 100 - len(rows)} == found["not_kept"]
    assert 0 < len(rows) < 100
    assert "counted but not kept, for all reasons" in done.stderr
    assert f"{100 - len(rows)} lines of 1 file" in done.stderr
    text = upswell("rejects", "--output", "out", "--reason", "msisdn").stdout
    assert text.startswith("No line was rejected.\n\nCounted but not kept, for all reasons")
    assert f"{100 - len(rows)} lines" in text


def test_a_reject_file_that_is_gone_or_changed_is_told(two_files: Upswell, tmp_path: Path) -> None:
    """Its lines are not there, and nobody may take the rest for all of them; the counts stay."""
    first, second = sorted((tmp_path / "out" / ".upswell" / "rejects").iterdir())
    first.unlink()
    second.write_bytes(second.read_bytes() + b"more\n")
    done = two_files("rejects", "--output", "out", "--list")

    assert "" == done.stdout
    assert "1 reject file deleted since" in done.stderr
    assert f"omitted {second.name}: it was changed after it was written" in done.stderr
    assert 5 == counted(two_files)["lines"]


def test_a_reject_file_altered_at_the_same_length_is_told(
    two_files: Upswell, tmp_path: Path
) -> None:
    """One byte of another value, and none of its lines is passed on as what stood in DATA; verify tells it, too."""
    first, _ = sorted((tmp_path / "out" / ".upswell" / "rejects").iterdir())
    first.write_bytes(first.read_bytes().replace(b"many", b"MANY"))
    words = f"{first.name}: it was changed after it was written"
    listing = two_files("rejects", "--output", "out", "--list")

    assert f"omitted {words}" in listing.stderr
    assert "MANY" not in listing.stdout
    assert f"omitted {words}" in two_files("rejects", "--output", "out", "--raw").stderr
    assert (
        f"{first.name} was changed after it was written"
        in two_files("state", "verify", "--output", "out", code=1).stdout
    )


def test_a_line_that_no_run_wrote_is_an_error() -> None:
    """A reject file of the right length with another content is not taken for rejects."""
    with pytest.raises(StorageError, match="no run wrote"):
        rejects.parse(b"some\ttext\n", 1)


def test_pages_hide_nothing(
    two_files: Upswell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the length of a page, each line and each count is there once."""
    state = tmp_path / "out" / ".upswell"
    rows, counts = list(KeptRejects(state, RejectFilter())), rejects.count(state, RejectFilter())
    for name in ("files._PAGE_ROWS", "batches._PAGE_ROWS"):
        monkeypatch.setattr(f"upswell.state.queries.{name}", 1)
    monkeypatch.setattr(rejects, "_FILES_AT_ONCE", 1)

    assert rows == list(KeptRejects(state, RejectFilter()))
    assert counts == rejects.count(state, RejectFilter())


def test_a_reader_that_leaves_ends_the_list(two_files: Upswell, tmp_path: Path) -> None:
    """``| head -1`` is no error, of lines and of raw bytes."""
    write(tmp_path / "data" / "DATA_202004180002.csv", "no record 1\n" * 200_000)
    two_files("data", "segment", "rules", "out", "--once")
    for words in ("--list", "--raw"):
        command = f"{sys.executable} -m upswell rejects --output out {words} | head -n 1"
        done = subprocess.run(
            ["bash", "-c", f"{command}; exit ${{PIPESTATUS[0]}}"],
            cwd=tmp_path, env=clean_environment(), capture_output=True, timeout=50, check=False,
        )  # fmt: skip

        assert 0 == done.returncode, done.stderr
        assert 1 == done.stdout.count(b"\n")


def test_nothing_refused_is_said(upswell: Upswell, tmp_path: Path) -> None:
    """A clean state answers, too."""
    upswell(*write_inputs(tmp_path, "0126545098,1,315,20200417193743\n"), "--once")

    assert "No line was rejected.\n" == upswell("rejects", "--output", "out").stdout
    assert [] == listed(upswell)
