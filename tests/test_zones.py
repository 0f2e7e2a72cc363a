"""Time zones: one answer on every host, and the kernel's table says what the zones say."""

import bisect
import random
from datetime import datetime, timedelta

import pytest

from upswell.errors import ConfigError
from upswell.zones import (
    LAST_TRANSITION_YEAR,
    OpenDays,
    Zones,
    add_days,
    changed_days,
    day_max_of,
    day_of,
    day_open_of,
    load_zone,
    open_days,
)

PAIRS = [
    ("Africa/Cairo", "UTC"),
    ("Africa/Casablanca", "America/New_York"),
    ("Australia/Lord_Howe", "Asia/Kathmandu"),
]


@pytest.mark.parametrize("pair", PAIRS)
def test_the_table_for_the_kernel_says_what_the_zones_say(pair: tuple[str, str]) -> None:
    """At every change of offset, around it, and at random times."""
    zones = Zones(*pair)
    table = zones.shifts()
    starts = [start for start, _ in table]
    generator = random.Random(7)
    seconds = [start + by for start in starts for by in (-7200, -3600, -1, 0, 1, 1800, 3599, 3600)]
    seconds += [generator.randrange((LAST_TRANSITION_YEAR - 1) * 365 * 86400) for _ in range(5000)]
    for second in (second for second in seconds if second > 86400):
        local = datetime.min + timedelta(seconds=second)
        shifted = local + timedelta(seconds=table[bisect.bisect_right(starts, second) - 1][1])

        assert zones.convert(local) == (day_of(shifted), shifted.hour * 60 + shifted.minute)


@pytest.mark.parametrize("pair", PAIRS)
def test_no_change_of_offset_is_missed(pair: tuple[str, str]) -> None:
    """Every six hours of a century, the table and the zones agree."""
    zones = Zones(*pair)
    table = zones.shifts()
    starts = [start for start, _ in table]
    local, end = datetime(1990, 1, 1), datetime(LAST_TRANSITION_YEAR - 1, 1, 1)
    while local < end:
        second = int((local - datetime.min).total_seconds())
        shifted = local + timedelta(seconds=table[bisect.bisect_right(starts, second) - 1][1])
        assert zones.convert(local) == (day_of(shifted), shifted.hour * 60 + shifted.minute)
        local += timedelta(hours=6)


@pytest.mark.parametrize("pair", PAIRS)
def test_kept_tables_convert_as_the_installed_ones_that_they_were(pair: tuple[str, str]) -> None:
    """What a state keeps of its zones converts every local time, and gives the kernel the same table."""
    installed = Zones(*pair)
    kept = Zones.parse(installed.content)
    generator = random.Random(7)

    assert (installed.shifts(), installed.version) == (kept.shifts(), kept.version)
    for _ in range(2000):
        local = datetime.min + timedelta(seconds=generator.randrange(9998 * 365 * 86400))
        assert installed.convert(local) == kept.convert(local)


@pytest.mark.parametrize(
    ("data", "rules", "other"), [("Tripoli", "Cairo", "Athens"), ("Casablanca", "Tunis", "London")]
)
@pytest.mark.parametrize("is_rules_zone", [False, True])
def test_changed_days_are_the_days_on_which_some_minute_changes(
    data: str, rules: str, other: str, is_rules_zone: bool
) -> None:
    """Every half hour of some years, by tables of which one is that of another zone; all other days stay."""
    before = Zones(f"Africa/{data}", f"Africa/{rules}")
    of_data, of_rules = Zones.parse(before.content).tables or ()
    of_other, _ = Zones.parse(Zones(f"Europe/{other}", "UTC").content).tables or ()
    after = before._replace(tables=(of_data, of_other) if is_rules_zone else (of_other, of_rules))
    found = changed_days(before, after)
    assert [before.rules if is_rules_zone else before.data] == before.differing(after)

    local, end = datetime(2021, 1, 1), datetime(2024, 1, 1)
    days = {}
    while local < end:
        changed = before.convert(local) != after.convert(local)
        days[day_of(local)] = days.get(day_of(local), False) or changed
        local += timedelta(minutes=30)
    assert days == {day: any(first <= day <= last for first, last in found) for day in days}
    assert {True, False} == set(days.values())


def test_equal_zones_convert_nothing() -> None:
    """With one zone even a local time that does not exist stays what it is."""
    zones = Zones("Africa/Cairo", "Africa/Cairo")

    assert [] == zones.shifts()
    assert (20240426, 30) == zones.convert(datetime(2024, 4, 26, 0, 30))


def test_a_time_that_occurs_twice_is_the_first() -> None:
    """01:30 on the night New York's clocks go back is still summer time."""
    assert (20241103, 330) == Zones("America/New_York", "UTC").convert(datetime(2024, 11, 3, 1, 30))


def test_a_time_that_does_not_exist_has_the_offset_before_the_change() -> None:
    """02:30 on the night New York's clocks go forward is read with winter's offset."""
    assert (20240310, 450) == Zones("America/New_York", "UTC").convert(datetime(2024, 3, 10, 2, 30))


def test_the_ends_of_the_calendar_do_not_overflow() -> None:
    """The first and last moments that a timestamp can write have a day."""
    zones = Zones("Asia/Tokyo", "America/New_York")

    assert 1231 == zones.convert(datetime(1, 1, 1)).day
    assert 99991231 == zones.convert(datetime(9999, 12, 31, 23, 59)).day


def test_an_unknown_zone_is_a_clear_error() -> None:
    """A name that tz data does not know, or that is a path, is refused."""
    for name in ("Africa/Kairo", "../../etc/passwd", ""):
        with pytest.raises(ConfigError, match="unknown time zone"):
            load_zone(name)


def test_days_move_over_months_and_leap_years() -> None:
    """Integer days follow the calendar, and stop at its ends."""
    assert 20240229 == add_days(20240228, 1)
    assert 20240229 == add_days(20240301, -1)
    assert 99991231 == add_days(99991231, 1)


def test_the_open_days_follow_the_newest_stamp() -> None:
    """With two kept days the day before the newest stamp's is open; in another zone its midnight is carried over."""
    assert 20200416 == day_open_of("202004171937", 2, Zones())
    assert 20200415 == day_open_of("202004170500", 2, Zones("Asia/Tokyo", "UTC"))
    assert 20200418 == day_max_of("202004171937")
    assert open_days("202004160001", "202004171937", 2, Zones(), 0) == OpenDays(20200416, 20200417)
