"""Commit and recovery, step by step: what each crash leaves, and that a restart puts it right."""

import errno
import resource
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest

from support.batches import (
    APPLICATIONS,
    DAY,
    SHARDS,
    VERSIONS,
    World,
    expected_output,
    made,
    published,
    refused,
)
from upswell.engine.commit import Committer
from upswell.errors import ConfigError, StorageError, UpswellError
from upswell.output.marks import Marks
from upswell.output.sink import Sink
from upswell.state.batch import Batch
from upswell.state.checkpoint import Checkpoint
from upswell.state.maintenance.verify import verify


@pytest.fixture
def world(tmp_path):
    """An OUTPUT in which batch 1 is committed and published."""
    with World(tmp_path / "out") as opened:
        opened.committer.recover()
        opened.committer.commit(made(1))
        yield opened


def commit_only(world: World, batch: Batch):
    """The commit up to the transaction: what a crash right after it leaves."""
    staged = world.stage(batch)
    world.committer.rejects.write(batch.number, batch.rejects)
    world.checkpoint.append(batch, staged)
    return staged


def recovered(world: World) -> dict[str, int]:
    """What recovery did, after which the state is sound and recovery has nothing left to do."""
    counts = world.committer.recover().nonzero()
    assert {} == world.committer.recover().nonzero()
    assert [] == verify(world.state)
    assert [] == list(world.staging.iterdir())
    return counts


def test_clean_state_needs_nothing(world):
    """Recovery of what was not cut off does nothing."""
    assert {} == recovered(world)


def test_files_of_no_commit_are_removed(world):
    """A crash before the transaction: nothing was seen, and the batch can be made again."""
    world.stage(made(2))
    world.committer.rejects.write(2, b"x\n")
    assert {"removed": 1, "rejects_removed": 1} == recovered(world)
    assert expected_output([1]) == published(world.output)
    world.committer.commit(made(2))
    assert expected_output([1, 2]) == published(world.output)


def test_half_written_file_of_no_commit_is_removed(world):
    """A crash while staging."""
    (one,) = world.stage(made(2))
    (world.staging / one.staged_name).write_bytes(b"01")
    assert {"removed": 1} == recovered(world)


def test_committed_batch_is_published(world):
    """A crash right after the transaction."""
    commit_only(world, made(2))
    commit_only(world, made(3))
    assert expected_output([1]) == published(world.output)
    assert {"published": 3} == recovered(world)
    assert expected_output([1, 2, 3]) == published(world.output)


def test_what_a_consumer_took_is_not_sent_again(world):
    """A crash between two moves: the staged file that is gone was published, though its place is empty."""
    staged = commit_only(world, replace(made(3), number=2))
    world.sink.publish(staged[:1])
    (world.output / staged[0].directory / staged[0].published_name).unlink()
    assert {"published": 1} == recovered(world)
    assert not (world.output / staged[0].directory / staged[0].published_name).exists()
    assert (world.output / staged[1].directory / staged[1].published_name).exists()


def test_move_that_was_lost_is_done_again(world):
    """A staged file of an older batch that is still there was not published, whatever was reported."""
    staged = commit_only(world, made(2))
    world.committer.commit(made(3))
    assert staged[0].staged_name in world.sink.staged_names()
    assert {"published": 1} == recovered(world)
    assert expected_output([1, 2, 3]) == published(world.output)


@pytest.mark.parametrize("damage", [b"", b"0100020000,1,", b"\0" * 148])
def test_damaged_staged_file_is_made_again(world, damage):
    """Bytes lost in a power cut come back out of the notifications."""
    (one,) = commit_only(world, made(2))
    (world.staging / one.staged_name).write_bytes(damage)
    assert {"published": 1, "rebuilt": 1} == recovered(world)
    assert expected_output([1, 2]) == published(world.output)


def test_every_damaged_staged_file_is_made_again(world):
    """Each of a batch's files, and each is counted."""
    commit_only(world, made(2))
    for one in commit_only(world, made(3)):
        (world.staging / one.staged_name).write_bytes(b"")
    assert {"published": 3, "rebuilt": 2} == recovered(world)
    assert expected_output([1, 2, 3]) == published(world.output)


