"""Moves a state to another directory, for the OUTPUT that it has: whole there, or still here, never usable in both.

Owns the order of a move. OUTPUT is not touched: its identity, its marks and what waits to be published stay where they
are, and the state finds them there. The state is copied, its old directory is closed by a note of where it went, its
database gets its name in the new directory, and then the old one is emptied. Killed anywhere, the same again completes
it; until then a run over either directory is refused.
"""

import os
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from pathlib import Path

from upswell.errors import ConfigError, Locked, OutputUnwritable, StorageError, UsageError
from upswell.output.reject_files import Rejects
from upswell.privacy import escape
from upswell.state import ledger_directory
from upswell.state.connection import (
    DATABASE,
    MOVED,
    MOVING,
    Departure,
    connect,
    departure,
    open_reader,
    storage_errors,
)
from upswell.state.directory import make_directory
from upswell.state.identity import read_identity, write_identity
from upswell.state.maintenance.backup import REJECTS, copy_ledger, copy_rejects
from upswell.state.maintenance.transfer import Moved, put_name, refuse_other, unfinished
from upswell.state.reader import StateReader
from upswell.state.seal import seal_anew
from upswell.storage import syscalls
from upswell.storage.files import (
    RECOVERS,
    create_file,
    directory,
    list_names,
    read_file,
    remove_files,
    translate_os_errors,
    umask,
)
from upswell.storage.lock import LOCK_NAME, lock
from upswell.storage.mounts import refuse_network

_BESIDE = ("runs.jsonl",)
"""Files of a state that go with it, on which nothing depends."""


def move_state(state_dir: Path, target: Path) -> Moved:
    """Move the state to ``target``, made when missing; durable when this returns.

    A crash leaves the state where it was, or two directories that a run refuses until the same is called again.

    Raises:
        UsageError: it is there already.
        ConfigError: ``target`` has a state, or parts of one, or the state is being moved to another place.
        Locked: a run holds one of them.
        StorageError: there is no state, it is damaged, or the disk failed.
        OutputUnwritable: ``target`` cannot be made.
    """
    if syscalls.realpath(state_dir) == syscalls.realpath(target):
        raise UsageError(f"the state is in {escape(str(target))}", "name another directory")
    gone = departure(state_dir)
    if gone is None:
        open_reader(state_dir).close()  # or a lock and a directory would be made for no state
    elif syscalls.realpath(gone.target) != syscalls.realpath(target):
        raise ConfigError(
            f"the state of {escape(str(state_dir))} was moved to {escape(gone.target)}",
            "name that directory to complete the move; to move it on, name it with --state",
        )
    make_directory(target)
    refuse_network(target, "the state directory", OutputUnwritable)
    with ExitStack() as locks, umask(0o077):
        for place in (state_dir, target):
            with translate_os_errors(place, StorageError, RECOVERS):
                fd = lock(place / LOCK_NAME, f"the state {escape(str(place))}")
            locks.callback(syscalls.close, fd)
        if departure(state_dir) != gone:
            raise Locked(
                f"another process is moving the state of {escape(str(state_dir))}", "wait for it"
            )
        if gone is None or not _has_arrived(gone, target):
            if gone is not None:
                _remove(state_dir, [MOVED])
            _copy(state_dir, target)
            with StateReader.open(state_dir) as reader:
                state_id = reader.identity().state_id
            _put_note(state_dir, state_id, target)
            _remove(target, [MOVED])
            put_name(target / MOVING, target / DATABASE)
        _empty(state_dir)
    with StateReader.open(target) as reader:
        rejects = sum(1 for _ in Rejects(target).names())
        return Moved(reader.last_batch(), (target / DATABASE).stat().st_size, rejects)


def _has_arrived(gone: Departure, target: Path) -> bool:
    """Return whether the state that left is whole in its new directory."""
    if not (target / DATABASE).exists():
        return False
    with StateReader.open(target) as reader:
        return reader.identity().state_id == gone.state_id


def _copy(state_dir: Path, target: Path) -> None:
    """Copy all that belongs to the state, over what an earlier attempt left; its database under another name."""
    with translate_os_errors(target, StorageError, RECOVERS), directory(target) as fd:
        refuse_other(target, set(list_names(fd)), MOVING)
        remove_files([MOVING, *_BESIDE], fd)
        create_file(MOVING, fd, b"", 0o600)
        syscalls.fsync(fd)
    rejects = Rejects(target)
    rejects.remove_after(0)
    if (target / ledger_directory.DIRECTORY).is_dir():
        ledger_directory.sweep(target / ledger_directory.DIRECTORY, ())
    with StateReader.open(state_dir) as reader:
        # What a removal of a person left to be put in its place must not be left behind.
        Rejects(state_dir).finish(reader.has_rejects)
    with closing(open_reader(state_dir)) as source:
        identity, last, _ = copy_ledger(source, state_dir, target, MOVING)
    with translate_os_errors(target, StorageError, RECOVERS), directory(target) as fd:
        copy_rejects(state_dir / REJECTS, fd, last.number if last else 0)
        with directory(state_dir) as source_fd:
            for name in _BESIDE:
                with suppress(FileNotFoundError):
                    create_file(name, fd, read_file(name, source_fd), 0o600)
        syscalls.fsync(fd)
    output = identity.output_of(state_dir)
    if identity.begun and output is not None:
        # A state inside its OUTPUT may have been moved with it since its last run.
        half = target / MOVING
        with storage_errors(half), closing(connect(half, "rw")) as db:
            unfinished(db)
            db.execute("BEGIN")
            write_identity(db, read_identity(db), replace(identity, output=output.absolute()))
            seal_anew(db)
            db.execute("COMMIT")


def _put_note(state_dir: Path, state_id: str, target: Path) -> None:
    """Close the old directory, in one step; durable when this returns."""
    new = f"{MOVED}.new"
    way = os.path.relpath(syscalls.realpath(target), syscalls.realpath(state_dir))
    with translate_os_errors(state_dir, StorageError, RECOVERS), directory(state_dir) as fd:
        remove_files([new], fd)
        create_file(new, fd, os.fsencode(f"{state_id} {way}\n"), 0o600)
        syscalls.rename_new(new, fd, MOVED, fd)
        syscalls.fsync(fd)


def _empty(state_dir: Path) -> None:
    """Remove from the old directory what is in the new one; the note stays."""
    _remove(state_dir, [DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm", *_BESIDE])
    Rejects(state_dir).remove_after(0)
    ledger = state_dir / ledger_directory.DIRECTORY
    if ledger.is_dir():
        ledger_directory.sweep(ledger, ())


def _remove(place: Path, names: list[str]) -> None:
    with translate_os_errors(place, StorageError, RECOVERS), directory(place) as fd:
        remove_files(names, fd)
