"""Whole runs on disks that fill up at any moment, and get space again."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from support.command import ROOT, clean_environment
from support.faults.limits import own_namespace
from support.faults.workloads import ALL

PROGRAM = ROOT / "tests/support/faults" / "full_disk.py"
FREE_KIB = range(4, 704, 8)  # tmpfs takes 0 for no limit
Disk = tuple[str, int]
"""A workload, and the KiB that are free at its start."""


@pytest.mark.trust("T6")
def test_full_disk_at_any_size(tmp_path: Path, trust) -> None:
    """However small the disk, the run ends in words; with space again the next start loses and repeats nothing."""
    namespace = own_namespace()
    place = tmp_path / "place"

    def attempt(some: Sequence[Disk]) -> list[str]:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        done = subprocess.run(
            [*namespace, sys.executable, "-B", PROGRAM, place],
            input=json.dumps(some), capture_output=True, text=True, check=False,
            env=clean_environment() | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
        assert 0 == done.returncode, done.stderr
        return json.loads(done.stdout)

    cases = [(workload.name, free) for workload in ALL for free in FREE_KIB]
    trust(cases, attempt, case="sizes of disks", sample=96)
