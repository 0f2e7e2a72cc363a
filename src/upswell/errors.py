"""Every error that stops a run, with its exit code and the operator's next step.

Owns the tree below, and imports nothing of the package. Bad data is never an error but a counted outcome: these are for
bad set-up and for faults of the machine. The command line prints ``message`` and ``hint``, and exits with the type's
code.

    UpswellError            70  internal error or broken invariant
      UsageError             2  unknown, missing or conflicting arguments
      TooManyRejects        65  --max-reject-ratio exceeded, after everything is committed and published
      InputMissing          66  an input path is missing or unreadable
      OutputUnwritable      73  OUTPUT cannot be created or written
      StorageError          74  I/O error, disk full, damaged state
      OutOfMemory           74  not enough memory
      SparkFailed           74  Spark could not compute a batch
      Locked                75  another run holds the lock, or another program a port
      ConfigError           78  configuration, RULES or SEGMENT unusable
"""

RESTORE_HINT = (
    "restore a backup of the state together with its OUTPUT, or begin a new state over this OUTPUT with --state,"
    " --adopt and --since"
)
DAMAGED_HINT = f"`upswell state verify` says what is wrong; {RESTORE_HINT}"
"""The next steps for a damaged state."""


class UpswellError(Exception):
    """An error: what happened (``message``), and what to do next (``hint``)."""

    exit_code = 70

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(UpswellError):
    """The command line has unknown, missing or conflicting arguments."""

    exit_code = 2


class TooManyRejects(UpswellError):
    """More lines were rejected than ``--max-reject-ratio`` allows; everything is committed and published."""

    exit_code = 65


class InputMissing(UpswellError):
    """An input path, or the state that a command reads, is missing or cannot be read."""

    exit_code = 66


class OutputUnwritable(UpswellError):
    """OUTPUT cannot be created or written when probed at the start."""

    exit_code = 73


class StorageError(UpswellError):
    """An I/O error, a full disk or a damaged state: the process stops, and the restart recovers."""

    exit_code = 74


class OutOfMemory(UpswellError):
    """There is not enough memory: nothing committed is lost, and a restart may have more."""

    exit_code = 74


class SparkFailed(UpswellError):
    """Spark could not compute a batch: nothing of it is committed, and the restart reads it again."""

    exit_code = 74


class Locked(UpswellError):
    """Another run holds the state's lock, or another program the database or a port; both may end."""

    exit_code = 75


class ConfigError(UpswellError):
    """Configuration, RULES or SEGMENT are unusable, and there is no good version to continue with."""

    exit_code = 78
