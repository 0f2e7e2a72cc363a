"""Which files are in DATA: every name of the last look, its row, and the rows that the checkpoint does not have yet.

Owns what a look changes (names that appear, change, leave, or are no DATA files) and the bookkeeping of states. It
opens no file and decides nothing about content. In memory a settled file is its stat alone, so that a directory of a
hundred thousand taken files costs little; a row leaves memory only once the checkpoint is seen to have it.
"""

import os
import stat
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from upswell.source.duplicates import FirstRecords
from upswell.source.file import STATES, File, State
from upswell.source.listing import Stat, look_at, read_name, scan
from upswell.source.tracked_file import NEVER, Entry, Settled

RETRY_S = 60.0  # how often a file held for its stamp or a read error is looked at again
STEP_FILES = 500  # names between two steps of a look: a few milliseconds
FORGET_FILES_MAX = 1000  # rows compared with the checkpoint in one look, so that a look stays short

RETRIED = frozenset(("ahead", "unreadable"))
"""Reasons of held files that the clock or an administrator may cure without touching the file."""
SETTLED: frozenset[State] = frozenset(("done", "duplicate", "skipped"))
FINISHED: frozenset[State] = frozenset(("done", "duplicate"))
UNFINISHED: tuple[State, ...] = ("waiting", "reading", "held")
_NOT_NEWER: frozenset[State] = frozenset(("held", "skipped", "duplicate"))
_IGNORED = {
    "name": "only DATA_yyyyMMddHHmm.csv and DATA_yyyyMMddHHmm.csv.gz are read",
    "stamp": "its name holds no real date and time",
    "not_regular": "it is a link, directory or special file: only regular files are read",
}


@dataclass(slots=True)
class _Found:
    """What a scan has found so far."""

    moved: dict[str, Stat] = field(default_factory=dict)
    """Names that are new or whose stat differs."""
    odd: dict[str, str] = field(default_factory=dict)
    """Names that are no DATA files, with the reason."""


class KnownFiles(Protocol):
    """What is asked of the checkpoint."""

    def files(self, names: Iterable[str]) -> dict[str, File]:
        """The rows of these names; unknown ones are absent."""

    def files_in(self, state: State) -> Iterator[File]:
        """The rows in this state."""

    def find_first_record(self, crc: int) -> list[File]:
        """The rows of files of which something was taken and whose first record has this CRC."""

    def newest_stamp(self) -> str:
        """The newest stamp of the log; "" before the first commit."""


