"""Scans a gzip file in many small calls and prints what was taken as JSON. Faults are injected into its reads."""

import json
import sys
from pathlib import Path

from upswell.kernel import Clock, Ledger, Range, Rules, Scanner, Segment

OUTPUT_BYTES_MAX = 100


def main(path: Path, length: int) -> None:
    """Take all of the file's ``length`` uncompressed bytes, or as much as can be read."""
    segment, _ = Segment.parse([b"0100000001\n"])
    rules = Rules([(1, "Twitter", 0, 1440, 10**15 - 1)])
    scanner, ledger = Scanner(1, "total", Clock([])), Ledger()
    start = newlines = digest = tail = records = 0
    problem = None
    while start < length and problem is None:
        wanted = Range(
            name="f", path=bytes(path), compressed=True, start=start, end=length, final=True, tail=tail,
            newlines=newlines, digest=digest, day_max=99991231, day_open=10101, rejects_left_bytes=1 << 30,
        )  # fmt: skip
        (scanned,) = scanner.process(
            [wanted], segment, rules, ledger, OUTPUT_BYTES_MAX, 10**6
        ).ranges
        start, newlines, digest = scanned.end, scanned.newlines, scanned.digest
        tail, problem, records = scanned.tail, scanned.problem, records + sum(scanned.outcomes[7:])
    totals = [each.total for each in ledger.totals()]
    print(json.dumps({"end": start, "digest": digest, "records": records, "totals": totals}))


main(Path(sys.argv[1]), int(sys.argv[2]))
