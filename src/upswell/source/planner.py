"""The planner: which ranges of which DATA files are consumed next, and how far each file has been consumed.

Owns the order of files and their positions (docs/semantics.md, "Files"). ``directory_scan`` finds what is there,
``inventory`` keeps it, ``admission`` says whether a file may be read and ``completion`` when it is done. The planner
applies nothing and writes nothing. A crash loses nothing: all of it is made again from the checkpoint's rows and a
scan.

Invariants: no byte is offered again once ``advance`` has been told that it was consumed; ranges come by stamp, then by
name in bytes; nothing of a file is offered before it is known to be whole (when compressed), no duplicate and, where
something of it was consumed before, unchanged.

A turn of the engine is a scan or a rescan and then, while there is something: ``ready``, the kernel, ``advance`` and a
commit of the rows that ``changed`` returns.

One file because it is the source's face: the engine makes every call of a turn here, and sees no part behind it.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from upswell import kernel
from upswell.errors import UpswellError
from upswell.kernel import Range, Scanned
from upswell.source.admission import Admission
from upswell.source.completion import Completion
from upswell.source.directory_scan import DirectoryScan
from upswell.source.file import File, State
from upswell.source.inventory import Inventory, KnownFiles, state_of
from upswell.source.listing import Stat
from upswell.source.once import OneListing
from upswell.source.tracked_file import NEVER, TrackedFile
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
        """Set up; nothing is scanned yet.

        Args:
            data: the directory of DATA files.
            known: the rows of files seen before; asked inside ``scan``, ``ready`` and ``verify_consumed`` only.
            settle_s: the quiet period: how long a file must stay unchanged before its last line counts as written.
            keep_days: how many days are open at once.
            zones: of the data and the rules.
            max_stamp_ahead_days: how far ahead of the clock a stamp may be.
            since: a stamp, or "now" for the present minute in the data's zone: older files are skipped.
            rejects_max_bytes_per_file: how much of a file's rejects is kept, in bytes as they are written.
            clock: seconds since the epoch.
            stopping: asked between two files: once it is true, ``ready`` and ``verify_consumed`` end early.
        """
        self._clock = clock
        self._inventory = Inventory(data, known, clock())
        self._directory = DirectoryScan(self._inventory)
        self._admission = Admission(
            self._inventory,
            settle_s=settle_s,
            ahead_days=max_stamp_ahead_days,
            since=since or "",
            timezone=zones.data,
        )
        self._completion = Completion(self._inventory, self._admission, known.newest_stamp())
        self._settle_s = settle_s
        self._keep_days = keep_days
        self._zones = zones
        # Of the start, and enough: by the tables of one run the horizon never goes back.
        self._day_open_before = known.day_open()
        self._rejects_max_bytes = rejects_max_bytes_per_file
        self._stopping = stopping
        self._last_ranges = 0
        """Number of ranges in the last batch."""
        self._once: OneListing | None = None
        self._done_to = ""
        """Of a run ``--once``: the files up to this name are consumed to their ends, and are not planned again."""

    # What is in DATA

    def scan(self, now: float | None = None) -> None:
        """Scan the directory once for names that appeared, changed or left. Opens no file.

        Do not call it between ``ready`` and ``advance``.

        Raises:
            InputMissing: DATA cannot be listed; nothing has changed then, and a later scan may go on.
        """
        self._directory.scan(self._clock() if now is None else now)
        self._judge_names()

    def scan_in_steps(self) -> Iterator[None]:
        """Scan in steps; between two of them a turn of ``rescan``, ``ready`` and ``advance`` may be taken.

        Raises:
            InputMissing: DATA cannot be listed; what was rescanned stays.
        """
        yield from self._directory.scan_in_steps(self._clock)
        self._judge_names()

    def _judge_names(self) -> None:
        self._admission.judge_stamps()
        self._completion.note_scan()

    def rescan(self, names: Collection[str]) -> None:
        """Stat only these names and files still being tracked. Call it after the first scan.

        It finds of them what a scan would find, except names that are not DATA files.
        """
        self._directory.rescan(names, self._clock())
        self._admission.judge_stamps()
        self._completion.note_rescan(names)

    @property
    def scans(self) -> int:
        """Scans begun."""
        return self._inventory.scans

    def changed(self) -> list[File]:
        """Return copies of the rows that changed since the last call, for the next commit (or ``save_files``).

        Call it after ``advance`` and before the next one, so that a row is saved with the batch that moved its offset.
        """
        return self._inventory.changed()

    def held(self) -> list[File]:
        """Return the held files that are in DATA."""
        return list(self._inventory.held.values())

    def unread(self) -> list[str]:
        """Return the names in DATA that look like those of data and are not read, sorted."""
        return self._inventory.unread()

    def left_unconsumed(self) -> list[str]:
        """Return the names that left DATA since the last call with nothing consumed: their rows can go."""
        return self._inventory.left_unconsumed()

    def finished(self, unchanged_s: float, left: Mapping[str, Stat]) -> list[tuple[str, Stat]]:
        """Return up to FINISHED_MAX fully consumed files that are unchanged for so long, in arrival order.

        Files whose stat equals that in ``left`` are left out. Call it between two batches, after the rows of
        ``changed`` were saved, so that the checkpoint has all that is known of these files.
        """
        found = (
            each for each in self._inventory.finished(unchanged_s) if left.get(each[0]) != each[1]
        )
        return sorted(islice(found, FINISHED_MAX))

    def continuing(self) -> list[File]:
        """Return the files that took over from another one, which went on under their names, since the last call."""
        return self._inventory.continuing()

    def counts(self) -> dict[State, int]:
        """Count the files of the last scan by state, every state; `gone` counts those that went since the start."""
        return self._inventory.counts()

    def backlog(self) -> tuple[int, int]:
        """Return (files, bytes) that the last scan showed and that are not consumed yet, without held files.

        Of a compressed file that was not opened yet, compressed bytes count.
        """
        lengths = [
            (tracked.end or tracked.size) - tracked.file.offset
            for tracked in self._inventory.active.values()
            if tracked.state in ("waiting", "reading")
        ]
        left = [length for length in lengths if length > 0]
        return len(left), sum(left)

    def oldest_at_s(self) -> float:
        """Return the oldest mtime of a file in the backlog, in seconds since the epoch; 0 when the backlog is empty."""
        changed_ns = [
            tracked.mtime_ns
            for tracked in self._inventory.active.values()
            if tracked.state in ("waiting", "reading")
            and (tracked.end or tracked.size) > tracked.file.offset
        ]
        return min(changed_ns, default=0) / 1e9

    def verify_consumed(self) -> list[File]:
        """At a start, compare the consumed part of each file with what is there now; return those held for it.

        Done files with the same size, mtime and inode are trusted; all others of which something was consumed are read
        up to their offset. Scans first when nothing was scanned yet.
        """
        if not self._inventory.scans:
            self.scan()
        held = []
        for tracked in self._in_order():
            if tracked.unverified:
                self._plan(tracked)
                if tracked.state == "held":
                    held.append(tracked.file)
        return held

    # What may be consumed

    def ready(self, *, without_opening: bool = False) -> list[Range]:
        """Return the ranges that may be consumed now, in arrival order; empty when there is none.

        Their number and bytes are bounded. Opens the files whose content decides, each once for a stat. May be called
        again without a scan: what was consumed is offered no more, the rest again. A file that grew since the scan is
        offered up to the size seen then.

        With ``without_opening`` it opens nothing, since that may take long: it ends before the first file that would
        have to be opened. It offers about twice the last batch: the rest of many files would be judged again later.
        """
        most = RANGES_MAX
        if without_opening:
            most = min(RANGES_MAX, max(RANGES_AHEAD, 2 * self._last_ranges))
        ranges: list[Range] = []
        planned_bytes = 0
        began = time.monotonic()
        consumed_so_far = self._once is not None
        for tracked in self._in_order(self._done_to):
            if without_opening and tracked.must_be_opened:
                break
            planned = self._plan(tracked)
            consumed_so_far = (
                consumed_so_far
                and tracked.state == "reading"
                and tracked.file.offset == tracked.end
            )
            if consumed_so_far:
                self._done_to = tracked.name
            if planned is None:
                continue
            ranges.append(planned)
            planned_bytes += planned.end - planned.start
            full = len(ranges) >= most or planned_bytes >= RANGE_BYTES_MAX
            if full or time.monotonic() - began >= PLAN_S:
                break
        return ranges

    def _in_order(self, after: str = "") -> Iterator[TrackedFile]:
        for tracked in self._inventory.in_order(after):
            if self._stopping():
                return
            yield tracked

    def _plan(self, tracked: TrackedFile) -> Range | None:
        """Decide a file's state by all that can be known now; return its next range, if one may be consumed."""
        waits = tracked.retry_at > self._inventory.now
        if waits or tracked.failed_scan == self._inventory.scans:
            return None
        try:
            return self._next_range(tracked) if self._admission.admits(tracked) else None
        except (OSError, ValueError) as error:
            self._admission.note_error(tracked, error)
        return None

    def _next_range(self, tracked: TrackedFile) -> Range | None:
        """Return what follows the consumed part, if it is worth reading. A file with nothing left may become done."""
        file = tracked.file
        if file.offset == tracked.end:
            self._completion.finish(tracked)
            return None
        self._inventory.set(tracked, state_of(file))
        final = self._completion.consumes_last_line(tracked)
        # A hole of NUL bytes may yet be filled, so that nothing from it on is consumed before its last line could be.
        end = tracked.end if final or file.compressed else tracked.filled_to()
        if end <= file.offset or (
            tracked.exhausted is not None and tracked.exhausted >= (end, final)
        ):
            return None
        newest = max(self._completion.log_newest, file.stamp)
        days = open_days(file.stamp, newest, self._keep_days, self._zones, self._day_open_before)
        return Range(
            name=file.name,
            path=tracked.path,
            compressed=file.compressed,
            start=file.offset,
            end=end,
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

    # What was consumed

    def advance(self, pairs: Sequence[tuple[Range, Scanned]]) -> None:
        """Move each file forward by what the kernel consumed. The process must stop if the commit that follows fails.

        Raises:
            UpswellError: a range does not begin at its file's offset; nothing of it may be committed.
        """
        self._last_ranges = len(pairs)
        for planned, scanned in pairs:
            tracked = self._inventory.get(planned.name)
            if tracked is None or tracked.file.offset != planned.start:
                raise UpswellError(
                    f"{planned.name}: byte {planned.start} is not the next one to consume"
                )
            if scanned.end > planned.start:
                _count(tracked.file, planned, scanned)
                self._completion.log_newest = max(self._completion.log_newest, planned.stamp)
                self._inventory.mark_changed(tracked.file)
                self._inventory.set(tracked, "reading")
                tracked.rewritten = False  # it brought something new
            if planned.start == 0:
                tracked.verified_at = self._inventory.now
            if scanned.problem is None and scanned.inode != tracked.inode:
                # It was replaced between the scan and the read: the parts may not belong together.
                tracked.unverified, tracked.verified_at = tracked.file.offset > 0, NEVER
            tracked.exhausted = (planned.end, planned.final) if scanned.complete else None
            self._note_result(tracked, scanned)

    def _note_result(self, tracked: TrackedFile, scanned: Scanned) -> None:
        file = tracked.file
        if scanned.problem is not None:
            self._admission.note_problem(tracked, scanned.problem, scanned.problem_detail)
        elif file.compressed and file.offset == tracked.end and file.digest != file.content_digest:
            self._admission.note_problem(tracked, "broken", "")

    # A run --once

    def freeze(self, now: float | None = None) -> None:
        """Make the one listing of a run ``--once``: only what it shows, up to the sizes it shows, is consumed.

        No scan may follow. Then call ``undecided`` until it is false, ``ready`` until it is empty, ``finish_once``.
        """
        self.scan(now)
        self._inventory.frozen = True
        self._once = OneListing(self._inventory, self._admission, self._plan, self._settle_s)

    def undecided(self) -> bool:
        """Return whether waiting could still decide an unfinished line, a suspect or an incomplete compressed file.

        True for at most ``settle_s`` from the listing, all files together; the caller sleeps between two calls.
        """
        return self._once is not None and self._once.undecided(self._clock())

    def finish_once(self) -> list[str]:
        """End a run ``--once``: make files done that have nothing left, and return what was left, in sentences."""
        return self._once.finish() if self._once else []


def _count(file: File, planned: Range, scanned: Scanned) -> None:
    """Move a file's row forward by what was consumed of a range."""
    if planned.start == 0 or not file.lines:
        file.late = planned.newest_stamp > planned.stamp
    file.offset = scanned.end
    file.newlines = scanned.newlines
    file.digest = scanned.digest
    file.tail = scanned.tail
    # Once one reject did not fit, no more of the file is kept, wherever its ranges are cut.
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
