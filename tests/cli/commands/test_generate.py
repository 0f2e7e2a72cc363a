"""``upswell generate`` and ``upswell demo``: inputs to try things with, and the tour over them."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.command import Upswell, clean_environment
from support.inputs import inside

SMALL = ("--customers", "2000")


@pytest.fixture
def upswell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Upswell:
    """The command, within this process."""
    return inside(tmp_path, monkeypatch)


def test_the_three_generators_make_what_a_run_takes(upswell: Upswell, tmp_path: Path) -> None:
    """Rules, segment and data fit each other, and the answer is what the run says."""
    upswell("generate", "rules", "rules")
    assert "segment/SEGMENT.csv" in upswell("generate", "segment", "segment", *SMALL).stdout
    words = ("--files", "12", "--records", "500", *SMALL, "--faults", "--json")
    answer = ("--answer", "answer", "--rules", "rules", "--segment", "segment")
    made = json.loads(upswell("generate", "data", "data", *words, *answer).stdout)
    run = upswell("data", "segment", "rules", "out", "--once", "--json", UPSWELL_SETTLE_S="0.2")

    assert made["faults"]
    assert len(made["files"]) == len(list((tmp_path / "data").iterdir()))
    expected = json.loads((tmp_path / "answer" / "counts.json").read_text("utf-8"))
    found = json.loads(run.stdout)
    for name in ("lines", "outcomes", "rejects"):
        assert expected[name] == found[name]
    notified = {name: n for name, n in expected["notifications"].items() if n}
    assert notified == found["notifications"]


def test_an_answer_needs_rules_and_segment(upswell: Upswell) -> None:
    """It is the answer to one question only."""
    assert (
        "--rules PATH --segment PATH"
        in upswell("generate", "data", "d", "--answer", "a", code=2).stderr
    )


def test_a_bad_start_is_refused(upswell: Upswell) -> None:
    """A stamp is a date and a time."""
    assert "--start" in upswell("generate", "data", "d", "--start", "2026", code=2).stderr


def test_a_path_without_parent_is_73(upswell: Upswell) -> None:
    """Only the last directory of PATH is made."""
    assert "mkdir -p" in upswell("generate", "rules", "a/b", code=73).stderr


def test_the_demo_gives_the_whole_tour(
    upswell: Upswell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It shows tree, notifications, outcomes that add up and rejects, and its next steps work."""
    monkeypatch.setattr("upswell.cli.commands.demo.RECORDS", 3000)
    text = upswell("demo", "my tour").stdout
    table = text.partition("Lines by outcome\n")[2].partition("\n\n")[0]
    rows = {
        match[1]: int(match[2].replace(",", ""))
        for match in re.finditer(r"^  (\S.*?)  +([\d,]+)", table, re.M)
    }

    assert rows.pop("= lines read") == sum(rows.values())
    assert rows["notified"] > 0
    assert rows["rejected"] > 0
    for words in (
        "Rejects by reason",
        "Notifications by application",
        "The output tree",
        "NOTIFY_0000000001_",
    ):
        assert words in text
    steps = re.findall(r"^  (\S.*)$", text.partition("Next steps\n")[2], re.MULTILINE)
    steps = [step for step in steps if re.match("upswell (check|status|state|sent|rejects) ", step)]
    assert 5 == len(steps)
    for step in steps:
        command = re.sub("^upswell", f"{sys.executable} -m upswell", step)
        subprocess.run(
            command, shell=True, cwd=tmp_path, env=clean_environment(), check=True, stdout=-3
        )


def test_the_demo_refuses_a_directory_in_use(upswell: Upswell, tmp_path: Path) -> None:
    """It makes and measures everything itself."""
    (tmp_path / "file").touch()

    assert "not empty" in upswell("demo", ".", code=2).stderr
