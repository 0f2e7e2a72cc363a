"""The two marks that say how far publication ever came in an OUTPUT: one in ``.upswell``, one in OUTPUT itself.

Owns how they are read, made and moved on. Each is a file whose name has the number of a batch: the publication of that
batch has begun, and that of no later one. The higher of the two counts, so one that was put back with an older copy
says nothing wrong. The one in OUTPUT itself holds OUTPUT's identity, too, which is not lost with ``.upswell`` then.

A mark moves on by one rename before the first file of its batch is moved. It needs no fsync of its own: a file system
that keeps the order of renames has the mark wherever it has the move.
"""

from pathlib import Path

from upswell.output.names import (
    OWN_DIRECTORY,
    OutputMark,
    begun_name,
    parse_begun,
    parse_output_mark,
)
from upswell.storage import syscalls
from upswell.storage.files import create_file, directory, list_names, read_file, remove_files

_NEW = "mark.new"


class Marks:
    """The marks of an OUTPUT that this process alone writes."""

    def __init__(self, output_fd: int, own_fd: int) -> None:
        self._output_fd = output_fd
        self._own_fd = own_fd
        self.own = _newest_own(own_fd)
        """The batch of the mark in ``.upswell``; None: it is missing."""
        self.outer = _newest_outer(output_fd)
        """The mark in OUTPUT itself; None: it is missing."""

    @property
    def begun(self) -> int | None:
        """The highest batch whose publication ever began here, 0 before the first; None: both marks are missing."""
        return _newest(self.own, self.outer)

    def identity(self) -> bytes:
        """Return what the mark in OUTPUT itself has of its identity; nothing when it is missing."""
        return b"" if self.outer is None else read_file(self.outer.name, self._output_fd)

    def advance(self, batch: int) -> None:
        """Note that the publication of this batch begins, in the marks that are there."""
        if self.own is not None:
            syscalls.rename(
                begun_name(self.own),
                begun_name(batch),
                src_dir_fd=self._own_fd,
                dst_dir_fd=self._own_fd,
            )
            self.own = batch
        if self.outer is not None:
            self._move_outer(self.outer, OutputMark(batch))

    def settle(self) -> None:
        """Note that a recovery has published all up to the last batch that was begun. Durable when it returns."""
        assert self.outer is not None and self.own is not None  # recovery has restored them
        # Power may go with a move of one mark and leave that of the other, so this one need not name the last batch.
        self._move_outer(self.outer, OutputMark(max(self.own, self.outer.batch), settled=True))
        syscalls.fsync(self._output_fd)

    def _move_outer(self, before: OutputMark, after: OutputMark) -> None:
        # Not by the call that moves the other mark: a file system or tool that breaks one of them leaves the other.
        syscalls.rename_new(before.name, self._output_fd, after.name, self._output_fd)
        self.outer = after

    def restore(self, batch: int, identity: str) -> None:
        """Make the marks that are missing, for this batch. Durable when it returns."""
        if self.own is None:
            create_file(begun_name(batch), self._own_fd, b"", 0o600)
            syscalls.fsync(self._own_fd)
            self.own = batch
        if self.outer is None:
            mark = OutputMark(batch)
            # Whole or not at all: somebody may need the identity.
            remove_files([_NEW], self._own_fd)
            create_file(_NEW, self._own_fd, f"{identity}\n".encode(), 0o600)
            syscalls.rename_new(_NEW, self._own_fd, mark.name, self._output_fd)
            for fd in (self._output_fd, self._own_fd):
                syscalls.fsync(fd)
            self.outer = mark


def begun_in(own: Path) -> int | None:
    """Return the highest batch that the marks of an OUTPUT name, from outside a run; None when there is no mark.

    ``own``: its ``.upswell``, or a copy of that, beside which there is no other mark.
    """
    with directory(own) as fd:
        inner = _newest_own(fd)
    if own.name != OWN_DIRECTORY:
        return inner
    with directory(own.parent) as fd:
        return _newest(inner, _newest_outer(fd))


def _newest_own(own_fd: int) -> int | None:
    batches = [batch for name in list_names(own_fd) if (batch := parse_begun(name)) is not None]
    return max(batches, default=None)


def _newest_outer(output_fd: int) -> OutputMark | None:
    marks = [mark for name in list_names(output_fd) if (mark := parse_output_mark(name))]
    return max(marks, default=None)


def _newest(own: int | None, outer: OutputMark | None) -> int | None:
    batches = [*([] if own is None else [own]), *([] if outer is None else [outer.batch])]
    return max(batches, default=None)
