"""``upswell demo``: a full tour on generated data.

Owns the script of the tour. Every step is shown as a command that can be run again.
"""

import tempfile
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import click

from upswell.cli.terminal import Command, say

if TYPE_CHECKING:
    from upswell.engine.summary import Summary

EXAMPLES = ("upswell demo", "upswell demo /tmp/tour")

CUSTOMERS = 200_000
FILES = 60
START = "202601051100"  # outside the hours of one rule, so that this is seen, too
RECORDS = 50_000  # per file: an hour of traffic that is read in a few seconds
_SHOWN_FILES = 2


@click.command(
    "demo",
    cls=Command,
    examples=EXAMPLES,
    help=(
        "Generate rules, a segment and an hour of traffic with faults, run Upswell on them and show"
        " the results, in under a minute. DIR must be new or empty; without it a temporary directory"
        " is created. All files are kept for inspection."
    ),
)
@click.argument("directory", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
def command(directory: Path | None) -> int:
    """Run the tour."""
    place = _make_place(directory)
    say(f"The tour runs in {place}", "")
    _generate(place)
    summary = _run(place)
    _show(place, summary)
    return 0


def _make_place(directory: Path | None) -> Path:
    from upswell.errors import UsageError
    from upswell.storage.new_file import make_directory

    if directory is None:
        return Path(tempfile.mkdtemp(prefix="upswell-demo-"))
    make_directory(directory)
    if any(directory.iterdir()):
        raise UsageError(
            f"{directory} is not empty", "pass a new directory, or none for a temporary one"
        )
    return directory


def _step(words: str, *command: object) -> None:
    say(f"# {words}", "$ upswell " + " ".join(quote(str(word)) for word in command))


def _generate(place: Path) -> None:
    from upswell.cli.summary_text import plural, size
    from upswell.generate.generator import (
        FAULTS,
        DataOptions,
        write_data,
        write_rules,
        write_segment,
    )
    from upswell.zones import stamp_time

    size_words = ("--customers", CUSTOMERS)
    _step(
        "Rules: application, hours, and the volume to exceed",
        "generate",
        "rules",
        place / "rules",
    )
    say(*write_rules(place / "rules").read_text("utf-8").splitlines(), "")
    _step(
        "Segment: the customers of the campaign",
        "generate",
        "segment",
        place / "segment",
        *size_words,
    )
    segment = write_segment(place / "segment", customers=CUSTOMERS)
    say(plural(segment.read_bytes().count(b"\n"), "MSISDN"), "")
    words = ("--start", START, "--files", FILES, "--records", RECORDS, *size_words, "--faults")
    _step(
        "An hour of traffic, with every fault that files and lines can have",
        "generate",
        "data",
        place / "data",
        *words,
    )
    options = DataOptions(
        files=FILES,
        records_per_file=RECORDS,
        start=stamp_time(START),
        customers=CUSTOMERS,
        faults=FAULTS,
    )
    report = write_data(place / "data", options)
    say(
        f"{plural(len(report.files), 'file')}, {plural(report.lines, 'line')}, {size(report.bytes)}",
        "",
    )


def _run(place: Path) -> "Summary":
    from upswell.cli.commands.run import run_engine
    from upswell.cli.log_output import choose_log_output
    from upswell.config.settings import Settings

    paths = [place / name for name in ("data", "segment", "rules", "output")]
    _step("The main job: process what is there, then exit", *paths, "--once")
    settings = Settings(data=paths[0], segment=paths[1], rules=paths[2], output=paths[3], once=True)
    return run_engine(settings, choose_log_output(settings.log_interval_s))


def _show(place: Path, summary: "Summary") -> None:
    from upswell.cli.summary_text import describe_summary, run_title

    say(
        *describe_summary(summary, title=run_title(summary)),
        "",
        *_tree(place / "output"),
        "",
        *_next(place),
    )


def _tree(output: Path) -> list[str]:
    """List OUTPUT as it is on disk: the first files of each application, with their lines."""
    from upswell.cli.summary_text import plural

    lines = [f"The output tree: {output}/"]
    for directory in sorted(each for each in output.iterdir() if each.name[0] != "."):
        files = sorted(directory.iterdir())
        lines.append(f"  {directory.name}/")
        for file in files[:_SHOWN_FILES]:
            number = file.read_bytes().count(b"\n")
            lines.append(f"    {file.name}  {plural(number, 'line')}")
        if len(files) > _SHOWN_FILES:
            lines.append(f"    … and {len(files) - _SHOWN_FILES:,} more")
    return lines


def _next(place: Path) -> list[str]:
    at = quote(str(place))
    paths = f"{at}/data {at}/segment {at}/rules {at}/output"
    steps = [
        (
            f"upswell {paths}",
            "run continuously: picks up new files and changed rules; stop with Ctrl-C",
        ),
        (
            f"upswell generate data {at}/data --live --rate 5000 --customers {CUSTOMERS}",
            "generate new traffic for it",
        ),
        (f"upswell check {paths}", "see how rules, segment and data were read"),
        (f"upswell status --output {at}/output --files", "see the progress, file by file"),
        (f"upswell state verify --output {at}/output", "check the state for damage"),
        (f"upswell sent --output {at}/output", "count notifications by day and application"),
        (f"upswell rejects --output {at}/output", "count rejects by reason and by file"),
        (f"rm -r {at}", "remove the files of the tour"),
    ]
    return [
        "Next steps",
        *(line for step, why in steps for line in (f"  {step}", f"      {why}")),
    ]
