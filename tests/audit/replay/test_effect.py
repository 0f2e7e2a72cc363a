"""The effect of a campaign is the usage that followed, of all customers alike, in the days that can be compared."""

import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from support import law
from support.engine_runs import DIALS, LONG_AGO_S, Place, record
from support.replays import files, state
from upswell.audit.replay.effect import ApplicationEffect, Effect, effect
from upswell.audit.replay.interval import SampleSums
from upswell.audit.replay.scenarios import Days
from upswell.reference.policy import Policy
from upswell.semantics import Record, parse_record
from upswell.zones import Zones, add_days

KEY = "a key that is long enough"
POLICY = Policy(control_share=5000, control_key=KEY)
CONTROL = [index for index, dial in enumerate(DIALS) if POLICY.is_control(dial)]
NOTIFIED = [index for index, dial in enumerate(DIALS) if not POLICY.is_control(dial)]
DAY = 20260105
CUSTOMERS = 100
SEEDS = 500
SERVICES = 50
LIFT = 30
RULES = b"1,Twitter,8,20,100\n2,Twitter,8,20,100\n3,WhatsApp,0,24,150\n"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Fresh directories with a segment and rules, and half of the customers in the control group."""
    made = Place(tmp_path)
    made.write(made.root / "rules" / "RULES.csv", RULES)
    made.settings = replace(made.settings, control_share=50.0, control_key=KEY)
    return made


def write_days(place: Place, *of_days: bytes) -> None:
    """A file for each day, beginning with DAY, and one that closes the last of them."""
    for number, lines in enumerate([*of_days, b"", b""]):
        day = add_days(DAY, number)
        place.file(f"{day}2330", lines or record(0, 9, 1, "120000", str(day)))


def crossing(dial: int, day: int = DAY) -> bytes:
    """A record that crosses Twitter's threshold."""
    return record(dial, 1, 101, "100000", str(day))


def of_twitter(found: Effect) -> ApplicationEffect:
    """The only application that is expected."""
    (only,) = found.applications
    assert "Twitter" == only.application
    return only


def test_usage_is_all_volume_of_the_next_days(place: Place) -> None:
    """Any hour and all of the application's services, after the day alone; a customer who used nothing counts."""
    one, silent, control = NOTIFIED[0], NOTIFIED[1], CONTROL[0]
    first, second, third = (str(add_days(DAY, number)) for number in (1, 2, 3))
    write_days(
        place,
        crossing(one)
        + crossing(silent)
        + crossing(control)
        + record(one, 1, 50, "230000", str(DAY)),
        record(one, 1, 7, "000000", first)
        + record(one, 2, 900, "100000", first)
        + record(one, 2, 30, "110000", first)
        + record(one, 3, 40, "120000", first),
        record(one, 1, 5, "235959", second) + record(control, 2, 11, "030000", second),
        record(one, 1, 10_000, "000000", third) + record(control, 1, 90, "000000", third),
    )
    place.once()
    before = files(place)

    found = effect(state(place), 2)

    assert (SampleSums.of([7 + 900 + 30 + 5, 0]), SampleSums.of([11])) == of_twitter(found)[1:]
    assert 460.0 == of_twitter(found).difference
    assert {} == found.left_out
    assert before == files(place)


def test_a_customer_belongs_to_the_first_crossing(place: Place) -> None:
    """Notified first and withheld later is notified; another period may see it the other way."""
    dial = CONTROL[0]
    place.file(f"{DAY}2330", crossing(dial))
    place.once(control_share=0.0, control_key="")
    second = add_days(DAY, 1)
    write_days(
        place,
        crossing(dial),
        crossing(dial, second) + record(dial, 2, 6, "120000", str(second)),
        b"",
    )
    place.once()

    whole, later = effect(state(place), 1), effect(state(place), 1, days=Days(second, second))

    assert (SampleSums.of([107]), SampleSums()) == of_twitter(whole)[1:]
    assert (SampleSums(), SampleSums.of([0])) == of_twitter(later)[1:]
    assert not any("same on all days" in note for note in whole.notes)


def test_a_group_that_changed_is_told(place: Place) -> None:
    """Customers who crossed before there was a group are compared with a group of other days: a note says so."""
    place.file(f"{DAY}2330", crossing(NOTIFIED[0]))
    place.once(control_share=0.0, control_key="")
    write_days(place, crossing(NOTIFIED[0]), crossing(CONTROL[0], add_days(DAY, 1)), b"")
    place.once()

    assert any("not the same on all days" in note for note in effect(state(place), 1).notes)


def test_a_day_whose_dates_are_not_over_is_left_out(place: Place) -> None:
    """It is named with the date that is missing, and its customers are in no group, also not by a later crossing."""
    write_days(place, crossing(NOTIFIED[0]), crossing(NOTIFIED[1], add_days(DAY, 1)))
    place.once()

    found = effect(state(place), 1)

    assert (SampleSums.of([0]), SampleSums()) == of_twitter(found)[1:]
    assert {20260106: "2026-01-07 is not over yet"} == found.left_out
    assert 0 == of_twitter(effect(state(place), 3)).notified.size


