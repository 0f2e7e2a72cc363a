"""A state moves to another directory: whole there or still here, with what waits to be published, killed anywhere."""

import errno
import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from support import law
from support.batches import refused
from support.command import Upswell
from support.engine_runs import Place, record
from support.in_process import Cluster
from upswell.errors import ConfigError, InputMissing, Locked, StorageError, UpswellError, UsageError
from upswell.output.names import Staged
from upswell.output.sink import Sink
from upswell.state.connection import MOVED, MOVING
from upswell.state.maintenance.move import move_state
from upswell.state.maintenance.transfer import export_state, import_state
from upswell.state.maintenance.verify import verify
from upswell.state.reader import StateReader
from upswell.storage import syscalls
from upswell.storage.lock import lock

CHANGES = ("open", "mkdir", "rename", "rename_new", "unlink", "fsync", "write")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A run that has taken a file with a reject."""
    place = Place(tmp_path)
    place.file("202004171000", record(0, 1, 200, "100000") + b"oops 1\n")
    place.once()
    return place


def own(place: Place) -> Path:
    """The state inside OUTPUT."""
    return place.output / ".upswell"


def unpublished(place: Place, monkeypatch: pytest.MonkeyPatch, moves: int) -> None:
    """Another file for two applications, of which so many came out when the run ended."""
    real, left = Sink._move, [moves]

    def move(sink: Sink, one: Staged, fd: int) -> None:
        if not left[0]:
            raise StorageError("the machine stopped", "start again")
        left[0] -= 1
        real(sink, one, fd)

    place.file("202004171001", b"".join(record(2, n, 200, "100100") for n in (1, 2)))
    with monkeypatch.context() as patched, refused(StorageError, "the machine stopped"):
        patched.setattr(Sink, "_move", move)
        place.once()


def take(place: Place) -> list[str]:
    """Take all notifications, as a consumer does."""
    paths = sorted(place.output.glob("*/NOTIFY_*"))
    for path in paths:
        path.unlink()
    return [f"{path.parent.name}/{path.name}" for path in paths]


def test_a_run_goes_on_with_the_moved_state(place: Place) -> None:
    """Nothing is read or sent again, the old directory has no msisdn left, and OUTPUT keeps what is its own."""
    kept = (own(place) / "rejects" / "REJECTS_0000000001.tsv").read_bytes()
    moved = move_state(own(place), place.root / "new")
    assert (1, 1) == (moved.last_batch, moved.reject_files)
    assert kept == (place.root / "new" / "rejects" / "REJECTS_0000000001.tsv").read_bytes()
    left = {path.name for path in own(place).rglob("*") if path.is_file()}
    assert {"begun-0000000001", "lock", MOVED, "output.id", "output.lock"} == left
    assert [] == verify(place.root / "new")
    assert 0o700 == stat.S_IMODE((place.root / "new").stat().st_mode)
    place.file("202004171001", record(1, 1, 200, "100100"))
    assert 1 == place.once(state=place.root / "new").lines
    assert 2 == len(take(place))
    with StateReader.open(place.root / "new") as reader:
        assert place.output == reader.identity().output


@pytest.mark.parametrize("moves", [0, 1])
def test_what_waits_to_be_published_comes_once(
    place: Place, monkeypatch: pytest.MonkeyPatch, moves: int
) -> None:
    """Staged files stay in OUTPUT, and the next run publishes them over the moved state."""
    take(place)
    unpublished(place, monkeypatch, moves)
    came = take(place)
    move_state(own(place), place.root / "new")
    place.once(state=place.root / "new")
    after = take(place)
    assert moves == len(came)
    assert 2 == len({*came, *after}) == len(came) + len(after)
    assert [] == verify(place.root / "new")


def test_the_old_directory_is_refused_and_may_be_moved_back_to(place: Place) -> None:
    """Whoever starts without the new directory is told its name; a move back opens the old one again."""
    move_state(own(place), place.root / "new")
    for what in (place.once, lambda: StateReader.open(own(place))):
        with refused(ConfigError, f"was moved to {place.root}/new") as told:
            what()
        assert "--state" in told.value.hint
    place.file("202004171001", record(1, 1, 200, "100100"))
    place.once(state=place.root / "new")
    move_state(place.root / "new", own(place))
    with refused(ConfigError, "was moved to"):
        place.once(state=place.root / "new")
    place.file("202004171002", record(2, 1, 200, "100200"))
    assert 1 == place.once().lines
    place.law()
    assert [] == verify(own(place))


def struck(monkeypatch: pytest.MonkeyPatch, at: int, work: Callable[[], object]) -> bool:
    """Do the work, killed at its change of that number; return whether it was."""
    made = [0]

    class Killed(BaseException):
        """The process is gone."""

    def counted(name: str) -> Callable[..., object]:
        real = getattr(syscalls, name)

        def call(*arguments: object, **options: object) -> object:
            made[0] += 1
            if made[0] >= at:
                raise Killed
            return real(*arguments, **options)

        return call

    with monkeypatch.context() as patched:
        for name in CHANGES:
            patched.setattr(syscalls, name, counted(name))
        try:
            work()
        except Killed:
            return True
    return False


def test_killed_anywhere_the_same_again_completes_it(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At no moment do both directories go on, and neither loses a line or a notification."""
    unpublished(place, monkeypatch, 1)
    shutil.copytree(place.root, place.root.with_name("start"))
    usable = set()
    for at in range(1, 1000):
        shutil.rmtree(place.root)
        shutil.copytree(place.root.with_name("start"), place.root)
        new = place.root / "new"
        cut = struck(monkeypatch, at, lambda: move_state(own(place), place.root / "new"))
        usable.add((can_be_read(own(place)), can_be_read(new)))
        if cut:
            move_state(own(place), new)
        with refused(ConfigError, "was moved to"):
            place.once()
        place.once(state=new)
        law.check(place.data, place.output, state=new)
        assert [] == verify(new)
        assert [] == [path for path in own(place).rglob("*.tsv")]
        if not cut:
            break
    assert at > 40
    assert {(True, False), (False, False), (False, True)} == usable


