"""Histories of power losses, kills and I/O errors over a model of a disk, each one out of a seed.

``PYTHONPATH=tests python -m support.power SEED`` plays one again and prints every call; with two numbers, all seeds
from the first up to the second.
"""

from collections import Counter
from collections.abc import Iterable

from support.power.calls import ERROR, KILL, POWER
from support.power.history import History

STRIKES = (KILL, POWER, ERROR)
KINDS = (*STRIKES, "spoiled", "lost", "rebuilt", "seen again")
"""What is counted in histories: what struck a process, staged files that a loss spoiled or somebody removed, and that
were made again, and files that came again to a consumer which had taken them, in the one window that is documented."""


def play(seeds: Iterable[int]) -> tuple[dict[int, str], Counter[str]]:
    """What is wrong with the histories of these seeds, and what happened in them."""
    wrong: dict[int, str] = {}
    counts = Counter[str]()
    for seed in seeds:
        history = History(seed)
        if complaint := history.run():
            wrong[seed] = complaint
        counts.update(history.counts)
    return wrong, counts


def trace(seed: int) -> str:
    """The history of a seed, every call a line, and what is wrong with it at the end."""
    history = History(seed)
    history.calls.trace = []
    complaint = history.run() or "nothing is wrong"
    return "\n".join([*history.calls.trace, complaint])
