"""The command as a process that a test stops, and waits for."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from support.command import clean_environment

# The engine has not looked at the first signal yet when the second comes, however long that takes.
DEAF = """
import sys, time
from upswell.cli.main import main
from upswell.source.watcher import Watcher

def wait(_, timeout_s):
    if timeout_s:
        print("the engine waits", file=sys.stderr, flush=True)
        time.sleep(50)

Watcher.wait = wait
main()
"""


class Running:
    """A run for ever, as a process of its own, whose log output can be waited for."""

    def __init__(
        self,
        place: Path,
        *words: str,
        before: Sequence[str] = (),
        program: Sequence[str] = ("-m", "upswell"),
    ) -> None:
        self.process = subprocess.Popen(
            [*before, sys.executable, *program, *words],
            cwd=place,
            env=clean_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr
        self.log = self.process.stderr

    def wait_for(self, words: str) -> str:
        """The first line of the log with these words."""
        for line in self.log:
            if words in line:
                return line
        raise AssertionError(f"{words!r} was never said")

    def end(self) -> tuple[int, str, str]:
        """Exit code and the rest of both streams, of which `communicate` would miss what is buffered here already."""
        assert self.process.stdout
        with self.process:
            try:
                err, out = self.log.read(), self.process.stdout.read()
            except (
                BaseException
            ):  # as when the test's time is up: a run for ever would be waited for
                self.process.kill()
                raise
        return self.process.returncode, out, err
