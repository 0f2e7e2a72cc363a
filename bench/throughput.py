"""How many times faster: the whole of ``upswell … --once`` against the same job on other engines, and ``wc -l``.

Every case is played in rounds: all programs once, one after the other, on the same files. Their answers are compared
every time, so a program that is wrong ends the benchmark. Ratios are those of one round; the medians are of them.
``--short`` plays each program once on few records, clean and spoiled: what CI does.
"""

import argparse
import json
from typing import NamedTuple

from bench import data, duration, machine, results
from bench.answers import Answer
from bench.jobs import UPSWELL_JOB, Job, available, play, play_all
from bench.process import Run

ROUNDS = 5
DIRTY = 0.01
SHARES = [0.1, 0.01]
SHORT = (1_000_000, data.FILES)
"""Records and files of ``--short``."""


class Case(NamedTuple):
    """What is played on."""

    records: int
    share: float
    dirty: float = 0.0
    files: int = data.FILES

    @property
    def name(self) -> str:
        """For people."""
        odd = f", {self.dirty:.0%} dirty" if self.dirty else ""
        return f"{self.records / 1e6:g} million records, {self.share:.0%} in the segment{odd}"

    def inputs(self) -> data.Inputs:
        """Made when they are not there yet."""
        return data.inputs(self.records, files=self.files, share=self.share, dirty=self.dirty)


def cases(sizes: list[int], shares: list[float], dirts: list[float]) -> list[Case]:
    """Each size with each share of the customers in the segment and each share of odd lines."""
    return [Case(records, share, dirty) for records in sizes for share in shares for dirty in dirts]


def main() -> None:
    """Play the cases, and keep the figures of each as soon as it has been played."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--sizes", type=int, nargs="+", default=[20_000_000, 100_000_000])
    arguments.add_argument("--shares", type=float, nargs="+", default=SHARES, help="in the segment")
    arguments.add_argument(
        "--dirty", type=float, nargs="+", default=[0.0, DIRTY], help="shares of odd lines"
    )
    arguments.add_argument("--rounds", type=int, default=ROUNDS)
    arguments.add_argument(
        "--spark-rounds", type=int, help="fewer of them for Spark, which takes long"
    )
    arguments.add_argument("--jobs", nargs="+", help="only these besides Upswell")
    arguments.add_argument("--short", action="store_true", help="answers only, on few records")
    given = arguments.parse_args()
    if given.short:
        check_answers()
        return
    jobs = available(given.jobs)
    played = cases(given.sizes, given.shares, given.dirty)
    duration.tell("throughput", seconds(jobs, played, given.rounds, given.spark_rounds))
    for case in played:
        inputs = case.inputs()
        told = machine.describe()
        play_all(jobs[:1], inputs)  # brings the files into the page cache
        rounds = []
        answer = None
        for number in range(given.rounds):
            spark = given.spark_rounds is None or number < given.spark_rounds
            runs, answer = play_all([job for job in jobs if spark or not job.tree], inputs)
            if case.dirty:
                runs[f"{UPSWELL_JOB.name}, clean"], _ = play(
                    UPSWELL_JOB, case._replace(dirty=0.0).inputs()
                )
            rounds.append(runs)
            walls = ", ".join(f"{name} {took.wall_s:.2f} s" for name, took in runs.items())
            print(f"{case.name}, round {number + 1}: {walls}", flush=True)
        if answer:
            keep(case, jobs, rounds, answer, told)


def seconds(jobs: list[Job], played: list[Case], rounds: int, spark_rounds: int | None) -> float:
    """About how long it takes to play so many rounds of these cases."""
    return sum(
        duration.job_s(job.name, case.records)
        * (min(rounds, spark_rounds) if job.tree and spark_rounds is not None else rounds)
        for case in played
        for job in [*jobs, *(jobs[:1] if case.dirty else [])]
    )


def check_answers() -> None:
    """Every program says the same, on clean lines and on spoiled ones."""
    for job in available():
        if job is UPSWELL_JOB:
            continue
        records, files = SHORT
        # Starting Spark takes as long as all the others together, and most of the spoiled input's lines are clean.
        for dirty in (DIRTY,) if job.tree else (0.0, DIRTY):
            case = Case(records, data.SHARE, dirty, files)
            _, answer = play_all([UPSWELL_JOB, job], case.inputs())
            print(
                f"{job.name} answers the same: {case.name}: {json.dumps(answer.outcomes)}",
                flush=True,
            )


def keep(
    case: Case, jobs: list[Job], rounds: list[dict[str, Run]], answer: Answer, told: dict[str, str]
) -> None:
    """Write the figures of one case."""
    versions = [job.version() for job in jobs if job.version]
    size_bytes = sum(file.stat().st_size for file in case.inputs().data.iterdir())
    results.save(
        "throughput",
        case.name,
        {
            **told,
            "versions": ", ".join([told["versions"], *versions]),
            **case._asdict(),
            "lines": answer.lines,
            "bytes": size_bytes,
            "outcomes": answer.outcomes,
            "rounds": [{name: took._asdict() for name, took in runs.items()} for runs in rounds],
        },
    )


if __name__ == "__main__":
    main()
