"""What the service manager hears of a run: that it is ready, that its loop turns, that it stops (sd_notify).

Owns the few words of that protocol and the socket that they go to, which systemd names in NOTIFY_SOCKET; without one it
does nothing. They are sent by the engine's own loop, after a look or a commit, and by nothing else: a run that hangs
falls silent, and its watchdog ends it. A message that cannot be sent is no reason to end a run.
"""

import os
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from upswell.engine.reporter import Listener
    from upswell.engine.summary import Summary

TELL_S = 1.0  # between two messages: a watchdog waits for minutes, and a status is for people


class Supervised:
    """A listener that passes on what it hears, and lets the service manager know."""

    def __init__(
        self,
        listener: "Listener",
        environ: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._listener = listener
        self._address = environ.get("NOTIFY_SOCKET", "")
        self._clock = clock
        self._told_at: float | None = None

    def event(self, event: str, /, **fields: object) -> None:
        """One line of narration, for the listener alone."""
        self._listener.event(event, **fields)

    def progress(self, summary: "Summary") -> None:
        """The loop has turned: the first time it is ready, each time it is alive."""
        self._listener.progress(summary)
        now = self._clock()
        if self._told_at is not None and now - self._told_at < TELL_S:
            return
        words = ["WATCHDOG=1", f"STATUS={_status(summary)}"]
        if self._told_at is None:
            words.insert(0, "READY=1")
        self._told_at = now
        self._send(words)

    def stopping(self) -> None:
        """A signal asked the run to stop. May be called from another thread than the engine's."""
        self._send(["STOPPING=1", "STATUS=finishing the batch in hand"])

    def _send(self, words: list[str]) -> None:
        if not self._address:
            return
        # An address that begins with @ is in the abstract namespace, where names begin with a zero byte.
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto("\n".join(words).encode(), address)


def _status(summary: "Summary") -> str:
    left = f"{summary.backlog_files:,} files to read" if summary.backlog_files else "up to date"
    return f"{summary.lines:,} lines, {summary.outcomes['notified']:,} notified since the start; {left}"
