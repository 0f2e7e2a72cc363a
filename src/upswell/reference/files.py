"""The files of a SEGMENT or RULES argument: which they are, and what they hold.

Owns their listing and reading. It knows nothing of what stands in them, and remembers nothing. A pipe never holds it
up, a directory's link leads to no other place, and what is too large for memory is not read.
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

RULES_BYTES_MAX = (
    64 << 20
)  # of the argument's files together: over a million rules, which load in some seconds
SEGMENT_BYTES_MAX = 4 << 30  # over 300 million dials; all is in memory while it is loaded
THREAD_BYTES_MIN = 1 << 20  # less is summed up sooner than a thread starts


class Contents:
    """The contents of one argument: its files by name, and the version that they make."""

    def __init__(self, files: list[tuple[str, bytes]]) -> None:
        """The version of a large SEGMENT is summed up by a thread meanwhile, as that takes as long as reading it.

        Where the system gives no thread it is summed up here: for that no run has to end.
        """
        self.files = files
        self._digest = hashlib.sha256()
        self._summing: threading.Thread | None = None
        if sum(len(content) for _, content in files) >= THREAD_BYTES_MIN:
            summing = threading.Thread(target=self._sum, name="upswell-version")
            with suppress(RuntimeError):
                summing.start()
                self._summing = summing
        if self._summing is None:
            self._sum()

    @property
    def version(self) -> str:
        """Names the contents; waits until it is known."""
        if self._summing is not None:
            self._summing.join()
        return self._digest.hexdigest()

    def _sum(self) -> None:
        for _, content in self.files:
            self._digest.update(struct.pack("<Q", len(content)))
            self._digest.update(content)


def list_files(path: Path) -> list[Path]:
    """The files of a SEGMENT or RULES argument: itself, or its ``*.csv`` (none hidden) in order of name bytes.

    Raises InputMissing when the path is missing, unreadable, or a directory without a ``*.csv``.
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
            "put the file there, or name the file itself",
        )
    return names


def read_rules(path: Path) -> Contents:
    """The contents of the RULES argument, and the version they make. Raises InputMissing, ConfigError: too large."""
    return _read_files(path, RULES_BYTES_MAX)


def read_segment(path: Path) -> Contents:
    """The contents of the SEGMENT argument, and the version they make. Raises InputMissing, ConfigError: too large."""
    return _read_files(path, SEGMENT_BYTES_MAX)


def _read_files(path: Path, bytes_max: int) -> Contents:
    files = []
    left = bytes_max
    for file in list_files(path):
        # Not to be held up by a pipe that somebody puts there under this name.
        with (
            translate_missing(file),
            os.fdopen(os.open(file, os.O_RDONLY | os.O_NONBLOCK), "rb") as stream,
        ):
            found = os.fstat(stream.fileno())
            check_regular(file, found)
            _check_inside(path, file, stream.fileno())
            # It may have grown since: no more is read than was asked for.
            content = stream.read(found.st_size) if found.st_size <= left else None
        if content is None:
            raise ConfigError(
                f"{escape(str(path))} holds more than {bytes_max >> 20:,} MiB",
                "is it the right file? Leave out what is no rule and no dial",
            )
        left -= len(content)
        files.append((file.name, content))
    return Contents(files)


@contextmanager
def translate_missing(path: Path) -> Iterator[None]:
    """Turn what the system reports into InputMissing."""
    try:
        yield
    except OSError as error:
        raise InputMissing(
            f"{escape(str(path))}: {error.strerror}", "check the path and its permissions"
        ) from error


def check_regular(file: Path, found: os.stat_result) -> None:
    """Raise InputMissing when a file's stat is that of a pipe, a device or the like."""
    if not stat.S_ISREG(found.st_mode):
        raise InputMissing(
            f"{escape(str(file))}: is no regular file", "put a file there, or take it away"
        )


def _check_inside(path: Path, file: Path, fd: int) -> None:
    """Refuse a member of a directory that is a link to somewhere else.

    A link within the directory is how a whole version is changed in one step. What it has led to is asked of the
    opened file, which cannot be exchanged any more.
    """
    place = path.resolve()
    if place.is_dir() and not Path(f"/proc/self/fd/{fd}").readlink().is_relative_to(place):
        raise InputMissing(
            f"{escape(str(file))}: is a link to another directory",
            "put the file itself there; only links within the directory are followed",
        )
