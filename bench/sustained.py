"""Does it keep up: files at a steady rate for ten minutes, and reloads of a big segment in between.

The generator takes a core of its own, for most of the time at the rate that is the default here. As fast as it can
(``--rate 0``) there are hours of its day at which a batch waits for the one before. A pause is how long a file waited
from its appearance to the last notification file of the batch that took it: generator, reload, commit and whatever else
there was included.
What the disk's syncs took of it is told beside, as ``latency`` does: the generator's own files go to the same disk.
Files are moved out of DATA when they are old, as an operator would; at the end every line must have been taken.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from bisect import bisect_left
from operator import itemgetter
from pathlib import Path

from bench import data, duration, machine, results
from bench.machine import UPSWELL
from bench.process import memory_kib
from bench.service import Service, overlap, serving

SECONDS = 600
RECORDS = 100_000
RATE = 1_000_000
CUSTOMERS = 2_000_000
SHARE = 0.5
RELOAD_S = 60.0
KEPT_S = 10.0
"""Longer than a file needs to be still, and so to be done."""
PAUSE_MS_MAX = 200.0
START = "202601050800"
AROUND_S = 30
"""Starting, and looking at what was measured."""
FILES_MAX = 1_000_000


def main() -> None:
    """Measure, and keep the figures."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seconds", type=float, default=SECONDS)
    arguments.add_argument("--customers", type=int, default=CUSTOMERS)
    arguments.add_argument("--reload-s", type=float, default=RELOAD_S)
    arguments.add_argument("--records", type=int, default=RECORDS, help="in a file")
    arguments.add_argument(
        "--rate", type=int, default=RATE, help="records a second; 0: as fast as they are made"
    )
    given = arguments.parse_args()
    duration.tell("sustained", given.seconds + AROUND_S)
    told = machine.describe()
    work = data.DATA / "sustained"
    shutil.rmtree(work, ignore_errors=True)
    for name in ("data", "segment"):
        (work / name).mkdir(parents=True)
    segment = data.segment(given.customers, SHARE) / "SEGMENT.csv"
    shutil.copy(segment, work / "segment")
    inputs = data.Inputs(work / "data", work / "segment", data.rules_of(data.RULES))

    feed = Feed(inputs, segment, given.reload_s)
    command = [str(UPSWELL), "generate", "data", str(inputs.data), "--files", str(FILES_MAX)]
    command += ["--records", str(given.records), "--customers", str(given.customers)]
    if given.rate:
        # Each file is a minute's: so many of them make a minute of the clock.
        command += ["--live", "--start", START, "--speed", str(60 * given.rate / given.records)]
    with serving(inputs, work, traced=True, watched=(inputs.data,)) as service:
        while 'event="reference in force"' not in service.log():
            time.sleep(0.1)  # a start is no pause
        generator = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            feed.run(service, generator, given.seconds)
        finally:
            generator.kill()
            generator.wait()
        wait_until_idle(service, inputs.data)
        service.stop()
    figures = evaluate(service, feed, work, given.records)
    case = f"{given.seconds:.0f} seconds{'' if given.rate else ', as fast as files are made'}"
    results.save("sustained", case, {**told, **vars(given), **figures})
    shutil.rmtree(work)
    print(
        json.dumps({name: value for name, value in figures.items() if not isinstance(value, list)})
    )


