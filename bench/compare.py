"""Upswell against the same job on Polars (polars_job.py): the same files, the same answer, the time and memory of each.

Makes the input with ``upswell generate`` (kept in bench/data/), checks once that both give the same lines, outcomes and
bytes for every application, then times whole processes, start and end included, one after the other in turns, and
compares their answers every time. ``--dirty`` spoils a share of the lines first; odd files are not for the other job.
"""

import argparse
import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

BENCH = Path(__file__).parent
UPSWELL = Path(sys.executable).with_name("upswell")
POLARS_PYTHON = BENCH.parent / ".make" / "bench-venv" / "bin" / "python"
FILES = 60
CUSTOMERS = 1_000_000
SHARE = 0.1
SEED = 1
LOAD_MAX = 0.5
"""Above it something else runs that would be measured, too."""


class Run(NamedTuple):
    """One process, from its start to its end."""

    wall_s: float
    cpu_s: float
    peak_mib: float
    answer: dict[str, object]
    """Lines, outcomes, notifications."""


class Job(NamedTuple):
    """One of the two, and how to start it."""

    name: str
    command: Callable[[Path, Path], list[str]]
    """Of the input's directory and the output's."""


def paths(inputs: Path, output: Path) -> list[str]:
    """The brief's four parameters."""
    return [str(inputs / "data"), str(inputs / "segment"), str(inputs / "rules"), str(output)]


JOBS = (
    Job(
        "Upswell", lambda inputs, output: [str(UPSWELL), *paths(inputs, output), "--once", "--json"]
    ),
    Job(
        "Polars",
        lambda inputs, output: [
            str(POLARS_PYTHON),
            str(BENCH / "polars_job.py"),
            *paths(inputs, output),
        ],
    ),
)


