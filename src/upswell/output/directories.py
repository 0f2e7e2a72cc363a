"""The directories of OUTPUT: one for each application, and in ``.control`` one for its control group.

Owns how such a directory is made, what may stand in its place, and the listing of what they hold. It never moves a
file. A directory appears with its mode and its group, or not at all, and none is reached through a link.
"""

import contextlib
import grp
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from upswell.errors import OutputUnwritable
from upswell.output.names import CONTROL, parse_published, place_of
from upswell.privacy import escape
from upswell.reference.application import directory_name
from upswell.storage import syscalls
from upswell.storage.files import directory, list_names, set_mode_and_group
from upswell.storage.mounts import list_mounts

DIRECTORY_MODE = 0o750
_GROUP_WRITE = 0o020
OWN_MODE = 0o700
"""Of directories that hold nothing for consumers."""
NEW_DIRECTORY = "directory.new"
"""In the staging directory: a directory before it has its mode and its place."""


class Published(NamedTuple):
    """A notification file that OUTPUT holds."""

    directory: str
    """Inside OUTPUT, as that of ``Staged``."""
    name: str
    batch: int
    stamp: str


def group_id(group: str | None) -> int:
    """Return the id of a group given by name or number; -1, which leaves a file's group, for None.

    Raises KeyError when there is no such group.
    """
    if group is None:
        return -1
    return int(group) if group.isdigit() else grp.getgrnam(group).gr_gid


def directory_mode(place: str, file_mode: int) -> int:
    """Return the mode of the directory ``place`` inside OUTPUT, where files have ``file_mode``.

    Taking a file away changes its directory, so a group that may write the one may write the other. What holds
    directories stays closed: there one could be replaced by a link.
    """
    return DIRECTORY_MODE | (0 if place == CONTROL else file_mode & _GROUP_WRITE)


@contextmanager
def open_directory(
    name: str, parent_fd: int, staging_fd: int, mode: int, gid: int
) -> Iterator[int]:
    """Open a directory inside ``parent_fd``, made when missing; give its descriptor, and close it at the end.

    A new one is made in the staging directory, and moved to its place once it has its mode and its group (``gid``; -1
    leaves that). It is durable then. A crash leaves it whole, or ``NEW_DIRECTORY`` in the staging directory.
    """
    try:
        syscalls.stat(name, dir_fd=parent_fd, follow_symlinks=False)
    except FileNotFoundError:
        with contextlib.suppress(FileExistsError):
            syscalls.mkdir(NEW_DIRECTORY, OWN_MODE, dir_fd=staging_fd)
        with directory(NEW_DIRECTORY, staging_fd) as fd:
            set_mode_and_group(fd, mode, gid)
            syscalls.fsync(fd)
        with contextlib.suppress(FileExistsError):
            syscalls.rename_new(NEW_DIRECTORY, staging_fd, name, parent_fd)
        syscalls.fsync(parent_fd)
    with directory(name, parent_fd) as fd:
        yield fd


def list_published(output_fd: int) -> list[Published]:
    """Return the notification files in OUTPUT by directory and name, those of the control group last."""
    found = list(_list_published(output_fd, control=False))
    with (
        contextlib.suppress(FileNotFoundError, NotADirectoryError),
        directory(CONTROL, output_fd) as fd,
    ):
        found += _list_published(fd, control=True)
    return found


def _list_published(parent_fd: int, *, control: bool) -> Iterator[Published]:
    for place in list_names(parent_fd):
        # A directory that this user may not even list, such as lost+found, holds nothing of ours.
        with (
            contextlib.suppress(NotADirectoryError, PermissionError),
            directory(place, parent_fd) as fd,
        ):
            for name in list_names(fd):
                if (parsed := parse_published(name)) is not None:
                    yield Published(place_of(place, control), name, *parsed)


def check_directories(output: Path, applications: Iterable[str], *, control: bool = False) -> None:
    """Refuse applications whose directory is a link, not a directory, on another file system or not writable.

    It opens OUTPUT for reading alone, so it can run beside a run. ``control``: check the control group's directories,
    too.

    Raises OutputUnwritable.
    """
    with directory(syscalls.realpath(output)) as fd:
        check_directories_in(output, fd, applications, control=control)


def check_directories_in(
    output: Path, output_fd: int, applications: Iterable[str], *, control: bool
) -> None:
    """Do as ``check_directories``, in an OUTPUT that is open."""
    device = syscalls.stat(output_fd).st_dev
    mounted = {mount.point for mount in list_mounts()}
    root = Path(syscalls.realpath(output))
    names = [directory_name(application) for application in applications]
    # If a link stands in the place of CONTROL nothing inside is examined: it is refused first.
    for name in [*names, CONTROL, *(place_of(name, True) for name in names)] if control else names:
        try:
            found = syscalls.stat(name, dir_fd=output_fd, follow_symlinks=False)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise _refused(root / name, str(error.strerror)) from error
        if stat.S_ISLNK(found.st_mode):
            raise _refused(root / name, "it is a link, and links are not followed")
        if not stat.S_ISDIR(found.st_mode):
            raise _refused(root / name, "it is not a directory")
        if found.st_dev != device or str(root / name) in mounted:
            raise _refused(
                root / name, "it is on another file system, so files cannot be moved there"
            )
        if not syscalls.access(name, os.W_OK | os.X_OK, dir_fd=output_fd, effective_ids=True):
            raise _refused(root / name, "this user may not write to it")


def _refused(path: Path, reason: str) -> OutputUnwritable:
    return OutputUnwritable(
        f"the application's directory {escape(str(path))} cannot be used: {reason}",
        "make it a directory on OUTPUT's file system that this user may write to, or remove it: it is made when"
        " needed",
    )
