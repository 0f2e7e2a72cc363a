"""A service manager hears that a run is ready, alive and stopping; the files that make a service of it are right."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import strace
from support.command import ROOT, clean_environment
from support.engine_runs import Heard, Place, record
from upswell import errors
from upswell.cli.sd_notify import ServiceNotifier
from upswell.engine.summary import Summary

UNIT = ROOT / "contrib" / "systemd" / "upswell.service"
FUTILE = {
    errors.UsageError, errors.InputMissing, errors.UpswellError, errors.OutputUnwritable, errors.ConfigError
}  # fmt: skip
"""Errors that a restart alone never mends."""


class Manager:
    """The other end of NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address[0] == "@" else address)
        self.socket.settimeout(20)

    def hear(self) -> list[str]:
        """The next message, its words."""
        return self.socket.recv(4096).decode().split("\n")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Fresh directories with a segment and rules."""
    return Place(tmp_path)


@pytest.fixture(params=["path", "abstract"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Both forms that the address may have."""
    return (
        f"@upswell-{os.getpid()}-{time.time_ns()}"
        if request.param == "abstract"
        else str(tmp_path / "socket")
    )


@pytest.fixture
def manager(address: str) -> Iterator[Manager]:
    """A service manager that listens there."""
    made = Manager(address)
    yield made
    made.socket.close()


def test_run_is_ready_after_its_first_look_alive_and_stopping(
    place: Place,
    manager: Manager,
    address: str,
) -> None:
    """READY comes once, when what was there has been looked at; then the loop reports itself; then SIGTERM."""
    place.file("202004171000", record(0, 1, 200, "100000"))
    words = [place.data, place.root / "segment", place.root / "rules", place.output]
    process = subprocess.Popen(
        [sys.executable, "-m", "upswell", "run", *map(str, words), "--poll-s", "0.2"],
        env=clean_environment() | {"NOTIFY_SOCKET": address}, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        first = manager.hear()
        assert ["READY=1", "WATCHDOG=1"] == first[:2]
        assert "STATUS=1 lines, 1 notified since the start; up to date" == first[2]
        assert 1 == len(list(place.output.glob("Twitter/NOTIFY_*"))), "it was ready too soon"
        assert "WATCHDOG=1" == manager.hear()[0]
        process.send_signal(signal.SIGSTOP)
        time.sleep(1.5)
        manager.socket.setblocking(False)
        while True:
            try:
                manager.hear()
            except BlockingIOError:
                break
        time.sleep(1.5)
        with pytest.raises(BlockingIOError):  # a loop that hangs says nothing
            manager.hear()
        manager.socket.settimeout(20)
        process.send_signal(signal.SIGCONT)
        process.send_signal(signal.SIGTERM)
        heard = manager.hear()
        while "STOPPING=1" not in heard:
            heard = manager.hear()
        code = process.wait(30)
    finally:
        process.kill()
        process.wait()
    assert 0 == code


def test_run_whose_data_is_away_is_alive(place: Place, manager: Manager, address: str) -> None:
    """A share that is away for an hour is waited for: the watchdog must not end the run for it."""
    heard = ServiceNotifier(Heard(), {"NOTIFY_SOCKET": address})
    place.heard = heard  # type: ignore[assignment]  # it is a listener, too
    with place.running():
        assert "READY=1" == manager.hear()[0]
        place.data.rename(place.root / "away")
        for _ in range(3):
            assert "WATCHDOG=1" == manager.hear()[0]
        (place.root / "away").rename(place.data)


def test_nothing_is_told_without_a_manager_or_to_one_that_is_gone(address: str) -> None:
    """Without NOTIFY_SOCKET there is no socket; one that nobody listens to ends no run."""
    listener = Heard()
    for environ in ({}, {"NOTIFY_SOCKET": address}):
        told = ServiceNotifier(listener, environ)
        told.event("x")
        told.progress(Summary(lines=7))
        told.stopping()
    assert (7, 2) == (listener.lines, len(listener.events))


def test_messages_are_at_least_a_second_apart(manager: Manager, address: str) -> None:
    """A run of a thousand small commits a second does not send a thousand messages."""
    now = 0.0
    told = ServiceNotifier(Heard(), {"NOTIFY_SOCKET": address}, clock=lambda: now)
    for step in range(30):
        now = step / 10
        told.progress(Summary(lines=step, backlog_files=2))
    heard = [manager.hear() for _ in range(3)]
    assert [["READY=1"], [], []] == [[word for word in each if word == "READY=1"] for each in heard]
    assert "STATUS=20 lines, 0 notified since the start; 2 files to read" == heard[2][1]
    manager.socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.hear()


def unit() -> dict[str, list[str]]:
    """The settings of the unit's service: each name may come more than once."""
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"^(\w+)=(.*)$", UNIT.read_text("utf-8"), re.MULTILINE):
        found.setdefault(name, []).append(value)
    return found


