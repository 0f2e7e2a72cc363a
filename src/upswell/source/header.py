"""The header of a DATA file: its first line that is not blank, when it names columns in another order than is read.

Owns the names that are known and their comparison. It decides no outcome: to the kernel and to ``semantics`` the line
is a header or a record, as ever. A line in which no name is known is never judged.
"""

import re
from gzip import GzipFile
from typing import IO, NamedTuple

from upswell.privacy import mask_digits
from upswell.reference.segment import BYTE_ORDER_MARK, LINE_BYTES_MAX, is_blank, without_line_end

COLUMNS = ("msisdn", "service", "volume", "timestamp")
"""The columns that are read, in this order."""
_MEANINGS = {
    "msisdn": "msisdn",
    "dial": "msisdn",
    "subscriber": "msisdn",
    "service": "service",
    "serviceidentifier": "service",
    "serviceid": "service",
    "volume": "volume",
    "trafficvolume": "volume",
    "timestamp": "timestamp",
    "time": "timestamp",
}
_NO_PART = re.compile("[\\s\"'_\\-\N{ZERO WIDTH NO-BREAK SPACE}]")
_OTHER_DELIMITER = re.compile(r"[;\t|]")
_OTHER = "-"  # in a shape: a column that is passed over
_NAMED_MAX = 12  # columns in a message; a line may have thousands
_SHAPE_COLUMNS_MAX = 64


class FirstLine(NamedTuple):
    """The first line of a file that is not blank."""

    content: bytes
    """Without byte-order mark and line end; empty when all lines are blank. Of one that is too long the beginning."""
    blank_bytes: int
    """Of the byte-order mark and the blank lines before it."""
    ended: bool
    """Its line end is there, or it is too long to be judged."""


NO_LINE = FirstLine(b"", 0, False)
"""Of a file of which nothing was read yet."""


def read_first_line(stream: IO[bytes] | GzipFile, *, at_start: bool = True) -> FirstLine:
    """Read up to the first line that is not blank, in bounded memory. ``at_start``: a byte-order mark may come."""
    blank_bytes = 0
    while line := stream.readline(len(BYTE_ORDER_MARK) + LINE_BYTES_MAX + 2):
        mark_bytes = len(BYTE_ORDER_MARK) if at_start and line.startswith(BYTE_ORDER_MARK) else 0
        at_start = False
        content = without_line_end(line[mark_bytes:])
        ended = line.endswith(b"\n") or len(content) > LINE_BYTES_MAX
        if not is_blank(content) or len(content) > LINE_BYTES_MAX:
            return FirstLine(content, blank_bytes, ended)
        if not ended:  # as long as no line end follows it may become anything
            break
        blank_bytes += len(line)
    return FirstLine(b"", blank_bytes, False)


def describe_other_order(content: bytes) -> str:
    """Return in words how a first line names other columns than are read; "" when it names none, or just these."""
    if len(content) > LINE_BYTES_MAX:
        return ""
    text = content.decode("utf-8", "replace")
    other = _OTHER_DELIMITER.search(text)
    delimiter = other[0] if other and "," not in text else ","
    names = re.split(r"[;\t|]", text) if delimiter != "," else text.split(",")
    meanings = [_MEANINGS.get(_NO_PART.sub("", name).casefold(), _OTHER) for name in names]
    if set(meanings) == {_OTHER} or tuple(meanings) == COLUMNS:
        return ""
    shown = [mask_digits(name.strip(' \t"')) for name in names[:_NAMED_MAX]]
    more = ["…"] if len(names) > _NAMED_MAX else []
    return (
        f"its first line names the columns {', '.join(shown + more)}, but they are read as {', '.join(COLUMNS)}:"
        f" deliver them in this order ({_shape(meanings, delimiter)})"
    )


def _shape(meanings: list[str], delimiter: str) -> str:
    """Return the shape that would read these columns, or why none would."""
    wrong = [f"{name} is not there" for name in COLUMNS if name not in meanings]
    wrong += [f"{name} is there twice" for name in COLUMNS if meanings.count(name) > 1]
    if len(meanings) > _SHAPE_COLUMNS_MAX:
        wrong.append(f"{len(meanings):,} columns are there")
    if wrong:
        return f"no [shape] has them: {', '.join(wrong)}"
    columns = ", ".join(f'"{meaning}"' for meaning in meanings)
    between = "" if delimiter == "," else f'delimiter = "{delimiter}", '.replace("\t", "\\t")
    return f"their shape: [shape] {between}columns = [{columns}]"
