"""The seal of a state: how many rows each table has after the last commit, and the sum of their checksums.

Owns the entry of ``meta`` that says so, and the comparison with the tables. A page that is as old as another commit is
sound by itself, and so are the rows that are left when one is lost: only the sums tell. They are kept by triggers of
the writer's own connection, so that whatever it writes counts, and what others write shows. The rows of the table
``notification`` come by the million: who writes them counts them, and they are compared after a crash alone.
"""

import json
import sqlite3

from upswell.state.codec import row_checksum

KEY = "sealed"
SUMMED = ("meta", "batch", "file", "ledger_base", "ledger_delta", "shard_file")
"""Tables whose rows have checksums."""
COUNTED = (
    "archived", "log", "dropped_rejects", "application", "notified_total", "control_total", "staged", "total",
    "reference", "edit", "forgetting", "forgotten", "forgotten_lines",
)  # fmt: skip
MANY = "notification"
_Sums = dict[str, tuple[int, int]]


def watch(db: sqlite3.Connection) -> None:
    """Count what this connection changes from here on, for ``write_seal``."""
    db.execute(
        "CREATE TEMP TABLE change(name TEXT PRIMARY KEY, rows INTEGER, checksums INTEGER) STRICT"
    )
    db.execute("INSERT INTO temp.change VALUES (?, 0, 0)", (MANY,))
    for table in (*SUMMED, *COUNTED):
        db.execute("INSERT INTO temp.change VALUES (?, 0, 0)", (table,))
        for event, terms in (
            ("INSERT", {"NEW": 1}),
            ("DELETE", {"OLD": -1}),
            ("UPDATE", {"NEW": 1, "OLD": -1}),
        ):
            if event == "UPDATE" and table in COUNTED:
                continue
            checksums = [
                f"{sign:+d} * {row}.row_checksum" for row, sign in terms.items() if table in SUMMED
            ]
            of = "NEW" if "NEW" in terms else "OLD"
            unless = f"WHEN {of}.key <> '{KEY}'" if table == "meta" else ""
            db.execute(
                f"CREATE TEMP TRIGGER {event.lower()}_{table} AFTER {event} ON main.{table} {unless} BEGIN"
                f" UPDATE change SET rows = rows + {sum(terms.values())}, checksums = checksums {' '.join(checksums)}"
                f" WHERE name = '{table}'; END"
            )


def count_notifications(db: sqlite3.Connection, rows: int) -> None:
    """Count rows that this connection wrote, or deleted (negative), in the transaction that did."""
    db.execute("UPDATE temp.change SET rows = rows + ? WHERE name = ?", (rows, MANY))


def write_seal(db: sqlite3.Connection) -> None:
    """Add what was changed since the last call to the seal, in the transaction that changed it."""
    changed = db.execute(
        "SELECT name, rows, checksums FROM temp.change WHERE rows <> 0 OR checksums <> 0"
    ).fetchall()
    if not changed:
        return
    sums = _read(db)
    for name, rows, checksums in changed:
        known = sums.get(name, (0, 0))
        sums[name] = known[0] + rows, known[1] + checksums
    db.execute("UPDATE temp.change SET rows = 0, checksums = 0")
    _write(db, sums)


def seal_anew(db: sqlite3.Connection) -> None:
    """Seal what the tables hold, in the transaction that made it: they were written without ``watch``."""
    _write(db, {table: _sums(db, table) for table in (*SUMMED, *COUNTED, MANY)})


def broken_seal(db: sqlite3.Connection, *, whole: bool) -> str:
    """Return what the tables do not have as the seal says, in words; "": all is as it was committed.

    ``whole``: with the notifications, which takes as long as reading their pages.
    """
    try:
        sealed = _read(db)
    except ValueError:
        return "an entry of meta"
    for table in (*SUMMED, *COUNTED, *([MANY] if whole else [])):
        if (found := _sums(db, table)) != (expected := sealed.get(table, (0, 0))):
            return f"its parts are not of one moment: {table} has {found[0]} rows" + (
                f", not {expected[0]}" if found[0] != expected[0] else ", some of another commit"
            )
    ((unlike,),) = db.execute(
        "SELECT count(*) FROM batch JOIN batch AS before ON before.number = batch.number - 1"
        " WHERE batch.checksum_before <> before.row_checksum"
    )
    return "a batch does not follow the one before it" if unlike else ""


def _sums(db: sqlite3.Connection, table: str) -> tuple[int, int]:
    """Return rows and checksums of a table, from its own pages."""
    checksums = "coalesce(sum(row_checksum), 0)" if table in SUMMED else "0"
    where = f"WHERE key <> '{KEY}'" if table == "meta" else ""
    ((rows, sums),) = db.execute(f"SELECT count(*), {checksums} FROM {table} NOT INDEXED {where}")
    return rows, sums


def _read(db: sqlite3.Connection) -> _Sums:
    """Return the rows and checksums of each table that is sealed. Raises ValueError for a damaged entry."""
    rows = db.execute("SELECT value, row_checksum FROM meta WHERE key = ?", (KEY,)).fetchall()
    if not rows or rows[0][1] != row_checksum(KEY, rows[0][0]):
        raise ValueError(KEY)
    return {name: (count, checksums) for name, (count, checksums) in json.loads(rows[0][0]).items()}


def _write(db: sqlite3.Connection, sums: _Sums) -> None:
    value = json.dumps(
        {name: list(of) for name, of in sums.items() if of != (0, 0)}, separators=(",", ":")
    )
    db.execute(
        "INSERT INTO meta VALUES (?, ?, ?)"
        " ON CONFLICT(key) DO UPDATE SET value = excluded.value, row_checksum = excluded.row_checksum",
        (KEY, value, row_checksum(KEY, value)),
    )
