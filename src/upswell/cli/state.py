"""``upswell state``: what a state directory is, whether it is sound, and removing a person from it."""

import sys
from typing import TYPE_CHECKING, Any

import click

from upswell.cli import options
from upswell.cli.terminal import Command, Group, say, say_json

if TYPE_CHECKING:
    from pathlib import Path

    from upswell.forget import Removal

EXAMPLES = (
    "upswell state verify --output out/",
    "upswell state show --state /var/lib/upswell --json",
    "upswell state forget - --output out/ < requests.txt",
)


@click.group(
    "state",
    cls=Group,
    examples=EXAMPLES,
    help="Verify or describe a state directory, which only read; or remove a person from it.",
)
def command() -> None:
    """The two commands on a state."""


@command.command(
    "verify",
    cls=Command,
    examples=("upswell state verify --output out/", "upswell state verify --state DIR --json"),
    help=(
        "Say whether a state is sound: its pages, its sums, its log, its notifications and what"
        " lies beside it. Exit code 0 when it is, 1 when something is wrong, 74 when it cannot be"
        " read at all. It may run beside a run."
    ),
)
@options.existing_run
@options.JSON
def verify(as_json: bool, **given: Any) -> int:
    """Print "sound", or what is wrong."""
    from upswell.cli.show import plural
    from upswell.verify import verify as problems_of
    from upswell.view import View

    state_dir = options.state_dir(given)
    View.open(state_dir).close()  # raises what makes the state unreadable, with its own exit code
    problems = problems_of(state_dir)
    if as_json:
        say_json({"state": str(state_dir), "sound": not problems, "problems": problems})
    elif problems:
        say(
            f"{state_dir}: {plural(len(problems), 'problem')}",
            *(f"  ! {each}" for each in problems),
        )
    else:
        say(f"{state_dir}: sound")
    return 1 if problems else 0


@command.command(
    "show",
    cls=Command,
    examples=("upswell state show --output out/",),
    help="Describe a state: what it belongs to, its paths, time zones, sizes and reference versions.",
)
@options.existing_run
@options.JSON
def show(as_json: bool, **given: Any) -> int:
    """Print the state's identity and sizes."""
    from upswell.running import holder
    from upswell.view import View

    state_dir = options.state_dir(given)
    with View.open(state_dir) as view:
        meta, last, references = view.meta(), view.last(), view.references()
    sizes = _sizes(state_dir)
    held = holder(state_dir)
    if as_json:
        values = {"state": str(state_dir), "meta": meta, "bytes": sizes, "holder": held or ""}
        batch = last._asdict() if last else None
        say_json(
            values | {"last_batch": batch, "references": [one._asdict() for one in references]}
        )
        return 0
    from upswell.cli.show import size

    say(f"State {state_dir}", f"  {'run by':<16} {held or 'nobody'}")
    say(*(f"  {key:<16} {value}" for key, value in sorted(meta.items())))
    say(f"  {'last batch':<16} {last.number if last else 'none'}")
    say("", "On disk", *(f"  {name:<16} {size(n)}" for name, n in sizes.items()))
    say("", "Reference versions")
    for one in references:
        used = f"from batch {one.first_batch}" if one.first_batch else "not used yet"
        say(
            f"  {one.kind:<8} {one.version[:12]}  {size(one.length)}  taken {one.taken_at[:19]}  {used}"
        )
    return 0


@command.command(
    "forget",
    cls=Command,
    examples=(
        "upswell state forget 0126545098 --output out/",
        "upswell state forget - --output out/ < requests.txt",
    ),
    help=(
        "Remove a person from a state: notifications, totals, caps and rejects, down to the bytes on"
        " the disk. The run must be stopped (75 otherwise). Their records are suppressed until their"
        " days are closed, known by a keyed hash alone, so nothing is sent twice. DATA, SEGMENT and"
        " OUTPUT are not touched: where the dial still stands is listed. MSISDN may be - to read any"
        " number of them from stdin, one a line, so that no list of processes shows them."
    ),
)
@click.argument("msisdn", metavar="MSISDN|-")
@options.existing_run
@options.DATA
@options.JSON
def forget(msisdn: str, as_json: bool, data: str | None, **given: Any) -> int:
    """Remove, and print what was removed and where the dial still stands."""
    from pathlib import Path

    from upswell.forget import forget as forget_them

    found = forget_them(
        options.state_dir(given),
        _from_stdin() if msisdn == "-" else [msisdn],
        data=Path(data) if data else None,
    )
    if as_json:
        say_json(found.to_json())
    else:
        say(*_describe_forgotten(found))
    return 0


def _from_stdin() -> list[str]:
    from upswell.errors import UsageError

    if sys.stdin is None:
        raise UsageError("stdin is closed", "give it msisdns, or write one in the place of -")
    text = sys.stdin.buffer.read().decode("utf-8", "replace")
    return [line for line in text.splitlines() if line.strip()]


def _describe_forgotten(found: "Removal") -> list[str]:
    from upswell.cli.show import plural
    from upswell.zones import date_of

    erased = found.erased
    lines = [
        f"Forgotten: {'1 person' if found.people == 1 else f'{found.people:,} people'}.",
        f"  removed  {plural(erased.notifications, 'notification')},"
        f" {plural(erased.reject_lines, 'reject')}, entries in {plural(erased.ledger_blobs, 'part')} of the ledger",
    ]
    if found.until_day:
        lines.append(
            f"  until {date_of(found.until_day)} is closed their records are suppressed: take the dial out of SEGMENT"
            " before, or usage of later days is counted again"
        )
    lines += ["", "Still standing in", *(f"  {each}" for each in found.stands)]
    if not found.stands:
        lines[-1] = "It stands nowhere else."
    if found.unknown:
        lines += ["", "Not looked at", *(f"  ? {each}" for each in found.unknown)]
    return lines


def _sizes(state_dir: "Path") -> dict[str, int]:
    """Bytes on disk by what they are for."""
    found = {"database": 0, "rejects": 0}
    for path in state_dir.glob("checkpoint.db*"):
        found["database"] += path.stat().st_size
    for path in (state_dir / "rejects").glob("*.tsv"):
        found["rejects"] += path.stat().st_size
    return found
