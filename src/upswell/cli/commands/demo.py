"""``upswell demo``: a full tour on generated data.

Owns the script of the tour; every step is a command that the visitor can give again, and is shown as one.
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
START = "202601051100"  # inside the hours of all rules but one, which shows what that looks like
RECORDS = 50_000  # a file: an hour of traffic that is read in a few seconds
_SHOWN_FILES = 2


@click.command(
    "demo",
    cls=Command,
    examples=EXAMPLES,
    help=(
        "Generate rules, a segment and an hour of traffic with faults in it, run Upswell on them,"
        " and show what came of it, in under a minute. DIR must be new or empty; without it a"
        " temporary directory is made. What was made stays there to be looked at."
    ),
)
@click.argument("directory", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
def command(directory: Path | None) -> int:
    """Give the tour."""
    place = _make_place(directory)
    say(f"The tour takes place in {place}", "")
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
            f"{directory} is not empty", "name a new directory, or none for a temporary one"
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
        "Rules: from when to when which application, and the volume to exceed",
        "generate",
        "rules",
        place / "rules",
    )
    say(*write_rules(place / "rules").read_text("utf-8").splitlines(), "")
    _step(
        "The segment: the customers of the campaign",
        "generate",
        "segment",
        place / "segment",
        *size_words,
    )
    segment = write_segment(place / "segment", customers=CUSTOMERS)
    say(plural(segment.read_bytes().count(b"\n"), "dial"), "")
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
    from upswell.cli.narration import narrator
    from upswell.config.settings import Settings

    paths = [place / name for name in ("data", "segment", "rules", "output")]
    _step("The main job, once over what is there", *paths, "--once")
    settings = Settings(data=paths[0], segment=paths[1], rules=paths[2], output=paths[3], once=True)
    return run_engine(settings, narrator(settings.log_interval_s))


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
    """OUTPUT as it is on disk, each application's first files with their lines."""
    from upswell.cli.summary_text import plural

    lines = [f"The output tree: {output}/"]
    for directory in sorted(each for each in output.iterdir() if each.name != ".upswell"):
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
            "go on for ever: picks up new files and changed rules; stop with Ctrl-C",
        ),
        (
            f"upswell generate data {at}/data --live --rate 5000 --customers {CUSTOMERS}",
            "new traffic for it",
        ),
        (f"upswell check {paths}", "how rules, segment and data were understood"),
        (f"upswell status --output {at}/output --files", "where it stands, file by file"),
        (f"upswell state verify --output {at}/output", "whether the state is sound"),
        (f"upswell sent --output {at}/output", "what was notified, by day and application"),
        (f"upswell rejects --output {at}/output", "what was refused, by reason and by file"),
        (f"rm -r {at}", "remove the tour"),
    ]
    return [
        "What to try next",
        *(line for step, why in steps for line in (f"  {step}", f"      {why}")),
    ]
