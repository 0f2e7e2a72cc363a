"""Batches that Spark computes: the same bytes, counts and answers as those of the embedded engine and the reference."""

import errno
import os
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings, strategies

from support import law
from support.batches import refused
from support.cluster import processes
from support.command import Upswell, clean_environment
from support.engine_runs import DIALS, LONG_AGO_S, traffic
from support.faults.limits import own_namespace
from support.in_process import Cluster, kept
from support.kernel_runs import random_file
from support.spark_runs import MASTER, Lent, needs_java, session
from upswell.engine.spark import executor, jvm
from upswell.engine.spark.runner import packed
from upswell.engine.spark.session import reason, translate_errors
from upswell.engine.spark.tasks import Job, Split
from upswell.errors import SparkFailed, StorageError
from upswell.kernel import SOURCE_DIGEST, Range
from upswell.state.maintenance.verify import verify
from upswell.state.reader import StateReader
from upswell.state.shard_files import Unsynced

MANY = [f"0126{number:07}" for number in range(3000)]
PEX_IS_SENT = """
import os, signal, sys
from contextlib import suppress
from dataclasses import replace
from upswell.engine.spark import session
from upswell.cli.main import main

happens, send = sys.argv.pop(1), session._python

def python(context, settings):
    if happens == "a stop":
        os.kill(os.getpid(), signal.SIGTERM)
    else:
        settings.pex.unlink()
    try:
        while True:
            send(context, replace(settings, master="spark://a:1"))
    finally:
        if happens == "the JVM dies of it":
            with suppress(Exception):
                context._jvm.java.lang.Runtime.getRuntime().halt(1)

session._python = python
main()
"""
"""A run on this machine that sends a PEX as to a cluster, while something happens."""

pytestmark = [needs_java, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def lent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lent]:
    """One session for all runs of this file."""
    with session(tmp_path_factory.mktemp("spark")) as one:
        yield one


def test_the_sample_comes_out_alike_and_says_nothing_of_java(
    upswell: Upswell, root: Path, tmp_path: Path
) -> None:
    """The command gives the sample's bytes, and stderr holds log output alone; what looks on a state works on it."""
    shutil.copytree(root / "examples" / "brief", tmp_path, dirs_exist_ok=True)
    # Relative: executors are in another directory.
    paths = ["data", "segment", "rules"]
    engine = ("--engine", "spark", "--master", MASTER)
    done = upswell(*paths, "out", "--once", *engine, timeout_s=200)
    assert {"at="} == {line[:3] for line in done.stderr.splitlines()}
    upswell(*paths, "other", "--once")
    assert notified(tmp_path / "other") == notified(tmp_path / "out")
    assert 2 == len(notified(tmp_path / "out"))
    for command in ("status", "sent", "rejects", "reconcile", "history"):
        upswell(command, "--output", "out")
    upswell("state", "verify", "--output", "out")
    told = upswell("explain", "0126545098", "--output", "out").stdout
    assert "The state agrees." in told
    refused = upswell(*paths, "out", "--once", code=78).stderr
    assert "engine is embedded" in refused


def notified(output: Path) -> dict[str, bytes]:
    """What each application's files hold, by name."""
    return {path.parent.name: path.read_bytes() for path in sorted(output.glob("*/NOTIFY_*"))}


def test_generated_data_with_faults_comes_out_alike(
    lent: Lent, upswell: Upswell, tmp_path: Path
) -> None:
    """Odd files, bad lines and compressed files in small splits and batches: bytes, counts and rejects are the same."""
    cluster = Cluster(tmp_path, lent, shards=4, split_bytes=20_000, batch_bytes=100_000)
    segment, rules = cluster.settings.segment, cluster.settings.rules
    for path in (*segment.iterdir(), *rules.iterdir()):
        path.unlink()
    people = ("--customers", "500", "--share", "0.3")
    upswell("generate", "segment", segment, *people)
    upswell("generate", "rules", rules)
    size = ("--files", "12", "--records", "730", "--gzip-share", "0.2", "--faults-ratio", "0.05")
    upswell("generate", "data", cluster.data, *people[:2], *size)
    lent.jobs.clear()
    embedded = cluster.embedded()
    limits = {"settle_s": 0.2, "max_stamp_ahead_days": 36500}

    summary = cluster.once(**limits)
    assert embedded.once(**limits).to_json()["outcomes"] == summary.to_json()["outcomes"]

    assert len(lent.jobs) > 2
    assert summary.lines == sum(summary.outcomes.values()) > 8000
    assert kept(embedded.output) == kept(cluster.output)
    cluster.law()
    assert [] == verify(cluster.state)


