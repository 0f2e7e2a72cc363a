"""Application names out of RULES: no name leads out of OUTPUT, and no two share a directory."""

import shutil
import unicodedata
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from support.child import each, run
from support.inputs import write, write_inputs
from support.law import published
from support.trust import Trust
from upswell.reference.application import directory_name
from upswell.reference.rules import DIRECTORY_BYTES_MAX, _fold

DIAL = "0126545098"
NAMES = (
    *("..", ".", "...", "../x", "../../x", "..\\x", "/etc/x", "//x", "/", "a/b", "a/../../b"),
    *("./x", "x/.", "x/.."),
    *("~", "~root", "$HOME", "`id`", "$(id)", "a;b", "a|b", "a&b", "*", "?", "[a]", "{a,b}"),
    *("<a>", "'", "''", "\\"),
    *("NUL\0x", "\0", "line\nbreak", "line\r\nbreak", "tab\tin", "bell\a", "\x1b[31mred", "\x7f"),
    *("\x85next", "\x9bcsi"),
    *("CON", "NUL", "COM1", "aux.txt", "dot.", "space x", "a:b", "C:\\x", "a%2fb", "%2e%2e"),
    *("%2e%2e%2f", "%", "%%", "a%"),
    *("-", "-rf", "--help", ".hidden", ".upswell", "staging", "output.id", "lost+found"),
    *("checkpoint.db", "begun-0000000001"),
    *("NOTIFY_0000000001_202004171937.csv", "directory.new", "=cmd|' /C calc'!A0", "+1+1", "-1+1"),
    *("@SUM(A1)", "=1+1"),
    *("\u202eevil", "\u2066isolate\u2069", "\u200bzero", "\ufeffmark", "\u2028line"),
    *("\u2029paragraph", "\u00adsoft"),
    *("\u0301", "\u0301\u0302\u0303", "e\u0301", "\u00e9", "Tw\u0456tter", "\u0422witter"),
    *("\uff0e\uff0e", "\uff0fx", "\u2024\u2024"),
    *("\u2215x", "\u2044x", "\U0001f4a9", "\U0001f468\u200d\U0001f469"),
    *("\u0648\u0627\u062a\u0633\u0627\u0628", "\u4f60\u597d"),
    *("\ue000private", "\ufffe", "\U000e0001tag", "\u1160"),
    *("x" * 200, "x" * 201, "x" * 300, "\u00e9" * 100, "\u00e9" * 101),
    *("/" * 66, "/" * 67, "\U0001f4a9" * 16, "\U0001f4a9" * 17, "", " ", "0", "-0"),
    *("\u0661\u0662", "a b  c", "Twitter"),
)  # fmt: skip
"""Names that mean something to a file system, a shell, a terminal, a spreadsheet or to us."""
TWINS = (
    ("Twitter", "twitter"),
    ("TWITTER", "Twitter"),
    ("e\u0301t\u00e9", "\u00c9t\u00c9"),
    ("stra\u00dfe", "STRASSE"),
    ("\ufb01x", "fix"),
    ("\u03c3", "\u03c2"),
    ("\u212a", "k"),
    ("\u01c6", "\u01c5"),
)
"""Names that a file system without cases, or with another Unicode form, would give one directory."""
DIFFERENT = (
    ("a/b", "a%2Fb"),
    (".a", "%2Ea"),
    ("..", "%2E."),
    ("Twitter", "Tw\u0456tter"),
    ("a b", "a_b"),
    ("%", "%25"),
)
"""Names that must not meet in one directory."""


def line(service: int, name: str) -> str:
    """A rule that any record of the service's fires."""
    quoted = name.replace('"', '""')
    return f'{service},"{quoted}",0,24,0\n'


def tree(root: Path) -> set[str]:
    """Every path below, the state's own left out."""
    return {
        str(path.relative_to(root))
        for path in root.rglob("*")
        if ".upswell" not in path.parts and not path.name.startswith(".upswell-begun-")
    }


