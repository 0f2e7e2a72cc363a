"""Java and Spark on this machine: found, checked against the tested versions, and one JVM for the life of a run.

Owns how the JVM is started, so that it lives exactly as long as this process needs it. It is in a process session of
its own and ignores the signals that ask a run to stop, since the batch in hand needs it until it is committed; and it
ends when the pipe to its stdin is closed, so that a driver that is killed leaves none behind. Its output goes into a
file of the state. It knows nothing of jobs.
"""

import importlib
import importlib.util
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from upswell.errors import ConfigError, SparkFailed

JAVA_MIN = 17
SPARK_TESTED = "4.3"
LOG_NAME = "spark.log"
"""In the state's directory."""
_INSTALL_JAVA = f"install Java {JAVA_MIN} or later (Debian: apt-get install openjdk-17-jre-headless), or set JAVA_HOME"
_INSTALL_SPARK = (
    "pip install 'upswell[spark]', or set SPARK_HOME to an installation of Spark " + SPARK_TESTED
)
DRIVER_MEMORY = "2g"
"""Of the driver's JVM, unless Spark's own settings say otherwise: the reports of a batch go through it."""
_VERSION_S = 20  # for Java to report its version, on a machine that is busy starting everything
_START_S = 120  # for the JVM to start, which takes three seconds on an idle machine
_GOING_S = 1.0  # between the end of the JVM's connections and that of its process
_STOP_S = 10  # for the JVM to tell its executors to end
_IGNORE_SIGNALS = """trap '' INT TERM HUP; exec "$@\""""


def find_java(environ: Mapping[str, str] = os.environ) -> tuple[Path, int]:
    """Return the program that Spark's scripts would start, and its major version.

    Raises:
        ConfigError: there is no Java, or one that is too old.
    """
    home = environ.get("JAVA_HOME")
    found = shutil.which("java", path=str(Path(home, "bin")) if home else environ.get("PATH"))
    if found is None:
        where = f"JAVA_HOME={home} has no bin/java" if home else "there is no java on PATH"
        raise ConfigError(f"Spark needs Java, and {where}", _INSTALL_JAVA)
    try:
        answer = subprocess.run(
            [found, "-version"],
            capture_output=True,
            text=True,
            errors="replace",  # options of the environment, which it repeats, need not be text
            check=False,
            timeout=_VERSION_S,
        ).stderr
    except (OSError, subprocess.TimeoutExpired):
        answer = ""
    version = re.search(r'version "(?:1\.)?(\d+)', answer)
    if version is None or int(version[1]) < JAVA_MIN:
        words = f"is version {version[1]}" if version else "reports no version"
        raise ConfigError(
            f"Spark needs Java {JAVA_MIN} or later, and {found} {words}", _INSTALL_JAVA
        )
    return Path(found), int(version[1])


def find_spark(environ: Mapping[str, str] = os.environ) -> tuple[Path, str]:
    """Return Spark's home, and its version.

    The home is SPARK_HOME, or else the package pyspark of this Python, or else what holds the spark-submit on PATH.

    Raises:
        ConfigError: there is no Spark, or one of a version that was not tested.
    """
    home = _home(environ)
    if home is None:
        raise ConfigError("Spark was not found", _INSTALL_SPARK)
    jar = next(Path(home, "jars").glob("spark-core_*.jar"), None)
    if jar is None:
        raise ConfigError(
            f"{home} is not a Spark installation: it has no jars/spark-core", _INSTALL_SPARK
        )
    version = jar.stem.rpartition("-")[2]
    if not version.startswith(f"{SPARK_TESTED}."):
        raise ConfigError(
            f"{home} is Spark {version}, and only {SPARK_TESTED} was tested", _INSTALL_SPARK
        )
    return home, version


def _home(environ: Mapping[str, str]) -> Path | None:
    if named := environ.get("SPARK_HOME"):
        return Path(named).absolute()
    package = importlib.util.find_spec("pyspark")
    if package is not None and package.origin:
        return Path(package.origin).parent
    submit = shutil.which("spark-submit", path=environ.get("PATH"))
    if submit is None:
        return None
    prefix = Path(submit).resolve().parent.parent
    return next(prefix.glob("lib/python3*/site-packages/pyspark"), prefix)