def test_session_on_this_machine_asks_for_a_secret(lent: Lent) -> None:
    """Without a cluster Spark's ports are open to every user of the machine: they want a secret that it made itself."""
    conf = lent.runner.session.context.getConf()

    assert "true" == conf.get("spark.authenticate")
    # A job whose results go over those ports still works.
    assert 10 == lent.runner.session.context.parallelize(range(10), 2).count()


def test_rules_change_between_two_batches(lent: Lent, tmp_path: Path) -> None:
    """What executors hold of the old rules is not used again: each batch is decided by the version in its record."""
    cluster = Cluster(tmp_path, lent, shards=4)
    stop = threading.Event()
    thread = threading.Thread(target=cluster.run, args=(stop,), kwargs={"once": False})
    thread.start()
    try:
        for at, threshold in enumerate((10**9, 10, 10**9, 10)):
            if at:
                rules = f"1,Twitter,8,20,{threshold}\n".encode()
                cluster.write(cluster.settings.rules / "RULES.csv", rules, LONG_AGO_S + at)
                wait_long(lambda at=at: at == in_force(cluster) - 1)
            cluster.file(f"20200417100{at}", traffic(random.Random(at), 30))
            wait_long(lambda at=at: cluster.heard.lines >= 30 * (at + 1))
    finally:
        stop.set()
        thread.join(60)
    assert 4 == in_force(cluster)
    cluster.law()


def in_force(cluster: Cluster) -> int:
    """How often a reference came into force."""
    return sum(event == "reference in force" for event, _ in cluster.heard.events)


def wait_long(condition: Callable[[], bool]) -> None:
    """Wait until it holds; a job takes its time on a busy machine."""
    late = time.monotonic() + 100
    while not condition():
        assert time.monotonic() < late
        time.sleep(0.02)


