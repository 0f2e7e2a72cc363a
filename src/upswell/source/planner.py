"""Which ranges of which DATA files are next, and where every file stands.

Owns the order in which files are read, how far each has been and when one is done (docs/semantics.md, "Files").
``roster`` knows which files are there, ``entry`` what is in them, ``admission`` whether one may be read. It applies
nothing and writes nothing. A crash loses nothing: all of it is made again from the checkpoint's rows and a look.

Invariants: no byte is offered again once ``advance`` has heard that it was taken; ranges come by stamp, then by name in
bytes; nothing of a file is offered before it is known to be whole (when compressed), no duplicate and, where something
of it was taken before, unchanged.

A turn of the engine is a look or a glance and then, while there is something: ``ready``, the kernel, ``advance`` and a
commit of the rows that ``changed`` gives.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from upswell import kernel
from upswell.errors import UpswellError
from upswell.kernel import Range, Scanned
from upswell.source.admission import Admission
from upswell.source.file import File, State
from upswell.source.inventory import KnownFiles, Roster, state_of
from upswell.source.listing import Stat, read_name
from upswell.source.once import OneListing
from upswell.source.tracked_file import NEVER, Entry
from upswell.zones import Zones, open_days

RANGES_MAX = (
    1000  # of one ready(): a batch of about a second rarely takes more, and memory stays bounded
)
RANGE_BYTES_MAX = 4 << 30  # the same bound for few and long files; a single range may be longer
FINISHED_MAX = (
    10_000  # of one answer: more would take longer to sort than a notification should wait
)
RANGES_AHEAD = 64  # offered beside a batch in hand, or twice what the last one took of more files
PLAN_S = 1.0  # how long ready() goes on opening files once it has something to offer


class Backlog(NamedTuple):
    """What is there and not taken yet."""

    files: int
    bytes: int
    """Of compressed files that were not opened yet, compressed bytes."""


class Source:
    """The files of one DATA directory, for one run. Not for two threads at once."""

    def __init__(
        self,
        data: Path,
        known: KnownFiles,
        *,
        settle_s: float,
        keep_days: int,
        zones: Zones,
        max_stamp_ahead_days: int,
        since: str | None,
        rejects_max_bytes_per_file: int,
        clock: Callable[[], float] = time.time,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        """Remember where to look; no file is looked at yet.

        Args:
            data: the directory of DATA files.
            known: the rows of files seen before; asked inside ``look``, ``ready`` and ``verify_taken`` only.
            settle_s: how long a file must stay unchanged to be still.
            keep_days: how many days are open at once.
            zones: of the data and the rules.
            max_stamp_ahead_days: how far ahead of the clock a stamp may be.
            since: a stamp, or "now" for the present minute in the data's zone: older files are skipped.
            rejects_max_bytes_per_file: how much of a file's rejects is kept, in bytes as they are written.
            clock: seconds since the epoch.
            stopping: asked between two files: once it is true, ``ready`` and ``verify_taken`` end early.
        """
        self._clock = clock
        self._roster = Roster(data, known, clock())
        self._admission = Admission(
            self._roster,
            settle_s=settle_s,
            ahead_days=max_stamp_ahead_days,
            since=since or "",
            timezone=zones.data,
        )
        self._settle_s = settle_s
        self._keep_days = keep_days
        self._zones = zones
        self._rejects_max_bytes = rejects_max_bytes_per_file
        self._stopping = stopping
        self._log_newest = known.newest_stamp()
        self._taken = 0
        """Ranges that the last batch took."""
        self._newest = ""
        """The name with the highest stamp in the last look, of those that are not held, skipped or duplicates."""
        self._once: OneListing | None = None
        self._passed = ""
        """Of a run ``--once``: the files up to this name are taken to their ends, and need no look before its own."""

    # Which files are there

    def look(self, now: float | None = None) -> None:
        """Scan the directory once and take in what appeared, changed or left. Opens no file.

        Not between ``ready`` and ``advance``.

        Raises:
            InputMissing: DATA cannot be listed; nothing has changed then, and a later look may go on.
        """
        self._roster.look(self._clock() if now is None else now)
        self._judge_names()

    def look_in_steps(self) -> Iterator[None]:
        """As ``look``, but between two steps a turn of ``glance``, ``ready`` and ``advance`` may be taken.

        Raises:
            InputMissing: DATA cannot be listed; what was glanced at stays.
        """
        yield from self._roster.look_in_steps(self._clock)
        self._judge_names()

    def _judge_names(self) -> None:
        """After a look: what the names alone decide."""
        self._admission.judge_stamps()
        self._newest = self._roster.newest()

    def glance(self, names: Collection[str]) -> None:
        """Look at these names, and at the files that are not settled, alone. Not before the first ``look``.

        What a look would find of them this finds, too, except names that are no DATA files.
        """
        self._roster.glance(names, self._clock())
        self._admission.judge_stamps()
        newer = (name for name in names if self._roster.counts_as_newer(name))
        self._newest = max((self._newest, *newer))

    def changed(self) -> list[File]:
        """Copies of the rows that changed since this was last called, for the next commit (or ``save_files``).

        Call it after ``advance`` and before the next one, so that a row is saved with the batch that moved its offset.
        """
        return self._roster.changed()

    def held(self) -> list[File]:
        """The held files that are in DATA."""
        return list(self._roster.held.values())

    def untaken_left(self) -> list[str]:
        """Names that left DATA since this was last called, with nothing taken: their rows can go."""
        return self._roster.untaken_left()

    @property
    def looks(self) -> int:
        """Looks begun."""
        return self._roster.looks

    def finished(self, still_s: float, left: Mapping[str, Stat]) -> list[tuple[str, Stat]]:
        """Files of which nothing is left to take, unchanged for so long: FINISHED_MAX of them, in arrival order.

        Those that look as they do in ``left`` are left out.

        Ask between two batches, after ``changed`` was saved: what is known of them is in the checkpoint then.
        """
        found = (each for each in self._roster.finished(still_s) if left.get(each[0]) != each[1])
        return sorted(islice(found, FINISHED_MAX))

    def counts(self) -> dict[State, int]:
        """Files of the last look by state, every state; `gone` counts those that went since the start."""
        return self._roster.counts()

    def backlog(self) -> Backlog:
        """What the last look showed and that is not taken yet, held files left out."""
        lengths = [
            (entry.end or entry.size) - entry.file.offset
            for entry in self._roster.active.values()
            if entry.state in ("waiting", "reading")
        ]
        left = [length for length in lengths if length > 0]
        return Backlog(len(left), sum(left))

    def oldest_at_s(self) -> float:
        """When the oldest file of the backlog was last changed, in seconds since the epoch; 0: there is none."""
        changed_ns = [
            entry.mtime_ns
            for entry in self._roster.active.values()
            if entry.state in ("waiting", "reading")
            and (entry.end or entry.size) > entry.file.offset
        ]
        return min(changed_ns, default=0) / 1e9

    def verify_taken(self) -> list[File]:
        """At a start: compare what was taken of each file with what is there now; those that are held for it.

        Done files that look as they did (size, mtime, inode) are trusted; all others that something was taken of are
        read up to their offset. Looks first when nobody has.
        """
        if not self._roster.looks:
            self.look()
        held = []
        for entry in self._in_order():
            if entry.unverified:
                self._plan(entry)
                if entry.state == "held":
                    held.append(entry.file)
        return held

    # What may be taken

    def ready(self, *, opened: bool = False) -> list[Range]:
        """The ranges that may be taken now, in arrival order, bounded in number and bytes; empty when there is none.

        Opens the files that content decides about, each once for a stat. May be called again without a look: what was
        taken is offered no more, the rest again. A file that grew since the look is offered up to the size seen then.

        With ``opened`` it opens nothing, which may take long: it ends before the first file that has to be opened. It
        offers about twice what the last batch took, as the rest of many files would only be judged again the next time.
        """
        most = min(RANGES_MAX, max(RANGES_AHEAD, 2 * self._taken)) if opened else RANGES_MAX
        ranges: list[Range] = []
        planned_bytes = 0
        began = time.monotonic()
        leads = self._once is not None
        for entry in self._in_order(self._passed):
            if opened and entry.must_be_opened:
                break
            planned = self._plan(entry)
            leads = leads and entry.state == "reading" and entry.file.offset == entry.end
            if leads:
                self._passed = entry.name
            if planned is None:
                continue
            ranges.append(planned)
            planned_bytes += planned.end - planned.start
            full = len(ranges) >= most or planned_bytes >= RANGE_BYTES_MAX
            if full or time.monotonic() - began >= PLAN_S:
                break
        return ranges

    def _in_order(self, after: str = "") -> Iterator[Entry]:
        for entry in self._roster.in_order(after):
            if self._stopping():
                return
            yield entry

    def _plan(self, entry: Entry) -> Range | None:
        """Decide a file's state by all that can be known now; its next range, if one may be taken."""
        if entry.retry_at > self._roster.now or entry.failed_look == self._roster.looks:
            return None
        try:
            return self._next_range(entry) if self._admission.admits(entry) else None
        except (OSError, ValueError) as error:
            self._note_error(entry, error)
        return None

    def _next_range(self, entry: Entry) -> Range | None:
        """What follows the taken part, when it is worth reading. A file with nothing left may become done."""
        file = entry.file
        if file.offset == entry.end:
            self._finish(entry)
            return None
        self._roster.set(entry, state_of(file))
        final = self._is_final(entry)
        if entry.exhausted is not None and entry.exhausted >= (entry.end, final):
            return None
        newest = max(self._log_newest, file.stamp)
        days = open_days(file.stamp, newest, self._keep_days, self._zones)
        return Range(
            name=file.name,
            path=entry.path,
            compressed=file.compressed,
            start=file.offset,
            end=entry.end,
            final=final,
            tail=file.tail,
            newlines=file.newlines,
            digest=file.digest,
            day_max=days.day_max,
            day_open=days.day_open,
            rejects_left_bytes=max(0, self._rejects_max_bytes - file.rejects_kept_bytes),
            stamp=file.stamp,
            newest_stamp=newest,
        )

    def _is_final(self, entry: Entry) -> bool:
        """Whether an unterminated last line is to be taken, too."""
        if entry.file.compressed:
            # It was checked to have an end; only a member that is being added just now could go on with its last line.
            return self._once is not None or self._admission.still(entry)
        still = self._admission.still(entry)
        return still and (self._once is not None or self._has_newer(entry.file))

    def _finish(self, entry: Entry) -> None:
        """All that is there was taken: the file is done when nobody writes to it and a newer one exists."""
        file = entry.file
        if entry.rewritten and not entry.unverified:
            entry.rewritten = False
            file.repeats += 1
            self._roster.mark(file)
        over = not self._once and self._admission.still(entry) and self._has_newer(file)
        if file.state != "done" and not over:
            self._roster.set(entry, state_of(file))
        elif not entry.unverified or self._admission.is_unchanged(entry):
            self._roster.set(entry, "done")

    def _has_newer(self, file: File) -> bool:
        """Whether a file with a higher stamp is there and may be read, or was read and is there no more.

        The newest file is opened for it before its turn, so that the answer does not depend on how far a run came.
        """
        while self._log_newest <= file.stamp < read_name(self._newest)[0]:
            newest = self._roster.entry(self._newest)
            if newest is not None and not newest.examined:
                self._examine(newest)
            if self._roster.counts_as_newer(self._newest):
                return True
            self._newest = self._roster.newest()
        return self._log_newest > file.stamp

    def _examine(self, entry: Entry) -> None:
        try:
            self._admission.admits(entry)
        except (OSError, ValueError) as error:
            self._note_error(entry, error)

    # What was taken

    def advance(self, pairs: Sequence[tuple[Range, Scanned]]) -> None:
        """Take in what the kernel took of these ranges. The process must stop if the commit that follows fails.

        Raises:
            UpswellError: a range does not begin where its file stands; nothing of it may be committed.
        """
        self._taken = len(pairs)
        for planned, scanned in pairs:
            entry = self._roster.entry(planned.name)
            if entry is None or entry.file.offset != planned.start:
                raise UpswellError(
                    f"{planned.name}: byte {planned.start} is not the next one to be taken"
                )
            if scanned.end > planned.start:
                _count(entry.file, planned, scanned)
                self._log_newest = max(self._log_newest, planned.stamp)
                self._roster.mark(entry.file)
                self._roster.set(entry, "reading")
                entry.rewritten = False  # it brought something new
            if planned.start == 0:
                entry.verified_at = self._roster.now
            if scanned.problem is None and scanned.inode != entry.inode:
                # It was replaced between the look and the read: the parts may not belong together.
                entry.unverified, entry.verified_at = entry.file.offset > 0, NEVER
            entry.exhausted = (planned.end, planned.final) if scanned.complete else None
            self._settle(entry, scanned)

    def _settle(self, entry: Entry, scanned: Scanned) -> None:
        file = entry.file
        if scanned.problem is not None:
            self._note_problem(entry, scanned.problem, scanned.problem_detail)
        elif file.compressed and file.offset == entry.end and file.digest != file.content_digest:
            self._note_problem(entry, "broken", "")

    def _note_error(self, entry: Entry, error: OSError | ValueError) -> None:
        """What reading a file raised: gone, unreadable or, of compressed data only, broken."""
        if isinstance(error, FileNotFoundError):
            self._note_problem(entry, "gone", "")
        elif isinstance(error, OSError):
            self._note_problem(entry, "unreadable", error.strerror or str(error))
        else:
            self._note_problem(entry, "broken", "")

    def _note_problem(self, entry: Entry, problem: str, detail: str) -> None:
        """Reading failed. The file is left alone until the next look, unless checking it again may help at once."""
        if entry.file.compressed and problem in ("broken", "short"):
            # The reader also refuses a file that changed since its last range, though it was checked anew since.
            if entry.doubt() and entry.stat_now() == entry.stat:
                return
            self._admission.hold_changed(entry, "it changed after it was checked")
        elif problem == "unreadable":
            self._admission.hold_unreadable(entry, detail)
        entry.failed_look = self._roster.looks
        if problem in ("gone", "not_regular") and self._once:
            self._roster.lose(entry)  # no look will come that says so

    # A run --once

    def freeze(self, now: float | None = None) -> None:
        """Take the one listing of a run ``--once``: only what it shows, up to the sizes it shows, will be taken.

        No look may follow. Then call ``undecided`` until it is false, ``ready`` until it is empty, ``finish_once``.
        """
        self.look(now)
        self._once = OneListing(self._roster, self._admission, self._plan, self._settle_s)

    def undecided(self) -> bool:
        """Whether waiting could still decide something: unfinished lines, suspects, incomplete compressed files.

        True for at most ``settle_s`` from the listing, all files together; the caller sleeps between two calls.
        """
        return self._once is not None and self._once.undecided(self._clock())

    def finish_once(self) -> list[str]:
        """At the end of a run ``--once``: files with nothing left to take become done; what was left, in sentences."""
        return self._once.finish() if self._once else []


def _count(file: File, planned: Range, scanned: Scanned) -> None:
    """Move a file's row forward by what was taken."""
    if planned.start == 0:
        file.late = planned.newest_stamp > planned.stamp
    file.offset = scanned.end
    file.newlines = scanned.newlines
    file.digest = scanned.digest
    file.tail = scanned.tail
    # Once one did not fit, none of the file is kept any more: wherever its ranges are cut.
    kept_bytes = scanned.rejects_kept_bytes
    file.rejects_kept_bytes += planned.rejects_left_bytes if scanned.rejects_dropped else kept_bytes
    file.lines += scanned.lines
    for names, counts, total in (
        (kernel.OUTCOMES, scanned.outcomes, file.outcomes),
        (kernel.REASONS, scanned.rejects, file.reasons),
    ):
        for name, count in zip(names, counts, strict=True):
            if count:
                total[name] = total.get(name, 0) + count
