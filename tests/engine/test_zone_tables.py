"""A state outlives its tzdata: each batch keeps the tables that it was converted by, and a newer table is told."""

import gzip
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import tzdata

from support.command import clean_environment
from support.engine_runs import DIALS, LONG_AGO_S, Place, place, record
from support.replays import state
from upswell.audit.history import read_history
from upswell.audit.preflight.check import check
from upswell.audit.replay.explain import explain
from upswell.audit.replay.reconcile import reconcile
from upswell.audit.replay.whatif import whatif
from upswell.reference.versions import Versions
from upswell.state.maintenance.forget import forget
from upswell.state.maintenance.verify import verify
from upswell.state.queries.forgotten import forgettings
from upswell.state.reader import StateReader

__all__ = ("place",)
DAY = "20230615"
"""In Cairo's summer time, which Egypt has again since 2023: an older tzdata is an hour off."""
NEWER = "the installed tzdata has another table of Africa/Cairo"


def begin(place: Place, data_zone: str, rules_zone: str, **older: str) -> None:
    """Run once under an older tzdata, which has for Cairo the table of another zone: a table that it really had."""
    place.settings = replace(place.settings, data_timezone=data_zone, rules_timezone=rules_zone)
    old = place.root / "old"
    zoneinfo = Path(tzdata.__file__).parent / "zoneinfo"
    (old / "tzdata").mkdir(parents=True)
    for name in ("__init__.py", "zones"):
        shutil.copy(zoneinfo.parent / name, old / "tzdata")
    for zone, table in {data_zone: data_zone, rules_zone: rules_zone, **older}.items():
        target = old / "tzdata" / "zoneinfo" / zone
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(zoneinfo / table, target)
    names = ("data", "segment", "rules", "output")
    zones = ["--data-timezone", data_zone, "--rules-timezone", rules_zone, "--settle-s", "0.05"]
    path = os.pathsep.join(filter(None, [str(old), os.environ.get("PYTHONPATH")]))
    subprocess.run(
        [sys.executable, "-m", "upswell", *(place.root / name for name in names), "--once", *zones],
        env=clean_environment() | {"PYTHONPATH": path},
        check=True,
        capture_output=True,
    )


def versions(place: Place) -> list[Versions]:
    """What each batch names."""
    with StateReader.open(state(place)) as reader:
        return [batch.versions for batch in reader.batches()]


def told(place: Place) -> list[str]:
    """What the last run said about tables."""
    return [warning for warning in place.heard.summary.warnings if "tzdata" in warning]


def prove(place: Place, dial: int = 1) -> list[str]:
    """The outcomes of a customer's lines; state, OUTPUT, replay and specification must agree."""
    place.law()
    assert [] == verify(state(place))
    found = reconcile(state(place))
    assert ([], []) == (found.differences, found.unproven)
    explained = explain(state(place), DIALS[dial])
    assert ([], []) == (explained.differences, explained.unproven)
    same = whatif(state(place), [], max_per_customer_per_day=0)
    assert [] == same.notes
    return [entry.outcome for entry in explained.entries]


def test_each_batch_is_replayed_by_the_tables_that_made_it(place: Place) -> None:
    """A window from 8 on has 10:30 by the older table and not by the newer one; the edit is in the history."""
    older = record(1, 1, 60, "103000", DAY) + record(1, 1, 90, "104000", DAY)
    place.file(f"{DAY}1040", older)
    begin(place, "Africa/Cairo", "UTC", **{"Africa/Cairo": "Africa/Tripoli"})

    assert ["counted", "notified"] == prove(place)
    place.file(f"{DAY}1045", record(2, 1, 99, "104500", DAY) + record(2, 1, 99, "110000", DAY))
    place.once()

    assert ["outside_window", "counted"] == prove(place, 2)
    assert ["counted", "notified"] == prove(place)
    first, second = versions(place)
    assert first.zones != second.zones
    assert first == second._replace(zones=first.zones)
    was, now = read_history(state(place)).of("zones")
    assert ("", 1, 2, 2) == (was.words, was.first_batch, now.first_batch, was.until_batch)
    assert now.words.startswith("another table of Africa/Cairo, for 2023-04-28 to 2023-10-26, ")


def test_a_newer_table_is_told_with_the_days_it_changes_until_a_batch_has_it(place: Place) -> None:
    """Check notes it before the run, each start warns in the same words, a strict one too, and then it is settled."""
    place.file(f"{DAY}1040", record(1, 1, 60, "103000", DAY))
    begin(place, "Africa/Cairo", "UTC", **{"Africa/Cairo": "Africa/Tripoli"})
    preflight = check(place.settings, output_given=True)
    before = [found.message for found in preflight.found if "tzdata" in found.message]
    place.once()

    assert (before, 1) == (told(place), len(before))
    assert f"{NEWER} than" in before[0]
    assert "records of 2023-04-28 to 2023-10-26, 2024-04-26 to 2024-10-31, " in before[0]
    assert "later periods (days of Africa/Cairo)" in before[0]
    assert ["note"] == [found.level for found in preflight.found if "tzdata" in found.message]
    place.once(strict=True)
    assert before == told(place)
    place.file(f"{DAY}1045", record(1, 1, 1, "104500", DAY))
    place.once()
    preflight = check(place.settings, output_given=True)
    assert [] == [found.message for found in preflight.found if "tzdata" in found.message]
    place.once()
    assert [] == told(place)


