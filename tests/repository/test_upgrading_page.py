"""docs/upgrading.md quotes what the program says: its messages, exit codes, reasons of held files and alerts."""

import ast
import re
from functools import cache
from itertools import chain
from pathlib import Path

from support.command import ROOT
from upswell import errors

PAGE = ROOT / "docs" / "upgrading.md"
PACKAGE = ROOT / "src" / "upswell"
CODES = {
    name: value.exit_code
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, errors.UpswellError)
}
"""The exit code of each error, by the name of its class."""
_HELD_BY = {"hold": 1, "hold_changed": 2}
"""The argument of a call that is the reason of a held file, by the function's name."""
_QUOTED = re.compile(r'"([^"]+)"')


def rows(page: Path, heading: str) -> list[list[str]]:
    """Return the cells of all tables below a heading of the second level, without those of their heads."""
    section = re.split(r"^## ", page.read_text("utf-8"), flags=re.MULTILINE)
    (text,) = [each for each in section if each.startswith(f"{heading}\n")]
    tables = re.findall(r"^\|.*\n\|[-|]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for table in tables
        for line in table.splitlines()
    ]


def rendered(node: ast.expr) -> str:
    """Return a string of the source as a reader sees it, with … for each value in it; "" for what is no string."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if not isinstance(node, ast.JoinedStr):
        return ""
    return "".join(rendered(each) or "…" for each in node.values)


@cache
def nodes() -> dict[str, list[ast.AST]]:
    """Return the nodes of each source of the package, by its path in there."""
    return {
        str(file.relative_to(PACKAGE)): list(ast.walk(ast.parse(file.read_text("utf-8"))))
        for file in sorted(PACKAGE.rglob("*.py"))
    }


def strings(of: list[ast.AST]) -> list[str]:
    """Return the strings among these nodes."""
    return [
        text
        for node in of
        if isinstance(node, ast.Constant | ast.JoinedStr) and (text := rendered(node))
    ]


def has(message: str, texts: list[str]) -> bool:
    """Tell if each piece of a quoted message, between its …, stands in one of the texts."""
    return all(any(piece in text for text in texts) for piece in pieces(message))


def pieces(message: str) -> list[str]:
    """Return what stands between the … of a message, without the marks at its ends that may be others' too."""
    return [piece for each in message.split("…") if (piece := each.strip(" :;,?()="))]


def raised(of: list[ast.AST]) -> list[tuple[int, str]]:
    """Return the exit code and message of each error that is made with a message in its place."""
    return [
        (CODES[node.func.id], text)
        for node in of
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        if node.func.id in CODES and node.args and (text := rendered(node.args[0]))
    ]


def quoted() -> list[tuple[str, str]]:
    """Return each message that the page quotes, with the first cell of its row."""
    refused, warned = rows(PAGE, "What is refused"), rows(PAGE, "What is warned of")
    told = [(row[0], row[1]) for row in refused if row[0].isdecimal()]
    told += [(row[0], row[0]) for row in [*refused, *warned] if not row[0].isdecimal()]
    return [(first, message) for first, cell in told for message in _QUOTED.findall(cell)]


def held_reasons() -> set[str]:
    """Return every reason that the sources hold a file for."""
    found = set()
    for node in chain.from_iterable(
        of for file, of in nodes().items() if file.startswith("source/")
    ):
        if isinstance(node, ast.FunctionDef) and node.name in _HELD_BY:
            found |= {rendered(each) for each in node.args.defaults}
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            at = _HELD_BY.get(node.func.attr, len(node.args))
            found |= {rendered(each) for each in node.args[at : at + 1]}
    return found - {""}


def test_every_message_is_one_that_the_program_has() -> None:
    """Each quoted message stands in a module of the package, all of it in the same one."""
    modules = [strings(of) for of in nodes().values()]
    lost = [message for _, message in quoted() if not any(has(message, each) for each in modules)]

    assert len(quoted()) > 30
    assert [] == lost


def test_the_code_beside_a_message_is_that_of_its_error() -> None:
    """Where the message is that of an error as it is raised, the row has its exit code."""
    made = [error for of in nodes().values() for error in raised(of)]
    wrong = []
    for first, message in quoted():
        codes = {code for code, text in made if has(message, [text])}
        if first.isdecimal() and codes and int(first) not in codes:
            wrong.append((first, message, codes))

    assert [] == wrong


def test_every_refusal_of_swapped_paths_is_on_the_page() -> None:
    """Each error of the four paths has a row."""
    told = [message for _, message in quoted()]
    refusals = [text for _, text in raised(nodes()["engine/places.py"])]

    assert 5 == len(refusals)
    assert [] == [text for text in refusals if not any(has(each, [text]) for each in told)]


def test_every_reason_of_a_held_file_has_its_row_and_every_row_is_a_reason() -> None:
    """The pages for operators and the sources have the same closed list of reasons."""
    listed = [row[0].strip("`") for row in rows(PAGE, "Files that are held")]
    manual = [
        row[0]
        for row in rows(ROOT / "docs" / "operations.md", "Is every file in?")
        if row[0].startswith("`held`, `")
    ]

    assert held_reasons() == set(listed)
    assert len(listed) == len(set(listed))
    assert held_reasons() | {"held"} == {word for cell in manual for word in re.findall(r"`(\w+)`", cell)}  # fmt: skip


def test_alerts_and_the_page_s_codes_are_those_of_the_program() -> None:
    """An alert that is named is one of contrib/alerts.yml, and a code of HTTP one that the page answers with."""
    text = PAGE.read_text("utf-8")
    alerts = (ROOT / "contrib" / "alerts.yml").read_text("utf-8")
    server = nodes()["dashboard/server.py"]
    answers = {node.value for node in server if isinstance(node, ast.Constant)}
    codes = re.findall(r"^\| (4\d\d) \|", text, re.MULTILINE)

    assert [] == [name for name in re.findall(r"`(Upswell\w+)`", text) if f"alert: {name}\n" not in alerts]  # fmt: skip
    assert 3 == len(codes)
    assert {*map(int, codes)} <= answers
