r"""The commands of the documentation: a page's fenced blocks, and what its sessions show.

In a block fenced ``console``, a line that starts with ``$ `` is a command (a ``\\`` at its end joins the next line) and
the lines below it are what it prints on stdout; ``...`` stands for any text. A command without lines below may print
anything. A block fenced ``sh`` needs a world that a test builds around it: the test asks for it by its heading.
"""

import doctest
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from support.command import clean_environment

_BLOCK = re.compile(
    r"^#+ (?P<heading>[^\n]+)$|^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S
)


class Block(NamedTuple):
    """A fenced block of a page."""

    heading: str
    """The nearest heading above it."""
    language: str
    """Empty when the page names none."""
    text: str


class Step(NamedTuple):
    """A command of a page, and the output that the page shows."""

    command: str
    expected: str
    """Empty when the page shows none."""


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page, in order."""
    found, heading = [], ""
    for match in _BLOCK.finditer(page.read_text("utf-8")):
        if match["language"] is not None:
            found.append(Block(heading, match["language"], match["text"]))
        else:
            heading = match["heading"]
    return found


def blocks_under(page: Path, heading: str, language: str = "sh") -> list[str]:
    """Return the texts of the blocks of a language whose nearest heading is this one."""
    return [each.text for each in blocks(page) if each[:2] == (heading, language)]


def steps(page: Path) -> Iterator[Step]:
    """Yield the commands of a page's console blocks, in order."""
    for block in blocks(page):
        if block.language != "console":
            continue
        for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
            lines = part.splitlines(keepends=True)
            length = 1
            while lines[length - 1].endswith("\\\n"):
                length += 1
            yield Step("".join(lines[:length]).strip(), "".join(lines[length:]))


def same(expected: str, printed: str) -> bool:
    """Tell if the page shows what was printed; ``...`` matches anything, spaces at line ends do not count."""
    printed = re.sub(r"[ \t]+$", "", printed, flags=re.MULTILINE)
    return doctest.OutputChecker().check_output(expected, printed, doctest.ELLIPSIS)


def with_upswell_on_path() -> dict[str, str]:
    """Return an environment in which a shell finds this environment's ``upswell`` and ``python3``."""
    environment = clean_environment()
    return environment | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"}
