"""Converts the ledger from one form to the other: rows of the database, or files of so many shards.

Owns both directions. It never decides what is in a ledger, and leaves the form that it reads as it is: the other counts
only once a commit names it. It holds no more than one shard's file in memory at a time, unless one machine kept the
ledger, whose memory holds all of it.
"""

from collections.abc import Iterable, Iterator
from itertools import groupby

from upswell.config.settings import threads_default
from upswell.errors import StorageError
from upswell.kernel import SHARDS, Ledger
from upswell.state.connection import damaged
from upswell.state.ledger import (
    LedgerRows,
    decode_ledger,
    fetch_ledger,
    ledger_bases,
    ledger_deltas,
)
from upswell.state.ledger_directory import check_seen
from upswell.state.reader import StateReader
from upswell.state.shard_files import ShardFile, kernel_shards, write_shard_file
from upswell.storage.files import RECOVERS, translate_os_errors


def to_bases(reader: StateReader) -> Iterator[tuple[int, bytes]]:
    """Yield (kernel shard, base) of every shard that may hold something, as of the last batch.

    Raises StorageError when the ledger is damaged.
    """
    stored = fetch_ledger(reader)
    if not stored.files:
        ledger = _load(reader, *decode_ledger(reader, stored))
        yield from ((shard, ledger.shard(shard)) for shard in range(SHARDS))
    form = reader.identity().ledger
    shards = form.shards if form and form.shards else 1
    for number, rows in groupby(stored.files, key=lambda row: row[0]):
        ledger = _load(reader, *decode_ledger(reader, LedgerRows([], [], [*rows])))
        yield from ((shard, ledger.shard(shard)) for shard in kernel_shards(number, shards))


def to_files(reader: StateReader, shards: int, attempt: str) -> list[ShardFile]:
    """Write the ledger in the database, as of the last batch, to durable files of an attempt; return those.

    Returns [] when it holds nothing. A crash leaves files that no commit names. Raises StorageError.
    """
    # A ledger that was kept on a cluster has no bases of shards without customers.
    imported = any(ledger_bases(reader))
    deltas = list(ledger_deltas(reader))
    if not imported and not deltas:
        return []
    # Imported bases hold everything, each its own shard; without them there are only adopted caps.
    whole = None if imported else _load(reader, [], deltas)
    files = []
    for number in range(shards):
        own = kernel_shards(number, shards)
        ledger = whole or _load(reader, ledger_bases(reader, own), [])
        blobs = [ledger.shard(shard) for shard in own]
        with translate_os_errors(reader.ledger_dir, StorageError, RECOVERS):
            files.append(
                write_shard_file(
                    reader.ledger_dir, number, reader.last_batch(), attempt, "base", blobs
                )
            )
    check_seen(reader.ledger_dir, files)
    return files


def _load(
    reader: StateReader, bases: Iterable[tuple[int, bytes]], deltas: Iterable[tuple[int, bytes]]
) -> Ledger:
    try:
        return Ledger.load(bases, deltas, reader.day_open(), threads_default())
    except ValueError as error:
        raise damaged(reader.path, f"the ledger: {error}") from error
