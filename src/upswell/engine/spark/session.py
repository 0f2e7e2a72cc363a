"""A session of Spark for the life of a run: its JVM, its settings, and what its failures mean to an operator.

Owns the SparkContext and how it is configured, and turns whatever Spark and the connection to it report into an error
of ours with a next step. It knows nothing of jobs: the runner gives them to the context.
"""

import importlib
import logging
import os
import re
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from upswell.config.settings import Settings
from upswell.engine.spark import jvm
from upswell.errors import InputMissing, SparkFailed, UpswellError
from upswell.privacy import escape, mask_digits

EXECUTORS_S = 120
"""How long a start waits for an executor."""
OTHER_BUILD_HINT = (
    "name the upswell.pex of this version with --pex, or install this version on every node"
)
NOT_SHARED_HINT = "give every node the same file system at the same path, then start again"
_NODE_FAULT_HINT = "repair disk or mount of the node that is named, then start again; nothing of the batch is committed"
_FAILED_HINT = (
    "nothing of the batch is committed: start again when Spark works; its own messages are in {log}"
)
_LOCAL_TRIES = 4  # of a task, as on a cluster
_STOP_CHECK_S = 0.1  # while Spark starts
_EXECUTORS_CHECK_S = 0.1
_CONNECT_S = 5  # to a master


class Session:
    """A SparkContext and the JVM that it lives in."""

    def __init__(self, settings: Settings, stopping: Callable[[], bool] = lambda: False) -> None:
        """Start the JVM, connect to the master and wait for an executor.

        Args:
            settings: of the run: master, PEX, and the state whose directory gets the JVM's log.
            stopping: whether the run was asked to stop. Once it was, the start is given up, and the context must not
                be used.

        Raises:
            ConfigError: Java or Spark is missing, or of a version that is not supported. InputMissing: the PEX is not
                there. SparkFailed: the JVM, the master or the executors do not come up.
        """
        self.context: Any = None
        self._stopping = stopping
        self._stack = ExitStack()
        home, address = _locate(settings)
        self.jvm = self._stack.enter_context(
            jvm.started(home, settings.state_dir / jvm.LOG_NAME, address)
        )
        try:
            with self.starting():
                self.context = self._stack.enter_context(
                    _context(settings, home, self.jvm, address)
                )
                self._wait_for_executors()
        except BaseException:
            self._stack.close()
            raise

    @contextmanager
    def starting(self) -> Iterator[None]:
        """Kill the JVM when a stop is asked for within the block, and drop the SparkFailed that follows from that."""

        def watch() -> None:
            while not over.wait(_STOP_CHECK_S):
                if self._stopping():
                    return self.jvm.kill()

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

    def translate_errors(self) -> AbstractContextManager[None]:
        """Raise what a job fails with within the block as an UpswellError."""
        return translate_errors(self.jvm, "compute the batch")

    def check_alive(self) -> None:
        """Raise SparkFailed when the JVM has gone."""
        if not self.jvm.is_alive():
            raise _jvm_gone(self.jvm.log)

    def close(self) -> None:
        """Give the executors back and end the JVM. A second call does nothing."""
        self._stack.close()

    def _wait_for_executors(self) -> None:
        until = time.monotonic() + EXECUTORS_S
        with self.translate_errors():
            while not _executors(self.context):
                if time.monotonic() > until:
                    raise SparkFailed(
                        f"Spark gave no executor within {EXECUTORS_S} s",
                        "see the master's page: does it have workers, with free cores and memory?",
                    )
                time.sleep(_EXECUTORS_CHECK_S)


@contextmanager
def translate_errors(one: jvm.Jvm, what: str) -> Iterator[None]:
    """Raise what Spark and the connection to it report within the block as an UpswellError.

    ``what`` completes the sentence "Spark could not …".
    """
    log = one.log
    try:
        try:
            yield
        except _py4j().Py4JJavaError as error:
            # Both ask the JVM, which may have gone by now.
            words, trace = reason(error.java_exception.getMessage() or ""), str(error)
            hint = _FAILED_HINT.format(log=log)
            hints = {
                "NotShared": NOT_SHARED_HINT,
                "OtherBuild": OTHER_BUILD_HINT,
                "NodeFault": _NODE_FAULT_HINT,
            }
            for name, other in hints.items():
                hint = other if name in trace else hint
            raise SparkFailed(f"Spark could not {what}: {words}", hint) from error
    except _connection_errors() as error:
        raise _jvm_gone(log) from error
    except UpswellError:
        raise
    except Exception as error:
        # Spark's own Python stumbles over a JVM that goes, each time in another way.
        if one.is_going():
            raise _jvm_gone(log) from error
        raise


