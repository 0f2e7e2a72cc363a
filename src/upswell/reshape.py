"""The ledger out of one form into the other: rows of the database, or files of so many shards.

Owns both ways. It decides nothing about what is in a ledger, and leaves the form that it reads as it is: the other
counts only once a commit names it. No more than one shard's file is in memory at a time, unless the ledger was kept by
one machine, whose memory holds it.
"""

from collections.abc import Iterator
from itertools import groupby

from upswell.config import threads_default
from upswell.kernel import SHARDS, Ledger
from upswell.tasks import ShardFile, kernel_shards, write_shard_file
from upswell.view import View


def to_bases(view: View) -> Iterator[tuple[int, bytes]]:
    """Each of the kernel's shards that may hold something as a base, as of the last batch."""
    base_rows, delta_rows, file_rows = view.ledger_rows()
    day_open, threads = view.day_open(), threads_default()
    if not file_rows:
        ledger = Ledger.load(*view.ledger_of(base_rows, delta_rows, []), day_open, threads)
        for shard in range(SHARDS):
            yield shard, ledger.shard(shard)
    shards = int(view.meta().get("spark_shards", "1"))
    for number, rows in groupby(file_rows, key=lambda row: row[0]):
        ledger = Ledger.load(*view.ledger_of([], [], [*rows]), day_open, threads)
        for shard in kernel_shards(number, shards):
            yield shard, ledger.shard(shard)


def to_files(view: View, shards: int, attempt: str) -> list[ShardFile]:
    """Write what the database holds of the ledger to the files of an attempt, as of the last batch; durable then.

    A crash leaves files that no commit names.
    """
    day_open, threads, batch = view.day_open(), threads_default(), view.last_batch()
    deltas = view.ledger_deltas()
    # Bases that were imported hold all; adopted caps alone came from one machine.
    whole = Ledger.load(view.ledger_bases(), deltas, day_open, threads) if deltas else None
    files: list[ShardFile] = []
    for number in range(shards):
        own = kernel_shards(number, shards)
        ledger = whole or Ledger.load(view.ledger_bases(own), [], day_open, threads)
        blobs = [ledger.shard(shard) for shard in own]
        files.append(write_shard_file(view.ledger_dir, number, batch, attempt, "base", blobs))
    return files
