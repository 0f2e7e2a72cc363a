"""``upswell rejects``: rejected lines, counted, listed, or written out unchanged for correction."""

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
    "upswell rejects --output out/ --reason volume --raw > fixed.csv     for correction",
)
_COLUMNS = ("file", "line", "byte", "length", "reason", "raw", "batch")
_FILES_SHOWN_MAX = (
    20  # those with the most rejects: a page of names helps nobody, and --csv lists all
)
_BY_DAY = "Only files whose stamp is on this day."
_BY_REASON = "Only this reason; late: records that arrived after their day was closed."
_RAW = "Write only the raw lines, byte for byte, to be corrected and delivered again."


@click.command(
    "rejects",
    cls=Command,
    examples=EXAMPLES,
    help=(
        "Count the rejected lines by reason and by file or, with --list, list each line with its"
        " file, line number, byte, reason and content. --raw writes only the lines themselves, so that"
        " they can be corrected and delivered again as a new file of DATA. Late-arriving records are"
        " stored with the rejects but are not rejects: --reason late shows them. Safe to use during a"
        " run."
    ),
)
@options.existing_run
@click.option("--day", metavar="DAY", callback=options.day, help=_BY_DAY)
@click.option("--file", metavar="NAME", help="Only this file of DATA.")
@click.option("--reason", type=click.Choice([*REASON_WORDS, "late"]), help=_BY_REASON)
@click.option("--list", "listed", is_flag=True, help="List the lines, with full MSISDNs.")
@click.option("--raw", is_flag=True, help=_RAW)
@tables.forms
def command(listed: bool, raw: bool, as_csv: bool, as_json: bool, **given: Any) -> int:
    """Print the counts, the rows or the raw lines."""
    from upswell.audit import rejects

    wanted = rejects.RejectFilter(given["day"], given["file"], given["reason"])
    form = tables.form(as_csv, as_json)
    if raw and (listed or form != "text"):
        raise click.UsageError("--raw cannot be combined with --list, --csv or --json")
    if raw and sys.stdout is not None and sys.stdout.isatty():
        raise click.UsageError(
            "--raw writes unescaped bytes and never to a terminal: redirect it, as in --raw > fixed.csv"
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
    """Describe the rejects that the listed lines do not include, in sentences."""
    from upswell.cli.summary_text import plural

    if dropped:
        yield (
            "counted but not kept, for all reasons (rejects_max_bytes_per_file):"
            f" {plural(dropped.total(), 'line')} of {plural(len(dropped), 'file')}, only found in DATA"
        )
    if kept.removed:
        yield f"omitted the lines of {plural(kept.removed, 'reject file')} deleted since"
    for what in kept.changed:
        yield f"omitted {what}"
    if raw and kept.cut:
        yield (
            f"truncated: {plural(kept.cut, 'line')} too long to be kept beyond the first 4096 bytes"
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
        yield "Late records" if wanted.reason == "late" else "Rejected lines by reason"
        yield tables.count_table([*by_reason, ("= all", found.lines, "")])
        files = sorted(found.by_file.items(), key=lambda item: (-item[1].total(), item[0]))
        yield from ("", "By file")
        yield tables.count_table(
            (show_name(file), lines.total(), " ".join(f"{reason}={n:,}" for reason, n in lines.items()))
            for file, lines in files[:_FILES_SHOWN_MAX]
        )  # fmt: skip
        if len(files) > _FILES_SHOWN_MAX:
            yield f"  … and {plural(len(files) - _FILES_SHOWN_MAX, 'more file')}: --csv lists all"
    else:
        yield "No record was late." if wanted.reason == "late" else "No line was rejected."
    if dropped := found.dropped.total():
        yield from (
            "",
            f"Counted but not kept, for all reasons (rejects_max_bytes_per_file): {plural(dropped, 'line')}",
        )
        yield tables.count_table((show_name(file), n, "") for file, n in found.dropped.items())
    if found.late and wanted.reason is None:
        yield from (
            "",
            f"Late-arriving, not malformed: {plural(found.late, 'record')}; see --reason late",
        )