def test_a_lost_file_leaves_its_dates_out(place: Place) -> None:
    """It is named; a day whose dates it cannot touch is compared, and a note says what else it may have held."""
    of_days = [crossing(NOTIFIED[number], add_days(DAY, number)) for number in range(8)]
    write_days(place, *of_days)
    place.once()
    name = f"DATA_{add_days(DAY, 5)}2330.csv"
    (place.data / name).write_bytes(crossing(NOTIFIED[6], add_days(DAY, 5)))

    found = effect(state(place), 1)

    why = f"{name} differs from the bytes that were consumed"
    # Open to its records were the 9th, the day before, to the 11th, the day after.
    assert {20260108: why, 20260109: why, 20260110: why} == {
        day: reason for day, reason in found.left_out.items() if "over" not in reason
    }
    assert 4 == of_twitter(found).notified.size
    assert [note for note in found.notes if "of earlier days" in note]

    (place.data / name).unlink()
    assert f"{name} is no longer in DATA" == effect(state(place), 1).left_out[20260109]


def test_a_file_that_came_late_belongs_to_the_dates_of_its_stamp(place: Place) -> None:
    """Its records count although their days were closed; lost, it leaves those days out."""
    write_days(place, crossing(NOTIFIED[0]), b"", b"", b"")
    place.once()
    late = place.file(
        f"{add_days(DAY, 1)}1000", record(NOTIFIED[0], 1, 70, "090000", str(add_days(DAY, 1)))
    )
    place.once()

    assert SampleSums.of([70]) == of_twitter(effect(state(place), 1)).notified
    late.unlink()
    assert {DAY: f"{late.name} is no longer in DATA"} == effect(state(place), 1).left_out


def test_a_day_that_was_pruned_is_left_out(place: Place) -> None:
    """Its customers are known no more."""
    write_days(place, crossing(NOTIFIED[0]), crossing(NOTIFIED[1], add_days(DAY, 1)), b"", b"", b"")
    place.once(keep_notifications_days=5)
    write_days(place, *[b""] * 7)
    place.once(keep_notifications_days=5)

    found = effect(state(place), 1)

    assert "its notifications are no longer kept" == found.left_out[DAY]


def test_what_befalls_a_customer_later_does_not_matter(place: Place) -> None:
    """One who leaves the segment or is suppressed is measured like all others, and so is a service that is renamed."""
    dial = NOTIFIED[0]
    place.file(f"{DAY}2330", crossing(dial))
    place.once()
    place.write(place.root / "rules" / "RULES.csv", b"1,X,8,20,100\n2,X,8,20,100\n", LONG_AGO_S + 1)
    gone = "\n".join(DIALS[index] for index in range(20) if index != dial).encode() + b"\n"
    place.write(place.root / "segment" / "SEGMENT.csv", gone, LONG_AGO_S + 1)
    suppress = place.write(place.root / "SUPPRESS.csv", DIALS[dial].encode() + b"\n")
    write_days(place, crossing(dial), record(dial, 2, 9, "120000", str(add_days(DAY, 1))))
    place.once(accept_reference=True, suppress=suppress)

    assert (SampleSums.of([9]), SampleSums()) == of_twitter(effect(state(place), 1))[1:]


def test_services_are_those_of_the_rules_that_were_crossed(place: Place) -> None:
    """A service that moves to another application counts for those who crossed before, and not for those after."""
    before, after = NOTIFIED[:2]
    second, third = add_days(DAY, 1), add_days(DAY, 2)
    used = [
        record(dial, 2, 9, "230000", str(day)) for dial, day in ((before, second), (after, third))
    ]
    place.file(f"{DAY}2330", crossing(before))
    place.once()
    place.write(
        place.root / "rules" / "RULES.csv", b"1,Twitter,8,20,100\n2,X,8,20,100\n", LONG_AGO_S + 1
    )
    write_days(place, crossing(before), crossing(after, second) + used[0], used[1])
    place.once()

    assert SampleSums.of([9, 0]) == of_twitter(effect(state(place), 1)).notified


def test_a_small_group_is_warned_about(place: Place) -> None:
    """From 30 customers on in both groups there is no warning."""
    write_days(place, crossing(NOTIFIED[0]) + crossing(CONTROL[0]), b"")
    place.once()
    found = effect(state(place), 1)

    (note,) = found.notes
    assert note.startswith("Twitter: 1 notified and 1 of the control group are too few to say")
    assert of_twitter(found).is_too_small
    enough = SampleSums.of(range(30))
    assert not ApplicationEffect("A", enough, enough).is_too_small
    assert ApplicationEffect("A", enough, SampleSums.of(range(29))).is_too_small


