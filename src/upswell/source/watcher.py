"""The watcher: names in DATA for which the file system reported a change, and the event that wakes the engine.

Owns the watching thread and the names that nobody has fetched yet. A name is only a hint: the scan of the directory is
the truth, so a missed or a false report costs at most one poll. Where the system cannot watch (no inotify instance or
watch left) only polling remains, and the watcher says why.
"""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

DEBOUNCE_MS = 5  # longer would be felt as latency
STEP_MS = 1
STOP_CHECK_MS = 200
_NO_WATCH = "OS file watch limit reached"  # the words of watchfiles
_NO_INSTANCE = "os error 24"  # EMFILE


class Watcher:
    """The names reported since they were last fetched. One thread reports, another fetches."""

    def __init__(self) -> None:
        self._reported = threading.Event()
        self._lock = threading.Lock()
        self._names: set[str] = set()
        self._failure = ""

    def report(self, names: Iterable[str]) -> None:
        """Add names that were created, changed or removed."""
        with self._lock:
            self._names.update(names)
            self._reported.set()

    def wait(self, timeout_s: float) -> bool:
        """Wait for a name, at most so long; return whether there is one."""
        return self._reported.wait(timeout_s)

    def pop_names(self) -> set[str]:
        """Return the names reported since the last call."""
        with self._lock:
            names, self._names = self._names, set()
            self._reported.clear()
            return names

    def fail(self, why: str) -> None:
        """Note that nothing will be reported any more."""
        self._failure = why

    def pop_failure(self) -> str:
        """Return why nothing is reported any more; "" while the system watches, and after the first answer."""
        failure, self._failure = self._failure, ""
        return failure


@contextmanager
def watch(data: Path, *, enabled: bool) -> Iterator[Watcher]:
    """Report names in ``data`` that are created, changed or removed while the block runs; none unless ``enabled``."""
    watcher = Watcher()
    if not enabled:
        yield watcher
        return
    stop = threading.Event()
    thread = threading.Thread(
        target=_watch, args=(data, watcher, stop), name="upswell-watcher", daemon=True
    )
    thread.start()
    try:
        yield watcher
    finally:
        stop.set()


def _watch(data: Path, watcher: Watcher, stop: threading.Event) -> None:
    from watchfiles import watch as watch_files  # imported late: a run --once never needs it

    try:
        for changes in watch_files(
            data,
            watch_filter=None,
            debounce=DEBOUNCE_MS,
            step=STEP_MS,
            stop_event=stop,
            rust_timeout=STOP_CHECK_MS,
            yield_on_timeout=False,
            recursive=False,  # with ignore_permission_denied it would swallow that no watch is left
        ):
            watcher.report(Path(path).name for _, path in changes)
    except (OSError, RuntimeError) as error:
        watcher.fail(_why_unwatched(str(error)))


def _why_unwatched(error: str) -> str:
    """Return what watchfiles could not have, with the limit that an administrator can raise."""
    if _NO_WATCH in error:
        return "this user has no inotify watch left: raise fs.inotify.max_user_watches"
    if _NO_INSTANCE in error:
        return (
            "this user has no inotify instance left, or this process no open file: raise"
            " fs.inotify.max_user_instances, or ulimit -n"
        )
    return error
