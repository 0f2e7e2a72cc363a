"""The odd lines that generated traffic can contain: a closed table.

Owns the name, the description and the making of each kind. It does not decide where and how often they occur, nor
their outcomes, which are those of ``semantics``.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from random import Random
from typing import NamedTuple

from upswell.reference.segment import LINE_BYTES_MAX

LATE_RECORD_DAYS = 3
"""More than the days that are kept open by default."""


class Scene(NamedTuple):
    """The material of an odd line: a good record, and its surroundings."""

    rng: Random
    msisdn: bytes
    """Of a customer in the segment."""
    service: int
    all_day_service: int
    volume: int
    moment: datetime
    thresholds: dict[int, int]
    """By service, those with a rule."""

    def line(
        self,
        msisdn: bytes | None = None,
        service: bytes | None = None,
        volume: bytes | None = None,
        timestamp: bytes | None = None,
        end: bytes = b"\n",
    ) -> bytes:
        """Return the record as a line, with the given fields in place of its own."""
        fields = (
            self.msisdn if msisdn is None else msisdn,
            b"%d" % self.service if service is None else service,
            b"%d" % self.volume if volume is None else volume,
            self.time() if timestamp is None else timestamp,
        )
        return b",".join(fields) + end

    def time(self, days: int = 0, form: str = "%Y%m%d%H%M%S") -> bytes:
        """Return the record's timestamp, so many days later."""
        return (self.moment + timedelta(days=days)).strftime(form).encode()


class LineFault(NamedTuple):
    """A kind of odd line; not all of them are bad."""

    description: str
    make: Callable[[Scene], bytes]
    r"""Make the line with its line end, or several."""


def _garbage(scene: Scene) -> bytes:
    return scene.rng.randbytes(40).replace(b"\n", b"\0") + b"\n"


def _arabic_digits(digits: bytes) -> bytes:
    return "".join(chr(0x660 + int(digit)) for digit in digits.decode("ascii")).encode()


