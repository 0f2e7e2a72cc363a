"""The grammar of RULES.csv: parses rules, says why a line is refused, and describes how two versions differ.

Owns that grammar; reads no files. A line that is not a rule is a Problem with its file, line, reason and what to write
instead, never an exception. Among the rules of one Ruleset at most one covers a record: a service has one application,
and its windows do not overlap.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from upswell.privacy import mask_digits
from upswell.reference.application import directory_name
from upswell.reference.segment import BYTE_ORDER_MARK, HOLE, has_number, is_utf_16

DAY_MIN = 24 * 60
DIRECTORY_BYTES_MAX = 200
_SHOWN_CHARS_MAX = 60
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_FIELD = re.compile(r'[ \t]*(?:"([^"]*(?:""[^"]*)*)"[ \t]*|([^,"\r\n]*))(,|\r?\n|\r?\Z)')
# What Unicode calls default-ignorable beside its format characters (Cf): joiners, fillers and variation selectors.
_INVISIBLE = re.compile(
    "[\\u034f\\u115f\\u1160\\u17b4\\u17b5\\u180b-\\u180f\\u3164\\ufe00-\\ufe0f\\uffa0\\U000e0100-\\U000e01ef]"
)
_TIME = re.compile(r"([0-9]{1,2})(?::([0-9]{2})(?::00)?)?")


class Rule(NamedTuple):
    """A service, its application, the window in minutes of the day, and the volume to exceed."""

    service: int
    application: str
    start_min: int
    end_min: int
    """1 to 1440, exclusive; before start_min when the window crosses midnight."""
    threshold: int

    def covers(self, minute: int) -> bool:
        """Return whether this minute of the day lies in the window."""
        if self.start_min < self.end_min:
            return self.start_min <= minute < self.end_min
        return minute >= self.start_min or minute < self.end_min

    def window(self) -> str:
        """Return the window as people write it: "9-18", "22:30-6"."""
        return f"{_clock(self.start_min)}-{_clock(self.end_min)}"


class Problem(NamedTuple):
    """A line of RULES that is not a rule."""

    file: str
    line: int
    reason: str
    """A slug, one of REASONS."""
    message: str
    """The fault, and what to write instead."""


class Ruleset(NamedTuple):
    """The rules of a version, and the lines that were refused."""

    rules: tuple[Rule, ...]
    problems: tuple[Problem, ...]
    counts: tuple[int, ...] = ()
    """The number of rules of each file that was parsed, in order."""

    def applications(self) -> list[str]:
        """Return the names of the applications, each once, in order of first appearance."""
        return list(dict.fromkeys(rule.application for rule in self.rules))


REASONS = {
    "csv": "the line cannot be split into fields",
    "utf8": "the line is not UTF-8",
    "columns": "it has not exactly five fields",
    "service": "the service is not a number of 1 to 9 digits",
    "application": "the application's name is empty, invisible or too long for a directory",
    "start": "the start time is not 0:00 to 23:59",
    "end": "the end time is not 0:01 to 24:00",
    "empty_window": "start and end are the same",
    "threshold": "the total volume is not a whole number of up to 15 digits",
    "service_name": "the service has another application name above",
    "overlap": "the window overlaps one of the same service above",
    "name_twin": "the name differs from one above only in case, invisible characters, blanks or Unicode form",
}


def parse_rules(files: Iterable[tuple[str, bytes]]) -> Ruleset:
    """Parse the files of RULES, (name, content) in order. A later line never invalidates an earlier one."""
    accepted = _Accepted()
    problems: list[Problem] = []
    counts: list[int] = []
    for name, data in files:
        before = len(accepted.rules)
        for line, fields in _rows(data):
            found = fields if isinstance(fields, tuple) else _parse_fields(fields)
            refused = (
                accepted.add(found, f"{mask_digits(name)}:{line}")
                if isinstance(found, Rule)
                else found
            )
            if refused is not None:
                problems.append(Problem(name, line, *refused))
        counts.append(len(accepted.rules) - before)
    return Ruleset(tuple(accepted.rules), tuple(problems), tuple(counts))


def describe_change(old: Ruleset, new: Ruleset) -> list[str]:
    """Describe each change between two versions in a phrase: "Youtube 99 -> 120", "Twitter (1) 8-20 over 147 added"."""
    before = {(rule.service, rule.start_min, rule.end_min): rule for rule in old.rules}
    after = {(rule.service, rule.start_min, rule.end_min): rule for rule in new.rules}
    phrases = []
    for where, rule in after.items():
        was = before.get(where)
        label = f"{rule.application} ({rule.service}) {rule.window()}"
        if was is None:
            phrases.append(f"{label} over {rule.threshold:,} added")
            continue
        if was.application != rule.application:
            phrases.append(f"service {rule.service}: {was.application} is now {rule.application}")
        if was.threshold != rule.threshold:
            phrases.append(f"{rule.application} {was.threshold:,} -> {rule.threshold:,}")
    phrases.extend(
        f"{rule.application} ({rule.service}) {rule.window()} removed"
        for where, rule in before.items()
        if where not in after
    )
    return phrases


def _clock(minute: int) -> str:
    hour, rest = divmod(minute, 60)
    return f"{hour}:{rest:02}" if rest else str(hour)


def _rows(data: bytes) -> Iterator[tuple[int, list[str] | tuple[str, str]]]:
    """Yield (line, fields) of a row, (line, (reason, message)) of a faulty one; blank and header lines are left out."""
    if is_utf_16(data):
        yield 1, ("utf8", "the file is UTF-16: save it as UTF-8")
        return
    text = data.removeprefix(BYTE_ORDER_MARK).decode("utf-8", "surrogateescape")
    at, line = 0, 1
    while at < len(text):
        fields, end = _split_row(text, at)
        start, first, at, line = at, line, end, line + text.count("\n", at, end)
        if fields is None:
            yield first, ("csv", _why_not_split(data, text[start:end]))
        elif not any(fields) or (first == 1 and not any(map(has_number, fields))):
            continue
        elif any("\udc80" <= char <= "\udcff" for field in fields for char in field):
            yield first, ("utf8", "the file is not UTF-8: save it as UTF-8")
        elif "\0" in "".join(fields if len(fields) != 5 else fields[2:]):  # a name may have one
            yield first, ("csv", HOLE)
        else:
            yield first, fields


def _why_not_split(data: bytes, row: str) -> str:
    """Return why a row cannot be split into fields; carriage returns are judged by the whole file."""
    if b"\r" in data.replace(b"\r\n", b""):
        return "the file has carriage returns (CR) alone as line ends: save it with line ends of Unix or Windows"
    return (
        _other_separator(row)
        or 'its quotes do not pair up: write "News, 24" or "the ""best"" news"'
    )


def _other_separator(row: str) -> str:
    """Return that something else than commas separates the fields of a row; "" when nothing seems to."""
    for mark, name in _SEPARATORS.items():
        # What stands before the first one is the service, unless they belong to a name.
        if row.count(mark) >= 4 and row.partition(mark)[0].strip(' \t"').isdecimal():
            return f"its fields are separated by {name}: separate them by commas"
    return ""


def _split_row(text: str, at: int) -> tuple[list[str] | None, int]:
    """Return the fields of the row that starts here, with blanks around them trimmed, and the start of the next row.

    The csv module cannot trim blanks around a quoted field, and swallows all that follows an unpaired quote. The fields
    are None for a row that cannot be split; it ends with its line.
    """
    fields = []
    start = at
    while match := _FIELD.match(text, at):
        quoted, plain, separator = match.groups()
        fields.append(
            plain.strip(" \t") if quoted is None else quoted.replace('""', '"').strip(" \t")
        )
        at = match.end()
        if separator != ",":
            return fields, at
    newline = text.find("\n", start)
    return None, len(text) if newline < 0 else newline + 1


def _parse_fields(fields: list[str]) -> Rule | tuple[str, str]:
    if len(fields) != 5:
        return "columns", (
            _other_separator(",".join(fields))
            or f"it has {len(fields)} field(s) instead of five: service,name,start,end,total volume"
            " (a name with a comma goes in double quotes)"
        )
    service, name, start, end, threshold = fields
    if not re.fullmatch("[0-9]{1,9}", service):
        return "service", f"service {_quote(service)} is not a number: write 1 to 9 digits"
    name = unicodedata.normalize("NFC", name)
    if not _fold(name):
        return (
            "application",
            "the application's name is empty, or nothing in it can be seen: write one",
        )
    if len(directory_name(name).encode()) > DIRECTORY_BYTES_MAX:
        return (
            "application",
            f"its directory would be over {DIRECTORY_BYTES_MAX} bytes: write a shorter name",
        )
    start_min, end_min = _minutes(start), _minutes(end)
    if start_min is None or start_min >= DAY_MIN:
        way = _without_seconds(start) or "is not a time: write an hour from 0 to 23, or 8:30"
        return "start", f"start {_quote(start)} {way}"
    if end_min is None:
        way = _without_seconds(end) or "is not a time: write an hour from 1 to 24, or 18:30"
        return "end", f"end {_quote(end)} {way}"
    if start_min == end_min:
        return "empty_window", "start and end are the same: write 0,24 for the whole day"
    if not re.fullmatch("[0-9]{1,15}", threshold):
        return (
            "threshold",
            f"total volume {_quote(threshold)} is not a whole number of up to 15 digits",
        )
    return Rule(int(service), name, start_min, end_min or DAY_MIN, int(threshold))


def _quote(text: str) -> str:
    """Quote text of RULES for a message: short, safe, and with any msisdn masked that got there by mistake."""
    seen = "".join(f"\\u{ord(char):04x}" if _is_unseen(char) else char for char in text)
    shown = mask_digits(seen)
    return f"'{shown if len(shown) <= _SHOWN_CHARS_MAX else shown[: _SHOWN_CHARS_MAX - 1] + '…'}'"


def _minutes(text: str) -> int | None:
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    hour, minute = int(match[1]), int(match[2] or 0)
    total = hour * 60 + minute
    return total if minute < 60 and total <= DAY_MIN else None


def _without_seconds(text: str) -> str:
    """Return that a time has seconds, and what to write; "" when these are not what is wrong with it."""
    minutes, _, seconds = text.rpartition(":")
    is_time = len(seconds) == 2 and seconds.isdecimal() and ":" in minutes
    if not is_time or seconds == "00" or _minutes(minutes) is None or minutes.count(":") != 1:
        return ""
    return f"has seconds, and windows begin and end at whole minutes: write {minutes}"


def _is_unseen(char: str) -> bool:
    """Return whether nobody sees the character, or takes it for a plain blank."""
    if char.isspace():
        return char != " "
    return unicodedata.category(char) == "Cf" or _INVISIBLE.match(char) is not None


def _fold(name: str) -> str:
    """Return what is left of a name for a reader: without case, invisible characters and kinds of blank."""
    seen = "".join(
        " " if char.isspace() else char
        for char in unicodedata.normalize("NFC", name)
        if char.isspace() or not _is_unseen(char)
    )
    return unicodedata.normalize("NFC", " ".join(seen.split()).casefold())


class _Accepted:
    """The rules accepted so far, indexed so that a million lines stay quick to check."""

    def __init__(self) -> None:
        self.rules: list[Rule] = []
        self._by_service: dict[int, list[tuple[Rule, str]]] = {}
        self._by_name: dict[str, tuple[str, str]] = {}

    def add(self, rule: Rule, where: str) -> tuple[str, str] | None:
        """Add the rule, or return (reason, message) when it contradicts an earlier one."""
        same_service = self._by_service.setdefault(rule.service, [])
        for other, there in same_service:
            if other.application != rule.application:
                return "service_name", (
                    f"service {rule.service} is named {_quote(rule.application)} here and"
                    f" {_quote(other.application)} at {there}: give it one name"
                )
            if rule.covers(other.start_min) or other.covers(rule.start_min):
                return "overlap", (
                    f"window {rule.window()} of service {rule.service} overlaps {other.window()}"
                    f" at {there}: change one of them"
                )
        name, there = self._by_name.setdefault(_fold(rule.application), (rule.application, where))
        if name != rule.application:
            return "name_twin", (
                f"the name {_quote(rule.application)} is written {_quote(name)} at {there}: write it one way:"
                " under two names a customer would be notified twice a day"
            )
        same_service.append((rule, where))
        self.rules.append(rule)
        return None
