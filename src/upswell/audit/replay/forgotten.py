"""Who was forgotten, for those who hold a state against its replay: what is missing rightly, and what nobody can tell.

Owns that judgement. As long as the key of those who were forgotten is there, a replay suppresses them as the run did,
and only their notifications of before are missing, exactly as many as were counted. Once it is gone, the batches in
which they were suppressed are *blind*: the replay cannot know whom to leave out.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator

from upswell.audit.replay.replay import Past
from upswell.reference.suppression import Forgetting
from upswell.state.queries.forgotten import forgotten_lines
from upswell.state.queries.notifications import Row
from upswell.state.reader import StateReader
from upswell.state.rows import ForgottenLines
from upswell.zones import day_last_of


class Forgotten:
    """What a state has forgotten, and the rows of the batches that it concerns."""

    def __init__(self, reader: StateReader, past: Past) -> None:
        self._names = past.applications
        self._lines: defaultdict[int, list[ForgottenLines]] = defaultdict(list)
        for one in forgotten_lines(reader):
            if one.day >= past.pruned_before:
                self._lines[one.batch].append(one)
        self.blind = [
            _blind(reader, past, one) for one in past.forgettings if one.until_batch is not None
        ]
        """Of each forgetting without a key, the first batch and the last."""
        self._again: defaultdict[int, set[Row]] = defaultdict(set)
        self._kept: defaultdict[int, set[Row]] = defaultdict(set)

    def is_blind(self, number: int) -> bool:
        """Whether something of a batch was decided for customers of whom nobody can tell any more."""
        return any(first <= number <= last for first, last in self.blind)

    def sentences(self) -> Iterator[str]:
        """What is not proven for that."""
        for first, last in self.blind:
            if first <= last:
                yield (
                    f"what batches {first:,} to {last:,} decided: customers were forgotten then, and the key that told"
                    " who is destroyed"
                )

    def replayed(self, number: int, row: Row) -> None:
        """Take note of a notification of the replay."""
        if number in self._lines:
            self._again[number].add(row)

    def kept(self, number: int, row: Row) -> None:
        """Take note of a notification of the state."""
        if number in self._lines:
            self._kept[number].add(row)

    def explains(self, number: int, day: int | None) -> bool:
        """Whether the state lacks of the batch's notifications exactly as many as were forgotten, and has no other."""
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
        """Whether notifications of an application in a batch, of that day, were forgotten."""
        return any(
            (self._names.get(one.application, "?"), one.day, one.control)
            == (application, day, control)
            for one in self._lines.get(number, ())
        )

    def lines(self, number: int, day: int | None) -> int:
        """How many notifications of a batch were forgotten: of a day, or all."""
        return sum(one.lines for one in self._lines.get(number, ()) if day in (None, one.day))

    def counted(self, day: int | None) -> Counter[tuple[int, str, bool]]:
        """The same of all batches, by day, application and whether of the control group."""
        found = Counter[tuple[int, str, bool]]()
        for one in (one for lines in self._lines.values() for one in lines):
            if day in (None, one.day):
                found[one.day, self._names.get(one.application, "?"), one.control] += one.lines
        return found


def _blind(reader: StateReader, past: Past, one: Forgetting) -> tuple[int, int]:
    """The batches that hang on a forgetting whose key is gone.

    What the replay adds up for them meanwhile decides until those days are closed, too.
    """
    assert one.until_batch is not None
    last = one.until_batch
    newest = next((batch.newest_stamp for batch in reader.batches(last - 1)), "")
    for batch in reader.batches(last):
        if batch.day_open > day_last_of(newest, past.zones):
            break
        last = batch.number
    return one.first_batch, last