@settings(max_examples=max(3, settings().max_examples // 40))
@given(
    seed=strategies.integers(0, 2**32),
    shards=strategies.sampled_from([1, 2, 16, 256]),
    split_bytes=strategies.sampled_from([40, 200]),
    batch_bytes=strategies.sampled_from([1500, 1 << 20]),
)
def test_random_files_come_out_alike(
    lent: Lent, seed: int, shards: int, split_bytes: int, batch_bytes: int
) -> None:
    """Random and hostile files in two runs, in splits of about a line and in batches of some files."""
    with tempfile.TemporaryDirectory() as place:
        options = {"split_bytes": split_bytes, "batch_bytes": batch_bytes}
        cluster = Cluster(Path(place), lent, shards=shards, **options)
        embedded = cluster.embedded()
        generator = random.Random(seed)
        for day in (17, 18):
            content = random_file(generator, 8, 0.4, DIALS)
            cluster.file(f"202004{day}1000", content)
            cluster.file(f"202004{day}1001", traffic(generator, 20, f"202004{day}"))
            cluster.once()
            embedded.once()

        assert kept(embedded.output) == kept(cluster.output)
        cluster.law()
        assert [] == verify(cluster.state)


def test_a_directory_that_is_not_the_drivers_is_never_read(lent: Lent, tmp_path: Path) -> None:
    """Files that are missing on a node that does not see DATA are not gone: the run ends, and says where and what."""
    cluster = Cluster(tmp_path, lent)
    cluster.file("202004171000", traffic(random.Random(3), 30))
    run = lent.run

    def elsewhere(*arguments: Any) -> Any:
        cluster.data.rename(tmp_path / "away")
        cluster.data.mkdir()
        try:
            return run(*arguments)
        finally:
            cluster.data.rmdir()
            (tmp_path / "away").rename(cluster.data)

    with pytest.MonkeyPatch.context() as patched, refused(SparkFailed, "another directory") as told:
        patched.setattr(lent, "run", elsewhere)
        cluster.once()
    assert str(cluster.data) in told.value.message
    assert "same file system" in told.value.hint
    assert 30 == cluster.once().lines
    cluster.law()


def test_executors_of_another_build_are_never_used(lent: Lent, tmp_path: Path) -> None:
    """One may join after the start, with another kernel: its task fails, and the run says what to do."""
    cluster = Cluster(tmp_path, lent)
    cluster.file("202004171000", traffic(random.Random(3), 30))
    with pytest.MonkeyPatch.context() as patched, refused(SparkFailed, "not the driver's") as told:
        patched.setattr("upswell.engine.spark.runner.SOURCE_DIGEST", "another")
        patched.setattr(lent, "check", lambda *_: None)
        cluster.once()
    assert "--pex" in told.value.hint
    assert 30 == cluster.once().lines


def test_a_damaged_shard_ends_the_run(lent: Lent, tmp_path: Path) -> None:
    """A file of the ledger that lost a byte is an error of the state, told with its name."""
    cluster = Cluster(tmp_path, lent, shards=1)
    cluster.file("202004171000", traffic(random.Random(4), 60))
    cluster.once()
    file = max((cluster.state / "ledger").glob("*.delta"))
    file.write_bytes(file.read_bytes()[:-1])
    cluster.file("202004171001", traffic(random.Random(5), 60))
    with refused(StorageError, file.name):
        cluster.once()


@contextmanager
def no_file_grows(lent: Lent) -> Iterator[None]:
    """Within the block the executors' Pythons can write no byte into any file."""

    def limit(*, closed: bool) -> None:
        found = list(processes())
        daemons = [pid for pid, parent, _ in found if parent == lent.runner.session.jvm.process.pid]
        workers = [pid for pid, parent, _ in found if parent in daemons]
        assert daemons
        for pid in (*daemons, *workers):
            with suppress(ProcessLookupError):
                _, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (0 if closed else most, most))

    limit(closed=True)
    try:
        yield
    finally:
        limit(closed=False)


def test_what_another_node_may_be_spared_is_tried_again_and_told_in_the_end(
    lent: Lent, tmp_path: Path
) -> None:
    """A task that cannot write is Spark's to try again; after its tries node, path and reason are told, with 74."""
    cluster = Cluster(tmp_path, lent, shards=1)
    cluster.file("202004171000", traffic(random.Random(4), 60))
    cluster.once()
    cluster.file("202004171001", traffic(random.Random(5), 60))
    ledger = cluster.state / "ledger"
    with no_file_grows(lent), refused(SparkFailed, "Spark could not compute the batch") as told:
        cluster.once()
    assert f"{ledger}: File too large (on {socket.gethostname()})" in told.value.message
    assert "of the node that is named" in told.value.hint
    assert 4 == len([*ledger.glob("*.unready")]), "a try leaves one"
    cluster.once()
    assert [] == [*ledger.glob("*.unready")]
    cluster.law()


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (OSError(errno.ENOSPC, "full", "shard-000"), False),
        (OSError(errno.EDQUOT, "quota", "shard-000"), False),
        (OSError(errno.EROFS, "read-only", "shard-000"), False),
        (OSError(errno.EEXIST, "taken", "shard-000"), False),
        (Unsynced(errno.EIO, "not synced"), False),
        (OSError(errno.EIO, "broken", "shard-000"), True),
        (OSError(errno.ESTALE, "stale"), True),
        (OSError(errno.EACCES, "forbidden", "/ledger"), True),
    ],
)
def test_what_all_nodes_would_meet_or_nobody_may_try_again_ends_the_job_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, again: bool
) -> None:
    """A full disk, a quota, a read-only file system, a name that is taken, a failed sync; all else is raised."""

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(executor, "step", fail)
    monkeypatch.setattr(executor, "_freeze_loaded", lambda: None)
    job = Job(1, "aa", 1, "total", [], 20200417, str(tmp_path), 1)
    stage = executor.StageInput(job, executor.SharedDirectory.of(tmp_path), SOURCE_DIGEST)
    shared: Any = SimpleNamespace(value=SimpleNamespace(rules=None, policy=None))
    told = f"{error.strerror} (on {socket.gethostname()})"
    steps = executor.step_shards(stage, {}, shared, [(0, b"blob")])
    if again:
        place = tmp_path / (error.filename or "")
        with pytest.raises(executor.NodeFault, match=f"^{re.escape(f'{place}: {told}')}$"):
            next(steps)
    else:
        fault = executor.Fault(error.errno or 0, told, error.filename or "")
        assert [fault] == list(steps)


