"""Batches made by hand: what a commit needs, without an engine or a kernel.

A world is a few files of one line a notification and a few other lines. ``made`` gives the batch of that number, the
same each time, so that a test can say what OUTPUT must hold whatever happened on the way.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from upswell.engine.commit import Committer
from upswell.errors import UpswellError
from upswell.output.names import Staged
from upswell.output.sink import Sink
from upswell.reference.versions import Versions
from upswell.source.file import File
from upswell.state.batch import Batch, LogRange, Notification, Output
from upswell.state.checkpoint import Checkpoint

SHARDS = 4
VERSIONS = Versions("r" * 64, "s" * 64)
APPLICATIONS = ("Twitter", "WhatsApp")
DAY = 20200417
PER_APPLICATION = 4  # notifications of a batch by application
OTHERS = 3  # lines that are counted, or rejected in their first
LINES = PER_APPLICATION * len(APPLICATIONS) + OTHERS
LINE_BYTES = 34


def line(number: int, application: int, index: int) -> bytes:
    """A record, without its line end."""
    return (
        f"01{number:04}{application:02}{index:02},{application + 1},00000315,{DAY}193743".encode()
    )


def made(number: int, applications: tuple[str, ...] = APPLICATIONS, **changes: object) -> Batch:
    """The batch of this number: one file, taken whole; the last application gets nothing in even batches."""
    stamp = f"{DAY}{number:04}"
    name = f"DATA_{stamp}.csv"
    indices = range(len(applications) - (number % 2 == 0))
    rows = [
        Notification(DAY, application, raw[:10].decode(), 0, at * LINE_BYTES, raw)
        for at, (application, index) in enumerate(
            (application, index) for application in indices for index in range(PER_APPLICATION)
        )
        for raw in [line(number, application, index)]
    ]
    outcomes = {"rejected": 1, "counted": LINES - 1 - len(rows), "notified": len(rows)}
    reasons = {"columns": 1}
    size = LINES * LINE_BYTES
    batch = Batch(
        number=number,
        ranges=[LogRange(number, 0, name, stamp, 0, size, stamp, VERSIONS, DAY - 1 if number > 1 else 0)],
        files=[
            File(
                name, "done", stamp, inode=2**63 + number, size=size, mtime_ns=number, offset=size, newlines=LINES,
                digest=2**64 - number, first_record=2**64 - number, lines=LINES, outcomes=outcomes,
                reasons=reasons,
            )
        ],
        outputs=[
            Output(
                applications[application],
                b"".join(row.raw + b"\n" for row in rows if row.application == application),
            )
            for application in indices
        ],
        applications=applications,
        notifications=[tuple(row) for row in sorted(rows)],
        rejects=f"{name}\t1\t0\t3\tcolumns\tx,y\n".encode(),
        dropped=[],
        delta=f"delta {number}".encode(),
        compactions=[(number % SHARDS, f"base {number}".encode())],
        day_open=DAY - 1,
        lines=LINES,
        outcomes=outcomes,
        reasons=reasons,
    )  # fmt: skip
    return replace(batch, **changes)


def expected_output(numbers: Iterable[int]) -> dict[str, bytes]:
    """By application, what OUTPUT holds after these batches, its files joined in name order."""
    contents: dict[str, bytes] = {}
    for number in numbers:
        for output in made(number).outputs:
            contents[output.application] = contents.get(output.application, b"") + output.content
    return contents


def published(output: Path) -> dict[str, bytes]:
    """By application directory: its files joined in the order of their names."""
    return {
        place.name: b"".join(file.read_bytes() for file in sorted(place.iterdir()))
        for place in sorted(output.iterdir())
        if place.is_dir() and not place.name.startswith(".")
    }


@contextmanager
def refused(
    kind: type[UpswellError], words: str = "."
) -> Iterator[pytest.ExceptionInfo[UpswellError]]:
    """Inside, this error is raised: its message has these words (a pattern), and it tells the next step."""
    with pytest.raises(kind, match=words) as caught:
        yield caught
    assert caught.value.hint
    assert "None" not in f"{caught.value} {caught.value.hint}"


class World:
    """One OUTPUT with its state, opened as a run would."""

    def __init__(self, output: Path) -> None:
        self.output = output
        self.state = output / ".upswell"
        self.staging = self.state / "staging"

    def __enter__(self) -> "World":
        self.sink = Sink.open(self.output)
        try:
            self.checkpoint = Checkpoint.open(self.state, SHARDS)
        except BaseException:
            self.sink.close()
            raise
        if self.checkpoint.reader.current_versions() is None:
            self.checkpoint.add_reference("rules", VERSIONS.rules, b"rules", "first")
            self.checkpoint.add_reference("segment", VERSIONS.segment, b"segment", "first")
        self.committer = Committer(self.checkpoint, self.sink)
        return self

    def __exit__(self, *_: object) -> None:
        self.checkpoint.close()
        self.sink.close()

    def stage(self, batch: Batch) -> list[Staged]:
        """The first step of a commit alone."""
        ids = self.checkpoint.application_ids(one.application for one in batch.outputs)
        outputs = [(ids[one.application], one.application, one.content) for one in batch.outputs]
        return self.sink.stage(batch.number, batch.stamp, outputs)
