"""Finished input leaves DATA: each file is moved into the archive, under the day of its stamp, and never copied.

Owns the archive directory and the order of a move. It moves only files of which everything is committed and published,
and never onto a name that is there. The state says of a file that it is *moving* before it moves and where it arrived
after it did, so a crash at any point leaves a file in exactly one of two places, and the next start finds out in which.
A run reads nothing from the archive: a file that grew on its way there, or later, is told, and waits for a hand.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from stat import S_IMODE, S_ISREG
from typing import Self

from upswell.config.settings import Settings
from upswell.errors import ConfigError, OutputUnwritable, StorageError
from upswell.privacy import escape
from upswell.source.file import File
from upswell.source.inventory import FINISHED
from upswell.source.listing import Stat, archived_in, counterpart_of, stat_regular
from upswell.state.checkpoint import Checkpoint
from upswell.state.queries.archived import archive_states, newest_archived, pending_archive
from upswell.state.queries.files import file_standings
from upswell.state.reader import StateReader
from upswell.state.rows import Archived, archives
from upswell.storage import syscalls
from upswell.storage.files import (
    RECOVERS,
    directory,
    set_mode_and_group,
    sync_directory,
    translate_os_errors,
)
from upswell.storage.mounts import Mount, list_mounts, mount_of

FILES_MAX = (
    50  # of one turn: five milliseconds and a few syncs, which a notification may have to wait for
)
RETRY_S = 60.0  # after a move that failed: a mode or a mount is not mended sooner
AGAIN_S = 60.0  # at least, between two looks at the archive: somebody waits who has mended it
AGAIN_MAX = 1000  # of the held and of the newest files, each look: sixteen hours of one a minute
_PROBES = (".probe.1", ".probe.2")
_WORDS: Mapping[Archived | None, str] = {
    "grew": "it grew or changed on its way to the archive or in it: move it back to DATA, and the rest of it is read",
    "taken": "the archive has a file of that name, so it stays in DATA: compare the two, and remove one of them",
}
"""What somebody must do."""
Finished = Callable[[float, Mapping[str, Stat]], Iterable[tuple[str, Stat]]]


class Archive:
    """The archive of one DATA, for one run."""

    def __init__(self, data: Path, archive: Path, still_s: float, checkpoint: Checkpoint) -> None:
        self.data = Path(syscalls.realpath(data))
        self.path = Path(syscalls.realpath(archive))
        self._places = list(dict.fromkeys([self.path, *archives(checkpoint.meta())]))
        """Also where earlier runs archived; today's first."""
        self.still_s = still_s
        """How long a file must have been still."""
        self._checkpoint = checkpoint
        self._due: deque[tuple[str, Stat]] = deque()
        self._looks = 0
        self._retry_at = 0.0
        self._left: dict[str, Stat] = {}
        """Files that stay in DATA because their names are taken, as they looked then."""
        self._held: set[str] = set()
        self._failed = 0
        """Files that the last turn with any could not move."""
        self._again: deque[str] = deque()
        """What is left of a look; it takes some turns."""
        self._again_at = 0.0
        self._again_after = ""
        """The last of those that wait for a hand of which the look before had too many; "": it had all."""

    @classmethod
    def open(cls, settings: Settings, checkpoint: Checkpoint) -> Self | None:
        """The archive of these settings, made when missing (its parent must exist) and tried out; None without one.

        Raises:
            ConfigError: it lies within DATA, OUTPUT or the state, or they in it, or on another file system than DATA.
            OutputUnwritable: it, or DATA, cannot be written, or the file system cannot move without overwriting.
            StorageError: its disk is full.
        """
        if settings.archive is None:
            return None
        check_place(settings)
        archive = cls(settings.data, settings.archive, settings.archive_after_s, checkpoint)
        with translate_os_errors(
            settings.archive,
            OutputUnwritable,
            "the archive and DATA must be writable, on a file system that renames without overwriting",
        ):
            archive._try_out()
        return archive

    def _try_out(self) -> None:
        """Find out now, not when the first file is finished, whether files can be moved."""
        self._make(self.path)
        with directory(self.path) as fd:
            for name in _PROBES:
                with suppress(FileNotFoundError):
                    syscalls.unlink(name, dir_fd=fd)
            syscalls.close(
                syscalls.open(_PROBES[0], os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=fd)
            )
            syscalls.rename_new(_PROBES[0], fd, _PROBES[1], fd)
            syscalls.unlink(_PROBES[1], dir_fd=fd)
            syscalls.fsync(fd)
        if not syscalls.access(self.data, os.W_OK | os.X_OK, effective_ids=True):
            raise PermissionError(1, "files cannot be moved out of it by this user", str(self.data))
        sync_directory(self.data)

    def recover(self, now: float) -> list[str]:
        """At a start, before the first look: put right what a crash cut off; a sentence for each file that is held."""
        self._again_at = now + AGAIN_S
        rows = pending_archive(self._checkpoint) | newest_archived(self._checkpoint, AGAIN_MAX)
        return list(_sentences(self._settle(rows)))

    def _look_again(self, now: float) -> list[str]:
        """Look at some of what is in the archive, or should be: a writer may go on there, somebody put it right.

        A look takes some turns: FILES_MAX of its files each, as much as a notification may have to wait for.
        """
        if not self._again and not now < self._again_at <= now + AGAIN_S:
            self._again_at = now + AGAIN_S
            waiting = pending_archive(self._checkpoint, AGAIN_MAX, self._again_after)
            self._again_after = list(waiting)[-1] if len(waiting) == AGAIN_MAX else ""
            self._again.extend(waiting | newest_archived(self._checkpoint, AGAIN_MAX))
        names = [self._again.popleft() for _ in range(min(FILES_MAX, len(self._again)))]
        # As the rows are now: a move may have found something out since the look began.
        some = archive_states(self._checkpoint, names) if names else {}
        found = self._settle(some)
        return list(_sentences({name: found[name] for name in found if found[name] != some[name]}))

    def _settle(self, rows: Mapping[str, Archived]) -> dict[str, Archived | None]:
        """What these rows should say, by a look at the disk; they say so then."""
        if not rows:
            return {}
        files = self._checkpoint.files(rows)  # fewer perhaps: a row may have been forgotten since
        found = {name: self._state_on_disk(file, rows[name]) for name, file in files.items()}
        news = {name: state for name, state in found.items() if state != rows[name]}
        if news:
            for older in {archived_in(at, name).parent for at in self._places[1:] for name in news}:
                # It may be away, or broken: that ends no run, which moves nothing there.
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
        """Where a file is whose move may have been cut off, or that somebody else's hand may have been on since."""
        try:
            here = stat_regular(os.fsencode(self.data / file.name))
            today = stat_regular(os.fsencode(archived_in(self.path, file.name)))
        except OSError:
            return state  # what cannot be looked at says nothing
        unmoved = state == "moving" and here is not None and here.inode == file.inode
        if state == "taken" or unmoved:
            # Whether a name is taken is asked of the archive that the file would move to.
            return None if today is None else "moved" if here is None else "taken"
        older, looked = _find(file.name, self._places[1:])
        there = today or older
        if state == "moved":
            # It may be packed, or gone: whose it is now is its owner's. In DATA may be another one of the name.
            # A compressed file that is longer may be the same, packed again.
            longer = there is not None and there.size > file.size and not file.compressed
            return "grew" if longer and file.state in FINISHED else "moved"
        if there is not None:
            same = (there.size, there.mtime_ns) == (file.size, file.mtime_ns)
            return "moved" if same else "grew"
        # Back in DATA, or deleted, it waits for nobody; it does while it is packed, or where nobody can look.
        unseen = not looked or (state == "grew" and self._is_packed(file.name))
        return state if here is None and unseen else None

    def _is_packed(self, name: str) -> bool:
        """Whether an archive may have it packed, or unpacked; what has that name as a file of its own is not it."""
        twin = counterpart_of(name)
        found, looked = _find(twin, self._places)
        return (found is not None or not looked) and not file_standings(self._checkpoint, [twin])

    def turn(self, finished: Finished, looks: int, now: float) -> list[str]:
        """Move some files, if any are due; a sentence for each thing that somebody must hear of.

        Between two batches only. A crash leaves each file in DATA or in the archive, and its row says *moving* unless
        it says which. A row changes nothing of what is read, so DATA and the archive are right in any case.

        Args:
            finished: gives the files that need nothing and were still for so many seconds, with their stats, but for
                those that look as they do in the mapping.
            looks: the number of the last look: what is due is asked for once after each.
            now: seconds since the epoch.

        Raises StorageError when a sync fails.
        """
        heard = self._look_again(now)
        if now < self._retry_at <= now + RETRY_S:
            return heard
        if not self._due and looks != self._looks:
            self._looks = looks
            self._due.extend(finished(self.still_s, self._left))
            if not self._due:
                self._failed = 0  # what could not be moved has gone, or is not finished any more
        if not self._due:
            return heard
        some = dict(self._due.popleft() for _ in range(min(FILES_MAX, len(self._due))))
        try:
            return heard + self._move(some)
        except OSError as error:
            self._due.clear()
            self._retry_at = now + RETRY_S
            place = escape(str(error.filename or self.path))
            return [
                *heard,
                f"files cannot be archived ({place}: {error.strerror}): see to it; it is tried again",
            ]

    @property
    def is_due(self) -> bool:
        """Whether another turn would move something."""
        return bool(self._due)

    @property
    def held_files(self) -> int:
        """Finished files that need somebody's hand on their way, as far as this run knows."""
        return len(self._held) + self._failed

    def _note(self, found: Mapping[str, Archived | None]) -> None:
        self._held -= found.keys()
        self._held |= {name for name, state in found.items() if state in _WORDS}

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
                        self._make(target.parent)
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
        if _look_in(data_fd, name) != seen:
            return None  # the next look will see why
        try:
            syscalls.rename_new(name, data_fd, name, day_fd)
        except FileExistsError:
            return "taken"
        except FileNotFoundError:
            return None
        return "moved" if _look_in(day_fd, name) == seen else "grew"

    def _make(self, path: Path) -> None:
        """Make a directory as open as DATA is; durable then."""
        with suppress(FileExistsError):
            syscalls.mkdir(path, 0o700)
            set_mode_and_group(path, S_IMODE(syscalls.stat(self.data).st_mode) & 0o777)
            sync_directory(path.parent)

    def _sync(self, touched: Iterable[Path]) -> None:
        # The archive first: then not even a file system that moves in two steps can lose a file.
        for path in (*touched, self.data):
            with translate_os_errors(path, StorageError, RECOVERS), suppress(FileNotFoundError):
                sync_directory(path)


