"""A state as one file, and out of it again: nothing of it is lost, joined or taken for what it is not."""

import random
import shutil
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from support import law
from support.batches import refused
from support.engine_runs import Place, record, traffic
from upswell.errors import ConfigError, InputMissing, Locked, StorageError, UsageError
from upswell.kernel import SHARDS
from upswell.output.reject_files import Rejects
from upswell.state.checkpoint import Checkpoint
from upswell.state.connection import DATABASE
from upswell.state.ledger import read_ledger
from upswell.state.maintenance import transfer
from upswell.state.maintenance.transfer import export_state, import_state, shards_of
from upswell.state.maintenance.verify import verify
from upswell.state.reader import StateReader


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A run over one file of traffic, with rejects."""
    place = Place(tmp_path)
    place.file("202004171000", traffic(random.Random(3), 300))
    place.once()
    return place


def state_of(place: Place) -> Path:
    """Where the run keeps its state."""
    return place.output / ".upswell"


def test_a_state_goes_on_where_the_exported_one_stopped(place: Place) -> None:
    """Totals, caps, positions and rejects are all there; on the same OUTPUT nothing is sent again."""
    before = law.published(place.output)
    moved = export_state(state_of(place), place.root / "file")
    assert 0o600 == stat.S_IMODE((place.root / "file").stat().st_mode)
    assert (1, (place.root / "file").stat().st_size, 1) == moved
    again = import_state(place.root / "file", place.root / "new", None)
    assert moved[0::2] == again[0::2]
    assert rejects(state_of(place)) == rejects(place.root / "new")
    assert [] == verify(place.root / "new")

    place.file("202004171001", traffic(random.Random(4), 300))
    summary = place.once(state=place.root / "new")

    assert 300 == summary.lines
    assert summary.outcomes["capped"]
    after = law.published(place.output)
    assert all(after[name].startswith(lines) for name, lines in before.items())
    law.check(place.data, place.output, state=place.root / "new")
    with refused(StorageError, "has had notifications of batch 2, but the state ends at batch 1"):
        place.once()


def test_a_ledger_of_many_deltas_is_exported_as_bases(place: Place) -> None:
    """One for each shard of the kernel, as of the last batch; adopted caps stay beside them."""
    for minute in range(1, 4):
        place.file(f"20200417100{minute}", traffic(random.Random(minute), 30))
        place.once()
    export_state(state_of(place), place.root / "file")
    import_state(place.root / "file", place.root / "new", None)
    with StateReader.open(place.root / "new") as reader:
        parts = read_ledger(reader)
        assert [4] * SHARDS == [batch for batch, _ in parts.bases]
        assert [] == parts.deltas
    law.check(place.data, place.output, state=place.root / "new")


def test_nothing_is_exported_while_a_run_holds_the_state(place: Place) -> None:
    """The refusal is that of a second run, and no file comes about."""
    with (
        Checkpoint.open(state_of(place), SHARDS),
        refused(Locked, "another run uses"),
    ):
        export_state(state_of(place), place.root / "file")
    assert [] == list(place.root.glob("file*"))


def test_no_file_is_overwritten_and_no_state_made_by_an_export(place: Place) -> None:
    """A name that is taken is refused, and so is a directory that has no state."""
    (place.root / "file").write_bytes(b"mine")
    with refused(UsageError, "already exists"):
        export_state(state_of(place), place.root / "file")
    assert b"mine" == (place.root / "file").read_bytes()
    with refused(UsageError, "already exists"):
        export_state(state_of(place), Path("/"))
    with refused(InputMissing, "no state in"):
        export_state(place.data, place.root / "other")
    with refused(StorageError, "No such file"):
        export_state(state_of(place), place.root / "missing" / "file")
    assert not (place.data / DATABASE).exists()


def test_an_import_joins_nothing_with_what_is_there(place: Place) -> None:
    """A directory with a state, or with rejects or a ledger that one has left, is refused and stays as it is."""
    export_state(state_of(place), place.root / "file")
    with refused(ConfigError, "already has a state"):
        import_state(place.root / "file", state_of(place), None)
    lost = place.root / "lost"
    shutil.copytree(state_of(place) / "rejects", lost / "rejects")
    with refused(ConfigError, "parts of one"):
        import_state(place.root / "file", lost, None)
    assert rejects(state_of(place)) == rejects(lost)


def test_what_an_import_left_that_was_cut_off_is_replaced(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the last step there is no state, and another import makes it whole."""
    export_state(state_of(place), place.root / "file")
    with monkeypatch.context() as failing:
        failing.setattr(transfer, "put_name", fail)
        with refused(StorageError, "cut off"):
            import_state(place.root / "file", place.root / "new", None)
    assert ["imported.half", "lock", "rejects"] == names(place.root / "new")
    with refused(InputMissing, "no state in"):
        StateReader.open(place.root / "new")
    import_state(place.root / "file", place.root / "new", None)
    assert ["checkpoint.db", "lock", "rejects"] == names(place.root / "new")
    assert rejects(state_of(place)) == rejects(place.root / "new")


