"""Describes how a state differs from its replay: ledgers, notifications and counts.

Owns the comparison of what a state keeps with what was computed again. It knows neither files nor log, and no sentence
contains a whole msisdn. Ledgers may be large: they are taken out of the kernel a shard at a time, and only where they
differ.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Set

from upswell.kernel import OUTCOMES, REASONS, SHARDS, Ledger
from upswell.privacy import escape, mask
from upswell.source.listing import show_name
from upswell.state.queries.notifications import Row
from upswell.zones import date_of

Key = tuple[str, int, int, int, int]
"""A window instance: msisdn, service, start_min, end_min and the day on which it opened."""
Cap = tuple[str, str, int]
"""Msisdn, application and day."""
_DECIDED = (
    "suppressed", "no_rule", "outside_window", "late",
    "capped", "capped_customer", "control", "counted", "notified",
)  # fmt: skip
"""Outcomes of segment members' records: which one it is may depend on what is lost."""
_ROWS_SHOWN_MAX = 5  # of one batch


def ledger_differences(kept: Ledger, replayed: Ledger) -> Iterator[str]:
    """Yield a sentence for each total, fired window instance and cap that differs between the two."""
    for shard in range(SHARDS):
        blobs = kept.shard(shard), replayed.shard(shard)
        # Equal entries may stand in another order.
        if blobs[0] != blobs[1]:
            one, other = (Ledger.load([(1, blob)], [], 0, 1) for blob in blobs)
            yield from total_differences(
                {each.key: (each.total, each.fired) for each in one.totals()},
                {each.key: (each.total, each.fired) for each in other.totals()},
            )
            yield from cap_differences(set(one.caps()), set(other.caps()))


def total_differences(
    kept: Mapping[Key, tuple[int, bool]], replayed: Mapping[Key, tuple[int, bool]]
) -> Iterator[str]:
    """Yield a sentence for each total that differs. Totals are (total, fired) by window instance."""
    for key in sorted(kept.keys() | replayed.keys()):
        one, other = kept.get(key, (0, False)), replayed.get(key, (0, False))
        if one != other:
            msisdn, service, _, _, day = key
            fired = "" if one[1] == other[1] else ", and only one of them has fired"
            yield (
                f"the total of {mask(msisdn)}, service {service}, of {date_of(day)} is {one[0]:,} in the state and"
                f" {other[0]:,} in the replay{fired}"
            )


def cap_differences(kept: Set[Cap], replayed: Set[Cap]) -> Iterator[str]:
    """Yield a sentence for each cap that only one of the two has."""
    for cap in sorted(kept ^ replayed):
        msisdn, application, day = cap
        place = "state" if cap in kept else "replay"
        yield f"the cap of {mask(msisdn)} for {escape(application)} on {date_of(day)} exists only in the {place}"


def notification_differences(
    batch: int, kept: Set[Row], replayed: Set[Row], files: Mapping[int, str]
) -> Iterator[str]:
    """Yield the first few notifications of a batch that only one side has. ``files``: the batch's, by sequence."""
    for rows, words in (
        (kept - replayed, "only in the state"),
        (replayed - kept, "missing in the state"),
    ):
        for day, application, msisdn, sequence, byte, *_ in sorted(rows)[:_ROWS_SHOWN_MAX]:
            yield (
                f"batch {batch}, {show_name(files.get(sequence, '?'))} byte {byte}: the notification of {mask(msisdn)}"
                f" for {escape(application)} on {date_of(day)} is {words}"
            )


def describe_counts(kept: Counter[str], replayed: Counter[str]) -> str:
    """Return the outcomes and reasons whose counts differ: "notified 3, replayed 2"."""
    names = [name for name in (*OUTCOMES, *REASONS) if kept[name] != replayed[name]]
    return (
        "; ".join(f"{name} {kept[name]:,}, replayed {replayed[name]:,}" for name in names)
        or "other sums"
    )


def without_ledger(outcomes: Counter[str]) -> Counter[str]:
    """Return the outcomes with those merged into one that may depend on lost files: their sum does not."""
    merged = Counter({name: n for name, n in outcomes.items() if name not in _DECIDED})
    merged["decided"] = sum(outcomes[name] for name in _DECIDED)
    return merged
