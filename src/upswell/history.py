"""How the rules and the segment came to be what they are: every edit, what it changed, and what came of it.

Owns the reads behind ``upswell history``. It changes nothing. The effect of an edit is that of the batches from the
first one scanned with it up to the next edit of the same kind, so the effects of all rules add up to all batches, and
so do those of all segments.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from upswell.view import CommittedBatch, View


class Refusal(NamedTuple):
    """An edit that is on disk and not in force."""

    at: str
    """When it was refused: UTC, ISO 8601."""
    words: str
    """Why."""


@dataclass(slots=True)
class Edit:
    """One time that a version of the rules or the segment was taken, and its effect so far."""

    kind: str
    """rules or segment."""
    version: str
    at: str
    """When it was taken: UTC, ISO 8601."""
    words: str
    """What it changed and what of it was left out; empty for the first."""
    first_batch: int
    """The first batch that was, or will be, scanned with it."""
    until_batch: int | None
    """The first batch scanned with the next one; None while it is in force."""
    batches: int = 0
    lines: int = 0
    notifications: int = 0

    @property
    def in_force(self) -> bool:
        """Whether the next batch is scanned with it."""
        return self.until_batch is None


class History(NamedTuple):
    """All edits that were taken, in order, and the one that is refused now, if any."""

    edits: list[Edit]
    refused: Refusal | None

    def of(self, kind: str) -> list[Edit]:
        """The edits of the rules, or of the segment, in order."""
        return [edit for edit in self.edits if edit.kind == kind]


def look(state_dir: Path) -> History:
    """The history of a state as of now. Raises StorageError when there is no state, or a damaged one."""
    with View.open(state_dir) as view:
        with view.snapshot():
            refused, last = refusal(view), view.last_batch()
            edits = _edits(view)
        history = History(edits, refused)
        batches = takewhile(lambda batch: batch.number <= last, view.batches())
        _add_up([history.of("rules"), history.of("segment")], batches)
    return history


def refusal(view: View) -> Refusal | None:
    """The edit that is refused until it is repaired."""
    rows = view.rows("SELECT at, words FROM edit WHERE kind = 'refused'")
    return Refusal(*rows[0]) if rows else None


def _edits(view: View) -> list[Edit]:
    sql = (
        "SELECT kind, version, at, words, first_batch,"
        " lead(first_batch) OVER (PARTITION BY kind ORDER BY id) FROM edit WHERE kind <> 'refused' ORDER BY id"
    )
    return [Edit(*row) for row in view.rows(sql)]


def _add_up(kinds: Iterable[list[Edit]], batches: Iterator[CommittedBatch]) -> None:
    """Give each batch to the edit of each kind under which it was scanned."""
    following = [iter(edits) for edits in kinds]
    current = [next(edits, None) for edits in following]
    for batch in batches:
        for at, edits in enumerate(following):
            edit = current[at]
            while edit and edit.until_batch is not None and edit.until_batch <= batch.number:
                edit = current[at] = next(edits, None)
            if edit:
                edit.batches += 1
                edit.lines += batch.lines
                edit.notifications += batch.outcomes.get("notified", 0)
