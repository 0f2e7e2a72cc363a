"""The semantics of Upswell in plain, slow, readable Python: the specification.

Owns the meaning of a line, from bytes to outcome. The kernel and every engine are tested against it, on random and
hostile input; ``generate --answer`` and the recovery tests compute their expectations with it. It reads no files and
knows no batches: it is fed the ranges of the log in commit order, and each line gets exactly one outcome, so that the
counts add up to the lines read. See docs/semantics.md for the reasons.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Literal, NamedTuple

from upswell.reference.policy import OFF, Policy
from upswell.reference.rules import Rule
from upswell.reference.segment import (
    BYTE_ORDER_MARK,
    LINE_BYTES_MAX,
    has_digit,
    is_blank,
    is_digits,
    parse_msisdn,
    unquote,
    without_line_end,
)
from upswell.zones import Zones, add_days, day_max_of, day_of, day_open_of

OUTCOMES = (
    "rejected",
    "blank",
    "header",
    "not_in_segment",
    "suppressed",
    "no_rule",
    "outside_window",
    "late",
    "capped",
    "capped_customer",
    "control",
    "counted",
    "notified",
)
REASONS = ("too_long", "columns", "msisdn", "service", "volume", "timestamp", "future")
TOTAL_MAX = 2**63 - 1
KEEP_DAYS = 2

Measure = Literal["total", "session"]


class Record(NamedTuple):
    """One usage session."""

    msisdn: str
    service: int
    volume: int
    moment: datetime
    """As written: a local time of the data's zone."""


class Taken(NamedTuple):
    """One range of the log: the bytes [start, start + len(data)) of a file, as they were committed."""

    file: str
    start: int
    data: bytes
    stamp: str
    """Of the file, yyyyMMddHHmm."""
    newest_stamp: str
    """The newest stamp among the ranges before this one and its own."""


class Line(NamedTuple):
    """A line and what became of it."""

    file: str
    line: int
    """From 1, counting the line ends before it."""
    byte: int
    content: bytes
    """Without its line end."""
    outcome: str
    reason: str = ""
    """Of a rejected line, out of REASONS."""
    record: Record | None = None
    rule: Rule | None = None
    day: int = 0
    """The record's day in the rules' zone, once a rule was looked for."""
    total: int = 0
    """After this record, when it was measured: counted, capped_customer, control or notified."""


def parse_record(content: bytes, day_max: int) -> Record | str:
    """The record that a line's content holds, or the first reason why it is none. ``day_max``: later is `future`."""
    if len(content) > LINE_BYTES_MAX:
        return "too_long"
    fields = content.split(b",")
    if len(fields) != 4:
        return "columns"
    msisdn_field, service, volume, timestamp = (unquote(field) for field in fields)
    msisdn = parse_msisdn(msisdn_field)
    if msisdn is None:
        return "msisdn"
    if not is_digits(service, 1, 9):
        return "service"
    if not is_digits(volume, 1, 15):
        return "volume"
    moment = _parse_timestamp(timestamp)
    if moment is None:
        return "timestamp"
    if day_of(moment) > day_max:
        return "future"
    return Record(msisdn, int(service), int(volume), moment)


def _parse_timestamp(field: bytes) -> datetime | None:
    if not is_digits(field, 14, 14):
        return None
    text = field.decode("ascii")
    try:
        return datetime(
            int(text[:4]), int(text[4:6]), int(text[6:8]),
            int(text[8:10]), int(text[10:12]), int(text[12:]),
        )  # fmt: skip
    except ValueError:
        return None


class _References(NamedTuple):
    """What is in force for a range."""

    segment: Collection[str]
    rules: Collection[Rule]
    suppressed: Collection[str]
    policy: Policy


class _Place(NamedTuple):
    """Where a file's next range continues."""

    newlines: int = 0
    tail: bytes = b""
    """What ended an unterminated line that was taken: its last byte. Empty when a line starts here."""


