"""``upswell status`` and ``upswell state show``: where a run stands, while it runs and after."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from support.child import run
from support.command import Upswell, clean_environment
from support.inputs import LONG_AGO_S, RECORDS, inside, write, write_inputs
from upswell import kernel
from upswell.audit import status
from upswell.cli.commands.status import describe
from upswell.source.file import File, State
from upswell.source.listing import show_name
from upswell.state.checkpoint import Checkpoint
from upswell.state.queries.files import count_by_state
from upswell.state.reader import StateReader
from upswell.storage.lock import holder


@pytest.fixture
def upswell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Upswell:
    """The command, within this process."""
    return inside(tmp_path, monkeypatch)


def test_the_object_is_that_of_the_run(upswell: Upswell, tmp_path: Path) -> None:
    """For a state of one run, status --json says what run --json said, and more."""
    run = json.loads(upswell(*write_inputs(tmp_path), "--once", "--json").stdout)
    status = json.loads(upswell("status", "--output", "out", "--json").stdout)
    run.pop("elapsed_s")

    assert run == {name: status[name] for name in run}
    assert False is status["running"]
    assert 1 == status["last_commit"]["batch"]
    assert {"day": 20200417, "notifications": {"Twitter": 1}} == status["today"]
    assert ["rules", "segment"] == [each["kind"] for each in status["reference"]]


def test_counts_are_over_all_runs(upswell: Upswell, tmp_path: Path) -> None:
    """A second run adds to them."""
    paths = write_inputs(tmp_path)
    upswell(*paths, "--once")
    write(
        tmp_path / "data" / "DATA_202004171938.csv",
        RECORDS.replace("0128419091,3,20", "0128419091,3,200"),
    )
    upswell(*paths, "--once")
    status = json.loads(upswell("status", "--output", "out", "--json").stdout)

    assert 14 == status["lines"] == sum(status["outcomes"].values())
    assert {"Twitter": 1, "Youtube": 1} == status["notifications"]
    assert 2 == status["files"]["done"]


def test_notable_files_are_named_with_reason_and_next_step(
    upswell: Upswell, tmp_path: Path
) -> None:
    """Held, duplicate and ignored files each say why."""
    paths = write_inputs(tmp_path)
    write(tmp_path / "data" / "DATA_202004171938.csv", RECORDS)
    write(tmp_path / "data" / "DATA_202004171939.csv.gz", b"no gzip at all")
    write(tmp_path / "data" / "notes.txt", "")
    upswell(*paths, "--once", UPSWELL_SETTLE_S="0.1")
    text = upswell("status", "--output", "out").stdout

    assert "duplicate DATA_202004171938.csv: same content as DATA_202004171937.csv" in text
    assert "held DATA_202004171939.csv.gz: its gzip data is broken" in text
    assert "ignored notes.txt: only DATA_yyyyMMddHHmm.csv" in text
    assert "! 1 file is held: " in text


def test_refused_and_unread_files_are_counted_and_named(upswell: Upswell, tmp_path: Path) -> None:
    """A warning of each kind, the newest files with their causes, and both in the object."""
    paths, data = write_inputs(tmp_path), tmp_path / "data"
    for minute in range(40, 52):
        write(data / f"DATA_2020041719{minute}.csv", f"0126545098\t1\t{minute}\t20200417190000\n")
    write(data / "DATA_202004171939.csv.lz4", "")
    upswell(*paths, "--once")
    text = upswell("status", "--output", "out", "--files").stdout
    found = json.loads(upswell("status", "--output", "out", "--json").stdout)

    why = "its only line is not a record: its fields are separated by tabs: deliver commas"
    assert 12 == found["refused_files"]["files"]
    assert {"name": "DATA_202004171951.csv", "why": why} == found["refused_files"]["named"][-1]
    assert 10 == len(found["refused_files"]["named"])
    unread = show_name("DATA_202004171939.csv.lz4")
    assert {"files": 1, "named": [unread]} == found["unread"]
    assert (
        "! 12 files hold no record, such as DATA_202004171951.csv: its fields are separated by tabs"
        in text
    )
    assert f"! 1 name in DATA looks like data and is not read: {unread}; deliver" in text
    assert f"refused DATA_202004171951.csv: {why}" in text
    assert "refused … and 2 earlier files" in text
    assert f"rejected=1 {why}" in text


def test_a_longer_export_is_told_by_run_status_and_check(upswell: Upswell, tmp_path: Path) -> None:
    """In one sentence, at the run that counts it and by whoever asks later."""
    paths, lines = write_inputs(tmp_path), RECORDS.count("\n")
    upswell(*paths, "--once")
    longer = "DATA_202004171938.csv"
    write(tmp_path / "data" / longer, f"{RECORDS}0126545098,1,1,20200417193800\n")
    why = f"begins as DATA_202004171937.csv ({lines} lines) and is longer: counted anew"
    run = upswell(*paths, "--once", "--json")
    again = upswell(*paths, "--once", "--json")
    found = json.loads(upswell("status", "--output", "out", "--json").stdout)
    text = upswell("status", "--output", "out", "--files").stdout
    checked = json.loads(upswell("check", *paths, "--json").stdout)["findings"]

    assert f'event=warning text="{longer} {why}"' in run.stderr
    assert [f"{longer} {why}"] == json.loads(run.stdout)["warnings"]
    assert [] == json.loads(again.stdout)["warnings"]
    assert {"files": 1, "named": [{"name": longer, "why": why}]} == found["exported_again"]
    assert f"{longer} {why}" in found["warnings"]
    assert f"exported again {longer}: it {why}" in text
    assert ("note", f"{longer} {why}") in [(one["level"], one["message"]) for one in checked]


def test_a_file_that_went_after_all_of_it_was_read_is_no_warning(
    upswell: Upswell, tmp_path: Path
) -> None:
    """Its line says that nothing is missing; one of which a part is missing is warned of as before."""
    paths = write_inputs(tmp_path)
    upswell(*paths, "--once")
    with Checkpoint.open(tmp_path / "out" / ".upswell", kernel.SHARDS) as checkpoint:
        (row,) = checkpoint.reader.files_in("done")
        checkpoint.save_files([replace(row, state="gone", reason="whole", detail="all was read")])
        whole = json.loads(upswell("status", "--output", "out", "--json").stdout)
        text = upswell("status", "--output", "out").stdout
        checkpoint.save_files([replace(row, state="gone", reason="deleted", detail="deleted")])
        part = json.loads(upswell("status", "--output", "out", "--json").stdout)

    assert f"gone {row.name}: all was read\n" in text
    assert ([0, 1], [1, 1]) == (
        [sum("deleted before it was fully read" in one for one in each["warnings"]) for each in (whole, part)],
        [each["files"]["gone"] for each in (whole, part)],
    )  # fmt: skip


def test_duplicates_by_content_and_by_name_are_counted(upswell: Upswell, tmp_path: Path) -> None:
    """Each copy under another name with the file that it repeats, and how often a name came again."""
    paths = write_inputs(tmp_path)
    upswell(*paths, "--once")
    for minute in (38, 39):
        write(tmp_path / "data" / f"DATA_2020041719{minute}.csv", RECORDS)
    for at in (1, 2):
        write(tmp_path / "data" / "DATA_202004171937.csv", RECORDS, LONG_AGO_S + at)
        upswell(*paths, "--once")
    text = upswell("status", "--output", "out").stdout
    listed = upswell("status", "--output", "out", "--files").stdout
    found = json.loads(upswell("status", "--output", "out", "--json").stdout)

    assert {
        "by_content": 2,
        "by_name": 2,
        "repeated": [{"name": "DATA_202004171937.csv", "repeats": 2}],
    } == found["duplicates"]
    assert 7 == found["lines"]
    assert "duplicate DATA_202004171939.csv: same content as DATA_202004171937.csv" in text
    again = "delivered again 2 times, with the same content"
    assert f"repeated DATA_202004171937.csv: {again}" in text
    assert again in listed


def test_of_many_repeats_the_newest_are_named(tmp_path: Path) -> None:
    """All are counted."""
    with Checkpoint.open(tmp_path / "state", kernel.SHARDS) as checkpoint:
        checkpoint.save_files(
            File(f"DATA_2020041719{at}.csv", "done", f"2020041719{at}", repeats=2)
            for at in range(10, 25)
        )
        found = status.read_status(tmp_path / "state")

    assert (30, 10) == (found.repeats, len(found.repeated))
    assert "DATA_202004171924.csv" == found.repeated[-1].name
    assert any("10 more times, other files" in line for line in describe(found))


def test_files_lists_every_file(upswell: Upswell, tmp_path: Path) -> None:
    """With its place, its lines and their outcomes."""
    upswell(*write_inputs(tmp_path), "--once")
    text = upswell("status", "--output", "out", "--files").stdout
    (line,) = [line for line in text.splitlines() if line.startswith("  DATA_")]
    listed = json.loads(upswell("status", "--output", "out", "--files", "--json").stdout)[
        "file_list"
    ]

    for words in ("done", "7 lines", "notified=1"):
        assert words in line
    assert [("DATA_202004171937.csv", len(RECORDS), 7)] == [
        (each["name"], each["offset"], each["lines"]) for each in listed
    ]


def test_the_log_is_one_object_a_line(upswell: Upswell, tmp_path: Path) -> None:
    """In commit order, with what a replay needs."""
    paths = write_inputs(tmp_path)
    upswell(*paths, "--once")
    write(tmp_path / "data" / "DATA_202004171938.csv", "0126545098,2,1,20200417193744\n")
    upswell(*paths, "--once")
    log = [
        json.loads(line)
        for line in upswell("status", "--output", "out", "--log", "--json").stdout.splitlines()
    ]

    assert [(1, "DATA_202004171937.csv", 0), (2, "DATA_202004171938.csv", 0)] == [
        (each["batch"], each["file"], each["from"]) for each in log
    ]
    assert len(RECORDS) == log[0]["to"]
    assert "202004171938" == log[1]["newest_stamp"]
    assert "DATA_202004171937.csv" in upswell("status", "--output", "out", "--log").stdout


def test_status_works_while_it_runs(upswell: Upswell, tmp_path: Path) -> None:
    """It names the process, and where a restart would go on; afterwards it says that nobody runs."""
    paths = write_inputs(tmp_path, RECORDS + "0126545098,1,")
    command = [
        sys.executable,
        "-m",
        "upswell",
        *paths,
        "--log-interval-s",
        "0.1",
        "--settle-s",
        "0.1",
    ]
    with subprocess.Popen(
        command, cwd=tmp_path, env=clean_environment(), stderr=subprocess.PIPE, text=True
    ) as run:
        assert run.stderr
        while "lines=7" not in run.stderr.readline():
            pass
        during = upswell("status", "--output", "out").stdout
        shown = upswell("state", "show", "--output", "out").stdout
        verified = upswell("state", "verify", "--output", "out").stdout
        run.terminate()
        run.stderr.read()
    after = json.loads(upswell("status", "--output", "out", "--json").stdout)

    assert 0 == run.returncode
    assert f"Running (process {run.pid}, since" in during
    assert f"DATA_202004171937.csv:{len(RECORDS)} (of" in during
    assert f"process {run.pid}" in shown
    assert "sound" in verified
    assert False is after["running"]


def test_a_state_elsewhere_is_named_with_state(upswell: Upswell, tmp_path: Path) -> None:
    """--state, its variable and upswell.toml name a run; the state knows its OUTPUT."""
    paths = write_inputs(tmp_path)
    upswell(*paths, "--once", "--state", "st")
    by_variable = json.loads(upswell("status", "--json", UPSWELL_STATE="st").stdout)

    assert str(tmp_path / "out") == by_variable["output"]
    assert "there is no state" in upswell("status", "--output", "out", code=66).stderr
    write(tmp_path / "upswell.toml", 'state = "st"\n')
    assert by_variable["lines"] == json.loads(upswell("status", "--json").stdout)["lines"]


def test_a_state_is_described(upswell: Upswell, tmp_path: Path) -> None:
    """Identity, paths, zones and sizes."""
    upswell(*write_inputs(tmp_path), "--once", "--data-timezone", "Africa/Cairo")
    text = upswell("state", "show", "--output", "out").stdout
    found = json.loads(upswell("state", "show", "--output", "out", "--json").stdout)

    for words in ("Africa/Cairo", str(tmp_path / "data"), "database", "rules", "nobody"):
        assert words in text
    assert found["bytes"]["database"] > 0
    assert 1 == found["last_batch"]["number"]


def test_nothing_is_said_to_hold_what_is_not_there(tmp_path: Path) -> None:
    """No state, no holder."""
    assert None is holder(tmp_path)


@pytest.mark.parametrize(
    "words",
    [
        ("status",),
        ("state", "show"),
        ("state", "verify"),
        ("sent",),
        ("sent", "--list"),
        ("rejects",),
        ("rejects", "--list"),
        ("history",),
    ],
)
def test_looking_changes_nothing(upswell: Upswell, tmp_path: Path, words: tuple[str, ...]) -> None:
    """The state's files are as they were; SQLite alone may put its own beside them."""
    upswell(*write_inputs(tmp_path), "--once")
    state = tmp_path / "out" / ".upswell"
    before = {path: path.read_bytes() for path in state.rglob("*") if path.is_file()}
    upswell(*words, "--output", "out")

    assert before == {path: path.read_bytes() for path in before}
    added = {path.name for path in state.rglob("*") if path.is_file()} - {
        path.name for path in before
    }
    assert added <= {"checkpoint.db-wal", "checkpoint.db-shm"}


