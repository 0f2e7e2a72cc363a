"""``upswell dashboard``: the page about a run, served or printed."""

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
    from upswell.dashboard.api import Place

LISTEN = "127.0.0.1:8701"
_TOKEN_VARIABLE = "UPSWELL_TOKEN"
_TOKEN_CHARS_MIN = 16
_LOOPBACK = ("127.", "localhost:", "[::1]:")

EXAMPLES = (
    "upswell dashboard --output out/                       then open http://127.0.0.1:8701/",
    "upswell dashboard --state /var/lib/upswell --listen 127.0.0.1:9000 --reports reports/",
    "upswell dashboard --output out/ --token-file token    whole dials for those who have it",
    "upswell dashboard --output out/ --get /api/health | jq .needs",
)


@click.command(
    "dashboard",
    cls=Command,
    examples=EXAMPLES,
    help=(
        "Serve a page with three views of a run: Flow (are all files in, what became of the lines),"
        " Campaign (what was notified, who is near the line, one customer's story) and Health (is it"
        " well, and what to do). It reads the state alone, while the run goes on and after, and"
        " changes nothing. It has no log-in: whoever reaches the address sees the page, with dials"
        " masked unless they present the token."
    ),
)
@options.existing_run
@options.cadence("Look with another cadence than the run's, in seconds; 0: no file is expected.")
@click.option("--listen", metavar="HOST:PORT", default=LISTEN, help=f"Where to listen [{LISTEN}].")
@click.option(
    "--token-file",
    metavar="FILE",
    help=f"Holds the token that shows dials whole; or the variable {_TOKEN_VARIABLE}.",
)
@click.option(
    "--reports", metavar="DIR", help="Where the pages of whatif --report are, to be listed."
)
@click.option(
    "--get", metavar="PATH", help="Print the page or JSON of this path, and serve nothing."
)
def command(
    listen: str, token_file: str | None, reports: str | None, get: str | None, **given: Any
) -> int:
    """Serve, or print one answer."""
    from upswell.dashboard.api import Place

    place = Place(options.state_dir(given), options.told_cadence_s(given), _directory(reports))
    if get is not None:
        _print(place, get)
        return 0
    address, token = _address(listen), _token(token_file)
    if importlib.util.find_spec("starlette") is None or importlib.util.find_spec("uvicorn") is None:
        from upswell.errors import ConfigError

        raise ConfigError(
            "the page needs starlette and uvicorn, which are not installed",
            "run: pip install 'upswell[dashboard]'; --get PATH works without them",
        )
    from upswell.dashboard.server import serve

    if not address.startswith(_LOOPBACK):
        note("whoever reaches this address sees the page: it has no log-in")
    stop = threading.Event()
    with stopping(stop, lambda _: None):
        serve(
            place, address, token, lambda url: note(f"the page is at {url} (Ctrl-C ends it)"), stop
        )
    return 0


def _print(place: "Place", path: str) -> None:
    """One answer, dials masked."""
    from urllib.parse import parse_qsl

    from upswell.dashboard.api import PANELS, Panels
    from upswell.dashboard.assets import static
    from upswell.errors import UsageError

    path, _, query = path.partition("?")
    if path in PANELS:
        say_json(Panels(place).answer(path, dict(parse_qsl(query)), whole=False))
        return
    name = "index.html" if path == "/" else path.removeprefix("/page/")
    try:
        content, _ = static(name)
    except UsageError:
        raise UsageError(
            f"there is no path {path!r}", f"there are /, {', '.join(PANELS)}"
        ) from None
    say_bytes([content])
    sys.stdout.flush()


def _directory(path: str | None) -> Path | None:
    from upswell.errors import InputMissing

    if path is not None and not Path(path).is_dir():
        raise InputMissing(f"{path} is no directory", "name the one that reports are written to")
    return None if path is None else Path(path)


def _address(text: str) -> str:
    from upswell.config.parsers import PARSERS

    try:
        return str(PARSERS["metrics"](text))
    except ValueError as error:
        raise click.BadParameter(f"write {error}", param_hint="'--listen'") from None


def _token(path: str | None) -> str | None:
    """The token, never out of the words of a command, which every list of processes shows."""
    from upswell.errors import ConfigError, InputMissing

    token = os.environ.get(_TOKEN_VARIABLE, "")
    if path is not None:
        try:
            token = Path(path).read_text("ascii").strip()
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "it is not ASCII"
            raise InputMissing(
                f"cannot read {path}: {why}", "name a file with the token"
            ) from error
    if token and len(token) < _TOKEN_CHARS_MIN:
        raise ConfigError(
            f"the token has fewer than {_TOKEN_CHARS_MIN} characters, and could be guessed",
            "make one: python3 -c 'import secrets; print(secrets.token_urlsafe())'",
        )
    return token or None
