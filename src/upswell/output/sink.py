"""Writes OUTPUT: files are staged, then moved to their application's directory in one step, and never touched again.

Owns everything inside OUTPUT but the state. It never decides what is committed. A staged file that is still there has
not been published; one that is gone has, even if a consumer took it at once. So a name appears in an application's
directory once, complete, and nothing that is there is ever replaced. One file because every step of a file on its way
out relies on the same descriptors.
"""

import contextlib
import errno
import hashlib
import stat
import uuid
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Self

from upswell.errors import OutputUnwritable, StorageError
from upswell.output.directories import (
    DIRECTORY_MODE,
    NEW_DIRECTORY,
    OWN_MODE,
    Published,
    check_directories_in,
    directory_mode,
    group_id,
    list_published,
    open_directory,
)
from upswell.output.marks import Marks
from upswell.output.names import (
    IDENTITY,
    OWN_DIRECTORY,
    STAGING,
    Staged,
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
from upswell.storage.mounts import refuse_network

_LOCK = "output.lock"
_REBUILT = ".rebuilt"  # suffix of a staged file that is being rebuilt
_PROBES = ("probe.1", "probe.2")
_OPEN_MAX = 64  # directories whose descriptors are held at once


class Sink:
    """An OUTPUT that this process alone writes, through descriptors of its directories: no link is ever followed."""

    def __init__(self, output: Path, mode: int, gid: int) -> None:
        self.output = output
        self._mode = mode
        self._gid = gid
        self._stack = contextlib.ExitStack()

    @classmethod
    def open(cls, output: Path, *, mode: int = 0o640, group: str | None = None) -> Self:
        """Lock OUTPUT, made when missing (its parent must exist), and check that files can be published in it.

        Args:
            output: the directory of the applications' directories.
            mode: of notification files, whatever the umask.
            group: name or number of the group of directories and files; None leaves it.

        Raises:
            OutputUnwritable: it cannot be made, written or renamed in, or is on a network file system.
            Locked: another run has it.
            StorageError: its disk is full.
        """
        sink = cls(output, mode, group_id(group))
        try:
            with translate_os_errors(
                output,
                OutputUnwritable,
                "OUTPUT must be a directory that can be written, or its parent must exist",
            ):
                sink._open()
            with translate_os_errors(
                sink._own_path,
                OutputUnwritable,
                "make it writable, free space, or move away what stands in its place",
            ):
                sink._open_own()
        except BaseException:
            sink.close()
            raise
        return sink

    def close(self) -> None:
        """Release the lock and close the descriptors."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> None:
        with contextlib.suppress(FileExistsError), umask(0):
            # A run that is killed before it sets the mode must not leave a directory that its consumers cannot enter:
            # a later start does not know who made it, and leaves its mode alone.
            syscalls.mkdir(self.output, DIRECTORY_MODE)
            set_mode_and_group(self.output, DIRECTORY_MODE, self._gid)
        refuse_network(self.output, "OUTPUT", OutputUnwritable)
        self._output_fd = self._enter(syscalls.realpath(self.output))
        self._own_fd = self._enter_own(OWN_DIRECTORY, self._output_fd)

    def _open_own(self) -> None:
        self._stack.callback(
            syscalls.close, lock(_LOCK, f"OUTPUT {escape(str(self.output))}", self._own_fd)
        )
        self._staging_fd = self._enter_own(STAGING, self._own_fd)
        self._probe()
        self.marks = Marks(self._output_fd, self._own_fd)
        self.identity = self._identify()

    def _enter(self, path: str | Path, dir_fd: int | None = None) -> int:
        return self._stack.enter_context(directory(path, dir_fd))

    def _enter_own(self, name: str, parent_fd: int) -> int:
        with contextlib.suppress(FileExistsError):
            syscalls.mkdir(name, OWN_MODE, dir_fd=parent_fd)
        syscalls.fsync(parent_fd)  # also what a crash kept the last run from syncing
        fd = self._enter(name, parent_fd)
        syscalls.chmod(fd, OWN_MODE)
        if syscalls.stat(fd).st_dev != syscalls.stat(parent_fd).st_dev:
            raise OSError(errno.EXDEV, "is on another file system", name)
        return fd

    def _probe(self) -> None:
        """Fail now, not at the first notification, if files cannot be made or moved without overwriting."""
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
        """Return the identity of this OUTPUT, made at the first start; its mark has it when ``.upswell`` was lost."""
        with contextlib.suppress(FileNotFoundError):
            return self._read_identity()
        text = self.marks.identity().decode("ascii", "replace").strip()
        remove_files([IDENTITY + ".new"], self._own_fd)
        with contextlib.suppress(PermissionError):  # then it was there before us
            sync_directory(self.output.absolute().parent)
        create_file(IDENTITY + ".new", self._own_fd, f"{text or uuid.uuid4()}\n".encode(), 0o600)
        syscalls.rename_new(IDENTITY + ".new", self._own_fd, IDENTITY, self._own_fd)
        syscalls.fsync(self._own_fd)
        # Read back: a state bound to an identity that is not on disk could never start again.
        return self._read_identity()

    def _read_identity(self) -> str:
        text = read_file(IDENTITY, self._own_fd).decode("ascii", "replace").strip()
        try:
            return str(uuid.UUID(text))
        except ValueError:
            raise OSError(
                errno.EINVAL, "does not hold an identity; restore the file", IDENTITY
            ) from None

    def check_directories(self, applications: Iterable[str], *, control: bool = False) -> None:
        """Refuse applications whose directory cannot take files, as ``directories.check_directories`` does."""
        check_directories_in(self.output, self._output_fd, applications, control=control)

    def stage(
        self,
        batch: int,
        stamp: str,
        outputs: Iterable[tuple[int, str, bytes]],
        control_outputs: Iterable[tuple[int, str, bytes]] = (),
    ) -> list[Staged]:
        """Write a batch's outputs to the staging directory; durable when this returns.

        Each output is (application's id, its name, content). A crash leaves staged files of a batch that was never
        committed, complete or not: recovery removes them. Raises StorageError.
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
        """Move a committed batch's staged files to their directories; durable when this returns.

        A crash leaves each file either staged or published: publish again what is still staged. A file of the same
        name and content was published before; one of another content is not overwritten (StorageError).
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
        """The highest batch whose publication ever began here, even if all its files are gone; 0 if none did."""
        return self.marks.begun or 0

    def _begin(self, batch: int) -> None:
        """Mark that this batch is being published, so that a state that lost the batch is recognised."""
        if batch > self.begun:
            self.marks.advance(batch)
            self.marks.restore(batch, self.identity)

    def settle(self) -> None:
        """Note that recovery has published all that was begun here; durable when this returns."""
        with translate_os_errors(self.output, StorageError, RECOVERS):
            self.marks.settle()

    def restore_marks(self, batch: int) -> None:
        """Make the marks that are missing, for the highest batch that was begun, or ``batch`` if no mark says which."""
        with translate_os_errors(self.output, StorageError, RECOVERS):
            self.marks.restore(
                batch if self.marks.begun is None else self.marks.begun, self.identity
            )

    def _place(self, place: str, fds: dict[str, int], opened: contextlib.ExitStack) -> int:
        """Return the descriptor of a directory of OUTPUT, made when missing; it and its parents are added to ``fds``.

        The caller fsyncs all of ``fds``: the run that made one may have been killed before it was durable.
        """
        if place not in fds:
            parent, _, name = place.rpartition("/")
            parent_fd = self._place(parent, fds, opened) if parent else self._output_fd
            mode = directory_mode(place, self._mode)
            fds[place] = opened.enter_context(
                open_directory(name, parent_fd, self._staging_fd, mode, self._gid)
            )
        return fds[place]

    def _move(self, one: Staged, fd: int) -> None:
        """Move one staged file to its directory, unless it is there already with the same content."""
        try:
            syscalls.rename_new(one.staged_name, self._staging_fd, one.published_name, fd)
        except FileExistsError:
            there = read_file(one.published_name, fd)
            if hashlib.sha256(there).digest() != one.digest:
                place = self.output / one.directory / one.published_name
                raise StorageError(
                    f"{escape(str(place))} already exists with another content, and is not overwritten",
                    "either the state was restored from an older backup, or the file was put there by hand: move the"
                    " file away if its notifications may be sent again, otherwise begin with a new OUTPUT",
                ) from None
            syscalls.unlink(one.staged_name, dir_fd=self._staging_fd)

    @property
    def _own_path(self) -> Path:
        return self.output / OWN_DIRECTORY

    @property
    def _staging_path(self) -> Path:
        return self._own_path / STAGING

    def staged_names(self) -> list[str]:
        """Return the names in the staging directory, sorted."""
        with translate_os_errors(self._staging_path, StorageError, RECOVERS):
            return list_names(self._staging_fd)

    def is_whole(self, one: Staged) -> bool:
        """Return whether a staged file, which must exist, has the content that was committed, for its consumers."""
        with translate_os_errors(self._staging_path, StorageError, RECOVERS):
            found = syscalls.stat(one.staged_name, dir_fd=self._staging_fd, follow_symlinks=False)
            if not stat.S_ISREG(found.st_mode) or found.st_size != one.length:
                return False
            if stat.S_IMODE(found.st_mode) != self._mode or 0 <= self._gid != found.st_gid:
                return False  # a copy of it was put back: its consumers could not read it
            content = read_file(one.staged_name, self._staging_fd)
        return hashlib.sha256(content).digest() == one.digest

    def rebuild(self, one: Staged, content: bytes) -> None:
        """Replace a damaged staged file, or one that is lost, by one with this content; durable when this returns.

        It replaces in one step: a staged file that is missing at any moment could count as published.
        """
        name = one.staged_name + _REBUILT
        with translate_os_errors(self._staging_path, StorageError, RECOVERS):
            create_file(name, self._staging_fd, content, self._mode, self._gid)
            syscalls.rename(
                name, one.staged_name, src_dir_fd=self._staging_fd, dst_dir_fd=self._staging_fd
            )
            syscalls.fsync(self._staging_fd)

    def remove_staged(self, names: Iterable[str]) -> int:
        """Remove staged files that belong to no commit; return how many there were."""
        with translate_os_errors(self._staging_path, StorageError, RECOVERS):
            return remove_files(names, self._staging_fd)

    def remove_unfinished(self) -> None:
        """Remove what a crash while rebuilding a file or making a directory left in the staging directory."""
        with translate_os_errors(self._staging_path, StorageError, RECOVERS):
            names = list_names(self._staging_fd)
            remove_files([name for name in names if name.endswith(_REBUILT)], self._staging_fd)
            if NEW_DIRECTORY in names:
                syscalls.rmdir(NEW_DIRECTORY, dir_fd=self._staging_fd)

    def published(self) -> list[Published]:
        """Return the notification files in OUTPUT by directory and name, those of the control group last."""
        with translate_os_errors(self.output, StorageError, RECOVERS):
            return list_published(self._output_fd)

    def read(self, published: Published) -> bytes:
        """Return the content of a notification file. Raises StorageError."""
        place = self.output / published.directory
        with (
            translate_os_errors(place, StorageError, RECOVERS),
            directory_inside(published.directory, self._output_fd) as fd,
        ):
            return read_file(published.name, fd)
