"""Moves finished input files out of DATA into the archive, under the day of their stamp. It never copies one.

Owns the order of a move, and what the state says of it. Only files of which everything is committed and published are
moved, and never onto a name that is taken. The row of a file says *moving* before it moves and where it arrived after
it did, so a crash at any point leaves a file in exactly one of two places, and the next start finds out in which. A run
reads nothing from the archive: a file that grew on its way there, or later, is reported and needs manual action.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from stat import S_ISREG
from typing import Self

from upswell.config.settings import Settings
from upswell.engine.archive_directory import make_directory, open_archive
from upswell.errors import StorageError
from upswell.privacy import escape
from upswell.source.file import File
from upswell.source.inventory import FINISHED
from upswell.source.listing import Stat, archived_in, counterpart_of, stat_regular
from upswell.state.checkpoint import Checkpoint
from upswell.state.queries.archived import archive_states, newest_archived, pending_archive
from upswell.state.queries.files import file_standings
from upswell.state.reader import StateReader
from upswell.state.rows import Archived
from upswell.storage import syscalls
from upswell.storage.files import (
    RECOVERS,
    directory,
    sync_directory,
    translate_os_errors,
)

FILES_MAX = 50  # of one call: milliseconds and a few syncs, for which a notification may wait
RETRY_S = 60.0  # after a move that failed: a mode or a mount is not repaired sooner
RECHECK_S = 60.0  # at least, between two checks of the archive: who has repaired it waits for one
RECHECK_MAX = 1000  # of the held and of the newest files, each check: sixteen hours of one a minute
_ACTIONS: Mapping[Archived | None, str] = {
    "grew": "it grew or changed on its way to the archive or in it: move it back to DATA, and the rest of it is read",
    "taken": "the archive has a file of that name, so it stays in DATA: compare the two, and remove one of them",
}
"""By state of a held file: what is wrong with it, and what to do."""
Finished = Callable[[float, Mapping[str, Stat]], Iterable[tuple[str, Stat]]]


class Archive:
    """The archive of one DATA, for one run. For the run's own thread."""

    def __init__(
        self, data: Path, archive: Path, unchanged_s: float, checkpoint: Checkpoint
    ) -> None:
        self.data = Path(syscalls.realpath(data))
        self.path = Path(syscalls.realpath(archive))
        self._paths = list(dict.fromkeys([self.path, *checkpoint.reader.identity().archives]))
        """This run's archive, then those of earlier runs."""
        self.unchanged_s = unchanged_s
        """A file that was unchanged for so long may be moved."""
        self._checkpoint = checkpoint
        self._reader = checkpoint.reader
        self._due: deque[tuple[str, Stat]] = deque()
        self._scans = 0
        """The scan of DATA after which files were last asked for."""
        self._retry_at = 0.0
        self._left: dict[str, Stat] = {}
        """Files that stay in DATA because their names are taken, with their stats then."""
        self._held: set[str] = set()
        self._failed = 0
        """Files that the last call with any could not move."""
        self._recheck: deque[str] = deque()
        """The rest of a check, which takes several calls."""
        self._recheck_at = 0.0
        self._recheck_after = ""
        """The last held file of the check before, which had more of them than fit; "": it had all."""

    @classmethod
    def open(cls, settings: Settings, checkpoint: Checkpoint) -> Self | None:
        """Return the archive of these settings, made and tried out; None when they have none.

        Raises:
            ConfigError, OutputUnwritable, StorageError: as ``open_archive``.
        """
        if settings.archive is None:
            return None
        open_archive(settings)
        return cls(settings.data, settings.archive, settings.archive_after_s, checkpoint)

    def recover(self, now: float) -> list[str]:
        """Finish what a crash cut off; call it at a start, before the first scan.

        Returns a sentence for each kind of held files. ``now``: seconds since the epoch.
        """
        self._recheck_at = now + RECHECK_S
        rows = pending_archive(self._reader) | newest_archived(self._reader, RECHECK_MAX)
        return list(_sentences(self._settle(rows)))

    def _check_some(self, now: float) -> list[str]:
        """Check some files of the archive: a writer may still append to them, or somebody may have repaired one.

        A check takes several calls for FILES_MAX files each, so that no notification waits for all of it.
        Returns sentences about what is new.
        """
        if not self._recheck and not now < self._recheck_at <= now + RECHECK_S:
            self._recheck_at = now + RECHECK_S
            held = pending_archive(self._reader, RECHECK_MAX, self._recheck_after)
            self._recheck_after = list(held)[-1] if len(held) == RECHECK_MAX else ""
            self._recheck.extend(held | newest_archived(self._reader, RECHECK_MAX))
        names = [self._recheck.popleft() for _ in range(min(FILES_MAX, len(self._recheck)))]
        # As the rows are now: a move may have found something out since the check began.
        some = archive_states(self._reader, names) if names else {}
        found = self._settle(some)
        return list(_sentences({name: found[name] for name in found if found[name] != some[name]}))

    def _settle(self, rows: Mapping[str, Archived]) -> dict[str, Archived | None]:
        """Correct these rows to match the disk; return the new state of each file, None for one that needs no row."""
        if not rows:
            return {}
        files = self._reader.files(rows)  # fewer perhaps: a row may have been forgotten since
        found = {name: self._state_on_disk(file, rows[name]) for name, file in files.items()}
        news = {name: state for name, state in found.items() if state != rows[name]}
        if news:
            for older in {archived_in(at, name).parent for at in self._paths[1:] for name in news}:
                # An older archive may be away, or broken. The run moves nothing there, so it goes on.
                with suppress(OSError):
                    sync_directory(older)
            self._sync({archived_in(self.path, name).parent for name in news})
            self._checkpoint.save_archived(news)
        self._note(found)
        for name, file in files.items():
            if found[name] == "taken":
                self._left[name] = Stat(file.size, file.mtime_ns, file.inode)
            else:
                self._left.pop(name, None)
        return found

    def _state_on_disk(self, file: File, state: Archived) -> Archived | None:
        """Find out where a file is whose move may have been cut off, or that somebody may have moved since."""
        try:
            here = stat_regular(os.fsencode(self.data / file.name))
            today = stat_regular(os.fsencode(archived_in(self.path, file.name)))
        except OSError:
            return state  # nothing new is known
        unmoved = state == "moving" and here is not None and here.inode == file.inode
        if state == "taken" or unmoved:
            # Only the archive that the file would move to can have its name taken.
            return None if today is None else "moved" if here is None else "taken"
        older, is_all_seen = _find(file.name, self._paths[1:])
        there = today or older
        if state == "moved":
            # The archive's owner may pack or remove it, and DATA may have another file of the name. A compressed file
            # that is longer may be the same content, packed again.
            longer = there is not None and there.size > file.size and not file.compressed
            return "grew" if longer and file.state in FINISHED else "moved"
        if there is not None:
            same = (there.size, there.mtime_ns) == (file.size, file.mtime_ns)
            return "moved" if same else "grew"
        # Back in DATA, or deleted, it needs no action. While it is packed, or cannot be seen, nothing is known.
        unseen = not is_all_seen or (state == "grew" and self._is_packed(file.name))
        return state if here is None and unseen else None

    def _is_packed(self, name: str) -> bool:
        """Return whether an archive may have the file in its other form, packed or unpacked.

        A file of that name that was in DATA itself is not that form.
        """
        other = counterpart_of(name)
        found, is_all_seen = _find(other, self._paths)
        may_be_there = found is not None or not is_all_seen
        return may_be_there and not file_standings(self._reader, [other])

    def move_due(self, finished: Finished, scans: int, now: float) -> list[str]:
        """Move some files, if any are due, and return a sentence for each thing that somebody should act on.

        Call it between two batches only. A crash leaves each file in DATA or in the archive, and its row says *moving*
        unless it says which. A row changes nothing of what is read, so DATA and the archive are right in any case.

        Args:
            finished: returns the files that need nothing and were unchanged for so many seconds, with their stats,
                except those whose stats are as in the mapping.
            scans: the number of the last scan of DATA; due files are asked for once after each.
            now: seconds since the epoch.

        Raises:
            StorageError: a sync failed.
        """
        sentences = self._check_some(now)
        if now < self._retry_at <= now + RETRY_S:
            return sentences
        if not self._due and scans != self._scans:
            self._scans = scans
            self._due.extend(finished(self.unchanged_s, self._left))
            if not self._due:
                self._failed = 0  # what could not be moved has gone, or is no longer finished
        if not self._due:
            return sentences
        some = dict(self._due.popleft() for _ in range(min(FILES_MAX, len(self._due))))
        try:
            return sentences + self._move(some)
        except OSError as error:
            self._due.clear()
            self._retry_at = now + RETRY_S
            place = escape(str(error.filename or self.path))
            return [
                *sentences,
                f"files cannot be archived ({place}: {error.strerror}): repair it; it is tried again",
            ]

    @property
    def is_due(self) -> bool:
        """True when another call would move something."""
        return bool(self._due)

    @property
    def held_files(self) -> int:
        """The number of finished files that need manual action before they can be archived, as far as is known."""
        return len(self._held) + self._failed

    def _note(self, found: Mapping[str, Archived | None]) -> None:
        self._held -= found.keys()
        self._held |= {name for name, state in found.items() if state in _ACTIONS}

    def _move(self, some: dict[str, Stat]) -> list[str]:
        self._checkpoint.save_archived(dict.fromkeys(some, "moving"))
        found: dict[str, Archived | None] = dict.fromkeys(some)
        days: dict[Path, int] = {}
        try:
            with ExitStack() as stack:
                data_fd = stack.enter_context(directory(self.data))
                for name, seen in some.items():
                    target = archived_in(self.path, name)
                    if target.parent not in days:
                        make_directory(target.parent, like=self.data)
                        days[target.parent] = stack.enter_context(directory(target.parent))
                    found[name] = "moving"  # an error may come after the move as well as before it
                    found[name] = self._move_one(name, seen, data_fd, days[target.parent])
        finally:
            self._sync(days)
            self._checkpoint.save_archived(found)
            self._note(found)
            self._failed = sum(state in ("moving", None) for state in found.values())
        self._failed = 0
        self._left |= {name: some[name] for name, state in found.items() if state == "taken"}
        return list(_sentences(found))

    def _move_one(self, name: str, seen: Stat, data_fd: int, day_fd: int) -> Archived | None:
        if _stat_in(data_fd, name) != seen:
            return None  # the next scan will see why
        try:
            syscalls.rename_new(name, data_fd, name, day_fd)
        except FileExistsError:
            return "taken"
        except FileNotFoundError:
            return None
        return "moved" if _stat_in(day_fd, name) == seen else "grew"

    def _sync(self, touched: Iterable[Path]) -> None:
        # The archive comes first: so not even a file system that moves in two steps can lose a file.
        for path in (*touched, self.data):
            with translate_os_errors(path, StorageError, RECOVERS), suppress(FileNotFoundError):
                sync_directory(path)


