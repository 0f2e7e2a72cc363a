"""The files of the ledger's shards: their content, how one is written so that it is durable, how one is read back.

Owns their format. It imports no more than the kernel and durable files, since executors load it. A file has one name
and one content for good, and means nothing until a commit names it: one that is written twice, too late or not to its
end does no harm.
"""

import errno
import secrets
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from upswell import kernel
from upswell.kernel import SHARDS
from upswell.storage import files, syscalls

KINDS = ("base", "delta")
"""The two kinds of files: all live counters and caps of a shard, or what a batch changed."""
_ATTEMPT_BYTES = 8  # of randomness in an attempt's name
UNREADY = ".unready"
"""Ends the name of a file that is being written."""
_LENGTH = struct.Struct("<Q")  # before each blob in a file
_LOST = (errno.ENOENT, errno.ELOOP, errno.EINVAL, errno.ENXIO)
"""Errors for a file that is missing, or that a link, a directory or a socket has replaced."""


class ShardFile(NamedTuple):
    """A file that a task wrote to the ledger's directory."""

    shard: int
    batch: int
    kind: str
    """One of KINDS."""
    name: str
    bytes: int
    digest: int
    """CRC-64/NVME of the content."""


class DamagedShard(Exception):
    """A file of a shard is missing or damaged; the message has its name and the reason."""


class Unsynced(OSError):
    """The ledger's directory could not be synced, so a name in it may be lost.

    Never try again: a second attempt would find the name, and might be told that it is durable.
    """


def kernel_shards(shard: int, shards: int) -> range:
    """Return the kernel's shards that one shard holds of a ledger in so many shards."""
    each = SHARDS // shards
    return range(shard * each, (shard + 1) * each)


def write_shard_file(
    directory: Path, shard: int, batch: int, attempt: str, kind: str, blobs: Sequence[bytes]
) -> ShardFile:
    """Write a file of a shard, whole and durable when this returns. A crash leaves it whole, or not there.

    Another task may be writing the same file with the same content: the first to finish gives it its name.

    Args:
        directory: of the ledger.
        shard: of the ledger, in as many as the state has.
        batch: up to which, or of which, the file holds changes.
        attempt: of the driver; part of the name.
        kind: one of KINDS.
        blobs: the kernel's: a base for each of its shards that the shard holds, or one delta.

    Raises:
        FileExistsError: the name has another content, which stays.
        Unsynced: the directory could not be synced.
        OSError: the file could not be written.
    """
    name = f"shard-{shard:03}-{batch:010}-{attempt}.{kind}"
    content = b"".join(part for blob in blobs for part in (_LENGTH.pack(len(blob)), blob))
    written = ShardFile(shard, batch, kind, name, len(content), kernel.crc64(content))
    unready = f"{name}.{secrets.token_hex(8)}{UNREADY}"
    with files.directory(directory) as fd:
        files.create_file(unready, fd, content, 0o600)
        try:
            # A link, not a rename: on network file systems only a link fails when the name exists.
            syscalls.link(unready, name, src_dir_fd=fd, dst_dir_fd=fd, follow_symlinks=False)
        except FileExistsError:
            if not _is_written(files.read_file(name, fd), written):
                words = "already exists with other content"
                raise FileExistsError(errno.EEXIST, words, name) from None
        finally:
            syscalls.unlink(unready, dir_fd=fd)
        try:
            syscalls.fsync(fd)
        except OSError as error:
            raise Unsynced(error.errno, error.strerror) from error
    return written


def read_shard_file(directory: Path, file: ShardFile) -> list[bytes]:
    """Return the blobs of a shard's file: of a base one for each of its kernel shards, of a delta one.

    Raises DamagedShard when it is missing or damaged, OSError when it cannot be read.
    """
    try:
        with files.directory(directory) as fd:
            content = shard_content(file, fd)
    except OSError as error:
        if error.errno not in _LOST:
            raise
        raise DamagedShard(f"{file.name}: {error.strerror}") from error
    blobs, at = [], 0
    while at < len(content):
        at += _LENGTH.size
        length = _LENGTH.unpack_from(content, at - _LENGTH.size)[0]
        blobs.append(content[at : at + length])
        at += length
    return blobs


def shard_content(file: ShardFile, dir_fd: int) -> bytes:
    """Return the bytes of a shard's file. Raises DamagedShard when they are not those written, and OSError."""
    content = files.read_file(file.name, dir_fd)
    if not _is_written(content, file):
        raise DamagedShard(f"{file.name}: content is not what was written")
    return content


def _is_written(content: bytes, file: ShardFile) -> bool:
    return (len(content), kernel.crc64(content)) == (file.bytes, file.digest)


def new_attempt() -> str:
    """Return a name that no other attempt has."""
    return secrets.token_hex(_ATTEMPT_BYTES)
