"""The directory of a state: made when it is missing, durable, and closed to others."""

import contextlib
from pathlib import Path

from upswell.errors import OutputUnwritable
from upswell.privacy import escape
from upswell.state.connection import DATABASE, openable_path
from upswell.storage import syscalls
from upswell.storage.files import next_step, sync_directory


def make_directory(state_dir: Path) -> None:
    """Make a state's directory when it is missing, durably; only its owner may enter it, unless it holds other things.

    Raises OutputUnwritable, and ConfigError before anything is made when the path is too long for its database.
    """
    openable_path(state_dir / DATABASE)
    try:
        with contextlib.suppress(FileExistsError):
            syscalls.mkdir(state_dir, 0o700)
        names = syscalls.listdir(state_dir)
        if DATABASE in names or not names:
            # One that holds other things is not ours to close to others: it may hold OUTPUT.
            syscalls.chmod(state_dir, 0o700)
        # At every start, since a crash may have kept the last one from it.
        sync_directory(state_dir)
        with contextlib.suppress(PermissionError):  # then the directory existed before this program
            sync_directory(state_dir.absolute().parent)
    except OSError as error:
        raise OutputUnwritable(
            f"the state directory {escape(str(state_dir))} cannot be used: {error.strerror}",
            next_step(
                error, state_dir, "create its parent directory, or name another with --state"
            ),
        ) from error
