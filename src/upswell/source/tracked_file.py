"""One DATA file as this process knows it: its row, its last stat, and what its content has shown.

Owns the questions that only the content answers: whether it is plain text, what its first record is, whether its gzip
is whole, whether the consumed part is unchanged, and what the digest of all of it is. Each is answered at most once for
a stat, so that a file that nobody touches is not read again. It decides no state: ``admission`` and ``completion`` do.

One file because its answers are kept for one stat and dropped together when that changes.
"""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import IO, Literal

from upswell import kernel
from upswell.source.content import count_lines, digests_at, find_nul, first_line_of_gzip
from upswell.source.duplicates import Content
from upswell.source.file import REFUSED, File, State
from upswell.source.header import NO_LINE, FirstLine, read_first_line
from upswell.source.listing import Stat, open_regular, read_at, read_head, stat_regular
from upswell.source.refusal import CAUSE_BYTES, likely_cause
from upswell.zones import day_max_of

CONTENT_BYTES_MAX = 64 << 30  # of a file, uncompressed: more is a bomb or a mistake
REVERIFY_BYTES_MAX = 16 << 20  # small enough to be read again at every growth
REVERIFY_S = 10.0  # how often a longer consumed part is read again while its file only grows
NEVER = float("-inf")

# The magic bytes of compressed files. Those of bzip2 are letters, so more of them are compared.
_MARKS = (
    ("gzip", re.compile(rb"\x1f\x8b")),
    ("zip", re.compile(rb"PK(\x03\x04|\x05\x06)")),
    ("zstd", re.compile(rb"\x28\xb5\x2f\xfd")),
    ("bzip2", re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)")),
    ("xz", re.compile(rb"\xfd7zXZ\x00")),
)
_MARK_BYTES_MAX = 10
_EXPORTS_COMPARED_MAX = 8


class SettledFile:
    """A file that needs nothing and whose row is in the checkpoint: its state, and its stat to notice a change by."""

    __slots__ = ("inode", "last_scan", "mtime_ns", "size", "state")

    def __init__(self, state: State, stat: Stat, last_scan: int) -> None:
        self.state = state
        self.size, self.mtime_ns, self.inode = stat
        self.last_scan = last_scan


