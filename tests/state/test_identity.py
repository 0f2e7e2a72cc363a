"""To what a state belongs for good, and what it takes over at its beginning."""

from dataclasses import replace
from pathlib import Path

import pytest

from support.batches import SHARDS, refused
from upswell.config.settings import Settings
from upswell.engine.adopt import adopt
from upswell.errors import ConfigError
from upswell.output.names import BATCH_MAX
from upswell.output.sink import Sink
from upswell.state import identity
from upswell.state.checkpoint import Checkpoint
from upswell.zones import Zones


@pytest.fixture
def checkpoint(tmp_path):
    """A new state."""
    with Checkpoint.open(tmp_path / "state", SHARDS) as opened:
        yield opened


def test_since_now_is_the_moment_of_the_first_start(checkpoint, tmp_path):
    """A restart keeps it, so that what arrived while the run was down is not skipped."""
    settings = Settings(
        data=Path("d"), segment=Path("s"), rules=Path("r"), output=tmp_path, since="now"
    )
    first = identity.since(settings, checkpoint)
    assert 12 == len(first)
    assert first == checkpoint.meta()["since"]
    checkpoint.set_meta({"since": "202004171937"})

    assert "202004171937" == identity.since(settings, checkpoint)
    assert "202001010000" == identity.since(replace(settings, since="202001010000"), checkpoint)
    assert identity.since(replace(settings, since=None), checkpoint) is None


def test_output_whose_numbers_are_used_up_is_not_adopted(checkpoint, tmp_path):
    """No later file could come after it in the order of names; nothing is taken over."""
    with Sink.open(tmp_path / "out") as sink:
        (sink.output / "Twitter").mkdir()
        (sink.output / "Twitter" / f"NOTIFY_{BATCH_MAX}_202004171937.csv").touch()
        with refused(ConfigError, "highest number that a batch can have"):
            adopt(sink, checkpoint, Zones())
    assert 0 == checkpoint.last_batch()


def test_a_state_keeps_its_number_of_shards_until_another_is_asked_for():
    """The default of a later version must not refuse a state that was begun with another number."""
    settings = Settings(data=Path("d"), segment=Path("s"), rules=Path("r"), output=Path("o"))
    asked = replace(settings, shards=64, origins={"shards": "flag"})

    assert settings.shards == identity.shards(settings, {})
    assert 4 == identity.shards(settings, {"spark_shards": "4"})
    assert 64 == identity.shards(asked, {"spark_shards": "4"})
