"""New files of generated data and reports, never written over an existing file.

Owns how such a file appears: complete, by a rename from a temporary name, or growing under its own name. An existing
file with the same content is left as it is; any other is an error. Nothing is synced: it can be made again.
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
    """Create the directory unless it exists. Raises OutputUnwritable, also when its parent is missing."""
    with translate_write_errors(path):
        try:
            path.mkdir(exist_ok=True)
        except FileNotFoundError as error:
            hint = f"create it first: mkdir -p {path.parent}"
            raise OutputUnwritable(
                f"{escape(str(path))}: its parent directory is missing", hint
            ) from error
        except FileExistsError as error:
            hint = "choose the path of a directory, or remove the file"
            raise OutputUnwritable(f"{escape(str(path))}: not a directory", hint) from error


def refuse_existing(target: Path) -> None:
    """Raise OutputUnwritable when a file cannot be created here. Call it before the work that fills the file."""
    with translate_write_errors(target):
        if os.path.lexists(target):
            raise OutputUnwritable(
                f"{escape(str(target))}: already exists", "remove it, or choose another name"
            )
        os.lstat(f"{target.parent}/")  # so that it must be a directory
        if not os.access(target.parent, os.W_OK):
            raise OutputUnwritable(
                f"{escape(str(target))}: its directory cannot be written",
                "check the path and its permissions",
            )


def write_file(target: Path, pieces: Iterable[bytes]) -> None:
    """Write a file under a temporary name, then rename it; leave an existing file with the same content as it is.

    A kill leaves the temporary file.

    Raises:
        OutputUnwritable: a file with other content exists, or the directory is missing or not writable.
        StorageError: the disk is full or fails.
    """
    partial = target.with_name(f".{target.name}.part")
    with translate_write_errors(target):
        try:
            partial.unlink(missing_ok=True)
            with partial.open("xb") as stream:  # exclusive: a link in its place is not followed
                for piece in pieces:
                    stream.write(piece)
            if not os.path.lexists(target):
                partial.rename(target)
            elif target.is_symlink() or not filecmp.cmp(partial, target, shallow=False):
                raise already_exists(target)
        finally:
            partial.unlink(missing_ok=True)


def grow_file(target: Path, pieces: Iterable[bytes]) -> None:
    """Append pieces to a new file as they come, each write ending within a line, as a producer would.

    Raises what ``write_file`` raises, also when a file with the same content exists. A kill leaves a shorter file.
    """
    with translate_write_errors(target):
        try:
            stream = target.open("xb", buffering=0)
        except FileExistsError:
            raise already_exists(target) from None
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


def already_exists(target: Path) -> OutputUnwritable:
    """Return the error for a file that exists with other content."""
    return OutputUnwritable(
        f"{escape(str(target))}: already exists with other content",
        "remove it, or choose another directory (or for data another --start)",
    )


@contextmanager
def translate_write_errors(path: Path) -> Iterator[None]:
    """Raise an OSError of the block as StorageError when the disk is full or fails, else as OutputUnwritable."""
    try:
        yield
    except OSError as error:
        message = f"{escape(str(path))}: {error.strerror}"
        if error.errno in _DISK_FAULTS:
            raise StorageError(
                message, "free space or repair the disk, then start again"
            ) from error
        raise OutputUnwritable(message, "check the path and its permissions") from error
