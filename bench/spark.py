"""What computing on Spark brings and costs: whole runs side by side, and what a batch costs that holds next to nothing.

Owns two kinds of cases. In the first the plain Spark program, ours on Spark with one core and with two, and ours
without Spark play the same files in rounds, and must answer alike. In the second a session takes many files of one line
each, a batch for each of them, beside a micro-batch of Structured Streaming that copies the line: what both take is
overhead. What a job sends from its first stage to its second is counted by running its tasks in this process.
"""

import argparse
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench import data, duration, machine, results
from bench.answers import read
from bench.jobs import JOBS, UPSWELL_JOB, Job, play_all
from bench.machine import SPARK_PYTHON, UPSWELL
from upswell.config.settings import Settings
from upswell.engine import run
from upswell.engine.compute import Compute
from upswell.engine.spark import runner, tasks
from upswell.engine.summary import Summary
from upswell.reference.loading import LoadedReference
from upswell.state.checkpoint import Checkpoint

SIZES = [20_000_000]
ROUNDS = 3
SMALL_BATCHES = 60
WARM = 20
"""The first batches of a session are slower, and left out."""
LINE = "01000000001,1,{:05},20200417100000\n"
"""Of each file another: the same content would be a duplicate."""
STREAM = Path(__file__).with_name("stream_job.py")


def on_spark(cores: int) -> Job:
    """The whole of ``upswell … --once`` on Spark, with so many cores of this machine."""
    words = ["--once", "--json", "--engine", "spark", "--master", f"local[{cores}]"]
    return Job(
        f"Upswell on Spark, {cores} core{'s' if cores > 1 else ''}",
        lambda inputs, output: [str(UPSWELL), *inputs.arguments(output), *words],
        read,
        tree=True,
    )


ONE, TWO = on_spark(1), on_spark(2)
PLAIN = next(job for job in JOBS if job.name == "Spark")
PLAYED = (UPSWELL_JOB, TWO, ONE, PLAIN)


def main() -> None:
    """Play the cases, and keep the figures of each as soon as it has been played."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--sizes", type=int, nargs="*", default=SIZES)
    arguments.add_argument("--rounds", type=int, default=ROUNDS)
    arguments.add_argument("--batches", type=int, default=SMALL_BATCHES)
    given = arguments.parse_args()
    seconds = sum(duration.job_s(job.name, size) for size in given.sizes for job in PLAYED)
    duration.tell("spark", given.rounds * seconds + 2 * given.batches + 60)
    for size in given.sizes:
        play_case(size, given.rounds)
    small_batches(given.batches)


def play_case(records: int, rounds: int) -> None:
    """Whole runs, and what a job of these files sends."""
    inputs = data.inputs(records)
    told = machine.describe()
    played, answer = [], None
    for number in range(rounds):
        runs, answer = play_all(list(PLAYED), inputs)
        played.append({name: took._asdict() for name, took in runs.items()})
        walls = ", ".join(f"{name} {took.wall_s:.2f} s" for name, took in runs.items())
        print(f"{records / 1e6:g} million records, round {number + 1}: {walls}", flush=True)
    assert answer is not None, "there is at least one round"
    counted = Counting()
    with tempfile.TemporaryDirectory(dir=data.DATA) as place:
        settings = Settings(
            data=inputs.data, segment=inputs.segment, rules=inputs.rules, output=Path(place, "out"),
            once=True, settle_s=0,
        )  # fmt: skip
        compute = partial(runner.compute_on, runner=counted)
        run.run(settings, Quiet(), threading.Event(), compute)
    results.save(
        "spark",
        f"{records / 1e6:g} million records, {data.SHARE:.0%} in the segment",
        {
            **told,
            "versions": ", ".join(
                [told["versions"], *([PLAIN.version()] if PLAIN.version else [])]
            ),
            "records": records,
            "lines": answer.lines,
            "outcomes": answer.outcomes,
            "bytes": sum(file.stat().st_size for file in inputs.data.iterdir()),
            "rounds": played,
            "sent_bytes": counted.sent_bytes,
            "reported_bytes": counted.reported_bytes,
            "ledger_bytes": counted.ledger_bytes,
            "entries": counted.entries(answer.outcomes),
        },
    )


def small_batches(batches: int) -> None:
    """What a batch of one line takes, ours and a stream's."""
    told = machine.describe()
    with tempfile.TemporaryDirectory(dir=data.DATA) as text:
        place = Path(text)
        for name in ("data", "segment", "rules"):
            (place / name).mkdir()
        (place / "segment" / "SEGMENT.csv").write_text("01000000001\n", "utf-8")
        (place / "rules" / "RULES.csv").write_text("1,Twitter,8,20,999999\n", "utf-8")
        for number in range(batches):
            file = place / "data" / f"DATA_20200417{number // 60:02}{number % 60:02}.csv"
            file.write_text(LINE.format(number), "utf-8")
            data.age(file)
        ours_ms, job_ms = _ours(place)
        stream_ms = _stream(place)
    results.save(
        "spark",
        "batches of one line",
        {
            **told,
            "batches": batches,
            "ours_ms": ours_ms,
            "job_ms": job_ms,
            "stream_ms": stream_ms,
        },
    )


