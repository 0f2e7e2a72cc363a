"""Limits on the connections of the page's server: their number, and the time a request may take to arrive.

Owns these limits, on top of uvicorn's protocol; knows neither paths nor responses. A client that sends or reads nothing
never keeps another one out: its connection is the first to be closed.
"""

import asyncio
from itertools import chain
from typing import ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol

CONNECTIONS_MAX = 128
REQUEST_S = 5.0  # for the head of a request to arrive, since the connection or the last response


class Connection(H11Protocol):
    """A connection that has REQUEST_S for each request, and is closed if a new client needs its place."""

    every: ClassVar[dict["Connection", None]]
    """The connections of one server, oldest first."""
    _deadline: asyncio.TimerHandle | None = None
    _waits = False
    """True while it waits for a request."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept the connection; if there are too many, close one that is idle."""
        super().connection_made(transport)
        others = list(self.every)
        self.every[self] = None
        self._wait()
        if len(self.every) > CONNECTIONS_MAX:
            idle = (each for each in others if each._waits)
            deaf = (each for each in others if each.flow.write_paused)
            # If there is neither, all others are being served: the new one is closed.
            next(chain(idle, deaf, [self])).hang_up()

    def connection_lost(self, exc: Exception | None) -> None:
        """Release the place of the connection."""
        self.every.pop(self, None)
        self._stop_waiting()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """Process received data; stop the timer once a request has arrived."""
        before = self.cycle
        super().handle_events()
        if self.cycle is not before:
            self._stop_waiting()

    def on_response_complete(self) -> None:
        """Wait for the next request, unless it has already arrived."""
        answered = self.cycle
        super().on_response_complete()
        if self.cycle is answered and not self.transport.is_closing():
            self._wait()

    def hang_up(self) -> None:
        """Close at once, and drop data not yet sent."""
        self.every.pop(self, None)
        self._stop_waiting()
        self.transport.abort()

    def _wait(self) -> None:
        self._stop_waiting()
        self._waits = True
        self._deadline = self.loop.call_later(REQUEST_S, self.hang_up)

    def _stop_waiting(self) -> None:
        self._waits = False
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def limited_protocol() -> type[Connection]:
    """Return the protocol for one server, whose connections share one list."""
    return type("Connection", (Connection,), {"every": {}})
