"""The interval of a difference is Student's by Welch, and covers what it should."""

import random

import pytest

from upswell.audit.replay.interval import SampleSums, difference, t_quantile, welch

SEEDS = 500
LIFT = 40.0


@pytest.mark.parametrize(
    ("probability", "freedom", "expected"),
    [
        (0.975, 1, 12.7062047362),
        (0.975, 2, 4.3026527297),
        (0.975, 5, 2.5705818356),
        (0.975, 10, 2.2281388520),
        (0.975, 30, 2.0422724563),
        (0.975, 100, 1.9839715185),
        (0.975, 1000, 1.9623390808),
        (0.95, 7, 1.8945786051),
        (0.995, 1, 63.6567411629),
        (0.975, 1e9, 1.9599639869),
    ],
)
def test_quantiles_are_those_of_the_tables(
    probability: float, freedom: float, expected: float
) -> None:
    """For few and many degrees of freedom, up to the normal distribution."""
    assert expected == pytest.approx(t_quantile(probability, freedom), abs=1e-6)


def test_the_interval_is_the_one_worked_out_by_hand() -> None:
    """Means 20 and 8, whose variances are 100 / 3 and 8 / 5: so many degrees of freedom, and the root of the sum."""
    one, other = SampleSums.of([10, 20, 30]), SampleSums.of([4, 8, 12, 8, 8])

    assert (3, 60, 1400) == one
    assert 12 == difference(one, other)
    variances = 100 / 3, 8 / 5
    freedom = sum(variances) ** 2 / (variances[0] ** 2 / 2 + variances[1] ** 2 / 4)
    half = t_quantile(0.975, freedom) * sum(variances) ** 0.5
    assert pytest.approx((12 - half, 12 + half)) == welch(one, other)


@pytest.mark.parametrize(
    ("one", "other"), [([], [1, 2]), ([5], [1, 2]), ([3, 3], [4, 4, 4]), ([], [])]
)
def test_without_spread_there_is_no_interval(one: list[int], other: list[int]) -> None:
    """A group of one, or two groups whose values are all alike, say nothing of the error."""
    assert welch(SampleSums.of(one), SampleSums.of(other)) is None


def test_the_interval_covers_a_planted_lift_as_often_as_it_says() -> None:
    """Over 500 seeds of skewed usage, many customers without any, in groups of unlike size and spread: 93 to 97 %."""
    covered = 0
    for seed in range(SEEDS):
        generator = random.Random(seed)
        notified = SampleSums.of(usage(generator, LIFT) for _ in range(400))
        control = SampleSums.of(usage(generator, 0) for _ in range(150))
        low, high = welch(notified, control) or (0, 0)
        covered += low <= LIFT <= high

    assert 0.93 * SEEDS <= covered <= 0.97 * SEEDS


def usage(generator: random.Random, lift: float) -> int:
    """What a customer used: a third nothing at all, the others by an exponential; the lift is that of the mean."""
    mean = 150 + lift * 1.5
    return round(generator.expovariate(1 / mean)) if generator.random() * 3 > 1 else 0
