"""What signals do to a command that goes on until it is stopped.

Owns SIGINT, SIGTERM and SIGHUP while such a command runs. The first asks it to stop; the second ends the process at
once, which a run survives at any moment because its restart recovers.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_SHOW_CURSOR = b"\x1b[?25h"  # a live display hides it
_WRITE_S = 0.2  # a terminal takes a line in far less
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_HANGUP = signal.SIGHUP  # a terminal or an ssh session that went away


@contextmanager
def stopping(stop: threading.Event, tell: Callable[[str], None]) -> Iterator[None]:
    """Within the block the first signal sets ``stop``, and its name is told; the second ends the process."""
    # A thread waits for the signals: a handler would run only between two lines of the main thread's
    # Python, seconds late while the kernel works, and could meet it inside the event's own lock.
    numbers = _heeded()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    over = threading.Event()

    def wait() -> None:
        while True:
            number = signal.sigwait(numbers)
            if over.is_set():
                return
            if stop.is_set():
                _leave(number)
            stop.set()
            _aside(tell, signal.Signals(number).name)

    waiter = threading.Thread(target=wait, name="upswell-signals", daemon=True)
    waiter.start()
    try:
        yield
    finally:
        over.set()
        assert waiter.ident is not None, "it was started"
        signal.pthread_kill(waiter.ident, signal.SIGINT)
        waiter.join()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _heeded() -> tuple[signal.Signals, ...]:
    """The signals to wait for. Under nohup the hangup is ignored, but waiting for it would let it through."""
    ignored = signal.getsignal(_HANGUP) is signal.SIG_IGN
    return _SIGNALS if ignored else (*_SIGNALS, _HANGUP)


def _leave(number: int) -> None:
    """End the process at once, with the code that a shell reports for this signal."""
    if sys.stderr is not None and sys.stderr.isatty():
        _aside(os.write, sys.stderr.fileno(), _SHOW_CURSOR)
    os._exit(128 + number)


def _aside(write: Callable[..., object], *arguments: object) -> None:
    """Write, but wait for it no longer than a moment: a terminal that is held (Ctrl-S) must not hold up signals."""
    writer = threading.Thread(target=write, args=arguments, daemon=True)
    writer.start()
    writer.join(_WRITE_S)