def test_an_export_that_fails_leaves_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the file nor half of it; and what a killed one left is replaced."""
    (place.root / "file.half").write_bytes(b"half")
    with monkeypatch.context() as failing:
        failing.setattr(transfer, "put_name", fail)
        with refused(StorageError, "cut off"):
            export_state(state_of(place), place.root / "file")
    assert [] == list(place.root.glob("file*"))
    export_state(state_of(place), place.root / "file")


@pytest.mark.parametrize("cut_off", ["before", "after"])
def test_a_state_knows_of_every_file_it_was_written_to(
    place: Place, monkeypatch: pytest.MonkeyPatch, cut_off: str
) -> None:
    """Wherever an export is cut off, no file is there that the state does not name, and none is forgotten."""
    name = transfer.put_name

    def killed(half: Path, final: Path) -> int:
        if cut_off == "after":
            name(half, final)
        raise KeyboardInterrupt

    export_state(state_of(place), place.root / "first")
    with monkeypatch.context() as killing, pytest.raises(KeyboardInterrupt):
        killing.setattr(transfer, "put_name", killed)
        export_state(state_of(place), place.root / "file")
    with StateReader.open(state_of(place)) as reader:
        known = reader.identity().exported
    there = [place.root / each for each in ("first", "file") if (place.root / each).exists()]
    assert (cut_off == "after") + 1 == len(there)
    assert set(there) <= set(known)


def test_a_file_in_the_making_is_known_before_anything_is_in_it(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A killed export may leave half a copy of the state, and a person who is forgotten is looked for in it."""

    def killed(*_: object) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as killing, pytest.raises(KeyboardInterrupt):
        killing.setattr(transfer, "_fill", killed)
        export_state(state_of(place), place.root / "file")
    with StateReader.open(state_of(place)) as reader:
        assert (place.root / "file",) == reader.identity().exported


def test_a_state_that_was_imported_knows_of_the_files_of_the_one_that_was_exported(
    place: Place,
) -> None:
    """They are copies of the same persons, and may still be there."""
    export_state(state_of(place), place.root / "first")
    export_state(state_of(place), place.root / "second")
    import_state((place.root / "second").rename(place.root / "moved"), place.root / "new", None)
    with StateReader.open(place.root / "new") as reader:
        known = reader.identity().exported
    assert tuple(place.root / name for name in ("first", "second", "moved")) == known


def fail(*_: object) -> None:
    """Be the step at which a run was cut off."""
    raise StorageError("cut off", "go on")


def damaged_header(file: Path) -> None:
    """No SQLite database."""
    file.write_bytes(b"no database at all" * 10)


