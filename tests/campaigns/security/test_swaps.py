"""An application's directory that is exchanged for a link while the engine publishes: nothing ever goes through it."""

import ctypes
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from support import law
from support.child import each, run
from support.command import clean_environment
from support.inputs import write, write_inputs
from support.strace import available
from support.trust import Trust

EXCHANGE = 2  # renameat2's flag: both names are there at every moment
_libc = ctypes.CDLL(None, use_errno=True)


def exchange(one: Path, other: Path) -> None:
    """Exchange two names in one step."""
    assert not _libc.renameat2(-100, os.fsencode(one), -100, os.fsencode(other), EXCHANGE)


def prepared(place: Path) -> list[str]:
    """A run's inputs; an application's directory that is there, and a link that waits to take its place."""
    paths = write_inputs(place)
    (place / "out" / "Twitter").mkdir(parents=True)
    (place / "elsewhere").mkdir()
    (place / "link").symlink_to(place / "elsewhere")
    return paths


def complaints(place: Path) -> Iterator[str]:
    """What went through the link, and whether the law holds once the directory is back."""
    if list((place / "elsewhere").iterdir()):
        yield f"went through the link: {list((place / 'elsewhere').iterdir())}"
    if (place / "link").is_dir() and not (place / "link").is_symlink():
        exchange(place / "out" / "Twitter", place / "link")
    ended = run("data", "segment", "rules", "out", "--once", "--settle-s", "0", cwd=place)
    if ended.code:
        yield f"and does not recover: {ended.err!r}"
    else:
        law.check(place / "data", place / "out")
        if b"0126545098" not in law.published(place / "out").get("Twitter", b""):
            yield "the notification is lost"


@pytest.mark.parametrize("call", ["fsync", "renameat2"])
def test_a_link_that_comes_between_check_and_move_is_not_followed(
    tmp_path: Path, call: str
) -> None:
    """The directory becomes a link after the start has checked it, and before or in the very call that moves a file."""
    available()
    paths = prepared(tmp_path)
    own = tmp_path / "out/.upswell"
    staged = own / "staging/0000000001_1_202004171937.csv"
    # It is staged, and committed and moved after its sync. Begun: the directory, into which it moves, is open already.
    held, seen = {
        "fsync": (staged, staged.exists),
        "renameat2": (tmp_path / "out/Twitter", (own / "begun-0000000001").exists),
    }[call]
    command = [sys.executable, "-m", "upswell", *paths, "--once", "--settle-s", "0"]
    fault = ["-P", str(held), "-e", f"trace={call}", "-e", f"inject={call}:delay_enter=5000000"]
    with subprocess.Popen(
        ["strace", "-f", "-qq", "-o", "/dev/null", *fault, *command],
        cwd=tmp_path, env=clean_environment(), stderr=subprocess.PIPE,
    ) as child:  # fmt: skip
        while not seen() and child.poll() is None:
            time.sleep(0.002)
        time.sleep(0.2)  # the call that follows is entered and held
        exchange(tmp_path / "out" / "Twitter", tmp_path / "link")
        _, errors = child.communicate(timeout=50)

    # In the very call the file goes to the directory that was checked, wherever that is now.
    assert (74 if call == "fsync" else 0) == child.returncode, errors
    if call == "fsync":
        assert b"out/Twitter" in errors
    else:
        assert ["NOTIFY_0000000001_202004171937.csv"] == [
            each.name for each in (tmp_path / "link").iterdir()
        ]
    assert [] == list(complaints(tmp_path))


def race(root: Path, number: int) -> Iterator[str]:
    """Exchange the directory as fast as can be, while runs are started until one has published."""
    place = root / str(number)
    paths = prepared(place)
    for minute in range(10):
        write(
            place / "data" / f"DATA_2020041720{minute:02}.csv",
            f"0126545098,1,{number + minute},20200417{minute + 8:02}0000\n",
        )
    over = threading.Event()

    def swap() -> None:
        while not over.is_set():
            exchange(place / "out" / "Twitter", place / "link")
            time.sleep(number % 7 * 1e-4)

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        for _ in range(8):
            ended = run(*paths, "--once", "--settle-s", "0", cwd=place)
            if ended.code not in (0, 73, 74):
                yield f"exit code {ended.code}: {ended.err!r}"
            if not ended.code:
                break
    finally:
        over.set()
        swapper.join()
    yield from complaints(place)
    shutil.rmtree(place)


@pytest.mark.trust("S2")
def test_no_race_gets_a_file_through_a_link(trust: Trust, tmp_path: Path) -> None:
    """While another process exchanges an application's directory and a link as fast as it can, every notification
    goes to the directory, or the run stops and the next one goes on; none is lost or sent twice.
    """
    trust(range(200), partial(each, partial(race, tmp_path)), case="races", sample=3)
