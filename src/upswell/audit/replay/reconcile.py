"""Reconciles DATA, the log, the state and OUTPUT: replays the log and compares what it gives with all of them.

Owns the comparisons behind ``upswell reconcile``. It only reads, and may run beside a run: it is about the state as it
was when it began. A difference names its place. What cannot be proven, because DATA no longer contains what the run
consumed, is reported apart from differences. No sentence contains a whole msisdn.

One file because all comparisons are made during one replay and add to one result.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from upswell.audit.replay.differences import (
    describe_counts,
    ledger_differences,
    notification_differences,
    without_ledger,
)
from upswell.audit.replay.forgotten import Forgotten
from upswell.audit.replay.output_check import OutputCheck
from upswell.audit.replay.reconciliation import ReconciledDay, Reconciliation
from upswell.audit.replay.replay import Replay, Step, is_unread
from upswell.audit.replay.snapshot import StateSnapshot, batches, take_snapshot
from upswell.audit.replay.versions import VersionCache
from upswell.kernel import OUTCOMES, REASONS
from upswell.output.names import place_of
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


class _Sum(NamedTuple):
    """A set of notifications as two numbers, independent of their order."""

    rows: int = 0
    hashes: int = 0

    def plus(self, row: Row) -> "_Sum":
        return _Sum(self.rows + 1, (self.hashes + hash(row)) & _HASH_MASK)


def reconcile(
    state_dir: Path, *, data: Path | None = None, day: int | None = None
) -> Reconciliation:
    """Replay the log and compare.

    Args:
        state_dir: the state's directory.
        data: where the files are, if they were moved.
        day: compare only the notifications of this day, and all files of DATA.

    Raises:
        StorageError: there is no state, or its rows are damaged. InputMissing: DATA does not exist.
    """
    with StateReader.open(state_dir) as reader:
        snapshot = take_snapshot(reader, data, ledger=day is None)
        return _Reconciler(reader, snapshot, day).run()


class _Reconciler:
    """One comparison, from the first batch to the last."""

    def __init__(self, reader: StateReader, snapshot: StateSnapshot, day: int | None) -> None:
        self.reader = reader
        self.snapshot = snapshot
        self.day = day
        self.versions = VersionCache(reader)
        self.rows = reader.batches()
        self.replay = Replay(snapshot, self.versions)
        self.found = Reconciliation(last_batch=snapshot.last_batch)
        self.reasons: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.first_ranges: dict[str, int] = {}
        """By file: the batch of its first range."""
        self.sums: defaultdict[int, _Sum] = defaultdict(_Sum)
        """Of the replay's notifications, by batch."""
        self.conditional: list[tuple[int, str]] = []
        """(batch, difference): these prove something only if everything before their batch could be read."""
        self.forgotten = Forgotten(reader, snapshot)
        self.output = OutputCheck(reader, snapshot, changes_max=DIFFERENCES_MAX)

    def run(self) -> Reconciliation:
        for batch in batches(self.reader, self.snapshot):
            self._replay(batch)
        proven = self._lost()
        for (day, where), lines in self.output.lines.items():
            self.found.days.setdefault(day, ReconciledDay()).where[where] += lines
        self._report(iter(self.output.changes))
        self._notifications(proven)
        self._files()
        if self.day is None:
            self._report(self.output.unknown())
            self._totals(proven)
            self._ledger(proven)
        self._report(sentence for number, sentence in self.conditional if number < proven)
        return self.found

    def _is_kept(self, day: int) -> bool:
        """Return whether the state should have the notifications of a day, and they are asked for."""
        return self.day in (None, day) and day >= self.snapshot.pruned_before

    def _report(self, sentences: Iterator[str]) -> None:
        """Add differences of one kind, as many as one can read."""
        for number, sentence in enumerate(sentences):
            if number == DIFFERENCES_MAX:
                self.found.differences.append("and more differences of this kind")
                break
            self.found.differences.append(sentence)

    def _replay(self, batch: list[LogRange]) -> None:
        """Replay a batch, and compare it with its row and with what it published."""
        number = batch[0].batch
        outcomes, reasons, lines = Counter[str](), Counter[str](), 0
        outputs: defaultdict[str, list[bytes]] = defaultdict(list)
        by_day: Counter[tuple[str, int]] = Counter()
        for logged in batch:
            self.first_ranges.setdefault(logged.file, number)
        for step in self.replay.steps(batch):
            for logged, scanned in step.pairs:
                # Without the zeros: there may be a million files.
                some = +Counter(dict(zip(OUTCOMES, scanned.outcomes, strict=True)))
                why = +Counter(dict(zip(REASONS, scanned.rejects, strict=True)))
                self.found.files.setdefault(logged.file, Counter()).update(some)
                self.reasons[logged.file].update(why)
                outcomes, reasons, lines = outcomes + some, reasons + why, lines + scanned.lines
                if sum(some.values()) != scanned.lines:
                    self.found.differences.append(
                        f"{show_name(logged.file)}: its line count is not the sum of its outcomes"
                    )
            self._note(step, number, outputs, by_day)
        self.found.batches += 1
        self.found.lines += lines
        self.found.outcomes.update(outcomes)
        if self.forgotten.is_blind(number):
            self.output.staged(number)
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
        """Add what a step of a batch notified."""
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
        """Compare the batch's own row with its replay."""
        row = next((row for row in self.rows if row.number >= number), None)
        if row is None or row.number != number:
            self.conditional.append((number, f"batch {number} is in the log but has no row"))
        elif (row.lines, +Counter(row.outcomes), +Counter(row.reasons)) != (
            lines,
            +outcomes,
            +reasons,
        ):
            counts = describe_counts(
                Counter(row.outcomes) + Counter(row.reasons), outcomes + reasons
            )
            self.conditional.append(
                (number, f"the counts of batch {number} differ from its replay: {counts}")
            )

    def _published(
        self, number: int, outputs: dict[str, list[bytes]], by_day: Counter[tuple[str, int]]
    ) -> None:
        """Compare what the batch published with the replay, and OUTPUT with what the batch published."""
        staged = self.output.staged(number)
        for place in sorted(staged.keys() | outputs.keys()):
            of_place = {
                day: lines
                for (name, day), lines in by_day.items()
                if name == place and self.day in (None, day)
            }
            if self.day is not None and not of_place:
                continue
            content = b"".join(outputs.get(place, ()))
            one = staged.get(place)
            same = one is not None and one.digest == hashlib.sha256(content).digest()
            if not same:
                what = f"what batch {number} published for {escape(place)}"
                self.conditional.append((number, f"{what} differs from its replay"))
            if one is not None:
                self.output.compare(one, of_place, content if same else None)

    def _lost(self) -> int:
        """Report the files that are no longer what was consumed; return the first batch that depends on one of them."""
        proven = self.snapshot.last_batch + 1
        for name, why in sorted(self.replay.lost.items()):
            file = self.snapshot.files[name]
            sentence = f"{show_name(name)} (bytes 0 to {file.offset:,}) {why}"
            self.found.files.pop(name, None)
            if is_unread(why):
                self.found.unproven.append(sentence)
            else:
                self.found.differences.append(sentence)
            proven = min(proven, self.first_ranges[name])
        blind = list(self.forgotten.sentences())
        self.found.unproven += blind
        if blind:
            last = self.snapshot.last
            ledger = last is not None and self.forgotten.is_blind(last.number)
            self.found.unproven.append(
                "therefore not compared either: the state's running totals, the outcomes of each file that depend on"
                f" totals and caps{', and the ledger' if ledger else ''}"
            )
        if proven <= self.snapshot.last_batch:
            self.found.unproven.append(
                f"notifications and totals from batch {max(proven, self.snapshot.first_batch)} on depend on that"
            )
        return proven

    def _kept_rows(self) -> Iterator[tuple[int, Row]]:
        """Yield (batch, notification) of the state, of the day or all."""
        for batch, row in notifications(self.reader, self.snapshot.applications, self.day):
            if batch <= self.snapshot.last_batch and row[0] >= self.snapshot.pruned_before:
                yield batch, row

    def _notifications(self, proven: int) -> None:
        """Compare the state's notifications with the replay's, and with its own count of them."""
        sums: defaultdict[int, _Sum] = defaultdict(_Sum)
        kept = Counter[tuple[int, str, bool]]()
        for batch, row in self._kept_rows():
            day, application, *_, control = row
            sums[batch] = sums[batch].plus(row)
            kept[day, application, control] += 1
            self.forgotten.kept(batch, row)
        self._days(kept)
        unlike = []
        for number in sorted(sums.keys() | self.sums.keys()):
            if number < proven and not self.forgotten.is_blind(number):
                self.found.forgotten += self.forgotten.lines(number, self.day)
                if sums[number] != self.sums[number] and not self.forgotten.explains(
                    number, self.day
                ):
                    unlike.append(number)
        if unlike:
            self._report(self._unlike_rows(unlike[0]))
            self.found.differences += [
                f"the notifications of batch {number} differ from its replay"
                for number in unlike[1:DIFFERENCES_MAX]
            ]

    def _days(self, kept: Counter[tuple[int, str, bool]]) -> None:
        """Count the notifications of each day, and compare those that the state has with its own count."""
        forgotten = self.forgotten.counted(self.day)
        known = {(*key, False): lines for key, lines in self.snapshot.notified.items()}
        known |= {(*key, True): lines for key, lines in self.snapshot.control.items()}
        for key in sorted(kept.keys() | forgotten.keys() | known.keys()):
            day, application, control = key
            if self.day not in (None, day):
                continue
            counted, rows = known.get(key, 0), kept[key] + forgotten[key]
            pruned = counted if day < self.snapshot.pruned_before else 0
            self.found.pruned += pruned
            of_day = self.found.days.setdefault(day, ReconciledDay())
            if control:
                of_day.control += pruned or rows
            else:
                of_day.notifications += pruned or rows
                of_day.forgotten += forgotten[key]
                of_day.pruned += pruned
            if counted != rows and not pruned:
                self.found.differences.append(
                    f"{escape(application)} on {date_of(day)}: the state counts {counted:,} notifications but has"
                    f" {rows:,}"
                )

    def _unlike_rows(self, number: int) -> Iterator[str]:
        """Yield where the notifications of a batch differ from its replay, which takes a second replay."""
        kept = {row for batch, row in self._kept_rows() if batch == number}
        replayed: set[Row] = set()
        sequences = {}
        replay = Replay(self.snapshot, self.versions)
        for batch in batches(self.reader, self.snapshot):
            for step in replay.steps(batch):
                if batch[0].batch == number:
                    replayed.update(row for row in _rows(step) if self.day in (None, row[0]))
            if batch[0].batch == number:
                sequences = {logged.sequence: logged.file for logged in batch}
                break
        yield from notification_differences(number, kept, replayed, sequences)

    def _files(self) -> None:
        """Compare each file's row with its lines."""
        for name, replayed in sorted(self.found.files.items()):
            file = self.snapshot.files[name]
            position = self.replay.position(name)
            known = (file.offset, file.newlines, file.tail, +Counter(file.reasons))
            found = (position.byte, position.newlines, position.tail, +self.reasons[name])
            if known != found or not self._same(file, replayed):
                counts = describe_counts(Counter(file.outcomes), replayed)
                self.found.differences.append(
                    f"{show_name(name)}: its counts differ from its replay: {counts}"
                )

    def _same(self, file: File, replayed: Counter[str]) -> bool:
        """Return whether the outcomes agree; with lost files before, those that depend on totals only in sum."""
        known = Counter(file.outcomes)
        if sum(known.values()) != file.lines:
            return False
        if self.replay.lost or self.forgotten.blind:
            known, replayed = without_ledger(known), without_ledger(replayed)
        return +known == +replayed

    def _totals(self, proven: int) -> None:
        """Compare the running totals of the state with the replay."""
        totals, found = self.snapshot.totals, self.found
        if proven <= self.snapshot.last_batch or self.forgotten.blind:
            return
        known = (totals.batches, totals.lines, +Counter(totals.outcomes))
        if known != (found.batches, found.lines, +found.outcomes):
            counts = describe_counts(Counter(totals.outcomes), found.outcomes)
            found.differences.append(f"the state's running totals differ from the replay: {counts}")

    def _ledger(self, proven: int) -> None:
        """Compare totals, fired window instances and caps with the replay's, a shard at a time."""
        last = self.snapshot.last
        if last is None or proven <= last.number or self.forgotten.is_blind(last.number):
            return
        ledger = self.snapshot.ledger()
        self.replay.forget(last.number + 1)
        self.replay.ledger.drop_before(last.day_open)
        self._report(ledger_differences(ledger, self.replay.ledger))


def _rows(step: Step) -> Iterator[Row]:
    """Yield the notifications of a step as the state would keep them."""
    names = step.rules.applications
    for rows, control in (
        (step.result.notifications, False),
        (step.result.control_notifications, True),
    ):
        for day, application, msisdn, index, byte, raw in rows:
            sequence = step.pairs[index][0].sequence
            yield day, names[application], msisdn, sequence, byte, raw, control
