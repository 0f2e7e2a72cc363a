"""Copies a state so that the copy can take its place: while a run writes it or not, and whole or not at all.

Owns what belongs to a copy: the database as of one moment, the files of its ledger when that is in files, the reject
files of its batches, and of its OUTPUT the identity and how far publication has come. It never writes to the state. It
holds one read transaction while the database is copied, so a run goes on beside it, and the write-ahead log grows until
then.
"""

import os
import sqlite3
import stat
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

from upswell.errors import StorageError, UsageError
from upswell.output.marks import begun_in
from upswell.output.names import IDENTITY, STAGING, begun_name, parse_rejects, parse_staged
from upswell.privacy import escape
from upswell.state import ledger_directory
from upswell.state.connection import DATABASE, damaged, open_reader, openable_path, storage_errors
from upswell.state.identity import StateIdentity
from upswell.state.ledger import committed_shard_files
from upswell.state.reader import StateReader
from upswell.state.rows import CommittedBatch
from upswell.state.shard_files import DamagedShard, ShardFile, shard_content
from upswell.storage import syscalls
from upswell.storage.files import (
    create_file,
    directory,
    list_names,
    read_file,
    remove_files,
    translate_os_errors,
    umask,
)
from upswell.storage.lock import holder

REJECTS = "rejects"
_COPIES_MAX = 20  # of the database: each time fewer files are new
_PARTIAL = ".partial"
_PUBLICATION_S = 30  # a run publishes a batch within it, on a slow disk
_PAUSE_S = 0.02


class Backup(NamedTuple):
    """The contents of a copy."""

    last_batch: int
    """0 before the first commit."""
    committed_at: str
    """Of that batch: UTC, ISO 8601; "" before the first."""
    bytes: int
    """Of the database, the ledger's files and the reject files."""


def back_up(state_dir: Path, target: Path) -> Backup:
    """Copy the state to ``target``, a new directory in a parent that exists; the copy is durable on return.

    A crash leaves ``target`` with the suffix ``.partial``, which is not a state and may be removed.

    Raises:
        UsageError: ``target`` exists.
        InputMissing: there is no state.
        ConfigError: the path of ``target`` is too long.
        StorageError: a file of its ledger is damaged, or the disk fails.
    """
    partial = target.with_name(target.name + _PARTIAL)
    openable_path(partial / DATABASE)
    for path in (target, partial):
        if os.path.lexists(path):
            raise UsageError(
                f"{escape(str(path))} already exists",
                "name a new directory, or remove this one",
            )
    with (
        closing(open_reader(state_dir)) as source,
        translate_os_errors(
            target, StorageError, "name a directory whose parent exists, on a disk with enough room"
        ),
    ):
        with umask(0o077):
            syscalls.mkdir(partial, 0o700)
            with directory(partial) as fd:
                create_file(DATABASE, fd, b"", 0o600)
            identity, last, ledger_bytes = copy_ledger(source, state_dir, partial)
            number = last.number if last else 0
            with directory(partial) as fd:
                if identity.output_id is not None:
                    create_file(IDENTITY, fd, f"{identity.output_id}\n".encode(), 0o600)
                _copy_publication(state_dir, identity, number or identity.first_batch - 1, fd)
                copied = copy_rejects(state_dir / REJECTS, fd, number)
                syscalls.fsync(fd)
        size = (partial / DATABASE).stat().st_size + ledger_bytes
        with directory(target.absolute().parent) as fd:
            syscalls.rename_new(partial.name, fd, target.name, fd)
            syscalls.fsync(fd)
    return Backup(number, last.committed_at if last else "", size + copied)


def copy_ledger(
    source: sqlite3.Connection, state_dir: Path, place: Path, name: str = DATABASE
) -> tuple[StateIdentity, CommittedBatch | None, int]:
    """Copy the database and the files that it names; return its identity, its last batch and the bytes of the files.

    A run may replace files before they are copied: then the database is copied again, and the files that are new.
    """
    ledger_dir = place / ledger_directory.DIRECTORY
    copies = 0
    while True:
        copies += 1
        with closing(_copy_database(source, place, name)) as reader:
            identity, last, files = reader.identity(), reader.last(), committed_shard_files(reader)
        if not files:
            return identity, last, 0
        try:
            _copy_shard_files(state_dir / ledger_directory.DIRECTORY, ledger_dir, files)
        except FileNotFoundError as error:
            if copies == _COPIES_MAX:
                raise StorageError(
                    f"{escape(str(error.filename))} is missing, or the run replaces the ledger's files faster than"
                    " they can be copied",
                    "run: upswell state verify; if the state is sound, stop the run and try again",
                ) from error
            continue
        except DamagedShard as error:
            raise damaged(state_dir / DATABASE, f"the ledger: {error}") from error
        ledger_directory.sweep(ledger_dir, {file.name for file in files})
        return identity, last, sum(file.bytes for file in files)


