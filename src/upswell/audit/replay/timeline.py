"""The lines of one customer, found in the kept files and decided anew by the reference.

Owns the way from a msisdn to its lines with their outcomes, in log order. The kernel only finds the lines; what they
mean is decided by ``reference.py`` alone, so what is told here was not told by the code that ran. Owns the values of a
story as well, in which each line has words. It writes nothing.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

from upswell.audit.replay.replay import CHANGED, GONE, SHORT, Past, References, batches
from upswell.config.settings import threads_default
from upswell.kernel import Hit, Ledger
from upswell.reference.policy import Policy
from upswell.reference.rules import Rule
from upswell.semantics import CommittedRange, Line, Specification
from upswell.source.file import File
from upswell.state.batch import LogRange
from upswell.state.reader import StateReader
from upswell.zones import date_of

_FAR = ("counted", "capped", "capped_customer", "not_proven")
"""Outcomes of records that came to a ledger and no file: the last of them tells where the day ended."""
_NEARER = ("late", "outside_window", "no_rule", "suppressed", "not_in_segment")
"""The others, in the order in which they explain a silence: the one that came furthest first."""


_MEASURED = ("capped_customer", "control", "counted", "notified")
"""Outcomes of lines that have a total."""


class Told(NamedTuple):
    """A line of the customer, and what became of it."""

    taken: LogRange
    line: Line
    rules: tuple[Rule, ...]
    """Those of its service, as they were in force."""
    proven: bool
    """False: bytes are lost that came before it, so what hangs on totals and caps may have been otherwise."""


class Lines:
    """The lines of one msisdn, decided in log order."""

    def __init__(self, reader: StateReader, past: Past, msisdn: str) -> None:
        self.reader = reader
        self.past = past
        self.msisdn = msisdn
        self.specification = Specification(past.measure, past.keep_days, past.zones)
        self.adopted = frozenset(Ledger.load(*past.adopted, 0, 1).caps(msisdn))
        """The caps that the state was begun with."""
        self.specification.caps.update(self.adopted)
        self.lost: dict[str, str] = {}
        """By file: why its bytes are not those that the run took."""
        self.member: dict[str, bool] = {}
        """By version of the segment: whether the customer is in it."""
        self.segments: list[tuple[int, str]] = []
        """The versions of the segment as they came into force, each with the first batch of it."""
        self.forgettings = [one for one in past.forgettings if one.has(msisdn)]
        """When the customer was forgotten, as far as that can be told."""
        self._forgotten_from = min((one.first_batch for one in self.forgettings), default=None)
        self._references = References(reader)

    def told(self) -> Iterator[Told]:
        """Each line in log order. Lines of files that are lost are not among them."""
        hits = self._search()
        proven = True
        for taken in self._log():
            proven = proven and taken.file not in self.lost
            if not self.segments or self.segments[-1][1] != taken.versions.segment:
                self.segments.append((taken.batch, taken.versions.segment))
            mine = hits.get(taken.file, [])
            self._forget_before(taken.batch)
            while mine and mine[-1].byte < taken.end:
                yield from self._decide(taken, mine.pop(), proven)
        self._forget_before(self.past.last_batch + 1)

    def forgotten_until(self, batch: int) -> int | None:
        """Until the end of which day the customer is suppressed in a batch, since they were forgotten; None: not so."""
        days = (one.until_day for one in self.forgettings if one.first_batch <= batch)
        return max(days, default=None)

    def _forget_before(self, batch: int) -> None:
        if self._forgotten_from is not None and self._forgotten_from <= batch:
            self._forgotten_from = None
            for kept in (
                self.specification.totals,
                self.specification.fired,
                self.specification.caps,
            ):
                kept.clear()

    def _log(self) -> Iterator[LogRange]:
        return chain.from_iterable(batches(self.reader, self.past))

    def joins(self, version: str) -> bool:
        """Whether the customer is in this version of the segment."""
        if version not in self.member:
            self.member[version] = self.msisdn in self._references.segment(version)
        return self.member[version]

    def policy(self, taken: LogRange) -> Policy:
        """The policy that was in force for a range."""
        return self._references.policy(taken.versions.policy)

    def is_suppressed(self, taken: LogRange) -> bool:
        """Whether the customer was on the suppression list, or was forgotten, when a range was taken."""
        listed = self._references.suppressed(taken.versions.suppress) or ()
        return self.forgotten_until(taken.batch) is not None or self.msisdn in listed

    def _search(self) -> dict[str, list[Hit]]:
        """The hits of each file, the first one last. All files are looked through at once, one a thread."""
        cuts: defaultdict[str, list[int]] = defaultdict(list)
        for taken in self._log():
            cuts[taken.file].append(taken.end)
        files = [self.past.files[name] for name in cuts]
        with ThreadPoolExecutor(threads_default()) as pool:
            found = pool.map(lambda file: self._search_file(file, cuts[file.name]), files)
            return {file.name: hits for file, hits in zip(files, found, strict=True) if hits}

    def _search_file(self, file: File, cuts: list[int]) -> list[Hit]:
        try:
            found = self.past.search(file.name, cuts, self.msisdn)
        except (OSError, ValueError) as error:
            self.lost[file.name] = getattr(error, "strerror", None) or str(error)
            return []
        if found is None:
            self.lost[file.name] = GONE
            return []
        if found.digest.bytes < cuts[-1]:
            self.lost[file.name] = SHORT
        elif cuts[-1] != file.offset or found.digest.crc != file.digest:
            self.lost[file.name] = CHANGED
        return [] if file.name in self.lost else found.hits[::-1]

    def _decide(self, taken: LogRange, hit: Hit, proven: bool) -> Iterator[Told]:
        rules = self._references.rules(taken.versions.rules)[0].rules
        segment = {self.msisdn} if self.joins(taken.versions.segment) else set[str]()
        suppressed = {self.msisdn} if self.is_suppressed(taken) else set[str]()
        policy = self.policy(taken)
        self.specification.resume(taken.file, hit.newlines, hit.continues)
        again = CommittedRange(taken.file, hit.byte, hit.line, taken.stamp, taken.newest_stamp)
        for line in self.specification.apply(again, segment, rules, suppressed, policy):
            if self._is_mine(line):
                service = line.record.service if line.record else None
                of_service = tuple(rule for rule in rules if rule.service == service)
                yield Told(taken, line, of_service, proven)

    def _is_mine(self, line: Line) -> bool:
        """Whether it is a record of the customer, or a refused line that may have been meant for one."""
        if line.record is not None:
            return line.record.msisdn == self.msisdn
        digits = self.msisdn.encode()
        return re.search(rb"(?<![0-9])%b(?![0-9])" % digits, line.content) is not None


@dataclass(slots=True)
class Entry:
    """A line of the customer with its meaning in words."""

    told: Told
    day: int
    """In the rules' zone; 0 for a line that is no record."""
    minute: int
    application: str
    """Empty when its service has no rule, or there is no service."""
    outcome: str
    """That of the line, or ``not_proven`` when it hangs on bytes that are lost."""
    why: str = ""
    rules_time: str = ""
    """Of a record: day and minute in the rules' zone, when that is another than DATA's."""
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
            "at": record.moment.isoformat() if record else None,
            "service": record.service if record else None,
            "volume": record.volume if record else None,
            "window": line.rule.window() if line.rule else None,
            "application": self.application or None,
            "day": self.day or None,
            "rules_time": self.rules_time or None,
            "outcome": self.outcome,
            "reason": line.reason or None,
            "total": line.total if line.outcome in _MEASURED else None,
            "proven": self.told.proven,
            "threshold": line.rule.threshold if line.rule else None,
            "why": self.why,
            "output": self.output or None,
        }


