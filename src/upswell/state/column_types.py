"""The types that values of the database must have when they are read back.

Owns the way from the schema to the types of each column. SQLite checks them when a row is written; a page that a disk
has changed may hold anything, and no reader must meet it as an exception of its own. It never runs a query.
"""

import re
import sqlite3
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from upswell.state.migrations import MIGRATIONS

_COLUMN = re.compile(r'"?(\w+)"? (INTEGER|TEXT|BLOB|ANY)\b([^,]*)')
_TYPES: dict[str, tuple[type, ...]] = {
    "INTEGER": (int,),
    "TEXT": (str,),
    "BLOB": (bytes,),
    "ANY": (str, bytes),
}
_OPTIONAL = type(None)
_ALIASES: dict[str, set[type]] = {"application_name": {str}}
"""Columns that a query names itself, as their own name has other types in another table."""
_AGGREGATE = re.compile(r"(?:max|min)\((\w+)\)")


def has_right_types(cursor: sqlite3.Cursor, rows: Sequence[Sequence[Any]], sql: str) -> bool:
    """Return whether every value that is a column of the schema has a type of that column.

    A column that an outer join leaves empty may be NULL. Expressions over columns are not checked, but for the least
    and greatest values.
    """
    outer = "LEFT JOIN" in sql
    expected = [_expected(name, outer) for name, *_ in cursor.description or ()]
    return all(
        types is None or types.issuperset(map(type, values))
        for types, values in zip(expected, zip(*rows, strict=True), strict=False)
    )


@cache
def _expected(name: str, optional: bool) -> frozenset[type] | None:
    """Return the types of a result's column of this name; None: it is none of the schema."""
    if aggregate := _AGGREGATE.fullmatch(name):
        return _expected(aggregate[1], True)
    types = _by_column().get(name)
    return None if types is None else frozenset(types | ({_OPTIONAL} if optional else set()))


@cache
def _by_column() -> dict[str, set[type]]:
    """Return the types of each column; those of tables that share its name together."""
    found: dict[str, set[type]] = {name: set(types) for name, types in _ALIASES.items()}
    for name, declared, constraints in _columns(
        statement for migration in MIGRATIONS for statement in migration.statements
    ):
        types = found.setdefault(name, set())
        types.update(_TYPES[declared])
        if "NOT NULL" not in constraints and "PRIMARY KEY" not in constraints:
            types.add(_OPTIONAL)
    return found


def _columns(statements: Iterable[str]) -> Iterable[tuple[str, str, str]]:
    for statement in statements:
        if statement.startswith("CREATE TABLE"):
            yield from _COLUMN.findall(statement)
