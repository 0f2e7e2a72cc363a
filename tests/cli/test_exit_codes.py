"""Every way to end has its exit code, a message that names the path or value, and the next step."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from support.command import Upswell, clean_environment
from support.inputs import inside, write, write_inputs
from upswell.cli.main import as_upswell_error, commands
from upswell.errors import UpswellError


@pytest.fixture
def upswell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Upswell:
    """The command, within this process."""
    return inside(tmp_path, monkeypatch)


def complaint(text: str) -> tuple[str, str]:
    """The message and the next step at the end of stderr."""
    message, _, step = text.partition("error: ")[2].partition("\n  next: ")
    return message.strip(), step.strip()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["run", "a", "b"], "missing RULES, OUTPUT"),
        (["run", "a", "b", "c", "d", "e"], "unexpected extra argument"),
        (["--unknown", "a", "b", "c", "d"], "--unknown"),
        (["a", "b", "c", "d", "--threads", "many"], "--threads"),
        (["a", "b", "c", "d", "--measure", "both"], "--measure"),
        (["generate", "everything", "p"], "everything"),
        (["generate", "data", "p", "--files", "x"], "--files"),
        (["status"], "no run selected"),
    ],
)
def test_usage_is_2(upswell: Upswell, words: list[str], named: str) -> None:
    """Words that are off name the word and say what to write."""
    message, step = complaint(upswell(*words, code=2).stderr)

    assert named in message
    assert step


def test_no_words_at_all_show_the_help(upswell: Upswell) -> None:
    """``upswell`` alone explains itself, on stderr."""
    assert "Commands:" in upswell(code=2).stderr


@pytest.mark.parametrize(
    ("words", "guess", "code"),
    [
        (["statsu", "--output", "out"], "upswell status", 2),
        (["chek", "data", "segment", "rules"], "upswell check", 66),
        (["generat", "rules", "p"], "upswell generate", 2),
        (["demos"], "upswell demo", 2),
        (["--json", "status"], "upswell status", 2),
    ],
)
def test_a_near_miss_of_a_command_is_recognized(
    upswell: Upswell, words: list[str], guess: str, code: int
) -> None:
    """A slip in the command's name is not only taken for DATA."""
    assert guess in complaint(upswell(*words, code=code).stderr)[1]


@pytest.mark.parametrize("missing", ["data", "segment", "rules"])
def test_a_missing_input_is_66(upswell: Upswell, tmp_path: Path, missing: str) -> None:
    """The message holds the path."""
    paths = write_inputs(tmp_path)
    (tmp_path / missing).rename(tmp_path / "elsewhere")
    message, step = complaint(upswell(*paths, "--once", code=66).stderr)

    assert missing in message
    assert step


def test_an_output_that_cannot_be_made_is_73(upswell: Upswell, tmp_path: Path) -> None:
    """OUTPUT is made when its parent exists; a file in its place, or no parent, is an error."""
    paths = write_inputs(tmp_path)
    write(tmp_path / "file", "")
    for output in ("file", "nowhere/out"):
        message, step = complaint(upswell(*paths[:3], output, "--once", code=73).stderr)
        assert output in message
        assert step


def test_a_damaged_state_is_74(upswell: Upswell, tmp_path: Path) -> None:
    """A database that is none is named, and how to look into it."""
    paths = write_inputs(tmp_path)
    upswell(*paths, "--once")
    database = tmp_path / "out" / ".upswell" / "checkpoint.db"
    database.write_bytes(b"garbage" * 10_000)

    message, step = complaint(upswell(*paths, "--once", code=74).stderr)
    assert "checkpoint.db" in message
    assert step
    assert "checkpoint.db" in complaint(upswell("status", "--output", "out", code=74).stderr)[0]
    assert (
        "checkpoint.db"
        in complaint(upswell("state", "verify", "--output", "out", code=74).stderr)[0]
    )