def test_crash_while_making_again_leaves_the_staged_file(world):
    """What a cut-off rebuild leaves is removed, and the damaged file is still there to be made again."""
    (one,) = commit_only(world, made(2))
    (world.staging / one.staged_name).write_bytes(b"")
    (world.staging / f"{one.staged_name}.rebuilt").write_bytes(b"01")
    (world.staging / "directory.new").mkdir()
    assert {"published": 1, "rebuilt": 1} == recovered(world)
    assert expected_output([1, 2]) == published(world.output)


def test_making_again_on_a_full_disk_loses_nothing(world):
    """The damaged file is there until the new one is whole: one that is missing would count as published."""
    (one,) = commit_only(world, made(2))
    (world.staging / one.staged_name).write_bytes(b"01")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limit[1]))
    try:
        with refused(StorageError, "File too large"):
            world.committer.recover()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert b"01" == (world.staging / one.staged_name).read_bytes()
    assert {"published": 1, "rebuilt": 1} == recovered(world)
    assert expected_output([1, 2]) == published(world.output)


def test_staged_file_and_its_copy_are_published_once(world):
    """A target with the same bytes is the published file."""
    (one,) = commit_only(world, made(2))
    shutil.copy(world.staging / one.staged_name, world.output / one.directory / one.published_name)
    assert {"published": 1} == recovered(world)
    assert expected_output([1, 2]) == published(world.output)


def test_foreign_target_is_not_overwritten(world):
    """A target with other bytes needs a human, and says so every time."""
    (one,) = commit_only(world, made(2))
    target = world.output / one.directory / one.published_name
    target.write_bytes(b"theirs\n")
    for _ in range(2):
        with refused(StorageError, "not overwritten"):
            world.committer.recover()
    assert b"theirs\n" == target.read_bytes()
    target.unlink()
    assert {"published": 1} == recovered(world)


def test_committed_file_without_its_row_is_kept(world):
    """A staged file that the state should know but does not is never removed."""
    (one,) = commit_only(world, made(2))
    stranger = world.staging / "0000000001_7_202004170001.csv"
    stranger.touch()
    with refused(StorageError, "does not know it"):
        world.committer.recover()
    assert stranger.exists()
    assert (world.staging / one.staged_name).exists()
    assert any("damaged" in problem for problem in verify(world.state))


def test_notifications_that_are_damaged_too_are_not_published(world):
    """When the rows do not give the committed digest either, nothing is sent."""
    (one,) = commit_only(world, made(2))
    (world.staging / one.staged_name).write_bytes(b"")
    world.checkpoint.drain_wal(idle=True)
    with sqlite3.connect(world.state / "checkpoint.db") as db:
        db.execute("UPDATE notification SET raw = x'30' WHERE batch = 2 AND byte = 0")
    db.close()
    with refused(StorageError, "so are the notifications"):
        world.committer.recover()
    assert expected_output([1]) == published(world.output)


def test_foreign_files_in_staging_are_left(world):
    """What is not ours is not removed and hides nothing of ours, and verify tells of it."""
    (world.staging / "0 notes").touch()
    commit_only(world, made(2))
    assert {"published": 1} == world.committer.recover().nonzero()
    assert ["0 notes"] == world.sink.staged_names()
    assert 1 == len(verify(world.state))


