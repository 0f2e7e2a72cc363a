"""A system clock that jumps, in the middle of a run and between two: the output is that of one that does not."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from support import law
from support.command import clean_environment
from support.inputs import LONG_AGO_S, write, write_inputs
from support.surroundings import WAIT_S, wait_for
from support.trust import Trust
from upswell.state.maintenance.verify import verify
from upswell.state.reader import StateReader

DAY_S, HOUR_S = 86_400, 3_600
NEW_YORK = ("--data-timezone", "America/New_York", "--rules-timezone", "UTC")
CAIRO = ("--data-timezone", "Africa/Cairo", "--rules-timezone", "America/New_York")
RULES = "1,Twitter,0,24,300\n2,Night,22,6,300\n3,Gap,1:30,3:30,100\n"


class Clock(NamedTuple):
    """One case: by how many seconds the clock is off in each phase, and what else is odd about time."""

    what: str
    offsets_s: tuple[int, int, int]
    """In the first half of the first run, in its second half, and in the second run."""
    options: tuple[str, ...] = ()
    timezone: str | None = None
    """TZ of the process."""
    days: tuple[str, str] = ("20200417", "20200418")
    """Of the traffic: its records are those of the last hours of one day and the first of the other."""
    mtimes_s: tuple[float, ...] = (LONG_AGO_S,) * 4
    """Of the DATA files, in order."""


SPRING, AUTUMN = (
    ("20200307", "20200308"),
    ("20201031", "20201101"),
)  # New York changes on the second
CAIRO_SPRING = ("20230427", "20230428")
YEARS_S = 365 * DAY_S
CASES = [
    Clock("an hour forward in a run", (0, HOUR_S, HOUR_S)),
    Clock("an hour back in a run", (0, -HOUR_S, -HOUR_S)),
    Clock("a day forward in a run", (0, DAY_S, DAY_S)),
    Clock("a day back in a run", (0, -DAY_S, -DAY_S)),
    Clock("an hour forward between runs", (0, 0, HOUR_S)),
    Clock("an hour back between runs", (0, 0, -HOUR_S)),
    Clock("a day forward between runs", (0, 0, DAY_S)),
    Clock("a day back between runs", (0, 0, -DAY_S)),
    Clock("forward and back again", (0, DAY_S, 0)),
    Clock("back and forward again", (0, -DAY_S, 0)),
    Clock("from a day back to a day forward", (-DAY_S, DAY_S, -DAY_S)),
    Clock("in the far future", (60 * YEARS_S,) * 3),
    Clock("into the far future", (0, 200 * YEARS_S, 0)),
    Clock("back by a year", (0, -YEARS_S, -YEARS_S)),
    Clock(
        "an hour back on the day that clocks go forward", (0, -HOUR_S, 0), NEW_YORK, None, SPRING
    ),
    Clock(
        "an hour forward on the day that clocks go forward", (0, HOUR_S, 0), NEW_YORK, None, SPRING
    ),
    Clock("an hour back on the day that clocks go back", (0, -HOUR_S, 0), NEW_YORK, None, AUTUMN),
    Clock("a day back on the day that clocks go back", (0, -DAY_S, 0), NEW_YORK, None, AUTUMN),
    Clock("a day forward, two zones apart", (0, DAY_S, DAY_S), CAIRO, None, CAIRO_SPRING),
    Clock(
        "a process in the zone furthest ahead", (0, 0, 0), NEW_YORK, "Pacific/Kiritimati", SPRING
    ),
    Clock("a process in a zone of the old form", (0, -DAY_S, 0), (), "XXX-14:30YYY,M3.2.0,M11.1.0"),
    Clock("a process in a zone that is none", (0, HOUR_S, 0), (), ":/nonexistent"),
    Clock("a process with an empty zone", (0, 0, DAY_S), CAIRO, ""),
    Clock("mtimes that fall", (0, 0, 0), mtimes_s=(4e8, 3e8, 2e8, 1e8)),
    Clock("mtimes before the clock began", (0, HOUR_S, 0), mtimes_s=(-1e6, 0, -1e6, 0)),
    Clock("mtimes ahead of the clock", (0, -DAY_S, -DAY_S), mtimes_s=(4e9, 5e9, 4e9, 5e9)),
]


def library() -> str:
    """The library that shifts a process's clock; a test without it is skipped, but not in CI."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found and os.environ.get("CI"):
        pytest.fail("libfaketime is not installed, and CI must try the clock")
    if not found:
        pytest.skip("libfaketime is not installed")
    return str(found[0])


