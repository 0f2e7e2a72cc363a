"""Opens an OUTPUT with its state, as a start does. Usage: opening.py OUTPUT. Ends with the exit code of the error."""

import sys
from pathlib import Path

from batches import World
from faults.ending import end


def main() -> None:
    """Open and close."""
    with World(Path(sys.argv[1])):
        pass


if __name__ == "__main__":
    sys.exit(end(main))