def test_a_file_released_during_a_look_does_no_harm(
    upswell: Upswell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The counts and the files that they count are of one moment, whatever a run saves meanwhile."""
    paths = write_inputs(tmp_path)
    write(tmp_path / "data" / "DATA_202004171939.csv.gz", b"no gzip at all")
    upswell(*paths, "--once", UPSWELL_SETTLE_S="0.1")
    state = tmp_path / "out" / ".upswell"
    with Checkpoint.open(state, kernel.SHARDS) as checkpoint:
        (held,) = checkpoint.reader.files_in("held")

        def release(reader: StateReader) -> dict[State, int]:
            counts = count_by_state(reader)
            checkpoint.save_files([replace(held, state="waiting", reason="", detail="")])
            return counts

        monkeypatch.setattr(status, "count_by_state", release)
        found = status.read_status(state)
        monkeypatch.undo()

    assert 1 == found.summary.files["held"]
    assert [held.name] == [file.name for file in found.notable["held"]]
    assert f"1 file is held: {held.name}: its gzip data is broken" in found.summary.warnings[0]
    assert "held" not in status.read_status(state).notable


def test_the_rules_in_force_come_before_the_segment(upswell: Upswell, tmp_path: Path) -> None:
    """Also when the rules changed last."""
    paths = write_inputs(tmp_path)
    upswell(*paths, "--once")
    write(tmp_path / "rules" / "RULES.csv", "1,Twitter,8,20,99\n")
    upswell(*paths, "--once")
    found = json.loads(upswell("status", "--output", "out", "--json").stdout)

    assert ["rules", "segment"] == [each["kind"] for each in found["reference"]]
    assert found["reference"][0]["taken_at"] > found["reference"][1]["taken_at"]


def test_a_watched_status_is_shown_again_and_again(upswell: Upswell, tmp_path: Path) -> None:
    """In a pipe a block, or with --json a line, each interval until the reader goes away."""
    upswell(*write_inputs(tmp_path), "--once")
    for words, lines in ((["--json"], ['{"lines": 7,'] * 2), ([], ["Not running.", ""])):
        with subprocess.Popen(
            [sys.executable, "-m", "upswell", "status", "--output", "out", "--watch", "--interval-s", "0.1", *words],
            cwd=tmp_path, env=clean_environment(), stdout=subprocess.PIPE, text=True,
        ) as watching:  # fmt: skip
            assert watching.stdout
            for expected in lines:
                assert watching.stdout.readline().startswith(expected)
            watching.stdout.close()
            assert 0 == watching.wait(20)


def test_a_watched_status_has_the_terminal_for_itself(tmp_path: Path, upswell: Upswell) -> None:
    """It is drawn on a screen of its own, which Ctrl-C takes away again, with exit code 0."""
    upswell(*write_inputs(tmp_path), "--once")

    interrupted = []

    def interrupt(pid: int, told: bytes) -> None:
        if told.count(b"Not running.") > 2 and not interrupted:
            interrupted.append(pid)
            os.kill(pid, signal.SIGINT)

    words = ["status", "--output", "out", "--watch", "--interval-s", "0.1"]
    ended = run(*words, cwd=tmp_path, terminal=True, seen=interrupt, TERM="xterm")

    assert 0 == ended.code, ended.told
    assert ended.out.count(b"Not running.") > 2
    assert ended.out.rindex(b"\x1b[?1049l") > ended.out.rindex(b"Not running.")


def test_the_files_of_the_active_versions_are_named(upswell: Upswell, tmp_path: Path) -> None:
    """With their counts, the lines that are left out and a copy among them, as text and in the object."""
    paths = write_inputs(tmp_path, segment="0126545098\nx1\n")
    write(tmp_path / "rules" / "RULES_old.csv", "1,Twitter,8,20,900\n")
    upswell(*paths, "--once")
    text = upswell("status", "--output", "out").stdout
    rules, segment = json.loads(upswell("status", "--output", "out", "--json").stdout)["reference"]

    assert (
        "  rules read from RULES.csv (3 rules), RULES_old.csv (0 rules); 1 line left out\n" in text
    )
    assert "  segment read from SEGMENT.csv (2 lines); 1 line left out\n" in text
    assert (
        "  ! RULES is active without 1 line of it: RULES_old.csv line 1: window 8-20 of service 1"
        in text
    )
    assert "  ! RULES is also read from what looks like a backup copy (RULES_old.csv), " in text
    assert [{"name": "RULES.csv", "entries": 3}, {"name": "RULES_old.csv", "entries": 0}] == (
        rules["files"]
    )
    assert (["RULES_old.csv"], 1, 1) == (rules["copies"], rules["bad_lines"], segment["bad_lines"])
