"""Wakes the engine when something happens in DATA, and tells which names it happened to.

Owns the watcher's thread and the names that nobody has asked for yet. A name is only a hint: the directory scan is the
truth, so a missed or a false one costs at most a poll. Where the system offers no watching (a network directory, no
watches left) polling alone remains.
"""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

DEBOUNCE_MS = 5  # longer would be felt as latency
STEP_MS = 1
STOP_CHECK_MS = 200


class Wake:
    """The names in DATA that something happened to since they were last taken. One thread tells, another takes."""

    def __init__(self) -> None:
        self._told = threading.Event()
        self._lock = threading.Lock()
        self._names: set[str] = set()

    def tell(self, names: Iterable[str]) -> None:
        """Something happened to these names."""
        with self._lock:
            self._names.update(names)
            self._told.set()

    def wait(self, timeout_s: float) -> bool:
        """Wait until there is a name, at most so long; whether there is one."""
        return self._told.wait(timeout_s)

    def take(self) -> set[str]:
        """The names told of; they are forgotten then."""
        with self._lock:
            names, self._names = self._names, set()
            self._told.clear()
            return names


@contextmanager
def watch(data: Path, *, enabled: bool) -> Iterator[Wake]:
    """Told whenever a name in ``data`` appears, grows or goes, until the block ends; never when not ``enabled``."""
    wake = Wake()
    if not enabled:
        yield wake
        return
    stop = threading.Event()
    thread = threading.Thread(
        target=_watch, args=(data, wake, stop), name="upswell-wake", daemon=True
    )
    thread.start()
    try:
        yield wake
    finally:
        stop.set()


def _watch(data: Path, wake: Wake, stop: threading.Event) -> None:
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
            wake.tell(Path(path).name for _, path in changes)
    except (OSError, RuntimeError):
        # No watches left, or a file system without them: the poll goes on alone.
        return
