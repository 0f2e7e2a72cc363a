"""Prose in Markdown stands one sentence a line, so that a change of a word is a change of a line.

Paragraphs and list items are prose. Headings, tables, fenced blocks and HTML are not, nor are benchmarks' results.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.command import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "contrib" / "README.md"])
_NO_PROSE = re.compile(r"\s*(#|\||<|!\[)")
_ITEM = re.compile(r"\s*(?:[-*]|\d+\.)\s+")
_QUOTE = re.compile(r"\s*>\s?")
_CODE = re.compile(r"(`+).+?\1|\]\([^)]*\)")
_ABBREVIATION = re.compile(r"\b(e\.g|i\.e|vs)\.")
_CLOSERS = r"[\"')\]*_]"
# After a quotation or parenthesis a small letter goes on with the sentence around it.
_END_WITHIN = re.compile(rf"[.!?][*_]*\s+\S|[.!?]{_CLOSERS}+\s+[^a-z\s]")
_END = re.compile(rf"[.!?:]{_CLOSERS}*$")
_FENCED = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


def paragraphs(text: str) -> Iterator[list[tuple[int, str]]]:
    """Yield the paragraphs and list items of a page, each as its lines with their numbers, without markers."""
    lines: list[tuple[int, str]] = []
    fenced = False
    for number, line in enumerate(text.splitlines(), 1):
        fence = line.lstrip().startswith("```")
        item = _ITEM.match(line)
        if fence or fenced or item or not line.strip() or _NO_PROSE.match(line):
            if lines:
                yield lines
            lines = []
        if fence:
            fenced = not fenced
        elif not fenced and line.strip() and not _NO_PROSE.match(line):
            marker = item or _QUOTE.match(line)
            lines.append((number, line[marker.end() :] if marker else line.strip()))
    if lines:
        yield lines


def faults(text: str) -> list[int]:
    """Return the numbers of the lines that hold two sentences, or end within one that goes on in the next."""
    found = []
    for lines in paragraphs(text):
        for number, line in lines:
            plain = _ABBREVIATION.sub(r"\1", _CODE.sub("x", line)).rstrip()
            broken = number != lines[-1][0] and not _END.search(plain)
            if broken or _END_WITHIN.search(plain):
                found.append(number)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_line_of_prose_is_a_sentence(page: Path) -> None:
    """No line holds two sentences, and no sentence runs over two lines."""
    assert [] == faults(page.read_text("utf-8"))


def test_two_sentences_in_a_line_and_one_in_two_are_found() -> None:
    """Lists count as prose; code, tables and headings do not, and neither a path nor a figure ends a sentence."""
    assert [1] == faults("One. Two.\n")
    assert [3] == faults("# A. B.\n\n- **One.** `Two` goes.\n  Three.\n")
    assert [1] == faults("A sentence that\ngoes on.\n")
    assert [1] == faults("(One.) Two.\n")
    assert [] == faults('It asks ("Is it so?") and goes on.\n')
    assert [] == faults("It takes 0.3 s, e.g. `a. b`, in [x](y.md. z).\nAnd so:\n\n- on\n- off\n")
    assert [] == faults("```sh\na. b\n```\n| a. b | c |\n")


def anchors(page: Path) -> set[str]:
    """Return the names by which links find a page's headings, as GitHub makes them."""
    headings = _HEADING.findall(_FENCED.sub("", page.read_text("utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    """Each relative link names a file of the repository and, after its ``#``, one of that file's headings."""
    lost = []
    for link in _LINK.findall(_FENCED.sub("", page.read_text("utf-8"))):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = page.parent / file if file else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            lost.append(link)

    assert [] == lost
