"""How much memory a big segment, many rules and many live totals take, and how soon they are ready after a restart.

And what a commit to such a state costs, and whether the input's size matters.

Every customer of the segment has a total for each of some services, so the totals are as many as asked for. A small
state is measured beside the big one in the same way, because what follows the state shows as the ratio of the two.
"""

import argparse
import itertools
import json
import shutil
import time
from pathlib import Path
from typing import NamedTuple

from bench import data, duration, machine, results
from bench.jobs import UPSWELL_JOB, play
from bench.process import memory_kib, run
from bench.service import Service, marked, serving, with_marked
from upswell import kernel
from upswell.state.ledger import read_ledger
from upswell.state.reader import StateReader

DIALS = 10_000_000
SMALL_DIALS = 10_000
TOTALS_A_DIAL = 5
RULES = 20
ROUNDS = 5
COMMITS = 30
COMMIT_RECORDS = 1_000
SIZES = (20_000_000, 100_000_000)
SMALL_SHARE = 0.01
"""Of the customers: the state is the same for all sizes, nearly, so that what is compared follows the input."""
STATE_MILLION_S = 8.0
"""For each million dials, writing and taking the records that make the totals included."""
RESTART_S = 8.0
"""A restart and its commits."""
HOUR = "20260105100000"
"""All of the services that are used have their hours then."""


class State(NamedTuple):
    """A state with what made it."""

    inputs: data.Inputs
    work: Path
    peak_mib: float
    """Of the run that made it."""


def main() -> None:
    """Measure both states and the sizes, and keep the figures."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--dials", type=int, default=DIALS)
    arguments.add_argument("--rounds", type=int, default=ROUNDS)
    arguments.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    given = arguments.parse_args()
    duration.tell("memory", seconds(given.dials, given.rounds, given.sizes))
    marks = given.rounds + COMMITS * given.rounds
    told = machine.describe()
    # First, as the system counts the peak of what starts a program as the program's own.
    peaks = [
        (size, play(UPSWELL_JOB, data.inputs(size, share=SMALL_SHARE))[0].peak_mib)
        for size in given.sizes
    ]
    results.save("memory", "input", told | {"peaks_mib": peaks})
    print(json.dumps({"input": peaks}), flush=True)
    states = {}
    for dials in (SMALL_DIALS, given.dials):
        states[dials] = state = make(dials, marks)
        case = f"{dials:,} dials"
        results.save(
            "memory", case, told | {"dials": dials, "peak_mib": state.peak_mib, **sizes_of(state)}
        )
    restarts: dict[int, list[dict[str, float]]] = {dials: [] for dials in states}
    for number in range(given.rounds):
        for dials, state in states.items():
            restarts[dials].append(restart(state, number, given.rounds))
    for dials, rounds in restarts.items():
        case = f"{dials:,} dials"
        results.save("memory", case, results.load("memory")[case] | {"restarts": rounds})
        print(json.dumps({case: results.load("memory")[case]}), flush=True)
    for state in states.values():
        shutil.rmtree(state.work)


def seconds(dials: int, rounds: int, sizes: list[int]) -> float:
    """About how long it takes: the state is made, started on in rounds, and the sizes are read."""
    runs_s = sum(duration.job_s("Upswell", size) for size in sizes)
    return STATE_MILLION_S * dials / 1e6 + 2 * rounds * RESTART_S + runs_s


def make(dials: int, marks: int) -> State:
    """A state of so many dials, each with its totals."""
    work = data.DATA / f"memory-{dials}"
    shutil.rmtree(work, ignore_errors=True)
    (work / "data").mkdir(parents=True)
    plain = data.segment(dials, 1.0)
    inputs = data.Inputs(
        work / "data", with_marked(plain, work / "segment", marks), data.rules_of(RULES)
    )
    # One file for each service and half of the customers; they differ in their first record, and so in their content.
    lines = (plain / "SEGMENT.csv").read_bytes().splitlines()
    halves = (lines[: dials // 2], lines[dials // 2 :])
    for number, (service, half) in enumerate(
        itertools.product(range(1, TOTALS_A_DIAL + 1), halves)
    ):
        rest = f",{service},1,{HOUR}\n".encode()
        target = inputs.data / f"DATA_{HOUR[:8]}10{number:02}.csv"
        target.write_bytes(rest.join(half) + rest)
        data.age(target)
    command = UPSWELL_JOB.command(inputs, work / "out")
    return State(inputs, work, run(command, work / "summary").peak_mib)


def sizes_of(state: State) -> dict[str, float]:
    """What the kernel holds for this state: bytes a dial and a live total, and how many there are."""
    contents = [file.read_bytes() for file in sorted(state.inputs.segment.iterdir())]
    segment, _ = kernel.Segment.parse(contents)
    with StateReader.open(state.work / "out" / ".upswell") as reader:
        last, parts = reader.last(), read_ledger(reader)
    ledger = kernel.Ledger.load(*parts, last.day_open if last else 0, 2)
    totals, _ = ledger.entries()
    return {
        "dials": len(segment),
        "bytes_a_dial": segment.memory_bytes() / len(segment),
        "totals": totals,
        "bytes_a_total": ledger.memory_bytes() / totals,
    }


def restart(state: State, number: int, rounds: int) -> dict[str, float]:
    """Start on the state with a new file: when its notification is there, what is held then, what a commit takes."""
    move_in(state, number, b"")
    begun = time.time()
    with serving(state.inputs, state.work) as service:
        ready_s = service.wait_for(number) - begun
        held = memory_kib(service.process.pid)
        first = rounds + number * COMMITS
        commits_ms = [commit(state, service, mark) for mark in range(first, first + COMMITS)]
        peak_mib = memory_kib(service.process.pid)["VmHWM"] / 1024
        service.stop()
    return {
        "ready_s": ready_s,
        "ready_mib": held["VmRSS"] / 1024,
        "peak_mib": peak_mib,
        "commit_ms": results.percentile(commits_ms, 0.5),
    }


def commit(state: State, service: Service, mark: int) -> float:
    """Milliseconds from a file of a thousand records of the segment to its notification."""
    rest = f",1,1,{HOUR}\n".encode()
    with (state.inputs.segment / "SEGMENT.csv").open("rb") as stream:
        stream.seek(mark * COMMIT_RECORDS * 12 % (SMALL_DIALS * 11))
        stream.readline()
        dials = [stream.readline().rstrip(b"\n") for _ in range(COMMIT_RECORDS)]
    begun = move_in(state, mark, b"".join(dial + rest for dial in dials if dial))
    taken_ms = 1000 * (service.wait_for(mark) - begun)
    time.sleep(0.1)
    return taken_ms


def move_in(state: State, mark: int, content: bytes) -> float:
    """Move a file that begins with a marked record into DATA; the moment."""
    hour, minute = divmod(mark, 60)
    ready = state.work / f"DATA_{HOUR[:8]}{11 + hour:02}{minute:02}.csv"
    ready.write_bytes(marked(mark, HOUR) + content)
    begun = time.time()
    ready.rename(state.inputs.data / ready.name)
    return begun


if __name__ == "__main__":
    main()
