r"""The commands in the documentation do what it says: each ``console`` block is run, and its output compared.

In a block fenced ``console``, a line that starts with ``$ `` is a command (a ``\\`` at its end joins the next line) and
the lines below it are what it prints on stdout; ``...`` stands for any text. A command without lines below may print
anything. Blocks fenced ``sh`` are shown and not run. The blocks of one file are one session, in a directory that
holds a copy of examples/ and nothing else.
"""

import doctest
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from support.command import ROOT

BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


class Step(NamedTuple):
    """A command of a page, and the output that the page shows."""

    command: str
    expected: str
    """Empty when the page shows none."""


def steps(text: str) -> Iterator[Step]:
    """Yield the commands of a page's console blocks, in order."""
    for block in BLOCK.findall(text):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            lines = part.splitlines(keepends=True)
            length = 1
            while lines[length - 1].endswith("\\\n"):
                length += 1
            yield Step("".join(lines[:length]).strip(), "".join(lines[length:]))


def same(expected: str, printed: str) -> bool:
    """Tell if the page shows what was printed; ``...`` matches anything, spaces at line ends do not count."""
    printed = re.sub(r"[ \t]+$", "", printed, flags=re.MULTILINE)
    return doctest.OutputChecker().check_output(expected, printed, doctest.ELLIPSIS)


WITH_STEPS = [page for page in PAGES if any(steps(page.read_text("utf-8")))]


@pytest.mark.timeout(180)  # a page is a session of many commands, each a process that starts anew
@pytest.mark.parametrize("page", WITH_STEPS, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_commands_of_a_page_run_and_print_what_it_says(page: Path, tmp_path: Path) -> None:
    """Every command ends with 0 and, where the page shows its output, prints that."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("UPSWELL_")
    }
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    environment |= {"NO_COLOR": "1", "COLUMNS": "100"}
    for step in steps(page.read_text("utf-8")):
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", step.command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
        assert 0 == done.returncode, f"$ {step.command}\n{done.stdout}{done.stderr}"
        if step.expected:
            told = f"$ {step.command}\nsays:\n{step.expected}\nprinted:\n{done.stdout}"
            assert same(step.expected, done.stdout), told


def test_the_readme_has_commands_to_run() -> None:
    """A change of the convention must not make the page look empty."""
    assert ROOT / "README.md" in WITH_STEPS


def test_no_console_block_is_without_a_command() -> None:
    """A block whose ``$ `` was forgotten would never be run."""
    empty = [
        f"{page.relative_to(ROOT)}: {block[:40]!r}"
        for page in PAGES
        for block in BLOCK.findall(page.read_text("utf-8"))
        if not block.startswith("$ ")
    ]

    assert [] == empty
