"""Untrusted text cannot steer a terminal nor forge a line of a log, wherever it comes from."""

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import product
from pathlib import Path

import pytest

from support.child import Ended, each, run
from support.inputs import RECORDS, RULES, write, write_inputs
from support.trust import Trust

CONTROLS = (
    *("\n", "\r", "\r\n", "\x1b[31m", "\x1b]0;", "\x1b[2J", "\x1b[?25l", "\x1bP", "\x1b[6n", "\0", "\a", "\b", "\t"),
    *("\v", "\f", "\x7f", "\x0e", "\x80", "\x85", "\x90", "\x9b31m", "\x9d0;", "\u2028", "\u2029", "\u202e", "\u202a"),
    *("\u2066", "\u2069", "\u200e", "\u200f", "\u061c", "\u200b"),
    *("\ufeff", "\U000e0041", "\ue000", "\ufdd0", "\udcff", "\udc9b"),
)  # fmt: skip
MARK = "FORGED"
"""Follows each of them: a terminal or a log that took the control would show or begin a line with it."""
FIELDS = (
    "data",
    "data name",
    "application",
    "rule",
    "dial",
    "name of a file of RULES",
    "name of a file of SEGMENT",
)
WORDS = (
    "option",
    "variable",
    "toml value",
    "toml key",
    "output",
    "data argument",
    "extra word",
    "configuration file",
)
LOG_LINE = re.compile(
    rb'at=[0-9TZ:.-]+ event=(?:[^ ="\n]+|"[^\n]+")(?: [a-z_]+=(?:[^ ="\n]+|"(?:[^"\\\n]|\\.)*"))*'
)
COMPLAINT = re.compile(
    rb"error: [^\n]+|  next: [^\n]+|Traceback \(most recent call last\):|  +[^\n]+|[A-Za-z]+: [^\n]+"
)


def text(control: str) -> str:
    """What a stranger writes."""
    return f"x{control}{MARK}"


def spoil(place: Path, field: str, controls: Sequence[str]) -> list[str]:
    """The four paths, with these texts in one field of the inputs."""
    rules, segment, records = RULES, "0126545098\n", RECORDS
    marked = [text(control).replace('"', '""') for control in controls]
    if field == "application":
        rules += "".join(
            f'{n},"{one}",0,24,1\n{n},"{one} y",0,24,1\n' for n, one in enumerate(marked, 10)
        )
    if field == "rule":
        rules += "".join(
            f'1,"{one}",0,24,1\n"{one}",X,0,24,1\n9,Y,"{one}",24,1\n9,Y,0,24,"{one}"\n'
            for one in marked
        )
    if field == "dial":
        segment += "".join(f"{one}\n" for one in marked)
    if field == "data":
        records += "".join(f"0126545098,1,{one},20200417193743\n{one}\n" for one in marked)
    paths = write_inputs(
        place, *(each.encode("utf-8", "surrogateescape") for each in (records,)),
        rules=rules.encode("utf-8", "surrogateescape"), segment=segment.encode("utf-8", "surrogateescape"),
    )  # fmt: skip
    names = [one for one in marked if "\0" not in one]
    if field == "data name":
        for name in names:
            write(place / "data" / name, "x")
            write(place / "data" / f"DATA_202004171937.csv{name}", "x")
    if field.startswith("name of a file"):
        for name in names:
            write(place / field.rpartition(" ")[2].lower() / f"{name}.csv", "a,b,c1\n" * 3)
    return paths


def told_of(place: Path, field: str, controls: Sequence[str]) -> Iterator[Ended]:
    """All that tells of the inputs: text and JSON, to a log and to a terminal."""
    paths = spoil(place, field, controls)
    for terminal in (False, True):
        for words in (
            ("check", *paths), ("check", *paths, "--json"), (*paths, "--once", "--settle-s", "0", "-v"),
            ("status", "--output", "out", "--files"), ("status", "--output", "out", "--files", "--json"),
            ("state", "show", "--output", "out"),
        ):  # fmt: skip
            yield run(*words, cwd=place, terminal=terminal, COLUMNS="20000", TERM="xterm")


