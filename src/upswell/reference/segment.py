"""The grammar of SEGMENT.csv and of an msisdn, in plain Python.

Owns what counts as an msisdn, and the words for what does not. It reads no files and keeps no state; the kernel parses
real segments (ten million msisdns in seconds) and is tested to agree with it. An msisdn is a digit string: leading
zeros count, it is never a number.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from upswell.privacy import mask_digits

MSISDN_DIGITS_MIN = 5
MSISDN_DIGITS_MAX = 15
LINE_BYTES_MAX = 4096
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
HOLE = "it has NUL bytes, a hole of a copy that is not complete: copy the file again"
_UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_UTF_16_NUL_SHARE = 0.01  # of Arabic text its commas and digits alone have NUL bytes
_HEAD_BYTES = 4096
_NUMBER = re.compile(rb"[0-9]+")
_WHY = {"too_long": "over 4096 bytes", "columns": "it has a comma", "msisdn": "not 5 to 15 digits"}


class BadLine(NamedTuple):
    """A line of SEGMENT that is not an msisdn."""

    file: int
    """Index of the file among those given."""
    line: int
    reason: str
    """too_long, columns or msisdn."""


class ParsedSegment(NamedTuple):
    """The contents of SEGMENT."""

    msisdns: frozenset[str]
    lines: int
    """Lines that should be an msisdn: all but blank and header lines."""
    duplicates: int
    bad: list[BadLine]


def is_digits(field: bytes, shortest: int, longest: int) -> bool:
    """Return whether the field consists of that many ASCII digits."""
    return shortest <= len(field) <= longest and field.isdigit()  # of bytes: ASCII digits alone


def is_utf_16(content: bytes) -> bool:
    """Return whether a text file seems to be UTF-16, with or without a byte-order mark.

    Without one, NUL bytes show it that are many and all at even or all at odd positions, as those of a hole are not.
    """
    head = content[:_HEAD_BYTES]
    fewer, more = sorted((head[::2].count(b"\0"), head[1::2].count(b"\0")))
    is_every_other = not fewer and more > max(1, len(head) * _UTF_16_NUL_SHARE)
    return head.startswith(_UTF_16_MARKS) or is_every_other


def unquote(field: bytes) -> bytes:
    """Return the field without the double quotes around it, if any."""
    if len(field) >= 2 and field[:1] == field[-1:] == b'"':
        return field[1:-1]
    return field


def parse_msisdn(field: bytes) -> str | None:
    """Return the msisdn in a field: 5 to 15 digits, without an optional leading ``+``; None when it is not one."""
    digits = field[1:] if field[:1] == b"+" else field
    if is_digits(digits, MSISDN_DIGITS_MIN, MSISDN_DIGITS_MAX):
        return digits.decode("ascii")
    return None


def numbers(content: bytes) -> Iterator[bytes]:
    """Yield the runs of digits in some bytes. Digits beside an msisdn make it another number."""
    return (found[0] for found in _NUMBER.finditer(content))


def is_blank(content: bytes) -> bool:
    """Return whether a line is empty, or spaces and tabs alone."""
    return not content.strip(b" \t")


def has_digit(content: bytes) -> bool:
    """Return whether the line holds an ASCII digit; a file's first line without one is a header."""
    return any(0x30 <= byte <= 0x39 for byte in content)


def has_number(text: str) -> bool:
    """Return whether the text holds a digit of any script (Unicode's general category N): then it is not a header."""
    return any(unicodedata.category(char)[0] == "N" for char in text)


def without_line_end(line: bytes) -> bytes:
    r"""Return the line without its ``\n``, ``\r\n`` or, on an unterminated line, its final ``\r``."""
    return line.removesuffix(b"\n").removesuffix(b"\r")


def parse_segment(files: Iterable[bytes]) -> ParsedSegment:
    """Parse the contents of SEGMENT's files, in order. Spaces and tabs around an msisdn are trimmed."""
    msisdns: set[str] = set()
    lines = duplicates = 0
    bad: list[BadLine] = []
    for index, data in enumerate(files):
        # Only "\n" ends a line here: bytes.splitlines would also split at a lone "\r".
        raw = data.removeprefix(BYTE_ORDER_MARK).split(b"\n")
        if not raw[-1]:
            raw.pop()
        for number, line in enumerate(raw, 1):
            content = without_line_end(line)
            too_long = len(content) > LINE_BYTES_MAX
            if not too_long and (
                is_blank(content.replace(b",", b""))  # as a spreadsheet writes an emptied row
                or (number == 1 and not has_number(content.decode("utf-8", "replace")))
            ):
                continue
            lines += 1
            msisdn = None if too_long else parse_msisdn(unquote(content.strip(b" \t")))
            if msisdn is not None:
                duplicates += msisdn in msisdns
                msisdns.add(msisdn)
            else:
                reason = "too_long" if too_long else "columns" if b"," in content else "msisdn"
                bad.append(BadLine(index, number, reason))
    return ParsedSegment(frozenset(msisdns), lines, duplicates, bad)


def cause_of(raw: bytes) -> str:
    """Return the likely cause of a bad line, which is that of a whole file of them; "" when the line shows none."""
    if is_utf_16(raw):
        return "the file looks like UTF-16: save it as UTF-8"
    causes = {
        b"\0": HOLE,
        b"\r": "the file has carriage returns (CR) alone as line ends: save it with line ends of Unix or Windows",
        b";": "it has semicolons: write one MSISDN a line, and nothing else",
        b"\t": "it has tabs: write one MSISDN a line, and nothing else",
    }
    return next((cause for mark, cause in causes.items() if mark in raw.strip()), "")


def describe_bad_lines(
    what: str, bad: int, errors: Sequence[tuple[int, int, str, bytes]], names: Sequence[str]
) -> list[str]:
    """Return one sentence about the lines of a list that are not msisdns, if any; it holds no whole msisdn.

    Args:
        what: the name of the list: SEGMENT.
        bad: the number of these lines.
        errors: the first of them, as ``kernel.SegmentReport`` has them.
        names: of the list's files.
    """
    if not bad:
        return []
    index, line, reason, raw = errors[0]
    place = f"{mask_digits(names[index])}:{line} ({cause_of(raw) or _WHY[reason]})"
    if bad == 1:
        return [f"1 line of {what} is not a valid MSISDN: {place}"]
    return [f"{bad:,} lines of {what} are not valid MSISDNs, the first is {place}"]
