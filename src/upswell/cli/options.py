"""The options that set a run's settings, each written once for every command that takes it.

Owns their names and help, and the grammar of a day. It parses nothing else: values go to
``upswell.config.settings`` as they were written, so that a flag, a variable and a key of upswell.toml are
judged by one grammar with one message.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from upswell.config.settings import FIELDS
from upswell.config.sources import cadence_override, gather, state_dir_of

Decorator = Callable[[Any], Any]


def _value(name: str, metavar: str, text: str) -> Decorator:
    return click.option("--" + name.replace("_", "-"), name, metavar=metavar, help=text)


def _flag(name: str, text: str) -> Decorator:
    return click.option("--" + name.replace("_", "-"), name, is_flag=True, default=None, help=text)


def cadence(text: str) -> Decorator:
    """The option that sets the cadence."""
    return click.option("--cadence-s", "--cadence", "cadence_s", metavar="S", help=text)


_MEANING = (
    _value("data_timezone", "ZONE", "Time zone that DATA is written in [UTC]."),
    _value("rules_timezone", "ZONE", "Time zone of the rules' hours and days [DATA's]."),
    _value(
        "measure",
        "total|session",
        "What must exceed the threshold: a customer's total in the window, or one session's"
        " own volume [total].",
    ),
    _value("keep_days", "N", "Days that stay open for late records, the newest included [2]."),
    _value("max_stamp_ahead_days", "N", "Hold a file stamped further ahead than this [1]."),
)

_RUNNING = (
    _value("since", "STAMP|now", "Skip files older than this stamp yyyyMMddHHmm."),
    _flag(
        "adopt",
        "New state, but OUTPUT holds notifications: take over their daily caps and numbering.",
    ),
    _flag("accept_reference", "Take a change of SEGMENT, RULES or SUPPRESS that would be refused."),
    _value(
        "keep_notifications_days",
        "N",
        "Days whose notifications the state keeps, the newest included; older ones are pruned [all].",
    ),
    _value("suppress", "PATH", "File or directory of dials that are never notified [none]."),
    _value(
        "max_per_customer_per_day",
        "N",
        "Notifications that a customer may get a day over all applications; 0: no limit [0].",
    ),
    _value(
        "control_share",
        "PERCENT",
        "Share of the customers that are kept from OUTPUT, in OUTPUT/.control, to compare with [0].",
    ),
    _value(
        "control_key",
        "TEXT",
        "Secret that draws these customers; better as UPSWELL_CONTROL_KEY, since others see a"
        " command's words.",
    ),
    _value("max_reject_ratio", "R", "With --once: exit 65 when more than R (0 to 1) is rejected."),
    _value("settle_s", "S", "Seconds a file must stay unchanged to be still [2]."),
    _value("poll_s", "S", "Seconds between two looks at DATA [1]."),
    cadence(
        "Seconds between the stamps of two files: tells which are missing; 0: none is expected [60]."
    ),
    click.option(
        "--watch/--no-watch",
        default=None,
        help="Be woken by changes in DATA, or poll only [watch].",
    ),
    _value("threads", "N", "Threads of the kernel [all processors]."),
    _value("archive", "DIR", "Move finished files of DATA into DIR/yyyyMMdd [they stay]."),
    _value("archive_after_s", "S", "Seconds a finished file must be still before it moves [600]."),
    _value("rejects_max_bytes_per_file", "SIZE", "Rejects written per DATA file [64MiB]."),
    _value("keep_rejects_days", "N", "Days after which a reject file is removed [kept]."),
    _value("output_mode", "MODE", "Octal mode of the files in OUTPUT [0640]."),
    _value("output_group", "GROUP", "Group of the files and directories in OUTPUT."),
    _value("log_interval_s", "S", "Seconds between two progress lines in a log [10]."),
    _value("log_format", "text|json", "How lines of the log are written; json: never live [text]."),
    _value("metrics", "ADDR", "Serve /metrics, /healthz and /readyz at HOST:PORT [nowhere]."),
)

_SPARK = (
    _value("engine", "embedded|spark", "Compute in this process, or on Apache Spark [embedded]."),
    _value(
        "master",
        "URL",
        "Spark's master: local[N], local[*], local (one core), spark://HOST:PORT [local[*]].",
    ),
    _value(
        "shards", "N", "Spark: parts of the ledger, a power of two; a state keeps its own [16]."
    ),
    _value("split_bytes", "SIZE", "Spark: bytes of a file that one task reads [64MiB]."),
    _value("batch_bytes", "SIZE", "Spark: bytes of files that one batch covers [1GiB]."),
    _value("pex", "FILE", "Spark: upswell.pex, sent to the executors as their Python."),
)

_PLACE = (
    _value("state", "DIR", "Directory of the checkpoint and the rejects [OUTPUT/.upswell]."),
    click.option("--config", metavar="FILE", help="Settings file instead of ./upswell.toml."),
)

DATA = click.option("--data", metavar="DIR", help="Where DATA's files are kept, if not in DATA.")
JSON = click.option("--json", "as_json", is_flag=True, help="Write one JSON object to stdout.")


def paths(*, output_required_word: str = "[OUTPUT]") -> Decorator:
    """The four paths, each of which may come from a variable or upswell.toml instead."""

    def decorate(function: Any) -> Any:
        for name in ("output", "rules", "segment", "data"):
            word = output_required_word if name == "output" else name.upper()
            function = click.argument(name, required=False, metavar=word)(function)
        return function

    return decorate


def settings(function: Any) -> Any:
    """Every option of a run but its paths, ``--once`` and ``--json``."""
    for option in reversed((*_PLACE, *_MEANING, *_RUNNING, *_SPARK)):
        function = option(function)
    return function


def run(function: Any) -> Any:
    """All that a run is given: the paths, ``--once``, its settings, and how it tells of itself."""
    function = click.option(
        "-v", "--verbose", is_flag=True, help="Say something about every batch."
    )(function)
    function = settings(JSON(function))
    function = click.option(
        "--once", is_flag=True, default=None, help="Take what is there now, and end."
    )(function)
    return paths(output_required_word="OUTPUT")(function)


def existing_run(function: Any) -> Any:
    """The options that name a run which has a state: ``--output`` or ``--state``."""
    for option in (
        click.option("--config", metavar="FILE", help="Settings file instead of ./upswell.toml."),
        click.option("--state", metavar="DIR", help="The run's state directory."),
        click.option("--output", metavar="OUTPUT", help="The run's OUTPUT; its state is within."),
    ):
        function = option(function)
    return function


def day(_: click.Context, __: click.Parameter, text: str | None) -> int | None:
    """Callback of an option that takes a day, such as 2020-04-17 or 20200417."""
    return None if text is None else _parse_day(text)


def days(_: click.Context, __: click.Parameter, text: str | None) -> tuple[int, int] | None:
    """Callback of an option that takes a day or, as D1..D2, some days, both included."""
    if text is None:
        return None
    first, dots, last = text.partition("..")
    asked = _parse_day(first), _parse_day(last if dots else first)
    if asked[1] < asked[0]:
        raise click.BadParameter("the second day is before the first")
    return asked


def _parse_day(text: str) -> int:
    from upswell.zones import date_of

    try:
        if not re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{8}", text):
            raise ValueError(text)
        number = int(text.replace("-", ""))
        date_of(number)
    except ValueError:
        # Eight digits as an example would be masked, as all that may be a dial is.
        raise click.BadParameter("write a day as 2020-04-17, with or without the dashes") from None
    return number


def state_dir(given: Mapping[str, Any]) -> Path:
    """The state directory that ``existing_run``'s options, a variable or upswell.toml name."""
    config = given.get("config")
    return state_dir_of(gather(fields(given), Path(config) if config else None, beside_rules=False))


def told_cadence_s(given: Mapping[str, Any]) -> int | None:
    """The cadence that a flag or a variable names, for a look at a run; None: that of the run itself."""
    config = given.get("config")
    gathered = gather(fields(given), Path(config) if config else None, beside_rules=False)
    return cadence_override(gathered)


def fields(given: Mapping[str, Any]) -> dict[str, object]:
    """Those of a command's parameters that are settings."""
    return {name: value for name, value in given.items() if name in FIELDS}
