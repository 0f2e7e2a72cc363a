"""Time zones, days and stamps: converts a local time of the data's zone into a day and a minute of the rules' zone.

Owns the two zones of a state, the tables by which they convert, and the integer form of a day (``yyyymmdd``: 20200417,
ordered and readable). Tables come from the package ``tzdata`` alone, as it is or as it was when a batch was made, so
that two hosts give one answer; the clock is never read. When both zones are the same nothing is converted. Otherwise a
local time that occurs twice is the first, and one that does not exist is converted with the offset before the change
(``fold=0``).
"""

import hashlib
import io
import json
import pkgutil
import struct
from datetime import UTC, date, datetime, time, timedelta
from functools import cache, lru_cache
from itertools import pairwise
from typing import NamedTuple
from zoneinfo import ZoneInfo

from upswell.errors import ConfigError
from upswell.privacy import mask_digits

FIRST_TRANSITION_YEAR = 1800  # tz data has no change of offset before it
LAST_TRANSITION_YEAR = 2100  # a record so far ahead is `future`, or its file is held
DAY_MAX = 99991231
"""The last date there is."""
STAMPS_KEPT = (
    4096  # stamps whose days are cached: a file is planned more than once, and files share stamps
)
_YEAR_CYCLE = 400  # after so many years the calendar repeats, with its weekdays


@cache
def zone_names() -> frozenset[str]:
    """Return every name that ``data_timezone`` and ``rules_timezone`` may have."""
    return frozenset(_tz_data("zones").decode().split())


def load_zone(name: str) -> ZoneInfo:
    """Return the zone of that name. Raises ConfigError when tz data has none."""
    return _zone(_installed_table(name), name)


@cache
def _zone(table: bytes, name: str) -> ZoneInfo:
    return ZoneInfo.from_file(io.BytesIO(table), key=name)


@cache  # so that a process has one answer, whatever is installed meanwhile
def _installed_table(name: str) -> bytes:
    if name not in zone_names():
        raise ConfigError(
            f"unknown time zone {mask_digits(repr(name))}",
            "write a name of the tz database, such as Africa/Cairo or UTC",
        )
    return _tz_data(f"zoneinfo/{name}")


def _tz_data(name: str) -> bytes:
    # With pkgutil, since importlib.resources takes as long to import as the rest of this package.
    content = pkgutil.get_data("tzdata", name)
    assert content is not None, "an installed package has a loader that reads data"
    return content


def day_of(moment: date) -> int:
    """Return the day as an integer: 20200417 for date(2020, 4, 17)."""
    return moment.year * 10000 + moment.month * 100 + moment.day


