"""Replays the kept files under other rules, another segment or another policy, beside what was active.

Owns which scenarios there are, and the curve of notifications over thresholds. It has no side effects: every scenario
and every point of the curve has a ledger of its own in memory, and nothing of it is kept. All are decided side by side,
in the order of the log, and the bytes are read once: twice when the segment or the suppression list is another.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from upswell.audit.replay.replay import Replay, Terms
from upswell.audit.replay.scenarios import CurvePoint, Days, Scenario, WhatIf, nearest
from upswell.audit.replay.snapshot import StateSnapshot, batches, take_snapshot
from upswell.audit.replay.versions import VersionCache
from upswell.errors import ConfigError, UsageError
from upswell.kernel import Ledger, Segment
from upswell.privacy import escape
from upswell.reference.compiled import compile_rules
from upswell.reference.files import read_rules, read_segment
from upswell.reference.loading import describe_problem
from upswell.reference.rules import Ruleset, parse_rules
from upswell.reference.segment import describe_bad_lines
from upswell.source.listing import show_name
from upswell.state.batch import LogRange
from upswell.state.reader import StateReader
from upswell.zones import DAY_MAX, Zones

AS_IT_WAS = "as it was"
FACTORS = (0.25, 0.5, 0.75, 1.25, 1.5, 2.0, 4.0)
"""Of the thresholds, for the curve; 1 is the scenario itself."""
THRESHOLD_MAX = 10**15 - 1
_PROBLEMS_MAX = 10  # lines of a RULES file that are named one by one


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
    """Replay the kept files as it was, and under each of ``rules``.

    Args:
        state_dir: the state's directory.
        rules: each a file or a directory, like RULES of a run. Empty: the rules that were active.
        segment: like SEGMENT of a run, for all scenarios. None: the versions that were active.
        suppress: like SUPPRESS of a run, for all scenarios. None: the lists that were active.
        max_per_customer_per_day: for all scenarios; 0: no limit. None: the limits that were active.
        days: count only the notifications of these days; the whole log is replayed in any case.
        data: where the files are, if they were moved.
        curve: also count what the first of ``rules`` sends with its thresholds multiplied by each of FACTORS.

    Raises:
        UsageError: no scenario was given. ConfigError: rules or segment have no usable line. InputMissing: a path does
        not exist. StorageError: there is no state, or it is damaged.
    """
    if not rules and (segment, suppress, max_per_customer_per_day) == (None, None, None):
        raise UsageError(
            "no scenario given",
            "pass --rules NEW, --segment NEW, --suppress NEW or --max-per-customer-per-day N",
        )
    found = WhatIf()
    rulesets = [_load_rules(path, found) for path in rules]
    points = [_scale(rulesets[0], factor) for factor in FACTORS] if curve and rulesets else []
    given: list[Ruleset | None] = [*rulesets] or [None]
    asked = _Asked(
        [_terms(ruleset, max_per_customer_per_day) for ruleset in given],
        [_terms(ruleset, max_per_customer_per_day) for ruleset in points],
        None if segment is None else _load_segment(segment, found),
        None if suppress is None else _load_segment(suppress, found),
    )
    changes = list(_words(segment, suppress, max_per_customer_per_day))
    names = [str(path) for path in rules] or ["the same rules"]
    was, scenarios = Scenario(AS_IT_WAS), [Scenario(_join([name, *changes])) for name in names]
    found.scenarios = [was, *scenarios]
    wanted = days or Days(0, DAY_MAX)
    with StateReader.open(state_dir) as reader:
        snapshot = take_snapshot(reader, data, ledger=False)
        versions = VersionCache(reader)
        passes = asked.passes(snapshot, versions, was, scenarios)
        for batch in batches(reader, snapshot):
            for each in passes:
                each.replay_batch(batch, versions.zones(batch[0].versions.zones), wanted)
        last = _last_rules(snapshot, versions)
    ledgers = passes[-1].ledgers()[-len(scenarios) :]
    for scenario, ledger, ruleset in zip(scenarios, ledgers, rulesets or [last], strict=True):
        scenario.nearest = list(nearest(ledger, ruleset, wanted))
    if points:
        itself = {name: len(sent) for name, sent in scenarios[0].sent.items()}
        found.curves = _curves(rulesets[0], [itself, *passes[-1].counts])
    _add_notes(found, snapshot, passes[0].replay, wanted)
    return found


@dataclass(slots=True)
class _Pass:
    """A replay, and what its terms send: its own first, then those of its branches."""

    replay: Replay
    scenarios: list[Scenario]
    counts: list[Counter[str]]
    """Of each point of the curve, by application: nobody asks for its customers."""

    def replay_batch(self, batch: Sequence[LogRange], zones: Zones, days: Days) -> None:
        first, *branches = self.scenarios
        for step in self.replay.steps(batch):
            result = step.result
            first.add(step.rules.applications, result.notifications, zones, days)
            for index, (scenario, rules) in enumerate(
                zip(branches, step.branch_rules, strict=True)
            ):
                notifications = result.branch_notifications(index)
                scenario.add(rules.applications, notifications, zones, days)
            for counts, rules, found in zip(
                self.counts, step.point_rules, result.point_counts, strict=True
            ):
                applications = rules.applications
                for day, application, count in found:
                    if days.has(day):
                        counts[applications[application]] += count

    def ledgers(self) -> list[Ledger]:
        """Return the ledger of each scenario. To be called once, at the end."""
        ledger = self.replay.ledger
        return [ledger, *ledger.take_branches()][: len(self.scenarios)]


class _Asked(NamedTuple):
    """The terms of the scenarios and of the curve's points, and what replaces segment and suppression list in all."""

    terms: list[Terms]
    points: list[Terms]
    segment: Segment | None
    suppressed: Segment | None

    def passes(
        self,
        snapshot: StateSnapshot,
        versions: VersionCache,
        was: Scenario,
        scenarios: list[Scenario],
    ) -> list[_Pass]:
        """Return the replays to make: the first one has what was active, the last one all that is asked."""
        counts = [Counter[str]() for _ in self.points]
        if self.segment is None and self.suppressed is None:
            replay = Replay(snapshot, versions, branches=self.terms, points=self.points)
            return [_Pass(replay, [was, *scenarios], counts)]
        # Other customers are found by another scan.
        first, *branches = self.terms
        replay = Replay(
            snapshot,
            versions,
            first,
            segment=self.segment,
            suppressed=self.suppressed,
            branches=branches,
            points=self.points,
        )
        return [_Pass(Replay(snapshot, versions), [was], []), _Pass(replay, scenarios, counts)]


