"""One DATA file as this process knows it: its row, how it looked last, and what opening it has shown.

Owns the questions that only the content answers: is it plain text, which is its first record, is its gzip whole, is the
part that was taken unchanged, what is the digest of it all. Each is asked at most once for each stat, so that a file
that nobody touches is not read again. It decides no state; ``source`` does. A file is opened only when it is regular.
"""

import os
import re
import stat
from dataclasses import dataclass
from typing import Literal

from upswell import kernel
from upswell.source.file import File, State
from upswell.source.listing import Stat, look_at
from upswell.zones import day_max_of

CONTENT_BYTES_MAX = 64 << 30  # of a file, uncompressed: more is a bomb or a mistake
REVERIFY_BYTES_MAX = 16 << 20  # reading so much again with every growth is not felt
REVERIFY_S = 10.0  # a longer taken part is read again at most so often while it only grows
NEVER = float("-inf")

# The marks that compressed files begin with. Those of bzip2 are letters, so more of them must fit.
_MARKS = (
    ("gzip", re.compile(rb"\x1f\x8b")),
    ("zip", re.compile(rb"PK(\x03\x04|\x05\x06)")),
    ("zstd", re.compile(rb"\x28\xb5\x2f\xfd")),
    ("bzip2", re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)")),
    ("xz", re.compile(rb"\xfd7zXZ\x00")),
)
_MARK_BYTES_MAX = 10


class Settled:
    """What is remembered of a file that needs nothing and whose row is in the checkpoint: enough to see a change."""

    __slots__ = ("inode", "look", "mtime_ns", "size", "state")

    def __init__(self, state: State, seen: Stat, look: int) -> None:
        self.state = state
        self.size, self.mtime_ns, self.inode = seen
        self.look = look


