"""The program's entry: keeps an early SIGTERM until somebody waits for it, then runs the command line.

Until then it would end the process in the middle of a start or, for process number 1 of a container, be dropped by the
kernel: such a process has no default action. So it is blocked before the rest is imported, which is most of a start.
"""

import signal
from typing import NoReturn


def main() -> NoReturn:
    """Run the command ``upswell``. ``cli.signals`` says who waits for the signal."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    from upswell.cli.main import main as run_command

    run_command()


if __name__ == "__main__":
    main()
