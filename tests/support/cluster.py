"""A standalone cluster of Spark on loopback: a master and workers of one core each, as processes of their own.

``python tests/support/cluster.py`` keeps one until Ctrl-C: ``make spark-cluster``.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from upswell.engine.spark.jvm import find_java, find_spark

WORKERS = 2
MEMORY = "1g"
"""Of a worker, all of which its one executor takes."""
PORT = 7077
START_S = 300


class Cluster:
    """A master and its workers, in a directory for logs and work."""

    def __init__(self, directory: Path, port: int = 0) -> None:
        find_java()
        self.home, _ = find_spark()
        self.directory = directory
        self.workers: list[subprocess.Popen[bytes]] = []
        place = ("--host", "127.0.0.1", "--webui-port", "0")
        self.master = self._start("master", "master.Master", *place, "--port", str(port))
        self.url = self._wait("master", r"Starting Spark master at (spark://\S+)")
        for number in range(WORKERS):
            self.add_worker(number)
        for number in range(WORKERS):
            self._wait(f"worker{number}", "Successfully registered with (master)")

    def add_worker(self, number: int) -> None:
        """Start one more."""
        work = self.directory / f"work{number}"
        size = ("--cores", "1", "--memory", MEMORY, "--work-dir", str(work))
        place = ("--host", "127.0.0.1", "--webui-port", "0")
        self.workers.append(
            self._start(f"worker{number}", "worker.Worker", *place, *size, self.url)
        )

    def executors(self, worker: int) -> list[int]:
        """The processes of the executors that this worker started."""
        return [
            pid
            for pid, parent, words in processes()
            if parent == self.workers[worker].pid and "CoarseGrainedExecutorBackend" in words
        ]

    def log(self, name: str) -> str:
        """What a process of it has said."""
        return (self.directory / f"{name}.log").read_text("utf-8", "replace")

    def close(self) -> None:
        """Kill all of it."""
        for process in (*self.workers, self.master):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _start(self, name: str, main: str, *words: str) -> "subprocess.Popen[bytes]":
        environ = os.environ | {
            "SPARK_HOME": str(self.home),
            "SPARK_LOCAL_IP": "127.0.0.1",
            "SPARK_PUBLIC_DNS": "127.0.0.1",
            "SPARK_DAEMON_MEMORY": "256m",
        }
        command = [self.home / "bin" / "spark-class", f"org.apache.spark.deploy.{main}", *words]
        with (self.directory / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                command,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _wait(self, name: str, words: str) -> str:
        late = time.monotonic() + START_S
        while not (found := re.search(words, self.log(name))):
            if time.monotonic() > late:
                self.close()
                raise TimeoutError(f"the {name} did not start:\n{self.log(name)[-2000:]}")
            time.sleep(0.05)
        return found[1]


@contextmanager
def cluster(directory: Path, port: int = 0) -> Iterator[Cluster]:
    """A cluster, while the block lasts."""
    started = Cluster(directory, port)
    try:
        yield started
    finally:
        started.close()


def processes() -> Iterator[tuple[int, int, str]]:
    """(process, parent, command line) of all that live."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                stat = (entry / "stat").read_text("utf-8", "replace")
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ")
                yield (
                    int(entry.name),
                    int(stat.rpartition(")")[2].split()[1]),
                    words.decode("utf-8", "replace"),
                )


def main() -> None:
    """Keep a cluster until it is interrupted; its work and logs are in the directory that is named."""
    directory = Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    with cluster(directory, PORT) as started, suppress(KeyboardInterrupt):
        print(f"{started.url}  {WORKERS} workers of one core; Ctrl-C ends it", flush=True)
        signal.pause()


if __name__ == "__main__":
    main()
