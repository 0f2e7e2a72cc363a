"""The archive's directory: where it may be, whether files can be moved into it, and how directories in it are made.

Owns the checks of a start, so that a run does not learn hours later that nothing can be archived. It moves no file of
DATA.
"""

import os
from contextlib import suppress
from pathlib import Path
from stat import S_IMODE

from upswell.config.settings import Settings
from upswell.errors import ConfigError, OutputUnwritable
from upswell.privacy import escape
from upswell.storage import syscalls
from upswell.storage.files import (
    directory,
    set_mode_and_group,
    sync_directory,
    translate_os_errors,
)
from upswell.storage.mounts import Mount, list_mounts, mount_of

_PROBES = (".probe.1", ".probe.2")


def open_archive(settings: Settings) -> None:
    """Make the archive when it is missing (its parent must exist), and try out that files can be moved into it.

    Raises:
        ConfigError: as ``check_place``.
        OutputUnwritable: it, or DATA, cannot be written, or the file system cannot move without overwriting.
        StorageError: its disk is full.
    """
    assert settings.archive is not None, "without one nothing is opened"
    check_place(settings)
    with translate_os_errors(
        settings.archive,
        OutputUnwritable,
        "the archive and DATA must be writable, on a file system that renames without overwriting",
    ):
        _try_out(Path(syscalls.realpath(settings.archive)), Path(syscalls.realpath(settings.data)))


def _try_out(archive: Path, data: Path) -> None:
    """Make the archive if it is missing, move a probe file within it, and check that DATA may be written.

    Raises OSError when any of it fails. A crash leaves at most a probe, which the next start removes.
    """
    make_directory(archive, like=data)
    with directory(archive) as fd:
        for name in _PROBES:
            with suppress(FileNotFoundError):
                syscalls.unlink(name, dir_fd=fd)
        syscalls.close(
            syscalls.open(_PROBES[0], os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=fd)
        )
        syscalls.rename_new(_PROBES[0], fd, _PROBES[1], fd)
        syscalls.unlink(_PROBES[1], dir_fd=fd)
        syscalls.fsync(fd)
    if not syscalls.access(data, os.W_OK | os.X_OK, effective_ids=True):
        raise PermissionError(1, "files cannot be moved out of it by this user", str(data))
    sync_directory(data)


def make_directory(path: Path, *, like: Path) -> None:
    """Make a directory with the permissions of another one, durably; one that exists stays as it is."""
    with suppress(FileExistsError):
        syscalls.mkdir(path, 0o700)
        set_mode_and_group(path, S_IMODE(syscalls.stat(like).st_mode) & 0o777)
        sync_directory(path.parent)


def check_place(settings: Settings) -> None:
    """Check where the archive is to be; without one nothing is wrong. Reads only.

    Raises:
        ConfigError: it is within DATA, OUTPUT, the state or another argument, or one of them within it; it has no
            parent; or it is on another file system than DATA.
    """
    if settings.archive is None:
        return
    archive_name = f"{settings.origins.get('archive', 'archive')}: {escape(str(settings.archive))}"
    archive = Path(syscalls.realpath(settings.archive))
    for name, path in (
        ("DATA", settings.data),
        ("SEGMENT", settings.segment),
        ("RULES", settings.rules),
        *([("SUPPRESS", settings.suppress)] if settings.suppress else []),
        ("OUTPUT", settings.output),
        ("the state", settings.state_dir),
    ):
        real = Path(syscalls.realpath(path))
        if archive.is_relative_to(real) or real.is_relative_to(archive):
            raise ConfigError(
                f"{archive_name} and {name} ({escape(str(path))}) lie within each other",
                "name a directory beside DATA, on the same file system",
            )
    place = archive if archive.exists() else archive.parent
    if not place.is_dir():
        raise ConfigError(
            f"{archive_name}: neither it nor its parent is a directory", "create its parent"
        )
    mounted = list_mounts()
    if _file_system(place, mounted) != _file_system(
        Path(syscalls.realpath(settings.data)), mounted
    ):
        raise ConfigError(
            f"{archive_name} is on another file system than DATA, so files cannot be moved there in one step",
            "name a directory on DATA's file system; copy from there to wherever they are to be kept",
        )


def _file_system(path: Path, mounted: list[Mount]) -> tuple[int, object]:
    # Two mounts of one device have one number, and no rename goes from one to the other.
    return syscalls.stat(path).st_dev, mount_of(path, mounted)
