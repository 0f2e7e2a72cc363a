"""Compares OUTPUT with what batches published: files that changed, are gone, or that no batch published.

Owns the look at OUTPUT behind ``upswell reconcile``. It reads OUTPUT and the state and changes neither; a consumer may
take files and a run may publish others meanwhile.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from upswell.audit.replay.snapshot import StateSnapshot
from upswell.output.names import Staged
from upswell.output.published import (
    Where,
    describe_change,
    locate,
    published_files,
    published_place,
)
from upswell.privacy import escape
from upswell.state.reader import StateReader


class OutputCheck:
    """Collects the published files of all batches, one batch after another."""

    def __init__(self, reader: StateReader, snapshot: StateSnapshot, *, changes_max: int) -> None:
        """``changes_max``: how many changed files are described."""
        self.lines: Counter[tuple[int, Where]] = Counter()
        """Lines of published files by day of the record and where the file is now, without the control group's."""
        self.changes: list[str] = []
        """How files differ from what was published, a sentence each; at most one more than ``changes_max``."""
        self._reader = reader
        self._snapshot = snapshot
        self._changes_max = changes_max
        self._places: set[str] = set()
        """Of all published files, within OUTPUT."""

    def staged(self, batch: int) -> dict[str, Staged]:
        """Return the files that a batch published, by directory, and remember that they may be in OUTPUT."""
        staged = {one.directory: one for one in self._reader.staged(batch).values()}
        self._places.update(map(published_place, staged.values()))
        return staged

    def compare(self, one: Staged, by_day: Mapping[int, int], content: bytes | None) -> None:
        """Compare a published file with OUTPUT, and count its lines by day.

        ``by_day``: its lines by day of the record, those of the days that are asked about. ``content``: what was
        published, if the replay gives it. Raises StorageError when OUTPUT cannot be read.
        """
        found = locate(self._snapshot.output, one)
        if not one.control:
            for day, lines in by_day.items():
                self.lines[day, found] += lines
        if found == "changed" and len(self.changes) <= self._changes_max:
            self.changes.append(describe_change(self._snapshot.output, one, content))

    def unknown(self) -> Iterator[str]:
        """Yield a sentence for each file that no batch published; call when all batches have been looked at."""
        snapshot = self._snapshot
        places = unknown_files(
            self._reader, snapshot.output, self._places, snapshot.first_batch, snapshot.last_batch
        )
        for place in places:
            yield f"{escape(place)}: not published by any batch"


def unknown_files(
    reader: StateReader, output: Path, known: Collection[str], first_batch: int, last_batch: int
) -> Iterator[str]:
    """Yield the paths in OUTPUT of files with published names that no batch of this state or an earlier one published.

    ``known``: places of the files of all batches up to ``last_batch``; a run may have published others meanwhile.
    """
    for place, name in published_files(output):
        if 0 < name.batch < first_batch:
            continue
        newer = reader.staged(name.batch).values() if name.batch > last_batch else ()
        if place not in known and place not in map(published_place, newer):
            yield place