def import_pyspark(home: Path) -> Any:
    """Import and return the module pyspark that belongs to this Spark."""
    if importlib.util.find_spec("pyspark") is None:
        library = home / "python" / "lib"
        sys.path += [str(found) for found in sorted(library.glob("*.zip"))]
    return importlib.import_module("pyspark")


class Jvm(NamedTuple):
    """A JVM with Spark that was started."""

    process: "subprocess.Popen[bytes]"
    gateway: Path
    """The file into which it writes port and secret once it can be connected to."""
    log: Path
    """Its output is appended here."""

    def is_alive(self) -> bool:
        """Return whether the process is there; costs one system call."""
        return self.process.poll() is None

    def is_going(self) -> bool:
        """Return whether it has gone, or goes within a second: its connections end before the process does."""
        try:
            self.process.wait(_GOING_S)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """End it at once; whatever waits for it fails."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


@contextmanager
def started(home: Path, log: Path, address: str) -> Iterator[Jvm]:
    """Start a JVM with Spark at this address, which need not be ready yet; end it with the block."""
    with tempfile.TemporaryDirectory(prefix="upswell-") as place:
        gateway = Path(place, "gateway")
        one = Jvm(_start(home, log, gateway, address), gateway, log)
        try:
            yield one
        finally:
            _end(one)


@contextmanager
def connected(one: Jvm) -> Iterator[Any]:
    """Connect to the JVM once it is ready, and give what ``SparkContext(gateway=…)`` takes. Raises SparkFailed."""
    gateway = _connect(one)
    try:
        yield gateway
    finally:
        _disconnect(gateway)


def _start(home: Path, log: Path, gateway: Path, address: str) -> "subprocess.Popen[bytes]":
    defaults = {"SPARK_DRIVER_MEMORY": DRIVER_MEMORY, "SPARK_LOCAL_IP": address}
    environ = (
        defaults
        | os.environ
        | {
            "SPARK_HOME": str(home),
            "SPARK_CONNECT_MODE": "0",
            "_PYSPARK_DRIVER_CONN_INFO_PATH": str(gateway),
            "LOG4J_CONFIGURATION_FILE": Path(__file__).with_name("log4j2.properties").as_uri(),
            "SPARK_LOG": str(log.absolute()),
            # A file in the working directory must not be imported as a module.
            "PYTHONSAFEPATH": "1",
        }
    )
    words = ["sh", "-c", _IGNORE_SIGNALS, "sh", str(home / "bin" / "spark-submit"), "pyspark-shell"]
    with log.open("ab") as output:
        return subprocess.Popen(
            words,
            env=environ,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def _connect(one: Jvm) -> Any:
    """Wait until the JVM has written its port, and connect as Spark's Python does."""
    late = time.monotonic() + _START_S
    while not one.gateway.exists():
        if not one.is_alive() or time.monotonic() > late:
            raise SparkFailed("the JVM of Spark did not start", f"see the end of {one.log}")
        time.sleep(0.02)
    port, secret = _parse_gateway(one.gateway.read_bytes())
    # How Spark connects to a JVM that was started before. The secret must not reach other children.
    os.environ.update(PYSPARK_GATEWAY_PORT=str(port), PYSPARK_GATEWAY_SECRET=secret)
    try:
        return importlib.import_module("pyspark.java_gateway").launch_gateway()
    except Exception as error:  # whatever it makes of a JVM that has gone by now
        raise SparkFailed("the JVM of Spark did not start", f"see the end of {one.log}") from error
    finally:
        del os.environ["PYSPARK_GATEWAY_PORT"], os.environ["PYSPARK_GATEWAY_SECRET"]


def _parse_gateway(content: bytes) -> tuple[int, str]:
    """Return (port, secret) out of the file that a gateway writes: two integers of four bytes, the second a length."""
    port, length = struct.unpack_from(">ii", content)
    return port, content[8 : 8 + length].decode("utf-8")


def _disconnect(gateway: Any) -> None:
    context = importlib.import_module("pyspark").SparkContext
    context._gateway = context._jvm = None
    with suppress(Exception):
        gateway.shutdown()


def _end(one: Jvm) -> None:
    """Close the JVM's stdin, at which it ends; kill it when it does not."""
    process = one.process
    assert process.stdin is not None, "it was made with a pipe"
    with suppress(BrokenPipeError):
        process.stdin.close()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        one.kill()
        process.wait()