def test_state_older_than_output_is_refused(tmp_path):
    """A database put back from before sends nothing twice: the mark in OUTPUT tells, with all files consumed."""
    with World(tmp_path / "out") as world:
        world.committer.recover()
        world.committer.commit(made(1))
    shutil.copy(world.state / "checkpoint.db", tmp_path / "old.db")
    with World(tmp_path / "out") as world:
        world.committer.commit(made(2))
    for path in world.output.glob("*/NOTIFY_*"):
        path.unlink()
    shutil.copy(tmp_path / "old.db", world.state / "checkpoint.db")
    with World(tmp_path / "out") as world:
        with refused(
            StorageError,
            "batch 2, but the state ends at batch 1: it is older, so going on would send them twice$",
        ):
            world.committer.recover()
        assert 1 == len(verify(world.state))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"number": 3}, "number of the batch: 3 instead of 2"),
        ({"lines": 12}, "lines by outcome: 11 instead of 12"),
        ({"reasons": {}}, "rejects by reason: 0 instead of 1"),
        ({"notifications": []}, "notifications: 0 instead of 4"),
        ({"outputs": []}, "lines of output: 0 instead of 4"),
        ({"ranges": []}, "reference versions: 0 instead of 1"),
    ],
)
def test_batch_that_does_not_add_up_stops_the_run(world, changes, words):
    """The sums are checked before anything is written."""
    with refused(UpswellError, words) as caught:
        world.committer.commit(replace(made(2), **changes))
    assert 70 == caught.value.exit_code
    assert [] == list(world.staging.iterdir())
    assert 1 == world.checkpoint.reader.last_batch()


def test_batch_without_notifications_writes_no_output(world):
    """Only what was said is published; the batch is true all the same."""
    outcomes = {"counted": 11}
    quiet = replace(
        made(2),
        outputs=[],
        notifications=[],
        outcomes=outcomes,
        reasons={},
        rejects=b"",
        delta=b"",
        compactions=[],
    )
    quiet = replace(quiet, files=[replace(quiet.files[0], outcomes=outcomes, reasons={})])
    world.committer.commit(quiet)
    assert expected_output([1]) == published(world.output)
    assert 1 == world.sink.begun
    assert {} == recovered(world)
    assert 2 == world.checkpoint.reader.last_batch()


def test_state_that_is_older_than_what_is_published_is_refused(tmp_path):
    """Restored with its mark, it would send again what still lies in OUTPUT."""
    world = World(tmp_path / "out")
    with world:
        world.committer.commit(made(1))
    shutil.copytree(world.state, tmp_path / "backup")
    with world:
        world.committer.commit(made(2))
    shutil.rmtree(world.state)
    shutil.copytree(tmp_path / "backup", world.state)

    with world, refused(StorageError, "of batch 2, but the state ends at batch 1"):
        world.committer.recover()


def lose_all(world: World) -> None:
    """Remove the staging directory's files, as a copy does that leaves them out."""
    for path in world.staging.iterdir():
        path.unlink()


def test_lost_staged_files_of_a_batch_that_was_never_begun_are_made_again(world):
    """The marks prove that none of them was published: the rows have them all, those of the control group included."""
    batch = replace(
        made(2),
        outputs=made(3).outputs[:1],
        control_outputs=made(3).outputs[1:],
        notifications=made(3).notifications[:4],
        control=made(3).notifications[4:],
        outcomes={"notified": 4, "control": 4, "rejected": 1, "counted": 2},
    )
    ids = world.checkpoint.application_ids(APPLICATIONS)
    outputs, control = (
        [(ids[one.application], one.application, one.content) for one in some]
        for some in (batch.outputs, batch.control_outputs)
    )
    staged = world.sink.stage(2, batch.stamp, outputs, control)
    world.checkpoint.append(batch, staged)
    lose_all(world)
    assert {"published": 2, "rebuilt": 2} == world.committer.recover().nonzero()
    twitter, whatsapp = made(3).outputs
    name = staged[0].published_name
    assert twitter.content == (world.output / "Twitter" / name).read_bytes()
    assert whatsapp.content == (world.output / ".control" / "WhatsApp" / name).read_bytes()
    assert {} == world.committer.recover().nonzero()


def test_one_lost_staged_file_comes_with_those_that_are_there(world):
    """Lost by itself it is made again by itself."""
    first, _ = commit_only(world, replace(made(3), number=2))
    (world.staging / first.staged_name).unlink()
    assert {"published": 2, "rebuilt": 1} == recovered(world)
    assert 2 == len(list(world.output.glob("*/NOTIFY_0000000002_*")))