LINE_FAULTS: dict[str, LineFault] = {
    "too_long": LineFault(
        "a line over the length limit", lambda s: s.line(volume=b"1" * LINE_BYTES_MAX)
    ),
    "many_commas": LineFault("a line of a thousand commas", lambda s: b"," * 1000 + b"\n"),
    "three_fields": LineFault("the timestamp is missing", lambda s: s.line()[:-16] + b"\n"),
    "five_fields": LineFault("one field too many", lambda s: s.line(end=b",0\n")),
    "quoted": LineFault(
        "a good record with quoted fields",
        lambda s: s.line(b'"%b"' % s.msisdn, volume=b'"%d"' % s.volume),
    ),
    "quoted_comma": LineFault("a comma inside quotes", lambda s: s.line(volume=b'"1,000"')),
    "quote_inside": LineFault(
        "a quote inside a field", lambda s: s.line(s.msisdn[:4] + b'"' + s.msisdn[4:])
    ),
    "quoted_line_end": LineFault(
        "a line end inside quotes", lambda s: s.line(b'"%b\n"' % s.msisdn)
    ),
    "spaces": LineFault("spaces around the fields", lambda s: s.line(b" %b " % s.msisdn)),
    "tabs": LineFault("a tab in a field", lambda s: s.line(volume=b"\t%d" % s.volume)),
    "blank": LineFault("an empty line", lambda s: b"\n"),
    "blank_spaces": LineFault("a line of spaces and tabs", lambda s: b" \t \n"),
    "crlf": LineFault(r"a good record that ends in \r\n", lambda s: s.line(end=b"\r\n")),
    "lone_cr": LineFault(
        r"two records with a lone \r between", lambda s: s.line(end=b"\r") + s.line()
    ),
    "nul": LineFault(
        "a NUL byte in a field", lambda s: s.line(s.msisdn[:5] + b"\0" + s.msisdn[6:])
    ),
    "latin_1": LineFault("a Latin-1 letter", lambda s: s.line(volume=b"\xe9")),
    "utf_16": LineFault(
        "a record in UTF-16", lambda s: s.line().decode("ascii").encode("utf-16-le")
    ),
    "garbage": LineFault("random bytes", _garbage),
    "escape_codes": LineFault("terminal escape codes", lambda s: s.line(b"\x1b[2J\x1b]0;x\x07")),
    "formula": LineFault("a spreadsheet formula", lambda s: s.line(b"=cmd|'/C calc'!A0")),
    "formula_at": LineFault("a spreadsheet function", lambda s: s.line(volume=b"@SUM(A1:A9)")),
    "header_again": LineFault(
        "a header in the middle of the file", lambda s: b"msisdn,service,volume,timestamp\n"
    ),
    "plus": LineFault("a good record with a leading +", lambda s: s.line(b"+" + s.msisdn)),
    "plus_country": LineFault("an international msisdn, +20…", lambda s: s.line(b"+2" + s.msisdn)),
    "zeros_country": LineFault(
        "an international msisdn, 0020…", lambda s: s.line(b"002" + s.msisdn)
    ),
    "lost_zero": LineFault("an msisdn without its leading zero", lambda s: s.line(s.msisdn[1:])),
    "msisdn_empty": LineFault("an empty msisdn", lambda s: s.line(b"")),
    "msisdn_short": LineFault("an msisdn of 4 digits", lambda s: s.line(s.msisdn[:4])),
    "msisdn_long": LineFault("an msisdn of 20 digits", lambda s: s.line(s.msisdn + b"123456789")),
    "msisdn_letters": LineFault(
        "letters in an msisdn", lambda s: s.line(s.msisdn[:6] + b"O" + s.msisdn[7:])
    ),
    "arabic_digits": LineFault(
        "an msisdn in Arabic-Indic digits", lambda s: s.line(_arabic_digits(s.msisdn))
    ),
    "service_zeros": LineFault(
        "a good record whose service has leading zeros",
        lambda s: s.line(service=b"%05d" % s.service),
    ),
    "service_unknown": LineFault("a service without a rule", lambda s: s.line(service=b"99999")),
    "service_empty": LineFault("an empty service", lambda s: s.line(service=b"")),
    "service_negative": LineFault("service -1", lambda s: s.line(service=b"-1")),
    "service_huge": LineFault("a service of 2^64", lambda s: s.line(service=b"%d" % 2**64)),
    "volume_zero": LineFault("a good record of volume 0", lambda s: s.line(volume=b"0")),
    "volume_at_threshold": LineFault(
        "a volume of exactly the rule's threshold, which does not exceed it by itself",
        lambda s: s.line(volume=b"%d" % s.thresholds.get(s.service, 0)),
    ),
    "volume_over_threshold": LineFault(
        "a volume of the rule's threshold plus one",
        lambda s: s.line(volume=b"%d" % (s.thresholds.get(s.service, 0) + 1)),
    ),
    "volume_largest": LineFault(
        "the largest volume, of 15 nines", lambda s: s.line(volume=b"9" * 15)
    ),
    "volume_huge": LineFault("a volume of 2^63", lambda s: s.line(volume=b"%d" % 2**63)),
    "volume_negative": LineFault("a negative volume", lambda s: s.line(volume=b"-%d" % s.volume)),
    "volume_decimal": LineFault("a volume with a fraction", lambda s: s.line(volume=b"12.5")),
    "volume_exponent": LineFault("a volume with an exponent", lambda s: s.line(volume=b"1e3")),
    "volume_empty": LineFault("an empty volume", lambda s: s.line(volume=b"")),
    "time_short": LineFault(
        "a timestamp without seconds", lambda s: s.line(timestamp=s.time()[:12])
    ),
    "time_long": LineFault(
        "a timestamp with milliseconds", lambda s: s.line(timestamp=s.time() + b"000")
    ),
    "time_iso": LineFault(
        "a timestamp with dashes and colons",
        lambda s: s.line(timestamp=s.time(0, "%Y-%m-%d %H:%M:%S")),
    ),
    "no_such_day": LineFault("30 February", lambda s: s.line(timestamp=s.time(0, "%Y0230%H%M%S"))),
    "no_such_time": LineFault("24:00:00", lambda s: s.line(timestamp=s.time(0, "%Y%m%d240000"))),
    "future": LineFault("dated two days after its file", lambda s: s.line(timestamp=s.time(2))),
    "tomorrow": LineFault("dated a day after its file", lambda s: s.line(timestamp=s.time(1))),
    "last_second": LineFault(
        "the last second of the day before", lambda s: s.line(timestamp=s.time(-1, "%Y%m%d235959"))
    ),
    "first_second": LineFault(
        "the first second of the day", lambda s: s.line(timestamp=s.time(0, "%Y%m%d000000"))
    ),
    "late": LineFault(
        "a record of a closed day",
        lambda s: s.line(service=b"%d" % s.all_day_service, timestamp=s.time(-LATE_RECORD_DAYS)),
    ),
    "repeated": LineFault("the same good record twice", lambda s: s.line() * 2),
}
