"""Files that change between the scan and the read, and any interleaving of writers, turns and restarts."""

import os
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.arrivals import Arrivals, name, record, records
from upswell import kernel
from upswell.source import directory_scan

LINE = len(record(0))


@pytest.fixture
def arrivals(tmp_path: Path) -> Arrivals:
    """A DATA directory with two files of two lines, one of which was consumed in part."""
    made = Arrivals(tmp_path / "data")
    made.write(1, records(0, 2), age_s=1)
    made.turn()
    made.append(1, records(2, 2))
    made.write(2, records(10, 2))
    return made


def plan(arrivals: Arrivals) -> list[kernel.Range]:
    """What is ready after a scan: the rest of the first file, and the second."""
    arrivals.source.scan()
    planned = arrivals.source.ready()
    assert [(name(1), 2 * LINE), (name(2), 0)] == [(one.name, one.start) for one in planned]
    return planned


def test_deleted_between_look_and_read(arrivals: Arrivals) -> None:
    """Neither blocks a turn; the one that was consumed in part is gone with its offset."""
    planned = plan(arrivals)
    arrivals.path(1).unlink()
    arrivals.path(2).unlink()

    assert [] == arrivals.read(planned)
    assert [] == arrivals.consume()
    arrivals.turn()
    assert ("gone", "deleted") == arrivals.state(name(1))
    assert 2 * LINE == arrivals.row(name(1)).offset


def test_truncated_between_look_and_read(arrivals: Arrivals) -> None:
    """What is left of the whole lines is consumed; below its offset the file is held at the next scan."""
    planned = plan(arrivals)
    arrivals.write(1, record(0), age_s=-1)
    arrivals.write(2, record(10), age_s=-1)

    assert [(name(2), 0, LINE)] == arrivals.read(planned)
    arrivals.turn()
    assert ("held", "shrank") == arrivals.state(name(1))
    assert ("reading", "") == arrivals.state(name(2))


def test_truncated_between_look_and_comparison(arrivals: Arrivals) -> None:
    """A consumed part that has become shorter than its stat said is not compared with what is left of it."""
    arrivals.source.scan()
    arrivals.write(1, record(0), age_s=-1)
    arrivals.path(2).unlink()

    assert [] == arrivals.source.ready()
    assert ("held", "shrank") == arrivals.state(name(1))


def test_truncated_between_look_and_digest(arrivals: Arrivals) -> None:
    """A suspect whose content cannot be said now is no duplicate yet; the next scan decides by what is there then."""
    arrivals.touch(name(1), age_s=9)
    arrivals.turn()
    arrivals.write(3, records(0, 4), age_s=9)
    arrivals.source.scan()
    arrivals.write(3, records(0, 3), age_s=9)

    assert [] == arrivals.consume()
    assert ("waiting", "suspect") == arrivals.state(name(3))
    arrivals.turn()
    assert ("reading", "") == arrivals.state(name(3))


def test_replaced_between_look_and_read(arrivals: Arrivals) -> None:
    """A file whose consumed part no longer belongs to it is held; one that was new is read as it is now."""
    planned = plan(arrivals)
    arrivals.move_in(1, records(50, 4), age_s=-1)
    arrivals.move_in(2, records(60, 3), age_s=-1)
    arrivals.read(planned)
    arrivals.turn()

    assert ("held", "changed") == arrivals.state(name(1))
    assert ("reading", "") == arrivals.state(name(2))
    assert kernel.crc64(records(60, 3)) == arrivals.row(name(2)).digest


def test_replaced_without_a_trace_in_the_stat(arrivals: Arrivals) -> None:
    """The inode that was read tells, even when size and mtime are the same."""
    planned = plan(arrivals)
    arrivals.move_in(1, records(50, 4))
    arrivals.read(planned)
    arrivals.turn()

    assert ("held", "changed") == arrivals.state(name(1))


@pytest.mark.parametrize("kind", ["link", "pipe", "directory"])
def test_no_regular_file_any_more_between_look_and_read(arrivals: Arrivals, kind: str) -> None:
    """It is not opened, or not followed; the next scan sorts it out."""
    planned = plan(arrivals)
    for minute in (1, 2):
        path = arrivals.path(minute)
        path.rename(arrivals.data.parent / path.name)
        if kind == "link":
            path.symlink_to(arrivals.data.parent / path.name)
        elif kind == "pipe":
            os.mkfifo(path)
        else:
            path.mkdir()

    assert [] == arrivals.read(planned)
    arrivals.turn()
    assert ("gone", "deleted") == arrivals.state(name(1))
    assert 2 * LINE == arrivals.row(name(1)).offset


def test_growth_between_look_and_read(arrivals: Arrivals) -> None:
    """Nothing beyond the size that the scan showed is consumed with it."""
    planned = plan(arrivals)
    arrivals.append(2, record(12))

    assert [(name(1), 2 * LINE, 4 * LINE), (name(2), 0, 2 * LINE)] == arrivals.read(planned)
    assert [(name(2), 2 * LINE, 3 * LINE)] == arrivals.turn()


def test_deleted_between_look_and_decision(arrivals: Arrivals) -> None:
    """A file that cannot be opened any more is left to the next scan, which forgets it."""
    arrivals.source.scan()
    arrivals.path(2).unlink()

    assert [name(1)] == [consumed[0] for consumed in arrivals.consume()]
    arrivals.turn()
    assert [name(2)] == arrivals.source.left_unconsumed()


