"""``upswell state``: commands that describe, verify, back up or move a state, or remove a person from it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from upswell.cli import options
from upswell.cli.tables import Table
from upswell.cli.terminal import Command, Group, say, say_json

if TYPE_CHECKING:
    from upswell.state.maintenance.forget import Removal
    from upswell.state.maintenance.transfer import Moved

EXAMPLES = (
    "upswell state verify --output out/",
    "upswell state backup /backup/monday --output out/",
    "upswell state show --state /var/lib/upswell --json",
    "upswell state move /var/lib/upswell --output out/",
    "upswell state export --output out/ state.upswell",
    "upswell state forget - --output out/ < requests.txt",
)


@click.group(
    "state",
    cls=Group,
    examples=EXAMPLES,
    help="Verify, describe or back up a state, move it to another place or engine, or remove a person from it.",
)
def command() -> None:
    """Group the commands on a state."""


@command.command(
    "verify",
    cls=Command,
    examples=("upswell state verify --output out/", "upswell state verify --state DIR --json"),
    help=(
        "Check a state for damage: database pages, checksums, log, notifications and the files"
        " beside it. Exit code: 0 if it is sound, 1 if something is wrong, 74 if it cannot be read at"
        " all. Safe to use during a run."
    ),
)
@options.existing_run
@options.JSON
def verify(as_json: bool, **given: Any) -> int:
    """Print "sound" or the problems; return 1 if there are any."""
    from upswell.cli.summary_text import plural
    from upswell.state.maintenance.verify import verify as problems_of
    from upswell.state.reader import StateReader

    state_dir = options.state_dir(given)
    StateReader.open(state_dir).close()  # an unreadable state has an exit code of its own
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
    "backup",
    cls=Command,
    examples=(
        "upswell state backup /backup/monday --output out/",
        "upswell state backup copy --state /var/lib/upswell --json",
    ),
    help=(
        "Copy a state as of its last commit to the new directory DIR: database, reject files and the"
        " identity of its OUTPUT. Safe to use during a run. The copy is verified and can replace the"
        " state; docs/operations.md describes when, and what happens then. Exit code 1 if the copy,"
        " and so the state, is damaged."
    ),
)
@click.argument("target", metavar="DIR")
@options.existing_run
@options.JSON
def backup(target: str, as_json: bool, **given: Any) -> int:
    """Make and verify the copy, and print what it contains."""
    from upswell.cli.summary_text import size
    from upswell.state.maintenance.backup import back_up
    from upswell.state.maintenance.verify import verify as problems_of

    made = back_up(options.state_dir(given), Path(target))
    problems = problems_of(Path(target))
    if as_json:
        say_json({"backup": target, **made._asdict(), "problems": problems})
    else:
        sound = "sound" if not problems else "NOT SOUND"
        say(f"{target}: up to batch {made.last_batch:,}, {size(made.bytes)}, {sound}")
        say(*(f"  ! {each}" for each in problems))
    return 1 if problems else 0


@command.command(
    "show",
    cls=Command,
    examples=("upswell state show --output out/",),
    help="Show what a state belongs to: its paths, time zones, sizes and reference versions.",
)
@options.existing_run
@options.JSON
def show(as_json: bool, **given: Any) -> int:
    """Print the state's identity and sizes."""
    from upswell.audit.status import sizes
    from upswell.state.reader import StateReader
    from upswell.storage.lock import holder

    state_dir = options.state_dir(given)
    with StateReader.open(state_dir) as reader:
        identity, last, references = reader.identity(), reader.last(), reader.references()
    on_disk = sizes(state_dir)
    held = holder(state_dir)
    if as_json:
        values = {
            "state": str(state_dir),
            "meta": identity.entries(),
            "bytes": on_disk,
            "holder": held or "",
        }
        batch = last._asdict() if last else None
        say_json(
            values | {"last_batch": batch, "references": [one._asdict() for one in references]}
        )
        return 0
    from upswell.cli.summary_text import size

    facts = [("run by", held or "nobody"), *identity.entries().items()]
    facts = [(key, value or "none") for key, value in facts]
    facts.append(("last batch", str(last.number) if last else "none"))
    say(f"State {state_dir}", Table(facts))
    say("", "On disk", Table([(name, size(n)) for name, n in on_disk.items()]))
    versions = [
        (
            one.kind,
            one.version[:12],
            size(one.length),
            f"taken {one.taken_at[:19]}",
            f"from batch {one.first_batch}" if one.first_batch else "not used yet",
        )
        for one in references
    ]
    say("", "Reference versions", Table(versions) if versions else "  none yet")
    return 0


@command.command(
    "export",
    cls=Command,
    examples=("upswell state export --output out/ state.upswell",),
    help=(
        "Write a complete state to one new file: what was read and sent, all totals and caps, the"
        " reference and the rejects. The run must be stopped (75 otherwise). OUTPUT is not copied: it"
        " belongs to the state that the file is imported to."
    ),
)
@click.argument("file")
@options.existing_run
@options.JSON
def export(file: str, as_json: bool, **given: Any) -> int:
    """Write the file, and print what it contains."""
    from upswell.state.maintenance.transfer import export_state

    state_dir = options.state_dir(given)
    return _moved(export_state(state_dir, Path(file)), f"exported {state_dir} to {file}", as_json)


