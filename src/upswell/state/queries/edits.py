"""Edits of the reference, the policy and the zone tables: those that became active, and the one that is refused.

Owns the SQL over ``edit``, whose rows have no checksum.
"""

from dataclasses import dataclass
from typing import NamedTuple

from upswell.state.reader import StateReader


class Refusal(NamedTuple):
    """An edit that is on disk and not active."""

    at: str
    """When it was refused: UTC, ISO 8601."""
    words: str
    """Why."""


@dataclass(slots=True)
class AcceptedEdit:
    """One time that a version became active."""

    kind: str
    """rules, segment, suppress, policy or zones."""
    version: str
    """Empty: it was turned off."""
    at: str
    """When it was accepted: UTC, ISO 8601."""
    words: str
    """What it changed and what of it was left out; empty for the first."""
    first_batch: int
    """The first batch that was, or will be, scanned with it."""
    until_batch: int | None
    """The first batch scanned with the next one; None while it is active."""


def refused_edit(reader: StateReader) -> Refusal | None:
    """Return the edit that stays refused until it is repaired; None when there is none."""
    rows = reader._rows("SELECT at, words FROM edit WHERE kind = 'refused'")
    return Refusal(*rows[0]) if rows else None


def accepted_edits(reader: StateReader) -> list[AcceptedEdit]:
    """Return every edit that became active, in order."""
    sql = (
        "SELECT kind, version, at, words, first_batch,"
        " lead(first_batch) OVER (PARTITION BY kind ORDER BY id) FROM edit WHERE kind <> 'refused' ORDER BY id"
    )
    return [AcceptedEdit(*row) for row in reader._rows(sql)]
