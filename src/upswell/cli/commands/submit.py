"""``upswell submit``: the main job on a cluster of Apache Spark, with upswell.pex as all that is shipped.

Owns which PEX that is. Everything else is ``run``'s.
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
        "The command run with --engine spark, on a standalone cluster: the driver is this process,"
        " and its executors are sent the upswell.pex that it runs from, which is their Python. The"
        " nodes need Spark, Java, Python of the version that this is, and DATA and the state's"
        " ledger/ at the same paths. SPARK_HOME names Spark here, unless the package pyspark is"
        " installed; its spark-defaults.conf has the executors' memory and cores.\n\nExit code,"
        " signals, restarts: as run has them."
    ),
)
@options.run
def command(config: str | None, as_json: bool, verbose: bool, **given: Any) -> int:
    """Run on Spark, with the PEX that was named or that this process comes from."""
    from upswell.config.sources import resolve
    from upswell.errors import UsageError

    flags = options.fields(given)
    engine = flags["engine"] or "spark"
    if engine != "spark":
        raise UsageError(
            f"submit computes on Spark, and --engine {engine} does not",
            "leave --engine out, or use upswell run",
        )
    settings = resolve(flags | {"engine": "spark"}, Path(config) if config else None)
    if not settings.master.startswith("spark://"):
        raise UsageError(
            f"submit sends the job to a cluster, and --master {settings.master} is none",
            "give --master spark://HOST:PORT; on this machine alone: upswell run --engine spark",
        )
    if settings.pex is None:
        pex = os.environ.get("PEX")
        if not pex or not Path(pex).is_file():
            raise UsageError(
                "there is nothing to ship: this is not upswell.pex, and --pex names none",
                "run ./upswell.pex submit, or add --pex upswell.pex",
            )
        settings = replace(settings, pex=Path(pex))
    return run(settings, as_json, verbose)
