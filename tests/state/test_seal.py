"""The seal of a state: rows that are lost, or of another moment than the last commit, stop the next start."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from support.batches import SHARDS, World, made, refused
from upswell.errors import StorageError
from upswell.state.checkpoint import Checkpoint
from upswell.state.codec import row_checksum
from upswell.state.connection import open_writer
from upswell.state.maintenance.transfer import export_state, import_state
from upswell.state.maintenance.verify import verify
from upswell.state.migrations import MIGRATIONS
from upswell.state.reader import FILE_COLUMNS, StateReader
from upswell.state.seal import COUNTED, KEY, MANY, SUMMED, broken_seal


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state of three batches, closed."""
    with World(tmp_path / "out") as world:
        for number in (1, 2, 3):
            world.committer.commit(made(number))
    return world.state


def changed(state: Path, *statements: str) -> None:
    """Run statements on the database, as a hand would."""
    db = sqlite3.connect(state / "checkpoint.db", isolation_level=None)
    for statement in statements:
        db.execute(statement)
    db.close()


def is_told(state: Path, words: str) -> None:
    """The next start and ``verify`` say these words."""
    with refused(StorageError, words), Checkpoint.open(state, SHARDS):
        pass
    assert words in " ".join(verify(state))


def test_every_table_is_sealed() -> None:
    """A new table has its place in the seal."""
    created = [
        statement.split("(")[0].split()[-1]
        for migration in MIGRATIONS
        for statement in migration.statements
        if statement.startswith("CREATE TABLE")
    ]
    assert {*created} - {"migration"} == {*SUMMED, *COUNTED, MANY}


@pytest.mark.parametrize(
    "table", ["batch", "file", "ledger_base", "ledger_delta", "log", "application", "staged", "total", "reference"]
)  # fmt: skip
def test_a_deleted_row_is_told(state: Path, table: str) -> None:
    """One row less than were committed, by whomever: the table is named with both numbers."""
    with sqlite3.connect(state / "checkpoint.db") as db:
        ((rows,),) = db.execute(f"SELECT count(*) FROM {table}")
    db.close()
    changed(state, f"DELETE FROM {table} WHERE rowid = 1" if table in ("file", "batch") else
            f"DELETE FROM {table} WHERE {_key(table)} = (SELECT min({_key(table)}) FROM {table})")  # fmt: skip
    with sqlite3.connect(state / "checkpoint.db") as db:
        ((left,),) = db.execute(f"SELECT count(*) FROM {table}")
    db.close()

    is_told(state, f"{table} has {left} rows, not {rows}")


def _key(table: str) -> str:
    keys = {"ledger_base": "shard", "application": "id", "total": "name", "reference": "id"}
    return keys.get(table, "batch")


def test_an_older_database_under_a_newer_log_is_told(tmp_path: Path) -> None:
    """Its pages are sound, and so is the log: together they are of no moment, whichever of the older ones it is."""
    older: list[bytes] = []
    for number in range(1, 46):
        with World(tmp_path / "out") as world:
            world.committer.commit(made(number))
            log = (world.state / "checkpoint.db-wal").read_bytes()
        older.append((world.state / "checkpoint.db").read_bytes())
    for at in (0, 9, 20, 35, 41):
        (world.state / "checkpoint.db").write_bytes(older[at])
        (world.state / "checkpoint.db-wal").write_bytes(log)
        with refused(StorageError, "is damaged"), World(world.output):
            pass


@pytest.mark.parametrize(
    ("statements", "words"),
    [
        ((f"DELETE FROM meta WHERE key = '{KEY}'",), "an entry of meta"),
        ((f"UPDATE meta SET value = '{{}}' WHERE key = '{KEY}'",), "an entry of meta"),
        (("DELETE FROM meta WHERE key = 'rules_version'",), "meta has"),
        (("UPDATE file SET row_checksum = row_checksum + 1 WHERE id = 2",), "file has 3 rows, some of another commit"),
        (
            (
                "CREATE TEMP TABLE old AS SELECT number, row_checksum AS sum FROM batch",
                "UPDATE batch SET row_checksum = (SELECT sum FROM temp.old WHERE old.number = 3 - batch.number)"
                " WHERE number < 3",
            ),
            "does not follow",
        ),
    ],
)  # fmt: skip
def test_sums_that_are_not_those_of_the_last_commit_are_told(
    state: Path, statements: tuple[str, ...], words: str
) -> None:
    """The seal itself, its sums and the chain of batches are compared at a start."""
    changed(state, *statements)

    is_told(state, words)


