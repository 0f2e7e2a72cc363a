"""Replays the log over the files that are kept: what the run must have decided, computed again.

Owns the way from a state's log back to outcomes, notifications and totals, through the kernel and a ledger of its own.
It writes nothing and holds no transaction open while it reads files, so a run may go on meanwhile. The invariant:
bytes that differ from those the run consumed are reported in ``lost``, never guessed; whatever depends on them proves
nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from upswell import kernel
from upswell.audit.replay.snapshot import StateSnapshot
from upswell.audit.replay.versions import VersionCache
from upswell.config.settings import threads_default
from upswell.kernel import Clock, Ledger, Range, Result, Rules, Scanned, Scanner, Segment
from upswell.reference.compiled import compile_policy
from upswell.reference.suppression import Forgetting
from upswell.reference.versions import Versions
from upswell.state.batch import LogRange
from upswell.zones import OpenDays, Zones, open_days

OUTPUT_BYTES_MAX = 16 << 20  # of notifications in memory at once, as in a run
WORK_MS_MAX = 1000  # so that an interrupt is noticed soon
GONE = "is no longer in DATA"
SHORT = "is shorter than the part that was consumed"
CHANGED = "differs from the bytes that were consumed"
_UNREADABLE = "cannot be read"
_PROBLEMS: Mapping[str, str] = {
    "gone": GONE,
    "short": SHORT,
    "changed": CHANGED,
    "not_regular": "is no longer a regular file",
}
"""By the kernel's slug."""


class Terms(NamedTuple):
    """Rules and limit in place of the active ones; None: the active ones."""

    rules: Rules | None = None
    max_per_customer_per_day: int | None = None


AS_THE_LOG_SAYS = Terms()


class Step(NamedTuple):
    """The result of some ranges of a batch, in order; a range may take several steps."""

    pairs: list[tuple[LogRange, Scanned]]
    rules: Rules
    result: Result
    branch_rules: list[Rules]
    """The rules of each branch of the result."""
    point_rules: list[Rules]
    """The rules of each point of the curve."""


class FilePosition(NamedTuple):
    """A position in a file, at which its next range begins."""

    byte: int = 0
    newlines: int = 0
    digest: int = 0
    tail: int = 0


