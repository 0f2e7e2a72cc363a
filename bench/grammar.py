"""What the programs that Upswell is compared with have in common: the order of the files, the grammar of a line.

Owns no reading of lines and no arithmetic, which is where those programs differ. The expressions are of the plain kind
that Rust's regex, RE2 and Java read alike. Standard library only, as each program has an environment of its own.
"""

import re
from datetime import datetime, timedelta
from pathlib import Path

LINE_BYTES_MAX = 4096
KEEP_DAYS = 2
OUTCOMES = (
    *("rejected", "blank", "header", "not_in_segment", "no_rule"),
    *("outside_window", "late", "capped", "counted", "notified"),
)
TIME = "(?:[01][0-9]|2[0-3])[0-5][0-9][0-5][0-9]"
FIELDS = (r"\+?[0-9]{5,15}", "[0-9]{1,9}", "[0-9]{1,15}", f"[0-9]{{8}}{TIME}")
RECORD = "^" + ",".join(f'(?:{field}|"{field}")' for field in FIELDS) + "$"
"""A record of any look, apart from its date, which is yet to be checked."""
BLANK = "^[ \t]*$"
_MONTHS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def plain_record(day_max: int) -> str:
    """The expression of most records: without quotes, of a date from 2000 to ``day_max`` (yyyymmdd), no 29 February.

    A date is checked by it alone, so a program looks closer only at the few lines that it refuses.
    """
    year, month, day = day_max // 10**4, day_max // 100 % 100, day_max % 100

    def days(length: int) -> str:
        return "|".join(f"{number:02}" for number in range(1, length + 1))

    def months(until: int) -> str:
        return "|".join(f"{at + 1:02}(?:{days(_MONTHS[at])})" for at in range(until))

    before = "|".join(str(number) for number in range(2000, year))
    this = f"{months(month - 1)}|{month:02}(?:{days(day)})".removeprefix("|")
    return "^" + ",".join(FIELDS[:3]) + f",(?:(?:{before})(?:{months(12)})|{year}(?:{this})){TIME}$"


def arrival(data: Path) -> list[Path]:
    """The DATA files in order of arrival."""
    return sorted(data.glob("DATA_*.csv"), key=lambda file: (file.name[5:17], file.name))


def day_max(file: Path) -> int:
    """The last date, yyyymmdd, that is not in the future of this file."""
    return shift(int(file.name[5:13]), 1)


def day_open(file: Path) -> int:
    """The first day that is not late in this file, when files come in the order of their stamps."""
    return shift(int(file.name[5:13]), 1 - KEEP_DAYS)


def shift(day: int, days: int) -> int:
    """The day so many days later, both as yyyymmdd."""
    date = datetime.strptime(str(day), "%Y%m%d") + timedelta(days)  # noqa: DTZ007 - a local date
    return int(f"{date:%Y%m%d}")


def count_lines(files: list[Path]) -> int:
    """All lines of the files. Counting line ends takes no longer than a second query that counts."""
    contents = (file.read_bytes() for file in files)
    return sum(content.count(b"\n") + (content[-1:] not in (b"", b"\n")) for content in contents)


def headers(files: list[Path]) -> int:
    """How many of the files begin with a header: no blank line, and no digit in it."""
    return sum(_is_header(file) for file in files)


def _is_header(file: Path) -> bool:
    with file.open("rb") as stream:
        line = stream.readline().removeprefix(b"\xef\xbb\xbf").rstrip(b"\r\n")
    return (
        len(line.strip(b" \t")) > 0
        and len(line) <= LINE_BYTES_MAX
        and not re.search(b"[0-9]", line)
    )