def generate(records: int) -> Path:
    """The directory of the clean input, made unless it is there."""
    target = BENCH / "data" / f"{records}-{CUSTOMERS}-{SEED}"
    if not (target / "made").exists():
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        seed = ["--seed", str(SEED)]
        people = ["--customers", str(CUSTOMERS), "--share", str(SHARE)]
        size = ["--files", str(FILES), "--records", str(records // FILES)]
        for words in (
            ["rules", *seed],
            ["segment", *seed, *people],
            ["data", *seed, *people, *size],
        ):
            command = [UPSWELL, "generate", words[0], target / words[0], *words[1:]]
            subprocess.run(command, check=True, capture_output=True)
        (target / "made").touch()
    return target


SPOILS: tuple[Callable[[list[str]], str], ...] = (
    lambda f: ",".join(f[:3]),
    lambda f: ",".join([*f, "1"]),
    lambda f: ",".join(f) + ",",
    lambda f: ",".join(["+" + f[0], *f[1:]]),
    lambda f: ",".join(["x" + f[0], *f[1:]]),
    lambda f: ",".join(["\u0660" + f[0], *f[1:]]),
    lambda f: ",".join([f'"{field}"' for field in f]),
    lambda f: ",".join([f[0], "00" + f[1], f[2], f[3]]),
    lambda f: ",".join([f[0], "+" + f[1], f[2], f[3]]),
    lambda f: ",".join([f[0], f[1], "-" + f[2], f[3]]),
    lambda f: ",".join([f[0], f[1], f[2] + ".5", f[3]]),
    lambda f: ",".join([f[0], f[1], " " + f[2], f[3]]),
    lambda f: ",".join([*f[:3], f[3][:4] + "0229" + f[3][8:]]),
    lambda f: ",".join([*f[:3], f[3][:4] + "0431" + f[3][8:]]),
    lambda f: ",".join([*f[:3], f[3][:8] + "240000"]),
    lambda f: ",".join([*f[:3], f[3][:8] + "236000"]),
    lambda f: ",".join([*f[:3], str(int(f[3][:4]) + 1) + f[3][4:]]),
    lambda f: ",".join([*f[:3], str(int(f[3][:4]) - 1) + f[3][4:]]),
    lambda f: ",".join(f) + "\r",
    lambda f: "",
    lambda f: " \t",
    lambda f: "msisdn,service,volume,timestamp",
    lambda f: ",,,",
    lambda f: "9" * 5000,
)
"""Ways to spoil a line; some leave a record of another look, or one that is late or in the future."""


def spoil(clean: Path, ratio: float) -> Path:
    """A copy of the input in which this share of the lines is odd, and files begin with a mark and a header."""
    target = clean.with_name(f"{clean.name}-dirty")
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(clean, target)
    chance = random.Random(SEED)
    for index, file in enumerate(sorted((target / "data").iterdir())):
        lines = file.read_text("utf-8").splitlines()
        for at in chance.sample(range(len(lines)), int(len(lines) * ratio)):
            lines[at] = chance.choice(SPOILS)(lines[at].split(","))
        mark = "\ufeff" if index % 3 == 0 else ""
        header = "msisdn,service,volume,timestamp\n" if index % 2 == 0 else ""
        file.write_text(mark + header + "\n".join(lines) + "\n", "utf-8", newline="\n")
        past = time.time() - 3600
        os.utime(file, (past, past))
    return target


def run(job: Job, inputs: Path) -> tuple[Run, Path]:
    """Run one job over the input; what it took, and where its output is."""
    output = BENCH / "data" / f"out-{job.name.lower()}"
    shutil.rmtree(output, ignore_errors=True)
    report = output.with_suffix(".json")
    # posix_spawn and wait4 give the memory and time of this one process.
    with report.open("wb") as stdout, output.with_suffix(".log").open("wb") as stderr:
        command = job.command(inputs, output)
        files = [
            (os.POSIX_SPAWN_DUP2, stdout.fileno(), 1),
            (os.POSIX_SPAWN_DUP2, stderr.fileno(), 2),
        ]
        begun = time.perf_counter()
        child = os.posix_spawn(command[0], command, os.environ, file_actions=files)
        _, status, usage = os.wait4(child, 0)
        wall_s = time.perf_counter() - begun
    if status:
        sys.exit(f"bench: {job.name} failed:\n{output.with_suffix('.log').read_text('utf-8')}")
    answer = json.loads(report.read_text("utf-8"))
    sent = {name: count for name, count in sorted(answer["notifications"].items()) if count}
    answer = {"lines": answer["lines"], "outcomes": answer["outcomes"], "notifications": sent}
    return Run(wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, answer), output


def published(output: Path) -> dict[str, bytes]:
    """By application: its files joined in name order."""
    return {
        directory.name: b"".join(
            file.read_bytes() for file in sorted(directory.glob("NOTIFY*.csv"))
        )
        for directory in output.iterdir()
        if directory.name != ".upswell"
    }


def play(inputs: Path) -> list[Run]:
    """Both jobs once, in turn; ends the program when they differ."""
    (ours, our_output), (theirs, their_output) = (run(job, inputs) for job in JOBS)
    if ours.answer != theirs.answer:
        sys.exit(f"bench: the counts differ\n{ours.answer}\n{theirs.answer}")
    our_files, their_files = published(our_output), published(their_output)
    if our_files != their_files:
        odd = sorted(
            name for name in our_files | their_files if our_files.get(name) != their_files.get(name)
        )
        sys.exit(f"bench: the output differs for {', '.join(odd)}")
    return [ours, theirs]


def machine() -> str:
    """What it ran on."""
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    model = next(
        (line.partition(": ")[2] for line in lines if line.startswith("model name")),
        platform.machine(),
    )
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0))
    release = ".".join(platform.release().split(".")[:2])
    return f"{model}, {cores} cores, {memory_gib:.0f} GiB, Linux {release}"


def versions() -> str:
    """Of what was compared."""
    ours = subprocess.run([UPSWELL, "--version"], capture_output=True, text=True, check=True)
    code = "import polars; print(polars.__version__)"
    theirs = subprocess.run([POLARS_PYTHON, "-c", code], capture_output=True, text=True, check=True)
    return f"{ours.stdout.strip()}, polars {theirs.stdout.strip()}, CPython {platform.python_version()}"


