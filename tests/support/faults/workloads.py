"""What faults are injected into: small runs that are each after something else, and a commit without an engine.

A workload brings a *world*, a directory that holds OUTPUT (and STATE, where that lies elsewhere), to an end: again and
again from whatever a fault has left there. It knows what an undisturbed run leaves, and judges by the law.
"""

import contextlib
import gzip
import os
import random
import shutil
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol
from unittest.mock import patch

from support import law
from support.batches import expected_output
from support.faults import workload
from support.in_process import InProcess
from upswell.config.settings import Settings
from upswell.engine import run
from upswell.engine.compute import Compute, Embedded
from upswell.engine.spark.driver import ClusterCompute
from upswell.engine.summary import Summary
from upswell.state.checkpoint import Checkpoint
from upswell.state.connection import DATABASE
from upswell.state.maintenance.move import move_state
from upswell.state.maintenance.transfer import export_state, import_state
from upswell.state.queries.archived import count_archived, pending_archive
from upswell.state.reader import StateReader

LONG_AGO_S = 1_600_000_000
DIALS = [f"01000000{index:02}" for index in range(6)]
SEGMENT = "".join(f"{dial}\n" for dial in DIALS[:-1]).encode()
RULES = b"1,Twitter,8,20,147\n2,WhatsApp,9,24,68\n"
MANY_RULES = b"".join(b"%d,Application %d,0,24,9\n" % (number, number) for number in range(10))
CHUNK_BYTES = "48"  # a batch is at least eight chunks, so a few lines make several batches
ARRIVALS = "arrivals"
"""DATA within a world."""
LAST = 3
"""Batches that are made by hand."""
Files = Mapping[str, bytes]
Taken = dict[str, bytes]
"""By application directory, what a consumer took, in the order of the names."""


class Workload(Protocol):
    """Something to disturb."""

    name: str

    def prepare(self, inputs: Path, world: Path) -> None:
        """Make the inputs, and the world that every run begins with."""

    def run(self, inputs: Path, world: Path) -> object:
        """Recover, and bring the world to its end."""

    def judge(self, inputs: Path, world: Path, taken: Taken) -> list[str]:
        """What is wrong with a world that was brought to its end, all notifications of which were taken."""

    def state(self, world: Path) -> Path:
        """Its state directory."""

    def to_adopt(self, inputs: Path) -> set[str]:
        """Notification files (application/name) that a consumer leaves until they are adopted, or their caps go."""


class Silence:
    """A listener that says nothing."""

    def event(self, event: str, /, **fields: object) -> None:
        """Nothing."""

    def progress(self, summary: Summary) -> None:
        """Nothing."""


class ByHand:
    """Three commits of hand-made batches, from nothing on."""

    name = "commits"

    def prepare(self, inputs: Path, world: Path) -> None:
        inputs.mkdir()
        world.mkdir()

    def run(self, inputs: Path, world: Path) -> object:
        del inputs
        return workload.go_on(world / "out", LAST)

    def judge(self, inputs: Path, world: Path, taken: Taken) -> list[str]:
        del inputs, world
        expected = expected_output(range(1, LAST + 1))
        return [] if expected == taken else [f"the notifications are {taken}"]

    def state(self, world: Path) -> Path:
        return world / "out" / ".upswell"

    def to_adopt(self, inputs: Path) -> set[str]:
        del inputs
        return set()


