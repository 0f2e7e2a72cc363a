"""What a state's rows say, as values: a batch, the sums over all of them, the ledger, a reference version.

Owns their shape, and the form of the list of archives; decides nothing. ``reader`` makes them out of rows whose
checksums match. A file's row is ``batch.File``, a range of the log ``batch.LogRange``.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from upswell.reference.versions import Versions

Archived = Literal["moving", "moved", "grew", "taken"]
"""How far a finished file is on its way into the archive: begun, there, there with more in it, or its name is taken."""
ARCHIVE, ARCHIVES_BEFORE = "archive", "archives_before"
"""The keys of ``meta`` with the archive that a run had last, and with a JSON list of those that it had before."""


class CommittedBatch(NamedTuple):
    """What one commit made true, in numbers."""

    number: int
    stamp: str
    newest_stamp: str
    """The newest stamp of the log up to its last range."""
    day_open: int
    versions: Versions
    lines: int
    bytes: int
    """Uncompressed bytes of DATA that it took."""
    rejects_bytes: int
    """Length of its reject file; 0 when it has none."""
    rejects_digest: str
    """SHA-256 of its reject file, hex; "" when it has none."""
    outcomes: dict[str, int]
    reasons: dict[str, int]
    committed_at: str
    """UTC, ISO 8601."""


class Totals(NamedTuple):
    """Sums over all batches; names that never occurred are absent."""

    batches: int
    lines: int
    bytes: int
    outcomes: dict[str, int]
    reasons: dict[str, int]


class LedgerParts(NamedTuple):
    """The ledger as stored: what ``Ledger.load`` takes."""

    bases: list[tuple[int, bytes]]
    deltas: list[tuple[int, bytes]]


class ForgottenLines(NamedTuple):
    """Notifications that were sent, and are forgotten, of one application in one batch."""

    batch: int
    application: int
    control: bool
    day: int
    lines: int
    bytes: int
    """Their records with line ends."""


class ReferenceVersion(NamedTuple):
    """One version of the rules or the segment that was in force."""

    kind: str
    version: str
    note: str
    taken_at: str
    first_batch: int | None
    """The first batch scanned with it; None when no batch was yet."""
    length: int
    """Bytes of its content."""


def archives(meta: Mapping[str, str]) -> list[Path]:
    """Every directory that finished files were moved to, the last one first."""
    before = json.loads(meta.get(ARCHIVES_BEFORE, "[]"))
    return [Path(path) for path in (meta.get(ARCHIVE), *before) if path]
