"""Writes the ledger: bases and deltas into rows of the database, or the names of the files that hold them.

Owns which deltas are kept: those that some shard's base does not contain yet, and the caps of an adopted OUTPUT, which
stay for good since a replay of the log begins with them. It never decides what a ledger says, nor which shards are
compacted.
"""

import sqlite3
from collections.abc import Iterable

from upswell.state.batch import Batch
from upswell.state.codec import row_checksum, to_signed
from upswell.state.reader import StateReader
from upswell.state.rows import LedgerSizes
from upswell.state.shard_files import ShardFile


class LedgerWriter:
    """The ledger of a state, for its one writer. Make every change within a transaction of the checkpoint.

    After a transaction that failed it must not be used: it knows what was written, not what was committed.
    """

    def __init__(self, reader: StateReader, db: sqlite3.Connection, shards: int) -> None:
        """Look up what is stored.

        Args:
            reader: of the state; deltas of batches before its first are adopted caps.
            db: the writer's connection.
            shards: how many shards the ledger has.
        """
        self._db = db
        self._shards = shards
        rows = reader._rows("SELECT shard, batch, length(content) FROM ledger_base")
        self._bases = {shard: (batch, length) for shard, batch, length in rows}
        """By shard, the batch and the bytes of its base."""
        rows = reader._rows(
            "SELECT batch, length(content) FROM ledger_delta WHERE batch >= ?",
            (reader.first_batch(),),
        )
        self._deltas: dict[int, int] = dict(rows)
        """By batch, the bytes of its delta. Without adopted caps: no compaction removes them."""

    def sizes(self) -> LedgerSizes:
        """Return what is stored, without reading it."""
        shards = sorted(range(self._shards), key=lambda shard: self._bases.get(shard, (0, 0))[0])
        bases = sum(length for _, length in self._bases.values())
        return LedgerSizes(bases, sum(self._deltas.values()), shards)

    def put_adopted(self, batch: int, delta: bytes) -> None:
        """Replace the stored deltas with the caps of an adopted OUTPUT, as the delta of its last batch; b"": none."""
        self._db.execute("DELETE FROM ledger_delta")
        self._deltas = {}
        if delta:
            self._insert_delta(batch, delta)

    def put(self, batch: Batch, first_batch: int) -> None:
        """Write a batch's delta, compactions and shard files, and delete the deltas that no shard needs any more."""
        # A delta says nothing about a shard whose base is as new: with all of them compacted it need not be written.
        if batch.delta and len(batch.compactions) < self._shards:
            self._insert_delta(batch.number, batch.delta)
            self._deltas[batch.number] = len(batch.delta)
        for shard, content in batch.compactions:
            self._db.execute(
                "INSERT INTO ledger_base(shard, batch, content, row_checksum) VALUES (?, ?, ?, ?)"
                " ON CONFLICT(shard) DO UPDATE SET batch = excluded.batch, content = excluded.content,"
                " row_checksum = excluded.row_checksum",
                (shard, batch.number, content, row_checksum(shard, batch.number, content)),
            )
            self._bases[shard] = (batch.number, len(content))
        if len(self._bases) == self._shards:
            oldest = min(at for at, _ in self._bases.values())
            self._db.execute(
                "DELETE FROM ledger_delta WHERE batch BETWEEN ? AND ?", (first_batch, oldest)
            )
            self._deltas = {at: length for at, length in self._deltas.items() if at > oldest}
        self._put_shard_files(batch.shard_files)

    def move_to_files(self, files: Iterable[ShardFile], first_batch: int) -> None:
        """Record these files as the ledger and delete the rows that held it; adopted caps stay in their row."""
        self._db.execute("DELETE FROM ledger_base")
        self._db.execute("DELETE FROM ledger_delta WHERE batch >= ?", (first_batch,))
        self._put_shard_files(files)
        self._bases, self._deltas = {}, {}

    def _insert_delta(self, batch: int, delta: bytes) -> None:
        self._db.execute(
            "INSERT INTO ledger_delta(batch, content, row_checksum) VALUES (?, ?, ?)",
            (batch, delta, row_checksum(batch, delta)),
        )

    def _put_shard_files(self, files: Iterable[ShardFile]) -> None:
        for file in files:
            if file.kind == "base":
                self._db.execute("DELETE FROM shard_file WHERE shard = ?", (file.shard,))
            values = (*file[:-1], to_signed(file.digest))
            self._db.execute(
                "INSERT INTO shard_file VALUES (?, ?, ?, ?, ?, ?, ?)",
                (*values, row_checksum(*values)),
            )
