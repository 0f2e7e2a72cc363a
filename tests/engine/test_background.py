"""A call beside a block is over, and its error heard, before anything follows the block."""

import threading
import time

import pytest

from upswell.engine.background import in_background


def test_what_follows_the_block_finds_the_call_done() -> None:
    """The block runs while the call does, and is left only after it."""
    inside, done = threading.Event(), []

    def call() -> None:
        assert inside.wait(10)
        time.sleep(0.05)  # so that a block that did not wait would be seen to
        done.append("call")

    with in_background(call):
        assert [] == done
        inside.set()
    assert ["call"] == done


def test_the_error_of_the_call_is_raised_after_the_block() -> None:
    """What the call raised reaches the caller, also when it is no ordinary error, and the block was run to its end."""
    steps = []

    def fail() -> None:
        raise KeyboardInterrupt("call")

    with pytest.raises(KeyboardInterrupt, match="call"), in_background(fail):
        steps.append("block")
    assert ["block"] == steps


def test_an_error_of_the_block_waits_for_the_call_and_yields_to_its_error() -> None:
    """The call's error is raised, with the block's own as its context; without one the block's own is."""
    begun, done = threading.Event(), []

    def call() -> None:
        assert begun.wait(10)
        done.append("call")

    def block(raised: Exception) -> None:
        with in_background(call):
            begun.set()
            raise raised

    with pytest.raises(OSError, match="block"):
        block(OSError("block"))
    assert ["call"] == done

    def fail() -> None:
        raise ValueError("call")

    def both() -> None:
        with in_background(fail):
            raise OSError("block")

    with pytest.raises(ValueError, match="call") as caught:
        both()
    assert isinstance(caught.value.__context__, OSError)