def test_the_interval_covers_a_planted_lift_as_often_as_it_says(place: Place) -> None:
    """Of 500 days of applications, each with usage out of a seed of its own, 93 to 97 % have intervals that do."""
    dials = [f"0110000{number:04}" for number in range(CUSTOMERS)]
    place.write(place.root / "segment" / "SEGMENT.csv", "\n".join(dials).encode() + b"\n")
    rules = [f"{service},A{service},0,24,1\n" for service in range(SERVICES)]
    place.write(place.root / "rules" / "RULES.csv", "".join(rules).encode())
    lifts = {dial: 0 if POLICY.is_control(dial) else LIFT for dial in dials}
    days = [add_days(DAY, number) for number in range(SEEDS // SERVICES)]
    of_days = [everybody_crosses(dials, DAY)]
    for number, day in enumerate(days):
        after = add_days(day, 1)
        lines = [everybody_crosses(dials, after)]
        for service in range(SERVICES):
            lines += planted(random.Random(number * SERVICES + service), lifts, service, after)
        of_days.append("".join(lines))
    write_days(place, *(lines.encode() for lines in of_days))
    place.once()

    found = [
        each for day in days for each in effect(state(place), 1, days=Days(day, day)).applications
    ]

    intervals = [each.interval for each in found]
    covered = sum(low <= LIFT <= high for low, high in filter(None, intervals))
    assert SEEDS == len(intervals)
    assert 0.93 * SEEDS <= covered <= 0.97 * SEEDS


def everybody_crosses(dials: list[str], day: int) -> str:
    """A record of each customer and service above the threshold."""
    services = range(SERVICES)
    return "".join(f"{dial},{service},2,{day}000000\n" for service in services for dial in dials)


def planted(
    generator: random.Random, lifts: dict[str, int], service: int, day: int
) -> Iterator[str]:
    """Usage of a service, on average 80 and the customer's lift."""
    for dial, lift in lifts.items():
        if generator.random() < 0.8:  # the others use nothing, so that the mean is 80 % of this one
            used = round(generator.expovariate(1 / (100 + lift / 0.8)))
            yield f"{dial},{service},{used},{day}100000\n"


@pytest.mark.parametrize("seed", range(4))
def test_usage_is_what_adding_up_the_lines_gives(
    place: Place, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random traffic with late records and bad lines, in both measures and two zones, summed in plain Python."""
    generator = random.Random(seed)
    if seed % 2:
        place.settings = replace(
            place.settings,
            measure="session",
            data_timezone="Africa/Cairo",
            rules_timezone="Asia/Tokyo",
        )
    monkeypatch.setattr("upswell.audit.replay.effect._TOTALS_MAX", generator.choice([0, 10**6]))
    for number in range(12):
        day = add_days(DAY, number)
        lines = []
        for _ in range(60):
            on = add_days(day, generator.choice([0, 0, 0, 0, -1, -3]))
            moment = f"{generator.randrange(24):02}{generator.randrange(60):02}00"
            lines.append(
                record(generator.randrange(20), generator.randrange(1, 5), generator.randrange(200),
                       moment, str(on))
            )  # fmt: skip
        place.file(f"{day}2330", b"".join([*lines, b"no record\n"]))
    place.once()
    zones = Zones(place.settings.data_timezone, place.settings.rules_timezone or "UTC")

    found = effect(state(place), 3)

    expected = summed(place, zones, 3, set(found.left_out))
    assert expected == {each.application: each[1:] for each in found.applications}
    assert any(each.notified.size and each.control.size for each in found.applications)


def summed(
    place: Place, zones: Zones, days_after: int, left_out: set[int]
) -> dict[str, tuple[SampleSums, SampleSums]]:
    """By application the two groups, from the lines of OUTPUT and DATA."""
    services = {"Twitter": {1, 2}, "WhatsApp": {3}}
    used: dict[tuple[str, int], Counter[int]] = defaultdict(Counter)
    for path in place.data.iterdir():
        for one, day in records(path, zones):
            used[one.msisdn, day][one.service] += one.volume
    found = {}
    for name, of_name in services.items():
        first: dict[str, tuple[int, bool]] = {}
        for control, directory in ((False, place.output), (True, place.output / ".control")):
            for path in (directory / name).glob("NOTIFY_*"):
                for one, day in records(path, zones):
                    first[one.msisdn] = min(first.get(one.msisdn, (day, control)), (day, control))
        groups: tuple[list[int], list[int]] = ([], [])
        for msisdn, (day, control) in first.items():
            dates = [add_days(day, number) for number in range(1, days_after + 1)]
            if day not in left_out:
                groups[control].append(
                    sum(used[msisdn, date][service] for date in dates for service in of_name)
                )
        found[name] = (SampleSums.of(groups[0]), SampleSums.of(groups[1]))
    return found


def records(path: Path, zones: Zones) -> Iterator[tuple[Record, int]]:
    """The records of a file, each with its day in the rules' zone."""
    for line in path.read_bytes().splitlines():
        one = parse_record(line, law.DAY_MAX)
        if isinstance(one, Record):
            yield one, zones.convert(one.moment).day
