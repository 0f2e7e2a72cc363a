"""Runs the tasks of a batch on Apache Spark: one ordinary job of two stages for each attempt.

Owns the session, which reference the executors hold, and what Spark's failures mean to an operator. Spark moves bytes
and starts tasks; it keeps no progress of ours, so that none of its directories matters to a restart. A job that fails,
is cut off or runs twice has changed nothing: what its tasks wrote means nothing until a commit names it.
"""

import importlib
import logging
import os
import re
import secrets
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from upswell.config.settings import Settings
from upswell.engine.compute import Compute
from upswell.engine.spark import executor, jvm
from upswell.engine.spark.driver import Runner, Spread
from upswell.engine.spark.executor import Place
from upswell.engine.spark.tasks import Job, ShardReport, ShardTask, Split, SplitReport
from upswell.errors import ConfigError, InputMissing, SparkFailed, StorageError, UpswellError
from upswell.kernel import SOURCE_DIGEST, Policy
from upswell.privacy import escape, mask_digits
from upswell.reference.loading import Reference
from upswell.state.checkpoint import Checkpoint
from upswell.state.identity import shards
from upswell.state.shard_files import DamagedShard

PROBE = "probe-"
"""Names in the ledger's directory that only a start uses."""
EXECUTORS_S = 120
"""How long a start waits for an executor, and a job for one when all are lost."""
PACK_BYTES = 8 << 20
"""Of small splits that share a task, whose own cost is about that of reading so much."""
_LOCAL_TRIES = 4  # of a task, as on a cluster
_PROBE_PAUSE_S = 0.1
_STOP_CHECK_S = 0.1  # while Spark starts
_ANSWER_S = 5  # of a master
_SHARE = "give every node the same file system at the same path, then start again"
_LINK = "make the directory a mount of a file system that has hard links, on every node, then start again"
_BUILD = "name the upswell.pex of this version with --pex, or install this version on every node"
_MEND = "repair disk or mount of the node that is named, then start again; nothing of the batch is committed"
_AGAIN = (
    "nothing of the batch is committed: start again when Spark is well; its own words are in {log}"
)


def compute(
    settings: Settings, checkpoint: Checkpoint, stopping: Callable[[], bool] = lambda: False
) -> Compute:
    """What computes the batches of a run on Spark. Raises ConfigError and SparkFailed.

    ``stopping``: whether the run was asked to stop. Spark's start is given up then, and nothing must be read.
    """
    return spread(settings, checkpoint, SparkRunner(settings, stopping))


def spread(settings: Settings, checkpoint: Checkpoint, runner: Runner) -> Compute:
    """The same on a session that is there."""
    return Spread(
        settings,
        checkpoint,
        runner,
        shards=shards(settings, checkpoint.meta()),
        split_bytes=settings.split_bytes,
        batch_bytes=settings.batch_bytes,
    )


