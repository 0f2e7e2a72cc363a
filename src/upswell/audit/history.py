"""How rules, segment and policies came to be what they are: every edit, what it changed, and what came of it.

Owns the reads behind ``upswell history``. It changes nothing. The effect of an edit is that of the batches from the
first one scanned with it up to the next edit of the same kind, so the effects of all rules add up to all batches, and
so do those of all segments. Of suppression lists and policies the first may be later: before it they were off.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from upswell.state.queries.batches import sum_batches
from upswell.state.queries.edits import Refusal, accepted_edits, refused_edit
from upswell.state.reader import StateReader


class Bounds(NamedTuple):
    """How much of a history is asked for, so that a look costs the same however old a state is."""

    edits: int
    """The newest ones."""
    batches: int
    """The newest ones of the state, over which the effects of all these edits are summed up."""


@dataclass(slots=True)
class Edit:
    """One time that a version was taken, and its effect so far."""

    kind: str
    """rules, segment, suppress or policy."""
    version: str
    """Empty: it was turned off."""
    at: str
    """When it was taken: UTC, ISO 8601."""
    words: str
    """What it changed and what of it was left out; empty for the first."""
    first_batch: int
    """The first batch that was, or will be, scanned with it."""
    until_batch: int | None
    """The first batch scanned with the next one; None while it is in force."""
    counted_from: int = 0
    """The first batch that may be summed up here: ``first_batch``, unless that is older than was asked for."""
    batches: int = 0
    lines: int = 0
    notifications: int = 0

    @property
    def in_force(self) -> bool:
        """Whether the next batch is scanned with it."""
        return self.until_batch is None


class History(NamedTuple):
    """The edits that were taken, in order, and the one that is refused now, if any."""

    edits: list[Edit]
    refused: Refusal | None
    older: int = 0
    """Edits before these, which were not asked for."""

    def of(self, kind: str) -> list[Edit]:
        """The edits of the rules, or of the segment, in order."""
        return [edit for edit in self.edits if edit.kind == kind]

    def to_json(self) -> dict[str, object]:
        """As one object."""
        edits = [asdict(edit) | {"in_force": edit.in_force} for edit in self.edits]
        refused = self.refused and self.refused._asdict()
        return {"edits": edits, "refused": refused, "older": self.older}


def look(state_dir: Path, bounds: Bounds | None = None) -> History:
    """The history of a state as of now; without bounds, all of it.

    Raises StorageError when there is no state, or a damaged one.
    """
    with StateReader.open(state_dir) as reader:
        with reader.snapshot():
            refused, last = refused_edit(reader), reader.last_batch()
            every = [Edit(*edit) for edit in accepted_edits(reader)]
        edits = every[-bounds.edits :] if bounds else every
        since = last + 1 - bounds.batches if bounds else 0
        for edit in edits:
            _add_up(reader, edit, last, since)
    return History(edits, refused, len(every) - len(edits))


def _add_up(reader: StateReader, edit: Edit, last: int, since: int) -> None:
    """Sum over the batches that were scanned under an edit, from ``since`` up to ``last``."""
    end = last + 1 if edit.until_batch is None else edit.until_batch
    edit.counted_from = max(edit.first_batch, since)
    sums = sum_batches(reader, edit.counted_from, end)
    edit.batches, edit.lines, edit.notifications = sums
