"""A snapshot of a state, for those who replay its log: everything that it said at one moment, and its files.

Owns how a consistent moment is read while a run goes on, and where a file's content is now: in DATA or in an archive,
packed or unpacked. Reads in one short transaction and holds none open afterwards; it writes nothing.
"""

import os
from collections.abc import Iterator, Sequence
from itertools import groupby, takewhile
from pathlib import Path
from typing import NamedTuple

from upswell import kernel
from upswell.config.settings import threads_default
from upswell.errors import DAMAGED_HINT, InputMissing, StorageError
from upswell.kernel import Found, Ledger
from upswell.privacy import escape
from upswell.reference.suppression import Forgetting
from upswell.semantics import Measure
from upswell.source.file import File
from upswell.source.listing import archived_in, counterpart_of, stat_regular
from upswell.state.batch import LogRange
from upswell.state.ledger import decode_ledger, fetch_ledger
from upswell.state.queries.files import decode_files, fetch_consumed_files
from upswell.state.queries.forgotten import forgettings
from upswell.state.queries.notifications import notification_totals
from upswell.state.queries.zones import active_zones, all_zones
from upswell.state.reader import StateReader
from upswell.state.rows import CommittedBatch, LedgerParts, Totals
from upswell.zones import Zones

_TRIES = 5  # to read a ledger in files that a run keeps replacing


class StateSnapshot(NamedTuple):
    """The contents of a state at one moment, and the places of its files."""

    state_dir: Path
    data: Path
    archives: tuple[Path, ...]
    """Where runs with an archive moved finished files, the most recent archive first."""
    output: Path
    measure: Measure
    keep_days: int
    zones: Zones
    """With the tables that were active last; each batch names its own."""
    all_zones: tuple[Zones, ...]
    """The same with the tables of every kept version."""
    first_batch: int
    last: CommittedBatch | None
    files: dict[str, File]
    """By name, those that were consumed at least in part."""
    totals: Totals
    notified: dict[tuple[int, str], int]
    """Notifications by day and application, as the state counts them."""
    control: dict[tuple[int, str], int]
    """The same for the control group."""
    applications: dict[int, str]
    """By id."""
    parts: LedgerParts
    """The ledger; empty unless it was asked for."""
    adopted: LedgerParts
    """The caps that the state began with."""
    pruned_before: int
    """The state keeps no notifications of earlier days; 0: it keeps all of them."""
    forgettings: tuple[Forgetting, ...]
    """Who was forgotten, as far as the keys still tell."""

    @property
    def last_batch(self) -> int:
        """The number of the last batch; 0 when there was none."""
        return self.last.number if self.last else 0

    def locate(self, name: str, *, consumed: bool = True) -> tuple[bytes, bool] | None:
        """Return (path, whether it is compressed) of a file's content; None when it is gone.

        It may have been packed or unpacked since, and is looked for in DATA and in the archives, also in DATA's own
        directories of days, in case DATA was an archive. One that went on under another name is read there.
        ``consumed``: prefer the file that was consumed over another one that is held or repeated under its name. Raises
        OSError when a place cannot be looked at.
        """
        later = self.files[name].continued_by if consumed else ""
        if later and (found := self.locate(later)) is not None:
            return found
        twin = counterpart_of(name)
        # A twin that was consumed, too, is a file of its own.
        kept = (name,) if twin in self.files else (name, twin)
        paths = [self.data / each for each in kept]
        paths += [archived_in(at, each) for at in (*self.archives, self.data) for each in kept]
        if consumed and self.files[name].state == "held":
            # The one held in DATA may be another file under the name of an archived one.
            paths = paths[len(kept) :] + paths[: len(kept)]
        for path in paths:
            if stat_regular(os.fsencode(path)) is not None:
                return os.fsencode(path), path.suffix == ".gz"
        return None

    def search(
        self, name: str, cuts: Sequence[int], msisdn: str, *, consumed: bool = True
    ) -> Found | None:
        """Return the lines of a file that contain the digits, as ``kernel.search`` does; None when it is gone.

        ``consumed``: as in ``locate``. Raises OSError when it cannot be read, ValueError when its compressed data is
        broken.
        """
        found = self.locate(name, consumed=consumed)
        try:
            return None if found is None else _search(found, cuts, msisdn)
        except FileNotFoundError:  # it may just have been moved to the archive
            moved = self.locate(name, consumed=consumed)
            return None if moved is None else _search(moved, cuts, msisdn)

    def ledger(self) -> Ledger:
        """Load the ledger that the state holds. Raises StorageError when it is damaged."""
        day_open = self.last.day_open if self.last else 0
        try:
            return Ledger.load(*self.parts, day_open, threads_default())
        except ValueError as error:
            raise StorageError(f"the ledger is damaged: {error}", DAMAGED_HINT) from error


