"""What is wrong with RULES and SEGMENT, line by line, and what to write instead.

Owns the findings' form and how grave each is. It reads no files and changes nothing. Msisdns are masked in all it says.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from upswell.errors import InputMissing, UpswellError
from upswell.kernel import Segment
from upswell.privacy import escape, mask, mask_digits, mask_line
from upswell.reference.application import directory_name
from upswell.reference.files import Contents
from upswell.reference.loading import BAD_LINES_MAX_RATIO
from upswell.reference.rules import DAY_MIN, Rule, Ruleset, parse_rules
from upswell.reference.segment import parse_msisdn, unquote

Level = Literal["error", "warning", "note"]
LEVELS: tuple[Level, ...] = ("error", "warning", "note")
NAMED_MAX = 20  # of each kind of finding: the first ones show what is wrong
SPREADSHEET = (
    "a spreadsheet drops leading zeros when it takes dials for numbers: format the column as text, and export"
    " again"
)
_ZERO_LINES_MAX = 200_000  # of each SEGMENT file: enough to meet a habit of its author
_SEGMENT_WORDS = {
    "too_long": "the line is over 4096 bytes: write one dial a line",
    "columns": "the line has a comma: write one dial a line, and nothing else",
    "msisdn": "it is no dial: write 5 to 15 digits, with an optional + before them",
}


class Finding(NamedTuple):
    """One thing to know, and what to do about it."""

    level: Level
    where: str
    """A file with a line ("RULES.csv:3"), a path, or what it is about."""
    message: str
    hint: str = ""


@dataclass(slots=True)
class Findings:
    """What was found so far."""

    found: list[Finding] = field(default_factory=list)
    missing: bool = False
    """Whether an input path is missing or unreadable."""

    def add(self, level: Level, where: object, message: str, hint: str = "") -> None:
        """Add a finding, its texts made safe to show."""
        self.found.append(Finding(level, escape(str(where)), escape(message), escape(hint)))

    def take(self, where: object, error: UpswellError) -> None:
        """Add an error that a run would end with."""
        self.missing |= isinstance(error, InputMissing)
        self.add("error", where, error.message, error.hint)

    def ordered(self) -> list[Finding]:
        """The findings, the gravest first."""
        return [one for level in LEVELS for one in self.of(level)]

    def of(self, level: Level) -> list[Finding]:
        """The findings of this level, in the order they were made."""
        return [one for one in self.found if one.level == level]


@dataclass(slots=True)
class SegmentFacts:
    """What SEGMENT holds."""

    dials: int = 0
    lengths: dict[int, int] = field(default_factory=dict)
    """Dials by number of digits."""
    duplicates: int = 0
    bad_lines: int = 0


def window_words(rule: Rule) -> str:
    """The hours of a rule for people: "8:00 to 20:00", "22:00 to 6:00 the next day"."""
    if rule.start_min == 0 and rule.end_min == DAY_MIN:
        return "the whole day"
    start, end = (f"{minute // 60}:{minute % 60:02}" for minute in (rule.start_min, rule.end_min))
    return f"{start} to {end}" + (" the next day" if rule.end_min <= rule.start_min else "")


def lint_rules(report: Findings, contents: Contents) -> Ruleset:
    """The rules in these files; what is wrong with them goes to the report."""
    ruleset = parse_rules(contents.files)
    for problem in ruleset.problems[:NAMED_MAX]:
        report.add(
            "warning",
            f"{mask_digits(problem.file)}:{problem.line}",
            problem.message,
            "a first start leaves this line out; a change of a running job is refused as a whole",
        )
    if (more := len(ruleset.problems) - NAMED_MAX) > 0:
        report.add("warning", "RULES", f"{more:,} more lines are no rule")
    if not ruleset.rules:
        report.add("error", "RULES", "no usable rule", "write service,name,start,end,total volume")
    for rule in ruleset.rules:
        if directory_name(rule.application) != rule.application:
            report.add(
                "note",
                "RULES",
                f"the directory of {rule.application} is written {directory_name(rule.application)}",
            )
    return ruleset


def lint_segment(report: Findings, contents: Contents) -> tuple[Segment, SegmentFacts]:
    """The segment in these files; what is wrong with it goes to the report."""
    segment, parsed = Segment.parse([content for _, content in contents.files])
    for index, line, reason, head in parsed.errors[:NAMED_MAX]:
        words = _SEGMENT_WORDS.get(reason, reason)
        if re.fullmatch(rb"[0-9.,]+E\+?[0-9]+", head.strip(b' "\r')):
            words = f"{mask_digits(head.decode())} is how a spreadsheet shortens a number: {SPREADSHEET}"
        where = f"{mask_digits(contents.files[index][0])}:{line}"
        report.add("warning", where, f"{mask_line(head)}: {words}")
    if (more := parsed.bad - NAMED_MAX) > 0:
        report.add("warning", "SEGMENT", f"{more:,} more lines are no dial")
    if parsed.bad > parsed.lines * BAD_LINES_MAX_RATIO:
        report.add(
            "warning",
            "SEGMENT",
            f"{parsed.bad:,} of {parsed.lines:,} lines are no dial: over 1 %",
            "a first start leaves them out; as a change of a running job it would be refused",
        )
    if parsed.duplicates:
        report.add(
            "note",
            "SEGMENT",
            f"{parsed.duplicates:,} dials stand there more than once: that does no harm",
        )
    if not len(segment):
        report.add("error", "SEGMENT", "no dial", "write one dial a line: 5 to 15 digits")
    _check_zeros(report, contents)
    return segment, SegmentFacts(
        len(segment), dict(segment.lengths()), parsed.duplicates, parsed.bad
    )


def lint_suppress(report: Findings, contents: Contents) -> Segment:
    """The suppression list in these files; what is wrong with it goes to the report: who is lost would be notified."""
    suppressed, parsed = Segment.parse([content for _, content in contents.files])
    for index, line, reason, head in parsed.errors[:NAMED_MAX]:
        report.add(
            "error",
            f"{mask_digits(contents.files[index][0])}:{line}",
            f"{mask_line(head)}: {_SEGMENT_WORDS.get(reason, reason)}",
            "a suppression list with a bad line is refused as a whole",
        )
    if (more := parsed.bad - NAMED_MAX) > 0:
        report.add("error", "SUPPRESS", f"{more:,} more lines are no dial")
    if not len(suppressed):
        names = ", ".join(mask_digits(name) for name, _ in contents.files[:3])
        report.add("error", names, "no dial", "to suppress nobody, leave the option out")
    _check_zeros(report, contents)
    return suppressed


def _check_zeros(report: Findings, contents: Contents) -> None:
    """Some dials begin with a zero, and a few are one digit shorter and do not: those have lost theirs."""
    zero_led: Counter[int] = Counter()
    others: Counter[int] = Counter()
    first: dict[int, str] = {}
    for name, number, dial in _dials(contents):
        if dial.startswith("0"):
            zero_led[len(dial)] += 1
        else:
            others[len(dial)] += 1
            first.setdefault(len(dial), f"{mask_digits(name)}:{number}: {mask(dial)}")
    for length, many in zero_led.items():
        few = others[length - 1]
        if 0 < few < many:
            report.add(
                "warning",
                first[length - 1].rpartition(": ")[0],
                f"{first[length - 1].rpartition(': ')[2]} has {length - 1} digits and no leading zero, and so have"
                f" {few:,} dials, but {many:,} have {length} digits and begin with 0: their zero seems lost",
                SPREADSHEET,
            )


def _dials(contents: Contents) -> Iterator[tuple[str, int, str]]:
    for name, data in contents.files:
        at = 0
        for number in range(1, _ZERO_LINES_MAX + 1):
            end = data.find(b"\n", at)
            line = data[at:] if end < 0 else data[at:end]
            dial = parse_msisdn(unquote(line.strip(b" \t\r")))
            if dial is not None:
                yield name, number, dial
            if end < 0:
                break
            at = end + 1
