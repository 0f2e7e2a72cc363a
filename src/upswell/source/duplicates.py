"""The same content under two names: when a new file is a duplicate, when it is not, and when that cannot be said yet.

Owns the comparison of a new file with one that was taken or is ordered before it, and the index of first records that
makes the candidates few. It opens nothing itself: a digest is computed when the sizes leave no other way. Files that
differ in their first record are never compared.
"""

from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

Verdict = Literal["clear", "wait", "same"]


class Content(NamedTuple):
    """What is compared of a file: its uncompressed content, as far as it is known."""

    name: str
    size: int
    still: bool
    """Whether the size is taken for its last one."""
    taken: bool
    """Whether all of it is taken."""
    digest: Callable[[], int | None]
    """CRC-64/NVME of it all; None when that cannot be said now."""


def compare(new: Content, old: Content) -> Verdict:
    """Whether ``new``, whose first record is that of ``old``, is another content, the same, or not decided yet.

    It is another one as soon as it is longer than ``old``, which must be still for that; otherwise both must be still,
    and size and digest decide. While the same content is not wholly taken from ``old`` the new file only waits: should
    the old one vanish before, the new one takes its place.
    """
    if not old.still:
        return "wait"
    if new.size > old.size:
        return "clear"
    if not new.still:
        return "wait"
    if new.size < old.size:
        return "clear"
    digests = new.digest(), old.digest()
    if None in digests:
        return "wait"
    if digests[0] != digests[1]:
        return "clear"
    return "same" if old.taken else "wait"


def judge(new: Content, others: Iterable[Content]) -> tuple[Verdict, str]:
    """The verdict on a new file from all it must be compared with, and the name of the one that decides it."""
    verdict, name = "clear", ""
    for old in others:
        found = compare(new, old)
        if found == "same":
            return "same", old.name
        if found == "wait" and verdict == "clear":
            verdict, name = "wait", old.name
    return ("wait", name) if verdict == "wait" else ("clear", "")


class FirstRecords:
    """Names by the CRC of their first record, of the files that are in memory."""

    def __init__(self) -> None:
        self._names: dict[int, set[str]] = {}
        self._crcs: dict[str, int] = {}

    def put(self, name: str, crc: int | None) -> None:
        """Note a file's first record; None when it has none."""
        if self._crcs.get(name) == crc:
            return
        self.drop(name)
        if crc is not None:
            self._crcs[name] = crc
            self._names.setdefault(crc, set()).add(name)

    def drop(self, name: str) -> None:
        """Forget a file."""
        crc = self._crcs.pop(name, None)
        if crc is not None:
            names = self._names[crc]
            names.discard(name)
            if not names:
                del self._names[crc]

    def names(self, crc: int) -> list[str]:
        """The files with this first record, in arrival order."""
        return sorted(self._names.get(crc, ()))
