"""A copy of a state can be put in its place, whenever it was taken."""

import json
import os
import shutil
import threading
from pathlib import Path

import pytest

from support import law
from support.batches import refused
from support.command import Upswell
from support.engine_runs import Place, record
from support.in_process import Cluster
from support.surroundings import Surroundings, wait_for
from upswell.errors import ConfigError, InputMissing, StorageError, UsageError
from upswell.output.names import Staged
from upswell.output.reject_files import Rejects
from upswell.output.sink import Sink
from upswell.state.maintenance import backup
from upswell.state.maintenance.backup import back_up
from upswell.state.maintenance.verify import verify
from upswell.state.reader import StateReader
from upswell.storage.lock import lock


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Fresh directories with a segment and rules."""
    return Place(tmp_path)


@pytest.fixture
def begun(place: Place) -> Place:
    """A run that has taken a file with a reject."""
    place.file("202004171000", record(0, 1, 200, "100000") + b"oops 1\n")
    place.once()
    return place


def go_on(begun: Place) -> None:
    """Another file, with a notification and a reject."""
    begun.file("202004171001", record(1, 1, 200, "100100") + b"oops 2\n")
    begun.once()


def later(begun: Place) -> list[Path]:
    """The notifications of the second batch."""
    return sorted(begun.output.glob("*/NOTIFY_0000000002_*"))


def test_backup_is_a_sound_state_for_its_owner_alone(begun: Place) -> None:
    """It has the database, the rejects and the identity, and nobody else may look into it."""
    target = begun.root / "copy"
    made = back_up(begun.output / ".upswell", target)
    assert (1, True) == (made.last_batch, made.bytes > 4096)
    assert [] == verify(target)
    kept = (target / "rejects" / "REJECTS_0000000001.tsv").read_bytes()
    assert kept == (begun.output / ".upswell" / "rejects" / "REJECTS_0000000001.tsv").read_bytes()
    with StateReader.open(target) as reader:
        assert (1, 2) == (reader.last_batch(), reader.totals().lines)
    modes = {oct(path.stat().st_mode & 0o077) for path in (target, *target.rglob("*"))}
    assert {"0o0"} == modes


def test_backup_of_a_state_that_has_gone_on_stays_sound(begun: Place) -> None:
    """What its OUTPUT has had since is no fault of the copy."""
    back_up(begun.output / ".upswell", begun.root / "copy")
    go_on(begun)
    assert [] == verify(begun.root / "copy")


def test_restored_backup_goes_on_where_it_was_taken(begun: Place) -> None:
    """A state that is lost and restored takes what came since, and OUTPUT is what it would have been."""
    back_up(begun.output / ".upswell", begun.root / "copy")
    shutil.rmtree(begun.output / ".upswell")
    (begun.root / "copy").rename(begun.output / ".upswell")
    go_on(begun)
    assert 1 == len(later(begun))
    begun.law()
    assert [] == verify(begun.output / ".upswell")


def test_backup_older_than_its_output_is_refused_until_output_is_put_back(begun: Place) -> None:
    """With later notifications in OUTPUT it is refused; moved away with the mark they are sent again, the same."""
    back_up(begun.output / ".upswell", begun.root / "copy")
    go_on(begun)
    sent = law.published(begun.output)
    shutil.rmtree(begun.output / ".upswell")
    (begun.root / "copy").rename(begun.output / ".upswell")
    with refused(StorageError, "OUTPUT has had notifications of batch 2, but the state ends at"):
        begun.once()
    for path in later(begun):
        path.unlink()
    with refused(
        ConfigError, "begun-0000000002 says, but the state ends at batch 1: an older"
    ) as told:
        begun.once()
    assert "--adopt" in told.value.hint
    (begun.output / ".upswell-begun-0000000002").unlink()
    warnings = begun.once().warnings
    assert 1 == len(
        [each for each in warnings if "mark .upswell-begun-<batch> was missing" in each]
    )
    assert sent == law.published(begun.output)
    assert [] == begun.once().warnings
    begun.law()


def test_restored_backup_reads_what_was_archived_since_once_it_is_put_back(begun: Place) -> None:
    """Files that a run archived after the backup are read again from DATA; those before it are known."""
    archive = begun.root / "archive"
    begun.once(archive=archive)
    back_up(begun.output / ".upswell", begun.root / "copy")
    begun.file("202004171001", record(1, 1, 200, "100100"))
    begun.once(archive=archive)
    sent = law.published(begun.output)
    assert [] == list(begun.data.iterdir())
    shutil.rmtree(begun.output / ".upswell")
    shutil.copytree(begun.root / "copy", begun.output / ".upswell")
    for path in later(begun):
        path.unlink()
    (begun.output / ".upswell-begun-0000000002").unlink()
    for path in sorted(archive.glob("*/*")):
        path.rename(begun.data / path.name)
    begun.once()
    assert sent == law.published(begun.output)
    begun.law()


def test_database_alone_is_refused_where_output_has_gone_on(begun: Place) -> None:
    """Copied over the newer state, its mark in OUTPUT shows that notifications are missing from it."""
    back_up(begun.output / ".upswell", begun.root / "copy")
    go_on(begun)
    for path in later(begun):
        path.unlink()  # the consumer took them
    shutil.copytree(begun.root / "copy", begun.output / ".upswell", dirs_exist_ok=True)
    with refused(StorageError, "OUTPUT has had notifications of batch 2"):
        begun.once()


def killed(begun: Place, monkeypatch: pytest.MonkeyPatch, moves: int) -> None:
    """Go on with a file for two applications, and end before the move after so many."""
    left = [moves] if moves else []
    real_move, real_begin = Sink._move, Sink._begin

    def begin(sink: Sink, number: int) -> None:
        if not left:
            raise StorageError("the machine stopped", "start again")
        real_begin(sink, number)

    def move(sink: Sink, one: Staged, fd: int) -> None:
        if not left[0]:
            raise StorageError("the machine stopped", "start again")
        left[0] -= 1
        real_move(sink, one, fd)

    begun.file("202004171001", b"".join(record(2, n, 200, "100100") for n in (1, 2)))
    with monkeypatch.context() as patched, refused(StorageError, "the machine stopped"):
        patched.setattr(Sink, "_begin", begin)
        patched.setattr(Sink, "_move", move)
        begun.once()


def take(begun: Place) -> dict[str, bytes]:
    """Take all notifications out of OUTPUT, as a consumer does."""
    paths = sorted(begun.output.glob("*/NOTIFY_*"))
    taken = {f"{path.parent.name}/{path.name}": path.read_bytes() for path in paths}
    for path in paths:
        path.unlink()
    return taken


@pytest.mark.parametrize("moves", [0, 1])
@pytest.mark.parametrize("kept", ["OUTPUT", "OUTPUT without its mark", "nothing of OUTPUT"])
def test_backup_made_after_a_crash_publishes_what_was_not(
    begun: Place, monkeypatch: pytest.MonkeyPatch, moves: int, kept: str
) -> None:
    """What the crash left unpublished comes once from the restored copy, and what had come does not come again."""
    take(begun)
    killed(begun, monkeypatch, moves)
    came = take(begun)
    back_up(begun.output / ".upswell", begun.root / "copy")
    assert [] == verify(begun.root / "copy")
    if kept == "nothing of OUTPUT":
        shutil.rmtree(begun.output)
        begun.output.mkdir()
    else:
        shutil.rmtree(begun.output / ".upswell")
    if kept == "OUTPUT without its mark":
        (mark,) = begun.output.glob(".upswell-begun-*")
        mark.unlink()
    shutil.copytree(begun.root / "copy", begun.output / ".upswell")
    begun.once()
    after = take(begun)
    assert moves == len(came)
    assert 2 == len(came | after) == len(came) + len(after)
    assert {"Twitter", "WhatsApp"} == {name.partition("/")[0] for name in came | after}
    begun.once()
    assert {} == take(begun)


@pytest.mark.parametrize("moves", [0, 1])
def test_copy_of_what_was_published_since_sends_nothing_twice(
    begun: Place, monkeypatch: pytest.MonkeyPatch, moves: int
) -> None:
    """Put back after a start that published the rest, what a copy has staged is out of date."""
    killed(begun, monkeypatch, moves)
    back_up(begun.output / ".upswell", begun.root / "copy")
    begun.once()
    assert 3 == len(take(begun))
    shutil.rmtree(begun.output / ".upswell")
    shutil.copytree(begun.root / "copy", begun.output / ".upswell")
    begun.once()
    assert {} == take(begun)
    assert [] == verify(begun.output / ".upswell")
    go_on_after(begun)
    assert 1 == len(take(begun))


def go_on_after(begun: Place) -> None:
    """One more notification in one more file."""
    begun.file("202004171002", record(3, 1, 200, "100200"))
    begun.once()


def test_backup_waits_until_the_run_has_published(
    begun: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Staged files of a batch that a run is publishing are not in the copy, which takes them for published."""
    killed(begun, monkeypatch, 1)
    lock_fd = lock(begun.output / ".upswell" / "lock", "the state")
    staging = begun.output / ".upswell" / "staging"
    (staged,) = staging.iterdir()
    gone = threading.Timer(0.3, staged.unlink)
    gone.start()
    back_up(begun.output / ".upswell", begun.root / "copy")
    gone.join()
    assert [] == list((begun.root / "copy" / "staging").iterdir())
    assert (begun.root / "copy" / "begun-0000000002").exists()
    staged.touch()
    monkeypatch.setattr(backup, "_PUBLICATION_S", 0.1)
    with refused(StorageError, "has been publishing batch 2"):
        back_up(begun.output / ".upswell", begun.root / "other")
    os.close(lock_fd)


