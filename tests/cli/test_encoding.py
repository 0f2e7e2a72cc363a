"""Names on disk are UTF-8 whatever the locale; what a terminal cannot show is escaped."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from support.command import clean_environment
from support.inputs import DIALS, write, write_inputs

RULES = "1,واتساب,8,20,147\n2,Müller,9,18,68\n3,Ünï ż,0,24,0\n"
RECORDS = "".join(f"{DIALS[0]},{service},999,20200417120000\n" for service in (1, 2, 3))
PLAIN = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def made_locale(place: Path, name: str, charmap: str) -> dict[str, str]:
    """The variables of a locale that is made here."""
    if shutil.which("localedef") is None:
        pytest.skip("there is no localedef")
    made = place / "locales" / f"{name}.{charmap}"
    made.parent.mkdir()
    subprocess.run(["localedef", "-i", name, "-f", charmap, made], capture_output=True, check=False)
    if not made.exists():
        pytest.skip("the sources of the locale are not installed (package locales)")
    return {"LOCPATH": str(made.parent), "LC_ALL": f"{name}.{charmap}"}


def told(place: Path, variables: Mapping[str, str], *words: str) -> str:
    """What a command writes to stdout, as ASCII with escapes."""
    environ = {key: text for key, text in clean_environment().items() if not key.startswith("LC_")}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "upswell", *words],
        capture_output=True,
        check=False,
        cwd=place,
        env={**environ, **variables},
    )
    assert 0 == done.returncode, done.stderr
    return done.stdout.decode("ascii", "backslashreplace")


@pytest.mark.parametrize(
    "variables",
    [
        {"LC_ALL": "C"},
        PLAIN | {"LC_ALL": "C"},
        PLAIN | {"LC_ALL": "POSIX"},
        PLAIN | {"LC_ALL": "", "LANG": ""},
        PLAIN | {"LC_ALL": "C", "PYTHONIOENCODING": "iso-8859-6"},
        PLAIN | {"LC_ALL": "C", "PYTHONIOENCODING": "latin-1:strict"},
        {"name": "en_US", "charmap": "ISO-8859-1"},
        {"name": "ar_EG", "charmap": "ISO-8859-6"},
        {"name": "ru_RU", "charmap": "KOI8-R"},
    ],
)
def test_names_on_disk_are_utf_8(tmp_path: Path, variables: dict[str, str]) -> None:
    """The same directories, and the same state for every reader, under any locale."""
    if "name" in variables:
        variables = made_locale(tmp_path, **variables)
    paths = write_inputs(tmp_path, RECORDS, rules=RULES)
    write(tmp_path / "data" / "Übung ✓.txt", "")
    told(tmp_path, variables, *paths, "--once", "--settle-s", "0")

    names = {os.fsencode(path.name) for path in (tmp_path / "out").iterdir() if path.is_dir()}
    assert {name.encode() for name in ("واتساب", "Müller", "Ünï ż", ".upswell")} == names
    for reader in (variables, {"LC_ALL": "C.UTF-8"}, PLAIN | {"LC_ALL": "C"}):
        assert "sound" in told(tmp_path, reader, "state", "verify", "--output", "out")
        assert "consistent" in told(tmp_path, reader, "reconcile", "--output", "out")
        assert "a run can start" in told(tmp_path, reader, "check", *paths)


@pytest.mark.parametrize(
    ("variables", "shown"),
    [
        ({"LC_ALL": "C.UTF-8"}, ["Müller", "واتساب", "Ünï ż"]),
        (PLAIN | {"LC_ALL": "C"}, [r"M\xfcller", r"\u0648\u0627", r"\xdcn\xef \u017c"]),
        (
            PLAIN | {"LC_ALL": "C", "PYTHONIOENCODING": "latin-1"},
            ["Müller", r"\u0648\u0627", r"Ünï \u017c"],
        ),
        (
            PLAIN | {"LC_ALL": "C", "PYTHONIOENCODING": "iso-8859-6"},
            [r"M\xfcller", "واتساب", r"\u017c"],
        ),
    ],
)
def test_what_a_stream_cannot_show_is_escaped(
    tmp_path: Path, variables: dict[str, str], shown: list[str]
) -> None:
    """Output keeps the encoding of its terminal or pipe."""
    paths = write_inputs(tmp_path, RECORDS, rules=RULES)
    encoding = variables.get("PYTHONIOENCODING", "utf-8")
    done = subprocess.run(
        [sys.executable, "-P", "-m", "upswell", *paths, "--once", "--settle-s", "0"],
        capture_output=True,
        check=True,
        cwd=tmp_path,
        env=clean_environment() | variables,
    )

    assert [] == [text for text in shown if text not in done.stdout.decode(encoding)]


def test_a_command_with_closed_streams_goes_on_in_utf_8(tmp_path: Path) -> None:
    """A stream that is closed has no encoding."""
    paths = write_inputs(tmp_path, RECORDS, rules=RULES)
    environ = clean_environment() | PLAIN | {"LC_ALL": "C"}
    command = [sys.executable, "-P", "-m", "upswell", *paths, "--once", "--settle-s", "0"]
    done = subprocess.run(
        ["sh", "-c", '"$@" >&- 2>&-', "sh", *command], check=False, cwd=tmp_path, env=environ
    )

    assert 0 == done.returncode
    assert (tmp_path / "out" / "واتساب").is_dir()