def _terms(ruleset: Ruleset | None, limit: int | None) -> Terms:
    return Terms(None if ruleset is None else compile_rules(ruleset), limit)


def _words(segment: Path | None, suppress: Path | None, most: int | None) -> Iterator[str]:
    """Yield what is changed in all scenarios, in words."""
    if segment is not None:
        yield f"segment {segment}"
    if suppress is not None:
        yield f"suppression list {suppress}"
    if most is not None:
        yield f"a limit of {most:,} per customer and day" if most else "no limit per customer"


def _join(parts: Sequence[str]) -> str:
    """Return a scenario's name: "new.csv, with segment s.csv and no limit per customer"."""
    rules, *others = parts
    return f"{rules}, with {' and '.join(others)}" if others else rules


def _load_rules(path: Path, found: WhatIf) -> Ruleset:
    ruleset = parse_rules(read_rules(path).files)
    if not ruleset.rules:
        reasons = "; ".join(describe_problem(each) for each in ruleset.problems[:3])
        raise ConfigError(
            f"{escape(str(path))} has no usable rule{f': {reasons}' if reasons else ''}",
            "write service,name,start,end,total volume",
        )
    problems = ruleset.problems
    found.notes += [f"skipped: {describe_problem(each)}" for each in problems[:_PROBLEMS_MAX]]
    if len(problems) > _PROBLEMS_MAX:
        found.notes.append(
            f"skipped: {len(problems) - _PROBLEMS_MAX:,} more lines of {escape(str(path))}"
        )
    return ruleset


def _load_segment(path: Path, found: WhatIf) -> Segment:
    files = read_segment(path).files
    segment, report = Segment.parse([content for _, content in files])
    if not len(segment):
        raise ConfigError(
            f"{escape(str(path))} has no valid MSISDN", "write one MSISDN per line: 5 to 15 digits"
        )
    found.notes += [
        f"skipped: {sentence}"
        for sentence in describe_bad_lines(
            escape(str(path)), report.bad, report.errors, [name for name, _ in files]
        )
    ]
    return segment


def _scale(ruleset: Ruleset, factor: float) -> Ruleset:
    rules = (rule._replace(threshold=_scaled(rule.threshold, factor)) for rule in ruleset.rules)
    return Ruleset(tuple(rules), ())


def _scaled(threshold: int, factor: float) -> int:
    return min(round(threshold * factor), THRESHOLD_MAX)


def _curves(ruleset: Ruleset, counts: Sequence[Mapping[str, int]]) -> dict[str, list[CurvePoint]]:
    """Return the curve of each application. ``counts``: notifications for the factor 1 and for each of FACTORS.

    Factors that give the same threshold are one point.
    """
    steps = list(zip((1.0, *FACTORS), counts, strict=True))
    curves = {}
    for name in ruleset.applications():
        own = {rule.threshold for rule in ruleset.rules if rule.application == name}
        points: dict[float, CurvePoint] = {}
        for factor, count in steps:
            threshold = _scaled(max(own), factor) if len(own) == 1 else None
            place = factor if threshold is None else threshold
            points.setdefault(place, CurvePoint(factor, threshold, count.get(name, 0)))
        curves[name] = [point for _, point in sorted(points.items())]
    return curves


def _last_rules(snapshot: StateSnapshot, versions: VersionCache) -> Ruleset:
    return versions.rules(snapshot.last.versions.rules)[0] if snapshot.last else Ruleset((), ())


def _add_notes(found: WhatIf, snapshot: StateSnapshot, replay: Replay, days: Days) -> None:
    """Note what the replay could not read, and whether it gives what was sent."""
    found.notes += [
        f"{show_name(name)} {why}: the counts of all scenarios lack what depends on it"
        for name, why in sorted(replay.lost.items())
    ]
    counted: Counter[str] = Counter()
    for (day, application), lines in snapshot.notified.items():
        if days.has(day):
            counted[application] += lines
    again = {name: len(sent) for name, sent in found.scenarios[0].sent.items()}
    if dict(+counted) != again and not replay.lost:
        is_blind = any(one.key is None for one in snapshot.forgettings)
        found.notes.append(
            "what was sent differs from its replay: "
            + (
                "customers were forgotten and their key has been destroyed, so all scenarios count them"
                if is_blind
                else "`upswell reconcile` shows where"
            )
        )
