"""Nothing that somebody may open in a spreadsheet begins a formula there, and rejects keep their bytes all the same."""

import codecs
import csv
import io
import json
import re
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import pytest

from support.child import run
from support.inputs import write_inputs
from support.law import published
from support.trust import Trust

STARTS = (
    "=",
    "+",
    "-",
    "@",
    "\t",
    "\r",
    "\0",
    '"=',
    '"+',
    '"',
    " =",
    "\\=",
    "\xef\xbc\x9d",
    "%",
    "|",
)
PAYLOADS = ("1+1", "cmd|' /C calc'!A0", 'HYPERLINK("http://x/")', "SUM(A1:A9)", "0126545098")
FIELDS = range(4)
RECORD = ("0126545098", "1", "315", "20200417193743")
CASES = list(product(STARTS, PAYLOADS, FIELDS))
FORMULA = re.compile(r"[=+\-@\t\r]")


def line(start: str, payload: str, field: int) -> bytes:
    """A line of DATA with that field poisoned."""
    fields = list(RECORD)
    fields[field] = start + payload.replace(",", "")
    return ",".join(fields).encode("latin-1")


def unescape(text: str) -> bytes:
    r"""The bytes of an escaped field, as docs/operations.md says: ``\xNN`` and a doubled backslash."""
    content, _ = codecs.escape_decode(text.encode("ascii"))
    return bytes(content)


def cells(text: str) -> list[list[str]]:
    """What a spreadsheet makes of it: tabs separate, and a quoted cell may hold anything."""
    return list(csv.reader(io.StringIO(text, newline=""), dialect="excel-tab"))


@pytest.mark.trust("S3")
def test_no_cell_is_a_formula(trust: Trust, tmp_path: Path) -> None:
    """Whatever field of a line begins like a formula, no cell of the rejects does, the raw line can be told from its
    reject to the byte, and OUTPUT holds digits alone.
    """

    def attempt(cases: Sequence[tuple[str, str, int]]) -> list[str]:
        lines = [line(*case) for case in cases]
        paths = write_inputs(tmp_path, b"\n".join((*lines, ",".join(RECORD).encode())) + b"\n")
        ended = run(*paths, "--once", "--settle-s", "0", "--state", "state", cwd=tmp_path)
        assert 0 == ended.code, ended.err
        (file,) = (tmp_path / "state" / "rejects").iterdir()
        text = file.read_text("ascii")
        rows = [row.split("\t") for row in text.removesuffix("\n").split("\n")]
        raw = {int(row[1]): unescape(row[5]) for row in rows}
        wrong = [
            f"a formula: {cell!r}" for row in cells(text) for cell in row if FORMULA.match(cell)
        ]
        wrong += [f"a cell holds a line: {row!r}" for row in cells(text) if len(row) != 6]
        for number, content in enumerate(lines, 1):
            # A + before digits is a dial as it should be.
            if number in raw and raw[number] != content.removesuffix(b"\r"):
                wrong.append(f"{content!r} became {raw[number]!r}")
        rejected = json.loads(run("status", "--state", "state", "--json", cwd=tmp_path).out)[
            "outcomes"
        ]["rejected"]
        if rejected != len(raw) or not raw:
            wrong.append(f"{rejected} rejects, {len(raw)} written")
        for content in published(tmp_path / "out").values():
            wrong += [
                f"OUTPUT: {each!r}"
                for each in content.split(b"\n")
                if not re.fullmatch(rb"\+?[0-9,]*", each)
            ]
        return wrong

    trust(CASES, attempt, case="poisoned fields", sample=len(CASES), chunk=len(CASES))


def test_an_application_named_like_a_formula_has_no_directory_like_one(tmp_path: Path) -> None:
    """A list of OUTPUT's directories is safe in a spreadsheet, too, but for a name that begins with a hyphen."""
    names = ("=1+1", "+1", "@SUM(A1)")
    rules = "".join(f'{number},"{name}",0,24,0\n' for number, name in enumerate(names, 1))
    records = "".join(f"0126545098,{number},5,20200417193743\n" for number in (1, 2, 3))
    ended = run(
        *write_inputs(tmp_path, records, rules=rules), "--once", "--settle-s", "0", cwd=tmp_path
    )

    assert 0 == ended.code, ended.err
    assert ["%2B1", "%3D1%2B1", "%40SUM%28A1%29"] == list(published(tmp_path / "out"))
