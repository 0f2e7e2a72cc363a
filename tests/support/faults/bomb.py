"""Takes all of one file with the kernel, as a run would, and prints what it met and the most memory it had as JSON."""

import json
import sys
from pathlib import Path

from upswell.engine.compute import OUTPUT_BYTES_MAX
from upswell.kernel import Clock, Ledger, Range, Rules, Scanner, Segment, check_gzip

REJECTS_BYTES = 64 << 20


def memory_bytes(of: str) -> int:
    """Memory of this process: VmRSS now, or VmHWM at most since it began (getrusage counts its parent's, too)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(of):
            return int(line.split()[1]) << 10
    raise LookupError(of)


def main(path: Path, length: int) -> None:
    """The file's ``length`` uncompressed bytes, in calls of two threads; a compressed file is checked whole first."""
    compressed = path.suffix == ".gz"
    if compressed:
        assert ("whole", length) == check_gzip(bytes(path), 1 << 36)[:2]
    segment, _ = Segment.parse([b"0100000001\n"])
    rules = Rules([(1, "Twitter", 0, 1440, 10)])
    scanner, ledger = Scanner(2, "total", Clock([])), Ledger()
    before = memory_bytes("VmRSS")
    start = newlines = digest = tail = kept = lines = longest = 0
    while start < length:
        wanted = Range(
            name="f", path=bytes(path), compressed=compressed, start=start, end=length, final=True, tail=tail,
            newlines=newlines, digest=digest, day_max=99991231, day_open=10101,
            rejects_left_bytes=REJECTS_BYTES - kept,
        )  # fmt: skip
        result = scanner.process([wanted], segment, rules, ledger, OUTPUT_BYTES_MAX, 1000)
        (scanned,) = result.ranges
        assert scanned.problem is None, scanned.problem_detail
        assert scanned.lines == sum(scanned.outcomes)
        assert scanned.rejects_kept_bytes == len(result.rejects)
        start, newlines, digest, tail = scanned.end, scanned.newlines, scanned.digest, scanned.tail
        kept, lines = kept + scanned.rejects_kept_bytes, lines + scanned.lines
        longest = max(longest, len(result.rejects))
    grown = memory_bytes("VmHWM") - before
    said = {"lines": lines, "kept": kept, "longest": longest, "grown": grown}
    print(json.dumps(said))


main(Path(sys.argv[1]), int(sys.argv[2]))
