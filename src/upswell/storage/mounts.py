"""Mounted file systems: which one a path lies on, and whether hosts may share it.

Owns the reading of the mount table and the list of network file systems; changes nothing. A path is refused only when
the table names a file system that may be shared: where the system shows no table, nothing is refused.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from upswell.errors import UpswellError
from upswell.privacy import escape
from upswell.storage import syscalls

_NETWORK_TYPES = {
    "9p", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4",
    "ocfs2", "gfs2", "smb2", "smb3", "smbfs",
}  # fmt: skip
_LOCAL_FUSE_TYPES = {"fuseblk", "fuse.fuse-overlayfs"}


class Mount(NamedTuple):
    """One mounted file system."""

    point: str
    kind: str


def list_mounts() -> list[Mount]:
    """Return the mounted file systems in mount order; none where the system shows no mount table."""
    return parse_mounts(syscalls.mount_table())


def parse_mounts(text: str) -> list[Mount]:
    """Parse the text of /proc/self/mountinfo."""
    found = []
    for line in text.splitlines():
        left, separator, right = line.partition(" - ")
        if separator:
            point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), left.split(" ")[4])
            found.append(Mount(point, right.split(" ")[0]))
    return found


def mount_of(path: Path, mounted: Iterable[Mount]) -> Mount | None:
    """Return the mount that an absolute, resolved path lies on: the deepest, and of several at one point the last."""
    holding = [mount for mount in mounted if path.is_relative_to(mount.point)]
    return max(reversed(holding), key=lambda mount: len(mount.point), default=None)


def is_network(kind: str) -> bool:
    """Return whether hosts may share a file system of this kind, so that its locks and fsync cannot be relied on."""
    return kind in _NETWORK_TYPES or (kind.startswith("fuse") and kind not in _LOCAL_FUSE_TYPES)


def refuse_network(path: Path, what: str, error: type[UpswellError]) -> None:
    """Raise ``error`` when the path lies on a network file system. ``what`` names it in the message."""
    mount = mount_of(Path(syscalls.realpath(path)), list_mounts())
    if mount is not None and is_network(mount.kind):
        raise error(
            f"{what} {escape(str(path))} is on a network file system ({mount.kind}, mounted at {escape(mount.point)}):"
            " its locks, renames and fsync cannot be relied on",
            "put it on a local disk; DATA, SEGMENT and RULES may stay where they are",
        )
