"""Runs on a real cluster of Spark, and kills of all that takes part: nothing is lost and nothing comes twice.

The cluster is on loopback: a master and two workers as processes of their own. What it is sent is dist/upswell.pex.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest

from support import law
from support.cluster import Cluster, cluster, processes
from support.command import ROOT, clean_environment
from support.inputs import write_inputs
from support.page_commands import blocks_under, with_upswell_on_path
from support.spark_runs import KILLED, MASTER
from support.surroundings import QUICK, Surroundings, kill
from upswell.state.maintenance.verify import verify

PEX = ROOT / "dist" / "upswell.pex"
LONG_S = 600.0  # for what takes ten seconds on an idle machine
SPECULATING = """spark.speculation true
spark.speculation.interval 10ms
spark.speculation.multiplier 1.01
spark.speculation.quantile 0.1
spark.speculation.minTaskRuntime 0ms
spark.executor.memory 512m
"""
"""As spark-defaults.conf of an operator who lets every task run twice that is slower than the quickest."""

pytestmark = [pytest.mark.spark, pytest.mark.timeout(3000)]


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster for all tests of this file."""
    with cluster(tmp_path_factory.mktemp("cluster")) as one:
        yield one


class OnSpark(Surroundings):
    """The same, with runs on Spark."""

    def __init__(self, root: Path, seed: int, *, master: str = MASTER) -> None:
        super().__init__(root, seed)
        self.master = master
        self.local = root / "local"
        """Where Spark puts what it keeps on disk."""
        self.environment: dict[str, str] = {}
        self.sizes = ("--split-bytes", "2000", "--batch-bytes", "30000")
        self.program: tuple[str, ...] = ("-m", "upswell")
        self.options = ("--engine", "spark")

    def start(self, *options: str, small: bool = False) -> subprocess.Popen[str]:
        """A run for ever, or with ``--once`` one over what is there."""
        del small
        self.local.mkdir(exist_ok=True)
        environment = clean_environment() | {"SPARK_LOCAL_DIRS": str(self.local)} | self.environment
        paths = map(str, (self.data, self.segment, self.rules, self.output))
        spark = (*self.options, "--master", self.master, "--shards", "8", *self.sizes)
        return subprocess.Popen(
            [sys.executable, *self.program, *paths, *QUICK, *spark, *options],
            env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def finish(self) -> None:
        """A last run over what is there; the consumer takes the rest."""
        self.program = ("-m", "upswell")
        self.sizes = ("--split-bytes", "50000", "--batch-bytes", "10MiB")
        process = self.start("--once")
        _, errors = process.communicate(timeout=LONG_S)
        assert 0 == process.returncode, errors
        self.take()

    def _write_file(self, stamp: datetime) -> None:
        super()._write_file(stamp)
        time.sleep(0.5)  # a batch on Spark takes longer than one in a process

    def committed(self) -> int:
        """How many notifications files the consumer has seen."""
        return sum(map(len, self.taken.values()))

    def wait_until_more(self, process: subprocess.Popen[str]) -> None:
        """Wait until the run has published something since now."""
        before = self.committed()
        wait_long(lambda: self.committed() > before or process.poll() is not None)


def wait_long(condition: Callable[[], bool]) -> None:
    """Wait until it holds."""
    late = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < late
        time.sleep(0.02)


def jvms_of(process: subprocess.Popen[str]) -> list[int]:
    """The JVM that a driver started."""
    return [pid for pid, parent, words in processes() if parent == process.pid and "java" in words]


def stop(process: subprocess.Popen[str]) -> None:
    """Stop a run as a service manager does; it ends well."""
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=LONG_S)
    assert 0 == process.returncode, errors


def test_a_submitted_pex_gives_the_embedded_bytes(started: Cluster, tmp_path: Path) -> None:
    """The PEX alone is shipped and is the executors' Python; bytes and exit code are the embedded run's."""
    write_inputs(tmp_path)
    paths = ["data", "segment", "rules"]
    environment = clean_environment() | {"SPARK_HOME": str(started.home), "PATH": os.defpath}
    java = shutil.which("java")
    assert java
    environment["PATH"] += f":{Path(java).parent}:{Path(sys.base_prefix, 'bin')}"

    def pex(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PEX, *words], cwd=tmp_path, env=environment, capture_output=True, text=True,
            timeout=LONG_S, check=False,
        )  # fmt: skip

    last = ("--once", "--max-reject-ratio", "0.1")
    done = pex("submit", "--master", started.url, *paths, "out", *last)
    assert 65 == done.returncode, done.stderr
    assert {"at=", "err", "  n"} >= {line[:3] for line in done.stderr.splitlines()}
    assert 65 == pex("run", *paths, "other", *last).returncode
    assert law.published(tmp_path / "other") == law.published(tmp_path / "out")
    law.check(tmp_path / "data", tmp_path / "out")
    shipped = [
        path.read_bytes() == PEX.read_bytes()
        for path in started.directory.glob("work*/*/*/upswell.pex")
    ]
    assert shipped and all(shipped)


