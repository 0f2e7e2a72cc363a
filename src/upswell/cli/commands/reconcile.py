"""``upswell reconcile``: checks DATA, state and OUTPUT for consistency by a fresh replay."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from upswell.cli import options
from upswell.cli.terminal import Command, say, say_json

if TYPE_CHECKING:
    from upswell.audit.replay.reconciliation import Reconciliation

EXAMPLES = (
    "upswell reconcile --output out/",
    "upswell reconcile --output out/ --day 2020-04-17",
    "upswell reconcile --output out/ --data /archive/2020 --json | jq .differences",
)


@click.command(
    "reconcile",
    cls=Command,
    examples=EXAMPLES,
    help=(
        "Replay the log over the kept files, and compare lines, outcomes, notifications, totals and"
        " OUTPUT with it: for each file and day, the lines must be the sum of their outcomes and the"
        " notifications must be the lines of OUTPUT, as far as those files still exist. Exit code 1 if"
        " anything differs; each difference is reported with its place. Safe to use during a run;"
        " writes nothing."
    ),
)
@options.existing_run
@options.DATA
@click.option(
    "--day",
    metavar="DAY",
    callback=options.day,
    help="Compare and show only what concerns the notifications of this day.",
)
@click.option("--files", "with_files", is_flag=True, help="List every file.")
@options.JSON
def command(
    as_json: bool, with_files: bool, day: int | None, data: str | None, **given: Any
) -> int:
    """Print the result; return 1 if anything differs."""
    from upswell.audit.replay.reconcile import reconcile

    found = reconcile(
        options.state_dir(given),
        data=Path(data) if data else None,
        day=day,
    )
    if as_json:
        say_json(found.to_json())
    else:
        say(*_describe(found, with_files))
    return 1 if found.differences else 0


def _describe(found: "Reconciliation", with_files: bool) -> list[str]:
    from upswell.cli.summary_text import describe_proof, plural
    from upswell.source.listing import show_name
    from upswell.zones import date_of

    lines = [
        f"Replayed {plural(found.lines, 'line')} of {plural(len(found.files), 'file')},"
        f" {plural(found.batches, 'batch')}, up to batch {found.last_batch}."
    ]
    if with_files:
        lines += ["", "Files"]
        lines += [
            f"  {show_name(name)}  {outcomes.total():,} lines = {_sum(outcomes)}"
            for name, outcomes in sorted(found.files.items())
        ]
    lines += ["", "Days"]
    for day, of_day in sorted(found.days.items()):
        places = [f"{n:,} {_WHERE[place]}" for place, n in of_day.where.items()]
        places += [f"{of_day.unproven:,} not proven"] * bool(of_day.unproven)
        gone = [f"{of_day.forgotten:,} forgotten"] * bool(of_day.forgotten)
        gone += [f"{of_day.pruned:,} pruned"] * bool(of_day.pruned)
        lines.append(
            f"  {date_of(day)}  {plural(of_day.notifications, 'notification')}"
            + (f" ({', '.join(gone)})" if gone else "")
            + f" = {' + '.join(places) or 0}"
            + (f"; {of_day.control:,} withheld (control group)" if of_day.control else "")
        )
    if not found.days:
        lines.append("  no notifications")
    for many, word, why in (
        (found.pruned, "Pruned", "their days are no longer kept (keep_notifications_days)"),
        (found.forgotten, "Forgotten", "their customers were forgotten"),
    ):
        if many:
            lines += [
                "",
                f"{word}: of {plural(many, 'notification')} the state has only the count, as {why}.",
            ]
    return lines + describe_proof(
        found.unproven, found.differences, "DATA, state and OUTPUT are consistent."
    )


_WHERE = {
    "in_output": "in OUTPUT",
    "changed": "in files that were changed",
    "taken_away": "removed by the consumer",
    "waiting": "waiting to be published",
}


def _sum(outcomes: "dict[str, int]") -> str:
    return " + ".join(f"{n:,} {name}" for name, n in outcomes.items() if n) or "0"
