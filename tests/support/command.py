"""The command as tests run it, and where the repository is."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

PROFILE = os.environ.get("TESTS", "fast")


ROOT = Path(__file__).parents[2]


def clean_environment() -> dict[str, str]:
    """The environment without settings of ours, so that a developer's own do not reach a test."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("UPSWELL_")}
    return kept | {"NO_COLOR": "1", "COLUMNS": "100"}


Upswell = Callable[..., subprocess.CompletedProcess[str]]
