"""What a state that has grown costs: a start, a look, a commit and memory, with names by the hundred thousand."""

import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

from support import law, strace
from support.batches import VERSIONS
from support.command import PROFILE, clean_environment
from support.inputs import DIALS, LONG_AGO_S, write, write_inputs
from support.surroundings import WAIT_S, wait_for
from support.trust import Trust
from upswell import kernel
from upswell.source.file import File
from upswell.state.batch import Batch, LogRange
from upswell.state.checkpoint import Checkpoint
from upswell.state.maintenance.verify import verify
from upswell.state.reader import StateReader

NAMES = 1_000_000
WEEK_FILES = 7 * 24 * 60
BATCH_FILES = 1000
FEW_NAMES = 1000  # of a state to compare with
BYTES_PER_NAME_MAX = 400  # of the database: docs/operations.md measures 215, and 49 of the log
CYCLES = 40
CYCLE_S = 1.0 if PROFILE == "slow" else 5.0  # the suite may share its machine
RSS_GROWTH_MAX = 1.05
EPOCH = datetime(2021, 1, 1, tzinfo=UTC)
"""The stamp of the first name taken long ago; a minute each."""
_READ = re.compile(r"pread64\([0-9]+<[^>]*checkpoint\.db>")


class Cost(NamedTuple):
    """What one run over one new file asked of the machine."""

    database_reads: int
    data_opens: int


def grow(state: Path, names: range) -> None:
    """Commit batches of files that were taken and are no longer in DATA, as a run would have: one line each."""
    with Checkpoint.open(state, kernel.SHARDS) as checkpoint:
        for first in range(names.start, names.stop, BATCH_FILES):
            some = names[first - names.start : first - names.start + BATCH_FILES]
            checkpoint.append(_batch(checkpoint, some), [])
            checkpoint.drain_wal()


def _batch(checkpoint: Checkpoint, names: range) -> Batch:
    number = checkpoint.reader.last_batch() + 1
    versions = checkpoint.reader.current_versions() or VERSIONS
    stamps = [f"{EPOCH + timedelta(minutes=name):%Y%m%d%H%M}" for name in names]
    outcomes = {"not_in_segment": 1}
    files = [
        File(
            f"DATA_{stamp}.csv", "done", stamp, inode=name + 1, size=32, mtime_ns=name, offset=32, newlines=1,
            digest=name, first_record=name, lines=1, outcomes=outcomes,
        )
        for name, stamp in zip(names, stamps, strict=True)
    ]  # fmt: skip
    ranges = [
        LogRange(number, at, file.name, file.stamp, 0, 32, file.stamp, versions)
        for at, file in enumerate(files)
    ]
    return Batch(
        number=number, ranges=ranges, files=files, outputs=[], applications=("Twitter",), notifications=[],
        rejects=b"", dropped=[], delta=b"", compactions=[], day_open=0, lines=len(files),
        outcomes={"not_in_segment": len(files)}, reasons={},
    )  # fmt: skip


class Grown:
    """Four paths, and a state in which many names were taken before."""

    def __init__(self, root: Path, names: int) -> None:
        self.root = root
        write_inputs(root)
        self.output = root / "out"
        self.state = self.output / ".upswell"
        self.paths = [str(root / word) for word in ("data", "segment", "rules", "out")]
        self.files = 0
        self.run()
        grow(self.state, range(names))

    def deliver(self) -> None:
        """One more file in DATA, of a record that notifies: a day later each, so that no cap is in the way."""
        self.files += 1
        moment = datetime(2023, 1, 1, 12, tzinfo=UTC) + timedelta(days=self.files)
        record = f"{DIALS[0]},1,500,{moment:%Y%m%d%H%M%S}\n"
        fresh = write(self.root / "fresh", record, LONG_AGO_S)
        fresh.rename(self.root / "data" / f"DATA_{moment:%Y%m%d%H%M}.csv")

    def run(self) -> None:
        """A run over what is there."""
        command = [sys.executable, "-m", "upswell", *self.paths, "--once"]
        done = subprocess.run(
            command,
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=None,
            check=False,
        )
        assert 0 == done.returncode, done.stderr

    def cost(self) -> Cost:
        """Of a start, a look and the commit of one more file."""
        self.deliver()
        trace = self.root / "trace"
        command = [sys.executable, "-m", "upswell", *self.paths, "--once", "--threads", "1"]
        options = ["-f", "-qq", "-y", "-e", "trace=pread64,openat", "-o", str(trace)]
        subprocess.run(
            ["strace", *options, *command], env=clean_environment(), capture_output=True, check=True
        )
        lines = trace.read_text("utf-8", "replace").splitlines()
        opened = [line for line in lines if "openat(" in line and "DATA_" in line]
        return Cost(sum(bool(_READ.search(line)) for line in lines), len(opened))

    def notified(self) -> int:
        """Notifications in OUTPUT."""
        return law.published(self.output)["Twitter"].count(b"\n")


