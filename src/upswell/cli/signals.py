"""Signal handling for commands that run until they are stopped.

Owns SIGINT, SIGTERM and SIGHUP while such a command runs. The first signal asks it to stop; the second ends the process
at once, which is safe at any moment because a restart of the run recovers. A SIGTERM that came before is the first one:
the entry blocks it, and a command that waits for no signal is ended by it.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_SHOW_CURSOR = b"\x1b[?25h"  # a live display hides it
_WRITE_S = 0.2  # writing a line to a terminal takes far less
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_INIT = 1  # the process that has no default actions
_HANGUP = signal.SIGHUP  # sent when a terminal or an ssh session goes away


def end_at_sigterm() -> None:
    """Let SIGTERM end the process, one that is kept from its start included: for commands that wait for no signal."""
    if os.getpid() == _INIT:
        signal.signal(signal.SIGTERM, lambda number, _: os._exit(128 + number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])


@contextmanager
def stopping(stop: threading.Event, on_stop: Callable[[str], None]) -> Iterator[None]:
    """While the block runs, set ``stop`` and call ``on_stop`` with the name at the first signal, exit at the second."""
    # A thread waits for the signals: a handler would run only between two lines of the main thread's
    # Python, seconds late while the kernel works, and could meet it inside the event's own lock.
    numbers = _awaited()
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
            _aside(on_stop, signal.Signals(number).name)

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
        end_at_sigterm()  # nobody waits for it any more, and the entry had blocked it


def _awaited() -> tuple[signal.Signals, ...]:
    """Return the signals to wait for. Leave out SIGHUP under nohup: waiting for it would undo that it is ignored."""
    ignored = signal.getsignal(_HANGUP) is signal.SIG_IGN
    return _SIGNALS if ignored else (*_SIGNALS, _HANGUP)


def _leave(number: int) -> None:
    """End the process at once, with the exit code that a shell reports for this signal."""
    if sys.stderr is not None and sys.stderr.isatty():
        _aside(os.write, sys.stderr.fileno(), _SHOW_CURSOR)
    os._exit(128 + number)


def _aside(write: Callable[..., object], *arguments: object) -> None:
    """Write in a thread and wait only briefly: a paused terminal (Ctrl-S) must not delay signals."""
    writer = threading.Thread(target=write, args=arguments, daemon=True)
    writer.start()
    writer.join(_WRITE_S)
