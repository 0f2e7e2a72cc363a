"""The lines of one customer, found in the kept files and decided anew by the reference.

Owns the way from a msisdn to its lines with their outcomes, in log order. The kernel only finds the lines; what they
mean is decided by ``reference.py`` alone, so what is told here was not told by the code that ran. It writes nothing.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import NamedTuple

from upswell.batch import File, LogRange
from upswell.kernel import Hit, Ledger, search
from upswell.reference import Line, Reference, Taken
from upswell.replay import Days, Past, References, batches, threads
from upswell.rules import Rule
from upswell.view import View

_CHANGED = "holds other bytes than were taken of it"


class Told(NamedTuple):
    """A line of the customer, and what became of it."""

    taken: LogRange
    line: Line
    rules: tuple[Rule, ...]
    """Those of its service, as they were in force."""


class Lines:
    """The lines of one msisdn, decided in log order."""

    def __init__(self, view: View, past: Past, msisdn: str, days: Days | None = None) -> None:
        """With ``days``, files that can have no record of these days are left out."""
        self.view = view
        self.days = days
        self.past = past
        self.msisdn = msisdn
        self.reference = Reference(past.measure, past.keep_days, past.zones)
        self.reference.caps.update(Ledger.load(*past.adopted, 0, 1).caps(msisdn))
        self.lost: dict[str, str] = {}
        """By file: why its bytes are not those that the run took."""
        self.member: dict[str, bool] = {}
        """By version of the segment: whether the customer is in it."""
        self._references = References(view)

    def told(self) -> Iterator[Told]:
        """Each line in log order. Lines of files that are lost are not among them."""
        hits = self._search()
        for taken in self._log():
            mine = hits.get(taken.file, [])
            while mine and mine[-1].byte < taken.end:
                yield from self._decide(taken, mine.pop())

    def _log(self) -> Iterator[LogRange]:
        return chain.from_iterable(batches(self.view, self.past, self.days, late=True))

    def joins(self, version: str) -> bool:
        """Whether the customer is in this version of the segment."""
        if version not in self.member:
            self.member[version] = self.msisdn in self._references.segment(version)
        return self.member[version]

    def _search(self) -> dict[str, list[Hit]]:
        """The hits of each file, the first one last. All files are looked through at once, one a thread."""
        cuts: defaultdict[str, list[int]] = defaultdict(list)
        for taken in self._log():
            cuts[taken.file].append(taken.end)
        files = [self.past.files[name] for name in cuts]
        with ThreadPoolExecutor(threads()) as pool:
            found = pool.map(lambda file: self._search_file(file, cuts[file.name]), files)
            return {file.name: hits for file, hits in zip(files, found, strict=True) if hits}

    def _search_file(self, file: File, cuts: list[int]) -> list[Hit]:
        place = self.past.place(file.name)
        if place is None:
            self.lost[file.name] = "is no longer in DATA"
            return []
        try:
            found = search(*place, cuts, self.msisdn)
        except (OSError, ValueError) as error:
            self.lost[file.name] = getattr(error, "strerror", None) or str(error)
            return []
        if found.digest.bytes < cuts[-1]:
            self.lost[file.name] = "is shorter than what was taken of it"
        elif cuts[-1] == file.offset and found.digest.crc != file.digest:
            self.lost[file.name] = _CHANGED
        return [] if file.name in self.lost else found.hits[::-1]

    def _decide(self, taken: LogRange, hit: Hit) -> Iterator[Told]:
        rules = self._references.rules(taken.versions.rules)[0].rules
        segment = {self.msisdn} if self.joins(taken.versions.segment) else set[str]()
        self.reference.resume(taken.file, hit.newlines, hit.continues)
        again = Taken(taken.file, hit.byte, hit.line, taken.stamp, taken.newest_stamp)
        for line in self.reference.take(again, segment, rules):
            if self._is_mine(line):
                service = line.record.service if line.record else None
                yield Told(taken, line, tuple(rule for rule in rules if rule.service == service))

    def _is_mine(self, line: Line) -> bool:
        """Whether it is a record of the customer, or a refused line that may have been meant for one."""
        if line.record is not None:
            return line.record.msisdn == self.msisdn
        digits = self.msisdn.encode()
        return (
            re.search(rb"(?<![0-9])%b(?![0-9])|^[\"+]*%b" % (digits, digits), line.content)
            is not None
        )
