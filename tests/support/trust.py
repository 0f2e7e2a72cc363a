"""How far each promise was tried: the cases that a test covers, of all there are, and what became of them.

``trust(cases, attempt, sample=…)`` is the one way in which a campaign runs its cases. A run of the suite tries a seeded
sample of them; a release run (``make trust``) tries all, piece by piece, and goes on where it was cut off as long as
the sources are the same. Both write what they counted into ``.trust/``; ``trust_report.py`` makes docs/trust.md of it.
"""

import hashlib
import json
import os
import random
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypeVar

from support.command import ROOT

C = TypeVar("C")
COUNTS = ROOT / ".trust" / "counts.jsonl"
WRONG_KEPT = 20  # complaints that are kept and shown: the first ones say enough


class Count(NamedTuple):
    """Cases of one test that were tried in one go. One line of ``.trust/counts.jsonl``."""

    promise: str
    """T1 … T20, S1 … S10: what the test belongs to."""
    test: str
    """File and name of the test, with its parameters."""
    claim: str
    """The first sentence of the test's docstring."""
    case: str
    """What one case is, in the plural."""
    release: bool
    """Part of a release run over all cases, not of a sample."""
    start: int
    """In a release run, the cases [start, start + covered) were tried."""
    covered: int
    total: int
    wrong: int
    """Cases (or complaints) that broke the promise."""
    seed: int
    """Of the sample; 0 in a release run."""
    sources: str
    """Digest of what was tried and of all that tries it."""
    commit: str
    date: str
    seconds: float


class Trust:
    """Tries the cases of one test."""

    def __init__(self, promise: str, test: str, claim: str, release: bool, seed: int) -> None:
        self._about = promise, test, claim
        self._release = release
        self._seed = seed
        self.counts: list[Count] = []
        """What was counted, for the summary of the run."""

    def __call__(
        self,
        cases: Sequence[C],
        attempt: Callable[[Sequence[C]], list[str]],
        *,
        case: str,
        sample: int,
        always: Callable[[C], bool] = lambda _: False,
        chunk: int = 100,
    ) -> None:
        """Try a sample of the cases, or in a release run all of them, and fail when one broke the promise.

        Args:
            cases: all there are; a ``range`` of seeds when they are without number.
            attempt: tries some of them; what is wrong, a sentence each that names the case.
            case: what one of them is, in the plural.
            sample: how many a run of the suite tries, unless SAMPLE says otherwise.
            always: those that every sample has.
            chunk: how many a release run tries between two notes of how far it came.
        """
        if self._release:
            wrong = self._all(cases, attempt, case, chunk)
        else:
            wrong = self._some(cases, attempt, case, sample, always)
        assert [] == wrong, "\n".join([f"SEED={self._seed}", *wrong[:WRONG_KEPT]])

    def _some(
        self,
        cases: Sequence[C],
        attempt: Callable[[Sequence[C]], list[str]],
        case: str,
        sample: int,
        always: Callable[[C], bool],
    ) -> list[str]:
        chosen = [at for at, each in enumerate(cases) if always(each)]
        left = sorted(set(range(len(cases))) - set(chosen))
        sample = int(os.environ.get("SAMPLE", sample))
        want = min(max(0, sample - len(chosen)), len(left))
        chosen += random.Random(self._seed).sample(left, want)
        some = [cases[at] for at in sorted(chosen)]
        began = time.monotonic()
        wrong = attempt(some)
        self._count(case, 0, len(some), len(cases), len(wrong), began)
        return wrong

    def _all(
        self, cases: Sequence[C], attempt: Callable[[Sequence[C]], list[str]], case: str, chunk: int
    ) -> list[str]:
        done = {
            (count.start, count.covered)
            for count in read()
            if (count.test, count.sources, count.total) == (self._about[1], digest(), len(cases))
            and count.release
            and not count.wrong
        }
        wrong = []
        for start in range(0, len(cases), chunk):
            some = cases[start : start + chunk]
            if (start, len(some)) in done:
                continue
            began = time.monotonic()
            found = attempt(some)
            self._count(case, start, len(some), len(cases), len(found), began)
            wrong += found
        return wrong

    def _count(
        self, case: str, start: int, covered: int, total: int, wrong: int, began: float
    ) -> None:
        count = Count(
            *self._about,
            case,
            self._release,
            start,
            covered,
            total,
            wrong,
            0 if self._release else self._seed,
            digest(),
            commit(),
            f"{datetime.now(UTC):%Y-%m-%d}",
            round(time.monotonic() - began, 1),
        )
        self.counts.append(count)
        if not self._release and not {"SAMPLE", "SEED"}.isdisjoint(os.environ):
            return  # what somebody tries by hand is not what the suite covers
        COUNTS.parent.mkdir(exist_ok=True)
        with COUNTS.open("a") as stream:
            stream.write(json.dumps(count._asdict()) + "\n")


def summary(counts: Iterable[Count]) -> list[str]:
    """A line for each test: what was covered of its total."""
    by_test: dict[str, list[Count]] = {}
    for count in sorted(counts, key=lambda one: (one.promise[0], int(one.promise[1:]), one.test)):
        by_test.setdefault(count.test, []).append(count)
    return [
        f"{some[0].promise:4} {sum(one.covered for one in some):,} of {some[0].total:,} {some[0].case},"
        f" {sum(one.wrong for one in some)} wrong, seed {some[0].seed}: {test}"
        for test, some in by_test.items()
    ]


def seed() -> int:
    """What this run's samples are drawn by: SEED, or always the same, so that a red run is red again."""
    return int(os.environ.get("SEED", "1"))


def read(path: Path = COUNTS) -> Iterator[Count]:
    """All that was counted, in order. A line that a kill cut off is left out."""
    if not path.exists():
        return
    for line in path.read_text().splitlines():
        try:
            yield Count(**json.loads(line))
        except (TypeError, ValueError):
            continue


@cache
def digest() -> str:
    """Digest of what is tried and of all that tries it, but for the counting itself."""
    places = (
        ("src", "*.py"),
        ("kernel/src", "*.rs"),
        ("kernel", "Cargo.*"),
        ("tests", "*.py"),
        ("tests", "*.toml"),
    )
    sources = [path for place, pattern in places for path in sorted((ROOT / place).rglob(pattern))]
    content = hashlib.sha256()
    for path in sources:
        if "target" not in path.parts and not path.name.startswith("trust"):
            content.update(path.read_bytes())
    return content.hexdigest()[:16]


@cache
def commit() -> str:
    """The commit that is tried, with a + when the tree has other changes."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty=+", "--exclude=*"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout.strip() or "unknown"
