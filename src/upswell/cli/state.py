"""``upswell state``: what a state directory is, whether it is sound, and how it moves."""

from typing import TYPE_CHECKING, Any

import click

from upswell.cli import options
from upswell.cli.terminal import Command, Group, say, say_json

if TYPE_CHECKING:
    from pathlib import Path

    from upswell.transfer import Moved

EXAMPLES = (
    "upswell state verify --output out/",
    "upswell state show --state /var/lib/upswell --json",
    "upswell state export --output out/ state.upswell",
)


@click.group(
    "state",
    cls=Group,
    examples=EXAMPLES,
    help="Verify or describe a state directory, or move a state to another place or engine.",
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
    "export",
    cls=Command,
    examples=("upswell state export --output out/ state.upswell",),
    help=(
        "Write a whole state to one new file: what was read and sent, every total and cap, the reference and the"
        " rejects. No run may use the state meanwhile (75). OUTPUT stays where it is, and belongs to whoever imports"
        " the file."
    ),
)
@click.argument("file")
@options.existing_run
@options.JSON
def export(file: str, as_json: bool, **given: Any) -> int:
    """Print what was written."""
    from pathlib import Path

    from upswell.transfer import export_state

    state_dir = options.state_dir(given)
    return _moved(export_state(state_dir, Path(file)), f"{state_dir} is in {file}", as_json)


@command.command(
    "import",
    cls=Command,
    examples=(
        "upswell state import state.upswell --state /var/lib/upswell",
        "upswell state import state.upswell --state /shared/upswell --engine spark --shards 64",
    ),
    help=(
        "Make a new state out of a file that export wrote, for another place or engine. A run with --state DIR goes on"
        " with it where the exported one stopped, on the same OUTPUT. The old state must not be used any more."
    ),
)
@click.argument("file")
@click.option("--state", required=True, metavar="DIR", help="The new state's directory.")
@click.option(
    "--engine",
    type=click.Choice(["embedded", "spark"]),
    default="embedded",
    help="The engine that will go on with it [embedded].",
)
@click.option("--shards", type=int, metavar="N", help="With spark: 1 to 256, a power of two.")
@options.JSON
def import_(file: str, state: str, engine: str, shards: int | None, as_json: bool) -> int:
    """Print what the state was made of."""
    from pathlib import Path

    from upswell.transfer import import_state, shards_of

    moved = import_state(Path(file), Path(state), shards_of(engine, shards))
    return _moved(moved, f"{file} is the state {state}", as_json)


def _moved(moved: "Moved", sentence: str, as_json: bool) -> int:
    from upswell.cli.show import plural, size

    if as_json:
        say_json(moved._asdict())
    else:
        rejects = plural(moved.reject_files, "reject file")
        say(f"{sentence}: up to batch {moved.last_batch}, with {rejects}, {size(moved.bytes)}")
    return 0


def _sizes(state_dir: "Path") -> dict[str, int]:
    """Bytes on disk by what they are for."""
    found = {"database": 0, "ledger": 0, "rejects": 0}
    for path in (state_dir / "ledger").glob("shard-*"):
        found["ledger"] += path.stat().st_size
    for path in state_dir.glob("checkpoint.db*"):
        found["database"] += path.stat().st_size
    for path in (state_dir / "rejects").glob("*.tsv"):
        found["rejects"] += path.stat().st_size
    return found
