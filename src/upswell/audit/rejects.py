"""What was refused: the rejects and late records of a state, listed, filtered and counted, while it runs and after.

Owns the reads behind ``upswell rejects``: counts come from the checkpoint, which has them all, lines from the reject
files, which hold what was kept. It changes nothing, and gives a raw line as it stood in DATA, byte for byte. A late
record is kept with the rejects but is none: it comes only when it is asked for.
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
from upswell.state.codec import decode_name, encode_name
from upswell.state.reader import StateReader
from upswell.storage.files import directory, read_file
from upswell.zones import stamps_of

LATE = "late"
"""What a late record carries in place of a reason."""
_PAGE_ROWS = 5000  # of files, batches or ranges, looked through at once: some 10 ms
_ANY_SEQUENCE = 2**62


class Reject(NamedTuple):
    """One kept line: a reject, or a late record."""

    file: str
    line: int
    """From 1."""
    byte: int
    """Where it begins in the file, uncompressed."""
    length: int
    """Bytes without the line end; more than are kept when it is too long."""
    reason: str
    shown: str
    """The kept bytes as printable ASCII: a byte of another kind is ``\\xNN``, a backslash twice."""
    batch: int

    @property
    def raw(self) -> bytes:
        """The kept bytes, without the line end: the whole line unless ``cut``."""
        return unescape(self.shown.encode("ascii"))

    @property
    def cut(self) -> bool:
        """Whether more stood in DATA than is kept."""
        return len(self.raw) < self.length


class Wanted(NamedTuple):
    """Which rejects are asked for; None: all."""

    day: int | None = None
    """Of the file's stamp."""
    file: str | None = None
    reason: str | None = None
    """One of kernel.REASONS, or LATE. None: every reason, but not the late records."""

    def has(self, reason: str) -> bool:
        """Whether a line kept for this reason is asked for."""
        return reason == self.reason if self.reason else reason != LATE


@dataclass(slots=True)
class Counts:
    """What was refused, exactly, whether the lines were kept or not."""

    by_file: dict[str, Counter[str]] = field(default_factory=dict)
    """Lines that are wanted, by reason, of each file that has some."""
    late: int = 0
    """Late records of the same files, which are no rejects."""
    dropped: Counter[str] = field(default_factory=Counter)
    """By file: lines beyond what is written of one file, rejected or late: for which reason is not known."""

    @property
    def reasons(self) -> Counter[str]:
        """Lines that are wanted, by reason, in the order of the reasons."""
        every = (*kernel.REASONS, LATE)
        found = {name: sum(lines[name] for lines in self.by_file.values()) for name in every}
        return +Counter(found)

    @property
    def lines(self) -> int:
        """How many lines are wanted."""
        return self.reasons.total()

    def to_json(self) -> dict[str, object]:
        """As one object."""
        return {
            "lines": self.lines,
            "reasons": dict(self.reasons),
            "files": {show_name(file): dict(lines) for file, lines in self.by_file.items()},
            "late": self.late,
            "not_kept": {show_name(file): n for file, n in self.dropped.items()},
        }