def test_lost_staging_directory_of_the_first_batch_is_made_again(tmp_path):
    """Before the first publication the marks say that nothing was ever begun."""
    with World(tmp_path / "out") as world:
        world.committer.recover()
        commit_only(world, made(1))
    shutil.rmtree(world.staging)
    with World(tmp_path / "out") as world:
        assert {"published": 2, "rebuilt": 2} == recovered(world)
        assert expected_output([1]) == published(world.output)


def test_making_lost_files_again_can_be_cut_off(world, monkeypatch):
    """Nothing is moved before all are there, so the next recovery makes the rest."""
    commit_only(world, replace(made(3), number=2))
    lose_all(world)
    real, left = Sink.rebuild, [1]

    def rebuild(sink, one, content):
        if not left:
            raise StorageError("the machine stopped", "start again")
        left.pop()
        real(sink, one, content)

    with monkeypatch.context() as patched, refused(StorageError, "stopped"):
        patched.setattr(Sink, "rebuild", rebuild)
        world.committer.recover()
    assert [] == list(world.output.glob("*/NOTIFY_0000000002_*"))
    assert {"published": 2, "rebuilt": 1} == recovered(world)
    assert 2 == len(list(world.output.glob("*/NOTIFY_0000000002_*")))


def test_lost_files_whose_rows_are_gone_stop_the_run(world):
    """What cannot be made again is told, and told again, and never taken for published."""
    commit_only(world, made(2))
    lose_all(world)
    world.checkpoint.drain_wal(idle=True)
    with sqlite3.connect(world.state / "checkpoint.db") as db:
        db.execute("DELETE FROM notification WHERE batch = 2")
    db.close()
    for _ in range(2):
        with refused(StorageError, "so are the notifications"):
            world.committer.recover()
    assert expected_output([1]) == published(world.output)


@pytest.mark.parametrize("gone", ["begun-0000000001", "../.upswell-begun-0000000001"])
def test_one_mark_is_enough_to_make_lost_files_again(world, gone):
    """Each mark proves it; the other is made again."""
    commit_only(world, made(2))
    lose_all(world)
    (world.state / gone).unlink()
    world.__exit__()
    world.__enter__()
    told = world.committer.recover()
    assert (1, 1, int(gone.startswith(".."))) == (told.published, told.rebuilt, told.marks_made)
    assert {} == world.committer.recover().nonzero()
    assert expected_output([1, 2]) == published(world.output)


def test_recovery_notes_the_batch_that_only_the_other_mark_names(world):
    """Power went with the last move of one mark: both name the batch again, and a copy is not published again."""
    commit_only(world, made(2))
    staged = {path: path.read_bytes() for path in (world.state / "staging").iterdir()}
    outer = world.output / ".upswell-begun-0000000001"
    outer.rename(f"{outer}.settled")
    (world.state / "begun-0000000001").rename(world.state / "begun-0000000002")
    world.__exit__()
    world.__enter__()
    assert {"published": 1} == recovered(world)
    marks = [path.name for path in world.output.glob(".upswell-begun-*")]
    assert [".upswell-begun-0000000002.settled"] == marks

    for path, content in staged.items():
        path.write_bytes(content)
    assert {"removed": len(staged)} == recovered(world)
    assert expected_output([1, 2]) == published(world.output)


def test_without_any_mark_what_is_not_staged_counts_as_published(tmp_path):
    """When nothing proves that it was not sent, it is not sent again, and the missing mark is told once."""
    with World(tmp_path / "out") as world:
        world.committer.recover()
        world.committer.commit(made(1))
    for path in [*world.state.glob("begun-*"), *world.output.glob(".upswell-begun-*")]:
        path.unlink()
    for path in world.output.glob("*/NOTIFY_*"):
        path.unlink()
    with World(tmp_path / "out") as world:
        assert {"marks_made": 1} == recovered(world)
        assert [] == list(world.output.glob("*/NOTIFY_*"))
        assert 1 == world.sink.begun


