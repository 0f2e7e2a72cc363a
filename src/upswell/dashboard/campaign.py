"""How the campaign goes: notifications by hour and day beside the rules' windows, and who is near the line.

Owns what the page's view for the campaign's manager asks beyond ``sent``, ``history`` and ``explain``. It only reads,
page by page; days that are over are looked through once.
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
from upswell.state.reader import StateReader
from upswell.zones import DAY_MAX, Zones, stamp_time

DAYS_MAX = 14  # of which a chart is drawn
USUAL_DAYS = 7  # that a day is held against
REPORT_BYTES_MAX = 4 << 20
REPORT_MARK = b"<title>Upswell: what if</title>"
_MARK_BYTES = 1024  # in which a report says that it is one


def campaign(state_dir: Path, day: int | None) -> dict[str, object]:
    """Notifications of a day (None: the newest) by application and hour, beside those of the days before.

    Those of the control group, which were sent to nobody, are counted by themselves.
    """
    with StateReader.open(state_dir) as reader:
        zones, ruleset = reader.identity().zones, active_ruleset(reader)
        pruned_before, newest = reader.pruned_before(), reader.newest_stamp()
    counts = sent.counts(state_dir, sent.SentFilter())
    control = sent.counts(state_dir, sent.SentFilter(control=True))
    by_day: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for (of, name), n in counts.items():
        by_day[of][name] = n
    every = sorted({*by_day, *(of for of, _ in control)})
    shown = day if day is not None else (every[-1] if every else None)
    # Of days whose notifications are pruned only counts are left, and no hours to hold others against.
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


def near(state_dir: Path, *, whole: bool) -> dict[str, object]:
    """The customers of the open days who came nearest to a threshold, masked unless ``whole``.

    The ledger is loaded for it, which takes time and memory as a start of a run does: `panels` asks for one at a time.
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
            one._asdict() | {"msisdn": one.msisdn if whole else mask(one.msisdn)} for one in found
        ],
    }


def reports(place: Path | None) -> dict[str, object]:
    """The reports of ``whatif --report`` in a directory, newest first; None: nobody said where they are."""
    found = []
    for path in place.iterdir() if place else ():
        if (content := read_report(place, path.name)) is not None:
            found.append((path.lstat().st_mtime, path.name, len(content)))
    ordered = sorted(found, reverse=True)
    rows = [{"name": name, "written_s": at, "bytes": size} for at, name, size in ordered]
    return {"place": str(place) if place else "", "reports": rows}


def read_report(place: Path | None, name: str) -> bytes | None:
    """A report's page; None when there is none of that name that ``whatif`` has written."""
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
    return list(_hours_of(state_dir, day, name, lines, zones))


@lru_cache(maxsize=1024)
def _hours_of(state_dir: Path, day: int, name: str, lines: int, zones: Zones) -> tuple[int, ...]:
    """By hour in the rules' zone. ``lines``: how many there are, so that an answer that is out of date is not used."""
    found = [0] * 24
    for minute, n in sent.minutes(state_dir, day, name).items():
        found[_hour_of(minute, zones)] += n
    return tuple(found)


@lru_cache(maxsize=1 << 14)  # the minutes of eleven days: applications share them
def _hour_of(minute: str, zones: Zones) -> int:
    return zones.convert(stamp_time(minute)).minute // 60


def _usual(
    state_dir: Path, days: list[int], name: str, counts: dict[tuple[int, str], int], zones: Zones
) -> list[float]:
    every = [_hours(state_dir, day, name, counts, zones) for day in days]
    return [_mean(sum(hours[at] for hours in every), days) for at in range(24)]


def _hours_over(day: int | None, newest: str, zones: Zones) -> int:
    """How many hours of the day the data has left behind, by its newest stamp."""
    if day is None or not newest:
        return 0
    reached = zones.convert(stamp_time(newest))
    return 24 if reached.day > day else reached.minute // 60 if reached.day == day else 0


def _mean(total: int, days: list[int]) -> float:
    return round(total / len(days), 2) if days else 0.0
