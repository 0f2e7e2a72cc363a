"""The calls of ``storage.syscalls`` on the modelled disk, as one process makes them, until something strikes it.

Owns descriptors, errors and the moment of a strike. A strike comes before a call: after it is before the next one. A
process that was killed gets nothing done any more, whatever its ``finally`` blocks try. A failed fsync of a directory
means that the file system has given up, as journalling ones do: nothing can be changed until the power was off.
"""

import errno
import os
import stat as modes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import PurePath
from random import Random
from types import SimpleNamespace
from typing import NamedTuple

from support.power.platter import Inode, Platter
from upswell.storage import syscalls

KILL, POWER, ERROR = "kill", "power loss", "error"
_ERRORS = (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_UMASK = 0o022


class Gone(BaseException):
    """The process was killed."""


class Broken(BaseException):
    """The law is broken; the words say how."""


class Stat(NamedTuple):
    """What is asked about a file."""

    st_mode: int
    st_size: int
    st_dev: int = 1


class Calls:
    """What one process after the other does to one disk."""

    def __init__(self, platter: Platter, rng: Random, watch: Callable[[], None]) -> None:
        self.platter = platter
        self.watch = watch
        """Is called before every call: what somebody else may see or do then."""
        self.trace: list[str] | None = None
        """Every call in words, when wanted."""
        self.given_up = False
        """The file system takes no change until the power was off."""
        self._rng = rng
        self.start("")

    def start(self, strike: str) -> None:
        """A new process, which this will strike when it is aimed at a call."""
        self.made = 0
        self.failed = ""
        """The call that failed on purpose."""
        self.struck = False
        self._at = 0
        self._strike = strike
        self._gone = False
        self._lasting = 0
        self._open: dict[int, Inode] = {}
        self._read_to: dict[int, int] = {}
        self._next_fd = 3

    def aim(self, calls: int) -> None:
        """Strike before the call that comes after so many more."""
        self._at = self.made + calls

    def note(self, sentence: str) -> None:
        """Something that is no call, for the trace."""
        if self.trace is not None:
            self.trace.append(sentence)

    def end(self) -> None:
        """The process is gone, whatever it had in mind."""
        self._gone = True

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Stand in the place of the disk."""
        real = {name: getattr(syscalls, name) for name in syscalls.__all__}
        for name in real:
            setattr(syscalls, name, getattr(self, name))
        try:
            yield
        finally:
            for name, call in real.items():
                setattr(syscalls, name, call)

    def step(self, name: str, what: object = "", inode: Inode | None = None) -> bool:
        """One call, before it does anything. True when it is to do a part of its work only."""
        if self._gone:
            raise Gone
        self.watch()
        self.made += 1
        if self.trace is not None:
            self.trace.append(f"{name} {what}")
        if self.made == self._at:
            self.struck = True
            if self.trace is not None:
                self.trace[-1] += f"  <- {self._strike}"
            if self._strike != ERROR:
                self._gone = True
                raise Gone
            return self._fail(name, inode)
        if self._lasting and name not in ("read", "pread", "stat", "listdir"):
            self.failed = self.failed or name
            raise OSError(self._lasting, os.strerror(self._lasting))
        return False

    def _fail(self, name: str, inode: Inode | None) -> bool:
        number = self._rng.choice(_ERRORS)
        if self._rng.random() < 0.5:
            self._lasting = number
        if name in ("read", "write") and self._rng.random() < 0.5:
            return True
        if name == "fsync" and inode is not None:
            if inode.names is None:
                self.platter.fail_sync(inode, self._rng)
            else:
                self.given_up, self._lasting = True, errno.EROFS
        self.failed = name
        raise OSError(number, os.strerror(number))

    def _find(self, path: str | PurePath | int, dir_fd: int | None = None) -> tuple[Inode, str]:
        """The directory that the path's last name is in, and that name."""
        if isinstance(path, int):
            raise TypeError(path)
        names = str(path).strip("/").split("/")
        at: Inode | None = self.platter.root if dir_fd is None else self._open[dir_fd]
        at = at.find(*names[:-1]) if at is not None else None
        if at is None:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))
        return at, names[-1]

    def _get(self, path: str | PurePath | int, dir_fd: int | None = None) -> Inode:
        if isinstance(path, int):
            return self._open[path]
        directory, name = self._find(path, dir_fd)
        found = directory.find(name)
        if found is None:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))
        return found

    def open(
        self, path: str | PurePath, flags: int, mode: int = 0o777, *, dir_fd: int | None = None
    ) -> int:
        directory, name = self._find(path, dir_fd)
        self.step("open" if flags & os.O_CREAT else "read", path)
        inode = directory.find(name)
        if inode is None:
            if not flags & os.O_CREAT:
                raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))
            inode = Inode(mode & ~_UMASK, directory=False)
            self.platter.make(directory, name, inode)
        elif flags & os.O_EXCL:
            raise FileExistsError(errno.EEXIST, "File exists", str(path))
        elif flags & os.O_DIRECTORY and inode.names is None:
            raise NotADirectoryError(errno.ENOTDIR, "Not a directory", str(path))
        self._next_fd += 1
        self._open[self._next_fd] = inode
        return self._next_fd

    def close(self, fd: int) -> None:
        if not self._gone:
            del self._open[fd]
            self._read_to.pop(fd, None)

    def read(self, fd: int, length: int) -> bytes:
        start = self._read_to.get(fd, 0)
        if self.step("read", fd):
            length = length // 2 or 1
        piece = self._open[fd].data[start : start + length]
        self._read_to[fd] = start + len(piece)
        return piece

    def pread(self, fd: int, length: int, offset: int) -> bytes:
        self.step("pread", fd)
        return self._open[fd].data[offset : offset + length]

    def write(self, fd: int, data: memoryview) -> int:
        inode = self._open[fd]
        content = bytes(data)
        if self.step("write", f"{len(content)} bytes"):
            content = content[: self._rng.randint(min(1, len(content)), len(content))]
        inode.data += content
        self.platter.touch(inode)
        return len(content)

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        self.step("pwrite", fd)
        inode = self._open[fd]
        inode.data = inode.data[:offset] + data + inode.data[offset + len(data) :]
        self.platter.touch(inode)
        return len(data)

    def ftruncate(self, fd: int, length: int) -> None:
        self.step("ftruncate", fd)
        inode = self._open[fd]
        inode.data = inode.data[:length]
        self.platter.touch(inode)

    def fsync(self, fd: int) -> None:
        inode = self._open[fd]
        self.step("fsync", self._name(fd), inode)
        self.platter.sync(inode)

    def flock(self, fd: int, operation: int) -> None:
        self.step("flock", fd)

    def mkdir(self, path: str | PurePath, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        directory, name = self._find(path, dir_fd)
        self.step("mkdir", path)
        if directory.find(name) is not None:
            raise FileExistsError(errno.EEXIST, "File exists", str(path))
        self.platter.make(directory, name, Inode(mode & ~_UMASK, directory=True))

    def rmdir(self, path: str, *, dir_fd: int | None = None) -> None:
        directory, name = self._find(path, dir_fd)
        self.step("rmdir", path)
        if self._get(path, dir_fd).names:
            raise OSError(errno.ENOTEMPTY, "Directory not empty", path)
        self.platter.change((directory, name, None))

    def unlink(self, path: str, *, dir_fd: int | None = None) -> None:
        directory, name = self._find(path, dir_fd)
        self.step("unlink", path)
        self._get(path, dir_fd)
        self.platter.change((directory, name, None))

    def rename(
        self,
        source: str,
        target: str,
        *,
        src_dir_fd: int | None = None,
        dst_dir_fd: int | None = None,
    ) -> None:
        self.step("rename", f"{source} {target}")
        self._move(self._find(source, src_dir_fd), self._find(target, dst_dir_fd))

    def rename_new(self, source: str, source_fd: int, target: str, target_fd: int) -> None:
        self.step("rename_new", f"{source} {target}")
        to, name = self._find(target, target_fd)
        if to.find(name) is not None:
            raise FileExistsError(errno.EEXIST, "File exists", target)
        self._move(self._find(source, source_fd), (to, name))

    def link(
        self,
        source: str,
        target: str,
        *,
        src_dir_fd: int,
        dst_dir_fd: int,
        follow_symlinks: bool = True,
    ) -> None:
        self.step("link", f"{source} {target}")
        to, name = self._find(target, dst_dir_fd)
        if to.find(name) is not None:
            raise FileExistsError(errno.EEXIST, "File exists", target)
        self.platter.change((to, name, self._get(source, src_dir_fd)))

    def _move(self, source: tuple[Inode, str], target: tuple[Inode, str]) -> None:
        inode = source[0].find(source[1])
        if inode is None:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", source[1])
        self.platter.change((*source, None), (*target, inode))

    def chmod(self, path: str | PurePath | int, mode: int) -> None:
        self.step("chmod", f"{path} {mode:o}")
        inode = self._get(path)
        inode.mode = mode
        self.platter.touch(inode)

    def chown(self, path: str | PurePath | int, uid: int, gid: int) -> None:
        self.step("chown", path)

    def utime(self, path: str, *, ns: tuple[int, int], dir_fd: int) -> None:
        self.step("utime", path)

    def stat(
        self, path: str | PurePath | int, *, dir_fd: int | None = None, follow_symlinks: bool = True
    ) -> Stat:
        self.step("stat", path)
        inode = self._get(path, dir_fd)
        kind = modes.S_IFREG if inode.names is None else modes.S_IFDIR
        return Stat(kind | inode.mode, len(inode.data))

    def access(self, path: str, mode: int, *, dir_fd: int, effective_ids: bool) -> bool:
        self.step("stat", path)
        return True

    def listdir(self, path: str | PurePath | int) -> list[str]:
        self.step("listdir", self._name(path) if isinstance(path, int) else path)
        names = self._get(path).names
        if names is None:
            raise NotADirectoryError(errno.ENOTDIR, "Not a directory", str(path))
        found = list(names)
        self._rng.shuffle(found)
        return found

    @contextmanager
    def scandir(self, fd: int) -> Iterator[Iterator[SimpleNamespace]]:
        yield (SimpleNamespace(name=name) for name in self.listdir(fd))

    def realpath(self, path: str | PurePath) -> str:
        return str(path)

    def mount_table(self) -> str:
        return ""

    def _name(self, fd: int) -> str:
        """The path of what is open, for the trace."""
        if self.trace is None:
            return ""
        return _path(self.platter.root, self._open[fd]) or "(removed)"


def _path(at: Inode, wanted: Inode) -> str:
    for name, inode in (at.names or {}).items():
        if inode is wanted:
            return f"/{name}"
        if below := _path(inode, wanted):
            return f"/{name}{below}"
    return ""