def damaged_pages(file: Path) -> None:
    """A page in the middle holds something else."""
    with file.open("r+b") as opened:
        opened.seek(file.stat().st_size // 2 // 4096 * 4096)
        opened.write(b"\xff" * 4096)


def newer(file: Path) -> None:
    """Made by a version of the future."""
    with file.open("r+b") as opened:
        opened.seek(60)
        opened.write((99).to_bytes(4))


def other_identity(file: Path) -> None:
    """What the state recorded about itself was changed."""
    with closing(sqlite3.connect(file)) as db, db:
        db.execute("UPDATE meta SET value = '9' WHERE key = 'keep_days'")


def other_rejects(file: Path) -> None:
    """A byte of the rejects is another one."""
    content = file.read_bytes()
    at = content.index(b"\tcolumns\tx,1\n")
    file.write_bytes(content[: at + 9] + b"y" + content[at + 10 :])


@pytest.mark.parametrize(
    ("harm", "kind", "words"),
    [
        (Path.unlink, InputMissing, "no such file"),
        (damaged_header, ConfigError, "was not written by"),
        (damaged_pages, StorageError, "damaged"),
        (newer, ConfigError, "newer version"),
        (other_identity, StorageError, "is damaged: an entry of meta"),
        (other_rejects, StorageError, "the rejects of batch 1 in the exported file are damaged"),
    ],
)
def test_a_file_that_is_not_whole_is_no_state(
    place: Place, harm: Callable[[Path], None], kind: type, words: str
) -> None:
    """What is missing, damaged, strange or newer is told, and no state comes about."""
    export_state(state_of(place), place.root / "file")
    harm(place.root / "file")
    with refused(kind, words):
        import_state(place.root / "file", place.root / "new", None)
    assert not (place.root / "new" / DATABASE).exists()


def test_a_state_itself_is_not_imported(place: Place) -> None:
    """A copy of its database lacks what its log, the ledger's files and the rejects hold."""
    with refused(ConfigError, "was not written by"):
        import_state(state_of(place) / DATABASE, place.root / "new", None)


def test_rejects_that_were_changed_are_not_exported_as_if_they_were_not(place: Place) -> None:
    """The file is named; once it is deleted, as operators may, the state goes along without it."""
    (path,) = Rejects(state_of(place)).path.iterdir()
    path.write_bytes(b"something else")
    with refused(StorageError, "was changed after it was written"):
        export_state(state_of(place), place.root / "file")
    path.unlink()
    assert 0 == export_state(state_of(place), place.root / "file").reject_files
    assert 0 == import_state(place.root / "file", place.root / "new", None).reject_files
    assert [] == verify(place.root / "new")


def test_rejects_of_any_length_go_along(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are stored in pieces, since a row of the database cannot be of any length."""
    monkeypatch.setattr(transfer, "_PART_BYTES", 100)
    export_state(state_of(place), place.root / "file")
    import_state(place.root / "file", place.root / "new", None)
    assert rejects(state_of(place)) == rejects(place.root / "new")


def test_a_state_is_for_the_engine_that_it_was_made_for(place: Place) -> None:
    """A run of another one is refused before it changes anything, and told how to move the state."""
    export_state(state_of(place), place.root / "file")
    import_state(place.root / "file", place.root / "new", 8)
    with refused(ConfigError, "engine is embedded but the state .* was created with spark"):
        place.once(state=place.root / "new")
    with StateReader.open(place.root / "new") as reader:
        assert ("spark", 8) == reader.identity().ledger
    law.check(place.data, place.output, state=place.root / "new")


def test_an_imported_state_keeps_what_was_adopted(tmp_path: Path) -> None:
    """The caps of an OUTPUT that was taken over before hold, and a replay can begin with them."""
    place = Place(tmp_path)
    place.file("202004171000", record(0, 1, 200, "100000"))
    place.once()
    shutil.rmtree(state_of(place))
    place.once(adopt=True, since="202004171001")
    export_state(state_of(place), place.root / "file")
    import_state(place.root / "file", place.root / "new", None)
    place.file("202004171001", record(0, 1, 200, "100000") + record(1, 1, 200, "100000"))
    summary = place.once(state=place.root / "new")
    assert (1, 1) == (summary.outcomes["capped"], summary.outcomes["notified"])
    with StateReader.open(place.root / "new") as reader:
        assert 2 == reader.first_batch()
        assert [1] == [batch for batch, _ in read_ledger(reader).deltas if batch < 2]


@pytest.mark.parametrize("shards", [None, 0, 3, 512, -1])
def test_only_a_power_of_two_shares_the_ledger(shards: int | None) -> None:
    """Any other number of shards is a slip of the command line, answered with those that there are."""
    with refused(UsageError, "--shards is required"):
        shards_of("spark", shards)
    assert 256 == shards_of("spark", 256)
    assert None is shards_of("embedded", None)
    with refused(UsageError, "has no --shards"):
        shards_of("embedded", 8)


def rejects(state: Path) -> dict[str, bytes]:
    """The reject files of a state, by name."""
    return {path.name: path.read_bytes() for path in (state / "rejects").iterdir()}


def names(place: Path) -> list[str]:
    """What a directory holds."""
    return sorted(path.name for path in place.iterdir())
