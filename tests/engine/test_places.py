"""Paths that are swapped, or lie within each other, are refused with a guess before anything is touched."""

import json
from pathlib import Path

import pytest

from support.command import Upswell
from support.inputs import DIALS, RULES, inside, write, write_inputs


@pytest.fixture
def upswell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Upswell:
    """The command, within this process."""
    return inside(tmp_path, monkeypatch)


def refused(upswell: Upswell, root: Path, *paths: str) -> str:
    """What a run, a check and a submit say alike of these paths; none changes anything."""
    before = sorted(root.rglob("*"))
    told = upswell(*paths, "--once", code=78).stderr
    found = json.loads(upswell("check", *paths, "--json", code=78).stdout)["findings"]
    write(root / "some.pex", "")
    submit = ("--master", "spark://host:7077", "--pex", "some.pex")
    assert (
        told.splitlines()[:2] == upswell("submit", *paths, *submit, code=78).stderr.splitlines()[:2]
    )
    (root / "some.pex").unlink()

    message = told.partition("error: ")[2].partition("\n")[0]
    assert message in [one["message"] for one in found if one["level"] == "error"]
    assert before == sorted(root.rglob("*"))
    return told


@pytest.mark.parametrize(
    ("paths", "named"),
    [
        (("data", "segment", "rules", "data"), "DATA data and OUTPUT data are one place"),
        (("data", "segment", "rules", "rules"), "RULES rules and OUTPUT rules are one place"),
        (
            ("data", "segment", "rules", "segment"),
            "SEGMENT segment and OUTPUT segment are one place",
        ),
        (("data", "data", "rules", "out"), "DATA data and SEGMENT data are one place"),
        (
            ("data", "segment", "data/../data", "out"),
            "DATA data and RULES data/../data are one place",
        ),
        (("data", "segment", "rules", "link"), "DATA data and OUTPUT link are one place"),
        (("data", "segment", "rules", "data/out"), "OUTPUT data/out lies within DATA data"),
        (("data", "segment", "rules", "link/a/b"), "OUTPUT link/a/b lies within DATA data"),
        (("data", "segment", "rules", "."), "DATA data lies within OUTPUT ."),
        (("link", "segment", "rules", "../inputs"), "DATA link lies within OUTPUT ../inputs"),
    ],
)
def test_one_place_has_one_name(
    upswell: Upswell,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    paths: tuple[str, ...],
    named: str,
) -> None:
    """Links and dots are resolved."""
    root = tmp_path / "inputs"
    write_inputs(root)
    (root / "link").symlink_to("data")
    monkeypatch.chdir(root)

    told = refused(upswell, root, *paths)
    assert named in told
    assert "DATA SEGMENT RULES OUTPUT" in told


def test_an_output_beside_a_name_that_begins_alike_is_another_place(
    upswell: Upswell, tmp_path: Path
) -> None:
    """``data-out`` is not within ``data``; a SEGMENT file may lie in DATA, whose other names are ignored."""
    data, segment, rules, _ = write_inputs(tmp_path)
    (tmp_path / segment / "SEGMENT.csv").rename(tmp_path / data / "SEGMENT.csv")

    upswell(data, "data/SEGMENT.csv", rules, "data-out", "--once")
    upswell("check", data, "data/SEGMENT.csv", rules, "data-out")
    upswell("check", ".", "data/SEGMENT.csv", rules)


@pytest.mark.parametrize("name", ["DATA_202004171937.csv", "DATA_202101010000.csv.gz"])
def test_an_output_with_files_of_data_is_swapped(
    upswell: Upswell, tmp_path: Path, name: str
) -> None:
    """Such a run would watch an empty directory for ever."""
    _, segment, rules, _ = write_inputs(tmp_path)
    write(tmp_path / "arriving" / name, "")
    (tmp_path / "out").mkdir()

    told = refused(upswell, tmp_path, "out", segment, rules, "arriving")
    assert f"holds a file of DATA, {name}: are DATA and OUTPUT swapped?" in told


def test_a_data_that_is_an_output_is_swapped(upswell: Upswell, tmp_path: Path) -> None:
    """Also when all files of DATA have left for the archive."""
    data, segment, rules, output = write_inputs(tmp_path)
    upswell(data, segment, rules, output, "--once")
    (tmp_path / data / "DATA_202004171937.csv").unlink()

    assert "are DATA and OUTPUT swapped?" in refused(
        upswell, tmp_path, output, segment, rules, data
    )