def finished(
    cluster: Cluster,
    *options: str | Path,
    before: tuple[str, ...] = (),
    program: tuple[str, ...] = ("-m", "upswell"),
) -> subprocess.CompletedProcess[str]:
    """A run on Spark over what is there, as a process; ``before``: the words that start it."""
    given = cluster.settings
    paths = (given.data, given.segment, given.rules, given.output)
    spark = ("--engine", "spark", "--master", MASTER, "--shards", "1", "--once")
    return subprocess.run(
        [*before, sys.executable, *program, *paths, *spark, *options],
        env=clean_environment(), capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip


def test_a_disk_that_is_full_on_an_executor_is_told_as_the_drivers_own(tmp_path: Path) -> None:
    """A task that cannot write ends the run at once with 74, place, reason and next step; with room it goes on."""
    cluster = Cluster(tmp_path)
    cluster.write(
        cluster.settings.segment / "SEGMENT.csv", "\n".join([*MANY, ""]).encode(), LONG_AGO_S
    )
    cluster.file(
        "202004171000", b"".join(b"%s,1,1,20200417100000\n" % dial.encode() for dial in MANY)
    )
    ledger = tmp_path / "state" / "ledger"
    ledger.mkdir(parents=True, mode=0o700)
    small = ("sh", "-c", f'mount -t tmpfs -o size=8k none {ledger} && exec "$@"', "sh")
    run = partial(finished, cluster, "--state", ledger.parent)

    full = run(before=(*own_namespace(), *small))
    assert 74 == full.returncode, full.stderr
    told = f"{ledger}: No space left on device (on {socket.gethostname()})"
    assert told in full.stderr
    assert "free space or repair the disk, then start again" in full.stderr
    assert "Traceback" not in full.stderr
    with StateReader.open(ledger.parent) as reader:
        assert 0 == reader.last_batch()
    done = run()
    assert 0 == done.returncode, done.stderr
    law.check(cluster.data, cluster.output, state=ledger.parent)


def test_a_ledger_on_a_file_system_without_hard_links_is_refused_at_the_start(
    tmp_path: Path,
) -> None:
    """Tasks name by them what they wrote: 78, with node, reason and next step, and not a first batch that fails."""
    if "mqueue" not in Path("/proc/filesystems").read_text("utf-8"):
        pytest.skip("this kernel has no file system without hard links")
    cluster = Cluster(tmp_path)
    cluster.file("202004171000", traffic(random.Random(3), 30))
    ledger = tmp_path / "state" / "ledger"
    ledger.mkdir(parents=True, mode=0o700)
    queues = ("unshare", "--ipc", "sh", "-c", f'mount -t mqueue none {ledger} && exec "$@"', "sh")
    done = finished(cluster, "--state", ledger.parent, before=(*own_namespace(), *queues))
    assert 78 == done.returncode, done.stderr
    assert "the directory of the ledger must be on a file system with hard links" in done.stderr
    assert f"{socket.gethostname()}: {ledger}/probe-" in done.stderr
    assert "Operation not permitted" in done.stderr
    assert "mount of a file system that has hard links" in done.stderr
    with StateReader.open(ledger.parent) as reader:
        assert 0 == reader.last_batch()


@pytest.mark.parametrize(
    ("happens", "code", "words"),
    [
        ("it vanishes", 74, r"Spark could not start: .*upswell\.pex does not exist"),
        ("the JVM dies of it", 74, "the JVM of Spark has gone"),
        ("a stop", 0, "stopping after the batch in hand"),
    ],
)
def test_whatever_happens_while_the_pex_is_sent_is_told_in_words(
    tmp_path: Path, happens: str, code: int, words: str
) -> None:
    """A PEX that cannot be fetched, a JVM that died before its words were asked for, a stop: no internal error."""
    pex = tmp_path / "upswell.pex"
    pex.touch()
    program = ("-c", PEX_IS_SENT, happens)
    done = finished(Cluster(tmp_path), "--pex", pex, program=program)
    assert code == done.returncode, done.stderr
    assert re.search(words, done.stderr)
    assert "Traceback" not in done.stderr


class Driver:
    """A run on Spark for ever, as a process."""

    def __init__(self, cluster: Cluster, master: str) -> None:
        given = cluster.settings
        paths = (given.data, given.segment, given.rules, given.output)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "upswell", *paths, "--engine", "spark", "--master", master],
            env=clean_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def ends(self, code: int, within_s: float) -> str:
        """What it says until it ends."""
        try:
            _, errors = self.process.communicate(timeout=within_s)
        finally:
            self.process.kill()
            self.process.wait()
        assert code == self.process.returncode, errors
        assert "Traceback" not in errors
        return errors


