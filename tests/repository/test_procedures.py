"""The procedures of docs/operations.md work as they are printed: each ``sh`` block is run, out of the page itself.

Its ``console`` blocks are run by ``test_docs_commands.py``. The service is run in a mount namespace with an /etc, /opt,
/srv and /var/cache of its own, by shell functions in the place of sudo, systemctl and journalctl that do what the unit
says: its command, as its user, in its environment.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from support.command import ROOT
from support.faults.limits import OPEN_INTERPRETER, interpreter, own_namespace
from support.page_commands import blocks, blocks_under, with_upswell_on_path

PAGE = ROOT / "docs" / "operations.md"
PEX = ROOT / "dist" / "upswell.pex"
SERVICE = (
    "As a service",
    "When you are paged",
    "Upgrade",
    "Backups, and what restoring one means",
)
"""What an operator does with a service, in this order, by the headings of the page."""
RUN_BY = {
    **{each: ["test_the_service_is_installed_looked_at_upgraded_and_restored"] for each in SERVICE},
    "In a container": ["test_image_runs_the_command_of_the_manual"],
    "Starting and stopping": ["test_a_run_is_checked_started_and_stopped"],
    "On a cluster of Spark": [
        "test_the_commands_for_spark_are_understood",  # with a cluster test_spark_cluster.py runs them
        "test_what_a_kill_of_spark_leaves_is_removed_and_nothing_else",
    ],
}
"""By heading, the tests that run the ``sh`` blocks below it, one each."""
SHOWN = [("As a service", "toml")]
"""Blocks that hold no commands: the settings that the service is installed with."""

HOST = f"""
set -e
mount --make-rprivate /
cp -a /etc "$PLACE/etc"
mkdir -p "$PLACE/opt" "$PLACE/srv" "$PLACE/cache"
mount --bind "$PLACE/etc" /etc
mount --bind "$PLACE/opt" /opt
mount --bind "$PLACE/cache" /var/cache
mount --bind "$PLACE/srv" /srv
{OPEN_INTERPRETER}
export PATH="$INTERPRETER/bin:/usr/sbin:/usr/bin:/sbin:/bin"
unit=/etc/systemd/system/upswell.service
journal=$PLACE/journal
trap '[ -z "$service" ] || kill "$service"' EXIT
as() {{ user=$1; shift; exec setpriv --reuid "$user" --regid "$user" --clear-groups env -i PATH="$PATH" "$@"; }}
sudo() {{ (shift; as "$@"); }}
setting() {{ sed -n "s/^$1=//p" $unit; }}
running() {{ [ -n "$service" ] && kill -0 "$service"; }}
systemctl() {{
    case "$1 $2" in
    "daemon-reload ") [ -s $unit ] ;;
    "enable --now" | "start upswell")
        running && return
        : >"$journal"
        as "$(setting User)" $(setting Environment) $(setting ExecStart) 2>"$journal" &
        service=$!
        until grep -q "reference in force" "$journal"; do running; sleep 0.05; done ;;
    "status upswell") running ;;
    "stop upswell")
        kill -TERM "$service"
        wait "$service"
        service=
        cat "$journal" ;;
    esac
}}
journalctl() {{ tail -n 50 "$journal"; }}
shopt -s expand_aliases
cd "$PLACE/delivered"
"""
"""A host: its shell, in which ``sudo``, ``systemctl`` and ``journalctl`` do what a unit's manager would."""


def test_every_command_block_is_run() -> None:
    """No fenced block of the page is neither a session that is run, nor has a test that runs it."""
    found = [(block.heading, block.language) for block in blocks(PAGE)]
    tests = "".join(each.read_text("utf-8") for each in Path(__file__).parent.glob("test_*.py"))

    assert {heading: len(of) for heading, of in RUN_BY.items()} == Counter(
        heading for heading, language in found if language == "sh"
    )
    assert SHOWN == [each for each in found if each[1] not in {"sh", "console"}]
    assert [] == [test for of in RUN_BY.values() for test in of if f"def {test}(" not in tests]


