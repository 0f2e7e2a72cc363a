"""Whether a DATA file may be read: not too old or too far ahead, whole, unchanged, and no duplicate.

Owns the rules that keep a file waiting, hold it for good or make it a duplicate, and the words that tell why. It offers
nothing to read and never looks at the directory: it judges by the roster's last look and by what opening a file shows.
A file that is admitted may be read from its offset to its end.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

from upswell.privacy import escape
from upswell.source.duplicates import Content, judge
from upswell.source.file import File
from upswell.source.inventory import Roster
from upswell.source.tracked_file import CONTENT_BYTES_MAX, Entry
from upswell.zones import load_zone

UNDECIDED = {
    "no_record": "it shows no record yet",
    "suspect": "whether it is a duplicate cannot be said yet",
    "incomplete": "its gzip data has no end yet",
}
"""Reasons of waiting files that time alone may decide."""


class Admission:
    """The judgement on each file, as of the roster's moment."""

    def __init__(
        self, roster: Roster, *, settle_s: float, ahead_days: int, since: str, timezone: str
    ) -> None:
        """``since``: older stamps are skipped; "now" is the present minute in ``timezone``, "" none."""
        self._roster = roster
        self._settle_s = settle_s
        self._ahead_days = ahead_days
        self._timezone = timezone
        self._since = self._local_stamp(0) if since == "now" else since

    def judge_stamps(self) -> None:
        """After a look: files of which nothing was taken may be too old, or too far ahead, to be."""
        ahead = self._local_stamp(self._ahead_days)
        days = "a day" if self._ahead_days == 1 else f"{self._ahead_days} days"
        for entry in list(self._roster.active.values()):
            if entry.file.offset or entry.retry_at > self._roster.now:
                continue
            stamp = entry.file.stamp
            if stamp < self._since:
                self._roster.set(entry, "skipped", "since", f"its stamp is before {self._since}")
            elif stamp > ahead:
                detail = f"its stamp is over {days} ahead of this machine's clock: correct the clock or the name"
                self._roster.hold(entry, "ahead", detail)
            elif entry.file.reason == "ahead":
                self._roster.set(entry, "waiting")

    def still(self, entry: Entry) -> bool:
        """Whether nobody seems to write to the file any more."""
        return entry.still(self._roster.now, self._settle_s)

    def admits(self, entry: Entry) -> bool:
        """Whether the file is whole, and unchanged or new; if not, its state says why.

        Raises:
            OSError: it cannot be read. ValueError: its gzip data broke off, though it was whole when it was checked.
        """
        file = entry.file
        entry.examined = True
        if file.compressed and not self._is_whole(entry):
            return False
        if not file.offset:
            return self._is_new(entry)
        if entry.verify_due(self._roster.now) and not self.is_unchanged(entry):
            return False
        self._find_first_record(entry)
        return True

    def is_unchanged(self, entry: Entry) -> bool:
        """Whether the taken part is what it was; the file is held when not, and never read again from its start."""
        offset = entry.file.offset
        problem = entry.verify(self._roster.now)
        if problem == "shrank":
            self.hold_changed(
                entry, f"it is shorter than the {offset:,} bytes that were taken", "shrank"
            )
        elif problem == "changed":
            self.hold_changed(entry, f"its first {offset:,} bytes, which were taken, have changed")
        return not problem

    def hold_unreadable(self, entry: Entry, why: str) -> None:
        """Hold a file whose reading failed; it is tried again every minute."""
        detail = f"it cannot be read ({escape(why)}): see to its permissions, its disk or its network mount"
        self._roster.hold(entry, "unreadable", detail)

    def hold_changed(self, entry: Entry, what: str, reason: str = "changed") -> None:
        """Hold a file that no longer fits what was taken or checked, until its stat changes."""
        way = "put its old content back, or deliver new records under a new name"
        self._roster.hold(entry, reason, f"{what}: {way}")

    def _is_whole(self, entry: Entry) -> bool:
        """Whether a compressed file's end and checksum are there.

        One without an end is read again only once it is still, not with each piece that its writer adds.
        """
        if entry.whole:
            return True
        still = self.still(entry)
        if entry.checked != entry.stat:
            if entry.verdict == "incomplete" and not still:
                return False
            entry.check()
        if entry.verdict == "incomplete" and not still:
            self._roster.set(entry, "waiting", "incomplete", UNDECIDED["incomplete"])
        elif entry.verdict == "too_large":
            self._hold_too_large(entry)
        elif entry.verdict != "whole":
            entry.verdict = "broken"  # what has no end and is still will get none
            what = escape(entry.verdict_detail) or "it has no end"
            self._roster.hold(
                entry, "broken", f"its gzip data is broken ({what}): deliver it again"
            )
        return entry.verdict == "whole"

    def _hold_too_large(self, entry: Entry) -> None:
        self._roster.hold(entry, "too_large", "it holds more than 64 GiB: deliver it in parts")

    def _is_new(self, entry: Entry) -> bool:
        """Whether a file of which nothing was taken is what its name says, and no duplicate as far as can be seen."""
        file = entry.file
        if not file.compressed:
            if entry.size > CONTENT_BYTES_MAX:
                self._hold_too_large(entry)
                return False
            kind = entry.compression()
            if kind:
                way = (
                    f"name it DATA_{file.stamp}.csv.gz" if kind == "gzip" else "deliver it unpacked"
                )
                detail = f"its content is {kind}, but its name says plain text: {way}"
                self._roster.hold(entry, "compressed", detail)
                return False
        if entry.end == 0:
            return True
        self._find_first_record(entry)
        if file.first_record is None:
            if self._has_end(entry):
                return True
            # Its rejects must not be counted as long as it may turn out to be a duplicate.
            self._roster.set(entry, "waiting", "no_record", UNDECIDED["no_record"])
            return False
        verdict, name = judge(self._content(entry), self._rivals(entry, file.first_record))
        if verdict == "wait":
            self._roster.set(entry, "waiting", "suspect", f"it begins like {name}")
        elif verdict == "same":
            file.content_bytes, file.content_digest = entry.end, entry.whole_digest() or 0
            self._roster.set(entry, "duplicate", "content", name)
        return verdict == "clear"

    def _find_first_record(self, entry: Entry) -> None:
        entry.find_first_record(still=self._has_end(entry))
        self._roster.first_records.put(entry.name, entry.file.first_record)

    def _rivals(self, entry: Entry, first_record: int) -> Iterator[Content]:
        """What a new file is compared with: files with its first record, taken or ordered before it."""
        names = self._roster.first_records.names(first_record)
        for name in names:
            other = self._roster.entry(name)
            if other is None or other is entry:
                continue
            if other.file.offset or (name < entry.name and other.state == "waiting"):
                yield self._content(other)
        for row in self._roster.known.find_first_record(first_record):
            if row.name != entry.name and row.name not in names:
                yield _taken(self._roster.away.get(row.name, row))

    def _content(self, entry: Entry) -> Content:
        file = entry.file
        if file.offset and file.reason == "unreadable":
            # The rest will be read some time: until then nobody can say what it is.
            return Content(file.name, entry.end, self._has_end(entry), False, lambda: None)
        if file.offset and file.state not in ("waiting", "reading"):
            return _taken(file)  # done, or held in the middle: what was taken is what counts
        taken = file.offset == entry.end
        return Content(file.name, entry.end, self._has_end(entry), taken, entry.whole_digest)

    def _has_end(self, entry: Entry) -> bool:
        """Whether its size is its last one, as far as can be known: a whole compressed file has an end of its own."""
        return entry.whole if entry.file.compressed else self.still(entry)

    def _local_stamp(self, days: int) -> str:
        """The stamp of the minute ``days`` from the roster's moment, on the data's clocks."""
        try:
            now = datetime.fromtimestamp(self._roster.now, load_zone(self._timezone))
            moment = now + timedelta(days=days)
        except OverflowError:
            return "9" * 12
        return moment.strftime("%Y%m%d%H%M")


def _taken(file: File) -> Content:
    """What was taken of a file, as a content of its own."""
    return Content(file.name, file.offset, True, True, lambda: file.digest)
