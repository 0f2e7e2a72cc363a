"""OUTPUT: files are staged, then moved to their application's directory in one step, and never touched again.

Owns everything inside OUTPUT but the state. It never decides what is committed.
A staged file that is still there has not been published; one that is gone has, even if a consumer took it at once. So
a name appears in an application's directory once, complete, and nothing that is there is ever replaced.
"""

import contextlib
import errno
import grp
import hashlib
import os
import stat
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import NamedTuple, Self

from upswell.errors import OutputUnwritable, StorageError
from upswell.output.names import (
    CONTROL,
    IDENTITY,
    OWN_DIRECTORY,
    STAGING,
    Staged,
    begun_name,
    parse_begun,
    parse_published,
    place_of,
)
from upswell.privacy import escape
from upswell.reference.application import directory_name
from upswell.storage import syscalls
from upswell.storage.files import (
    RECOVERS,
    create_file,
    directory,
    directory_inside,
    list_names,
    read_file,
    remove_files,
    set_mode_and_group,
    sync_directory,
    translate_os_errors,
    umask,
)
from upswell.storage.lock import lock
from upswell.storage.mounts import list_mounts, refuse_network

_LOCK = "output.lock"
_NEW_DIRECTORY = "directory.new"  # an application's directory before it has its mode and its place
_REBUILT = ".rebuilt"  # suffix of a staged file that is being made again
_PROBES = ("probe.1", "probe.2")
_OWN_MODE, _DIRECTORY_MODE = 0o700, 0o750
_OPEN_MAX = 64  # descriptors held at once


class Published(NamedTuple):
    """A notification file that OUTPUT holds."""

    directory: str
    """Inside OUTPUT, as that of ``Staged``."""
    name: str
    batch: int
    stamp: str