def count(state_dir: Path, wanted: Wanted) -> Counts:
    """How many lines were refused, out of the checkpoint.

    Raises:
        StorageError: there is no state, or a damaged one. UsageError: it never saw that file.
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


def count_dropped(state_dir: Path, wanted: Wanted) -> Counter[str]:
    """By file: lines, rejected or late, beyond what is written of one file. Errors as ``count``."""
    found = Counter[str]()
    with StateReader.open(state_dir) as reader:
        for name, lines in _dropped(reader, _first_batch(reader, wanted)):
            if _is_in(name, wanted):
                found[name] += lines
    return found


class Kept:
    """The kept lines that are wanted, in the order in which they were read. To be gone through once."""

    def __init__(self, state_dir: Path, wanted: Wanted, batches_max: int | None = None) -> None:
        """``batches_max``: look through no more batches than so many, from the first that can hold what is wanted."""
        self.removed = 0
        """Reject files that are gone: by keep_rejects_days, or deleted by somebody, as is allowed."""
        self.changed: list[str] = []
        """Reject files that are left out because they are not as they were written, each with the reason."""
        self.cut = 0
        """Lines given of which only the beginning is kept."""
        self._state_dir = state_dir
        self._wanted = wanted
        self._batches_max = batches_max

    def __iter__(self) -> Iterator[Reject]:
        """Errors as ``count``."""
        with StateReader.open(self._state_dir) as reader:
            if self._wanted.file is not None:
                reader.file(self._wanted.file)
            for batch, length, digest in _batches(reader, self._wanted, self._batches_max):
                for row in io.BytesIO(self._read(rejects_name(batch), length, digest)):
                    reject = parse(row, batch)
                    if self._wanted.has(reject.reason) and _is_in(reject.file, self._wanted):
                        self.cut += reject.cut
                        yield reject

    def _read(self, name: str, length: int, digest: str) -> bytes:
        try:
            with directory(self._state_dir / "rejects") as fd:
                content = read_file(name, fd)
        except FileNotFoundError:
            self.removed += 1
            return b""
        except OSError as error:
            self.changed.append(f"{name}: {error.strerror}")
            return b""
        if is_as_written(content, length, digest):
            return content
        self.changed.append(f"{name}: it was changed after it was written")
        return b""


def parse(row: bytes, batch: int) -> Reject:
    """A line of a reject file. Raises StorageError when it is none."""
    try:
        name, line, byte, length, reason, shown = row.decode("ascii").removesuffix("\n").split("\t")
        file = os.fsdecode(unescape(name.encode("ascii")))
        return Reject(file, int(line), int(byte), int(length), reason, shown, batch)
    except ValueError:
        raise StorageError(
            f"{rejects_name(batch)} holds a line that no run wrote",
            "move the file away; `upswell state verify` says what else is not as it was written",
        ) from None


def _files(reader: StateReader, wanted: Wanted) -> Iterator[File]:
    """The files in which something wanted, or late, may have been found."""
    if wanted.file is not None:
        file = reader.file(wanted.file)
        if _is_in(file.name, wanted):
            yield file
        return
    names = _names(reader) if wanted.day is None else _names_of(reader, wanted.day)
    while some := list(islice(names, _PAGE_ROWS)):
        found = reader.files(some)
        yield from (found[name] for name in some if name in found)


_HAS_SOME = f"""(reasons <> '{{}}' OR instr(outcomes, '"{LATE}":'))"""


def _names(reader: StateReader) -> Iterator[str]:
    """The names of all files that ``_files`` is about, page by page."""
    (last,) = reader.rows("SELECT coalesce(max(id), 0) FROM file")[0]
    sql = f"SELECT name FROM file WHERE id > ?1 AND id <= ?1 + ?2 AND {_HAS_SOME} ORDER BY id"
    for after in range(0, last, _PAGE_ROWS):
        yield from (decode_name(name) for (name,) in reader.rows(sql, (after, _PAGE_ROWS)))


def _names_of(reader: StateReader, day: int) -> Iterator[str]:
    """Likewise of the files of a day: they are found without going through the others."""
    sql = f"SELECT name FROM file WHERE stamp >= ? AND stamp <= ? AND {_HAS_SOME} ORDER BY id"
    rows = reader.rows(sql, stamps_of(day))
    return (decode_name(name) for (name,) in rows)


def _first_batch(reader: StateReader, wanted: Wanted) -> int:
    """The first batch that can have read a file that is wanted.

    A batch's newest stamp is at least that of each file it read, and never less than that of the batch before.
    """
    first, after = reader.first_batch(), reader.last_batch() + 1
    if wanted.day is None:
        return first
    stamp, _ = stamps_of(wanted.day)
    while first < after:
        middle = (first + after) // 2
        rows = reader.rows("SELECT newest_stamp FROM batch WHERE number = ?", (middle,))
        if rows and rows[0][0] >= stamp:
            after = middle
        else:
            first = middle + 1
    return first


def _dropped(reader: StateReader, first: int) -> Iterator[tuple[str, int]]:
    """(file, lines) of every range of which some lines were not kept, from this batch on."""
    sql = (
        "SELECT one.batch, one.sequence, file.name, one.lines FROM dropped_rejects AS one"
        " JOIN log ON log.batch = one.batch AND log.sequence = one.sequence JOIN file ON file.id = log.file"
        f" WHERE (one.batch, one.sequence) > (?, ?) ORDER BY one.batch, one.sequence LIMIT {_PAGE_ROWS}"
    )
    after = (first - 1, _ANY_SEQUENCE)
    while rows := reader.rows(sql, after):
        for _, _, name, lines in rows:
            yield decode_name(name), lines
        after = rows[-1][:2]


def _batches(
    reader: StateReader, wanted: Wanted, batches_max: int | None
) -> Iterator[tuple[int, int, str]]:
    """(number, length and digest of its reject file) of the batches that may have kept something wanted."""
    first, last = _first_batch(reader, wanted), reader.last_batch()
    if batches_max is not None:
        last = min(last, first + batches_max - 1)
    sql = (
        "SELECT number, rejects_bytes, rejects_digest FROM batch"
        " WHERE number >= ?1 AND number < ?1 + ?2 AND number <= ?3"
        " AND rejects_bytes > 0 AND EXISTS (SELECT 1 FROM log JOIN file ON file.id = log.file"
        " WHERE log.batch = number AND (?4 IS NULL OR file.name = ?4)"
        " AND (?5 IS NULL OR substr(file.stamp, 1, 8) = ?5)) ORDER BY number"
    )
    name = None if wanted.file is None else encode_name(wanted.file)
    day = None if wanted.day is None else f"{wanted.day:08}"
    for start in range(first, last + 1, _PAGE_ROWS):
        yield from reader.rows(sql, (start, _PAGE_ROWS, last, name, day))


def _is_in(name: str, wanted: Wanted) -> bool:
    """Whether what stands in a file of this name may be wanted."""
    if wanted.file is not None and name != wanted.file:
        return False
    return wanted.day is None or read_name(name)[0][:8] == f"{wanted.day:08}"
