"""One customer's story: each of their lines, counted or not and why, and whether the state says the same.

Owns the words of the story and its comparison with the state. It only reads, and may run beside a run. What is told of
lines is worked out anew from the kept files; what hangs on a file that is gone is quoted from the state, and said to
be. This is an explicit look-up: the msisdn is shown whole, but in the sentences about differences.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from upswell.audit.labels import REASON_WORDS
from upswell.audit.replay.differences import Key, of_caps, of_totals
from upswell.audit.replay.forgotten import Forgotten
from upswell.audit.replay.not_taken import untaken
from upswell.audit.replay.replay import Past, remember
from upswell.audit.replay.timeline import Entry, Explanation, Lines, Quoted, Told
from upswell.errors import UsageError
from upswell.output.names import place_of
from upswell.output.published import Where, published_place, where
from upswell.privacy import mask_digits
from upswell.reference.application import directory_name
from upswell.reference.rules import Rule
from upswell.reference.segment import is_digits, parse_msisdn
from upswell.source.listing import show_name
from upswell.state.queries.notifications import notifications_of
from upswell.state.queries.rules import rulesets
from upswell.state.reader import StateReader
from upswell.zones import add_days, date_of

Sent = tuple[int, str, int, str, int, bytes, bool]
"""Day, application, batch, file, byte and raw line of a notification of the customer; is it of the control group?"""
_EMITTED = {
    "notified": "sent to",
    "control": "kept from the customer, who is in the control group: written to",
}
"""What became of a record that came to a file, by outcome."""
_KEY_GONE = "customers were forgotten, and the key that told who is destroyed"


def explain(
    state_dir: Path,
    msisdn: str,
    *,
    about: str | None = None,
    day: int | None = None,
    data: Path | None = None,
) -> Explanation:
    """The story of one customer.

    Args:
        state_dir: the state's directory.
        msisdn: 5 to 15 digits, with or without a leading ``+``.
        about: an application or a service: the records of others are left out, refused lines are not.
        day: only records of this day, and of the state only the notifications of this day.
        data: where the files are, if they were moved.

    Raises:
        UsageError: that is no msisdn, or no application or service that ever had a rule.
        StorageError: there is no state, or it is damaged. InputMissing: DATA is not there.
    """
    digits = parse_msisdn(msisdn.encode("utf-8", "replace"))
    if digits is None:
        raise UsageError("that is no msisdn", "write 5 to 15 digits, or - to read them from stdin")
    with StateReader.open(state_dir) as reader:
        past = remember(reader, data, ledger=day is None)
        services = None if about is None else _services(reader, about)
        return _Explaining(reader, past, digits, day).run(services)


class _Explaining:
    """One story, from the first line to the comparison."""

    def __init__(self, reader: StateReader, past: Past, msisdn: str, day: int | None) -> None:
        self.reader = reader
        self.past = past
        self.day = day
        self.lines = Lines(reader, past, msisdn)
        self.found = Explanation(msisdn)
        self.kept = set(self._kept())
        self.forgotten = Forgotten(reader, past)
        self.notified: dict[tuple[str, int], Entry] = {}
        """What came to a file, by application and day."""
        self.fired: dict[Key, Entry] = {}
        """By occurrence."""

    def run(self, services: set[int] | None) -> Explanation:
        entries = [self._entry(told) for told in self.lines.told()]
        self._membership()
        asked = [entry for entry in entries if not entry.day or self._is_asked(entry.day)]
        told = Counter(entry.told.line.file for entry in asked)
        self.found.not_taken = untaken(self.reader, self.past, self.found.msisdn, told, self.day)
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

    def _entry(self, told: Told) -> Entry:
        record, line = told.line.record, told.line
        if record is None:
            words = REASON_WORDS.get(line.reason, line.outcome)
            return Entry(told, 0, 0, "", line.outcome, f"refused: {line.reason}, {words}")
        day, minute = self.past.zones.convert(record.moment)
        entry = Entry(
            told, day, minute, told.rules[0].application if told.rules else "", line.outcome
        )
        if self.past.zones.data != self.past.zones.rules:
            entry.rules_time = f"{date_of(day)} {minute // 60:02}:{minute % 60:02}"
        if line.rule:
            entry.outcome = self._outcome(entry, line.rule)
            if entry.outcome in _EMITTED:
                control = entry.outcome == "control"
                entry.output = self._output(told.taken.batch, line.rule.application, control)
                self.notified[line.rule.application, day] = entry
                self.fired[self._occurrence(entry, line.rule)] = entry
        entry.why = self._why(entry)
        return entry

    def _outcome(self, entry: Entry, rule: Rule) -> str:
        """The outcome of a record; behind lost bytes only what the state's notifications say of it, too."""
        if entry.told.proven or entry.outcome == "late":
            return "not_proven" if self._is_blind(entry, rule) else entry.outcome
        for outcome in _EMITTED:
            if self._sent(entry, control=outcome == "control") in self.kept:
                return outcome
        return "capped" if self._is_capped(entry, rule) else "not_proven"

    def _is_blind(self, entry: Entry, rule: Rule) -> bool:
        """Whether nobody can tell any more if a record was suppressed, as its customer may have been forgotten.

        Who was not has the notification still, and what came after it is certain.
        """
        if entry.day < self.past.pruned_before:
            return False
        if not self.forgotten.is_blind(entry.told.taken.batch):
            return False
        if entry.outcome in _EMITTED:
            return self._sent(entry, control=entry.outcome == "control") not in self.kept
        if entry.outcome == "capped_customer":
            return len(list(self._had(entry.day))) < self._limit(entry)
        return entry.outcome == "capped" and not self._is_capped(entry, rule)

    def _is_capped(self, entry: Entry, rule: Rule) -> bool:
        """Whether a notification that is certain stood in a record's way."""
        cap = (self.found.msisdn, rule.application, entry.day)
        return self._before(entry, rule) is not None or cap in self.lines.adopted

    def _before(self, entry: Entry, rule: Rule) -> Entry | None:
        """The notification that a record came too late for."""
        return self.notified.get((rule.application, entry.day)) or self.fired.get(
            self._occurrence(entry, rule)
        )

    def _occurrence(self, entry: Entry, rule: Rule) -> Key:
        over_midnight = rule.end_min < rule.start_min and entry.minute < rule.end_min
        opened = add_days(entry.day, -1) if over_midnight else entry.day
        return self.found.msisdn, rule.service, rule.start_min, rule.end_min, opened

    def _sent(self, entry: Entry, *, control: bool) -> Sent:
        """An entry as the state would keep its notification."""
        taken, line = entry.told.taken, entry.told.line
        place = taken.batch, line.file, line.byte, line.content
        return (entry.day, entry.application, *place, control)

    def _why(self, entry: Entry) -> str:
        """What became of a record, in words."""
        line, rule = entry.told.line, entry.told.line.rule
        if line.outcome == "not_in_segment":
            return f"not in the segment (version {entry.told.taken.versions.segment[:12]})"
        if line.outcome == "suppressed":
            until_day = self.lines.forgotten_until(entry.told.taken.batch)
            if until_day is not None:
                # A state without a batch knew no day.
                until = f" until {date_of(until_day)} is closed" if until_day else ""
                return f"the customer was forgotten: suppressed{until}"
            return f"on the suppression list (version {entry.told.taken.versions.suppress[:12]})"
        if rule is None:
            return self._without_rule(entry)
        if entry.outcome == "late":
            return (
                f"{date_of(entry.day)} was closed already: too late to be counted (a file of"
                f" {entry.told.taken.newest_stamp} had come, and {self.past.keep_days} days stay open)"
            )
        if entry.outcome == "capped":
            return self._capped(entry, rule)
        measured = "volume" if self.past.measure == "session" else "total"
        if not entry.told.proven:
            return self._after_loss(entry, rule, measured)
        if entry.outcome == "not_proven":
            return f"not proven: {_KEY_GONE}"
        if entry.outcome == "counted":
            reached = ": reached, not exceeded" if line.total == rule.threshold else ""
            return f"{measured} {line.total:,} of {rule.threshold:,} in {rule.window()}{reached}"
        return f"{measured} {line.total:,} exceeds {rule.threshold:,}: {self._exceeded(entry)}"

    def _exceeded(self, entry: Entry) -> str:
        """What became of a record above its threshold."""
        if entry.outcome == "capped_customer":
            most = self._limit(entry)
            had = "; ".join(self._had(entry.day))
            return f"but the customer has had {most:,} of {most:,} notifications on {date_of(entry.day)}: {had}"
        return f"{_EMITTED[entry.outcome]} {entry.output}"

    def _limit(self, entry: Entry) -> int:
        """How many notifications a customer might have on a day when a record was taken."""
        return self.lines.policy(entry.told.taken).max_per_customer_per_day

    def _had(self, day: int) -> Iterator[str]:
        """The notifications of a day so far, in the order in which they came."""
        for application in sorted(name for _, name, of_day in self.lines.adopted if of_day == day):
            yield f"{application} before this state began"
        for (application, of_day), before in self.notified.items():
            if of_day == day:
                group = ", of the control group" if before.outcome == "control" else ""
                yield f"{application} {_at(before, before)}{group}"

    def _after_loss(self, entry: Entry, rule: Rule, measured: str) -> str:
        """Of a record that the state says was sent, or of which nobody can say it."""
        line = entry.told.line
        known = ""
        if line.outcome != "capped":
            without = "" if measured == "volume" else " without the lost lines"
            known = f"; {measured} {line.total:,} of {rule.threshold:,} in {rule.window()}{without}"
        if entry.outcome in _EMITTED:
            return f"by the state's word {_EMITTED[entry.outcome]} {entry.output}{known}"
        return f"not proven: what came before is lost{known}"

    def _without_rule(self, entry: Entry) -> str:
        if not entry.told.rules:
            record = entry.told.line.record
            return f"no rule for service {record.service if record else '?'}"
        windows = ", ".join(rule.window() for rule in entry.told.rules)
        hour, minute = divmod(entry.minute, 60)
        return f"hour {hour}{f':{minute:02}' if minute else ''} is outside {windows}"

    def _capped(self, entry: Entry, rule: Rule) -> str:
        before = self._before(entry, rule)
        if before is None:
            return "already notified, before this state began"
        named = "" if before.application == rule.application else f" as {before.application}"
        if before.outcome == "control":
            return f"already kept from the customer{named}, who is in the control group, {_at(before, entry)}"
        return f"already notified{named} {_at(before, entry)}"

    def _output(self, batch: int, application: str, control: bool) -> str:
        """The file that holds a notification, and where it is now."""
        place = place_of(directory_name(application), control)
        staged = [one for one in self.reader.staged(batch).values() if one.directory == place]
        return (
            f"{published_place(staged[0])} ({_WHERE[where(self.past.output, staged[0])]})"
            if staged
            else "?"
        )

    def _membership(self) -> None:
        for batch, version in self.lines.segments:
            joined = self.lines.joins(version)
            if not self.found.segment or self.found.segment[-1][2] != joined:
                self.found.segment.append((batch, version, joined))

    def _compare(self, entries: list[Entry]) -> None:
        """Hold the story against the state; quote the state where files are lost."""
        told = [entry for entry in entries if entry.told.line.record and self._is_asked(entry.day)]
        proven = {
            self._sent(entry, control=control)
            for entry in told
            if entry.told.proven
            for control in (False, True)
        }
        again = {
            self._sent(entry, control=entry.outcome == "control")
            for entry in told
            if entry.outcome in _EMITTED
        }
        kept = {sent for sent in self.kept if self._is_asked(sent[0])}
        pruned = {sent for sent in again if sent[0] < self.past.pruned_before}
        again -= pruned
        kept -= {sent for sent in kept if sent[0] < self.past.pruned_before}
        forgotten = {sent for sent in again - kept if self._is_forgotten(sent)}
        again -= forgotten
        blind = sum(entry.outcome == "not_proven" and entry.told.proven for entry in told)
        unproven = self._unproven(len(forgotten), blind)
        state_alone = {sent for sent in kept - again if not unproven or sent in proven}
        self.found.quoted += [_quote(sent) for sent in sorted(kept - again - state_alone)]
        self.found.differences += [
            f"{_quote(sent).sentence()}: {words}"
            for rows, words in (
                (state_alone, "the state says so, and the replay does not"),
                (again - kept, "the replay says so, and the state does not"),
            )
            for sent in sorted(rows)
        ]
        if self.day is None and not unproven:
            self._compare_ledger()
        if pruned:
            self.found.unproven.append(
                f"notifications of before {date_of(self.past.pruned_before)} are pruned: of {len(pruned):,} that the"
                " replay gives the state keeps the counts alone"
            )

    def _is_forgotten(self, sent: Sent) -> bool:
        """Whether the state may lack a notification because its customer was forgotten."""
        day, application, batch, *_, control = sent
        return self.forgotten.is_blind(batch) or self.forgotten.may_be(
            batch, application, day, control
        )

    def _unproven(self, forgotten: int, blind: int) -> bool:
        if forgotten:
            self.found.unproven.append(
                f"the state holds {forgotten:,} of these notifications no more: the customer was forgotten"
            )
        if blind:
            self.found.unproven.append(
                f"{_KEY_GONE}: {blind:,} of these records may have been suppressed"
            )
        last = self.past.last_batch
        if self.forgotten.is_blind(last) and self.lines.specification.totals:
            self.found.unproven.append(f"{_KEY_GONE}: totals are not compared")
        for name, why in sorted(self.lines.lost.items()):
            self.found.unproven.append(f"{show_name(name)} {why}: its lines are not told")
        return bool(self.found.unproven)

    def _kept(self) -> Iterator[Sent]:
        """The customer's notifications as the state keeps them."""
        ids = {name: number for number, name in self.past.applications.items()}
        for day, name in self.past.notified.keys() | self.past.control.keys():
            for one in notifications_of(
                self.reader,
                self.found.msisdn,
                day=day,
                application=ids.get(name, -1),
                batch_max=self.past.last_batch,
            ):
                yield day, name, *one

    def _compare_ledger(self) -> None:
        day_open = self.past.last.day_open if self.past.last else 0
        ledger = self.past.ledger()
        kept = {each.key: (each.total, each.fired) for each in ledger.totals(self.found.msisdn)}
        reference = self.lines.specification
        again: dict[Key, tuple[int, bool]] = {
            key: (reference.totals.get(key, 0), key in reference.fired)
            for key in reference.totals.keys() | reference.fired
            if _last_day(key) >= day_open
        }
        caps = {cap for cap in reference.caps if cap[2] >= day_open}
        self.found.differences += of_totals(kept, again)
        self.found.differences += of_caps(set(ledger.caps(self.found.msisdn)), caps)


