"""What the standard library lacks for durable files: written whole, listed, removed, locked, told apart by mount.

Owns how the sink and the checkpoint use the calls of ``disk``: relative to directory descriptors and without following
links. It knows nothing of batches. What it writes is on disk when a function that says so returns; a failed fsync is
never tried again, because the kernel may have dropped the data and would report success.
"""

import contextlib
import errno
import fcntl
import os
import re
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from upswell.errors import Locked, OutputUnwritable, StorageError, UpswellError
from upswell.privacy import escape
from upswell.storage import syscalls

_LOCK_TRIES, _LOCK_PAUSE_S = 5, 0.02
_READ_BYTES = 1 << 20
LOCK_NAME = "lock"
"""The lock file of a state directory."""
HOLDER_BYTES_MAX = 200  # of a lock file: its one line about who holds it is shorter
RECOVERS = "free space or repair the disk, then start again: the restart recovers"
"""The next step after a fault of the machine."""
_FULL = (errno.ENOSPC, errno.EDQUOT)
_MORE_FILES = "raise the number of files this process may have open (ulimit -n), then start again"
_NETWORK_TYPES = {
    "9p", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4",
    "ocfs2", "gfs2", "smb2", "smb3", "smbfs",
}  # fmt: skip
_LOCAL_FUSE_TYPES = {"fuseblk", "fuse.fuse-overlayfs"}


class Mount(NamedTuple):
    """One mounted file system."""

    point: str
    kind: str


@contextmanager
def faults(path: Path, kind: type[UpswellError], hint: str) -> Iterator[None]:
    """Turn what the system reports into our error, with the place and the next step; a full disk into StorageError."""
    try:
        yield
    except OSError as error:
        # Calls relative to a descriptor of `path` name what lies in it; all others name a whole path.
        name = error.filename if isinstance(error.filename, str) else ""
        place = path / name if os.sep not in name else name
        if kind is OutputUnwritable and error.errno in _FULL:
            # Nothing is wrong with the place, and others may empty it: a service must not stay down for it.
            kind, hint = StorageError, RECOVERS
        raise kind(f"{escape(str(place))}: {error.strerror}", next_step(error, hint)) from error


def next_step(error: OSError, otherwise: str) -> str:
    """What helps against this error: more open files where there are too few, or what usually does."""
    return _MORE_FILES if error.errno in (errno.EMFILE, errno.ENFILE) else otherwise


@contextmanager
def directory(path: str | Path, dir_fd: int | None = None) -> Iterator[int]:
    """A descriptor of a directory that is no link. OSError (ELOOP, ENOTDIR) when it is something else."""
    fd = syscalls.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=dir_fd)
    try:
        yield fd
    finally:
        syscalls.close(fd)


@contextmanager
def inside(place: str, dir_fd: int) -> Iterator[int]:
    """As ``directory``, of one that may lie some steps inside another: no step is a link."""
    with contextlib.ExitStack() as opened:
        for name in place.split("/"):
            dir_fd = opened.enter_context(directory(name, dir_fd))
        yield dir_fd


def sync_directory(path: Path) -> None:
    """Make the names in a directory, or in the one that a link leads to, durable."""
    with directory(syscalls.realpath(path)) as fd:
        syscalls.fsync(fd)


def create_file(name: str, dir_fd: int, content: bytes, mode: int, gid: int = -1) -> None:
    """Write a new file with exactly this mode, durable but for its name, which needs an fsync of the directory.

    A crash leaves any prefix of it, so the name must say nothing until something else vouches for the content.
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
def masked(mask: int) -> Iterator[None]:
    """Within the block the umask is this one: 0 takes nothing from a mode, 0o077 closes all to others."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def dress(target: Path | int, mode: int, gid: int = -1) -> None:
    """Give a new directory its group (unless negative) and mode, whatever the umask."""
    if gid >= 0:
        syscalls.chown(target, -1, gid)
    syscalls.chmod(target, mode)


def read_file(name: str, dir_fd: int) -> bytes:
    """The content of a regular file that is no link. OSError otherwise."""
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
    """Unlink these names, those that are there; how many were. Durable when it returns, with earlier removals."""
    removed = 0
    for name in names:
        try:
            syscalls.unlink(name, dir_fd=dir_fd)
        except FileNotFoundError:
            continue
        removed += 1
    syscalls.fsync(dir_fd)  # also what a crash kept the last run from syncing
    return removed


def list_names(dir_fd: int) -> list[str]:
    """The names in a directory, in order."""
    return sorted(syscalls.listdir(dir_fd))


def lock(path: str | Path, what: str, dir_fd: int | None = None) -> int:
    """Lock a file for the life of the process (or until the descriptor is closed). Raises Locked.

    The lock goes with the process, however it ends. The file keeps who holds it, for the message of a second start.
    """
    fd = syscalls.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600, dir_fd=dir_fd)
    try:
        if not stat.S_ISREG(syscalls.stat(fd).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
        _lock_soon(fd)
    except BlockingIOError:
        holder = escape(syscalls.pread(fd, HOLDER_BYTES_MAX, 0).decode("ascii", "replace").strip())
        syscalls.close(fd)
        raise Locked(
            f"another run uses {what}: {holder or 'it has just started'}",
            "wait until it has ended, or stop it with SIGTERM; `upswell status` shows what it does",
        ) from None
    except OSError:
        syscalls.close(fd)
        raise
    syscalls.ftruncate(fd, 0)
    syscalls.pwrite(
        fd, f"process {os.getpid()}, since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC\n".encode(), 0
    )
    return fd


def _lock_soon(fd: int) -> None:
    """Lock it, in spite of those who only look whether it is locked, which takes them microseconds."""
    for _ in range(_LOCK_TRIES - 1):
        try:
            return syscalls.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_LOCK_PAUSE_S)
    return syscalls.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def mounts() -> list[Mount]:
    """What is mounted, in mount order; empty where the system does not tell."""
    return parse_mounts(syscalls.mount_table())


def parse_mounts(text: str) -> list[Mount]:
    """The mounts in the text of /proc/self/mountinfo."""
    found = []
    for line in text.splitlines():
        left, separator, right = line.partition(" - ")
        if separator:
            point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), left.split(" ")[4])
            found.append(Mount(point, right.split(" ")[0]))
    return found


def mount_of(path: Path, mounted: Iterable[Mount]) -> Mount | None:
    """The mount that an absolute, resolved path lies on: the deepest one, the last of those at one place."""
    holding = [mount for mount in mounted if path.is_relative_to(mount.point)]
    return max(reversed(holding), key=lambda mount: len(mount.point), default=None)


def is_network(kind: str) -> bool:
    """Whether a file system of this kind may be shared between hosts, so that locks and fsync cannot be relied on."""
    return kind in _NETWORK_TYPES or (kind.startswith("fuse") and kind not in _LOCAL_FUSE_TYPES)


def refuse_network(path: Path, what: str, error: type[UpswellError]) -> None:
    """Raise ``error`` when the path lies on a network file system."""
    mount = mount_of(Path(syscalls.realpath(path)), mounts())
    if mount is not None and is_network(mount.kind):
        raise error(
            f"{what} {escape(str(path))} is on a network file system ({mount.kind}, mounted at {escape(mount.point)}):"
            " its locks, renames and fsync cannot be relied on",
            "put it on a local disk; DATA, SEGMENT and RULES may stay where they are",
        )