def _copy_shard_files(source: Path, target: Path, files: Sequence[ShardFile]) -> None:
    """Copy the files that are not copied yet. Raises FileNotFoundError when one is missing, and DamagedShard."""
    ledger_directory.make(target)
    with directory(source) as source_fd, directory(target) as fd:
        known = set(list_names(fd))
        for file in files:
            if file.name not in known:
                create_file(file.name, fd, shard_content(file, source_fd), 0o600)
        syscalls.fsync(fd)


def _copy_database(source: sqlite3.Connection, place: Path, name: str) -> StateReader:
    """Copy the database as of now over an earlier copy; return a reader of the copy."""
    path = place / name
    with storage_errors(path):
        copy = sqlite3.connect(openable_path(path), isolation_level=None)
        try:
            source.backup(copy)
            with directory(place) as fd:
                synced = syscalls.open(name, os.O_RDONLY, dir_fd=fd)
                syscalls.fsync(synced)
                syscalls.close(synced)
        except BaseException:
            copy.close()
            raise
    return StateReader(place, copy)


def _copy_publication(state_dir: Path, identity: StateIdentity, last: int, target_fd: int) -> None:
    """Copy OUTPUT's mark, and of a batch that is published in part its staged files.

    A batch of which nothing was published needs no more than the mark: recovery makes its files from the rows.
    """
    syscalls.mkdir(STAGING, 0o700, dir_fd=target_fd)
    own = identity.own_directory(state_dir)
    if own is None or not own.is_dir():
        return
    until = time.monotonic() + _PUBLICATION_S
    with directory(STAGING, target_fd) as fd:
        while True:
            begun, staged = found = _publication(own, last)
            if staged and holder(state_dir) is not None:
                # A run is about to publish them: copied now, they would be sent again by whoever restores the copy.
                if time.monotonic() > until:
                    raise StorageError(
                        f"the run has been publishing batch {last} for {_PUBLICATION_S} s",
                        "stop it, and try again",
                    )
                time.sleep(_PAUSE_S)
                continue
            kept = staged if begun == last else []
            with suppress(FileNotFoundError), directory(own / STAGING) as source_fd:
                for name in kept:
                    mode = stat.S_IMODE(syscalls.stat(name, dir_fd=source_fd).st_mode)
                    create_file(name, fd, read_file(name, source_fd), mode)
            if found == _publication(own, last):
                break
            remove_files(kept, fd)  # a run has just begun or ended
    if begun is not None:
        create_file(begun_name(begun), target_fd, b"", 0o600)


def _publication(own: Path, last: int) -> tuple[int | None, list[str]]:
    """Return the highest batch up to ``last`` that was begun to be published, and the names that are still staged."""
    names: list[str] = []
    with suppress(FileNotFoundError), directory(own / STAGING) as fd:
        names = list_names(fd)
    begun = begun_in(own)
    staged = [name for name in names if (parsed := parse_staged(name)) and parsed.batch <= last]
    return begun if begun is None else min(begun, last), staged


def copy_rejects(source: Path, target_fd: int, last_batch: int) -> int:
    """Copy the reject files up to this batch that still exist; return their bytes."""
    copied = 0
    with suppress(FileNotFoundError), directory(source) as source_fd:
        with suppress(FileExistsError):
            syscalls.mkdir(REJECTS, 0o700, dir_fd=target_fd)
        with directory(REJECTS, target_fd) as fd:
            for name in list_names(source_fd):
                if not 0 < (parse_rejects(name) or 0) <= last_batch:
                    continue
                with suppress(FileNotFoundError):  # a run may just have removed it by its age
                    content = read_file(name, source_fd)
                    create_file(name, fd, content, 0o600)
                    copied += len(content)
            syscalls.fsync(fd)
    return copied
