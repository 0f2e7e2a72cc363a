"""The HTTP server of the page about a state: three views, updated live.

Owns the server, its headers and who may see full msisdns. It only reads: it opens the checkpoint read-only and briefly,
in a process of its own, so it neither disturbs a run nor needs one. The page consists of files of this package and
requests nothing from other hosts; no text from RULES or from a file name ever becomes HTML. Without the token, no full
msisdn leaves the server.
"""

import errno
import hmac
import ipaddress
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable, Collection
from typing import Any

import anyio.to_thread
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from upswell.config.parsers import split_address
from upswell.dashboard.api import PANELS, Busy, Panels, Target
from upswell.dashboard.assets import KINDS, static
from upswell.dashboard.campaign import read_report
from upswell.dashboard.connections import limited_protocol
from upswell.errors import ConfigError, InputMissing, Locked, UpswellError, UsageError
from upswell.privacy import escape
from upswell.state.reader import StateReader
from upswell.storage.lock import holder

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
"""A report contains its styles inline, and no script."""
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_CODES = {Busy: 429, UsageError: 400, InputMissing: 409}
_POLL_S = 1.0  # between checks for a new commit, for the live page
_STOP_CHECK_S = 0.2
_SHUTDOWN_S = 3  # left for responses in progress
_KEEP_ALIVE_S = 15.0  # proxies close a stream that is silent
_STREAMS_MAX = 32
_BODY_BYTES_MAX = 4096  # of a request for an explanation
_BODY_S = 5.0  # for the body to arrive


def serve(
    target: Target,
    address: str,
    token: str | None,
    on_start: Callable[[str], None],
    stop: threading.Event,
    names: Collection[str] = (),
) -> None:
    """Serve the page until ``stop`` is set. ``on_start``: called with the URL once the server runs.

    ``names``: host names under which browsers reach it, besides its addresses; see ``Hosts``.

    Raises ConfigError if the address cannot be listened on, StorageError if there is no state.
    """
    StateReader.open(target.state_dir).close()
    host, port = split_address(address)
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family)
    except OSError as error:
        in_use = error.errno == errno.EADDRINUSE  # whoever uses it may end
        raise (Locked if in_use else ConfigError)(
            f"--listen: cannot listen on {escape(address)}: {error.strerror or error}",
            "choose another port, or an address of this host",
        ) from error
    bound = listening.getsockname()[:2]
    shown = f"[{bound[0]}]:{bound[1]}" if ":" in bound[0] else f"{bound[0]}:{bound[1]}"
    config = uvicorn.Config(
        application(target, token, Hosts(host, bound[1], names), stop),
        http=limited_protocol(), log_config=None, log_level="critical", access_log=False, lifespan="off",
        server_header=False, timeout_keep_alive=5, timeout_graceful_shutdown=_SHUTDOWN_S,
    )  # fmt: skip
    server = uvicorn.Server(config)
    # In the main thread, uvicorn would handle the signals, and raise them again at its end.
    serving = threading.Thread(
        target=server.run, kwargs={"sockets": [listening]}, name="upswell-page"
    )
    serving.start()
    on_start(f"http://{shown}/")
    while serving.is_alive() and not stop.wait(_STOP_CHECK_S):
        pass
    server.should_exit = True
    serving.join()


class Hosts:
    """The Host headers to accept: addresses, localhost, and given names.

    Any other name belongs to a foreign site whose DNS name was made to point here (DNS rebinding), which cannot be done
    to an address.
    """

    def __init__(self, host: str, port: int, names: Collection[str] = ()) -> None:
        """Accept ``host`` at ``port``; "", "0.0.0.0" and "::" stand for every address of the machine.

        ``names``: also accepted, each at its own port or, without one, at any port, such as that of a proxy.
        """
        self._port = port
        self._every = host in ("", "0.0.0.0", "::")
        self._own = {host.lower().strip("[]"), "127.0.0.1", "localhost", "::1"}
        self._names = {name.lower() for name in names}

    def answers(self, header: str) -> bool:
        """Return True if a request with this Host header may be answered."""
        header = header.lower()
        name, port = _split_host(header)
        if header in self._names or name in self._names:
            return True
        if port != self._port:
            return False
        return name in self._own or (self._every and _is_address(name))


def _split_host(header: str) -> tuple[str, int]:
    """Return the name and port of a Host header: 80 if it has no port, -1 if its port is not a number."""
    name, colon, port = header.rpartition(":")
    if not colon or header.endswith("]"):
        return header.strip("[]"), 80
    return name.strip("[]"), int(port) if port.isascii() and port.isdigit() else -1


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def application(
    target: Target, token: str | None, allowed: Hosts, stop: threading.Event
) -> ASGIApp:
    """Return the application. ``allowed``: the Host headers to accept. ``stop``: ends the event streams when set."""
    site = _Site(Panels(target), token, stop)
    routes = [
        Route("/", site.page),
        Route("/page/{name}", site.page),
        *(Route(path, site.panel) for path in PANELS),
        Route("/api/explain", site.explain, methods=["POST"]),
        Route("/api/access", site.access),
        Route("/api/events", site.events),
        Route("/reports/{name}", site.report),
    ]
    app = Starlette(
        routes=routes,
        exception_handlers={
            UpswellError: _error_response,
            OSError: _error_response,
            404: _not_found,
            405: _not_found,
        },
    )
    return _Guard(app, allowed)


