"""How soon: from the moment a file is moved into DATA, or a line is written to one that grows, to its notification.

A steady load of one file a second; a marked record at the end of each tells when its notification has appeared under
its final name. What the disk's own syncs took of it is measured in the same run (strace stops the run at those calls
alone) and told apart, because it belongs to the disk: a commit is durable before it is published.
"""

import argparse
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from bench import data, duration, machine, results
from bench.service import Service, marked, overlap, serving, with_marked

FILES = 1_000
RECORDS = 100_000
PERIOD_S = 1.0
LINES = 1_000
LINES_PERIOD_S = 0.05
LINES_BESIDE = 100
"""Ordinary lines written together with each marked one."""
AROUND_S = 15
"""Starting and stopping twice."""
Feed = Callable[[Path, list[Path], int], list[float]]
"""Of the working directory, the files to feed from and how many marked records: the moment of each."""


def main() -> None:
    """Measure both, and keep each."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--files", type=int, default=FILES)
    arguments.add_argument("--records", type=int, default=RECORDS, help="in a file")
    arguments.add_argument("--lines", type=int, default=LINES, help="of the file that grows")
    given = arguments.parse_args()
    duration.tell("latency", given.files * PERIOD_S + given.lines * LINES_PERIOD_S + AROUND_S)
    inputs = data.inputs(given.files * given.records, files=given.files)
    for case, feed, count in (
        (f"a file a second of {given.records:,} records", feed_files, given.files),
        (f"a file that grows, {1 / LINES_PERIOD_S:.0f} writes a second", feed_lines, given.lines),
    ):
        told = machine.describe()
        total_ms, beyond_ms = measure(inputs, feed, count)
        results.save("latency", case, {**told, "total_ms": total_ms, "beyond_disk_ms": beyond_ms})
        for name, values in (("in all", total_ms), ("beyond the disk's syncs", beyond_ms)):
            figures = ", ".join(
                f"{word} {results.percentile(values, share):.1f}"
                for word, share in (("p50", 0.5), ("p99", 0.99), ("most", 1.0))
            )
            print(f"{case}, {name}: {figures} ms", flush=True)


def measure(inputs: data.Inputs, feed: Feed, count: int) -> tuple[list[float], list[float]]:
    """(milliseconds from each arrival to its notification, those without the disk's syncs)."""
    work = data.DATA / "latency"
    shutil.rmtree(work, ignore_errors=True)
    (work / "data").mkdir(parents=True)
    segment = with_marked(inputs.segment, work / "segment", count + 1)
    live = data.Inputs(work / "data", segment, inputs.rules)
    sources = sorted(inputs.data.iterdir())
    with serving(live, work, traced=True) as service:
        warm_up(service, live.data, count, sources[0])
        arrived = feed(work, sources, count)
        service.wait_for(count - 1)
        service.stop()
    service.check_lines(sum(data.count_lines(file) for file in live.data.iterdir()))
    appeared, syncs = service.marks(), service.syncs()
    total_ms, beyond_ms = [], []
    for number, begin in enumerate(arrived):
        end = appeared[number]
        near = [span for span in syncs if span[1] > begin and span[0] < end]
        total_ms.append(round(1000 * (end - begin), 3))
        beyond_ms.append(round(1000 * (end - begin - overlap(begin, end, near)), 3))
    shutil.rmtree(work)
    return total_ms, beyond_ms


def warm_up(service: Service, directory: Path, number: int, first: Path) -> None:
    """One file before the first that counts: the run is up once its notification has appeared."""
    name = f"DATA_{first.name[5:13]}0000.csv"
    (directory / f".{name}").write_bytes(marked(number, f"{first.name[5:13]}000000"))
    (directory / f".{name}").rename(directory / name)
    service.wait_for(number)
    time.sleep(PERIOD_S)


def feed_files(work: Path, sources: list[Path], count: int) -> list[float]:
    """Move a file in every period, each with its marked record at its end; the moments."""
    arrived = []
    begun = time.monotonic()
    for number, source in zip(range(count), sources, strict=False):
        ready = work / source.name
        shutil.copyfile(source, ready)
        with ready.open("ab") as stream:
            stream.write(marked(number, f"{source.name[5:17]}00"))
        time.sleep(max(0.0, begun + (number + 1) * PERIOD_S - time.monotonic()))
        arrived.append(time.time())
        ready.rename(work / "data" / source.name)
    return arrived


def feed_lines(work: Path, sources: list[Path], count: int) -> list[float]:
    """Write to one file in every period, a marked record at the end of each write; the moments."""
    arrived = []
    ordinary = (line for source in sources for line in source.open("rb"))
    name = sources[0].name
    fd = os.open(work / "data" / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    begun = time.monotonic()
    for number in range(count):
        beside = b"".join(line for line, _ in zip(ordinary, range(LINES_BESIDE), strict=False))
        time.sleep(max(0.0, begun + (number + 1) * LINES_PERIOD_S - time.monotonic()))
        arrived.append(time.time())
        os.write(fd, beside + marked(number, f"{name[5:17]}00"))
    os.close(fd)
    return arrived


if __name__ == "__main__":
    main()