def test_a_seal_that_is_lost_during_a_run_stops_it(state: Path) -> None:
    """Nothing is sealed anew over sums that nobody knows."""
    checkpoint = Checkpoint.open(state, SHARDS)
    with refused(StorageError, "an entry of meta"), checkpoint.transaction() as db:
        db.execute("DELETE FROM meta WHERE key = ?", (KEY,))
        db.execute("DELETE FROM log WHERE batch = 1")
    checkpoint.close()

    assert [] == verify(state)


def test_an_index_that_lost_a_sector_is_told(state: Path) -> None:
    """Files whose names are no longer found would be read again."""
    path = state / "checkpoint.db"
    db = sqlite3.connect(path)
    ((page,),) = db.execute(
        "SELECT rootpage FROM sqlite_schema WHERE name = 'sqlite_autoindex_file_1'"
    )
    ((size,),) = db.execute("PRAGMA page_size")
    db.close()
    data = bytearray(path.read_bytes())
    data[page * size - 512 : page * size] = bytes(512)
    path.write_bytes(data)

    with refused(StorageError, "pages are inconsistent"):
        open_writer(state)


def test_after_vacuum_changes_still_count(state: Path) -> None:
    """What keeps the sums is there again when the free pages are gone."""
    with Checkpoint.open(state, SHARDS) as checkpoint:
        assert checkpoint.scrub()
        checkpoint.set_refused("not now")
        checkpoint.set_refused("")
        checkpoint.set_refused("not yet")

    assert [] == verify(state)


def test_a_damaged_export_is_refused(tmp_path: Path) -> None:
    """A row that is missing in the exported file is missing in no state."""
    with World(tmp_path / "other") as world:
        world.committer.commit(made(1, delta=b"", compactions=[]))
    file = tmp_path / "state.export"
    export_state(world.state, file)
    db = sqlite3.connect(file)
    db.execute("DELETE FROM staged WHERE batch = 1")
    db.commit()
    db.close()

    with refused(StorageError, "staged has"):
        import_state(file, tmp_path / "new", None)


OUTCOMES = FILE_COLUMNS.split(", ").index("outcomes")


def _not_json(values: list[object]) -> None:
    values[OUTCOMES] = "{"


def _not_numbers(values: list[object]) -> None:
    values[OUTCOMES] = '{"notified": "x"}'


def _no_object(values: list[object]) -> None:
    values[OUTCOMES] = "[]"


@pytest.mark.parametrize("change", [_not_json, _not_numbers, _no_object])
def test_counts_that_cannot_be_read_are_damage(
    state: Path, change: Callable[[list[object]], None]
) -> None:
    """Even when their checksum fits."""
    db = sqlite3.connect(state / "checkpoint.db", isolation_level=None)
    values = list(db.execute(f"SELECT {FILE_COLUMNS} FROM file WHERE id = 1").fetchone())
    change(values)
    db.execute(
        "UPDATE file SET outcomes = ?, row_checksum = ? WHERE id = 1",
        (values[OUTCOMES], row_checksum(*values)),
    )
    db.close()
    with StateReader.open(state) as reader, refused(StorageError, "counts in it cannot be read"):
        list(reader.files_in())


def test_an_error_is_told_before_a_log_that_is_held_up(state: Path) -> None:
    """A read that was cut off keeps the log from being moved: what cut it off is what the operator hears."""
    with refused(StorageError, "first"), Checkpoint.open(state, SHARDS) as checkpoint:
        rows = checkpoint.reader._stream("SELECT number FROM batch")
        next(rows)
        raise StorageError("first", "hint")
    with Checkpoint.open(state, SHARDS) as checkpoint:
        assert not broken_seal(checkpoint._db, whole=True)
