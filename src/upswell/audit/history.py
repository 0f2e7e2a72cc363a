"""Lists the edits of rules, segment, suppression list, policy and zone tables: what each changed, and its effect.

Owns what ``upswell history`` prints. It changes nothing. An edit's effect is the sum over the batches from the first
one scanned with it up to the next edit of the same kind, so the effects of all rules add up to all batches, and so do
those of all segments. The first suppression list or policy may come later: before it they were off.
"""

from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import NamedTuple

from upswell.state.queries.batches import sum_batches
from upswell.state.queries.edits import AcceptedEdit, Refusal, accepted_edits, refused_edit
from upswell.state.reader import StateReader


class Bounds(NamedTuple):
    """Limits of a history, so that reading it costs the same however old a state is."""

    edits: int
    """The newest ones."""
    batches: int
    """The newest ones of the state; the effects are summed over these alone."""


@dataclass(slots=True)
class Edit(AcceptedEdit):
    """An accepted edit with its effect so far."""

    counted_from: int = 0
    """The first batch that is summed: ``first_batch``, or a later one where ``Bounds`` cut it off."""
    batches: int = 0
    lines: int = 0
    notifications: int = 0

    @property
    def is_active(self) -> bool:
        """True when the next batch is scanned with it."""
        return self.until_batch is None


class History(NamedTuple):
    """The accepted edits, in order, and the one that is refused now, if any."""

    edits: list[Edit]
    refused: Refusal | None
    older: int = 0
    """How many edits before these ``Bounds`` left out."""

    def of(self, kind: str) -> list[Edit]:
        """Return the edits of one kind, in order."""
        return [edit for edit in self.edits if edit.kind == kind]

    def to_json(self) -> dict[str, object]:
        """Return it as one object for JSON."""
        edits = [asdict(edit) | {"in_force": edit.is_active} for edit in self.edits]
        refused = self.refused and self.refused._asdict()
        return {"edits": edits, "refused": refused, "older": self.older}


def read_history(state_dir: Path, bounds: Bounds | None = None) -> History:
    """Return the history of a state as of now; without bounds, all of it.

    Raises StorageError when there is no state, or it is damaged.
    """
    with StateReader.open(state_dir) as reader:
        with reader.snapshot():
            refused, last = refused_edit(reader), reader.last_batch()
            every = [Edit(*astuple(edit)) for edit in accepted_edits(reader)]
        edits = every[-bounds.edits :] if bounds else every
        since = last + 1 - bounds.batches if bounds else 0
        for edit in edits:
            _add_up(reader, edit, last, since)
    return History(edits, refused, len(every) - len(edits))


def _add_up(reader: StateReader, edit: Edit, last: int, since: int) -> None:
    """Add up the batches that were scanned with an edit, from batch ``since`` to ``last``, into it."""
    end = last + 1 if edit.until_batch is None else edit.until_batch
    edit.counted_from = max(edit.first_batch, since)
    sums = sum_batches(reader, edit.counted_from, end)
    edit.batches, edit.lines, edit.notifications = sums
