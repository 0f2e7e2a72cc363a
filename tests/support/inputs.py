"""Small inputs for tests of the command line: four paths that a run takes as they are."""

import os
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from support.command import Upswell
from upswell.cli.main import commands

LONG_AGO_S = 1_600_000_000
DIALS = ("0123917827", "0126545098", "0128419091")
RULES = "1,Twitter,8,20,147\n2,WhatsApp,9,18,68\n3,Youtube,10,20,99\n"
RECORDS = (
    "0124637855,5,367,20200417193743\n"
    "0126545098,1,315,20200417193743\n"
    "0126545098,1,372,20200417193744\n"
    "0126545098,9,372,20200417193744\n"
    "not a record\n"
    "0128419091,3,20,20200417193744\n"
    "\n"
)
"""Seven lines: 1 not_in_segment, 1 notified, 1 capped, 1 no_rule, 1 rejected (columns), 1 counted, 1 blank."""
REPORT = ("whatif", "--rules", "rules", "--output", "out", "--no-curve", "--report")
"""The words before the page's name, for inputs and a run as here."""


def write(path: Path, content: str | bytes, mtime_s: float = LONG_AGO_S) -> Path:
    """A file that has been still for long; its directory is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    os.utime(path, (mtime_s, mtime_s))
    return path


def write_inputs(
    root: Path,
    records: str | bytes = RECORDS,
    *,
    rules: str | bytes = RULES,
    segment: str | bytes = "\n".join(DIALS) + "\n",
) -> list[str]:
    """DATA, SEGMENT and RULES under ``root``, and the four arguments of a run, relative to it."""
    write(root / "data" / "DATA_202004171937.csv", records)
    write(root / "segment" / "SEGMENT.csv", segment)
    write(root / "rules" / "RULES.csv", rules)
    return ["data", "segment", "rules", "out"]


def inside(place: Path, monkeypatch: pytest.MonkeyPatch) -> Upswell:
    """What the fixture ``upswell`` gives, but within this process: for commands whose process does not matter."""
    monkeypatch.chdir(place)
    for name in [name for name in os.environ if name.startswith("UPSWELL_")]:
        monkeypatch.delenv(name)

    def run(
        *arguments: str | Path, code: int = 0, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        words = [str(argument) for argument in arguments]
        done = CliRunner(env={"NO_COLOR": "1", **environment}).invoke(commands, words)
        assert code == done.exit_code, done.stderr
        return subprocess.CompletedProcess(words, done.exit_code, done.stdout, done.stderr)

    return run
