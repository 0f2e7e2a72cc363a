"""``upswell effect``: did the campaign change usage, by the control group?"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from upswell.cli import options
from upswell.cli.tables import Part, Table
from upswell.cli.terminal import Command, say, say_json

if TYPE_CHECKING:
    from upswell.audit.replay.effect import ApplicationEffect, Effect

DAYS = 7  # so that every day of the week counts once
_DAYS_MAX = 366
_UNKNOWN = "-"

EXAMPLES = (
    "upswell effect --output out/",
    "upswell effect --output out/ --days 1",
    "upswell effect --output out/ --day 2020-04-01..2020-04-30 --json | jq .applications",
)


@click.command(
    "effect",
    cls=Command,
    examples=EXAMPLES,
    help=(
        "Compare the usage of customers who were notified with that of the control group, by"
        " application: the volume of all their records of the application's services, at any hour,"
        " on the days after their first notification, withheld or sent. Shows both means, their"
        " difference with its 95 % interval (Welch), and the sizes of the groups. Usage is added up"
        " by a replay of the log over the kept files; a day that cannot be compared is left out and"
        " named. Safe to use during a run; writes nothing."
    ),
)
@click.option(
    "--days",
    "days_after",
    metavar="N",
    type=click.IntRange(1, _DAYS_MAX),
    default=DAYS,
    help=f"Days of usage after the day of notification [{DAYS}].",
)
@click.option(
    "--day",
    "days",
    metavar="D1[..D2]",
    callback=options.days,
    help="Compare only customers by their first notification on a day or in a range of days.",
)
@options.existing_run
@options.DATA
@options.JSON
def command(
    days_after: int, days: tuple[int, int] | None, as_json: bool, data: str | None, **given: Any
) -> int:
    """Print the comparison."""
    from upswell.audit.replay.effect import effect
    from upswell.audit.replay.scenarios import Days

    found = effect(
        options.state_dir(given),
        days_after,
        days=Days(*days) if days else None,
        data=Path(data) if data else None,
    )
    if as_json:
        say_json(found.to_json())
    else:
        say(*_describe(found))
    return 0


def _describe(found: "Effect") -> list[Part]:
    from upswell.cli.summary_text import plural
    from upswell.zones import date_of

    if not found.applications and not found.left_out:
        return ["Nobody was notified, and nothing was withheld."]
    parts: list[Part] = []
    if found.applications:
        head = ("", "notified", "mean", "control", "mean", "difference", "95 % interval")
        parts += [
            f"Usage per customer in the {plural(found.days, 'day')} after the first notification",
            Table([head, *map(_row, found.applications)], numbers=range(1, len(head))),
        ]
    if found.left_out:
        rows = [(str(date_of(day)), why) for day, why in found.left_out.items()]
        parts += ["", "Days left out", Table(rows)]
    return [*parts, *[""] * bool(found.notes), *(f"note: {sentence}" for sentence in found.notes)]


def _row(each: "ApplicationEffect") -> tuple[str, ...]:
    interval = each.interval
    return (
        each.application,
        f"{each.notified.size:,}",
        _number(each.notified.mean),
        f"{each.control.size:,}",
        _number(each.control.mean),
        _number(each.difference),
        f"{_number(interval[0])} to {_number(interval[1])}" if interval else _UNKNOWN,
    )


def _number(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:,.1f}"