def test_lost_output_and_state_are_both_made_anew(begun: Place) -> None:
    """With OUTPUT lost, too, the copy becomes the state of an empty OUTPUT, which keeps its identity."""
    back_up(begun.output / ".upswell", begun.root / "copy")
    shutil.rmtree(begun.output)
    begun.output.mkdir()
    shutil.copytree(begun.root / "copy", begun.output / ".upswell")
    go_on(begun)
    assert 1 == len(later(begun))
    assert [] == verify(begun.output / ".upswell")


def test_backup_of_a_new_state_is_one(begun: Place) -> None:
    """A state without a batch has no rejects, and can be copied as well."""
    begun.write(begun.root / "rules" / "RULES.csv", b"bad\n")
    with refused(Exception):
        begun.once(output=begun.root / "other")
    made = back_up(begun.root / "other" / ".upswell", begun.root / "copy")
    assert (0, "") == (made.last_batch, made.committed_at)


def test_nothing_is_overwritten_by_a_backup(begun: Place) -> None:
    """A name that is there, also one of a backup that was cut off, is refused and stays."""
    for name in ("copy", "copy.partial"):
        (begun.root / name).mkdir()
        with refused(UsageError, f"{name} already exists"):
            back_up(begun.output / ".upswell", begun.root / "copy")
        (begun.root / name).rmdir()


