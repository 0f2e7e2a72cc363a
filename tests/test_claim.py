"""To what a state belongs for good, and what it takes over at its beginning."""

from dataclasses import replace
from pathlib import Path

import pytest

from batches import SHARDS, refused
from upswell import claim
from upswell.adopt import adopt
from upswell.checkpoint import Checkpoint
from upswell.config import Settings
from upswell.errors import ConfigError
from upswell.names import BATCH_MAX
from upswell.sink import Sink
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
    first = claim.since(settings, checkpoint)
    assert 12 == len(first)
    assert first == checkpoint.meta()["since"]
    checkpoint.set_meta({"since": "202004171937"})

    assert "202004171937" == claim.since(settings, checkpoint)
    assert "202001010000" == claim.since(replace(settings, since="202001010000"), checkpoint)
    assert claim.since(replace(settings, since=None), checkpoint) is None


def test_output_whose_numbers_are_used_up_is_not_adopted(checkpoint, tmp_path):
    """No later file could come after it in the order of names; nothing is taken over."""
    with Sink.open(tmp_path / "out") as sink:
        (sink.output / "Twitter").mkdir()
        (sink.output / "Twitter" / f"NOTIFY_{BATCH_MAX}_202004171937.csv").touch()
        with refused(ConfigError, "highest number that a batch can have"):
            adopt(sink, checkpoint, Zones())
    assert 0 == checkpoint.last_batch()


@pytest.mark.parametrize(
    ("origins", "meta", "expected"),
    [
        ({"shards": "--shards"}, {"spark_shards": "64"}, 16),
        ({"shards": "default"}, {"spark_shards": "64"}, 64),
        ({}, {}, 16),
    ],
)
def test_a_state_keeps_its_number_of_shards_unless_another_is_asked_for(
    origins: dict[str, str], meta: dict[str, str], expected: int
) -> None:
    """The setting's own default counts only for a state that has none yet."""
    settings = Settings(
        data=Path("d"), segment=Path("s"), rules=Path("r"), output=Path("o"), shards=16, origins=origins
    )  # fmt: skip
    assert expected == claim.shards(settings, meta)