def test_a_cap_stays_on_the_day_that_its_batch_gave(place: Place) -> None:
    """The rules' zone moves 23:30 to the next day: what was sent is proven, and its day is not opened for another."""
    place.write(place.root / "rules" / "RULES.csv", b"1,Twitter,0,24,50\n")
    place.file(f"{DAY}2130", record(1, 1, 60, "213000", DAY))
    begin(place, "UTC", "Africa/Cairo", **{"Africa/Cairo": "Africa/Tripoli"})
    assert 20230615 == explain(state(place), DIALS[1]).entries[0].day

    place.file(f"{DAY}2131", record(1, 1, 60, "203100", DAY) + record(1, 1, 60, "213100", DAY))
    place.once()

    assert ["notified", "capped", "notified"] == prove(place)
    entries = explain(state(place), DIALS[1]).entries
    assert [20230615, 20230615, 20230616] == [entry.day for entry in entries]
    assert "(days of UTC)" in told(place)[0]


def test_a_newer_table_does_not_open_a_closed_day(place: Place) -> None:
    """By the older table midnight is on the same day for the rules, by the newer one on the day before."""
    place.file(f"{DAY}1040", record(1, 1, 60, "103000", DAY))
    begin(place, "Africa/Cairo", "UTC", **{"Africa/Cairo": "UTC"})
    late = record(1, 1, 200, "150000", "20230613") + record(1, 1, 200, "150000", "20230614")
    place.file(f"{DAY}1041", late)
    place.once()

    assert ["counted", "late", "notified"] == prove(place)
    with StateReader.open(state(place)) as reader:
        assert [20230614, 20230614] == [batch.day_open for batch in reader.batches()]


def test_a_day_stays_decided_as_it_was_when_a_newer_table_would_have_closed_it(
    place: Place,
) -> None:
    """By the older table midnight is on the day before for the rules, by the newer one on the same day."""
    place.file(f"{DAY}1040", record(1, 1, 200, "150000", "20230613"))
    begin(place, "Africa/Abidjan", "UTC", **{"Africa/Abidjan": "Africa/Cairo"})
    place.file(f"{DAY}1041", record(2, 1, 200, "150000", "20230613"))
    place.once()

    assert (["notified"], ["late"]) == (prove(place, 1), prove(place, 2))
    with StateReader.open(state(place)) as reader:
        assert [20230613, 20230614] == [batch.day_open for batch in reader.batches()]


def test_a_compressed_file_goes_on_by_newer_tables(place: Place) -> None:
    """A replay that changes tables within the file decompresses again up to where it was."""
    first = b"".join(record(dial, 1, 60, "103000", DAY) for dial in range(1, 9))
    second = b"".join(record(dial, 1, 99, "103100", DAY) for dial in range(1, 9))
    path = place.data / f"DATA_{DAY}1040.csv.gz"
    place.write(path, gzip.compress(first))
    begin(place, "Africa/Cairo", "UTC", **{"Africa/Cairo": "Africa/Tripoli"})
    place.write(path, gzip.compress(first) + gzip.compress(second), LONG_AGO_S + 1)
    place.once()

    assert ["counted", "outside_window"] == prove(place)


@pytest.mark.parametrize(
    ("rules_zone", "older", "kept"),
    [
        ("UTC", "Africa/Cairo", True),
        ("Africa/Cairo", "Africa/Tripoli", False),
    ],
)
def test_nothing_is_told_where_nothing_changes(
    place: Place, rules_zone: str, older: str, kept: bool
) -> None:
    """The same tables again, or other tables of two zones of one name, between which nothing is converted."""
    place.file(f"{DAY}1040", record(1, 1, 60, "103000", DAY))
    begin(place, "Africa/Cairo", rules_zone, **{"Africa/Cairo": older})
    preflight = check(place.settings, output_given=True)
    place.file(f"{DAY}1041", record(1, 1, 60, "104000", DAY))
    place.once()

    assert [] == [found.message for found in preflight.found if "tzdata" in found.message]
    assert "tzdata" not in place.heard.text()
    first, second = versions(place)
    assert (first, kept) == (second, bool(first.zones))
    assert kept == bool(read_history(state(place)).of("zones"))
    prove(place)


def test_a_table_that_changes_only_closed_days_is_no_warning(place: Place) -> None:
    """Its version is kept all the same, and the event says that nothing from the open days on changes."""
    place.file(f"{DAY}1040", record(1, 1, 200, "123000", DAY))
    begin(place, "Africa/Johannesburg", "UTC", **{"Africa/Johannesburg": "Africa/Tripoli"})
    place.once()

    assert [] == told(place)
    assert (
        "Africa/Johannesburg than this state's last batches; no record of 2023"
        in place.heard.text()
    )
    assert ["notified"] == prove(place)


def test_a_forgotten_customer_is_forgotten_to_the_last_day_of_every_table(place: Place) -> None:
    """By the older table a record of the next evening is on a later day than by the newer one: it is theirs, too."""
    place.file(f"{DAY}2330", record(1, 1, 60, "230000", "20230616"))
    begin(place, "Africa/Cairo", "UTC", **{"Africa/Cairo": "America/New_York"})
    place.file(f"{DAY}2331", record(1, 1, 10, "230100", DAY) + record(2, 1, 10, "230100", DAY))
    place.once()
    removal = forget(state(place), [DIALS[1]])
    place.file("202306180000", record(1, 1, 500, "030000", "20230618"))
    place.once()

    assert 20230618 == removal.until_day
    with StateReader.open(state(place)) as reader:
        last = reader.last()
    assert last is not None
    assert 1 == last.outcomes["suppressed"]
    for _ in range(
        2
    ):  # with the key that knows the customer, and when it is destroyed with the last of these days
        assert [] == verify(state(place))
        assert [] == reconcile(state(place)).differences
        place.file("202306220000", record(1, 1, 500, "120000", "20230622"))
        place.once()
    with StateReader.open(state(place)) as reader:
        assert [None] == [one.key for one in forgettings(reader)]
