"""``upswell effect``: the comparison as people and programs read it."""

import json
from pathlib import Path

import pytest

from support.command import Upswell
from support.inputs import inside, write, write_inputs
from upswell.reference.policy import Policy

KEY = "a key that is long enough"
DIALS = [f"0120000{number:04}" for number in range(80)]
CONTROL = [dial for dial in DIALS if Policy(0, 5000, KEY).is_control(dial)]
NOTIFIED = [dial for dial in DIALS if dial not in CONTROL]
WITH_GROUP = ("--once", "--control-share", "50")


@pytest.fixture
def upswell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Upswell:
    """The command, within this process."""
    return inside(tmp_path, monkeypatch)


@pytest.fixture
def campaign(upswell: Upswell, tmp_path: Path) -> Upswell:
    """The command over a state in which everybody crossed on the 17th, and some on the 19th, a day too late."""
    crossed = "".join(f"{dial},1,200,20200417100000\n" for dial in DIALS)
    after = "".join(f"{dial},1,{10 + at % 3},20200418230000\n" for at, dial in enumerate(NOTIFIED))
    after += "".join(f"{dial},1,{20 + at % 3},20200418030000\n" for at, dial in enumerate(CONTROL))
    paths = write_inputs(tmp_path, crossed, segment="\n".join(DIALS) + "\n")
    write(tmp_path / "data" / "DATA_202004182300.csv", after)
    write(tmp_path / "data" / "DATA_202004192300.csv", f"{DIALS[0]},3,200,20200419100000\n")
    write(tmp_path / "data" / "DATA_202004202300.csv", "1,2,3\n")
    upswell(*paths, *WITH_GROUP, UPSWELL_CONTROL_KEY=KEY)
    return upswell


def test_people_see_groups_means_difference_and_interval(campaign: Upswell) -> None:
    """A row for each application, then the days that were left out and why."""
    told = campaign("effect", "--output", "out", "--days", "1").stdout.splitlines()

    assert "Usage per customer in the 1 day after the first notification" == told[0]
    assert ["notified", "mean", "control", "mean", "difference", "95", "%", "interval"] == told[
        1
    ].split()
    (row,) = (line.split() for line in told if "Twitter " in line)
    assert [str(len(NOTIFIED)), str(len(CONTROL))] == [row[1], row[3]]
    assert -10.5 < float(row[6 - 1]) < -9.5
    assert float(row[6]) < float(row[5]) < float(row[8])
    assert ["Days left out", "  2020-04-19  2020-04-20 is not over yet"] == told[-2:]


def test_programs_get_all_figures_and_nobody_an_msisdn(campaign: Upswell) -> None:
    """One object, with nulls where nothing can be said."""
    told = campaign("effect", "--output", "out", "--days", "1", "--json").stdout
    found = json.loads(told)
    twitter, youtube = found["applications"]

    assert (1, 0.95) == (found["days"], found["confidence"])
    assert [{"day": 20200419, "reason": "2020-04-20 is not over yet"}] == found["left_out"]
    used = [10 + at % 3 for at in range(len(NOTIFIED))]
    assert {"customers": len(NOTIFIED), "mean": sum(used) / len(used)} == twitter["notified"]
    assert twitter["low"] < twitter["difference"] < twitter["high"] < 0
    assert not twitter["too_small"]
    nobody = {"customers": 0, "mean": None}
    assert (nobody, nobody, True) == (youtube["notified"], youtube["control"], youtube["too_small"])
    assert [None] * 3 == [youtube[name] for name in ("difference", "low", "high")]
    assert not any(dial[1:] in told for dial in DIALS)


def test_a_period_without_notifications_is_said(campaign: Upswell) -> None:
    """It is not an error."""
    words = ("effect", "--output", "out", "--day", "2020-04-01..2020-04-16")

    assert "Nobody was notified, and nothing was withheld.\n" == campaign(*words).stdout
    assert [] == json.loads(campaign(*words, "--json").stdout)["applications"]


def test_days_are_at_least_one(upswell: Upswell) -> None:
    """The day of notification itself is part of no comparison."""
    assert "--days" in upswell("effect", "--output", "out", "--days", "0", code=2).stderr
