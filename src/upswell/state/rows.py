"""Rows of a state as values: a batch, the sums over all batches, the ledger, a reference version.

Owns their shape; it decides nothing. ``reader`` and ``ledger`` make them from rows whose checksums match. A file's row
is ``source.file.File``, a range of the log ``batch.LogRange``.
"""

from typing import Literal, NamedTuple

from upswell.reference.versions import Versions

Archived = Literal["moving", "moved", "grew", "taken"]
"""How far a finished file is on its way to the archive.

``moving``: the move began. ``moved``: it is there. ``grew``: it is there, with more than was consumed. ``taken``: it
stays in DATA, as the archive has a file of its name.
"""


class CommittedBatch(NamedTuple):
    """A batch as committed, in numbers."""

    number: int
    stamp: str
    newest_stamp: str
    """The newest stamp of the log up to its last range."""
    day_open: int
    versions: Versions
    lines: int
    bytes: int
    """Bytes of DATA that it consumed, uncompressed."""
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
    """The ledger as stored, each blob with its batch: the first arguments of ``Ledger.load``."""

    bases: list[tuple[int, bytes]]
    deltas: list[tuple[int, bytes]]


class LedgerSizes(NamedTuple):
    """The stored sizes of the ledger, which decide what to compact."""

    bases: int
    """Bytes of all bases."""
    deltas: int
    """Bytes of the deltas that a restart would load, without adopted caps."""
    oldest_shards: list[int]
    """Every shard, the one with the oldest base (or none) first."""


class ForgottenLines(NamedTuple):
    """Notifications of one application, day and batch that were sent or held back, and are forgotten since."""

    batch: int
    application: int
    control: bool
    day: int
    lines: int
    bytes: int
    """Of their records, with line ends."""


class ReferenceVersion(NamedTuple):
    """A version of rules, segment, suppression list, policy or zone tables that was active."""

    kind: str
    version: str
    note: str
    taken_at: str
    first_batch: int | None
    """The first batch scanned with it; None when none was yet."""
    length: int
    """Of its content, in bytes."""
