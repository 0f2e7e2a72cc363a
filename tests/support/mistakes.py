"""Mistakes that could be made in the protocol, and how each is made in a copy of the sources.

``mistakes.toml`` names the code that a mistake replaces by module, function and what it says, never by its line: a
mistake outlives whatever else changes in the module. Code that cannot be found, or is found twice, is an error that
says how to mend the mistake; nothing else is ever replaced in its stead.
"""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path
from textwrap import indent
from typing import NamedTuple

from support.command import ROOT

FILE = ROOT / "tests/campaigns/suite/mistakes.toml"


class UnfitError(Exception):
    """A mistake that the sources have no place for; the text says how to mend it."""


class Change(NamedTuple):
    """One piece of code, and what stands there instead."""

    module: str
    """Dotted path below ``upswell``."""
    by: str
    """Empty: the statements are deleted."""
    replace: str = ""
    """An expression, or consecutive statements."""
    replace_in_string: str = ""
    """Instead of ``replace``: a piece of a string literal."""
    function: str = ""
    """Qualified name of the function or class; empty: the whole module."""


class Mistake(NamedTuple):
    """What is wrong, the test that must say so, and the changes that make it."""

    name: str
    what: str
    caught_by: str
    changes: tuple[Change, ...]


class _Place(NamedTuple):
    """What is replaced, as offsets in the encoded source, and the text that stands there instead."""

    start: int
    end: int
    text: str


def read(path: Path = FILE) -> list[Mistake]:
    """Return the mistakes in the order of their names."""
    mistakes = []
    for name, table in sorted(tomllib.loads(path.read_text("utf-8")).items()):
        what, caught_by = table.pop("what"), table.pop("caught_by")
        changes = table.pop("also", [])
        mistakes.append(
            Mistake(name, what, caught_by, tuple(Change(**each) for each in (table, *changes)))
        )
    return mistakes


def changed(mistake: Mistake, package: Path) -> dict[Path, str]:
    """Return the new sources of the modules of this package that a mistake changes.

    Raises UnfitError when the sources have no place for it.
    """
    sources: dict[Path, str] = {}
    for change in mistake.changes:
        path = package.joinpath(*change.module.split(".")).with_suffix(".py")
        if not path.exists():
            raise UnfitError(
                f"{mistake.name}: there is no module upswell.{change.module}; give the one that has"
                f" {change.function or 'this code'} now as `module` in {FILE.name}"
            )
        try:
            sources[path] = apply(sources.get(path) or path.read_text("utf-8"), change)
        except UnfitError as error:
            raise UnfitError(f"{mistake.name}: {error} in {FILE.name}") from None
    return sources


def apply(source: str, change: Change) -> str:
    """Return a module's source with the change made.

    Raises UnfitError when the function does not exist, or has the code that is replaced not exactly once.
    """
    tree = ast.parse(source)
    scopes = list(_scopes(tree, change.function)) if change.function else [tree]
    if not scopes:
        raise UnfitError(
            f"upswell.{change.module} has no {change.function}; give the function that does this now as"
            " `function`, and its module as `module`,"
        )
    lines = source.encode().splitlines(keepends=True)
    places = [place for scope in scopes for place in _places(lines, scope, change)]
    if len(places) != 1:
        key = "replace" if change.replace else "replace_in_string"
        mend = "more of the code around it" if places else "what the code says now"
        where = f"{change.function} of " if change.function else ""
        raise UnfitError(
            f"{where}upswell.{change.module} has this {len(places)} times, not once:"
            f" {change.replace or change.replace_in_string!r}; give {mend} as `{key}`"
        )
    start, end, text = places[0]
    content = b"".join(lines)
    return (content[:start] + text.encode() + content[end:]).decode()


def _scopes(tree: ast.AST, name: str) -> Iterator[ast.AST]:
    """Yield the definitions of this qualified name: several of a property with a setter, or of overloads."""
    first, _, rest = name.partition(".")
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if node.name == first:
                yield from _scopes(node, rest) if rest else (node,)
        elif isinstance(node, ast.stmt):
            yield from _scopes(node, name)


def _places(lines: list[bytes], scope: ast.AST, change: Change) -> Iterator[_Place]:
    """Yield every place that the change may mean."""
    if not change.replace:
        return _in_strings(lines, scope, change)
    if _is_expression(change.replace) and _is_expression(change.by):
        return _expressions(lines, scope, change)
    return _statements(lines, scope, change)


def _in_strings(lines: list[bytes], scope: ast.AST, change: Change) -> Iterator[_Place]:
    piece = change.replace_in_string
    for node in _walk(scope):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = repr(node.value.replace(piece, change.by))
            for _ in range(node.value.count(piece)):
                yield _Place(*_span(lines, node, node), text)


def _expressions(lines: list[bytes], scope: ast.AST, change: Change) -> Iterator[_Place]:
    wanted = ast.unparse(ast.parse(f"({change.replace}\n)", mode="eval"))
    for node in _walk(scope):
        if isinstance(node, ast.expr) and ast.unparse(node) == wanted:
            yield _Place(*_span(lines, node, node), f"({change.by})")


def _statements(lines: list[bytes], scope: ast.AST, change: Change) -> Iterator[_Place]:
    old = _parsed(change.replace)
    wanted, length = ast.unparse(old), len(old.body)
    for node in _walk(scope):
        for _, block in ast.iter_fields(node):
            if not isinstance(block, list):
                continue
            for at in range(len(block) - length + 1):
                run = block[at : at + length]
                if not isinstance(run[0], ast.stmt) or ast.unparse(ast.Module(run, [])) != wanted:
                    continue
                margin = " " * run[0].col_offset
                left = "pass" if length == len(block) else ""
                text = indent(ast.unparse(_parsed(change.by)) or left, margin).lstrip(" ")
                yield _Place(*_span(lines, run[0], run[-1]), text)


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    """Yield a node and those below it, but not what is in an f-string, whose parts have no offsets in Python 3.11."""
    yield node
    if not isinstance(node, ast.JoinedStr):
        for child in ast.iter_child_nodes(node):
            yield from _walk(child)


def _span(
    lines: list[bytes], first: ast.expr | ast.stmt, last: ast.expr | ast.stmt
) -> tuple[int, int]:
    """Return the offsets of the first node's beginning and of the last one's end."""
    assert last.end_lineno is not None
    assert last.end_col_offset is not None
    start = sum(map(len, lines[: first.lineno - 1])) + first.col_offset
    return start, sum(map(len, lines[: last.end_lineno - 1])) + last.end_col_offset


def _parsed(text: str) -> ast.Module:
    """Return the code of a change as statements. An expression over several lines needs no parentheses."""
    return ast.parse(f"({text}\n)" if _is_expression(text) else text)


def _is_expression(text: str) -> bool:
    try:
        ast.parse(f"({text}\n)", mode="eval")
    except SyntaxError:
        return False
    return bool(text)
