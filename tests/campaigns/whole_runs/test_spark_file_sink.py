"""Why Spark's own file sink is not used: what it leaves to a consumer that reads the directory, and what ours does."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.command import ROOT, clean_environment
from support.engine_runs import Place, record
from support.spark_runs import KILLED, MASTER

JOB = ROOT / "tests/support/file_sink_job.py"
LONG_MS = 60_000

pytestmark = [pytest.mark.spark, pytest.mark.timeout(300)]


def start(tmp_path: Path, sleep_ms: int) -> "subprocess.Popen[bytes]":
    """The job as a process, its words in a file."""
    with (tmp_path / "log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, JOB, tmp_path / "in", tmp_path / "out", str(sleep_ms)],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def lines(output: Path) -> list[str]:
    """What a consumer reads that takes every file of the directory, but for hidden ones."""
    files = [path for path in output.glob("[!.]*") if path.is_file()]
    return sorted(line for path in files for line in path.read_text("utf-8").splitlines())


def test_a_killed_stream_shows_a_directory_reader_a_line_twice(tmp_path: Path) -> None:
    """SIGKILL within a batch leaves finished tasks their final names, and the restart adds others."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("one\n", "utf-8")
    (tmp_path / "in" / "b.txt").write_text("slow\n", "utf-8")
    job = start(tmp_path, LONG_MS)
    late = time.monotonic() + 120
    while "one" not in lines(tmp_path / "out") and time.monotonic() < late:
        assert job.poll() is None, (tmp_path / "log").read_text("utf-8")
        time.sleep(0.1)
    os.killpg(job.pid, signal.SIGKILL)  # the JVM, too: alone it would take its file back
    job.wait()
    assert ["one"] == lines(tmp_path / "out")

    assert 0 == start(tmp_path, 0).wait(120)

    assert ["one", "one", "slow"] == lines(tmp_path / "out")
    logged = (tmp_path / "out" / "_spark_metadata" / "0").read_text("utf-8")
    assert 2 == logged.count("part-"), "Spark's own log knows only the second"


@pytest.mark.parametrize("killed_after", ["job", "moved"])
def test_ours_shows_the_same_reader_each_line_once(tmp_path: Path, killed_after: str) -> None:
    """SIGKILL once the tasks of a batch have ended, or half of it is published: the restart adds what is missing."""
    place = Place(tmp_path)
    place.file("202004171000", record(0, 1, 200, "100000") + record(0, 2, 200, "100000"))
    place.file("202004171001", record(1, 1, 200, "100100"))
    expected = {"Twitter": lines_of(record(0, 1, 200, "100000") + record(1, 1, 200, "100100"))}
    expected["WhatsApp"] = lines_of(record(0, 2, 200, "100000"))
    given = place.settings
    words = [given.data, given.segment, given.rules, given.output, "--once", "--engine", "spark"]

    def run(*program: str) -> int:
        command = [sys.executable, *program, *words, "--master", MASTER]
        return subprocess.run(
            command, env=clean_environment(), check=False, timeout=200, stderr=subprocess.DEVNULL
        ).returncode

    assert -signal.SIGKILL == run("-c", KILLED, killed_after, "1")
    seen = {name: lines(place.output / name) for name in expected}
    assert (killed_after == "moved") == any(seen.values())
    assert expected != seen

    assert 0 == run("-m", "upswell")

    assert expected == {name: lines(place.output / name) for name in expected}


def lines_of(content: bytes) -> list[str]:
    """Its lines as ``lines`` gives them."""
    return sorted(content.decode("ascii").splitlines())