class Replay:
    """One pass over the log, with the versions that the log names or with others.

    It may decide by several terms side by side, each with a ledger of its own: the bytes are read once.
    """

    def __init__(
        self,
        snapshot: StateSnapshot,
        versions: VersionCache,
        terms: Terms = AS_THE_LOG_SAYS,
        *,
        segment: Segment | None = None,
        suppressed: Segment | None = None,
        branches: Sequence[Terms] = (),
        points: Sequence[Terms] = (),
    ) -> None:
        """Begin with the caps that the state began with.

        Args:
            snapshot: of the state.
            versions: loads what the log names.
            terms: by which records are decided.
            segment: in place of those that were active, for all terms.
            suppressed: a suppression list in place of those that were active, for all terms.
            branches: other terms, each for a branch of the ledger.
            points: of a curve: terms that are only counted, and whose rules differ in nothing but thresholds.
        """
        self.ledger = Ledger.load(*snapshot.adopted, 0, threads_default())
        self.ledger.branch(len(branches), len(points))
        self.day_open = 0
        self.lost: dict[str, str] = {}
        """By file: why its bytes are not those that the run consumed."""
        self._snapshot = snapshot
        self._versions = versions
        self._terms = terms
        self._branches = branches
        self._points = points
        self._segment = segment
        self._suppressed = suppressed
        self._scanner: tuple[Zones, Scanner] | None = None
        """The scanner, and the time zones whose tables its clock has."""
        self._forgotten: set[int] = set()
        """The forgettings that were applied to the ledger."""
        self._positions: dict[str, FilePosition] = {}
        self._files: dict[str, tuple[bytes, bool] | None] = {}
        self._left: LogRange | None = None
        """A range whose unterminated last line is left."""

    def steps(self, batch: Sequence[LogRange]) -> Iterator[Step]:
        """Replay a batch; its steps must be exhausted before the next batch.

        Raises StorageError when a version that the log names is damaged.
        """
        forgotten = self.forget(batch[0].batch)
        segment, (own, *others) = self._reference(batch[0].versions, forgotten)
        rules, policy = own
        branches, points = others[: len(self._branches)], others[len(self._branches) :]
        scanner = self._scanner_of(batch[0].versions)
        day_open = max(self._open_days(logged).day_open for logged in batch)
        rest = [logged for logged in batch if logged.file not in self.lost]
        while rest and (asked := self._call(rest)):
            result = scanner.process(
                [found for _, found in asked],
                segment,
                rules,
                self.ledger,
                OUTPUT_BYTES_MAX,
                WORK_MS_MAX,
                policy,
                branches,
                points,
            )
            scans = list(zip(asked, result.ranges, strict=False))
            pairs = [(logged, scanned) for (logged, _), scanned in scans]
            yield Step(
                pairs,
                rules,
                result,
                [rules for rules, _ in branches],
                [rules for rules, _ in points],
            )
            for (logged, found), scanned in scans:
                self._advance(logged, found, scanned)
            rest = [
                logged
                for logged in rest
                if logged.file not in self.lost and self.position(logged.file).byte < logged.end
            ]
        if day_open > self.day_open:
            self.day_open = day_open
            self.ledger.drop_before(day_open)

    def position(self, name: str) -> FilePosition:
        """Return how far a file has been read, under its own name or that of a file which it continues."""
        if name not in self._positions and (before := self._snapshot.files[name].continues):
            return self.position(before)
        return self._positions.get(name, FilePosition())

    def forget(self, number: int) -> list[Forgetting]:
        """Take out of the ledger who was forgotten before this batch; return those who are suppressed in it."""
        suppressed = []
        for one in self._snapshot.forgettings:
            if one.key is not None and one.first_batch <= number:
                suppressed.append(one)
                if one.id not in self._forgotten:
                    self._forgotten.add(one.id)
                    self.ledger.forget(one.key, sorted(one.hashes))
        return suppressed

    def _reference(
        self, versions: Versions, forgotten: Sequence[Forgetting]
    ) -> tuple[Segment, list[tuple[Rules, kernel.Policy]]]:
        """Return the segment of a batch, and its rules and policy by each of the terms."""
        cache = self._versions
        policy = cache.policy(versions.policy)
        suppressed = self._suppressed
        if suppressed is None:  # an empty list is one, too
            suppressed = cache.suppressed(versions.suppress)
        policies: dict[int, kernel.Policy] = {}
        decided_by = []
        for terms in (self._terms, *self._branches, *self._points):
            limit = policy.max_per_customer_per_day
            if terms.max_per_customer_per_day is not None:
                limit = terms.max_per_customer_per_day
            if limit not in policies:
                limited = policy._replace(max_per_customer_per_day=limit)
                policies[limit] = compile_policy(limited, suppressed, forgotten)
            decided_by.append((terms.rules or cache.rules(versions.rules)[1], policies[limit]))
        return self._segment or cache.segment(versions.segment), decided_by

    def _scanner_of(self, versions: Versions) -> Scanner:
        """Return a scanner by the tables of a batch; another one drops the decompressors that the last one had open."""
        zones = self._versions.zones(versions.zones)
        if self._scanner is None or self._scanner[0] != zones:
            clock = Clock(zones.shifts())
            self._scanner = zones, Scanner(threads_default(), self._snapshot.measure, clock)
        return self._scanner[1]

    def _open_days(self, logged: LogRange) -> OpenDays:
        return open_days(
            logged.stamp,
            logged.newest_stamp,
            self._snapshot.keep_days,
            self._versions.zones(logged.versions.zones),
            logged.day_open_before,
        )

    def _call(self, rest: Sequence[LogRange]) -> list[tuple[LogRange, Range]]:
        """Return the ranges for one call: up to the first of a compressed file that continues in a later batch.

        The kernel keeps a decompressor unless the range is marked as the last of its file. It may then leave an
        unterminated line, which must be asked for before anything that follows.
        """
        asked = []
        for logged in rest:
            found = self._locate(logged.file)
            if found is None:
                continue
            goes_on = found[1] and logged.end < self._snapshot.files[logged.file].offset
            final = not goes_on or logged == self._left
            asked.append((logged, self._range(logged, found, final)))
            if not final:
                break
        return asked

    def _locate(self, name: str) -> tuple[bytes, bool] | None:
        """Return (path, whether it is compressed) of a file; None when it is lost."""
        before = self._snapshot.files[name].continues
        if before in self.lost:
            self.lost[name] = self.lost[before]
            return None
        if name not in self._files:
            try:
                self._files[name] = self._snapshot.locate(name)
            except OSError as error:
                self._files[name] = None
                self.lost[name] = f"{_UNREADABLE}: {error.strerror}"
        if self._files[name] is None:
            self.lost.setdefault(name, GONE)
        return self._files[name]

    def _has_moved(self, name: str) -> bool:
        """Return whether a file that just vanished was moved to the archive, where it is read from then on."""
        before = self._files.pop(name)
        return self._locate(name) not in (None, before)

    def _range(self, logged: LogRange, found: tuple[bytes, bool], final: bool) -> Range:
        at = self.position(logged.file)
        days = self._open_days(logged)
        return Range(
            name=logged.file,
            path=found[0],
            compressed=found[1],
            start=at.byte,
            end=logged.end,
            final=final,
            tail=at.tail,
            newlines=at.newlines,
            digest=at.digest,
            day_max=days.day_max,
            day_open=days.day_open,
            rejects_left_bytes=0,
        )

    def _advance(self, logged: LogRange, asked: Range, scanned: Scanned) -> None:
        name = logged.file
        self._positions[name] = FilePosition(
            scanned.end, scanned.newlines, scanned.digest, scanned.tail
        )
        file = self._snapshot.files[name]
        if scanned.problem == "unreadable":
            self.lost[name] = f"{_UNREADABLE}: {scanned.problem_detail}"
        elif scanned.problem == "gone" and self._has_moved(name):
            return  # it is asked for again
        elif scanned.problem:
            self.lost[name] = _PROBLEMS.get(scanned.problem, scanned.problem_detail)
        elif scanned.end == file.offset and scanned.digest != file.digest:
            self.lost[name] = _PROBLEMS["changed"]
        elif scanned.complete and scanned.end < logged.end:
            if asked.final:
                self.lost[name] = _PROBLEMS["short"]
            self._left = logged


def is_unread(why: str) -> bool:
    """Return whether a file is lost because it could not be read, so that its bytes are unknown."""
    return why == GONE or why.startswith(_UNREADABLE)
