"""Where a batch is computed: the interface that the engine's loop knows, and its implementation in this process.

Owns the interface between the loop and whatever computes results and keeps the ledger. It commits nothing: what a read
changed is true only once ``change`` went into a commit. After a read that was never committed the run must end,
and a restart begins from what the checkpoint holds.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from upswell.config.settings import Settings
from upswell.engine.assembly import LedgerChange, compactions
from upswell.errors import StorageError
from upswell.kernel import Clock, Ledger, Range, Result, Scanner
from upswell.reference.loading import LoadedReference
from upswell.state.checkpoint import Checkpoint
from upswell.state.identity import LedgerForm, ledger_form
from upswell.state.ledger import ledger_bases, ledger_deltas
from upswell.state.reader import StateReader

OUTPUT_BYTES_MAX = 16 << 20  # of outputs, rows, rejects and delta that a batch may hold in memory
WORK_MS_MIN, WORK_MS_MAX = 200, 1000
"""How long a batch reads: as long as the last commit took, so that neither waits long for the other, but within these
bounds. Below, a commit would cost more than the work; above, results would come late."""


class Read(NamedTuple):
    """Ranges that were read and decided, to be committed as one batch."""

    ranges: Sequence[Range]
    """The ranges that were asked for: all that were given, or the first of them, the last one perhaps shortened."""
    result: Result


class Compute(Protocol):
    """Computes batches, one after the other.

    Calls never overlap, with one exception: ``read`` may run while the batch before it is committed.
    """

    @property
    def ledger_form(self) -> LedgerForm:
        """The form in which the ledger is kept; a state has it for good."""

    @property
    def overlaps(self) -> bool:
        """True when it saves time to read during a commit, and to prepare while the first reference is loaded."""

    def prepare(self) -> None:
        """Do in advance what can be done of ``begin``; may be called while the checkpoint is used, or not at all.

        Raises:
            StorageError: as ``begin``.
        """

    def begin(self) -> None:
        """Take up the ledger where the last commit left it. Called once, before the first read.

        Raises:
            StorageError: the ledger is damaged.
        """

    def read(self, ranges: Sequence[Range], reference: LoadedReference, commit_s: float) -> Read:
        """Read as much of the ranges as one commit should cover, and apply it to the ledger.

        Args:
            ranges: what is ready, in arrival order; not empty.
            reference: decides the batch.
            commit_s: how long the last commit took.
        """

    def change(self, result: Result, day_open: int) -> LedgerChange:
        """Return what the commit of the last read stores of the ledger.

        ``day_open`` is the first day of which records may still come.
        """

    def committed(self) -> None:
        """Take note that the batch of the last ``change`` is committed. May be called during a read."""

    def entries(self) -> tuple[int, int] | None:
        """Return the live totals and caps of the ledger; None when it is not in this process."""

    def check_alive(self) -> None:
        """Raise the UpswellError that another read would raise, if that is known. Cheap: it is called while idle."""

    def close(self) -> None:
        """Release the resources. A second call does nothing."""


def damaged_ledger(place: Path, error: Exception) -> StorageError:
    """Return the error that ends a run whose ledger, in a database or in files, cannot be taken up."""
    return StorageError(
        f"the ledger in {place} is damaged: {error}",
        "run: upswell state verify; then restore a backup, or begin anew with --adopt",
    )


class Embedded:
    """Computes in this process, on its threads, with the ledger in its memory. Implements ``Compute``."""

    def __init__(self, settings: Settings, checkpoint: Checkpoint) -> None:
        self._settings = settings
        self._checkpoint = checkpoint
        self._scanner = Scanner(settings.threads, settings.measure, Clock(settings.zones.shifts()))
        self._ledger = Ledger()
        self._is_loaded = False
        self._day_open = 0
        self.ledger_form = ledger_form(None)
        self.overlaps = settings.threads > 1

    def prepare(self) -> None:
        """Load the whole ledger, over a connection of its own."""
        with StateReader.open(self._checkpoint.reader.state_dir) as reader:
            self._load(reader)

    def begin(self) -> None:
        """Load the whole ledger, unless ``prepare`` did."""
        if not self._is_loaded:
            self._load(self._checkpoint.reader)

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

    def read(self, ranges: Sequence[Range], reference: LoadedReference, commit_s: float) -> Read:
        """Read for about a second, or for as long as the last commit took when that is less."""
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
        """Return the last read's delta, and the shards to compact with it, after dropping closed days."""
        if day_open > self._day_open:
            self._day_open = day_open
            self._ledger.drop_before(day_open)
        delta = result.delta
        return LedgerChange(
            delta, compactions(self._ledger, self._checkpoint.ledger_sizes(), len(delta))
        )

    def committed(self) -> None:
        """Do nothing: the commit holds all of the ledger's change."""

    def entries(self) -> tuple[int, int]:
        """Return the live totals and caps of the ledger."""
        return self._ledger.entries()

    def check_alive(self) -> None:
        """Do nothing: this process can always read."""

    def close(self) -> None:
        """Do nothing: only memory is held."""