def can_be_read(state_dir: Path) -> bool:
    """Return whether a command takes this directory for a state."""
    try:
        StateReader.open(state_dir).close()
    except UpswellError:
        return False
    return True


def test_a_run_over_a_directory_that_is_being_moved_to_is_refused(place: Place) -> None:
    """It would begin a state of its own there; the same move completes what was cut off."""
    new = place.root / "new"
    new.mkdir()
    (new / MOVING).touch()
    with refused(ConfigError, "is not there yet"):
        place.once(state=new)
    move_state(own(place), new)
    place.once(state=new)


def test_a_move_names_what_is_in_its_way(place: Place) -> None:
    """The same directory, a directory with a state, no state, a run, and a move to another place are refused."""
    new = place.root / "new"
    with refused(UsageError, "the state is in"):
        move_state(own(place), own(place))
    with refused(InputMissing, "no state in"):
        move_state(place.root / "data", new)
    assert not new.exists()
    fd = lock(own(place) / "lock", "the state")
    with refused(Locked):
        move_state(own(place), new)
    os.close(fd)
    shutil.copytree(own(place), place.root / "other")
    with refused(ConfigError, "already has a state"):
        move_state(own(place), place.root / "other")
    move_state(own(place), new)
    with refused(ConfigError, f"was moved to {new}"):
        move_state(own(place), place.root / "third")
    assert 1 == move_state(own(place), new).last_batch


def test_the_note_holds_when_both_directories_are_moved_together(place: Place) -> None:
    """A copy of all on another machine names the new directory as it lies there."""
    move_state(own(place), place.root / "new")
    copy = place.root.with_name("copy")
    shutil.copytree(place.root, copy)
    with refused(ConfigError, f"was moved to {copy}/new$"):
        StateReader.open(copy / place.output.name / ".upswell")


def test_a_full_disk_leaves_the_state_where_it_was(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old state goes on as if nothing had been tried."""

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched, refused(StorageError, "No space left"):
        patched.setattr(syscalls, "write", full)
        move_state(own(place), place.root / "new")
    place.file("202004171001", record(1, 1, 200, "100100"))
    place.once()
    place.law()
    move_state(own(place), place.root / "new")
    law.check(place.data, place.output, state=place.root / "new")


def test_state_of_a_cluster_moves_with_its_files(tmp_path: Path) -> None:
    """The ledger's files come along, and none is left."""
    cluster = Cluster(tmp_path)
    cluster.file("202004171000", record(0, 1, 200, "100000"))
    cluster.once()
    old = cluster.ledger_files()
    assert old
    move_state(cluster.state, tmp_path / "new")
    assert [] == cluster.ledger_files()
    assert [path.name for path in old] == sorted(
        p.name for p in (tmp_path / "new/ledger").iterdir()
    )
    assert [] == verify(tmp_path / "new")


def test_an_import_to_where_a_state_has_left_opens_the_directory(place: Place) -> None:
    """OUTPUT's own directory may be imported to again: its identity, mark and staging were kept."""
    move_state(own(place), place.root / "new")
    export_state(place.root / "new", place.root / "file")
    import_state(place.root / "file", own(place), None)
    place.file("202004171001", record(1, 1, 200, "100100"))
    assert 1 == place.once().lines
    place.law()


def test_the_command_moves_a_state(place: Place, upswell: Upswell) -> None:
    """``state move`` says what it moved, and the next run needs no more than ``--state``."""
    new = place.root / "new"
    done = upswell("state", "move", new, "--output", place.output)
    assert f"to {new}: up to batch 1, with 1 reject file" in done.stdout
    told = upswell("state", "move", own(place), "--state", new, "--json")
    assert 1 == json.loads(told.stdout)["last_batch"]