def test_rows_of_a_batch_stay_until_it_is_published(world):
    """A batch that spans more days than are kept prunes its own rows with the next one, so they can be made again."""
    commit_only(world, made(2, prune_before=DAY + 1))
    lose_all(world)
    assert {"published": 1, "rebuilt": 1} == world.committer.recover().nonzero()
    assert expected_output([1, 2]) == published(world.output)
    world.committer.commit(made(3, prune_before=DAY + 1))
    rows = world.checkpoint.reader._rows("SELECT DISTINCT batch FROM notification")
    assert [(3,)] == rows


def test_older_state_is_refused_when_a_consumer_took_everything(tmp_path):
    """Put back with its own older mark, it would send everything again: OUTPUT's mark names both batches."""
    world = World(tmp_path / "out")
    with world:
        world.committer.recover()
        world.committer.commit(made(1))
    shutil.copytree(world.state, tmp_path / "backup")
    with world:
        world.committer.commit(made(2))
        world.committer.commit(made(3))
    for path in world.output.glob("*/NOTIFY_*"):
        path.unlink()
    shutil.rmtree(world.state)
    shutil.copytree(tmp_path / "backup", world.state)
    with (
        world,
        refused(ConfigError, "of batch 3, .*but the state ends at batch 1: an older") as told,
    ):
        world.committer.recover()
    assert "--adopt" in told.value.hint
    assert any("batch 3" in problem for problem in verify(world.state))


def test_output_keeps_its_identity_when_its_own_directory_is_lost(tmp_path):
    """The mark in OUTPUT has it, and that batch 2 was not begun: a state elsewhere goes on, and nothing is lost."""
    output, state = tmp_path / "out", tmp_path / "state"
    for number in (1, 2):
        with Sink.open(output) as sink, closing(Checkpoint.open(state, SHARDS)) as checkpoint:
            committer = Committer(checkpoint, sink)
            if number == 1:
                checkpoint.add_reference("rules", VERSIONS.rules, b"rules", "first")
                checkpoint.add_reference("segment", VERSIONS.segment, b"segment", "first")
                committer.recover()
                committer.commit(made(1))
                ids = checkpoint.application_ids(APPLICATIONS)
                (one,) = made(2).outputs
                staged = sink.stage(2, made(2).stamp, [(ids["Twitter"], "Twitter", one.content)])
                checkpoint.append(made(2), staged)
            else:
                assert {"published": 1, "rebuilt": 1} == committer.recover().nonzero()
        if number == 1:
            shutil.rmtree(output / ".upswell")
    assert expected_output([1, 2]) == published(output)


def test_a_mark_without_an_identity_gives_none(tmp_path):
    """When OUTPUT's own directory is lost with it, OUTPUT is another one, and the refusal says what to write."""
    with World(tmp_path / "out") as world:
        world.committer.recover()
        world.committer.commit(made(1))
        known = world.sink.identity
    (world.output / ".upswell-begun-0000000001").write_bytes(b"")
    (world.state / "output.id").unlink()
    with World(tmp_path / "out") as world, refused(ConfigError, "another OUTPUT") as told:
        world.committer.recover()
    assert f"write {known} into" in told.value.hint


def test_marks_move_on_one_after_the_other(world, monkeypatch):
    """A crash between the two counts as begun: what is staged is published, and nothing is made again."""
    commit_only(world, made(2))

    def stop(*_):
        raise OSError(errno.EIO, "the machine stopped", "mark")

    with monkeypatch.context() as patched, refused(StorageError, "stopped"):
        patched.setattr(Marks, "_move_outer", stop)
        world.committer.recover()
    assert (2, 1) == (world.sink.marks.own, world.sink.marks.outer.batch)
    assert {"published": 1} == recovered(world)
    world.committer.commit(made(3))
    assert (3, 3) == (world.sink.marks.own, world.sink.marks.outer.batch)


def test_staged_file_of_other_mode_is_made_again(world):
    """One that was put back with a copy may have a mode that its consumers cannot read."""
    (one,) = commit_only(world, made(2))
    (world.staging / one.staged_name).chmod(0o600)
    assert {"published": 1, "rebuilt": 1} == recovered(world)
    assert 0o640 == (world.output / one.directory / one.published_name).stat().st_mode & 0o777
