"""A copy of a state that can be put in its place: taken while a run writes it or not, whole or not there at all.

Owns what belongs to a copy: the database as of one moment, the reject files of its batches, and the identity of the
OUTPUT that it belongs to. It never writes to the state. It holds one read transaction while the database is copied, so
a run goes on beside it, and its write-ahead log grows until then.
"""

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

from upswell import disk
from upswell.errors import StorageError, UsageError
from upswell.filesystem import (
    create_file,
    directory,
    faults,
    list_names,
    masked,
    read_file,
)
from upswell.names import parse_rejects
from upswell.privacy import escape
from upswell.schema import DATABASE, open_reader, storage_errors
from upswell.sink import IDENTITY, STAGING
from upswell.view import View

REJECTS = "rejects"
_PARTIAL = ".partial"


class Backup(NamedTuple):
    """What a copy holds."""

    last_batch: int
    """0 before the first commit."""
    committed_at: str
    """Of that batch: UTC, ISO 8601; "" before the first."""
    bytes: int
    """Of the database and the reject files."""


def back_up(state_dir: Path, target: Path) -> Backup:
    """Copy the state to ``target``, which must not be there and whose parent must; durable when it returns.

    A crash leaves ``target`` with ``.partial`` at its end, which says that it is none, and may be removed.

    Raises UsageError when ``target`` is there, StorageError when there is no state or the disk fails.
    """
    partial = target.with_name(target.name + _PARTIAL)
    for path in (target, partial):
        if os.path.lexists(path):
            raise UsageError(
                f"{escape(str(path))} is there already",
                "name a directory that is not, or remove it",
            )
    with (
        closing(open_reader(state_dir)) as source,
        faults(target, StorageError, "name a place whose parent is there, with enough room"),
    ):
        with masked(0o077):
            disk.mkdir(partial, 0o700)
            with closing(_copy_database(source, partial)) as view:
                meta, last = view.meta(), view.last()
            number = last.number if last else 0
            with directory(partial) as fd:
                if "output_id" in meta:
                    create_file(IDENTITY, fd, f"{meta['output_id']}\n".encode(), 0o600)
                # As in OUTPUT: nothing that waits to be published is in it, since only OUTPUT knows of that.
                disk.mkdir(STAGING, 0o700, dir_fd=fd)
                copied = _copy_rejects(state_dir / REJECTS, fd, number)
                disk.fsync(fd)
        size = (partial / DATABASE).stat().st_size
        with directory(target.absolute().parent) as fd:
            disk.rename_new(partial.name, fd, target.name, fd)
            disk.fsync(fd)
    return Backup(number, last.committed_at if last else "", size + copied)


def _copy_database(source: sqlite3.Connection, place: Path) -> View:
    """Copy the database as of now; a view of the copy."""
    path = place / DATABASE
    with storage_errors(path):
        with directory(place) as fd:
            create_file(DATABASE, fd, b"", 0o600)
        copy = sqlite3.connect(path, isolation_level=None)
        try:
            source.backup(copy)
            with directory(place) as fd:
                synced = disk.open(DATABASE, os.O_RDONLY, dir_fd=fd)
                disk.fsync(synced)
                disk.close(synced)
        except BaseException:
            copy.close()
            raise
    return View(place, copy)


def _copy_rejects(source: Path, target_fd: int, last_batch: int) -> int:
    """Copy the reject files up to this batch, those that are still there; their bytes."""
    copied = 0
    with suppress(FileNotFoundError), directory(source) as source_fd:
        disk.mkdir(REJECTS, 0o700, dir_fd=target_fd)
        with directory(REJECTS, target_fd) as fd:
            for name in list_names(source_fd):
                if not 0 < (parse_rejects(name) or 0) <= last_batch:
                    continue
                with suppress(FileNotFoundError):  # a run may just have found it to be too old
                    content = read_file(name, source_fd)
                    create_file(name, fd, content, 0o600)
                    copied += len(content)
            disk.fsync(fd)
    return copied
