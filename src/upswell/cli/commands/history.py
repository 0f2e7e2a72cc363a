"""``upswell history``: every change of rules, segment, policies and time zones' tables, and its effect."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from upswell.cli import options
from upswell.cli.terminal import Command, say, say_json

if TYPE_CHECKING:
    from upswell.audit.history import Edit, History

EXAMPLES = (
    "upswell history --output out/",
    "upswell history --output out/ --json | jq .refused",
)


@click.command(
    "history",
    cls=Command,
    examples=EXAMPLES,
    help=(
        "Show every change of the rules, the segment, the policies and the time zones' tables that was"
        " accepted: when, what it changed, and its effect so far in batches, lines and notifications. A"
        " change that was refused is shown with its reasons until the files on disk can be accepted."
    ),
)
@options.existing_run
@options.JSON
def command(as_json: bool, **given: Any) -> int:
    """Print the history."""
    from upswell.audit import history

    found = history.read_history(options.state_dir(given))
    if as_json:
        say_json(found.to_json())
    else:
        say(*_describe(found))
    return 0


def _describe(found: "History") -> Iterator[str]:
    from upswell.cli.summary_text import moment

    for kind, title in _TITLES.items():
        edits = found.of(kind)
        if kind in ("suppress", "policy", "zones") and not edits:
            continue
        yield title
        for number, edit in enumerate(edits):
            yield f"  {moment(edit.at)}  {edit.version[:12] or 'off'}  {_effect(edit)}"
            yield f"    {edit.words or ('no difference' if number else 'first version')}"
        if not edits:
            yield "  none yet"
        yield ""
    if found.refused:
        yield f"Refused at {moment(found.refused.at)}: the files on disk are not active"
        yield f"  {found.refused.words}"
    else:
        yield "No change is refused."


_TITLES = {
    "rules": "Rules",
    "segment": "Segment",
    "suppress": "Suppression list",
    "policy": "Limit per customer and control group",
    "zones": "Tables of the time zones",
}


def _effect(edit: "Edit") -> str:
    from upswell.cli.summary_text import plural

    effect = (
        f"{plural(edit.batches, 'batch')}, {plural(edit.lines, 'line')},"
        f" {plural(edit.notifications, 'notification')}"
    )
    if edit.until_batch is None:
        return f"from batch {edit.first_batch:,}, active: {effect}"
    if edit.until_batch == edit.first_batch:
        return "before any batch"
    return f"batches {edit.first_batch:,} to {edit.until_batch - 1:,}: {effect}"