@command.command(
    "import",
    cls=Command,
    examples=(
        "upswell state import state.upswell --state /var/lib/upswell",
        "upswell state import state.upswell --state /shared/upswell --engine spark --shards 64",
    ),
    help=(
        "Create a new state from a file written by export, in another place or for another engine. A"
        " run with --state DIR resumes where the exported state stopped, on the same OUTPUT. The old"
        " state must not be used again."
    ),
)
@click.argument("file")
@click.option("--state", required=True, metavar="DIR", help="Directory of the new state.")
@click.option(
    "--engine",
    type=click.Choice(["embedded", "spark"]),
    default="embedded",
    help="Engine that will use the state [embedded].",
)
@click.option(
    "--shards",
    type=int,
    metavar="N",
    help="With --engine spark: parts of the ledger, a power of two from 1 to 256.",
)
@options.JSON
def import_(file: str, state: str, engine: str, shards: int | None, as_json: bool) -> int:
    """Create the state, and print what it contains."""
    from upswell.state.maintenance.transfer import import_state, shards_of

    moved = import_state(Path(file), Path(state), shards_of(engine, shards))
    return _moved(moved, f"imported {file} to {state}", as_json)


def _moved(moved: "Moved", sentence: str, as_json: bool) -> int:
    from upswell.cli.summary_text import plural, size

    if as_json:
        say_json(moved._asdict())
    else:
        rejects = plural(moved.reject_files, "reject file")
        say(f"{sentence}: up to batch {moved.last_batch}, with {rejects}, {size(moved.bytes)}")
    return 0


@command.command(
    "move",
    cls=Command,
    examples=(
        "upswell state move /var/lib/upswell --output out/",
        "upswell state move out/.upswell --state /var/lib/upswell",
    ),
    help=(
        "Move a state to the directory DIR, on any local file system, for the same OUTPUT. What waits"
        " to be published stays in OUTPUT, and a run with --state DIR publishes it. The run must be"
        " stopped (75 otherwise). If it is killed, the same command again completes the move; until"
        " then a run is refused (78)."
    ),
)
@click.argument("target", metavar="DIR")
@options.existing_run
@options.JSON
def move(target: str, as_json: bool, **given: Any) -> int:
    """Move the state, and print what it contains."""
    from upswell.state.maintenance.move import move_state

    state_dir = options.state_dir(given)
    moved = move_state(state_dir, Path(target))
    return _moved(moved, f"moved {state_dir} to {target}", as_json)


@command.command(
    "forget",
    cls=Command,
    examples=(
        "upswell state forget 0126545098 --output out/",
        "upswell state forget - --output out/ < requests.txt",
    ),
    help=(
        "Remove a person from a state: notifications, totals, caps and rejects, down to the bytes on"
        " disk. The run must be stopped (75 otherwise). Their records are suppressed until their days"
        " are closed, recognised only by a keyed hash, so nothing is sent twice. DATA, SEGMENT and"
        " OUTPUT are not changed: the places where the MSISDN still occurs are listed. Pass - as MSISDN"
        " to read any number of them from stdin, one per line, so that they do not show in process"
        " lists."
    ),
)
@click.argument("msisdn", metavar="MSISDN|-")
@options.existing_run
@options.DATA
@options.JSON
def forget(msisdn: str, as_json: bool, data: str | None, **given: Any) -> int:
    """Remove the customers, and print what was removed and where their msisdns still occur."""
    from pathlib import Path

    from upswell.state.maintenance.forget import forget as forget_them

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
        raise UsageError(
            "stdin is closed", "pass MSISDNs on stdin, or one as an argument instead of -"
        )
    text = sys.stdin.buffer.read().decode("utf-8", "replace")
    return [line for line in text.splitlines() if line.strip()]


def _describe_forgotten(found: "Removal") -> list[str]:
    from upswell.cli.summary_text import plural
    from upswell.zones import date_of

    erased, absent = found.erased, found.people - found.erased.people
    lines = []
    if erased.people:
        lines += [
            f"Forgotten: {'1 person' if erased.people == 1 else f'{erased.people:,} people'}.",
            f"  removed  {plural(erased.notifications, 'notification')},"
            f" {plural(erased.reject_lines, 'reject')}, entries in {plural(erased.ledger_blobs, 'part')} of the ledger",
        ]
    if absent:
        lines += [
            f"Not found in the state: {plural(absent, 'MSISDN')}.",
            "  Already forgotten, or never there. Is it written as in DATA?",
        ]
    if found.until_day:
        lines.append(
            f"  suppressed until {date_of(found.until_day)} is closed; remove the MSISDN from SEGMENT before then, or"
            " usage on later days is counted again"
        )
    lines += ["", "Still found in", *(f"  {each}" for each in found.stands)]
    if not found.stands:
        lines[-1] = "Not found anywhere else."
    if found.unknown:
        lines += ["", "Not searched", *(f"  ? {each}" for each in found.unknown)]
    return lines