class Roster:
    """The files of one directory, as of the last look."""

    def __init__(self, data: Path, known: KnownFiles, now: float) -> None:
        self.known = known
        self.now = now
        """The moment that all is judged by, in seconds since the epoch: that of the last look."""
        self.looks = 0
        """Looks begun."""
        self.held: dict[str, File] = {}
        """Files in DATA that need somebody's hand."""
        self.active: dict[str, Entry] = {}
        """Files that need something: a decision, to be read, to become done, or a retry."""
        self.away: dict[str, File] = {}
        """Rows of files that left DATA, while the checkpoint may lack them."""
        self.first_records = FirstRecords()
        """Of the files that have an entry."""
        self._data = os.fsencode(data)
        self._seen: dict[str, Entry | Settled] = {}
        self._order: list[str] | None = None
        self._settling: dict[str, Entry] = {}
        """Settled files whose rows the checkpoint may lack."""
        self._ignored: dict[str, File] = {}
        self._untaken_left: set[str] = set()
        self._gone = 0
        self._missed = False
        self._dirty: dict[str, File] = {}

    def look(self, now: float) -> None:
        """Scan the directory once and take in what appeared, changed or left.

        Raises:
            InputMissing: DATA cannot be listed; nothing has changed then, and a later look may go on.
        """
        self.looks += 1
        found = _Found()
        for name, seen in scan(self._data):
            self._compare(found, name, seen)
        self._set_now(now)
        self._take_out()
        self._take_in(found.moved)
        self._ignore(found.odd)
        self._finish_look()

    def look_in_steps(self, clock: Callable[[], float]) -> Iterator[None]:
        """As ``look``, but between two steps of some names ``glance`` and all that follows a look may be called.

        So a new file need not wait for the end of a long scan. What the scan finds is looked at once more at its end:
        what was done meanwhile may be newer than what it saw.
        """
        self.looks += 1
        found = _Found()
        for at, (name, seen) in enumerate(scan(self._data), 1):
            self._compare(found, name, seen)
            if at % STEP_FILES == 0:
                yield
        self._take_out()
        self.glance(found.moved, clock())
        self._ignore({name: why for name, why in found.odd.items() if name not in self._seen})
        self._finish_look()

    def glance(self, names: Iterable[str], now: float) -> None:
        """Look at these names and at the active files alone, each by its own stat.

        It sees no names that are no DATA files: they are left to the next look.
        """
        self._set_now(now)
        moved: dict[str, Stat] = {}
        for name in sorted({*names, *self.active}):
            seen = self._seen.get(name)
            if seen is None and read_name(name)[1]:
                continue
            try:
                found = look_at(self._path(name))
            except OSError:
                continue  # it is not known to be gone, nor to have changed
            if found is None:
                if seen is not None:
                    self._leave(name, seen)
            elif seen is None or (seen.size, seen.mtime_ns, seen.inode) != found:
                moved[name] = found
        self._take_in(moved)
        self._forget()

    def _compare(self, found: "_Found", name: str, shown: os.stat_result) -> None:
        """Take note of a name that a scan shows."""
        seen = self._seen.get(name)
        regular = stat.S_ISREG(shown.st_mode)
        if seen is not None and regular:
            seen.look = self.looks
            if (
                seen.mtime_ns == shown.st_mtime_ns
                and seen.size == shown.st_size
                and seen.inode == shown.st_ino
            ):
                return
        reason = "" if seen is not None else read_name(name)[1]
        if reason or not regular:
            found.odd[name] = reason or "not_regular"
        else:
            found.moved[name] = Stat(shown.st_size, shown.st_mtime_ns, shown.st_ino)

    def _set_now(self, now: float) -> None:
        self.now = now
        for entry in self.active.values():
            # A clock that was set back must not make a file wait until it has caught up.
            entry.since = min(entry.since, now)
            if entry.retry_at > now + RETRY_S:
                entry.retry_at = NEVER

    def _finish_look(self) -> None:
        if not self._missed:
            self._miss()
        self._forget()

    def in_order(self, after: str = "") -> Iterator[Entry]:
        """The active files after this name in arrival order, which is that of names. They may be settled meanwhile."""
        if self._order is None:
            self._order = sorted(self.active)
        for name in self._order[bisect_right(self._order, after) :]:
            entry = self.active.get(name)
            if entry is not None:
                yield entry

    def entry(self, name: str) -> Entry | None:
        """The entry of a file; None when it has none because it is settled, or left."""
        seen = self._seen.get(name)
        return seen if isinstance(seen, Entry) else None

    def newest(self) -> str:
        """The name with the highest stamp, of files that are not ignored, held, skipped or duplicates; "" when none."""
        return max(
            (name for name, seen in self._seen.items() if seen.state not in _NOT_NEWER), default=""
        )

    def counts_as_newer(self, name: str) -> bool:
        """Whether a file is there and not ignored, held, skipped or a duplicate."""
        return name in self._seen and self._seen[name].state not in _NOT_NEWER

    def set(self, entry: Entry, state: State, reason: str = "", detail: str = "") -> None:
        """Put a file into a state; it stays active unless the state says that nothing is left to do."""
        file = entry.file
        if (file.state, file.reason, file.detail) != (state, reason, detail):
            file.state, file.reason, file.detail = state, reason, detail
            self.mark(file)
        self._note_held(file)
        if state in SETTLED:
            self._settling[file.name] = entry
        if state in SETTLED or (state == "held" and reason not in RETRIED):
            self.active.pop(file.name, None)

    def _note_held(self, file: File) -> None:
        if file.state == "held":
            self.held[file.name] = file
        else:
            self.held.pop(file.name, None)

    def hold(self, entry: Entry, reason: str, detail: str) -> None:
        """Hold a file, until its stat changes or, for some reasons, for a minute."""
        entry.retry_at = self.now + RETRY_S
        self.set(entry, "held", reason, detail)

    def lose(self, entry: Entry) -> None:
        """Give up a file that is no longer there."""
        self._leave(entry.name, entry)

    def mark(self, file: File) -> None:
        """Note that a row has changed."""
        self._dirty[file.name] = file

    def changed(self) -> list[File]:
        """Copies of the rows that changed since this was last called."""
        rows = [file.copy() for file in self._dirty.values()]
        for name in self._dirty:
            if entry := self.entry(name):
                entry.recorded = True
        self._dirty = {}
        return rows

    def untaken_left(self) -> list[str]:
        """Names that left DATA since this was last called, with nothing taken: nothing needs to be known of them."""
        left, self._untaken_left = list(self._untaken_left), set()
        return left

    def finished(self, still_s: float) -> Iterator[tuple[str, Stat]]:
        """Files that need nothing, have saved rows and are unchanged for so long, each with its stat."""
        before_ns = int((self.now - still_s) * 1e9)
        for name, seen in self._seen.items():
            if (
                seen.state in FINISHED
                and seen.mtime_ns <= before_ns
                and name not in self.active
                and name not in self._dirty
            ):
                yield name, Stat(seen.size, seen.mtime_ns, seen.inode)

    def counts(self) -> dict[State, int]:
        """Files of the last look by state, every state; `gone` counts those that went since the start."""
        counts = Counter(seen.state for seen in self._seen.values())
        counts.update(ignored=len(self._ignored), gone=self._gone)
        return {state: counts[state] for state in STATES}

    def _take_in(self, moved: dict[str, Stat]) -> None:
        """Names that are new or whose stat changed; the rows of those without an entry are fetched in one go."""
        rows = self.known.files([name for name in moved if self.entry(name) is None])
        for name, found in moved.items():
            entry = self.entry(name)
            if entry is None:
                row = self.away.pop(name, None) or rows.get(name)
                if row is not None and self._needs_nothing(row, found):
                    self._seen[name] = Settled(row.state, found, self.looks)
                    continue
                entry = self._enter(name, row, found)
            changed = entry.stat != found
            if changed:
                entry.see(found, self.now)
                self.mark(entry.file)
            if entry.state == "skipped":
                self._settling[name] = entry
            elif changed or entry.state != "held" or entry.file.reason in RETRIED:
                self._activate(entry)

    def _needs_nothing(self, row: File, found: Stat) -> bool:
        same = (row.size, row.mtime_ns, row.inode) == found
        return same and row.state in SETTLED and row.name not in self._dirty

    def _enter(self, name: str, row: File | None, found: Stat) -> Entry:
        """Remember a file that is new to this process, or of which ``Settled`` keeps too little."""
        file = row or File(
            name, "waiting", size=found.size, mtime_ns=found.mtime_ns, inode=found.inode
        )
        file.stamp = read_name(name)[0]
        if file.state in ("ignored", "gone"):
            file.state, file.reason, file.detail = state_of(file), "", ""
            self.mark(file)
        # What happened while nobody looked is not known, so the taken part is compared before it is relied on.
        entry = Entry(
            file,
            self._path(name),
            file.size,
            file.mtime_ns,
            file.inode,
            look=self.looks,
            since=self.now,
            recorded=row is not None,
            unverified=file.offset > 0,
        )
        if row is None:
            self.mark(file)
        self._seen[name] = entry
        self._untaken_left.discard(name)
        self._note_held(file)
        self.first_records.put(name, file.first_record)
        return entry

    def _activate(self, entry: Entry) -> None:
        if entry.name not in self.active:
            self.active[entry.name] = entry
            self._order = None
        self._settling.pop(entry.name, None)

    def _take_out(self) -> None:
        """Names that this look did not show."""
        for name in [name for name, seen in self._seen.items() if seen.look != self.looks]:
            seen = self._seen[name]
            try:
                # A scan may miss a name while another file is renamed to it, so that alone proves nothing.
                there = look_at(self._path(name)) is not None
            except OSError:
                there = True  # or at least not known to be gone
            if there:
                seen.look = self.looks
            else:
                self._leave(name, seen)

    def _leave(self, name: str, seen: Entry | Settled) -> None:
        """A file left DATA: a settled one is forgotten, another is gone, one that was never recorded never was."""
        del self._seen[name]
        self.held.pop(name, None)
        if isinstance(seen, Settled):
            return
        self.active.pop(name, None)
        self._settling.pop(name, None)
        self.first_records.drop(name)
        if seen.state in SETTLED:
            self.away[name] = seen.file
        elif seen.file.offset:
            self._lose(seen.file)
        else:
            self._dirty.pop(name, None)
            self._untaken_left.add(name)

    def _lose(self, file: File) -> None:
        file.state, file.reason = "gone", "deleted"
        file.detail = f"deleted when {file.offset:,} bytes of it were taken"
        self._gone += 1
        self.away[file.name] = file
        self.mark(file)

    def _miss(self) -> None:
        """After the first look: files that were not finished, and left while nobody looked."""
        self._missed = True
        for state in UNFINISHED:
            for file in list(self.known.files_in(state)):
                if file.name in self._seen:
                    continue
                if file.offset:
                    self._lose(file)
                else:
                    self._untaken_left.add(file.name)

    def _ignore(self, odd: dict[str, str]) -> None:
        """Names that are no DATA files, remembered while they are there. No row of a file that was read is lost."""
        if self.looks == 1:
            self._ignored = {file.name: file for file in self.known.files_in("ignored")}
        before, self._ignored = self._ignored, {}
        self._untaken_left.update(name for name in before if name not in odd)
        self._untaken_left.difference_update(odd)
        fresh = []
        for name, reason in odd.items():
            file = before.get(name)
            if file is None or file.reason != reason:
                file = File(name, "ignored", reason=reason, detail=_IGNORED[reason])
                fresh.append(file)
            self._ignored[name] = file
        rows = self.known.files([file.name for file in fresh]) if fresh else {}
        for file in fresh:
            row = self.away.get(file.name) or rows.get(file.name)
            if row is None or (row.state == "ignored" and row.reason != file.reason):
                self.mark(file)

    def _forget(self) -> None:
        """Let go of rows that the checkpoint has: of settled files the stat stays, of those that left nothing.

        The rows are fetched and compared, so it does not matter when the engine saves what ``changed`` gave it.
        """
        names = [name for name in (*self._settling, *self.away) if name not in self._dirty]
        names = names[:FORGET_FILES_MAX]
        rows = self.known.files(names) if names else {}
        for name in names:
            entry = self._settling.get(name)
            mine = entry.file if entry else self.away[name]
            if name not in rows or _place(rows[name]) != _place(mine):
                continue
            if entry:
                del self._settling[name]
                self._seen[name] = Settled(entry.state, entry.stat, entry.look)
                self.first_records.drop(name)
            else:
                del self.away[name]

    def _path(self, name: str) -> bytes:
        return self._data + b"/" + os.fsencode(name)


def state_of(file: File) -> State:
    """The state of a file that is neither finished nor kept from being read."""
    return "reading" if file.offset else "waiting"


def _place(file: File) -> tuple[object, ...]:
    """What of a row must be saved before it may be forgotten."""
    return file.state, file.offset, file.digest, file.size, file.mtime_ns, file.inode
