"""What Python starts with on an executor, ``python -m upswell.engine.spark.daemon``, in place of Spark's own daemon.

Owns the way in which Spark's Python files are found there: they are the node's own, named by PYTHONPATH, which an
isolated interpreter such as that of upswell.pex does not read. What follows is Spark's daemon, which forks a worker for
each core. The kernel is loaded before, once for all of them. It knows nothing of jobs.
"""

import importlib
import os
import sys


def find_spark() -> None:
    """Put what PYTHONPATH names behind everything else that is on the path, as far as it is not there."""
    named = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path += [place for place in named if place and place not in sys.path]


def main() -> None:
    """Serve the JVM that started this process, until it closes stdin."""
    importlib.import_module("upswell.engine.spark.executor")
    find_spark()
    importlib.import_module("pyspark.daemon").manager()


if __name__ == "__main__":
    main()
