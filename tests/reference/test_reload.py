"""Following SEGMENT and RULES where the system gives nothing for it: a run does not end of that."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.batches import SHARDS
from support.inputs import LONG_AGO_S, RULES, write, write_inputs
from upswell.reference.files import THREAD_BYTES_MIN, read_segment
from upswell.reference.loading import Change
from upswell.reference.reload import Reload
from upswell.state.checkpoint import Checkpoint

WAIT_S = 30.0


@contextmanager
def no_thread() -> Iterator[None]:
    """Inside, no thread can be started: the stack of a new one would not fit into the address space."""
    before = threading.stack_size(1 << 47)
    try:
        yield
    finally:
        threading.stack_size(before)


def wait_for_change(reload: Reload) -> Change:
    """The change that is handed over."""
    until = time.monotonic() + WAIT_S
    while (change := reload.poll()) is None:
        assert time.monotonic() < until
        time.sleep(0.01)
    return change


def test_a_version_is_summed_up_without_a_thread(tmp_path: Path) -> None:
    """It is the same as with one, which a large SEGMENT gets."""
    path = write(tmp_path / "SEGMENT.csv", "0126545098\n" * (THREAD_BYTES_MIN // 11 + 1))
    with no_thread():
        found = read_segment(path)

    assert read_segment(path).version == found.version


def test_a_change_waits_until_there_is_a_thread(tmp_path: Path) -> None:
    """While none can be started the reference stays active; then the change is accepted."""
    write_inputs(tmp_path)
    with Checkpoint.open(tmp_path / "state", SHARDS) as kept:
        reload = Reload(
            tmp_path / "segment", tmp_path / "rules", kept,
            settle_s=0, accept=False, check=lambda _: None, clock=time.time,
        )  # fmt: skip
        with no_thread():
            first = reload.start()
            write(tmp_path / "rules" / "RULES.csv", RULES.replace("147", "99"), LONG_AGO_S + 1)
            while_none = [reload.poll() for _ in range(3)]
        change = wait_for_change(reload)

    assert [None] * 3 == while_none
    assert first.accepted
    assert ["Twitter 147 -> 99"] == change.words
