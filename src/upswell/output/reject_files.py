"""The reject files of a state: the rejected lines of a batch, raw, with their reasons.

Owns STATE/rejects. A file there belongs to one batch and is durable before the batch is committed; recovery removes
one whose batch was not, and old ones expire by age. They hold personal data, so only the owner may read them.
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

CHECKED_MAX = 500  # reject files of one call: some milliseconds, however many there are
_EXPIRY_S = 3600.0  # between the starts of two scans for old files: their age is counted in days
_ESCAPED = re.compile(rb"\\(?:\\|x([0-9a-f]{2}))")
REWRITTEN = ".rewritten"
"""Suffix of a file that is to replace a reject file."""


class Rejects:
    """The reject files of a state, one a batch: STATE/rejects/REJECTS_<batch>.tsv, mode 0600."""

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / "rejects"

    def write(self, batch: int, content: bytes) -> None:
        """Write a batch's rejects, before it is committed; durable when this returns. No file is made for none.

        A crash leaves a file that recovery removes. Raises StorageError.
        """
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
        """Yield (batch, content) of every reject file that is there. Raises StorageError."""
        with (
            translate_os_errors(self.path, StorageError, RECOVERS),
            contextlib.suppress(FileNotFoundError),
            directory(self.path) as fd,
        ):
            for name in list_names(fd):
                if (batch := parse_rejects(name)) is not None:
                    yield batch, read_file(name, fd)

    def rewrite(self, batch: int, content: bytes, *, at_once: bool) -> None:
        """Write a replacement of a reject file beside it; durable when this returns.

        With ``at_once`` it also takes the file's place, otherwise ``finish`` does that. It gets the times of the file,
        so that it expires when that would have. A crash leaves a replacement that ``finish`` puts in place or removes.
        Raises StorageError.
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
        """Put each replacement that ``rewrite`` wrote in place if it is committed, and remove it if not.

        ``is_committed`` is asked with the batch and the content. Raises StorageError.
        """
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
        """Remove the reject files of batches after the last committed one; return how many there were."""
        with (
            translate_os_errors(self.path, StorageError, RECOVERS),
            contextlib.suppress(FileNotFoundError),
            directory(self.path) as fd,
        ):
            names = [name for name in list_names(fd) if (parse_rejects(name) or 0) > last_batch]
            return remove_files(names, fd)
        return 0

    def names(self) -> Iterator[str]:
        """Yield the names of the reject files, in no order, reading the directory only as far as they are consumed."""
        with (
            translate_os_errors(self.path, StorageError, RECOVERS),
            contextlib.suppress(FileNotFoundError),
            directory(self.path) as fd,
            syscalls.scandir(fd) as entries,
        ):
            yield from (entry.name for entry in entries if parse_rejects(entry.name))

    def remove_old(self, names: Iterable[str], before_s: float) -> int:
        """Remove those of these files that were written before a time (epoch seconds); return how many there were.

        Their lines stay counted. A crash leaves the rest, which a later scan removes.
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
    """Removes reject files that are older than some days, a few at a time."""

    def __init__(self, rejects: Rejects, keep_days: int | None) -> None:
        """``keep_days``: None keeps all files."""
        self._rejects = rejects
        self._keep_s = None if keep_days is None else keep_days * 86_400
        self._next_at = 0.0
        self._names: Iterator[str] | None = None
        """The rest of a scan; None between two scans."""

    def remove_due(self, now: float) -> int:
        """Check some files, if it is time to, and remove those that are too old; return how many were removed.

        ``now``: epoch seconds.
        """
        if self._names is None:
            if self._keep_s is None or self._next_at - _EXPIRY_S <= now < self._next_at:
                return 0
            self._next_at = now + _EXPIRY_S
            self._names = self._rejects.names()
        some = list(islice(self._names, CHECKED_MAX))
        if len(some) < CHECKED_MAX:
            self._names = None
        return self._rejects.remove_old(some, now - (self._keep_s or 0)) if some else 0

    @property
    def is_due(self) -> bool:
        """True while a scan is unfinished, so that another call checks more files."""
        return self._names is not None


def _is_older(fd: int, before_s: float, name: str) -> bool:
    """Return whether a file was written before then; False for one that was deleted since it was listed."""
    try:
        return syscalls.stat(name, dir_fd=fd, follow_symlinks=False).st_mtime < before_s
    except FileNotFoundError:
        return False


def unescape(text: bytes) -> bytes:
    r"""Return the bytes that a reject file shows as text: ``\xNN`` is that byte, two backslashes are one."""
    return _ESCAPED.sub(lambda match: bytes.fromhex(match[1].decode()) if match[1] else b"\\", text)


def digest_of(content: bytes) -> str:
    """Return the digest of a reject file that a state keeps: SHA-256, hex; "" for no content, which has no file."""
    return hashlib.sha256(content).hexdigest() if content else ""


def is_as_written(content: bytes, length: int, digest: str) -> bool:
    """Return whether a reject file has the length and the ``digest_of`` that its batch committed."""
    return len(content) == length and digest == digest_of(content)
