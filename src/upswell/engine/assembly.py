"""Makes the batch that is committed out of the kernel's result.

Owns the checks and the bookkeeping between the two: the sums of every range, the batch's log, and which shards of the
ledger are compacted. It reads and writes nothing.
"""

from collections.abc import Sequence
from typing import NamedTuple

from upswell import kernel
from upswell.errors import UpswellError
from upswell.kernel import Ledger, Range, Result, Scanned
from upswell.reference.versions import Versions
from upswell.source.file import File
from upswell.state.batch import Batch, DroppedRejects, LogRange, Output
from upswell.state.rows import LedgerSizes
from upswell.state.shard_files import ShardFile

COMPACT_BYTES_MIN = 16 << 20
"""A million changes, which a start replays in a few hundredths of a second."""

Pairs = Sequence[tuple[Range, Scanned]]
"""Each range that was asked for, with the part of it that the kernel consumed."""


class LedgerChange(NamedTuple):
    """The changes to the stored ledger that a batch commits."""

    delta: bytes = b""
    """The change, for the checkpoint's database."""
    compactions: Sequence[tuple[int, bytes]] = ()
    """(shard, new base) of each shard that is compacted in the database."""
    shard_files: Sequence[ShardFile] = ()
    """The files that the batch's tasks wrote, when the ledger is in files."""


def check_sums(pairs: Pairs) -> None:
    """Check that every line has exactly one outcome. If not the run stops: better no notification than a wrong one.

    Raises:
        UpswellError: the counts of a range do not add up; nothing of the batch may be committed.
    """
    for wanted, scanned in pairs:
        if sum(scanned.outcomes) != scanned.lines or sum(scanned.rejects) != scanned.outcomes[0]:
            raise UpswellError(
                f"the counts of {wanted.name} do not add up: {scanned.lines} lines,"
                f" outcomes {scanned.outcomes}, rejects {scanned.rejects}",
                "nothing of this batch was committed; keep the file and report this",
            )


def assemble(
    number: int,
    pairs: Pairs,
    result: Result,
    *,
    applications: Sequence[str],
    versions: Versions,
    files: Sequence[File],
    ledger: LedgerChange,
    day_open: int,
    prune_before: int = 0,
) -> Batch:
    """Make the batch of what was consumed.

    A range keeps its index in ``pairs`` as its sequence, by which notifications refer to it.
    """
    consumed = [(at, pair) for at, pair in enumerate(pairs) if pair[1].end > pair[0].start]
    scans = [scanned for _, (_, scanned) in consumed]
    return Batch(
        number=number,
        ranges=[
            LogRange(
                batch=number,
                sequence=at,
                file=wanted.name,
                stamp=wanted.stamp,
                start=wanted.start,
                end=scanned.end,
                newest_stamp=wanted.newest_stamp,
                versions=versions,
            )
            for at, (wanted, scanned) in consumed
        ],
        files=files,
        applications=applications,
        outputs=[Output(applications[index], content) for index, content in result.outputs],
        notifications=result.notifications,
        rejects=result.rejects,
        dropped=[
            DroppedRejects(at, *scanned.rejects_dropped)
            for at, (_, scanned) in consumed
            if scanned.rejects_dropped
        ],
        delta=ledger.delta,
        compactions=ledger.compactions,
        shard_files=ledger.shard_files,
        day_open=day_open,
        lines=sum(scanned.lines for scanned in scans),
        control_outputs=[
            Output(applications[index], content) for index, content in result.control_outputs
        ],
        control=result.control_notifications,
        prune_before=prune_before,
        outcomes=_sum(kernel.OUTCOMES, [scanned.outcomes for scanned in scans]),
        reasons=_sum(kernel.REASONS, [scanned.rejects for scanned in scans]),
    )


def compactions(ledger: Ledger, sizes: LedgerSizes, delta_bytes: int) -> list[tuple[int, bytes]]:
    """Choose the shards to compact with this batch, so that a restart never has many deltas to replay.

    Twice the delta's bytes are compacted, oldest shard first, once the deltas outgrow half of the bases. So the cost of
    a commit follows what changed, and what is stored stays within a small multiple of the live entries.
    """
    if sizes.deltas + delta_bytes <= max(COMPACT_BYTES_MIN, sizes.bases // 2):
        return []
    chosen: list[tuple[int, bytes]] = []
    left_bytes = 2 * delta_bytes
    for shard in sizes.oldest_shards:
        content = ledger.shard(shard)
        chosen.append((shard, content))
        left_bytes -= len(content)
        if left_bytes <= 0:
            break
    return chosen


def _sum(names: Sequence[str], rows: Sequence[Sequence[int]]) -> dict[str, int]:
    return {name: sum(row[at] for row in rows) for at, name in enumerate(names)}
