"""Settings: every value of a run, where it came from, and what is wrong with it.

Owns the names, types and defaults of the settings and the order of their sources: flag,
environment (``UPSWELL_<FIELD>``), ``--config FILE`` or ``./upswell.toml``, ``upswell.toml`` beside
the rules, default. It reads those two files and nothing else, and never touches DATA, OUTPUT or a
state, beyond following links to see that the state is none of the four paths. A value that is off is
an error that names it, its source and what to write; so is an unknown key, so that a slip never passes
for a default.
"""

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal, NamedTuple, cast

from upswell.config.parsers import MIB, PARSERS
from upswell.errors import ConfigError, InputMissing, UsageError
from upswell.privacy import mask_digits
from upswell.reference.policy import Policy
from upswell.zones import Zones

CONFIG_NAME = "upswell.toml"
STATE_NAME = ".upswell"
ENVIRONMENT_PREFIX = "UPSWELL_"
CADENCE_S = 60  # a file a minute, as the names have it
PATHS = ("data", "segment", "rules", "output")
RULES_KEYS = ("data_timezone", "rules_timezone", "measure", "keep_days")
"""What ``upswell.toml`` beside the rules may say: settings that belong to the rules' meaning."""
_SUGGESTION_CUTOFF = 0.8  # below it a guess misleads more than it helps


