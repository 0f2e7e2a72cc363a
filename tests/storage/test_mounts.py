"""Which file systems a state is taken on, warned of, and refused: by value."""

from pathlib import Path

import pytest

from support.command import Upswell
from support.inputs import inside, write_inputs
from upswell.errors import OutputUnwritable
from upswell.storage import syscalls
from upswell.storage.mounts import (
    LOCAL,
    MEMORY,
    NETWORK,
    UNKNOWN,
    doubts,
    is_network,
    kind_of,
    list_mounts,
    mount_of,
    parse_mounts,
    refuse_network,
)

MOUNTINFO = r"""
21 1 8:1 / / rw - ext4 /dev/sda1 rw
30 21 0:30 / /mnt rw shared:1 - nfs4 host:/ rw
31 30 0:31 / /mnt/a\040b rw master:2 shared:3 - tmpfs none rw
32 21 0:32 / /home rw - fuse.sshfs host: rw
33 21 0:33 / /home rw - ext4 /dev/sdb rw
34 21 0:34 / /shared rw - virtiofs share rw
"""


@pytest.mark.parametrize(
    ("path", "kind", "network"),
    [
        ("/x", "ext4", False),
        ("/mnt", "nfs4", True),
        ("/mnt/deep/er", "nfs4", True),
        ("/mntx", "ext4", False),
        ("/mnt/a b/c", "tmpfs", False),
        ("/home/x", "ext4", False),
    ],
)
def test_network_file_systems_are_told_apart(path: str, kind: str, network: bool) -> None:
    """The deepest mount counts, and of two at one place the later."""
    mount = mount_of(Path(path), parse_mounts(MOUNTINFO))
    assert mount is not None
    assert (kind, network) == (mount.kind, is_network(mount.kind))


def test_own_mounts_are_read() -> None:
    """This host's list is understood: there is a root."""
    assert "/" in {mount.point for mount in list_mounts()}


@pytest.mark.parametrize(
    ("kind", "file_systems"),
    [
        (
            LOCAL,
            "bcachefs btrfs ext2 ext3 ext4 f2fs jfs nilfs2 overlay reiserfs xfs zfs fuse.fuse-overlayfs",
        ),
        (MEMORY, "ramfs rootfs tmpfs"),
        (
            NETWORK,
            "9p afs beegfs ceph cifs coda davfs fuse fuse.glusterfs fuse.s3fs fuse.sshfs fuse.unheard gfs2 glusterfs"
            " gpfs lustre ncpfs nfs nfs4 ocfs2 orangefs pvfs2 smb2 smb3 smbfs",
        ),
        (
            UNKNOWN,
            "virtiofs fakeowner vboxsf drvfs panfs wekafs prl_fs vmhgfs osxfs grpcfuse fuseblk exfat vfat ntfs3 aufs"
            " ecryptfs nfs5 ext5 EXT4",
        ),
    ],
)
def test_each_type_is_judged_by_the_table(kind: str, file_systems: str) -> None:
    """A short list is taken, known network types are refused, and every other is warned of."""
    assert [] == [each for each in file_systems.split() if kind != kind_of(each)]


def test_a_doubt_names_path_type_and_mount(monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence for each mount; none about what is taken, or refused elsewhere."""
    monkeypatch.setattr(syscalls, "mount_table", lambda: MOUNTINFO)
    places = [
        ("OUTPUT", Path("/shared/out")),
        ("the state directory", Path("/shared/out/.upswell")),
        ("OUTPUT", Path("/mnt/a b/out")),
        ("OUTPUT", Path("/home/out")),
        ("OUTPUT", Path("/mnt/out")),
    ]

    shared, memory = doubts(places)
    assert (
        "OUTPUT /shared/out is on a file system of type virtiofs, mounted at /shared: whether"
        in shared
    )
    assert (
        "OUTPUT /mnt/a b/out is on a file system of type tmpfs, mounted at /mnt/a b: it is in memory"
        in memory
    )


def test_nothing_is_doubted_or_refused_where_no_mounts_are_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As under a sandbox that hides them."""
    monkeypatch.setattr(syscalls, "mount_table", lambda: "")

    assert [] == doubts([("OUTPUT", Path("/shared/out"))])
    refuse_network(Path("/mnt"), "OUTPUT", OutputUnwritable)


@pytest.mark.parametrize(("kind", "words"), [("vboxsf", "is not known"), ("tmpfs", "in memory")])
def test_a_run_and_a_check_warn_of_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, words: str
) -> None:
    """Both name the type, and the run starts."""
    upswell: Upswell = inside(tmp_path, monkeypatch)
    paths = write_inputs(tmp_path)
    monkeypatch.setattr(syscalls, "mount_table", lambda: f"21 1 8:1 / / rw - {kind} none rw\n")

    told = [
        upswell("check", *paths).stdout,
        upswell(*paths, "--once", "--settle-s", "0").stdout,
        upswell("check", *paths).stdout,
    ]
    for text in told:
        assert f"is on a file system of type {kind}, mounted at /" in text
        assert words in text
