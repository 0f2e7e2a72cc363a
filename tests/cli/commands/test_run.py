"""``upswell run`` seen from outside: what it prints, where, and when."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.command import Upswell, clean_environment
from support.inputs import write, write_inputs
from support.running import Running
from upswell.audit.labels import POLICY_OUTCOMES
from upswell.kernel import OUTCOMES, REASONS


def test_the_four_paths_are_the_command_run(upswell: Upswell, tmp_path: Path) -> None:
    """The brief's plain call and ``run`` do the same, wherever the options stand."""
    paths = write_inputs(tmp_path)
    found = [
        json.loads(upswell(*words).stdout)["lines"]
        for words in (
            [*paths, "--once", "--json"],
            ["run", *paths[:3], "out2", "--once", "--json"],
            ["--once", "--json", *paths[:3], "out3"],
        )
    ]

    assert [7, 7, 7] == found
    assert b"0126545098,1,315,20200417193743\n" == b"".join(
        path.read_bytes() for path in (tmp_path / "out" / "Twitter").iterdir()
    )


def test_a_directory_named_like_a_command_is_written_with_its_path(
    upswell: Upswell, tmp_path: Path
) -> None:
    """``./check`` is DATA, ``check`` is the command."""
    paths = write_inputs(tmp_path)
    (tmp_path / "data").rename(tmp_path / "check")

    assert 7 == json.loads(upswell("./check", *paths[1:], "--once", "--json").stdout)["lines"]
    assert "ok: a run can start" in upswell("check", "./check", *paths[1:3]).stdout


def test_json_is_one_object_with_every_name(upswell: Upswell, tmp_path: Path) -> None:
    """Zeros included, and the outcomes add up to the lines."""
    done = upswell(*write_inputs(tmp_path), "--once", "--json")
    found = json.loads(done.stdout)

    assert 1 == len(done.stdout.splitlines())
    assert list(OUTCOMES) == list(found["outcomes"])
    assert list(REASONS) == list(found["rejects"])
    assert found["lines"] == sum(found["outcomes"].values())
    assert {"Twitter": 1} == found["notifications"]
    assert 1 == found["files"]["done"]
    assert {"columns": 1} == {reason: n for reason, n in found["rejects"].items() if n}


def test_the_summary_for_people_adds_up(upswell: Upswell, tmp_path: Path) -> None:
    """Every outcome but those of policies has its line; rejects, notifications, files and the next steps follow."""
    text = upswell(*write_inputs(tmp_path), "--once").stdout
    table = text.partition("Lines by outcome\n")[2].partition("\n\n")[0]
    rows = {
        match[1]: int(match[2])
        for match in re.finditer(r"^  (=? ?[a-z_ ]+?) +(\d+)", table, re.MULTILINE)
    }

    assert rows.pop("= lines read") == sum(rows.values()) == 7
    assert set(OUTCOMES) - set(POLICY_OUTCOMES) == set(rows)
    for words in (
        "Rejects by reason\n  columns  1",
        "  Twitter  1\n",
        "  done  1",
        "upswell status --output out",
    ):
        assert words in text


def test_the_next_steps_of_the_summary_work(upswell: Upswell, tmp_path: Path) -> None:
    """What is suggested can be copied, even when OUTPUT has a space in its name."""
    paths = write_inputs(tmp_path)
    text = upswell(*paths[:3], "my out", "--once").stdout
    steps = re.findall(r"^  (\S.*?)  +\S", text.partition("\nNext steps\n")[2], re.MULTILINE)

    assert 4 == len(steps)
    for step in steps:
        command = re.sub("^upswell", f"{sys.executable} -m upswell", step)
        subprocess.run(
            command, shell=True, cwd=tmp_path, env=clean_environment(), check=True, stdout=-3
        )


def test_nothing_new_is_said_so(upswell: Upswell, tmp_path: Path) -> None:
    """A second run over the same files reads nothing and sends nothing."""
    paths = write_inputs(tmp_path)
    upswell(*paths, "--once")
    done = upswell(*paths, "--once")

    assert "Nothing new to read" in done.stdout
    assert "upswell check data segment rules out" in done.stdout


def test_log_output_is_structured_lines_when_nobody_watches(
    upswell: Upswell, tmp_path: Path
) -> None:
    """Each line on stderr has a time and an event; stdout holds the data alone."""
    done = upswell(*write_inputs(tmp_path), "--once", "--json", "-v")

    assert "" != done.stderr
    for line in done.stderr.splitlines():
        assert re.match(r"at=\d{4}-\d\d-\d\dT[\d:.]+Z event=", line)
    assert "event=progress lines=7" in done.stderr


