"""The program that faults are injected into: it recovers, then commits the hand-made batches that are missing.

Usage: workload.py OUTPUT LAST. Ends with the exit code of the error, as the command would.
"""

import sys
from pathlib import Path

from support.batches import World, made
from support.faults.ending import end


def go_on(output: Path, last: int) -> None:
    """Recover, and commit up to the batch of this number."""
    with World(output) as world:
        world.committer.recover()
        for number in range(world.checkpoint.reader.last_batch() + 1, last + 1):
            world.committer.commit(made(number))
            world.checkpoint.drain_wal()


if __name__ == "__main__":
    sys.exit(end(lambda: go_on(Path(sys.argv[1]), int(sys.argv[2]))))
