"""``upswell check`` on RULES and SEGMENT: file, line, what is wrong, and what to write instead."""

import json
from pathlib import Path

import pytest

from support.command import Upswell
from support.inputs import RECORDS, inside, write, write_inputs


@pytest.fixture
def upswell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Upswell:
    """The command, within this process."""
    return inside(tmp_path, monkeypatch)


def findings(upswell: Upswell, *words: str, code: int = 0) -> list[dict[str, str]]:
    """What ``check --json`` finds."""
    found: list[dict[str, str]] = json.loads(upswell("check", *words, "--json", code=code).stdout)[
        "findings"
    ]
    return found


def test_each_bad_rule_is_named_with_its_line_and_what_to_write(
    upswell: Upswell, tmp_path: Path
) -> None:
    """The good ones can still be used by a first start, so these are warnings."""
    rules = "1,Twitter,8,20,147\n2,WhatsApp,9,9,68\n3,Youtube,10,25,99\n1,Twitter,12,14,5\n1,Twiter,20,21,5\n"
    found = findings(upswell, *write_inputs(tmp_path, rules=rules)[:3])
    bad = {one["where"]: one["message"] for one in found if one["where"].startswith("RULES.csv:")}

    assert ["RULES.csv:2", "RULES.csv:3", "RULES.csv:4", "RULES.csv:5"] == sorted(bad)
    assert "write 0,24 for the whole day" in bad["RULES.csv:2"]
    assert "RULES.csv:1" in bad["RULES.csv:4"]
    assert {"warning"} == {one["level"] for one in found if one["where"] in bad}


def test_every_rule_is_shown_as_it_was_read(upswell: Upswell, tmp_path: Path) -> None:
    """A campaign manager sees the hours in words, the volume and the directory."""
    rules = "1,Twitter,8,20:30,147\n2,Night/Fall,22,6,68\n3,All,0,24,1000000\n"
    text = upswell("check", *write_inputs(tmp_path, rules=rules)).stdout

    for words in (
        "8:00 to 20:30",
        "22:00 to 6:00 the next day",
        "the whole day",
        "more than 1,000,000",
    ):
        assert words in text
    assert "out/Night%2FFall/" in text


def test_a_segment_that_lost_some_zeros_is_noticed(upswell: Upswell, tmp_path: Path) -> None:
    """A few dials one digit shorter, without the zero of the others: a spreadsheet was at work."""
    segment = "".join(f"01265450{n:02}\n" for n in range(50)) + "126545098\n"
    found = findings(upswell, *write_inputs(tmp_path, segment=segment)[:3])
    (zero,) = [one for one in found if one["where"] == "SEGMENT.csv:51"]

    assert "warning" == zero["level"]
    assert "leading zero" in zero["message"]
    assert "spreadsheet" in zero["hint"]
    assert "126545098" not in json.dumps(found)


def test_a_segment_that_lost_all_zeros_is_noticed_by_the_data(
    upswell: Upswell, tmp_path: Path
) -> None:
    """Every dial is one digit short: only DATA can tell."""
    found = findings(upswell, *write_inputs(tmp_path, segment="126545098\n128419091\n")[:3])
    (zero,) = [one for one in found if "leading zero" in one["message"]]

    assert ("warning", "SEGMENT") == (zero["level"], zero["where"])
    assert "DATA writes 0126… (10 digits), SEGMENT 1265… (9 digits)" in zero["message"]
    assert "spreadsheet" in zero["hint"]


def test_data_that_lost_its_zeros_is_noticed(upswell: Upswell, tmp_path: Path) -> None:
    """The other way round."""
    records = "".join(f"126545098,1,{n},20200417193743\n" for n in range(5))
    (zero,) = [
        one
        for one in findings(upswell, *write_inputs(tmp_path, records)[:3])
        if "zero" in one["message"]
    ]

    assert "DATA seems to have lost it" in zero["message"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("0126545098,Ali", "comma"),
        ("0126545098;Ali", "it has semicolons"),
        ("0126545098\tAli", "it has tabs"),
        ("1.26545E+08", "spreadsheet"),
        ("12a4", "5 to 15 digits"),
        ("9" * 5000, "4096 bytes"),
    ],
)
def test_a_line_of_the_segment_that_is_no_dial_is_explained(
    upswell: Upswell, tmp_path: Path, line: str, words: str
) -> None:
    """The line's number, and what a dial is."""
    found = findings(upswell, *write_inputs(tmp_path, segment=f"0126545098\n{line}\n")[:3])
    (bad,) = [one for one in found if one["where"] == "SEGMENT.csv:2"]

    assert words in bad["message"]
    assert "0126545098" not in bad["message"]


def test_many_bad_lines_are_counted_not_listed(upswell: Upswell, tmp_path: Path) -> None:
    """A page of findings helps nobody."""
    found = findings(upswell, *write_inputs(tmp_path, segment="0126545098\n" + "x1\n" * 500)[:3])

    assert any("480 more lines are not valid MSISDNs" == one["message"] for one in found)
    assert any(
        "500 of 501 lines are not valid MSISDNs (limit 1%)" == one["message"] for one in found
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rules": "1,Twitter,8,8,147\n"}, "no usable rule"),
        ({"rules": ""}, "no usable rule"),
        ({"segment": "msisdn\n"}, "no valid MSISDN"),
    ],
)
def test_what_no_run_could_start_with_is_78(
    upswell: Upswell, tmp_path: Path, changes: dict[str, str], words: str
) -> None:
    """Nothing usable is an error; the text says so at its end."""
    paths = write_inputs(tmp_path, **changes)

    assert words in {
        one["message"] for one in findings(upswell, *paths[:3], code=78) if one["level"] == "error"
    }
    assert "not usable: 1 error" in upswell("check", *paths[:3], code=78).stdout