def table(rounds: list[list[Run]], records: int) -> list[str]:
    """The medians as Markdown, and the ratio of the two."""
    rows = [
        "| | wall, s (least to most) | processor, s | million records a second | peak memory, MiB |",
        "|---|---|---|---|---|",
    ]
    walls = []
    for job, runs in zip(JOBS, zip(*rounds, strict=True), strict=True):
        times = sorted(run.wall_s for run in runs)
        walls.append(statistics.median(times))
        cpu_s = statistics.median(run.cpu_s for run in runs)
        peak = statistics.median(run.peak_mib for run in runs)
        rows.append(
            f"| {job.name} | {walls[-1]:.2f} ({times[0]:.2f} to {times[-1]:.2f}) | {cpu_s:.2f}"
            f" | {records / walls[-1] / 1e6:.1f} | {peak:.0f} |"
        )
    ratios = [theirs.wall_s / ours.wall_s for ours, theirs in rounds]
    works = [theirs.cpu_s / ours.cpu_s for ours, theirs in rounds]
    rows += [
        "",
        f"Upswell is {statistics.median(ratios):.1f} times as fast (median of the rounds' ratios, {min(ratios):.1f} to"
        f" {max(ratios):.1f}), for 1/{statistics.median(works):.1f} of the processor time.",
    ]
    return rows


def describe(rounds: list[list[Run]], inputs: Path, load: float) -> str:
    """The page of results."""
    answer = rounds[0][0].answer
    lines = int(str(answer["lines"]))
    size_mib = sum(file.stat().st_size for file in (inputs / "data").iterdir()) / 2**20
    outcomes = ", ".join(f"{count:,} {name}" for name, count in answer["outcomes"].items() if count)
    head = [
        "# Results",
        "",
        f"`make bench`: {lines:,} records in {FILES} files ({size_mib:,.0f} MiB), {CUSTOMERS:,} customers,"
        f" {SHARE:.0%} of them in the segment, 7 rules, clean input in the page cache.",
        "Whole processes, start and commit included, in turns; both gave the same counts and the same bytes"
        f" for every application in each of {len(rounds)} rounds.",
        "What the other job does and leaves out is told at the top of `polars_job.py`.",
        "",
    ]
    tail = [
        "",
        f"Outcomes: {outcomes}.",
        "",
        f"{machine()}; load {load:.1f} before it began.",
        "",
        f"{versions()}.",
    ]
    return "\n".join([*head, *table(rounds, lines), *tail]) + "\n"


def main() -> None:
    """Check, then time, then tell."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--records", type=int, default=20_000_000)
    arguments.add_argument("--rounds", type=int, default=5, help="0 checks the answers only")
    arguments.add_argument("--dirty", type=float, metavar="RATIO", help="check spoiled input, too")
    arguments.add_argument("--results", type=Path, help="the page to write")
    given = arguments.parse_args()

    inputs = generate(given.records)
    load = os.getloadavg()[0]
    if load > LOAD_MAX:
        print(f"bench: the load is {load:.1f}: times will be off, ratios less so", file=sys.stderr)
    checked = play(inputs)
    if given.dirty:
        dirty = play(spoil(inputs, given.dirty))
        print(f"bench: same answer on spoiled lines: {json.dumps(dirty[0].answer['outcomes'])}")
    print(
        f"bench: same answer on clean lines: {json.dumps(checked[0].answer['outcomes'])}",
        flush=True,
    )
    rounds = []
    for number in range(given.rounds):
        rounds.append(play(inputs))
        told = ", ".join(
            f"{job.name} {each.wall_s:.2f} s" for job, each in zip(JOBS, rounds[-1], strict=True)
        )
        print(f"round {number + 1}: {told}", flush=True)
    if rounds:
        page = describe(rounds, inputs, load)
        print(page)
        if given.results:
            given.results.write_text(page, "utf-8")


if __name__ == "__main__":
    main()
