"""The next step after an error says what the error is about, not what errors are mostly about."""

import errno
import os
import pwd
from pathlib import Path

import pytest

from upswell.errors import OutputUnwritable, StorageError, UpswellError
from upswell.storage import syscalls
from upswell.storage.files import RECOVERS, next_step, translate_os_errors


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EMFILE, "ulimit -n"),
        (errno.ENFILE, "ulimit -n"),
        (errno.EROFS, "mount it writable"),
        (errno.EIO, "free space or repair the disk"),
        (errno.ENOSPC, "free space or repair the disk"),
        (errno.ENOENT, "put back what was moved or removed"),
        (errno.ENOTDIR, "put back what was moved or removed"),
        (errno.ENAMETOOLONG, "correct the path"),
        (errno.ENOTSUP, "use a local file system that has it"),
        (errno.ENOLCK, "use a local file system that has it"),
    ],
)
def test_the_cause_decides(tmp_path: Path, number: int, words: str) -> None:
    """Free space is advice for a full disk alone."""
    assert words in next_step(OSError(number, os.strerror(number)), tmp_path, RECOVERS)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
@pytest.mark.parametrize("kind", [StorageError, OutputUnwritable])
def test_a_path_of_another_user_names_the_user_who_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[UpswellError]
) -> None:
    """The owner of what is in the way; of one without a name the number."""
    found = syscalls.stat
    root = pwd.getpwuid(0).pw_name
    for owner, name in (
        (0, f"the user {root}"),
        (2_000_000_007, "the user with the id 2000000007"),
    ):
        monkeypatch.setattr(
            syscalls,
            "stat",
            lambda path, owner=owner: os.stat_result([*found(path)[:4], owner, *found(path)[5:]]),
        )
        monkeypatch.setattr(os, "geteuid", lambda: 1_999_999_999)
        with pytest.raises(kind) as raised, translate_os_errors(tmp_path, kind, RECOVERS):
            raise OSError(number, os.strerror(number), str(tmp_path / "missing" / "file"))
        assert f"{tmp_path} belongs to {name}: run the command as that user" in raised.value.hint
        assert "free space" not in raised.value.hint


def test_a_path_of_this_user_has_a_wrong_mode(tmp_path: Path) -> None:
    """Nobody else is to be asked."""
    step = next_step(PermissionError(errno.EACCES, "Permission denied"), tmp_path, RECOVERS)

    assert f"correct the mode of {tmp_path}, which belongs to this user" in step