Step = tuple[str, int, int]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "append",
                "append",
                "append",
                "turn",
                "rescan",
                "wait",
                "restart",
                "copy",
                "again",
                "rename",
                "pack",
            ]
        ),
        st.integers(0, 3),
        st.integers(1, 60),
    ),
    max_size=60,
)


@given(STEPS)
def test_every_byte_is_taken_once(steps: list[Step]) -> None:
    """Whatever the order of writes, scans, rescans, restarts, copies, deliveries again, renames and packing."""
    with TemporaryDirectory() as directory, mock.patch.object(directory_scan, "STEP_FILES", 1):
        story = Story(Path(directory))
        for verb, at, amount in steps:
            story.step(verb, at, amount)
        story.end()


class Story:
    """Four files of which pieces arrive, copies of them, and what must come of it all."""

    def __init__(self, directory: Path) -> None:
        self.arrivals = Arrivals(directory / "data")
        header = b"msisdn,service,volume,timestamp\r\n"
        self.planned = {
            1: records(0, 3),
            3: header + records(10, 2)[:-1],
            5: b"nonsense\n" + records(20, 2),
            7: records(0, 2) + records(30, 2),  # begins like the first
        }
        self.written = dict.fromkeys(self.planned, 0)
        self.groups: dict[int, list[int]] = {minute: [minute] for minute in self.planned}
        self.names: dict[int, list[str]] = {minute: [name(minute)] for minute in self.planned}
        """Those that each file has had, one after another."""
        self.packed: set[int] = set()

    def step(self, verb: str, at: int, amount: int) -> None:
        """One thing that happens."""
        minute = list(self.planned)[at]
        content, written = self.planned[minute], self.written[minute]
        if verb == "append" and written < len(content):
            self.written[minute] = min(written + amount, len(content))
            self.arrivals.append(self.names[minute][-1], content[written : self.written[minute]])
        elif verb == "turn":
            self.arrivals.turn()
        elif verb == "rescan":
            self.rescan(minute, amount)
        elif verb == "wait":
            self.arrivals.wait(amount / 10)
        elif verb == "restart":
            self.arrivals.restart()
        elif verb in ("rename", "pack"):
            self.go_on(verb, minute)
        elif len(self.names[minute]) > 1:
            return
        elif verb == "copy" and written == len(content) and len(self.groups[minute]) == 1:
            copied = minute + (1 if amount % 2 else 10)
            self.groups[minute].append(copied)
            self.arrivals.write(copied, content, age_s=amount % 5)
        elif verb == "again" and written:
            self.arrivals.move_in(minute, content[:written])

    def go_on(self, verb: str, minute: int) -> None:
        """A file gets another name, one that nobody has copied and that begins like no other."""
        if minute not in (3, 5) or minute in self.packed or len(self.groups[minute]) > 1:
            return
        if not self.written[minute]:
            return
        path = self.arrivals.path(self.names[minute][-1])
        if verb == "rename":
            new = name(minute + 9 + 2 * len(self.names[minute]))
            path.rename(self.arrivals.path(new))
        else:
            content = path.read_bytes()
            if b"\n" not in content:
                return  # part of a header may name other columns
            path.unlink()
            new = self.arrivals.write_gzip(minute, content)
            self.packed.add(minute)
            self.planned[minute] = content
        self.names[minute].append(new)

    def rescan(self, minute: int, steps: int) -> None:
        """A name is reported in the middle of a scan."""
        if not self.arrivals.source._inventory.scans:
            self.arrivals.turn()
        scan = self.arrivals.source.scan_in_steps()
        for _ in zip(range(steps % 5), scan, strict=False):
            pass
        self.arrivals.source.rescan([self.names[minute][-1]])
        self.arrivals.consume()
        for _ in scan:
            pass
        self.arrivals.consume()

    def end(self) -> None:
        """All writers finish, newer files come, and time passes; then everything must be accounted for."""
        arrivals = self.arrivals
        for minute, content in self.planned.items():
            if minute not in self.packed:
                arrivals.append(self.names[minute][-1], content[self.written[minute] :])
        arrivals.write(59, record(900))
        for _ in range(4):
            arrivals.turn()
            arrivals.wait()
        for minute, group in self.groups.items():
            content = self.planned[minute]
            if len(self.names[minute]) > 1:
                self.went_on(minute, content)
                continue
            rows = [arrivals.row(name(one)) for one in group]
            assert ["done"] == [row.state for row in rows if row.state != "duplicate"]
            for row in rows:
                parts = [consumed[1:] for consumed in arrivals.log if consumed[0] == row.name]
                if row.state == "duplicate":
                    assert [] == parts
                    continue
                assert [0, *(end for _, end in parts)] == [
                    *(start for start, _ in parts),
                    len(content),
                ]
                assert kernel.crc64(content) == row.digest

    def went_on(self, minute: int, content: bytes) -> None:
        """Assert that the names of a file share its bytes: each of the records is consumed once."""
        arrivals = self.arrivals
        known = [one for one in self.names[minute] if one in arrivals.rows.by_name]
        rows = [arrivals.row(one) for one in known]
        # Of what was read before its first record came nothing was counted for anybody: that is read again.
        rows = [row for row in rows if row.offset and (row.first_record or row is rows[-1])]
        parts = [
            consumed[1:] for row in rows for consumed in arrivals.log if consumed[0] == row.name
        ]
        assert [0, *(end for _, end in parts)] == [*(start for start, _ in parts), len(content)]
        assert "done" == rows[-1].state
        assert kernel.crc64(content) == rows[-1].digest
        for old, new in pairwise(rows):
            assert ("continued", new.name, old.name) == (
                old.state, old.continued_by, new.continues,
            )  # fmt: skip