def told_for(place: Path, where: str, control: str) -> Iterator[Ended]:
    """What is told when it stands among the words, the variables or the settings."""
    paths = write_inputs(place)
    if "\0" in control and where not in ("toml value", "toml key"):
        return
    one = text(control)
    words: tuple[str, ...] = (*paths, "--once", "--settle-s", "0")
    variables: dict[str, str] = {}
    if where == "option":
        words = (*words, "--since", one)
    if where == "variable":
        variables = {"UPSWELL_DATA_TIMEZONE": one, "UPSWELL_STATE": one}
    if where == "extra word":
        words = (*words, one, f"--{one}")
    if where == "output":
        words = (*words[:3], f"{one}/{one}", *words[4:])
    if where == "data argument":
        words = (one, *words[1:])
    if where == "configuration file":
        words = (*words, "--config", one)
    if where.startswith("toml"):
        basic = (
            one.encode("unicode_escape").decode().replace("\\x", "\\u00").replace("\\udc", "\\u20")
        )
        line = f'poll_s = "{basic}"' if where == "toml value" else f'"{basic}" = 1'
        write(place / "upswell.toml", line)
    for terminal, debug in ((False, ()), (True, ()), (False, ("--debug",))):
        yield run(
            *words, *debug, cwd=place, terminal=terminal, COLUMNS="20000", TERM="xterm", **variables
        )


def complaints(ended: Ended, controls: Sequence[str]) -> Iterator[str]:
    """Raw controls, and lines that nobody of us began."""
    if ended.code == 70:
        yield f"internal error: {ended.err!r}"
    for control in controls:
        raw = f"{control}{MARK}".encode("utf-8", "surrogateescape")
        if raw in ended.told:
            yield f"{control!r} was written raw: {ended.told[max(ended.told.index(raw) - 80, 0) :][:160]!r}"
    for line in ended.told.split(b"\n"):
        if line.lstrip(b"\r").startswith(MARK.encode()):
            yield f"a line was forged: {line!r}"
    for line in ended.err.removesuffix(b"\n").split(b"\n") if ended.err else ():
        if not LOG_LINE.fullmatch(line) and not COMPLAINT.fullmatch(line):
            yield f"no line of a log: {line!r}"
    if ended.out.startswith(b"{") and not ended.err:
        json.loads(ended.out.removesuffix(b"\r\n"))


@pytest.mark.trust("S6")
def test_no_content_steers_a_terminal_or_a_log(trust: Trust, tmp_path: Path) -> None:
    """Control, direction and line characters in records, rules, dials and names of files reach neither a terminal nor a
    log as such: one event is one line, and all of it is printable.
    """

    def attempt(cases: Sequence[tuple[str, str]]) -> list[str]:
        def attempt_field(field: str) -> Iterator[str]:
            controls = [control for one, control in cases if one == field]
            for ended in told_of(tmp_path / field, field, controls) if controls else ():
                yield from complaints(ended, controls)

        return each(attempt_field, FIELDS)

    cases = list(product(FIELDS, CONTROLS))
    trust(cases, attempt, case="controls in fields", sample=len(cases) // 2, chunk=len(cases))


@pytest.mark.trust("S6")
def test_no_argument_steers_a_terminal_or_a_log(trust: Trust, tmp_path: Path) -> None:
    """The same in what an operator gives, or is made to give: arguments, options, variables and settings."""
    cases = list(product(WORDS, CONTROLS))

    def attempt(one: tuple[str, str]) -> Iterator[str]:
        place = tmp_path / str(cases.index(one))
        for ended in told_for(place, *one):
            yield from complaints(ended, [one[1]])
        shutil.rmtree(place)

    trust(cases, partial(each, attempt), case="controls in words", sample=10)
