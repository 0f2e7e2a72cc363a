"""Admission: decides whether a DATA file may be read, or why it waits, is held, is skipped or is a duplicate.

Owns those rules, the words of their reasons, and what follows when reading a file failed. It offers nothing to read and
never lists the directory: it judges by the inventory's last scan and by what opening a file shows. An admitted file may
be read from its offset to its end.

One file because a file's way in is one sequence of questions, each asked only when those before it are answered.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from upswell.privacy import escape
from upswell.source.duplicates import Content, judge
from upswell.source.file import File
from upswell.source.header import describe_other_order
from upswell.source.inventory import Inventory
from upswell.source.listing import stat_regular
from upswell.source.tracked_file import CONTENT_BYTES_MAX, TrackedFile
from upswell.zones import load_zone

_SHORTER_HELD_S = (
    60.0  # how long a file must be still to be held for being shorter than what was consumed
)

UNDECIDED = {
    "no_record": "it has no complete record yet",
    "suspect": "it may be a duplicate",
    "incomplete": "its gzip data is incomplete",
}
"""Reasons of waiting files that time alone may decide."""


class Admission:
    """Judges the files of an inventory, at its moment."""

    def __init__(
        self,
        inventory: Inventory,
        *,
        settle_s: float,
        ahead_days: int,
        since: str,
        timezone: str,
    ) -> None:
        """``since``: older stamps are skipped; "now" is the present minute in ``timezone``, "" skips none."""
        self._inventory = inventory
        self._settle_s = settle_s
        self._ahead_days = ahead_days
        self._timezone = timezone
        self._since = self._local_stamp(0) if since == "now" else since
        self.consumes_last_line: Callable[[TrackedFile], bool] = self.is_quiet
        """Returns whether an unterminated last line may be consumed; ``completion`` knows more about it."""

    def judge_stamps(self) -> None:
        """Skip or hold unconsumed files whose stamp is too old or too far ahead. Call it after each scan."""
        ahead = self._local_stamp(self._ahead_days)
        days = "a day" if self._ahead_days == 1 else f"{self._ahead_days} days"
        for tracked in list(self._inventory.active.values()):
            if tracked.file.offset or tracked.retry_at > self._inventory.now:
                continue
            stamp = tracked.file.stamp
            if stamp < self._since:
                self._inventory.set(
                    tracked, "skipped", "since", f"its stamp is before {self._since}"
                )
            elif stamp > ahead:
                detail = f"its stamp is over {days} ahead of this machine's clock: correct the clock or the file's name"
                self._inventory.hold(tracked, "ahead", detail)
            elif tracked.file.reason == "ahead":
                self._inventory.set(tracked, "waiting")

    def is_quiet(self, tracked: TrackedFile) -> bool:
        """Return whether the file's quiet period is over, so that nobody seems to write to it any more."""
        return tracked.is_quiet(self._inventory.now, self._settle_s)

    def admits(self, tracked: TrackedFile) -> bool:
        """Return whether the file is whole, and new or unchanged; if not, set the state that says why.

        Raises:
            OSError: it cannot be read. ValueError: its gzip data broke off, though it was whole when it was checked.
        """
        file = tracked.file
        tracked.examined = True
        if file.compressed and not self._is_whole(tracked):
            return False
        if not file.offset:
            return self._is_new(tracked)
        if file.continued_by:
            self._judge_continued(tracked)
            return False
        if tracked.verify_due(self._inventory.now) and not self.is_unchanged(tracked):
            return False
        self._find_first_record(tracked)
        return self._is_filled(tracked)

    def is_unchanged(self, tracked: TrackedFile) -> bool:
        """Compare the consumed part; hold the file when it has changed. It is never read again from its start.

        Raises:
            OSError: it cannot be read. ValueError: its gzip data is broken.
        """
        offset = tracked.file.offset
        problem = tracked.verify(self._inventory.now)
        if problem == "shrank":
            self.hold_changed(
                tracked, f"it is shorter than the {offset:,} bytes already consumed", "shrank"
            )
        elif problem == "changed":
            self.hold_changed(
                tracked, f"its first {offset:,} bytes, already consumed, have changed"
            )
        return not problem

    def hold_unreadable(self, tracked: TrackedFile, why: str) -> None:
        """Hold a file whose reading failed; it is tried again every minute."""
        detail = f"it cannot be read ({escape(why)}): check its permissions, the disk or the network mount"
        self._inventory.hold(tracked, "unreadable", detail)

    def hold_changed(self, tracked: TrackedFile, what: str, reason: str = "changed") -> None:
        """Hold a file that no longer matches what was consumed or checked, until its stat changes."""
        way = "restore its old content, or deliver new records under a new name"
        self._inventory.hold(tracked, reason, f"{what}: {way}")

    # When reading failed

    def note_error(self, tracked: TrackedFile, error: OSError | ValueError) -> None:
        """Act on what reading a file raised: it is gone, unreadable or, with a ValueError, broken gzip data."""
        if isinstance(error, FileNotFoundError):
            self.note_problem(tracked, "gone", "")
        elif isinstance(error, OSError):
            self.note_problem(tracked, "unreadable", error.strerror or str(error))
        else:
            self.note_problem(tracked, "broken", "")

    def note_problem(self, tracked: TrackedFile, problem: str, detail: str) -> None:
        """Act on a problem that the kernel reported; the file is left alone until the next scan.

        A compressed file that broke is first checked anew at once, as it may have changed since its check.
        """
        if tracked.file.compressed and problem in ("broken", "short"):
            # The reader also refuses a file that changed since its last range, though it was checked anew since.
            if tracked.invalidate() and tracked.stat_now() == tracked.stat:
                return
            self.hold_changed(tracked, "it changed after it was checked")
        elif problem == "unreadable":
            self.hold_unreadable(tracked, detail)
        tracked.failed_scan = self._inventory.scans
        if problem in ("gone", "not_regular") and self._inventory.frozen:
            self._inventory.remove(tracked.name)  # no scan will come that says so

    # What opening a file shows

    def _is_whole(self, tracked: TrackedFile) -> bool:
        """Return whether a compressed file's end and checksum are there; if not, set the state that says why.

        An incomplete one is read again only after its quiet period, and not with each piece that its writer adds.
        """
        if tracked.whole:
            return True
        quiet = self.is_quiet(tracked)
        if tracked.checked != tracked.stat:
            if tracked.verdict == "incomplete" and not quiet:
                return False
            tracked.check()
        if tracked.verdict == "incomplete" and not quiet:
            self._inventory.set(tracked, "waiting", "incomplete", UNDECIDED["incomplete"])
        elif tracked.verdict == "too_large":
            self._hold_too_large(tracked)
        elif tracked.verdict != "whole":
            tracked.verdict = "broken"  # without an end after the quiet period, it will get none
            what = escape(tracked.verdict_detail) or "it is truncated"
            self._inventory.hold(
                tracked, "broken", f"its gzip data is broken ({what}): deliver it again"
            )
        return tracked.verdict == "whole"

    def _hold_too_large(self, tracked: TrackedFile) -> None:
        self._inventory.hold(
            tracked, "too_large", "it holds more than 64 GiB uncompressed: deliver it in parts"
        )

    def _is_new(self, tracked: TrackedFile) -> bool:
        """Return whether an unconsumed file is what its name says and, as far as can be known, no duplicate."""
        file = tracked.file
        if not file.compressed:
            if tracked.size > CONTENT_BYTES_MAX:
                self._hold_too_large(tracked)
                return False
            kind = tracked.compression()
            if kind:
                way = (
                    f"rename it to DATA_{file.stamp}.csv.gz"
                    if kind == "gzip"
                    else "deliver it uncompressed"
                )
                detail = f"its content is {kind}, but its name says plain text: {way}"
                self._inventory.hold(tracked, "compressed", detail)
                return False
        if tracked.end == 0:
            return True
        if not self._is_filled(tracked):
            return False
        self._find_first_record(tracked)
        if file.first_record is None:
            if self._is_complete(tracked):
                return self._is_read_by_columns(tracked)
            # Its rejects must not be counted as long as it may turn out to be a duplicate.
            self._inventory.set(tracked, "waiting", "no_record", UNDECIDED["no_record"])
            return False
        return self._is_new_content(tracked, file.first_record)

    def _is_new_content(self, tracked: TrackedFile, first_record: int) -> bool:
        """Return whether a new file goes on from one that is away, or is no duplicate and may be read."""
        found = self._inventory.known.find_first_record(first_record)
        rows = [self._inventory.latest(row) for row in found]
        if away := self._away(tracked, rows):
            old = tracked.begins_as([row for row in away if row.offset <= tracked.end])
            if old is not None:
                self._inventory.let_continue(tracked, old)
                return True
            if away[0].offset > tracked.end:
                self._wait_as_shorter(tracked, away[0])
                return False
        is_new = self._is_no_duplicate(tracked, first_record, rows, {row.name for row in away})
        return is_new and self._is_read_by_columns(tracked)

    def _is_no_duplicate(
        self,
        tracked: TrackedFile,
        first_record: int,
        rows: Sequence[File],
        away: Collection[str],
    ) -> bool:
        """Return whether a new file has another content than those with its first record, as far as can be known."""
        file = tracked.file
        rivals = list(self._rivals(tracked, first_record, rows, away))
        verdict, name = judge(self._content(tracked), rivals)
        if verdict == "wait":
            self._inventory.set(tracked, "waiting", "suspect", f"it begins like {name}")
        elif verdict == "same":
            file.content_bytes, file.content_digest = tracked.end, tracked.whole_digest() or 0
            self._inventory.set(tracked, "duplicate", "content", name)
        else:
            # What went on under another name is compared under that one.
            went_on = {row.name for row in rows if row.continued_by}
            others = [one for one in rivals if one.name not in away and one.name not in went_on]
            # A note decides nothing: a rival that cannot be read leaves this file as readable as it is.
            with suppress(OSError, ValueError):
                self._inventory.note_exported_again(tracked, *tracked.exported_again(others))
        return verdict == "clear"

    def _away(self, tracked: TrackedFile, rows: Sequence[File]) -> list[File]:
        """Return those of the rows whose files left DATA otherwise than to our archive, the longest first.

        A file that goes on under another name already is none of them.
        """
        found = [
            row
            for row in rows
            if row.name != tracked.name
            and not row.continued_by
            and stat_regular(self._inventory.path_of(row.name)) is None
            and not self._inventory.known.is_archived(row.name)
        ]
        return sorted(found, key=lambda row: (-row.offset, row.name))

    def _wait_as_shorter(self, tracked: TrackedFile, old: File) -> None:
        """Have a new file wait that begins like one that is away, of which more was consumed than the new one has."""
        still = tracked.is_quiet(self._inventory.now, _SHORTER_HELD_S)
        consumed = f"the {old.offset:,} bytes that were consumed of {old.name}"
        if still and not self._inventory.frozen and self.consumes_last_line(tracked):
            detail = (
                f"it begins like {old.name}, which is away, and is shorter than {consumed}: complete it, or bring"
                f" {old.name} back and touch this file"
            )
            self._inventory.hold(tracked, "shorter", detail)
        else:
            detail = f"it begins like {old.name} and is shorter than {consumed}"
            self._inventory.set(tracked, "waiting", "suspect", detail)

    def _judge_continued(self, tracked: TrackedFile) -> None:
        """Judge what is under the name of a file that goes on under another one: it is never read again."""
        if not tracked.unverified or self.is_unchanged(tracked):
            self._inventory.set(tracked, "duplicate", "content", tracked.file.continued_by)

    def _is_filled(self, tracked: TrackedFile) -> bool:
        """Return False for a plain file whose time to be read to its end has come, but that ends in NUL bytes; hold it.

        Before that time the planner offers nothing from the first NUL byte on.
        """
        file = tracked.file
        if file.compressed or file.offset >= tracked.end or tracked.last_byte() != b"\0":
            return True
        if not self.consumes_last_line(tracked):
            return True
        detail = (
            "it ends in NUL bytes, a hole that its copy has not filled or that a crash left:"
            " finish the copy, or deliver it again under the same name"
        )
        self._inventory.hold(tracked, "hole", detail)
        return False

    def _is_read_by_columns(self, tracked: TrackedFile) -> bool:
        """Return whether the first line, once it is whole, names no other columns than are read; hold it otherwise.

        Blank lines before it wait, too: once something is consumed no line is judged.
        """
        line = tracked.first_line()
        unfinished = not line.ended or b"\0" in line.content
        if unfinished and not self.consumes_last_line(tracked):
            self._inventory.set(tracked, "waiting")
            return False
        other_order = describe_other_order(line.content)
        if other_order:
            self._inventory.hold(tracked, "columns_order", other_order)
        return not other_order

    def _find_first_record(self, tracked: TrackedFile) -> None:
        tracked.find_first_record(at_end=self._is_complete(tracked))
        self._inventory.first_records.put(tracked.name, tracked.file.first_record)

    def _rivals(
        self,
        tracked: TrackedFile,
        first_record: int,
        rows: Sequence[File],
        away: Collection[str],
    ) -> Iterator[Content]:
        """Yield what a new file is compared with: files with its first record, consumed or ordered before it.

        One that changed since the scan, or has just left without being among those ``away``, may have more than is
        known of it: it is not complete.
        """
        names = self._inventory.first_records.names(first_record)
        for name in names:
            other = self._inventory.get(name)
            if other is None or other is tracked:
                continue
            if name in away:
                yield _consumed_part(other.file)
            elif other.file.offset or (name < tracked.name and other.state == "waiting"):
                content = self._content(other)
                same = other.stat_now() == other.stat
                yield content if same else content._replace(complete=False)
        for row in rows:
            if row.name != tracked.name and row.name not in names:
                content = _consumed_part(row)
                same = row.name in away or self._is_settled(row)
                yield content if same else content._replace(complete=False)

    def _is_settled(self, row: File) -> bool:
        """Return whether a file that is not tracked has its row's stat, or is known to have left DATA."""
        found = stat_regular(self._inventory.path_of(row.name))
        if found is None:
            return bool(row.continued_by) or self._inventory.known.is_archived(row.name)
        return found == (row.size, row.mtime_ns, row.inode)

    def _content(self, tracked: TrackedFile) -> Content:
        file = tracked.file
        if file.offset and file.reason == "unreadable":
            # The rest will be read at some time: until then nobody can say what it is.
            return Content(file.name, tracked.end, self._is_complete(tracked), False, lambda: None)
        if file.offset and file.state not in ("waiting", "reading"):
            return _consumed_part(
                file
            )  # done, or held in the middle: only what was consumed counts
        consumed = file.offset == tracked.end
        complete = self._is_complete(tracked)
        return Content(file.name, tracked.end, complete, consumed, tracked.whole_digest)

    def _is_complete(self, tracked: TrackedFile) -> bool:
        """Return whether the size counts as the last one, and all of it is there.

        A compressed file must be whole, a plain one unchanged for the quiet period, without a hole at its end.
        """
        if tracked.file.compressed:
            return tracked.whole
        return self.is_quiet(tracked) and (tracked.end == 0 or tracked.last_byte() != b"\0")

    def _local_stamp(self, days: int) -> str:
        """Return the stamp of the minute ``days`` after the inventory's moment, in the data's zone."""
        try:
            now = datetime.fromtimestamp(self._inventory.now, load_zone(self._timezone))
            moment = now + timedelta(days=days)
        except OverflowError:
            return "9" * 12
        return moment.strftime("%Y%m%d%H%M")


def _consumed_part(file: File) -> Content:
    """Return what was consumed of a file as a content of its own."""
    return Content(file.name, file.offset, True, True, lambda: file.digest)
