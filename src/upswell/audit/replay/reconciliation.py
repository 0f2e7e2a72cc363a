"""The result of ``upswell reconcile``: what was replayed, day by day and file by file, and what differs.

Owns the counts, the lists of differences and of what could not be proven, and their JSON. It compares nothing itself.
"""

from collections import Counter
from dataclasses import dataclass, field

from upswell.kernel import OUTCOMES
from upswell.output.published import Where


@dataclass(slots=True)
class ReconciledDay:
    """The notifications of one day."""

    notifications: int = 0
    """All that were sent, as the state counts them."""
    forgotten: int = 0
    """Of them, those of customers who were forgotten: counted, but no longer kept."""
    pruned: int = 0
    """Of them, those that the state no longer keeps because their day is too long ago."""
    control: int = 0
    """Notifications of the control group, which are not among the others."""
    where: Counter[Where] = field(default_factory=Counter)
    """Lines of published files by where the file is now."""

    @property
    def unproven(self) -> int:
        """Notifications that no replay gives, as far as files could be read."""
        return max(self.notifications - self.where.total(), 0)


@dataclass(slots=True)
class Reconciliation:
    """The result of a comparison: agreements, differences, and what could not be proven."""

    last_batch: int = 0
    batches: int = 0
    lines: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    files: dict[str, Counter[str]] = field(default_factory=dict)
    """By file: the outcomes of its replayed lines."""
    days: dict[int, ReconciledDay] = field(default_factory=dict)
    differences: list[str] = field(default_factory=list)
    """One sentence each, with the place of the difference."""
    forgotten: int = 0
    """Notifications of customers who were forgotten: the replay makes them, and the state no longer has them."""
    pruned: int = 0
    """Notifications of days that the state no longer keeps: counted, and proven only by what was published."""
    unproven: list[str] = field(default_factory=list)
    """What could not be compared, one sentence each."""

    def to_json(self) -> dict[str, object]:
        """Return one JSON object: counts, then days and files, then what differs."""
        return {
            "last_batch": self.last_batch,
            "batches": self.batches,
            "lines": self.lines,
            "outcomes": {name: self.outcomes[name] for name in OUTCOMES},
            "days": [
                {
                    "day": day,
                    "notifications": of_day.notifications,
                    "forgotten": of_day.forgotten,
                    "pruned": of_day.pruned,
                    "control": of_day.control,
                    **dict(of_day.where),
                    "unproven": of_day.unproven,
                }
                for day, of_day in sorted(self.days.items())
            ],
            "files": [
                {"file": name, "lines": outcomes.total(), "outcomes": +outcomes}
                for name, outcomes in sorted(self.files.items())
            ],
            "forgotten": self.forgotten,
            "pruned": self.pruned,
            "unproven": self.unproven,
            "differences": self.differences,
        }
