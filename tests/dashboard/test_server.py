"""The page's server: read-only, for its own address alone, masked, and live."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from support.command import Upswell, clean_environment
from support.inputs import DIALS, RECORDS, REPORT, inside, write, write_inputs
from support.served import Page
from upswell.dashboard.api import PANELS
from upswell.dashboard.connections import CONNECTIONS_MAX, REQUEST_S

TOKEN = "a-token-for-tests-only"
RIGHT = {"Authorization": f"Bearer {TOKEN}"}
EVERY = ["/", "/page/page.css", "/page/page.js", "/page/icon.svg", *PANELS, "/api/access"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A finished run, whose state is read-only for everybody."""
    place = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        upswell = inside(place, patch)
        upswell(*write_inputs(place), "--once")
        (place / "reports").mkdir()
        upswell(*REPORT, "reports/a.html")
    write(place / "token", f"{TOKEN}\n")
    yield place


@pytest.fixture(scope="module")
def page(place: Path) -> Iterator[Page]:
    """The server over it."""
    with Page(place, "--token-file", "token", "--reports", "reports") as page:
        yield page


@pytest.fixture(scope="module")
def everywhere(place: Path) -> Iterator[Page]:
    """The server on every interface, under a name."""
    with Page(place, "--listen", "0.0.0.0:0", "--allow-host", "upswell.example") as page:
        yield page


@pytest.mark.parametrize("path", EVERY)
def test_every_answer_is_locked_up(page: Page, path: str) -> None:
    """Nothing may be framed, guessed, kept or brought in from elsewhere, and the server tells no name of its own."""
    answer = page.ask(path)
    policy = answer.headers["content-security-policy"]

    assert 200 == answer.code
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert "nosniff" == answer.headers["x-content-type-options"]
    assert "no-store" == answer.headers["cache-control"]
    assert "server" not in answer.headers


def test_the_page_asks_nobody_else(root: Path) -> None:
    """No file of it holds an address of another host, markup made of text, or styles in attributes."""
    files = sorted((root / "src" / "upswell" / "dashboard" / "static").glob("*.*"))
    odd = [
        f"{path.name}: {word}"
        for path in files
        for word in ("http://", "https://", "//cdn", "innerHTML", "outerHTML", "insertAdjacent", "eval(", "style=")
        if word in path.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
    ]  # fmt: skip

    assert [] == odd


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1", "localhost:1", ""]
)
def test_a_name_that_was_made_to_lead_here_gets_nothing(page: Page, host: str) -> None:
    """A page of another name, which resolves to this host, reads no answer."""
    answer = page.ask("/api/status", Host=host)

    assert 421 == answer.code
    assert {"error"} == set(answer.json)


def test_its_own_names_are_answered(page: Page) -> None:
    """The address and the name of this host, with the port."""
    for host in ("127.0.0.1", "localhost", "[::1]"):
        assert 200 == page.ask("/api/access", Host=f"{host}:{page.port}").code


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_nothing_can_be_changed(page: Page, method: str) -> None:
    """Paths are for reading."""
    assert {405} == {page.ask(path, method, "{}").code for path in EVERY}


@pytest.mark.parametrize(
    "path",
    ["/page/..%2f__init__.py", "/page/__init__.py", "/page/", "/page/x.js", "/reports/..%2ftoken", "/reports/token",
     "/etc/passwd", "/api/nothing", "/page/%00.js", "/api"],
)  # fmt: skip
def test_there_is_nothing_beside_the_page(page: Page, path: str) -> None:
    """Another path is a short error in JSON, under the same headers."""
    answer = page.ask(path)

    assert answer.code in (400, 404)
    assert {"error", "next"} == set(answer.json)
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_a_report_is_shown_without_scripts(page: Page) -> None:
    """It may have styles in its text, and is shut off from the page that shows it."""
    answer = page.ask("/reports/a.html")

    assert 200 == answer.code
    assert b"<title>Upswell: what if</title>" in answer.body
    assert (
        "default-src 'none'; style-src 'unsafe-inline'; sandbox"
        == answer.headers["content-security-policy"]
    )


def test_dials_are_whole_for_those_with_the_token_alone(page: Page) -> None:
    """Without it, and with a wrong one, no answer holds a dial of the state."""
    right = RIGHT
    wrong = {"Authorization": f"Bearer {TOKEN}x"}
    for headers in ({}, wrong, {"Authorization": TOKEN}, {"Authorization": f"Basic {TOKEN}"}):
        texts = [page.ask(path, **headers).body.decode() for path in PANELS]
        refused = page.look_up(DIALS[1], **headers)
        assert 401 == refused.code
        texts.append(refused.body.decode())
        assert not [dial for dial in DIALS for text in texts if dial in text]
        assert {"possible": True, "whole": False} == page.ask("/api/access", **headers).json

    assert {"possible": True, "whole": True} == page.ask("/api/access", **right).json
    assert DIALS[1] == page.look_up(DIALS[1], **right).json["msisdn"]
    assert DIALS[2] in page.ask("/api/near", **right).body.decode()


