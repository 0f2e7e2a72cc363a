"""The first signal ends a run cleanly, however early it comes, the second at once."""

import fcntl
import os
import pty
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from support.command import clean_environment
from support.inputs import write_inputs
from support.running import DEAF, Running


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_finishes_and_leaves_with_0(
    tmp_path: Path, number: signal.Signals
) -> None:
    """What was committed is published, and the end is told."""
    run = Running(tmp_path, *write_inputs(tmp_path), "--log-interval-s", "0.1")
    run.wait_for("notified=1")
    run.process.send_signal(number)
    code, _, log = run.end()

    assert 0 == code, log
    assert f"signal={number.name}" in log
    assert "event=stopped lines=7 notified=1" in log
    assert "error" not in log
    assert 1 == len(list((tmp_path / "out" / "Twitter").iterdir()))


@pytest.mark.parametrize(
    ("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_the_second_signal_leaves_at_once(
    tmp_path: Path, number: signal.Signals, expected: int
) -> None:
    """The exit code is that of the second signal, whatever the run is doing."""
    words = [*write_inputs(tmp_path), "--poll-s", "20", "--no-watch"]
    run = Running(tmp_path, *words, program=["-c", DEAF])
    run.wait_for("the engine waits")
    run.process.send_signal(signal.SIGTERM)
    run.wait_for("signal=SIGTERM")
    run.process.send_signal(number)
    code, _, log = run.end()

    assert expected == code
    assert "Traceback" not in log


def test_a_hangup_does_not_stop_a_run_under_nohup(tmp_path: Path) -> None:
    """What is started to outlive its terminal does; SIGTERM still stops it cleanly."""
    words = [*write_inputs(tmp_path), "--log-interval-s", "0.1"]
    run = Running(tmp_path, *words, before=["nohup"])
    run.wait_for("notified=1")
    run.process.send_signal(signal.SIGHUP)
    (tmp_path / "data" / "DATA_202004171938.csv").write_text("0126545098,1,1,20200417193800\n")
    run.wait_for("lines=8")
    run.process.send_signal(signal.SIGTERM)
    run.wait_for("signal=SIGTERM")

    assert 0 == run.end()[0]


def test_a_generator_of_live_data_stops_cleanly(tmp_path: Path) -> None:
    """The file in hand is finished, and what was made is told."""
    words = (
        "generate",
        "data",
        "data",
        "--live",
        "--rate",
        "10",
        "--speed",
        "600",
        "--customers",
        "100",
    )
    run = Running(tmp_path, *words)
    run.wait_for("DATA_")
    run.process.send_signal(signal.SIGINT)
    code, out, _ = run.end()

    assert 0 == code
    assert out.startswith("data: ")


def test_an_interrupted_command_leaves_without_a_traceback(tmp_path: Path) -> None:
    """Commands that are no run end with 130 at the first SIGINT."""
    run = Running(
        tmp_path,
        "generate",
        "data",
        "data",
        "--files",
        "100000",
        "--records",
        "10",
        "--customers",
        "100",
    )
    while not list(tmp_path.glob("data/*.csv")):
        assert run.process.poll() is None
    run.process.send_signal(signal.SIGINT)
    code, _, log = run.end()

    assert 130 == code
    assert "error: interrupted" == log.strip()


def stopped_on_a_terminal(place: Path, stop: Callable[[int, int], object]) -> int:
    """The exit code of a run on a terminal of its own, once ``stop(process, terminal)`` was done after a commit."""
    words = write_inputs(place)
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(place)
        os.execve(sys.executable, [sys.executable, "-m", "upswell", *words], clean_environment())
    until = time.monotonic() + 30
    while not list(place.glob("out/Twitter/*")) and time.monotonic() < until:
        time.sleep(0.05)
    stop(process, terminal)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_run_on_a_terminal_leaves_with_0(tmp_path: Path, number: signal.Signals) -> None:
    """The thread that renews the live lines takes no signal."""
    assert 0 == stopped_on_a_terminal(tmp_path, lambda process, _: os.kill(process, number))


def test_a_terminal_that_closes_stops_a_run_cleanly(tmp_path: Path) -> None:
    """Its hangup is a signal to stop, and that nothing can be shown any more is no error."""
    assert 0 == stopped_on_a_terminal(tmp_path, lambda _, terminal: os.close(terminal))


def is_in(mask: str, process: int, number: signal.Signals) -> bool:
    """Whether a process has the signal in a mask of its status: ShdPnd, not taken yet; SigBlk, blocked."""
    status = Path(f"/proc/{process}/status").read_text()
    (bits,) = re.findall(rf"^{mask}:\s+(\w+)$", status, re.MULTILINE)
    return bool(int(bits, 16) >> number - 1 & 1)


def test_a_held_terminal_does_not_hold_up_the_second_signal(tmp_path: Path) -> None:
    """After Ctrl-S nothing can be written; a run is ended all the same."""

    def hold_and_stop(process: int, terminal: int) -> None:
        os.write(terminal, b"\x13")
        time.sleep(0.5)  # until the live lines are stuck
        os.kill(process, signal.SIGTERM)
        while is_in("ShdPnd", process, signal.SIGTERM):  # two that are pending would be one
            time.sleep(0.01)
        os.kill(process, signal.SIGTERM)

    assert 128 + signal.SIGTERM == stopped_on_a_terminal(tmp_path, hold_and_stop)


@pytest.mark.parametrize("words", [["run"], ["run", "--debug"]])
def test_a_full_disk_under_stderr_changes_no_exit_code(tmp_path: Path, words: list[str]) -> None:
    """A supervisor reads the code, whatever became of the log."""
    with Path("/dev/full").open("w") as full:
        code = subprocess.call(
            [sys.executable, "-m", "upswell", *words], cwd=tmp_path, stderr=full, stdout=full
        )
    assert 2 == code


@pytest.fixture(scope="module")
def as_first() -> list[str]:
    """What starts a command as process number 1, as the image does: SIGTERM is kept while the interpreter starts."""
    found = ["unshare", "--pid", "--fork", "--kill-child", "env", "--block-signal=TERM"]
    tried = subprocess.run([*found, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"no process number 1 can be made here: {tried.stderr.strip()}")
    return found


def started(place: Path, before: list[str], words: list[str]) -> tuple[Running, int]:
    """The command, and its process id even where something else starts it in a namespace."""
    run = Running(place, *words, before=before)
    number = run.process.pid
    if before:
        children = Path(f"/proc/{number}/task/{number}/children")
        while not (found := children.read_text().split()):
            assert run.process.poll() is None
        (number,) = map(int, found)
        # What is sent before `env` has blocked it is dropped, in a container too: nothing of ours has begun. A child of
        # `unshare` has it blocked, too, and lets it go again.
        name = Path(f"/proc/{number}/comm")
        while name.read_text() == "unshare\n" or not is_in("SigBlk", number, signal.SIGTERM):
            assert run.process.poll() is None
    return run, number


def test_a_first_process_is_stopped_as_early_as_it_is_told(
    tmp_path: Path, as_first: list[str]
) -> None:
    """The kernel drops no SIGTERM of a container's stop: a run ends with 0 at any moment of its first half second."""
    words = write_inputs(tmp_path)
    for moment_s in (0.0, 0.05, 0.15, 0.3, random.uniform(0, 0.5)):
        run, number = started(tmp_path, as_first, [*words])
        time.sleep(moment_s)
        os.kill(number, signal.SIGTERM)
        code, _, log = run.end()

        assert (0, False) == (code, "error" in log), f"{moment_s:.3f} s: {log}"


@pytest.mark.parametrize("before", ["alone", "first"])
def test_a_command_that_is_no_run_is_ended_by_sigterm(
    tmp_path: Path, before: str, request: pytest.FixtureRequest
) -> None:
    """As process number 1, too, which has no default action."""
    words = ["generate", "data", "data", "--files", "100000", "--records", "10", "--customers", "100"]  # fmt: skip
    wrapped = request.getfixturevalue("as_first") if before == "first" else []
    run, number = started(tmp_path, wrapped, words)
    while not list(tmp_path.glob("data/*.csv")):
        assert run.process.poll() is None
    os.kill(number, signal.SIGTERM)
    code, _, log = run.end()

    assert (143 if wrapped else -signal.SIGTERM, "") == (code, log)


def test_a_run_that_is_over_and_cannot_say_so_is_ended_by_sigterm(tmp_path: Path) -> None:
    """Nobody waits for the signal any more: a summary that a full pipe holds up keeps no process alive."""
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    os.write(write, bytes(4096))
    words = [sys.executable, "-m", "upswell", *write_inputs(tmp_path), "--once"]
    with subprocess.Popen(words, cwd=tmp_path, stdout=write, stderr=subprocess.PIPE) as run:
        while not list((tmp_path / "out").glob("Twitter/*.csv")):
            assert run.poll() is None
            time.sleep(0.01)
        try:
            for _ in range(8):  # the first may still be heard by the run
                time.sleep(1)
                run.send_signal(signal.SIGTERM)
                if run.poll() is not None:
                    break
            assert -signal.SIGTERM == run.wait(5)
        finally:
            run.kill()
            os.close(read)
            os.close(write)


def test_a_sigterm_before_the_run_begins_leaves_no_traceback(tmp_path: Path) -> None:
    """It is a clean stop once the program has begun, and ends the interpreter before that."""
    words = write_inputs(tmp_path)
    for _ in range(4):
        run, number = started(tmp_path, [], [*words])
        time.sleep(random.uniform(0, 0.3))
        os.kill(number, signal.SIGTERM)
        code, _, log = run.end()

        assert code in (0, -signal.SIGTERM)
        assert "Traceback" not in log
