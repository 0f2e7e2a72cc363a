"""The scan of DATA: finds which names appeared, changed or left since the last one, by their stats alone.

Owns when a name counts as new, changed, gone or not a DATA file, and tells the inventory. It opens no file and decides
no state. A name counts as gone only when a stat of its own says so: a listing may miss one while another is renamed.
"""

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from upswell.source.inventory import Inventory
from upswell.source.listing import Stat, list_directory, read_name, stat_regular

STEP_FILES = 500  # names between two steps of a scan: a few milliseconds


@dataclass(slots=True)
class _Found:
    """The names that a scan has found so far."""

    moved: dict[str, Stat] = field(default_factory=dict)
    """Names that are new or whose stat differs."""
    ignored: dict[str, str] = field(default_factory=dict)
    """Names that are not DATA files, each with the reason."""


class DirectoryScan:
    """The scans of one directory, for its inventory."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self._completed = False

    def scan(self, now: float) -> None:
        """List the directory once and bring the inventory up to date.

        Raises:
            InputMissing: DATA cannot be listed; nothing has changed then, and a later scan may go on.
        """
        inventory = self._inventory
        inventory.scans += 1
        found = _Found()
        for name, shown in list_directory(inventory.data):
            self._compare(found, name, shown)
        inventory.set_now(now)
        self._remove_missing()
        inventory.add(found.moved)
        inventory.set_ignored(found.ignored)
        self._finish()

    def scan_in_steps(self, clock: Callable[[], float]) -> Iterator[None]:
        """Scan as ``scan`` does, yielding after every STEP_FILES names; meanwhile ``rescan`` may be called.

        So a new file need not wait for the end of a long scan. What the scan found is stat once more at its end, since
        a rescan meanwhile may have seen something newer.
        """
        inventory = self._inventory
        inventory.scans += 1
        found = _Found()
        for at, (name, shown) in enumerate(list_directory(inventory.data), 1):
            self._compare(found, name, shown)
            if at % STEP_FILES == 0:
                yield
        self._remove_missing()
        self.rescan(found.moved, clock())
        ignored = {name: why for name, why in found.ignored.items() if name not in inventory.seen}
        inventory.set_ignored(ignored)
        self._finish()

    def rescan(self, names: Iterable[str], now: float) -> None:
        """Stat only these names and the active files. Names that are not DATA files are left to the next scan."""
        inventory = self._inventory
        inventory.set_now(now)
        moved: dict[str, Stat] = {}
        for name in sorted({*names, *inventory.active}):
            seen = inventory.seen.get(name)
            if seen is None and read_name(name)[1]:
                continue
            try:
                found = stat_regular(inventory.path_of(name))
            except OSError:
                continue  # neither known to be gone nor to have changed
            if found is None:
                if seen is not None:
                    inventory.remove(name)
            elif seen is None or (seen.size, seen.mtime_ns, seen.inode) != found:
                moved[name] = found
        inventory.add(moved)
        inventory.drop_saved()

    def _compare(self, found: _Found, name: str, shown: os.stat_result) -> None:
        """Add a listed name to what was found, unless it is unchanged."""
        seen = self._inventory.seen.get(name)
        regular = stat.S_ISREG(shown.st_mode)
        if seen is not None and regular:
            seen.last_scan = self._inventory.scans
            if (
                seen.mtime_ns == shown.st_mtime_ns
                and seen.size == shown.st_size
                and seen.inode == shown.st_ino
            ):
                return
        reason = "" if seen is not None else read_name(name)[1]
        if reason or not regular:
            found.ignored[name] = reason or "not_regular"
        else:
            found.moved[name] = Stat(shown.st_size, shown.st_mtime_ns, shown.st_ino)

    def _remove_missing(self) -> None:
        """Remove the files that this scan did not show and that are not there."""
        inventory = self._inventory
        missing = [
            name for name, seen in inventory.seen.items() if seen.last_scan != inventory.scans
        ]
        for name in missing:
            try:
                # A listing may miss a name while another file is renamed to it, so that alone proves nothing.
                there = stat_regular(inventory.path_of(name)) is not None
            except OSError:
                there = True  # or at least not known to be gone
            if there:
                inventory.seen[name].last_scan = inventory.scans
            else:
                inventory.remove(name)

    def _finish(self) -> None:
        if not self._completed:
            self._completed = True
            self._inventory.remove_unfinished()
        self._inventory.drop_saved()
