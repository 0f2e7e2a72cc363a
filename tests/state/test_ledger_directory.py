"""The files that hold a ledger beside the database: a commit names them, and nothing else counts."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.batches import SHARDS, World, made, refused
from upswell.config.settings import Settings
from upswell.errors import ConfigError, StorageError, UpswellError
from upswell.output.names import ShardName, parse_shard
from upswell.output.sink import Sink
from upswell.state import ledger_directory
from upswell.state.binding import bind, check_binding
from upswell.state.checkpoint import Checkpoint
from upswell.state.identity import ledger_form
from upswell.state.ledger import committed_shard_files, read_ledger
from upswell.state.maintenance.verify import verify
from upswell.state.shard_files import ShardFile, write_shard_file
from upswell.storage import syscalls


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A state that keeps its ledger in files."""
    with World(tmp_path / "out") as world:
        world.committer.recover()
        ledger_directory.make(world.checkpoint.reader.ledger_dir)
        yield world


def written(world: World, shard: int, batch: int, kind: str, attempt: str = "aa") -> ShardFile:
    """A file that a task wrote."""
    content = [f"{shard} {batch} {kind}".encode()]
    return write_shard_file(
        world.checkpoint.reader.ledger_dir, shard, batch, attempt, kind, content
    )


def commit(world: World, *files: ShardFile) -> None:
    """The next batch, with these."""
    number = world.checkpoint.reader.last_batch() + 1
    world.committer.commit(made(number, delta=b"", compactions=[], shard_files=files))


def test_a_commit_names_the_files_and_a_base_replaces_what_its_shard_had(world: World) -> None:
    """Bases and deltas are read as those of any ledger, deltas in commit order, whatever was replaced."""
    first = [written(world, shard, 1, "base") for shard in range(2)]
    commit(world, *first)
    second = [written(world, shard, 2, "delta") for shard in range(2)]
    commit(world, *second)
    third = written(world, 0, 3, "base")
    commit(world, third)
    fourth = written(world, 1, 4, "delta")
    commit(world, fourth)

    assert [third, first[1], second[1], fourth] == committed_shard_files(world.checkpoint.reader)
    bases = [(1, b"1 1 base"), (3, b"0 3 base")]
    assert (bases, [(2, b"1 2 delta"), (4, b"1 4 delta")]) == read_ledger(world.checkpoint.reader)
    assert [] == verify(world.state)


def test_what_no_commit_names_is_swept_up_to_the_last_batch(world: World) -> None:
    """Replaced, given up, half-written; but nothing of a batch in the making, and nothing that is not ours."""
    kept = written(world, 0, 1, "base")
    commit(world, kept)
    place = world.checkpoint.reader.ledger_dir
    gone = [written(world, 0, 1, "base", "bb"), written(world, 1, 1, "delta", "cc")]
    (place / f"{gone[0].name}.x").touch()
    coming = written(world, 1, 2, "delta", "dd")
    (place / f"{coming.name}.x").touch()
    (place / "notes.txt").touch()

    assert 3 == ledger_directory.sweep(place, {kept.name}, 1)
    assert {kept.name, coming.name, f"{coming.name}.x", "notes.txt"} == names(place)
    assert 0 == ledger_directory.discard(place, "ee")
    assert 2 == ledger_directory.discard(place, "dd")
    written(world, 1, 2, "delta", "dd")
    assert 1 == ledger_directory.sweep(place, {kept.name})
    assert {kept.name, "notes.txt"} == names(place)
    (problem,) = verify(world.state)
    assert "notes.txt is not a file of Upswell: move it elsewhere" in problem


