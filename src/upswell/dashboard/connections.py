"""The page's connections: how many there may be, how long a request may take to come, and who makes room.

Owns these limits, on top of uvicorn's own protocol; knows no path and no answer. A client that sends nothing, or reads
nothing, never keeps another one out: its connection is the first to go.
"""

import asyncio
from itertools import chain
from typing import ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol

CONNECTIONS_MAX = 128
REQUEST_S = (
    5.0  # in which the head of a request is there, from the connection or from the answer before
)


class Connection(H11Protocol):
    """A connection that is given REQUEST_S for each request, and its place until a new client needs it."""

    every: ClassVar[dict["Connection", None]]
    """Those of one server, the oldest first."""
    _deadline: asyncio.TimerHandle | None = None
    _waits = False
    """Whether it waits for a request."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, and hang up on one that does nothing when there are too many."""
        super().connection_made(transport)
        others = list(self.every)
        self.every[self] = None
        self._wait()
        if len(self.every) > CONNECTIONS_MAX:
            idle = (each for each in others if each._waits)
            deaf = (each for each in others if each.flow.write_paused)
            # Without either all others are being served: the new one is turned away.
            next(chain(idle, deaf, [self])).hang_up()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place back."""
        self.every.pop(self, None)
        self._stop_waiting()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """Take in what came; the clock stops once a request is there."""
        before = self.cycle
        super().handle_events()
        if self.cycle is not before:
            self._stop_waiting()

    def on_response_complete(self) -> None:
        """Wait for the next request, unless it is there already."""
        answered = self.cycle
        super().on_response_complete()
        if self.cycle is answered and not self.transport.is_closing():
            self._wait()

    def hang_up(self) -> None:
        """Close at once, whatever was not sent yet."""
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


def limited() -> type[Connection]:
    """Return the protocol for one server: its connections know of each other, and of no other server's."""
    return type("Connection", (Connection,), {"every": {}})
