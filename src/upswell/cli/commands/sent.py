"""``upswell sent``: the notifications sent, counted or listed."""

from typing import TYPE_CHECKING, Any

import click

from upswell.cli import options, tables
from upswell.cli.terminal import Command, say, say_all, say_json
from upswell.output.names import BATCH_MAX

if TYPE_CHECKING:
    from pathlib import Path

    from upswell.audit.sent import SentFilter

EXAMPLES = (
    "upswell sent --output out/                               counts by day and application",
    "upswell sent --output out/ --day 2020-04-17 --application Twitter --list",
    "upswell sent --output out/ --file DATA_202004171937.csv --list --csv > sent.csv",
    "upswell sent --output out/ --batch 12 --list --json | jq -r .msisdn",
)
_COLUMNS = ("day", "application", "msisdn", "batch", "file", "byte", "output", "record")


@click.command(
    "sent",
    cls=Command,
    examples=EXAMPLES,
    help=(
        "Count the notifications sent by day and application or, with --list, list each one with its"
        " record, the file and byte it came from and the file of OUTPUT it went to, ordered by day,"
        " application and MSISDN. Safe to use during a run: it shows what was committed when it"
        " started."
    ),
)
@options.existing_run
@click.option("--day", metavar="DAY", callback=options.day, help="Only this day.")
@click.option("--application", metavar="NAME", help="Only this application.")
@click.option("--file", metavar="NAME", help="Only from this file of DATA.")
@click.option("--batch", metavar="N", type=click.IntRange(1, BATCH_MAX), help="Only this batch.")
@click.option(
    "--control",
    is_flag=True,
    help="Show what was withheld from the control group (OUTPUT/.control) instead.",
)
@click.option("--list", "listed", is_flag=True, help="List the notifications, with full MSISDNs.")
@tables.forms
def command(listed: bool, as_csv: bool, as_json: bool, **given: Any) -> int:
    """Print the counts or the rows."""
    from upswell.audit.sent import SentFilter

    asked = ("day", "application", "file", "batch", "control")
    wanted = SentFilter(*(given[name] for name in asked))
    form = tables.form(as_csv, as_json)
    state_dir = options.state_dir(given)
    if listed:
        _list(state_dir, wanted, form)
    else:
        _count(state_dir, wanted, form)
    return 0


def _list(state_dir: "Path", wanted: "SentFilter", form: tables.Form) -> None:
    from upswell.audit.sent import rows
    from upswell.zones import date_of

    values = (
        (row.day, row.application, row.msisdn, row.batch, row.file, row.byte, row.output,
         row.raw.decode("ascii", "backslashreplace"))
        for row in rows(state_dir, wanted)
    )  # fmt: skip
    if form == "csv":
        say_all(tables.as_csv(_COLUMNS, values))
    elif form == "json":
        say_all(tables.as_json(dict(zip(_COLUMNS, row, strict=True)) for row in values))
    else:
        say_all(
            f"{date_of(day)}  {application}  {record}  {file} byte {byte:,}  {output}"
            for day, application, _, _, file, byte, output, record in values
        )


def _count(state_dir: "Path", wanted: "SentFilter", form: tables.Form) -> None:
    from upswell.audit.sent import counts, forgotten, pruned, to_json
    from upswell.zones import date_of

    if form == "json":
        say_json(to_json(state_dir, wanted))
        return
    found = counts(state_dir, wanted)
    total = sum(found.values())
    gone, old = forgotten(state_dir, wanted), pruned(state_dir, wanted)
    rows = [(day, application, n) for (day, application), n in found.items()]
    if form == "csv":
        say_all(tables.as_csv(("day", "application", "notifications"), rows))
    elif not found:
        say(
            "Nothing was withheld from the control group."
            if wanted.control
            else "No notifications were sent."
        )
    else:
        shown = [(f"{date_of(day)}  {application}", n, "") for day, application, n in rows]
        title = "Withheld from the control group" if wanted.control else "Notifications"
        say(f"{title} by day and application", tables.count_table([*shown, ("= all", total, "")]))
        if old:
            say(f"{old:,} of them are on days that the state no longer keeps: --list omits them.")
        if gone:
            say(f"{gone:,} of them went to customers who were forgotten: --list omits them.")
