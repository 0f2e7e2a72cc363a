"""How the programs that faults are injected into end: with the exit code of the error, as the command would."""

import contextlib
import sys
from collections.abc import Callable

from upswell.errors import UpswellError


def end(program: Callable[[], object]) -> int:
    """Run it, and turn an error into its exit code."""
    try:
        program()
    except UpswellError as error:
        with contextlib.suppress(OSError):  # the fault may be in every write
            print(error.message, error.hint, sep="\n", file=sys.stderr, flush=True)
        return error.exit_code
    return 0