def test_place_without_a_parent_and_no_state_are_told(begun: Place) -> None:
    """Errors name the place."""
    with refused(StorageError, "no/such/copy"):
        back_up(begun.output / ".upswell", begun.root / "no" / "such" / "copy")
    with refused(InputMissing, "there is no state"):
        back_up(begun.root, begun.root / "copy")
    assert not (begun.root / "copy.partial").exists()


def test_place_that_sqlite_cannot_open_is_refused_before_anything_is_made(begun: Place) -> None:
    """With the length of the path and the limit."""
    target = begun.root.joinpath(*["s" * 100] * 5)
    with refused(ConfigError, "and SQLite opens at most 504"):
        back_up(begun.output / ".upswell", target)
    assert not target.parent.exists()


def test_reject_file_that_goes_meanwhile_is_left_out(
    begun: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rejects may be removed while they are copied."""
    go_on(begun)
    read = backup.read_file

    def reading(name: str, fd: int) -> bytes:
        Rejects(begun.output / ".upswell").path.joinpath("REJECTS_0000000001.tsv").unlink(
            missing_ok=True
        )
        return read(name, fd)

    monkeypatch.setattr(backup, "read_file", reading)
    back_up(begun.output / ".upswell", begun.root / "copy")
    assert ["REJECTS_0000000002.tsv"] == [p.name for p in (begun.root / "copy/rejects").iterdir()]
    assert [] == verify(begun.root / "copy")


def test_backups_beside_a_busy_run_are_sound(tmp_path: Path) -> None:
    """Copies that are taken while a run commits are each of one moment, and the run goes on."""
    around = Surroundings(tmp_path, seed=5)
    with around.traffic():
        process = around.start()
        wait_for(lambda: any(around.taken.values()), "nothing was sent")
        batches: list[int] = []

        def copied() -> bool:
            copy = back_up(around.state, tmp_path / f"copy{len(batches)}")
            batches.append(copy.last_batch)
            return len(batches) >= 12 and batches[-1] > batches[0]

        wait_for(copied, "nothing was committed between two copies")
    process.terminate()
    process.communicate(timeout=30)
    assert 0 == process.returncode
    assert sorted(batches) == batches
    assert [] == [each for copy in tmp_path.glob("copy*") for each in verify(copy)]
    around.finish()
    assert [] == around.complaints()


def test_the_command_makes_and_verifies_a_backup(begun: Place, upswell: Upswell) -> None:
    """``state backup`` says what it holds, and ends with 1 when the state is damaged."""
    done = upswell("state", "backup", begun.root / "copy", "--output", begun.output)
    assert "up to batch 1," in done.stdout
    assert "sound" in done.stdout
    told = upswell("state", "backup", begun.root / "two", "--output", begun.output, "--json")
    assert (1, []) == (json.loads(told.stdout)["last_batch"], json.loads(told.stdout)["problems"])
    import sqlite3

    with sqlite3.connect(begun.output / ".upswell" / "checkpoint.db") as db:
        db.execute("UPDATE total SET value = value + 1")
    db.close()
    told = upswell("state", "backup", begun.root / "three", "--output", begun.output, code=1)
    assert "NOT SOUND" in told.stdout


def test_a_damaged_file_of_the_ledger_is_not_copied(tmp_path: Path) -> None:
    """A backup of a cluster's state that could not be restored is none: the file is named, and the copy not made."""
    cluster = Cluster(tmp_path)
    cluster.file("202004171000", record(0, 1, 200, "100000"))
    cluster.once()
    back_up(cluster.state, tmp_path / "copy")
    assert [] == verify(tmp_path / "copy")
    (file,) = cluster.ledger_files()
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with refused(StorageError, f"{file.name}: content is not what was written"):
        back_up(cluster.state, tmp_path / "other")
    assert not (tmp_path / "other").exists()
