"""One customer's timeline: their lines, found in the kept files and decided again by the specification.

Owns finding the lines of an msisdn and their outcomes, in log order, and the values from which an explanation is
made. The kernel only finds the lines; their outcomes come from ``semantics`` alone, so that what is explained does not
rest on the code that ran. It writes nothing.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

from upswell.audit.replay.replay import CHANGED, GONE, SHORT
from upswell.audit.replay.snapshot import StateSnapshot, batches
from upswell.audit.replay.versions import VersionCache
from upswell.config.settings import threads_default
from upswell.kernel import Hit, Ledger
from upswell.reference.policy import Policy
from upswell.reference.rules import Rule
from upswell.semantics import CommittedRange, Line, Specification
from upswell.source.file import File
from upswell.state.batch import LogRange
from upswell.state.reader import StateReader
from upswell.zones import Zones, date_of

_DECIDED_BY_LEDGER = ("counted", "capped", "capped_customer", "not_proven")
"""Outcomes of records that reached the ledger but no file: the last of them tells where the day ended."""
_BEFORE_LEDGER = ("late", "outside_window", "no_rule", "suppressed", "not_in_segment")
"""The other outcomes, in the order in which they explain a missing notification: the one that came furthest first."""
_MEASURED = ("capped_customer", "control", "counted", "notified")
"""Outcomes of lines that have a total."""


class DecidedLine(NamedTuple):
    """A line of the customer and its outcome."""

    logged: LogRange
    line: Line
    rules: tuple[Rule, ...]
    """Those of its service that were active."""
    proven: bool
    """False: bytes before it are lost, so an outcome that depends on totals and caps may have been different."""


class CustomerLines:
    """The lines of one msisdn, decided in log order."""

    def __init__(self, reader: StateReader, snapshot: StateSnapshot, msisdn: str) -> None:
        self.reader = reader
        self.snapshot = snapshot
        self.msisdn = msisdn
        self.specification = Specification(snapshot.measure, snapshot.keep_days, snapshot.zones)
        self.adopted = frozenset(Ledger.load(*snapshot.adopted, 0, 1).caps(msisdn))
        """The caps that the state began with."""
        self.specification.caps.update(self.adopted)
        self.lost: dict[str, str] = {}
        """By file: why its bytes are not those that the run consumed."""
        self.member: dict[str, bool] = {}
        """By version of the segment: the customer is in it."""
        self.segments: list[tuple[int, str]] = []
        """(first batch, version) of the segment, as versions became active."""
        self.forgettings = [one for one in snapshot.forgettings if one.has(msisdn)]
        """The forgettings of the customer whose keys still exist."""
        self._forgotten_from = min((one.first_batch for one in self.forgettings), default=None)
        self._versions = VersionCache(reader)

    def decided(self) -> Iterator[DecidedLine]:
        """Yield each line in log order, without those of lost files."""
        hits = self._search()
        proven = True
        for logged in self._log():
            proven = proven and logged.file not in self.lost
            if not self.segments or self.segments[-1][1] != logged.versions.segment:
                self.segments.append((logged.batch, logged.versions.segment))
            mine = hits.get(logged.file, [])
            self._forget_before(logged.batch)
            while mine and mine[-1].byte < logged.end:
                yield from self._decide(logged, mine.pop(), proven)
        self._forget_before(self.snapshot.last_batch + 1)

    def forgotten_until(self, batch: int) -> int | None:
        """Return the last day on which a forgetting suppresses the customer in a batch; None when none does."""
        days = (one.until_day for one in self.forgettings if one.first_batch <= batch)
        return max(days, default=None)

    def _forget_before(self, batch: int) -> None:
        """Drop the totals and caps once the log reaches the batch from which the customer was forgotten."""
        if self._forgotten_from is not None and self._forgotten_from <= batch:
            self._forgotten_from = None
            for kept in (
                self.specification.totals,
                self.specification.fired,
                self.specification.caps,
            ):
                kept.clear()

    def _log(self) -> Iterator[LogRange]:
        return chain.from_iterable(batches(self.reader, self.snapshot))

    def is_member(self, version: str) -> bool:
        """Return whether the customer is in this version of the segment."""
        if version not in self.member:
            self.member[version] = self.msisdn in self._versions.segment(version)
        return self.member[version]

    def policy(self, logged: LogRange) -> Policy:
        """Return the policy that was active for a range."""
        return self._versions.policy(logged.versions.policy)

    def zones(self, logged: LogRange) -> Zones:
        """Return the time zones with the tables that were active for a range."""
        return self._versions.zones(logged.versions.zones)

    def is_suppressed(self, logged: LogRange) -> bool:
        """Return whether the customer was on the suppression list, or was forgotten, when a range was consumed."""
        listed = self._versions.suppressed(logged.versions.suppress) or ()
        return self.forgotten_until(logged.batch) is not None or self.msisdn in listed

    def _search(self) -> dict[str, list[Hit]]:
        """Return the hits of each file, the first one last. Files are searched in parallel, one per thread."""
        cuts: defaultdict[str, list[int]] = defaultdict(list)
        for logged in self._log():
            if logged.file not in cuts and logged.start:
                cuts[logged.file].append(logged.start)  # before it is what another name had
            cuts[logged.file].append(logged.end)
        files = [self.snapshot.files[name] for name in cuts]
        with ThreadPoolExecutor(threads_default()) as pool:
            found = pool.map(lambda file: self._search_file(file, cuts[file.name]), files)
            return {file.name: hits for file, hits in zip(files, found, strict=True) if hits}

    def _search_file(self, file: File, cuts: list[int]) -> list[Hit]:
        try:
            found = self.snapshot.search(file.name, cuts, self.msisdn)
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
        if file.name in self.lost:
            return []
        start = self.snapshot.files[file.continues].offset if file.continues else 0
        return [hit for hit in found.hits[::-1] if hit.byte >= start]

    def _decide(self, logged: LogRange, hit: Hit, proven: bool) -> Iterator[DecidedLine]:
        rules = self._versions.rules(logged.versions.rules)[0].rules
        segment = {self.msisdn} if self.is_member(logged.versions.segment) else set[str]()
        suppressed = {self.msisdn} if self.is_suppressed(logged) else set[str]()
        policy = self.policy(logged)
        self.specification.resume(logged.file, hit.newlines, hit.continues)
        again = CommittedRange(
            logged.file,
            hit.byte,
            hit.line,
            logged.stamp,
            logged.newest_stamp,
            day_open_before=logged.day_open_before,
        )
        zones = self.zones(logged)
        for line in self.specification.apply(again, segment, rules, suppressed, policy, zones):
            if self._is_mine(line):
                service = line.record.service if line.record else None
                of_service = tuple(rule for rule in rules if rule.service == service)
                yield DecidedLine(logged, line, of_service, proven)

    def _is_mine(self, line: Line) -> bool:
        """Return whether a line is a record of the customer, or a reject that may have been meant for them."""
        if line.record is not None:
            return line.record.msisdn == self.msisdn
        digits = self.msisdn.encode()
        return re.search(rb"(?<![0-9])%b(?![0-9])" % digits, line.content) is not None


@dataclass(slots=True)
class TimelineEntry:
    """A line of the customer, and its outcome in words."""

    decided: DecidedLine
    day: int
    """In the rules' zone; 0 for a line that is not a record."""
    minute: int
    application: str
    """Empty when its service has no rule, or the line is not a record."""
    outcome: str
    """That of the line, or ``not_proven`` when it depends on lost bytes."""
    why: str = ""
    rules_time: str = ""
    """Of a record: day and minute in the rules' zone, if that differs from DATA's."""
    output: str = ""
    """The file within OUTPUT that its notification was written to, and where that file is now."""

    def to_json(self) -> dict[str, object]:
        """Return one JSON object."""
        line, record = self.decided.line, self.decided.line.record
        return {
            "file": line.file,
            "line": line.line,
            "byte": line.byte,
            "batch": self.decided.logged.batch,
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
            "proven": self.decided.proven,
            "threshold": line.rule.threshold if line.rule else None,
            "why": self.why,
            "output": self.output or None,
        }


