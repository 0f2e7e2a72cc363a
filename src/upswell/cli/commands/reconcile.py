"""``upswell reconcile``: compares DATA, the state and OUTPUT, by a replay of the log."""

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
        "Replay the log over the files that are kept, and compare lines, outcomes, notifications,"
        " totals and OUTPUT with it: for each file and day the lines are the sum of their"
        " outcomes, and the notifications are the lines of OUTPUT, as far as they are still there."
        " Exit code 1 when something differs; each difference names its place. It can be used"
        " during a run, and writes nothing."
    ),
)
@options.existing_run
@options.DATA
@click.option(
    "--day",
    metavar="DAY",
    callback=options.day,
    help="Compare and show only the notifications of a day.",
)
@click.option("--files", "with_files", is_flag=True, help="List every file.")
@options.JSON
def command(
    as_json: bool, with_files: bool, day: int | None, data: str | None, **given: Any
) -> int:
    """Print what agrees and what differs."""
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
    "taken_away": "taken by the consumer",
    "waiting": "about to be published",
}


def _sum(outcomes: "dict[str, int]") -> str:
    return " + ".join(f"{n:,} {name}" for name, n in outcomes.items() if n) or "0"