class Feed:
    """What goes on around the run while the generator writes: old files leave, the segment changes."""

    def __init__(self, inputs: data.Inputs, segment: Path, reload_s: float) -> None:
        self._inputs = inputs
        self._reload_s = reload_s
        dials = segment.read_bytes()
        lines = dials.splitlines(keepends=True)
        # Another thousandth of it is left out in each of the two: a change that is taken without a word.
        cut = max(1, len(lines) // 1000)
        self._versions = (b"".join(lines[cut:]), b"".join(lines[:-cut]))
        self.reloads: list[float] = []
        self.memory: list[tuple[float, float]] = []
        """(seconds since the start, MiB of its own memory)."""
        self.begun = 0.0

    def run(self, service: Service, generator: subprocess.Popen[bytes], seconds: float) -> None:
        """Until so many seconds after the generator's first file."""
        while not service.appeared:
            if generator.poll() is not None or service.process.poll() is not None:
                sys.exit("bench: the generator or the run ended too soon")
            time.sleep(0.1)
        self.begun = time.time()
        while (elapsed := time.time() - self.begun) < seconds:
            if generator.poll() is not None:
                sys.exit("bench: the generator ended too soon")
            self.memory.append((elapsed, memory_kib(service.process.pid)["RssAnon"] / 1024))
            if elapsed > (len(self.reloads) + 1) * self._reload_s:
                self._reload()
            self._remove_old()
            time.sleep(1.0)

    def _reload(self) -> None:
        target = self._inputs.segment / "SEGMENT.csv"
        fresh = target.with_name(".SEGMENT.csv")
        fresh.write_bytes(self._versions[len(self.reloads) % 2])
        self.reloads.append(time.time() - self.begun)
        fresh.rename(target)

    def _remove_old(self) -> None:
        with os.scandir(self._inputs.data) as entries:
            for entry in entries:
                if entry.name.startswith("DATA_") and time.time() - entry.stat().st_mtime > KEPT_S:
                    Path(entry.path).unlink()


def wait_until_idle(service: Service, directory: Path) -> None:
    """Until nothing has been published for a while: what there is has been taken then."""
    while time.time() - service.appeared[-1].moment < 3.0:
        time.sleep(0.1)


def evaluate(service: Service, feed: Feed, work: Path, records: int) -> dict[str, object]:
    """The figures; ends the program when a line or a reload is missing."""
    files = [one for one in service.appeared if one.path.name.startswith("DATA_")]
    service.check_lines(len(files) * records)
    published = {}
    for moment, path in service.appeared:
        if path.name.startswith("NOTIFY_"):
            published[int(path.name.split("_")[1])] = moment
    log = subprocess.run(
        [UPSWELL, "status", "--output", work / "out", "--log", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    batches = {}
    for line in log.stdout.splitlines():
        taken = json.loads(line)
        batches[taken["file"]] = taken["batch"]
    syncs = service.syncs()
    waits, beyond_ms = [], []
    for one in files:
        end = published.get(batches[one.path.name])
        if end is not None:
            near = syncs[bisect_left(syncs, one.moment, key=itemgetter(1)) :]
            near = near[: bisect_left(near, end, key=itemgetter(0))]
            waits.append((round(one.moment - feed.begun, 3), round(1000 * (end - one.moment), 2)))
            disk_s = overlap(one.moment, end, near)
            beyond_ms.append(round(waits[-1][1] - 1000 * disk_s, 2))
    in_force = service.log().count('event="reference in force"')
    if in_force < len(feed.reloads):
        sys.exit(f"bench: {in_force} versions in force after {len(feed.reloads)} reloads")
    waits_ms = [wait_ms for _, wait_ms in waits]
    span_s = files[-1].moment - files[0].moment
    return {
        "files": len(files),
        "records_per_s": len(files) * records / span_s,
        "reloads_s": feed.reloads,
        "dials": (work / "segment" / "SEGMENT.csv").read_bytes().count(b"\n"),
        "p50_ms": results.percentile(waits_ms, 0.5),
        "p99_ms": results.percentile(waits_ms, 0.99),
        "most_ms": max(waits_ms),
        "pauses": sum(wait_ms > PAUSE_MS_MAX for wait_ms in waits_ms),
        "p50_beyond_disk_ms": results.percentile(beyond_ms, 0.5),
        "p99_beyond_disk_ms": results.percentile(beyond_ms, 0.99),
        "most_beyond_disk_ms": max(beyond_ms),
        "batches": len(set(batches.values())),
        "waits": waits,
        "memory": [(round(at, 1), round(mib, 1)) for at, mib in feed.memory],
    }


if __name__ == "__main__":
    main()
