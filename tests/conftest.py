"""What every test stands on: the fast or the slow profile, one way to run the command, one to try a promise's cases.

``TESTS=slow`` runs the tests marked slow too, gives hypothesis a hundred times the examples, and lets the tests marked
trust try all of their cases instead of a sample.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from support import trust as counting
from support.command import PROFILE, ROOT, Upswell, clean_environment

# No deadline and no look at the pace: a slow machine is not a failure, and pytest's timeout ends what hangs.
for _name, _examples in {"fast": 40, "spark": 40, "slow": 4000}.items():
    settings.register_profile(
        _name,
        max_examples=_examples,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
settings.load_profile(PROFILE)


TRUST_TIMEOUT_S = 600  # of a sample; a release run has none
_counted = pytest.StashKey[list[counting.Count]]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Campaigns may take as long as they need."""
    for item in items:
        if item.get_closest_marker("trust"):
            item.add_marker(pytest.mark.timeout(0 if PROFILE == "slow" else TRUST_TIMEOUT_S))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what is marked slow, or needs a cluster, unless the profile asks for it."""
    if PROFILE != "slow" and item.get_closest_marker("slow"):
        pytest.skip("slow: TESTS=slow, or make trust")
    if PROFILE != "spark" and item.get_closest_marker("spark"):
        pytest.skip("spark: TESTS=spark, or make test-spark")


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """What was tried of each promise, before the runner's own summary."""
    counts = config.stash.get(_counted, [])
    if counts:
        terminalreporter.section("covered of total")
    for line in counting.summary(counts):
        terminalreporter.write_line(line)


@pytest.fixture
def trust(request: pytest.FixtureRequest) -> Iterator[counting.Trust]:
    """Tries the cases of a test that is marked ``trust(promise)``, and counts them."""
    (marker,) = request.node.iter_markers("trust")
    one = counting.Trust(
        promise=marker.args[0],
        test=request.node.nodeid.removeprefix("tests/"),
        claim=" ".join((request.function.__doc__ or "").split("\n\n")[0].split()),
        release=PROFILE == "slow",
        seed=counting.seed(),
    )
    yield one
    request.config.stash.setdefault(_counted, []).extend(one.counts)


@pytest.fixture
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture
def upswell(tmp_path: Path) -> Upswell:
    """Runs the command as a process of its own in the test's directory, and gives what it printed."""

    def run(
        *arguments: str | Path, code: int = 0, timeout_s: float = 50, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "upswell", *map(str, arguments)],
            cwd=tmp_path,
            env=clean_environment() | environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert code == done.returncode, done.stderr
        return done

    return run
