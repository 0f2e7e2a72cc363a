"""``upswell history``: every edit of the rules and the segment, its effect, and the one that is refused."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.command import Upswell, clean_environment
from support.inputs import DIALS, LONG_AGO_S, RULES, inside, write, write_inputs

CHEAP = RULES.replace("147", "99")
WAIT_S = 30.0


@pytest.fixture
def upswell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Upswell:
    """The command, within this process."""
    return inside(tmp_path, monkeypatch)


def looked(upswell: Upswell) -> dict[str, Any]:
    """What ``--json`` says."""
    found: dict[str, Any] = json.loads(upswell("history", "--output", "out", "--json").stdout)
    return found


def deliver(root: Path, minute: int, records: int) -> None:
    """A file of so many records, the first of which notifies."""
    lines = [f"{DIALS[minute % 3]},1,300,2020041719{minute:02}{at:02}\n" for at in range(records)]
    write(root / "data" / f"DATA_2020041719{minute:02}.csv", "".join(lines))


def rewrite(root: Path, rules: str, *, after_s: int = 1) -> None:
    """Edit the rules; they have been still for long, but since another second."""
    write(root / "rules" / "RULES.csv", rules, LONG_AGO_S + after_s)


def test_each_edit_has_its_own_effect(upswell: Upswell, tmp_path: Path) -> None:
    """Also one that brings an old version back: its batches, lines and notifications are those since."""
    paths = write_inputs(tmp_path, "")
    for minute, (rules, records) in enumerate([(RULES, 2), (CHEAP, 3), (RULES, 4)], 40):
        rewrite(tmp_path, rules)
        deliver(tmp_path, minute, records)
        upswell(*paths, "--once")
    rules_edits = [edit for edit in looked(upswell)["edits"] if edit["kind"] == "rules"]
    effect = ("first_batch", "batches", "lines", "notifications", "in_force")

    assert [(1, 1, 2, 1, False), (2, 1, 3, 1, False), (3, 1, 4, 1, True)] == [
        tuple(edit[name] for name in effect) for edit in rules_edits
    ]
    assert ["", "Twitter 147 -> 99", "Twitter 99 -> 147"] == [
        edit["words"].partition(" (")[0] for edit in rules_edits
    ]
    assert rules_edits[0]["version"] == rules_edits[2]["version"] != rules_edits[1]["version"]


def test_effects_add_up_to_the_state(upswell: Upswell, tmp_path: Path) -> None:
    """Those of the rules, and those of the segment, are the lines and notifications that status tells."""
    paths = write_inputs(tmp_path)
    upswell(*paths, "--once")
    write(tmp_path / "segment" / "SEGMENT.csv", "\n".join([*DIALS[:2], ""]), LONG_AGO_S + 1)
    deliver(tmp_path, 41, 5)
    upswell(*paths, "--once")
    status = json.loads(upswell("status", "--output", "out", "--json").stdout)
    found = looked(upswell)
    for kind in ("rules", "segment"):
        edits = [edit for edit in found["edits"] if edit["kind"] == kind]

        assert status["lines"] == sum(edit["lines"] for edit in edits)
        assert status["outcomes"]["notified"] == sum(edit["notifications"] for edit in edits)
    assert "+0 MSISDNs, -1" == found["edits"][-1]["words"]


def test_an_edit_of_both_files_is_told_apart(upswell: Upswell, tmp_path: Path) -> None:
    """Each kind has the words of its own change, also of what was left out, though both were taken at once."""
    paths = write_inputs(tmp_path)
    upswell(*paths, "--once")
    rewrite(tmp_path, CHEAP + "4,Maps,25,3,1\n")
    dials = ["0999999999", *DIALS[:2], "no dial"]
    write(tmp_path / "segment" / "SEGMENT.csv", "\n".join([*dials, ""]), LONG_AGO_S + 1)
    told = upswell(*paths, "--once", "--accept-reference").stderr
    rules, segment = (edit["words"] for edit in looked(upswell)["edits"][-2:])

    assert rules.startswith("Twitter 147 -> 99")
    assert "line 4" in rules
    assert "dials" not in rules
    assert segment.startswith("+1 MSISDN, -1; 1 line of SEGMENT is not a valid MSISDN")
    assert "Twitter 147 -> 99" in told
    assert "+1 MSISDN, -1" in told


def test_pages_hide_no_batch(
    upswell: Upswell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the length of a page, each batch is counted under one edit of each kind."""
    paths = write_inputs(tmp_path)
    for minute, rules in enumerate((RULES, CHEAP, CHEAP, RULES), 40):
        rewrite(tmp_path, rules)
        deliver(tmp_path, minute, minute)
        upswell(*paths, "--once")
    whole = looked(upswell)
    monkeypatch.setattr("upswell.state.queries.batches._SUMMED_ROWS", 1)

    assert whole == looked(upswell)
    assert [1, 4, 2, 1] == [edit["batches"] for edit in whole["edits"]]