def test_the_commands_of_the_manual_run_on_a_cluster(started: Cluster, tmp_path: Path) -> None:
    """What docs/operations.md says of a cluster ends with 0 as it stands there, with --once."""
    commands, _ = blocks_under(ROOT / "docs" / "operations.md", "On a cluster of Spark")
    for name in ("data", "segment", "rules"):
        shutil.copytree(ROOT / "examples" / "brief" / name, tmp_path / name.upper())
    (tmp_path / "upswell.pex").symlink_to(PEX)
    environment = with_upswell_on_path() | {"SPARK_HOME": str(started.home)}
    for line in commands.replace("spark://HOST:7077", started.url).splitlines():
        once = "" if " check " in line else " --once"
        done = subprocess.run(
            ["sh", "-c", line.partition("#")[0].rstrip() + once],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=LONG_S, check=False,
        )  # fmt: skip

        assert 0 == done.returncode, f"{line}\n{done.stdout}{done.stderr}"
    assert [b"0126545098,1,315,20200417193743\n"] == [
        each.read_bytes() for each in (tmp_path / "OUTPUT" / "Twitter").iterdir()
    ]


def test_executors_and_workers_may_die(started: Cluster, tmp_path: Path) -> None:
    """SIGKILL of executors and of workers with theirs, every task speculated: the run goes on, a second is refused."""
    around = OnSpark(tmp_path, seed=1, master=started.url)
    conf = tmp_path / "conf"
    conf.mkdir()
    (conf / "spark-defaults.conf").write_text(SPECULATING, "utf-8")
    around.environment = {"SPARK_CONF_DIR": str(conf)}
    around.options = ("--engine", "spark", "--pex", str(PEX))
    with around.traffic():
        process = around.start()
        around.wait_until_more(process)
        second = around.start("--once")
        _, errors = second.communicate(timeout=LONG_S)
        assert 75 == second.returncode, errors

        for executor in started.executors(0):
            os.kill(executor, signal.SIGKILL)
        around.wait_until_more(process)

        for executor in started.executors(1):
            os.kill(executor, signal.SIGKILL)
        os.kill(started.workers[1].pid, signal.SIGKILL)
        around.wait_until_more(process)
        started.add_worker(2)
        around.wait_until_more(process)
        assert process.poll() is None, process.stderr and process.stderr.read()
        stop(process)
    around.finish()
    assert [] == around.complaints()


@pytest.mark.parametrize(
    "places", [("job", "staged", "rejects", "committed"), ("moved", "published", "swept")]
)
def test_a_driver_may_die_after_every_step(tmp_path: Path, places: tuple[str, ...]) -> None:
    """SIGKILL after each step of a commit, Spark's own directories lost, other splits and batches after it."""
    around = OnSpark(tmp_path, seed=len(places))
    with around.traffic():
        for at, place in enumerate(places):
            around.program = ("-c", KILLED, place, str(1 + at % 2))
            around.sizes = (
                "--split-bytes",
                str(1000 * (at + 1)),
                "--batch-bytes",
                str(9000 * (at + 1)),
            )
            process = around.start()
            _, errors = process.communicate(timeout=LONG_S)
            assert -signal.SIGKILL == process.returncode, errors
            shutil.rmtree(around.local, ignore_errors=True)
    around.finish()
    assert [] == around.complaints()


def test_drivers_and_jvms_may_die_at_any_time(tmp_path: Path) -> None:
    """A killed driver leaves no JVM behind; a run whose JVM is killed ends with 74; each restart goes on."""
    around = OnSpark(tmp_path, seed=3)
    chance = random.Random(3)
    with around.traffic():
        for victim in ("driver", "jvm"):
            process = around.start()
            around.wait_until_more(process)
            (jvm,) = jvms_of(process)
            time.sleep(chance.random())
            if victim == "driver":
                kill(process)
                wait_long(lambda jvm=jvm: not Path(f"/proc/{jvm}").exists())
                continue
            os.kill(jvm, signal.SIGKILL)
            _, errors = process.communicate(timeout=LONG_S)
            assert 74 == process.returncode, errors
            assert "JVM of Spark has gone" in errors
            assert "Traceback" not in errors
    around.finish()
    assert [] == around.complaints()


def test_a_signal_to_the_whole_group_ends_a_run_well(tmp_path: Path) -> None:
    """Ctrl-C reaches all processes of a terminal: the batch in hand is committed, and the JVM is no victim."""
    around = OnSpark(tmp_path, seed=4)
    around.program = (
        "-c",
        "import os; os.setpgid(0, 0)\nfrom upswell.cli.main import main; main()",
    )
    with around.traffic():
        process = around.start()
        around.wait_until_more(process)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=LONG_S)
        assert 0 == process.returncode, errors
    around.finish()
    assert [] == around.complaints()
    assert [] == verify(around.state)