@pytest.mark.parametrize("head", ["", "msisdn\n"])
def test_segment_and_rules_that_are_swapped_are_told_as_that(
    upswell: Upswell, tmp_path: Path, head: str
) -> None:
    """Their content tells, and no line of them is reported besides."""
    data, segment, rules, output = write_inputs(tmp_path, segment=head + "\n".join(DIALS) + "\n")

    words = "SEGMENT and RULES are swapped: SEGMENT holds rules, and RULES holds msisdns"
    told = upswell(data, rules, segment, output, "--once", code=78).stderr
    assert f"{words}\n  next: pass the paths in this order: DATA SEGMENT RULES OUTPUT" in told
    found = json.loads(upswell("check", data, rules, segment, "--json", code=78).stdout)["findings"]
    assert [words] == [one["message"] for one in found if one["level"] == "error"][:1]
    assert not [one for one in found if one["where"].startswith(("RULES.csv:", "SEGMENT.csv:"))]


def test_a_later_start_with_both_swapped_says_so_and_goes_on(
    upswell: Upswell, tmp_path: Path
) -> None:
    """The last good version stays active."""
    data, segment, rules, output = write_inputs(tmp_path)
    upswell(data, segment, rules, output, "--once")

    assert "SEGMENT and RULES are swapped" in upswell(data, rules, segment, output, "--once").stderr


@pytest.mark.parametrize(
    ("segment", "rules"),
    [("both", "both"), ("both", "both/b.csv"), ("both/a.csv", "both"), ("link", "both/../both")],
)
def test_one_directory_for_both_names_the_two_files(
    upswell: Upswell, tmp_path: Path, segment: str, rules: str
) -> None:
    """Each file would be read as both."""
    write_inputs(tmp_path)
    write(tmp_path / "both" / "a.csv", "\n".join(DIALS) + "\n")
    write(tmp_path / "both" / "b.csv", RULES)
    (tmp_path / "link").symlink_to("both")

    told = refused(upswell, tmp_path, "data", segment, rules, "out")
    assert f"SEGMENT {segment} and RULES {rules} share " in told
    assert "a.csv as SEGMENT," in told
    assert "b.csv as RULES" in told


def state_of_length(root: Path, length: int) -> Path:
    """A path within ``root`` whose database's, links resolved, has so many bytes; all but its last part is made."""
    left = length - len(str(root / "checkpoint.db"))
    while left > 1:
        step = min(left - 1, 100) if left != 102 else 50
        root, left = root / ("s" * step), left - step - 1
    root.parent.mkdir(parents=True, exist_ok=True)
    return root


@pytest.mark.parametrize("way", ["absolute", "relative", "link"])
def test_a_state_whose_path_is_too_long_for_sqlite_is_refused(
    upswell: Upswell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """With its length, the limit and the way out, before anything is made; one byte less is taken."""
    inputs = [str(tmp_path / name) for name in write_inputs(tmp_path)]
    fits, long = (state_of_length(tmp_path, length) for length in (504, 505))
    if way == "relative":
        monkeypatch.chdir(fits.parent)
        fits, long = Path(fits.name), Path("..", long.parent.name, long.name)
    elif way == "link":
        (tmp_path / "short").symlink_to(long.parent)
        long = tmp_path / "short" / long.name
    told = refused(upswell, tmp_path, *inputs, "--state", str(long))

    assert f"the path of {long}/checkpoint.db has 505 bytes, and SQLite opens at most 504" in told
    assert "--state DIR" in told
    upswell(*inputs, "--once", "--state", fits)
    assert (fits / "checkpoint.db").exists()


@pytest.mark.parametrize("name", ["x" * 300, "y/" * 2100 + "state"])
def test_a_path_that_no_system_takes_is_refused(
    upswell: Upswell, tmp_path: Path, name: str
) -> None:
    """With 78 by run and check, since starting again mends nothing."""
    inputs = write_inputs(tmp_path)
    for command in ("run", "check"):
        told = upswell(command, *inputs, "--state", name, code=78).stderr
        assert "File name too long" in told
        assert "name a shorter path" in told


def test_a_state_behind_a_long_link_is_opened(upswell: Upswell, tmp_path: Path) -> None:
    """What SQLite must open counts, and not the way that leads there."""
    inputs = write_inputs(tmp_path)
    link = state_of_length(tmp_path, 700)
    (tmp_path / "real").mkdir()
    link.symlink_to(tmp_path / "real")
    upswell(*inputs, "--once", "--state", link / "state")

    assert 7 == json.loads(upswell("status", "--state", link / "state", "--json").stdout)["lines"]