def test_guesses_without_the_token_tell_nothing(page: Page) -> None:
    """A right guess of the hidden digits is answered as a wrong one: nobody counts up to a whole dial."""
    right, wrong = (page.look_up(msisdn) for msisdn in (DIALS[1], "0999999999"))

    assert 401 == right.code == wrong.code
    assert right.body == wrong.body
    assert "Show MSISDNs" in str(right.json["next"])


def test_look_ups_are_off_without_a_token(place: Path) -> None:
    """A page that was started without one looks nobody up, whatever is presented."""
    with Page(place) as page:
        answers = [page.look_up(DIALS[1]), page.look_up(DIALS[1], Authorization="Bearer ")]

    assert [403, 403] == [answer.code for answer in answers]
    assert "start the page with --token-file" == answers[0].json["next"]


def test_a_form_of_another_site_looks_nobody_up(page: Page) -> None:
    """Only JSON is taken, which a browser sends to another site's server after asking it."""
    body = json.dumps({"msisdn": DIALS[1]})
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        assert 400 == page.ask("/api/explain", "POST", body, content_type=kind, **RIGHT).code
    nested = ["[" * 3000, '{"msisdn":' * 400, "[" * 2000 + "]" * 2000]
    for odd in ("[]", "{", "\\u0000", json.dumps({"msisdn": "1" * 5000}), *nested):
        answer = page.ask("/api/explain", "POST", odd, content_type="application/json", **RIGHT)
        assert 400 == answer.code
        assert {"error", "next"} == set(answer.json)


def test_one_who_comes_while_another_is_served_is_told_to_come_again(place: Path) -> None:
    """429 with the next step, of which the page makes no fault; the other one has the story."""
    with Page(place, "--token-file", "token") as page, ThreadPoolExecutor(8) as askers:
        for _ in range(20):
            answers = list(askers.map(lambda msisdn: page.look_up(msisdn, **RIGHT), [DIALS[1]] * 8))
            if any(answer.code == 429 for answer in answers):
                break
    codes = {answer.code: answer.json for answer in answers}

    assert {200, 429} == set(codes)
    assert "try again in a moment" == codes[429]["next"]


def connected(page: Page, sent: bytes = b"") -> socket.socket:
    """A connection over which something was sent, or nothing."""
    client = socket.create_connection((page.host, page.port), timeout=20)
    client.sendall(sent)
    return client


@pytest.mark.parametrize("sent", [b"", b"GET /api/status HTTP/1.1\r\nHost: 1"])
def test_silent_connections_shut_nobody_out(page: Page, sent: bytes) -> None:
    """More of them than there are places, in a burst: whoever asks is answered at once."""
    with ExitStack() as held:
        for _ in range(2 * CONNECTIONS_MAX):
            held.enter_context(connected(page, sent))
        began = time.monotonic()
        answers = [page.ask("/api/access") for _ in range(5)]

    assert [200] * 5 == [answer.code for answer in answers]
    assert time.monotonic() - began < REQUEST_S


def test_a_question_that_does_not_come_is_hung_up_on(page: Page) -> None:
    """A connection that says nothing is closed after a while, and a body that never ends is answered."""
    head = f"POST /api/explain HTTP/1.1\r\nHost: {page.host}:{page.port}\r\n{{}}Content-Length: 100\r\n\r\n{{{{"
    head = head.format(f"Content-Type: application/json\r\nAuthorization: Bearer {TOKEN}\r\n")
    with connected(page) as silent, connected(page, head.encode()) as half:
        assert b"" == silent.recv(1)
        assert b" 408 " in half.recv(1000)


def test_streams_are_bounded_in_a_burst(page: Page) -> None:
    """However many pages are opened at the same moment, so many are told of news; a page that is closed makes room."""
    ask = f"GET /api/events HTTP/1.1\r\nHost: {page.host}:{page.port}\r\n\r\n".encode()

    def burst() -> tuple[int, int]:
        with ExitStack() as held:
            clients = [held.enter_context(connected(page, ask)) for _ in range(60)]
            codes = [client.recv(12)[-3:] for client in clients]
        return codes.count(b"200"), codes.count(b"503")

    assert (32, 28) == burst()
    until = time.monotonic() + 20
    while (32, 28) != (found := burst()):
        assert time.monotonic() < until, found


@pytest.mark.parametrize(
    ("host", "code"),
    [
        ("127.0.0.1:{port}", 200), ("192.168.7.9:{port}", 200), ("[fe80::1]:{port}", 200), ("localhost:{port}", 200),
        ("upswell.example:{port}", 200), ("upswell.example", 200), ("upswell.example:8443", 200),
        ("evil.example:{port}", 421), ("evil.example", 421), ("127.0.0.1.evil.example:{port}", 421), ("", 421),
        ("1.2.3.4:1", 421),
    ],
)  # fmt: skip
def test_every_interface_still_wants_a_name_that_was_given(
    everywhere: Page, host: str, code: int
) -> None:
    """Listening on all addresses answers to addresses and to the names of --allow-host, and to no other name."""
    assert code == everywhere.ask("/api/access", Host=host.format(port=everywhere.port)).code


