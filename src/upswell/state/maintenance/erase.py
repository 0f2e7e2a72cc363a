"""Removes customers from a state: in one transaction, and then from the bytes on the disk.

Owns every write of ``state forget``, and never touches DATA and OUTPUT. The invariant: after a kill anywhere, the
transaction is done or not, and the next start or the next ``forget`` puts its files in place; and once it has returned,
no page, log or reject file of the state holds a record, a total or a cap of these customers.
"""

import secrets
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from upswell.errors import DAMAGED_HINT, Locked, StorageError
from upswell.kernel import Ledger, forget_in
from upswell.output.reject_files import Rejects, digest_of, unescape
from upswell.privacy import escape
from upswell.reference.keyed_hash import KEY_BYTES, keyed_hash
from upswell.reference.segment import numbers
from upswell.state import ledger_directory
from upswell.state.checkpoint import Checkpoint
from upswell.state.codec import row_checksum, to_signed
from upswell.state.identity import write_identity
from upswell.state.ledger import committed_shard_files
from upswell.state.queries.forgotten import forgettings
from upswell.state.reader import BATCH_COLUMNS
from upswell.state.seal import count_notifications
from upswell.state.shard_files import (
    DamagedShard,
    ShardFile,
    new_attempt,
    read_shard_file,
    write_shard_file,
)
from upswell.storage.files import RECOVERS, translate_os_errors

_COLUMNS = BATCH_COLUMNS.split(", ")


class Erased(NamedTuple):
    """The number of rows and lines removed."""

    notifications: int
    reject_lines: int
    ledger_blobs: int
    """Parts of the ledger that held totals or caps of them."""
    people: int
    """Customers of whom something was removed."""


class _Rewritten(NamedTuple):
    """A reject file without some of its lines."""

    batch: int
    content: bytes
    lines: int
    people: frozenset[bytes]
    """The msisdns whose lines were left out."""