def test_people_see_when_what_and_how_much(upswell: Upswell, tmp_path: Path) -> None:
    """A line with time and effect, and one with the diff in words."""
    paths = write_inputs(tmp_path)
    upswell(*paths, "--once")
    rewrite(tmp_path, CHEAP)
    upswell(*paths, "--once")
    text = upswell("history", "--output", "out").stdout

    assert "UTC" in text
    assert "batches 1 to 1: 1 batch, 7 lines, 1 notification\n    first version\n" in text
    assert "from batch 2, active: 0 batches, 0 lines, 0 notifications\n    Twitter 147" in text
    assert text.endswith("\nNo change is refused.\n")


def test_an_edit_that_was_replaced_before_any_batch_is_shown(
    upswell: Upswell, tmp_path: Path
) -> None:
    """It had no effect, but it was in force."""
    paths = write_inputs(tmp_path, "")
    for rules in (RULES, CHEAP, RULES):
        rewrite(tmp_path, rules)
        upswell(*paths, "--once")

    assert 2 == upswell("history", "--output", "out").stdout.count("before any batch")


def test_a_refused_edit_is_shown_until_it_is_repaired(upswell: Upswell, tmp_path: Path) -> None:
    """With its reason and since when; a start that meets it again does not make it younger."""
    paths = write_inputs(tmp_path)
    upswell(*paths, "--once")
    rewrite(tmp_path, RULES + "4,Maps,25,3,1\n")
    upswell(*paths, "--once")
    refused = looked(upswell)["refused"]
    upswell(*paths, "--once")

    assert "line 4" in refused["words"]
    assert refused == looked(upswell)["refused"]
    assert "line 4" in upswell("history", "--output", "out").stdout
    assert "is refused: RULES.csv line 4" in upswell("status", "--output", "out").stdout

    rewrite(tmp_path, RULES, after_s=2)
    upswell(*paths, "--once")

    assert None is looked(upswell)["refused"]
    assert "is refused" not in upswell("status", "--output", "out").stdout


def test_a_running_engine_shows_what_it_refused(upswell: Upswell, tmp_path: Path) -> None:
    """Another process sees the refusal, another one in its place, and the repair, while the run goes on."""
    paths = write_inputs(tmp_path)
    upswell(*paths, "--once")
    with running(tmp_path, *paths):
        rewrite(tmp_path, "")
        wait_for(lambda: "no usable rule" in str(looked(upswell)["refused"]), "not refused")
        (tmp_path / "rules" / "RULES.csv").unlink()
        wait_for(lambda: "*.csv" in str(looked(upswell)["refused"]), "not missed")
        rewrite(tmp_path, CHEAP, after_s=2)
        wait_for(lambda: looked(upswell)["refused"] is None, "not repaired")
    edits = looked(upswell)["edits"]

    assert ["rules", "segment", "rules"] == [edit["kind"] for edit in edits]
    assert [False, True, True] == [edit["in_force"] for edit in edits]


@contextmanager
def running(root: Path, *paths: str) -> Iterator[None]:
    """A run for ever, ended with SIGTERM."""
    quick = ("--settle-s", "0.1", "--poll-s", "0.05")
    command = [sys.executable, "-m", "upswell", *paths, *quick]
    with subprocess.Popen(
        command, cwd=root, env=clean_environment(), stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield
        finally:
            process.terminate()
            _, told = process.communicate(timeout=WAIT_S)
    assert 0 == process.returncode, told


def wait_for(done: Callable[[], object], failure: str) -> None:
    """Wait until it is so."""
    until = time.monotonic() + WAIT_S
    while not done():
        assert time.monotonic() < until, failure
        time.sleep(0.02)
