"""What the pages name is there: each path in all of them."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.command import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "contrib" / "README.md"])
MADE = {"bench/data/"}
"""Missing in a fresh clone."""

_FENCED = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")
_PATH = re.compile(r"(?:\.ci|bench|contrib|docs|examples|kernel|src|tests|tools)/[a-z0-9_./-]*")


def code_spans(page: Path) -> Iterator[str]:
    """Yield what stands in backticks on a page, outside of fenced blocks."""
    yield from _CODE.findall(_FENCED.sub("", page.read_text("utf-8")))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_paths_on_a_page_exist(page: Path) -> None:
    """A path that begins at the repository's root leads somewhere."""
    lost = [
        span
        for span in code_spans(page)
        if _PATH.fullmatch(span) and span not in MADE and not (ROOT / span).exists()
    ]

    assert [] == lost
