"""Runs workloads on disks that fill up, in a mount namespace of its own: ``full_disk.py PLACE``.

Takes (workload, KiB that are free) out of its standard input as JSON, and prints what is wrong with each that is.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from support import strace
from support.faults import campaign
from support.faults.workloads import ALL, BY_NAME

ROOMY = "64m"


def main(root: Path, cases: list[tuple[str, int]]) -> list[str]:
    """Try these cases."""
    for workload in ALL:
        (root / workload.name).mkdir()
        workload.prepare(root / workload.name / "inputs", root / workload.name / "start")
    found = [(name, free_kib, attempt(root, name, free_kib)) for name, free_kib in cases]
    return [f"{name}, {free_kib} KiB: {wrong}" for name, free_kib, wrong in found if wrong]


def attempt(root: Path, name: str, free_kib: int) -> str | None:
    """Run on a disk with so much space beside what is there already, then with enough; what is wrong."""
    workload, place = BY_NAME[name], root / name
    disk = place / "disk"
    disk.mkdir(exist_ok=True)
    mount("-t", "tmpfs", "-o", f"size={ROOMY}", "none", str(disk))
    try:
        shutil.copytree(place / "start", disk, dirs_exist_ok=True)
        used_kib = (shutil.disk_usage(disk).used + 1023) // 1024
        mount("-o", f"remount,size={used_kib + free_kib}k", str(disk))
        run = campaign.program(root, workload, disk)
        wrong = campaign.ending(strace.forked(run, place / "errors"))
        mount("-o", f"remount,size={ROOMY}", str(disk))
        return wrong or campaign.both(root, workload, disk)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def mount(*words: str) -> None:
    """Mount, or mount anew."""
    subprocess.run(["mount", *words], check=True)


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), json.load(sys.stdin))))
