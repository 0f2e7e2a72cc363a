"""New files, never over one that is there.

Owns how a made file comes into being: whole, under a temporary name that is then changed, or growing in the sight of
all. One with the same content is left as it is, any other is an error. Nothing here is made durable: what is made can
be made again.
"""

import errno
import filecmp
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from upswell.errors import OutputUnwritable, StorageError
from upswell.privacy import escape

_DISK_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG)


def make_directory(path: Path) -> None:
    """Make the directory unless it is there. Raises OutputUnwritable, also when its parent is missing."""
    with disk_errors(path):
        try:
            path.mkdir(exist_ok=True)
        except FileNotFoundError as error:
            hint = f"create it first: mkdir -p {path.parent}"
            raise OutputUnwritable(
                f"{escape(str(path))}: its parent directory is missing", hint
            ) from error
        except FileExistsError as error:
            hint = "choose the path of a directory"
            raise OutputUnwritable(f"{escape(str(path))}: is not a directory", hint) from error


def refuse_taken(target: Path) -> None:
    """Refuse a place where a file cannot be made, before the work that it is to hold. Raises OutputUnwritable."""
    with disk_errors(target):
        if os.path.lexists(target):
            raise OutputUnwritable(
                f"{escape(str(target))}: is there already", "remove it, or choose another name"
            )
        os.lstat(f"{target.parent}/")  # so that it must be a directory
        if not os.access(target.parent, os.W_OK):
            raise OutputUnwritable(
                f"{escape(str(target))}: its directory cannot be written",
                "check the path and its permissions",
            )


def write_file(target: Path, pieces: Iterable[bytes]) -> None:
    """Write a file under a temporary name, then give it its own.

    One with the same content is left as it is. Raises OutputUnwritable when the name has another content, or the
    directory is missing or not writable; StorageError when the disk is full. Killed, it leaves the temporary file.
    """
    partial = target.with_name(f".{target.name}.part")
    with disk_errors(target):
        try:
            partial.unlink(missing_ok=True)
            with partial.open("xb") as stream:  # exclusive: a link in its place is not followed
                for piece in pieces:
                    stream.write(piece)
            if not os.path.lexists(target):
                partial.rename(target)
            elif target.is_symlink() or not filecmp.cmp(partial, target, shallow=False):
                raise taken(target)
        finally:
            partial.unlink(missing_ok=True)


def grow_file(target: Path, pieces: Iterable[bytes]) -> None:
    """Append pieces to a new file as they come, cut where no line ends. As write_file but killed, it is shorter."""
    with disk_errors(target):
        try:
            stream = target.open("xb", buffering=0)
        except FileExistsError:
            raise taken(target) from None
        rest = b""
        with stream:
            for piece in pieces:
                content = rest + piece
                cut = len(content) * 2 // 3
                _write_all(stream, content[:cut])
                rest = content[cut:]
            _write_all(stream, rest)


def _write_all(stream: FileIO, content: bytes) -> None:
    while content:
        content = content[stream.write(content) :]


def taken(target: Path) -> OutputUnwritable:
    """The error that something else has this name."""
    return OutputUnwritable(
        f"{escape(str(target))}: is there already, with another content",
        "remove it, or choose another directory (or for data another --start)",
    )


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn an OSError of the body into OutputUnwritable or StorageError."""
    try:
        yield
    except OSError as error:
        message = f"{escape(str(path))}: {error.strerror}"
        if error.errno in _DISK_FAULTS:
            raise StorageError(message, "make room on the disk, and start again") from error
        raise OutputUnwritable(message, "check the path and its permissions") from error
