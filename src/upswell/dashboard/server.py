"""The page about a state, served over HTTP: three views, live, for people.

Owns the server, its headers and who may see whole dials. It only reads: it opens the checkpoint read-only and briefly,
in a process of its own, so it neither disturbs a run nor needs one. The page comes from this package alone and asks
nobody but this server for anything; nothing of RULES or of a name is ever HTML. Without the token no dial leaves it
whole, whoever asks.
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
from upswell.dashboard.api import PANELS, Busy, Panels, Place
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
"""A report brings its styles in its own text, and no script."""
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_CODES = {Busy: 429, UsageError: 400, InputMissing: 409}
_LOOK_S = 1.0  # between two looks for something new, for the live page
_STOP_CHECK_S = 0.2
_END_S = 3  # that answers in hand may still take
_KEEP_ALIVE_S = 15.0  # proxies hang up on a stream that says nothing
_STREAMS_MAX = 32
_CONNECTIONS_MAX = 128
_BODY_BYTES_MAX = 4096  # of a look-up


def serve(
    place: Place,
    address: str,
    token: str | None,
    tell: Callable[[str], None],
    stop: threading.Event,
) -> None:
    """Serve the page until ``stop`` is set. ``tell`` gets its address once it is there.

    Raises ConfigError when the address cannot be listened on, StorageError when there is no state.
    """
    StateReader.open(place.state_dir).close()
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
        application(place, token, hosts(host, bound[1]), stop),
        log_config=None, log_level="critical", access_log=False, server_header=False, lifespan="off",
        limit_concurrency=_CONNECTIONS_MAX, timeout_keep_alive=5, timeout_graceful_shutdown=_END_S,
    )  # fmt: skip
    server = uvicorn.Server(config)
    # In a thread of its own it leaves the signals alone, which it would hand on when it has ended.
    serving = threading.Thread(
        target=server.run, kwargs={"sockets": [listening]}, name="upswell-page"
    )
    serving.start()
    tell(f"http://{shown}/")
    while serving.is_alive() and not stop.wait(_STOP_CHECK_S):
        pass
    server.should_exit = True
    serving.join()


def hosts(host: str, port: int) -> frozenset[str] | None:
    """The Host headers that are answered; None: all, as every address of the machine was asked for.

    Another name in it is a page of somebody else, whose name was made to lead here.
    """
    if host in ("", "0.0.0.0", "::"):
        return None
    host = host.lower()  # as the header is read
    names = {host, "127.0.0.1", "localhost", "[::1]"} | ({f"[{host}]"} if ":" in host else set())
    return frozenset(f"{name}:{port}" for name in names) | (
        frozenset(names) if port == 80 else frozenset()
    )


def application(
    place: Place, token: str | None, allowed: frozenset[str] | None, stop: threading.Event
) -> ASGIApp:
    """The whole of it. ``allowed``: see ``hosts``. ``stop``: when it is set, streams end."""
    site = _Site(Panels(place), token, stop)
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
            UpswellError: _complain,
            OSError: _complain,
            404: _unknown,
            405: _unknown,
        },
    )
    return _Guard(app, allowed)


class _Guard:
    """Puts our headers on every answer, and answers no question that was meant for another host."""

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
            answer = JSONResponse({"error": "this is not the host that was asked for"}, 421)
            await answer(scope, receive, with_headers)
            return
        await self._app(scope, receive, with_headers)


class _Site:
    """What each route answers."""

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
                request.url.path, request.query_params, whole=self._is_trusted(request)
            )

        return JSONResponse(await anyio.to_thread.run_sync(answer))

    async def explain(self, request: Request) -> Response:
        # A form of another site cannot send this kind, and a browser asks us before a script of one does.
        if request.headers.get("content-type", "").partition(";")[0] != "application/json":
            raise UsageError("send JSON", 'such as {"msisdn": "…"}')
        body = b""
        async for piece in request.stream():
            body += piece
            if len(body) > _BODY_BYTES_MAX:
                raise UsageError("that is too long for a look-up", "send a msisdn")
        asked = _object(body)
        whole = self._is_trusted(request)

        def answer() -> dict[str, object]:
            return self._panels.explain(asked, whole=whole)

        return JSONResponse(await anyio.to_thread.run_sync(answer))

    async def access(self, request: Request) -> Response:
        """Whether whole dials can be had, and whether this client has them."""
        return JSONResponse(
            {"possible": self._token is not None, "whole": self._is_trusted(request)}
        )

    async def report(self, request: Request) -> Response:
        content = read_report(self._panels.place.reports, request.path_params["name"])
        if content is None:
            raise UsageError("there is no such report", "see the list in Campaign")
        headers = {"Content-Security-Policy": REPORT_POLICY}
        return Response(content, media_type=KINDS[".html"], headers=headers)

    async def events(self, request: Request) -> Response:
        """A stream that says when there is something new to ask for."""
        if self._streams >= _STREAMS_MAX:
            return JSONResponse({"error": "too many pages are open", "next": "close some"}, 503)
        return StreamingResponse(self._changes(request), media_type="text/event-stream")

    async def _changes(self, request: Request) -> AsyncIterator[str]:
        self._streams += 1
        told: tuple[int, bool] | None = None
        silent_s = 0.0
        try:
            with StateReader.open(self._panels.place.state_dir) as reader:
                while not (self._stop.is_set() or await request.is_disconnected()):
                    now = await anyio.to_thread.run_sync(_version, reader)
                    if now != told:
                        told, silent_s = now, 0.0
                        yield f"event: change\ndata: {json.dumps({'running': now[1]})}\n\n"
                    elif silent_s >= _KEEP_ALIVE_S:
                        silent_s = 0.0
                        yield ": nothing new\n\n"
                    await anyio.sleep(_LOOK_S)
                    silent_s += _LOOK_S
        finally:
            self._streams -= 1

    def _is_trusted(self, request: Request) -> bool:
        """Whether the client presents the token."""
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        return (
            self._token is not None
            and kind.lower() == "bearer"
            and hmac.compare_digest(given.encode(), self._token.encode())
        )


def _version(reader: StateReader) -> tuple[int, bool]:
    """A number that changes with every commit of a run, and whether somebody runs it."""
    return reader.data_version(), holder(reader.state_dir) is not None


def _object(body: bytes) -> dict[str, Any]:
    try:
        asked = json.loads(body)
    except ValueError:
        asked = None
    if not isinstance(asked, dict):
        raise UsageError("that is no JSON object", 'send one such as {"msisdn": "…"}')
    return asked


async def _complain(_: Request, error: Exception) -> Response:
    if isinstance(error, OSError):
        known = {
            "error": error.strerror or "I/O error",
            "next": "look at the disk and its permissions",
        }
        return JSONResponse(known, 500)
    assert isinstance(error, UpswellError), "it was registered for these two"
    code = next((code for kind, code in _CODES.items() if isinstance(error, kind)), 500)
    return JSONResponse({"error": escape(error.message), "next": escape(error.hint)}, code)


async def _unknown(_: Request, error: Exception) -> Response:
    code = getattr(error, "status_code", 404)
    return JSONResponse({"error": "there is no such page", "next": "ask for /"}, code)
