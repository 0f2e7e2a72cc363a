"""What other rules, another segment or policy would have sent: a replay of the kept files beside what was in force.

Owns the scenarios, their counts, and the curve of notifications over thresholds. It has no side effects: every scenario
has a ledger of its own in memory, and nothing of it is kept. All scenarios are replayed side by side, batch by batch,
so that a file is read from the disk once. The order is that of the log, never sorted again.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple

from upswell.audit.replay.replay import Days, Past, References, Replay, Step, batches, remember
from upswell.errors import ConfigError, UsageError
from upswell.kernel import Ledger, LedgerTotal, Segment
from upswell.privacy import escape
from upswell.reference.compiled import compile_rules
from upswell.reference.files import read_rules, read_segment
from upswell.reference.loading import describe_problem
from upswell.reference.rules import Rule, Ruleset, parse_rules
from upswell.reference.segment import describe_bad_lines
from upswell.semantics import Record, parse_record
from upswell.source.listing import show_name
from upswell.state.reader import StateReader
from upswell.zones import DAY_MAX, Zones

AS_IT_WAS = "as it was"
FACTORS = (0.25, 0.5, 0.75, 1.25, 1.5, 2.0, 4.0)
"""Of the thresholds, for the curve; 1 is the scenario itself."""
THRESHOLD_MAX = 10**15 - 1
NEAREST_MAX = 5  # of an application
_PROBLEMS_MAX = 10  # lines of a RULES file that are told one by one


class Near(NamedTuple):
    """A total that came near to its threshold and did not exceed it."""

    application: str
    msisdn: str
    day: int
    """On which the window opened."""
    window: str
    total: int
    threshold: int


class Point(NamedTuple):
    """One point of an application's curve."""

    factor: float
    """Of the scenario's thresholds."""
    threshold: int | None
    """None when the application's rules have several."""
    notifications: int

    def label(self) -> str:
        """The threshold, or the factor when there are several."""
        return f"x {self.factor:g}" if self.threshold is None else f"{self.threshold:,}"


@dataclass
class Scenario:
    """What one set of rules sent, or would have sent."""

    name: str
    hours: Counter[tuple[str, int]] = field(default_factory=Counter)
    """Notifications by application and hour of the record."""
    sent: defaultdict[str, set[tuple[int, str]]] = field(default_factory=lambda: defaultdict(set))
    """By application: day and msisdn of each notification."""
    nearest: list[Near] = field(default_factory=list)

    @cached_property
    def customers(self) -> dict[str, set[str]]:
        """By application: the msisdns that were notified."""
        return {name: {msisdn for _, msisdn in sent} for name, sent in self.sent.items()}

    def notifications(self, application: str) -> int:
        """How many notifications an application has."""
        return len(self.sent.get(application, ()))

    def gained(self, application: str, before: "Scenario") -> set[str]:
        """Customers that this one notifies and ``before`` does not."""
        mine, theirs = self.customers.get(application, set()), before.customers
        return mine - theirs.get(application, set())

    def add(self, step: Step, zones: Zones, days: Days) -> None:
        """Count a step's notifications of these days."""
        names = step.rules.applications
        for day, application, msisdn, _, _, raw in step.result.notifications:
            if days.has(day):
                self.sent[names[application]].add((day, msisdn))
                self.hours[names[application], _hour(raw, zones)] += 1


@dataclass(slots=True)
class WhatIf:
    """Scenarios side by side; the first is what was in force."""

    scenarios: list[Scenario] = field(default_factory=list)
    curves: dict[str, list[Point]] = field(default_factory=dict)
    """By application, of the second scenario."""
    notes: list[str] = field(default_factory=list)
    """What the reader must know, a sentence each."""

    @property
    def applications(self) -> list[str]:
        """Every application that any of them notifies, in order of name."""
        return sorted({name for scenario in self.scenarios for name in scenario.sent})

    def to_json(self, *, listed: bool) -> dict[str, object]:
        """As one object; ``listed``: with the dials that are gained and lost."""
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


