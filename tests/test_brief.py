"""The brief: its sample gives its output, and the mistakes that a first reading invites are not made."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

Upswell = Callable[..., subprocess.CompletedProcess[str]]

TWITTER = b"0126545098,1,315,20200417193743\n"
WHATSAPP = b"0126545098,2,222,20200417193744\n"
RULES = ["1,Twitter,8,20,147", "2,WhatsApp,9,18,68"]
SEGMENT = ["0126545098"]


def published(output: Path) -> dict[str, bytes]:
    """What the directories of the applications hold: their files joined in name order."""
    return {
        directory.name: b"".join(
            file.read_bytes() for file in sorted(directory.glob("NOTIFY_*.csv"))
        )
        for directory in output.iterdir()
        if directory.name[0] != "."
    }


def write(path: Path, lines: list[str]) -> None:
    """A file that has been still for a while."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
    hour_ago = time.time() - 3600
    os.utime(path, (hour_ago, hour_ago))


@pytest.fixture
def notified(tmp_path: Path, upswell: Upswell) -> Callable[..., dict[str, bytes]]:
    """Runs the command once over these records, by the stamp of their file, and gives what it published."""

    def run(
        segment: list[str] = SEGMENT, rules: list[str] = RULES, **records: list[str]
    ) -> dict[str, bytes]:
        for stamp, lines in records.items():
            write(tmp_path / "in" / f"DATA_{stamp.removeprefix('at_')}.csv", lines)
        write(tmp_path / "dials" / "SEGMENT.csv", segment)
        write(tmp_path / "campaign" / "RULES.csv", rules)
        upswell("in", "dials", "campaign", "out", "--once")
        return published(tmp_path / "out")

    return run


def test_the_sample_gives_the_briefs_two_records(
    tmp_path: Path, root: Path, upswell: Upswell
) -> None:
    """The plain command on the brief's input gives the brief's output, byte for byte."""
    brief = root / "examples" / "brief"

    upswell(brief / "data", brief / "segment", brief / "rules", "out", "--once")

    assert {"Twitter": TWITTER, "WhatsApp": WHATSAPP} == published(tmp_path / "out")


def test_without_the_zones_the_whatsapp_record_is_outside_its_hours(
    tmp_path: Path, root: Path, upswell: Upswell
) -> None:
    """Taken as written, 19:37 is not between 9 and 18: the record is counted so, and the run says it in words."""
    brief = root / "examples" / "brief"
    shutil.copytree(
        brief / "rules", tmp_path / "rules", ignore=shutil.ignore_patterns("upswell.toml")
    )

    done = upswell(brief / "data", brief / "segment", "rules", "out", "--once", "--json")

    assert {"Twitter": TWITTER} == published(tmp_path / "out")
    assert 1 == json.loads(done.stdout)["outcomes"]["outside_window"]
    assert "1 record over its threshold but outside its hours" in done.stderr
    assert "set data_timezone and rules_timezone" in done.stderr


def test_a_dial_keeps_its_leading_zero(notified: Callable[..., dict[str, bytes]]) -> None:
    """A dial is a digit string: without its zero it is another one, and the output keeps it."""
    given = ["126545098,1,999,20200417100000", "0126545098,1,200,20200417100001"]

    assert {"Twitter": f"{given[1]}\n".encode()} == notified(at_202004171000=given)


def test_volumes_add_up_and_must_exceed(notified: Callable[..., dict[str, bytes]]) -> None:
    """The sum counts, not the single record; reaching the threshold is not exceeding it."""
    given = [
        "0126545098,1,100,20200417100000",
        "0126545098,1,47,20200417100001",
        "0126545098,1,1,20200417100002",
    ]

    assert {"Twitter": f"{given[2]}\n".encode()} == notified(at_202004171000=given)


def test_usage_outside_the_window_counts_for_nothing(
    notified: Callable[..., dict[str, bytes]],
) -> None:
    """The window is [start, end): 7:59:59 and 20:00:00 are outside of 8 to 20, and add nothing to its total."""
    given = [
        "0126545098,1,999,20200417075959",
        "0126545098,1,100,20200417080000",
        "0126545098,1,999,20200417200000",
        "0126545098,1,48,20200417195959",
    ]

    assert {"Twitter": f"{given[3]}\n".encode()} == notified(at_202004172000=given)


def test_an_application_notifies_a_customer_once_a_day(
    notified: Callable[..., dict[str, bytes]],
) -> None:
    """One notification a day per application: another application and another day have their own."""
    today = [
        "0126545098,1,200,20200417100000",
        "0126545098,1,300,20200417100001",
        "0126545098,2,200,20200417100002",
    ]
    tomorrow = ["0126545098,1,200,20200418100000", "0126545098,1,300,20200418100001"]

    assert {
        "Twitter": f"{today[0]}\n{tomorrow[0]}\n".encode(),
        "WhatsApp": f"{today[2]}\n".encode(),
    } == notified(at_202004171000=today, at_202004181000=tomorrow)
