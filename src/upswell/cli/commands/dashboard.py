"""``upswell dashboard``: a web page about a run, served or printed."""

import importlib.util
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from upswell.cli import options
from upswell.cli.signals import stopping
from upswell.cli.terminal import Command, note, say_bytes, say_json

if TYPE_CHECKING:
    from upswell.dashboard.api import Target

LISTEN = "127.0.0.1:8701"
_TOKEN_VARIABLE = "UPSWELL_TOKEN"
_TOKEN_CHARS_MIN = 16
_LOOPBACK = ("127.", "localhost:", "[::1]:")

EXAMPLES = (
    "upswell dashboard --output out/                       then open http://127.0.0.1:8701/",
    "upswell dashboard --state /var/lib/upswell --listen 127.0.0.1:9000 --reports reports/",
    "upswell dashboard --output out/ --token-file token    full MSISDNs for those who have it",
    "upswell dashboard --output out/ --get /api/health | jq .needs",
)


@click.command(
    "dashboard",
    cls=Command,
    examples=EXAMPLES,
    help=(
        "Serve a web page with three views of a run: Flow (are all files in, and what happened to"
        " their lines), Campaign (what was sent, who is close to a threshold, the history of one"
        " customer) and Health (does anything need attention, and what to do). It only reads the"
        " state, during a run and afterwards. There is no login: anyone who can reach the address"
        " sees the page. Without the token, MSISDNs are masked and customers cannot be looked up."
    ),
)
@options.existing_run
@options.cadence(
    "Expect files at another interval than the run does, in seconds; 0: no fixed interval."
)
@click.option(
    "--listen", metavar="HOST:PORT", default=LISTEN, help=f"Address to listen on [{LISTEN}]."
)
@click.option(
    "--allow-host",
    metavar="NAME[:PORT]",
    multiple=True,
    help="Also accept requests for this host name, such as that of a proxy; may be repeated.",
)
@click.option(
    "--token-file",
    metavar="FILE",
    help=f"File with the token that unmasks MSISDNs and allows look-ups; or set {_TOKEN_VARIABLE}.",
)
@click.option(
    "--reports", metavar="DIR", help="Directory of the reports of whatif --report, to be listed."
)
@click.option(
    "--get", metavar="PATH", help="Print the page or JSON at this path instead of serving."
)
def command(
    listen: str,
    allow_host: tuple[str, ...],
    token_file: str | None,
    reports: str | None,
    get: str | None,
    **given: Any,
) -> int:
    """Serve the page, or print one response."""
    from upswell.dashboard.api import Target

    target = Target(
        options.state_dir(given), options.cadence_override_s(given), _directory(reports)
    )
    if get is not None:
        _print(target, get)
        return 0
    address, token = _address(listen), _token(token_file)
    if importlib.util.find_spec("starlette") is None or importlib.util.find_spec("uvicorn") is None:
        from upswell.errors import ConfigError

        raise ConfigError(
            "the web page requires starlette and uvicorn, which are not installed",
            "run: pip install 'upswell[dashboard]'; --get PATH works without them",
        )
    from upswell.dashboard.server import serve

    if not address.startswith(_LOOPBACK):
        note("anyone who can reach this address sees the page: there is no login")
    stop = threading.Event()
    with stopping(stop, lambda _: None):
        serve(
            target,
            address,
            token,
            lambda url: note(f"serving the page at {url} (stop with Ctrl-C)"),
            stop,
            allow_host,
        )
    return 0


def _print(target: "Target", path: str) -> None:
    """Print the response to one path, with msisdns masked."""
    from urllib.parse import parse_qsl

    from upswell.dashboard.api import PANELS, Panels
    from upswell.dashboard.assets import static
    from upswell.errors import UsageError

    path, _, query = path.partition("?")
    if path in PANELS:
        say_json(Panels(target).answer(path, dict(parse_qsl(query)), unmasked=False))
        return
    name = "index.html" if path == "/" else path.removeprefix("/page/")
    try:
        content, _ = static(name)
    except UsageError:
        raise UsageError(f"no such path: {path!r}", f"use one of /, {', '.join(PANELS)}") from None
    say_bytes([content])
    sys.stdout.flush()


def _directory(path: str | None) -> Path | None:
    from upswell.errors import InputMissing

    if path is not None and not Path(path).is_dir():
        raise InputMissing(
            f"{path} is not a directory", "pass the directory that reports are written to"
        )
    return None if path is None else Path(path)


def _address(text: str) -> str:
    from upswell.config.parsers import PARSERS

    try:
        return str(PARSERS["metrics"](text))
    except ValueError as error:
        raise click.BadParameter(f"write {error}", param_hint="'--listen'") from None


def _token(path: str | None) -> str | None:
    """Return the token. It is never an argument, since every process list shows those."""
    from upswell.errors import ConfigError, InputMissing

    token = os.environ.get(_TOKEN_VARIABLE, "")
    if path is not None:
        try:
            token = Path(path).read_text("ascii").strip()
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "it is not ASCII"
            raise InputMissing(
                f"cannot read {path}: {why}", "pass a file that contains the token"
            ) from error
    if token and len(token) < _TOKEN_CHARS_MIN:
        raise ConfigError(
            f"the token has fewer than {_TOKEN_CHARS_MIN} characters and could be guessed",
            "generate one: python3 -c 'import secrets; print(secrets.token_urlsafe())'",
        )
    return token or None
