"""How it grows: the same work with ever more dials, rules, threads, names that were taken before, or lines in a file.

In each series one thing grows and what comes out stays the same: more dials are those of customers who use nothing,
more rules those of services that nobody uses. The sizes of a series are played in turns, round by round, and each is
compared with the series' first or with the one that the goal names. Times are of the whole process; ``starts_s``, of
runs over a single record, tell how much of it is reading the references.
"""

import argparse
import itertools
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench import data, duration, machine, results
from bench.jobs import UPSWELL_JOB, play
from bench.process import run
from bench.service import marked, serving, with_marked
from upswell import kernel
from upswell.generate.population import make_msisdns
from upswell.kernel import OUTCOMES, REASONS
from upswell.source.file import File
from upswell.source.planner import Source
from upswell.state.batch import Batch, LogRange
from upswell.state.checkpoint import Checkpoint
from upswell.zones import Zones

RECORDS = 20_000_000
ROUNDS = 5
DIALS = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
RULES = (1, 7, 100, 1_000)
THREADS = (1, 2)
LINES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
NAMES = (0, 1_000, 100_000, 1_000_000)
LEFT = 100_000
CHOSEN = 1_000
"""Dials of every segment that do use something, so that what is found stays the same."""
FILES = 30
"""Fed to a run with many names."""
FED_S = 6.0
"""Of one round at one number of names: a start, and the files."""
PREPARED_S = 90.0
"""Making the states of all numbers of names."""
NAMES_A_BATCH = 1_000
SERIES = ("dials", "rules", "threads", "lines", "names")


def main() -> None:
    """Measure the series asked for, and keep each."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--series", nargs="+", choices=SERIES, default=SERIES)
    arguments.add_argument("--records", type=int, default=RECORDS)
    arguments.add_argument("--rounds", type=int, default=ROUNDS)
    arguments.add_argument("--largest", type=int, default=10_000_000, help="dials, lines and names")
    arguments.add_argument("--left", type=int, default=LEFT, help="files left in DATA")
    given = arguments.parse_args()
    duration.tell("growth", seconds(given.series, given.rounds, given.records, given.left))
    for series in given.series:
        told = machine.describe() | {"records": given.records}
        if series == "names":
            points = measure_names([n for n in NAMES if n <= given.largest], given.rounds)
            told |= measure_scan(given.left)
        else:
            points = measure_runs(dict(plays(series, given.records, given.largest)), given.rounds)
        results.save("growth", series, told | {"points": points})
        print(f"{series}: measured", flush=True)


def seconds(names: list[str], rounds: int, records: int, left: int) -> float:
    """About how long these series take."""
    runs = {"dials": len(DIALS), "rules": len(RULES), "threads": len(THREADS), "lines": len(LINES)}
    starts_s = {"dials": 4.0, "rules": 1.0, "threads": 1.0, "lines": 6.0}
    played = sum(
        runs[name] * (rounds + 1) * (starts_s[name] + duration.job_s("Upswell", records))
        for name in names
        if name in runs
    )
    fed = rounds * len(NAMES) * FED_S + PREPARED_S + left / 1000 if "names" in names else 0.0
    return played + fed


def plays(
    series: str, records: int, largest: int
) -> Iterator[tuple[int, tuple[data.Inputs, list[str]]]]:
    """What is played at each size of a series: inputs and options."""
    inputs = data.inputs(records, services=data.RULES)
    if series == "dials":
        for dials in DIALS:
            if dials <= largest:
                yield dials, (inputs._replace(segment=wide_segment(dials)), [])
    elif series == "rules":
        for rules in RULES:
            yield rules, (inputs._replace(rules=data.rules_of(rules)), [])
    elif series == "threads":
        for threads in THREADS:
            yield threads, (inputs, ["--threads", str(threads)])
    else:
        for lines in LINES:
            if lines <= min(largest, records):
                size = data.inputs(records // lines * lines, files=records // lines)
                yield lines, (size, [])


def wide_segment(dials: int) -> Path:
    """A segment of a thousand customers who use something, and of others who do not."""
    target = data.DATA / f"segment-wide-{dials}"
    with data.made(target) as partial:
        if partial:
            indexes = itertools.chain(
                range(min(CHOSEN, dials)), range(data.CUSTOMERS, data.CUSTOMERS + dials - CHOSEN)
            )
            lines = (dial + b"\n" for dial in make_msisdns(data.SEED, indexes))
            with (partial / "SEGMENT.csv").open("wb") as stream:
                stream.writelines(lines)
    return target


def measure_runs(
    sizes: dict[int, tuple[data.Inputs, list[str]]], rounds: int
) -> list[dict[str, object]]:
    """For each size the wall's seconds of every round, and of a run that only starts."""
    walls: dict[int, list[float]] = {size: [] for size in sizes}
    starts: dict[int, list[float]] = {size: [] for size in sizes}
    for _ in range(rounds + 1):
        for size, (inputs, options) in sizes.items():
            job = UPSWELL_JOB._replace(command=with_options(options))
            walls[size].append(play(job, inputs)[0].wall_s)
            starts[size].append(play(job, inputs._replace(data=single_record()))[0].wall_s)
    # The first round brought the files into the page cache.
    return [
        {"size": size, "walls_s": walls[size][1:], "starts_s": starts[size][1:]} for size in sizes
    ]


def with_options(options: list[str]) -> Callable[[data.Inputs, Path], list[str]]:
    """The command of our job with options besides."""
    return lambda inputs, output: [*UPSWELL_JOB.command(inputs, output), *options]


