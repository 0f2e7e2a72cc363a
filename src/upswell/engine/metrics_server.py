"""The HTTP server of metrics, liveness and readiness: three paths, answered by two callables.

Owns the connections and their limits; it knows no metric. The invariant: a slow or hostile client holds up neither the
run nor another client. Each is answered in a thread, only so many at once, and the oldest is closed for a new one.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_REQUEST_S = 5.0  # for a client to ask and to read the answer; then its connection is closed
_REQUESTS_MAX = 16  # at once; a scraper and an orchestrator need two
_ENDED_S = 1.0  # for the thread of a closed connection to end


class MetricsServer(ThreadingHTTPServer):
    """Answers each request in a thread, so many at once, and closes the oldest connection when there are more."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = (
        128  # with a short queue, many clients at once shut out honest ones for seconds
    )

    def __init__(
        self,
        address: tuple[str, int],
        render: Callable[[], str],
        not_ready: Callable[[], str],
    ) -> None:
        """Listen on (host, port).

        Args:
            address: where to listen.
            render: returns the metrics in Prometheus' text format; called in the thread of a request.
            not_ready: returns why the run is not ready, or "" when it is; called in the thread of a request.

        Raises:
            OSError: the address cannot be listened on.
        """
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.render = render
        self.not_ready = not_ready
        self._free = threading.BoundedSemaphore(_REQUESTS_MAX)
        self._open: dict[socket.socket, float] = {}
        """Open connections, the oldest first, each with the time when it is closed."""
        self._opening = threading.Lock()
        super().__init__(address, _Handler)

    def service_actions(self) -> None:
        """Close the connections whose time is over. Called between two connections, and twice a second."""
        now_s = time.monotonic()
        with self._opening:
            over = [each for each, until_s in self._open.items() if until_s < now_s]
        for each in over:
            _hang_up(each)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread of its own, once there are less than _REQUESTS_MAX."""
        with self._opening:
            # An honest client asks at once, and has its answer long before it is the oldest.
            oldest = next(iter(self._open)) if len(self._open) >= _REQUESTS_MAX else None
        if oldest is not None:
            _hang_up(oldest)
        if not self._free.acquire(timeout=_ENDED_S):
            self.shutdown_request(request)
            return
        with self._opening:
            self._open[request] = time.monotonic() + _REQUEST_S
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread could be started
            self._give_back(request)
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, then make room for another."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._give_back(request)

    def _give_back(self, request: socket.socket) -> None:
        with self._opening:
            self._open.pop(request, None)
        self._free.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore the error: a client that went away is not news, and its address must not be logged."""


def _hang_up(connection: socket.socket) -> None:
    """Shut the connection down, which ends the wait of its thread; the thread closes it."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    timeout = _REQUEST_S  # of one read; the server limits the whole
    server: MetricsServer
    server_version = "upswell"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer one of three paths."""
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._answer(200, self.server.render(), CONTENT_TYPE)
        elif path == "/healthz":
            self._answer(200, "alive\n")
        elif path == "/readyz":
            why = self.server.not_ready()
            self._answer(503 if why else 200, f"{why or 'ready'}\n")
        else:
            self._answer(404, "there are /metrics, /healthz and /readyz\n")

    do_HEAD = do_GET

    def _answer(self, code: int, text: str, kind: str = "text/plain; charset=utf-8") -> None:
        content = text.encode()
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *_: object) -> None:
        """Do nothing: stderr is for the log output."""
