"""The log of ranges once more, over the files that are kept: what a state says, worked out anew.

Owns the way from a state's log back to outcomes, notifications and totals, by the kernel and a ledger of its own. It
writes nothing and holds no transaction open while it reads files, so a run may go on meanwhile. The invariant: bytes
that are not those which the run took are told in ``lost``, never guessed; nothing that hangs on them is a proof.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, takewhile
from pathlib import Path
from typing import NamedTuple

from upswell import kernel
from upswell.config.settings import threads_default
from upswell.errors import InputMissing, StorageError
from upswell.kernel import (
    Clock,
    Found,
    Ledger,
    Range,
    Result,
    Rules,
    Scanned,
    Scanner,
    Segment,
)
from upswell.privacy import escape
from upswell.reference.compiled import compile_policy, compile_rules, unpack_rules
from upswell.reference.policy import OFF, Policy
from upswell.reference.rules import Ruleset, parse_rules
from upswell.reference.suppression import Forgetting
from upswell.reference.versions import Versions
from upswell.semantics import Measure
from upswell.source.file import File
from upswell.source.listing import archived_in, counterpart_of, stat_regular
from upswell.state.batch import LogRange
from upswell.state.ledger import decode_ledger, fetch_ledger
from upswell.state.queries.files import decode_files, fetch_consumed_files
from upswell.state.queries.forgotten import forgettings
from upswell.state.queries.notifications import notification_totals
from upswell.state.reader import StateReader
from upswell.state.rows import CommittedBatch, LedgerParts, Totals
from upswell.storage.files import RECOVERS
from upswell.zones import OpenDays, Zones, open_days

OUTPUT_BYTES_MAX = 16 << 20  # of notifications in memory at once, as in a run
WORK_MS_MAX = 1000  # so that an interrupt is noticed soon
_LOOKS = 5  # at a ledger in files that a run goes on replacing


class Past(NamedTuple):
    """What a state said at one moment, and where its files are."""

    state_dir: Path
    data: Path
    archives: tuple[Path, ...]
    """Where finished files were moved to by the runs that had an archive, the last one first."""
    output: Path
    measure: Measure
    keep_days: int
    zones: Zones
    first_batch: int
    last: CommittedBatch | None
    files: dict[str, File]
    """By name, those of which something was taken."""
    totals: Totals
    notified: dict[tuple[int, str], int]
    """Notifications by day and application, as the state counts them."""
    control: dict[tuple[int, str], int]
    """The same of the control group."""
    applications: dict[int, str]
    """By id."""
    parts: LedgerParts
    """The ledger; empty when it was not asked for."""
    adopted: LedgerParts
    """The caps that the state was begun with."""
    pruned_before: int
    """The state keeps no notifications of earlier days; 0: it keeps all."""
    forgettings: tuple[Forgetting, ...]
    """Who was forgotten, as far as that is known."""

    @property
    def last_batch(self) -> int:
        """The number of the last batch of that moment; 0 when there was none."""
        return self.last.number if self.last else 0

    def place(self, name: str, *, taken: bool = True) -> tuple[bytes, bool] | None:
        """Where a file's content is kept, and whether compressed: under its name, or packed or unpacked since.

        In DATA or in a directory of its day, which an archive has, or DATA when an archive was named as that. OSError
        when that cannot be known. ``taken``: whether what was taken of it is wanted, or what was not.
        """
        twin = counterpart_of(name)
        # A twin of which something was taken, too, is a file of its own.
        kept = (name,) if twin in self.files else (name, twin)
        paths = [self.data / each for each in kept]
        paths += [archived_in(at, each) for at in (*self.archives, self.data) for each in kept]
        if taken and self.files[name].state == "held":
            # What is held in DATA may be another file under the name of one that was archived.
            paths = paths[len(kept) :] + paths[: len(kept)]
        for path in paths:
            if stat_regular(os.fsencode(path)) is not None:
                return os.fsencode(path), path.suffix == ".gz"
        return None

    def search(
        self, name: str, cuts: Sequence[int], msisdn: str, *, taken: bool = True
    ) -> Found | None:
        """The lines of a file that hold the digits, as ``kernel.search`` gives them; None when it is gone.

        OSError when that cannot be known, ValueError when its compressed data is broken. ``taken``: as of ``place``.
        """
        place = self.place(name, taken=taken)
        try:
            return None if place is None else _search(place, cuts, msisdn)
        except FileNotFoundError:  # it may just have been moved to the archive
            moved = self.place(name, taken=taken)
            return None if moved is None else _search(moved, cuts, msisdn)

    def ledger(self) -> Ledger:
        """The ledger as the state holds it. Raises StorageError when it is damaged."""
        day_open = self.last.day_open if self.last else 0
        try:
            return Ledger.load(*self.parts, day_open, threads_default())
        except ValueError as error:
            raise StorageError(f"the ledger is damaged: {error}", RECOVERS) from error


def remember(reader: StateReader, data: Path | None = None, *, ledger: bool = True) -> Past:
    """What the state says now. ``data``: where the files are, if they were moved. ``ledger``: whether it is needed.

    Raises StorageError when the state is damaged, InputMissing when DATA is not there.
    """
    for looks_left in reversed(range(_LOOKS)):
        with reader.snapshot():
            identity, last, totals = reader.identity(), reader.last(), reader.totals()
            first = identity.first_batch
            rows = fetch_ledger(reader) if ledger else fetch_ledger(reader, first - 1)
            consumed_rows = fetch_consumed_files(reader)
            names = {number: name for name, number in reader.applications().items()}
            people = tuple(forgettings(reader))
            counted = notification_totals(reader)
            control = notification_totals(reader, control=True)
        # Checked after the snapshot: a run must not wait for it to end before it can fold its log.
        files = {file.name: file for file in decode_files(reader, consumed_rows)}
        try:
            parts = decode_ledger(reader, rows)
            break
        except StorageError:
            # A ledger in files: a run may have replaced some since.
            if not looks_left or reader.last() == last:
                raise
    adopted = [(batch, delta) for batch, delta in parts.deltas if batch < first]
    place = data or identity.data
    if place is None or not place.is_dir():
        raise InputMissing(
            f"{escape(str(place or 'DATA'))}: there is no such directory",
            "name where the files are with --data",
        )
    return Past(
        state_dir=reader.state_dir,
        data=place,
        archives=identity.archives,
        # Without a run there is no OUTPUT, and no published file beside the database.
        output=identity.output_of(reader.state_dir) or reader.state_dir,
        measure=identity.measure,
        keep_days=identity.keep_days,
        zones=identity.zones,
        first_batch=first,
        last=last,
        files=files,
        totals=totals,
        notified={(day, names.get(number, "?")): lines for day, number, lines in counted},
        control={(day, names.get(number, "?")): lines for day, number, lines in control},
        applications=names,
        parts=parts,
        adopted=LedgerParts([], adopted),
        pruned_before=identity.pruned_before,
        forgettings=people,
    )


class Days(NamedTuple):
    """The days that are asked about, both included."""

    first: int
    last: int

    def has(self, day: int) -> bool:
        """Whether a day is one of them."""
        return self.first <= day <= self.last


def batches(reader: StateReader, past: Past) -> Iterator[list[LogRange]]:
    """The log of the past, the ranges of one batch at a time.

    All of it, whatever days are asked about: a night's total hangs on the cap of the night before, and so on without
    an end, and a file is only known to be the one that was taken when all that was taken of it is read.
    """
    log = takewhile(lambda taken: taken.batch <= past.last_batch, reader.log())
    for _, ranges in groupby(log, key=lambda taken: taken.batch):
        yield list(ranges)


class References:
    """The versions that the log names; of each kind the one that was asked for last is kept."""

    def __init__(self, reader: StateReader) -> None:
        self._reader = reader
        self._rules: tuple[str, Ruleset, Rules] | None = None
        self._segment: tuple[str, Segment] | None = None
        self._suppressed: tuple[str, Segment | None] = "", None
        self._policy: tuple[str, Policy] = "", OFF

    def rules(self, version: str) -> tuple[Ruleset, Rules]:
        """The rules of this version, for people and for the kernel."""
        if self._rules is None or self._rules[0] != version:
            ruleset = parse_rules(unpack_rules(self._reader.reference("rules", version)))
            self._rules = version, ruleset, compile_rules(ruleset)
        return self._rules[1:]

    def segment(self, version: str) -> Segment:
        """The segment of this version."""
        if self._segment is None or self._segment[0] != version:
            self._segment = version, Segment.load(self._reader.reference("segment", version))
        return self._segment[1]

    def suppressed(self, version: str) -> Segment | None:
        """The suppression list of this version; None without one."""
        if self._suppressed[0] != version:
            content = self._reader.reference("suppress", version) if version else b""
            self._suppressed = version, Segment.load(content) if version else None
        return self._suppressed[1]

    def policy(self, version: str) -> Policy:
        """The policy of this version."""
        if self._policy[0] != version:
            content = self._reader.reference("policy", version) if version else b""
            self._policy = version, Policy.parse(content)
        return self._policy[1]


class Step(NamedTuple):
    """What came of some ranges of a batch, in order; a range may take several steps."""

    pairs: list[tuple[LogRange, Scanned]]
    rules: Rules
    result: Result


class Place(NamedTuple):
    """Where a file's next range continues."""

    byte: int = 0
    newlines: int = 0
    digest: int = 0
    tail: int = 0


