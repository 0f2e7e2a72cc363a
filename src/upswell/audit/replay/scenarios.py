"""Scenarios of ``upswell whatif``: what one set of rules sent, or would have sent, and how two of them differ.

Owns their counts, the near misses, the points of a curve and the JSON of all. It replays nothing and writes nothing.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import NamedTuple

from upswell.kernel import Ledger, LedgerTotal
from upswell.reference.rules import Rule, Ruleset
from upswell.semantics import Record, parse_record
from upswell.zones import DAY_MAX, Zones

NEAREST_MAX = 5  # of an application


class Days(NamedTuple):
    """A range of days, both included."""

    first: int
    last: int

    def has(self, day: int) -> bool:
        """Return whether a day is one of them."""
        return self.first <= day <= self.last


class NearMiss(NamedTuple):
    """A total that came close to its threshold and did not exceed it."""

    application: str
    msisdn: str
    day: int
    """The day on which the window opened."""
    window: str
    total: int
    threshold: int


class CurvePoint(NamedTuple):
    """One point of an application's curve of notifications over thresholds."""

    factor: float
    """By which the scenario's thresholds are multiplied."""
    threshold: int | None
    """None when the application's rules have several."""
    notifications: int

    def label(self) -> str:
        """Return the threshold, or the factor when the application has several thresholds."""
        return f"x {self.factor:g}" if self.threshold is None else f"{self.threshold:,}"


@dataclass
class Scenario:
    """The notifications that one set of rules sent, or would have sent."""

    name: str
    hours: Counter[tuple[str, int]] = field(default_factory=Counter)
    """Notifications by application and hour of the record."""
    sent: defaultdict[str, set[tuple[int, str]]] = field(default_factory=lambda: defaultdict(set))
    """By application: day and msisdn of each notification."""
    nearest: list[NearMiss] = field(default_factory=list)

    @cached_property
    def customers(self) -> dict[str, set[str]]:
        """By application: the msisdns that were notified."""
        return {name: {msisdn for _, msisdn in sent} for name, sent in self.sent.items()}

    def notifications(self, application: str) -> int:
        """Return how many notifications an application has."""
        return len(self.sent.get(application, ()))

    def gained(self, application: str, before: "Scenario") -> set[str]:
        """Return the customers that this scenario notifies and ``before`` does not."""
        mine, theirs = self.customers.get(application, set()), before.customers
        return mine - theirs.get(application, set())

    def add(
        self,
        applications: Sequence[str],
        notifications: Iterable[tuple[int, int, str, int, int, bytes]],
        zones: Zones,
        days: Days,
    ) -> None:
        """Add the notifications of these days, as the kernel gives them. ``applications``: by their index."""
        for day, application, msisdn, _, _, raw in notifications:
            if days.has(day):
                name = applications[application]
                self.sent[name].add((day, msisdn))
                self.hours[name, _hour(raw, zones)] += 1


@dataclass(slots=True)
class WhatIf:
    """Scenarios side by side; the first is the log as it was."""

    scenarios: list[Scenario] = field(default_factory=list)
    curves: dict[str, list[CurvePoint]] = field(default_factory=dict)
    """By application, of the second scenario."""
    notes: list[str] = field(default_factory=list)
    """What the reader must know, one sentence each."""

    @property
    def applications(self) -> list[str]:
        """Return every application that any scenario notifies, by name."""
        return sorted({name for scenario in self.scenarios for name in scenario.sent})

    def to_json(self, *, listed: bool) -> dict[str, object]:
        """Return one JSON object; ``listed``: with the msisdns gained and lost, instead of their counts."""
        first, *others = self.scenarios
        return {
            "scenarios": [
                {
                    "name": scenario.name,
                    "applications": {
                        name: _json(scenario, first, name, listed) for name in self.applications
                    },
                    "nearest": [
                        near._asdict() if listed else near._replace(msisdn="")._asdict()
                        for near in scenario.nearest
                    ],
                }
                for scenario in (first, *others)
            ],
            "curves": {
                name: [point._asdict() for point in points] for name, points in self.curves.items()
            },
            "notes": self.notes,
        }


def _json(scenario: Scenario, first: Scenario, name: str, listed: bool) -> dict[str, object]:
    gained, lost = scenario.gained(name, first), first.gained(name, scenario)
    return {
        "notifications": scenario.notifications(name),
        "hours": {hour: n for (of, hour), n in sorted(scenario.hours.items()) if of == name},
        "gained": sorted(gained) if listed else len(gained),
        "lost": sorted(lost) if listed else len(lost),
    }


def nearest(ledger: Ledger, ruleset: Ruleset, days: Days) -> Iterator[NearMiss]:
    """Yield the totals of each application that came closest to a threshold, of windows whose days are open."""
    by_application: defaultdict[str, list[tuple[float, NearMiss]]] = defaultdict(list)
    for rule in ruleset.rules:
        window = (rule.service, rule.start_min, rule.end_min)
        for total in ledger.nearest(window, rule.threshold, 10 * NEAREST_MAX):
            near = _near(rule, total)
            # Whoever was notified that day missed nothing.
            cap = near.msisdn, near.application, near.day
            if days.has(near.day) and cap not in ledger.caps(near.msisdn):
                by_application[rule.application].append((-near.total / (near.threshold or 1), near))
    for _, some in sorted(by_application.items()):
        yield from (near for _, near in sorted(some)[:NEAREST_MAX])


def _near(rule: Rule, total: LedgerTotal) -> NearMiss:
    return NearMiss(
        rule.application, total.msisdn, total.day, rule.window(), total.total, rule.threshold
    )


def _hour(raw: bytes, zones: Zones) -> int:
    return _hour_of(raw.rsplit(b",", 1)[1].strip(b'"'), zones)


@lru_cache(maxsize=1 << 16)
def _hour_of(timestamp: bytes, zones: Zones) -> int:
    """Return the hour in the rules' zone of a record's timestamp."""
    record = parse_record(b"00000,0,0," + timestamp, DAY_MAX)
    assert isinstance(record, Record), "a notification is a record"
    return zones.convert(record.moment).minute // 60