@pytest.mark.trust("T15")
def test_names_taken_long_ago_cost_nothing(tmp_path: Path, trust: Trust) -> None:
    """With a million names taken before, a start reads the database to check it, a few times each page, and no more."""
    strace.available()
    few = Grown(tmp_path / "few", FEW_NAMES).cost()

    def try_all(names: Sequence[int]) -> list[str]:
        grown = Grown(tmp_path / "many", len(names))
        wrong = []
        many = grown.cost()
        size = (grown.state / "checkpoint.db").stat().st_size
        # A start checks the pages, the indexes and the sums of what it relies on: a few reads of each page.
        if many.database_reads > few.database_reads + 50 + 4 * size // 8192:
            wrong.append(f"{many.database_reads} reads, {few.database_reads} with few names")
        if size > BYTES_PER_NAME_MAX * len(names) + (1 << 20):
            wrong.append(f"the database has {size} bytes for {len(names)} names")
        wrong += _cycles(grown)
        return wrong + verify(grown.state)

    trust(range(NAMES), try_all, case="names taken", sample=20_000, chunk=NAMES)


def _cycles(grown: Grown) -> list[str]:
    """Files one after another to a run for ever: how long each takes, and what becomes of its memory."""
    command = [
        sys.executable,
        "-m",
        "upswell",
        *grown.paths,
        "--poll-s",
        "0.05",
        "--settle-s",
        "0.1",
    ]
    process = subprocess.Popen(
        command, env=clean_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    took_s, resident = [], []
    wrong = []
    try:
        for _ in range(CYCLES):
            before, began = grown.notified(), time.monotonic()
            grown.deliver()
            wait_for(lambda: grown.notified() > before, "a file was not taken")  # noqa: B023 - called at once
            took_s.append(time.monotonic() - began)
            resident.append(_resident_bytes(process.pid))
    finally:
        process.terminate()
        process.wait(WAIT_S)
    # The median, since the machine may be busy with something else; the first one holds the start.
    if (median := sorted(took_s)[CYCLES // 2]) > CYCLE_S:
        wrong.append(f"a cycle takes {median:.2f} s")
    if resident[-1] > RSS_GROWTH_MAX * resident[CYCLES // 4]:
        wrong.append(f"memory grew from {resident[CYCLES // 4]:,} to {resident[-1]:,} bytes")
    return wrong


def _resident_bytes(process: int) -> int:
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.trust("T15")
def test_a_week_of_files_is_taken_and_left_alone(tmp_path: Path, trust: Trust) -> None:
    """A week of a file a minute is taken whole, and the next start opens none of these files again."""
    strace.available()

    def try_all(minutes: Sequence[int]) -> list[str]:
        place = Grown(tmp_path, 0)
        for minute in minutes:
            stamp = EPOCH + timedelta(minutes=minute)
            record = f"{DIALS[minute % len(DIALS)]},1,{minute % 100},{stamp:%Y%m%d%H%M}00\n"
            write(place.root / "data" / f"DATA_{stamp:%Y%m%d%H%M}.csv", record * 3)
        place.run()
        reference = law.check(place.root / "data", place.output)
        wrong = verify(place.state)
        if (expected := 3 * len(minutes) + 7) != reference.lines:
            wrong.append(f"{reference.lines} of {expected} lines were read")
        with StateReader.open(place.state) as reader:
            states = Counter(file.state for file in reader.files_in())
        if {"done": len(minutes) + 1} != states:
            wrong.append(f"files are {states}")
        if (cost := place.cost()).data_opens > 4:
            wrong.append(f"{cost.data_opens} files were opened for one that is new")
        return wrong

    trust(range(WEEK_FILES), try_all, case="files in DATA", sample=1000, chunk=WEEK_FILES)
