"""What was published, as the state keeps it, and what OUTPUT still holds of it, looked at from outside.

Owns the look at notifications and published files for those who ask after a run. It writes nothing, follows no link
and takes no lock: a consumer may take a file, and a run may publish one, between two calls.
"""

import errno
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from upswell.errors import StorageError
from upswell.output.names import (
    CONTROL,
    OWN_DIRECTORY,
    STAGING,
    PublishedName,
    Staged,
    parse_published,
    place_of,
)
from upswell.privacy import escape
from upswell.storage.files import RECOVERS, directory, directory_inside, list_names, read_file

Where = Literal["in_output", "changed", "taken_away", "waiting"]
"""There as it was published; there with other bytes; taken by the consumer; staged, and not published yet."""


class _NotAFile(Exception):
    """A link, a directory or the like stands in the place of a published file, or of its directory."""


_NOT_A_FILE = (errno.ELOOP, errno.ENOTDIR, errno.EINVAL, errno.ENXIO)


def where(output: Path, one: Staged) -> Where:
    """Where a published file is now. Raises StorageError when that cannot be known."""
    try:
        content = _read(output, one)
        if content is None and (output / OWN_DIRECTORY / STAGING / one.staged_name).exists():
            return "waiting"
        # It may have been published between the two looks.
        content = _read(output, one) if content is None else content
    except _NotAFile:
        return "changed"
    if content is None:
        return "taken_away"
    return "in_output" if hashlib.sha256(content).digest() == one.digest else "changed"


def describe_change(output: Path, one: Staged, expected: bytes | None) -> str:
    """How a published file differs from what was published, in words.

    ``expected``: what was published; the first line, from 1, in which it differs is told when that is known.
    """
    name = escape(published_place(one))
    try:
        found = _read(output, one) or b""
    except _NotAFile:
        return f"{name}: a link or something that is no file stands in its place"
    if expected is None:
        return f"{name}: not what was published"
    pairs = zip(expected.split(b"\n"), found.split(b"\n"), strict=False)
    has, had = found.count(b"\n"), expected.count(b"\n")
    line = next((at for at, (old, new) in enumerate(pairs, 1) if old != new), min(has, had) + 1)
    return f"{name} line {line}: not what was published (it has {has:,} lines, and had {had:,})"


def _read(output: Path, one: Staged) -> bytes | None:
    """The content of a published file; None when it is not there. Raises _NotAFile, or StorageError as ``where``."""
    place = output / one.directory
    try:
        with directory(output) as output_fd, directory_inside(one.directory, output_fd) as fd:
            return read_file(one.published_name, fd)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in _NOT_A_FILE:
            raise _NotAFile from None
        raise StorageError(
            f"{escape(str(place / one.published_name))}: {error.strerror}", RECOVERS
        ) from error


def published_place(one: Staged) -> str:
    """The place of a published file within OUTPUT."""
    return f"{one.directory}/{one.published_name}"


def files(output: Path) -> Iterator[tuple[str, PublishedName]]:
    """The places of all files in OUTPUT that look as published, those of the control group included."""
    places = [*_names(output), *(place_of(name, True) for name in _names(output / CONTROL))]
    for place in places:
        for name in _names(output / place) if place != OWN_DIRECTORY else ():
            parsed: PublishedName | None = parse_published(name)
            if parsed is not None:
                yield f"{place}/{name}", parsed


def _names(place: Path) -> list[str]:
    """The names in a directory; none where there is no directory that can be listed."""
    try:
        with directory(place) as fd:
            return list_names(fd)
    except OSError:
        return []
