"""The directory of a ledger in files: reading those that a commit names, and removing the others.

Owns STATE/ledger on the driver's side; tasks write there, each under names of its own attempt. It never decides which
files make up the ledger: a commit names them, and a file that no commit names may be removed at any time.
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
"""The numbers of shards that a ledger in files may have; each shard holds as many of the kernel's."""

_SHARED = "put it on one file system that the driver and all executors share, then start again"


def make(ledger_dir: Path) -> None:
    """Create the directory when it is missing, durably and for its owner alone. Raises StorageError."""
    with translate_os_errors(ledger_dir, StorageError, RECOVERS):
        with contextlib.suppress(FileExistsError):
            syscalls.mkdir(ledger_dir, 0o700)
        # At every start, since a crash may have kept the last one from it.
        sync_directory(ledger_dir.parent)
        with directory(ledger_dir):  # not a link, which tasks would not follow
            pass


def read(ledger_dir: Path, files: Sequence[ShardFile]) -> LedgerParts:
    """Return the bases and deltas in these files. Raises DamagedShard, and StorageError when one cannot be read."""
    parts = LedgerParts([], [])
    # Deltas in commit order; those of one batch are of different shards.
    with translate_os_errors(ledger_dir, StorageError, RECOVERS):
        for file in sorted(files, key=lambda file: file.batch):
            blobs = [(file.batch, blob) for blob in read_shard_file(ledger_dir, file)]
            (parts.bases if file.kind == "base" else parts.deltas).extend(blobs)
    return parts


def check_seen(ledger_dir: Path, files: Sequence[ShardFile]) -> None:
    """Check that the driver sees what tasks wrote, in its full length: only that may be committed.

    Raises StorageError.
    """
    with translate_os_errors(ledger_dir, StorageError, _SHARED), directory(ledger_dir) as fd:
        for file in files:
            found = syscalls.stat(file.name, dir_fd=fd, follow_symlinks=False)
            if found.st_size != file.bytes:
                raise OSError(errno.EIO, f"has {found.st_size} of {file.bytes} bytes", file.name)


def sweep(ledger_dir: Path, keep: Collection[str], batch_max: int = BATCH_MAX) -> int:
    """Remove the files of batches up to ``batch_max`` that are not to be kept, half-written ones too; return how many.

    Names that are not of shard files stay. A crash leaves some for the next sweep.
    """
    return _remove(ledger_dir, lambda name, shard: name not in keep and shard.batch <= batch_max)


def discard(ledger_dir: Path, attempt: str) -> int:
    """Remove the files of an attempt that came to nothing; return how many. Names and crashes as in ``sweep``."""
    return _remove(ledger_dir, lambda _, shard: shard.attempt == attempt)


def _remove(ledger_dir: Path, goes: Callable[[str, ShardName], bool]) -> int:
    with translate_os_errors(ledger_dir, StorageError, RECOVERS), directory(ledger_dir) as fd:
        named = ((name, parse_shard(name)) for name in list_names(fd))
        names = [name for name, shard in named if shard is not None and goes(name, shard)]
        return remove_files(names, fd) if names else 0
