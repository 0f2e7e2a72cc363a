"""The frame of a program that Upswell is compared with: its arguments, the files it writes, the counts it prints.

Owns no reading of lines and no arithmetic, which is where those programs differ. Standard library only, as each program
has an environment of its own.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from grammar import OUTCOMES, arrival


class Inputs(NamedTuple):
    """What a program is given."""

    files: list[Path]
    """The DATA files in order of arrival."""
    segment: Path
    rules: Path


Counts = dict[str, int]
"""Lines by outcome."""


def main(
    description: str | None,
    compute: Callable[[Inputs, Counts], tuple[int, Mapping[str, Sequence[str]]]],
) -> None:
    """Run a job: write its notifications to OUTPUT, and print its counts as JSON.

    ``compute`` fills in the counts, and returns how many lines there are and the notified ones by application.
    """
    arguments = argparse.ArgumentParser(description=description)
    for name in ("data", "segment", "rules", "output"):
        arguments.add_argument(name, type=Path)
    given = arguments.parse_args()

    counts = dict.fromkeys(OUTCOMES, 0)
    lines, notified = compute(Inputs(arrival(given.data), given.segment, given.rules), counts)
    for application, records in notified.items():
        directory = given.output / application
        directory.mkdir(parents=True)
        text = "\n".join(records) + "\n"
        (directory / "NOTIFY.csv").write_text(text, "utf-8", newline="\n")
    sent = {application: len(records) for application, records in notified.items()}
    print(json.dumps({"lines": lines, "outcomes": counts, "notifications": sent}))
