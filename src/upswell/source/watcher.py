"""The watcher: names in DATA for which the file system reported a change, and the event that wakes the engine.

Owns the watching thread and the names that nobody has fetched yet. A name is only a hint: the scan of the directory is
the truth, so a missed or a false report costs at most one poll. Where the system cannot watch (a network file system,
no watches left) only polling remains.
"""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

DEBOUNCE_MS = 5  # longer would be felt as latency
STEP_MS = 1
STOP_CHECK_MS = 200


class Watcher:
    """The names reported since they were last fetched. One thread reports, another fetches."""

    def __init__(self) -> None:
        self._reported = threading.Event()
        self._lock = threading.Lock()
        self._names: set[str] = set()

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
            recursive=False,
            ignore_permission_denied=True,
        ):
            watcher.report(Path(path).name for _, path in changes)
    except (OSError, RuntimeError):
        # The system has no watches left, or the file system none at all: polling goes on alone.
        return
