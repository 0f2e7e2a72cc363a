"""The DATA directory as the file system shows it: the names in it, their stats, and the bytes of a regular file.

Owns the grammar of a DATA file's name. It remembers nothing and follows no link: a listing costs one stat a name,
whatever the files hold, and only a regular file is ever opened.
"""

import os
import re
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from upswell.errors import InputMissing
from upswell.privacy import mask_digits
from upswell.zones import stamp_time

_NAME = re.compile(r"DATA_([0-9]{12})\.csv(\.gz)?")
_STAMPED = re.compile(r"(?:DATA_[0-9]{12}(?![0-9]))?")
_STAMP = re.compile(
    r"(?<![0-9])((?:19|20)[0-9]{2})[-_.]?([0-9]{2})[-_.]?([0-9]{2})[-_.T ]?([0-9]{2})[-_.:]?([0-9]{2})"
    r"(?:[-_.:]?[0-9]{2})?(?![0-9])"
)
# What a producer puts beside a file of data, or what a file is called until it is complete.
_BESIDE = re.compile(
    r"\.(md5|sha1|sha224|sha256|sha384|sha512|crc|crc32|sig|asc|ok|done|ready|flag|ctl|trg|end|fin"
    r"|tmp|temp|part|partial|filepart|crdownload|swp)$|~$",
    re.IGNORECASE,
)
_GZIP = 31  # zlib's way to ask for a gzip header


class Stat(NamedTuple):
    """Size, modification time and inode of one regular file."""

    size: int
    mtime_ns: int
    inode: int


def read_name(name: str) -> tuple[str, str]:
    """Return (stamp, "") for the name of a DATA file, or ("", reason) when it is ignored.

    The reason is ``name`` for any other name, ``stamp`` for one whose date or time does not exist.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        return "", "name"
    try:
        stamp_time(match[1])
    except ValueError:
        return "", "stamp"
    return match[1], ""


def looks_like_data(name: str) -> bool:
    """Return whether an ignored name looks like that of data: it begins with DATA in any case, or holds a stamp.

    Hidden names, and suffixes of what lies beside data (checksums, markers) or is still being written, do not.
    """
    if name.startswith(".") or _BESIDE.search(name):
        return False
    return name[:4].upper() == "DATA" or any(map(_is_stamp, _STAMP.findall(name)))


def _is_stamp(parts: tuple[str, ...]) -> bool:
    try:
        stamp_time("".join(parts))
    except ValueError:
        return False
    return True


def archived_in(archive: Path, name: str) -> Path:
    """Return the path of a DATA file in the archive, which has one directory for each day of the stamps."""
    return archive / read_name(name)[0][:8] / name


def counterpart_of(name: str) -> str:
    """Return the name that a DATA file has after somebody compressed it, or decompressed it."""
    return name.removesuffix(".gz") if name.endswith(".gz") else f"{name}.gz"


def show_name(name: str) -> str:
    """Return a name in DATA for a message: the stamp of a DATA file whole, whatever else could be an msisdn masked."""
    stamped = name[: _STAMPED.match(name).end()]  # type: ignore[union-attr]  # it matches nothing at least
    return stamped + mask_digits(name.removeprefix(stamped))


def list_directory(data: bytes) -> Iterator[tuple[str, os.stat_result]]:
    """Yield each name directly in the directory with its stat, in no order and without following links.

    A name is as the system gives it (bytes that are not UTF-8 as surrogates): escape it before it reaches a message.
    A name that goes between the listing and its stat, or whose stat fails, is left out.

    Raises:
        InputMissing: the directory is gone or cannot be read. Nothing is known of its files then.
    """
    try:
        # Relative to a descriptor a stat is cheaper, and a directory that is replaced meanwhile is not mixed in.
        fd = os.open(data, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with os.scandir(fd) as entries:
                for entry in entries:
                    try:
                        yield entry.name, entry.stat(follow_symlinks=False)
                    except OSError:
                        continue
        finally:
            os.close(fd)
    except OSError as error:
        raise InputMissing(
            f"DATA cannot be listed: {error.strerror}",
            "check that the directory exists and can be read",
        ) from error


def stat_regular(path: bytes) -> Stat | None:
    """Return the stat of a regular file; None when there is nothing, or no regular file, at the path.

    Raises OSError when that cannot be known.
    """
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return Stat(found.st_size, found.st_mtime_ns, found.st_ino)


def read_head(path: bytes, length: int, *, compressed: bool) -> bytes:
    """Read the first bytes of a regular file, uncompressed: up to ``length``.

    Raises OSError as ``read_at`` does, and for broken compressed data.
    """
    raw = read_at(path, 0, length)
    if not compressed:
        return raw
    try:
        return zlib.decompressobj(_GZIP).decompress(raw, length)
    except zlib.error as error:
        raise OSError(str(error)) from error


@contextmanager
def open_regular(path: bytes) -> Iterator[int]:
    """Open a regular file to read, as a descriptor. Raises OSError for a link or any other kind of file."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError("not a regular file")
        yield fd
    finally:
        os.close(fd)


def read_at(path: bytes, position: int, length: int) -> bytes:
    """Read up to ``length`` bytes of a regular file. Raises OSError as ``open_regular`` does."""
    with open_regular(path) as fd:
        return os.pread(fd, length, position)
