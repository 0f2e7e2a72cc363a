"""``upswell state``: what a state directory is, whether it is sound, and a copy of it."""

from pathlib import Path
from typing import Any

import click

from upswell.cli import options
from upswell.cli.terminal import Command, Group, say, say_json

EXAMPLES = (
    "upswell state verify --output out/",
    "upswell state backup /backup/monday --output out/",
    "upswell state show --state /var/lib/upswell --json",
)


@click.group(
    "state",
    cls=Group,
    examples=EXAMPLES,
    help="Verify, back up or describe a state directory; all of them only read it.",
)
def command() -> None:
    """The commands on a state."""


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
    "backup",
    cls=Command,
    examples=(
        "upswell state backup /backup/monday --output out/",
        "upswell state backup copy --state /var/lib/upswell --json",
    ),
    help=(
        "Copy a state to the new directory DIR, as of its last commit: database, rejects and the"
        " identity of its OUTPUT. A run may go on meanwhile. The copy is verified, and can be put"
        " in the state's place; docs/operations.md says when, and what happens then. Exit code 1"
        " when the copy, and so the state, is not sound."
    ),
)
@click.argument("target", metavar="DIR")
@options.existing_run
@options.JSON
def backup(target: str, as_json: bool, **given: Any) -> int:
    """Make the copy, and say what it holds."""
    from upswell.backup import back_up
    from upswell.cli.show import size
    from upswell.verify import verify as problems_of

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


def _sizes(state_dir: Path) -> dict[str, int]:
    """Bytes on disk by what they are for."""
    found = {"database": 0, "rejects": 0}
    for path in state_dir.glob("checkpoint.db*"):
        found["database"] += path.stat().st_size
    for path in (state_dir / "rejects").glob("*.tsv"):
        found["rejects"] += path.stat().st_size
    return found