def whatif(
    state_dir: Path,
    rules: Sequence[Path],
    *,
    segment: Path | None = None,
    suppress: Path | None = None,
    max_per_customer_per_day: int | None = None,
    days: Days | None = None,
    data: Path | None = None,
    curve: bool = True,
) -> WhatIf:
    """Replay the kept files as it was, and once for each of ``rules``, all with ``segment`` when it is given.

    Args:
        state_dir: the state's directory.
        rules: each a file or a directory, as the RULES of a run. Empty: only the segment is another.
        segment: as the SEGMENT of a run. None: the versions that were in force.
        suppress: as the SUPPRESS of a run, for the whole log. None: the lists that were in force.
        max_per_customer_per_day: for the whole log; 0: no limit. None: the limits that were in force.
        days: count the notifications of these days alone; the whole log is replayed all the same.
        data: where the files are, if they were moved.
        curve: also replay the first of ``rules`` with its thresholds multiplied by each of FACTORS.

    Raises:
        UsageError: nothing is to be another. ConfigError: rules or segment have no good line. InputMissing: a path is
        not there. StorageError: there is no state, or it is damaged.
    """
    if not rules and (segment, suppress, max_per_customer_per_day) == (None, None, None):
        raise UsageError(
            "what should be another?",
            "name --rules NEW, --segment NEW, --suppress NEW or --max-per-customer-per-day N",
        )
    found = WhatIf()
    rulesets = [_load_rules(path, found) for path in rules]
    other = _Other(
        None if segment is None else _load_dials(segment, found),
        None if suppress is None else _load_dials(suppress, found),
        max_per_customer_per_day,
    )
    changes = list(_words(segment, suppress, max_per_customer_per_day))
    with StateReader.open(state_dir) as reader:
        past = remember(reader, data, ledger=False)
        references = References(reader)
        was = _Case(Scenario(AS_IT_WAS), Replay(past, references))
        others = [
            _case(_join([str(path), *changes]), past, references, ruleset, other)
            for path, ruleset in zip(rules, rulesets, strict=True)
        ] or [_case(_join(["the same rules", *changes]), past, references, None, other)]
        scaled = [
            _Scaled(_replay(past, references, _scale(rulesets[0], factor), other))
            for factor in (FACTORS if curve and rulesets else ())
        ]
        wanted = days or Days(0, DAY_MAX)
        for batch in batches(reader, past):
            for case in (was, *others):
                for step in case.replay.take(batch):
                    case.scenario.add(step, past.zones, wanted)
            for point in scaled:
                for step in point.replay.take(batch):
                    point.add(step, wanted)
        last = _last_rules(past, references)
    for case, ruleset in zip(others, rulesets or [last], strict=True):
        case.scenario.nearest = list(nearest(case.replay.ledger, ruleset, wanted))
    found.scenarios = [case.scenario for case in (was, *others)]
    if scaled:
        itself = {name: len(sent) for name, sent in others[0].scenario.sent.items()}
        found.curves = _curves(rulesets[0], [itself, *(point.notifications for point in scaled)])
    _tell(found, past, was.replay, wanted)
    return found


class _Other(NamedTuple):
    """What takes the place of what was in force, in all scenarios; None: nothing does."""

    segment: Segment | None
    suppressed: Segment | None
    max_per_customer_per_day: int | None


def _words(segment: Path | None, suppress: Path | None, most: int | None) -> Iterator[str]:
    """What is another in all scenarios."""
    if segment is not None:
        yield f"segment {segment}"
    if suppress is not None:
        yield f"suppression list {suppress}"
    if most is not None:
        yield f"limit of {most:,} a customer and day" if most else "no limit per customer"


def _join(parts: Sequence[str]) -> str:
    """The rules, and what else is another: "new.csv, with segment s.csv and no limit per customer"."""
    rules, *others = parts
    return f"{rules}, with {' and '.join(others)}" if others else rules


class _Case(NamedTuple):
    scenario: Scenario
    replay: Replay


@dataclass(slots=True)
class _Scaled:
    """A point of the curve: counts alone, since nobody asks who."""

    replay: Replay
    notifications: Counter[str] = field(default_factory=Counter)
    """By application."""

    def add(self, step: Step, days: Days) -> None:
        names = step.rules.applications
        for day, application, *_ in step.result.notifications:
            if days.has(day):
                self.notifications[names[application]] += 1


def _load_rules(path: Path, found: WhatIf) -> Ruleset:
    ruleset = parse_rules(read_rules(path).files)
    if not ruleset.rules:
        reasons = "; ".join(describe_problem(each) for each in ruleset.problems[:3])
        raise ConfigError(
            f"{escape(str(path))} has no usable rule{f': {reasons}' if reasons else ''}",
            "write service,name,start,end,total volume",
        )
    problems = ruleset.problems
    found.notes += [f"left out: {describe_problem(each)}" for each in problems[:_PROBLEMS_MAX]]
    if len(problems) > _PROBLEMS_MAX:
        found.notes.append(
            f"left out: {len(problems) - _PROBLEMS_MAX:,} more lines of {escape(str(path))}"
        )
    return ruleset


