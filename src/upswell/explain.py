"""One customer's story: each of their lines, counted or not and why, and whether the state says the same.

Owns the words of the story and its comparison with the state. It only reads, and may run beside a run. What is told of
lines is worked out anew from the kept files; what hangs on a file that is gone is quoted from the state, and said to
be. This is an explicit look-up: the msisdn is shown whole, but in the sentences about differences.
"""

import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from upswell.differences import Key, of_caps, of_totals
from upswell.errors import StorageError, UsageError
from upswell.filesystem import RECOVERS
from upswell.listing import show_name
from upswell.names import Staged
from upswell.privacy import mask_digits
from upswell.published import Where, where
from upswell.reference import Line
from upswell.replay import Days, Past, References, remember
from upswell.rules import Rule, directory_name
from upswell.segment import is_digits, parse_msisdn
from upswell.story import Lines, Told
from upswell.view import View, decode_name
from upswell.words import REASON_WORDS
from upswell.zones import add_days, date_of

Sent = tuple[int, str, int, str, int, bytes]
"""Day, application, batch, file, byte and raw line of a notification of the customer."""
_SILENCES = ("counted", "capped", "late", "outside_window", "no_rule", "not_in_segment")
"""Outcomes in the order in which they explain a silence: the one that came furthest first."""


@dataclass(slots=True)
class Entry:
    """A line of the customer with its meaning in words."""

    told: Told
    day: int
    """In the rules' zone; 0 for a line that is no record."""
    minute: int
    application: str
    """Empty when its service has no rule, or there is no service."""
    why: str
    output: str = ""
    """The file that its notification went to, within OUTPUT, and where that is now."""

    def to_json(self) -> dict[str, object]:
        """As one object."""
        line, record = self.told.line, self.told.line.record
        return {
            "file": line.file,
            "line": line.line,
            "byte": line.byte,
            "batch": self.told.taken.batch,
            "raw": line.content.decode("ascii", "backslashreplace"),
            "service": record.service if record else None,
            "application": self.application or None,
            "day": self.day or None,
            "outcome": line.outcome,
            "reason": line.reason or None,
            "total": line.total if line.outcome in ("counted", "notified") else None,
            "threshold": line.rule.threshold if line.rule else None,
            "why": self.why,
            "output": self.output or None,
        }


@dataclass(slots=True)
class Explanation:
    """The story, and whether it is the state's."""

    msisdn: str
    segment: list[tuple[int, str, bool]] = field(default_factory=list)
    """(first batch, version, whether the customer is in it) wherever that changed."""
    entries: list[Entry] = field(default_factory=list)
    quoted: list[str] = field(default_factory=list)
    """Notifications that the state tells of, and no kept file."""
    unproven: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)

    def verdicts(self) -> Iterator[tuple[int, str, str]]:
        """(day, application or service, what came of it), by day: a notification, or the reason of the silence."""
        grouped: defaultdict[tuple[int, str], list[Entry]] = defaultdict(list)
        for entry in self.entries:
            if record := entry.told.line.record:
                grouped[entry.day, entry.application or f"service {record.service}"].append(entry)
        for (day, name), entries in sorted(grouped.items()):
            ranked = ("notified", *_SILENCES)
            best = min(ranked.index(entry.told.line.outcome) for entry in entries)
            last = [entry for entry in entries if entry.told.line.outcome == ranked[best]][-1]
            yield day, name, last.why

    def to_json(self) -> dict[str, object]:
        """As one object."""
        return {
            "msisdn": self.msisdn,
            "segment": [
                {"first_batch": batch, "version": version, "in_segment": joined}
                for batch, version, joined in self.segment
            ],
            "lines": [entry.to_json() for entry in self.entries],
            "verdicts": [
                {"day": day, "about": name, "why": why} for day, name, why in self.verdicts()
            ],
            "quoted": self.quoted,
            "proven": not self.unproven and not self.differences,
            "unproven": self.unproven,
            "differences": self.differences,
        }


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
    with View.open(state_dir) as view:
        past = remember(view, data)
        services = None if about is None else _services(view, about)
        return _Explaining(view, past, digits, day).run(services)


