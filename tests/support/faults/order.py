"""The order in which a run makes things durable, read from a trace of its system calls.

Owns the rules. It believes nothing but fsync: a file's content counts from its own on, a name from that of its
directory on. It knows files by their names alone, so it can judge any run that commits and publishes.
"""

import re
from pathlib import Path

from support import strace

_PLACE = re.compile(r"[0-9]+<([^>]*)>")
_WRITES = ("write", "pwrite64", "ftruncate", "fchmod")
_SYNCS = ("fsync", "fdatasync")
_LOG = "-wal"  # suffix of the write-ahead log, whose sync is the commit
_NEVER_NEEDED = ("-shm", "lock")  # suffixes of files that say nothing after a crash


class Order:
    """Reads a trace call by call, and keeps what relied on something that was not synced."""

    def __init__(self) -> None:
        self.wrong: list[str] = []
        self.batches: set[str] = set()
        """Those of which a file came to its final name."""
        self._dirty: dict[str, strace.Point] = {}
        """What was changed and not synced, by path."""
        self._staged: dict[str, int] = {}
        """Staged files, with how often the log had been synced when each was made."""
        self._unsettled: dict[str, strace.Point] = {}
        """Directories that files were moved to or from, and that were not synced since."""
        self._failed: set[str] = set()
        self._log_syncs = 0

    def read(self, found: list[strace.Point]) -> "Order":
        """Take these calls, to the end of the run."""
        for point in found:
            self._take(point)
        self._settled("the end of the run")
        return self

    def _take(self, point: strace.Point) -> None:
        paths = _PLACE.findall(point.text)
        path = paths[0] if paths else ""
        if point.name in _SYNCS:
            self._sync(point, path)
        elif "= -1" in point.text:
            return
        elif point.name in _WRITES:
            self._dirty[path] = point
        elif point.name == "openat":  # only those that make a file are recorded
            self._make(point, Path(point.text.rpartition("<")[2].rstrip(">")))
        elif point.name == "renameat2" and '"NOTIFY_' in point.text:
            self._move(point, paths)

    def _make(self, point: strace.Point, made: Path) -> None:
        if made.name.endswith(_NEVER_NEEDED):
            return
        self._dirty[str(made)] = self._dirty[str(made.parent)] = point
        if made.parent.name == "staging" and made.suffix == ".csv":
            self._settled(str(point))
            self._staged[made.name] = self._log_syncs

    def _sync(self, point: strace.Point, path: str) -> None:
        if path in self._failed:
            self.wrong.append(f"{point} comes after one that failed")
        if "= -1" in point.text:
            self._failed.add(path)
            return
        if path.endswith(_LOG):
            self._log_syncs += 1
            self._relies(point, but=_LOG)  # whose own name SQLite syncs after it
        self._dirty.pop(path, None)
        self._unsettled.pop(path, None)

    def _move(self, point: strace.Point, paths: list[str]) -> None:
        name = re.findall(r'"([^"]*)"', point.text)[0]
        self.batches.add(name.partition("_")[0])
        made_at = self._staged.pop(name, None)
        if made_at is None:
            self.wrong.append(f"{point} moves what was not staged")
        elif made_at == self._log_syncs:
            self.wrong.append(f"{point} comes before the commit")
        self._relies(point)
        self._unsettled.update(dict.fromkeys(paths, point))

    def _relies(self, point: strace.Point, but: str = "") -> None:
        """Nothing may be dirty now but what says nothing after a crash."""
        self.wrong += [
            f"{point} relies on {other}"
            for path, other in self._dirty.items()
            if not path.endswith(_NEVER_NEEDED) and not (but and but in other.text)
        ]

    def _settled(self, before: str) -> None:
        """All moves are durable before something new begins."""
        self.wrong += [
            f"{point} was not synced before {before}" for point in self._unsettled.values()
        ]
        self._unsettled = {}
