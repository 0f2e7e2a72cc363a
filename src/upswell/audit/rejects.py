"""Lists, filters and counts the rejects and late records of a state, during a run or after it.

Owns what ``upswell rejects`` prints: counts come from the checkpoint, which has them all, lines from the reject files,
which hold those that were kept. It changes nothing, and gives a raw line as it stood in DATA, byte for byte. A late
record is kept with the rejects but is not a reject: it is listed only when it is asked for.
"""

import io
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from upswell import kernel
from upswell.errors import StorageError
from upswell.output.names import rejects_name
from upswell.output.reject_files import is_as_written, unescape
from upswell.source.file import File
from upswell.source.listing import read_name, show_name
from upswell.state.queries.batches import (
    RejectFile,
    dropped_lines,
    first_batch_reaching,
    reject_files,
)
from upswell.state.queries.files import names_with_rejects
from upswell.state.reader import StateReader
from upswell.storage.files import directory, read_file
from upswell.zones import stamps_of

LATE = "late"
"""The reason column of a late record."""
_FILES_AT_ONCE = 5000  # whose rows are in memory: some 10 ms


class Reject(NamedTuple):
    """One kept line: a reject, or a late record."""

    file: str
    line: int
    """From 1."""
    byte: int
    """Offset of its first byte in the file, uncompressed."""
    length: int
    """Bytes without the line end; more than are kept when it is too long."""
    reason: str
    shown: str
    """The kept bytes as printable ASCII: any other byte is ``\\xNN``, a backslash stands twice."""
    batch: int

    @property
    def raw(self) -> bytes:
        """The kept bytes, without the line end: the whole line unless ``cut``."""
        return unescape(self.shown.encode("ascii"))

    @property
    def cut(self) -> bool:
        """True when the line is longer than what is kept of it."""
        return len(self.raw) < self.length


class RejectFilter(NamedTuple):
    """Selects rejects; None selects all."""

    day: int | None = None
    """Of the file's stamp."""
    file: str | None = None
    reason: str | None = None
    """One of kernel.REASONS, or LATE. None: every reason, but not the late records."""

    def has(self, reason: str) -> bool:
        """Return whether a line kept for this reason is selected."""
        return reason == self.reason if self.reason else reason != LATE


@dataclass(slots=True)
class Counts:
    """Exact counts of rejected lines, whether the lines were kept or not."""

    by_file: dict[str, Counter[str]] = field(default_factory=dict)
    """Selected lines by reason, of each file that has some."""
    late: int = 0
    """Late records of the same files, which are not rejects."""
    dropped: Counter[str] = field(default_factory=Counter)
    """By file: rejected or late lines beyond what is written of one file; their reasons are not known."""

    @property
    def reasons(self) -> Counter[str]:
        """Selected lines by reason, in the order of the reasons; reasons without any are absent."""
        every = (*kernel.REASONS, LATE)
        found = {name: sum(lines[name] for lines in self.by_file.values()) for name in every}
        return +Counter(found)

    @property
    def lines(self) -> int:
        """The number of selected lines."""
        return self.reasons.total()

    def to_json(self) -> dict[str, object]:
        """Return it as one object for JSON."""
        return {
            "lines": self.lines,
            "reasons": dict(self.reasons),
            "files": {show_name(file): dict(lines) for file, lines in self.by_file.items()},
            "late": self.late,
            "not_kept": {show_name(file): n for file, n in self.dropped.items()},
        }


def count(state_dir: Path, wanted: RejectFilter) -> Counts:
    """Count the rejected lines, from the checkpoint.

    Raises:
        StorageError: there is no state, or it is damaged.
        UsageError: the state never saw that file.
    """
    found = Counts()
    with StateReader.open(state_dir) as reader:
        for file in _files(reader, wanted):
            found.late += file.outcomes.get(LATE, 0)
            late = {LATE: file.outcomes.get(LATE, 0)}
            lines = +Counter(
                {reason: n for reason, n in (file.reasons | late).items() if wanted.has(reason)}
            )
            if lines:
                found.by_file[file.name] = lines
    found.dropped = count_dropped(state_dir, wanted)
    return found