def served(place: Path, names: Sequence[str]) -> tuple[bytes, list[str]]:
    """Run the program over a rule for each name; what it told, and the paths that it made."""
    shutil.rmtree(place, ignore_errors=True)
    rules = "".join(line(number, name) for number, name in enumerate(names, 1))
    records = "".join(f"{DIAL},{number},5,20200417193743\n" for number in range(1, len(names) + 1))
    # Two directories down, so that a name would have a place above OUTPUT to get to.
    paths = write_inputs(place / "a" / "b", records, rules=rules + line(999, "always"))
    write(place / "a" / "b" / "data" / "DATA_202004171938.csv", f"{DIAL},999,5,20200417193843\n")
    before = tree(place)
    ended = run(*paths, "--once", "--settle-s", "0", cwd=place / "a" / "b")
    assert 0 == ended.code, ended.err
    return ended.told, sorted(tree(place) - before)


def attempt_one(root: Path, name: str) -> Iterator[str]:
    """The program with this name alone: a directory of its own inside OUTPUT, or a refusal with its line."""
    place = root / str(NAMES.index(name))
    told, made = served(place, [name])
    normal = unicodedata.normalize("NFC", name.strip(" \t"))
    directory = directory_name(normal)
    if not 1 <= len(directory.encode()) <= DIRECTORY_BYTES_MAX:
        directory = ""
        if b"RULES.csv line 1: " not in told:
            yield f"refused without its line: {told!r}"
    output = "a/b/out"
    expected = {"always", directory} - {""}
    actual = set(published(place / output))
    if expected != actual:
        yield f"directories {actual}"
    outside = [path for path in made if path != output and not path.startswith(output + "/")]
    if outside:
        yield f"made outside of OUTPUT: {outside}"
    deep = [path for path in made if len(Path(path).parts) > len(Path(output).parts) + 2]
    if deep or len(made) != 1 + 2 * len(expected):
        yield f"made {made}"
    shutil.rmtree(place)


@pytest.mark.trust("S1")
def test_no_application_name_leads_out_of_output(trust: Trust, tmp_path: Path) -> None:
    """Whatever an application is called, its notifications appear in one directory inside OUTPUT, or its rule is
    refused with file and line.
    """
    trust(
        NAMES, partial(each, partial(attempt_one, tmp_path)), case="names", sample=14,
        always=lambda name: name in ("..", "../x", "/etc/x", ".upswell", "a/b", "NUL\0x"),
    )  # fmt: skip


@pytest.mark.trust("S1")
def test_all_names_at_once_have_their_own_directories(trust: Trust, tmp_path: Path) -> None:
    """All names that are accepted, in one RULES: as many directories as names, each with its own record."""

    def attempt(runs: Sequence[int]) -> list[str]:
        kept = {
            _fold(normal): normal
            for name in NAMES
            if _fold(normal := unicodedata.normalize("NFC", name.strip(" \t")))
            and len(directory_name(normal).encode()) <= DIRECTORY_BYTES_MAX
        }
        names = sorted(kept.values())
        served(tmp_path, names)
        expected = {
            directory_name(name): f"{DIAL},{number},5,20200417193743\n".encode()
            for number, name in enumerate(names, 1)
        } | {"always": f"{DIAL},999,5,20200417193843\n".encode()}
        actual = published(tmp_path / "a/b/out")
        return [
            f"{name!r}: {actual.get(name)!r}"
            for name in expected.keys() | actual.keys()
            if expected.get(name) != actual.get(name)
        ]

    trust(range(1), attempt, case="runs over all names at once", sample=1)


@pytest.mark.trust("S1")
def test_names_that_could_collide_do_not(trust: Trust, tmp_path: Path) -> None:
    """Of two names that differ in case or Unicode form the second is refused with both lines; other pairs have two
    directories.
    """

    def attempt_pair(pair: tuple[str, str]) -> Iterator[str]:
        place = tmp_path / str((*TWINS, *DIFFERENT).index(pair))
        told, _ = served(place, pair)
        directories = [directory_name(unicodedata.normalize("NFC", name)) for name in pair]
        if pair in TWINS:
            directories.pop()
            if b"RULES.csv line 2: " not in told or b"RULES.csv:1" not in told:
                yield f"refused without its lines: {told!r}"
        actual = set(published(place / "a/b/out"))
        if {"always", *directories} != actual:
            yield f"directories {actual}"

    trust((*TWINS, *DIFFERENT), partial(each, attempt_pair), case="pairs of names", sample=5)
