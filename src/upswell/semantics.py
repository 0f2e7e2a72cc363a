"""The specification of Upswell, executable: the meaning of a line, from its bytes to its outcome, in plain Python.

Owns that meaning; docs/semantics.md says the same in words, with the reasons. The kernel and every engine are tested
against it on random and hostile input, and ``generate --answer`` computes its answer key with it. It is slow and plain
on purpose, reads no file and knows no batches: it is given the ranges of the log in commit order. Each line gets
exactly one outcome, so the counts add up to the lines read.
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
from upswell.zones import OpenDays, Zones, add_days, day_of, open_days

# In the order in which they are checked, except that `rejected` comes after `header` for all reasons but `too_long`.
OUTCOMES = (
    "rejected",  # it is not a record, for one of the REASONS
    "blank",  # it is empty, or holds spaces and tabs alone
    "header",  # it is a file's first line and holds no digit
    "not_in_segment",
    "suppressed",  # its msisdn is on the suppression list
    "no_rule",  # no rule is about its service
    "outside_window",  # no window of its service covers its minute
    "late",  # its day is closed
    "capped",  # the application has notified the msisdn on this day, or the window instance has fired
    "capped_customer",  # it would notify, but the customer has had all notifications allowed for the day
    "control",  # it would notify, but the customer is in the control group
    "counted",  # it stays within the threshold
    "notified",  # it exceeds the threshold: it goes to the application's output
)
# Why a line is rejected, in the order in which they are checked.
REASONS = ("too_long", "columns", "msisdn", "service", "volume", "timestamp", "future")

TOTAL_MAX = 2**63 - 1
KEEP_DAYS = 2

Measure = Literal["total", "session"]
"""Compared with the threshold: the sum of a window instance's volumes, or each record's own volume."""
WindowInstance = tuple[str, int, int, int, int]
"""Msisdn, service, start_min, end_min and the day on which the window opened: what one total belongs to."""
Cap = tuple[str, str, int]
"""Msisdn, application and day of a notification."""


class Record(NamedTuple):
    """One usage session."""

    msisdn: str
    service: int
    volume: int
    moment: datetime
    """As written: a local time of the data's zone."""


class CommittedRange(NamedTuple):
    """One range of the log: the bytes [start, start + len(data)) of a file, as they were committed."""

    file: str
    start: int
    data: bytes
    stamp: str
    """Of the file, yyyyMMddHHmm."""
    newest_stamp: str
    """The newest stamp among the ranges before this one in the log and its own."""
    continues: str = ""
    """Of a file's first range: the name under which the bytes before it were consumed, if it had another one then."""
    day_open_before: int = 0
    """The first open day after the batch before, as the log has it: no day opens again. 0: none is closed."""


class Line(NamedTuple):
    """A line and its outcome."""

    file: str
    line: int
    """From 1, counting the line ends before it."""
    byte: int
    """Position of its first byte in the file."""
    content: bytes
    """Without its line end."""
    outcome: str
    """One of OUTCOMES; empty while it is not decided."""
    reason: str = ""
    """Of a rejected line, one of REASONS."""
    record: Record | None = None
    rule: Rule | None = None
    """The rule that covers the record, if any."""
    day: int = 0
    """The record's day in the rules' zone, once its service has a rule."""
    total: int = 0
    """The value compared with the threshold, this record included; 0 for lines that were not measured."""


def parse_record(content: bytes, day_max: int) -> Record | str:
    """Return the record in a line without its line end, or the first reason why it is not one.

    ``day_max``: the last day, as written, that is not `future`.
    """
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
    """Return the local time ``yyyyMMddHHmmss``; None when it is anything else, or does not exist."""
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


class _Active(NamedTuple):
    """The reference, policy and tables of the time zones that are active for a range."""

    segment: Collection[str]
    rules: Collection[Rule]
    suppressed: Collection[str]
    policy: Policy
    zones: Zones


class _Position(NamedTuple):
    """The point in a file from which its next range continues."""

    newlines: int = 0
    tail: bytes = b""
    """Last byte of an unterminated line that was consumed; empty when a line starts here."""


