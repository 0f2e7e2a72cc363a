"""``upswell explain``: why one customer was or was not notified, checked against the state."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from upswell.cli import options
from upswell.cli.terminal import Command, say, say_json

if TYPE_CHECKING:
    from upswell.audit.replay.timeline import Explanation, NotTaken, TimelineEntry

_LINE_BYTES_MAX = 1000  # of an msisdn read from stdin, which may be anything

EXAMPLES = (
    "upswell explain 0126545098 --output out/",
    "upswell explain 0126545098 Twitter --day 2020-04-17 --output out/",
    "echo 0126545098 | upswell explain - --output out/ --json | jq .verdicts",
)


@click.command(
    "explain",
    cls=Command,
    examples=EXAMPLES,
    help=(
        "Explain why one customer was or was not notified: segment membership, each of their lines"
        " with file and line number, whether and why it was counted, the total compared with the"
        " threshold, and the record that was sent with its output file, or why none was. The answer"
        " is recomputed from the kept files and compared with the state: exit code 1 if they differ."
        " ABOUT is an application or a service. Pass - as MSISDN to read it from stdin, so that it"
        " does not show in process lists."
    ),
)
@click.argument("msisdn", metavar="MSISDN|-")
@click.argument("about", required=False, metavar="[ABOUT]")
@options.existing_run
@options.DATA
@click.option("--day", metavar="DAY", callback=options.day, help="Only records of this day.")
@options.JSON
def command(
    msisdn: str,
    about: str | None,
    as_json: bool,
    day: int | None,
    data: str | None,
    **given: Any,
) -> int:
    """Print the explanation; return 1 if it differs from the state."""
    from upswell.audit.replay.explain import explain

    found = explain(
        options.state_dir(given),
        _from_stdin() if msisdn == "-" else msisdn,
        about=about,
        day=day,
        data=Path(data) if data else None,
    )
    if as_json:
        say_json(found.to_json())
    else:
        say(*_describe(found))
    return 1 if found.differences else 0


def _from_stdin() -> str:
    from upswell.errors import UsageError

    if sys.stdin is None:
        raise UsageError(
            "stdin is closed", "pass the MSISDN on stdin, or as an argument instead of -"
        )
    return sys.stdin.buffer.readline(_LINE_BYTES_MAX).strip().decode("utf-8", "replace")


def _describe(found: "Explanation") -> list[str]:
    from upswell.cli.summary_text import describe_proof
    from upswell.source.listing import show_name
    from upswell.zones import date_of

    lines = [f"Customer {found.msisdn}", "", "Segment"]
    lines += [
        f"  {'in' if joined else 'not in'} the segment since batch {batch} (version {version[:12]})"
        for batch, version, joined in found.segment
    ] or ["  no segment has been used yet"]
    lines += ["", "Lines", *(_line(entry) for entry in found.entries)]
    if not found.entries:
        lines.append("  none")
    lines += [
        f"  {show_name(old)} was read as {show_name(new)}, under which it went on"
        for old, new in found.continued
    ]
    if found.not_taken:
        lines += ["", "Not processed", *(_not_taken(one) for one in found.not_taken)]
    if verdicts := list(found.verdicts()):
        lines += ["", "Summary"]
        lines += [f"  {date_of(day)}  {name}: {why}" for day, name, why in verdicts]
    if found.quoted:
        lines += [
            "",
            "According to the state, not proven",
            *(f"  {one.sentence()}" for one in found.quoted),
        ]
    return lines + describe_proof(found.unproven, found.differences, "The state agrees.")


def _not_taken(one: "NotTaken") -> str:
    from upswell.cli.summary_text import plural
    from upswell.source.listing import show_name

    lines = "" if one.lines is None else f"{plural(one.lines, 'line')} with this number, "
    return f"  {show_name(one.file)}: {lines}{one.why}"


def _line(entry: "TimelineEntry") -> str:
    from upswell.source.listing import show_name

    line, record = entry.decided.line, entry.decided.line.record
    place = f"  {show_name(line.file)}:{line.line}"
    if record is None:
        return f"{place}  {line.content[:120].decode('ascii', 'backslashreplace')}  {entry.why}"
    name = f" {entry.application}" if entry.application else ""
    in_rules_zone = f" ({entry.rules_time} for the rules)" if entry.rules_time else ""
    return (
        f"{place}  {record.moment:%Y-%m-%d %H:%M:%S}{in_rules_zone}  service {record.service}{name}"
        f"  volume {record.volume:,}  {entry.why}"
    )