class _Guard:
    """Adds the headers to every response, and refuses requests for another host."""

    def __init__(self, app: ASGIApp, allowed: Hosts) -> None:
        self._app = app
        self._allowed = allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(
                        (name.encode(), value.encode())
                        for name, value in _HEADERS.items()
                        if name.lower().encode() not in given
                    ),
                ]
            await send(message)

        asked = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
        if not self._allowed.answers(asked):
            answer = JSONResponse({"error": "this server does not serve the requested host"}, 421)
            await answer(scope, receive, with_headers)
            return
        await self._app(scope, receive, with_headers)


class _Site:
    """The handlers of the routes."""

    def __init__(self, panels: Panels, token: str | None, stop: threading.Event) -> None:
        self._stop = stop
        self._panels = panels
        self._token = token
        self._streams = threading.BoundedSemaphore(_STREAMS_MAX)

    async def page(self, request: Request) -> Response:
        content, kind = static(request.path_params.get("name", "index.html"))
        return Response(content, media_type=kind)

    async def panel(self, request: Request) -> Response:
        def answer() -> dict[str, object]:
            return self._panels.answer(
                request.url.path, request.query_params, unmasked=self._is_trusted(request)
            )

        return JSONResponse(await anyio.to_thread.run_sync(answer))

    async def explain(self, request: Request) -> Response:
        # A form of another site cannot send this type, and a browser asks us before a script of one does.
        if request.headers.get("content-type", "").partition(";")[0] != "application/json":
            raise UsageError("send JSON", 'such as {"msisdn": "…"}')
        # Otherwise a thousand guesses would reveal the digits that the page masks.
        if self._token is None:
            return _refusal(403, "look-ups are off", "start the page with --token-file")
        if not self._is_trusted(request):
            return _refusal(
                401, "looking up a customer requires the token", "choose Show MSISDNs and enter it"
            )
        body = b""
        try:
            with anyio.fail_after(_BODY_S):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > _BODY_BYTES_MAX:
                        raise UsageError("the request is too long", "send one MSISDN")
        except TimeoutError:
            return _refusal(408, "the request did not arrive in time", "send it again")
        asked = _object(body)

        def answer() -> dict[str, object]:
            return self._panels.explain(asked)

        return JSONResponse(await anyio.to_thread.run_sync(answer))

    async def access(self, request: Request) -> Response:
        """Say if a token can unmask msisdns (``possible``), and if this client presented it (``whole``)."""
        return JSONResponse(
            {"possible": self._token is not None, "whole": self._is_trusted(request)}
        )

    async def report(self, request: Request) -> Response:
        content = read_report(self._panels.target.reports, request.path_params["name"])
        if content is None:
            raise UsageError("report not found", "see the list in Campaign")
        headers = {"Content-Security-Policy": REPORT_POLICY}
        return Response(content, media_type=KINDS[".html"], headers=headers)

    async def events(self, request: Request) -> Response:
        """Stream an event for each change, so that the page asks for new data."""
        if not self._streams.acquire(blocking=False):
            return _refusal(503, "too many pages are open", "close some of them")
        return _Stream(self._changes(request), self._streams)

    async def _changes(self, request: Request) -> AsyncIterator[str]:
        sent: tuple[int, bool] | None = None
        silent_s = 0.0
        with StateReader.open(self._panels.target.state_dir) as reader:
            while not (self._stop.is_set() or await request.is_disconnected()):
                now = await anyio.to_thread.run_sync(_version, reader)
                if now != sent:
                    sent, silent_s = now, 0.0
                    yield f"event: change\ndata: {json.dumps({'running': now[1]})}\n\n"
                elif silent_s >= _KEEP_ALIVE_S:
                    silent_s = 0.0
                    yield ": nothing new\n\n"
                await anyio.sleep(_POLL_S)
                silent_s += _POLL_S

    def _is_trusted(self, request: Request) -> bool:
        """Return True if the client presents the token."""
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        return (
            self._token is not None
            and kind.lower() == "bearer"
            and hmac.compare_digest(given.encode(), self._token.encode())
        )


class _Stream(StreamingResponse):
    """A stream that occupies one of the places for streams until it ends, however it ends."""

    def __init__(self, changes: AsyncIterator[str], places: threading.BoundedSemaphore) -> None:
        super().__init__(changes, media_type="text/event-stream")
        self._places = places

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._places.release()


def _refusal(code: int, error: str, next_step: str) -> Response:
    return JSONResponse({"error": error, "next": next_step}, code)


def _version(reader: StateReader) -> tuple[int, bool]:
    """Return a number that changes with every commit, and True if a run is active."""
    return reader.data_version(), holder(reader.state_dir) is not None


def _object(body: bytes) -> dict[str, Any]:
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):  # the latter for deeply nested brackets
        asked = None
    if not isinstance(asked, dict):
        raise UsageError("not a JSON object", 'send one such as {"msisdn": "…"}')
    return asked


async def _error_response(_: Request, error: Exception) -> Response:
    if isinstance(error, OSError):
        known = {
            "error": error.strerror or "I/O error",
            "next": "check the disk and its permissions",
        }
        return JSONResponse(known, 500)
    assert isinstance(error, UpswellError), "it is registered for these two"
    code = next((code for kind, code in _CODES.items() if isinstance(error, kind)), 500)
    return JSONResponse({"error": escape(error.message), "next": escape(error.hint)}, code)


async def _not_found(_: Request, error: Exception) -> Response:
    code = getattr(error, "status_code", 404)
    return JSONResponse({"error": "page not found", "next": "start at /"}, code)
