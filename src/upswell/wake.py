"""Wakes the engine when something happens in DATA.

Owns the watcher's thread. A wake-up is only a hint: the directory scan is the truth, so a missed or a false one costs
at most a poll. Where the system offers no watching (a network directory, no watches left) polling alone remains.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DEBOUNCE_MS = 5  # longer would be felt as latency
STEP_MS = 1
STOP_CHECK_MS = 200


@contextmanager
def watch(data: Path, wake: threading.Event, *, enabled: bool) -> Iterator[None]:
    """Set ``wake`` whenever a name in ``data`` appears, grows or goes, until the block ends."""
    if not enabled:
        yield
        return
    stop = threading.Event()
    thread = threading.Thread(
        target=_watch, args=(data, wake, stop), name="upswell-wake", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        stop.set()


def _watch(data: Path, wake: threading.Event, stop: threading.Event) -> None:
    from watchfiles import watch as watch_files  # imported late: a run --once never needs it

    try:
        for _ in watch_files(
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
            wake.set()
    except (OSError, RuntimeError):
        # No watches left, or a file system without them: the poll goes on alone.
        return
