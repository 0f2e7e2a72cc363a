"""The ledger in files beside the database: reading them, and removing those that are not the ledger.

Owns STATE/ledger on the driver's side; tasks write there, each to names of its own attempt (``tasks``). It never
decides which files are the ledger: a commit names them, and what no commit names may go at any time, since nobody will
ever ask for it.
"""

import contextlib
import errno
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from upswell.errors import StorageError
from upswell.kernel import SHARDS
from upswell.output.names import BATCH_MAX, ShardName, parse_shard
from upswell.state.rows import LedgerParts
from upswell.state.shard_files import ShardFile, read_shard_file
from upswell.storage import syscalls
from upswell.storage.files import (
    RECOVERS,
    directory,
    list_names,
    remove_files,
    sync_directory,
    translate_os_errors,
)

DIRECTORY = "ledger"
SHARD_COUNTS = tuple(1 << power for power in range(SHARDS.bit_length()))
"""How many shards a ledger in files may have: each holds as many of the kernel's."""

_SHARED = "the directory must be one file system, shared by the driver and all executors; then start again"


def make(ledger_dir: Path) -> None:
    """Make the directory when it is missing; durable then, and closed to others. StorageError when it cannot be one."""
    with translate_os_errors(ledger_dir, StorageError, RECOVERS):
        with contextlib.suppress(FileExistsError):
            syscalls.mkdir(ledger_dir, 0o700)
        # At every start, since a crash may have kept the last one from it.
        sync_directory(ledger_dir.parent)
        with directory(ledger_dir):  # no link, which tasks would not follow
            pass


def read(ledger_dir: Path, files: Sequence[ShardFile]) -> LedgerParts:
    """The bases and deltas that these files hold. Raises DamagedShard, and StorageError when one cannot be read."""
    parts = LedgerParts([], [])
    # Deltas in commit order; those of one batch are of different shards.
    with translate_os_errors(ledger_dir, StorageError, RECOVERS):
        for file in sorted(files, key=lambda file: file.batch):
            blobs = [(file.batch, blob) for blob in read_shard_file(ledger_dir, file)]
            (parts.bases if file.kind == "base" else parts.deltas).extend(blobs)
    return parts


def check_seen(ledger_dir: Path, files: Sequence[ShardFile]) -> None:
    """Whether the driver sees what tasks wrote, in its full length: a name that leads nowhere is not to be committed.

    Raises StorageError.
    """
    with translate_os_errors(ledger_dir, StorageError, _SHARED), directory(ledger_dir) as fd:
        for file in files:
            found = syscalls.stat(file.name, dir_fd=fd, follow_symlinks=False)
            if found.st_size != file.bytes:
                raise OSError(errno.EIO, f"has {found.st_size} of {file.bytes} bytes", file.name)


def sweep(ledger_dir: Path, keep: Collection[str], batch_max: int = BATCH_MAX) -> int:
    """Remove the files of batches up to ``batch_max`` that are not among those to keep; how many.

    Half-written ones, too; names that are not ours stay. A crash leaves some for the next sweep.
    """
    return _remove(ledger_dir, lambda name, shard: name not in keep and shard.batch <= batch_max)


def discard(ledger_dir: Path, attempt: str) -> int:
    """Remove what an attempt wrote that is of no use; how many files. As ``sweep``."""
    return _remove(ledger_dir, lambda _, shard: shard.attempt == attempt)


def _remove(ledger_dir: Path, goes: Callable[[str, ShardName], bool]) -> int:
    with translate_os_errors(ledger_dir, StorageError, RECOVERS), directory(ledger_dir) as fd:
        named = ((name, parse_shard(name)) for name in list_names(fd))
        names = [name for name, shard in named if shard is not None and goes(name, shard)]
        return remove_files(names, fd) if names else 0
