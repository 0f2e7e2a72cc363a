"""Lints RULES, SEGMENT and SUPPRESS line by line: what is wrong, and what to write instead.

Owns the findings about their lines and how severe each is. It reads no files and changes nothing. Msisdns are masked
in everything it says.
"""

import re
from collections import Counter
from collections.abc import Iterator

from upswell.audit.preflight.report import Report, SegmentFacts
from upswell.kernel import Segment
from upswell.privacy import mask, mask_digits, mask_line
from upswell.reference.application import directory_name
from upswell.reference.files import Contents
from upswell.reference.loading import BAD_LINES_MAX_RATIO, list_origin, rules_origin
from upswell.reference.origin import LEAVE_COPY_OUT, Origin
from upswell.reference.rules import Ruleset, parse_rules
from upswell.reference.segment import cause_of, parse_msisdn, unquote

NAMED_MAX = 20  # of each kind of finding: the first ones show what is wrong
SPREADSHEET = (
    "a spreadsheet drops leading zeros when it takes MSISDNs for numbers: format the column as text, and export"
    " again"
)
_ZERO_LINES_MAX = 200_000  # of each SEGMENT file: enough to meet a habit of its author
_SEGMENT_WORDS = {
    "too_long": "the line is over 4096 bytes: write one MSISDN per line",
    "columns": "the line contains a comma: write one MSISDN per line, and nothing else",
    "msisdn": "not a valid MSISDN: write 5 to 15 digits, with an optional + before them",
}


def lint_rules(report: Report, contents: Contents) -> Ruleset:
    """Return the rules in these files, and report what is wrong with them."""
    ruleset = parse_rules(contents.files)
    _add_origin(report, "rules", rules_origin(contents, ruleset))
    for problem in ruleset.problems[:NAMED_MAX]:
        report.add(
            "warning",
            f"{mask_digits(problem.file)}:{problem.line}",
            problem.message,
            "a first start skips this line; a change to a running job would be refused as a whole",
        )
    if (more := len(ruleset.problems) - NAMED_MAX) > 0:
        report.add("warning", "RULES", f"{more:,} more lines are not valid rules")
    if not ruleset.rules:
        report.add("error", "RULES", "no usable rule", "write service,name,start,end,total volume")
    for rule in ruleset.rules:
        if directory_name(rule.application) != rule.application:
            report.add(
                "note",
                "RULES",
                f"the directory of {rule.application} is named {directory_name(rule.application)}",
            )
    return ruleset


def lint_segment(report: Report, contents: Contents) -> tuple[Segment, SegmentFacts]:
    """Return the segment in these files and its facts, and report what is wrong with it."""
    segment, parsed = Segment.parse([content for _, content in contents.files])
    _add_origin(report, "segment", list_origin("SEGMENT", contents, parsed))
    for index, line, reason, head in parsed.errors[:NAMED_MAX]:
        words = _why_bad(head, reason)
        if re.fullmatch(rb"[0-9.,]+E\+?[0-9]+", head.strip(b' "\r')):
            words = f"{mask_digits(head.decode())} is a number abbreviated by a spreadsheet: {SPREADSHEET}"
        where = f"{mask_digits(contents.files[index][0])}:{line}"
        report.add("warning", where, f"{mask_line(head)}: {words}")
    if (more := parsed.bad - NAMED_MAX) > 0:
        report.add("warning", "SEGMENT", f"{more:,} more lines are not valid MSISDNs")
    if parsed.bad > parsed.lines * BAD_LINES_MAX_RATIO:
        report.add(
            "warning",
            "SEGMENT",
            f"{parsed.bad:,} of {parsed.lines:,} lines are not valid MSISDNs (limit 1%)",
            "a first start skips them; a change to a running job would be refused",
        )
    if parsed.duplicates:
        report.add(
            "note",
            "SEGMENT",
            f"{parsed.duplicates:,} MSISDNs are listed more than once, which does no harm",
        )
    if not len(segment):
        report.add(
            "error", "SEGMENT", "no valid MSISDN", "write one MSISDN per line: 5 to 15 digits"
        )
    _check_zeros(report, contents)
    return segment, SegmentFacts(
        len(segment), dict(segment.lengths()), parsed.duplicates, parsed.bad
    )


def lint_suppress(report: Report, contents: Contents) -> Segment:
    """Return the suppression list in these files, and report what is wrong with it.

    Every bad line is an error: whoever it was meant for would be notified.
    """
    suppressed, parsed = Segment.parse([content for _, content in contents.files])
    _add_origin(report, "suppress", list_origin("SUPPRESS", contents, parsed))
    for index, line, reason, head in parsed.errors[:NAMED_MAX]:
        report.add(
            "error",
            f"{mask_digits(contents.files[index][0])}:{line}",
            f"{mask_line(head)}: {_why_bad(head, reason)}",
            "a suppression list with a bad line is refused as a whole",
        )
    if (more := parsed.bad - NAMED_MAX) > 0:
        report.add("error", "SUPPRESS", f"{more:,} more lines are not valid MSISDNs")
    if not len(suppressed):
        names = ", ".join(mask_digits(name) for name, _ in contents.files[:3])
        report.add("error", names, "no valid MSISDN", "to suppress nobody, omit the option")
    _check_zeros(report, contents)
    return suppressed


def _add_origin(report: Report, kind: str, origin: Origin) -> None:
    """Add what was read, and report names that look like backup copies."""
    report.origins[kind] = origin
    if words := origin.describe_copies():
        report.add("warning", kind.upper(), words, LEAVE_COPY_OUT)


def _why_bad(head: bytes, reason: str) -> str:
    """Return why a line that begins like this is not an msisdn, and what to write instead."""
    cause = cause_of(head)
    return f"not a valid MSISDN: {cause}" if cause else _SEGMENT_WORDS.get(reason, reason)


def _check_zeros(report: Report, contents: Contents) -> None:
    """Report msisdns that seem to have lost their leading zero: a few among many that have it and one digit more."""
    zero_led: Counter[int] = Counter()
    others: Counter[int] = Counter()
    first: dict[int, str] = {}
    for name, number, msisdn in _msisdns(contents):
        if msisdn.startswith("0"):
            zero_led[len(msisdn)] += 1
        else:
            others[len(msisdn)] += 1
            first.setdefault(len(msisdn), f"{mask_digits(name)}:{number}: {mask(msisdn)}")
    for length, many in zero_led.items():
        few = others[length - 1]
        if 0 < few < many:
            report.add(
                "warning",
                first[length - 1].rpartition(": ")[0],
                f"{first[length - 1].rpartition(': ')[2]} is one of {few:,} MSISDNs with {length - 1} digits and no"
                f" leading zero, while {many:,} have {length} digits and begin with 0: the zero seems lost",
                SPREADSHEET,
            )


def _msisdns(contents: Contents) -> Iterator[tuple[str, int, str]]:
    """Yield (file, line from 1, msisdn) of the valid lines, of each file up to a limit."""
    for name, data in contents.files:
        at = 0
        for number in range(1, _ZERO_LINES_MAX + 1):
            end = data.find(b"\n", at)
            line = data[at:] if end < 0 else data[at:end]
            msisdn = parse_msisdn(unquote(line.strip(b" \t\r")))
            if msisdn is not None:
                yield name, number, msisdn
            if end < 0:
                break
            at = end + 1
