"""The whole program over files and names that nobody would write on purpose."""

import gzip
import json
import os
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from support import law
from support.inputs import DIALS, RULES, write
from support.kernel_runs import HOSTILE_BYTES, random_file
from support.trust import Trust
from upswell.cli.main import commands
from upswell.errors import ConfigError

CODES = {0, ConfigError.exit_code}
"""Done, or no rule or dial that could be used: nothing else may come of files alone."""
ODD_NAMES = (
    "DATA_202004171000.csv.gz", "DATA_202013171000.csv", "data_202004171000.csv", "DATA_202004171000.csv.tmp",
    "DATA_202004171000\n.csv", "DATA_\x1b[31m.csv", "DATA_20200417\u0661000.csv", "DATA_\udcff.csv",
    ".DATA_202004171000.csv",    "DATA_202004171000.csv ",
    "DATA_999912312359.csv", "DATA_000101010000.csv", "\u202ecsv.DATA", "-rf", "=cmd|x.csv",
)  # fmt: skip


@pytest.mark.trust("T13")
def test_no_file_and_no_name_ends_a_run_badly(
    trust: Trust, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the inputs hold and are called, a run ends with 0 or says what to mend, and the law holds."""
    for name in [name for name in os.environ if name.startswith("UPSWELL_")]:
        monkeypatch.delenv(name)
    trust(range(10_000), runs, case="fuzzed worlds", sample=60)


def runs(seeds: Sequence[int]) -> list[str]:
    """The worlds in which something was wrong."""
    wrong = []
    for seed in seeds:
        with tempfile.TemporaryDirectory() as directory:
            try:
                run(Path(directory), random.Random(seed))
            except AssertionError as error:
                wrong.append(f"seed {seed}: {str(error)[:400]}")
    return wrong


def damaged(generator: random.Random, data: bytes, changes: int) -> bytes:
    """The bytes with so many of them changed, lost or put in."""
    damaged = bytearray(data)
    for _ in range(changes):
        at = generator.randrange(len(damaged) + 1)
        damaged[at : at + generator.randrange(3)] = bytes(
            generator.choices(HOSTILE_BYTES + b"\n\n", k=generator.randrange(3))
        )
    return bytes(damaged)


def lay(root: Path, generator: random.Random) -> None:
    """DATA, SEGMENT and RULES of a world."""
    changes = generator.choice((0, 1, 3, 20))
    segment = "\n".join(DIALS).encode() * generator.randint(1, 3) + b"\n"
    write(root / "segment" / "SEGMENT.csv", damaged(generator, segment, changes))
    write(
        root / "rules" / "RULES.csv",
        damaged(generator, RULES.encode(), generator.choice((0, 1, 5))),
    )
    (root / "data").mkdir()
    for minute in range(generator.randint(1, 5)):
        content = random_file(generator, generator.choice((0, 1, 30)), 0.3, DIALS)
        content = damaged(generator, content, changes)
        name = f"DATA_2020041710{minute:02}.csv"
        if generator.random() < 0.3:
            name += ".gz"
            packed = gzip.compress(content, generator.randint(0, 9), mtime=0)
            content = damaged(generator, packed, generator.choice((0, 0, 1, 3)))
        if generator.random() < 0.3:
            name = generator.choice(ODD_NAMES)
        if generator.random() < 0.05:
            (root / "data" / name).mkdir(exist_ok=True)
        elif not (root / "data" / name).is_dir():
            write(root / "data" / name, content)


def run(root: Path, generator: random.Random) -> None:
    """One run over a world of its own, and what must hold after it."""
    lay(root, generator)
    words = [str(root / name) for name in ("data", "segment", "rules", "out")]
    runner = CliRunner(env={"NO_COLOR": "1"})
    done = runner.invoke(commands, [*words, "--once", "--json", "--settle-s", "0"])
    assert done.exit_code in CODES, done.output
    assert "Traceback" not in done.output, done.output
    assert "\x1b" not in done.output, done.output
    if done.exit_code == 0:
        said = json.loads(done.stdout.splitlines()[-1])
        assert said["lines"] == sum(said["outcomes"].values())
        assert said["outcomes"]["rejected"] == sum(said["rejects"].values())
        law.check(root / "data", root / "out")
    else:
        assert "next:" in done.stderr, done.stderr
