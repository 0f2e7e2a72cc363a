"""The ledger as a state stores it: bases and deltas in rows of the database, or in the files that its rows name.

Owns the SQL that reads either form, and verifies each row's checksum. It never decides what a ledger says: blobs go to
the kernel as they are.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from upswell.state import ledger_directory
from upswell.state.codec import row_checksum, to_unsigned
from upswell.state.reader import StateReader
from upswell.state.rows import LedgerParts
from upswell.state.shard_files import DamagedShard, ShardFile

_ANY_BATCH = _ANY_SHARD = 2**62
_BASES = "SELECT shard, batch, content, row_checksum FROM ledger_base"
_DELTAS = "SELECT batch, content, row_checksum FROM ledger_delta"
_SHARD_FILES = "SELECT shard, batch, kind, name, bytes, digest, row_checksum FROM shard_file"


class LedgerRows(NamedTuple):
    """The rows of a ledger as fetched, to be decoded by ``decode_ledger``."""

    bases: list[Any]
    deltas: list[Any]
    files: list[Any]
    """Of shard files, by shard, the oldest first; the shard is the first value of each."""


def read_ledger(reader: StateReader) -> LedgerParts:
    """Return the bases (in no order) and deltas (in commit order), each with its batch, whichever engine keeps them.

    Raises StorageError when the ledger is damaged, or when a run replaced files while they were read.
    """
    return decode_ledger(reader, fetch_ledger(reader))


def fetch_ledger(reader: StateReader, batch_max: int = _ANY_BATCH) -> LedgerRows:
    """Return the rows of the ledger up to and including a batch, not decoded.

    Fetching is fast enough for a read transaction; decoding is slow, and is done after it has ended.
    """
    only = (batch_max,)
    return LedgerRows(
        reader._rows(f"{_BASES} WHERE batch <= ?", only),
        reader._rows(f"{_DELTAS} WHERE batch <= ? ORDER BY batch", only),
        reader._rows(f"{_SHARD_FILES} WHERE batch <= ? ORDER BY shard, batch", only),
    )


def decode_ledger(reader: StateReader, rows: LedgerRows) -> LedgerParts:
    """Return the ledger that these rows hold, and the files that they name. Raises as ``read_ledger``."""
    bases = [_base(reader, row) for row in rows.bases]
    deltas = [_delta(reader, row) for row in rows.deltas]
    named = [_shard_file(reader, row) for row in rows.files]
    try:
        files = ledger_directory.read(reader.ledger_dir, named)
    except DamagedShard as error:
        raise reader.damaged(str(error)) from error
    return LedgerParts([*bases, *files.bases], [*deltas, *files.deltas])


def ledger_bases(
    reader: StateReader, shards: range = range(_ANY_SHARD)
) -> Iterator[tuple[int, bytes]]:
    """Yield the bases in the database of some shards, each with its batch, one at a time: they may fill the memory."""
    for row in reader._stream(
        f"{_BASES} WHERE shard >= ? AND shard < ?", (shards.start, shards.stop)
    ):
        yield _base(reader, row)


def ledger_deltas(reader: StateReader) -> Iterator[tuple[int, bytes]]:
    """Yield the deltas in the database in commit order, each with its batch, one at a time."""
    for row in reader._stream(f"{_DELTAS} ORDER BY batch"):
        yield _delta(reader, row)


def committed_shard_files(reader: StateReader) -> list[ShardFile]:
    """Return the files that hold the ledger of a run on a cluster, by shard, the oldest first; none otherwise."""
    rows = reader._rows(f"{_SHARD_FILES} ORDER BY shard, batch")
    return [_shard_file(reader, row) for row in rows]


def _base(reader: StateReader, row: tuple[int, int, bytes, int]) -> tuple[int, bytes]:
    shard, batch, content, checksum = row
    reader._verify(checksum == row_checksum(shard, batch, content), f"shard {shard} of the ledger")
    return batch, content


def _delta(reader: StateReader, row: tuple[int, bytes, int]) -> tuple[int, bytes]:
    batch, content, checksum = row
    reader._verify(
        checksum == row_checksum(batch, content), f"the ledger's change of batch {batch}"
    )
    return batch, content


def _shard_file(reader: StateReader, row: tuple[Any, ...]) -> ShardFile:
    *values, checksum = row
    reader._verify(checksum == row_checksum(*values), f"a row of shard {values[0]} of the ledger")
    return ShardFile._make([*values[:-1], to_unsigned(values[-1])])
