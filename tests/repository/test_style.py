"""The code keeps habits that no tool of its own checks: names, docstrings, long files, the side of expected values."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from support.command import ROOT

PACKAGE = ROOT / "src" / "upswell"
TESTS = ROOT / "tests"
LONG_FILE_LINES = 350
LONG_FILE_REASON = "One file because "
OPENINGS = {"Whether", "What", "Where", "Which", "Who", "How", "When", "As"}


def trees(folder: Path) -> Iterator[tuple[str, ast.Module]]:
    """Yield the Python files below a folder by their paths within it, parsed."""
    for path in sorted(folder.rglob("*.py")):
        yield str(path.relative_to(folder)), ast.parse(path.read_text("utf-8"))


def claims(test: ast.expr) -> Iterator[ast.Compare]:
    """Yield the comparisons that an assertion claims: those it is joined of, not the filters within them."""
    if isinstance(test, ast.BoolOp):
        for part in test.values:
            yield from claims(part)
    elif isinstance(test, ast.Compare):
        yield test


def is_literal(value: ast.expr) -> bool:
    """Tell if the expression is written out: a constant, or a collection of constants."""
    try:
        ast.literal_eval(value)
    except ValueError:
        return False
    return True


def test_no_two_classes_have_one_name() -> None:
    """A name means one thing in the whole package."""
    files = defaultdict(list)
    for name, tree in trees(PACKAGE):
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                files[node.name].append(name)

    assert {} == {name: where for name, where in files.items() if len(where) > 1}


def test_a_package_is_introduced_in_one_sentence() -> None:
    """The ``__init__`` of a folder holds its sentence and imports nothing; kernel's is the one door itself."""
    odd = []
    for name, tree in trees(PACKAGE):
        if not name.endswith("/__init__.py") or name == "kernel/__init__.py":
            continue
        sentence = ast.get_docstring(tree) or ""
        if len(tree.body) != 1 or not sentence.endswith(".") or ". " in sentence:
            odd.append(name)

    assert [] == odd


def test_a_long_file_says_why_it_is_one() -> None:
    """A file of more lines than fit in one sitting names at its top the one concept that holds it together."""
    silent = [
        name
        for name, tree in trees(PACKAGE)
        if len((PACKAGE / name).read_text("utf-8").splitlines()) > LONG_FILE_LINES
        and LONG_FILE_REASON not in (ast.get_docstring(tree) or "")
    ]

    assert [] == silent


def test_a_docstring_says_what_the_caller_gets() -> None:
    """A docstring is a statement, not the question that its function answers."""
    asked = [
        f"{name}:{node.lineno}"
        for name, tree in trees(PACKAGE)
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and (ast.get_docstring(node) or "-").split()[0] in OPENINGS
    ]

    assert [] == asked


def test_no_test_imports_a_test() -> None:
    """What two tests share stands in tests/support."""
    importers = []
    for name, tree in trees(TESTS):
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                modules = [f"{node.module or ''}.{alias.name}" for alias in node.names]
            else:
                continue
            parts = {part for module in modules for part in module.split(".")}
            if any(part.startswith("test_") or part == "tests" for part in parts):
                importers.append(f"{name}:{node.lineno}")

    assert [] == importers


def test_the_expected_value_stands_on_the_left() -> None:
    """In what a test claims to be equal, a value that is written out comes first, then what was made."""
    swapped = [
        f"{name}:{claim.lineno}"
        for name, tree in trees(TESTS)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assert)
        for claim in claims(node.test)
        if 1 == len(claim.ops)
        and isinstance(claim.ops[0], ast.Eq | ast.NotEq)
        and is_literal(claim.comparators[0])
        and not is_literal(claim.left)
    ]

    assert [] == swapped
