"""What a disk holds, and what of it is left when the power goes.

Owns inodes, in two versions each: as programs see it and as it is kept. It never decides when something happens; what
becomes of data that was not synced is drawn from the generator it is given.

A file's content and mode are kept from its fsync on. Of what was not synced all may be left, nothing, a beginning, some
of its sectors, or zeros. A change of names (a file or directory made, moved or removed) is one atomic step, kept from
the fsync of either of its directories on, as journalling file systems do it. Those that were not synced are each kept
or lost, in any order, but none without the earlier ones of the same names, no move between two directories without the
making of the second, and none without the renames inside a directory that came before it: OUTPUT's marks rely on that
order, which the journals of ext4, XFS and F2FS keep, and which Btrfs keeps by committing everything.
"""

from collections.abc import Iterator
from random import Random

SECTOR_BYTES = 512
Entry = tuple["Inode", str, "Inode | None"]


class Inode:
    """A file, or a directory when it has names. ``kept_…`` is what a power loss leaves."""

    __slots__ = ("data", "kept_data", "kept_mode", "kept_names", "made", "mode", "names")

    def __init__(self, mode: int, *, directory: bool) -> None:
        self.mode = self.kept_mode = mode
        self.data = self.kept_data = b""
        self.names: dict[str, Inode] | None = {} if directory else None
        self.kept_names: dict[str, Inode] = {}
        self.made: Change | None = None
        """The change that gave it its first name."""

    def find(self, *path: str) -> "Inode | None":
        """What is at this path below, as programs see it."""
        return self._find(path, kept=False)

    def find_kept(self, *path: str) -> "Inode | None":
        """What is at this path below, as it is kept."""
        return self._find(path, kept=True)

    def _find(self, path: tuple[str, ...], *, kept: bool) -> "Inode | None":
        at: Inode | None = self
        for name in path:
            if at is None or at.names is None:
                return None
            at = (at.kept_names if kept else at.names).get(name)
        return at


class Change:
    """One atomic change of names."""

    __slots__ = ("after", "entries", "kept")

    def __init__(self, entries: tuple[Entry, ...], after: "list[Change]") -> None:
        self.entries = entries
        self.after = after
        """Changes that must be kept for this one to be."""
        self.kept = False

    def keep(self) -> None:
        """Make it durable, with what it builds on."""
        if self.kept:
            return
        self.kept = True
        for earlier in self.after:
            earlier.keep()
        for directory, name, inode in self.entries:
            if inode is None:
                directory.kept_names.pop(name, None)
            else:
                directory.kept_names[name] = inode


_KEPT = Change((), [])
_KEPT.keep()


class Platter:
    """A disk with an empty root directory."""

    def __init__(self) -> None:
        self.root = Inode(0o755, directory=True)
        self.changed = True
        """Set by whatever a program could see; for whoever looks to clear."""
        self._changes: list[Change] = []
        self._latest: dict[tuple[Inode, str], Change] = {}
        self._renamed: Change | None = None
        """The last rename inside a directory."""
        self._dirty: dict[Inode, None] = {}

    def make(self, directory: Inode, name: str, inode: Inode) -> None:
        """Give a new inode its first name."""
        inode.made = self.change((directory, name, inode))

    def change(self, *entries: Entry) -> Change:
        """Change names; an inode of None takes the name away."""
        before = [self._latest.get((directory, name)) for directory, name, _ in entries]
        before.append(self._renamed)
        if entries[0][0] is not entries[-1][0]:
            before.append(entries[-1][0].made)
        for directory, name, inode in entries:
            assert directory.names is not None
            if inode is None:
                del directory.names[name]
            else:
                directory.names[name] = inode
        self.changed = True
        one = Change(entries, [change for change in before if change and not change.kept])
        for directory, name, _ in entries:
            self._latest[directory, name] = one
        if len(entries) > 1 and entries[0][0] is entries[-1][0]:
            self._renamed = one
        self._changes.append(one)
        return one

    def moved(self, directory: Inode, name: str) -> Change:
        """The change by which the name came to be what it is."""
        return self._latest.get((directory, name), _KEPT)

    def touch(self, inode: Inode) -> None:
        """Note that content or mode have changed."""
        self.changed = True
        self._dirty[inode] = None

    def sync(self, inode: Inode) -> None:
        """What fsync does."""
        if inode in self._dirty:
            del self._dirty[inode]
            inode.kept_data, inode.kept_mode = inode.data, inode.mode
        if inode.names is not None:
            for one in self._changes:
                if any(directory is inode for directory, _, _ in one.entries):
                    one.keep()
            self._changes = [one for one in self._changes if not one.kept]

    def fail_sync(self, inode: Inode, rng: Random) -> None:
        """What a failed fsync of a file does: programs still see the data, but nobody will write it to the disk."""
        if inode in self._dirty:
            del self._dirty[inode]
            inode.kept_data = left(rng, inode.kept_data, inode.data)

    def lose_power(self, rng: Random) -> None:
        """Forget what was not synced; some of it, all, or (by luck) nothing."""
        self.changed = True
        share = rng.choice((0.0, 0.2, 0.5, 0.8, 1.0))
        for one in self._changes:
            if all(earlier.kept for earlier in one.after) and rng.random() < share:
                one.keep()
        for inode in self._dirty:
            inode.kept_data = left(rng, inode.kept_data, inode.data)
            inode.kept_mode = rng.choice((inode.kept_mode, inode.mode))
        self._changes, self._latest, self._dirty, self._renamed = [], {}, {}, None
        for inode in list(walk(self.root)):
            inode.data, inode.mode, inode.made = inode.kept_data, inode.kept_mode, None
            if inode.names is not None:
                inode.names = dict(inode.kept_names)


def walk(inode: Inode) -> Iterator[Inode]:
    """All that is kept at and below a place."""
    yield inode
    for below in inode.kept_names.values():
        yield from walk(below)


def left(rng: Random, old: bytes, new: bytes) -> bytes:
    """What is left of data that was not synced."""
    fate = rng.randrange(5)
    if fate == 0:
        return old
    if fate == 1:
        return new
    return spoiled(rng, new)


def spoiled(rng: Random, content: bytes) -> bytes:
    """A beginning of it, some of its sectors, or zeros."""
    fate = rng.randrange(3)
    if fate == 0:
        return content[: rng.randint(0, len(content))]
    if fate == 1:
        return bytes(len(content))
    sectors = (content[at : at + SECTOR_BYTES] for at in range(0, len(content), SECTOR_BYTES))
    return b"".join(one if rng.random() < 0.5 else bytes(len(one)) for one in sectors)
