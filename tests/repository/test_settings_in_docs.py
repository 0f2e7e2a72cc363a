"""Options, defaults and commands stand on the pages as the program has them."""

import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from support.command import ROOT
from upswell.cli.main import COMMANDS
from upswell.config.settings import Settings

PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
FOREIGN = {"--user", "--block-signal"}
"""Options of other programs that the pages name: docker's and env's."""
UNITS = {"": 1, "MiB": 1024**2, "GiB": 1024**3}
_CODE = re.compile(r"`([^`\n]+)`")
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
_DEFAULT = re.compile(r"`(?:--)?([a-z][a-z_-]+)(?: [A-Z]+)?` \(([0-9]+)(?: ([MG]iB))?\b")


def defaults_on(page: Path) -> Iterator[tuple[str, int]]:
    """Yield each setting that a page names with a number in parentheses, and that number in the setting's unit."""
    for name, number, unit in _DEFAULT.findall(page.read_text("utf-8")):
        yield name.replace("-", "_"), int(number) * UNITS[unit]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_options_on_a_page_exist(page: Path) -> None:
    """Each option in backticks is one that the help of some command has."""
    reference = (ROOT / "docs" / "cli.md").read_text("utf-8")
    named = {
        option
        for span in _CODE.findall(page.read_text("utf-8"))
        for option in _OPTION.findall(span)
    }

    assert set() == named - FOREIGN - set(_OPTION.findall(reference))


def test_defaults_on_the_pages_are_those_of_the_settings() -> None:
    """A number in parentheses after a setting is its default."""
    known = {field.name: field.default for field in fields(Settings)}
    told = [(name, value) for page in PAGES for name, value in defaults_on(page) if name in known]

    assert len(told) >= 8
    assert [] == [(name, value) for name, value in told if value != known[name]]


def test_the_readme_has_every_command() -> None:
    """README's table has a row for each command; ``run`` is the one without a word of its own."""
    readme = (ROOT / "README.md").read_text("utf-8")
    rows = set(re.findall(r"^\| `upswell ([a-z]+)", readme, re.MULTILINE))

    assert set(COMMANDS) - {"run"} == rows
