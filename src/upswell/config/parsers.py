"""The grammar of each setting's value.

Owns how text (of a flag, a variable or a TOML string) or a TOML value becomes a typed value, and the words that say
what to write instead. It knows neither sources nor defaults. Every parser raises ValueError with a text that completes
"write …".
"""

import grp
import re
from collections.abc import Callable
from pathlib import Path

from upswell.reference.policy import CONTROL_KEY_CHARACTERS_MIN
from upswell.zones import load_zone, stamp_time

MIB = 1024 * 1024
_HOST = r"[a-zA-Z0-9._-]+:[0-9]{1,5}"
_MASTER = rf"local(\[([1-9][0-9]{{0,3}}|\*)\])?|spark://{_HOST}(,{_HOST})*"


def _path(raw: object) -> Path:
    if isinstance(raw, Path):
        return raw
    if not isinstance(raw, str) or not raw or "\0" in raw:
        raise ValueError("a path")
    return Path(raw)


def _bool(raw: object) -> bool:
    if isinstance(raw, bool):
        return raw
    words = {
        "1": True,
        "true": True,
        "yes": True,
        "on": True,
        "0": False,
        "false": False,
        "no": False,
        "off": False,
    }
    if not isinstance(raw, str) or raw.lower() not in words:
        raise ValueError("true or false")
    return words[raw.lower()]


def _whole(low: int, high: int) -> Callable[[object], int]:
    def parse(raw: object) -> int:
        text = str(raw) if isinstance(raw, int) and not isinstance(raw, bool) else raw
        if (
            not isinstance(text, str)
            or not re.fullmatch("[0-9]{1,18}", text)
            or not low <= int(text) <= high
        ):
            raise ValueError(f"a whole number from {low} to {high}")
        return int(text)

    return parse


def _real(low: float, high: float, unit: str = "") -> Callable[[object], float]:
    def parse(raw: object) -> float:
        message = f"a number{unit} from {low:g} to {high:g}"
        if isinstance(raw, bool) or not isinstance(raw, str | int | float):
            raise ValueError(message)
        try:
            value = float(raw)
        except ValueError:
            raise ValueError(message) from None
        if not low <= value <= high:  # also refuses nan
            raise ValueError(message)
        return value

    return parse


def _cadence(raw: object) -> int:
    message = "a number of seconds in whole minutes, at most one day (86400), or 0 if files come at no fixed interval"
    try:
        value = _whole(0, 86400)(raw)
    except ValueError:
        raise ValueError(message) from None
    if value % 60:
        raise ValueError(message)
    return value


def _size(raw: object) -> int:
    units = {"": 1, "B": 1, "KIB": 1024, "MIB": MIB, "GIB": 1024 * MIB}
    text = str(raw) if isinstance(raw, int) and not isinstance(raw, bool) else raw
    match = re.fullmatch(r"([0-9]{1,12}) ?([a-zA-Z]*)", text) if isinstance(text, str) else None
    if match is None or match[2].upper() not in units:
        raise ValueError("a number of bytes such as 67108864 or 64MiB")
    return int(match[1]) * units[match[2].upper()]


def _positive_size(raw: object) -> int:
    if value := _size(raw):
        return value
    raise ValueError("a number of bytes such as 67108864 or 64MiB, at least 1")


def _engine(raw: object) -> str:
    if raw not in ("embedded", "spark"):
        raise ValueError('"embedded" or "spark"')
    return str(raw)


def _master(raw: object) -> str:
    if isinstance(raw, str) and re.fullmatch(_MASTER, raw):
        return raw
    raise ValueError(
        "local[N], local[*] or spark://HOST:PORT, with ,HOST:PORT appended for each standby master"
    )


def _shards(raw: object) -> int:
    message = "a power of two from 1 to 256"
    try:
        value = _whole(1, 256)(raw)
    except ValueError:
        raise ValueError(message) from None
    if value & (value - 1):
        raise ValueError(message)
    return value


