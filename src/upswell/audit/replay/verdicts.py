"""Decides what an explanation says of each line: its outcome, as far as that can be proven, and why.

Owns the words of an explanation. Outcomes are those of the specification; those that depend on lost files or destroyed
keys are taken from the state's notifications, or are ``not_proven``. Lines must come in log order. It writes nothing.
"""

from collections.abc import Iterator, Set

from upswell.audit.labels import REASON_WORDS
from upswell.audit.replay.differences import Key
from upswell.audit.replay.forgotten import Forgotten
from upswell.audit.replay.snapshot import StateSnapshot
from upswell.audit.replay.timeline import CustomerLines, DecidedLine, TimelineEntry
from upswell.output.names import place_of
from upswell.output.published import Where, locate, published_place
from upswell.reference.application import directory_name
from upswell.reference.rules import Rule
from upswell.source.listing import show_name
from upswell.state.reader import StateReader
from upswell.zones import add_days, date_of

Emission = tuple[int, str, int, str, int, bytes, bool]
"""A notification: day, application, batch, file, byte, raw line, and True when it is of the control group."""
EMITTED = {"notified": "sent to", "control": "withheld (control group), written to"}
"""Outcomes of records that are written to a file, in words."""
KEY_GONE = "customers were forgotten, and the key that identified them has been destroyed"


