"""Tables for people: nothing of a cell is lost, whatever they are written to and whatever stands in them."""

import io
import sys

import pytest

from upswell.cli.tables import Table
from upswell.cli.terminal import say

ROWS = [("a name " + "long" * 60, "1,234", "word " * 60 + "end"), ("short", "5", "")]


class Terminal(io.StringIO):
    """What a terminal is to those who write to it."""

    def isatty(self) -> bool:
        return True


def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """The terminal of 60 columns that stdout is from here on."""
    opened = Terminal()
    monkeypatch.setattr(sys, "stdout", opened)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm")
    return opened


def test_nothing_is_cut_or_wrapped_outside_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipe and a file get a row on one line, whatever width the environment names."""
    monkeypatch.setenv("COLUMNS", "40")
    say("title", Table(ROWS, numbers=(1,)))
    wide = len(ROWS[0][0])

    assert [
        "title",
        f"  {ROWS[0][0]}  1,234  {ROWS[0][2]}",
        f"  {'short':<{wide}}      5",
    ] == capsys.readouterr().out.splitlines()


def test_a_terminal_folds_what_it_is_too_narrow_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """No line is longer than the terminal is wide, and each character of each cell is there."""
    opened = terminal(monkeypatch)
    say(Table(ROWS, numbers=(1,)))
    lines = opened.getvalue().splitlines()
    shown, expected = "".join(lines).replace(" ", ""), "".join(map("".join, ROWS)).replace(" ", "")

    assert all(len(line) <= 60 for line in lines)
    assert sorted(expected) == sorted(shown)


def test_no_cell_is_markup_or_steers_a_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What rich takes for styles and pictures, and control bytes, are shown as they were written."""
    table = Table([("[red]x[/red] :smile: \\[", "a\x1b[31mb\nc\u2028d\te")])

    assert [r"  [red]x[/red] :smile: \[  a\x1b[31mb\x0ac\u2028d\x09e"] == table.lines(io.StringIO())
    opened = terminal(monkeypatch)
    say(table)
    assert "\x1b" not in opened.getvalue()
    assert "[red]x[/red]" in opened.getvalue()