class Reference:
    """The state of a run: totals, fired occurrences, caps, and where each file stands."""

    def __init__(
        self, measure: Measure = "total", keep_days: int = KEEP_DAYS, zones: Zones | None = None
    ) -> None:
        self.measure = measure
        self.keep_days = keep_days
        self.zones = zones or Zones()
        self.totals: dict[tuple[str, int, int, int, int], int] = {}
        """By msisdn, service, start_min, end_min and the day the occurrence opened."""
        self.fired: set[tuple[str, int, int, int, int]] = set()
        self.caps: set[tuple[str, str, int]] = set()
        """Msisdn, application and day of every notification, those of the control group included."""
        self.outputs: defaultdict[str, list[bytes]] = defaultdict(list)
        """By application: the bytes of its notifications, in order of emission."""
        self.control_outputs: defaultdict[str, list[bytes]] = defaultdict(list)
        """The same of the control group, which nobody is to be sent."""
        self.counts: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.lines = 0
        self._places: dict[str, _Place] = {}

    def take(
        self,
        taken: Taken,
        segment: Collection[str],
        rules: Collection[Rule],
        suppressed: Collection[str] = (),
        policy: Policy = OFF,
    ) -> list[Line]:
        """Apply one range; the outcome of each of its lines, in order."""
        references = _References(segment, rules, suppressed, policy)
        day_open = day_open_of(taken.newest_stamp, self.keep_days, self.zones)
        day_max = day_max_of(taken.stamp)
        lines = []
        for line in self._split(taken):
            if not line.outcome:
                line = self._decide(line, day_max, day_open, references)
            self.lines += 1
            self.counts[line.outcome] += 1
            if line.reason:
                self.reasons[line.reason] += 1
            if line.outcome == "notified" and line.rule:
                self.outputs[line.rule.application].append(line.content + b"\n")
            if line.outcome == "control" and line.rule:
                self.control_outputs[line.rule.application].append(line.content + b"\n")
            lines.append(line)
        return lines

    def resume(self, file: str, newlines: int, tail: bytes) -> None:
        """Go on with a file behind so many line ends, as if all before had been taken and told nothing.

        ``tail``: the last byte of an unterminated line that was taken; empty when a line starts there.
        """
        self._places[file] = _Place(newlines, tail)

    def _split(self, taken: Taken) -> Iterator[Line]:
        """The lines of a range, those already decided whose outcome follows from their place alone."""
        place = self._places.get(taken.file, _Place())
        at, newlines, data = taken.start, place.newlines, taken.data
        first = newlines == 0 and not place.tail
        if at == 0 and data.startswith(BYTE_ORDER_MARK):
            at += len(BYTE_ORDER_MARK)
            data = data.removeprefix(BYTE_ORDER_MARK)
        continues = place.tail
        for piece in _pieces(data):
            content = without_line_end(piece)
            number = newlines + 1
            if continues:
                if piece not in ((b"\n",) if continues == b"\r" else (b"\n", b"\r\n", b"\r")):
                    yield Line(taken.file, number, at, content, "rejected", "columns")
            elif len(content) > LINE_BYTES_MAX:
                yield Line(taken.file, number, at, content, "rejected", "too_long")
            elif is_blank(content):
                yield Line(taken.file, number, at, content, "blank")
            elif first and not has_digit(content):
                yield Line(taken.file, number, at, content, "header")
            else:
                yield Line(taken.file, number, at, content, "")
            first, continues = False, b""
            at += len(piece)
            newlines += piece.endswith(b"\n")
        # After a byte-order mark alone the first line has yet to begin.
        tail = data[-1:] if not data.endswith(b"\n") else b""
        self._places[taken.file] = _Place(newlines, tail)

    def _decide(self, line: Line, day_max: int, day_open: int, references: "_References") -> Line:
        record = parse_record(line.content, day_max)
        if isinstance(record, str):
            return line._replace(outcome="rejected", reason=record)
        line = line._replace(record=record)
        if record.msisdn not in references.segment:
            return line._replace(outcome="not_in_segment")
        if record.msisdn in references.suppressed:
            return line._replace(outcome="suppressed")
        of_service = [rule for rule in references.rules if rule.service == record.service]
        if not of_service:
            return line._replace(outcome="no_rule")
        day, minute = self.zones.convert(record.moment)
        rule = next((rule for rule in of_service if rule.covers(minute)), None)
        if rule is None:
            return line._replace(outcome="outside_window", day=day)
        line = line._replace(rule=rule, day=day)
        if day < day_open:
            return line._replace(outcome="late")
        return self._apply(line, record, rule, minute, references.policy)

    def _apply(self, line: Line, record: Record, rule: Rule, minute: int, policy: Policy) -> Line:
        day = line.day
        opened = day
        if rule.end_min < rule.start_min and minute < rule.end_min:
            opened = add_days(day, -1)  # the window over midnight opened the day before
        occurrence = (record.msisdn, rule.service, rule.start_min, rule.end_min, opened)
        cap = (record.msisdn, rule.application, day)
        if cap in self.caps or occurrence in self.fired:
            return line._replace(outcome="capped")
        if self.measure == "total":
            total = min(self.totals.get(occurrence, 0) + record.volume, TOTAL_MAX)
            self.totals[occurrence] = total
        else:
            total = record.volume
        if total <= rule.threshold:
            return line._replace(outcome="counted", total=total)
        if 0 < policy.max_per_customer_per_day <= self.had(record.msisdn, day):
            return line._replace(outcome="capped_customer", total=total)
        self.fired.add(occurrence)
        self.caps.add(cap)
        outcome = "control" if policy.is_control(record.msisdn) else "notified"
        return line._replace(outcome=outcome, total=total)

    def had(self, msisdn: str, day: int) -> int:
        """How many notifications a customer has had on a day, over all applications: each has set one cap."""
        return sum((of, on) == (msisdn, day) for of, _, on in self.caps)


def _pieces(data: bytes) -> list[bytes]:
    r"""The lines of data with their ``\n``, which alone ends a line; the last may lack it."""
    pieces = [piece + b"\n" for piece in data.split(b"\n")]
    pieces[-1] = pieces[-1][:-1]
    return pieces if pieces[-1] else pieces[:-1]