def single_record() -> Path:
    """A DATA directory of one record."""
    target = data.DATA / "data-single"
    with data.made(target) as partial:
        if partial:
            file = partial / "DATA_202601050800.csv"
            file.write_bytes(marked(0, "20260105080000"))
            data.age(file)
    return target


def measure_names(sizes: list[int], rounds: int) -> list[dict[str, object]]:
    """For each number of names in the checkpoint: from a file's arrival to its notification, files in turns."""
    works = {names: prepare_names(names, rounds * FILES + 1) for names in sizes}
    taken_ms: dict[int, list[float]] = {names: [] for names in sizes}
    for number in range(rounds):
        for names, work in works.items():
            taken_ms[names] += feed(work, number * FILES)
    for work in works.values():
        shutil.rmtree(work)
    return [{"size": names, "taken_ms": taken_ms[names]} for names in sizes]


def prepare_names(names: int, marks: int) -> Path:
    """A directory with a state that has taken so many files, which are archived since."""
    work = data.DATA / f"names-{names}"
    shutil.rmtree(work, ignore_errors=True)
    (work / "data").mkdir(parents=True)
    with_marked(data.segment(10_000, 0.1), work / "segment", marks)
    first = work / "data" / "DATA_202501010000.csv"
    first.write_bytes(marked(marks - 1, "20250101000000"))
    data.age(first)
    run(UPSWELL_JOB.command(inputs_of(work), work / "out"), work / "summary")
    first.unlink()
    with Checkpoint.open(work / "out" / ".upswell", kernel.SHARDS) as checkpoint:
        for start in range(0, names, NAMES_A_BATCH):
            append_taken(checkpoint, range(start, min(start + NAMES_A_BATCH, names)))
    return work


def inputs_of(work: Path) -> data.Inputs:
    """The inputs of a run in this directory."""
    return data.Inputs(work / "data", work / "segment", data.rules_of(data.RULES))


def append_taken(checkpoint: Checkpoint, numbers: range) -> None:
    """Commit one batch that took as many files of one record each, as the engine would have."""
    versions, last = checkpoint.reader.current_versions(), checkpoint.reader.last()
    if versions is None or last is None:
        raise ValueError("a state that has taken nothing yet")
    batch = checkpoint.reader.last_batch() + 1
    files = [taken_file(number) for number in numbers]
    outcomes = dict.fromkeys(OUTCOMES, 0) | {"not_in_segment": len(files)}
    ranges = [
        LogRange(batch, at, file.name, file.stamp, 0, file.size, last.newest_stamp, versions)
        for at, file in enumerate(files)
    ]
    checkpoint.append(
        Batch(
            number=batch, ranges=ranges, files=files, outputs=(), applications=(), notifications=(), rejects=b"",
            dropped=(), delta=b"", compactions=(), day_open=last.day_open, lines=len(files),
            outcomes=outcomes, reasons=dict.fromkeys(REASONS, 0),
        ),
        (),
    )  # fmt: skip
    checkpoint.drain_wal(idle=False)


def taken_file(number: int) -> File:
    """The row of a file of one record that was taken whole."""
    stamp = time.strftime("%Y%m%d%H%M", time.gmtime(1_577_836_800 + 60 * number))
    content = b"010%08d,1,1,%b00\n" % (number, stamp.encode())
    crc = kernel.crc64(content)
    return File(
        name=f"DATA_{stamp}.csv", state="done", stamp=stamp, inode=number + 1, size=len(content), mtime_ns=number + 1,
        offset=len(content), newlines=1, digest=crc, first_record=kernel.crc64(content[:-1]), lines=1,
        outcomes={"not_in_segment": 1},
    )  # fmt: skip


def feed(work: Path, first: int) -> list[float]:
    """Milliseconds from each of some files to its notification, in a run of its own."""
    taken_ms = []
    with serving(inputs_of(work), work) as service:
        for number in range(first, first + FILES):
            stamp = time.strftime("%Y%m%d%H%M", time.gmtime(1_767_225_600 + 60 * number))
            ready = work / f"DATA_{stamp}.csv"
            ready.write_bytes(marked(number, f"{stamp}00"))
            begun = time.time()
            ready.rename(work / "data" / ready.name)
            came = service.wait_for(number)
            # The first of a run waits for its start.
            if number > first:
                taken_ms.append(1000 * (came - begun))
            time.sleep(0.1)
        service.stop()
    return taken_ms


def measure_scan(left: int) -> dict[str, object]:
    """With so many files left in DATA: seconds of a look at them all, and what a new file waits beside it."""
    work = prepare_names(0, FILES + 1)
    for number in range(left):
        file = taken_file(number)
        target = work / "data" / file.name
        target.write_bytes(b"010%08d,1,1,%b00\n" % (number, file.stamp.encode()))
        data.age(target)
    run(UPSWELL_JOB.command(inputs_of(work), work / "out"), work / "summary")
    looks_s = []
    with Checkpoint.open(work / "out" / ".upswell", kernel.SHARDS) as checkpoint:
        source = Source(
            work / "data", checkpoint.reader, settle_s=2, keep_days=2, zones=Zones(), max_stamp_ahead_days=1,
            since=None, rejects_max_bytes_per_file=0,
        )  # fmt: skip
        for _ in range(7):
            begun = time.perf_counter()
            source.scan()
            looks_s.append(time.perf_counter() - begun)
    # The first two meet every name anew; a run that goes on looks as the later ones do.
    figures = {"left": left, "first_look_s": looks_s[0], "look_s": statistics.median(looks_s[2:])}
    taken_ms = feed(work, 0)
    shutil.rmtree(work)
    return figures | {"left_taken_ms": taken_ms}


if __name__ == "__main__":
    main()