def test_no_whole_msisdn_and_no_control_byte_is_logged(upswell: Upswell, tmp_path: Path) -> None:
    """Warnings show an example, masked; a file's name cannot write to the terminal."""
    paths = write_inputs(tmp_path, "0126545098,2,222,20200417193744\n")
    write(tmp_path / "data" / "DATA_202004171938\x1b[31m\n.csv", "x")
    done = upswell(*paths, "--once", "-v")

    assert "0126•••098" in done.stdout
    for text in (done.stdout, done.stderr):
        assert "0126545098" not in text
        assert "\x1b" not in text


def test_settings_come_from_the_environment(upswell: Upswell, tmp_path: Path) -> None:
    """A run needs no argument at all when variables give everything."""
    paths = write_inputs(tmp_path)
    names = ("UPSWELL_DATA", "UPSWELL_SEGMENT", "UPSWELL_RULES", "UPSWELL_OUTPUT")
    done = upswell("run", "--json", UPSWELL_ONCE="1", **dict(zip(names, paths, strict=True)))

    assert 7 == json.loads(done.stdout)["lines"]


def test_too_many_rejects_still_give_the_summary(upswell: Upswell, tmp_path: Path) -> None:
    """Exit 65 comes after everything is published, and the object is printed before it."""
    done = upswell(
        *write_inputs(tmp_path), "--once", "--json", "--max-reject-ratio", "0.1", code=65
    )

    assert 1 == json.loads(done.stdout)["outcomes"]["notified"]
    assert 1 == len(list((tmp_path / "out" / "Twitter").iterdir()))
    assert "error: 1 of 7 lines" in done.stderr


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    """``upswell status | true`` ends quietly."""
    paths = write_inputs(tmp_path)
    command = [sys.executable, "-m", "upswell", *paths, "--once"]
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as stdout:
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env=clean_environment(),
            stdout=stdout,
            stderr=subprocess.PIPE,
            check=False,
        )

    assert 0 == done.returncode
    assert b"Traceback" not in done.stderr
    assert b"BrokenPipe" not in done.stderr


def test_a_log_that_goes_away_does_not_end_the_run(tmp_path: Path) -> None:
    """Log output is for people; the run goes on without it."""
    paths = write_inputs(tmp_path)
    command = [sys.executable, "-m", "upswell", *paths, "--once", "-v", "--json"]
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as stderr:
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env=clean_environment(),
            stdout=subprocess.PIPE,
            stderr=stderr,
            check=False,
        )

    assert 0 == done.returncode
    assert 7 == json.loads(done.stdout)["lines"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_under_stdout_is_an_io_error(tmp_path: Path) -> None:
    """What cannot be printed is not lost silently: exit 74."""
    paths = write_inputs(tmp_path)
    command = [sys.executable, "-m", "upswell", *paths, "--once", "--json"]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env=clean_environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )

    assert 74 == done.returncode
    assert b"No space left" in done.stderr
    assert 1 == len(list((tmp_path / "out" / "Twitter").iterdir()))


READS = (
    ("status",), ("status", "--json"), ("sent",), ("sent", "--list"), ("rejects", "--list"), ("rejects", "--raw"),
    ("history",), ("state", "show"),
)  # fmt: skip


