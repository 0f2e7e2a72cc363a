"""The whole engine under faults of the machine: what comes out is what the reference makes of the log.

The commit's own campaign goes through every point; this one adds the engine around it: reference versions, file
states, rejects, ledger, and the order in which a restart reads on.
"""

import os
import random
from pathlib import Path

import pytest

import law
import strace
from conftest import PROFILE
from faults.campaign import Campaign, some, successful
from faults.once import go_on

ONCE = Path(__file__).parent / "faults" / "once.py"
DIALS = [f"01000000{index:02}" for index in range(6)]
RULES = b"1,Twitter,8,20,147\n2,WhatsApp,9,24,68\n"
FILES, LINES = 3, 12
LONG_AGO_S = 1_600_000_000
SHARE = 1 if PROFILE == "slow" else 5
pytestmark = [pytest.mark.timeout(3600 if PROFILE == "slow" else 600)]


@pytest.fixture
def place(tmp_path):
    """DATA, SEGMENT and RULES: three files of twelve lines, about one in ten bad."""
    chance = random.Random(7)
    contents = {
        "segment/SEGMENT.csv": "".join(f"{dial}\n" for dial in DIALS[:-1]).encode(),
        "rules/RULES.csv": RULES,
    }
    for number in range(FILES):
        lines = []
        for _ in range(LINES):
            line = f"{chance.choice(DIALS)},{chance.randrange(1, 4)},{chance.randrange(200)},20200417193743"
            lines.append(line if chance.random() > 0.1 else line[:-3])
        contents[f"data/DATA_20200417194{number}.csv"] = "\n".join(lines).encode() + b"\n"
    for name, content in contents.items():
        path = tmp_path / "place" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (LONG_AGO_S, LONG_AGO_S))
    return tmp_path / "place"


@pytest.fixture
def campaign(tmp_path, place):
    """Faults in a run over them."""
    strace.available()

    def judge(output: Path, taken: dict[str, bytes]) -> list[str]:
        try:
            reference = law.check(place / "data", output, taken_away=taken)
        except AssertionError as error:
            return [f"the law is broken: {error}"]
        return [] if reference.lines == FILES * LINES else [f"{reference.lines} lines were read"]

    return Campaign(tmp_path, ONCE, [place], lambda output: go_on(output, place), judge)


def test_undisturbed_run_is_worth_disturbing(tmp_path, place, monkeypatch):
    """Several batches, both applications, rejects: the campaign has something to lose."""
    monkeypatch.setenv("UPSWELL_KERNEL_PIECE_BYTES", "48")
    monkeypatch.setattr("upswell.engine.WORK_MS_MAX", 0)
    summary = go_on(tmp_path / "out", place)
    assert summary.batches >= FILES
    assert {"Twitter", "WhatsApp"} == {
        name for name, lines in summary.notifications.items() if lines
    }
    assert summary.outcomes["rejected"] >= 3
    law.check(place / "data", tmp_path / "out")


def test_kill_before_every_system_call(campaign):
    """SIGKILL before each call of a run, the moves and commits among them; every point in the slow profile."""
    points = campaign.points()
    vital = [point for point in points if "NOTIFY" in point.text or "REJECTS" in point.text]
    assert len(vital) >= 12
    assert [] == campaign.kill(sampled(points, vital))


def test_error_in_every_system_call(campaign):
    """An I/O error in each call of a run; every point in the slow profile."""
    points = successful(campaign.points())
    assert [] == campaign.fail(sampled(points, [])[:: 2 if SHARE > 1 else 1], "error=EIO")


@pytest.mark.slow
def test_full_disk_in_every_system_call(campaign):
    """A disk that fills up at any call, and has space again."""
    assert [] == campaign.fail(successful(campaign.points()), "error=ENOSPC", "+")


@pytest.mark.slow
@pytest.mark.parametrize("wanted", ["begun-0000000002", "REJECTS_0000000002"])
def test_kill_before_every_system_call_of_recovery(campaign, wanted):
    """SIGKILL during the run that recovers from a crash."""
    campaign.crash(wanted)
    assert [] == campaign.kill(campaign.points())


def sampled(points: list[strace.Point], vital: list[strace.Point]) -> list[strace.Point]:
    """The vital points, and a share of the others."""
    others = some(points, 8)[::SHARE]
    return [point for point in points if point in vital or point in others]
