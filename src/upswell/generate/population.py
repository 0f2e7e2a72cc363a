"""Made-up customers and their usage: rules, a segment, and the lines of a file.

Owns the population (the msisdns, which of them use most, which are in the segment) and the content of a file, with odd
lines mixed in. It writes no files and never reads the clock. Everything follows from the seed: the same seed gives the
same msisdns to segment and data, and a smaller population is the first part of a larger one, so that the inputs agree
even when their sizes differ.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from itertools import cycle
from random import Random

from upswell.generate.line_faults import LINE_FAULTS, Scene
from upswell.reference.rules import Rule

CUSTOMERS_MAX = 400_000_000
"""Egyptian mobile msisdns: four prefixes and eight digits."""
_PREFIXES = (b"010", b"011", b"012", b"015")
_PER_PREFIX = 100_000_000
_PLACES = 1_000_000
_MSISDNS_PER_PLACE = CUSTOMERS_MAX // _PLACES

_WINDOWS = ((8, 20), (9, 18), (7, 23), (0, 24), (6, 12), (8, 16), (18, 2))
_APPLICATIONS = ("Twitter", "WhatsApp", "Youtube", "Facebook", "Instagram", "TikTok", "Netflix")
NAMED_SERVICES = len(_APPLICATIONS)
_ALL_DAY_SERVICE = 4

CHUNK_RECORDS = 100_000
"""Enough to make the work per chunk negligible, few enough to stay in a processor's cache."""
_KINDS_OF_SESSION = 20_000
_SESSIONS_AT_ONCE = 3
"""Records that an active customer makes in a chunk on average."""
_DELAYED_RATIO = 0.03
DELAY_MAX_S = 120
_FAULTY_CUSTOMERS_MAX = 2_000


def make_rules(seed: int, services: int) -> list[Rule]:
    """Return a rule for each of the services 1, 2, …, with thresholds that take several sessions to exceed."""
    rng = Random(f"{seed}/rules")
    rules = []
    for service in range(1, services + 1):
        place = (service - 1) % len(_WINDOWS)
        named = service <= len(_APPLICATIONS)
        name = _APPLICATIONS[place] if named else f"Application {service}"
        start, end = _WINDOWS[place]
        rules.append(Rule(service, name, start * 60, end * 60, rng.randrange(500, 3001, 50)))
    return rules


def make_msisdns(seed: int, indexes: Iterable[int]) -> Iterator[bytes]:
    """Yield the msisdns of these customers (0 to CUSTOMERS_MAX - 1): all different, 11 digits with a leading zero."""
    mix = Random(f"{seed}/dials").getrandbits(40)
    for index in indexes:
        # Neighbours lie far apart, one per place; each further million customers takes another msisdn of each place.
        layer, place = divmod(index, _PLACES)
        place = place * 618_033 % _PLACES
        offset = ((place * 2_654_435_761 + mix >> 11) + layer * 137) % _MSISDNS_PER_PLACE
        prefix, digits = divmod(place * _MSISDNS_PER_PLACE + offset, _PER_PREFIX)
        yield b"%b%08d" % (_PREFIXES[prefix], digits)


def choose_segment(seed: int, customers: int, share: float) -> Iterator[int]:
    """Yield the customers in the segment, ascending: one out of every 1 / share."""
    rng = Random(f"{seed}/segment")
    size = max(1, round(customers * share))
    for number in range(size):
        first, after = number * customers // size, (number + 1) * customers // size
        yield first + int(rng.random() * (after - first))


class Traffic:
    """The usage of a population, minute by minute; the kinds of odd lines take turns, so that all occur."""

    def __init__(
        self, seed: int, customers: int, services: int, share: float, faults: float
    ) -> None:
        self._seed = seed
        self._faults = faults
        self.faults: Counter[str] = Counter()
        """Odd lines made so far, by kind."""
        self.lines = 0
        """Lines made so far."""
        msisdns = [msisdn + b"," for msisdn in make_msisdns(seed, range(customers))]
        # One customer in ten uses ten times as much as most, one in a hundred fifty times.
        self._callers = msisdns + msisdns[3::10] * 9 + msisdns[13::100] * 40
        rng = Random(f"{seed}/sessions")
        popularity = [1 / (3 + service) for service in range(services)]
        self._sessions = [
            b"%d,%d," % (service, rng.randint(1, 500 if rng.random() < 0.95 else 2000))
            for service in rng.choices(range(1, services + 1), popularity, k=_KINDS_OF_SESSION)
        ]
        self._thresholds = {
            rule.service: rule.threshold for rule in make_rules(seed, min(services, NAMED_SERVICES))
        }
        self._services = sorted(self._thresholds)
        self._all_day = min(_ALL_DAY_SERVICE, services)
        chosen = choose_segment(seed, customers, share)
        targets = [index for index, _ in zip(chosen, range(_FAULTY_CUSTOMERS_MAX), strict=False)]
        self._targets = list(make_msisdns(seed, targets))
        self._kinds = cycle(LINE_FAULTS)

    def chunks(
        self, name: str, start: datetime, duration_s: int, records: int, by_second: bool = False
    ) -> Iterator[tuple[int, bytes]]:
        """Yield the content of a file as (seconds covered since its start, whole lines), in order of time.

        ``name`` seeds it. ``by_second``: one chunk per second, however few its records, for a file that grows.
        """
        rng = Random(f"{self._seed}/data/{name}".encode("utf-8", "surrogateescape"))
        times = [
            (start + timedelta(seconds=second)).strftime("%Y%m%d%H%M%S\n").encode()
            for second in range(-DELAY_MAX_S, duration_s)
        ]
        covered = 0
        clock: list[bytes] = []
        """Timestamps of the records of the next chunk."""
        for second in range(duration_s):
            due = records * (second + 1) // duration_s - records * second // duration_s
            clock += [times[second + DELAY_MAX_S]] * due
            if by_second or len(clock) >= CHUNK_RECORDS or second == duration_s - 1:
                for _ in range(round(len(clock) * _DELAYED_RATIO)):
                    delayed = times[covered + int(rng.random() * DELAY_MAX_S)]
                    clock[int(rng.random() * len(clock))] = delayed
                moment = start + timedelta(seconds=covered)
                covered = second + 1
                chunk = self._chunk(rng, clock, moment)
                self.lines += chunk.count(b"\n")
                yield covered, chunk
                clock = []

    def _chunk(self, rng: Random, clock: list[bytes], moment: datetime) -> bytes:
        records = len(clock)
        if not records:
            return b""
        active = rng.choices(self._callers, k=records // _SESSIONS_AT_ONCE + 1)
        # Three parts per record, joined at once: nothing is formatted per record.
        parts = [b""] * (3 * records)
        parts[0::3] = rng.choices(active, k=records)
        parts[1::3] = rng.choices(self._sessions, k=records)
        parts[2::3] = clock
        # The fraction of a line is rounded at random, so that small chunks have their share.
        for place in rng.sample(
            range(records), int(records * self._faults + rng.random() * (self._faults > 0))
        ):
            kind = next(self._kinds)
            scene = Scene(
                rng,
                rng.choice(self._targets),
                rng.choice(self._services),
                self._all_day,
                rng.randint(1, 500),
                moment,
                self._thresholds,
            )
            parts[3 * place : 3 * place + 3] = LINE_FAULTS[kind].make(scene), b"", b""
            self.faults[kind] += 1
        return b"".join(parts)