def test_unit_is_not_restarted_where_that_is_futile() -> None:
    """Errors that only an operator can mend stop the service; all others, and a kill, start it again."""
    (codes,) = unit()["RestartPreventExitStatus"]
    assert sorted({kind.exit_code for kind in FUTILE}) == sorted(map(int, codes.split()))
    assert ["on-failure"] == unit()["Restart"]
    assert ["notify"] == unit()["Type"]


def test_unit_is_understood_by_systemd(tmp_path: Path) -> None:
    """Systemd finds no fault in it, and calls it well closed."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze")
    text = UNIT.read_text("utf-8").replace("/opt/upswell/upswell.pex", sys.executable)
    (tmp_path / "upswell.service").write_text(text)
    for words in (
        ("verify", "--man=no"),
        ("security", "--offline=true", "--threshold=20", "--no-pager"),
    ):
        done = subprocess.run(
            ["systemd-analyze", *words, tmp_path / "upswell.service"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if "Unknown" in done.stderr and "offline" in done.stderr:
            pytest.skip("systemd before 250")
        assert 0 == done.returncode, done.stdout + done.stderr
        assert "verify" != words[0] or not done.stderr, done.stderr


def test_run_makes_no_call_that_the_unit_forbids(place: Place, tmp_path: Path) -> None:
    """Under the unit's filter a run, with an archive and a group for OUTPUT, makes all of its system calls."""
    strace.available()
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze")
    allowed: set[str] = set()
    for value in unit()["SystemCallFilter"]:
        names = expanded(value.removeprefix("~").split())
        allowed = allowed - names if value.startswith("~") else allowed | names
    place.file("202004171000", record(0, 1, 200, "100000") + b"oops 1\n")
    words = [place.data, place.root / "segment", place.root / "rules", place.output]
    options = ["--archive", place.root / "archive", "--output-group", str(os.getegid())]
    options += ["--keep-rejects-days", "1"]
    trace = tmp_path / "trace"
    process = subprocess.Popen(
        ["strace", "-f", "-qq", "-o", trace, sys.executable, "-m", "upswell", "run", *words, *options],
        env=clean_environment() | {"NOTIFY_SOCKET": str(tmp_path / "none")}, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 40
    while not list(place.output.glob("Twitter/NOTIFY_*")):
        assert time.monotonic() < deadline, "nothing was sent"
        time.sleep(0.05)
    time.sleep(0.5)
    (holder,) = re.findall(r"process (\d+)", (place.output / ".upswell" / "lock").read_text())
    os.kill(int(holder), signal.SIGTERM)
    assert 0 == process.wait(30)
    made = set(re.findall(r"^\d+ +(\w+)\(", trace.read_text("utf-8", "replace"), re.MULTILINE))
    assert {"renameat2", "fsync", "sendto"} <= made
    assert set() == made - allowed


def expanded(names: list[str]) -> set[str]:
    """System calls, for the names of sets that systemd knows."""
    found: set[str] = set()
    for name in names:
        if not name.startswith("@"):
            found.add(name)
            continue
        listed = subprocess.run(
            ["systemd-analyze", "syscall-filter", "--no-pager", name], capture_output=True, text=True, check=True
        )  # fmt: skip
        inner = re.findall(r"^ +([@\w-]+)$", re.sub(r"#.*", "", listed.stdout), re.MULTILINE)
        found |= expanded([each for each in inner if each != name])
    return found


def test_image_is_not_run_by_root_and_holds_only_the_pex() -> None:
    """The image is built of a pinned slim base and the one file, and nothing in it is done as root at run time."""
    text = (ROOT / "Dockerfile").read_text("utf-8")
    bases = re.findall(r"^FROM (\S+)$", text, re.MULTILINE)
    assert 1 == len(bases)
    assert re.fullmatch(r"python:3\.\d+-slim-\w+", bases[0])
    user = re.findall(r"^USER (\d+):(\d+)$", text, re.MULTILINE)
    assert [("10001", "10001")] == user
    assert text.index("USER ") < text.index("ENTRYPOINT")
    assert "*\n!dist/upswell.pex\n" == (ROOT / ".dockerignore").read_text("utf-8")
    assert [] == re.findall(r"^(?:COPY|ADD)", text, re.MULTILINE)
    assert ["dist/upswell.pex"] == re.findall(r"--mount=\S*source=([^,\s]+)", text)
