"""A run for ever that is told to stop at any moment, among writers and a consumer: it ends cleanly."""

import random
import signal
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from support.surroundings import WAIT_S, Surroundings
from support.trust import Trust

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
STOPS = 300
ROUND = 50
"""Stops of one OUTPUT in a release run."""
LIFE_S = 0.6  # at most, between having the state and the signal
TWICE = 0.25  # share of the stops with a second signal


@pytest.mark.trust("T11")
def test_stops_at_random_moments_are_clean(tmp_path: Path, trust: Trust) -> None:
    """Told to stop at a random moment, a run finishes its batch and ends with 0; nothing is lost or sent twice."""

    def round_of(stops: Sequence[int]) -> list[str]:
        with tempfile.TemporaryDirectory(dir=tmp_path) as place:
            around = Surroundings(Path(place), seed=stops[0])
            wrong = []
            with around.traffic():
                for number in stops:
                    found = _live_and_stop(around, random.Random(number))
                    wrong += [f"stop {number}: {sentence}" for sentence in found]
            around.finish()
            wrong += [f"stops {stops[0]} to {stops[-1]}: {each}" for each in around.complaints()]
            return wrong

    trust(range(STOPS), round_of, case="stops", sample=15, chunk=ROUND)


def _live_and_stop(around: Surroundings, chance: random.Random) -> list[str]:
    """One run and its end by one signal, or by two; what is wrong with the end."""
    small = chance.random() < 0.5  # most of its batches are read while another is committed
    process = around.start("--threads", "2" if small else chance.choice(("1", "2")), small=small)
    around.wait_until_locked(process)
    time.sleep(chance.random() * LIFE_S)
    first, second = chance.choice(SIGNALS), chance.choice(SIGNALS)
    expected = {0}
    process.send_signal(first)
    if chance.random() < TWICE:
        time.sleep(chance.random() * 0.05)
        process.send_signal(second)  # it may have ended, or be about to, with nothing left to do
        expected |= {128 + second, -second}
    _, errors = process.communicate(timeout=WAIT_S)
    wrong = []
    if process.returncode not in expected:
        wrong.append(f"{first.name} ended in {process.returncode}: {errors}")
    if "Traceback" in errors:
        wrong.append(f"a traceback: {errors}")
    if process.returncode == 0:
        wrong += [f"{path.name} is left" for path in (around.state / "staging").iterdir()]
        if "event=stopped" not in errors:
            wrong.append(f"the end was not told: {errors}")
    return wrong
