"""``upswell whatif``: what other rules, another segment or another policy would have sent."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from upswell.cli import options
from upswell.cli.tables import Part, Table
from upswell.cli.terminal import Command, say, say_json

if TYPE_CHECKING:
    from upswell.audit.replay.scenarios import WhatIf

_BAR_CHARS = 40

EXAMPLES = (
    "upswell whatif --rules new.csv --output out/",
    "upswell whatif --rules mild.csv --rules strict.csv --day 2020-04-17..2020-04-18 --output out/",
    "upswell whatif --segment new/ --list --output out/",
    "upswell whatif --max-per-customer-per-day 2 --output out/",
    "upswell whatif --rules new.csv --report whatif.html --output out/",
)


def _report(_: click.Context, __: click.Parameter, text: str | None) -> Path | None:
    if text == "":
        raise click.BadParameter("the file name is empty")
    return None if text is None else Path(text)


@click.command(
    "whatif",
    cls=Command,
    examples=EXAMPLES,
    help=(
        "Replay the kept files under other rules, another segment or another policy, without side"
        " effects, and compare the result with what was active: notifications by application and hour,"
        " customers gained and lost, the totals that just missed their threshold, and notifications by"
        " threshold. The log is read once for all sets of rules and thresholds. Safe to use during a"
        " run."
    ),
)
@click.option(
    "--rules", "new_rules", metavar="NEW", multiple=True, help="RULES to try; may be repeated."
)
@click.option(
    "--segment", "new_segment", metavar="NEW", help="SEGMENT to try, with each of the rules."
)
@click.option(
    "--suppress", "new_suppress", metavar="NEW", help="SUPPRESS to try, with each of the rules."
)
@click.option(
    "--max-per-customer-per-day",
    "most",
    metavar="N",
    type=click.IntRange(0),
    help="Limit per customer to try, with each of the rules; 0: no limit.",
)
@click.option(
    "--day",
    "days",
    metavar="D1[..D2]",
    callback=options.days,
    help="Count only notifications of a day or a range of days.",
)
@click.option(
    "--list",
    "listed",
    is_flag=True,
    help="List the MSISDNs of customers gained and lost, unmasked.",
)
@click.option("--curve/--no-curve", default=True, help="Try other thresholds, too [curve].")
@click.option(
    "--report",
    metavar="FILE.html",
    callback=_report,
    help="Also write a page with charts, without MSISDNs.",
)
@options.existing_run
@options.DATA
@options.JSON
def command(
    new_rules: Sequence[str],
    new_segment: str | None,
    new_suppress: str | None,
    most: int | None,
    days: tuple[int, int] | None,
    listed: bool,
    curve: bool,
    report: Path | None,
    as_json: bool,
    data: str | None,
    **given: Any,
) -> int:
    """Print what would have been sent."""
    from upswell.audit.replay.scenarios import Days
    from upswell.audit.replay.whatif import whatif
    from upswell.storage.new_file import refuse_existing, write_file

    if report:
        refuse_existing(report)
    found = whatif(
        options.state_dir(given),
        [Path(path) for path in new_rules],
        segment=Path(new_segment) if new_segment else None,
        suppress=Path(new_suppress) if new_suppress else None,
        max_per_customer_per_day=most,
        days=Days(*days) if days else None,
        data=Path(data) if data else None,
        curve=curve,
    )
    if report:
        from upswell.audit.replay.whatif_report import render

        write_file(report, [render(found).encode()])
    if as_json:
        say_json(found.to_json(listed=listed))
    else:
        say(*_describe(found, listed))
    return 0


def _describe(found: "WhatIf", listed: bool) -> list[Part]:
    lines: list[Part] = []
    for number, scenario in enumerate(found.scenarios[1:], 1):
        lines += [f"{scenario.name} vs. the rules in force", _changes(found, number)]
        lines += [*_hours(found, number), *_nearest(found, number, listed), ""]
        if listed:
            lines += _msisdns(found, number)
    for name, points in found.curves.items():
        most = max(point.notifications for point in points)
        lines.append(f"{name}: notifications by threshold, {found.scenarios[1].name}")
        rows = [
            (
                point.label(),
                f"{point.notifications:,}",
                "#" * (round(_BAR_CHARS * point.notifications / most) if most else 0)
                + "<" * (point.factor == 1),
            )
            for point in points
        ]
        lines += [Table(rows, numbers=(0, 1)), ""]
    lines += [f"note: {sentence}" for sentence in found.notes]
    return lines if lines[-1] else lines[:-1]


def _changes(found: "WhatIf", number: int) -> Part:
    was, scenario = found.scenarios[0], found.scenarios[number]
    rows = []
    for name in found.applications:
        before, after = was.notifications(name), scenario.notifications(name)
        gained, lost = scenario.gained(name, was), was.gained(name, scenario)
        change = (
            f"{before:,} -> {after:,} notifications;"
            f" customers: {len(gained):,} gained, {len(lost):,} lost"
        )
        rows.append((name, change))
    return Table(rows) if rows else "  no notifications either way"


def _hours(found: "WhatIf", number: int) -> list[str]:
    was, scenario = found.scenarios[0], found.scenarios[number]
    lines = [""]
    for name in found.applications:
        hours = sorted({hour for of, hour in (*was.hours, *scenario.hours) if of == name})
        changes = ", ".join(
            f"{h}h {was.hours[name, h]:,}->{scenario.hours[name, h]:,}" for h in hours
        )
        lines += [f"  {name} by hour: {changes}"] * bool(hours)
    return lines if len(lines) > 1 else []


def _nearest(found: "WhatIf", number: int, listed: bool) -> list[str]:
    from upswell.privacy import mask
    from upswell.zones import date_of

    nearest = found.scenarios[number].nearest
    return ["", "  Closest to the threshold, on days still open"] * bool(nearest) + [
        f"    {near.application} {date_of(near.day)} {near.window}:"
        f" {near.msisdn if listed else mask(near.msisdn)} with {near.total:,} of {near.threshold:,}"
        for near in nearest
    ]


def _msisdns(found: "WhatIf", number: int) -> list[str]:
    was, scenario = found.scenarios[0], found.scenarios[number]
    lines = []
    for name in found.applications:
        lines += [f"  {name} + {msisdn}" for msisdn in sorted(scenario.gained(name, was))]
        lines += [f"  {name} - {msisdn}" for msisdn in sorted(was.gained(name, scenario))]
    return [*lines, ""]
