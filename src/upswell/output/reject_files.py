"""The reject files of a state: the lines of a batch that were refused, with their reasons, raw.

Owns STATE/rejects. A file there belongs to one batch and is durable before the batch is committed; one whose batch
never was is removed by recovery, and old ones by their age. They hold personal data, so only the owner may read them.
"""

import contextlib
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

from upswell.errors import StorageError
from upswell.output.names import parse_rejects, rejects_name
from upswell.storage import syscalls
from upswell.storage.files import (
    RECOVERS,
    create_file,
    directory,
    list_names,
    read_file,
    remove_files,
    sync_directory,
    translate_os_errors,
)

LOOKED_AT_MAX = 500  # reject files of one turn: some milliseconds, however many there are
_LOOK_S = 3600.0  # between the beginnings of two looks for old ones: their age is counted in days
_ESCAPED = re.compile(rb"\\(?:\\|x([0-9a-f]{2}))")
REWRITTEN = ".rewritten"
"""Suffix of what is to take a reject file's place."""


class Rejects:
    """The reject files of a state, one a batch: STATE/rejects/REJECTS_<batch>.tsv, mode 0600."""

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / "rejects"

    def write(self, batch: int, content: bytes) -> None:
        """Write a batch's rejects before it is committed; durable then. A crash leaves a file that recovery removes."""
        if not content:
            return
        with translate_os_errors(self.path, StorageError, RECOVERS):
            with contextlib.suppress(FileExistsError):
                syscalls.mkdir(self.path, 0o700)
                sync_directory(self.path.parent)
            with directory(self.path) as fd:
                create_file(rejects_name(batch), fd, content, 0o600)
                syscalls.fsync(fd)

    def contents(self) -> Iterator[tuple[int, bytes]]:
        """Every reject file that is there: its batch and what it holds."""
        with (
            translate_os_errors(self.path, StorageError, RECOVERS),
            contextlib.suppress(FileNotFoundError),
            directory(self.path) as fd,
        ):
            for name in list_names(fd):
                if (batch := parse_rejects(name)) is not None:
                    yield batch, read_file(name, fd)

    def rewrite(self, batch: int, content: bytes, *, at_once: bool) -> None:
        """Write what a reject file is to hold instead, beside it; durable then. ``finish``, or this, puts it in place.

        It is as old as the file was, so that it expires when that would have. A crash leaves a file
        that ``finish`` removes, or moves once the state vouches for it.
        """
        with translate_os_errors(self.path, StorageError, RECOVERS), directory(self.path) as fd:
            name = rejects_name(batch) + REWRITTEN
            remove_files([name], fd)
            create_file(name, fd, content, 0o600)
            before = syscalls.stat(rejects_name(batch), dir_fd=fd, follow_symlinks=False)
            syscalls.utime(name, ns=(before.st_atime_ns, before.st_mtime_ns), dir_fd=fd)
            if at_once:
                syscalls.rename(name, rejects_name(batch), src_dir_fd=fd, dst_dir_fd=fd)
            syscalls.fsync(fd)

    def finish(self, is_committed: Callable[[int, bytes], bool]) -> None:
        """Put in place what ``rewrite`` wrote, where the state vouches for it by batch and content, or remove it."""
        with (
            translate_os_errors(self.path, StorageError, RECOVERS),
            contextlib.suppress(FileNotFoundError),
            directory(self.path) as fd,
        ):
            for name in [name for name in list_names(fd) if name.endswith(REWRITTEN)]:
                own = name.removesuffix(REWRITTEN)
                if is_committed(parse_rejects(own) or 0, read_file(name, fd)):
                    syscalls.rename(name, own, src_dir_fd=fd, dst_dir_fd=fd)
                else:
                    syscalls.unlink(name, dir_fd=fd)
                syscalls.fsync(fd)

    def remove_after(self, last_batch: int) -> int:
        """Remove the rejects of batches after the last committed one; how many there were."""
        with (
            translate_os_errors(self.path, StorageError, RECOVERS),
            contextlib.suppress(FileNotFoundError),
            directory(self.path) as fd,
        ):
            names = [name for name in list_names(fd) if (parse_rejects(name) or 0) > last_batch]
            return remove_files(names, fd)
        return 0

    def names(self) -> Iterator[str]:
        """The reject files that are there, in no order; the directory is read as far as they are asked for."""
        with (
            translate_os_errors(self.path, StorageError, RECOVERS),
            contextlib.suppress(FileNotFoundError),
            directory(self.path) as fd,
            syscalls.scandir(fd) as entries,
        ):
            yield from (entry.name for entry in entries if parse_rejects(entry.name))

    def remove_old(self, names: Iterable[str], before_s: float) -> int:
        """Remove those of these files that were written before this moment; how many there were.

        Their lines stay counted. A crash leaves those that were not removed yet, which a later look removes.
        """
        with (
            translate_os_errors(self.path, StorageError, RECOVERS),
            contextlib.suppress(FileNotFoundError),
            directory(self.path) as fd,
        ):
            old = [name for name in names if _is_older(fd, before_s, name)]
            return remove_files(old, fd) if old else 0
        return 0


class Expiry:
    """Removes reject files once they are older than some days, a few at a time."""

    def __init__(self, rejects: Rejects, keep_days: int | None) -> None:
        """``keep_days``: None keeps them all."""
        self._rejects = rejects
        self._keep_s = None if keep_days is None else keep_days * 86_400
        self._next_at = 0.0
        self._names: Iterator[str] | None = None
        """What is left to look at; None between two looks."""

    def turn(self, now: float) -> int:
        """Look at some files, if it is time to, and remove those that are too old; how many those were."""
        if self._names is None:
            if self._keep_s is None or self._next_at - _LOOK_S <= now < self._next_at:
                return 0
            self._next_at = now + _LOOK_S
            self._names = self._rejects.names()
        some = list(islice(self._names, LOOKED_AT_MAX))
        if len(some) < LOOKED_AT_MAX:
            self._names = None
        return self._rejects.remove_old(some, now - (self._keep_s or 0)) if some else 0

    @property
    def is_due(self) -> bool:
        """Whether another turn would look at more files."""
        return self._names is not None


def _is_older(fd: int, before_s: float, name: str) -> bool:
    """Whether a file is that old. One that somebody has deleted since it was listed is not."""
    try:
        return syscalls.stat(name, dir_fd=fd, follow_symlinks=False).st_mtime < before_s
    except FileNotFoundError:
        return False


def unescape(text: bytes) -> bytes:
    r"""The bytes that a reject file shows: ``\xNN`` is that byte, two backslashes are one."""
    return _ESCAPED.sub(lambda match: bytes.fromhex(match[1].decode()) if match[1] else b"\\", text)


def digest_of(content: bytes) -> str:
    """What a state keeps of a reject file beside its length: SHA-256, hex; "" when there is no file."""
    return hashlib.sha256(content).hexdigest() if content else ""


def is_as_written(content: bytes, length: int, digest: str) -> bool:
    """Return whether a reject file is the one that its batch wrote, of this length and ``digest_of``."""
    return len(content) == length and digest == digest_of(content)
