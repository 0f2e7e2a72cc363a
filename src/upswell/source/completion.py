"""Completion: decides when a file is done, and when an unterminated last line may be consumed.

Owns the question whether a newer file exists, for which the newest one may have to be opened. It plans nothing and
consumes nothing. A file becomes done only with all of it consumed and compared, after its quiet period, and when a
newer one exists; a run ``--once`` does without the newer one for a last line, and ends with ``once``.
"""

from collections.abc import Collection

from upswell.source.admission import Admission
from upswell.source.file import File
from upswell.source.inventory import Inventory, state_of
from upswell.source.listing import read_name
from upswell.source.tracked_file import TrackedFile


class Completion:
    """Brings the files of one inventory to their ends."""

    def __init__(self, inventory: Inventory, admission: Admission, newest_stamp: str) -> None:
        """``newest_stamp``: of the log so far; "" before the first commit."""
        self._inventory = inventory
        self._admission = admission
        self.log_newest = newest_stamp
        """The newest stamp of the log."""
        self._newest = ""
        """The name with the highest stamp in the last scan, of those that are not held, skipped or duplicates."""
        admission.consumes_last_line = self.consumes_last_line

    def note_scan(self) -> None:
        """Find the newest file anew. Call it after a scan."""
        self._newest = self._inventory.newest()

    def note_rescan(self, names: Collection[str]) -> None:
        """Consider these names for the newest file. Call it after a rescan of them."""
        newer = (name for name in names if self._inventory.counts_as_newer(name))
        self._newest = max((self._newest, *newer))

    def consumes_last_line(self, tracked: TrackedFile) -> bool:
        """Return whether an unterminated last line may be consumed, too."""
        if tracked.file.compressed:
            # It was checked to have an end; only a member that is being added just now could continue its last line.
            return self._inventory.frozen or self._admission.is_quiet(tracked)
        quiet = self._admission.is_quiet(tracked)
        return quiet and (self._inventory.frozen or self._has_newer(tracked.file))

    def finish(self, tracked: TrackedFile) -> None:
        """Make a file done, of which everything is consumed, when its quiet period is over and a newer one exists.

        Raises:
            OSError: it cannot be read. ValueError: its gzip data is broken.
        """
        file = tracked.file
        if tracked.rewritten and not tracked.unverified:
            tracked.rewritten = False
            file.repeats += 1
            self._inventory.mark_changed(file)
        over = (
            not self._inventory.frozen
            and self._admission.is_quiet(tracked)
            and self._has_newer(file)
        )
        if file.state != "done" and not over:
            refusal = tracked.refusal() if self._admission.is_quiet(tracked) else ("", "")
            self._inventory.set(tracked, state_of(file), *refusal)
        elif not tracked.unverified or self._admission.is_unchanged(tracked):
            self._inventory.set(tracked, "done", *tracked.refusal())

    def _has_newer(self, file: File) -> bool:
        """Return whether a file with a higher stamp is there and may be read, or was read and has gone.

        The newest file is opened for it before its turn, so that the answer does not depend on how far a run came.
        """
        while self.log_newest <= file.stamp < read_name(self._newest)[0]:
            newest = self._inventory.get(self._newest)
            if newest is not None and not newest.examined:
                self._examine(newest)
            if self._inventory.counts_as_newer(self._newest):
                return True
            self._newest = self._inventory.newest()
        return self.log_newest > file.stamp

    def _examine(self, tracked: TrackedFile) -> None:
        try:
            self._admission.admits(tracked)
        except (OSError, ValueError) as error:
            self._admission.note_error(tracked, error)
