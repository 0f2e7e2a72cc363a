"""One call in a thread of its own while a block runs.

Owns the thread and hands on its error. It knows nothing of what it runs. The invariant: the block is only left when the
call has ended, so what follows finds it done, or its error raised.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def in_background(call: Callable[[], object]) -> Iterator[None]:
    """Run ``call`` in a thread while the block executes, and join it on exit.

    Raises:
        BaseException: what the call raised. It comes before what the block itself raised, which is its context.
    """
    errors: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - it is raised again in the caller's thread
            errors.append(error)

    thread = threading.Thread(target=run, name="upswell-background")
    thread.start()
    try:
        yield
    finally:
        thread.join()
        if errors:
            raise errors[0]
