"""Compares what customers used after their notification with what the control group used after theirs.

Owns the groups, the usage and which days can be compared. Groups come from the kept notifications, usage from one
replay of the log in which nothing fires and nothing is late. It writes nothing. The invariant: both groups are measured
alike, by the same dates and services after a customer's own day, and whatever happened to the customer since.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from upswell.audit.replay.interval import CONFIDENCE, SampleSums, difference, welch
from upswell.audit.replay.replay import Replay, Terms
from upswell.audit.replay.scenarios import Days
from upswell.audit.replay.snapshot import StateSnapshot, batches, take_snapshot
from upswell.audit.replay.versions import VersionCache
from upswell.kernel import Ledger, Rules, Segment
from upswell.reference.rules import DAY_MIN
from upswell.semantics import TOTAL_MAX
from upswell.source.listing import show_name
from upswell.state.queries.notifications import notifications
from upswell.state.reader import StateReader
from upswell.state.rows import LedgerParts
from upswell.zones import DAY_MAX, add_days, date_of, day_last_of, day_open_of

CUSTOMERS_MIN = 30
"""A group with fewer has no mean that can be called nearly normal."""
_TOTALS_MAX = 500_000  # of the replay's ledger, before they are added up
_EVER_DAYS = 10_000_000  # more than the calendar has: every day stays open


class ApplicationEffect(NamedTuple):
    """The usage of an application, by customers who were notified and by the control group."""

    application: str
    notified: SampleSums
    control: SampleSums

    @property
    def difference(self) -> float | None:
        """The mean of the notified minus that of the control group; None when a group is empty."""
        return difference(self.notified, self.control)

    @property
    def interval(self) -> tuple[float, float] | None:
        """The interval (low, high) of the difference; None when it cannot be estimated."""
        return welch(self.notified, self.control)

    @property
    def is_too_small(self) -> bool:
        """True when a group has fewer than CUSTOMERS_MIN customers."""
        return min(self.notified.size, self.control.size) < CUSTOMERS_MIN

    def to_json(self) -> dict[str, object]:
        """Return all figures."""
        low, high = self.interval or (None, None)
        return {
            "application": self.application,
            "notified": {"customers": self.notified.size, "mean": self.notified.mean},
            "control": {"customers": self.control.size, "mean": self.control.mean},
            "difference": self.difference,
            "low": low,
            "high": high,
            "too_small": self.is_too_small,
        }


@dataclass
class Effect:
    """The comparison of all applications."""

    days: int
    """After the day of a customer's first crossing, over which usage is added up."""
    applications: list[ApplicationEffect] = field(default_factory=list)
    left_out: dict[int, str] = field(default_factory=dict)
    """By day, ascending: why customers whose first crossing was on it are in no group."""
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, object]:
        """Return everything as one object."""
        return {
            "days": self.days,
            "confidence": CONFIDENCE,
            "applications": [each.to_json() for each in self.applications],
            "left_out": [{"day": day, "reason": why} for day, why in self.left_out.items()],
            "notes": self.notes,
        }


@dataclass(slots=True)
class _Crossing:
    """The first time that a customer crossed a threshold of an application, and the usage that followed."""

    day: int
    until: int
    """The last date of the usage."""
    control: bool
    services: frozenset[int]
    """Those of the application when it was crossed."""
    usage: int = 0


class _Lost(NamedTuple):
    """A file whose bytes are no longer those that were consumed."""

    file: str
    why: str
    first: int
    """The first day of its records, if none is late by the file's own stamp."""
    last: int


class _Terms(NamedTuple):
    """The terms under which a batch was decided, as far as they concern the groups."""

    services: Mapping[str, frozenset[int]]
    """By application."""
    control: tuple[int, str]
    """The control group: its share, and its key."""


_Crossings = Mapping[str, Mapping[str, _Crossing]]
"""By application and msisdn."""


def effect(
    state_dir: Path, days_after: int, *, days: Days | None = None, data: Path | None = None
) -> Effect:
    """Compare the usage of the notified with that of the control group, by application.

    Args:
        state_dir: the state's directory.
        days_after: the dates after the day of a customer's first crossing whose usage is added up.
        days: the period in which first crossings are looked for. None: all days.
        data: where the files are, if they were moved.

    Raises:
        InputMissing: there is no state, or no DATA. StorageError: the state is damaged.
    """
    found = Effect(days_after)
    with StateReader.open(state_dir) as reader:
        snapshot = take_snapshot(reader, data, ledger=False)
        versions = VersionCache(reader)
        crossings = _first_crossings(reader, snapshot, versions, days or Days(0, DAY_MAX), found)
        measured = {
            application: {
                msisdn: one for msisdn, one in of_customers.items() if one.day not in found.left_out
            }
            for application, of_customers in crossings.items()
        }
        if any(measured.values()):
            lost = _add_usage(reader, snapshot, versions, measured)
            _leave_out_lost(lost, measured, found)
    for application, of_customers in sorted(crossings.items()):
        kept = [each for each in of_customers.values() if each.day not in found.left_out]
        notified, control = (
            SampleSums.of(each.usage for each in kept if each.control is group)
            for group in (False, True)
        )
        found.applications.append(ApplicationEffect(application, notified, control))
    found.left_out = dict(sorted(found.left_out.items()))
    found.notes += [
        f"{each.application}: {each.notified.size:,} notified and {each.control.size:,} of the control group"
        f" are too few to say anything: there should be {CUSTOMERS_MIN} in each"
        for each in found.applications
        if each.is_too_small and each.notified.size + each.control.size
    ]
    return found