@dataclass(slots=True, eq=False)
class TrackedFile:
    """A file with something left to do: it has new bytes, awaits a decision, or its row is not saved yet."""

    file: File
    path: bytes
    size: int
    mtime_ns: int
    inode: int
    last_scan: int
    """Number of the scan that saw it last."""
    unchanged_since: float
    """The time of the first scan that showed the present size and mtime."""
    recorded: bool = False
    """The checkpoint has a row of it, or was given one."""
    unverified: bool = False
    """Its stat changed since the consumed part was last compared."""
    verified_at: float = NEVER
    """The time of the last comparison of the consumed part; NEVER: compare it before anything is consumed."""
    retry_at: float = NEVER
    """The time at which a file held for its stamp or a read error is tried again."""
    examined: bool = False
    """It was opened and judged at least once."""
    failed_scan: int = 0
    """The scan after which reading it failed: it is left alone until the next one, or until its stat changes."""
    rewritten: bool = False
    """It was written since it was done, and did not grow: it may have been delivered again."""
    exhausted: tuple[int, bool] | None = None
    """(end, final) of a range from which nothing more can be consumed; None when the next one is worth reading."""
    changed_after_listing: bool = False
    """It changed after the one listing of a run ``--once``, so its quiet period cannot end in this run."""
    verdict: str = ""
    """Result of a compressed file's last check: whole, incomplete, broken or too_large."""
    verdict_detail: str = ""
    checked: Stat | None = None
    """The stat for which the verdict holds."""
    _searched: Stat | None = None
    _looked: Stat | None = None
    _compression: str = ""
    _first_line: FirstLine = NO_LINE
    _last_byte: bytes = b""
    _filled: Stat | None = None
    _filled_to: int = 0
    _digested: tuple[Stat, list[int]] | None = None
    _digests: dict[int, int] = field(default_factory=dict)
    _exported_asked: tuple[Stat, list[tuple[str, int]]] | None = None
    _exported: tuple[str, int] = "", 0
    _invalidated: Stat | None = None
    _whole: tuple[Stat, int] | None = None

    @property
    def name(self) -> str:
        """The file's name."""
        return self.file.name

    @property
    def state(self) -> State:
        """The file's state."""
        return self.file.state

    @property
    def stat(self) -> Stat:
        """The last stat."""
        return Stat(self.size, self.mtime_ns, self.inode)

    @property
    def end(self) -> int:
        """Uncompressed bytes in it; 0 for a compressed file until its check."""
        return self.file.content_bytes if self.file.compressed else self.size

    def update(self, stat: Stat, now: float) -> None:
        """Replace the stat by a different one, and drop what was known only of the old one."""
        file = self.file
        grew = stat.inode == self.inode and stat.size > self.size
        if (stat.size, stat.mtime_ns) != (self.size, self.mtime_ns):
            self.unchanged_since = now
        written = stat.mtime_ns != self.mtime_ns
        self.size, self.mtime_ns, self.inode = stat
        file.size, file.mtime_ns, file.inode = stat
        # What was known of the whole content belongs to the old stat; a restart must not rely on it either.
        file.content_bytes = file.content_digest = 0
        self.retry_at = NEVER
        self.failed_scan = 0
        self.exhausted = None
        if not grew:
            self._first_line = NO_LINE
            self._filled_to = 0
        if file.offset:
            self.unverified = True
            if not grew:
                self.verified_at = NEVER
            # Another inode alone means nothing, since some network file systems give a file another one at each mount;
            # nor does the compressed size. Until a file is done, a new mtime may be that of a copy being finished.
            if file.state == "done" and written and (not grew or file.compressed):
                self.rewritten = True

    def stat_now(self) -> Stat | None:
        """Stat the file now; None when it is gone, not a regular file, or cannot be seen."""
        try:
            return stat_regular(self.path)
        except OSError:
            return None

    def is_quiet(self, now: float, settle_s: float) -> bool:
        """Return whether the quiet period is over: no change seen for ``settle_s``, or the mtime is that old."""
        if self.changed_after_listing:
            return False
        return now - self.unchanged_since >= settle_s or now - self.mtime_ns / 1e9 >= settle_s

    @property
    def must_be_opened(self) -> bool:
        """True when content must be read before more is offered: its stat is new, or it may be a duplicate."""
        searched = self._searched == self.stat or (self.file.offset and self.file.first_record)
        whole = self.whole or not self.file.compressed
        examined = self.examined and searched and whole and not self.unverified
        return not examined or self.file.reason == "suspect"

    def verify_due(self, now: float) -> bool:
        """Return whether the consumed part must be compared before more is consumed.

        While a file only grows, its consumed part is read again at every growth if it is small, and every REVERIFY_S
        if it is not. It is read at once after a start, and after any change that is not growth. Before a file becomes
        done it is compared in any case.
        """
        if not self.unverified:
            return False
        return self.file.offset <= REVERIFY_BYTES_MAX or now - self.verified_at >= REVERIFY_S

    def verify(self, now: float) -> Literal["", "shrank", "changed"]:
        """Compare the consumed part with its digest; return what is wrong with it, or "".

        A compressed file must have been checked whole before.

        Raises:
            OSError: it cannot be read. ValueError: its compressed data is broken.
        """
        file = self.file
        if self.end < file.offset:
            return "shrank"
        if file.compressed and self.end == file.offset:
            crc, length = file.content_digest, file.offset
        else:
            crc, length = kernel.digest(self.path, 0, file.offset, 0, compressed=file.compressed)
        if length < file.offset:
            return "shrank"
        if crc != file.digest:
            return "changed"
        self.unverified, self.verified_at = False, now
        return ""

    def compression(self) -> str:
        """Return the compression that the magic bytes of a plain file show, or "". Raises OSError when unreadable."""
        self._look()
        return self._compression

    def first_line(self) -> FirstLine:
        """Return the first line that is not blank, as far as it is there; of a growing file blank lines are read once.

        Raises:
            OSError: it cannot be read. ValueError: its gzip data is broken.
        """
        self._look()
        return self._first_line

    def last_byte(self) -> bytes:
        """Return the last byte of a plain file; empty when it has none any more. Raises OSError when unreadable."""
        self._look()
        return self._last_byte

    def _look(self) -> None:
        """Read both ends of the file, with one opening for all that they show; no beginning that is consumed."""
        if self._looked == self.stat:
            return
        with open_regular(self.path) as fd, open(fd, "rb", closefd=False) as raw:
            if self.file.compressed:
                self._first_line = first_line_of_gzip(raw)
            else:
                self._last_byte = os.pread(fd, 1, max(self.size - 1, 0))
                if not self.file.offset:
                    self._look_at_beginning(raw)
        self._looked = self.stat

    def _look_at_beginning(self, raw: IO[bytes]) -> None:
        head = os.pread(raw.fileno(), _MARK_BYTES_MAX, 0)
        self._compression = next((kind for kind, mark in _MARKS if mark.match(head)), "")
        start = raw.seek(self._first_line.blank_bytes)
        found = read_first_line(raw, at_start=start == 0)
        self._first_line = found._replace(blank_bytes=start + found.blank_bytes)

    def filled_to(self) -> int:
        """Return the position of a plain file's first NUL byte behind the consumed part, or its size without one.

        Of a file that only grows each byte is read once. Raises OSError when it cannot be read.
        """
        if self._filled != self.stat:
            with open_regular(self.path) as fd:
                self._filled_to = find_nul(fd, max(self._filled_to, self.file.offset), self.size)
            self._filled = self.stat
        return self._filled_to

    @property
    def whole(self) -> bool:
        """True when a compressed file was checked with its present stat and has its end."""
        if self.checked is None and self.recorded and self.file.content_bytes:
            self.checked, self.verdict = self.stat, "whole"  # from the row, after a restart
        return self.checked == self.stat and self.verdict == "whole"

    def invalidate(self) -> bool:
        """Have a compressed file checked and compared anew; return False when that was done for this stat already."""
        if self._invalidated == self.stat:
            return False
        self._invalidated = self.stat
        self.checked, self.exhausted = None, None
        self.file.content_bytes = self.file.content_digest = 0
        self.unverified, self.verified_at = self.file.offset > 0, NEVER
        return True

    def check(self) -> None:
        """Set the verdict on a compressed file and, when whole, its size and digest. Raises OSError when unreadable."""
        self.checked = self.stat
        self.verdict, size, crc, self.verdict_detail = kernel.check_gzip(
            self.path, CONTENT_BYTES_MAX
        )
        if self.verdict == "whole":
            self.file.content_bytes, self.file.content_digest = size, crc

    def find_first_record(self, *, at_end: bool) -> None:
        """Search the first record, unless it is known or cannot have appeared.

        A growing file of which nothing was consumed is searched again whenever it has doubled in size, and when it is
        ``at_end``, its last size: so all searches together read a small multiple of it. One that is consumed must be
        known by its first record from then on, in case it goes on under another name.
        """
        file = self.file
        last, now = self._searched, self.stat
        if last == now or (file.offset and file.first_record is not None):
            return
        grows = last is not None and last.inode == now.inode and last.size < now.size
        may_wait = file.first_record is None and not file.offset and not at_end
        if may_wait and grows and last and now.size < 2 * last.size:
            return
        found = kernel.first_record(
            self.path, self.end, day_max_of(file.stamp), compressed=file.compressed
        )
        file.first_record = None if found is None else found.crc
        self._searched = now

    def refusal(self) -> tuple[str, str]:
        """Return (REFUSED, words) when not one of the consumed lines was a record, otherwise two empty texts."""
        file = self.file
        if not file.is_refused:
            return "", ""
        if file.reason == REFUSED:
            return file.reason, file.detail
        try:
            head = read_head(self.path, CAUSE_BYTES, compressed=file.compressed)
        except OSError:
            head = b""
        lines = "its only line" if file.lines == 1 else f"none of its {file.lines:,} lines"
        words = f"{lines} is{' not' if file.lines == 1 else ''} a record: "
        return REFUSED, words + (likely_cause(head) or "upswell rejects has the reasons")

    def whole_digest(self) -> int | None:
        """Return the digest of all its content; None when it is shorter than its stat. Raises as ``verify`` does."""
        file = self.file
        if file.compressed:
            return file.content_digest
        if self._whole is None or self._whole[0] != self.stat:
            start, initial = (0, 0) if self.unverified else (file.offset, file.digest)
            crc, length = kernel.digest(self.path, start, self.size, initial, compressed=False)
            if length < self.size - start:
                return None
            self._whole = (self.stat, crc)
        return self._whole[1]

    def begins_as(self, others: Sequence[File]) -> File | None:
        """Return the first of these files whose consumed part its content begins with; None when it is none of them.

        Raises as ``verify`` does.
        """
        digests = self._digests_at(other.offset for other in others)
        return next((one for one in others if digests.get(one.offset) == one.digest), None)

    def exported_again(self, others: Iterable[Content]) -> tuple[str, int]:
        """Return the name and lines of the longest of these contents that its own begins with; ("", 0) for none.

        Raises as ``verify`` does.
        """
        shorter = [other for other in others if 0 < other.size < self.end]
        # A feed whose files all begin alike has many: the longest few are looked at, and the same ones once.
        shorter = sorted(shorter, key=lambda one: (-one.size, one.name))[:_EXPORTS_COMPARED_MAX]
        asked = self.stat, [(other.name, other.size) for other in shorter]
        if self._exported_asked != asked:
            self._exported = self._longest_in(shorter)
            self._exported_asked = asked
        return self._exported

    def _longest_in(self, shorter: Sequence[Content]) -> tuple[str, int]:
        if not shorter:
            return "", 0
        digests = self._digests_at(other.size for other in shorter)
        for other in shorter:
            if digests.get(other.size) == other.digest():
                compressed = self.file.compressed
                return other.name, count_lines(self.path, other.size, compressed=compressed)
        return "", 0

    def _digests_at(self, lengths: Iterable[int]) -> dict[int, int]:
        """Return the digests of its first bytes, by these lengths; read once for the same lengths and stat."""
        wanted = self.stat, sorted(set(lengths))
        if self._digested != wanted:
            self._digests = digests_at(self.path, wanted[1], compressed=self.file.compressed)
            self._digested = wanted
        return self._digests

    def has_tail(self) -> bool:
        """Return whether unconsumed bytes of a plain file end in an unterminated line. Raises OSError: unreadable."""
        return self.size > self.file.offset and read_at(self.path, self.size - 1, 1) != b"\n"