@dataclass(frozen=True)
class Run:
    """A run of the engine over what is in DATA, perhaps after another that met less."""

    name: str
    lines: int
    """That are read in all."""
    now: Files
    """The files of DATA, SEGMENT and RULES, by path."""
    before: Files = field(default_factory=dict)
    """Those of an earlier run, which nothing disturbed."""
    settings: Mapping[str, object] = field(default_factory=dict)
    limits: Mapping[str, object] = field(default_factory=dict)
    """Constants of the engine that are set to something small."""
    state_elsewhere: bool = False
    adopts: bool = False
    """The state of the earlier run is lost."""
    compute: Callable[[Settings, Checkpoint], Compute] = Embedded
    """Where its batches are computed."""
    archives: bool = False
    """Its DATA is part of the world, and what is finished leaves it."""

    def prepare(self, inputs: Path, world: Path) -> None:
        world.mkdir()
        if self.before:
            write(inputs, {**REFERENCE, **self.before})
            replace(self, settings={}).run(inputs, world)
        if self.adopts:
            shutil.copytree(world / "out", inputs / "adopted")
            for path in self.state(world).glob("checkpoint.db*"):
                path.unlink()
        write(inputs, {**REFERENCE, **self.now})
        if self.archives:
            shutil.copytree(inputs / "data", world / ARRIVALS)

    def run(self, inputs: Path, world: Path) -> object:
        settings = Settings(
            data=world / ARRIVALS if self.archives else inputs / "data",
            archive=world / "archive" if self.archives else None,
            segment=inputs / "segment",
            rules=inputs / "rules",
            output=world / "out",
            state=self.state(world) if self.state_elsewhere else None,
            once=True,
            threads=1,
            watch=False,
            settle_s=0.0,
            poll_s=0.05,
            suppress=inputs / "suppress" if (inputs / "suppress").exists() else None,
            **self.settings,
        )
        with contextlib.ExitStack() as limits:
            limits.enter_context(patch.dict(os.environ, UPSWELL_KERNEL_CHUNK_BYTES=CHUNK_BYTES))
            for name, value in {"engine.compute.WORK_MS_MAX": 0, **self.limits}.items():
                limits.enter_context(patch(f"upswell.{name}", value))
            return run.run(settings, Silence(), threading.Event(), self.compute)

    def judge(self, inputs: Path, world: Path, taken: Taken) -> list[str]:
        # The names of these applications are those of their directories.
        adopted = law.published(inputs / "adopted") if self.adopts else None
        try:
            reference = law.check(
                inputs / "data",
                world / "out",
                state=self.state(world),
                taken_away=taken,
                adopted=adopted,
            )
        except AssertionError as error:
            return [f"the law is broken: {error}"]
        if self.archives and (wrong := self._unarchived(inputs, world)):
            return wrong
        return [] if self.lines == reference.lines else [f"{reference.lines} lines were read"]

    def _unarchived(self, inputs: Path, world: Path) -> list[str]:
        """What is wrong with an archive: every file is there once, whole, and the state says so."""
        days = {path.name: path for path in (world / "archive").glob("*/DATA_*")}
        wrong = [
            f"{path.name} is not in the archive as it came"
            for path in (inputs / "data").iterdir()
            if path.name not in days or days[path.name].read_bytes() != path.read_bytes()
        ]
        wrong += [f"{path} is left" for path in (world / ARRIVALS).iterdir()]
        with StateReader.open(self.state(world)) as reader:
            if pending_archive(reader) or count_archived(reader) != len(self.now):
                wrong.append(
                    f"the state has {count_archived(reader)} archived, {pending_archive(reader)}"
                )
        return wrong

    def state(self, world: Path) -> Path:
        return world / "state" if self.state_elsewhere else world / "out" / ".upswell"

    def to_adopt(self, inputs: Path) -> set[str]:
        old = inputs / "adopted"
        return {str(path.relative_to(old)) for path in old.glob("*/NOTIFY_*")}


def write(inputs: Path, files: Files) -> None:
    """Write these files, over what they were; all of them have long been still."""
    for name, content in files.items():
        path = inputs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (LONG_AGO_S, LONG_AGO_S))


def traffic(
    seed: int, count: int = 12, *, day: int = 20200417, services: int = 3, bad: float = 0.1
) -> bytes:
    """So many lines, some of them bad."""
    chance = random.Random(seed)
    lines = []
    for _ in range(count):
        line = f"{chance.choice(DIALS)},{chance.randrange(1, services + 1)},{chance.randrange(200)},{day}193743"
        lines.append(line if chance.random() > bad else line[:-3])
    return "".join(f"{line}\n" for line in lines).encode()


REFERENCE = {"segment/SEGMENT.csv": SEGMENT, "rules/RULES.csv": RULES}
FIRST, SECOND, THIRD = (f"data/DATA_20200417194{minute}.csv" for minute in range(3))
PLAIN = {FIRST: traffic(7), SECOND: traffic(8), THIRD: traffic(9)}
LONG = traffic(10, 24)


def on_a_cluster(settings: Settings, checkpoint: Checkpoint) -> Compute:
    """Jobs of a few small splits, three batches or more a run, whose tasks run in this process."""
    return ClusterCompute(
        settings, checkpoint, InProcess(), shards=2, split_bytes=150, batch_bytes=500
    )


class Moves:
    """A state is moved from the embedded engine to a cluster, which then goes on with it."""

    name = "moved"

    def prepare(self, inputs: Path, world: Path) -> None:
        BEFORE.prepare(inputs, world)
        BEFORE.run(inputs, world)
        write(inputs, PLAIN)

    def run(self, inputs: Path, world: Path) -> object:
        file, state = world / "file", self.state(world)
        if not (state / DATABASE).exists():
            if not file.exists():
                export_state(world / "out" / ".upswell", file)
            import_state(file, state, 2)
        return AFTER.run(inputs, world)

    def judge(self, inputs: Path, world: Path, taken: Taken) -> list[str]:
        return AFTER.judge(inputs, world, taken)

    def state(self, world: Path) -> Path:
        return AFTER.state(world)

    def to_adopt(self, inputs: Path) -> set[str]:
        del inputs
        return set()


