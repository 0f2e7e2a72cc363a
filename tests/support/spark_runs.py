"""Runs on Spark that tests share: one session for many runs, and the command as a process."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.in_process import Recording
from upswell.config.settings import Settings
from upswell.engine.spark.runner import SparkRunner

needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java 17")
MASTER = "local[2]"


class Lent(Recording):
    """A session that outlives the runs it is lent to: it remembers that it was closed, and goes on."""

    def __init__(self, runner: SparkRunner) -> None:
        super().__init__()
        self.runner = runner
        self.check, self.check_alive, self.tasks = runner.check, runner.check_alive, runner.run


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