class _Explaining:
    """One story, from the first line to the comparison."""

    def __init__(self, view: View, past: Past, msisdn: str, day: int | None) -> None:
        self.view = view
        self.past = past
        self.day = day
        self.lines = Lines(view, past, msisdn, None if day is None else Days(day, day))
        self.found = Explanation(msisdn)
        self.notified: dict[tuple[str, int], Line] = {}
        """By application and day."""
        self.fired: dict[tuple[int, int, int], Line] = {}
        """By service and window: the last notification."""

    def run(self, services: set[int] | None) -> Explanation:
        entries = [self._entry(told) for told in self.lines.told()]
        self._membership()
        self._compare([entry for entry in entries if entry.told.line.outcome == "notified"])
        self.found.entries = [
            entry
            for entry in entries
            if (not entry.day or self._is_asked(entry.day)) and _is_about(entry, services)
        ]
        return self.found

    def _is_asked(self, day: int) -> bool:
        return self.day in (None, day)

    def _entry(self, told: Told) -> Entry:
        record, line = told.line.record, told.line
        if record is None:
            words = REASON_WORDS.get(line.reason, line.outcome)
            return Entry(told, 0, 0, "", f"refused: {line.reason}, {words}")
        day, minute = self.past.zones.convert(record.moment)
        entry = Entry(told, day, minute, told.rules[0].application if told.rules else "", "")
        if line.outcome == "notified" and line.rule:
            entry.output = self._output(told.taken.batch, line.rule.application)
            self.notified[line.rule.application, day] = line
            self.fired[line.rule.service, line.rule.start_min, line.rule.end_min] = line
        entry.why = self._why(entry)
        return entry

    def _why(self, entry: Entry) -> str:
        """What became of a record, in words."""
        line, rule = entry.told.line, entry.told.line.rule
        if line.outcome == "not_in_segment":
            return f"not in the segment (version {entry.told.taken.versions.segment[:12]})"
        if rule is None:
            return self._without_rule(entry)
        if line.outcome == "late":
            return f"{date_of(entry.day)} was closed already: too late to be counted"
        if line.outcome == "capped":
            return self._capped(entry, rule)
        measured = "volume" if self.past.measure == "session" else "total"
        if line.outcome == "counted":
            return f"{measured} {line.total:,} of {rule.threshold:,} in {rule.window()}"
        return f"{measured} {line.total:,} exceeds {rule.threshold:,}: sent to {entry.output}"

    def _without_rule(self, entry: Entry) -> str:
        if not entry.told.rules:
            record = entry.told.line.record
            return f"no rule for service {record.service if record else '?'}"
        windows = ", ".join(rule.window() for rule in entry.told.rules)
        hour, minute = divmod(entry.minute, 60)
        return f"hour {hour}{f':{minute:02}' if minute else ''} is outside {windows}"

    def _capped(self, entry: Entry, rule: Rule) -> str:
        before = self.notified.get((rule.application, entry.day))
        if before is None:
            before = self.fired.get((rule.service, rule.start_min, rule.end_min))
        if before is None or before.record is None:
            return "already notified, before this state began or by a file that is gone"
        at = before.record.moment
        return f"already notified at {at:%H:%M} ({show_name(before.file)}:{before.line})"

    def _output(self, batch: int, application: str) -> str:
        """The file that holds a notification, and where it is now."""
        place = directory_name(application)
        staged = [one for one in self.view.staged(batch).values() if one.directory == place]
        return (
            f"{_name(staged[0])} ({_WHERE[where(self.past.output, staged[0])]})" if staged else "?"
        )

    def _membership(self) -> None:
        changes = self.view.rows(
            "SELECT number, segment_version FROM (SELECT number, segment_version,"
            " lag(segment_version) OVER (ORDER BY number) AS before FROM batch WHERE number <= ?)"
            " WHERE before IS NOT segment_version ORDER BY number",
            (self.past.last_batch,),
        )
        for batch, version in changes:
            joined = self.lines.joins(version)
            if not self.found.segment or self.found.segment[-1][2] != joined:
                self.found.segment.append((batch, version, joined))

    def _compare(self, notified: list[Entry]) -> None:
        """Hold the story against the state; quote the state where files are lost."""
        again = set[Sent]()
        for entry in notified:
            if not self._is_asked(entry.day):
                continue
            taken, line = entry.told.taken, entry.told.line
            again.add(
                (entry.day, entry.application, taken.batch, line.file, line.byte, line.content)
            )
        kept = set(self._kept())
        if self._unproven():
            self.found.quoted += [_quote(sent) for sent in sorted(kept - again)]
            return
        self.found.differences += [
            f"{_quote(sent)}: {words}"
            for rows, words in (
                (kept - again, "the state says so, and the replay does not"),
                (again - kept, "the replay says so, and the state does not"),
            )
            for sent in sorted(rows)
        ]
        if self.day is None:
            self._compare_ledger()

    def _unproven(self) -> bool:
        for name, why in sorted(self.lines.lost.items()):
            self.found.unproven.append(f"{show_name(name)} {why}: its lines are not told")
        if not self.past.adopted_known:
            self.found.unproven.append(
                "the state was begun over another's OUTPUT, and no longer knows all the caps that it took over"
            )
        return bool(self.found.unproven)

    def _kept(self) -> Iterator[Sent]:
        """The customer's notifications as the state keeps them."""
        ids = {name: number for number, name in self.past.applications.items()}
        for day, name in filter(lambda key: self._is_asked(key[0]), self.past.notified):
            rows = self.view.rows(
                "SELECT notification.batch, name, byte, raw FROM notification"
                " LEFT JOIN log USING(batch, sequence) LEFT JOIN file ON file.id = log.file"
                " WHERE day = ? AND application = ? AND msisdn = ? AND notification.batch <= ?",
                (day, ids.get(name, -1), self.found.msisdn, self.past.last_batch),
            )
            for batch, file, byte, raw in rows:
                yield day, name, batch, decode_name(file or "?"), byte, raw

    def _compare_ledger(self) -> None:
        day_open = self.past.last.day_open if self.past.last else 0
        try:
            ledger = self.past.ledger()
        except ValueError as error:
            raise StorageError(f"the ledger is damaged: {error}", RECOVERS) from error
        kept = {item[:5]: item[5:] for item in ledger.items(self.found.msisdn)}
        reference = self.lines.reference
        again: dict[Key, tuple[int, bool]] = {
            key: (reference.totals.get(key, 0), key in reference.fired)
            for key in reference.totals.keys() | reference.fired
            if _last_day(key) >= day_open
        }
        caps = {cap for cap in reference.caps if cap[2] >= day_open}
        self.found.differences += of_totals(kept, again)
        self.found.differences += of_caps(set(ledger.caps(self.found.msisdn)), caps)


def _services(view: View, about: str) -> set[int]:
    """The services that were asked about, by number or by an application's name in any version of the rules."""
    if is_digits(about.encode(), 1, 9):
        return {int(about)}
    references, name = References(view), unicodedata.normalize("NFC", about)
    versions = [one.version for one in view.references() if one.kind == "rules"]
    rules = [rule for version in versions for rule in references.rules(version)[0].rules]
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


def _name(one: Staged) -> str:
    return f"{one.directory}/{one.published_name}"


def _quote(sent: Sent) -> str:
    day, application, batch, file, byte, raw = sent
    text = raw.decode("ascii", "backslashreplace")
    return f"{date_of(day)} {application}: {text} ({show_name(file)} byte {byte:,}, batch {batch})"


_WHERE: dict[Where, str] = {
    "in_output": "still in OUTPUT",
    "changed": "changed since",
    "taken_away": "taken by the consumer",
    "waiting": "about to be published",
}
