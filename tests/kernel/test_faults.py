"""The kernel when the disk fails under it: what it takes is what the file holds, or it says that it took less."""

import gzip
import json
import os
import random
import resource
import subprocess
import sys
from pathlib import Path

from support import strace
from support.command import ROOT, clean_environment
from upswell.kernel import Clock, Ledger, Range, Rules, Scanner, Segment, crc64

SCRIPT = ROOT / "tests/support/faults" / "gzip_reads.py"
FAILED_READS = range(1, 13)


def test_a_failed_read_of_gzip_data_leaves_no_hole(tmp_path: Path) -> None:
    """Whichever read fails, the bytes taken are a prefix of the content, and each record in it was added once."""
    strace.available()
    chance = random.Random(5)
    volumes = [chance.randrange(10**9) for _ in range(20_000)]
    lines = [f"0100000001,1,{volume},20200417100000\n".encode() for volume in volumes]
    for at in range(0, len(lines), 50):
        lines[at] = b"refused 1\n"  # rejects end a call early, between two reads
        volumes[at] = 0
    content = b"".join(lines)
    path = tmp_path / "f.csv.gz"
    path.write_bytes(gzip.compress(content, 1))
    for failed in FAILED_READS:
        done = subprocess.run(
            ["strace", "-f", "-qq", "-o", "/dev/null", "-P", str(path), "-e", "trace=read",
             "-e", f"inject=read:error=EIO:when={failed}", sys.executable, SCRIPT, path, str(len(content))],
            env=clean_environment() | {"UPSWELL_KERNEL_CHUNK_BYTES": "5000"},
            capture_output=True,
            check=True,
            timeout=50,
        )  # fmt: skip
        taken = json.loads(done.stdout)
        prefix = content[: taken["end"]]

        assert crc64(prefix) == taken["digest"]
        assert [sum(volumes[: prefix.count(b"\n")])] == (taken["totals"] or [0])


def test_many_compressed_files_need_few_descriptors(tmp_path: Path) -> None:
    """A call over a hundred files does not hold them all open."""
    line = b"0100000001,1,5,20200417100000\n"
    ranges = []
    for number in range(100):
        path = tmp_path / f"{number}.csv.gz"
        path.write_bytes(gzip.compress(line))
        ranges.append(
            Range(str(number), bytes(path), True, 0, len(line), True, 0, 0, 0, 99991231, 10101, 0)
        )
    segment, _ = Segment.parse([b"0100000001\n"])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    open_now = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a count is all that is wanted
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_now + 40, hard))
    try:
        result = Scanner(2, "total", Clock([])).process(
            ranges, segment, Rules([(1, "Twitter", 0, 1440, 10)]), Ledger(), 1 << 20, 10**6
        )
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert [None] * 100 == [scanned.problem for scanned in result.ranges]