def count_dropped(state_dir: Path, wanted: RejectFilter) -> Counter[str]:
    """Count, by file, the rejected or late lines beyond what is written of one file. Raises as ``count``."""
    found = Counter[str]()
    with StateReader.open(state_dir) as reader:
        for dropped in dropped_lines(reader, _first_batch(reader, wanted)):
            if _is_in(dropped.file, wanted):
                found[dropped.file] += dropped.lines
    return found


class KeptRejects:
    """The kept lines that are selected, in the order in which they were read. Iterate over it once."""

    def __init__(
        self, state_dir: Path, wanted: RejectFilter, batches_max: int | None = None
    ) -> None:
        """``batches_max``: read no more batches than so many, from the first that can hold a selected line."""
        self.removed = 0
        """Reject files that are gone: expired by keep_rejects_days, or deleted by an operator, which is allowed."""
        self.changed: list[str] = []
        """Reject files that are left out because they are not as they were written: name and reason of each."""
        self.cut = 0
        """Yielded lines of which only the beginning is kept."""
        self._state_dir = state_dir
        self._wanted = wanted
        self._batches_max = batches_max

    def __iter__(self) -> Iterator[Reject]:
        """Yield the lines. Raises as ``count``."""
        with StateReader.open(self._state_dir) as reader:
            if self._wanted.file is not None:
                reader.file(self._wanted.file)
            for written in _reject_files(reader, self._wanted, self._batches_max):
                for row in io.BytesIO(self._read(written)):
                    reject = parse(row, written.batch)
                    if self._wanted.has(reject.reason) and _is_in(reject.file, self._wanted):
                        self.cut += reject.cut
                        yield reject

    def _read(self, written: RejectFile) -> bytes:
        """Return the content of a reject file; b"" when it is gone or changed, which is noted."""
        name = rejects_name(written.batch)
        try:
            with directory(self._state_dir / "rejects") as fd:
                content = read_file(name, fd)
        except FileNotFoundError:
            self.removed += 1
            return b""
        except OSError as error:
            self.changed.append(f"{name}: {error.strerror}")
            return b""
        if is_as_written(content, written.length, written.digest):
            return content
        self.changed.append(f"{name}: it was changed after it was written")
        return b""


def parse(row: bytes, batch: int) -> Reject:
    """Return a line of a reject file, parsed. Raises StorageError when no run can have written it."""
    try:
        name, line, byte, length, reason, shown = row.decode("ascii").removesuffix("\n").split("\t")
        file = os.fsdecode(unescape(name.encode("ascii")))
        return Reject(file, int(line), int(byte), int(length), reason, shown, batch)
    except ValueError:
        raise StorageError(
            f"rejects/{rejects_name(batch)} in the state has a line that no run wrote",
            "move this file out of the state; `upswell state verify` lists what else is not as it was written",
        ) from None


def _files(reader: StateReader, wanted: RejectFilter) -> Iterator[File]:
    """Yield the files that may have selected lines, or late records."""
    if wanted.file is not None:
        file = reader.file(wanted.file)
        if _is_in(file.name, wanted):
            yield file
        return
    names = names_with_rejects(reader, wanted.day)
    while some := list(islice(names, _FILES_AT_ONCE)):
        found = reader.files(some)
        yield from (found[name] for name in some if name in found)


def _first_batch(reader: StateReader, wanted: RejectFilter) -> int:
    """Return the first batch that can have read a selected file."""
    if wanted.day is None:
        return reader.first_batch()
    return first_batch_reaching(reader, stamps_of(wanted.day)[0])


def _reject_files(
    reader: StateReader, wanted: RejectFilter, batches_max: int | None
) -> Iterator[RejectFile]:
    """Yield the reject files of the batches that may have kept selected lines."""
    first, last = _first_batch(reader, wanted), reader.last_batch()
    if batches_max is not None:
        last = min(last, first + batches_max - 1)
    return reject_files(reader, first, last, file=wanted.file, day=wanted.day)


def _is_in(name: str, wanted: RejectFilter) -> bool:
    """Return whether lines of a file of this name may be selected."""
    if wanted.file is not None and name != wanted.file:
        return False
    return wanted.day is None or read_name(name)[0][:8] == f"{wanted.day:08}"
