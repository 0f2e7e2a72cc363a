"""Whether everything fits together: DATA, the log, the state and OUTPUT, held against a fresh replay.

Owns the comparisons behind ``upswell reconcile``. It only reads, and may run beside a run: it speaks of the state as
it was when it began. A difference names its place. What cannot be proven, because DATA no longer holds what the run
took, is told apart from a difference. No sentence holds a whole msisdn.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from upswell.audit.replay.differences import of_counts, of_ledgers, of_notifications
from upswell.audit.replay.forgotten import Forgotten
from upswell.audit.replay.output_check import strangers
from upswell.audit.replay.replay import (
    Past,
    References,
    Replay,
    Step,
    batches,
    remember,
    unread,
)
from upswell.kernel import OUTCOMES, REASONS
from upswell.output.names import Staged, place_of
from upswell.output.published import Where, describe_change, published_place, where
from upswell.privacy import escape
from upswell.reference.application import directory_name
from upswell.source.file import File
from upswell.source.listing import show_name
from upswell.state.batch import LogRange
from upswell.state.queries.notifications import Row, notifications
from upswell.state.reader import StateReader
from upswell.zones import date_of

DIFFERENCES_MAX = 20  # of one kind: a damaged state may differ in every row
_HASH_MASK = (1 << 64) - 1
_DECIDED = (
    "suppressed", "no_rule", "outside_window", "late",
    "capped", "capped_customer", "control", "counted", "notified",
)  # fmt: skip
"""Outcomes of targeted customers' records: which of them it is may hang on what is lost."""


@dataclass(slots=True)
class Day:
    """The notifications of one day."""

    notifications: int = 0
    """All that were sent, as the state counts them."""
    forgotten: int = 0
    """Of them those of customers who were forgotten: counted, and no longer held."""
    pruned: int = 0
    """Of them those that the state no longer keeps, since their day is long ago."""
    control: int = 0
    """Notifications of the control group, which are not among the others."""
    where: Counter[Where] = field(default_factory=Counter)
    """The lines of files that are in OUTPUT, were changed there or taken away, or wait to be published."""

    @property
    def unproven(self) -> int:
        """Notifications that no replay gives, as far as what it read goes."""
        return max(self.notifications - self.where.total(), 0)


@dataclass(slots=True)
class Reconciled:
    """What fits, and what does not."""

    last_batch: int = 0
    batches: int = 0
    lines: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    files: dict[str, Counter[str]] = field(default_factory=dict)
    """By file: the outcomes of its lines, of what was read again."""
    days: dict[int, Day] = field(default_factory=dict)
    differences: list[str] = field(default_factory=list)
    forgotten: int = 0
    """Notifications of customers who were forgotten: the replay makes them, and the state holds them no more."""
    pruned: int = 0
    """Notifications of days that the state no longer keeps: counted, and proven by what was published alone."""
    unproven: list[str] = field(default_factory=list)
    """What could not be looked at, a sentence each."""

    def to_json(self) -> dict[str, object]:
        """One object: counts, then the days and files, then what differs."""
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


class _Sum(NamedTuple):
    """A set of notifications in two numbers, whatever their order."""

    rows: int = 0
    hashes: int = 0

    def plus(self, row: Row) -> "_Sum":
        return _Sum(self.rows + 1, (self.hashes + hash(row)) & _HASH_MASK)


def reconcile(state_dir: Path, *, data: Path | None = None, day: int | None = None) -> Reconciled:
    """Replay the log and compare. ``day``: tell only of the notifications of that day, and of all files of DATA.

    Raises StorageError when there is no state or its rows are damaged, InputMissing without DATA.
    """
    with StateReader.open(state_dir) as reader:
        return _Reconciliation(reader, remember(reader, data, ledger=day is None), day).run()