class Place:
    """Four paths, and runs over them whose clock is off."""

    def __init__(self, root: Path, clock: Clock) -> None:
        self.root = root
        self.clock = clock
        self.paths = write_inputs(root, rules=RULES)
        (root / "data" / "DATA_202004171937.csv").unlink()
        self.output = root / "out"
        self.state = self.output / ".upswell"
        self.offset = root / "offset"

    def deliver(self, at: int) -> None:
        """One of the four files: the last hours of a day, and the first of the next."""
        day = self.clock.days[at // 2]
        hours = ("22", "23") if at < 2 else ("00", "01", "02", "03")
        lines = [
            f"{dial},{service},{150 + at},{day}{hour}{minute}00\n"
            for hour in hours
            for minute in ("10", "59")
            for dial in ("0123917827", "0126545098")
            for service in (1, 2, 3)
        ]
        fresh = write(self.root / "fresh", "".join(lines), self.clock.mtimes_s[at])
        stamp = f"{day}{'23' if at < 2 else '03'}{30 + at}"
        fresh.rename(self.root / "data" / f"DATA_{stamp}.csv")

    def shift(self, seconds: int) -> None:
        """Let the clock of the process, which may be running, be off by so much."""
        fresh = self.root / "offset.new"
        fresh.write_text(f"{seconds:+}\n")
        fresh.rename(self.offset)

    def start(self, *options: str, faked: bool = True) -> "subprocess.Popen[str]":
        """A run; its clock is what the offset says."""
        environment = clean_environment()
        if faked:
            environment |= {
                "LD_PRELOAD": library(),
                "FAKETIME_TIMESTAMP_FILE": str(self.offset),
                "FAKETIME_NO_CACHE": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",  # real clocks that jump leave it alone, too
                "NO_FAKE_STAT": "1",  # and the times of files
            }
            if self.clock.timezone is not None:
                environment["TZ"] = self.clock.timezone
        words = [*self.paths, "--poll-s", "0.05", "--settle-s", "0.1", *self.clock.options]
        return subprocess.Popen(
            [sys.executable, "-m", "upswell", *words, *options], cwd=self.root, env=environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def taken(self) -> int:
        """Files of which something was taken."""
        if not (self.state / "checkpoint.db").exists():
            return 0
        try:
            with StateReader.open(self.state) as reader:
                return sum(file.offset > 0 for file in reader.files_in())
        except Exception:  # noqa: BLE001 - the state is being made
            return 0

    def story(self, *, faked: bool) -> dict[str, bytes]:
        """A file, a jump, a file in one run, and two in the next: what is in OUTPUT then."""
        first, second, third = self.clock.offsets_s if faked else (0, 0, 0)
        self.shift(first)
        self.deliver(0)
        run = self.start(faked=faked)
        wait_for(lambda: self.taken() == 1, "the first file was not taken")
        self.shift(second)
        self.deliver(1)
        wait_for(lambda: self.taken() == 2, "the second file was not taken after the jump")
        run.terminate()
        _, errors = run.communicate(timeout=WAIT_S)
        assert 0 == run.returncode, errors
        self.shift(third)
        self.deliver(2)
        self.deliver(3)
        run = self.start("--once", faked=faked)
        _, errors = run.communicate(timeout=WAIT_S)
        assert 0 == run.returncode, errors
        return law.published(self.output)


@pytest.mark.trust("T20")
def test_a_clock_that_jumps_changes_nothing(tmp_path: Path, trust: Trust) -> None:
    """The system's clock may jump by an hour, a day or a century, in any zone: the output stays the same."""
    library()
    usual: dict[tuple[object, ...], dict[str, bytes]] = {}

    def complaints(clock: Clock) -> list[str]:
        about = clock.options, clock.days
        with tempfile.TemporaryDirectory(dir=tmp_path) as root:
            if about not in usual:
                usual[about] = Place(Path(root) / "usual", clock).story(faked=False)
            place = Place(Path(root) / "odd", clock)
            actual = place.story(faked=True)
            found = verify(place.state)
            law.check(place.root / "data", place.output)
        if usual[about] != actual:
            found.append(f"{actual} instead of {usual[about]}")
        if not usual[about]:
            found.append("nothing was sent that could be changed")
        return [f"{clock.what}: {sentence}" for sentence in found]

    def try_all(cases: Sequence[Clock]) -> list[str]:
        return [sentence for clock in cases for sentence in complaints(clock)]

    trust(CASES, try_all, case="odd clocks", sample=3)


@pytest.mark.trust("T20")
def test_a_clock_before_the_data_holds_it_until_it_is_set(tmp_path: Path, trust: Trust) -> None:
    """A clock of 1995 holds files of 2020 as ahead of it; set right in the middle of the run, all of them are taken."""
    library()

    def try_all(offsets_s: Sequence[int]) -> list[str]:
        wrong = []
        for offset_s in offsets_s:
            with tempfile.TemporaryDirectory(dir=tmp_path) as root:
                place = Place(Path(root) / "odd", Clock("", (0, 0, 0)))
                place.shift(offset_s)
                place.deliver(0)
                run = place.start()
                assert run.stderr is not None
                told = next((line for line in run.stderr if "is held" in line), "")
                if "ahead of this machine's clock" not in told:
                    wrong.append(f"{offset_s}: it is not told why it is held: {told}")
                place.shift(0)
                wait_for(lambda place=place: place.taken() == 1, "it was not taken")
                run.terminate()
                run.communicate(timeout=WAIT_S)
                law.check(place.root / "data", place.output)
        return wrong

    # To 1996, 2000 and 2010, give or take how old this test is.
    trust(
        [-30 * YEARS_S, -26 * YEARS_S, -16 * YEARS_S],
        try_all,
        case="clocks behind the data",
        sample=1,
    )
