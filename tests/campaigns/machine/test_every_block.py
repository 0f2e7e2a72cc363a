"""Blocks and sectors lost, pages exchanged, rows deleted, parts of two moments: the next run says so, or no harm."""

import shutil
import sqlite3
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from support.batches import published
from support.engine_runs import Place, record
from support.filled_state import DAYS, empty_tables, fill
from support.in_process import Cluster
from support.trust import Trust
from upswell.engine import assembly
from upswell.errors import UpswellError
from upswell.state.checkpoint import Checkpoint
from upswell.state.maintenance.verify import verify
from upswell.state.reader import StateReader

BLOCK, SECTOR, PAGE = 4096, 512, 8192
TOLD = (74, 78)
"""Exit codes that damage may end in: 78 where the header no longer says whose file it is."""


class Case(NamedTuple):
    """One thing that is done to a state."""

    what: str
    """block, sector, pages, row or mixed."""
    at: int
    """Its number; of a mixture that of the older database."""
    other: int | str = 0
    """The other page, the table of the row, or the moment of the log."""


class Moments:
    """The database at each time that the state was closed, and the log that was moved into it before."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.closed: list[bytes] = []
        self.logs: list[bytes] = []
        self._log = b""
        close, drain = Checkpoint.close, Checkpoint.drain_wal

        def kept(checkpoint: Checkpoint) -> None:
            close(checkpoint)
            self.closed.append(checkpoint.reader.path.read_bytes())
            self.logs.append(self._log)
            self._log = b""

        def moved(checkpoint: Checkpoint, *, idle: bool = False) -> None:
            log = checkpoint.reader.path.with_name("checkpoint.db-wal")
            self._log = log.read_bytes() or self._log
            drain(checkpoint, idle=idle)

        monkeypatch.setattr(Checkpoint, "close", kept)
        monkeypatch.setattr(Checkpoint, "drain_wal", moved)


class Damaged:
    """A place whose state is full, files that come next, and what a run over them must come to."""

    def __init__(self, root: Path, kind: type[Place], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(assembly, "COMPACT_BYTES_MIN", 1)
        root.mkdir()
        self.place = kind(root)
        with monkeypatch.context() as patch:
            self.moments = Moments(patch)
            fill(self.place)
        for hour in (13, 14):
            lines = [record(dial, 1 + hour % 2, 150, f"{hour}0000", DAYS[-1]) for dial in range(20)]
            self.place.file(f"{DAYS[-1]}{hour}00", b"".join(lines))
        self.state = self.place.output / ".upswell"
        self.empty = empty_tables(self.state)
        self.sound = root.with_name(f"{root.name}-sound")
        shutil.copytree(root, self.sound)
        self.place.once()
        self.expected = self.result()

    def result(self) -> tuple[object, ...]:
        """All that was published, and the totals."""
        with StateReader.open(self.state) as reader:
            return published(self.place.output), reader.totals()

    def cases(self) -> list[Case]:
        """Everything that can be done to the state."""
        size = (self.sound / "output/.upswell/checkpoint.db").stat().st_size
        cases = [Case("block", at) for at in range(size // BLOCK)]
        cases += [Case("sector", at) for at in range(size // SECTOR)]
        pages = size // PAGE
        cases += [Case("pages", at, (at + by) % pages) for by in (1, 7) for at in range(1, pages)]
        db = sqlite3.connect(self.sound / "output/.upswell/checkpoint.db")
        for (table,) in db.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table'"
        ).fetchall():
            ((rows,),) = db.execute(f"SELECT count(*) FROM {table}")
            cases += [Case("row", at, table) for at in range(rows)]
        db.close()
        last = len(self.moments.closed)
        return cases + [
            Case("mixed", older, log)
            for log in range(1, last)
            for older in range(last)
            if self.moments.logs[log] and older < log - 1
        ]

    def apply(self, case: Case) -> None:
        """Do it to a fresh copy."""
        shutil.rmtree(self.place.root)
        shutil.copytree(self.sound, self.place.root)
        path = self.state / "checkpoint.db"
        data = bytearray(path.read_bytes())
        if case.what in ("block", "sector"):
            size = BLOCK if case.what == "block" else SECTOR
            data[case.at * size : (case.at + 1) * size] = bytes(size)
        elif case.what == "pages":
            one, two = (slice(at * PAGE, (at + 1) * PAGE) for at in (case.at, int(case.other)))
            data[one], data[two] = data[two], data[one]
        elif case.what == "mixed":
            data = bytearray(self.moments.closed[case.at])
            (self.state / "checkpoint.db-wal").write_bytes(self.moments.logs[int(case.other)])
        path.write_bytes(data)
        if case.what == "row":
            db = sqlite3.connect(path, isolation_level=None)
            row = db.execute(f"SELECT * FROM {case.other} LIMIT 1 OFFSET {case.at}")
            columns = " AND ".join(f'"{column}" IS ?' for column, *_ in row.description)
            db.execute(f"DELETE FROM {case.other} WHERE {columns}", row.fetchone())
            db.close()

    def consequence(self, case: Case) -> str:
        """What it ends in: "told", "harmless", or what is wrong."""
        self.apply(case)
        if case.what != "mixed":
            verify(self.state)
        try:
            self.place.once()
        except UpswellError as error:
            if error.exit_code not in TOLD or not error.hint:
                return f"{error!r} with exit code {error.exit_code}"
            return "told"
        try:
            found = self.result()
        except UpswellError:
            return "harmless"  # to what was sent; whoever reads the totals is told
        if found[0] != self.expected[0]:
            return f"other output: {found[0]} instead of {self.expected[0]}"
        if found[1] != self.expected[1] and not verify(self.state):
            return f"other totals, found by nobody: {found[1]} instead of {self.expected[1]}"
        return "harmless"


@pytest.mark.trust("T14")
@pytest.mark.parametrize("kind", [Place, Cluster])
def test_what_is_lost_of_a_filled_state_is_told_or_harmless(
    tmp_path: Path, trust: Trust, monkeypatch: pytest.MonkeyPatch, kind: type[Place]
) -> None:
    """Any block or sector zeroed, pages swapped, rows deleted, an older database under a newer log: told or no harm."""
    damaged = Damaged(tmp_path / "place", kind, monkeypatch)
    assert damaged.empty == ({"shard_file"} if kind is Place else {"ledger_base", "ledger_delta"})
    consequences = Counter[tuple[str, str]]()

    def try_all(cases: Sequence[Case]) -> list[str]:
        wrong = []
        for case in cases:
            found = damaged.consequence(case)
            if found not in ("told", "harmless"):
                wrong.append(f"{case}: {found}")
            consequences[case.what, found if found in ("told", "harmless") else "wrong"] += 1
        return wrong

    cases = damaged.cases()
    assert {"block", "sector", "pages", "row", "mixed"} == {case.what for case in cases}
    try:
        trust(cases, try_all, case="places of a filled state", sample=40)
    finally:
        print(sorted(consequences.items()))
    assert not [found for (what, found) in consequences if what == "mixed" and found != "told"]