def test_the_service_is_installed_looked_at_upgraded_and_restored(tmp_path: Path) -> None:
    """What the page says about a service is done as it stands there: the unit runs, and nothing is sent twice."""
    if not PEX.exists():
        pytest.skip("dist/upswell.pex is not there: make pex")
    if os.geteuid() != 0:
        pytest.skip("only root may make a user and change to it")
    namespace = own_namespace()
    delivered = tmp_path / "delivered"
    shutil.copytree(ROOT / "examples" / "brief", delivered)
    shutil.copytree(ROOT / "contrib", delivered / "contrib")
    shutil.copy(PEX, delivered)
    [settings] = blocks_under(PAGE, SERVICE[0], "toml")
    (delivered / "upswell.toml").write_text(settings, "utf-8")
    install, *rest = [text for heading in SERVICE for text in blocks_under(PAGE, heading)]
    deliver = "cp data/* /srv/upswell/data; until ls $OUT/*/NOTIFY_*; do running; sleep 0.05; done"
    done = subprocess.run(
        [*namespace, "bash", "-c", "\n".join([HOST, install, deliver, *rest, "systemctl stop upswell"])],
        env=os.environ | interpreter() | {"PLACE": str(tmp_path), "OUT": "/srv/upswell/out"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    told = done.stdout + done.stderr
    output = tmp_path / "srv" / "upswell" / "out"

    assert 0 == done.returncode, told
    assert 2 == told.count("ok: a run can start\n")
    assert "up to batch 1" in told
    assert 2 == told.count("/srv/upswell/out/.upswell: sound\n")
    # Three starts: the first reads the sample, those after the upgrade and the restore go on behind it.
    assert ["7", "0", "0"] == re.findall(r"event=stopped lines=(\d+)", told)
    assert 2 == sum(len(one.read_text().splitlines()) for one in output.glob("*/NOTIFY_*"))
    assert (tmp_path / "srv" / "upswell" / "damaged" / "checkpoint.db").exists()


@pytest.fixture
def named(tmp_path: Path) -> Path:
    """A directory whose DATA, SEGMENT and RULES have the names that the page gives them, with the brief's sample."""
    for name in ("data", "segment", "rules"):
        shutil.copytree(ROOT / "examples" / "brief" / name, tmp_path / name.upper())
    return tmp_path


def test_a_run_is_checked_started_and_stopped(named: Path) -> None:
    """The check says that a run can start, SIGTERM ends the run for ever with 0, and nothing is left for the last."""
    [commands] = blocks_under(PAGE, "Starting and stopping")
    check, for_ever, once = commands.splitlines()

    assert "ok: a run can start" in shell(check, named).stdout
    run = subprocess.Popen(
        ["bash", "-c", f"exec {for_ever}"], cwd=named, env=with_upswell_on_path()
    )
    try:
        while not list((named / "OUTPUT").glob("Twitter/NOTIFY_*")):
            assert run.poll() is None
            time.sleep(0.05)
        run.send_signal(signal.SIGTERM)
        assert 0 == run.wait(30)
    finally:
        run.kill()
        run.wait()
    assert re.search(r"lines read +0$", shell(once, named).stdout, re.MULTILINE)


def shell(
    command: str, place: Path, code: int = 0, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Return what commands of the page print in a directory, and fail unless they end with the code."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=place, env=with_upswell_on_path() | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert code == done.returncode, f"{command}\n{done.stdout}{done.stderr}"
    return done


def test_what_a_kill_of_spark_leaves_is_removed_and_nothing_else(tmp_path: Path) -> None:
    """Spark's directories go from each of its places, without a USER in the environment; others' and ours stay."""
    _, command = blocks_under(PAGE, "On a cluster of Spark")
    for place in ("one", "two"):
        for name in ("spark-1/pyspark-2", "blockmgr-3/0a", "upswell-4", "other/spark-5"):
            (tmp_path / place / name).mkdir(parents=True)
    kept = ["one/other", "one/upswell-4", "two/other", "two/upswell-4"]
    if os.geteuid() == 0:
        os.chown(tmp_path / "two" / "spark-1", 54321, 54321)
        kept.append("two/spark-1")
    shell(f"unset USER; {command}", tmp_path, SPARK_LOCAL_DIRS=f"{tmp_path / 'one'},two")

    assert sorted(kept) == sorted(str(each.relative_to(tmp_path)) for each in tmp_path.glob("*/*"))
    assert (tmp_path / "one" / "other" / "spark-5").is_dir()


def test_the_commands_for_spark_are_understood(named: Path) -> None:
    """Where Java is missing each says so, with 78: nothing before it is wrong in what the page writes."""
    pex = named / "upswell.pex"
    pex.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m upswell "$@"\n')
    pex.chmod(0o755)
    commands, _ = blocks_under(PAGE, "On a cluster of Spark")
    with socket.create_server(("127.0.0.1", 0)) as master:  # is asked before Java is looked for
        address = f"127.0.0.1:{master.getsockname()[1]}"
        for line in commands.replace("HOST:7077", address).splitlines():
            done = shell(line, named, 78, JAVA_HOME=str(named), UPSWELL_PEX=str(pex))

            assert "Spark needs Java" in done.stdout + done.stderr