def _load_dials(path: Path, found: WhatIf) -> Segment:
    files = read_segment(path).files
    segment, report = Segment.parse([content for _, content in files])
    if not len(segment):
        raise ConfigError(
            f"{escape(str(path))} has no dial", "write one dial a line: 5 to 15 digits"
        )
    found.notes += [
        f"left out: {sentence}"
        for sentence in describe_bad_lines(
            escape(str(path)), report.bad, report.errors, [name for name, _ in files]
        )
    ]
    return segment


def _case(
    name: str,
    past: Past,
    references: References,
    ruleset: Ruleset | None,
    other: _Other,
) -> _Case:
    return _Case(Scenario(name), _replay(past, references, ruleset, other))


def _replay(past: Past, references: References, ruleset: Ruleset | None, other: _Other) -> Replay:
    rules = None if ruleset is None else compile_rules(ruleset)
    return Replay(past, references, rules=rules, **other._asdict())


def _scale(ruleset: Ruleset, factor: float) -> Ruleset:
    rules = (rule._replace(threshold=_scaled(rule.threshold, factor)) for rule in ruleset.rules)
    return Ruleset(tuple(rules), ())


def _scaled(threshold: int, factor: float) -> int:
    return min(round(threshold * factor), THRESHOLD_MAX)


def _curves(ruleset: Ruleset, counts: Sequence[Mapping[str, int]]) -> dict[str, list[Point]]:
    """The curve of each application: ``counts`` of notifications are those of the factor 1 and of FACTORS.

    Factors that come to the same threshold are one point.
    """
    steps = list(zip((1.0, *FACTORS), counts, strict=True))
    curves = {}
    for name in ruleset.applications():
        own = {rule.threshold for rule in ruleset.rules if rule.application == name}
        points: dict[float, Point] = {}
        for factor, count in steps:
            threshold = _scaled(max(own), factor) if len(own) == 1 else None
            place = factor if threshold is None else threshold
            points.setdefault(place, Point(factor, threshold, count.get(name, 0)))
        curves[name] = [point for _, point in sorted(points.items())]
    return curves


def _last_rules(past: Past, references: References) -> Ruleset:
    return references.rules(past.last.versions.rules)[0] if past.last else Ruleset((), ())


def nearest(ledger: Ledger, ruleset: Ruleset, days: Days) -> Iterator[Near]:
    """The totals of each application that came nearest, of the windows that are still open at the end."""
    by_application: defaultdict[str, list[tuple[float, Near]]] = defaultdict(list)
    for rule in ruleset.rules:
        window = (rule.service, rule.start_min, rule.end_min)
        for total in ledger.nearest(window, rule.threshold, 10 * NEAREST_MAX):
            near = _near(rule, total)
            # Who was notified that day missed nothing.
            cap = near.msisdn, near.application, near.day
            if days.has(near.day) and cap not in ledger.caps(near.msisdn):
                by_application[rule.application].append((-near.total / (near.threshold or 1), near))
    for _, some in sorted(by_application.items()):
        yield from (near for _, near in sorted(some)[:NEAREST_MAX])


def _near(rule: Rule, total: LedgerTotal) -> Near:
    return Near(
        rule.application, total.msisdn, total.day, rule.window(), total.total, rule.threshold
    )


def _tell(found: WhatIf, past: Past, replay: Replay, days: Days) -> None:
    """Say what the replay could not read, and whether it gives what was sent."""
    found.notes += [
        f"{show_name(name)} {why}: counts of all scenarios lack what hangs on it"
        for name, why in sorted(replay.lost.items())
    ]
    counted: Counter[str] = Counter()
    for (day, application), lines in past.notified.items():
        if days.has(day):
            counted[application] += lines
    again = {name: len(sent) for name, sent in found.scenarios[0].sent.items()}
    if dict(+counted) != again and not replay.lost:
        is_blind = any(one.key is None for one in past.forgettings)
        found.notes.append(
            "what was sent is not what its replay gives: "
            + (
                "customers were forgotten, and the key that told who is destroyed, so all scenarios count them"
                if is_blind
                else "`upswell reconcile` says where they differ"
            )
        )


def _hour(raw: bytes, zones: Zones) -> int:
    return _hour_of(raw.rsplit(b",", 1)[1].strip(b'"'), zones)


@lru_cache(maxsize=1 << 16)
def _hour_of(timestamp: bytes, zones: Zones) -> int:
    """The hour in the rules' zone of a record's timestamp."""
    record = parse_record(b"00000,0,0," + timestamp, DAY_MAX)
    assert isinstance(record, Record), "a notification is a record"
    return zones.convert(record.moment).minute // 60
