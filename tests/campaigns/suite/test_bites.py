"""The suite itself: is each mistake that could be made in the protocol caught by the test that stands guard over it?

``mistakes.toml`` says what each mistake replaces, and which test must catch it. It is made in a copy of the sources and
tests, never here, and the named test alone is run there.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from support import mistakes, strace
from support.command import ROOT
from support.mistakes import Mistake, UnfitError

# What is imported must be the copy, else every mistake would seem to be missed.
RUN = """
import sys, pytest, upswell
place, *arguments = sys.argv[1:]
assert upswell.__file__.startswith(place), upswell.__file__
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "--tb=line", *arguments]))
"""


@pytest.mark.trust("T10")
def test_every_mistake_in_the_protocol_is_caught(trust, tmp_path: Path) -> None:
    """Each mistake of mistakes.toml makes the test fail that guards against it, which passes without it."""
    strace.available()

    def attempt(some: Sequence[Mistake]) -> list[str]:
        guards = sorted({mistake.caught_by for mistake in some})
        sound = copy(tmp_path / "sound")
        code, said = tried(sound, guards)
        if code:
            return [f"without a mistake there are failures: {said}"]
        return strace.each(lambda mistake: complaint(tmp_path, mistake), some)

    trust(mistakes.read(), attempt, case="mistakes", sample=24)


def complaint(tmp_path: Path, mistake: Mistake) -> str | None:
    """What is wrong with how a mistake is caught."""
    place = copy(tmp_path / mistake.name)
    try:
        for path, source in mistakes.changed(mistake, place / "src" / "upswell").items():
            path.write_text(source, "utf-8")
    except UnfitError as error:
        return str(error)
    code, said = tried(place, [mistake.caught_by])
    shutil.rmtree(place)
    if code == 0:
        return f"{mistake.name} is not caught by {mistake.caught_by}: {mistake.what}"
    if not is_caught(code, said):
        return f"{mistake.name} is not caught but breaks {mistake.caught_by}: {said}"
    return None


def is_caught(code: int, said: str) -> bool:
    """Whether tests failed, and by what they look at: not for want of a name, or before they began."""
    broken = re.search(r"\b(Name|Attribute|Type|Import|Syntax|ModuleNotFound)Error\b", said)
    return code == pytest.ExitCode.TESTS_FAILED and not broken and " error" not in said[-100:]


def copy(place: Path) -> Path:
    """The package with its kernel, and the tests, elsewhere."""
    place.mkdir()
    for name in ("src", "tests"):
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", place)
    return place


def plain() -> dict[str, str]:
    """The environment without what was meant for the campaigns of this run."""
    return {name: value for name, value in os.environ.items() if name not in ("SEED", "SAMPLE")}


def tried(place: Path, tests: Sequence[str]) -> tuple[int, str]:
    """Exit code of the tests in a copy, and the end of what they printed."""
    path = f"{place / 'src'}:{place / 'tests'}"
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(place), *tests],
        cwd=place, env=plain() | {"PYTHONPATH": path, "TESTS": "fast"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, (done.stdout + done.stderr)[-2000:]
