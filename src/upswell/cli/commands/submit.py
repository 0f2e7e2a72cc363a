"""``upswell submit``: the main job on an Apache Spark cluster, shipping only upswell.pex.

Owns which PEX that is. Everything else belongs to ``run``.
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from upswell.cli import options
from upswell.cli.commands.run import run
from upswell.cli.terminal import Command

EXAMPLES = (
    "./upswell.pex submit --master spark://HOST:7077 data/ segment/ rules/ out/ --once",
    "./upswell.pex submit --master spark://HOST:7077 data/ segment/ rules/ out/",
    "upswell submit --pex dist/upswell.pex --master spark://HOST:7077 data/ segment/ rules/ out/",
)


@click.command(
    "submit",
    cls=Command,
    examples=EXAMPLES,
    help=(
        "The same as run with --engine spark, on a standalone cluster. This process is the driver; it"
        " ships the upswell.pex it runs from to the executors, as their Python. The nodes need Spark,"
        " Java, the same version of Python, and DATA and the state's ledger/ at the same paths. Here,"
        " SPARK_HOME names Spark unless the package pyspark is installed; memory and cores of the"
        " executors are set in its spark-defaults.conf.\n\nExit codes, signals and restarts: the same as"
        " for run."
    ),
)
@options.run
def command(config: str | None, as_json: bool, verbose: bool, **given: Any) -> int:
    """Run on Spark with the given PEX, or the one this process was started from."""
    from upswell.config.sources import resolve
    from upswell.errors import UsageError

    flags = options.fields(given)
    engine = flags["engine"] or "spark"
    if engine != "spark":
        raise UsageError(
            f"submit requires Spark, but --engine is {engine}",
            "omit --engine, or use upswell run",
        )
    settings = resolve(flags | {"engine": "spark"}, Path(config) if config else None)
    if not settings.master.startswith("spark://"):
        raise UsageError(
            f"submit requires a cluster, but --master is {settings.master}",
            "pass --master spark://HOST:PORT; to use only this machine: upswell run --engine spark",
        )
    if settings.pex is None:
        pex = os.environ.get("PEX")
        if not pex or not Path(pex).is_file():
            raise UsageError(
                "no PEX to ship: this process was not started from upswell.pex, and --pex is not set",
                "run ./upswell.pex submit, or add --pex upswell.pex",
            )
        settings = replace(settings, pex=Path(pex))
    return run(settings, as_json, verbose)
