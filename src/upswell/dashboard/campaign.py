"""The data of the view Campaign: notifications by hour and day with the rules' windows, and customers near a threshold.

Owns what this view, made for campaign managers, needs beyond ``sent``, ``history`` and ``explain``. It only reads.
The hours of a day are counted once, and again only if the day's number of notifications changed.
"""

from collections import Counter, defaultdict
from functools import lru_cache
from pathlib import Path

from upswell.audit import sent
from upswell.audit.replay.scenarios import Days, nearest
from upswell.config.settings import threads_default
from upswell.kernel import Ledger
from upswell.privacy import mask
from upswell.reference.rules import Rule
from upswell.state.ledger import decode_ledger, fetch_ledger
from upswell.state.queries.rules import active_ruleset
from upswell.state.queries.zones import active_zones
from upswell.state.reader import StateReader
from upswell.zones import DAY_MAX, Zones, stamp_time

DAYS_MAX = 14  # in the chart
USUAL_DAYS = 7  # that a day is compared with
REPORT_BYTES_MAX = 4 << 20
REPORT_MARK = b"<title>Upswell: what if</title>"
_MARK_BYTES = 1024  # at its start, which contain the mark of a report


def campaign(state_dir: Path, day: int | None) -> dict[str, object]:
    """Return the notifications of a day (None: the newest) by application and hour, and those of the days before.

    Notifications withheld from the control group are counted separately.
    """
    with StateReader.open(state_dir) as reader:
        zones, ruleset = active_zones(reader), active_ruleset(reader)
        pruned_before, newest = reader.pruned_before(), reader.newest_stamp()
    counts = sent.counts(state_dir, sent.SentFilter())
    control = sent.counts(state_dir, sent.SentFilter(control=True))
    by_day: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for (of, name), n in counts.items():
        by_day[of][name] = n
    every = sorted({*by_day, *(of for of, _ in control)})
    shown = day if day is not None else (every[-1] if every else None)
    # A day whose notifications were pruned has only a count left, and no hours to compare with.
    listed = [of for of in every if shown is not None and pruned_before <= of < shown]
    before = listed[-USUAL_DAYS:]
    return {
        "day": shown,
        "pruned": shown is not None and shown < pruned_before,
        "days": [{"day": of, "notifications": by_day[of]} for of in every[-DAYS_MAX:]],
        "usual_days": before,
        "control": sum(n for (of, _), n in control.items() if of == shown),
        "timezone": zones.rules,
        "hours_over": _hours_over(shown, newest, zones),
        "applications": [
            {
                "name": name,
                "rules": [_rule_json(rule) for rule in ruleset.rules if rule.application == name],
                "total": by_day[shown][name] if shown is not None else 0,
                "hours": _hours(state_dir, shown, name, counts, zones),
                "usual_total": _mean(sum(by_day[of][name] for of in before), before),
                "usual_hours": _usual(state_dir, before, name, counts, zones),
            }
            for name in sorted({*ruleset.applications(), *(name for _, name in counts)})
        ],
    }


def near(state_dir: Path, *, unmasked: bool) -> dict[str, object]:
    """Return the customers who came closest to a threshold on open days, masked unless ``unmasked``.

    This loads the ledger, which takes as much time and memory as the start of a run: `api` allows one at a time.
    """
    with StateReader.open(state_dir) as reader:
        with reader.snapshot():
            last, rows = reader.last(), fetch_ledger(reader)
        ruleset, day_open = active_ruleset(reader), last.day_open if last else 0
        parts = decode_ledger(reader, rows)
        try:
            ledger = Ledger.load(*parts, day_open, threads_default())
        except ValueError as error:
            raise reader.damaged(f"the ledger ({error})") from error
        found = list(nearest(ledger, ruleset, Days(0, DAY_MAX)))
    return {
        "batch": last.number if last else 0,
        "nearest": [
            one._asdict() | {"msisdn": one.msisdn if unmasked else mask(one.msisdn)}
            for one in found
        ],
    }


def reports(place: Path | None) -> dict[str, object]:
    """Return the reports of ``whatif --report`` in a directory, newest first; None: there is no directory."""
    found = []
    for path in place.iterdir() if place else ():
        if (content := read_report(place, path.name)) is not None:
            found.append((path.lstat().st_mtime, path.name, len(content)))
    ordered = sorted(found, reverse=True)
    rows = [{"name": name, "written_s": at, "bytes": size} for at, name, size in ordered]
    return {"place": str(place) if place else "", "reports": rows}


def read_report(place: Path | None, name: str) -> bytes | None:
    """Return the content of a report, or None if there is no file of that name written by ``whatif``."""
    if place is None or not name.endswith(".html") or Path(name).name != name:
        return None
    path = place / name
    if path.is_symlink() or not path.is_file() or path.stat().st_size > REPORT_BYTES_MAX:
        return None
    content = path.read_bytes()
    return content if REPORT_MARK in content[:_MARK_BYTES] else None


def _rule_json(rule: Rule) -> dict[str, object]:
    return rule._asdict() | {"window": rule.window()}


def _hours(
    state_dir: Path, day: int | None, name: str, counts: dict[tuple[int, str], int], zones: Zones
) -> list[int]:
    if day is None or (lines := counts.get((day, name), 0)) == 0:
        return [0] * 24
    return list(_count_hours(state_dir, day, name, lines, zones))


@lru_cache(maxsize=1024)
def _count_hours(state_dir: Path, day: int, name: str, lines: int, zones: Zones) -> tuple[int, ...]:
    """Count by hour in the rules' zone. ``lines``: their number, so that an outdated result is not used."""
    found = [0] * 24
    for minute, n in sent.minutes(state_dir, day, name).items():
        found[_hour_of(minute, zones)] += n
    return tuple(found)


@lru_cache(maxsize=1 << 14)  # the minutes of eleven days, shared by all applications
def _hour_of(minute: str, zones: Zones) -> int:
    return zones.convert(stamp_time(minute)).minute // 60


def _usual(
    state_dir: Path, days: list[int], name: str, counts: dict[tuple[int, str], int], zones: Zones
) -> list[float]:
    every = [_hours(state_dir, day, name, counts, zones) for day in days]
    return [_mean(sum(hours[at] for hours in every), days) for at in range(24)]


def _hours_over(day: int | None, newest: str, zones: Zones) -> int:
    """Return how many hours of the day are over in the data, by its newest stamp."""
    if day is None or not newest:
        return 0
    reached = zones.convert(stamp_time(newest))
    return 24 if reached.day > day else reached.minute // 60 if reached.day == day else 0


def _mean(total: int, days: list[int]) -> float:
    return round(total / len(days), 2) if days else 0.0