def _address(raw: object) -> str:
    message = "an address to listen on, such as 127.0.0.1:9464 or [::1]:9464, or only a port, such as 9464"
    text = str(raw) if isinstance(raw, int) and not isinstance(raw, bool) else raw
    match = re.fullmatch(r"(?:(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]*):)?([0-9]{1,5})", str(text))
    if match is None or int(match[2]) > 65535:
        raise ValueError(message)
    # Without a host, only this machine may connect.
    return f"{match[1] or '127.0.0.1'}:{match[2]}"


def split_address(address: str) -> tuple[str, int]:
    """Return the host, without brackets, and the port of an address in the form the setting has."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _log_format(raw: object) -> str:
    if raw not in ("text", "json"):
        raise ValueError('"text" or "json"')
    return str(raw)


def _mode(raw: object) -> int:
    message = 'an octal file mode such as "0640": at least 0600, at most 0666'
    if isinstance(raw, str):
        if not re.fullmatch("(0o)?[0-7]{3,4}", raw):
            raise ValueError(message)
        raw = int(raw.removeprefix("0o"), 8)
    # A TOML integer 640 lacks its 0o prefix: most such mistakes set bits that no output file has.
    if not isinstance(raw, int) or isinstance(raw, bool) or raw & ~0o666 or raw & 0o600 != 0o600:
        raise ValueError(message)
    return raw


def _group(raw: object) -> str:
    try:
        if isinstance(raw, str):
            return str(int(raw)) if raw.isascii() and raw.isdigit() else grp.getgrnam(raw).gr_name
    except KeyError:
        pass
    raise ValueError("the name or number of a group on this host")


def _zone(raw: object) -> str:
    if not isinstance(raw, str):
        raise ValueError("a time zone name such as Africa/Cairo or UTC")
    load_zone(raw)
    return raw


def _measure(raw: object) -> str:
    if raw not in ("total", "session"):
        raise ValueError('"total" or "session"')
    return str(raw)


def _since(raw: object) -> str:
    text = str(raw)
    try:
        if text != "now":
            stamp_time(text)
    except ValueError:
        raise ValueError('a stamp yyyyMMddHHmm such as 202004170000, or "now"') from None
    return text


def _share(raw: object) -> float:
    message = "a percentage from 0 to 100, with at most two decimals"
    text = str(raw) if isinstance(raw, int | float) and not isinstance(raw, bool) else raw
    if not isinstance(text, str) or not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,2})?", text):
        raise ValueError(message)
    if float(text) > 100:
        raise ValueError(message)
    return float(text)


def _control_key(raw: object) -> str:
    if not isinstance(raw, str) or len(raw) < CONTROL_KEY_CHARACTERS_MIN:
        raise ValueError(f"a secret of at least {CONTROL_KEY_CHARACTERS_MIN} characters")
    return raw


PARSERS: dict[str, Callable[[object], object]] = {
    "data": _path,
    "segment": _path,
    "rules": _path,
    "output": _path,
    "state": _path,
    "once": _bool,
    "engine": _engine,
    "master": _master,
    "shards": _shards,
    "split_bytes": _positive_size,
    "batch_bytes": _positive_size,
    "pex": _path,
    "threads": _whole(1, 1024),
    "since": _since,
    "adopt": _bool,
    "accept_reference": _bool,
    "strict": _bool,
    "suppress": _path,
    "max_per_customer_per_day": _whole(0, 1_000_000),
    "control_share": _share,
    "control_key": _control_key,
    "max_reject_ratio": _real(0, 1),
    "data_timezone": _zone,
    "rules_timezone": _zone,
    "measure": _measure,
    "keep_days": _whole(1, 366),
    "keep_notifications_days": _whole(1, 36500),
    "max_stamp_ahead_days": _whole(0, 36500),
    "settle_s": _real(0, 3600, " of seconds"),
    "cadence_s": _cadence,
    "poll_s": _real(0.05, 3600, " of seconds"),
    "archive": _path,
    "archive_after_s": _real(0, 31_536_000, " of seconds"),
    "rejects_max_bytes_per_file": _size,
    "keep_rejects_days": _whole(1, 36500),
    "output_mode": _mode,
    "output_group": _group,
    "log_interval_s": _real(0.1, 86400, " of seconds"),
    "log_format": _log_format,
    "metrics": _address,
    "watch": _bool,
}
