"""Mounted file systems: which one a path lies on, and whether hosts may share it.

Owns the reading of the mount table and the table of types of file systems; changes nothing. A path is refused only when
its file system may be shared, and doubted when its type is not known or in memory: where the system shows no mount
table, neither.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from upswell.errors import UpswellError
from upswell.privacy import escape
from upswell.storage import syscalls

LOCAL, MEMORY, NETWORK, UNKNOWN = "local", "memory", "network", "unknown"
"""What a file system can be to a state: see ``kind_of``."""
_KINDS = {
    LOCAL: (
        "bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "jfs", "nilfs2", "overlay", "reiserfs", "xfs", "zfs",
        "fuse.fuse-overlayfs",
    ),
    MEMORY: ("ramfs", "rootfs", "tmpfs"),
    NETWORK: (
        "9p", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "fuse", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs",
        "nfs", "nfs4", "ocfs2", "orangefs", "pvfs2", "smb2", "smb3", "smbfs",
    ),
}  # fmt: skip


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


def kind_of(file_system: str) -> str:
    """Return what a type of file system is to a state, by the table.

    ``LOCAL``: locks and fsync hold; ``MEMORY``: gone after a restart of the machine; ``NETWORK``: hosts may share it,
    so that locks and fsync cannot be relied on; ``UNKNOWN``: nobody has tried.
    """
    for kind, types in _KINDS.items():
        if file_system in types:
            return kind
    return NETWORK if file_system.startswith("fuse.") else UNKNOWN


def is_network(file_system: str) -> bool:
    """Return whether a file system of this type is refused."""
    return kind_of(file_system) == NETWORK


def doubts(places: Iterable[tuple[str, Path]]) -> list[str]:
    """Return a sentence about each place that is on no file system known to keep what is written to it.

    ``places``: each path with what the sentence calls it; those on one mount share the first one's sentence.
    """
    found: dict[Mount, str] = {}
    mounted = list_mounts()
    for what, path in places:
        mount = mount_of(Path(syscalls.realpath(path)), mounted)
        if mount is None or mount in found:
            continue
        named = f"{escape(mount.kind)}, mounted at {escape(mount.point)}"
        where = f"{what} {escape(str(path))} is on a file system of type {named}"
        if kind_of(mount.kind) == MEMORY:
            found[mount] = f"{where}: it is in memory, and gone after a restart of the machine"
        elif kind_of(mount.kind) == UNKNOWN:
            found[mount] = (
                f"{where}: whether its locks, renames and fsync can be relied on is not known; put it on a local disk"
                " (ext4, XFS, Btrfs)"
            )
    return list(found.values())


def refuse_network(path: Path, what: str, error: type[UpswellError]) -> None:
    """Raise ``error`` when the path lies on a network file system. ``what`` names it in the message."""
    mount = mount_of(Path(syscalls.realpath(path)), list_mounts())
    if mount is not None and is_network(mount.kind):
        raise error(
            f"{what} {escape(str(path))} is on a network file system ({mount.kind}, mounted at {escape(mount.point)}):"
            " its locks, renames and fsync cannot be relied on",
            "put it on a local disk; DATA, SEGMENT and RULES may stay where they are",
        )
