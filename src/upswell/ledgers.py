"""How two ledgers differ, in words.

Owns the comparison of the ledger that a state keeps with one that was worked out anew. It knows of no files and no
log. Ledgers may be large: they are taken out of the kernel a shard at a time, and only where they differ.
"""

from collections.abc import Iterator

from upswell.kernel import SHARDS, Ledger
from upswell.privacy import escape, mask
from upswell.zones import date_of

Key = tuple[str, int, int, int, int]
"""Msisdn, service, start_min, end_min and the day the occurrence opened."""
Cap = tuple[str, str, int]
"""Msisdn, application and day."""


def differences(kept: Ledger, again: Ledger) -> Iterator[str]:
    """A sentence, without a whole msisdn, for each total, fired occurrence and cap that is not the same in both."""
    for shard in range(SHARDS):
        blobs = kept.shard(shard), again.shard(shard)
        # Equal entries may stand in another order.
        if blobs[0] != blobs[1]:
            one, other = (Ledger.load([(1, blob)], [], 0, 1) for blob in blobs)
            yield from unlike(
                {item[:5]: item[5:] for item in one.items()},
                {item[:5]: item[5:] for item in other.items()},
            )
            yield from unlike_caps(set(one.caps()), set(other.caps()))


def unlike(kept: dict[Key, tuple[int, bool]], again: dict[Key, tuple[int, bool]]) -> Iterator[str]:
    """As ``differences``, of totals: (total, fired) by key."""
    for key in sorted(kept.keys() | again.keys()):
        one, other = kept.get(key, (0, False)), again.get(key, (0, False))
        if one != other:
            msisdn, service, _, _, day = key
            fired = "" if one[1] == other[1] else "; only one of them has fired"
            yield (
                f"the total of {mask(msisdn)}, service {service}, of {date_of(day)} is {one[0]:,} in the state and"
                f" {other[0]:,} in the replay{fired}"
            )


def unlike_caps(kept: set[Cap], again: set[Cap]) -> Iterator[str]:
    """As ``differences``, of caps."""
    for cap in sorted(kept ^ again):
        msisdn, application, day = cap
        place = "state" if cap in kept else "replay"
        yield f"the cap of {mask(msisdn)} for {escape(application)} on {date_of(day)} is in the {place} alone"
