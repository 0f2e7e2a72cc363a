"""What every test stands on: the fast or the slow profile, and one way to run the command.

``TESTS=slow`` runs the tests marked slow too, and gives hypothesis a hundred times the examples.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

PROFILE = os.environ.get("TESTS", "fast")
ROOT = Path(__file__).parent.parent

# No deadline: a slow machine is not a failure, and pytest's timeout ends what hangs.
settings.register_profile("fast", max_examples=40, deadline=None)
settings.register_profile("slow", max_examples=4000, deadline=None)
settings.load_profile(PROFILE)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what is marked slow unless the profile asks for it."""
    if PROFILE != "slow" and item.get_closest_marker("slow"):
        pytest.skip("slow: TESTS=slow, or make test-faults")


def clean_environment() -> dict[str, str]:
    """The environment without settings of ours, so that a developer's own do not reach a test."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("UPSWELL_")}
    return kept | {"NO_COLOR": "1", "COLUMNS": "100"}


Upswell = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture
def upswell(tmp_path: Path) -> Upswell:
    """Runs the command as a process of its own in the test's directory, and gives what it printed."""

    def run(
        *arguments: str | Path, code: int = 0, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "upswell", *map(str, arguments)],
            cwd=tmp_path,
            env=clean_environment() | environment,
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
        assert code == done.returncode, done.stderr
        return done

    return run
