"""The system calls by which OUTPUT and a state's own files are changed and read: the one door to the disk.

Owns no decision and keeps nothing. What the sink, the rejects and the making of a state's directory do to files, they
do by these names of this module and by nothing else, so that a model of a disk can stand in its place and lose power.
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
_libc = ctypes.CDLL(None, use_errno=True)


def rename_new(source: str, source_fd: int, target: str, target_fd: int) -> None:
    """Move a file between two directories in one step, never over an existing one: FileExistsError then.

    After a crash the file is in one of the two places; which one is settled once the directories are fsynced.
    """
    call = getattr(_libc, "renameat2", None)
    if call is None:
        raise OSError(errno.ENOSYS, "this C library has no renameat2")
    if call(source_fd, fsencode(source), target_fd, fsencode(target), _RENAME_NOREPLACE):
        number = ctypes.get_errno()
        raise OSError(number, strerror(number), target)


def mount_table() -> str:
    """What is mounted, as the system tells it; empty where it does not."""
    try:
        return Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape")
    except OSError:
        return ""
