"""What a look at the DATA directory shows: the names in it and their stats.

Owns the grammar of a DATA file's name and the directory scan. It opens no file, follows no link and remembers nothing;
a scan costs one stat for each name, whatever the files hold.
"""

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from upswell.errors import InputMissing
from upswell.privacy import escape, mask_digits
from upswell.zones import stamp_time

_NAME = re.compile(r"DATA_([0-9]{12})\.csv(\.gz)?")


class Stat(NamedTuple):
    """What the file system says of one regular file."""

    size: int
    mtime_ns: int
    inode: int


def read_name(name: str) -> tuple[str, str]:
    """(stamp, "") of a DATA file's name, or ("", why it is ignored): ``name``; ``stamp`` when that is no real date."""
    match = _NAME.fullmatch(name)
    if match is None:
        return "", "name"
    try:
        stamp_time(match[1])
    except ValueError:
        return "", "stamp"
    return match[1], ""


def archived_in(archive: Path, name: str) -> Path:
    """Where the archive keeps a DATA file: in a directory of its stamp's day."""
    return archive / read_name(name)[0][:8] / name


def twin_of(name: str) -> str:
    """The name that a DATA file has once somebody has packed or unpacked it."""
    return name.removesuffix(".gz") if name.endswith(".gz") else f"{name}.gz"


def show_name(name: str) -> str:
    """A name in DATA as messages show it: that of a DATA file whole, any other without what could be an msisdn."""
    return escape(name) if _NAME.fullmatch(name) else mask_digits(name)


def scan(data: bytes) -> Iterator[tuple[str, os.stat_result]]:
    """Every name directly in the directory with its stat, in no order; links are not followed.

    A name is as the system gives it (bytes that are no UTF-8 as surrogates): escape it before it reaches a message.
    One that goes between the listing and its stat, or whose stat fails, is left out.

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
            "check that the directory is there and readable",
        ) from error


def look_at(path: bytes) -> Stat | None:
    """The stat of one regular file; None when there is none of that name. OSError when that cannot be known."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return Stat(found.st_size, found.st_mtime_ns, found.st_ino)
