"""``upswell rejects``: what was refused, listed, counted, or given back as raw lines."""

import sys
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from upswell.audit.labels import OUTCOME_WORDS, REASON_WORDS
from upswell.cli import options, tables
from upswell.cli.terminal import Command, note, say, say_all, say_bytes, say_json

if TYPE_CHECKING:
    from upswell.audit.rejects import Counts, KeptRejects, RejectFilter

EXAMPLES = (
    "upswell rejects --output out/                            counts by reason and by file",
    "upswell rejects --output out/ --file DATA_202004171937.csv --list",
    "upswell rejects --output out/ --reason late --list --csv > late.csv",
    "upswell rejects --output out/ --reason volume --raw > fixed.csv     to be corrected",
)
_COLUMNS = ("file", "line", "byte", "length", "reason", "raw", "batch")
_FILES_SHOWN_MAX = 20  # with the most rejects: a page of names helps nobody, and --csv has all
_BY_DAY = "Only of files whose stamp is of this day."
_BY_REASON = "Only for this reason; late: the records that came too late."
_RAW = "Write the raw lines alone, byte for byte, to be corrected and delivered again."


@click.command(
    "rejects",
    cls=Command,
    examples=EXAMPLES,
    help=(
        "Say what was refused: how many lines by reason and by file or, with --list, each line"
        " with its file, line number, byte, reason and content. With --raw the lines alone, so that"
        " they can be corrected and delivered again as a new file of DATA. Late records are kept"
        " with the rejects but are none: --reason late shows them. It works while a run goes on."
    ),
)
@options.existing_run
@click.option("--day", metavar="DAY", callback=options.day, help=_BY_DAY)
@click.option("--file", metavar="NAME", help="Only of this file of DATA.")
@click.option("--reason", type=click.Choice([*REASON_WORDS, "late"]), help=_BY_REASON)
@click.option("--list", "listed", is_flag=True, help="List the lines, msisdns whole.")
@click.option("--raw", is_flag=True, help=_RAW)
@tables.forms
def command(listed: bool, raw: bool, as_csv: bool, as_json: bool, **given: Any) -> int:
    """Print the counts, the rows or the raw lines."""
    from upswell.audit import rejects

    wanted = rejects.RejectFilter(given["day"], given["file"], given["reason"])
    form = tables.form(as_csv, as_json)
    if raw and (listed or form != "text"):
        raise click.UsageError("--raw writes the lines alone: leave --list, --csv and --json out")
    if raw and sys.stdout is not None and sys.stdout.isatty():
        raise click.UsageError(
            "--raw writes bytes that a terminal might obey: send them to a file, as in --raw > fixed.csv"
        )
    state_dir = options.state_dir(given)
    if not listed and not raw:
        _count(rejects.count(state_dir, wanted), wanted, form)
        return 0
    kept = rejects.KeptRejects(state_dir, wanted)
    if raw:
        say_bytes(reject.raw + b"\n" for reject in kept)
    else:
        say_all(_lines(kept, form))
    note(*_left_out(kept, rejects.count_dropped(state_dir, wanted), raw=raw))
    return 0


def _lines(kept: "KeptRejects", form: tables.Form) -> Iterator[str]:
    values = (
        (row.file, row.line, row.byte, row.length, row.reason, row.shown, row.batch) for row in kept
    )
    if form == "csv":
        yield from tables.as_csv(_COLUMNS, values)
    elif form == "json":
        yield from tables.as_json(dict(zip(_COLUMNS, row, strict=True)) for row in values)
    else:
        for file, line, byte, _, reason, shown, _ in values:
            yield f"{file}:{line}  byte {byte:,}  {reason}  {shown}"


def _left_out(kept: "KeptRejects", dropped: Counter[str], *, raw: bool) -> Iterator[str]:
    """What the reader of the lines does not see, in sentences."""
    from upswell.cli.summary_text import plural

    if dropped:
        yield (
            "counted but not kept, of all reasons (rejects_max_bytes_per_file):"
            f" {plural(dropped.total(), 'line')} of {plural(len(dropped), 'file')}, to be found in DATA alone"
        )
    if kept.removed:
        yield f"left out what stood in {plural(kept.removed, 'reject file')} deleted since"
    for what in kept.changed:
        yield f"left out {what}"
    if raw and kept.cut:
        yield (
            f"not whole: {plural(kept.cut, 'line')} too long to be kept beyond the first 4096 bytes"
        )


def _count(found: "Counts", wanted: "RejectFilter", form: tables.Form) -> None:
    if form == "csv":
        rows = [
            (file, reason, n)
            for file, lines in found.by_file.items()
            for reason, n in lines.items()
        ]
        say_all(tables.as_csv(("file", "reason", "lines"), rows))
    elif form == "json":
        say_json(found.to_json())
    else:
        say(*_describe(found, wanted))


def _describe(found: "Counts", wanted: "RejectFilter") -> Iterator[tables.Part]:
    from upswell.cli.summary_text import plural
    from upswell.source.listing import show_name

    words = REASON_WORDS | {"late": OUTCOME_WORDS["late"]}
    if found.lines:
        by_reason = [(reason, n, words[reason]) for reason, n in found.reasons.items()]
        yield "Late records" if wanted.reason == "late" else "Lines refused, by reason"
        yield tables.count_table([*by_reason, ("= all", found.lines, "")])
        files = sorted(found.by_file.items(), key=lambda item: (-item[1].total(), item[0]))
        yield from ("", "By file")
        yield tables.count_table(
            (show_name(file), lines.total(), " ".join(f"{reason}={n:,}" for reason, n in lines.items()))
            for file, lines in files[:_FILES_SHOWN_MAX]
        )  # fmt: skip
        if len(files) > _FILES_SHOWN_MAX:
            yield f"  … and {plural(len(files) - _FILES_SHOWN_MAX, 'more file')}: --csv has all"
    else:
        yield "No record was late." if wanted.reason == "late" else "Nothing was refused."
    if dropped := found.dropped.total():
        yield from (
            "",
            f"Counted but not kept, of all reasons (rejects_max_bytes_per_file): {plural(dropped, 'line')}",
        )
        yield tables.count_table((show_name(file), n, "") for file, n in found.dropped.items())
    if found.late and wanted.reason is None:
        yield from (
            "",
            f"Late, which is no fault of the line: {plural(found.late, 'record')}; see --reason late",
        )
