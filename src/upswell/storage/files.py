"""Durable files: written whole, listed, read and removed, relative to directory descriptors and never through a link.

Owns how OUTPUT and the state use the system calls of ``syscalls``; knows nothing of batches. When a function that
promises durability returns, its data is on disk. A failed fsync is never retried: the kernel may have dropped the data
and would report success.
"""

import contextlib
import errno
import os
import pwd
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from upswell.errors import OutputUnwritable, StorageError, UpswellError
from upswell.privacy import escape
from upswell.storage import syscalls

_READ_BYTES = 1 << 20
RECOVERS = "free space or repair the disk, then start again: the restart recovers"
"""The next step after a fault of the machine."""
_FULL = (errno.ENOSPC, errno.EDQUOT)
_WRITABLE = "its file system is read-only: mount it writable, then start again"
_OTHER_FILE_SYSTEM = "use a local file system that has it: ext4, XFS, Btrfs, tmpfs …"
_NO_PLACE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)
_PUT_BACK = "correct the path, or put back what was moved or removed, then start again: the restart recovers"
_MORE_FILES = "raise the number of files this process may have open (ulimit -n), then start again"


@contextmanager
def translate_os_errors(path: Path, kind: type[UpswellError], hint: str) -> Iterator[None]:
    """Raise an OSError of the block as ``kind``, with the path and ``hint`` as the next step.

    A full disk becomes StorageError even where ``kind`` is OutputUnwritable.
    """
    try:
        yield
    except OSError as error:
        # A call relative to a descriptor of `path` names an entry of it; any other call names a whole path.
        name = error.filename if isinstance(error.filename, str) else ""
        place = path / name if os.sep not in name else name
        if kind is OutputUnwritable and error.errno in _FULL:
            # OUTPUT itself is sound, and somebody may free space: a service must restart and not stay down.
            kind, hint = StorageError, RECOVERS
        raise kind(
            f"{escape(str(place))}: {error.strerror}", next_step(error, Path(place), hint)
        ) from error


def next_step(error: OSError, place: Path, otherwise: str) -> str:
    """Return the hint for an error at a path, by what the error is about; ``otherwise`` where it does not say."""
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return _MORE_FILES
    if error.errno in (errno.EACCES, errno.EPERM):
        return who_may(place)
    if error.errno in (errno.ENOTSUP, errno.ENOLCK):
        return _OTHER_FILE_SYSTEM
    if error.errno in _NO_PLACE and otherwise == RECOVERS:
        return _PUT_BACK  # a disk that is full or broken says otherwise
    return _WRITABLE if error.errno == errno.EROFS else otherwise


def who_may(place: Path) -> str:
    """Return the hint for a path that this user may not use: whom it, or the directory in its way, belongs to."""
    places = (place, *place.absolute().parents)
    path = next(filter(lambda each: syscalls.access(each, os.F_OK), places), places[-1])
    owner = syscalls.stat(path).st_uid
    if owner == os.geteuid():
        return (
            f"correct the mode of {escape(str(path))}, which belongs to this user, then start again"
        )
    try:
        name = pwd.getpwuid(owner).pw_name
    except KeyError:
        name = f"with the id {owner}"
    words = f"{escape(str(path))} belongs to the user {name}"
    return f"{words}: run the command as that user, or give this one the right to it"


@contextmanager
def directory(path: str | Path, dir_fd: int | None = None) -> Iterator[int]:
    """Open a directory for the block. Raises OSError (ELOOP, ENOTDIR) when it is a link or not a directory."""
    fd = syscalls.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=dir_fd)
    try:
        yield fd
    finally:
        syscalls.close(fd)


@contextmanager
def directory_inside(place: str, dir_fd: int) -> Iterator[int]:
    """Open a directory below ``dir_fd`` by its relative path, of which no component may be a link."""
    with contextlib.ExitStack() as opened:
        for name in place.split("/"):
            dir_fd = opened.enter_context(directory(name, dir_fd))
        yield dir_fd


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable; of a link, those in the directory that it leads to."""
    with directory(syscalls.realpath(path)) as fd:
        syscalls.fsync(fd)


def create_file(name: str, dir_fd: int, content: bytes, mode: int, gid: int = -1) -> None:
    """Write a new file with exactly this mode. Its content is durable on return, its name after an fsync of ``dir_fd``.

    A crash may leave any prefix of the content, so the name alone must not mean that the file is complete.
    """
    fd = syscalls.open(
        name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=dir_fd
    )
    try:
        view = memoryview(content)
        while view:
            view = view[syscalls.write(fd, view) :]
        if gid >= 0:
            syscalls.chown(fd, -1, gid)
        syscalls.chmod(fd, mode)
        syscalls.fsync(fd)
    finally:
        syscalls.close(fd)


@contextmanager
def umask(mask: int) -> Iterator[None]:
    """Set the umask for the block: 0 leaves modes as they are given, 0o077 denies all access to others."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def set_mode_and_group(target: Path | int, mode: int, gid: int = -1) -> None:
    """Set a new directory's group (unless negative) and its mode, whatever the umask."""
    if gid >= 0:
        syscalls.chown(target, -1, gid)
    syscalls.chmod(target, mode)


def read_file(name: str, dir_fd: int) -> bytes:
    """Return the content of a regular file. Raises OSError when it is a link, or not a regular file."""
    fd = syscalls.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=dir_fd)
    try:
        if not stat.S_ISREG(syscalls.stat(fd).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", name)
        pieces = []
        while piece := syscalls.read(fd, _READ_BYTES):
            pieces.append(piece)
        return b"".join(pieces)
    finally:
        syscalls.close(fd)


def remove_files(names: Iterable[str], dir_fd: int) -> int:
    """Unlink those of these names that exist, and return how many did. Durable on return, as are earlier removals."""
    removed = 0
    for name in names:
        try:
            syscalls.unlink(name, dir_fd=dir_fd)
        except FileNotFoundError:
            continue
        removed += 1
    syscalls.fsync(dir_fd)  # also syncs removals that the last run made before a crash
    return removed


def list_names(dir_fd: int) -> list[str]:
    """Return the names in a directory, sorted."""
    return sorted(syscalls.listdir(dir_fd))
