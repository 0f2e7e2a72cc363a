"""The options that set a run's settings, each defined once for all commands that take it.

Owns their names and help, and the grammar of a day. It parses nothing else: values go to ``upswell.config.sources`` as
they were written, so that flags, variables and keys of upswell.toml share one grammar and one set of messages.
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
    """Return the option that sets the cadence. ``text``: its help."""
    return click.option("--cadence-s", "--cadence", "cadence_s", metavar="S", help=text)


_MEANING = (
    _value("data_timezone", "ZONE", "Time zone of the times in DATA [UTC]."),
    _value("rules_timezone", "ZONE", "Time zone of the hours and days of the rules [DATA's]."),
    _value(
        "measure",
        "total|session",
        "What must exceed the threshold: the customer's total in the window, or the volume of a"
        " single session [total].",
    ),
    _value("keep_days", "N", "Days that stay open for late records, including the newest [2]."),
    _value("max_stamp_ahead_days", "N", "Hold files stamped more than N days in the future [1]."),
)

_RUNNING = (
    _value("since", "STAMP|now", "Skip files with an older stamp (yyyyMMddHHmm)."),
    _flag(
        "adopt",
        "Start a new state over an OUTPUT that holds notifications: take over their daily caps and numbering.",
    ),
    _flag(
        "accept_reference", "Accept a change of SEGMENT, RULES or SUPPRESS that would be refused."
    ),
    _flag(
        "strict",
        "Refuse to start (78) while there is any warning of RULES, SEGMENT, DATA or the places.",
    ),
    _value(
        "keep_notifications_days",
        "N",
        "Days whose notifications the state keeps, including the newest; older ones are pruned [all].",
    ),
    _value("suppress", "PATH", "File or directory of MSISDNs that are never notified [none]."),
    _value(
        "max_per_customer_per_day",
        "N",
        "Maximum notifications per customer and day over all applications; 0: no limit [0].",
    ),
    _value(
        "control_share",
        "PERCENT",
        "Percentage of customers in the control group: their notifications go to OUTPUT/.control only [0].",
    ),
    _value(
        "control_key",
        "TEXT",
        "Secret that selects the control group. Prefer UPSWELL_CONTROL_KEY: other users can see the"
        " arguments of a process.",
    ),
    _value(
        "max_reject_ratio",
        "R",
        "With --once: exit with 65 if a larger share of the lines (0 to 1) is rejected.",
    ),
    _value(
        "settle_s",
        "S",
        "Quiet period: seconds without change after which a file counts as complete [2].",
    ),
    _value("poll_s", "S", "Seconds between scans of DATA [1]."),
    cadence(
        "Seconds between the stamps of consecutive files, to detect missing ones; 0: no fixed interval [60]."
    ),
    click.option(
        "--watch/--no-watch",
        default=None,
        help="React to changes in DATA at once, or scan at intervals only [watch].",
    ),
    _value("threads", "N", "Number of threads [all processors]."),
    _value("archive", "DIR", "Move finished files from DATA to DIR/yyyyMMdd [not moved]."),
    _value(
        "archive_after_s",
        "S",
        "Seconds a finished file must stay unchanged before it is moved [600].",
    ),
    _value(
        "rejects_max_bytes_per_file",
        "SIZE",
        "Maximum size of the rejects kept per DATA file [64MiB].",
    ),
    _value("keep_rejects_days", "N", "Days after which reject files are removed [never]."),
    _value("output_mode", "MODE", "Octal file mode of the files in OUTPUT [0640]."),
    _value("output_group", "GROUP", "Group of the files and directories in OUTPUT."),
    _value("log_interval_s", "S", "Seconds between progress lines in the log output [10]."),
    _value(
        "log_format",
        "text|json",
        "Format of the log output; json also turns off the live display [text].",
    ),
    _value("metrics", "ADDR", "Serve /metrics, /healthz and /readyz at HOST:PORT [not served]."),
)

_SPARK = (
    _value(
        "engine",
        "embedded|spark",
        "Process batches in this process, or on Apache Spark [embedded].",
    ),
    _value(
        "master",
        "URL",
        "Spark master: local[N], local[*], local (one core) or spark://HOST:PORT [local[*]].",
    ),
    _value(
        "shards",
        "N",
        "Spark: parts of the ledger, a power of two; fixed for the life of a state [16].",
    ),
    _value("split_bytes", "SIZE", "Spark: maximum bytes of a file read by one task [64MiB]."),
    _value("batch_bytes", "SIZE", "Spark: maximum bytes of DATA in one batch [1GiB]."),
    _value("pex", "FILE", "Spark: the upswell.pex to ship to the executors as their Python."),
)

_PLACE = (
    _value("state", "DIR", "Directory of the checkpoint and the reject files [OUTPUT/.upswell]."),
    click.option(
        "--config", metavar="FILE", help="Settings file to read instead of ./upswell.toml."
    ),
)

DATA = click.option(
    "--data", metavar="DIR", help="Directory that holds the files of DATA, if they have moved."
)
JSON = click.option("--json", "as_json", is_flag=True, help="Write one JSON object to stdout.")


def paths(*, output_required_word: str = "[OUTPUT]") -> Decorator:
    """Add the four paths, each of which may come from a variable or upswell.toml instead."""

    def decorate(function: Any) -> Any:
        for name in ("output", "rules", "segment", "data"):
            word = output_required_word if name == "output" else name.upper()
            function = click.argument(name, required=False, metavar=word)(function)
        return function

    return decorate


def settings(function: Any) -> Any:
    """Add all options of a run except its paths, ``--once`` and ``--json``."""
    for option in reversed((*_PLACE, *_MEANING, *_RUNNING, *_SPARK)):
        function = option(function)
    return function


def run(function: Any) -> Any:
    """Add all arguments of a run: the paths, ``--once``, its settings and its output options."""
    function = click.option("-v", "--verbose", is_flag=True, help="Log every batch.")(function)
    function = settings(JSON(function))
    function = click.option(
        "--once", is_flag=True, default=None, help="Process what is in DATA now, then exit."
    )(function)
    return paths(output_required_word="OUTPUT")(function)


def existing_run(function: Any) -> Any:
    """Add the options that select a run with a state: ``--output`` or ``--state``."""
    for option in (
        click.option(
            "--config", metavar="FILE", help="Settings file to read instead of ./upswell.toml."
        ),
        click.option("--state", metavar="DIR", help="State directory of the run."),
        click.option(
            "--output", metavar="OUTPUT", help="OUTPUT of the run, which contains its state."
        ),
    ):
        function = option(function)
    return function


def day(_: click.Context, __: click.Parameter, text: str | None) -> int | None:
    """Parse an option that takes a day, such as 2020-04-17 or 20200417; return yyyyMMdd as a number."""
    return None if text is None else _parse_day(text)


def days(_: click.Context, __: click.Parameter, text: str | None) -> tuple[int, int] | None:
    """Parse an option that takes a day or a range D1..D2; return its first and last day, both included."""
    if text is None:
        return None
    first, dots, last = text.partition("..")
    asked = _parse_day(first), _parse_day(last if dots else first)
    if asked[1] < asked[0]:
        raise click.BadParameter("the last day is before the first")
    return asked


def _parse_day(text: str) -> int:
    from upswell.zones import date_of

    try:
        if not re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{8}", text):
            raise ValueError(text)
        number = int(text.replace("-", ""))
        date_of(number)
    except ValueError:
        # Eight digits as an example would be masked, as anything is that could be an msisdn.
        raise click.BadParameter("write a day as 2020-04-17, with or without dashes") from None
    return number


def state_dir(given: Mapping[str, Any]) -> Path:
    """Return the state directory selected by ``existing_run``'s options, a variable or upswell.toml."""
    config = given.get("config")
    return state_dir_of(gather(fields(given), Path(config) if config else None, beside_rules=False))


def cadence_override_s(given: Mapping[str, Any]) -> int | None:
    """Return the cadence set by a flag or a variable, to look at a run with; None: use the run's own."""
    config = given.get("config")
    gathered = gather(fields(given), Path(config) if config else None, beside_rules=False)
    return cadence_override(gathered)


def fields(given: Mapping[str, Any]) -> dict[str, object]:
    """Return those parameters of a command that are settings."""
    return {name: value for name, value in given.items() if name in FIELDS}