def check_place(settings: Settings) -> None:
    """Raise ConfigError when the archive's place cannot be one. Without an archive nothing is wrong."""
    if settings.archive is None:
        return
    told = f"{settings.origins.get('archive', 'archive')}: {escape(str(settings.archive))}"
    archive = Path(syscalls.realpath(settings.archive))
    for name, path in (
        ("DATA", settings.data),
        ("SEGMENT", settings.segment),
        ("RULES", settings.rules),
        *([("SUPPRESS", settings.suppress)] if settings.suppress else []),
        ("OUTPUT", settings.output),
        ("the state", settings.state_dir),
    ):
        real = Path(syscalls.realpath(path))
        if archive.is_relative_to(real) or real.is_relative_to(archive):
            raise ConfigError(
                f"{told} and {name} ({escape(str(path))}) lie within each other",
                "name a directory beside DATA, on the same file system",
            )
    place = archive if archive.exists() else archive.parent
    if not place.is_dir():
        raise ConfigError(f"{told}: neither it nor its parent is a directory", "create its parent")
    mounted = list_mounts()
    if _file_system(place, mounted) != _file_system(
        Path(syscalls.realpath(settings.data)), mounted
    ):
        raise ConfigError(
            f"{told} is on another file system than DATA, so files cannot be moved there in one step",
            "name a directory on DATA's file system; copy from there to wherever they are to be kept",
        )


