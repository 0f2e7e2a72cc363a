"""The interval of a difference of two means, by Welch, with nothing but the standard library.

Owns the statistics of ``upswell effect``; it knows no customers. Sums are whole numbers, so that means and variances
are exact until the one division that makes a float of them.
"""

import math
from collections.abc import Iterable
from statistics import NormalDist
from typing import NamedTuple

CONFIDENCE = 0.95
_STEPS_MAX = 100  # some dozen are taken
_PRECISION = 1e-11
_TERMS_MAX = 100_000  # of a continued fraction that needs some dozens
_TINY = 1e-300  # in place of a zero that would be divided by


class SampleSums(NamedTuple):
    """Some whole numbers, by what is needed of them."""

    size: int = 0
    total: int = 0
    squares: int = 0
    """The sum of their squares."""

    @classmethod
    def of(cls, values: Iterable[int]) -> "SampleSums":
        """Return the sample of these values."""
        kept = list(values)
        return cls(len(kept), sum(kept), sum(value * value for value in kept))

    @property
    def mean(self) -> float | None:
        """The mean; None without any value."""
        return self.total / self.size if self.size else None

    def variance_of_mean(self) -> float:
        """Return the sample's variance, divided by its size. To be called with two values or more."""
        size = self.size
        return (size * self.squares - self.total**2) / (size**2 * (size - 1))


def difference(one: SampleSums, other: SampleSums) -> float | None:
    """Return the mean of ``one`` minus that of ``other``; None when one of them is empty."""
    if not one.size or not other.size:
        return None
    return (one.total * other.size - other.total * one.size) / (one.size * other.size)


def welch(one: SampleSums, other: SampleSums) -> tuple[float, float] | None:
    """Return (low, high) of the interval that covers the difference of the two means with CONFIDENCE.

    None when it cannot be estimated: a sample has fewer than two values, or neither has any spread.
    """
    middle = difference(one, other)
    if middle is None or min(one.size, other.size) < 2:
        return None
    first, second = one.variance_of_mean(), other.variance_of_mean()
    if not first + second:
        return None
    share = first / (first + second)
    freedom = 1 / (share**2 / (one.size - 1) + (1 - share) ** 2 / (other.size - 1))
    half = t_quantile((1 + CONFIDENCE) / 2, freedom) * math.sqrt(first + second)
    return middle - half, middle + half


def t_quantile(probability: float, freedom: float) -> float:
    """Return the value below which Student's t, with so many degrees of freedom, lies with this probability (over 1/2).

    Degrees of freedom need not be whole, but are 1 or more.
    """
    # By Newton's method from the normal distribution's: the distribution function is concave there, so that no step
    # goes too far.
    t = NormalDist().inv_cdf(probability)
    half = freedom / 2
    scale = math.exp(math.lgamma(half + 0.5) - math.lgamma(half)) / math.sqrt(freedom * math.pi)
    for _ in range(_STEPS_MAX):
        density = scale * math.exp(-(half + 0.5) * math.log1p(t * t / freedom))
        step = (probability - (1 + _within(t, freedom)) / 2) / density
        t += step
        if abs(step) < _PRECISION * t:
            break
    return t


def _within(t: float, freedom: float) -> float:
    """Return the probability that Student's t lies between -t and t."""
    square = t * t
    return _incomplete_beta(
        0.5, freedom / 2, square / (freedom + square), freedom / (freedom + square)
    )


def _incomplete_beta(a: float, b: float, x: float, rest: float) -> float:
    """Return the regularized incomplete beta function at ``x``. ``rest``: 1 - x, given since it may be tiny."""
    if not x or not rest:
        return 0.0 if not x else 1.0
    if x > (a + 1) / (a + b + 2):  # the fraction converges fast on one side alone
        return 1 - _incomplete_beta(b, a, rest, x)
    front = math.exp(
        math.lgamma(a + b)
        - math.lgamma(a)
        - math.lgamma(b)
        + a * math.log(x)
        + b * (math.log1p(-x) if x < rest else math.log(rest))
    )
    return front * _fraction(a, b, x) / a


def _fraction(a: float, b: float, x: float) -> float:
    """Return the continued fraction of the incomplete beta function (DLMF 8.17.22), by Lentz's method."""
    c, d = 1.0, 1 / _not_zero(1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, _TERMS_MAX):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1 / _not_zero(1 + term * d)
            c = _not_zero(1 + term / c)
            value *= d * c
        if abs(d * c - 1) < 1e-15:
            break
    return value


def _not_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
