"""The sources of settings, which of them wins, and where each value came from.

Owns the order of the sources: flag, environment (``UPSWELL_<FIELD>``), ``--config FILE`` or ``./upswell.toml``,
``upswell.toml`` beside the rules, default. It reads those two files and nothing else. An invalid value is an error that
names the value, its source and what to write instead, even if a stronger source overrides it. An unknown key is an
error too, so that a typing error never passes for a default.
"""

import os
import stat
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import NamedTuple, cast

from upswell.config.parsers import PARSERS
from upswell.config.settings import FIELDS, PATHS, STATE_NAME, Settings, refuse_conflicts
from upswell.errors import ConfigError, InputMissing, UsageError
from upswell.privacy import mask_digits
from upswell.reference.segment import BYTE_ORDER_MARK, is_utf_16

CONFIG_NAME = "upswell.toml"
ENVIRONMENT_PREFIX = "UPSWELL_"
RULES_KEYS = ("data_timezone", "rules_timezone", "measure", "keep_days")
"""Keys allowed in the ``upswell.toml`` beside the rules: the settings that change what the rules mean."""
_SUGGESTION_CUTOFF = 0.8  # below it a guess misleads more often than it helps


class Gathered(NamedTuple):
    """The values that some source sets, before defaults, each with the name of its source."""

    values: dict[str, object]
    origins: dict[str, str]

    def path(self, name: str) -> Path | None:
        """Return the path given under this name, or None."""
        return cast("Path | None", self.values.get(name))