def test_a_failed_removal_is_told_with_its_place(world: World, monkeypatch) -> None:
    """It ends the run, as any fault of the machine: the restart sweeps."""
    written(world, 0, 1, "base")

    def fail(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error", "name")

    monkeypatch.setattr(syscalls, "unlink", fail)
    with refused(StorageError, "ledger/name: Input/output error"):
        ledger_directory.sweep(world.checkpoint.reader.ledger_dir, ())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("shard-7-12-0af9.base", ShardName(7, 12, "0af9")),
        ("shard-255-1-ff.delta", ShardName(255, 1, "ff")),
        ("shard-7-12-0af9.base.tmp", ShardName(7, 12, "0af9")),
        ("shard-7-12-0af9.bases", None),
        ("shard-7-12.base", None),
        ("shard-7-12-0af9", None),
        ("shards", None),
    ],
)
def test_only_names_of_tasks_are_ours(name: str, expected: ShardName | None) -> None:
    """A finished or half-written file of an attempt is known by its name, and nothing else is."""
    assert expected == parse_shard(name)


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(b"x")])
def test_a_damaged_or_missing_file_is_told(world: World, harm) -> None:
    """Whoever reads the ledger hears of it, and so does who verifies the state."""
    file = written(world, 0, 1, "base")
    commit(world, file)
    assert [] == verify(world.state)
    harm(world.checkpoint.reader.ledger_dir / file.name)
    with refused(StorageError, f"is damaged: .*{file.name}"):
        read_ledger(world.checkpoint.reader)
    (problem,) = verify(world.state)
    assert file.name in problem
    assert "restore" in problem


def test_a_row_that_was_changed_is_told(world: World) -> None:
    """A name, length or digest that somebody changed is no name of a file."""
    commit(world, written(world, 0, 1, "base"))
    world.checkpoint._db.execute("UPDATE shard_file SET bytes = bytes + 1")
    with refused(StorageError, "a row of shard 0 of the ledger"):
        committed_shard_files(world.checkpoint.reader)


def test_a_shard_is_written_once_a_batch(world: World) -> None:
    """Two files of one shard in one batch would count it twice: nothing of the batch is true then."""
    with refused(UpswellError, "violates a constraint"):
        commit(world, written(world, 0, 1, "delta"), written(world, 0, 1, "delta", "bb"))
    with World(world.output.parent / "other") as other:
        assert [] == committed_shard_files(other.checkpoint.reader)


def test_the_ledger_moves_out_of_the_database_in_one_step(tmp_path: Path) -> None:
    """Its bases and deltas are in files from then on; adopted caps stay, for replays begin with them."""
    with World(tmp_path / "out") as world:
        world.checkpoint.adopt(3, b"caps")
        for number in range(4, 9):
            world.committer.commit(made(number))
        ledger_directory.make(world.checkpoint.reader.ledger_dir)
        files = [written(world, shard, 8, "base") for shard in range(2)]
        world.checkpoint.move_ledger_to_files(files)
        assert files == committed_shard_files(world.checkpoint.reader)
        assert [(8, b"0 8 base"), (8, b"1 8 base")] == read_ledger(world.checkpoint.reader).bases
        assert [(3, b"caps")] == read_ledger(world.checkpoint.reader).deltas
        assert (0, 0) == world.checkpoint.ledger_sizes()[:2]


@pytest.mark.parametrize("begun", [None, 1, 8])
@pytest.mark.parametrize("now", [None, 1, 8])
def test_engine_and_shards_belong_to_a_state(
    tmp_path: Path, begun: int | None, now: int | None
) -> None:
    """A start with others is refused before anything is read, and told how to move the state; the same goes on."""
    settings = Settings(data=Path("d"), segment=Path("s"), rules=Path("r"), output=tmp_path / "out")
    with (
        Checkpoint.open(tmp_path / "state", SHARDS) as checkpoint,
        Sink.open(tmp_path / "out") as sink,
    ):
        assert check_binding(settings, checkpoint, sink, ledger_form(begun))
        bind(settings, checkpoint, ledger_form(begun))
        if begun == now:
            assert not check_binding(settings, checkpoint, sink, ledger_form(now))
            return
        with refused(ConfigError, "was created with") as caught:
            check_binding(settings, checkpoint, sink, ledger_form(now))
    assert "upswell state export" in caught.value.hint
    assert "upswell state import" in caught.value.hint


def names(place: Path) -> set[str]:
    """What a directory holds."""
    return {path.name for path in place.iterdir()}
