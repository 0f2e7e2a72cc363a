"""Writes rows: those of a batch, of files and of reference versions.

Owns the statements that insert into these tables, and the form of their values. Call them only within a transaction
of the checkpoint, which commits what they write.
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain, groupby
from operator import itemgetter

from upswell.output.names import Staged
from upswell.output.reject_files import digest_of
from upswell.reference.application import directory_name
from upswell.reference.versions import Kind, Versions
from upswell.source.file import File
from upswell.state.batch import Batch
from upswell.state.codec import encode_name, row_checksum, storable_text, to_signed
from upswell.state.identity import StateIdentity, write_identity
from upswell.state.reader import BATCH_COLUMNS, FILE_COLUMNS, StateReader
from upswell.state.rows import Archived
from upswell.state.seal import count_notifications

_GROUP_ROWS = (
    100  # rows of one INSERT: measured twice as fast as one row each, and no faster with more
)
PRUNED_ROWS_MIN = 2000  # of a commit: some 10 ms
_ROW_VALUES = 4  # those of a row that are not the same for the whole group
_ENCODER = json.JSONEncoder(separators=(",", ":"))  # made once, as each row has two such texts
_FILE_UPDATES = ", ".join(
    f"{column} = excluded.{column}" for column in [*FILE_COLUMNS.split(", ")[1:], "row_checksum"]
)


class RowWriter:
    """Writes over the connection that ``reader`` reads from."""

    def __init__(self, reader: StateReader, db: sqlite3.Connection) -> None:
        self._reader = reader
        self._db = db

    def put_identity(self, identity: StateIdentity) -> None:
        """Replace the recorded identity of the state."""
        write_identity(self._db, self._reader.identity(), identity)

    def put_files(self, files: Iterable[File]) -> None:
        """Insert the rows of files, or replace those of the same names."""
        rows = []
        for file in files:
            values = (
                encode_name(file.name), file.state, file.stamp, file.reason, storable_text(file.detail),
                to_signed(file.inode), file.size, file.mtime_ns, file.offset, file.newlines, to_signed(file.digest),
                file.tail, file.content_bytes, to_signed(file.content_digest),
                None if file.first_record is None else to_signed(file.first_record), int(file.late),
                file.rejects_kept_bytes, file.lines, _json(file.outcomes), _json(file.reasons), file.repeats,
                file.continues, file.continued_by,
            )  # fmt: skip
            rows.append((*values, row_checksum(*values)))
        self._db.executemany(
            f"INSERT INTO file({FILE_COLUMNS}, row_checksum) VALUES ({'?,' * FILE_COLUMNS.count(', ')}?,?)"
            f" ON CONFLICT(name) DO UPDATE SET {_FILE_UPDATES}",
            rows,
        )

    def drop_unconsumed_files(self, names: Iterable[str]) -> None:
        """Delete the rows of these names of which nothing was consumed."""
        self._db.executemany(
            'DELETE FROM file WHERE name = ? AND "offset" = 0'
            " AND state IN ('ignored', 'waiting', 'reading', 'held')",
            [(encode_name(name),) for name in names],
        )

    def put_archived(self, states: Mapping[str, Archived | None]) -> None:
        """Write the archive state of each file, by name; None deletes the row of a file that stays in DATA."""
        self._db.executemany(
            "INSERT INTO archived SELECT id, ?2 FROM file WHERE name = ?1 AND ?2 IS NOT NULL"
            " ON CONFLICT(file) DO UPDATE SET state = excluded.state",
            [(encode_name(name), state) for name, state in states.items()],
        )
        self._db.executemany(
            "DELETE FROM archived WHERE file = (SELECT id FROM file WHERE name = ?)",
            [(encode_name(name),) for name, state in states.items() if state is None],
        )

    def put_applications(self, names: Iterable[str]) -> None:
        """Give new applications their ids."""
        self._db.executemany(
            "INSERT INTO application(name, directory) VALUES (?, ?)",
            [(name, directory_name(name)) for name in names],
        )

    def put_batch(self, batch: Batch) -> None:
        """Write a batch's own row, its log, its dropped rejects, and what it adds to the totals.

        The rows of its files must be there.
        """
        number, versions = batch.number, batch.ranges[0].versions
        data_bytes = sum(taken.end - taken.start for taken in batch.ranges)
        values = (
            number, batch.stamp, batch.ranges[-1].newest_stamp, batch.day_open, *versions, batch.lines, data_bytes,
            len(batch.rejects), digest_of(batch.rejects), _json(batch.outcomes), _json(batch.reasons), _now(),
            self._reader.checksum_of(number - 1),
        )  # fmt: skip
        self._db.execute(
            f"INSERT INTO batch({BATCH_COLUMNS}, row_checksum) VALUES ({'?,' * len(values)}?)",
            (*values, self._reader.batch_checksum(values)),
        )
        file_ids = self._reader.file_ids({taken.file for taken in batch.ranges})
        self._db.executemany(
            "INSERT INTO log VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                (number, taken.sequence, file_ids[taken.file], taken.stamp, taken.start, taken.end, taken.newest_stamp)
                for taken in batch.ranges
            ],
        )  # fmt: skip
        self._db.executemany(
            "INSERT INTO dropped_rejects VALUES (?, ?, ?, ?, ?)",
            [(number, *dropped) for dropped in batch.dropped],
        )
        self._add_to_totals(batch, data_bytes)
        self._note_first_use(number, versions)

    def put_staged(self, batch: int, staged: Sequence[Staged]) -> None:
        """Write the staged files of a batch."""
        self._db.executemany(
            "INSERT INTO staged VALUES (?, ?, ?, ?, ?)",
            [(batch, one.application, int(one.control), one.length, one.digest) for one in staged],
        )

    def put_notifications(self, batch: Batch, application_ids: Mapping[str, int]) -> None:
        """Write a batch's notifications, with those of the control group, and add them to the totals of their days.

        sqlite3.IntegrityError ends the transaction when one was already made, of the same day, application and msisdn.
        """
        for notifications, totals, control in (
            (batch.notifications, "notified_total", False),
            (batch.control, "control_total", True),
        ):
            for (day, application), rows in groupby(notifications, itemgetter(0, 1)):
                # One without an id has no output in this batch, so no row counts in it.
                number = application_ids.get(batch.applications[application], -1)
                values = list(chain.from_iterable(map(itemgetter(2, 3, 4, 5), rows)))
                row = f"({day:d},{number:d},?,{batch.number:d},?,?,?,{control:d})"
                self._insert_notifications(row, values)
                count_notifications(self._db, len(values) // _ROW_VALUES)
                self._db.execute(
                    f"INSERT INTO {totals} VALUES (?, ?, ?)"
                    " ON CONFLICT(day, application) DO UPDATE SET lines = lines + excluded.lines",
                    (day, number, len(values) // _ROW_VALUES),
                )

    def _insert_notifications(self, row: str, values: Sequence[object]) -> None:
        for at in range(0, len(values), _ROW_VALUES * _GROUP_ROWS):
            some = values[at : at + _ROW_VALUES * _GROUP_ROWS]
            # Plain INSERT: a second notification of the same day must end the transaction.
            self._db.execute(
                "INSERT INTO notification VALUES " + ",".join([row] * (len(some) // _ROW_VALUES)),
                some,
            )

    def prune(self, batch: Batch) -> None:
        """Delete notifications of days that are no longer kept, so few that no commit pays for a whole day.

        Twice as many as the batch brings, so that it keeps up with them. Those of the batch itself stay until a later
        one, however old their days: while it is not published, a staged file that is lost is made again from them.
        """
        if not batch.prune_before:
            return
        identity = self._reader.identity()
        before = max(batch.prune_before, identity.pruned_before)
        rows = max(PRUNED_ROWS_MIN, 2 * (len(batch.notifications) + len(batch.control)))
        ends = self._db.execute(
            "SELECT day, application, msisdn FROM notification WHERE day < ? ORDER BY day, application, msisdn"
            " LIMIT 1 OFFSET ?",
            (before, rows),
        ).fetchall() or [(before, -1, "")]
        gone = self._db.execute(
            "DELETE FROM notification WHERE (day, application, msisdn) < (?, ?, ?) AND batch <> ?",
            (*ends[0], batch.number),
        )
        if gone.rowcount:
            count_notifications(self._db, -gone.rowcount)
            self.put_identity(replace(identity, pruned_before=before))

    def put_reference(self, kind: Kind, version: str, content: bytes, note: str) -> None:
        """Keep the content of a version. One that is kept already gets the note, and counts as taken now."""
        self._db.execute(
            "INSERT INTO reference(kind, version, content, digest, note, taken_at) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT(kind, version) DO UPDATE SET note = excluded.note, taken_at = excluded.taken_at",
            (kind, version, content, hashlib.sha256(content).digest(), storable_text(note), _now()),
        )  # fmt: skip

    def put_edit(self, kind: str, version: str, words: str) -> None:
        """Add an edit of the reference, which applies from the next batch on."""
        self._db.execute(
            "INSERT INTO edit(kind, version, first_batch, words, at) VALUES (?, ?, ?, ?, ?)",
            (kind, version, self._reader.last_batch() + 1, storable_text(words), _now()),
        )

    def replace_refused(self, words: str) -> None:
        """Keep these words about the refused edit on disk in the place of others; "": there is none."""
        self._db.execute("DELETE FROM edit WHERE kind = 'refused'")
        if words:
            self.put_edit("refused", "", words)

    def drop_unused_references(self, kind: Kind, current: str) -> None:
        """Delete the versions of a kind that are not current and that no batch was scanned with."""
        self._db.execute(
            "DELETE FROM reference WHERE kind = ? AND version <> ? AND first_batch IS NULL",
            (kind, current),
        )

    def end_forgetting(self, day_open: int) -> None:
        """Delete the keys and hashes of customers who were forgotten and whose days are closed now."""
        over = "SELECT id FROM forgetting WHERE until_batch IS NULL AND until_day < ?"
        self._db.execute(f"DELETE FROM forgotten WHERE forgetting IN ({over})", (day_open,))
        self._db.execute(
            f"UPDATE forgetting SET hash_key = NULL, until_batch = ? WHERE id IN ({over})",
            (self._reader.last_batch(), day_open),
        )

    def _add_to_totals(self, batch: Batch, data_bytes: int) -> None:
        rows: list[tuple[str, str, int]] = [
            ("", "batches", 1), ("", "lines", batch.lines), ("", "bytes", data_bytes)
        ]  # fmt: skip
        rows += [("outcome", name, lines) for name, lines in batch.outcomes.items()]
        rows += [("reason", name, lines) for name, lines in batch.reasons.items()]
        self._db.executemany(
            "INSERT INTO total VALUES (?, ?, ?) ON CONFLICT(kind, name) DO UPDATE SET value = value + excluded.value",
            rows,
        )

    def _note_first_use(self, number: int, versions: Versions) -> None:
        for kind, version in versions._asdict().items():
            self._db.execute(
                "UPDATE reference SET first_batch = ? WHERE kind = ? AND version = ? AND first_batch IS NULL",
                (number, kind, version),
            )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _json(counts: Mapping[str, int]) -> str:
    return _ENCODER.encode(counts)
