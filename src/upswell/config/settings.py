"""The settings of a run: their names, types and defaults, and which combinations are refused.

Owns `Settings` and nothing else: how text becomes a value is `parsers`' business, and which source a value comes from
is `sources`'. It never touches DATA, OUTPUT or a state, except that it resolves links to see that the state directory
is none of the four paths. A `Settings` that left this package holds parsed values that do not contradict each other.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

from upswell.config.parsers import MIB
from upswell.errors import ConfigError
from upswell.reference.policy import Policy
from upswell.zones import Zones

STATE_NAME = ".upswell"
CADENCE_S = 60  # one file a minute, as the stamps in file names have it
PATHS = ("data", "segment", "rules", "output")


def threads_default() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every setting of a run: ``poll_s`` is ``--poll-s``, ``UPSWELL_POLL_S`` and the key ``poll_s``."""

    data: Path
    segment: Path
    rules: Path
    output: Path
    state: Path | None = None
    """None: ``.upswell`` in OUTPUT. See ``state_dir``."""
    once: bool = False
    engine: Literal["embedded", "spark"] = "embedded"
    master: str = "local[*]"
    """Spark's master: local[N], local[*] or spark://HOST:PORT[,HOST:PORT]."""
    shards: int = 16
    """Parts of the ledger on Spark: a power of two, 1 to 256."""
    split_bytes: int = 64 * MIB
    """Bytes of a file that one Spark task reads."""
    batch_bytes: int = 1024 * MIB
    """Bytes of files that one batch on Spark covers."""
    pex: Path | None = None
    """Shipped to Spark's executors as their Python. None: this process's Python, at the same path on every node."""
    threads: int = field(default_factory=threads_default)
    since: str | None = None
    """A stamp yyyyMMddHHmm, or "now": older files are skipped."""
    adopt: bool = False
    accept_reference: bool = False
    strict: bool = False
    """Refuse to start while there is any warning."""
    suppress: Path | None = None
    """A file or directory of msisdns that are never notified; None: there is none."""
    max_per_customer_per_day: int = 0
    """Notifications a customer may get per day over all applications; 0: no limit."""
    control_share: float = 0.0
    """Percentage of customers whose notifications are withheld from OUTPUT, with at most two decimals."""
    control_key: str | None = field(default=None, repr=False)
    """Secret that selects these customers."""
    max_reject_ratio: float | None = None
    """A share from 0 to 1; None: no limit."""
    data_timezone: str = "UTC"
    rules_timezone: str | None = None
    """None: the same as ``data_timezone``. See ``zones``."""
    measure: Literal["total", "session"] = "total"
    keep_days: int = 2
    max_stamp_ahead_days: int = 1
    keep_notifications_days: int | None = None
    """Days whose notifications the state keeps, including the newest; None: all."""
    settle_s: float = 2.0
    poll_s: float = 1.0
    cadence_s: int = CADENCE_S
    """Seconds between the stamps of consecutive files; 0: files are not expected at fixed intervals."""
    archive: Path | None = None
    """None: finished files stay in DATA."""
    archive_after_s: float = 600.0
    rejects_max_bytes_per_file: int = 64 * MIB
    keep_rejects_days: int | None = None
    """None: reject files are kept until somebody removes them."""
    output_mode: int = 0o640
    output_group: str | None = None
    log_interval_s: float = 10.0
    log_format: Literal["text", "json"] = "text"
    metrics: str | None = None
    """HOST:PORT at which metrics are served; None: they are not."""
    watch: bool = True
    origins: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    """By field: the flag, variable or file its value came from; "default" otherwise. By "config": the settings file
    that was found in the working directory, if one was."""

    @property
    def zones(self) -> Zones:
        """The two time zones; the rules' is the data's unless it was set."""
        return Zones(self.data_timezone, self.rules_timezone or self.data_timezone)

    @property
    def policy(self) -> Policy:
        """The limit per customer and the control group."""
        share = round(self.control_share * 100)
        key = self.control_key or ""
        return Policy(self.max_per_customer_per_day, share, key if share else "")

    @property
    def state_dir(self) -> Path:
        """The directory of the checkpoint, the lock and the reject files."""
        return self.state if self.state is not None else self.output / STATE_NAME


FIELDS = tuple(item.name for item in fields(Settings) if item.name != "origins")


def refuse_conflicts(settings: Settings) -> None:
    """Raise ConfigError for values that are valid each by itself but not together."""
    _refuse_shared_state(settings)
    kept = settings.keep_notifications_days
    if kept is not None and kept < settings.keep_days:
        raise ConfigError(
            f"{settings.origins['keep_notifications_days']}: notifications would be kept for {kept} days, but"
            f" {settings.keep_days} days stay open (keep_days)",
            f"set keep_notifications_days to at least {settings.keep_days}, or omit it to keep all notifications",
        )
    if settings.control_share and settings.control_key is None:
        raise ConfigError(
            f"{settings.origins['control_share']}: control_share requires control_key, the secret that selects the"
            " customers",
            "generate one (openssl rand -hex 16), never change it; set UPSWELL_CONTROL_KEY or upswell.toml",
        )


def _refuse_shared_state(settings: Settings) -> None:
    """Raise ConfigError if the state directory, which is closed to other users (0700), is one of the four paths."""
    state = os.path.realpath(settings.state_dir)
    for name in PATHS:
        if os.path.realpath(getattr(settings, name)) == state:
            raise ConfigError(
                f"{settings.origins['state']}: the state directory {settings.state_dir} is {name.upper()} itself,"
                " which would be closed to all other users",
                "use a separate directory, or omit --state to keep the state in OUTPUT/.upswell",
            )


def describe(name: str, value: object) -> str:
    """Return a setting's value as it would be written in upswell.toml; a secret is not shown."""
    if value is None:
        words = {
            "state": "OUTPUT/.upswell",
            "rules_timezone": "the same as data_timezone",
            "keep_notifications_days": "all",
        }
        return words.get(name, "not set")
    if name == "output_mode":
        return f"0{value:o}"
    if isinstance(value, bool):
        return "true" if value else "false"
    if name == "control_key":
        return "set, and not shown"
    return str(value)
