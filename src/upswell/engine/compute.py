"""Where a batch is computed: what the engine's loop knows of it, and the embedded engine's own way.

Owns the border between the loop and what turns ranges into a result and keeps the ledger. It commits nothing: what a
read changed is true only once ``change`` went into a commit. After a read that was never committed the run must end,
and a restart begins from what the checkpoint holds.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from upswell.config.settings import Settings
from upswell.engine.assembly import LedgerChange, compactions
from upswell.errors import StorageError
from upswell.kernel import Clock, Ledger, Range, Result, Scanner
from upswell.reference.loading import Reference
from upswell.state.checkpoint import Checkpoint
from upswell.state.identity import engine_of
from upswell.state.ledger import ledger_bases, ledger_deltas
from upswell.state.reader import StateReader

OUTPUT_BYTES_MAX = 16 << 20  # of outputs, rows, rejects and delta a batch may hold in memory
WORK_MS_MIN, WORK_MS_MAX = 200, 1000
"""About as long as a batch may work before its results are worth showing; between the two as long as the commit before
it took, so that neither waits long for the other."""


class Read(NamedTuple):
    """What was read and decided, to be committed as one batch."""

    ranges: Sequence[Range]
    """What was asked for: the ranges that were given, or the first of them, the last one perhaps up to a nearer end."""
    result: Result


class Compute(Protocol):
    """Computes batches, one after the other. Calls never overlap; ``read`` may be beside a commit of the one before."""

    @property
    def pinned(self) -> Mapping[str, str]:
        """The entries of ``meta`` that say how it keeps the ledger: a state's for good."""

    @property
    def beside(self) -> bool:
        """Whether reading beside a commit wins time, and preparing beside the start of the reference."""

    def prepare(self) -> None:
        """Do beforehand what can be done of ``begin``. Perhaps beside other use of the checkpoint, and of no effect.

        Raises StorageError as ``begin`` does.
        """

    def begin(self) -> None:
        """Take up the ledger where the last commit left it. Once, before the first read.

        Raises StorageError when it is damaged.
        """

    def read(self, ranges: Sequence[Range], reference: Reference, commit_s: float) -> Read:
        """As much of the ranges as one commit should cover, applied to the ledger.

        ``commit_s``: how long the last commit took.
        """

    def change(self, result: Result, day_open: int) -> LedgerChange:
        """What the commit of the last read stores of the ledger. Records of days before ``day_open`` come no more."""

    def committed(self) -> None:
        """The batch of the last ``change`` is committed. Perhaps beside a read."""

    def entries(self) -> tuple[int, int] | None:
        """Live totals and caps of the ledger; None when it is not in this process."""

    def check_alive(self) -> None:
        """Whether another read could be made, asked again and again while there is nothing to read: cheap.

        Raises UpswellError, as that read would.
        """

    def close(self) -> None:
        """Give up what is held. Again is nothing."""


def damaged_ledger(place: Path, error: Exception) -> StorageError:
    """What ends a run whose ledger cannot be taken up, wherever it lies."""
    return StorageError(
        f"the ledger in {place} is damaged: {error}",
        "run: upswell state verify; then restore a backup, or begin anew with --adopt",
    )


class Embedded:
    """In this process, on its threads, with the ledger in its memory."""

    def __init__(self, settings: Settings, checkpoint: Checkpoint) -> None:
        self._settings = settings
        self._checkpoint = checkpoint
        self._scanner = Scanner(settings.threads, settings.measure, Clock(settings.zones.shifts()))
        self._ledger = Ledger()
        self._is_loaded = False
        self._day_open = 0
        self.pinned = engine_of(None)
        self.beside = settings.threads > 1

    def prepare(self) -> None:
        """As Compute says: a load of the whole ledger, over a connection of its own."""
        with StateReader.open(self._checkpoint.state_dir) as reader:
            self._load(reader)

    def begin(self) -> None:
        """As Compute says: the same load, unless it was done."""
        if not self._is_loaded:
            self._load(self._checkpoint)

    def _load(self, reader: StateReader) -> None:
        self._day_open = reader.day_open()
        try:
            self._ledger = Ledger.load(
                ledger_bases(reader),
                ledger_deltas(reader),
                self._day_open,
                self._settings.threads,
                self._checkpoint.ledger_sizes().deltas,
            )
        except ValueError as error:
            raise damaged_ledger(self._settings.state_dir, error) from error
        self._is_loaded = True

    def read(self, ranges: Sequence[Range], reference: Reference, commit_s: float) -> Read:
        """As Compute says: about a second of work, or less when commits are quick."""
        result = self._scanner.process(
            ranges,
            reference.segment,
            reference.rules,
            self._ledger,
            OUTPUT_BYTES_MAX,
            min(max(WORK_MS_MIN, round(commit_s * 1000)), WORK_MS_MAX),
            reference.policy,
        )
        return Read(ranges, result)

    def change(self, result: Result, day_open: int) -> LedgerChange:
        """As Compute says: the read's delta, and the shards that are written anew with it."""
        if day_open > self._day_open:
            self._day_open = day_open
            self._ledger.drop_before(day_open)
        delta = result.delta
        return LedgerChange(
            delta, compactions(self._ledger, self._checkpoint.ledger_sizes(), len(delta))
        )

    def committed(self) -> None:
        """Nothing: the commit holds all of the ledger's change."""

    def entries(self) -> tuple[int, int]:
        """As Compute says."""
        return self._ledger.entries()

    def check_alive(self) -> None:
        """This process can."""

    def close(self) -> None:
        """Nothing is held but memory."""