class MovesElsewhere:
    """A state is moved to another directory, from which its OUTPUT goes on."""

    name = "moved elsewhere"

    def prepare(self, inputs: Path, world: Path) -> None:
        BEFORE.prepare(inputs, world)
        BEFORE.run(inputs, world)
        write(inputs, PLAIN)

    def run(self, inputs: Path, world: Path) -> object:
        if not (self.state(world) / DATABASE).exists():
            move_state(world / "out" / ".upswell", self.state(world))
        return ELSEWHERE.run(inputs, world)

    def judge(self, inputs: Path, world: Path, taken: Taken) -> list[str]:
        return ELSEWHERE.judge(inputs, world, taken)

    def state(self, world: Path) -> Path:
        return ELSEWHERE.state(world)

    def to_adopt(self, inputs: Path) -> set[str]:
        del inputs
        return set()


ELSEWHERE = Run("elsewhere", lines=36, now=PLAIN, state_elsewhere=True)
BEFORE = Run("before", lines=12, now={FIRST: PLAIN[FIRST]})
AFTER = Run(
    "after",
    lines=36,
    now=PLAIN,
    state_elsewhere=True,
    compute=on_a_cluster,
    limits={"engine.spark.driver.COMPACT_BYTES_MIN": 0},
)
ALL: tuple[Workload, ...] = (
    ByHand(),
    Run("files", lines=36, now=PLAIN),
    Run(
        "state elsewhere",
        lines=24,
        now={FIRST: PLAIN[FIRST], SECOND: PLAIN[SECOND]},
        state_elsewhere=True,
    ),
    Run(
        "gzip",
        lines=36,
        now={
            FIRST + ".gz": gzip.compress(LONG, mtime=0),
            SECOND + ".gz": gzip.compress(PLAIN[SECOND], mtime=0),
        },
    ),
    Run(
        "growth",  # the first run ends in the middle of a line, which is one more line then
        lines=37,
        before={FIRST: LONG[:300]},
        now={FIRST: LONG, SECOND: PLAIN[SECOND]},
    ),
    Run(
        "reference",
        lines=36,
        before={FIRST: PLAIN[FIRST]},
        now={
            **PLAIN,
            "segment/SEGMENT.csv": SEGMENT + f"{DIALS[-1]}\n".encode(),
            "rules/RULES.csv": b"1,Twitter,8,20,99\n2,WhatsApp,9,24,68\n3,Youtube,0,24,9\n",
        },
    ),
    Run(
        "rejects",
        lines=48,
        now={FIRST: traffic(11, 24, bad=0.6), SECOND: traffic(12, 24, bad=0.6)},
        settings={"rejects_max_bytes_per_file": 200},
    ),
    Run(
        "applications",
        lines=60,
        now={FIRST: traffic(13, 60, services=10), "rules/RULES.csv": MANY_RULES},
        limits={"output.sink._OPEN_MAX": 4, "engine.compute.WORK_MS_MAX": 60_000},
    ),
    Run(
        "policies",
        lines=60,
        now={
            FIRST: traffic(13, 60, services=10),
            "rules/RULES.csv": MANY_RULES,
            "suppress/SUPPRESS.csv": f"{DIALS[0]}\n".encode(),
        },
        settings={
            "max_per_customer_per_day": 4,
            "control_share": 50.0,
            "control_key": "a key that is long enough",
        },
    ),
    Run(
        "days",  # the second day's file closes no day yet, the last one does, and the one between is late
        lines=48,
        before={FIRST: PLAIN[FIRST], "data/DATA_202004190900.csv": traffic(14, day=20200419)},
        now={
            FIRST: PLAIN[FIRST],
            SECOND: PLAIN[SECOND],
            "data/DATA_202004190900.csv": traffic(14, day=20200419),
            "data/DATA_202004210900.csv": traffic(15, day=20200421),
        },
        limits={"engine.assembly.COMPACT_BYTES_MIN": 0},
    ),
    Run(
        "adopted",
        lines=24,
        before={FIRST: PLAIN[FIRST]},
        now=PLAIN,
        settings={"adopt": True, "since": "202004171941"},
        adopts=True,
    ),
    replace(AFTER, name="cluster", before={FIRST: PLAIN[FIRST]}),
    Run(
        "cluster adopted",
        lines=24,
        before={FIRST: PLAIN[FIRST]},
        now=PLAIN,
        settings={"adopt": True, "since": "202004171941"},
        adopts=True,
        compute=on_a_cluster,
    ),
    Moves(),
    MovesElsewhere(),
    Run(
        "archive",
        lines=36,
        now={FIRST: PLAIN[FIRST], SECOND + ".gz": gzip.compress(LONG, mtime=0)},
        archives=True,
    ),
    Run(
        "twins",
        lines=24,
        now={
            FIRST: PLAIN[FIRST],
            SECOND: PLAIN[FIRST],  # a duplicate
            THIRD: PLAIN[THIRD],
            "data/DATA_202004171943.csv": gzip.compress(LONG, mtime=0),  # held, as are the next two
            "data/DATA_202004171944.csv.gz": gzip.compress(LONG, mtime=0)[:-9],
            "data/DATA_209904171945.csv": LONG,
            "data/DATA_202013171946.csv": LONG,  # ignored
        },
    ),
)
BY_NAME = {each.name: each for each in ALL}
