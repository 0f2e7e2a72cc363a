"""What a program says about its input, and whether two of them say the same.

Owns the comparison: lines, counts of outcomes, and for every application the bytes of its notifications. Speed of a
wrong answer is worth nothing, so whoever measures compares each time, and a difference ends the benchmark.
"""

import json
from pathlib import Path
from typing import NamedTuple


class Answer(NamedTuple):
    """What one program made of the input."""

    lines: int
    outcomes: dict[str, int]
    """A name with a plus is the sum of several outcomes, for a program that cannot tell them apart."""
    published: dict[str, bytes] | None
    """By application; None when it publishes nothing."""
    ordered: bool = True
    """Whether it promises the order of an application's notifications."""


def read(report: Path, output: Path, *, ordered: bool = True) -> Answer:
    """The answer of a program that printed its counts as JSON and wrote a directory for each application."""
    told = json.loads(report.read_text("utf-8"))
    published = {
        directory.name.removeprefix("application="): b"".join(
            file.read_bytes()
            for file in sorted(directory.iterdir())
            if file.name.startswith(("NOTIFY", "part-"))
        )
        for directory in output.iterdir()
        if directory.is_dir() and directory.name[0] not in "._"
    }
    return Answer(told["lines"], told["outcomes"], published, ordered)


def read_count(report: Path) -> Answer:
    """The answer of ``wc -l``: the lines, and nothing else."""
    return Answer(int(report.read_text("utf-8").splitlines()[-1].split()[0]), {}, None)


def differences(ours: Answer, theirs: Answer) -> list[str]:
    """In words, what the other answer says differently; empty when it says the same as far as it speaks."""
    found = []
    if ours.lines != theirs.lines:
        found.append(f"lines: {ours.lines:,} and {theirs.lines:,}")
    for name, count in theirs.outcomes.items():
        expected = sum(ours.outcomes[outcome] for outcome in name.split("+"))
        if expected != count:
            found.append(f"{name}: {expected:,} and {count:,}")
    told = {outcome for name in theirs.outcomes for outcome in name.split("+")}
    # A program without policies need not speak of what they keep back.
    meant = {outcome for outcome in ours.outcomes if ours.outcomes[outcome] or outcome in told}
    if theirs.outcomes and told != meant:
        found.append(f"outcomes that only one tells: {', '.join(sorted(told ^ meant))}")
    if ours.published is not None and theirs.published is not None:
        for application in sorted(ours.published | theirs.published):
            mine = ours.published.get(application, b"")
            other = theirs.published.get(application, b"")
            if not theirs.ordered:
                mine, other = _sorted(mine), _sorted(other)
            if mine != other:
                found.append(f"the notifications of {application}")
    return found


def _sorted(content: bytes) -> bytes:
    return b"".join(sorted(content.splitlines(keepends=True)))
