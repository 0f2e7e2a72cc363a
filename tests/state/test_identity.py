"""To what a state belongs for good, and what it takes over at its beginning."""

from dataclasses import replace
from pathlib import Path

import pytest

from support.batches import SHARDS, refused
from upswell.config.settings import Settings
from upswell.engine.adopt import adopt
from upswell.errors import ConfigError, StorageError
from upswell.output.names import BATCH_MAX
from upswell.output.sink import Sink
from upswell.reference.origin import Origin, OriginFile
from upswell.state.binding import run_shards, since_stamp
from upswell.state.checkpoint import Checkpoint
from upswell.state.identity import StateIdentity, ledger_form
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
    first = since_stamp(settings, checkpoint)
    assert 12 == len(first)
    assert first == checkpoint.reader.identity().since
    checkpoint.set_identity(replace(checkpoint.reader.identity(), since="202004171937"))

    assert "202004171937" == since_stamp(settings, checkpoint)
    assert "202001010000" == since_stamp(replace(settings, since="202001010000"), checkpoint)
    assert since_stamp(replace(settings, since=None), checkpoint) is None


def test_output_whose_numbers_are_used_up_is_not_adopted(checkpoint, tmp_path):
    """No later file could come after it in the order of names; nothing is taken over."""
    with Sink.open(tmp_path / "out") as sink:
        (sink.output / "Twitter").mkdir()
        (sink.output / "Twitter" / f"NOTIFY_{BATCH_MAX}_202004171937.csv").touch()
        with refused(ConfigError, "highest number that a batch can have"):
            adopt(sink, checkpoint, Zones())
    assert 0 == checkpoint.reader.last_batch()


def test_a_state_keeps_its_number_of_shards_until_another_is_asked_for():
    """The default of a later version must not refuse a state that was begun with another number."""
    settings = Settings(data=Path("d"), segment=Path("s"), rules=Path("r"), output=Path("o"))
    asked = replace(settings, shards=64, origins={"shards": "flag"})

    bound = StateIdentity(ledger=ledger_form(4))

    assert settings.shards == run_shards(settings, StateIdentity())
    assert 4 == run_shards(settings, bound)
    assert 64 == run_shards(asked, bound)


FULL = StateIdentity(
    state_id="id", begun=True, zones=Zones("UTC", "Asia/Tokyo"), measure="session", keep_days=3, data=Path("/d"),
    segment=Path("/s"), rules=Path("/r"), output=Path("/o"), suppress=Path("/p"), cadence_s=0,
    archives=(Path("/a"), Path("/b")), ledger=ledger_form(4), since="202004171937", output_id="out", first_batch=8,
    adopted_bytes=0, versions={"rules": "r", "policy": ""},
    origins={"rules": Origin((OriginFile("RULES.csv", 7),), bad_lines=1, left_out=("why",))}, pruned_before=737532,
    exported=(Path("/x"), Path("/y")),
)  # fmt: skip


@pytest.mark.parametrize(
    "known", [StateIdentity(), FULL, replace(FULL, suppress=None, ledger=ledger_form(None))]
)
def test_what_is_recorded_is_read_back(known, checkpoint):
    """Whatever is set, with the defaults of what is not; also when it takes the place of something else."""
    assert known == StateIdentity.of_entries(known.entries())
    checkpoint.set_identity(FULL)
    checkpoint.set_identity(known)
    assert known == checkpoint.reader.identity()


def test_entries_are_what_scripts_read_in_the_json_of_a_state():
    """Keys and texts stay; of a state that no run has begun there is its id alone."""
    assert {"state_id": "id"} == StateIdentity(state_id="id").entries()
    assert {
        "adopted_bytes": "0",
        "archive": "/a",
        "archives_before": '["/b"]',
        "cadence_s": "0",
        "data": "/d",
        "data_timezone": "UTC",
        "engine": "spark",
        "exported": '["/x", "/y"]',
        "first_batch": "8",
        "keep_days": "3",
        "measure": "session",
        "output": "/o",
        "output_id": "out",
        "policy_version": "",
        "pruned_before": "737532",
        "rules": "/r",
        "rules_origin": '{"files": [{"name": "RULES.csv", "entries": 7}], "more_files": 0, "copies": [],'
        ' "more_copies": 0, "bad_lines": 1, "left_out": ["why"]}',
        "rules_timezone": "Asia/Tokyo",
        "rules_version": "r",
        "segment": "/s",
        "since": "202004171937",
        "spark_shards": "4",
        "state_id": "id",
        "suppress": "/p",
    } == FULL.entries()


@pytest.mark.parametrize("key", ["rules_timezone", "archives_before", "keep_days"])
def test_an_entry_that_is_missing_or_damaged_is_told(key, checkpoint):
    """No default stands in for a value that was recorded."""
    checkpoint.set_identity(FULL)
    checkpoint._db.execute("UPDATE meta SET value = 'x' WHERE key = ?", (key,))
    with refused(StorageError, "an entry of meta"):
        checkpoint.reader.identity()
    checkpoint._db.execute("DELETE FROM meta WHERE key = ?", (key,))
    with refused(StorageError, "an entry of meta"):
        checkpoint.reader.identity()
