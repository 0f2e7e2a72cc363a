"""Explains one customer: each of their lines, counted or not and why, and whether the state agrees.

Owns the comparison of a customer's timeline with the state. It only reads, and may run beside a run. What is said of
lines is computed again from the kept files; what depends on a file that is gone is quoted from the state, and marked
so. This is an explicit look-up: the msisdn is shown whole, except in the sentences about differences.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from upswell.audit.replay.differences import Key, cap_differences, total_differences
from upswell.audit.replay.forgotten import Forgotten
from upswell.audit.replay.not_taken import find_not_taken
from upswell.audit.replay.snapshot import StateSnapshot, take_snapshot
from upswell.audit.replay.timeline import (
    CustomerLines,
    Explanation,
    QuotedNotification,
    TimelineEntry,
)
from upswell.audit.replay.verdicts import EMITTED, KEY_GONE, Emission, Verdicts, emission
from upswell.errors import UsageError
from upswell.privacy import mask_digits
from upswell.reference.segment import is_digits, parse_msisdn
from upswell.source.listing import show_name
from upswell.state.queries.notifications import notifications_of
from upswell.state.queries.rules import rulesets
from upswell.state.reader import StateReader
from upswell.zones import add_days, date_of


def explain(
    state_dir: Path,
    msisdn: str,
    *,
    about: str | None = None,
    day: int | None = None,
    data: Path | None = None,
) -> Explanation:
    """Explain one customer.

    Args:
        state_dir: the state's directory.
        msisdn: 5 to 15 digits, with or without a leading ``+``.
        about: an application or a service; records of others are left out, rejects are not.
        day: only records of this day, and only the state's notifications of this day.
        data: where the files are, if they were moved.

    Raises:
        UsageError: not an msisdn, or not an application or service that ever had a rule.
        StorageError: there is no state, or it is damaged. InputMissing: DATA does not exist.
    """
    digits = parse_msisdn(msisdn.encode("utf-8", "replace"))
    if digits is None:
        raise UsageError("not a valid MSISDN", "write 5 to 15 digits, or - to read one from stdin")
    with StateReader.open(state_dir) as reader:
        snapshot = take_snapshot(reader, data, ledger=day is None)
        services = None if about is None else _services(reader, about)
        return _Explainer(reader, snapshot, digits, day).run(services)


class _Explainer:
    """One explanation, from the first line to the comparison."""

    def __init__(
        self, reader: StateReader, snapshot: StateSnapshot, msisdn: str, day: int | None
    ) -> None:
        self.reader = reader
        self.snapshot = snapshot
        self.day = day
        self.lines = CustomerLines(reader, snapshot, msisdn)
        self.found = Explanation(msisdn)
        self.kept = set(self._kept())
        self.forgotten = Forgotten(reader, snapshot)

    def run(self, services: set[int] | None) -> Explanation:
        verdicts = Verdicts(self.reader, self.snapshot, self.lines, self.kept, self.forgotten)
        entries = [verdicts.entry(decided) for decided in self.lines.decided()]
        self._membership()
        asked = [entry for entry in entries if not entry.day or self._is_asked(entry.day)]
        self.found.continued = sorted(
            {
                (name, later)
                for name in {entry.decided.line.file for entry in asked}
                if (later := self.snapshot.files[name].continued_by)
            }
        )
        processed = Counter(entry.decided.line.file for entry in asked)
        self.found.not_taken = find_not_taken(
            self.reader, self.snapshot, self.found.msisdn, processed, self.day
        )
        self._compare(entries)
        self.found.entries = [entry for entry in asked if _is_about(entry, services)]
        if services is not None:
            names = {
                rule.application
                for ruleset in rulesets(self.reader)
                for rule in ruleset.rules
                if rule.service in services
            }
            self.found.quoted = [one for one in self.found.quoted if one.application in names]
        return self.found

    def _is_asked(self, day: int) -> bool:
        return self.day in (None, day)

    def _membership(self) -> None:
        for batch, version in self.lines.segments:
            joined = self.lines.is_member(version)
            if not self.found.segment or self.found.segment[-1][2] != joined:
                self.found.segment.append((batch, version, joined))

    def _compare(self, entries: list[TimelineEntry]) -> None:
        """Compare the timeline with the state; quote the state where files are lost."""
        records = [
            entry for entry in entries if entry.decided.line.record and self._is_asked(entry.day)
        ]
        proven = {
            emission(entry, control=control)
            for entry in records
            if entry.decided.proven
            for control in (False, True)
        }
        replayed = {
            emission(entry, control=entry.outcome == "control")
            for entry in records
            if entry.outcome in EMITTED
        }
        kept = {sent for sent in self.kept if self._is_asked(sent[0])}
        pruned = {sent for sent in replayed if sent[0] < self.snapshot.pruned_before}
        replayed -= pruned
        kept -= {sent for sent in kept if sent[0] < self.snapshot.pruned_before}
        forgotten = {sent for sent in replayed - kept if self._is_forgotten(sent)}
        replayed -= forgotten
        blind = sum(entry.outcome == "not_proven" and entry.decided.proven for entry in records)
        unproven = self._unproven(len(forgotten), blind)
        state_only = {sent for sent in kept - replayed if not unproven or sent in proven}
        self.found.quoted += [_quote(sent) for sent in sorted(kept - replayed - state_only)]
        self.found.differences += [
            f"{_quote(sent).sentence()}: only in the {where}"
            for rows, where in ((state_only, "state"), (replayed - kept, "replay"))
            for sent in sorted(rows)
        ]
        if self.day is None and not unproven:
            self._compare_ledger()
        if pruned:
            self.found.unproven.append(
                f"notifications before {date_of(self.snapshot.pruned_before)} are pruned: of the {len(pruned):,} that"
                " the replay gives, the state keeps only the counts"
            )

    def _is_forgotten(self, sent: Emission) -> bool:
        """Return whether the state may lack a notification because its customer was forgotten."""
        day, application, batch, *_, control = sent
        return self.forgotten.is_blind(batch) or self.forgotten.may_be(
            batch, application, day, control
        )

    def _unproven(self, forgotten: int, blind: int) -> bool:
        """Add what could not be proven; return whether there is anything."""
        if forgotten:
            self.found.unproven.append(
                f"the state no longer has {forgotten:,} of these notifications: the customer was forgotten"
            )
        if blind:
            self.found.unproven.append(
                f"{KEY_GONE}: {blind:,} of these records may have been suppressed"
            )
        last = self.snapshot.last_batch
        if self.forgotten.is_blind(last) and self.lines.specification.totals:
            self.found.unproven.append(f"{KEY_GONE}: totals are not compared")
        for name, why in sorted(self.lines.lost.items()):
            self.found.unproven.append(f"{show_name(name)} {why}: its lines are missing here")
        return bool(self.found.unproven)

    def _kept(self) -> Iterator[Emission]:
        """Yield the customer's notifications as the state keeps them."""
        ids = {name: number for number, name in self.snapshot.applications.items()}
        for day, name in self.snapshot.notified.keys() | self.snapshot.control.keys():
            for one in notifications_of(
                self.reader,
                self.found.msisdn,
                day=day,
                application=ids.get(name, -1),
                batch_max=self.snapshot.last_batch,
            ):
                yield day, name, *one

    def _compare_ledger(self) -> None:
        """Compare the totals and caps that the state keeps for the customer with those of the replay."""
        day_open = self.snapshot.last.day_open if self.snapshot.last else 0
        ledger = self.snapshot.ledger()
        kept = {each.key: (each.total, each.fired) for each in ledger.totals(self.found.msisdn)}
        specification = self.lines.specification
        replayed: dict[Key, tuple[int, bool]] = {
            key: (specification.totals.get(key, 0), key in specification.fired)
            for key in specification.totals.keys() | specification.fired
            if _last_day(key) >= day_open
        }
        caps = {cap for cap in specification.caps if cap[2] >= day_open}
        self.found.differences += total_differences(kept, replayed)
        self.found.differences += cap_differences(set(ledger.caps(self.found.msisdn)), caps)


