"""The answer key to generated data: what `run --once` over the finished directory must publish and count.

Owns the state of each file, decided independently of the engine from what the generator knows it made; lines are
decided by ``semantics``. It reads whole files and is slow (under 100,000 lines a second): use it for small and
medium sizes.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from upswell.errors import ConfigError, UsageError
from upswell.generate.file_faults import FILE_FAULTS, read_content
from upswell.generate.generator import MadeFile
from upswell.privacy import escape
from upswell.reference.application import directory_name
from upswell.reference.rules import Ruleset
from upswell.semantics import OUTCOMES, REASONS, CommittedRange, Specification
from upswell.source.file import STATES, State
from upswell.storage.new_file import make_directory, write_file
from upswell.zones import stamp_time

MAX_STAMP_AHEAD = timedelta(days=1)
COUNTS_NAME = "counts.json"


class AnswerKey(NamedTuple):
    """The output that a run must publish, and the counts that it must reach."""

    outputs: dict[str, bytes]
    """By application, only those with notifications: the lines in the order of emission."""
    lines: int
    outcomes: dict[str, int]
    """By outcome, zeros included."""
    rejects: dict[str, int]
    """By reason, zeros included."""
    notifications: dict[str, int]
    """By application, zeros included."""
    files: dict[str, int]
    """By state, zeros included."""


def compute_answer(
    data: Path,
    made: Iterable[MadeFile],
    ruleset: Ruleset,
    dials: Collection[str],
    specification: Specification | None = None,
) -> AnswerKey:
    """Compute the answer key to the files made in ``data``.

    Args:
        data: the directory of the files.
        made: all of its files, as the generator reported them.
        ruleset: RULES of the run.
        dials: the msisdns in its SEGMENT.
        specification: a fresh one, for settings other than the defaults.

    Raises:
        ConfigError: ``data`` contains more than was made.
    """
    made = list(made)
    check_nothing_else(data, {file.name for file in made})
    specification = specification or Specification()
    states: Counter[State] = Counter()
    newest = ""
    seen: set[bytes] = set()
    """Digests of the files that held a record."""
    # The arrival order of files found together; those without a stamp are ignored.
    for file in sorted(made, key=lambda made: (made.stamp, os.fsencode(made.name))):
        state = _state_before_content(file)
        if state == "done":
            content = b"".join(read_content(data / file.name))
            digest = hashlib.sha256(content).digest()
            if digest in seen:
                state = "duplicate"
            elif content:
                newest = max(newest, file.stamp)
                taken = CommittedRange(file.name, 0, content, file.stamp, newest)
                if any(line.record for line in specification.apply(taken, dials, ruleset.rules)):
                    seen.add(digest)
        states[state] += 1
    applications = ruleset.applications()
    return AnswerKey(
        {name: b"".join(lines) for name, lines in specification.outputs.items()},
        specification.lines,
        {outcome: specification.counts[outcome] for outcome in OUTCOMES},
        {reason: specification.reasons[reason] for reason in REASONS},
        {name: len(specification.outputs.get(name, ())) for name in applications},
        {state: states[state] for state in STATES},
    )


def write_answer(path: Path, data: Path, answer: AnswerKey) -> None:
    """Write a directory of ``<application directory>.csv`` and ``counts.json``; it is created if its parent exists.

    Raises UsageError when it would lie inside DATA, ConfigError when it contains anything else, and OutputUnwritable
    or StorageError as ``write_file`` does.
    """
    if path.resolve().is_relative_to(data.resolve()):
        raise UsageError(
            f"{path}: lies inside the data directory", "choose a path outside it for the answer"
        )
    make_directory(path)
    counts = {name: value for name, value in answer._asdict().items() if name != "outputs"}
    files = {f"{directory_name(name)}.csv": content for name, content in answer.outputs.items()}
    files[COUNTS_NAME] = (json.dumps(counts, indent=2, ensure_ascii=False) + "\n").encode()
    check_nothing_else(path, files)
    for name, content in files.items():
        write_file(path / name, (content,))


def check_nothing_else(directory: Path, names: Collection[str]) -> None:
    """Raise ConfigError when the directory contains anything else: the answer key would not be about it."""
    others = sorted(entry.name for entry in directory.iterdir() if entry.name not in names)
    if others:
        raise ConfigError(
            f"{escape(str(directory))}: contains {escape(others[0])}, which this command did not make",
            "choose a new or empty directory",
        )


def _state_before_content(file: MadeFile) -> State:
    """Return the state that a file's name and fault decide; "done" when its content decides."""
    state: State = FILE_FAULTS[file.kind].state if file.kind else "done"
    if state == "ignored":
        return state
    now = datetime.now(UTC).replace(tzinfo=None)
    if state == "held" or stamp_time(file.stamp) > now + MAX_STAMP_AHEAD:
        return "held"
    return "done"
