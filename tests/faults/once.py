"""The program that faults are injected into: one run over everything in DATA, with batches as small as can be.

Usage: once.py OUTPUT PLACE, where PLACE holds data, segment and rules. Ends with the exit code of the error, as the
command would.
"""

import os
import sys
import threading
from pathlib import Path

from faults.ending import end
from upswell import engine
from upswell.config import Settings
from upswell.summary import Summary


class Silence:
    """A listener that says nothing."""

    def event(self, event: str, /, **fields: object) -> None:
        """Nothing."""

    def progress(self, summary: Summary) -> None:
        """Nothing."""


def go_on(output: Path, place: Path) -> Summary:
    """Recover, and take everything that is there."""
    settings = Settings(
        data=place / "data",
        segment=place / "segment",
        rules=place / "rules",
        output=output,
        once=True,
        threads=1,
        watch=False,
        settle_s=0.0,
        poll_s=0.05,
    )
    return engine.run(settings, Silence(), threading.Event())


if __name__ == "__main__":
    # So that one run has several batches: one is at least eight pieces.
    os.environ["UPSWELL_KERNEL_PIECE_BYTES"] = "48"
    engine.WORK_MS_MAX = 0
    sys.exit(end(lambda: go_on(Path(sys.argv[1]), Path(sys.argv[2]))))