def _services(reader: StateReader, about: str) -> set[int]:
    """Return the services named by number, or by an application's name in any version of the rules."""
    if is_digits(about.encode(), 1, 9):
        return {int(about)}
    name = unicodedata.normalize("NFC", about)
    rules = [rule for ruleset in rulesets(reader) for rule in ruleset.rules]
    if found := {rule.service for rule in rules if rule.application == name}:
        return found
    raise UsageError(
        f"no rule ever named an application {mask_digits(repr(about))}",
        "write an application's name as in RULES, or a service number",
    )


def _is_about(entry: TimelineEntry, services: set[int] | None) -> bool:
    """Return whether an entry is about one of the services; a reject may be about any."""
    record = entry.decided.line.record
    return services is None or record is None or record.service in services


def _last_day(key: Key) -> int:
    """Return the last day whose records belong to a window instance."""
    _, _, start_min, end_min, day = key
    return day if start_min < end_min else add_days(day, 1)


def _quote(sent: Emission) -> QuotedNotification:
    day, application, batch, file, byte, raw, control = sent
    text = raw.decode("ascii", "backslashreplace")
    group = ", control group" if control else ""
    place = f"{show_name(file)} byte {byte:,}, batch {batch}{group}"
    return QuotedNotification(day, application, f"{text} ({place})", control)
