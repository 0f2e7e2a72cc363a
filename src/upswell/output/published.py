"""Compares OUTPUT with what was published, from outside a run.

Owns the reading of published files for audits. It writes nothing, follows no link and takes no lock: a consumer may
take a file, and a run may publish one, between two calls.
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
from upswell.storage.files import (
    RECOVERS,
    directory,
    directory_inside,
    list_names,
    next_step,
    read_file,
)

Where = Literal["in_output", "changed", "taken_away", "waiting"]
"""Unchanged in OUTPUT; there with another content; taken by the consumer; staged and not yet published."""


class _NotAFile(Exception):
    """A link, a directory or the like stands in the place of a published file, or of its directory."""


_NOT_A_FILE = (errno.ELOOP, errno.ENOTDIR, errno.EINVAL, errno.ENXIO)


def locate(output: Path, one: Staged) -> Where:
    """Return the present whereabouts of a published file. Raises StorageError when they cannot be determined."""
    try:
        content = _read(output, one)
        if content is None and (output / OWN_DIRECTORY / STAGING / one.staged_name).exists():
            return "waiting"
        # It may have been published between the two reads.
        content = _read(output, one) if content is None else content
    except _NotAFile:
        return "changed"
    if content is None:
        return "taken_away"
    return "in_output" if hashlib.sha256(content).digest() == one.digest else "changed"


def describe_change(output: Path, one: Staged, expected: bytes | None) -> str:
    """Return a sentence on how a published file differs from what was published.

    ``expected``: the content that was published; when given, the sentence has the first line (from 1) that differs.
    """
    name = escape(published_place(one))
    try:
        found = _read(output, one) or b""
    except _NotAFile:
        return f"{name}: replaced by a link or something else that is not a regular file"
    if expected is None:
        return f"{name}: not what was published"
    pairs = zip(expected.split(b"\n"), found.split(b"\n"), strict=False)
    has, had = found.count(b"\n"), expected.count(b"\n")
    line = next((at for at, (old, new) in enumerate(pairs, 1) if old != new), min(has, had) + 1)
    return f"{name} line {line}: not what was published (it has {has:,} lines, and had {had:,})"


def _read(output: Path, one: Staged) -> bytes | None:
    """Return the content of a published file; None when it is missing. Raises _NotAFile, StorageError as ``locate``."""
    place = output / one.directory
    try:
        with directory(output) as output_fd, directory_inside(one.directory, output_fd) as fd:
            return read_file(one.published_name, fd)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in _NOT_A_FILE:
            raise _NotAFile from None
        path = place / one.published_name
        raise StorageError(
            f"{escape(str(path))}: {error.strerror}", next_step(error, path, RECOVERS)
        ) from error


def published_place(one: Staged) -> str:
    """Return the path of a published file within OUTPUT."""
    return f"{one.directory}/{one.published_name}"


def published_files(output: Path) -> Iterator[tuple[str, PublishedName]]:
    """Yield the paths within OUTPUT of all files with published names, those of the control group included."""
    places = [*_names(output), *(place_of(name, True) for name in _names(output / CONTROL))]
    for place in places:
        for name in _names(output / place) if place != OWN_DIRECTORY else ():
            parsed: PublishedName | None = parse_published(name)
            if parsed is not None:
                yield f"{place}/{name}", parsed


def _names(place: Path) -> list[str]:
    """Return the names in a directory; none when it is missing or cannot be listed."""
    try:
        with directory(place) as fd:
            return list_names(fd)
    except OSError:
        return []