def resolve(
    flags: Mapping[str, object],
    config: Path | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Settings:
    """Return the settings of a run. ``flags``: values of the command line by field; None: not given.

    Raises:
        UsageError: a flag is invalid, or one of the four paths is missing.
        ConfigError: any other source is invalid, or values contradict each other.
        InputMissing: a settings file cannot be read.
    """
    return settings_from(gather(flags, config, environ))


def settings_from(gathered: Gathered) -> Settings:
    """Return the settings, with defaults filled in.

    Raises UsageError if one of the four paths is missing, ConfigError if values contradict each other.
    """
    missing = [name for name in PATHS if name not in gathered.values]
    if missing:
        raise UsageError(
            f"missing {', '.join(name.upper() for name in missing)}",
            f"pass the four paths DATA SEGMENT RULES OUTPUT, or set"
            f" {ENVIRONMENT_PREFIX}{missing[0].upper()}",
        )
    origins = {name: "default" for name in FIELDS} | gathered.origins
    # Each value has been through its field's parser, which a type checker cannot see.
    settings = Settings(origins=origins, **gathered.values)  # type: ignore[arg-type]
    refuse_conflicts(settings)
    return settings


def gather(
    flags: Mapping[str, object],
    config: Path | None = None,
    environ: Mapping[str, str] = os.environ,
    *,
    beside_rules: bool = True,
) -> Gathered:
    """Return the parsed values of all sources, the strongest source winning. Raises as ``resolve`` does.

    ``beside_rules``: also read the ``upswell.toml`` beside the rules.
    """
    found = Gathered({}, {})
    given = {name: value for name, value in flags.items() if value is not None}
    _merge(found, given, _flag_origin, UsageError)
    variables = _variables(environ)
    _merge(found, variables, lambda name: ENVIRONMENT_PREFIX + name.upper(), ConfigError)
    if config is None and (text := environ.get(ENVIRONMENT_PREFIX + "CONFIG")):
        config = Path(text)
    own = config if config is not None else Path(CONFIG_NAME)
    if config is None and _is_here(own):
        _refuse_foreign(own)
        found.origins["config"] = str(own.absolute())
    if config is not None or "config" in found.origins:
        values = _load(own, FIELDS)
        for name in (*PATHS, "state", "pex", "archive", "suppress"):
            if isinstance(written := values.get(name), str) and written:
                values[name] = str(own.parent / written)
        _merge(found, values, lambda _: str(own), ConfigError)
    rules = found.path("rules")
    if beside_rules and rules is not None and _mode_of(rules):
        beside = (rules if stat.S_ISDIR(_mode_of(rules)) else rules.parent) / CONFIG_NAME
        if stat.S_ISREG(_mode_of(beside)) and not (_is_here(own) and own.samefile(beside)):
            _merge(found, _load(beside, RULES_KEYS), lambda _: str(beside), ConfigError)
    return found


def state_dir_of(gathered: Gathered) -> Path:
    """Return the state directory that ``--state`` or ``--output`` selects. Raises UsageError without both.

    A state set only by a variable or by upswell.toml may belong to another run than an OUTPUT passed as an argument,
    so the argument wins.
    """
    state, output = gathered.path("state"), gathered.path("output")
    passed = gathered.origins.get("state") == _flag_origin("state")
    if state is not None and (passed or gathered.origins.get("output") != _flag_origin("output")):
        return state
    if output is None:
        raise UsageError("no run selected", "pass --output OUTPUT or --state DIR")
    return output / STATE_NAME


def cadence_override(gathered: Gathered) -> int | None:
    """Return the cadence in seconds set by a flag or a variable; None without either.

    A settings file does not count: it is for runs, and each run records in its state the cadence it used.
    """
    overrides = (_flag_origin("cadence_s"), ENVIRONMENT_PREFIX + "CADENCE_S")
    if gathered.origins.get("cadence_s") not in overrides:
        return None
    return cast("int", gathered.values["cadence_s"])


def _suggest(word: str, known: Collection[str]) -> str:
    """Return '; did you mean "…"?' if a known word is similar, otherwise nothing."""
    near = _nearest(word.replace("-", "_"), known)
    return f'; did you mean "{near}"?' if near else ""


def _nearest(word: str, known: Collection[str]) -> str | None:
    import difflib  # needed for typing errors alone, and every start would pay for it

    return next(iter(difflib.get_close_matches(word, known, 1, _SUGGESTION_CUTOFF)), None)


def _flag_origin(name: str) -> str:
    if name in PATHS:
        return f"argument {name.upper()}"
    return "--watch/--no-watch" if name == "watch" else "--" + name.replace("_", "-")


def _variables(environ: Mapping[str, str]) -> dict[str, str]:
    _check_kernel_variables(environ)
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


def _check_kernel_variables(environ: Mapping[str, str]) -> None:
    """Refuse values that the kernel would stumble over. Both variables are for tests and measurements."""
    path, chunk_bytes = (
        environ.get(f"{ENVIRONMENT_PREFIX}KERNEL_{name}") for name in ("PATH", "CHUNK_BYTES")
    )
    if chunk_bytes and not (chunk_bytes.isascii() and chunk_bytes.isdigit() and int(chunk_bytes)):
        raise UsageError(
            f"UPSWELL_KERNEL_CHUNK_BYTES={chunk_bytes}: not a number of bytes above 0",
            "correct it or unset it",
        )
    if path:
        from upswell.kernel import PATHS  # no start without the variable pays for it

        if path not in PATHS:
            raise UsageError(
                f"UPSWELL_KERNEL_PATH={path}: not a scanner path of this CPU",
                f"set it to one of {', '.join(PATHS)}, or unset it",
            )


def _mode_of(path: Path) -> int:
    """Return the mode of what the path leads to; 0 when there is nothing. Raises InputMissing."""
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except OSError as error:  # for example, its directory may not be searched
        raise InputMissing(
            f"{path}: {error.strerror}", "check the path and its permissions"
        ) from error


def _is_here(own: Path) -> bool:
    """Return whether this is a file; one in a directory that this user may not search counts as absent."""
    try:
        return stat.S_ISREG(own.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return False
    except OSError as error:
        raise InputMissing(
            f"{own}: {error.strerror}", f"replace it with a file, or pass --config {own}"
        ) from error


def _refuse_foreign(own: Path) -> None:
    """Raise ConfigError when the file found in the working directory is one that another user decides about."""
    for found in (own.lstat(), own.stat()):
        if found.st_uid not in (os.geteuid(), 0):
            why = f"belongs to another user (uid {found.st_uid})"
        elif not stat.S_ISLNK(found.st_mode) and (
            found.st_mode & 0o002 or (found.st_mode & 0o020 and found.st_gid != os.getegid())
        ):
            why = f"may be written by other users (mode {stat.S_IMODE(found.st_mode):04o})"
        else:
            continue
        raise ConfigError(
            f"{own.absolute()} {why}, and was found only because it is in the working directory",
            f"if it is meant, pass --config {own}, or correct its owner and mode; else start in another directory",
        )


def _load(path: Path, known: Collection[str]) -> dict[str, object]:
    import tomllib  # most starts have no such file

    try:
        content = path.read_bytes()
        if is_utf_16(content):
            raise ConfigError(f"{path}: the file is UTF-16", "save it as UTF-8")
        table = tomllib.loads(content.removeprefix(BYTE_ORDER_MARK).decode("utf-8"))
    except OSError as error:
        raise InputMissing(
            f"cannot read {path}: {error.strerror}", "pass the path of a readable upswell.toml"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: the file is not UTF-8", "save it as UTF-8") from error
    except ValueError as error:  # invalid TOML
        raise ConfigError(
            f"{path}: {error}", 'write valid TOML: one "key = value" per line'
        ) from error
    for key in table:
        if key in known:
            continue
        if key in FIELDS:
            raise ConfigError(
                f"{path}: key {key!r} is not allowed in the settings beside the rules",
                f"only {', '.join(known)} are allowed there; move the key to ./{CONFIG_NAME}",
            )
        raise ConfigError(
            f"{path}: unknown key {mask_digits(repr(key))}{_suggest(key, known)}",
            f"known keys: {', '.join(known)}",
        )
    return table


def _merge(
    into: Gathered,
    values: Mapping[str, object],
    origin: Callable[[str], str],
    error_type: type[UsageError] | type[ConfigError],
) -> None:
    """Parse every value, and keep those that no stronger source has set before."""
    for name, raw in values.items():
        try:
            value = PARSERS[name](raw)
        except ValueError as error:
            # Masked: an msisdn may have been written in the wrong place.
            shown = "" if raw == "" or name == "control_key" else f" {mask_digits(repr(raw))}"
            raise error_type(
                f"{origin(name)}:{shown} is not a valid value for {name}", f"write {error}"
            ) from error
        except ConfigError as error:
            raise error_type(f"{origin(name)}: {error.message}", error.hint) from error
        if name not in into.values:
            into.values[name] = value
            into.origins[name] = origin(name)
