"""Rows as what the reader wants them to be: columns for people, CSV, or one JSON object a line.

Owns the options ``--csv`` and ``--json`` of the commands that list, and how a row is written in each form. It prints
nothing itself. No cell of a CSV line begins a formula.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import click

from upswell.privacy import cell

Form = Literal["text", "csv", "json"]


def forms(function: Any) -> Any:
    """The options that choose how rows are written; the command gets them as ``as_csv`` and ``as_json``."""
    for option in (
        click.option(
            "--json", "as_json", is_flag=True, help="Write JSON: one object, or one for each row."
        ),
        click.option("--csv", "as_csv", is_flag=True, help="Write CSV with a header."),
    ):
        function = option(function)
    return function


def form(as_csv: bool, as_json: bool) -> Form:
    """The one that was chosen. Raises click.UsageError for both."""
    if as_csv and as_json:
        raise click.UsageError("--csv and --json exclude each other")
    return "csv" if as_csv else "json" if as_json else "text"


def as_csv(names: Iterable[str], rows: Iterable[Iterable[object]]) -> Iterator[str]:
    """The header and the rows as lines of CSV (RFC 4180, UTF-8, lines that end in a line feed)."""
    yield _csv_line(names)
    for row in rows:
        yield _csv_line(row)


def as_json(rows: Iterable[Mapping[str, object]]) -> Iterator[str]:
    """Each row as an object on a line of its own, in ASCII."""
    for row in rows:
        yield json.dumps(row)


def _csv_line(values: Iterable[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow([cell(str(value)) for value in values])
    return text.getvalue()