def test_a_stop_while_spark_starts_is_heard_at_once(tmp_path: Path) -> None:
    """A master that takes connections and never answers holds up nobody: the run leaves with 0, having done nothing."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        deaf.settimeout(100)
        driver = Driver(Cluster(tmp_path), f"spark://127.0.0.1:{deaf.getsockname()[1]}")
        deaf.accept()[0].close()  # the driver's own look
        connected, _ = deaf.accept()  # the JVM's
        with connected:
            driver.process.send_signal(signal.SIGINT)
            assert "stopping after the batch in hand" in driver.ends(0, within_s=20)


def test_an_idle_run_notices_that_its_jvm_has_gone(tmp_path: Path) -> None:
    """Within seconds, and not at the next batch, which may be hours away: with the code and words of then."""
    cluster = Cluster(tmp_path)
    cluster.file("202004171000", traffic(random.Random(3), 30))
    driver = Driver(cluster, MASTER)
    wait_long(lambda: any(cluster.output.glob("*/NOTIFY_*")))
    (jvm,) = [pid for pid, parent, _ in processes() if parent == driver.process.pid]
    os.kill(jvm, signal.SIGKILL)
    assert "the JVM of Spark has gone" in driver.ends(74, within_s=20)


def test_small_splits_share_a_task() -> None:
    """Large ones have tasks of their own, small ones are packed in order, and no core stays without work."""

    def splits(*sizes: int) -> list[Split]:
        whole = Range("DATA_202004171000.csv", b"f", False, 0, 1 << 40, True, 0, 0, 0, 0, 0, 0)
        return [Split(at, 0, whole, 0, size) for at, size in enumerate(sizes)]

    def sizes(cores: int, *given: int) -> list[list[int]]:
        return [[split.end for split in pack] for pack in packed(splits(*given), cores)]

    large = 64 << 20
    assert [[large], [large], [large]] == sizes(2, large, large, large)
    assert [[10, 10], [10, 10], [10, 10], [10, 10]] == sizes(2, *[10] * 8)
    assert [[10], [10], [10]] == sizes(16, 10, 10, 10)
    assert [[0], [0]] == sizes(2, 0, 0)
    packs = sizes(2, *[1 << 20] * 100, large)
    assert 8 == len(packs[0])
    assert 101 == sum(map(len, packs))


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (
            "Job aborted due to stage failure: Task 0 failed 4 times, most recent failure: Lost task:"
            " org.apache.spark.api.python.PythonException: Traceback (most recent call last):\n"
            '  File "x.py", line 1, in f\n    g()\n'
            "OSError: [Errno 5] Input/output error: 0126545098\nSQLSTATE: 38000\n\n"
            "\tat org.apache.spark.X.y(X.scala:1)\nCaused by: Other: z",
            "OSError: [Errno 5] Input/output error: 0126•••098",
        ),
        ("Job 1 cancelled because SparkContext was shut down", "Job 1 cancelled because SparkContext was shut down"),
        ("", "it gave no reason"),
        ("\n\n", "it gave no reason"),
    ],
)  # fmt: skip
def test_a_failed_job_is_told_by_what_its_task_raised(message: str, words: str) -> None:
    """The last error before the JVM's own lines, masked; without one the first line."""
    assert words == reason(message)


def test_whatever_sparks_python_makes_of_a_jvm_that_goes_is_told_as_that(tmp_path: Path) -> None:
    """It stumbles in the middle of its own work, by errors that are no faults of ours; of a live JVM they are told."""
    one = jvm.Jvm(subprocess.Popen(["sleep", "60"], start_new_session=True), tmp_path, tmp_path)
    with pytest.raises(UnboundLocalError), translate_errors(one, "start"):
        raise UnboundLocalError
    one.kill()
    with (
        pytest.raises(SparkFailed, match="the JVM of Spark has gone"),
        translate_errors(one, "start"),
    ):
        raise UnboundLocalError
