"""The commands in the documentation do what it says: each ``console`` block is run, and its output compared.

The blocks of one file are one session, in a directory that holds a copy of examples/ and nothing else. Of blocks fenced
``sh`` those of docs/operations.md are run by ``test_procedures.py``; others are shown and not run.
"""

import shutil
import subprocess
from pathlib import Path

import pytest

from support.command import ROOT
from support.page_commands import blocks, same, steps, with_upswell_on_path

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
WITH_STEPS = [page for page in PAGES if any(steps(page))]


@pytest.mark.timeout(180)  # a page is a session of many commands, each a process that starts anew
@pytest.mark.parametrize("page", WITH_STEPS, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_commands_of_a_page_run_and_print_what_it_says(page: Path, tmp_path: Path) -> None:
    """Every command ends with 0 and, where the page shows its output, prints that."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    environment = with_upswell_on_path()
    for step in steps(page):
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
        f"{page.relative_to(ROOT)}: {block.text[:40]!r}"
        for page in PAGES
        for block in blocks(page)
        if block.language == "console" and not block.text.startswith("$ ")
    ]

    assert [] == empty
