"""One call beside what goes on: in a thread of its own, and over when the block is.

Owns the thread and hands on its error. It knows nothing of what it runs. Nobody leaves the block before the call has
ended, so what follows finds it done or its error raised.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def in_background(call: Callable[[], object]) -> Iterator[None]:
    """Make the call while the block runs.

    Raises:
        BaseException: what the call raised, at the end of the block and before what the block itself raised.
    """
    errors: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - it is raised again where the caller hears it
            errors.append(error)

    thread = threading.Thread(target=run, name="upswell-beside")
    thread.start()
    try:
        yield
    finally:
        thread.join()
        if errors:
            raise errors[0]
