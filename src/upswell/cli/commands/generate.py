"""``upswell generate``: generates RULES, SEGMENT and DATA."""

import sys
import threading
import time
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from upswell.cli import options
from upswell.cli.tables import count_table
from upswell.cli.terminal import Command, Group, note, say, say_json

if TYPE_CHECKING:
    from upswell.generate.generator import DataReport, MadeFile

EXAMPLES = (
    "upswell generate rules rules/",
    "upswell generate segment segment/ --customers 10000000",
    "upswell generate data data/ --files 60 --records 100000 --faults",
)

_SEED = click.option(
    "--seed", type=int, help="Random seed: the same seed gives the same bytes [1]."
)
_CUSTOMERS = click.option(
    "--customers", type=int, metavar="N", help="Number of customers [1000000]."
)
_SHARE = click.option(
    "--share", type=float, metavar="R", help="Share of the customers in the segment [0.1]."
)


@click.group(
    "generate",
    cls=Group,
    examples=EXAMPLES,
    help=(
        "Generate RULES, SEGMENT or DATA of any size for tests and trials. The three match each other"
        " if they are generated with the same --seed, --customers and --share."
    ),
)
def command() -> None:
    """Group the three generators."""


@command.command(
    "rules",
    cls=Command,
    examples=("upswell generate rules rules/", "upswell generate rules my-rules.csv --services 50"),
    help="Write RULES to PATH: a file ending in .csv, or a directory, which is created if its parent exists.",
)
@click.argument("path", type=click.Path(path_type=Path))
@_SEED
@click.option("--services", type=int, metavar="N", help="Number of services with a rule [7].")
@options.JSON
def rules(path: Path, as_json: bool, **given: Any) -> int:
    """Write RULES and print the file's name and size."""
    from upswell.generate.generator import write_rules

    return _report_file(write_rules(path, **_given(given)), as_json)


@command.command(
    "segment",
    cls=Command,
    examples=(
        "upswell generate segment segment/",
        "upswell generate segment segment/ --customers 100000000 --share 0.1",
    ),
    help="Write SEGMENT to PATH: a file ending in .csv, or a directory, which is created if its parent exists.",
)
@click.argument("path", type=click.Path(path_type=Path))
@_SEED
@_CUSTOMERS
@_SHARE
@options.JSON
def segment(path: Path, as_json: bool, **given: Any) -> int:
    """Write SEGMENT and print the file's name and size."""
    from upswell.generate.generator import write_segment

    return _report_file(write_segment(path, **_given(given)), as_json)


