"""The lock of a state: who holds it, and since when."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from upswell.errors import Locked
from upswell.storage.lock import LOCK_NAME, holder, lock, started_at


def test_the_holder_is_named_while_the_lock_is_held(tmp_path: Path) -> None:
    """With its process and the time; a second lock is refused with the same words."""
    assert None is holder(tmp_path)

    fd = lock(tmp_path / LOCK_NAME, "the state")
    held_by = holder(tmp_path)
    with pytest.raises(Locked, match=f"another run uses the state: process {os.getpid()}, since"):
        lock(tmp_path / LOCK_NAME, "the state")
    os.close(fd)

    assert held_by is not None
    assert held_by.startswith(f"process {os.getpid()}, since ")
    assert None is holder(tmp_path)


def test_the_holder_says_since_when(tmp_path: Path) -> None:
    """In UTC, to the second."""
    before = datetime.now(UTC).replace(microsecond=0)
    fd = lock(tmp_path / LOCK_NAME, "the state")
    since = started_at(holder(tmp_path) or "")
    os.close(fd)

    assert since is not None
    assert timedelta(0) <= since - before < timedelta(minutes=1)


@pytest.mark.parametrize("text", ["a run that has just started", "since 9999-99-99 99:99:99 UTC"])
def test_a_text_without_a_time_has_none(text: str) -> None:
    """Whatever stands in the file: it was written by another process."""
    assert None is started_at(text)


def test_a_holder_that_has_not_written_yet_has_just_started(tmp_path: Path) -> None:
    """The file is empty between the lock and its line."""
    fd = lock(tmp_path / LOCK_NAME, "the state")
    os.truncate(fd, 0)
    held_by = holder(tmp_path)
    os.close(fd)

    assert "a run that has just started" == held_by