@pytest.mark.parametrize("missing", ["data", "segment", "rules"])
def test_a_missing_path_is_66_and_the_rest_is_checked_still(
    upswell: Upswell, tmp_path: Path, missing: str
) -> None:
    """One finding does not hide the others."""
    paths = write_inputs(
        tmp_path, rules="1,Twitter,8,20,147\n2,WhatsApp,9,9,68\n", segment="0126545098\nx1\n"
    )
    (tmp_path / missing).rename(tmp_path / "elsewhere")
    found = findings(upswell, *paths[:3], code=66)

    assert any(one["where"] == missing and one["level"] == "error" for one in found)
    assert any(one["where"] == "SEGMENT.csv:2" for one in found) or "segment" == missing
    assert any(one["where"] == "RULES.csv:2" for one in found) or "rules" == missing


def test_what_is_wrong_with_a_suppression_list_is_an_error(
    upswell: Upswell, tmp_path: Path
) -> None:
    """File and line of each line that is not a valid msisdn, masked, and the name of a list without any."""
    paths = write_inputs(tmp_path)
    for content, where, message in (
        ("0126545098\n0126545098;0126545099\n", "STOP.csv:2", "not a valid MSISDN"),
        ("", "STOP.csv", "no valid MSISDN"),
    ):
        write(tmp_path / "STOP.csv", content)
        done = upswell("check", *paths, "--suppress", "STOP.csv", "--json", code=78)
        (error,) = [one for one in json.loads(done.stdout)["findings"] if one["level"] == "error"]

        assert (where, True) == (error["where"], message in error["message"])
        assert "0126545098" not in done.stdout


def test_names_of_rules_cannot_steer_the_terminal(upswell: Upswell, tmp_path: Path) -> None:
    """RULES is untrusted text."""
    rules = "1,\x1b[31mRed\x07,8,20,147\n"
    text = upswell("check", *write_inputs(tmp_path, rules=rules)[:3]).stdout

    assert "\x1b" not in text
    assert "\\x1b[31mRed\\x07" in text


def test_a_bad_settings_file_beside_the_rules_is_78(upswell: Upswell, tmp_path: Path) -> None:
    """It names the file and the key."""
    paths = write_inputs(tmp_path)
    write(tmp_path / "rules" / "upswell.toml", "threads = 2\n")
    done = upswell("check", *paths[:3], "--json", code=78)
    (finding,) = json.loads(done.stdout)["findings"]

    assert "rules/upswell.toml: key 'threads'" in done.stderr
    assert "rules/upswell.toml: key 'threads'" in finding["message"]


def test_every_file_is_named_with_its_count_and_copies_are_warned_of(
    upswell: Upswell, tmp_path: Path
) -> None:
    """Both are read, and of two lines that contradict each other the first is used: text and object show which."""
    paths = write_inputs(tmp_path)[:3]
    write(tmp_path / "rules" / "Copy of RULES.csv", "1,Twitter,8,20,900\n")
    write(tmp_path / "segment" / "threshold.csv", "0126545098\n")
    text = upswell("check", *paths).stdout
    found = json.loads(upswell("check", *paths, "--json").stdout)
    copies = [one for one in found["findings"] if "backup copy" in one["message"]]

    assert "  read from Copy of RULES.csv (1 rule), RULES.csv (2 rules)\n" in text
    assert "  read from SEGMENT.csv (3 lines), threshold.csv (1 line)\n" in text
    assert [("warning", "RULES")] == [(one["level"], one["where"]) for one in copies]
    assert copies[0]["hint"].startswith("to leave it out, move it to another directory")
    assert [{"name": "Copy of RULES.csv", "entries": 1}, {"name": "RULES.csv", "entries": 2}] == (
        found["read"]["rules"]["files"]
    )


def test_a_strict_check_ends_with_78_on_any_warning(upswell: Upswell, tmp_path: Path) -> None:
    """It says that this is why; notes change nothing, and errors come before warnings."""
    clean = RECORDS.replace("not a record\n", "")
    paths = write_inputs(tmp_path, clean, segment="0126545098\n0126545098\n")
    assert "ok: a run can start\n" in upswell("check", *paths, "--strict").stdout

    write(tmp_path / "rules" / "RULES.csv", "1,Twitter,8,20,147\n2,WhatsApp,9,9,68\n")
    assert "ok: a run can start, 1 warning\n" in upswell("check", *paths).stdout
    told = upswell("check", *paths, "--strict", code=78).stdout
    assert "not usable: 1 warning, and --strict allows none\n" in told
    assert False is json.loads(upswell("check", *paths, "--strict", "--json", code=78).stdout)["ok"]
    upswell("check", *paths, code=78, UPSWELL_STRICT="true")

    write(tmp_path / "segment" / "SEGMENT.csv", "x1\n")
    told = upswell("check", *paths, "--strict", code=78).stdout
    assert "not usable: 1 error, " in told
    assert "--strict" not in told
