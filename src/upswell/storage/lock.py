"""Whether somebody runs a state, asked without disturbing anybody.

Owns the look at the lock file that ``filesystem.lock`` takes. It takes no lock that lasts and writes nothing.
"""

import fcntl
import os
import re
from datetime import UTC, datetime
from pathlib import Path

from upswell.storage.files import HOLDER_BYTES_MAX, LOCK_NAME


def holder(state_dir: Path) -> str | None:
    """Who holds the state's lock ("process 12, since …"), or None when nobody does."""
    try:
        # A pipe in its place must not hold up whoever asks.
        fd = os.open(state_dir / LOCK_NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        # Shared and given back at once: two who look never take each other for a run.
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.pread(fd, HOLDER_BYTES_MAX, 0).decode("ascii", "replace").strip()
        return text or "a run that has just started"
    finally:
        os.close(fd)
    return None


def started_at(holder: str) -> datetime | None:
    """Since when it holds the lock, as ``holder`` gave it; None when it does not say."""
    found = re.search(r"since (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC", holder)
    try:
        return datetime.fromisoformat(found[1]).replace(tzinfo=UTC) if found else None
    except ValueError:
        return None
