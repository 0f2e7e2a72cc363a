"""Histories of power losses, kills and I/O errors over a model of a disk, each one out of a seed.

``PYTHONPATH=tests python -m power SEED`` plays one again and prints every call; with two numbers, all seeds from the
first up to the second.
"""

from collections import Counter
from collections.abc import Iterable

from power.history import History


def play(seeds: Iterable[int]) -> tuple[list[str], Counter[str]]:
    """What is wrong with the histories of these seeds, and what happened in them."""
    wrong, counts = [], Counter[str]()
    for seed in seeds:
        history = History(seed)
        if complaint := history.run():
            wrong.append(f"python -m power {seed}: {complaint}")
        counts.update(history.counts)
    return wrong, counts


def trace(seed: int) -> str:
    """The history of a seed, every call a line, and what is wrong with it at the end."""
    history = History(seed)
    history.calls.trace = []
    complaint = history.run() or "nothing is wrong"
    return "\n".join([*history.calls.trace, complaint])
