"""Branches and points decide beside the job's own terms what calls of their own would decide, over one scan."""

import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from support.kernel_runs import FORGETTING, Settings, environment
from upswell import kernel
from upswell.kernel import Clock, Ledger, Range, Rules, Scanner, Segment
from upswell.reference.keyed_hash import keyed_hash

DIALS = [f"0100000000{number}" for number in range(8)]
DAYS = (20200417, 20200418, 20200419, 20200420)
APPLICATIONS = ("Twitter", "Night", "Chat")
Line = tuple[int, str, int, int, int]
"""Service, application, first minute, end minute and threshold of a rule."""


def random_rules(generator: random.Random) -> list[Line]:
    """Rules of some services, one or two windows each, over midnight or not; applications are shared by services."""
    lines: list[Line] = []
    for service in range(1, 5):
        name = generator.choice(APPLICATIONS)
        start, middle, end = sorted(generator.sample(range(0, 1440, 60), 3))
        windows = [(start, middle), (middle, end), (end, start), (0, 1440)]
        chosen = generator.choice([[0], [2], [0, 1], [0, 1, 2], [1, 2], [3], []])
        lines += [(service, name, *windows[at], generator.randrange(250)) for at in chosen]
    return lines


def scaled(lines: Sequence[Line], factor: float) -> Rules:
    """The rules with their thresholds multiplied."""
    return Rules([(*line[:4], round(line[4] * factor)) for line in lines])


def random_lines(generator: random.Random, day: int, count: int) -> bytes:
    """Records of a day, or of those beside it."""
    lines = []
    for _ in range(count):
        date = generator.choice([day, day, day, generator.choice(DAYS)])
        time = f"{generator.randrange(24):02}{generator.randrange(60):02}00"
        dial = generator.choice([*DIALS, "0199999999"])
        lines.append(f"{dial},{generator.randrange(1, 6)},{generator.randrange(90)},{date}{time}\n")
    return "".join(lines).encode()


def random_policy(generator: random.Random) -> kernel.Policy:
    """A limit and a control group, or neither."""
    limit, share = generator.choice([0, 0, 1, 2]), generator.choice([0, 0, 4000])
    return kernel.Policy(None, None, limit, share, FORGETTING if share else None)


def limited(policy: kernel.Policy, limit: int | None) -> kernel.Policy:
    """The policy with another limit; None: as it is."""
    suppressed, forgotten, own, share, key = policy.parts()
    return kernel.Policy(suppressed, forgotten, own if limit is None else limit, share, key)


class Side:
    """A ledger and a scanner of its own, as for a run under these rules."""

    def __init__(self, measure: str, rules: Rules, limit: int | None = None) -> None:
        self.ledger = Ledger()
        self.scanner = Scanner(1, measure, Clock([]))
        self.rules = rules
        self.limit = limit
        self.sent: list[tuple[object, ...]] = []
        self.counts: Counter[tuple[int, int]] = Counter()

    def terms(self, policy: kernel.Policy) -> tuple[Rules, kernel.Policy]:
        """Rules and policy of a call."""
        return self.rules, limited(policy, self.limit)

    def process(self, asked: Range, segment: Segment, policy: kernel.Policy) -> None:
        """Read a file, to its end."""
        rules, own = self.terms(policy)
        result = self.scanner.process([asked], segment, rules, self.ledger, 1 << 40, 1 << 40, own)
        assert asked.end == result.ranges[0].end
        self.add(result.notifications)

    def add(self, notifications: Sequence[tuple[int, int, str, int, int, bytes]]) -> None:
        """Take note of notifications."""
        self.sent += notifications
        self.counts.update((day, application) for day, application, *_ in notifications)


def entries(ledger: Ledger) -> tuple[object, object]:
    """All that a ledger holds."""
    totals = [(each.key, each.total, each.fired) for each in ledger.totals()]
    return totals, ledger.caps()


