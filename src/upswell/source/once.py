"""The one listing of a run ``--once``: the wait for what it left undecided, and what is left at the end.

Owns when that wait is over and with which warnings the run ends. It consumes nothing and opens nothing itself: it asks
``plan`` whether a file is undecided, as the planner would. No scan follows the listing, so that its sizes hold.
"""

from collections.abc import Callable

from upswell.source.admission import UNDECIDED, Admission
from upswell.source.inventory import Inventory
from upswell.source.tracked_file import TrackedFile


class OneListing:
    """The files of the inventory's last scan, for a run that consumes just these."""

    def __init__(
        self,
        inventory: Inventory,
        admission: Admission,
        plan: Callable[[TrackedFile], object],
        settle_s: float,
    ) -> None:
        """``plan`` decides a file's state by what can be known at the inventory's moment."""
        self._inventory = inventory
        self._admission = admission
        self._plan = plan
        self._began = inventory.now
        self._ends = inventory.now + settle_s
        files = list(inventory.in_order())
        self._restless = [tracked for tracked in files if not admission.is_quiet(tracked)]
        # Only a file in its quiet period can leave anything undecided, itself or one that looks like it.
        self._undecided = files if self._restless else []

    def undecided(self, now: float) -> bool:
        """Return whether waiting could still decide something; False ``settle_s`` after the listing at the latest."""
        if not self._undecided:
            return False
        self._inventory.now = now
        for tracked in self._restless:
            self._stat_again(tracked)
        if self._began <= now < self._ends:
            self._undecided = [each for each in self._undecided if self._is_undecided(each)]
            return bool(self._undecided)
        for tracked in self._restless:
            if tracked.checked != tracked.stat:
                tracked.verdict = (
                    ""  # a compressed file that changed meanwhile is checked once more
                )
        self._undecided = []
        return False

    def finish(self) -> list[str]:
        """Make files done that have nothing left to consume; return what was left, in sentences."""
        warnings = []
        for tracked in list(self._inventory.in_order()):
            file = tracked.file
            left = tracked.end - file.offset
            if file.state == "held":
                continue
            if file.reason in UNDECIDED:
                warnings.append(f"{file.name} was left for the next run: {file.detail}")
            elif left:
                warnings.append(
                    f"{left:,} bytes of {file.name} were left for the next run: it is still being written"
                )
            elif self._is_confirmed(tracked):
                self._inventory.set(tracked, "done", *tracked.refusal())
        return warnings

    def _is_confirmed(self, tracked: TrackedFile) -> bool:
        """Return whether the consumed part is unchanged; hold a file that cannot be read any more."""
        try:
            return not tracked.unverified or self._admission.is_unchanged(tracked)
        except (OSError, ValueError) as error:
            self._admission.hold_unreadable(tracked, str(error))
            return False

    def _stat_again(self, tracked: TrackedFile) -> None:
        """Note whether a file in its quiet period has changed since the listing."""
        found = tracked.stat_now()
        if found == tracked.stat or tracked.changed_after_listing:
            return
        if found is not None and tracked.file.compressed:
            tracked.update(found, self._inventory.now)  # incomplete then, it may be whole now
            self._inventory.mark_changed(tracked.file)
        else:
            tracked.changed_after_listing = True

    def _is_undecided(self, tracked: TrackedFile) -> bool:
        self._plan(tracked)
        file = tracked.file
        if file.state not in ("waiting", "reading") or tracked.changed_after_listing:
            return False
        if file.reason in UNDECIDED:
            return True
        try:
            quiet = self._admission.is_quiet(tracked)
            return not file.compressed and not quiet and tracked.has_tail()
        except OSError:
            return False
