"""Java and Spark are found where an operator put them, or the message says what to install."""

import importlib.util
from pathlib import Path

import pytest

from support.batches import refused
from support.inputs import inside, write_inputs
from upswell.engine.spark.jvm import find_java, find_spark
from upswell.errors import ConfigError


def program(path: Path, text: str) -> Path:
    """A shell script that can be run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n", "utf-8")
    path.chmod(0o755)
    return path


def java(place: Path, version: str) -> Path:
    """A program that tells its version as Java does."""
    return program(place / "bin" / "java", f"echo 'openjdk version \"{version}\" 2025-04-15' >&2")


def spark(home: Path, version: str) -> Path:
    """As much of Spark as is looked at."""
    (home / "jars").mkdir(parents=True)
    (home / "jars" / f"spark-core_2.13-{version}.jar").touch()
    return home


@pytest.mark.parametrize(("version", "major"), [("17.0.15", 17), ("21", 21), ("25-ea", 25)])
def test_java_is_found_by_its_home_or_on_the_path(tmp_path: Path, version: str, major: int) -> None:
    """JAVA_HOME comes first, as in Spark's own scripts."""
    named, other = java(tmp_path / "named", version), java(tmp_path / "other", "11.0.2")
    path = str(other.parent)
    assert (named, major) == find_java({"JAVA_HOME": str(tmp_path / "named"), "PATH": path})
    assert (named, major) == find_java({"PATH": str(named.parent)})


@pytest.mark.parametrize(("version", "told"), [("11.0.2", "11"), ("1.8.0_402", "8")])
def test_an_old_java_is_refused(tmp_path: Path, version: str, told: str) -> None:
    """The message names the version that was found, the one that is needed, and Debian's package."""
    old = java(tmp_path, version)
    with refused(ConfigError, f"Java 17 or later.*is version {told}") as caught:
        find_java({"PATH": str(old.parent)})
    assert "openjdk-17-jre-headless" in caught.value.hint


def test_a_missing_java_is_told(tmp_path: Path) -> None:
    """So is a JAVA_HOME that has none."""
    with refused(ConfigError, "there is no java on PATH"):
        find_java({"PATH": str(tmp_path)})
    with refused(ConfigError, "has no bin/java"):
        find_java({"JAVA_HOME": str(tmp_path)})


def test_a_program_that_is_no_java_is_refused(tmp_path: Path) -> None:
    """It does not tell a version."""
    other = program(tmp_path / "java", "true")
    with refused(ConfigError, "reports no version"):
        find_java({"PATH": str(other.parent)})


def test_a_java_that_says_what_is_no_text_is_found(tmp_path: Path) -> None:
    """It repeats the options of the environment, whose bytes may be anything, before its version."""
    said = "printf 'Picked up JAVA_TOOL_OPTIONS: -Da=\\377\\n' >&2"
    other = program(tmp_path / "java", f"{said}\necho 'openjdk version \"17.0.15\" 2025-04-15' >&2")
    assert (other, 17) == find_java({"PATH": str(other.parent)})


@pytest.mark.parametrize("text", ["exec sleep 100", "not a program"])
def test_a_java_that_does_not_answer_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """A start never hangs on it: one that is stuck, or cannot be started, tells no version either."""
    monkeypatch.setattr("upswell.engine.spark.jvm._VERSION_S", 0.2)
    other = program(tmp_path / "java", text)
    if text == "not a program":
        other.write_bytes(b"\x7fELF")
    with refused(ConfigError, "reports no version"):
        find_java({"PATH": str(other.parent)})


def test_spark_is_found_by_its_home_or_on_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it was unpacked, or beside the scripts that pip installs."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    home = spark(tmp_path / "spark", "4.3.0")
    submit = program(home / "bin" / "spark-submit", "true")
    assert (home, "4.3.0") == find_spark({"SPARK_HOME": str(home), "PATH": ""})
    assert (home, "4.3.0") == find_spark({"PATH": str(submit.parent)})

    package = spark(tmp_path / "venv" / "lib" / "python3.11" / "site-packages" / "pyspark", "4.3.1")
    submit = program(tmp_path / "venv" / "bin" / "spark-submit", "true")
    assert (package, "4.3.1") == find_spark({"PATH": str(submit.parent)})

    with refused(ConfigError, "Spark was not found") as caught:
        find_spark({"PATH": str(tmp_path)})
    assert "upswell[spark]" in caught.value.hint


def test_another_spark_is_refused(tmp_path: Path) -> None:
    """What was not tested is not guessed to work, and what is no Spark is told."""
    with refused(ConfigError, "is Spark 3.5.1, and only 4.3 was tested"):
        find_spark({"SPARK_HOME": str(spark(tmp_path / "old", "3.5.1"))})
    with refused(ConfigError, "is not a Spark installation"):
        find_spark({"SPARK_HOME": str(tmp_path)})


def test_check_says_what_a_run_on_spark_would_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Java and Spark with their versions and places; without Java a run could not start."""
    upswell = inside(tmp_path, monkeypatch)
    words = ("check", *write_inputs(tmp_path), "--engine", "spark")
    places = {
        "JAVA_HOME": str(java(tmp_path / "java", "17.0.15").parent.parent),
        "SPARK_HOME": str(spark(tmp_path / "spark", "4.3.0")),
    }
    told = upswell(*words, **places).stdout
    assert f"Spark 4.3.0 in {tmp_path / 'spark'}, Java 17 at {tmp_path / 'java'}" in told
    told = upswell(*words, code=78, **places | {"JAVA_HOME": str(tmp_path)}).stdout
    assert "openjdk-17-jre-headless" in told


def test_submit_needs_something_to_ship(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside of upswell.pex and without --pex there is nothing that executors could run; a missing file is told."""
    upswell = inside(tmp_path, monkeypatch)
    monkeypatch.delenv("PEX", raising=False)
    paths = write_inputs(tmp_path)
    cluster = ("--master", "spark://127.0.0.1:1")
    assert "no PEX to ship" in upswell("submit", *cluster, *paths, code=2).stderr
    told = upswell("submit", *cluster, "--pex", "no.pex", *paths, code=66).stderr
    assert "no.pex: no such file" in told


def test_submit_is_for_a_cluster_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another engine, or a master on this machine, is a slip that is told, with the command that was meant."""
    upswell = inside(tmp_path, monkeypatch)
    words = ("submit", *write_inputs(tmp_path), "--pex", "any.pex")
    for given in ((), ("--master", "local"), ("--master", "local[2]")):
        told = upswell(*words, *given, code=2).stderr
        assert (
            f"submit requires a cluster, but --master is {given[-1] if given else 'local[*]'}"
            in told
        )
        assert "spark://HOST:PORT" in told
    told = upswell(*words, "--engine", "embedded", "--master", "spark://a:1", code=2).stderr
    assert "submit requires Spark, but --engine is embedded" in told
    assert "upswell run" in told


@pytest.mark.parametrize("place", ["127.0.0.1:1", "127.0.0.1:99999", "a..b:7077"])
def test_a_master_that_does_not_answer_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """At once, and not after the minute that Spark would try for; so is one that can be no master's."""
    upswell = inside(tmp_path, monkeypatch)
    words = ("--once", "--engine", "spark", "--master", f"spark://{place}")
    told = upswell(*write_inputs(tmp_path), *words, code=74).stderr
    assert f"no Spark master answers: {place}" in told
