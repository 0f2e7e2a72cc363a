"""Runs on Spark that tests share: one session for many runs, and the command as a process."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from upswell.config.settings import Settings
from upswell.engine.spark.runner import SparkRunner
from upswell.engine.spark.tasks import Job, ShardReport, ShardTask, Split, SplitReport
from upswell.reference.loading import LoadedReference

needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java 17")
MASTER = "local[2]"


class Lent:
    """A session that outlives the runs it is lent to."""

    def __init__(self, runner: SparkRunner) -> None:
        self.runner = runner
        self.jobs: list[Job] = []

    def check(self, data: Path, ledger: Path) -> None:
        """The session's."""
        self.runner.check(data, ledger)

    def run(
        self,
        job: Job,
        splits: Sequence[Split],
        shards: Mapping[int, ShardTask],
        reference: LoadedReference,
    ) -> list[SplitReport | ShardReport]:
        """The session's."""
        self.jobs.append(job)
        return self.runner.run(job, splits, shards, reference)

    def check_alive(self) -> None:
        """As the session is."""
        self.runner.check_alive()

    def close(self) -> None:
        """It goes on."""


@contextmanager
def session(directory: Path, master: str = MASTER) -> Iterator[Lent]:
    """A session, for any number of runs while the block lasts."""
    (directory / "state").mkdir()
    settings = Settings(
        data=directory, segment=directory, rules=directory, output=directory,
        state=directory / "state", master=master,
    )  # fmt: skip
    runner = SparkRunner(settings)
    try:
        yield Lent(runner)
    finally:
        runner.close()


KILLED = """
import os, signal, sys
from upswell.engine.spark import driver, runner
from upswell.output import reject_files, sink
from upswell.state import checkpoint
from upswell.storage import syscalls
from upswell.cli.main import main

place, left = sys.argv.pop(1), int(sys.argv.pop(1))

def kill_after(owner, name, matters=lambda *_: True):
    called = getattr(owner, name)

    def wrapped(*given, **named):
        global left
        result = called(*given, **named)
        if matters(*given):
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, wrapped)

{
    "job": lambda: kill_after(runner.SparkRunner, "run"),
    "staged": lambda: kill_after(sink.Sink, "stage"),
    "rejects": lambda: kill_after(reject_files.Rejects, "write"),
    "committed": lambda: kill_after(checkpoint.Checkpoint, "append"),
    "moved": lambda: kill_after(syscalls, "rename_new", lambda *given: given[2].startswith("NOTIFY_")),
    "published": lambda: kill_after(sink.Sink, "publish", lambda _, staged: len(staged)),
    "swept": lambda: kill_after(driver.ClusterCompute, "committed"),
}[place]()
main()
"""
"""A run that kills itself after a step was done so many times."""
