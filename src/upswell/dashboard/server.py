"""The HTTP server of the page about a state: three views, updated live.

Owns the server, its headers and who may see full msisdns. It only reads: it opens the checkpoint read-only and briefly,
in a process of its own, so it neither disturbs a run nor needs one. The page consists of files of this package and
requests nothing from other hosts; no text from RULES or from a file name ever becomes HTML. Without the token, no full
msisdn leaves the server.
"""

import hmac
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable
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
from upswell.errors import ConfigError, InputMissing, UpswellError, UsageError
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
_CONNECTIONS_MAX = 128
_BODY_BYTES_MAX = 4096  # of a request for an explanation


def serve(
    target: Target,
    address: str,
    token: str | None,
    on_start: Callable[[str], None],
    stop: threading.Event,
) -> None:
    """Serve the page until ``stop`` is set. ``on_start``: called with the URL once the server runs.

    Raises ConfigError if the address cannot be listened on, StorageError if there is no state.
    """
    StateReader.open(target.state_dir).close()
    host, port = split_address(address)
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family)
    except OSError as error:
        raise ConfigError(
            f"--listen: cannot listen on {escape(address)}: {error.strerror or error}",
            "choose another port, or an address of this host",
        ) from error
    bound = listening.getsockname()[:2]
    shown = f"[{bound[0]}]:{bound[1]}" if ":" in bound[0] else f"{bound[0]}:{bound[1]}"
    config = uvicorn.Config(
        application(target, token, hosts(host, bound[1]), stop),
        log_config=None, log_level="critical", access_log=False, server_header=False, lifespan="off",
        limit_concurrency=_CONNECTIONS_MAX, timeout_keep_alive=5, timeout_graceful_shutdown=_SHUTDOWN_S,
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


def hosts(host: str, port: int) -> frozenset[str] | None:
    """Return the Host headers to accept; None: all of them, because the server listens on every address.

    Any other name belongs to a foreign site whose DNS name was made to point here (DNS rebinding).
    """
    if host in ("", "0.0.0.0", "::"):
        return None
    host = host.lower()  # as the header is when it is compared
    names = {host, "127.0.0.1", "localhost", "[::1]"} | ({f"[{host}]"} if ":" in host else set())
    return frozenset(f"{name}:{port}" for name in names) | (
        frozenset(names) if port == 80 else frozenset()
    )


def application(
    target: Target, token: str | None, allowed: frozenset[str] | None, stop: threading.Event
) -> ASGIApp:
    """Return the application. ``allowed``: the result of ``hosts``. ``stop``: ends the event streams when set."""
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

    def __init__(self, app: ASGIApp, allowed: frozenset[str] | None) -> None:
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

        asked = dict(scope["headers"]).get(b"host", b"").decode("latin-1").lower()
        if self._allowed is not None and asked not in self._allowed:
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
        self._streams = 0

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
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > _BODY_BYTES_MAX:
                raise UsageError("the request is too long", "send one MSISDN")
        asked = _object(body)
        unmasked = self._is_trusted(request)

        def answer() -> dict[str, object]:
            return self._panels.explain(asked, unmasked=unmasked)

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
        if self._streams >= _STREAMS_MAX:
            return JSONResponse(
                {"error": "too many pages are open", "next": "close some of them"}, 503
            )
        return StreamingResponse(self._changes(request), media_type="text/event-stream")

    async def _changes(self, request: Request) -> AsyncIterator[str]:
        self._streams += 1
        sent: tuple[int, bool] | None = None
        silent_s = 0.0
        try:
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
        finally:
            self._streams -= 1

    def _is_trusted(self, request: Request) -> bool:
        """Return True if the client presents the token."""
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        return (
            self._token is not None
            and kind.lower() == "bearer"
            and hmac.compare_digest(given.encode(), self._token.encode())
        )


def _version(reader: StateReader) -> tuple[int, bool]:
    """Return a number that changes with every commit, and True if a run is active."""
    return reader.data_version(), holder(reader.state_dir) is not None


def _object(body: bytes) -> dict[str, Any]:
    try:
        asked = json.loads(body)
    except ValueError:
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
