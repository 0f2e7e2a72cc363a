"""``upswell status``: the progress of a run, while it is active or afterwards."""

import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from upswell.cli import options
from upswell.cli.tables import Part, Table
from upswell.cli.terminal import Command, is_abandoned, say, say_json

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import RenderableType

    from upswell.audit.status import Status
    from upswell.source.file import File

_RUNS_SHOWN_MAX = 5  # --json has more
_NOTE_CHARS_MAX = 150  # a change may name every rule; --json has the full text

EXAMPLES = (
    "upswell status --output out/",
    "upswell status --output out/ --files          every file with its offset and counts",
    "upswell status --output out/ --json | jq .last_commit.age_s",
    "upswell status --output out/ --watch             repeatedly, until Ctrl-C",
    "upswell status --state /var/lib/upswell --log --json",
)


@click.command(
    "status",
    cls=Command,
    examples=EXAMPLES,
    help=(
        "Show the progress of a run as of its last commit: whether it is active, files by state, lines by"
        " outcome, rejects by reason, notifications of the newest day and in total, the active versions"
        " of rules and segment, and where a restart would resume."
    ),
)
@options.existing_run
@options.cadence(
    "Expect files at another interval than the run does, in seconds; 0: no fixed interval."
)
@options.JSON
@click.option("--files", "with_files", is_flag=True, help="List every file.")
@click.option("--log", "with_log", is_flag=True, help="Print the log of ranges in commit order.")
@click.option("--watch", is_flag=True, help="Repeat until Ctrl-C; with --json, one line each time.")
@click.option(
    "--interval-s",
    type=click.FloatRange(0.1, 3600),
    default=2.0,
    metavar="S",
    help="With --watch: seconds between updates [2].",
)
def command(
    as_json: bool, with_files: bool, with_log: bool, watch: bool, interval_s: float, **given: Any
) -> int:
    """Print the status, the files or the log."""
    from upswell.audit import status

    state_dir = options.state_dir(given)
    if watch:
        if with_files or with_log:
            raise click.UsageError("--watch cannot be combined with --files or --log")
        _watch(state_dir, options.cadence_override_s(given), interval_s, as_json)
        return 0
    if with_log:
        for taken in status.log(state_dir):
            row = status.range_json(taken)
            if as_json:
                say_json(row)
            else:
                say(
                    f"{taken.batch:>10} {taken.sequence:>6}  {taken.file}  {taken.start}..{taken.end}"
                )
        return 0
    found = status.read_status(state_dir, options.cadence_override_s(given))
    listed = list(status.files(state_dir)) if with_files else []
    if as_json:
        extra = {"file_list": [status.file_json(file) for file in listed]} if with_files else {}
        say_json(found.to_json() | extra)
    else:
        say(*describe(found), *_describe_files(listed))
    return 0


def _watch(state_dir: "Path", cadence_s: int | None, interval_s: float, as_json: bool) -> None:
    """Show the status repeatedly, until Ctrl-C or until the reader goes away."""
    from upswell.audit import status

    ticks = _ticks(interval_s)
    try:
        if as_json:
            for _ in ticks:
                say_json(status.read_status(state_dir, cadence_s).to_json())
        elif sys.stdout.isatty():
            _redraw(state_dir, cadence_s, ticks)
        else:
            for _ in ticks:
                say(*describe(status.read_status(state_dir, cadence_s)), "")
    except KeyboardInterrupt:
        return


def _ticks(interval_s: float) -> Iterator[None]:
    while sys.stdout is not None and not is_abandoned():
        yield
        time.sleep(interval_s)


