"""Values of a wrong type in any column: whoever reads them calls the state damaged, in words and with a next step."""

import re
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner

from support.engine_runs import DIALS, Place
from support.filled_state import empty_tables, fill
from support.in_process import Cluster
from support.trust import Trust
from upswell.cli.main import commands
from upswell.engine import assembly
from upswell.errors import UpswellError
from upswell.state.migrations import MIGRATIONS

CREATE = re.compile(r"CREATE TABLE (\w+)\((.*)\)", re.DOTALL)
COLUMN = re.compile(r'"?(\w+)"? (INTEGER|TEXT|BLOB|ANY)\b([^,]*)')
WRONG = {
    "INTEGER": ("x", b"x", None),
    "TEXT": (b"x", None),
    "BLOB": (7, "x", None),
    "ANY": (7, None),
}
COMMANDS = (
    ["status"], ["status", "--json"], ["sent"], ["sent", "--list"], ["sent", "--control"], ["rejects"], ["history"],
    ["explain", DIALS[3]], ["reconcile"], ["state", "verify"], ["state", "show"], ["state", "forget", DIALS[5]],
)  # fmt: skip


class Value(NamedTuple):
    """A wrong value of a column."""

    table: str
    column: str
    value: object


def _wrong_values() -> Iterator[Value]:
    for statement in (each for migration in MIGRATIONS for each in migration.statements):
        if found := CREATE.match(statement):
            for column, declared, constraints in COLUMN.findall(found[2]):
                if "INTEGER PRIMARY KEY" in f"{declared}{constraints}":
                    continue  # SQLite's own number of the row
                for value in WRONG[declared]:
                    if value is not None or "NOT NULL" in constraints:
                        yield Value(found[1], column, value)


VALUES = [*_wrong_values()]


def put(state: Path, wrong: Value) -> None:
    """Write the value into a row of the table, as no SQLite that knows the schema would."""
    db = sqlite3.connect(state / "checkpoint.db")
    (sql,) = db.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (wrong.table,)).fetchone()
    loose = sql.replace("STRICT, ", "").replace(" STRICT", "").replace(" NOT NULL", "")
    loose = re.sub(r" CHECK\([^)]*\)\)", "", loose)
    for text in (loose, sql):
        db.execute("PRAGMA writable_schema = ON")
        db.execute("UPDATE sqlite_schema SET sql = ? WHERE name = ?", (text, wrong.table))
        db.commit()
        db.close()
        db = sqlite3.connect(state / "checkpoint.db")
        if text is loose:
            row = f'SELECT "{wrong.column}" FROM {wrong.table} LIMIT 1'
            db.execute(
                f'UPDATE OR IGNORE {wrong.table} SET "{wrong.column}" = ? WHERE "{wrong.column}" = ({row})',
                (wrong.value,),
            )
            db.commit()
    db.close()


@pytest.mark.trust("T14")
@pytest.mark.parametrize("kind", [Place, Cluster])
def test_a_value_of_a_wrong_type_is_damage_in_words(
    tmp_path: Path, trust: Trust, monkeypatch: pytest.MonkeyPatch, kind: type[Place]
) -> None:
    """A value of a wrong type in any column of any table is damage to a run and to every command, never an accident."""
    monkeypatch.setattr(assembly, "COMPACT_BYTES_MIN", 1)
    place = kind(tmp_path)
    fill(place)
    state = place.output / ".upswell"
    empty = empty_tables(state)
    assert empty == ({"shard_file"} if kind is Place else {"ledger_base", "ledger_delta"})
    sound = tmp_path / "sound"
    shutil.copytree(place.root / "output", sound)
    told = Counter[int]()

    def try_all(values: Sequence[Value]) -> list[str]:
        wrong = []
        for value in values:
            for arguments in [*COMMANDS, None]:
                shutil.rmtree(place.output)
                shutil.copytree(sound, place.output)
                put(state, value)
                code, words = ended(place, arguments)
                told[code] += 1
                if code not in (0, 1, 74) or (code == 74 and "is damaged" not in words):
                    wrong.append(f"{value} {arguments}: {code} {words}")
        return wrong

    trust(
        [value for value in VALUES if value.table not in empty],
        try_all,
        case="wrong values",
        sample=12,
    )
    assert told[74]


def ended(place: Place, arguments: list[str] | None) -> tuple[int, str]:
    """Exit code and error of a command; None: of a run."""
    if arguments is not None:
        done = CliRunner().invoke(commands, [*arguments, "--output", str(place.output)])
        return done.exit_code, done.stderr
    try:
        place.once()
    except UpswellError as error:
        return error.exit_code, f"{error.message} {error.hint}"
    return 0, ""
