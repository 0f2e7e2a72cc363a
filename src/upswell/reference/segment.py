"""The grammar of SEGMENT.csv and of an msisdn, in plain Python.

Owns what counts as a dial, and the words of what does not. It reads no files and keeps no state; the kernel loads real
segments (ten million dials in seconds) and is tested to agree with this. An msisdn is a digit string: leading zeros
count, it is never a number.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from upswell.privacy import mask_digits

MSISDN_DIGITS_MIN = 5
MSISDN_DIGITS_MAX = 15
LINE_BYTES_MAX = 4096
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_NUMBER = re.compile(rb"[0-9]+")
_WHY = {"too_long": "over 4096 bytes", "columns": "it has a comma", "msisdn": "not 5 to 15 digits"}


class BadLine(NamedTuple):
    """A line of SEGMENT that is no dial."""

    file: int
    """Index of the file among those given."""
    line: int
    reason: str
    """too_long, columns or msisdn."""


class ParsedSegment(NamedTuple):
    """What the lines of SEGMENT say."""

    dials: frozenset[str]
    lines: int
    """Lines that should be a dial: all but blank and header lines."""
    duplicates: int
    bad: list[BadLine]


def is_digits(field: bytes, shortest: int, longest: int) -> bool:
    """Whether the field is made of that many ASCII digits."""
    return shortest <= len(field) <= longest and field.isdigit()  # of bytes: ASCII digits alone


def unquote(field: bytes) -> bytes:
    """The field without the double quotes that wrap it, if any do."""
    if len(field) >= 2 and field[:1] == field[-1:] == b'"':
        return field[1:-1]
    return field


def parse_msisdn(field: bytes) -> str | None:
    """The identity of a dial: its 5 to 15 digits without an optional leading ``+``; None when it is none."""
    digits = field[1:] if field[:1] == b"+" else field
    if is_digits(digits, MSISDN_DIGITS_MIN, MSISDN_DIGITS_MAX):
        return digits.decode("ascii")
    return None


def numbers(content: bytes) -> Iterator[bytes]:
    """The runs of digits in some bytes: where a dial is looked for, digits beside it make another number."""
    return (found[0] for found in _NUMBER.finditer(content))


def is_blank(content: bytes) -> bool:
    """Whether a line is empty or made of spaces and tabs alone."""
    return not content.strip(b" \t")


def has_digit(content: bytes) -> bool:
    """Whether the line holds an ASCII digit; a file's first line without one is a header."""
    return any(0x30 <= byte <= 0x39 for byte in content)


def without_line_end(line: bytes) -> bytes:
    r"""The line without its ``\n``, ``\r\n`` or, on an unterminated line, its final ``\r``."""
    return line.removesuffix(b"\n").removesuffix(b"\r")


def parse_segment(files: Iterable[bytes]) -> ParsedSegment:
    """Parse the contents of SEGMENT's files, in order. Spaces and tabs around a dial are trimmed."""
    dials: set[str] = set()
    lines = duplicates = 0
    bad: list[BadLine] = []
    for index, data in enumerate(files):
        # Only "\n" ends a line here: bytes.splitlines would also split at a lone "\r".
        pieces = data.removeprefix(BYTE_ORDER_MARK).split(b"\n")
        if not pieces[-1]:
            pieces.pop()
        for number, piece in enumerate(pieces, 1):
            content = without_line_end(piece)
            too_long = len(content) > LINE_BYTES_MAX
            if not too_long and (is_blank(content) or (number == 1 and not has_digit(content))):
                continue
            lines += 1
            msisdn = None if too_long else parse_msisdn(unquote(content.strip(b" \t")))
            if msisdn is not None:
                duplicates += msisdn in dials
                dials.add(msisdn)
            else:
                reason = "too_long" if too_long else "columns" if b"," in content else "msisdn"
                bad.append(BadLine(index, number, reason))
    return ParsedSegment(frozenset(dials), lines, duplicates, bad)


def describe_bad_lines(
    what: str, bad: int, errors: Sequence[tuple[int, int, str, bytes]], names: Sequence[str]
) -> list[str]:
    """The lines of a list that are no dial, in a sentence, if there are any; it holds no whole msisdn.

    Args:
        what: the list, as SEGMENT.
        bad: how many.
        errors: the first of them, as ``kernel.SegmentReport`` has them.
        names: of its files.
    """
    if not bad:
        return []
    index, line, reason, _ = errors[0]
    place = f"{mask_digits(names[index])}:{line} ({_WHY[reason]})"
    if bad == 1:
        return [f"1 line of {what} is no dial: {place}"]
    return [f"{bad:,} lines of {what} are no dials, the first is {place}"]