def _redraw(state_dir: "Path", cadence_s: int | None, ticks: Iterator[None]) -> None:
    """Show as much of the status as fits on a separate screen; restore the terminal at the end."""
    from rich.console import Console
    from rich.text import Text

    from upswell.audit import status
    from upswell.privacy import escape

    def renderable(part: Part) -> "RenderableType":
        if isinstance(part, str):
            return Text(escape(part), no_wrap=True, overflow="ellipsis")
        return part.renderable()

    console = Console(highlight=False)
    with console.screen(hide_cursor=True) as screen:
        for _ in ticks:
            screen.update(*map(renderable, describe(status.read_status(state_dir, cadence_s))))


def describe(found: "Status") -> list[Part]:
    """Describe the status as text and tables."""
    from upswell.cli.summary_text import describe_summary, moment
    from upswell.zones import date_of

    today = None
    if found.today is not None:
        today = (f"{date_of(found.today.day)}, the newest day", found.today.notifications)
    lines = describe_summary(found.summary, title=_title(found), today=today)
    lines += _notable(found)
    lines += _feeds(found)
    lines += _resume(found)
    lines += _runs(found)
    lines += ["", "Active reference"]
    versions = [
        (one.kind, one.version[:12], f"since {moment(one.taken_at)}", one.note[:_NOTE_CHARS_MAX])
        for one in found.references
    ]
    return [*lines, Table(versions) if versions else "  none yet", *_origins(found)]


def _origins(found: "Status") -> Iterator[str]:
    """Describe the files that the active versions were read from, and how many of their lines were left out."""
    from upswell.cli.summary_text import plural

    for kind, origin in found.identity.origins.items():
        left_out = f"; {plural(origin.bad_lines, 'line')} left out" if origin.bad_lines else ""
        yield f"  {kind} read from {origin.describe_files(kind)}{left_out}"


def _title(found: "Status") -> str:
    from upswell.cli.summary_text import plural, seconds, size

    running = f"Running ({found.holder})." if found.holder else "Not running."
    if found.last is None or found.age_s is None:
        return f"{running} Nothing committed yet. State: {found.state_dir}"
    return (
        f"{running} Last commit: batch {found.last.number:,}, {seconds(max(found.age_s, 0))} ago;"
        f" in total {plural(found.summary.lines, 'line')} ({size(found.summary.bytes)}) in"
        f" {plural(found.summary.batches, 'batch')}. State: {found.state_dir}"
    )


def _notable(found: "Status") -> list[str]:
    from upswell.audit.status import NAMED_FILES_MAX
    from upswell.source.listing import show_name

    lines = []
    for state, files in found.notable.items():
        total = found.summary.files[state]
        for file in files:
            why, name = _why(file), show_name(file.name)
            lines.append(f"  {state} {name}: {why}" if why else f"  {state} {name}")
        if total > len(files):
            lines.append(f"  {state} … and {total - len(files):,} more: --files lists them")
    for file in found.repeated:
        lines.append(f"  repeated {show_name(file.name)}: {_again(file)}")
    lines += _newest("exported again", found.exported_again, found.exported_again_named, "it ")
    lines += _newest("refused", found.refused_files, found.refused_named)
    if more := found.repeats - sum(file.repeats for file in found.repeated):
        lines.append(f"  repeated … {more:,} more times, other files: --files lists them")
    for name, why in list(found.archive_held.items())[:NAMED_FILES_MAX]:
        lines.append(f"  held {show_name(name)}: {why}")
    if (more := len(found.archive_held) - NAMED_FILES_MAX) > 0:
        lines.append(f"  held … and {more:,} more that could not be archived: --json lists all")
    if found.archived_files:
        now, *before = map(str, found.identity.archives)
        others = f", earlier ones to {', '.join(before)}" if before else ""
        lines.append(f"  {found.archived_files:,} moved to the archive {now}{others}")
    if found.late_files:
        lines.append(f"  {found.late_files:,} arrived after a file with a higher stamp (late)")
    return ["", "Files of note", *lines] if lines else []