class Replay:
    """One pass over the log, with the references of the log or with others; several may go side by side."""

    def __init__(
        self,
        past: Past,
        references: References,
        *,
        rules: Rules | None = None,
        segment: Segment | None = None,
        suppressed: Segment | None = None,
        max_per_customer_per_day: int | None = None,
    ) -> None:
        """With what is given in the place of what was in force."""
        self.ledger = Ledger.load(*past.adopted, 0, threads_default())
        self.day_open = 0
        self.lost: dict[str, str] = {}
        """By file: why its bytes are not those that the run took."""
        self._past = past
        self._references = references
        self._rules = rules
        self._segment = segment
        self._suppressed = suppressed
        self._most = max_per_customer_per_day
        self._scanner = Scanner(threads_default(), past.measure, Clock(past.zones.shifts()))
        self._forgotten: set[int] = set()
        """The forgettings that the ledger has gone through."""
        self._places: dict[str, Place] = {}
        self._files: dict[str, tuple[bytes, bool] | None] = {}
        self._left: LogRange | None = None
        """Of which an unterminated line is left."""

    def take(self, batch: Sequence[LogRange]) -> Iterator[Step]:
        """Read a batch's ranges again; all steps must be taken before the next batch.

        Raises StorageError when a reference is damaged.
        """
        forgotten = self.forget(batch[0].batch)
        rules, segment, policy = self._reference(batch[0].versions, forgotten)
        day_open = max(self._open_days(taken).day_open for taken in batch)
        rest = [taken for taken in batch if taken.file not in self.lost]
        while rest and (asked := self._call(rest)):
            result = self._scanner.process(
                [found for _, found in asked],
                segment,
                rules,
                self.ledger,
                OUTPUT_BYTES_MAX,
                WORK_MS_MAX,
                policy,
            )
            scans = list(zip(asked, result.ranges, strict=False))
            yield Step([(taken, scanned) for (taken, _), scanned in scans], rules, result)
            for (taken, found), scanned in scans:
                self._advance(taken, found, scanned)
            rest = [
                taken
                for taken in rest
                if taken.file not in self.lost and self.place(taken.file).byte < taken.end
            ]
        if day_open > self.day_open:
            self.day_open = day_open
            self.ledger.drop_before(day_open)

    def place(self, name: str) -> Place:
        """Where a file stands."""
        return self._places.get(name, Place())

    def forget(self, number: int) -> list[Forgetting]:
        """Forget in the ledger who was forgotten before this batch; those who are suppressed in it."""
        suppressed = []
        for one in self._past.forgettings:
            if one.key is not None and one.first_batch <= number:
                suppressed.append(one)
                if one.id not in self._forgotten:
                    self._forgotten.add(one.id)
                    self.ledger.forget(one.key, sorted(one.hashes))
        return suppressed

    def _reference(
        self, versions: Versions, forgotten: Sequence[Forgetting]
    ) -> tuple[Rules, Segment, kernel.Policy]:
        references = self._references
        rules = self._rules or references.rules(versions.rules)[1]
        policy = references.policy(versions.policy)
        if self._most is not None:
            policy = policy._replace(max_per_customer_per_day=self._most)
        suppressed = self._suppressed or references.suppressed(versions.suppress)
        segment = self._segment or references.segment(versions.segment)
        return rules, segment, compile_policy(policy, suppressed, forgotten)

    def _open_days(self, taken: LogRange) -> OpenDays:
        return open_days(taken.stamp, taken.newest_stamp, self._past.keep_days, self._past.zones)

    def _call(self, rest: Sequence[LogRange]) -> list[tuple[LogRange, Range]]:
        """What one call is asked for: the ranges up to the first of a compressed file that goes on in a later batch.

        The kernel keeps a decompressor unless the range is to be the last of its file. It may then leave an
        unterminated line, which has to be asked for before anything that follows.
        """
        asked = []
        for taken in rest:
            kept = self._kept(taken.file)
            if kept is None:
                continue
            goes_on = kept[1] and taken.end < self._past.files[taken.file].offset
            final = not goes_on or taken == self._left
            asked.append((taken, self._range(taken, kept, final)))
            if not final:
                break
        return asked

    def _kept(self, name: str) -> tuple[bytes, bool] | None:
        """Where a file is; None when it is lost."""
        if name not in self._files:
            try:
                self._files[name] = self._past.place(name)
            except OSError as error:
                self._files[name] = None
                self.lost[name] = f"{_UNREADABLE}: {error.strerror}"
        if self._files[name] is None:
            self.lost.setdefault(name, GONE)
        return self._files[name]

    def _is_elsewhere(self, name: str) -> bool:
        """Whether a file that was there a moment ago was moved to the archive meanwhile; it is read there then."""
        before = self._files.pop(name)
        return self._kept(name) not in (None, before)

    def _range(self, taken: LogRange, kept: tuple[bytes, bool], final: bool) -> Range:
        at = self.place(taken.file)
        days = self._open_days(taken)
        return Range(
            name=taken.file,
            path=kept[0],
            compressed=kept[1],
            start=at.byte,
            end=taken.end,
            final=final,
            tail=at.tail,
            newlines=at.newlines,
            digest=at.digest,
            day_max=days.day_max,
            day_open=days.day_open,
            rejects_left_bytes=0,
        )

    def _advance(self, taken: LogRange, asked: Range, scanned: Scanned) -> None:
        name = taken.file
        self._places[name] = Place(scanned.end, scanned.newlines, scanned.digest, scanned.tail)
        file = self._past.files[name]
        if scanned.problem == "unreadable":
            self.lost[name] = f"{_UNREADABLE}: {scanned.problem_detail}"
        elif scanned.problem == "gone" and self._is_elsewhere(name):
            return  # it is asked for again
        elif scanned.problem:
            self.lost[name] = _PROBLEMS.get(scanned.problem, scanned.problem_detail)
        elif scanned.end == file.offset and scanned.digest != file.digest:
            self.lost[name] = _PROBLEMS["changed"]
        elif scanned.complete and scanned.end < taken.end:
            if asked.final:
                self.lost[name] = _PROBLEMS["short"]
            self._left = taken


GONE = "is no longer in DATA"
SHORT = "is shorter than what was taken of it"
CHANGED = "holds other bytes than were taken of it"
_UNREADABLE = "cannot be read"
_PROBLEMS: Mapping[str, str] = {
    "gone": GONE,
    "short": SHORT,
    "changed": CHANGED,
    "not_regular": "is no regular file any more",
}


def _search(place: tuple[bytes, bool], cuts: Sequence[int], msisdn: str) -> Found:
    path, compressed = place
    return kernel.search(path, cuts, msisdn, compressed=compressed)


def unread(why: str) -> bool:
    """Whether a file is lost because it could not be read, so that nothing is known of its bytes."""
    return why == GONE or why.startswith(_UNREADABLE)
