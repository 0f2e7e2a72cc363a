"""Removes customers from a state, and reports where their msisdns still occur.

Owns the course of ``upswell state forget``: which msisdns, until when their records are suppressed, the removal by
``erase`` and the search by ``occurrences``. It needs the state to itself while it removes, not while it searches. No
msisdn is in anything that it returns.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from upswell.errors import ConfigError, UsageError
from upswell.kernel import SHARDS
from upswell.output.marks import begun_in
from upswell.output.names import STAGING, parse_staged
from upswell.reference.segment import parse_msisdn
from upswell.state.checkpoint import Checkpoint
from upswell.state.connection import storage_errors
from upswell.state.identity import StateIdentity
from upswell.state.maintenance.erase import Erased, Eraser
from upswell.state.maintenance.occurrences import Search
from upswell.state.queries.zones import all_zones
from upswell.state.reader import StateReader
from upswell.zones import day_last_of


@dataclass(frozen=True, slots=True)
class Removal:
    """The result of forgetting people: counts removed, and the places left for others to clear."""

    people: int
    erased: Erased
    until_day: int
    """Their records are suppressed while this day is open, of some perhaps longer; 0: no day has begun yet."""
    stands: list[str]
    """Where one of the msisdns still occurs, a sentence each."""
    unknown: list[str]
    """What could not be searched, a sentence each."""

    def to_json(self) -> dict[str, object]:
        """Return the removal as a JSON object."""
        return {
            "people": self.people,
            "removed": self.erased._asdict(),
            "until_day": self.until_day or None,
            "stands": self.stands,
            "unknown": self.unknown,
        }


def forget(state_dir: Path, given: Sequence[str], *, data: Path | None = None) -> Removal:
    """Remove customers from a state whose run is stopped. After a kill, the same call again completes the removal.

    Args:
        state_dir: the state's directory.
        given: msisdns of 5 to 15 digits, with or without a leading ``+``.
        data: where the files are, if they were moved.

    Raises:
        UsageError: one is not an msisdn, or none is given.
        Locked: a run holds the state, or a reader keeps what was removed in its files.
        ConfigError: notifications wait to be published or removed.
        StorageError: there is no state, it is damaged, or the disk fails.
    """
    msisdns = sorted({_parse(text) for text in given})
    if not msisdns:
        raise UsageError(
            "no MSISDN given", "pass MSISDNs as arguments, or - to read one per line from stdin"
        )
    StateReader.open(state_dir).close()  # a writer would create a state where there is none
    with Checkpoint.open(state_dir, SHARDS) as checkpoint:
        state, eraser = checkpoint.reader, Eraser(checkpoint)
        identity, last = state.identity(), state.last()
        _refuse_waiting(state, identity)
        until_day = 0
        if last:
            # Earlier batches may have counted by other tables of the zones than the last one.
            until_day = max(day_last_of(last.newest_stamp, zones) for zones in all_zones(state))
        erased = eraser.erase(msisdns, until_day)
        until_day = eraser.suppressed_until(msisdns)
    # The search may take long, and changes nothing: a run may go on meanwhile.
    search = Search(msisdns)
    search.search_all(state_dir, identity, data or identity.data)
    return Removal(len(msisdns), erased, until_day, search.found, search.unsearched)


def _parse(text: str) -> str:
    msisdn = parse_msisdn(text.strip().encode("utf-8", "replace"))
    if msisdn is None:
        raise UsageError(
            "not an MSISDN", "pass 5 to 15 digits, or - to read one MSISDN per line from stdin"
        )
    return msisdn


def _refuse_waiting(state: StateReader, identity: StateIdentity) -> None:
    """Refuse while staged files exist: without the removed notifications they could not be rebuilt.

    One of a batch that was never committed holds records, too, and only recovery may decide what becomes of it.
    """
    own = identity.own_directory(state.state_dir)
    if own is None:
        return
    staging = own / STAGING
    with storage_errors(staging):
        names = [path.name for path in staging.iterdir()] if staging.is_dir() else []
    batches = [parsed.batch for name in names if (parsed := parse_staged(name)) is not None]
    first, last = state.first_batch(), state.last_batch()
    if (
        own.is_dir()
        and (begun := begun_in(own)) is not None
        and begun < last
        and state.staged(last)
    ):
        batches.append(last)  # lost, and to be made again
    if batches:
        raise ConfigError(
            "notifications of the last batch are still to be published"
            if any(first <= batch <= last for batch in batches)
            else "an interrupted run left notifications of no batch in its staging directory",
            "start the run once, with --once: it publishes or removes them; then forget again",
        )