def test_a_bad_day_is_told(page: Page) -> None:
    """With what to write, and without repeating a dial."""
    answer = page.ask(f"/api/files?day={DIALS[0]}")

    assert 400 == answer.code
    assert "write it as 2020-04-17" == answer.json["next"]
    assert DIALS[0] not in answer.body.decode()


def test_looking_changes_nothing(page: Page, place: Path) -> None:
    """However much is asked: no file of the state is another than before."""

    def state() -> dict[str, tuple[int, int]]:
        files = (place / "out").rglob("*")
        # The index of the write-ahead log is shared memory, which readers touch.
        return {
            str(path): (path.stat().st_size, path.stat().st_mtime_ns)
            for path in files if path.is_file() and not path.name.endswith(("-shm", "-wal"))
        }  # fmt: skip

    before = state()
    for path in EVERY:
        page.ask(path)
    page.look_up(DIALS[1], **RIGHT)

    assert before == state()


@contextmanager
def listening(page: Page) -> Iterator[http.client.HTTPResponse]:
    """The stream of events."""
    client = http.client.HTTPConnection(page.host, page.port, timeout=20)
    try:
        client.request("GET", "/api/events")
        with client.getresponse() as stream:
            yield stream
    finally:
        client.close()


def test_the_page_is_live(place: Path) -> None:
    """A commit of a run is told within a moment to whoever listens, and so is its end."""
    with Page(place) as page, listening(page) as stream:
        assert "text/event-stream; charset=utf-8" == stream.headers["content-type"]
        assert "default-src 'none'" in stream.headers["content-security-policy"]

        def next_change() -> dict[str, bool]:
            while not (line := stream.readline()).startswith(b"data: "):
                assert line, "the stream ended"
            found: dict[str, bool] = json.loads(line.removeprefix(b"data: "))
            return found

        assert {"running": False} == next_change()
        write(place / "data" / "DATA_202004171938.csv", RECORDS.replace("3,20,", "3,200,"))
        run = subprocess.Popen(
            [sys.executable, "-m", "upswell", "data", "segment", "rules", "out"],
            cwd=place, env=clean_environment(), stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            while page.ask("/api/status").json["lines"] != 14:
                assert next_change()["running"]
        finally:
            run.terminate()
            run.wait(20)
        while next_change()["running"]:
            pass


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly(place: Path, number: signal.Signals) -> None:
    """Also while somebody listens."""
    with Page(place) as page, listening(page) as stream:
        stream.readline()
        page.process.send_signal(number)

        assert 0 == page.process.wait(30)
        assert page.process.stderr
        assert "" == page.process.stderr.read()


def test_what_cannot_be_served_is_told(place: Path, upswell: Upswell, tmp_path: Path) -> None:
    """No state, an address that is taken, a token that could be guessed: each with its exit code and next step."""
    del tmp_path
    out = ["dashboard", "--output", str(place / "out")]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert address in upswell(*out, "--listen", address, code=75).stderr  # it may be free soon
    upswell(*out, "--listen", "192.0.2.1:80", code=78)
    write(place / "short", "guess me")
    assert "could be guessed" in upswell(*out, "--token-file", place / "short", code=78).stderr
    upswell(*out, "--token-file", place / "none", code=66)
    upswell(*out, "--reports", place / "none", code=66)
    upswell(*out, "--listen", "nowhere", code=2)
    upswell("dashboard", "--output", "nothing", code=66)


def test_without_its_packages_it_says_which(place: Path) -> None:
    """The command without the extra names it, and --get goes on working."""
    without = (
        "import sys\nsys.modules['starlette'] = None\nfrom upswell.cli.main import main\nmain()"
    )
    words = [sys.executable, "-c", without, "dashboard", "--output", "out"]
    served = subprocess.run(
        words, cwd=place, env=clean_environment(), capture_output=True, text=True, check=False
    )
    printed = subprocess.run(
        [*words, "--get", "/api/sent"], cwd=place, env=clean_environment(), capture_output=True, text=True, check=False
    )  # fmt: skip

    assert 78 == served.returncode
    assert "pip install 'upswell[dashboard]'" in served.stderr
    assert 0 == printed.returncode, printed.stderr
    assert json.loads(printed.stdout)["notifications"] >= 1


def test_the_token_of_the_environment_counts(place: Path) -> None:
    """UPSWELL_TOKEN is one, so that no list of processes shows it."""
    with Page(place, UPSWELL_TOKEN=TOKEN) as page:
        shown = Path(f"/proc/{page.process.pid}/cmdline").read_bytes().decode()

        assert TOKEN not in shown
        assert page.ask("/api/access", Authorization=f"Bearer {TOKEN}").json["whole"]
    assert "UPSWELL_TOKEN" not in os.environ
