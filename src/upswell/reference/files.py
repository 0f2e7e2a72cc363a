"""The files of a SEGMENT, RULES or SUPPRESS argument: their names, and their contents.

Owns listing and reading them; parses nothing and remembers nothing. A pipe never blocks it, no link out of the
directory is followed, and files that are too large for memory are refused.
"""

import hashlib
import os
import stat
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from upswell.errors import ConfigError, InputMissing
from upswell.privacy import escape

# Of the argument's files together.
RULES_BYTES_MAX = 64 << 20  # over a million rules, which load in some seconds
SEGMENT_BYTES_MAX = 4 << 30  # over 300 million msisdns; all are in memory while they are loaded
THREAD_BYTES_MIN = 1 << 20  # less is hashed sooner than a thread starts


class Contents:
    """The contents of one argument: its files as (name, content), and the version that names them."""

    def __init__(self, files: list[tuple[str, bytes]]) -> None:
        """Start hashing: large contents by a thread, since that takes as long as reading them.

        Where no thread can be started they are hashed here, so that the run goes on.
        """
        self.files = files
        self._digest = hashlib.sha256()
        self._hashing: threading.Thread | None = None
        if sum(len(content) for _, content in files) >= THREAD_BYTES_MIN:
            hashing = threading.Thread(target=self._hash, name="upswell-version")
            with suppress(RuntimeError):
                hashing.start()
                self._hashing = hashing
        if self._hashing is None:
            self._hash()

    @property
    def unterminated(self) -> list[str]:
        """The names of files whose last line has no line end: it may have been cut."""
        return [name for name, content in self.files if content and not content.endswith(b"\n")]

    @property
    def version(self) -> str:
        """The SHA-256 of the contents, in hex; waits for the thread that hashes them."""
        if self._hashing is not None:
            self._hashing.join()
        return self._digest.hexdigest()

    def _hash(self) -> None:
        for _, content in self.files:
            self._digest.update(struct.pack("<Q", len(content)))
            self._digest.update(content)


def list_files(path: Path) -> list[Path]:
    """Return the files of an argument: itself, or its ``*.csv`` that are not hidden, in order of name bytes.

    Raises:
        InputMissing: the path is missing, unreadable, or a directory without a ``*.csv``.
    """
    with translate_missing(path):
        if not stat.S_ISDIR(path.stat().st_mode):
            return [path]
        names = sorted(
            (each for each in path.iterdir() if each.suffix == ".csv" and each.name[0] != "."),
            key=bytes,
        )
    if not names:
        raise InputMissing(
            f"{escape(str(path))}: holds no *.csv file",
            "put the file into it, or name the file itself",
        )
    return names


def read_rules(path: Path) -> Contents:
    """Read the RULES argument. Raises InputMissing, and ConfigError when it is too large."""
    return _read_files(path, RULES_BYTES_MAX)


def read_segment(path: Path) -> Contents:
    """Read the SEGMENT or SUPPRESS argument. Raises InputMissing, and ConfigError when it is too large."""
    return _read_files(path, SEGMENT_BYTES_MAX)


def _read_files(path: Path, bytes_max: int) -> Contents:
    files = []
    left = bytes_max
    for file in list_files(path):
        # Non-blocking, so that a pipe under this name does not block the run.
        with (
            translate_missing(file),
            os.fdopen(os.open(file, os.O_RDONLY | os.O_NONBLOCK), "rb") as stream,
        ):
            found = os.fstat(stream.fileno())
            check_regular(file, found)
            _check_inside(path, file, stream.fileno())
            # It may have grown since its stat: no more is read than was allowed.
            content = stream.read(found.st_size) if found.st_size <= left else None
        if content is None:
            raise ConfigError(
                f"{escape(str(path))} holds more than {bytes_max >> 20:,} MiB",
                "check that it is the right file, and remove everything but rules or MSISDNs",
            )
        left -= len(content)
        files.append((file.name, content))
    return Contents(files)


def is_unterminated(file: Path) -> bool:
    """Return whether a file's last line has no line end. Raises InputMissing when it cannot be read."""
    with (
        translate_missing(file),
        os.fdopen(os.open(file, os.O_RDONLY | os.O_NONBLOCK), "rb") as stream,
    ):
        found = os.fstat(stream.fileno())
        check_regular(file, found)
        return found.st_size > 0 and os.pread(stream.fileno(), 1, found.st_size - 1) != b"\n"


@contextmanager
def translate_missing(path: Path) -> Iterator[None]:
    """Raise an OSError of the block as InputMissing."""
    try:
        yield
    except OSError as error:
        raise InputMissing(
            f"{escape(str(path))}: {error.strerror}", "check the path and its permissions"
        ) from error


def check_regular(file: Path, found: os.stat_result) -> None:
    """Raise InputMissing when a file's stat is not that of a regular file."""
    if not stat.S_ISREG(found.st_mode):
        raise InputMissing(
            f"{escape(str(file))}: not a regular file",
            "replace it with a regular file, or remove it",
        )


def _check_inside(path: Path, file: Path, fd: int) -> None:
    """Refuse a file of a directory that is a link out of it.

    Links within the directory are allowed, since they let somebody switch a whole version in one step. The target is
    that of the opened file, which cannot be exchanged any more.
    """
    place = path.resolve()
    if place.is_dir() and not Path(f"/proc/self/fd/{fd}").readlink().is_relative_to(place):
        raise InputMissing(
            f"{escape(str(file))}: a link to another directory",
            "replace it with the file itself; only links within the directory are followed",
        )