class Quoted(NamedTuple):
    """A notification that the state tells of, and no kept file."""

    day: int
    application: str
    words: str
    """Its record, and where that was."""
    control: bool

    def sentence(self) -> str:
        """All of it."""
        return f"{date_of(self.day)} {self.application}: {self.words}"

    def verdict(self) -> str:
        """What came of it."""
        control = "kept from the customer, who is in the control group"
        return f"by the state's word {control if self.control else 'sent'}: {self.words}"


class Untaken(NamedTuple):
    """Lines with a customer's digits in one file that were not taken, or not once more."""

    file: str
    lines: int | None
    """None: the file could not be looked through."""
    why: str


@dataclass(slots=True)
class Explanation:
    """The story, and whether it is the state's."""

    msisdn: str
    segment: list[tuple[int, str, bool]] = field(default_factory=list)
    """(first batch, version, whether the customer is in it) wherever that changed."""
    entries: list[Entry] = field(default_factory=list)
    not_taken: list[Untaken] = field(default_factory=list)
    quoted: list[Quoted] = field(default_factory=list)
    unproven: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)

    def verdicts(self) -> Iterator[tuple[int, str, str]]:
        """(day, application or service, what came of it), by day: a notification, or the reason of the silence."""
        grouped: defaultdict[tuple[int, str], list[Entry]] = defaultdict(list)
        for entry in self.entries:
            if record := entry.told.line.record:
                grouped[entry.day, entry.application or f"service {record.service}"].append(entry)
        quoted = {(one.day, one.application): one for one in self.quoted}
        for day, name in sorted(grouped.keys() | quoted.keys()):
            entries = grouped[day, name]
            ranked: list[tuple[str, ...]] = [("notified",), ("control",), _FAR]
            ranked += [(each,) for each in _NEARER]
            best = next(
                (some for some in ranked if any(entry.outcome in some for entry in entries)), ()
            )
            # Who was told by the state's word was not kept waiting by what is left to prove.
            if (day, name) in quoted and best not in ranked[:2]:
                yield day, name, quoted[day, name].verdict()
            else:
                yield day, name, [entry.why for entry in entries if entry.outcome in best][-1]

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
            "not_taken": [each._asdict() for each in self.not_taken],
            "quoted": [one.sentence() for one in self.quoted],
            "proven": not self.unproven and not self.differences,
            "unproven": self.unproven,
            "differences": self.differences,
        }