def _first_crossings(
    reader: StateReader,
    snapshot: StateSnapshot,
    versions: VersionCache,
    period: Days,
    found: Effect,
) -> _Crossings:
    """Return each customer's first crossing within the period; days that cannot be compared are left out and named."""
    terms = _terms_by_batch(reader, snapshot, versions)
    counted = {day for day, _ in (*snapshot.notified, *snapshot.control) if period.has(day)}
    crossings: defaultdict[str, dict[str, _Crossing]] = defaultdict(dict)
    groups = set()
    for day in sorted(day for day in counted if day >= snapshot.pruned_before):
        until = add_days(day, found.days)
        is_over = snapshot.last is not None and until < snapshot.last.day_open
        for batch, row in notifications(reader, snapshot.applications, day):
            _, application, msisdn, *_, control = row
            if batch > snapshot.last_batch or msisdn in crossings[application]:
                continue
            if batch not in terms:
                raise reader.damaged(f"a notification of batch {batch}, which is missing,")
            services = terms[batch].services.get(application, frozenset())
            crossings[application][msisdn] = _Crossing(day, until, control, services)
            if is_over:
                groups.add(terms[batch].control)
            else:
                found.left_out[day] = f"{date_of(until)} is not over yet"
    # Asked for only now: a run may have begun to prune a day while it was read.
    before = max(snapshot.pruned_before, reader.pruned_before())
    for day in counted:
        if day < before:
            found.left_out[day] = "its notifications are no longer kept"
    if len(groups) > 1:
        found.notes.append(
            "the control group was not the same on all days: compare those with one share by --day"
        )
    return crossings


def _terms_by_batch(
    reader: StateReader, snapshot: StateSnapshot, versions: VersionCache
) -> dict[int, _Terms]:
    services: dict[str, dict[str, frozenset[int]]] = {}
    terms = {}
    for batch in reader.batches():
        if batch.number > snapshot.last_batch:
            break
        version = batch.versions.rules
        if version not in services:
            rules = versions.rules(version)[0].rules
            services[version] = {
                name: frozenset(rule.service for rule in rules if rule.application == name)
                for name in {rule.application for rule in rules}
            }
        policy = versions.policy(batch.versions.policy)
        terms[batch.number] = _Terms(services[version], (policy.control_share, policy.control_key))
    return terms


def _add_usage(
    reader: StateReader,
    snapshot: StateSnapshot,
    versions: VersionCache,
    crossings: _Crossings,
) -> list[_Lost]:
    """Replay the log and add up the usage of every crossing; return the files that are lost."""
    applications: defaultdict[int, set[str]] = defaultdict(set)
    """By service, those that had it: one, unless a service was moved."""
    for application, of_customers in crossings.items():
        for services in {one.services for one in of_customers.values()}:
            for service in services:
                applications[service].add(application)
    msisdns = set[str]().union(*crossings.values())
    replay = Replay(
        # Every volume is added up, of every day, and no cap stands in its way.
        snapshot._replace(measure="total", keep_days=_EVER_DAYS, adopted=LedgerParts([], [])),
        versions,
        # A total never exceeds this threshold, so that nothing fires.
        Terms(Rules([(service, str(service), 0, DAY_MIN, TOTAL_MAX) for service in applications])),
        segment=Segment.parse(["\n".join(msisdns).encode()])[0],
        suppressed=Segment.parse([])[0],
    )
    for batch in batches(reader, snapshot):
        for _ in replay.steps([logged._replace(day_open_before=0) for logged in batch]):
            if replay.ledger.entries()[0] > _TOTALS_MAX:
                _take_totals(replay, crossings, applications)
    _take_totals(replay, crossings, applications)
    return _lost_files(replay.lost, reader, snapshot, versions)


def _take_totals(
    replay: Replay, crossings: _Crossings, applications: Mapping[int, Iterable[str]]
) -> None:
    """Add the totals of the replay's ledger to the crossings that they follow, and empty it."""
    for total in replay.ledger.totals():
        for application in applications[total.service]:
            one = crossings[application].get(total.msisdn)
            if one and one.day < total.day <= one.until and total.service in one.services:
                one.usage += total.total
    replay.ledger = Ledger()


def _lost_files(
    lost: Mapping[str, str], reader: StateReader, snapshot: StateSnapshot, versions: VersionCache
) -> list[_Lost]:
    """Return the lost files in the order of the log, with the days that their own stamps leave open."""
    found: dict[str, _Lost] = {}
    for batch in batches(reader, snapshot) if lost else ():
        for logged in batch:
            if logged.file in lost:
                zones = versions.zones(logged.versions.zones)
                first = day_open_of(logged.stamp, snapshot.keep_days, zones)
                last = add_days(day_last_of(logged.stamp, zones), -1)
                found[logged.file] = _Lost(logged.file, lost[logged.file], first, last)
    return list(found.values())


def _leave_out_lost(lost: Sequence[_Lost], crossings: _Crossings, found: Effect) -> None:
    """Leave out and name the days whose dates a lost file is about; note what else may be missing."""
    untils = {each.day: each.until for some in crossings.values() for each in some.values()}
    later: set[_Lost] = set()
    for day, until in untils.items():
        of_day = [one for one in lost if one.first <= until and day < one.last]
        if of_day:
            found.left_out[day] = _describe_lost(of_day)
        else:
            later.update(one for one in lost if until < one.first)
    if later:
        found.notes.append(
            f"{_describe_lost(sorted(later))}: its records of earlier days, if it had any, are missing"
        )


def _describe_lost(lost: Sequence[_Lost]) -> str:
    more = f" ({len(lost) - 1:,} more are lost, too)" if len(lost) > 1 else ""
    return f"{show_name(lost[0].file)} {lost[0].why}{more}"
