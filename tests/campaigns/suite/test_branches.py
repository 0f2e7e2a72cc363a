"""The suite itself: does it go through every branch of the parts that keep the promises?

The parts are those that ``[tool.coverage.run]`` of pyproject.toml names. The tests below are run once more, measured;
``make coverage`` prints the table.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

MEASURED = [
    "tests/engine/spark/test_driver.py", "tests/engine/spark/test_policies.py", "tests/engine/test_archive.py",
    "tests/engine/test_assembly.py", "tests/engine/test_commit_recovery.py", "tests/engine/test_policies.py",
    "tests/engine/test_run.py", "tests/output", "tests/source", "tests/state", "tests/storage",
]  # fmt: skip
LONG = [
    "tests/engine/test_run.py::test_any_split_over_runs_obeys_the_law",
    "tests/engine/spark/test_driver.py::test_any_job_gives_what_the_embedded_engine_and_the_reference_give",
    "tests/state/maintenance/test_forget.py::test_killed_anywhere_the_same_again_completes_it",
    "tests/engine/spark/test_policies.py::test_killed_anywhere_the_same_again_empties_the_shards",
]  # no branch is left to them alone


@pytest.mark.trust("T17")
def test_every_branch_of_the_protocol_is_gone_through(trust, root: Path) -> None:
    """No way through commit, checkpoint, sink, source and recovery is one that no test ever took."""
    cases, missing = measure(root)

    def attempt(some):
        return [f"no test goes {branch}" for branch in some if branch in missing]

    assert len(cases) > 500
    trust(cases, attempt, case="branches", sample=len(cases), chunk=len(cases))


def measure(root: Path) -> tuple[list[str], set[str]]:
    """Every branch and every function's body of the measured parts, and those that no test went through."""
    places = [f"--deselect={test}" for test in LONG]
    coverage(root, "erase")
    coverage(
        root, "run", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not trust", *places, *MEASURED
    )  # fmt: skip
    coverage(root, "combine", "-q")
    report = json.loads(coverage(root, "json", "-q", "--fail-under=0", "-o", "-"))
    cases, missing = [], set()
    for name, file in report["files"].items():
        lines = [f"to {name}:{line}" for line in file["missing_lines"]]
        gone = [branch(name, *arc) for arc in file["executed_branches"]]
        left = [branch(name, *arc) for arc in file["missing_branches"]]
        cases += gone + left + lines
        missing |= {*left, *lines}
    return cases, missing


def branch(name: str, start: int, end: int) -> str:
    """A branch in words; a negative end is the way out of what begins there."""
    return f"from {name}:{start} {'to line' if end > 0 else 'out of line'} {abs(end)}"


def coverage(root: Path, *arguments: str) -> str:
    """Run coverage.py in the quick profile; what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "coverage", *arguments],
        cwd=root, env=os.environ | {"TESTS": "fast"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert 0 == done.returncode, done.stdout + done.stderr
    return done.stdout