def test_a_second_run_on_the_same_state_is_75(upswell: Upswell, tmp_path: Path) -> None:
    """It names who holds it."""
    paths = write_inputs(tmp_path)
    command = [sys.executable, "-m", "upswell", *paths, "--log-interval-s", "0.1"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=clean_environment(), stderr=subprocess.PIPE, text=True
    ) as first:
        assert first.stderr
        while "event=progress" not in first.stderr.readline():
            pass
        message, step = complaint(upswell(*paths, "--once", code=75).stderr)
        first.terminate()
        first.stderr.read()

    assert f"process {first.pid}" in message
    assert step
    assert 0 == first.returncode


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rules/RULES.csv", "1,Twitter,8,8,147\n"),
        ("segment/SEGMENT.csv", "msisdn\n"),
        ("rules/upswell.toml", "poll_s = 1\n"),
        ("upswell.toml", "keepdays = 1\n"),
    ],
)
def test_unusable_settings_rules_or_segment_are_78(
    upswell: Upswell, tmp_path: Path, name: str, content: str
) -> None:
    """Nothing is started with what cannot be right."""
    paths = write_inputs(tmp_path)
    write(tmp_path / name, content)
    message, _ = complaint(upswell(*paths, "--once", code=78).stderr)

    assert message
    assert not list((tmp_path).glob("out/*/NOTIFY_*"))


def test_other_settings_than_the_states_are_78(upswell: Upswell, tmp_path: Path) -> None:
    """Zones and measure belong to a state for good."""
    paths = write_inputs(tmp_path)
    upswell(*paths, "--once")
    message, step = complaint(upswell(*paths, "--once", "--measure", "session", code=78).stderr)

    assert "measure" in message
    assert "OUTPUT" in step


@pytest.mark.parametrize("name", ["data", "segment", "rules", "out"])
def test_a_state_in_the_place_of_a_path_is_78_and_changes_nothing(
    upswell: Upswell, tmp_path: Path, name: str
) -> None:
    """A state directory is closed to all others: what others use is refused before it is touched."""
    paths = write_inputs(tmp_path)
    (tmp_path / "out").mkdir()
    for each in paths:
        (tmp_path / each).chmod(0o755)
    before = sorted(tmp_path.rglob("*"))
    message, step = complaint(upswell(*paths, "--once", "--state", name, code=78).stderr)
    found = json.loads(upswell("check", *paths, "--json", "--state", name, code=78).stdout)

    assert f"is {name.upper() if name != 'out' else 'OUTPUT'} itself" in message
    assert "use a separate directory" in step
    assert message == found["findings"][0]["message"]
    assert before == sorted(tmp_path.rglob("*"))
    assert {0o755} == {(tmp_path / each).stat().st_mode & 0o777 for each in paths}


def test_an_unexpected_error_is_70_in_one_line(tmp_path: Path) -> None:
    """No traceback, unless --debug asks for it."""
    code = (
        "import sys, upswell.config.parsers, upswell.cli.main\n"
        "upswell.config.parsers.PARSERS['threads'] = lambda raw: 1 / 0\n"
        "upswell.cli.main.commands.main(sys.argv[1:])"
    )
    found = [
        subprocess.run(
            [sys.executable, "-c", code, "a", "b", "c", "d", "--threads", "1", *more],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            env=clean_environment(),
        )
        for more in ([], ["--debug"])
    ]

    assert [70, 70] == [each.returncode for each in found]
    assert (
        "internal error: ZeroDivisionError: division by zero",
        "run again with --debug for the traceback",
    ) == complaint(found[0].stderr)
    assert "Traceback" not in found[0].stderr
    assert "Traceback" in found[1].stderr


def test_debug_shows_the_traceback_of_our_errors_too(upswell: Upswell) -> None:
    """A hint may be wrong; --debug shows where it came from."""
    done = upswell("nowhere", "b", "c", "d", "--once", "--debug", code=66)

    assert "Traceback" in done.stderr
    assert "error: nowhere" in done.stderr


