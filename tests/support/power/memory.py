"""The stand-in for the checkpoint: what a commit needs of one, atomic and durable, in memory.

Owns the truth about what was committed. Its directory and its lock are made as the real one makes them; a strike during
a transaction leaves all of it or nothing.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random

from support.power.calls import Broken, Calls
from upswell.errors import StorageError
from upswell.output.names import Staged, place_of
from upswell.reference.application import directory_name
from upswell.state.batch import Batch
from upswell.state.directory import make_directory
from upswell.state.identity import StateIdentity
from upswell.storage import syscalls
from upswell.storage.files import RECOVERS, translate_os_errors
from upswell.storage.lock import LOCK_NAME, lock


class Memory:
    """What is committed; outlives every process."""

    def __init__(self, state_dir: Path, calls: Calls, rng: Random) -> None:
        self.state_dir = state_dir
        self._calls = calls
        self._rng = rng
        self._identity = StateIdentity()
        self._ids: dict[str, int] = {}
        self._staged: list[dict[str, Staged]] = []
        self._lines: dict[tuple[int, int, bool], bytes] = {}
        self.published: dict[tuple[str, str], bytes] = {}
        """By directory and name: every file that is or was to be seen in OUTPUT, in the order of emission."""
        self.rejects: dict[int, bytes] = {}
        """By batch: every reject file, those that are empty left out."""

    @contextmanager
    def opened(self) -> Iterator["Memory"]:
        """As a process opens it."""
        make_directory(self.state_dir)
        with translate_os_errors(self.state_dir, StorageError, RECOVERS):
            fd = lock(self.state_dir / LOCK_NAME, "the state")
        try:
            yield self
        finally:
            syscalls.close(fd)

    @property
    def reader(self) -> "Memory":
        return self

    def identity(self) -> StateIdentity:
        return self._identity

    def set_identity(self, identity: StateIdentity) -> None:
        def apply() -> None:
            self._identity = identity

        self._commit("set_identity", apply)

    def first_batch(self) -> int:
        return 1

    def last_batch(self) -> int:
        return len(self._staged)

    def staged(self, batch: int) -> dict[str, Staged]:
        return self._staged[batch - 1]

    def _rows(self, _: str, values: tuple[int, int, int]) -> list[tuple[bytes]]:
        """The one query of a recovery: the lines of a staged file, to rebuild it from."""
        batch, application, control = values
        return [
            (line,) for line in self._lines[batch, application, bool(control)].split(b"\n")[:-1]
        ]

    def has_rejects(self, number: int, content: bytes) -> bool:
        return self.rejects.get(number, b"") == content

    def application_ids(self, names: Iterable[str]) -> dict[str, int]:
        names = list(dict.fromkeys(names))
        new = [name for name in names if name not in self._ids]
        if new:
            ids = {name: number for number, name in enumerate(new, len(self._ids) + 1)}
            self._commit("application_ids", lambda: self._ids.update(ids))
        return {name: self._ids[name] for name in names}

    def append(self, batch: Batch, staged: Sequence[Staged]) -> None:
        self._commit(f"COMMIT of batch {batch.number}", lambda: self._append(batch, staged))

    def _append(self, batch: Batch, staged: Sequence[Staged]) -> None:
        self._staged.append({one.staged_name: one for one in staged})
        for outputs, control in ((batch.outputs, False), (batch.control_outputs, True)):
            for output in outputs:
                number = self._ids[output.application]
                self._lines[batch.number, number, control] = output.content
                name = f"NOTIFY_{batch.number:010d}_{batch.stamp}.csv"
                place = place_of(directory_name(output.application), control)
                self.published[place, name] = output.content
        if batch.rejects:
            self.rejects[batch.number] = batch.rejects

    def _commit(self, what: str, apply: Callable[[], None]) -> None:
        """All of it or nothing. A strike comes before it; what became of one that failed is not known."""
        if self._calls.failed:
            raise Broken(f"{what}, although {self._calls.failed} has failed")
        try:
            self._calls.step(what)
        except OSError as error:
            if self._rng.random() < 0.5:
                apply()
            raise StorageError("the state cannot be written", RECOVERS) from error
        apply()
