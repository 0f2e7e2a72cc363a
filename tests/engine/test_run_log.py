"""The run log: when each began, how it ended, and that it never stops one."""

import json
import os
import signal
from pathlib import Path

from support.command import Upswell
from support.inputs import write, write_inputs
from support.running import Running
from upswell.engine.run_log import KILLED, LINES_KEPT, NAME, RunLog, read_runs
from upswell.engine.summary import Summary
from upswell.storage.lock import LOCK_NAME, lock


def told(place: Path) -> list[str]:
    """How each run ended, in order."""
    return [run.why for run in read_runs(place / "out" / ".upswell", None)]


def test_each_end_is_told(tmp_path: Path, upswell: Upswell) -> None:
    """Done, stopped by a signal, failed with an error, killed: each says so, with its exit code."""
    paths = write_inputs(tmp_path)
    upswell(*paths, "--once")
    for number in (signal.SIGTERM, signal.SIGKILL):
        run = Running(tmp_path, *paths, "--log-interval-s", "0.1")
        run.wait_for("event=progress")
        run.process.send_signal(number)
        run.end()
    upswell(*paths, "--once", "--data-timezone", "Africa/Cairo", code=78)
    found = read_runs(tmp_path / "out" / ".upswell", None)

    assert ["done", "stopped by SIGTERM", KILLED] == told(tmp_path)[:3]
    assert "Africa/Cairo" in found[3].why
    assert [0, 0, None, 78] == [run.code for run in found]
    assert ["", "", ""] == [run.hint for run in found[:3]]
    assert found[3].hint


def test_the_run_that_goes_on_has_no_end(tmp_path: Path, upswell: Upswell) -> None:
    """``status`` shows it without a reason, and a second start that is refused leaves no line."""
    paths = write_inputs(tmp_path)
    run = Running(tmp_path, *paths, "--log-interval-s", "0.1")
    run.wait_for("event=progress")
    upswell(*paths, "--once", code=75)
    status = json.loads(upswell("status", "--output", "out", "--json").stdout)
    run.process.terminate()
    run.end()

    assert [("", None)] == [(one["why"], one["code"]) for one in status["runs"]]
    assert run.process.pid == status["runs"][0]["pid"]
    assert ["stopped by SIGTERM"] == told(tmp_path)


def test_the_diary_is_that_of_the_run_that_holds_the_state(
    tmp_path: Path, upswell: Upswell
) -> None:
    """A second start that fails for another reason than the lock leaves no line in it either."""
    paths = write_inputs(tmp_path)
    run = Running(tmp_path, *paths, "--log-interval-s", "0.1")
    run.wait_for("event=progress")
    upswell("nowhere", *paths[1:], "--once", code=66)
    run.process.terminate()
    run.end()
    upswell("nowhere", *paths[1:], "--once", code=66)

    first, second = read_runs(tmp_path / "out" / ".upswell", None)
    assert (run.process.pid, 0) == (first.pid, first.code)
    assert (66, True) == (second.code, "nowhere" in second.why)


def test_a_run_that_has_begun_notes_every_end(tmp_path: Path) -> None:
    """Also while somebody holds the state, as it does itself, and when it ends because another locks its database."""
    write(tmp_path / "checkpoint.db", "")
    log = RunLog(tmp_path, "1")
    held = lock(tmp_path / LOCK_NAME, "it")
    try:
        RunLog(tmp_path, "1").fail(75, "never begun", "")
        log.begin()
        log.fail(75, "the database is locked", "")
    finally:
        os.close(held)

    assert [(75, "the database is locked")] == [
        (run.code, run.why) for run in read_runs(tmp_path, None)
    ]


def test_an_error_names_no_customer(tmp_path: Path) -> None:
    """A dial in a message, or in the next step, is masked, and nothing is written where there is no state."""
    log = RunLog(tmp_path, "1")
    log.fail(70, "internal error: 0126545098", "see 0126545098")
    assert not (tmp_path / NAME).exists()

    write(tmp_path / "checkpoint.db", "")
    log.fail(70, "internal error: 0126545098", "see 0126545098")
    assert [("internal error: 0126•••098", "see 0126•••098")] == [
        (run.why, run.hint) for run in read_runs(tmp_path, None)
    ]


def test_it_does_not_grow_for_ever(tmp_path: Path) -> None:
    """Only the last lines are kept."""
    for number in range(LINES_KEPT + 60):
        log = RunLog(tmp_path, str(number))
        log.event("began")
        log.end(0, f"end {number}")
    lines = (tmp_path / NAME).read_text("utf-8").splitlines()

    assert LINES_KEPT <= len(lines) <= 2 * LINES_KEPT + 2
    assert f"end {LINES_KEPT + 59}" == read_runs(tmp_path, None)[-1].why


def test_a_strange_diary_stops_nothing(tmp_path: Path) -> None:
    """A link, a directory, or lines of another hand: a run goes on, and what can be read is told."""
    (tmp_path / NAME).symlink_to(tmp_path / "elsewhere")
    log = RunLog(tmp_path, "1")
    log.progress(Summary())
    log.end(0, "done")

    assert not (tmp_path / "elsewhere").exists()
    assert [] == read_runs(tmp_path, None)
    (tmp_path / NAME).unlink()
    write(tmp_path / NAME, b'no json\n[1]\n{"began": 7, "pid": "x", "why": null}\n\xff\n')
    assert ["7"] == [run.began for run in read_runs(tmp_path, None)]
    (tmp_path / NAME).unlink()
    (tmp_path / NAME).mkdir()
    log.end(0, "done")
    assert [] == read_runs(tmp_path, None)
