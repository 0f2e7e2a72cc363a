"""What the pages name is there: each path in all of them; in ARCHITECTURE each file, function and class too.

ARCHITECTURE's map is made of the sources: ``UPSWELL_UPDATE_DOCS=1 python -m pytest`` with this file makes it anew.
"""

import ast
import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.command import ROOT

PACKAGE = ROOT / "src" / "upswell"
KERNEL = ROOT / "kernel" / "src"
ARCHITECTURE = ROOT / "ARCHITECTURE.md"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "contrib" / "README.md"])
MADE = {"bench/data/"}
"""Missing in a fresh clone."""

_FENCED = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")
_PATH = re.compile(r"(?:\.ci|bench|contrib|docs|examples|kernel|src|tests|tools)/[a-z0-9_./-]*")
_FILE = re.compile(r"[a-z0-9_./-]+(?:/|\.(?:js|md|properties|py|pyi|rs|toml|yml))")
_DOTTED = re.compile(r"[a-z_]+(?:\.[A-Za-z_]+)+")
_RUST = re.compile(r"[a-z_]+(?:::[A-Za-z_]+)+")


def code_spans(page: Path) -> Iterator[str]:
    """Yield what stands in backticks on a page, outside of fenced blocks."""
    yield from _CODE.findall(_FENCED.sub("", page.read_text("utf-8")))


def python_has(name: str) -> bool:
    """Tell if a dotted path below ``upswell`` is a module, or a definition in one."""
    parts = name.removeprefix("upswell.").split(".")
    for length in range(len(parts), 0, -1):
        base = PACKAGE.joinpath(*parts[:length])
        files = base / "__init__.py", base.with_suffix(".py"), base.with_suffix(".pyi")
        for file in filter(Path.is_file, files):
            return defines(ast.parse(file.read_text("utf-8")).body, parts[length:])
    return False


def defines(body: list[ast.stmt], names: list[str]) -> bool:
    """Tell if statements define the first name, and the body of that the next one, and so on."""
    if not names:
        return True
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if names[0] == node.name:
                return defines(node.body, names[1:])
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(each, ast.Name) and names[0] == each.id for each in targets):
                return not names[1:]
    return False


def rust_has(name: str) -> bool:
    """Tell if a path of the kernel is a file, or something that a file or its type's methods define."""
    parts = name.split("::")
    for length in range(len(parts), 0, -1):
        base = KERNEL.joinpath(*parts[:length])
        file = base / "mod.rs" if base.is_dir() else base.with_suffix(".rs")
        if file.is_file():
            code = file.read_text("utf-8")
            return all(
                re.search(rf"\b(?:fn|struct|enum|trait|type|const|mod) {part}\b", code)
                for part in parts[length:]
            )
    return False


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_paths_on_a_page_exist(page: Path) -> None:
    """A path that begins at the repository's root leads somewhere."""
    lost = [
        span
        for span in code_spans(page)
        if _PATH.fullmatch(span) and span not in MADE and not (ROOT / span).exists()
    ]

    assert [] == lost


def test_every_name_in_architecture_is_in_the_sources() -> None:
    """Each file, module, class, function and method that ARCHITECTURE names is found in the sources."""
    roots = (ROOT, PACKAGE, PACKAGE / "kernel", KERNEL, ROOT / "tests")
    lost = []
    for span in code_spans(ARCHITECTURE):
        if _FILE.fullmatch(span):
            found = any((root / span).exists() for root in roots)
        elif _DOTTED.fullmatch(span):
            found = python_has(span)
        elif _RUST.fullmatch(span):
            found = rust_has(span)
        else:
            continue
        if not found:
            lost.append(span)

    assert [] == lost


def sentence_of(text: str) -> str:
    """Return the first sentence of a docstring as Markdown has it; a doc comment of Rust is read without its marks."""
    text = " ".join(text.partition("\n\n")[0].split()).replace("``", "`")
    found = re.match(r".*?\.(?= [A-Z`]|$)", text)
    return found[0] if found else text


def python_map() -> str:
    """Return the table of the packages, in the order of imports, and of those within them."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    layers = [
        name.strip() for layer in contracts["contracts"][0]["layers"] for name in layer.split("|")
    ]
    rows = ["| package | |", "|---|---|"]
    for package in layers:
        for file in sorted((PACKAGE / package).rglob("__init__.py"), key=lambda file: file.parent):
            sentence = sentence_of(ast.get_docstring(ast.parse(file.read_text("utf-8"))) or "")
            rows.append(f"| `{file.parent.relative_to(PACKAGE)}/` | {sentence} |")
    return "\n".join(rows)


def top_map() -> str:
    """Return the table of the files beside the packages."""
    files = [path for path in sorted(PACKAGE.glob("*.py")) if not path.name.startswith("__")]
    rows = ["| file | |", "|---|---|"]
    for file in files:
        sentence = sentence_of(ast.get_docstring(ast.parse(file.read_text("utf-8"))) or "")
        rows.append(f"| `{file.name}` | {sentence} |")
    return "\n".join(rows)


def kernel_map() -> str:
    """Return the table of the kernel's folders."""
    rows = ["| folder | |", "|---|---|"]
    for file in sorted(KERNEL.glob("*/mod.rs")):
        lines = re.findall(r"^//! ?(.*)$", file.read_text("utf-8"), re.MULTILINE)
        rows.append(f"| `{file.parent.name}/` | {sentence_of(chr(10).join(lines))} |")
    return "\n".join(rows)


def test_the_map_has_the_sentences_of_the_sources() -> None:
    """ARCHITECTURE's tables list every package, file at the top and folder of the kernel, in the sources' own words."""
    text = ARCHITECTURE.read_text("utf-8")
    expected = text
    for table in (python_map(), top_map(), kernel_map()):
        head = re.escape(table.partition("\n")[0])
        expected = re.sub(
            rf"^{head}\n(?:\|.*\n)+", lambda _, new=table: f"{new}\n", expected, flags=re.MULTILINE
        )
    if os.environ.get("UPSWELL_UPDATE_DOCS"):
        ARCHITECTURE.write_text(expected, "utf-8")

    assert expected == text


def test_a_name_that_is_lost_is_found_out() -> None:
    """The check knows modules, functions, methods and constants from what only looks like them."""
    assert python_has("errors.ConfigError")
    assert not python_has("errors.NoSuchError")
    assert not python_has("nowhere.at_all")
    assert rust_has("scan::outcome::Outcome")
    assert not rust_has("scan::outcome::Nothing")
