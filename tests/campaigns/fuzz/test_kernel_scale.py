"""The kernel against the reference, and its paths against each other, on more lines than a person can think of."""

import pytest

from support import differential
from support.trust import Trust


@pytest.mark.trust("T12")
def test_the_kernel_says_what_the_reference_says(trust: Trust) -> None:
    """Kernel and reference give the same outcomes, rejects, outputs, totals and caps, by every path, cut and zone."""
    trust(
        range(10_000),
        lambda seeds: differential.by_all_cores(differential.difference, seeds),
        case="blocks of 10,000 lines",
        sample=100,
        chunk=100,
    )


@pytest.mark.trust("T13")
def test_every_path_says_the_same_of_mutated_lines(trust: Trust) -> None:
    """Whatever bytes are changed, lost or put in: all scanner paths, threads and chunks say the same, and add up."""
    trust(
        range(100_000),
        lambda seeds: differential.by_all_cores(differential.disagreement, seeds),
        case="blocks of 10,000 mutated lines",
        sample=100,
        chunk=1000,
    )


@pytest.mark.trust("T13")
def test_a_file_may_be_cut_at_any_byte(trust: Trust) -> None:
    """A file that is cut at any byte, between two reads or between two chunks, gives what it gives as a whole."""
    trust(
        differential.CUTS,
        lambda cuts: differential.by_all_cores(differential.cut_difference, cuts),
        case="cuts",
        sample=len(differential.CUTS),
        chunk=len(differential.CUTS),
    )