class QuotedNotification(NamedTuple):
    """A notification that the state has, and no kept file can prove."""

    day: int
    application: str
    words: str
    """Its record, and where that was read."""
    control: bool

    def sentence(self) -> str:
        """Return it as one sentence."""
        return f"{date_of(self.day)} {self.application}: {self.words}"

    def verdict(self) -> str:
        """Return what became of it."""
        what = "withheld (control group)" if self.control else "sent"
        return f"according to the state, {what}: {self.words}"


class NotTaken(NamedTuple):
    """Lines with a customer's digits in one file that were not processed, or not a second time."""

    file: str
    lines: int | None
    """None: the file could not be searched."""
    why: str


@dataclass(slots=True)
class Explanation:
    """A customer's timeline, and how the state differs from it."""

    msisdn: str
    segment: list[tuple[int, str, bool]] = field(default_factory=list)
    """(first batch, version, whether the customer is in it), wherever that changed."""
    entries: list[TimelineEntry] = field(default_factory=list)
    continued: list[tuple[str, str]] = field(default_factory=list)
    """(file of some of these lines, name under which it went on and was read now)."""
    not_taken: list[NotTaken] = field(default_factory=list)
    quoted: list[QuotedNotification] = field(default_factory=list)
    unproven: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)

    def verdicts(self) -> Iterator[tuple[int, str, str]]:
        """Yield (day, application or service, verdict), by day: a notification, or the reason why there is none."""
        grouped: defaultdict[tuple[int, str], list[TimelineEntry]] = defaultdict(list)
        for entry in self.entries:
            if record := entry.decided.line.record:
                grouped[entry.day, entry.application or f"service {record.service}"].append(entry)
        quoted = {(one.day, one.application): one for one in self.quoted}
        for day, name in sorted(grouped.keys() | quoted.keys()):
            entries = grouped[day, name]
            ranked: list[tuple[str, ...]] = [("notified",), ("control",), _DECIDED_BY_LEDGER]
            ranked += [(each,) for each in _BEFORE_LEDGER]
            best = next(
                (some for some in ranked if any(entry.outcome in some for entry in entries)), ()
            )
            # A notification that the state has outranks whatever is left to prove.
            if (day, name) in quoted and best not in ranked[:2]:
                yield day, name, quoted[day, name].verdict()
            else:
                yield day, name, [entry.why for entry in entries if entry.outcome in best][-1]

    def to_json(self) -> dict[str, object]:
        """Return one JSON object."""
        return {
            "msisdn": self.msisdn,
            "segment": [
                {"first_batch": batch, "version": version, "in_segment": joined}
                for batch, version, joined in self.segment
            ],
            "lines": [entry.to_json() for entry in self.entries],
            "continued": [{"file": old, "went_on_as": new} for old, new in self.continued],
            "verdicts": [
                {"day": day, "about": name, "why": why} for day, name, why in self.verdicts()
            ],
            "not_taken": [each._asdict() for each in self.not_taken],
            "quoted": [one.sentence() for one in self.quoted],
            "proven": not self.unproven and not self.differences,
            "unproven": self.unproven,
            "differences": self.differences,
        }