def _stat_in(fd: int, name: str) -> Stat | None:
    """Return the stat of a regular file in an open directory; None when there is none of that name."""
    try:
        found = syscalls.stat(name, dir_fd=fd, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return Stat(found.st_size, found.st_mtime_ns, found.st_ino) if S_ISREG(found.st_mode) else None


def _find(name: str, archives: Iterable[Path]) -> tuple[Stat | None, bool]:
    """Return the stat of a file in the first archive that has it, and whether all archives before could be asked."""
    is_all_seen = True
    for archive in archives:
        try:
            found = stat_regular(os.fsencode(archived_in(archive, name)))
        except OSError:
            is_all_seen = False
            continue
        if found is not None:
            return found, is_all_seen
    return None, is_all_seen


def held(reader: StateReader) -> dict[str, str]:
    """Return by name the finished files that need manual action before they can be archived, with what to do."""
    return {
        name: _ACTIONS[state]
        for name, state in pending_archive(reader).items()
        if state in _ACTIONS
    }


def _sentences(found: Mapping[str, Archived | None]) -> Iterator[str]:
    for state, words in _ACTIONS.items():
        names = [name for name, each in found.items() if each == state]
        if names:
            more = f" and {len(names) - 1:,} more" if len(names) > 1 else ""
            yield f"{escape(names[0])}{more}: {words}"