def _ours(place: Path) -> tuple[list[float], list[float]]:
    """(from commit to commit, of that in the job), in ms."""
    settings = Settings(
        data=place / "data", segment=place / "segment", rules=place / "rules",
        output=place / "out", once=True, settle_s=0, engine="spark", master="local[2]",
        batch_bytes=len(LINE.format(0)), threads=1,
    )  # fmt: skip
    heard = Quiet()
    jobs = Timed()

    def compute(settings: Settings, checkpoint: Checkpoint) -> Compute:
        jobs.runner = runner.SparkRunner(settings)
        return runner.compute_on(settings, checkpoint, jobs)

    run.run(settings, heard, threading.Event(), compute)
    ends = heard.ends_s
    between = [1000 * (after - before) for before, after in pairwise(ends)]
    return [round(ms, 1) for ms in between[WARM:]], [round(ms, 1) for ms in jobs.took_ms[WARM:]]


def _stream(place: Path) -> list[float]:
    """What each micro-batch took that copied a file, in ms."""
    words = [SPARK_PYTHON, STREAM, place / "data", place / "copied"]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return [float(word) for word in done.stdout.split()][WARM:]


class Quiet:
    """A listener that notes when each batch was committed."""

    def __init__(self) -> None:
        self.ends_s: list[float] = []

    def event(self, event: str, /, **fields: object) -> None:
        """Nothing is said."""

    def progress(self, summary: Summary) -> None:
        """One more, when there is one."""
        if summary.batches > len(self.ends_s):
            self.ends_s.append(time.perf_counter())


class Timed:
    """A runner that is timed."""

    def __init__(self) -> None:
        self.runner: Any = None
        self.took_ms: list[float] = []

    def check(self, data: Path, ledger: Path) -> None:
        """The runner's."""
        self.runner.check(data, ledger)

    def run(self, *given: Any) -> Any:
        """The runner's."""
        begun = time.perf_counter()
        found = self.runner.run(*given)
        self.took_ms.append(1000 * (time.perf_counter() - begun))
        return found

    def close(self) -> None:
        """The runner's."""
        self.runner.close()


class Counting:
    """A runner in this process that counts what passes between tasks."""

    def __init__(self) -> None:
        self.sent_bytes = self.reported_bytes = self.ledger_bytes = 0

    def check(self, data: Path, ledger: Path) -> None:
        """Nothing is shared."""

    def run(
        self,
        job: tasks.Job,
        splits: Sequence[tasks.Split],
        shards: Mapping[int, tasks.ShardTask],
        reference: LoadedReference,
    ) -> list[tasks.SplitReport | tasks.ShardReport]:
        """Every task once."""
        blobs: dict[int, list[bytes]] = {}
        found: list[tasks.SplitReport | tasks.ShardReport] = []
        for split in splits:
            for shard, row in tasks.scan(job, split, reference.segment, reference.rules):
                if isinstance(row, bytes):
                    blobs.setdefault(shard, []).append(row)
                    self.sent_bytes += len(row)
                else:
                    found.append(row)
                    self.reported_bytes += len(row.report)
        for shard, rows in blobs.items():
            task = shards.get(shard, tasks.ShardTask(shard, ()))
            report = tasks.step(job, task, rows, reference.rules)
            if report is not None:
                found.append(report)
                self.reported_bytes += len(report.decided)
                self.ledger_bytes += report.written.bytes if report.written else 0
        return found

    def close(self) -> None:
        """Nothing is held."""

    @staticmethod
    def entries(outcomes: Mapping[str, int]) -> int:
        """Lines that reached the ledger."""
        return sum(outcomes.get(name, 0) for name in ("capped", "counted", "notified"))


if __name__ == "__main__":
    main()