def _look_in(fd: int, name: str) -> Stat | None:
    """The stat of a regular file in an open directory; None when there is none of that name."""
    try:
        found = syscalls.stat(name, dir_fd=fd, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return Stat(found.st_size, found.st_mtime_ns, found.st_ino) if S_ISREG(found.st_mode) else None


def _file_system(path: Path, mounted: list[Mount]) -> tuple[int, object]:
    # Two mounts of one device have one number, and no rename goes from one to the other.
    return syscalls.stat(path).st_dev, mount_of(path, mounted)


def _find(name: str, places: Iterable[Path]) -> tuple[Stat | None, bool]:
    """What the first of these archives that has a file says of it, and whether all that were asked could be."""
    looked = True
    for place in places:
        try:
            found = stat_regular(os.fsencode(archived_in(place, name)))
        except OSError:
            looked = False
            continue
        if found is not None:
            return found, looked
    return None, looked


def held(reader: StateReader) -> dict[str, str]:
    """By name, the finished files that need somebody's hand on their way, with what to do."""
    return {
        name: _WORDS[state] for name, state in pending_archive(reader).items() if state in _WORDS
    }


def _sentences(found: Mapping[str, Archived | None]) -> Iterator[str]:
    for state, words in _WORDS.items():
        names = [name for name, each in found.items() if each == state]
        if names:
            more = f" and {len(names) - 1:,} more" if len(names) > 1 else ""
            yield f"{escape(names[0])}{more}: {words}"