@pytest.mark.parametrize(
    ("error", "code", "word"),
    [
        (MemoryError(), 74, "memory"),
        (OSError(28, "No space left on device", "/x"), 74, "/x"),
        (OSError(5, "Input/output error"), 74, "Input/output error"),
        (PermissionError(13, "Permission denied", "/x"), 74, "/x: Permission denied"),
        (RuntimeError("can't start new thread"), 74, "no thread can be started"),
        (RuntimeError("odd"), 70, "RuntimeError"),
        # The loader says the same of a mount that forbids execution, which this file's does not.
        (ImportError("x: failed to map segment from shared object", path=__file__), 74, "memory"),
        (ImportError("x: failed to map segment from shared object"), 78, "noexec"),
        (ValueError("odd"), 70, "ValueError"),
    ],
)
def test_errors_of_the_machine_are_told_sensibly(error: Exception, code: int, word: str) -> None:
    """Each has a code, a message and a next step."""
    known = as_upswell_error(error)

    assert isinstance(known, UpswellError)
    assert code == known.exit_code
    assert word in known.message
    assert known.hint


def test_a_sound_state_verifies_with_0_and_a_changed_one_with_1(
    upswell: Upswell, tmp_path: Path
) -> None:
    """``state verify`` says what is wrong."""
    paths = write_inputs(tmp_path)
    upswell(*paths, "--once")

    assert "sound" in upswell("state", "verify", "--output", "out").stdout
    (rejects,) = (tmp_path / "out" / ".upswell" / "rejects").iterdir()
    rejects.write_bytes(rejects.read_bytes() + b"more\n")
    assert rejects.name in upswell("state", "verify", "--output", "out", code=1).stdout


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_input_is_66(upswell: Upswell, tmp_path: Path) -> None:
    """Permissions are named, not only absence."""
    paths = write_inputs(tmp_path)
    (tmp_path / "rules").chmod(0)
    message, _ = complaint(upswell(*paths, "--once", code=66).stderr)
    (tmp_path / "rules").chmod(0o700)

    assert "Permission denied" in message


@pytest.mark.parametrize(
    "word",
    [
        "",
        "yesterday",
        "2-0-2-0-0-4-17",
        "20200417--",
        "2020-02-30",
        "20200417..",
        "\u0662\u0660\u0662\u0660-04-17",
    ],
)
def test_a_day_that_is_none_is_a_slip_in_every_command(word: str) -> None:
    """Nothing is guessed or left out: the option is named, and an example that is not masked."""
    for words in (
        ["explain", "0126545098"],
        ["reconcile"],
        ["sent"],
        ["rejects"],
        ["whatif"],
        ["effect"],
    ):
        done = CliRunner().invoke(commands, [*words, "--day", word, "--output", "out"])
        assert 2 == done.exit_code, words
        assert "'--day': write a day as 2020-04-17, with or without dashes" in done.stderr


@pytest.mark.parametrize("asked", ["--log-format json", "--log-format=json", "variable", "file"])
def test_a_log_of_json_ends_with_its_error_as_json(
    upswell: Upswell, tmp_path: Path, asked: str
) -> None:
    """Whoever parses the log finds code, message and next step in its last line, and nothing that is no JSON."""
    paths = write_inputs(tmp_path)
    write(tmp_path / "out", "in the way")
    words, variables = asked.split() if asked.startswith("--") else [], {}
    if asked == "variable":
        variables = {"UPSWELL_LOG_FORMAT": "json"}
    if asked == "file":
        write(tmp_path / "upswell.toml", 'log_format = "json"')
    lines = upswell(*paths, *words, "--once", code=73, **variables).stderr.splitlines()
    told = [json.loads(line) for line in lines]

    assert ("error", 73) == (told[-1]["event"], told[-1]["code"])
    assert "out" in told[-1]["message"]
    assert told[-1]["hint"]
    assert 1 == len([each for each in told if each["event"] == "error"])


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["run", "a", "b", "--log-format", "json"], 2),
        (["a", "b", "c", "d", "--log-format=json"], 66),
    ],
)
def test_settings_that_never_came_to_be_are_told_as_json(
    upswell: Upswell, words: list[str], code: int
) -> None:
    """An error before the run has its settings is told as the words ask for; other commands speak to people."""
    (line,) = upswell(*words, code=code).stderr.splitlines()

    assert ("error", code) == (json.loads(line)["event"], json.loads(line)["code"])
    assert complaint(upswell("status", "--output", "x", code=66, UPSWELL_LOG_FORMAT="json").stderr)[
        0
    ]