@command.command(
    "data",
    cls=Command,
    examples=(
        "upswell generate data data/                                   one hour, at once",
        "upswell generate data data/ --live --rate 20000 --grow        until stopped",
        "upswell generate data data/ --faults --answer answer/ --rules rules/ --segment segment/",
    ),
    help=(
        "Write DATA files to the directory PATH, which is created if its parent exists: all at once or,"
        " with --live, as time passes, each moved in complete or growing line by line. Existing files"
        " are never changed."
    ),
)
@click.argument("path", type=click.Path(path_type=Path))
@_SEED
@click.option(
    "--files", type=int, metavar="N", help="Number of files [60; with --live: until stopped]."
)
@click.option(
    "--records", "records_per_file", type=int, metavar="N", help="Records per file [100000]."
)
@click.option("--rate", type=float, metavar="R", help="Records per second, instead of --records.")
@click.option(
    "--start", metavar="STAMP", help="Stamp of the first file [202601050800; with --live: now]."
)
@click.option(
    "--minutes-between",
    type=int,
    metavar="N",
    help="Minutes between the stamps of consecutive files [1].",
)
@_CUSTOMERS
@_SHARE
@click.option(
    "--services", type=int, metavar="N", help="Number of services, with or without a rule [10]."
)
@click.option(
    "--faults", is_flag=True, help="Include malformed lines and faulty files of every kind."
)
@click.option(
    "--faults-ratio",
    type=float,
    metavar="R",
    help="Share of malformed lines; implies --faults [0.01].",
)
@click.option("--gzip-share", type=float, metavar="R", help="Share of compressed files [0].")
@click.option("--live", is_flag=True, help="Write each file when its time comes.")
@click.option("--grow", is_flag=True, help="With --live: let files grow line by line.")
@click.option(
    "--speed", type=float, metavar="X", help="With --live: run X times faster than the clock [1]."
)
@click.option(
    "--answer",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Also write the results that run must give.",
)
@click.option("--rules", "rules_path", type=click.Path(path_type=Path), help="RULES for --answer.")
@click.option(
    "--segment", "segment_path", type=click.Path(path_type=Path), help="SEGMENT for --answer."
)
@options.JSON
def data(
    path: Path,
    start: str | None,
    faults: bool,
    faults_ratio: float | None,
    answer: Path | None,
    rules_path: Path | None,
    segment_path: Path | None,
    as_json: bool,
    **given: Any,
) -> int:
    """Write DATA files and print how many."""
    from upswell.errors import UsageError
    from upswell.generate.generator import FAULTS, DataOptions, write_data

    if answer is not None and (rules_path is None or segment_path is None):
        raise UsageError(
            "--answer requires --rules and --segment", "add --rules PATH --segment PATH"
        )
    values = _given(given)
    if given["live"]:
        values.setdefault("files", None)
    if faults_ratio is not None or faults:
        values["faults"] = FAULTS if faults_ratio is None else faults_ratio
    data_options = DataOptions(**values, start=_start(start))
    stop = threading.Event()
    began = time.monotonic()
    with _stoppable(stop) if data_options.live else nullcontext():
        report = write_data(
            path, data_options, stop=stop, listener=_progress(live=data_options.live)
        )
    if answer is not None and rules_path is not None and segment_path is not None:
        _write_answer(answer, path, report, rules_path, segment_path)
    _report_data(report, path, time.monotonic() - began, as_json)
    return 0


def _given(given: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value is not None}


def _start(stamp: str | None) -> datetime | None:
    from upswell.errors import UsageError
    from upswell.zones import stamp_time

    try:
        return stamp_time(stamp) if stamp else None
    except ValueError:
        raise UsageError(
            f"--start: {stamp!r} is not a stamp", "write yyyyMMddHHmm, such as 202601050800"
        ) from None


def _stoppable(stop: threading.Event) -> Any:
    from upswell.cli.signals import stopping

    return stopping(stop, lambda name: note(f"{name}: finishing the current file"))


def _progress(*, live: bool) -> "Any":
    """Return a listener that reports each file on stderr, if that is a terminal or files are written live."""
    if sys.stderr is None or not (live or sys.stderr.isatty()):
        return None

    def report(made: "MadeFile") -> None:
        from upswell.privacy import escape

        click.echo(
            f"{escape(made.name)} {made.bytes:,} bytes{' ' + made.kind if made.kind else ''}",
            err=True,
        )

    return report


def _write_answer(
    answer: Path, path: Path, report: "DataReport", rules_path: Path, segment_path: Path
) -> None:
    from upswell.generate.answer_key import compute_answer, write_answer
    from upswell.reference.files import read_rules, read_segment
    from upswell.reference.rules import parse_rules
    from upswell.reference.segment import parse_segment

    ruleset = parse_rules(read_rules(rules_path).files)
    msisdns = parse_segment(content for _, content in read_segment(segment_path).files).msisdns
    write_answer(answer, path, compute_answer(path, report.files, ruleset, msisdns))


def _report_file(path: Path, as_json: bool) -> int:
    from upswell.cli.summary_text import size

    written = path.stat().st_size
    if as_json:
        say_json({"file": str(path), "bytes": written})
    else:
        say(f"{path}: {size(written)}")
    return 0


def _report_data(report: "DataReport", path: Path, elapsed_s: float, as_json: bool) -> None:
    from upswell.cli.summary_text import plural, seconds, size

    if as_json:
        values = {"files": [made._asdict() for made in report.files], "lines": report.lines}
        say_json(values | {"bytes": report.bytes, "faults": dict(report.faults)})
        return
    say(
        f"{path}: {plural(len(report.files), 'file')}, {plural(report.lines, 'line')}, {size(report.bytes)}"
        f" in {seconds(elapsed_s)}"
    )
    if report.faults:
        say(
            "Faults included",
            count_table((kind, n, "") for kind, n in sorted(report.faults.items())),
        )