class Verdicts:
    """Makes the entries of a timeline, one line after another."""

    def __init__(
        self,
        reader: StateReader,
        snapshot: StateSnapshot,
        lines: CustomerLines,
        kept: Set[Emission],
        forgotten: Forgotten,
    ) -> None:
        """``kept``: the customer's notifications as the state keeps them."""
        self._reader = reader
        self._snapshot = snapshot
        self._lines = lines
        self._kept = kept
        self._forgotten = forgotten
        self._notified: dict[tuple[str, int], TimelineEntry] = {}
        """Records that were written to a file, by application and day."""
        self._fired: dict[Key, TimelineEntry] = {}
        """The same by window instance."""

    def entry(self, decided: DecidedLine) -> TimelineEntry:
        """Return the next line's entry."""
        record, line = decided.line.record, decided.line
        if record is None:
            words = REASON_WORDS.get(line.reason, line.outcome)
            return TimelineEntry(
                decided, 0, 0, "", line.outcome, f"rejected ({line.reason}): {words}"
            )
        zones = self._lines.zones(decided.logged)
        day, minute = zones.convert(record.moment)
        application = decided.rules[0].application if decided.rules else ""
        entry = TimelineEntry(decided, day, minute, application, line.outcome)
        if zones.data != zones.rules:
            entry.rules_time = f"{date_of(day)} {minute // 60:02}:{minute % 60:02}"
        if line.rule:
            entry.outcome = self._outcome(entry, line.rule)
            if entry.outcome in EMITTED:
                control = entry.outcome == "control"
                entry.output = self._output(decided.logged.batch, line.rule.application, control)
                self._notified[line.rule.application, day] = entry
                self._fired[self._instance(entry, line.rule)] = entry
        entry.why = self._why(entry)
        return entry

    def _outcome(self, entry: TimelineEntry, rule: Rule) -> str:
        """Return a record's outcome; when earlier bytes are lost, only as far as the state's notifications prove it."""
        if entry.decided.proven or entry.outcome == "late":
            return "not_proven" if self._is_blind(entry, rule) else entry.outcome
        for outcome in EMITTED:
            if emission(entry, control=outcome == "control") in self._kept:
                return outcome
        return "capped" if self._is_capped(entry, rule) else "not_proven"

    def _is_blind(self, entry: TimelineEntry, rule: Rule) -> bool:
        """Return whether the record may have been suppressed because its customer was forgotten.

        A notification that the state still has proves that they were not, and so does what followed from it.
        """
        if entry.day < self._snapshot.pruned_before:
            return False
        if not self._forgotten.is_blind(entry.decided.logged.batch):
            return False
        if entry.outcome in EMITTED:
            return emission(entry, control=entry.outcome == "control") not in self._kept
        if entry.outcome == "capped_customer":
            return len(list(self._earlier(entry.day))) < self._limit(entry)
        return entry.outcome == "capped" and not self._is_capped(entry, rule)

    def _is_capped(self, entry: TimelineEntry, rule: Rule) -> bool:
        """Return whether a notification that is certain precludes the record's."""
        cap = (self._lines.msisdn, rule.application, entry.day)
        return self._before(entry, rule) is not None or cap in self._lines.adopted

    def _before(self, entry: TimelineEntry, rule: Rule) -> TimelineEntry | None:
        """Return the notification that precludes the record's."""
        return self._notified.get((rule.application, entry.day)) or self._fired.get(
            self._instance(entry, rule)
        )

    def _instance(self, entry: TimelineEntry, rule: Rule) -> Key:
        """Return the window instance to which the rule adds the record."""
        over_midnight = rule.end_min < rule.start_min and entry.minute < rule.end_min
        opened = add_days(entry.day, -1) if over_midnight else entry.day
        return self._lines.msisdn, rule.service, rule.start_min, rule.end_min, opened

    def _why(self, entry: TimelineEntry) -> str:
        """Return the reason of a record's outcome."""
        line, rule, logged = entry.decided.line, entry.decided.line.rule, entry.decided.logged
        if line.outcome == "not_in_segment":
            return f"not in the segment (version {logged.versions.segment[:12]})"
        if line.outcome == "suppressed":
            until_day = self._lines.forgotten_until(logged.batch)
            if until_day is not None:
                # A state without any batch knew no day.
                until = f" until {date_of(until_day)} is closed" if until_day else ""
                return f"suppressed{until}: the customer was forgotten"
            return f"on the suppression list (version {logged.versions.suppress[:12]})"
        if rule is None:
            return self._without_rule(entry)
        if entry.outcome == "late":
            return (
                f"arrived after {date_of(entry.day)} was closed (a file stamped {logged.newest_stamp} had arrived, and"
                f" {self._snapshot.keep_days} days stay open)"
            )
        if entry.outcome == "capped":
            return self._capped(entry, rule)
        measured = "volume" if self._snapshot.measure == "session" else "total"
        if not entry.decided.proven:
            return self._after_loss(entry, rule, measured)
        if entry.outcome == "not_proven":
            return f"not proven: {KEY_GONE}"
        if entry.outcome == "counted":
            reached = ": reached, not exceeded" if line.total == rule.threshold else ""
            return f"{measured} {line.total:,} of {rule.threshold:,} in {rule.window()}{reached}"
        return f"{measured} {line.total:,} exceeds {rule.threshold:,}: {self._exceeded(entry)}"

    def _exceeded(self, entry: TimelineEntry) -> str:
        """Return what became of a record above its threshold."""
        if entry.outcome == "capped_customer":
            most = self._limit(entry)
            earlier = "; ".join(self._earlier(entry.day))
            return f"but the customer already had {most:,} of {most:,} notifications on {date_of(entry.day)}: {earlier}"
        return f"{EMITTED[entry.outcome]} {entry.output}"

    def _limit(self, entry: TimelineEntry) -> int:
        """Return the notifications per customer and day that were allowed when the record was consumed."""
        return self._lines.policy(entry.decided.logged).max_per_customer_per_day

    def _earlier(self, day: int) -> Iterator[str]:
        """Yield the notifications of a day so far, in their order."""
        for application in sorted(name for _, name, of_day in self._lines.adopted if of_day == day):
            yield f"{application} before this state began"
        for (application, of_day), before in self._notified.items():
            if of_day == day:
                group = ", control group" if before.outcome == "control" else ""
                yield f"{application} {_at(before, before)}{group}"

    def _after_loss(self, entry: TimelineEntry, rule: Rule, measured: str) -> str:
        """Return what became of a record after lost bytes: what the state says, or that nothing is proven."""
        line = entry.decided.line
        known = ""
        if line.outcome != "capped":
            without = "" if measured == "volume" else " without the lost lines"
            known = f"; {measured} {line.total:,} of {rule.threshold:,} in {rule.window()}{without}"
        if entry.outcome in EMITTED:
            return f"according to the state, {EMITTED[entry.outcome]} {entry.output}{known}"
        return f"not proven: earlier lines are lost{known}"

    def _without_rule(self, entry: TimelineEntry) -> str:
        if not entry.decided.rules:
            record = entry.decided.line.record
            return f"no rule for service {record.service if record else '?'}"
        windows = ", ".join(rule.window() for rule in entry.decided.rules)
        hour, minute = divmod(entry.minute, 60)
        return f"hour {hour}{f':{minute:02}' if minute else ''} is outside {windows}"

    def _capped(self, entry: TimelineEntry, rule: Rule) -> str:
        before = self._before(entry, rule)
        if before is None:
            return "already notified before this state began"
        named = "" if before.application == rule.application else f" as {before.application}"
        if before.outcome == "control":
            return f"already withheld{named} (control group) {_at(before, entry)}"
        return f"already notified{named} {_at(before, entry)}"

    def _output(self, batch: int, application: str, control: bool) -> str:
        """Return the file that contains a notification, and where it is now."""
        place = place_of(directory_name(application), control)
        staged = [one for one in self._reader.staged(batch).values() if one.directory == place]
        return (
            f"{published_place(staged[0])} ({_WHERE[locate(self._snapshot.output, staged[0])]})"
            if staged
            else "?"
        )


def emission(entry: TimelineEntry, *, control: bool) -> Emission:
    """Return an entry as the state would keep its notification."""
    logged, line = entry.decided.logged, entry.decided.line
    place = logged.batch, line.file, line.byte, line.content
    return (entry.day, entry.application, *place, control)


def _at(entry: TimelineEntry, beside: TimelineEntry) -> str:
    """Return when and where a record was, with its date when the record beside it is of another day."""
    line, record, other = entry.decided.line, entry.decided.line.record, beside.decided.line.record
    assert record is not None and other is not None, "an entry with a rule is a record"
    form = "%H:%M" if record.moment.date() == other.moment.date() else "%Y-%m-%d %H:%M"
    return f"at {record.moment.strftime(form)} ({show_name(line.file)}:{line.line})"


_WHERE: dict[Where, str] = {
    "in_output": "still in OUTPUT",
    "changed": "changed since",
    "taken_away": "taken by the consumer",
    "waiting": "about to be published",
}