def take_snapshot(
    reader: StateReader, data: Path | None = None, *, ledger: bool = True
) -> StateSnapshot:
    """Return what the state says now.

    Args:
        reader: of the state.
        data: where the files are, if they were moved.
        ledger: load the ledger's blobs, too.

    Raises:
        StorageError: the state is damaged. InputMissing: DATA does not exist.
    """
    for tries_left in reversed(range(_TRIES)):
        with reader.snapshot():
            identity, last, totals = reader.identity(), reader.last(), reader.totals()
            first = identity.first_batch
            rows = fetch_ledger(reader) if ledger else fetch_ledger(reader, first - 1)
            consumed_rows = fetch_consumed_files(reader)
            names = {number: name for name, number in reader.applications().items()}
            people = tuple(forgettings(reader))
            counted = notification_totals(reader)
            control = notification_totals(reader, control=True)
            zones, every_zones = active_zones(reader), tuple(all_zones(reader))
        # Checked after the transaction: meanwhile the run could not truncate its write-ahead log.
        files = {file.name: file for file in decode_files(reader, consumed_rows)}
        try:
            parts = decode_ledger(reader, rows)
            break
        except StorageError:
            # A ledger in files: the run may have replaced some of them since.
            if not tries_left or reader.last() == last:
                raise
    adopted = [(batch, delta) for batch, delta in parts.deltas if batch < first]
    directory = data or identity.data
    if directory is None or not directory.is_dir():
        raise InputMissing(
            f"{escape(str(directory or 'DATA'))}: no such directory",
            "pass --data with the directory that holds the files",
        )
    return StateSnapshot(
        state_dir=reader.state_dir,
        data=directory,
        archives=identity.archives,
        # A state without any run has no OUTPUT, and no published file lies beside the database.
        output=identity.output_of(reader.state_dir) or reader.state_dir,
        measure=identity.measure,
        keep_days=identity.keep_days,
        zones=zones,
        all_zones=every_zones,
        first_batch=first,
        last=last,
        files=files,
        totals=totals,
        notified={(day, names.get(number, "?")): lines for day, number, lines in counted},
        control={(day, names.get(number, "?")): lines for day, number, lines in control},
        applications=names,
        parts=parts,
        adopted=LedgerParts([], adopted),
        pruned_before=identity.pruned_before,
        forgettings=people,
    )


def batches(reader: StateReader, snapshot: StateSnapshot) -> Iterator[list[LogRange]]:
    """Yield the log of the snapshot, the ranges of one batch at a time.

    All of it, whatever days are asked about: a night's total depends on the cap of the night before, and so on without
    an end, and a file is known to be the one that was consumed only when all that was consumed has been read again.
    """
    log = takewhile(lambda logged: logged.batch <= snapshot.last_batch, reader.log())
    for _, ranges in groupby(log, key=lambda logged: logged.batch):
        yield list(ranges)


def _search(found: tuple[bytes, bool], cuts: Sequence[int], msisdn: str) -> Found:
    path, compressed = found
    return kernel.search(path, cuts, msisdn, compressed=compressed)
