"""The one listing of a run ``--once``: the wait for what it left undecided, and what is left at the end.

Owns when that wait is over and which warnings the run ends with. It takes nothing and opens nothing by itself: whether
something is undecided it asks of ``plan``, as the source would. No look follows the listing, so that its sizes hold.
"""

from collections.abc import Callable

from upswell.source.admission import UNDECIDED, Admission
from upswell.source.inventory import Roster
from upswell.source.tracked_file import Entry


class OneListing:
    """The files of the roster's last look, for a run that takes just these."""

    def __init__(
        self,
        roster: Roster,
        admission: Admission,
        plan: Callable[[Entry], object],
        settle_s: float,
    ) -> None:
        """``plan`` decides a file's state by what can be known at the roster's moment."""
        self._roster = roster
        self._admission = admission
        self._plan = plan
        self._began = roster.now
        self._ends = roster.now + settle_s
        entries = list(roster.in_order())
        self._restless = [entry for entry in entries if not admission.still(entry)]
        # Only a file that is not still can leave anything undecided, itself or one that looks like it.
        self._undecided = entries if self._restless else []

    def undecided(self, now: float) -> bool:
        """Whether waiting could still decide something; false ``settle_s`` after the listing at the latest."""
        if not self._undecided:
            return False
        self._roster.now = now
        for entry in self._restless:
            self._look_again(entry)
        if self._began <= now < self._ends:
            self._undecided = [entry for entry in self._undecided if self._is_undecided(entry)]
            return bool(self._undecided)
        for entry in self._restless:
            if entry.checked != entry.stat:
                entry.verdict = ""  # a compressed file that changed meanwhile is checked once more
        self._undecided = []
        return False

    def finish(self) -> list[str]:
        """Make done what has nothing left to take; what was left, in sentences."""
        warnings = []
        for entry in list(self._roster.in_order()):
            file = entry.file
            left = entry.end - file.offset
            if file.state == "held":
                continue
            if file.reason in UNDECIDED:
                warnings.append(f"{file.name} was left for the next run: {file.detail}")
            elif left:
                warnings.append(
                    f"{left:,} bytes of {file.name} were left for the next run: it is being written"
                )
            elif self._is_confirmed(entry):
                self._roster.set(entry, "done")
        return warnings

    def _is_confirmed(self, entry: Entry) -> bool:
        """Whether the taken part is what it was; a file that cannot be read any more is held."""
        try:
            return not entry.unverified or self._admission.is_unchanged(entry)
        except (OSError, ValueError) as error:
            self._admission.hold_unreadable(entry, str(error))
            return False

    def _look_again(self, entry: Entry) -> None:
        """Note whether a file that was not still has changed since the listing."""
        found = entry.stat_now()
        if found == entry.stat or entry.shifted:
            return
        if found is not None and entry.file.compressed:
            entry.see(found, self._roster.now)  # incomplete then, it may be whole now
            self._roster.mark(entry.file)
        else:
            entry.shifted = True

    def _is_undecided(self, entry: Entry) -> bool:
        self._plan(entry)
        file = entry.file
        if file.state not in ("waiting", "reading") or entry.shifted:
            return False
        if file.reason in UNDECIDED:
            return True
        try:
            return not file.compressed and not self._admission.still(entry) and entry.has_tail()
        except OSError:
            return False
