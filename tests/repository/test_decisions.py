"""The decisions have one form, no number is missing, and their index lists them all.

``UPSWELL_UPDATE_DOCS=1 python -m pytest`` with this file writes the index.
"""

import os
import re
from pathlib import Path

from support.command import ROOT

DECISIONS = ROOT / "docs" / "decisions"
PAGES = sorted(DECISIONS.glob("[0-9]*.md"))
INDEX_HEAD = """\
# Decisions

Each record is one paragraph: the decision, the alternative and the price.
A later decision that changes an earlier one rewrites its record; git has what it said before.

"""


def index_line(page: Path) -> str:
    """Return the line of the index for a decision."""
    number, _, title = page.read_text("utf-8").partition("\n")[0].removeprefix("# ").partition(". ")
    return f"- {number}: [{title}]({page.name})\n"


def test_the_decisions_are_numbered_without_a_gap() -> None:
    """The first is 0001, and each has the number after the one before it."""
    numbers = [f"{number:04}" for number in range(1, len(PAGES) + 1)]

    assert numbers == [page.name[:4] for page in PAGES]


def test_a_decision_is_a_header_and_one_paragraph() -> None:
    """Its header has its file's number, and its paragraph names what was not chosen and what the choice costs."""
    odd = []
    for page in PAGES:
        number = page.name[:4]
        form = rf"# {number}\. \S[^\n]*[^.\n]\n\n(?:\S[^\n]*\n)+"
        text = page.read_text("utf-8")
        if not re.fullmatch(form, text) or not all(
            word in text for word in ("lternative", "price")
        ):
            odd.append(page.name)

    assert [] == odd


def test_the_index_lists_every_decision() -> None:
    """docs/decisions/README.md has a line for each decision, with its title as its header has it."""
    index = DECISIONS / "README.md"
    expected = INDEX_HEAD + "".join(map(index_line, PAGES))
    if os.environ.get("UPSWELL_UPDATE_DOCS"):
        index.write_text(expected, "utf-8")

    assert expected == index.read_text("utf-8")
