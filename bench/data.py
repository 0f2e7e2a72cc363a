"""The inputs that are measured on: made by ``upswell generate`` under bench/data/, once, and kept.

Owns their names, and what the generator does not make: lines that are odd without an odd file beside them. The same
parameters give the same bytes on any machine.
"""

import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from bench import duration
from bench.machine import UPSWELL

DATA = Path(__file__).parent / "data"
FILES = 60
CUSTOMERS = 1_000_000
SHARE = 0.1
SEED = 1
RULES = 7
HEADER = "msisdn,service,volume,timestamp"


class Inputs(NamedTuple):
    """The three inputs of a run."""

    data: Path
    segment: Path
    rules: Path

    def arguments(self, output: Path) -> list[str]:
        """The brief's four parameters."""
        return [str(self.data), str(self.segment), str(self.rules), str(output)]


def inputs(
    records: int,
    *,
    files: int = FILES,
    share: float = SHARE,
    customers: int = CUSTOMERS,
    rules: int = RULES,
    services: int = 10,
    dirty: float = 0.0,
) -> Inputs:
    """Inputs of so many records in all; ``dirty`` is the share of odd lines."""
    data = _data(records // files, files, customers, services)
    return Inputs(
        _spoiled(data, dirty) if dirty else data, segment(customers, share), rules_of(rules)
    )


def segment(customers: int, share: float) -> Path:
    """SEGMENT: this share of the customers."""
    people = ("--customers", str(customers), "--share", str(share))
    return _generated(f"segment-{customers}-{share:g}", "segment", customers, *people)


def rules_of(services: int) -> Path:
    """RULES: one for each of so many services."""
    return _generated(f"rules-{services}", "rules", services, "--services", str(services))


def _data(records_per_file: int, files: int, customers: int, services: int) -> Path:
    size = ("--files", str(files), "--records", str(records_per_file))
    # All on one day: the programs that are compared refuse what is after midnight in a window over midnight.
    people = ("--customers", str(customers), "--services", str(services))
    name = f"data-{records_per_file}x{files}-{customers}-{services}"
    return _generated(name, "data", records_per_file * files, *size, *people)


def _generated(name: str, kind: str, lines: int, *options: str) -> Path:
    target = DATA / name
    with made(target) as partial:
        if partial:
            duration.tell_made(name, lines)
            command = [str(UPSWELL), "generate", kind, str(partial), "--seed", str(SEED), *options]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return target


@contextmanager
def made(target: Path) -> Iterator[Path | None]:
    """The directory to fill for ``target``, which appears when it is complete; None when it is there already."""
    if target.exists():
        yield None
        return
    partial = target.with_name(f"{target.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.parent.mkdir(parents=True, exist_ok=True)
    partial.mkdir()
    yield partial
    partial.rename(target)


SPOILS: tuple[Callable[[list[str]], str], ...] = (
    lambda f: ",".join(f[:3]),
    lambda f: ",".join([*f, "1"]),
    lambda f: ",".join(f) + ",",
    lambda f: ",".join(["+" + f[0], *f[1:]]),
    lambda f: ",".join(["x" + f[0], *f[1:]]),
    lambda f: ",".join(["\u0660" + f[0], *f[1:]]),
    lambda f: ",".join([f'"{field}"' for field in f]),
    lambda f: ",".join([f[0], "00" + f[1], f[2], f[3]]),
    lambda f: ",".join([f[0], "+" + f[1], f[2], f[3]]),
    lambda f: ",".join([f[0], f[1], "-" + f[2], f[3]]),
    lambda f: ",".join([f[0], f[1], f[2] + ".5", f[3]]),
    lambda f: ",".join([f[0], f[1], " " + f[2], f[3]]),
    lambda f: ",".join([*f[:3], f[3][:4] + "0229" + f[3][8:]]),
    lambda f: ",".join([*f[:3], f[3][:4] + "0431" + f[3][8:]]),
    lambda f: ",".join([*f[:3], f[3][:8] + "240000"]),
    lambda f: ",".join([*f[:3], f[3][:8] + "236000"]),
    lambda f: ",".join([*f[:3], str(int(f[3][:4]) + 1) + f[3][4:]]),
    lambda f: ",".join([*f[:3], str(int(f[3][:4]) - 1) + f[3][4:]]),
    lambda f: ",".join(f) + "\r",
    lambda f: "",
    lambda f: " \t",
    lambda f: HEADER,
    lambda f: ",,,",
    lambda f: "9" * 5000,
)
"""Ways to spoil a line; some leave a record of another look, or one that is late or in the future.

All are UTF-8 and without a delimiter that nobody uses: the programs that are compared would need a reader of bytes.
"""


def _spoiled(clean: Path, ratio: float) -> Path:
    """Files in which this share of the lines is odd, and some of which begin with a mark or a header."""
    target = clean.with_name(f"{clean.name}-dirty-{ratio:g}")
    with made(target) as partial:
        chance = random.Random(SEED)
        if not partial:
            return target
        files = sorted(clean.iterdir())
        duration.tell_made(target.name, len(files) * count_lines(files[0]))
        for index, file in enumerate(files):
            lines = file.read_text("utf-8").splitlines()
            for at in chance.sample(range(len(lines)), int(len(lines) * ratio)):
                lines[at] = chance.choice(SPOILS)(lines[at].split(","))
            mark = "\ufeff" if index % 3 == 0 else ""
            header = f"{HEADER}\n" if index % 2 == 0 else ""
            text = mark + header + "\n".join(lines) + "\n"
            (partial / file.name).write_text(text, "utf-8", newline="\n")
            age(partial / file.name)
    return target


def count_lines(file: Path) -> int:
    """The lines of a file that ends in a line end."""
    return file.read_bytes().count(b"\n")


def age(path: Path) -> None:
    """Make a file look as if nobody had written to it for an hour, so that a run need not wait until it is still."""
    past = time.time() - 3600
    os.utime(path, (past, past))
