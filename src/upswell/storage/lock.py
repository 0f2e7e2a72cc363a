"""The lock of a state, which its one run holds, and a check for everybody else that does not disturb that run.

Owns the lock file. The lock ends with the process that holds it, however that process ends. The check takes no lock
that lasts, and writes nothing.
"""

import errno
import fcntl
import os
import re
import stat
import time
from datetime import UTC, datetime
from pathlib import Path

from upswell.errors import Locked
from upswell.privacy import escape
from upswell.storage import syscalls

LOCK_NAME = "lock"
"""The lock file's name in a state directory."""
_HOLDER_BYTES_MAX = 200  # of a lock file: its one line about who holds it is shorter
_LOCK_TRIES, _LOCK_PAUSE_S = 5, 0.02


def lock(path: str | Path, what: str, dir_fd: int | None = None) -> int:
    """Lock a file for the life of the process, or until the returned descriptor is closed. Raises Locked.

    Writes this process and the time into the file, for the message of a second start.
    """
    fd = syscalls.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600, dir_fd=dir_fd)
    try:
        if not stat.S_ISREG(syscalls.stat(fd).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
        _lock_soon(fd)
    except BlockingIOError:
        holder = escape(syscalls.pread(fd, _HOLDER_BYTES_MAX, 0).decode("ascii", "replace").strip())
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
    """Lock the file, with a few tries: ``holder`` may hold a shared lock on it for some microseconds."""
    for _ in range(_LOCK_TRIES - 1):
        try:
            return syscalls.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_LOCK_PAUSE_S)
    return syscalls.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def holder(state_dir: Path) -> str | None:
    """Return the holder of the state's lock ("process 12, since …"), or None when it is free."""
    try:
        # Non-blocking, so that a pipe in its place does not block the caller.
        fd = syscalls.open(state_dir / LOCK_NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        # Shared and released at once, so that two callers never take each other for a run.
        syscalls.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = syscalls.pread(fd, _HOLDER_BYTES_MAX, 0).decode("ascii", "replace").strip()
        return text or "a run that has just started"
    finally:
        syscalls.close(fd)
    return None


def started_at(holder: str) -> datetime | None:
    """Return the time in a text that ``holder`` returned; None when there is none."""
    found = re.search(r"since (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC", holder)
    try:
        return datetime.fromisoformat(found[1]).replace(tzinfo=UTC) if found else None
    except ValueError:
        return None
