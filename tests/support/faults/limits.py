"""Surroundings that a run may meet: a user whom modes bind, and mounts of another kind."""

import ctypes
import os
import resource
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_CAPABILITIES_V3 = 0x20080522
_OVERRIDES = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: root's way past modes


@contextmanager
def bound_by_modes() -> Iterator[None]:
    """Inside, modes hold for this thread even when it is root's."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES_V3, 0)
    before = (ctypes.c_uint32 * 6)()
    assert 0 == libc.capget(header, before)
    bound = (ctypes.c_uint32 * 6)(*before)
    bound[0] &= ~_OVERRIDES
    assert 0 == libc.capset(header, bound)
    try:
        yield
    finally:
        assert 0 == libc.capset(header, before)


@contextmanager
def without_descriptors() -> Iterator[None]:
    """Inside, this process can open nothing more."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def in_a_namespace(path: Path, mounts_script: str, code: str) -> str:
    """What the code prints in a mount namespace of its own, after the mounts; skips where that is forbidden."""
    own = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    if subprocess.run(
        [*own, "mount", "-t", "tmpfs", "none", str(path)], check=False, capture_output=True
    ).returncode:
        pytest.skip("mounting is not allowed here")
    script = f'set -e; {mounts_script}; exec "$2" -c "$3" "$1"'
    return subprocess.run(
        [*own, "sh", "-c", script, "sh", str(path), sys.executable, code],
        env=os.environ | {"PYTHONPATH": ":".join(sys.path)}, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip


def own_namespace() -> list[str]:
    """What runs a command where it may mount; skips where that is forbidden, which in CI is a failure."""
    own = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    tried = subprocess.run(
        [*own, "mount", "-t", "tmpfs", "none", "/tmp"], check=False, capture_output=True
    )
    if tried.returncode and os.environ.get("CI"):
        pytest.fail("mounting is not allowed here, and CI must fill disks")
    if tried.returncode:
        pytest.skip("mounting is not allowed here")
    return own


OPEN_INTERPRETER = """
# The interpreter of this machine may lie in a directory that others cannot enter; an installed one never does.
if [ -n "$CLOSED" ]; then
    mkdir /srv/python
    mount --bind "$INTERPRETER" /srv/python
    mount -t tmpfs -o mode=755 none "$CLOSED"
    mkdir -p "$INTERPRETER"
    mount --bind /srv/python "$INTERPRETER"
fi
"""
"""Makes the interpreter of ``interpreter()`` one that every user may run, in a mount namespace with a /srv to write."""


def interpreter() -> dict[str, str]:
    """Return the variables that ``OPEN_INTERPRETER`` reads: where Python lies, and what of the way others cannot go."""
    place = Path(sys.base_prefix).resolve()
    closed = [
        each for each in [*reversed(place.parents), place] if not each.stat().st_mode & stat.S_IXOTH
    ]
    return {"INTERPRETER": str(place), "CLOSED": str(closed[0]) if closed else ""}