class SparkRunner:
    """A session of Spark, for the life of a run."""

    def __init__(self, settings: Settings, stopping: Callable[[], bool] = lambda: False) -> None:
        """Start the JVM and connect to the master. Raises ConfigError and SparkFailed.

        ``stopping``: as ``compute`` has it; there is no session then, and nobody may run a job.
        """
        self._stopping = stopping
        self._data = self._ledger = Place("", 0)
        self._versions: object = None
        self._policy: Policy | None = None
        self._shared: Any = None
        self._context: Any = None
        self._stack = ExitStack()
        home, address = _found(settings)
        self._jvm = self._stack.enter_context(
            jvm.started(home, settings.state_dir / jvm.LOG_NAME, address)
        )
        try:
            with self._starting():
                self._context = self._stack.enter_context(
                    _session(settings, home, self._jvm, address)
                )
                self._wait_for_executors()
        except BaseException:
            self._stack.close()
            raise

    def check(self, data: Path, ledger: Path) -> None:
        """See that executors have this Upswell, and share DATA and the ledger's directory. ConfigError, StorageError.

        Leaves nothing behind; a crash leaves empty files, which the next call removes. Nothing is seen once the run was
        asked to stop.
        """
        if not self._stopping():
            with self._starting():
                self._check(data, ledger)

    def _check(self, data: Path, ledger: Path) -> None:
        self._data, self._ledger = Place.of(data), Place.of(ledger)
        for left in ledger.glob(f"{PROBE}*"):
            left.unlink()
        token = ledger / f"{PROBE}{secrets.token_hex(8)}"
        token.touch(mode=0o600)
        with self._failing():
            tries = 2 * self._context.defaultParallelism
        ask = partial(_answer, self._data, self._ledger, token.name, _PROBE_PAUSE_S)
        try:
            with self._failing():
                answers = self._context.parallelize(range(tries), tries).map(ask).collect()
            faults = [each.fault for each in answers if each.fault]
            faults += [
                f"{each.executor}: {ledger}: what it wrote is not seen by the driver, {socket.gethostname()}"
                for each in answers
                if each.reply and not (ledger / each.reply).exists()
            ]
        finally:
            for left in ledger.glob(f"{PROBE}*"):
                left.unlink()
        if strange := [each.executor for each in answers if each.build != SOURCE_DIGEST]:
            raise ConfigError(
                f"the executors' Upswell is not the driver's: {escape(strange[0])}",
                _BUILD,
            )
        if linkless := [each.fault for each in answers if each.linkless]:
            raise ConfigError(
                "the directory of the ledger must be on a file system with hard links:"
                f" {escape(linkless[0])}",
                _LINK,
            )
        if faults:
            raise StorageError(f"not shared by all nodes: {escape(faults[0])}", _SHARE)

    def run(
        self,
        job: Job,
        splits: Sequence[Split],
        shards: Mapping[int, ShardTask],
        reference: Reference,
    ) -> list[SplitReport | ShardReport]:
        """Scan the splits and step the shards that they bear on. Raises DamagedShard, OSError and SparkFailed."""
        to_scan, to_step = (
            executor.Sent(job, place, SOURCE_DIGEST) for place in (self._data, self._ledger)
        )
        shared = self._share(reference)
        context = self._context
        with self._failing():
            cores = context.defaultParallelism
        packs = packed(splits, cores)
        # A task costs as much as some megabytes: no more of them than can run at once.
        steps = min(job.shards, cores)
        with self._failing():
            context.setJobDescription(f"batch {job.batch}: {len(splits)} splits")
            found: list[Any] = (
                context.parallelize(packs, len(packs))
                .flatMap(partial(executor.scan_splits, to_scan, shared))
                .partitionBy(steps, int)
                .mapPartitions(partial(executor.step_shards, to_step, shards, shared))
                .collect()
            )
        for each in found:
            if isinstance(each, executor.Damage):
                raise DamagedShard(each.words)
            if isinstance(each, executor.Fault):
                raise each.error()
        return found

    def check_alive(self) -> None:
        """Raise SparkFailed when the JVM has gone."""
        if not self._jvm.is_alive():
            raise _gone(self._jvm.log)

    def close(self) -> None:
        """Give the executors back and end the JVM. Again is nothing."""
        self._stack.close()

    def _share(self, reference: Reference) -> Any:
        """The reference as executors know it; the one before is taken from them."""
        # Whom to suppress changes without a version when a person was forgotten, or need not be any more.
        if reference.versions != self._versions or reference.policy is not self._policy:
            if self._shared is not None:
                with self._failing():
                    self._shared.destroy()
            sent = executor.Reference(
                reference.segment, list(reference.ruleset.rules), reference.policy or Policy()
            )
            with self._failing():
                self._shared = self._context.broadcast(sent)
            self._versions, self._policy = reference.versions, reference.policy
        return self._shared

    def _wait_for_executors(self) -> None:
        until = time.monotonic() + EXECUTORS_S
        with self._failing():
            while not _executors(self._context):
                if time.monotonic() > until:
                    raise SparkFailed(
                        f"Spark gave no executor within {EXECUTORS_S} s",
                        "see the master's page: does it have workers, with free cores and memory?",
                    )
                time.sleep(0.1)

    @contextmanager
    def _starting(self) -> Iterator[None]:
        """Within the block a stop ends the JVM, so that nobody waits for it; what fails by that is no failure."""

        def watch() -> None:
            while not over.wait(_STOP_CHECK_S):
                if self._stopping():
                    return self._jvm.kill()

        over = threading.Event()
        watcher = threading.Thread(target=watch, name="upswell-spark-start")
        watcher.start()
        try:
            yield
        except SparkFailed:
            if not self._stopping():
                raise
        finally:
            over.set()
            watcher.join()

    def _failing(self) -> AbstractContextManager[None]:
        return _failing(self._jvm, "compute the batch")