def threads_default() -> int:
    """As many as there are processors that this process may use."""
    return len(os.sched_getaffinity(0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every value of a run: ``poll_s`` is ``--poll-s``, ``UPSWELL_POLL_S``, the key ``poll_s``."""

    data: Path
    segment: Path
    rules: Path
    output: Path
    state: Path | None = None
    """None: ``.upswell`` in OUTPUT. See state_dir."""
    once: bool = False
    engine: Literal["embedded", "spark"] = "embedded"
    master: str = "local[*]"
    """Of Spark: local[N], local[*] or spark://HOST:PORT[,HOST:PORT]."""
    shards: int = 16
    """Of the ledger on Spark: a power of two, 1 to 256."""
    split_bytes: int = 64 * MIB
    """Of a file that one task on Spark reads."""
    batch_bytes: int = 1024 * MIB
    """Of files that one batch on Spark covers."""
    pex: Path | None = None
    """Shipped to Spark's executors, and their Python. None: this process's Python, at the same path on every node."""
    threads: int = field(default_factory=threads_default)
    since: str | None = None
    """A stamp yyyyMMddHHmm, or "now": older files are skipped."""
    adopt: bool = False
    accept_reference: bool = False
    suppress: Path | None = None
    """A file or directory of dials that no application may notify; None: there is none."""
    max_per_customer_per_day: int = 0
    """Notifications of a customer over all applications; 0: no limit."""
    control_share: float = 0.0
    """Percent of the customers whose notifications are kept from OUTPUT, with at most two decimals."""
    control_key: str | None = field(default=None, repr=False)
    """Secret: draws these customers."""
    max_reject_ratio: float | None = None
    """0 to 1."""
    data_timezone: str = "UTC"
    rules_timezone: str | None = None
    """None: the same as data_timezone. See zones."""
    measure: Literal["total", "session"] = "total"
    keep_days: int = 2
    max_stamp_ahead_days: int = 1
    keep_notifications_days: int | None = None
    """Days whose notifications the state keeps, the newest included; None: all."""
    settle_s: float = 2.0
    poll_s: float = 1.0
    cadence_s: int = CADENCE_S
    """Between the stamps of two files; 0: none is expected."""
    archive: Path | None = None
    """None: finished files stay in DATA."""
    archive_after_s: float = 600.0
    rejects_max_bytes_per_file: int = 64 * MIB
    keep_rejects_days: int | None = None
    """None: reject files stay until somebody removes them."""
    output_mode: int = 0o640
    output_group: str | None = None
    log_interval_s: float = 10.0
    log_format: Literal["text", "json"] = "text"
    metrics: str | None = None
    """host:port that figures for Prometheus are served at; None: nowhere."""
    watch: bool = True
    origins: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    """By field: the flag, variable or file that its value came from; "default" otherwise."""

    @property
    def zones(self) -> Zones:
        """The two time zones, the rules' one being the data's unless it was set."""
        return Zones(self.data_timezone, self.rules_timezone or self.data_timezone)

    @property
    def policy(self) -> Policy:
        """The limit per customer and the control group."""
        share = round(self.control_share * 100)
        key = self.control_key or ""
        return Policy(self.max_per_customer_per_day, share, key if share else "")

    @property
    def state_dir(self) -> Path:
        """The directory of the checkpoint, the lock and the rejects."""
        return self.state if self.state is not None else self.output / STATE_NAME


FIELDS = tuple(item.name for item in fields(Settings) if item.name != "origins")


class Gathered(NamedTuple):
    """The values that some source sets, before defaults, each with the name of its source."""

    values: dict[str, object]
    origins: dict[str, str]

    def path(self, name: str) -> Path | None:
        """The path that was given under this name, if any."""
        return cast("Path | None", self.values.get(name))


def resolve(
    flags: Mapping[str, object],
    config: Path | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Settings:
    """The settings of a run. ``flags`` holds what the command line gave, by field; None: not given.

    Raises UsageError for a flag, ConfigError for any other source, and InputMissing when ``config``
    cannot be read.
    """
    return settings_of(gather(flags, config, environ))


def settings_of(gathered: Gathered) -> Settings:
    """The settings, defaults filled in.

    Raises UsageError when one of the four paths is missing, ConfigError when the state would be one of them.
    """
    missing = [name for name in PATHS if name not in gathered.values]
    if missing:
        raise UsageError(
            f"missing {', '.join(name.upper() for name in missing)}",
            f"give the four paths DATA SEGMENT RULES OUTPUT, or set"
            f" {ENVIRONMENT_PREFIX}{missing[0].upper()}",
        )
    origins = {name: gathered.origins.get(name, "default") for name in FIELDS}
    # Each value went through its field's parser, which a type checker cannot see.
    settings = Settings(origins=origins, **gathered.values)  # type: ignore[arg-type]
    _refuse_shared_state(settings)
    kept = settings.keep_notifications_days
    if kept is not None and kept < settings.keep_days:
        raise ConfigError(
            f"{settings.origins['keep_notifications_days']}: notifications of {kept} days are fewer than the"
            f" {settings.keep_days} days that stay open (keep_days)",
            f"write keep_notifications_days of at least {settings.keep_days}, or leave it out to keep all",
        )
    if settings.control_share and settings.control_key is None:
        raise ConfigError(
            f"{settings.origins['control_share']}: a control_share needs a control_key that draws its customers",
            "make one (openssl rand -hex 16), keep it for good, and set it as UPSWELL_CONTROL_KEY or in upswell.toml",
        )
    return settings


def _refuse_shared_state(settings: Settings) -> None:
    """A state directory is closed to all others (0700), so it must be none of the places that others use."""
    state = os.path.realpath(settings.state_dir)
    for name in PATHS:
        if os.path.realpath(getattr(settings, name)) == state:
            raise ConfigError(
                f"{settings.origins['state']}: the state directory {settings.state_dir} is {name.upper()} itself,"
                " which would be closed to everybody else",
                "name a directory of its own, or leave it out: the state is then in OUTPUT/.upswell",
            )


def gather(
    flags: Mapping[str, object],
    config: Path | None = None,
    environ: Mapping[str, str] = os.environ,
    *,
    beside_rules: bool = True,
) -> Gathered:
    """What the sources set, the strongest first, each value parsed. Errors as resolve."""
    found = Gathered({}, {})
    given = {name: value for name, value in flags.items() if value is not None}
    _merge(found, given, _flag_origin, UsageError)
    variables = _variables(environ)
    _merge(found, variables, lambda name: ENVIRONMENT_PREFIX + name.upper(), ConfigError)
    if config is None and (text := environ.get(ENVIRONMENT_PREFIX + "CONFIG")):
        config = Path(text)
    own = config if config is not None else Path(CONFIG_NAME)
    if config is not None or _is_file(own):
        values = _load(own, FIELDS)
        for name in (*PATHS, "state", "pex", "archive", "suppress"):
            if isinstance(written := values.get(name), str) and written:
                values[name] = str(own.parent / written)
        _merge(found, values, lambda _: str(own), ConfigError)
    rules = found.path("rules")
    if beside_rules and rules is not None and rules.exists():
        beside = (rules if rules.is_dir() else rules.parent) / CONFIG_NAME
        if _is_file(beside) and not (_is_file(own) and own.samefile(beside)):
            _merge(found, _load(beside, RULES_KEYS), lambda _: str(beside), ConfigError)
    return found


def state_of(gathered: Gathered) -> Path:
    """The state directory that ``--state`` or ``--output`` name. Raises UsageError without both.

    A state that only a variable or upswell.toml names may be another run's than an OUTPUT given as an argument.
    """
    state, output = gathered.path("state"), gathered.path("output")
    named = gathered.origins.get("state") == _flag_origin("state")
    if state is not None and (named or gathered.origins.get("output") != _flag_origin("output")):
        return state
    if output is None:
        raise UsageError("which run?", "name it with --output OUTPUT or --state DIR")
    return output / STATE_NAME


def cadence_of(gathered: Gathered) -> int | None:
    """The cadence that a flag or a variable gives; None without both.

    What a file says is for runs: each tells its state with which cadence it went, whoever set it.
    """
    told = (_flag_origin("cadence_s"), ENVIRONMENT_PREFIX + "CADENCE_S")
    if gathered.origins.get("cadence_s") not in told:
        return None
    return cast("int", gathered.values["cadence_s"])


def describe(name: str, value: object) -> str:
    """A setting's value as it would be written."""
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


def suggest(word: str, known: Collection[str]) -> str:
    """'; did you mean "…"?' when a known word is near, otherwise nothing."""
    near = _nearest(word.replace("-", "_"), known)
    return f'; did you mean "{near}"?' if near else ""


def _nearest(word: str, known: Collection[str]) -> str | None:
    import difflib  # only a slip needs it, and every start would pay

    return next(iter(difflib.get_close_matches(word, known, 1, _SUGGESTION_CUTOFF)), None)


def _flag_origin(name: str) -> str:
    if name in PATHS:
        return f"argument {name.upper()}"
    return "--watch/--no-watch" if name == "watch" else "--" + name.replace("_", "-")


def _variables(environ: Mapping[str, str]) -> dict[str, str]:
    found = {}
    for key, text in environ.items():
        if not key.startswith(ENVIRONMENT_PREFIX) or not text:
            continue
        name = key.removeprefix(ENVIRONMENT_PREFIX).lower()
        if name in FIELDS:
            found[name] = text
        # Only a near miss is an error: orchestrators set variables such as UPSWELL_PORT.
        elif near := _nearest(name, FIELDS):
            raise ConfigError(
                f"unknown environment variable {key}",
                f"did you mean {ENVIRONMENT_PREFIX}{near.upper()}? correct it or unset it",
            )
    return found


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError as error:  # its directory may not be searched
        raise InputMissing(
            f"{path}: {error.strerror}", "check the path and its permissions"
        ) from error


def _load(path: Path, known: Collection[str]) -> dict[str, object]:
    import tomllib  # most starts have no such file

    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InputMissing(
            f"cannot read {path}: {error.strerror}", "give the path of a readable upswell.toml"
        ) from error
    except ValueError as error:  # broken TOML or UTF-8
        raise ConfigError(
            f"{path}: {error}", 'write it as TOML, one "key = value" a line'
        ) from error
    for key in table:
        if key in known:
            continue
        if key in FIELDS:
            raise ConfigError(
                f"{path}: the key {key!r} does not belong beside the rules",
                f"only {', '.join(known)} may stand there; put it into ./{CONFIG_NAME}",
            )
        raise ConfigError(
            f"{path}: unknown key {mask_digits(repr(key))}{suggest(key, known)}",
            f"known keys: {', '.join(known)}",
        )
    return table


def _merge(
    into: Gathered,
    values: Mapping[str, object],
    origin: Callable[[str], str],
    error_type: type[UsageError] | type[ConfigError],
) -> None:
    """Parse all that ``values`` sets, and keep what no stronger source has set before."""
    for name, raw in values.items():
        try:
            value = PARSERS[name](raw)
        except ValueError as error:
            # Masked: what stands in the wrong place may be a dial.
            shown = "" if raw == "" or name == "control_key" else f" {mask_digits(repr(raw))}"
            raise error_type(
                f"{origin(name)}:{shown} is no value for {name}", f"write {error}"
            ) from error
        except ConfigError as error:
            raise error_type(f"{origin(name)}: {error.message}", error.hint) from error
        if name not in into.values:
            into.values[name] = value
            into.origins[name] = origin(name)