class Specification:
    """A run as specified: consumes the log range by range, and keeps totals, fired window instances and caps."""

    def __init__(
        self, measure: Measure = "total", keep_days: int = KEEP_DAYS, zones: Zones | None = None
    ) -> None:
        self.measure = measure
        self.keep_days = keep_days
        self.zones = zones or Zones()
        self.totals: dict[WindowInstance, int] = {}
        self.fired: set[WindowInstance] = set()
        self.caps: set[Cap] = set()
        """Of all notifications, those kept from the control group included."""
        self.outputs: defaultdict[str, list[bytes]] = defaultdict(list)
        """By application: the lines of its notifications, in order of emission."""
        self.control_outputs: defaultdict[str, list[bytes]] = defaultdict(list)
        """The same of the control group, which are sent to nobody."""
        self.counts: Counter[str] = Counter()
        """Lines by outcome."""
        self.reasons: Counter[str] = Counter()
        """Rejected lines by reason."""
        self.lines = 0
        self._positions: dict[str, _Position] = {}

    def apply(
        self,
        committed: CommittedRange,
        segment: Collection[str],
        rules: Collection[Rule],
        suppressed: Collection[str] = (),
        policy: Policy = OFF,
        zones: Zones | None = None,
    ) -> list[Line]:
        """Consume one range under this reference and policy; return its lines in order, each with its outcome.

        ``zones``: with the tables that were active, if they are not those that the specification began with.
        """
        active = _Active(segment, rules, suppressed, policy, zones or self.zones)
        days = open_days(
            committed.stamp,
            committed.newest_stamp,
            self.keep_days,
            active.zones,
            committed.day_open_before,
        )
        lines = []
        for line in self._split(committed):
            if not line.outcome:
                line = self._decide(line, days, active)
            self._count(line)
            lines.append(line)
        return lines

    def resume(self, file: str, newlines: int, tail: bytes) -> None:
        """Continue a file after so many line ends, as if all before had been consumed without any effect.

        ``tail``: the last byte of an unterminated line that was consumed; empty when a line starts there.
        """
        self._positions[file] = _Position(newlines, tail)

    # Bytes to lines

    def _split(self, committed: CommittedRange) -> Iterator[Line]:
        """Yield the lines of a range; those whose outcome follows from their form alone already have it."""
        before = self._positions.get(committed.continues, _Position())
        position = self._positions.get(committed.file, before)
        at, newlines, data = committed.start, position.newlines, committed.data
        first = newlines == 0 and not position.tail
        if at == 0 and data.startswith(BYTE_ORDER_MARK):
            at += len(BYTE_ORDER_MARK)
            data = data.removeprefix(BYTE_ORDER_MARK)
        continued = position.tail
        for whole in _lines_of(data):
            content = without_line_end(whole)
            number = newlines + 1
            if continued:
                # The line before was consumed unterminated. If only its line end follows, nothing is left to decide.
                if whole not in ((b"\n",) if continued == b"\r" else (b"\n", b"\r\n", b"\r")):
                    yield Line(committed.file, number, at, content, "rejected", "columns")
            elif len(content) > LINE_BYTES_MAX:
                yield Line(committed.file, number, at, content, "rejected", "too_long")
            elif is_blank(content):
                yield Line(committed.file, number, at, content, "blank")
            elif first and not has_digit(content):
                yield Line(committed.file, number, at, content, "header")
            else:
                yield Line(committed.file, number, at, content, "")
            first, continued = False, b""
            at += len(whole)
            newlines += whole.endswith(b"\n")
        # After a byte-order mark alone the first line has yet to begin.
        tail = data[-1:] if not data.endswith(b"\n") else b""
        self._positions[committed.file] = _Position(newlines, tail)

    # Lines to outcomes

    def _decide(self, line: Line, days: OpenDays, active: _Active) -> Line:
        """Return the line with its outcome: the first in the order of OUTCOMES that applies."""
        record = parse_record(line.content, days.day_max)
        if isinstance(record, str):
            return line._replace(outcome="rejected", reason=record)
        line = line._replace(record=record)
        if record.msisdn not in active.segment:
            return line._replace(outcome="not_in_segment")
        if record.msisdn in active.suppressed:
            return line._replace(outcome="suppressed")
        of_service = [rule for rule in active.rules if rule.service == record.service]
        if not of_service:
            return line._replace(outcome="no_rule")
        day, minute = active.zones.convert(record.moment)
        rule = next((rule for rule in of_service if rule.covers(minute)), None)
        if rule is None:
            return line._replace(outcome="outside_window", day=day)
        line = line._replace(rule=rule, day=day)
        if day < days.day_open:
            return line._replace(outcome="late")
        return self._measure(line, record, rule, minute, active.policy)

    def _measure(self, line: Line, record: Record, rule: Rule, minute: int, policy: Policy) -> Line:
        """Decide a record of an open day that this rule covers: add its volume and compare with the threshold."""
        day = line.day
        opened = day
        if rule.end_min < rule.start_min and minute < rule.end_min:
            opened = add_days(day, -1)  # a window over midnight opened the day before
        instance = (record.msisdn, rule.service, rule.start_min, rule.end_min, opened)
        cap = (record.msisdn, rule.application, day)
        if cap in self.caps or instance in self.fired:
            return line._replace(outcome="capped")
        if self.measure == "total":
            total = min(self.totals.get(instance, 0) + record.volume, TOTAL_MAX)
            self.totals[instance] = total
        else:
            total = record.volume
        if total <= rule.threshold:
            return line._replace(outcome="counted", total=total)
        if 0 < policy.max_per_customer_per_day <= self._notifications(record.msisdn, day):
            return line._replace(outcome="capped_customer", total=total)
        self.fired.add(instance)
        self.caps.add(cap)
        outcome = "control" if policy.is_control(record.msisdn) else "notified"
        return line._replace(outcome=outcome, total=total)

    def _notifications(self, msisdn: str, day: int) -> int:
        """Count a customer's notifications of a day over all applications: each has set one cap."""
        return sum((of, on) == (msisdn, day) for of, _, on in self.caps)

    def _count(self, line: Line) -> None:
        """Add a decided line to the counts, and to the output if it notifies."""
        self.lines += 1
        self.counts[line.outcome] += 1
        if line.reason:
            self.reasons[line.reason] += 1
        if line.outcome == "notified" and line.rule:
            self.outputs[line.rule.application].append(line.content + b"\n")
        if line.outcome == "control" and line.rule:
            self.control_outputs[line.rule.application].append(line.content + b"\n")


def _lines_of(data: bytes) -> list[bytes]:
    r"""Return the lines of data with their ``\n``, which alone ends a line; the last one may lack it."""
    lines = [line + b"\n" for line in data.split(b"\n")]
    lines[-1] = lines[-1][:-1]
    return lines if lines[-1] else lines[:-1]