@dataclass(slots=True, eq=False)
class Entry:
    """One file of which more is remembered than its row: what is new in it, or not saved yet."""

    file: File
    path: bytes
    size: int
    mtime_ns: int
    inode: int
    look: int
    """Number of the look that saw it last."""
    since: float
    """When a look first showed the present size and mtime."""
    recorded: bool = False
    """Whether the checkpoint has, or was given, a row of it."""
    unverified: bool = False
    """Whether its stat changed since the taken part was last compared."""
    verified_at: float = NEVER
    """When the taken part was last compared; NEVER when that must be done before anything is taken."""
    retry_at: float = NEVER
    """Held for its stamp or a read error: when it is looked at again."""
    examined: bool = False
    """Whether it was opened and judged at least once."""
    failed_look: int = 0
    """The look after which reading it failed: it is left alone until the next one, or until its stat changes."""
    rewritten: bool = False
    """Whether it was written since it was done, and did not grow: it may have been delivered again."""
    exhausted: tuple[int, bool] | None = None
    """(end, final) of the range in which nothing more can be taken; None when the next one is worth reading."""
    shifted: bool = False
    """Changed after the one listing of a run ``--once``: it cannot be still in this run."""
    verdict: str = ""
    """Of a compressed file's last check: whole, incomplete, broken or too_large."""
    verdict_detail: str = ""
    checked: Stat | None = None
    """The stat that the verdict belongs to."""
    _searched: Stat | None = None
    _marked: Stat | None = None
    _mark: str = ""
    _doubted: Stat | None = None
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
        """How it looked last."""
        return Stat(self.size, self.mtime_ns, self.inode)

    @property
    def end(self) -> int:
        """Uncompressed bytes it holds, as far as it is known."""
        return self.file.content_bytes if self.file.compressed else self.size

    def see(self, seen: Stat, now: float) -> None:
        """Take in a stat that differs from the last one."""
        file = self.file
        grew = seen.inode == self.inode and seen.size > self.size
        if (seen.size, seen.mtime_ns) != (self.size, self.mtime_ns):
            self.since = now
        written = seen.mtime_ns != self.mtime_ns
        self.size, self.mtime_ns, self.inode = seen
        file.size, file.mtime_ns, file.inode = seen
        # What was known of the whole content belongs to the old stat; a restart must not believe it either.
        file.content_bytes = file.content_digest = 0
        self.retry_at = NEVER
        self.failed_look = 0
        self.exhausted = None
        if file.offset:
            self.unverified = True
            if not grew:
                self.verified_at = NEVER
            # The inode alone says nothing: some network file systems give a file another one at each mount. Nor does
            # the size on disk of a compressed file. Before it is done a copy may only just be given its old time.
            if file.state == "done" and written and (not grew or file.compressed):
                self.rewritten = True

    def stat_now(self) -> Stat | None:
        """How the file looks at this moment; None when it cannot be seen."""
        try:
            return look_at(self.path)
        except OSError:
            return None

    def still(self, now: float, settle_s: float) -> bool:
        """Whether size and mtime are unchanged since a look long enough ago, or the mtime is that old."""
        if self.shifted:
            return False
        return now - self.since >= settle_s or now - self.mtime_ns / 1e9 >= settle_s

    @property
    def must_be_opened(self) -> bool:
        """Whether its content may have to be read before more of it is offered: as it looks now, or as a repeat."""
        searched = self._searched == self.stat or (self.file.offset and self.file.first_record)
        whole = self.whole or not self.file.compressed
        examined = self.examined and searched and whole and not self.unverified
        return not examined or self.file.reason == "suspect"

    def verify_due(self, now: float) -> bool:
        """Whether the taken part is to be compared before more is taken.

        A file that only grows is read again from its start at every growth while its taken part is small, and every
        REVERIFY_S when it is not; at a start, when the inode is another or the size did not grow, at once. Before a
        file becomes done the source compares in any case.
        """
        if not self.unverified:
            return False
        return self.file.offset <= REVERIFY_BYTES_MAX or now - self.verified_at >= REVERIFY_S

    def verify(self, now: float) -> Literal["", "shrank", "changed"]:
        """Compare the taken part with its digest: why it does not fit, or "". A compressed file must be checked whole.

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
        """Which compression a plainly named file's first bytes are the mark of, or "". OSError when unreadable."""
        if self._marked != self.stat:
            head = read_at(self.path, 0, _MARK_BYTES_MAX)
            self._mark = next((kind for kind, mark in _MARKS if mark.match(head)), "")
            self._marked = self.stat
        return self._mark

    @property
    def whole(self) -> bool:
        """Whether a compressed file, as it looks now, was checked and has its end."""
        if self.checked is None and self.recorded and self.file.content_bytes:
            self.checked, self.verdict = self.stat, "whole"  # the row says so: this is a restart
        return self.checked == self.stat and self.verdict == "whole"

    def doubt(self) -> bool:
        """Have a compressed file checked and compared once more; False when that was done for this stat already."""
        if self._doubted == self.stat:
            return False
        self._doubted = self.stat
        self.checked, self.exhausted = None, None
        self.file.content_bytes = self.file.content_digest = 0
        self.unverified, self.verified_at = self.file.offset > 0, NEVER
        return True

    def check(self) -> None:
        """Set the verdict on a compressed file, and what its content is when whole. OSError when unreadable."""
        self.checked = self.stat
        self.verdict, size, crc, self.verdict_detail = kernel.check_gzip(
            self.path, CONTENT_BYTES_MAX
        )
        if self.verdict == "whole":
            self.file.content_bytes, self.file.content_digest = size, crc

    def find_first_record(self, *, still: bool) -> None:
        """Look for the file's first record, unless it is known or cannot have appeared.

        While a file without one grows it is searched again whenever it has doubled, and once it is still: so all
        searches together read a small multiple of it.
        """
        file = self.file
        last, now = self._searched, self.stat
        if last == now or (file.offset and file.first_record is not None):
            return
        grows = last is not None and last.inode == now.inode and last.size <= now.size
        if file.first_record is None and grows and not still and last and now.size < 2 * last.size:
            return
        found = kernel.first_record(
            self.path, self.end, day_max_of(file.stamp), compressed=file.compressed
        )
        file.first_record = None if found is None else found.crc
        self._searched = now

    def whole_digest(self) -> int | None:
        """Digest of all its content now; None when it is shorter than it looked. Errors as ``verify``."""
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

    def has_tail(self) -> bool:
        """Whether a plain file that has more than was taken ends in an unterminated line. OSError when unreadable."""
        return self.size > self.file.offset and read_at(self.path, self.size - 1, 1) != b"\n"


def read_at(path: bytes, position: int, length: int) -> bytes:
    """Up to so many bytes of a regular file. OSError when it is none (a link is not followed), or unreadable."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError("it is no regular file")
        return os.pread(fd, length, position)
    finally:
        os.close(fd)
