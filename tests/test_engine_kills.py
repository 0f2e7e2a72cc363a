"""A run for ever, killed again and again while files arrive and grow, beside a consumer that takes all at once."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import law
from conftest import PROFILE, clean_environment

KILLS = 200 if PROFILE == "slow" else 8
DIALS = [f"010000{index:05}" for index in range(400)]
RULES = (
    "1,Twitter,8,20,300\n2,WhatsApp,9,18,200\n3,Night,22,6,400\n",
    "1,Twitter,8,20,200\n2,WhatsApp,9,18,300\n",
)
pytestmark = [pytest.mark.timeout(3600 if PROFILE == "slow" else 120)]


class World:
    """What goes on around the run: writers of DATA and RULES, and a consumer of OUTPUT."""

    def __init__(self, root: Path, seed: int) -> None:
        self.data, self.output, self.rules = root / "data", root / "output", root / "RULES.csv"
        self.segment = root / "SEGMENT.csv"
        self.root = root
        self.random = random.Random(seed)
        self.over = threading.Event()
        self.taken: defaultdict[str, list[tuple[str, bytes]]] = defaultdict(list)
        self.data.mkdir()
        self.segment.write_text("".join(f"{dial}\n" for dial in DIALS[::2]))
        self.rules.write_text(RULES[0])
        for path in (self.segment, self.rules):
            os.utime(path, (1_600_000_000, 1_600_000_000))

    def lines(self, stamp: datetime) -> bytes:
        """Some traffic of the stamp's day and the one before, some of it bad."""
        made = []
        for _ in range(self.random.randrange(1, 400)):
            time_of_day = f"{self.random.randrange(24):02}{self.random.randrange(60):02}00"
            day = f"{stamp - self.random.choice((timedelta(0), timedelta(days=1))):%Y%m%d}"
            line = f"{self.random.choice(DIALS)},{self.random.randrange(1, 5)},{self.random.randrange(200)}"
            bad = self.random.random() < 0.05
            made.append("oops 1\n" if bad else f"{line},{day}{time_of_day}\n")
        return "".join(made).encode()

    def write(self) -> None:
        """Files that appear whole, files that grow in the middle of lines, and other rules now and then."""
        stamp = datetime(2020, 4, 17, tzinfo=UTC)
        while not self.over.is_set():
            content = self.lines(stamp)
            name = self.data / f"DATA_{stamp:%Y%m%d%H%M}.csv"
            if self.random.random() < 0.5:
                partial = self.root / "partial"
                partial.write_bytes(content)
                partial.rename(name)
            else:
                with name.open("wb", buffering=0) as stream:
                    while content:
                        cut = self.random.randrange(1, 4000)
                        stream.write(content[:cut])
                        content = content[cut:]
                        time.sleep(0.005)
            if self.random.random() < 0.05:
                fresh = self.root / "fresh"
                fresh.write_text(self.random.choice(RULES))
                fresh.rename(self.rules)
            stamp += timedelta(minutes=1)
            time.sleep(self.random.random() * 0.05)

    def consume(self) -> None:
        """Take each notification file the moment it is seen."""
        while not self.over.is_set():
            self.take()
            time.sleep(0.002)

    def take(self) -> None:
        for path in sorted(self.output.glob("*/NOTIFY_*")):
            content = path.read_bytes()
            path.unlink()
            self.taken[path.parent.name].append((path.name, content))


def test_kills_at_random_moments_lose_and_repeat_nothing(tmp_path: Path) -> None:
    """Whatever was in hand at each kill, the output in the end is the reference's over the log, each record once."""
    seed = int(os.environ.get("SEED", time.time_ns() % 10**6))
    print(f"SEED={seed}")  # shown when the test fails
    world = World(tmp_path, seed)
    run = [sys.executable, "-m", "upswell", world.data, world.segment, world.rules, world.output]
    quick = ["--settle-s", "0.1", "--poll-s", "0.05"]
    threads = [threading.Thread(target=world.write), threading.Thread(target=world.consume)]
    for thread in threads:
        thread.start()
    moments = random.Random(seed)
    try:
        for _ in range(KILLS):
            process = subprocess.Popen(
                [*run, *quick], env=clean_environment(), stderr=subprocess.DEVNULL
            )
            time.sleep(0.2 + moments.random() * 1.2)
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
    finally:
        world.over.set()
        for thread in threads:
            thread.join()
    subprocess.run(
        [*run, *quick, "--once"], env=clean_environment(), check=True, capture_output=True
    )
    world.take()

    for names in ([name for name, _ in files] for files in world.taken.values()):
        assert sorted(set(names)) == names
    taken = {
        place: b"".join(content for _, content in files) for place, files in world.taken.items()
    }
    reference = law.check(world.data, world.output, taken_away=taken)
    written = sum(file.read_bytes().count(b"\n") for file in world.data.iterdir())
    assert written == reference.lines
    assert sum(map(len, reference.outputs.values())) > 0
