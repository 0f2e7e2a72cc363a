"""What the figures were measured on and with: the machine, how busy it was, and the versions.

Owns no measuring. It never names the machine itself.
"""

import os
import platform
import sqlite3
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
UPSWELL = ROOT / ".venv" / "bin" / "upswell"
BENCH_PYTHON = ROOT / ".make" / "bench-venv" / "bin" / "python"
SPARK_PYTHON = ROOT / ".make" / "bench-spark-venv" / "bin" / "python"
LOAD_MAX = 0.5
"""Above it something else runs that would be measured, too."""


def describe() -> dict[str, str]:
    """The machine, its load now, and the versions of what every question uses."""
    return {
        "machine": _machine(),
        "load": f"{load():.1f}",
        "versions": ", ".join(_versions()),
        "commit": _commit(),
    }


def load() -> float:
    """How busy it was over the last minute; told on stderr when that is too much."""
    now = os.getloadavg()[0]
    if now > LOAD_MAX:
        print(f"bench: the load is {now:.1f}: times will be off, ratios less so", file=sys.stderr)
    return now


def _machine() -> str:
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    models = (line.partition(": ")[2] for line in lines if line.startswith("model name"))
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    release = ".".join(platform.release().split(".")[:2])
    cores = len(os.sched_getaffinity(0))
    model = next(models, platform.machine())
    return f"{model}, {cores} cores, {memory_gib:.0f} GiB, {_file_system()}, Linux {release}"


def _file_system() -> str:
    """The type of the file system that the benchmark's files are on."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text("utf-8").splitlines()]
    here = str(ROOT)
    on = [(point, kind) for point, kind in mounts if here.startswith(point)]
    return max(on, key=lambda mount: len(mount[0]))[1]


def _commit() -> str:
    """The commit that was measured, with a + when something was changed since."""
    git = ["git", "-C", str(ROOT)]
    head = subprocess.run(
        [*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
    )
    changed = subprocess.run(
        [*git, "diff", "--quiet", "HEAD", "--", "src", "kernel"], check=False
    ).returncode
    return head.stdout.strip() + ("+" if changed else "")


def _versions() -> list[str]:
    ours = subprocess.run([UPSWELL, "--version"], capture_output=True, text=True, check=True)
    return [
        ours.stdout.strip(),
        f"CPython {platform.python_version()}",
        f"SQLite {sqlite3.sqlite_version}",
    ]


def version_of(python: Path, package: str) -> str:
    """The version of a package in another environment."""
    code = f"from importlib.metadata import version; print(version({package!r}))"
    found = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return f"{package} {found.stdout.strip()}"