@pytest.mark.parametrize("words", READS)
def test_a_full_stdout_of_a_read_command_is_told_as_that(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    """Nothing was to be committed: the next step is about where the answer goes, once, and the code is 74."""
    upswell = [sys.executable, "-m", "upswell"]
    environment = clean_environment()
    subprocess.run(
        [*upswell, *write_inputs(tmp_path), "--once"], cwd=tmp_path, env=environment, check=True
    )
    for place, code in (("/dev/full", 74), ("&-", 0)):
        command = f'exec "$@" >{place}'
        done = subprocess.run(
            ["bash", "-c", command, "bash", *upswell, *words, "--output", "out"],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip

        assert code == done.returncode, done.stderr
        assert bool(code) == (
            "error: cannot write to standard output: No space left" in done.stderr
        )
        assert bool(code) == ("free space where it is redirected to" in done.stderr)
        assert "committed" not in done.stderr
        assert "rror" not in done.stderr.replace("error: cannot write", "", 1)


def run_on_terminal(command: list[str], cwd: Path, **environment: str) -> tuple[int, str]:
    """The exit code of a command on a terminal of its own, and all that it wrote there."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(cwd)
        os.execve(
            sys.executable,
            [sys.executable, "-m", "upswell", *command],
            clean_environment() | environment,
        )
    text = b""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        if not select.select([terminal], [], [], 0.2)[0]:
            continue
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        text += piece
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), text.decode("utf-8", "replace")


def test_a_terminal_gets_live_progress(tmp_path: Path) -> None:
    """A few lines that renew themselves: what is read, how fast, what is left; the cursor is given back."""
    paths = write_inputs(tmp_path)
    code, text = run_on_terminal([*paths, "--once"], tmp_path, TERM="xterm")

    assert 0 == code
    for words in ("lines/s", "backlog", "batch 1", "notified 1"):
        assert words in text
    assert text.rfind("\x1b[?25h") > text.rfind("\x1b[?25l")
    assert "event=" not in text


def test_no_color_takes_the_colours_away(tmp_path: Path) -> None:
    """With NO_COLOR no colour is set, on errors neither."""
    paths = write_inputs(tmp_path)
    colour = re.compile("\x1b\\[(3[0-7]|9[0-7])")
    coloured = run_on_terminal(["nowhere", *paths[1:]], tmp_path, TERM="xterm", NO_COLOR="")
    plain = run_on_terminal(["nowhere", *paths[1:]], tmp_path, TERM="xterm", NO_COLOR="1")

    assert colour.search(coloured[1])
    assert not colour.search(plain[1])
    assert 66 == coloured[0] == plain[0]


def test_a_terminal_that_cannot_move_its_cursor_gets_lines(tmp_path: Path) -> None:
    """TERM=dumb is treated as a log."""
    _, text = run_on_terminal([*write_inputs(tmp_path), "--once"], tmp_path, TERM="dumb")

    assert "event=" in text
    assert "\x1b" not in text


def test_a_narrow_locale_is_no_obstacle(upswell: Upswell, tmp_path: Path) -> None:
    """Names that the terminal's encoding lacks are escaped, not an error."""
    rules = "1,تويتر,8,20,147\n"
    done = upswell(*write_inputs(tmp_path, rules=rules), "--once", PYTHONIOENCODING="ascii")

    assert "\\u062a" in done.stdout


@pytest.mark.parametrize("given", ["flag", "variable", "file"])
def test_a_strict_run_refuses_what_a_check_warns_of(
    upswell: Upswell, tmp_path: Path, given: str
) -> None:
    """Names in DATA that are not read, a zero that the segment lost: 78 with both texts, and nothing is read."""
    segment = "".join(f"01265450{n:02}\n" for n in range(50)) + "126545098\n"
    words = [*write_inputs(tmp_path, segment=segment), "--once"]
    write(tmp_path / "data" / "DATA_202004171938.CSV", "")
    if given == "flag":
        words.append("--strict")
    if given == "file":
        (tmp_path / "upswell.toml").write_text("strict = true\n")
    environment = {"UPSWELL_STRICT": "1"} if given == "variable" else {}
    told = upswell(*words, code=78, **environment).stderr

    assert "1 name in DATA looks like data and is not read" in told
    assert "SEGMENT.csv:51: 126•••098 is one of 1 MSISDNs" in told
    assert {"flag": "--strict", "variable": "UPSWELL_STRICT", "file": "upswell.toml"}[given] in told
    assert [".upswell"] == [
        path.name for path in (tmp_path / "out").iterdir() if not path.name.startswith(".upswell-")
    ]


@pytest.mark.parametrize("limit", ["max_inotify_instances", "max_inotify_watches"])
def test_a_run_without_inotify_says_so_once_and_polls(tmp_path: Path, limit: str) -> None:
    """With the limit to raise; what comes is read at the next poll, and nothing is said again."""
    own = ["unshare", "--user", "--map-root-user", "sh", "-c"]
    exhausted = [*own, f'echo 0 > /proc/sys/user/{limit} && exec "$@"', "sh"]
    tried = subprocess.run([*exhausted, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"no user of an own limit can be made here: {tried.stderr.strip()}")
    words = [*write_inputs(tmp_path), "--log-interval-s", "0.1", "--poll-s", "0.2"]
    run = Running(tmp_path, *words, before=exhausted)
    told = run.wait_for("does not report changes in DATA")
    (tmp_path / "data" / "DATA_202004171938.csv").write_text("0126545098,1,1,20200417193800\n")
    run.wait_for("lines=8")
    run.process.send_signal(signal.SIGTERM)
    code, _, log = run.end()

    assert f"fs.inotify.max_user_{limit.rpartition('_')[2]}" in told
    assert "DATA is looked at every 0.2 s" in told
    assert (0, False) == (code, "does not report changes" in log)
