"""The program that faults are injected into: it recovers, then commits the hand-made batches that are missing.

Usage: workload.py OUTPUT LAST. Ends with the exit code of the error, as the command would.
"""

import contextlib
import sys
from pathlib import Path

from batches import World, made
from upswell.errors import UpswellError


def go_on(output: Path, last: int) -> None:
    """Recover, and commit up to the batch of this number."""
    with World(output) as world:
        world.committer.recover()
        for number in range(world.checkpoint.last_batch() + 1, last + 1):
            world.committer.commit(made(number))
            world.checkpoint.release()


def main() -> int:
    """Run, and turn an error into its exit code."""
    try:
        go_on(Path(sys.argv[1]), int(sys.argv[2]))
    except UpswellError as error:
        with contextlib.suppress(OSError):  # the fault may be in every write
            print(error.message, error.hint, sep="\n", file=sys.stderr, flush=True)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