def date_of(day: int) -> date:
    """Return the date of an integer day. Raises ValueError when there is no such date."""
    return date(day // 10000, day // 100 % 100, day % 100)


def add_days(day: int, days: int) -> int:
    """Return the day ``days`` later (earlier when negative), kept within the years 1 to 9999."""
    ordinal = date_of(day).toordinal() + days
    return day_of(date.fromordinal(min(max(ordinal, 1), date.max.toordinal())))


class Moment(NamedTuple):
    """A moment in the rules' zone."""

    day: int
    minute: int


class Zones(NamedTuple):
    """The data's and the rules' time zone, and the tables by which they convert."""

    data: str = "UTC"
    rules: str = "UTC"
    tables: tuple[bytes, bytes] | None = None
    """The TZif file (RFC 9636) of each; None: those of the installed package ``tzdata``."""

    @property
    def content(self) -> bytes:
        """Names and tables in the form that a state keeps; empty when nothing is converted."""
        if self.data == self.rules:
            return b""
        return json.dumps([[name, table.hex()] for name, table in self._named_tables()]).encode()

    @property
    def version(self) -> str:
        """The SHA-256 of the content in hex, as in the log; "" when nothing is converted."""
        return hashlib.sha256(self.content).hexdigest() if self.content else ""

    @classmethod
    def parse(cls, content: bytes) -> "Zones":
        """Return the zones, with their tables, that a state kept."""
        (data, of_data), (rules, of_rules) = json.loads(content)
        return cls(data, rules, (bytes.fromhex(of_data), bytes.fromhex(of_rules)))

    def convert(self, local: datetime) -> Moment:
        """Convert a (naive) local time of the data's zone to a day and minute of the rules' zone."""
        if self.data == self.rules:
            return Moment(day_of(local), local.hour * 60 + local.minute)
        # Near the ends of the calendar the conversion would overflow, so it is done one cycle away.
        cycles = 1 if local.year < 2 else -1 if local.year > 9998 else 0
        if cycles:
            local = local.replace(year=local.year + cycles * _YEAR_CYCLE)
        data, rules = self._loaded()
        converted = local.replace(tzinfo=data, fold=0).astimezone(rules)
        day = day_of(converted) - cycles * _YEAR_CYCLE * 10000
        return Moment(day, converted.hour * 60 + converted.minute)

    def shifts(self) -> list[tuple[int, int]]:
        """Return the conversion as a table for the kernel: (from this local second since year 1, seconds to add).

        Ascending; empty when nothing is converted. Correct for every local time before LAST_TRANSITION_YEAR.
        """
        if self.data == self.rules:
            return []
        (of_data, of_rules), (data, rules) = self._tables(), self._loaded()
        starts = {datetime.min}
        for at, before, after in _transitions(of_data, data):
            # With fold=0 the new offset begins where the old one's clock, or the skipped hour, ends.
            starts.add(at + max(before, after))
        for at, _, _ in _transitions(of_rules, rules):
            starts.add(_local_of(at, of_data, data))
        table: list[tuple[int, int]] = []
        for start in sorted(starts):
            shift_s = int(_shift_at(start, data, rules).total_seconds())
            if not table or table[-1][1] != shift_s:
                table.append((int((start - datetime.min).total_seconds()), shift_s))
        return table

    def differing(self, other: "Zones") -> list[str]:
        """Return the names of the zones that have another table in ``other``, which has the same names."""
        pairs = zip(self._named_tables(), other._named_tables(), strict=True)
        return [name for (name, table), (_, now) in pairs if table != now]

    def _tables(self) -> tuple[bytes, bytes]:
        return self.tables or (_installed_table(self.data), _installed_table(self.rules))

    def _named_tables(self) -> list[tuple[str, bytes]]:
        return list(zip((self.data, self.rules), self._tables(), strict=True))

    def _loaded(self) -> tuple[ZoneInfo, ZoneInfo]:
        of_data, of_rules = self._tables()
        return _zone(of_data, self.data), _zone(of_rules, self.rules)


def changed_days(before: Zones, after: Zones) -> list[tuple[int, int]]:
    """Return the periods in which some local time of the data's zone gets another day or minute in ``after``.

    (First day, last day) of the data's zone, ascending, none of which touch; of the years before LAST_TRANSITION_YEAR.
    """
    was, now = dict(before.shifts()), dict(after.shifts())
    end_s = int((datetime(LAST_TRANSITION_YEAR, 1, 1) - datetime.min).total_seconds())
    starts = sorted(start for start in was.keys() | now.keys() if start < end_s)
    found: list[tuple[int, int]] = []
    old = new = 0
    for start, end in pairwise([*starts, end_s]):
        old, new = was.get(start, old), now.get(start, new)
        if old == new:
            continue
        first, last = (day_of(datetime.min + timedelta(seconds=at)) for at in (start, end - 1))
        if found and first <= add_days(found[-1][1], 1):
            first, _ = found.pop()
        found.append((first, last))
    return found


def stamp_time(stamp: str) -> datetime:
    """Return the local time of a stamp ``yyyyMMddHHmm``. Raises ValueError when there is none."""
    if len(stamp) != 12 or not (stamp.isascii() and stamp.isdigit()):
        raise ValueError(stamp)
    return datetime(
        int(stamp[:4]), int(stamp[4:6]), int(stamp[6:8]), int(stamp[8:10]), int(stamp[10:])
    )


def stamp_of(moment: datetime) -> str:
    """Return the stamp of a local time."""
    # Without strftime, which does not pad the year with zeros everywhere.
    return f"{day_of(moment):08}{moment.hour:02}{moment.minute:02}"


def stamps_of(day: int) -> tuple[str, str]:
    """Return the first and the last stamp of a day."""
    return f"{day:08}0000", f"{day:08}2359"


@lru_cache(STAMPS_KEPT)
def day_max_of(stamp: str) -> int:
    """Return the last day that is not `future` in a file with this stamp."""
    return add_days(day_of(stamp_time(stamp)), 1)


@lru_cache(STAMPS_KEPT)
def day_open_of(newest_stamp: str, keep_days: int, zones: Zones) -> int:
    """Return the first open day, in the rules' zone, when the newest stamp of the log so far is this one."""
    midnight = stamp_time(newest_stamp).replace(hour=0, minute=0)
    return add_days(max(zones.convert(midnight).day, 10101), 1 - keep_days)


class OpenDays(NamedTuple):
    """The days that the records of one range may carry: what is outside them is `late` or `future`."""

    day_open: int
    """The first one, in the rules' zone."""
    day_max: int
    """The last one, in the data's zone."""


def open_days(
    stamp: str, newest_stamp: str, keep_days: int, zones: Zones, day_open_before: int
) -> OpenDays:
    """Return the days that the records of a range may carry.

    Args:
        stamp: of the range's file.
        newest_stamp: the newest stamp of the log so far, this range among it.
        keep_days: how many days are open at once.
        zones: of the data and the rules.
        day_open_before: the first open day after the batch before, as the log has it: a day that is closed stays so,
            even when other tables of the zones would open it again.
    """
    day_open = max(day_open_of(newest_stamp, keep_days, zones), day_open_before)
    return OpenDays(day_open, day_max_of(stamp))


def day_last_of(newest_stamp: str, zones: Zones) -> int:
    """Return the last day that totals and caps may belong to when the newest stamp is this one.

    It is the day after that of the latest record which is not `future`: a window over midnight may end on it.
    """
    latest = datetime.combine(date_of(day_max_of(newest_stamp)), time.max.replace(microsecond=0))
    return add_days(zones.convert(latest).day, 1)


def _offset(utc: datetime, zone: ZoneInfo) -> timedelta:
    offset = utc.replace(tzinfo=UTC).astimezone(zone).utcoffset()
    assert offset is not None
    return offset


def _shift_at(local: datetime, data: ZoneInfo, rules: ZoneInfo) -> timedelta:
    if local.year < 2:  # before the first transition every offset is constant
        local = local.replace(year=FIRST_TRANSITION_YEAR)
    converted = local.replace(tzinfo=data, fold=0).astimezone(rules).replace(tzinfo=None)
    return converted - local


@cache
def _transitions(table: bytes, zone: ZoneInfo) -> list[tuple[datetime, timedelta, timedelta]]:
    """Return (UTC moment, offset before, offset after) of every change of offset, ascending."""
    second = timedelta(seconds=1)
    moments = _listed_transitions(table)
    at = max([datetime(FIRST_TRANSITION_YEAR, 1, 1), *moments[-1:]])
    # The file ends with a rule for all later years, with at most two changes a year: steps of a week miss none.
    step, before = timedelta(days=7), _offset(at, zone)
    while at.year < LAST_TRANSITION_YEAR:
        low, high = at, at + step
        at, after = high, _offset(high, zone)
        if after != before:
            while high - low > second:
                middle = low + (high - low) // 2
                middle -= timedelta(microseconds=middle.microsecond)
                low, high = (middle, high) if _offset(middle, zone) == before else (low, middle)
            moments.append(high)
            before = after
    changes = [(at, _offset(at - second, zone), _offset(at, zone)) for at in moments]
    return [change for change in changes if change[1] != change[2]]


def _listed_transitions(table: bytes) -> list[datetime]:
    """Return the UTC moments listed in a TZif file (RFC 9636), which zoneinfo reads but does not expose."""
    header = struct.Struct(">4s16x6I")
    _, utc, std, leap, times, types, chars = header.unpack_from(table)
    # The first block, with times of 32 bits, is for old readers; the second has the same layout with 64 bits.
    second = header.size + times * 5 + types * 6 + chars + leap * 8 + std + utc
    _, _, _, _, times, _, _ = header.unpack_from(table, second)
    seconds = struct.unpack_from(f">{times}q", table, second + header.size)
    epoch = datetime(1970, 1, 1)
    first_s = (datetime(FIRST_TRANSITION_YEAR, 1, 1) - epoch).total_seconds()
    return [epoch + timedelta(seconds=at) for at in seconds if at >= first_s]


def _local_of(utc: datetime, table: bytes, zone: ZoneInfo) -> datetime:
    """Return the first local time that maps, with fold=0, to this UTC moment or else to the next possible one."""
    local = utc + _offset(utc, zone)
    back = local.replace(tzinfo=zone, fold=0).astimezone(UTC).replace(tzinfo=None)
    if back == utc:
        return local
    # The second occurrence of a repeated hour: with fold=0 the clock skips it, and continues after the overlap.
    for at, before, after in _transitions(table, zone):
        if at <= utc < at + (before - after):
            return at + before
    return local
