"""Notifications to the service manager (sd_notify): the run is ready, alive, or stopping.

Owns the messages of that protocol and the socket they are sent to, which systemd names in NOTIFY_SOCKET; without it,
nothing is sent. READY and WATCHDOG are sent only by the engine's own loop, after a scan or a commit: if the run hangs,
they stop, and the watchdog ends it. A message that cannot be sent never ends a run.
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

INTERVAL_S = 1.0  # between messages: a watchdog waits for minutes, and a status is for people


class ServiceNotifier:
    """A listener that forwards every event, and notifies the service manager."""

    def __init__(
        self,
        listener: "Listener",
        environ: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._listener = listener
        self._address = environ.get("NOTIFY_SOCKET", "")
        self._clock = clock
        self._sent_at: float | None = None

    def event(self, event: str, /, **fields: object) -> None:
        """Forward an event; the service manager is not notified of it."""
        self._listener.event(event, **fields)

    def progress(self, summary: "Summary") -> None:
        """Forward the progress. Notify that the run is ready (first call) and alive, at most every INTERVAL_S."""
        self._listener.progress(summary)
        now = self._clock()
        if self._sent_at is not None and now - self._sent_at < INTERVAL_S:
            return
        messages = ["WATCHDOG=1", f"STATUS={_status(summary)}"]
        if self._sent_at is None:
            messages.insert(0, "READY=1")
        self._sent_at = now
        self._send(messages)

    def stopping(self) -> None:
        """Notify that the run is stopping. May be called from any thread."""
        self._send(["STOPPING=1", "STATUS=finishing the current batch"])

    def _send(self, messages: list[str]) -> None:
        if not self._address:
            return
        # A leading @ stands for the zero byte that names in the abstract namespace begin with.
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto("\n".join(messages).encode(), address)


def _status(summary: "Summary") -> str:
    left = f"{summary.backlog_files:,} files to read" if summary.backlog_files else "up to date"
    return f"{summary.lines:,} lines, {summary.outcomes['notified']:,} notified since the start; {left}"
