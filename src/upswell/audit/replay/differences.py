"""How a state differs from its replay, in words: ledgers, notifications and counts.

Owns the comparison of what a state keeps with what was worked out anew. It knows of no files and no log, and no
sentence holds a whole msisdn. Ledgers may be large: they are taken out of the kernel a shard at a time, and only where
they differ.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Set

from upswell.kernel import OUTCOMES, REASONS, SHARDS, Ledger
from upswell.privacy import escape, mask
from upswell.source.listing import show_name
from upswell.state.queries.notifications import Row
from upswell.zones import date_of

Key = tuple[str, int, int, int, int]
"""Msisdn, service, start_min, end_min and the day the occurrence opened."""
Cap = tuple[str, str, int]
"""Msisdn, application and day."""
_ROWS_TOLD_MAX = 5  # of one batch


def of_ledgers(kept: Ledger, again: Ledger) -> Iterator[str]:
    """A sentence for each total, fired occurrence and cap that is not the same in both."""
    for shard in range(SHARDS):
        blobs = kept.shard(shard), again.shard(shard)
        # Equal entries may stand in another order.
        if blobs[0] != blobs[1]:
            one, other = (Ledger.load([(1, blob)], [], 0, 1) for blob in blobs)
            yield from of_totals(
                {each.key: (each.total, each.fired) for each in one.totals()},
                {each.key: (each.total, each.fired) for each in other.totals()},
            )
            yield from of_caps(set(one.caps()), set(other.caps()))


def of_totals(
    kept: Mapping[Key, tuple[int, bool]], again: Mapping[Key, tuple[int, bool]]
) -> Iterator[str]:
    """As ``of_ledgers``, of totals: (total, fired) by key."""
    for key in sorted(kept.keys() | again.keys()):
        one, other = kept.get(key, (0, False)), again.get(key, (0, False))
        if one != other:
            msisdn, service, _, _, day = key
            fired = "" if one[1] == other[1] else "; only one of them has fired"
            yield (
                f"the total of {mask(msisdn)}, service {service}, of {date_of(day)} is {one[0]:,} in the state and"
                f" {other[0]:,} in the replay{fired}"
            )


def of_caps(kept: Set[Cap], again: Set[Cap]) -> Iterator[str]:
    """As ``of_ledgers``, of caps."""
    for cap in sorted(kept ^ again):
        msisdn, application, day = cap
        place = "state" if cap in kept else "replay"
        yield f"the cap of {mask(msisdn)} for {escape(application)} on {date_of(day)} is in the {place} alone"


def of_notifications(
    batch: int, kept: Set[Row], again: Set[Row], files: Mapping[int, str]
) -> Iterator[str]:
    """Where the notifications of a batch differ, the first few. ``files``: the batch's files by sequence."""
    for rows, words in (
        (kept - again, "held by the state alone"),
        (again - kept, "missing in the state"),
    ):
        for day, application, msisdn, sequence, byte, *_ in sorted(rows)[:_ROWS_TOLD_MAX]:
            yield (
                f"batch {batch}, {show_name(files.get(sequence, '?'))} byte {byte}: the notification of {mask(msisdn)}"
                f" for {escape(application)} on {date_of(day)} is {words}"
            )


def of_counts(kept: Counter[str], again: Counter[str]) -> str:
    """The outcomes and reasons that are counted otherwise: "notified 3 and 2"."""
    names = [name for name in (*OUTCOMES, *REASONS) if kept[name] != again[name]]
    return ", ".join(f"{name} {kept[name]:,} and {again[name]:,}" for name in names) or "other sums"
