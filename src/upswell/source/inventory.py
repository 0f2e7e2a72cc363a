"""The inventory of DATA: every name that the last scan showed, its row, and which rows the checkpoint may not have.

Owns the states of files and what follows when one appears, changes or leaves; ``directory_scan`` says which do. It
opens no file, stats none and decides nothing about content. In memory a settled file is its stat alone, so that a
directory of a hundred thousand consumed files costs little; a row leaves memory only once the checkpoint is seen to
have it.

One file because every change of a state, and of what the checkpoint may lack of it, is made here.
"""

import os
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from upswell.source.duplicates import FirstRecords
from upswell.source.file import EXPORTED_AGAIN, STATES, WHOLE, File, State
from upswell.source.listing import Stat, looks_like_data, read_name
from upswell.source.tracked_file import NEVER, SettledFile, TrackedFile

RETRY_S = 60.0  # how often a file held for its stamp or a read error is tried again
SAVED_FILES_MAX = 1000  # rows compared with the checkpoint after one scan, so that this stays short

RETRIED = frozenset(("ahead", "unreadable"))
"""Reasons of held files that the clock or an administrator may cure without touching the file."""
SETTLED: frozenset[State] = frozenset(("done", "duplicate", "skipped"))
FINISHED: frozenset[State] = frozenset(("done", "duplicate"))
UNFINISHED: tuple[State, ...] = ("waiting", "reading", "held")
_READ: frozenset[State] = frozenset(("waiting", "reading", "done"))
_NOT_NEWER: frozenset[State] = frozenset(("held", "skipped", "duplicate", "continued"))
_IGNORED = {
    "name": "only DATA_yyyyMMddHHmm.csv and DATA_yyyyMMddHHmm.csv.gz are read",
    "stamp": "the date or time in its name does not exist",
    "not_regular": "not a regular file (a link, a directory or a special file): only regular files are read",
}


class KnownFiles(Protocol):
    """The rows of the checkpoint, as the inventory asks for them."""

    def files(self, names: Iterable[str]) -> dict[str, File]:
        """Return the rows of these names; unknown ones are absent."""

    def files_in(self, state: State) -> Iterator[File]:
        """Yield the rows in this state."""

    def find_first_record(self, crc: int) -> list[File]:
        """Return the rows of files of which something was consumed and whose first record has this CRC."""

    def is_archived(self, name: str) -> bool:
        """Return whether our archive took this file."""

    def newest_stamp(self) -> str:
        """Return the newest stamp of the log; "" before the first commit."""

    def day_open(self) -> int:
        """Return the first day that is open after the last batch; 0 before the first commit."""


