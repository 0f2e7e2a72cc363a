"""The image runs where its manual says: a read-only root, no home, a user whom no file names, and a /tmp without exec.

No container runtime is needed: a mount namespace, ``setpriv`` and an empty environment stand for one, over the
environment that the Dockerfile's own command unpacks. ``make pex`` makes what is unpacked.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.command import ROOT
from support.faults.limits import OPEN_INTERPRETER, interpreter, own_namespace
from support.page_commands import blocks_under

PEX = ROOT / "dist" / "upswell.pex"
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
UNPACK = re.search(
    r"PEX_ROOT=/tmp/pex PEX_TOOLS=1 python3 /mnt/upswell.pex (.*) \\$", DOCKERFILE, re.MULTILINE
)
USER = 54321
"""An arbitrary user, as OpenShift gives one: without an entry in /etc/passwd."""
CONTAINER = f"""
set -e
mount --make-rprivate /
mount --bind "$UNPACKED" /opt
mount -t tmpfs none /srv
[ -e /opt/upswell ] || PEX_ROOT="$PLACE/pex" PEX_TOOLS=1 "$PYTHON" "$PEX" $UNPACK
mkdir /srv/upswell /srv/hidden
mount --bind "$PLACE/srv" /srv/upswell
{OPEN_INTERPRETER}mount -t tmpfs -o noexec,nosuid none /tmp
mount -o remount,bind,ro /opt
mount -o remount,bind,ro /
cd /srv/upswell
exec setpriv --reuid $USER --regid $USER --clear-groups --no-new-privs \\
    env -i PATH=/opt/upswell/bin:/usr/bin:/bin PYTHONDONTWRITEBYTECODE=1 sh -c "$COMMANDS"
"""
"""What `docker run --read-only --tmpfs /tmp --user 54321 -v …:/srv/upswell` does, and then the commands."""


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image's /opt: filled by the first test, as an image is built once."""
    place = tmp_path_factory.mktemp("opt")
    place.chmod(0o755)
    return place


def contained(tmp_path: Path, unpacked: Path, commands: str) -> subprocess.CompletedProcess[str]:
    """What shell commands print in the container, in a directory that holds the brief's sample and the PEX."""
    if not PEX.exists():
        pytest.skip("dist/upswell.pex is not there: make pex")
    if os.geteuid() != 0:
        pytest.skip("only root may change the user")
    namespace = own_namespace()
    assert UNPACK is not None
    srv = tmp_path / "srv"
    shutil.copytree(ROOT / "examples" / "brief", srv)
    shutil.copy(PEX, srv)
    for place in [srv, *srv.rglob("*")]:
        os.chown(place, USER, USER)
    settings = {
        "PLACE": str(tmp_path),
        "UNPACKED": str(unpacked),
        "PYTHON": sys.executable,
        "PEX": str(PEX),
        "UNPACK": UNPACK[1],
        "COMMANDS": commands,
        **interpreter(),
        "USER": str(USER),
    }
    return subprocess.run(
        [*namespace, "sh", "-c", CONTAINER], env=os.environ | settings, capture_output=True, text=True, check=False
    )  # fmt: skip


def test_image_runs_without_home_name_or_a_writable_root(tmp_path: Path, unpacked: Path) -> None:
    """A run, a look at it and a second run end with 0, and the published record is the brief's."""
    done = contained(
        tmp_path,
        unpacked,
        "upswell run data segment rules out --once && upswell status --output out"
        " && upswell data segment rules out --once",
    )

    assert 0 == done.returncode, done.stderr
    assert "notified" in done.stdout
    [published] = (tmp_path / "srv" / "out" / "Twitter").iterdir()
    assert b"0126545098,1,315,20200417193743\n" == published.read_bytes()


def test_image_runs_the_command_of_the_manual(tmp_path: Path, unpacked: Path) -> None:
    """What the page has after the image's name runs where the options before it say, and ends with 0 at SIGTERM."""
    manual = ROOT / "docs" / "operations.md"
    [commands] = blocks_under(manual, "In a container")
    [settings] = blocks_under(manual, "As a service", "toml")
    docker, image, words = commands.splitlines()[-1].partition(" upswell ")
    done = contained(
        tmp_path,
        unpacked,
        f"mkdir reference && mv segment rules reference && echo {shlex.quote(settings)} >upswell.toml || exit 9;"
        f"{image}{words} & until ls out/*/NOTIFY_* 2>/dev/null; do kill -0 $! || exit 8; sleep 0.1; done;"
        " kill $!; wait $!",
    )

    assert 0 == done.returncode, done.stderr
    assert USER == (tmp_path / "srv" / "out" / ".upswell" / "checkpoint.db").stat().st_uid
    # The other words are what the emulation does; the user may be any.
    assert "docker run --read-only --tmpfs /tmp --user 10001 -v /srv/upswell:/srv/upswell" == docker


def test_image_runs_what_its_dockerfile_says(tmp_path: Path, unpacked: Path) -> None:
    """The entry point is found on the PATH that the Dockerfile sets, and writes nothing but what it was given."""
    entry = re.search(
        r'^ENTRYPOINT \["env", "--block-signal=TERM", "(\w+)"\]$', DOCKERFILE, re.MULTILINE
    )
    assert entry is not None
    assert "ENV PATH=/opt/upswell/bin:$PATH" in DOCKERFILE
    done = contained(
        tmp_path, unpacked, f"command -v {shlex.quote(entry[1])} && upswell --version && touch /x"
    )

    assert "/opt/upswell/bin/upswell" == done.stdout.splitlines()[0]
    assert done.stdout.splitlines()[1].startswith("upswell ")
    assert "Read-only file system" in done.stderr


def test_kernel_on_a_mount_without_exec_is_told(tmp_path: Path, unpacked: Path) -> None:
    """A PEX whose cache lies on a noexec mount ends with 78 and says where to unpack it, not with an ImportError."""
    done = contained(
        tmp_path,
        unpacked,
        "PEX_ROOT=/tmp/pex python3 upswell.pex --version; echo $?",
    )

    assert "78" == done.stdout.strip(), done.stderr
    assert "noexec" in done.stderr
    assert "PEX_ROOT" in done.stderr
    assert "Traceback" not in done.stderr
