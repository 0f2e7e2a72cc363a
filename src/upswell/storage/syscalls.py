"""The system calls through which OUTPUT and a state's own files are read and changed.

Makes no decision and keeps no state. Every durable change of a file goes through these names of this module, so that
the tests can replace them with a model of a disk that loses power.
"""

import ctypes
import errno
from fcntl import flock
from os import (
    access,
    chmod,
    chown,
    close,
    fsencode,
    fsync,
    ftruncate,
    link,
    listdir,
    mkdir,
    open,
    pread,
    pwrite,
    read,
    rename,
    rmdir,
    scandir,
    stat,
    strerror,
    unlink,
    utime,
    write,
)
from os.path import realpath
from pathlib import Path

__all__ = [
    "access", "chmod", "chown", "close", "flock", "fsync", "ftruncate", "link", "listdir", "mkdir", "mount_table",
    "open", "pread", "pwrite", "read", "realpath", "rename", "rename_new", "rmdir", "scandir", "stat", "unlink",
    "utime", "write",
]  # fmt: skip

_RENAME_NOREPLACE = 1
_UNSUPPORTED = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)
_libc = ctypes.CDLL(None, use_errno=True)


def rename_new(source: str, source_fd: int, target: str, target_fd: int) -> None:
    """Move a file between two directories atomically.

    Raises FileExistsError instead of replacing a file, and OSError (ENOTSUP) where that cannot be promised.

    After a crash the file is under one of the two names; an fsync of both directories makes the new one durable.
    """
    call = getattr(_libc, "renameat2", None)
    if call is None:
        raise OSError(errno.ENOSYS, "this C library has no renameat2")
    if call(source_fd, fsencode(source), target_fd, fsencode(target), _RENAME_NOREPLACE):
        number = ctypes.get_errno()
        if number in _UNSUPPORTED:
            what = f"its file system or kernel does not support renameat2 with RENAME_NOREPLACE ({strerror(number)})"
            raise OSError(errno.ENOTSUP, what, target)
        raise OSError(number, strerror(number), target)


def mount_table() -> str:
    """Return the text of /proc/self/mountinfo; empty where it cannot be read."""
    try:
        return Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape")
    except OSError:
        return ""