def _services(reader: StateReader, about: str) -> set[int]:
    """The services that were asked about, by number or by an application's name in any version of the rules."""
    if is_digits(about.encode(), 1, 9):
        return {int(about)}
    name = unicodedata.normalize("NFC", about)
    rules = [rule for ruleset in rulesets(reader) for rule in ruleset.rules]
    if found := {rule.service for rule in rules if rule.application == name}:
        return found
    raise UsageError(
        f"no rule ever named an application {mask_digits(repr(about))}",
        "write an application's name as in RULES, or the number of a service",
    )


def _is_about(entry: Entry, services: set[int] | None) -> bool:
    """Whether an entry belongs to what was asked about; a refused line may."""
    record = entry.told.line.record
    return services is None or record is None or record.service in services


def _last_day(key: Key) -> int:
    """The last day whose records belong to an occurrence."""
    _, _, start_min, end_min, day = key
    return day if start_min < end_min else add_days(day, 1)


def _at(entry: Entry, beside: Entry) -> str:
    """When and where a record was, with its date when another record that is told of is of another day."""
    line, record, other = entry.told.line, entry.told.line.record, beside.told.line.record
    assert record is not None and other is not None, "an entry with a rule is a record"
    form = "%H:%M" if record.moment.date() == other.moment.date() else "%Y-%m-%d %H:%M"
    return f"at {record.moment.strftime(form)} ({show_name(line.file)}:{line.line})"


def _quote(sent: Sent) -> Quoted:
    day, application, batch, file, byte, raw, control = sent
    text = raw.decode("ascii", "backslashreplace")
    kept = ", kept from the control group" if control else ""
    place = f"{show_name(file)} byte {byte:,}, batch {batch}{kept}"
    return Quoted(day, application, f"{text} ({place})", control)


_WHERE: dict[Where, str] = {
    "in_output": "still in OUTPUT",
    "changed": "changed since",
    "taken_away": "taken by the consumer",
    "waiting": "about to be published",
}