def reason(message: str) -> str:
    """Return why a job failed, masked: the error that a task raised, or else the first line of Spark's message."""
    raised = re.findall(
        r"^\s*(?:[a-z_]+\.)*([A-Z]\w*[a-z]\w*): (.+)$",
        message.partition("\n\tat ")[0],
        re.MULTILINE,
    )
    words = f"{raised[-1][0]}: {raised[-1][1]}" if raised else message.strip().partition("\n")[0]
    return escape(mask_digits(words)) or "it gave no reason"


def _jvm_gone(log: Path) -> SparkFailed:
    return SparkFailed("the JVM of Spark has gone", _FAILED_HINT.format(log=log))


def _connection_errors() -> tuple[type[Exception], ...]:
    """Return what is raised when the JVM, or the connection to it, has gone."""
    return _py4j().Py4JError, OSError, EOFError


def _py4j() -> Any:
    return importlib.import_module("py4j.protocol")


def _executors(context: Any) -> int:
    """Count the executors. Without a cluster the driver is one."""
    known = context._jsc.sc().getExecutorMemoryStatus().size()
    return int(known) - _is_cluster(context.master)


def _locate(settings: Settings) -> tuple[Path, str]:
    """Return Spark's home and the address by which executors reach this process; check the PEX file and Java as well.

    Raises:
        InputMissing: there is no file at --pex.
        ConfigError: Java or Spark is missing, or not of a supported version.
        SparkFailed: no master answers.
    """
    if settings.pex is not None and not settings.pex.is_file():
        raise InputMissing(
            f"{escape(str(settings.pex))}: no such file", "name upswell.pex with --pex"
        )
    address = _own_address(settings.master)
    jvm.find_java()
    home, _ = jvm.find_spark()
    return home, address


@contextmanager
def _context(settings: Settings, home: Path, one: jvm.Jvm, address: str) -> Iterator[Any]:
    """Give a SparkContext in the JVM, for the master that the settings name. Raises SparkFailed."""
    pyspark = jvm.import_pyspark(home)
    # py4j logs, by the root's name too, that the JVM has died: our own error says so.
    logging.getLogger().addHandler(logging.NullHandler())
    before = signal.getsignal(signal.SIGINT)
    with jvm.connected(one) as gateway:
        try:
            with translate_errors(one, "start"):
                conf = pyspark.SparkConf(_jvm=gateway.jvm)
                _configure(conf, settings, address)
                context = pyspark.SparkContext(gateway=gateway, conf=conf)
        finally:
            signal.signal(signal.SIGINT, before)  # Spark's own would cancel the batch in hand
        try:
            # It would print a traceback when the JVM dies, which our own error reports.
            context._accumulatorServer.handle_error = lambda *_: None
            with translate_errors(one, "start"):
                context.pythonExec = _python(context, settings)
            yield context
        finally:
            with warnings.catch_warnings(action="ignore"), suppress(*_connection_errors()):
                context.stop()


def _configure(conf: Any, settings: Settings, address: str) -> None:
    """Set what a session needs; the rest, such as the executors' memory, is as Spark's spark-defaults.conf has it."""
    master = settings.master
    if not _is_cluster(master):
        cores = master.removeprefix("local").strip("[]") or "1"
        master = f"local[{cores},{_LOCAL_TRIES}]"
        # Spark's ports are open to every user of this machine; it makes a secret of its own here.
        conf.setIfMissing("spark.authenticate", "true")
    conf.setAll(
        {
            "spark.master": master,
            "spark.app.name": "upswell",
            "spark.python.daemon.module": "upswell.engine.spark.daemon",
            "spark.ui.showConsoleProgress": "false",
            # Names on disk are UTF-8 on every node, whatever its locale.
            "spark.executorEnv.PYTHONUTF8": "1",
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
    """Return the executors' Python: the PEX, which is sent to them, or what every node has at the same path."""
    if settings.pex is None or not _is_cluster(settings.master):
        return os.environ.get("PYSPARK_PYTHON") or sys.executable
    context.addFile(settings.pex.absolute().as_uri())
    return f"./{settings.pex.name}"


def _is_cluster(master: str) -> bool:
    return master.startswith("spark://")


def _own_address(master: str) -> str:
    """Return the address by which executors reach this process: the one from which it reaches the master."""
    if not _is_cluster(master):
        return "127.0.0.1"
    faults = []
    for place in master.removeprefix("spark://").split(","):
        host, _, port = place.rpartition(":")
        try:
            with socket.create_connection((host, int(port)), _CONNECT_S) as connection:
                return str(connection.getsockname()[0])
        # A port may be too large, a name such as a..b none at all.
        except (OSError, OverflowError, UnicodeError) as error:
            faults.append(f"{place}: {error}")
    raise SparkFailed(
        f"no Spark master answers: {'; '.join(faults)}", "start it, or correct --master"
    )