class _Reconciliation:
    """One comparison, from the first batch to the last."""

    def __init__(self, reader: StateReader, past: Past, day: int | None) -> None:
        self.reader = reader
        self.past = past
        self.day = day
        self.references = References(reader)
        self.rows = reader.batches()
        self.replay = Replay(past, self.references)
        self.found = Reconciled(last_batch=past.last_batch)
        self.reasons: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.first_ranges: dict[str, int] = {}
        """By file: the batch of its first range."""
        self.sums: defaultdict[int, _Sum] = defaultdict(_Sum)
        self.hanging: list[tuple[int, str]] = []
        """Differences that prove something only if all before their batch could be read."""
        self.forgotten = Forgotten(reader, past)
        self.staged: set[str] = set()
        """Places of published files within OUTPUT."""
        self.changed: list[str] = []
        """How files of OUTPUT differ, as many as are told, and one more."""

    def run(self) -> Reconciled:
        past = self.past
        for batch in batches(self.reader, self.past):
            self._take(batch)
        proven = self._lost()
        self._keep(iter(self.changed))
        self._notifications(proven)
        self._files()
        if self.day is None:
            self._keep(
                f"{escape(name)}: no batch published this file"
                for name in strangers(
                    self.reader, past.output, self.staged, past.first_batch, past.last_batch
                )
            )
            self._totals(proven)
            self._ledger(proven)
        self._keep(sentence for number, sentence in self.hanging if number < proven)
        return self.found

    def _is_kept(self, day: int) -> bool:
        """Whether the state should hold the notifications of a day, and they are asked for."""
        return self.day in (None, day) and day >= self.past.pruned_before

    def _keep(self, sentences: Iterator[str]) -> None:
        """Note differences, as many of one kind as one can read."""
        for number, sentence in enumerate(sentences):
            if number == DIFFERENCES_MAX:
                self.found.differences.append("and more of this kind")
                break
            self.found.differences.append(sentence)

    def _take(self, batch: list[LogRange]) -> None:
        """Replay a batch, and compare it with its row and with what it published."""
        number = batch[0].batch
        outcomes, reasons, lines = Counter[str](), Counter[str](), 0
        outputs: defaultdict[str, list[bytes]] = defaultdict(list)
        by_day: Counter[tuple[str, int]] = Counter()
        for taken in batch:
            self.first_ranges.setdefault(taken.file, number)
        for step in self.replay.take(batch):
            for taken, scanned in step.pairs:
                # Without the zeros: there may be a million files.
                some = +Counter(dict(zip(OUTCOMES, scanned.outcomes, strict=True)))
                why = +Counter(dict(zip(REASONS, scanned.rejects, strict=True)))
                self.found.files.setdefault(taken.file, Counter()).update(some)
                self.reasons[taken.file].update(why)
                outcomes, reasons, lines = outcomes + some, reasons + why, lines + scanned.lines
                if sum(some.values()) != scanned.lines:
                    self.found.differences.append(
                        f"{show_name(taken.file)}: its lines are not the sum of their outcomes"
                    )
            self._note(step, number, outputs, by_day)
        self.found.batches += 1
        self.found.lines += lines
        self.found.outcomes.update(outcomes)
        if self.forgotten.is_blind(number):
            self.staged.update(map(published_place, self.reader.staged(number).values()))
            return
        if self.day is None:
            self._batch_row(number, lines, outcomes, reasons)
        self._published(number, outputs, by_day)

    def _note(
        self,
        step: Step,
        number: int,
        outputs: dict[str, list[bytes]],
        by_day: Counter[tuple[str, int]],
    ) -> None:
        """Take note of what a step of a batch notified."""
        names = step.rules.applications
        for made, control in (
            (step.result.outputs, False),
            (step.result.control_outputs, True),
        ):
            for application, content in made:
                place = place_of(directory_name(names[application]), control)
                outputs[place].append(content)
        for row in _rows(step):
            day, name, *_, control = row
            if self._is_kept(day):
                self.sums[number] = self.sums[number].plus(row)
                self.forgotten.replayed(number, row)
            by_day[place_of(directory_name(name), control), day] += 1

    def _batch_row(
        self, number: int, lines: int, outcomes: Counter[str], reasons: Counter[str]
    ) -> None:
        row = next((row for row in self.rows if row.number >= number), None)
        if row is None or row.number != number:
            self.hanging.append((number, f"batch {number} is in the log and nowhere else"))
        elif (row.lines, +Counter(row.outcomes), +Counter(row.reasons)) != (
            lines,
            +outcomes,
            +reasons,
        ):
            told = of_counts(Counter(row.outcomes) + Counter(row.reasons), outcomes + reasons)
            self.hanging.append(
                (number, f"batch {number} is counted otherwise than replayed: {told}")
            )

    def _published(
        self, number: int, outputs: dict[str, list[bytes]], by_day: Counter[tuple[str, int]]
    ) -> None:
        """Compare what the batch published with the replay, and OUTPUT with what the batch published."""
        staged = {one.directory: one for one in self.reader.staged(number).values()}
        self.staged.update(map(published_place, staged.values()))
        for place in sorted(staged.keys() | outputs.keys()):
            of_place = {day: n for (name, day), n in by_day.items() if name == place}
            if self.day is not None and self.day not in of_place:
                continue
            content = b"".join(outputs.get(place, ()))
            one = staged.get(place)
            same = one is not None and one.digest == hashlib.sha256(content).digest()
            if not same:
                what = f"what batch {number} published for {escape(place)}"
                self.hanging.append((number, f"{what} is not what its replay gives"))
            if one is not None:
                self._look(one, of_place, content if same else None)

    def _look(self, one: Staged, by_day: dict[int, int], content: bytes | None) -> None:
        """Look for a published file, which must hold what was committed, and count its lines by day.

        ``content``: that, when the replay gives it.
        """
        found = where(self.past.output, one)
        for day, lines in by_day.items():
            if self.day in (None, day) and not one.control:
                self.found.days.setdefault(day, Day()).where[found] += lines
        if found == "changed" and len(self.changed) <= DIFFERENCES_MAX:
            self.changed.append(describe_change(self.past.output, one, content))

    def _lost(self) -> int:
        """Tell which files are no longer what was taken; the first batch that hangs on one of them."""
        proven = self.past.last_batch + 1
        for name, why in sorted(self.replay.lost.items()):
            file = self.past.files[name]
            sentence = f"{show_name(name)} (bytes 0 to {file.offset:,}) {why}"
            self.found.files.pop(name, None)
            if unread(why):
                self.found.unproven.append(sentence)
            else:
                self.found.differences.append(sentence)
            proven = min(proven, self.first_ranges[name])
        blind = list(self.forgotten.sentences())
        self.found.unproven += blind
        if blind:
            ledger = self.past.last is not None and self.forgotten.is_blind(self.past.last.number)
            self.found.unproven.append(
                "for that these are not compared either: the state's running totals, which of the outcomes that hang"
                f" on totals and caps the lines of each file had{', and the ledger' if ledger else ''}"
            )
        if proven <= self.past.last_batch:
            self.found.unproven.append(
                f"notifications and totals from batch {max(proven, self.past.first_batch)} on hang on that"
            )
        return proven

    def _kept_rows(self) -> Iterator[tuple[int, Row]]:
        """The notifications of the state with their batches, of the day or all."""
        for batch, row in notifications(self.reader, self.past.applications, self.day):
            if batch <= self.past.last_batch and row[0] >= self.past.pruned_before:
                yield batch, row

    def _notifications(self, proven: int) -> None:
        """Compare the state's notifications with the replay's, and with its own count of them."""
        sums: defaultdict[int, _Sum] = defaultdict(_Sum)
        held = Counter[tuple[int, str, bool]]()
        for batch, row in self._kept_rows():
            day, application, *_, control = row
            sums[batch] = sums[batch].plus(row)
            held[day, application, control] += 1
            self.forgotten.kept(batch, row)
        self._days(held)
        unlike = []
        for number in sorted(sums.keys() | self.sums.keys()):
            if number < proven and not self.forgotten.is_blind(number):
                self.found.forgotten += self.forgotten.lines(number, self.day)
                if sums[number] != self.sums[number] and not self.forgotten.explains(
                    number, self.day
                ):
                    unlike.append(number)
        if unlike:
            self._keep(self._unlike_rows(unlike[0]))
            self.found.differences += [
                f"the notifications of batch {number} are not those of its replay"
                for number in unlike[1:DIFFERENCES_MAX]
            ]

    def _days(self, held: Counter[tuple[int, str, bool]]) -> None:
        """Count the notifications of each day, and compare those that are held with the state's own count."""
        forgotten = self.forgotten.counted(self.day)
        known = {(*key, False): lines for key, lines in self.past.notified.items()}
        known |= {(*key, True): lines for key, lines in self.past.control.items()}
        for key in sorted(held.keys() | forgotten.keys() | known.keys()):
            day, application, control = key
            if self.day not in (None, day):
                continue
            told, rows = known.get(key, 0), held[key] + forgotten[key]
            pruned = told if day < self.past.pruned_before else 0
            self.found.pruned += pruned
            of_day = self.found.days.setdefault(day, Day())
            if control:
                of_day.control += pruned or rows
            else:
                of_day.notifications += pruned or rows
                of_day.forgotten += forgotten[key]
                of_day.pruned += pruned
            if told != rows and not pruned:
                self.found.differences.append(
                    f"{escape(application)} on {date_of(day)}: the state counts {told:,} notifications and holds"
                    f" {rows:,}"
                )

    def _unlike_rows(self, number: int) -> Iterator[str]:
        """Where the notifications of a batch differ from its replay; it takes a second replay."""
        kept = {row for batch, row in self._kept_rows() if batch == number}
        again: set[Row] = set()
        sequences = {}
        replay = Replay(self.past, self.references)
        for batch in batches(self.reader, self.past):
            for step in replay.take(batch):
                if batch[0].batch == number:
                    again.update(row for row in _rows(step) if self.day in (None, row[0]))
            if batch[0].batch == number:
                sequences = {taken.sequence: taken.file for taken in batch}
                break
        yield from of_notifications(number, kept, again, sequences)

    def _files(self) -> None:
        """Compare each file's row with its lines."""
        for name, again in sorted(self.found.files.items()):
            file = self.past.files[name]
            place = self.replay.place(name)
            known = (file.offset, file.newlines, file.tail, +Counter(file.reasons))
            found = (place.byte, place.newlines, place.tail, +self.reasons[name])
            if known != found or not self._same(file, again):
                told = of_counts(Counter(file.outcomes), again)
                self.found.differences.append(
                    f"{show_name(name)}: counted otherwise than it is read again: {told}"
                )

    def _same(self, file: File, again: Counter[str]) -> bool:
        """Whether the outcomes are the same; with lost files before, those that hang on totals only in sum."""
        known = Counter(file.outcomes)
        if sum(known.values()) != file.lines:
            return False
        if self.replay.lost or self.forgotten.blind:
            known, again = _without_ledger(known), _without_ledger(again)
        return +known == +again

    def _totals(self, proven: int) -> None:
        """Compare the running totals of the state with the replay."""
        totals, found = self.past.totals, self.found
        if proven <= self.past.last_batch or self.forgotten.blind:
            return
        known = (totals.batches, totals.lines, +Counter(totals.outcomes))
        if known != (found.batches, found.lines, +found.outcomes):
            told = of_counts(Counter(totals.outcomes), found.outcomes)
            found.differences.append(
                f"the state's running totals are not those of its replay: {told}"
            )

    def _ledger(self, proven: int) -> None:
        """Compare totals, fired occurrences and caps with those of the replay, a shard at a time."""
        last = self.past.last
        if last is None or proven <= last.number or self.forgotten.is_blind(last.number):
            return
        ledger = self.past.ledger()
        self.replay.forget(last.number + 1)
        self.replay.ledger.drop_before(last.day_open)
        self._keep(of_ledgers(ledger, self.replay.ledger))


def _rows(step: Step) -> Iterator[Row]:
    """The notifications of a step, as the state would keep them."""
    names = step.rules.applications
    for rows, control in (
        (step.result.notifications, False),
        (step.result.control_notifications, True),
    ):
        for day, application, msisdn, index, byte, raw in rows:
            sequence = step.pairs[index][0].sequence
            yield day, names[application], msisdn, sequence, byte, raw, control


def _without_ledger(outcomes: Counter[str]) -> Counter[str]:
    merged = Counter({name: n for name, n in outcomes.items() if name not in _DECIDED})
    merged["decided"] = sum(outcomes[name] for name in _DECIDED)
    return merged
