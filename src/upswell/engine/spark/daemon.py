"""The entry point of Python on an executor, ``python -m upswell.engine.spark.daemon``, in place of Spark's own daemon.

Owns how Spark's Python files are found there: they are the node's own, named by PYTHONPATH, which an isolated
interpreter such as that of upswell.pex does not read. Then Spark's daemon takes over, and forks a worker for each core.
The kernel is loaded before that, once for all of them. It knows nothing of jobs.
"""

import importlib
import os
import sys


def find_spark() -> None:
    """Append to ``sys.path`` what PYTHONPATH names and it lacks."""
    named = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path += [place for place in named if place and place not in sys.path]


def main() -> None:
    """Serve the JVM that started this process, until it closes stdin."""
    importlib.import_module("upswell.engine.spark.executor")
    find_spark()
    importlib.import_module("pyspark.daemon").manager()


if __name__ == "__main__":
    main()