@pytest.mark.parametrize("seed", range(80))
def test_each_decides_what_a_call_of_its_own_decides(tmp_path: Path, seed: int) -> None:
    """Other rules and limits, and points of a curve; caps from before, closed days and forgotten msisdns in all."""
    generator = random.Random(seed)
    measure = generator.choice(["total", "total", "session"])
    own, other = random_rules(generator), random_rules(generator)
    limits = [generator.choice([None, None, 0, 1]) for _ in range(2)]
    alone = Side(measure, Rules(own))
    branches = [
        Side(measure, scaled(own, 0.5), limits[0]),
        Side(measure, Rules(other), limits[1]),
        Side(measure, scaled(other, 1.5), limits[1]),
    ]
    points = [Side(measure, scaled(other, factor), limits[1]) for factor in (0.25, 0.5, 1, 2)]
    chunk_bytes = generator.choice([40, 500, 0])
    with environment(Settings(chunk_bytes=chunk_bytes)):
        scanner = Scanner(generator.choice([1, 2]), measure, Clock([]))
    together = Ledger()
    for ledger in (together, alone.ledger, *(each.ledger for each in (*branches, *points))):
        for dial in DIALS[:3]:
            ledger.add_cap(dial, APPLICATIONS[0], DAYS[1])
    together.branch(len(branches), len(points))
    found = [Side(measure, each.rules) for each in (alone, *branches)]
    counts = [Counter[tuple[int, int]]() for _ in points]
    segment, _ = Segment.parse(["\n".join(DIALS).encode()])

    for number in range(8):
        day = DAYS[number // 2]
        content = random_lines(generator, day, generator.randrange(60))
        path = tmp_path / f"{number}.csv"
        path.write_bytes(content)
        day_open = DAYS[max(number // 2 - 1, 0)]
        asked = Range(
            f"{number}", bytes(path), False, 0, len(content), True, 0, 0, 0, 20200430, day_open, 0
        )
        policy = random_policy(generator)
        for each in (alone, *branches, *points):
            each.process(asked, segment, policy)
        result = scanner.process(
            [asked],
            segment,
            alone.rules,
            together,
            1 << 40,
            1 << 40,
            policy,
            [each.terms(policy) for each in branches],
            [each.terms(policy) for each in points],
        )
        assert asked.end == result.ranges[0].end
        found[0].add(result.notifications)
        for index, each in enumerate(found[1:]):
            each.add(result.branch_notifications(index))
        for sums, of_point in zip(counts, result.point_counts, strict=True):
            sums.update({(day, application): n for day, application, n in of_point})
        everyone = (together, alone.ledger, *(each.ledger for each in (*branches, *points)))
        if generator.random() < 0.2:
            hashes = [keyed_hash(FORGETTING, generator.choice(DIALS).encode())]
            for ledger in everyone:
                ledger.forget(FORGETTING, hashes)
        for ledger in everyone:
            ledger.drop_before(day_open)

    assert [each.sent for each in (alone, *branches)] == [each.sent for each in found]
    assert [+each.counts for each in points] == [+each for each in counts]
    assert entries(alone.ledger) == entries(together)
    assert [entries(each.ledger) for each in branches] == [
        entries(ledger) for ledger in together.take_branches()
    ]


def test_branches_are_those_of_the_ledger() -> None:
    """A call with more or fewer of them, or points with other windows, breaks the contract."""
    ledger, scanner = Ledger(), Scanner(1, "total", Clock([]))
    ledger.branch(1, 2)
    segment, _ = Segment.parse([b"0100000000\n"])
    rules, others = Rules([(1, "A", 0, 60, 1)]), Rules([(1, "A", 0, 61, 1)])
    for branches, points in (
        ([], [(rules, None), (rules, None)]),
        ([(rules, None)], [(rules, None)]),
        ([(rules, None)], [(rules, None), (others, None)]),
    ):
        with pytest.raises(ValueError, match=r"branches|windows"):
            scanner.process([], segment, rules, ledger, 1, 1, None, branches, points)
    with pytest.raises(ValueError, match="no branch 0"):
        scanner.process([], segment, rules, Ledger(), 1, 1).branch_notifications(0)
