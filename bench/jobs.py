"""The programs that are compared: ours, the same job on Polars, DuckDB and Spark, and ``wc -l`` as the floor.

Owns how each is started and how its answer is read. What a program does and leaves out is told at its top.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bench.answers import Answer, differences, read, read_count
from bench.data import DATA, Inputs
from bench.machine import BENCH_PYTHON, SPARK_PYTHON, UPSWELL, version_of
from bench.process import Run, run

HERE = Path(__file__).parent


class Job(NamedTuple):
    """One program."""

    name: str
    command: Callable[[Inputs, Path], list[str]]
    """Of the inputs and the directory of the output."""
    read: Callable[[Path, Path], Answer]
    """Of what it printed, and the directory of the output."""
    version: Callable[[], str] | None = None
    tree: bool = False
    """Whether it is several processes."""


def _python(python: Path, program: str) -> Callable[[Inputs, Path], list[str]]:
    return lambda inputs, output: [str(python), str(HERE / program), *inputs.arguments(output)]


UPSWELL_JOB = Job(
    "Upswell",
    lambda inputs, output: [str(UPSWELL), *inputs.arguments(output), "--once", "--json"],
    read,
)
JOBS = (
    UPSWELL_JOB,
    Job(
        "Polars",
        _python(BENCH_PYTHON, "polars_job.py"),
        read,
        lambda: version_of(BENCH_PYTHON, "polars"),
    ),
    Job(
        "DuckDB",
        _python(BENCH_PYTHON, "duckdb_job.py"),
        read,
        lambda: version_of(BENCH_PYTHON, "duckdb"),
    ),
    Job(
        "Spark",
        _python(SPARK_PYTHON, "spark_job.py"),
        lambda report, output: read(report, output, ordered=False),
        lambda: version_of(SPARK_PYTHON, "pyspark"),
        tree=True,
    ),
    Job(
        "wc -l",
        lambda inputs, output: [
            str(shutil.which("wc")),
            "-l",
            *map(str, sorted(inputs.data.iterdir())),
        ],
        lambda report, output: read_count(report),
    ),
)


def available(names: list[str] | None = None) -> list[Job]:
    """The jobs that can run here, ours first; says which cannot. ``names``: only these besides ours."""
    chosen = []
    for job in JOBS:
        if names and job is not UPSWELL_JOB and job.name not in names:
            continue
        if job.name == "Spark" and not (SPARK_PYTHON.exists() and shutil.which("java")):
            print("bench: Spark is left out: it needs Java 17 and make bench-throughput")
            continue
        chosen.append(job)
    return chosen


def play(job: Job, inputs: Inputs) -> tuple[Run, Answer]:
    """Run one job over the inputs, into an empty output; what it took, and its answer."""
    output = DATA / f"out-{job.name.split()[0].lower()}"
    shutil.rmtree(output, ignore_errors=True)
    report = output.with_suffix(".json")
    took = run(job.command(inputs, output), report, tree=job.tree)
    return took, job.read(report, output)


def play_all(jobs: list[Job], inputs: Inputs) -> tuple[dict[str, Run], Answer]:
    """Each job once, in turn, ours first; what each took, and our answer. Ends the program when one differs."""
    runs, ours = {}, None
    for job in jobs:
        runs[job.name], answer = play(job, inputs)
        ours = ours or answer
        found = differences(ours, answer)
        if found:
            raise SystemExit(f"bench: {job.name} answers differently: " + "; ".join(found))
    if ours is None:
        raise ValueError("there is no job to run")
    return runs, ours