@contextmanager
def _failing(one: jvm.Jvm, what: str) -> Iterator[None]:
    """Turn what Spark and the way to it report into our error. ``what``: Spark could not do."""
    log = one.log
    try:
        try:
            yield
        except _py4j().Py4JJavaError as error:
            # Both ask the JVM, which may have gone by now.
            words, told = reason(error.java_exception.getMessage() or ""), str(error)
            hint = _AGAIN.format(log=log)
            others = {"NotShared": _SHARE, "OtherBuild": _BUILD, "NodeFault": _MEND}
            for name, other in others.items():
                hint = other if name in told else hint
            raise SparkFailed(f"Spark could not {what}: {words}", hint) from error
    except _lost() as error:
        raise _gone(log) from error
    except UpswellError:
        raise
    except Exception as error:
        # Spark's own Python stumbles over a JVM that goes, each time in another way.
        if one.is_going():
            raise _gone(log) from error
        raise


def _gone(log: Path) -> SparkFailed:
    return SparkFailed("the JVM of Spark has gone", _AGAIN.format(log=log))


def packed(splits: Sequence[Split], cores: int) -> list[list[Split]]:
    """The splits in packs for one task each, in order: small ones together, but no fewer packs than keep cores busy."""
    total_bytes = sum(split.end - split.begin for split in splits)
    pack_bytes = min(PACK_BYTES, total_bytes // (2 * cores))
    packs: list[list[Split]] = []
    left = 0
    for split in splits:
        if left <= 0:
            packs.append([])
            left = pack_bytes
        packs[-1].append(split)
        left -= max(split.end - split.begin, 1)
    return packs


def reason(message: str) -> str:
    """What a failed job's message says to people: the error that a task raised, or else its first line."""
    raised = re.findall(
        r"^\s*(?:[a-z_]+\.)*([A-Z]\w*[a-z]\w*): (.+)$",
        message.partition("\n\tat ")[0],
        re.MULTILINE,
    )
    words = f"{raised[-1][0]}: {raised[-1][1]}" if raised else message.strip().partition("\n")[0]
    return escape(mask_digits(words)) or "it gave no reason"


def _answer(data: Place, ledger: Place, token: str, pause_s: float, _: int) -> executor.Answer:
    return executor.try_places(data, ledger, token, pause_s)


def _executors(context: Any) -> int:
    """How many there are; the driver is one where there is no cluster."""
    known = context._jsc.sc().getExecutorMemoryStatus().size()
    return int(known) - _is_cluster(context.master)


def _found(settings: Settings) -> tuple[Path, str]:
    """Spark's home, and this process's address; the rest of what a session needs is there. Raises an UpswellError."""
    if settings.pex is not None and not settings.pex.is_file():
        raise InputMissing(
            f"{escape(str(settings.pex))}: no such file", "name upswell.pex with --pex"
        )
    address = _own_address(settings.master)
    jvm.find_java()
    home, _ = jvm.find_spark()
    return home, address


@contextmanager
def _session(settings: Settings, home: Path, one: jvm.Jvm, address: str) -> Iterator[Any]:
    """A SparkContext in the JVM, for the master that the settings name. Raises SparkFailed."""
    pyspark = jvm.import_pyspark(home)
    # What its way to the JVM logs when that dies, by the root's name too, is told by our own error.
    logging.getLogger().addHandler(logging.NullHandler())
    before = signal.getsignal(signal.SIGINT)
    with jvm.connected(one) as gateway:
        try:
            with _failing(one, "start"):
                conf = pyspark.SparkConf(_jvm=gateway.jvm)
                _configure(conf, settings, address)
                context = pyspark.SparkContext(gateway=gateway, conf=conf)
        finally:
            signal.signal(signal.SIGINT, before)  # Spark's own would cancel the batch in hand
        try:
            # It would print a traceback when the JVM dies, which is told by our own error.
            context._accumulatorServer.handle_error = lambda *_: None
            with _failing(one, "start"):
                context.pythonExec = _python(context, settings)
            yield context
        finally:
            with warnings.catch_warnings(action="ignore"), suppress(*_lost()):
                context.stop()


def _configure(conf: Any, settings: Settings, address: str) -> None:
    """What a session needs; the rest is as Spark's own spark-defaults.conf has it, such as the memory of executors."""
    master = settings.master
    if not _is_cluster(master):
        cores = master.removeprefix("local").strip("[]") or "1"
        master = f"local[{cores},{_LOCAL_TRIES}]"
    conf.setAll(
        {
            "spark.master": master,
            "spark.app.name": "upswell",
            "spark.python.daemon.module": "upswell.engine.spark.daemon",
            "spark.ui.showConsoleProgress": "false",
            # All nodes read the same files: there is no nearer place that a task should wait for.
            "spark.locality.wait": "0s",
        }.items()
    )
    if settings.pex is not None and _is_cluster(master):
        major, minor = sys.version_info[:2]
        conf.set("spark.executorEnv.PEX_INTERPRETER", "1")
        # Spark wants the same version on both sides.
        conf.set("spark.executorEnv.PEX_PYTHON", f"python{major}.{minor}")
    for name, value in {
        "spark.driver.host": address,
        "spark.ui.enabled": "false",
        # The reports of a batch are as large as its rejects and notifications are: batch_bytes bounds them.
        "spark.driver.maxResultSize": "0",
        # What a shuffle leaves on disk goes when the JVM collects its garbage, which an idle one seldom does.
        "spark.cleaner.periodicGC.interval": "10min",
    }.items():
        conf.setIfMissing(name, value)


def _python(context: Any, settings: Settings) -> str:
    """The Python of the executors: the PEX that is sent to them, or what every node has at the same path."""
    if settings.pex is None or not _is_cluster(settings.master):
        return os.environ.get("PYSPARK_PYTHON") or sys.executable
    context.addFile(settings.pex.absolute().as_uri())
    return f"./{settings.pex.name}"


def _is_cluster(master: str) -> bool:
    return master.startswith("spark://")


def _own_address(master: str) -> str:
    """The address by which executors reach this process: the one from which the master is reached."""
    if not _is_cluster(master):
        return "127.0.0.1"
    faults = []
    for place in master.removeprefix("spark://").split(","):
        host, _, port = place.rpartition(":")
        try:
            with socket.create_connection((host, int(port)), _ANSWER_S) as way:
                return str(way.getsockname()[0])
        # A port may be too large, a name such as a..b none at all.
        except (OSError, OverflowError, UnicodeError) as error:
            faults.append(f"{place}: {error}")
    raise SparkFailed(
        f"no master of Spark answers: {'; '.join(faults)}", "start it, or correct --master"
    )


def _lost() -> tuple[type[Exception], ...]:
    """What is raised when the JVM, or the way to it, has gone."""
    return _py4j().Py4JError, OSError, EOFError


def _py4j() -> Any:
    return importlib.import_module("py4j.protocol")
