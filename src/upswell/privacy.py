"""Untrusted or personal text made safe to show: msisdns are masked, control characters escaped.

Owns the functions through which such text passes on its way to a terminal, a log or a message. It keeps no state, and
is not for OUTPUT, the checkpoint or the rejects, which hold the full text.
"""

import re
import unicodedata
from functools import cache

_SHOWN_DIGITS_MAX = 7  # of ten digits, 0126•••098: enough to tell networks apart, but not customers
_HIDDEN_DIGITS_MIN = 3
_SHOWN_CHARS_MAX = 120
_BETWEEN = "[ ()./-]{0,2}"  # what people write between the digits of an msisdn
_DAY = "(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])"
# An earlier year could be the head of an msisdn: +20 10, 11, 12 and 15 are mobile networks, +20 2 has 11 digits.
_YEAR = "20(?:1[6-9]|[2-9][0-9])"
_TIMESTAMP = f"(?:(?:19|20)[0-9]{{2}}{_DAY}|{_YEAR}[0-9]{{4}})[0-9]{{6}}"
_STAMP = f"(?:(?:19|20)[0-9]{{2}}{_DAY}|{_YEAR}{_DAY}(?:[01][0-9]|2[0-4])(?:[0-5][0-9])?|{_TIMESTAMP}(?:[0-9]{{3}})?)"
_DATE = (  # with separators, and nothing behind it that could be the rest of an msisdn
    "(?:(?:19|20)[0-9]{2}(?P<ymd>[/.-])(?:0?[1-9]|1[0-2])(?P=ymd)(?:[12][0-9]|3[01]|0?[1-9])"
    "|(?:[12][0-9]|3[01]|0?[1-9])(?P<dmy>[/.-])(?:0?[1-9]|1[0-2])(?P=dmy)(?:19|20)[0-9]{2})"
    f"(?:(?= [0-9]{{1,2}}:)|(?!{_BETWEEN}[0-9]))"
)
_OWN_NAME = (  # of the files, versions and identities that Upswell itself names
    r"(?<![0-9A-Za-z])(?:NOTIFY_[0-9]{10}_[0-9]{12}\.csv|REJECTS_[0-9]{10}\.tsv|begun-[0-9]{10}"
    r"|shard-[0-9]{3}-[0-9]{10}-[0-9a-f]+|[0-9a-f]{64}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?![0-9A-Za-z])"
)


@cache  # not at import: most commands start and end without one
def _runs(run: str, *others: str) -> re.Pattern[str]:
    """Return the pattern of an msisdn's digits, as the group ``run``, which passes over what is known to be other."""
    known = "|".join(f"(?<![0-9]){other}(?![0-9])" for other in others)
    return re.compile(rf"{known}|(?P<run>(?<!\d){run})")


_FIRST_FIELD_RUN = rf"\d(?:{_BETWEEN}\d){{4,}}", _DATE
# A volume stays readable, and so does a timestamp, since it identifies nobody.
_OTHER_FIELD_RUN = rf"\d(?:{_BETWEEN}\d){{8,}}", _DATE, _TIMESTAMP
_LONG_RUN = "[0-9]{7,}", _OWN_NAME, _STAMP
_STEERING = ("=", "+", "-", "@", '"')  # with these a spreadsheet begins a formula or a quoted cell
_UNSAFE_CATEGORIES = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))


def mask(msisdn: str) -> str:
    """Mask an msisdn for a log: 0126•••098."""
    shown = min(_SHOWN_DIGITS_MAX, max(len(msisdn) - _HIDDEN_DIGITS_MIN, 0))
    tail = shown // 2
    return f"{msisdn[: shown - tail]}•••{msisdn[len(msisdn) - tail :]}"


def mask_line(raw: bytes) -> str:
    """Return a line of DATA for a message: whatever could be an msisdn masked, and cut when it is long."""
    if b"\0" in raw:  # UTF-16 has them between its digits, so that no run of digits would be found
        return f"{len(raw):,} bytes that are not plain text"
    first, comma, rest = raw.decode("utf-8", "surrogateescape").partition(",")
    first = _runs(*_FIRST_FIELD_RUN).sub(_mask_run, first)
    rest = _runs(*_OTHER_FIELD_RUN).sub(_mask_run, rest)
    line = escape(first + comma + rest)
    return line if len(line) <= _SHOWN_CHARS_MAX else line[: _SHOWN_CHARS_MAX - 1] + "…"


def _mask_run(match: re.Match[str]) -> str:
    return mask("".join(filter(str.isdigit, match[0]))) if match["run"] else match[0]


def mask_digits(text: str) -> str:
    """Return text for a message, with every run of digits masked that could be an msisdn.

    Dates, stamps and timestamps stay readable, and so do the names, versions and identities that Upswell gives.
    """
    return escape(_runs(*_LONG_RUN).sub(_mask_run, text))


def show_format(msisdn: str) -> str:
    """Show the format of an msisdn without revealing whose it is: "0124… (10 digits)"."""
    head = msisdn[: max(4, min(6, len(msisdn) - 7))]
    return f"{escape(head)}… ({len(msisdn.removeprefix('+'))} digits)"


def escape(text: str) -> str:
    r"""Escape text to one line that is safe for a terminal and a log: an ESC becomes ``\x1b``."""
    if text.isprintable():
        return text
    return "".join(_escape_char(char) for char in text)


def cell(text: str) -> str:
    r"""Escape text for a cell that somebody may open in a spreadsheet: a leading ``=`` becomes ``\x3d``."""
    text = escape(text)
    return f"\\x{ord(text[0]):02x}{text[1:]}" if text.startswith(_STEERING) else text


def _escape_char(char: str) -> str:
    if char == " " or unicodedata.category(char) not in _UNSAFE_CATEGORIES:
        return char
    if "\udc80" <= char <= "\udcff":  # a byte that is not UTF-8, as file names carry it
        return f"\\x{ord(char) - 0xDC00:02x}"
    code = ord(char)
    return (
        f"\\x{code:02x}"
        if code < 0x100
        else f"\\u{code:04x}"
        if code < 0x10000
        else f"\\U{code:08x}"
    )
