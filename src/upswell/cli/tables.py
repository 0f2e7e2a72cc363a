"""Rows in the form the reader wants: a table for people, CSV, or one JSON object per line.

Owns the options ``--csv`` and ``--json`` of the commands that list rows, and how a row is written in each form. It
prints nothing itself. Tables are drawn by rich, which is imported only then. No cell is ever cut: on a narrow terminal
long cells are folded, and a pipe or a file gets one line per row, however long. No cell of CSV begins a formula.
"""

import io
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TextIO

import click

from upswell.privacy import cell, escape

if TYPE_CHECKING:
    from rich.console import RenderableType

Form = Literal["text", "csv", "json"]
_UNLIMITED = 1_000_000  # characters: more than a row can have


class Table(NamedTuple):
    """Rows with the same number of cells, drawn in columns and indented by two blanks."""

    rows: Sequence[Sequence[str]]
    numbers: Collection[int] = ()
    """Indexes of the columns that are aligned to the right."""

    def renderable(self, *, folded: bool = True) -> "RenderableType":
        """Return the table for rich, with escaped cells. ``folded``: a cell may take several lines."""
        from rich.padding import Padding
        from rich.table import Table as Grid
        from rich.text import Text

        grid = Grid.grid(padding=(0, 2, 0, 0))
        rows = [[escape(text) for text in row] for row in self.rows]
        for at in range(len(rows[0])):
            grid.add_column(
                justify="right" if at in self.numbers else "left",
                overflow="fold",
                no_wrap=not folded,
            )
        if not folded:
            # Rich takes a millisecond a row, and there may be thousands: each column becomes one cell of many lines.
            rows = [["\n".join(column) for column in zip(*rows, strict=True)]]
        for row in rows:
            grid.add_row(*map(Text, row))
        return Padding(grid, (0, 0, 0, 2), expand=False)

    def lines(self, stream: TextIO) -> list[str]:
        """Return the escaped lines to write to ``stream``, without trailing blanks."""
        from rich.console import Console

        terminal = stream.isatty()
        drawn = io.StringIO()
        console = Console(
            file=drawn,  # not the stream, which rich would flush before anything is written
            width=Console(file=stream).width if terminal else _UNLIMITED,
            color_system=None,
            highlight=False,
            markup=False,
            emoji=False,
        )
        console.print(self.renderable(folded=terminal))
        return [line.rstrip() for line in drawn.getvalue().splitlines()]


Part = str | Table
"""A line or a table that a command prints for people."""


def count_table(rows: Iterable[tuple[str, int, str]]) -> Table:
    """Return a table of names, counts and explanations."""
    return Table([(name, f"{n:,}", words) for name, n, words in rows], numbers=(1,))


def forms(function: Any) -> Any:
    """Add the options ``--csv`` and ``--json``, passed to the command as ``as_csv`` and ``as_json``."""
    for option in (
        click.option(
            "--json", "as_json", is_flag=True, help="Write JSON: one object, or one for each row."
        ),
        click.option("--csv", "as_csv", is_flag=True, help="Write CSV with a header."),
    ):
        function = option(function)
    return function


def form(as_csv: bool, as_json: bool) -> Form:
    """Return the chosen form. Raises click.UsageError if both options were given."""
    if as_csv and as_json:
        raise click.UsageError("--csv and --json cannot be combined")
    return "csv" if as_csv else "json" if as_json else "text"


def as_csv(names: Iterable[str], rows: Iterable[Iterable[object]]) -> Iterator[str]:
    """Yield the header and the rows as lines of CSV (RFC 4180), without line ends."""
    yield _csv_line(names)
    for row in rows:
        yield _csv_line(row)


def as_json(rows: Iterable[Mapping[str, object]]) -> Iterator[str]:
    """Yield each row as a JSON object on one line, in ASCII."""
    for row in rows:
        yield json.dumps(row)


def _csv_line(values: Iterable[object]) -> str:
    import csv

    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow([cell(str(value)) for value in values])
    return text.getvalue()