def _newest(word: str, files: int, named: "Sequence[File]", subject: str = "") -> list[str]:
    """Describe the newest of some files by their details, and how many earlier ones there are."""
    from upswell.source.listing import show_name

    lines = [f"  {word} {show_name(file.name)}: {subject}{file.detail}" for file in named]
    if more := files - len(named):
        lines.append(f"  {word} … and {more:,} earlier files: --files lists them")
    return lines


def _feeds(found: "Status") -> list[str]:
    """Describe missing, late and silent feeds, and files of unusual size."""
    from upswell.audit.status import NAMED_FILES_MAX
    from upswell.cli.summary_text import count, plural, seconds
    from upswell.engine.arrivals import LOOK_BACK_DAYS

    arrivals, lines = found.arrivals, []
    if found.silent_s is not None:
        unread = f"; {plural(len(found.unread), 'name')} not read" if found.unread else ""
        lines.append(f"  silent: no file arrived or grew for {seconds(found.silent_s)}{unread}")
    for sentences in (
        [
            f"missing {gap.first}: 1 file"
            if gap.files == 1
            else f"missing {gap.first} to {gap.last}: {plural(gap.files, 'file')}"
            for gap in arrivals.gaps
        ],
        [f"late {name}: it arrived after a file with a higher stamp" for name in arrivals.late],
        [
            f"unusual {one.name}: {count(one.bytes)} bytes; the usual size is {count(one.median_bytes)}"
            for one in arrivals.unusual
        ],
    ):
        if more := len(sentences[:-NAMED_FILES_MAX]):
            lines.append(f"  {sentences[0].split()[0]} … {more:,} earlier ones: --json lists all")
        lines += [f"  {sentence}" for sentence in sentences[-NAMED_FILES_MAX:]]
    if not lines:
        return []
    expected = (
        f"a file every {seconds(found.cadence_s)}" if found.cadence_s else "no fixed interval"
    )
    return ["", f"Missing, late and silent feeds ({expected}; last {LOOK_BACK_DAYS} days)", *lines]


def _why(file: "File") -> str:
    """Return why the file is in its state and what to do, or an empty text."""
    from upswell.source.file import WHOLE

    words = file.detail or file.reason
    if file.state == "duplicate":
        return f"same content as {words}"
    if file.state == "continued":
        return f"went on as {words} from byte {file.offset:,} on"
    if file.continues:
        return "; ".join(filter(None, (words, f"continues {file.continues}")))
    if file.state == "gone" and file.reason != WHOLE:
        return f"{words or 'deleted'}, read up to byte {file.offset:,}"
    return words


def _again(file: "File") -> str:
    times = "once" if file.repeats == 1 else f"{file.repeats:,} times"
    return f"delivered again {times}, with the same content"


def _resume(found: "Status") -> list[str]:
    if not found.reading:
        return []
    rows = [
        f"  {file.name}:{file.offset} (of {file.size:,} bytes on disk)" for file in found.reading
    ]
    return ["", "A restart resumes at (file:byte)", *rows]


def _runs(found: "Status") -> list[Part]:
    """List the last runs if there was more than one, since a restart is worth attention."""
    from upswell.cli.summary_text import moment

    if len(found.runs) < 2:
        return []
    shown = [(moment(run.began), run.why or "active") for run in found.runs[-_RUNS_SHOWN_MAX:]]
    return ["", "Last runs", Table(shown)]


def _describe_files(files: list["File"]) -> list[str]:
    if not files:
        return []
    wide = max(len(file.name) for file in files)
    lines = ["", f"Files ({len(files):,})"]
    for file in files:
        said = [f"{name}={n:,}" for name, n in file.outcomes.items()]
        if file.state not in ("done", "reading") or file.reason:
            said.append(_why(file))
        if file.repeats:
            said.append(_again(file))
        late = " late" if file.late else ""
        lines.append(
            f"  {file.name:<{wide}}  {file.state:<9} {file.offset:>12,} bytes {file.lines:>9,} lines{late}"
            f"  {' '.join(said)}".rstrip()
        )
    return lines