class Inventory:
    """The files of one directory, as of the last scan."""

    def __init__(self, data: Path, known: KnownFiles, now: float) -> None:
        self.known = known
        self.now = now
        """The moment by which all is judged, in seconds since the epoch: that of the last scan."""
        self.scans = 0
        """Scans begun."""
        self.frozen = False
        """True in a run ``--once``, in which no scan follows its one listing."""
        self.held: dict[str, File] = {}
        """Files in DATA that are held."""
        self.active: dict[str, TrackedFile] = {}
        """Files that need something: a decision, to be read, to become done, or a retry."""
        self.departed: dict[str, File] = {}
        """Rows of files that left DATA, while the checkpoint may lack them."""
        self.first_records = FirstRecords()
        """Of the files that are tracked."""
        self.seen: dict[str, TrackedFile | SettledFile] = {}
        """Every DATA file that is there."""
        self.data = os.fsencode(data)
        self._order: list[str] | None = None
        self._settling: dict[str, TrackedFile] = {}
        """Settled files whose rows the checkpoint may lack."""
        self._ignored: dict[str, File] = {}
        self._looks_like_data: dict[str, bool] = {}
        """By ignored name."""
        self._left_unconsumed: set[str] = set()
        self._gone: set[str] = set()
        self._continuing: list[File] = []
        self._changed: dict[str, File] = {}

    # What is there

    def path_of(self, name: str) -> bytes:
        """Return the path of a name in DATA."""
        return self.data + b"/" + os.fsencode(name)

    def in_order(self, after: str = "") -> Iterator[TrackedFile]:
        """Yield the active files after this name in arrival order, that of names, without those settled meanwhile."""
        if self._order is None:
            self._order = sorted(self.active)
        for name in self._order[bisect_right(self._order, after) :]:
            tracked = self.active.get(name)
            if tracked is not None:
                yield tracked

    def get(self, name: str) -> TrackedFile | None:
        """Return a tracked file; None when it is settled, or not there."""
        seen = self.seen.get(name)
        return seen if isinstance(seen, TrackedFile) else None

    def newest(self) -> str:
        """Return the name with the highest stamp, of files not ignored, held, skipped or duplicates; "" when none."""
        return max(
            (name for name, seen in self.seen.items() if seen.state not in _NOT_NEWER), default=""
        )

    def counts_as_newer(self, name: str) -> bool:
        """Return whether a file is there and not ignored, held, skipped or a duplicate."""
        return name in self.seen and self.seen[name].state not in _NOT_NEWER

    def finished(self, unchanged_s: float) -> Iterator[tuple[str, Stat]]:
        """Yield the files that need nothing, have saved rows and are unchanged for so long, each with its stat."""
        before_ns = int((self.now - unchanged_s) * 1e9)
        for name, seen in self.seen.items():
            if (
                seen.state in FINISHED
                and seen.mtime_ns <= before_ns
                and name not in self.active
                and name not in self._changed
            ):
                yield name, Stat(seen.size, seen.mtime_ns, seen.inode)

    def counts(self) -> dict[State, int]:
        """Count the files of the last scan by state, every state; `gone` counts those that went since the start."""
        counts = Counter(seen.state for seen in self.seen.values())
        counts.update(ignored=len(self._ignored), gone=len(self._gone))
        return {state: counts[state] for state in STATES}

    def unread(self) -> list[str]:
        """Return the ignored names that look like those of data, sorted."""
        return sorted(name for name, looks in self._looks_like_data.items() if looks)

    # States

    def set(self, tracked: TrackedFile, state: State, reason: str = "", detail: str = "") -> None:
        """Put a file into a state; it stays active unless the state says that nothing is left to do."""
        file = tracked.file
        if not reason and state in _READ and file.reason == EXPORTED_AGAIN:
            # It stays until the file is held: `status` tells it after a restart, too.
            reason, detail = file.reason, file.detail
        if (file.state, file.reason, file.detail) != (state, reason, detail):
            file.state, file.reason, file.detail = state, reason, detail
            self.mark_changed(file)
        self._note_held(file)
        if state in SETTLED:
            self._settling[file.name] = tracked
        if state in SETTLED or (state == "held" and reason not in RETRIED):
            self.active.pop(file.name, None)

    def note_exported_again(self, tracked: TrackedFile, before: str, lines: int) -> None:
        """Note that a file that is about to be read begins as ``before``, with all its lines; "" for no other file."""
        file = tracked.file
        if before:
            count = "1 line" if lines == 1 else f"{lines:,} lines"
            detail = f"begins as {before} ({count}) and is longer: counted anew"
            self.set(tracked, "waiting", EXPORTED_AGAIN, detail)
        elif file.reason == EXPORTED_AGAIN:
            file.reason = file.detail = ""
            self.mark_changed(file)

    def _note_held(self, file: File) -> None:
        if file.state == "held":
            self.held[file.name] = file
        else:
            self.held.pop(file.name, None)

    def hold(self, tracked: TrackedFile, reason: str, detail: str) -> None:
        """Hold a file until its stat changes; for the reasons in RETRIED it is also tried again after RETRY_S."""
        tracked.retry_at = self.now + RETRY_S
        self.set(tracked, "held", reason, detail)

    # Rows for the checkpoint

    def mark_changed(self, file: File) -> None:
        """Have a row saved with the next commit."""
        self._changed[file.name] = file

    def changed(self) -> list[File]:
        """Return copies of the rows that changed since the last call."""
        rows = [file.copy() for file in self._changed.values()]
        for name in self._changed:
            if tracked := self.get(name):
                tracked.recorded = True
        self._changed = {}
        return rows

    def left_unconsumed(self) -> list[str]:
        """Return the names that left DATA since the last call with nothing consumed: their rows can go."""
        left, self._left_unconsumed = list(self._left_unconsumed), set()
        return left

    def drop_saved(self) -> None:
        """Drop rows that the checkpoint has: of a settled file its stat is kept, of one that left DATA nothing.

        The rows are fetched and compared, so it does not matter when the engine saves those that ``changed`` returned.
        """
        names = [name for name in (*self._settling, *self.departed) if name not in self._changed]
        names = names[:SAVED_FILES_MAX]
        rows = self.known.files(names) if names else {}
        for name in names:
            tracked = self._settling.get(name)
            mine = tracked.file if tracked else self.departed[name]
            if name not in rows or _saved_part(rows[name]) != _saved_part(mine):
                continue
            if tracked:
                del self._settling[name]
                self.seen[name] = SettledFile(tracked.state, tracked.stat, tracked.last_scan)
                self.first_records.drop(name)
            else:
                del self.departed[name]

    # What a scan found

    def set_now(self, now: float) -> None:
        """Set the moment by which all is judged."""
        self.now = now
        for tracked in self.active.values():
            # A clock that was set back must not make a file wait until it has caught up.
            tracked.unchanged_since = min(tracked.unchanged_since, now)
            if tracked.retry_at > now + RETRY_S:
                tracked.retry_at = NEVER

    def add(self, found: dict[str, Stat]) -> None:
        """Add names that are new, and update those whose stat changed; rows not in memory are fetched in one go."""
        rows = self.known.files([name for name in found if self.get(name) is None])
        for name, stat in found.items():
            tracked = self.get(name)
            is_new = False
            if tracked is None:
                row = self.departed.pop(name, None) or rows.get(name)
                if row is not None and self._needs_nothing(row, stat):
                    self.seen[name] = SettledFile(row.state, stat, self.scans)
                    continue
                tracked = self._track(name, row, stat)
                # What held a file of which nothing was consumed may be judged otherwise by now.
                is_new = not tracked.file.offset
            changed = tracked.stat != stat
            if changed:
                tracked.update(stat, self.now)
                self.mark_changed(tracked.file)
            if tracked.state == "skipped":
                self._settling[name] = tracked
            elif changed or tracked.state != "held" or is_new or tracked.file.reason in RETRIED:
                self._activate(tracked)

    def _needs_nothing(self, row: File, stat: Stat) -> bool:
        same = (row.size, row.mtime_ns, row.inode) == stat
        return same and row.state in SETTLED and row.name not in self._changed

    def _track(self, name: str, row: File | None, stat: Stat) -> TrackedFile:
        """Track a file that is new to this process, or of which ``SettledFile`` keeps too little."""
        file = row or File(
            name, "waiting", size=stat.size, mtime_ns=stat.mtime_ns, inode=stat.inode
        )
        file.stamp = read_name(name)[0]
        if file.state in ("ignored", "gone"):
            file.state, file.reason, file.detail = state_of(file), "", ""
            self.mark_changed(file)
        # Nobody knows what happened while no run watched, so the consumed part is compared before it is relied on.
        tracked = TrackedFile(
            file,
            self.path_of(name),
            file.size,
            file.mtime_ns,
            file.inode,
            last_scan=self.scans,
            unchanged_since=self.now,
            recorded=row is not None,
            unverified=file.offset > 0,
        )
        if row is None:
            self.mark_changed(file)
        self.seen[name] = tracked
        self._left_unconsumed.discard(name)
        self._note_held(file)
        self.first_records.put(name, file.first_record)
        return tracked

    def _activate(self, tracked: TrackedFile) -> None:
        if tracked.name not in self.active:
            self.active[tracked.name] = tracked
            self._order = None
        self._settling.pop(tracked.name, None)

    def remove(self, name: str) -> None:
        """Remove a file that left DATA: a settled one keeps its state, a partly consumed one is gone."""
        seen = self.seen.pop(name)
        self.held.pop(name, None)
        if isinstance(seen, SettledFile):
            return
        self.active.pop(name, None)
        self._settling.pop(name, None)
        self.first_records.drop(name)
        if seen.state in SETTLED:
            self.departed[name] = seen.file
        elif seen.file.offset:
            self._set_gone(seen.file)
        else:
            self._changed.pop(name, None)
            self._left_unconsumed.add(name)

    def _set_gone(self, file: File) -> None:
        if file.continued_by:
            self._set_continued(file)
            return
        file.state = "gone"
        if file.offset == (file.content_bytes if file.compressed else file.size):
            file.reason = WHOLE
            file.detail = (
                f"deleted when all {file.offset:,} bytes that it had shown were consumed: nothing is missing unless"
                " its producer had more to write; then deliver it whole and under exactly this name again"
            )
        else:
            file.reason = "deleted"
            file.detail = (
                f"deleted after {file.offset:,} bytes of it were consumed: deliver it whole and under exactly this name"
                " again, and the rest of it is read"
            )
        self._gone.add(file.name)
        self.departed[file.name] = file
        self.mark_changed(file)

    def _set_continued(self, file: File) -> None:
        file.state, file.reason, file.detail = "continued", "", file.continued_by
        self._gone.discard(file.name)
        self.departed[file.name] = file
        self.mark_changed(file)

    def latest(self, row: File) -> File:
        """Return what is known of a file, of which the checkpoint has this row."""
        seen = self.get(row.name)
        return seen.file if seen else self.departed.get(row.name, row)

    def let_continue(self, tracked: TrackedFile, old: File) -> None:
        """Let a new file take over what was consumed of one that is away; both rows are saved together."""
        if old.name in self.seen:
            self.remove(old.name)
        old = self.departed.get(old.name, old)
        old.continued_by = tracked.name
        self._set_continued(old)
        file = tracked.file
        file.continues = old.name
        file.offset, file.newlines, file.digest, file.tail = (
            old.offset, old.newlines, old.digest, old.tail
        )  # fmt: skip
        tracked.unverified, tracked.verified_at = False, self.now
        file.reason = file.detail = ""
        self.set(tracked, "reading")
        self.mark_changed(file)
        self._continuing.append(file)

    def continuing(self) -> list[File]:
        """Return the files that took over from another one since the last call."""
        found, self._continuing = self._continuing, []
        return found

    def remove_unfinished(self) -> None:
        """Remove files that the last run left unfinished and that left DATA since. Call it after the first scan."""
        for state in UNFINISHED:
            for file in list(self.known.files_in(state)):
                if file.name in self.seen or file.name in self.departed:
                    continue
                if file.offset:
                    self._set_gone(file)
                else:
                    self._left_unconsumed.add(file.name)

    def set_ignored(self, found: dict[str, str]) -> None:
        """Replace the ignored names by these, each with its reason. No row of a file that was read is lost."""
        if self.scans == 1:
            self._ignored = {file.name: file for file in self.known.files_in("ignored")}
        before, self._ignored = self._ignored, {}
        self._left_unconsumed.update(name for name in before if name not in found)
        self._left_unconsumed.difference_update(found)
        fresh = []
        for name, reason in found.items():
            file = before.get(name)
            if file is None or file.reason != reason:
                file = File(name, "ignored", reason=reason, detail=_IGNORED[reason])
                fresh.append(file)
            self._ignored[name] = file
        looks = self._looks_like_data
        self._looks_like_data = {
            name: looks[name] if name in looks else looks_like_data(name) for name in found
        }
        rows = self.known.files([file.name for file in fresh]) if fresh else {}
        for file in fresh:
            row = self.departed.get(file.name) or rows.get(file.name)
            if row is None or (row.state == "ignored" and row.reason != file.reason):
                self.mark_changed(file)


def state_of(file: File) -> State:
    """Return the state of a file that is neither finished nor kept from being read."""
    return "reading" if file.offset else "waiting"


def _saved_part(file: File) -> tuple[object, ...]:
    """Return what of a row must be in the checkpoint before it may be dropped."""
    return (
        file.state,
        file.offset,
        file.digest,
        file.size,
        file.mtime_ns,
        file.inode,
        file.continued_by,
    )
