"""A run for ever, killed again and again while files arrive and grow, beside a consumer that takes all at once."""

import random
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from support.surroundings import Surroundings, kill
from support.trust import Trust

KILLS = 2000
ROUND = 50
"""Kills of one OUTPUT in a release run."""
LIFE_S = 0.7  # at most, between having the state and the kill


@pytest.mark.trust("T8")
def test_kills_at_random_moments_lose_and_repeat_nothing(tmp_path: Path, trust: Trust) -> None:
    """Killed at random moments among writers and a consumer, a run for ever loses no line and sends nothing twice."""

    def round_of(kills: Sequence[int]) -> list[str]:
        with tempfile.TemporaryDirectory(dir=tmp_path) as place:
            around = Surroundings(Path(place), seed=kills[0])
            with around.traffic():
                for number in kills:
                    _live_and_die(around, random.Random(number))
            around.finish()
            wrong = around.complaints()
            if not around.taken:
                wrong.append("nothing was ever sent")
            return [f"kills {kills[0]} to {kills[-1]}: {sentence}" for sentence in wrong]

    trust(range(KILLS), round_of, case="kills", sample=24, chunk=ROUND)


def _live_and_die(around: Surroundings, chance: random.Random) -> None:
    """One run and its end: in start-up, at work, or while it is paused."""
    # In every other one most batches are read while another is committed.
    small = chance.random() < 0.5
    process = around.start("--threads", "2" if small else chance.choice(("1", "2")), small=small)
    if chance.random() < 0.2:
        time.sleep(chance.random() * 0.3)
    else:
        around.wait_until_locked(process)
        time.sleep(chance.random() * LIFE_S)
        if chance.random() < 0.3:
            _pause(process, chance.random() * 0.2)
    kill(process)


def _pause(process: subprocess.Popen[str], pause_s: float) -> None:
    process.send_signal(signal.SIGSTOP)
    time.sleep(pause_s)