class Eraser:
    """Removes customers from a state that its checkpoint holds."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._reader = checkpoint.reader

    def erase(self, msisdns: Collection[str], until_day: int) -> Erased:
        """Remove customers; suppress their records from the next batch on, as long as ``until_day`` is open.

        They are suppressed for longer where an adopted OUTPUT has caps of them on later days; those who are suppressed
        already stay so until the day that was decided then.

        A crash leaves all of it or nothing in the database. Reject files, and the files of a ledger in files, follow at
        the next start at the latest.

        Raises:
            StorageError: the disk fails, or a blob of the ledger is damaged.
            Locked: another program reads the state all the while: they are removed, but not yet from the disk.
        """
        rejects = Rejects(self._reader.state_dir)
        rejects.finish(self._reader.has_rejects)
        rewritten = list(self._rewrite(rejects, msisdns))
        known = forgettings(self._reader)
        new = [msisdn for msisdn in msisdns if not any(one.has(msisdn) for one in known)]
        until_day = max([until_day, *self._adopted_days(new)])
        key = secrets.token_bytes(KEY_BYTES)
        hashes = {_hash(key, msisdn): msisdn for msisdn in msisdns}
        erased = {number.decode() for one in rewritten for number in one.people}
        new_files = []
        for name, file, gone in self._rewrite_shard_files(key, [*hashes]):
            new_files.append((name, file))
            erased.update(hashes[one] for one in gone)
        with self._checkpoint.transaction() as db:
            if new:
                self._put_forgetting(db, key, new, until_day)
            notifications = {each: self._erase_notifications(db, each) for each in msisdns}
            blobs, gone = self._erase_in_ledger(db, key, [*hashes])
            erased.update(hashes[one] for one in gone)
            erased.update(each for each, many in notifications.items() if many)
            self._replace_shard_files(db, new_files)
            for one in rewritten:
                self._put_rejects(db, one)
            if rewritten:
                self._chain_anew(db, min(one.batch for one in rewritten))
        rejects.finish(self._reader.has_rejects)
        if self._reader.ledger_dir.is_dir():
            ledger_directory.sweep(
                self._reader.ledger_dir, {file.name for file in committed_shard_files(self._reader)}
            )
        self._scrub()
        reject_lines = sum(one.lines for one in rewritten)
        return Erased(
            sum(notifications.values()), reject_lines, blobs + len(new_files), len(erased)
        )

    def suppressed_until(self, msisdns: Collection[str]) -> int:
        """Return the day until whose end all of these, who were forgotten, are suppressed; 0: no day has begun yet."""
        return min(
            one.until_day
            for one in forgettings(self._reader)
            if any(one.has(msisdn) for msisdn in msisdns)
        )

    def _adopted_days(self, msisdns: Collection[str]) -> list[int]:
        """Return the days of the caps that these have from an adopted OUTPUT: later, perhaps, than any batch."""
        adopted = self._reader._rows(
            "SELECT batch, content FROM ledger_delta WHERE batch < ?", (self._reader.first_batch(),)
        )
        try:
            ledger = Ledger.load([], adopted, 0, 1)
        except ValueError as error:
            raise self._reader.damaged("the caps of its adopted OUTPUT") from error
        return [day for msisdn in msisdns for _, _, day in ledger.caps(msisdn)]

    def _put_forgetting(
        self, db: sqlite3.Connection, key: bytes, msisdns: Sequence[str], until_day: int
    ) -> None:
        ((number,),) = db.execute(
            "INSERT INTO forgetting(hash_key, people, first_batch, until_day, at)"
            " VALUES (?, ?, ?, ?, strftime('%Y-%m-%dT%H:%M:%SZ', 'now')) RETURNING id",
            (key, len(msisdns), self._reader.last_batch() + 1, until_day),
        ).fetchall()
        db.executemany(
            "INSERT INTO forgotten VALUES (?, ?)",
            [(number, to_signed(_hash(key, msisdn))) for msisdn in msisdns],
        )

    def _erase_notifications(self, db: sqlite3.Connection, msisdn: str) -> int:
        """Delete the notifications of a customer and return how many there were.

        The table ``forgotten_lines`` keeps their counts by batch, application, group and day, for later audits.
        """
        lines = Counter[tuple[int, int, int, int]]()
        byte_counts = Counter[tuple[int, int, int, int]]()
        days = self._reader._rows(
            "SELECT day, application FROM notified_total UNION SELECT day, application FROM control_total"
        )
        for day, application in days:
            place = (day, application, msisdn)
            rows = self._reader._rows(
                "SELECT batch, control, length(raw) FROM notification WHERE (day, application, msisdn) = (?, ?, ?)",
                place,
            )
            for batch, control, length in rows:
                lines[batch, application, control, day] += 1
                byte_counts[batch, application, control, day] += length + 1
            if rows:
                db.execute(
                    "DELETE FROM notification WHERE (day, application, msisdn) = (?, ?, ?)", place
                )
        count_notifications(db, -lines.total())
        db.executemany(
            "INSERT INTO forgotten_lines VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE"
            " SET lines = lines + excluded.lines, bytes = bytes + excluded.bytes",
            [(*key, count, byte_counts[key]) for key, count in lines.items()],
        )
        return lines.total()

    def _erase_in_ledger(
        self, db: sqlite3.Connection, key: bytes, hashes: Sequence[int]
    ) -> tuple[int, set[int]]:
        """Remove totals and caps from every stored part of the ledger; return how many parts held some, and whose."""
        changed, gone = 0, set[int]()
        try:
            # One at a time: together they are as large as the ledger.
            for (shard,) in self._reader._rows("SELECT shard FROM ledger_base"):
                ((batch, content),) = self._reader._rows(
                    "SELECT batch, content FROM ledger_base WHERE shard = ?", (shard,)
                )
                if (found := forget_in(content, key, hashes)) is not None:
                    rest = found[0]
                    gone |= found[1]
                    db.execute(
                        "UPDATE ledger_base SET content = ?, row_checksum = ? WHERE shard = ?",
                        (rest, row_checksum(shard, batch, rest), shard),
                    )
                    changed += 1
            for (batch,) in self._reader._rows("SELECT batch FROM ledger_delta"):
                ((content,),) = self._reader._rows(
                    "SELECT content FROM ledger_delta WHERE batch = ?", (batch,)
                )
                if (found := forget_in(content, key, hashes)) is not None:
                    rest = found[0]
                    gone |= found[1]
                    db.execute(
                        "UPDATE ledger_delta SET content = ?, row_checksum = ? WHERE batch = ?",
                        (rest, row_checksum(batch, rest), batch),
                    )
                    changed += 1
                    if batch < self._reader.first_batch():
                        known = self._reader.identity()
                        write_identity(db, known, replace(known, adopted_bytes=len(rest)))
        except ValueError as error:
            raise StorageError(
                f"the ledger in {self._reader.path} is damaged", DAMAGED_HINT
            ) from error
        return changed, gone

    def _rewrite_shard_files(
        self, key: bytes, hashes: Sequence[int]
    ) -> Iterator[tuple[str, ShardFile, set[int]]]:
        """Rewrite the ledger's files that hold totals or caps of them, under the names of a new attempt.

        Yields (old name, new file, hashes of those it held). A crash leaves files that no row names.
        """
        attempt = new_attempt()
        with translate_os_errors(self._reader.ledger_dir, StorageError, RECOVERS):
            for file in committed_shard_files(self._reader):
                try:
                    blobs = read_shard_file(self._reader.ledger_dir, file)
                    changed = [forget_in(blob, key, hashes) for blob in blobs]
                except (DamagedShard, ValueError) as error:
                    raise self._reader.damaged(f"the ledger: {error}") from error
                if any(blob is not None for blob in changed):
                    rest = [
                        old if new is None else new[0]
                        for old, new in zip(blobs, changed, strict=True)
                    ]
                    place = (file.shard, file.batch, attempt, file.kind)
                    gone = set[int]().union(*(new[1] for new in changed if new is not None))
                    yield file.name, write_shard_file(self._reader.ledger_dir, *place, rest), gone

    def _replace_shard_files(
        self, db: sqlite3.Connection, new_files: Sequence[tuple[str, ShardFile]]
    ) -> None:
        for name, file in new_files:
            values = (*file[:-1], to_signed(file.digest))
            db.execute(
                "UPDATE shard_file SET name = ?, bytes = ?, digest = ?, row_checksum = ? WHERE name = ?",
                (*values[-3:], row_checksum(*values), name),
            )

    def _rewrite(self, rejects: Rejects, msisdns: Collection[str]) -> Iterator[_Rewritten]:
        """Write each reject file in which a customer occurs anew, without those lines and beside the old one.

        A file of no batch of this state, left by an earlier one, is replaced at once: no commit is to come for it.
        """
        wanted = frozenset(map(str.encode, msisdns))
        for number, content in rejects.contents():
            lines = content.splitlines(keepends=True)
            people, kept = set[bytes](), list[bytes]()
            for line in lines:
                # The columns before the content are ours: numbers that may look like an msisdn.
                found = wanted.intersection(numbers(unescape(line.rpartition(b"\t")[2])))
                people |= found
                if not found:
                    kept.append(line)
            if len(kept) < len(lines):
                rest = b"".join(kept)
                known = self._reader.first_batch() <= number <= self._reader.last_batch()
                rejects.rewrite(number, rest, at_once=not known)
                yield _Rewritten(number, rest, len(lines) - len(kept), frozenset(people))

    def _put_rejects(self, db: sqlite3.Connection, one: _Rewritten) -> None:
        for values in self._reader._rows(
            f"SELECT {BATCH_COLUMNS} FROM batch WHERE number = ?", (one.batch,)
        ):
            length, digest = len(one.content), digest_of(one.content)
            row = dict(zip(_COLUMNS, values, strict=True))
            row |= {"rejects_bytes": length, "rejects_digest": digest}
            db.execute(
                "UPDATE batch SET rejects_bytes = ?, rejects_digest = ?, row_checksum = ? WHERE number = ?",
                (length, digest, self._reader.batch_checksum(list(row.values())), one.batch),
            )

    def _chain_anew(self, db: sqlite3.Connection, first: int) -> None:
        """Make the checksums of the batches after this one follow it again."""
        before = 0
        # One at a time: a page of rows would be read before the first of them is written.
        for number in range(first, self._reader.last_batch() + 1):
            for values in self._reader._rows(
                f"SELECT {BATCH_COLUMNS}, row_checksum FROM batch WHERE number = ?", (number,)
            ):
                *row, checksum = values
                if number > first:
                    row[-1] = before
                    checksum = self._reader.batch_checksum(row)
                    db.execute(
                        "UPDATE batch SET checksum_before = ?, row_checksum = ? WHERE number = ?",
                        (before, checksum, number),
                    )
                before = checksum

    def _scrub(self) -> None:
        if not self._checkpoint.scrub():
            raise Locked(
                f"they are removed from the state, but another program reads {escape(str(self._reader.path))}, so its"
                " files still hold what was removed",
                "end that program, then run the same command again: it completes the removal",
            )


def _hash(key: bytes, msisdn: str) -> int:
    return keyed_hash(key, msisdn.encode())