class Sink:
    """An OUTPUT that this process alone writes, by descriptors of its directories: no link is ever followed."""

    def __init__(self, output: Path, mode: int, gid: int) -> None:
        self.output = output
        self._mode = mode
        self._gid = gid
        self._stack = contextlib.ExitStack()

    @classmethod
    def open(cls, output: Path, *, mode: int = 0o640, group: str | None = None) -> Self:
        """Lock and try out OUTPUT, made when missing (its parent must exist).

        Args:
            output: the directory of the applications' directories.
            mode: of notification files, whatever the umask.
            group: name or number of the group of directories and files; None leaves it.

        Raises:
            OutputUnwritable: it cannot be made, written or renamed in, or is on a network. Locked: another run has it.
            StorageError: its disk is full.
        """
        sink = cls(output, mode, _group_id(group))
        try:
            with translate_os_errors(
                output, OutputUnwritable, "OUTPUT must be a directory that can be written"
            ):
                sink._open()
            with translate_os_errors(
                sink._own_path,
                OutputUnwritable,
                "make it writable, free space, or move what is in its place away",
            ):
                sink._open_own()
        except BaseException:
            sink.close()
            raise
        return sink

    def close(self) -> None:
        """Give up the lock and the descriptors."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> None:
        with contextlib.suppress(FileExistsError), umask(0):
            # Killed before it has its mode by itself, it would stay closed to its consumers: who made it is not known.
            syscalls.mkdir(self.output, _DIRECTORY_MODE)
            set_mode_and_group(self.output, _DIRECTORY_MODE, self._gid)
        refuse_network(self.output, "OUTPUT", OutputUnwritable)
        self._output_fd = self._enter(syscalls.realpath(self.output))
        self._own_fd = self._enter_own(OWN_DIRECTORY, self._output_fd)

    def _open_own(self) -> None:
        self._stack.callback(
            syscalls.close, lock(_LOCK, f"OUTPUT {escape(str(self.output))}", self._own_fd)
        )
        self._staging_fd = self._enter_own(STAGING, self._own_fd)
        self._probe()
        self.identity = self._identify()
        self._begun = max(
            (batch for name in list_names(self._own_fd) if (batch := parse_begun(name))), default=0
        )

    def _enter(self, path: str | Path, dir_fd: int | None = None) -> int:
        return self._stack.enter_context(directory(path, dir_fd))

    def _enter_own(self, name: str, parent_fd: int) -> int:
        with contextlib.suppress(FileExistsError):
            syscalls.mkdir(name, _OWN_MODE, dir_fd=parent_fd)
        syscalls.fsync(parent_fd)  # also what a crash kept the last run from syncing
        fd = self._enter(name, parent_fd)
        syscalls.chmod(fd, _OWN_MODE)
        if syscalls.stat(fd).st_dev != syscalls.stat(parent_fd).st_dev:
            raise OSError(errno.EXDEV, "is on another file system", name)
        return fd

    def _probe(self) -> None:
        """Find out now, not at the first notification, whether files can be made and moved without overwriting."""
        remove_files([*_PROBES], self._staging_fd)
        for name in _PROBES:
            create_file(name, self._staging_fd, b"", self._mode, self._gid)
        try:
            syscalls.rename_new(_PROBES[0], self._staging_fd, _PROBES[1], self._staging_fd)
        except FileExistsError:
            syscalls.unlink(_PROBES[1], dir_fd=self._staging_fd)
        else:
            raise OSError(
                errno.ENOTSUP,
                "its file system overwrites files when told not to (RENAME_NOREPLACE)",
            )
        syscalls.rename_new(_PROBES[0], self._staging_fd, _PROBES[1], self._staging_fd)
        remove_files([*_PROBES], self._staging_fd)

    def _identify(self) -> str:
        """The identity of this OUTPUT, made at the first start."""
        with contextlib.suppress(FileNotFoundError):
            return self._read_identity()
        remove_files([IDENTITY + ".new"], self._own_fd)
        with contextlib.suppress(PermissionError):  # then it was there before us
            sync_directory(self.output.absolute().parent)
        create_file(IDENTITY + ".new", self._own_fd, f"{uuid.uuid4()}\n".encode(), 0o600)
        syscalls.rename_new(IDENTITY + ".new", self._own_fd, IDENTITY, self._own_fd)
        syscalls.fsync(self._own_fd)
        # Read back: a state that is bound to an identity which is not on disk could never start again.
        return self._read_identity()

    def _read_identity(self) -> str:
        text = read_file(IDENTITY, self._own_fd).decode("ascii", "replace").strip()
        try:
            return str(uuid.UUID(text))
        except ValueError:
            raise OSError(errno.EINVAL, "does not hold an identity: restore it", IDENTITY) from None

    def check_directories(self, applications: Iterable[str], *, control: bool = False) -> None:
        """As the function ``check_directories``, of this OUTPUT; ``control``: and of its control group."""
        _check_directories(self.output, self._output_fd, applications, control=control)

    def stage(
        self,
        batch: int,
        stamp: str,
        outputs: Iterable[tuple[int, str, bytes]],
        control_outputs: Iterable[tuple[int, str, bytes]] = (),
    ) -> list[Staged]:
        """Write a batch's outputs, (application's id, its name, content), to the staging directory; durable then.

        A crash leaves staged files of a batch that was never committed, whole or not: recovery removes them.
        """
        staged = []
        with translate_os_errors(self._staging_path, StorageError, RECOVERS):
            both = chain(
                ((*output, False) for output in outputs),
                ((*output, True) for output in control_outputs),
            )
            for number, application, content, control in both:
                digest = hashlib.sha256(content).digest()
                place = place_of(directory_name(application), control)
                one = Staged(batch, number, stamp, place, len(content), digest, control)
                create_file(one.staged_name, self._staging_fd, content, self._mode, self._gid)
                staged.append(one)
            if staged:
                syscalls.fsync(self._staging_fd)
        return staged

    def publish(self, staged: Sequence[Staged]) -> None:
        """Move a committed batch's staged files to their places; durable then.

        A crash leaves each file either staged or published: publish again what is still staged. A published file of
        the same name and content means that it was published; with another content nothing is moved (StorageError).
        """
        if not staged:
            return
        with translate_os_errors(self.output, StorageError, RECOVERS):
            self._begin(max(one.batch for one in staged))
            for at in range(0, len(staged), _OPEN_MAX):
                with contextlib.ExitStack() as opened:
                    fds: dict[str, int] = {}
                    for one in staged[at : at + _OPEN_MAX]:
                        self._move(one, self._place(one.directory, fds, opened))
                    for fd in fds.values():
                        syscalls.fsync(fd)
            syscalls.fsync(self._staging_fd)

    @property
    def begun(self) -> int:
        """The highest batch that was ever begun to be published here, even if all its files are gone; 0: none."""
        return self._begun

    def _begin(self, batch: int) -> None:
        """Mark that this batch is being published, so that a state that lost it is recognised.

        One rename before the first move. It needs no fsync of its own: a file system that keeps the order of renames
        has the mark wherever it has the move.
        """
        if batch <= self._begun:
            return
        if self._begun:
            syscalls.rename(
                begun_name(self._begun),
                begun_name(batch),
                src_dir_fd=self._own_fd,
                dst_dir_fd=self._own_fd,
            )
        else:
            create_file(begun_name(batch), self._own_fd, b"", 0o600)
            syscalls.fsync(self._own_fd)
        self._begun = batch

    def _place(self, place: str, fds: dict[str, int], opened: contextlib.ExitStack) -> int:
        """The descriptor of a directory of OUTPUT, made when missing; all on the way to it are to be fsynced, too.

        Whoever made one may have been killed before it was durable.
        """
        if place not in fds:
            parent, _, name = place.rpartition("/")
            parent_fd = self._place(parent, fds, opened) if parent else self._output_fd
            fds[place] = opened.enter_context(self._directory(name, parent_fd))
        return fds[place]

    def _move(self, one: Staged, fd: int) -> None:
        """Move one file to its directory."""
        try:
            syscalls.rename_new(one.staged_name, self._staging_fd, one.published_name, fd)
        except FileExistsError:
            there = read_file(one.published_name, fd)
            if hashlib.sha256(there).digest() != one.digest:
                place = self.output / one.directory / one.published_name
                raise StorageError(
                    f"{escape(str(place))} is there already with another content, and is not overwritten",
                    "was this state restored from an older backup, or the file put there by hand? Move the file"
                    " away if its notifications may be sent again; else begin with a new OUTPUT",
                ) from None
            syscalls.unlink(one.staged_name, dir_fd=self._staging_fd)

    @contextmanager
    def _directory(self, name: str, parent_fd: int) -> Iterator[int]:
        """A directory of OUTPUT, made when missing: it appears with its mode and group, or not at all."""
        try:
            syscalls.stat(name, dir_fd=parent_fd, follow_symlinks=False)
        except FileNotFoundError:
            with contextlib.suppress(FileExistsError):
                syscalls.mkdir(_NEW_DIRECTORY, _OWN_MODE, dir_fd=self._staging_fd)
            with directory(_NEW_DIRECTORY, self._staging_fd) as fd:
                set_mode_and_group(fd, _DIRECTORY_MODE, self._gid)
                syscalls.fsync(fd)
            with contextlib.suppress(FileExistsError):
                syscalls.rename_new(_NEW_DIRECTORY, self._staging_fd, name, parent_fd)
            syscalls.fsync(parent_fd)
        with directory(name, parent_fd) as fd:
            yield fd

    @property
    def _own_path(self) -> Path:
        return self.output / OWN_DIRECTORY

    @property
    def _staging_path(self) -> Path:
        return self._own_path / STAGING

    def staged_names(self) -> list[str]:
        """What the staging directory holds, in name order."""
        with translate_os_errors(self._staging_path, StorageError, RECOVERS):
            return list_names(self._staging_fd)

    def is_whole(self, one: Staged) -> bool:
        """Whether a staged file that is there has the content that was committed."""
        with translate_os_errors(self._staging_path, StorageError, RECOVERS):
            found = syscalls.stat(one.staged_name, dir_fd=self._staging_fd, follow_symlinks=False)
            if not stat.S_ISREG(found.st_mode) or found.st_size != one.length:
                return False
            content = read_file(one.staged_name, self._staging_fd)
        return hashlib.sha256(content).digest() == one.digest

    def rebuild(self, one: Staged, content: bytes) -> None:
        """Put the content in the place of a damaged staged file; durable then.

        It replaces in one step: at no moment is the staged file missing, which would mean that it was published.
        """
        name = one.staged_name + _REBUILT
        with translate_os_errors(self._staging_path, StorageError, RECOVERS):
            create_file(name, self._staging_fd, content, self._mode, self._gid)
            syscalls.rename(
                name, one.staged_name, src_dir_fd=self._staging_fd, dst_dir_fd=self._staging_fd
            )
            syscalls.fsync(self._staging_fd)

    def remove_staged(self, names: Iterable[str]) -> int:
        """Remove staged files that belong to no commit; how many there were."""
        with translate_os_errors(self._staging_path, StorageError, RECOVERS):
            return remove_files(names, self._staging_fd)

    def remove_unfinished(self) -> None:
        """Remove what a crash in the middle of ``rebuild`` or of making a directory left in the staging directory."""
        with translate_os_errors(self._staging_path, StorageError, RECOVERS):
            names = list_names(self._staging_fd)
            remove_files([name for name in names if name.endswith(_REBUILT)], self._staging_fd)
            if _NEW_DIRECTORY in names:
                syscalls.rmdir(_NEW_DIRECTORY, dir_fd=self._staging_fd)

    def published(self) -> list[Published]:
        """The notification files that are here, by directory and name: for adopting an OUTPUT."""
        with translate_os_errors(self.output, StorageError, RECOVERS):
            found = list(_published(self._output_fd, control=False))
            with (
                contextlib.suppress(FileNotFoundError, NotADirectoryError),
                directory(CONTROL, self._output_fd) as fd,
            ):
                found += _published(fd, control=True)
        return found

    def read(self, published: Published) -> bytes:
        """The content of a notification file."""
        place = self.output / published.directory
        with (
            translate_os_errors(place, StorageError, RECOVERS),
            directory_inside(published.directory, self._output_fd) as fd,
        ):
            return read_file(published.name, fd)


def _published(parent_fd: int, *, control: bool) -> Iterator[Published]:
    for place in list_names(parent_fd):
        # A directory that this user may not even list, such as lost+found, holds nothing of ours.
        with (
            contextlib.suppress(NotADirectoryError, PermissionError),
            directory(place, parent_fd) as fd,
        ):
            for name in list_names(fd):
                if (parsed := parse_published(name)) is not None:
                    yield Published(place_of(place, control), name, *parsed)


def _group_id(group: str | None) -> int:
    if group is None:
        return -1
    return int(group) if group.isdigit() else grp.getgrnam(group).gr_gid


def _refused(path: Path, reason: str) -> OutputUnwritable:
    return OutputUnwritable(
        f"the application's directory {escape(str(path))} cannot be used: {reason}",
        "make it a directory of OUTPUT's own file system that this user may write to, or remove it: it is made"
        " when needed",
    )


def check_directories(output: Path, applications: Iterable[str], *, control: bool = False) -> None:
    """Refuse (OutputUnwritable) applications whose directory is a link, no directory, on another file system or closed.

    Without opening an OUTPUT for writing: for a look before a run.
    """
    with directory(syscalls.realpath(output)) as fd:
        _check_directories(output, fd, applications, control=control)


def _check_directories(
    output: Path, output_fd: int, applications: Iterable[str], *, control: bool
) -> None:
    device = syscalls.stat(output_fd).st_dev
    mounted = {mount.point for mount in list_mounts()}
    root = Path(syscalls.realpath(output))
    names = [directory_name(application) for application in applications]
    # Of a link in the place of CONTROL nothing inside is looked at: it is refused first.
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
