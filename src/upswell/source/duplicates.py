"""Duplicate detection: decides whether a new file repeats an earlier one, or that it is too early to tell.

Owns the comparison of a new file with one that was consumed or is ordered before it, and the index of first records
that keeps candidates few. It opens no file: a digest is asked for only when the sizes do not decide. Files that differ
in their first record are never compared.
"""

from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

Verdict = Literal["clear", "wait", "same"]


class Content(NamedTuple):
    """The uncompressed content of a file, as far as it is known."""

    name: str
    size: int
    complete: bool
    """The size counts as its last one."""
    consumed: bool
    """All of it is consumed."""
    digest: Callable[[], int | None]
    """CRC-64/NVME of all of it; None when it cannot be computed now."""


def compare(new: Content, old: Content) -> Verdict:
    """Compare a new file with one that has the same first record.

    They differ as soon as ``new`` is longer than ``old``, once that one is complete; otherwise both must be complete,
    and size and digest decide. Until all of ``old`` is consumed an equal ``new`` only waits, so that it can take the
    place of an ``old`` that vanishes.

    Returns:
        "clear": another content; "same": a duplicate; "wait": too early to tell.
    """
    if not old.complete:
        return "wait"
    if new.size > old.size:
        return "clear"
    if not new.complete:
        return "wait"
    if new.size < old.size:
        return "clear"
    digests = new.digest(), old.digest()
    if None in digests:
        return "wait"
    if digests[0] != digests[1]:
        return "clear"
    return "same" if old.consumed else "wait"


def judge(new: Content, others: Iterable[Content]) -> tuple[Verdict, str]:
    """Compare a new file with all these; return the verdict, and the name of the file that decides it."""
    verdict, name = "clear", ""
    for old in others:
        found = compare(new, old)
        if found == "same":
            return "same", old.name
        if found == "wait" and verdict == "clear":
            verdict, name = "wait", old.name
    return ("wait", name) if verdict == "wait" else ("clear", "")


class FirstRecords:
    """An index of the tracked files by the CRC of their first record."""

    def __init__(self) -> None:
        self._names: dict[int, set[str]] = {}
        self._crcs: dict[str, int] = {}

    def put(self, name: str, crc: int | None) -> None:
        """Set the CRC of a file's first record; None when it has none."""
        if self._crcs.get(name) == crc:
            return
        self.drop(name)
        if crc is not None:
            self._crcs[name] = crc
            self._names.setdefault(crc, set()).add(name)

    def drop(self, name: str) -> None:
        """Remove a file."""
        crc = self._crcs.pop(name, None)
        if crc is not None:
            names = self._names[crc]
            names.discard(name)
            if not names:
                del self._names[crc]

    def names(self, crc: int) -> list[str]:
        """Return the names of the files with this first record, in arrival order."""
        return sorted(self._names.get(crc, ()))
