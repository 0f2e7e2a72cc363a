"""Forgotten customers, when a state is compared with its replay: what is rightly missing, and what is undecidable.

Owns that judgement. While the key of a forgetting exists, a replay suppresses its customers as the run did, and only
their earlier notifications are missing, exactly as many as were counted. Once the key is destroyed, the batches in
which they were suppressed are *blind*: the replay cannot know whom to leave out.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator

from upswell.audit.replay.snapshot import StateSnapshot
from upswell.reference.suppression import Forgetting
from upswell.state.queries.forgotten import forgotten_lines
from upswell.state.queries.notifications import Row
from upswell.state.reader import StateReader
from upswell.state.rows import ForgottenLines
from upswell.zones import day_last_of


class Forgotten:
    """The forgettings of a state, and the notifications of the batches that they concern."""

    def __init__(self, reader: StateReader, snapshot: StateSnapshot) -> None:
        self._names = snapshot.applications
        self._lines: defaultdict[int, list[ForgottenLines]] = defaultdict(list)
        for one in forgotten_lines(reader):
            if one.day >= snapshot.pruned_before:
                self._lines[one.batch].append(one)
        self.blind = [
            _blind(reader, snapshot, one)
            for one in snapshot.forgettings
            if one.until_batch is not None
        ]
        """Of each forgetting without a key: the first and the last batch that it leaves undecidable."""
        self._again: defaultdict[int, set[Row]] = defaultdict(set)
        self._kept: defaultdict[int, set[Row]] = defaultdict(set)

    def is_blind(self, number: int) -> bool:
        """Return whether a batch decided about customers who can no longer be identified."""
        return any(first <= number <= last for first, last in self.blind)

    def sentences(self) -> Iterator[str]:
        """Yield what is not proven because of that."""
        for first, last in self.blind:
            if first <= last:
                yield (
                    f"decisions of batches {first:,} to {last:,}: customers were forgotten then, and the key that"
                    " identified them has been destroyed"
                )

    def replayed(self, number: int, row: Row) -> None:
        """Add a notification of the replay."""
        if number in self._lines:
            self._again[number].add(row)

    def kept(self, number: int, row: Row) -> None:
        """Add a notification of the state."""
        if number in self._lines:
            self._kept[number].add(row)

    def explains(self, number: int, day: int | None) -> bool:
        """Return whether the state lacks just as many of the batch's notifications as were forgotten, and adds none."""
        if number not in self._lines:
            return False
        again, kept = self._again[number], self._kept[number]
        missing = Counter((name, of_day, control) for of_day, name, *_, control in again - kept)
        wanted = {
            (self._names.get(one.application, "?"), one.day, one.control): one.lines
            for one in self._lines[number]
            if day in (None, one.day)
        }
        return kept <= again and missing == wanted

    def may_be(self, number: int, application: str, day: int, control: bool) -> bool:
        """Return whether notifications of an application and day in a batch were forgotten."""
        return any(
            (self._names.get(one.application, "?"), one.day, one.control)
            == (application, day, control)
            for one in self._lines.get(number, ())
        )

    def lines(self, number: int, day: int | None) -> int:
        """Return how many notifications of a batch were forgotten, of one day or of all."""
        return sum(one.lines for one in self._lines.get(number, ()) if day in (None, one.day))

    def counted(self, day: int | None) -> Counter[tuple[int, str, bool]]:
        """Count forgotten notifications by day, application and whether they are the control group's."""
        found = Counter[tuple[int, str, bool]]()
        for one in (one for lines in self._lines.values() for one in lines):
            if day in (None, one.day):
                found[one.day, self._names.get(one.application, "?"), one.control] += one.lines
        return found


def _blind(reader: StateReader, snapshot: StateSnapshot, one: Forgetting) -> tuple[int, int]:
    """Return the first and the last batch that depend on a forgetting whose key is gone.

    What the replay adds up for its customers meanwhile counts until those days are closed.
    """
    assert one.until_batch is not None
    last = one.until_batch
    newest = next((batch.newest_stamp for batch in reader.batches(last - 1)), "")
    day_last = max(day_last_of(newest, zones) for zones in snapshot.all_zones) if newest else 0
    for batch in reader.batches(last):
        if batch.day_open > day_last:
            break
        last = batch.number
    return one.first_batch, last
