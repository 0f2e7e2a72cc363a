"""The command line explains itself: help with examples everywhere, in the docs too, without a slow start."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from support.child import run
from support.command import ROOT
from support.inputs import write_inputs
from upswell import errors
from upswell.cli.main import COMMANDS, EXIT_CODES, commands
from upswell.config.settings import FIELDS

DOCS = ROOT / "docs" / "cli.md"
HEAD = """\
# Command line

The help of every command, as `--help` prints it.
This page is made from it: after a change run `UPSWELL_UPDATE_DOCS=1 python -m pytest tests/cli/test_help.py`.
"""


def words_of_commands() -> list[tuple[str, ...]]:
    """The words of every command, the commands of groups included."""
    context = click.Context(commands)
    found: list[tuple[str, ...]] = [()]
    for name in COMMANDS:
        found.append((name,))
        command = commands.get_command(context, name)
        if isinstance(command, click.Group):
            found += [(name, below) for below in command.list_commands(context)]
    return found


def help_of(*words: str) -> str:
    """What ``--help`` prints, on a terminal of 100 columns."""
    result = CliRunner(env={"COLUMNS": "100"}).invoke(commands, [*words, "--help"])
    assert 0 == result.exit_code, result.output
    return result.output


@pytest.mark.parametrize("words", words_of_commands(), ids=" ".join)
def test_every_command_has_help_with_examples(words: tuple[str, ...]) -> None:
    """Each says what it does, and shows how it is called; -h is the same."""
    text = help_of(*words)

    assert "Examples:" in text
    assert text == CliRunner(env={"COLUMNS": "100"}).invoke(commands, [*words, "-h"]).output


def examples() -> list[str]:
    """The examples of every help, without what they pipe into and what they say about themselves."""
    lines = [
        line[2:].partition("   ")[0].partition(" | ")[0]
        for words in words_of_commands()
        for line in help_of(*words).partition("Examples:\n")[2].splitlines()
        if line.startswith("  ")
    ]
    return sorted({line for line in lines if line.startswith("upswell ")})


@pytest.mark.parametrize("example", examples())
def test_every_example_is_understood(example: str) -> None:
    """An example that is copied from the help names a command and options that exist."""
    words = shlex.split(example)[1:]
    command: click.Command | None = commands
    while isinstance(command, click.Group):
        context = click.Context(command)
        name = words.pop(0) if words[0] in command.list_commands(context) else "run"
        command = command.get_command(context, name)

    assert command is not None
    command.make_parser(click.Context(command)).parse_args(words)


def test_every_setting_is_an_option_of_run() -> None:
    """A field of the settings can be set by a flag, and run's flags are fields."""
    run = commands.get_command(click.Context(commands), "run")
    assert run is not None
    own = {"config", "as_json", "verbose", "debug"}

    assert set(FIELDS) == {parameter.name for parameter in run.params} - own


def test_every_exit_code_is_told() -> None:
    """The help's table holds the code of every error, and no other but those of signals and checks."""
    codes = {kind.exit_code for kind in vars(errors).values() if isinstance(kind, type)}

    assert codes | {0, 1, 129, 130, 143} == set(EXIT_CODES)
    assert all(f"\n  {code} " in help_of() for code in EXIT_CODES)


def test_the_docs_hold_the_help() -> None:
    """docs/cli.md is what the commands print."""
    parts = [HEAD]
    for words in words_of_commands():
        title = " ".join(("upswell", *words))
        parts.append(f"## {title}\n\n```text\n{help_of(*words)}```\n")
    expected = "\n".join(parts)
    if os.environ.get("UPSWELL_UPDATE_DOCS"):
        DOCS.write_text(expected, "utf-8")

    assert expected == DOCS.read_text("utf-8")


def modules_after(*words: str) -> set[str]:
    """The modules that a fresh interpreter holds when the command has ended."""
    code = (
        "import json, sys\nfrom upswell.cli.main import commands\n"
        f"try: commands.main({list(words)!r})\nexcept SystemExit: pass\n"
        "print('\\n' + json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_help_imports_nothing_heavy() -> None:
    """``upswell --help`` starts near Python's own speed."""
    heavy = {
        "rich",
        "watchfiles",
        "sqlite3",
        "asyncio",
        "upswell.kernel",
        "upswell.engine.run",
        "json.tool",
    }

    assert not heavy & modules_after("--help")
    assert not heavy & modules_after("run", "--help")


def test_a_command_imports_only_what_it_needs(tmp_path: Path) -> None:
    """Making rules needs no database, no watcher and no terminal library."""
    heavy = {"rich", "watchfiles", "sqlite3", "upswell.kernel", "upswell.engine.run"}

    assert not heavy & modules_after("generate", "rules", str(tmp_path / "rules"))


def test_json_and_csv_come_without_the_drawing_library(tmp_path: Path) -> None:
    """A program that asks for data pays for no table."""
    run(*write_inputs(tmp_path), "--once", "--settle-s", "0", cwd=tmp_path)
    for words in (
        ("status", "--json"),
        ("sent", "--json"),
        ("sent", "--csv"),
        ("rejects", "--csv"),
        ("state", "show", "--json"),
    ):
        assert "rich" not in modules_after(*words, "--output", str(tmp_path / "out")), words


def test_the_version_is_printed() -> None:
    """``--version`` names the program and its version."""
    import upswell

    assert f"upswell {upswell.__version__}\n" == CliRunner().invoke(commands, ["--version"]).output
