"""A state in which every table has rows, as a run over some days with every policy leaves it."""

import sqlite3
from dataclasses import replace
from pathlib import Path

from support.engine_runs import DIALS, Place, record
from upswell.state.maintenance.forget import forget

DAYS = ("20200417", "20200418", "20200419")
POLICIES: dict[str, object] = {
    "max_per_customer_per_day": 2,
    "control_share": 30.0,
    "control_key": "0123456789abcdef",
    "keep_notifications_days": 2,
    "rejects_max_bytes_per_file": 60,
    "archive_after_s": 0.0,
}


def fill(place: Place) -> None:
    """Run day after day, with an edit, a refused edit, a customer who is forgotten and an archive between them."""
    archive = place.root / "archive"
    archive.mkdir()
    suppressed = place.write(place.root / "suppress.csv", f"{DIALS[19]}\n".encode())
    policies = {**POLICIES, "archive": archive, "suppress": suppressed}
    for at, day in enumerate(DAYS):
        for hour in (10, 11):
            lines = [record(dial, 1 + dial % 3, 90, f"{hour}0000", day) for dial in range(20)]
            lines += [record(dial, 1, 70, f"{hour}3000", day) for dial in range(20)]
            lines += [f"bad {line},{day}\n".encode() for line in range(5)]
            place.file(f"{day}{hour}00", b"".join(lines))
        place.once(**policies)
        if at == 0:
            forget(place.output / ".upswell", [DIALS[1]])
        if at == 1:
            rules = b"1,Twitter,8,20,140\n2,WhatsApp,9,18,68\n3,Night,22,6,300\n"
            place.write(place.root / "rules" / "RULES.csv", rules)
    (place.data / "notes.txt").touch()
    place.file(f"{DAYS[-1]}1200", record(3, 2, 10, "120000", DAYS[-1]) + b"cut")
    place.write(place.root / "rules" / "RULES.csv", b"1,Twitter,8,20,140\nx\n")
    place.once(**policies)
    place.write(place.root / "rules" / "RULES.csv", b"1,Twitter,8,20,140\n2,WhatsApp,9,18,68\n")
    place.settings = replace(place.settings, **policies)


def empty_tables(state: Path) -> set[str]:
    """Return the tables of a state that have no row."""
    db = sqlite3.connect(state / "checkpoint.db")
    try:
        tables = [
            name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        ]
        return {name for name in tables if not db.execute(f"SELECT 1 FROM {name}").fetchone()}
    finally:
        db.close()
