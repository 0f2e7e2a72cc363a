"""Finished input leaves DATA for the archive: once, whole, under its day, and never onto another file."""

import gzip
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from support import law
from support.batches import refused
from support.command import Upswell, clean_environment
from support.engine_runs import LONG_AGO_S, Place, record, wait_for
from support.surroundings import Surroundings, kill
from support.trust import Trust
from upswell import kernel
from upswell.audit.replay.explain import explain
from upswell.audit.replay.reconcile import reconcile
from upswell.audit.status import read_status
from upswell.engine import archive, run
from upswell.engine.archive import Archive
from upswell.engine.archive_directory import check_place
from upswell.errors import ConfigError, OutputUnwritable, StorageError
from upswell.source import planner
from upswell.source.listing import Stat, stat_regular
from upswell.state.checkpoint import Checkpoint
from upswell.state.maintenance.forget import forget
from upswell.state.maintenance.verify import verify
from upswell.state.reader import StateReader

KILLS = 200
FIRST, SECOND = "DATA_202004171000.csv", "DATA_202004171001.csv"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Fresh directories with a segment and rules."""
    return Place(tmp_path)


@pytest.fixture
def kept(place: Place) -> Place:
    """Directories of a run with an archive."""
    place.settings = replace(place.settings, archive=place.root / "archive")
    place.file("202004171000", record(0, 1, 90, "100000") + record(1, 1, 200, "100001"))
    place.file("202004171001", record(0, 1, 90, "100100"))
    return place


def tree(root: Path) -> list[str]:
    """The files below a directory."""
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def rows(place: Place) -> dict[str, str]:
    """By name, how far the files are on their way, as the state says."""
    with StateReader.open(place.output / ".upswell") as reader:
        found = reader._rows(
            "SELECT name, archived.state FROM archived JOIN file ON file.id = archived.file"
        )
    return dict(found)


def test_finished_files_move_to_the_day_of_their_stamp(kept: Place) -> None:
    """A run --once leaves DATA empty; each file is in yyyyMMdd/ with its bytes, and what was sent is right."""
    before = {path.name: path.read_bytes() for path in kept.data.iterdir()}
    kept.once()
    assert [f"20200417/{FIRST}", f"20200417/{SECOND}"] == tree(kept.root / "archive")
    assert [] == list(kept.data.iterdir())
    assert before == {p.name: p.read_bytes() for p in (kept.root / "archive").rglob("*.csv")}
    assert {FIRST: "moved", SECOND: "moved"} == rows(kept)
    found = read_status(kept.output / ".upswell")
    assert (2, {}) == (found.archived_files, found.archive_held)
    law.check(kept.root / "archive" / "20200417", kept.output)


def test_running_archive_leaves_what_is_unfinished(kept: Place) -> None:
    """While it runs the finished files go and the newest, which may still grow, stays."""
    with kept.running():
        wait_for(
            lambda: (kept.root / "archive" / "20200417" / FIRST).exists(), "nothing was archived"
        )
        time.sleep(0.3)
        assert [SECOND] == tree(kept.data)
        kept.file("202004181000", record(2, 1, 200, "100000", "20200418"))
        wait_for(lambda: [FIRST, SECOND] == sorted(rows(kept)), "the second did not follow")
    assert ["DATA_202004181000.csv"] == tree(kept.data)


def test_file_waits_until_it_was_still_for_long_enough(kept: Place) -> None:
    """A file that was changed less than archive_after_s ago stays in DATA."""
    os.utime(kept.data / FIRST, (time.time() - 500,) * 2)
    kept.once()
    assert [FIRST] == tree(kept.data)
    kept.once(archive_after_s=400.0)
    assert [] == tree(kept.data)


def test_held_and_skipped_files_stay(kept: Place) -> None:
    """Only what was finished is moved: held, skipped and ignored files are left to their owner."""
    for name in ("DATA_209904171945.csv", "DATA_201904171945.csv", "other.csv"):
        kept.write(kept.data / name, b"x\n")
    kept.once(since="202004170000")
    assert ["DATA_201904171945.csv", "DATA_209904171945.csv", "other.csv"] == tree(kept.data)


def test_duplicate_is_archived_under_its_own_name(kept: Place) -> None:
    """A duplicate needs nothing more, so it does not pile up in DATA."""
    kept.file("202004171003", (kept.data / FIRST).read_bytes())
    kept.once()
    assert 3 == len(tree(kept.root / "archive"))


def test_archived_file_that_comes_again_is_a_repeat(kept: Place) -> None:
    """The same file delivered again under its name sends nothing; it stays in DATA, since its place is taken."""
    content = (kept.data / FIRST).read_bytes()
    kept.once()
    sent = law.published(kept.output)
    kept.write(kept.data / FIRST, content, LONG_AGO_S + 9)
    assert 0 == kept.once().lines
    assert sent == law.published(kept.output)
    assert [FIRST] == tree(kept.data)
    assert {FIRST: "taken", SECOND: "moved"} == rows(kept)
    assert "the archive has a file of that name" in kept.heard.text()
    assert 1 == read_status(kept.output / ".upswell").repeats
    kept.once()
    assert 2 == kept.heard.text().count("the archive has a file of that name"), "once a start"
    (kept.data / FIRST).unlink()
    kept.once()
    assert {FIRST: "moved", SECOND: "moved"} == rows(kept)


def test_nothing_in_the_archive_is_overwritten(kept: Place) -> None:
    """A file that stands in the archive under the name keeps its bytes; ours stays in DATA and is told of."""
    other = kept.root / "archive" / "20200417" / FIRST
    other.parent.mkdir(parents=True)
    other.write_bytes(b"another's")
    kept.once()
    assert b"another's" == other.read_bytes()
    assert [FIRST] == tree(kept.data)
    held = read_status(kept.output / ".upswell").archive_held
    assert [FIRST] == list(held)
    assert "compare the two" in held[FIRST]
    assert [] == reconcile(kept.output / ".upswell").differences


def test_growth_between_the_last_look_and_the_move_is_held(
    kept: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer that appends at the moment of the move is noticed after it; put back, the rest of the file is read."""
    rename, late = archive.syscalls.rename_new, record(3, 1, 300, "100002")

    def grown(source: str, source_fd: int, target: str, target_fd: int) -> None:
        if source == FIRST:
            with (kept.data / FIRST).open("ab") as stream:
                stream.write(late)
        rename(source, source_fd, target, target_fd)

    with monkeypatch.context() as patch:
        patch.setattr(archive.syscalls, "rename_new", grown)
        kept.once()
    assert {FIRST: "grew", SECOND: "moved"} == rows(kept)
    assert "it grew or changed" in kept.heard.text()
    status = read_status(kept.output / ".upswell")
    assert [FIRST] == list(status.archive_held)
    assert any("on the way to the archive" in one for one in status.summary.warnings)
    moved = kept.root / "archive" / "20200417" / FIRST
    kept.once()
    assert {FIRST: "grew", SECOND: "moved"} == rows(kept), "a start must not forget it"
    moved.rename(kept.data / FIRST)
    assert 1 == kept.once(archive_after_s=0.0).lines
    assert {FIRST: "moved", SECOND: "moved"} == rows(kept)
    law.check(moved.parent, kept.output)


def test_file_that_changed_before_the_move_stays(
    kept: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What does not look as it did at the last look is not moved."""
    finished = run.Source.finished

    def touched(
        source: run.Source, unchanged_s: float, left: Mapping[str, Stat]
    ) -> list[tuple[str, Stat]]:
        found = finished(source, unchanged_s, left)
        os.utime(kept.data / FIRST, (LONG_AGO_S + 5,) * 2)
        (kept.data / SECOND).unlink()
        return found

    monkeypatch.setattr(run.Source, "finished", touched)
    kept.once()
    assert [FIRST] == tree(kept.data)
    assert {} == rows(kept)


def test_file_that_goes_at_the_moment_of_the_move_is_no_error(
    kept: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody may take a file out of DATA between the last look and the move."""
    rename = archive.syscalls.rename_new

    def late(source: str, source_fd: int, target: str, target_fd: int) -> None:
        (kept.data / source).unlink(missing_ok=True)
        rename(source, source_fd, target, target_fd)

    monkeypatch.setattr(archive.syscalls, "rename_new", late)
    kept.once()
    assert {} == rows(kept)
    assert [] == tree(kept.root / "archive")


def test_compressed_file_is_archived_as_it_is(kept: Place) -> None:
    """A gzip file keeps its name and its bytes, and is read again from the archive."""
    content = gzip.compress(record(4, 1, 300, "100500"))
    kept.write(kept.data / "DATA_202004171005.csv.gz", content)
    kept.once()
    moved = kept.root / "archive" / "20200417" / "DATA_202004171005.csv.gz"
    assert content == moved.read_bytes()
    assert [] == reconcile(kept.output / ".upswell").unproven


def test_answers_find_archived_files(kept: Place, upswell: Upswell) -> None:
    """reconcile, explain and whatif read what was archived, packed since or not, and an archive that was moved."""
    kept.once()
    state = kept.output / ".upswell"
    day = kept.root / "archive" / "20200417"
    (day / f"{FIRST}.gz").write_bytes(gzip.compress((day / FIRST).read_bytes()))
    (day / FIRST).unlink()
    found = reconcile(state)
    assert ([], [], 3) == (found.unproven, found.differences, found.lines)
    told = explain(state, "01000000000")
    assert [FIRST, SECOND] == [entry.decided.line.file for entry in told.entries]
    assert [] == told.unproven
    done = upswell("whatif", "--output", kept.output, "--rules", kept.root / "rules", "--json")
    assert [] == json.loads(done.stdout)["notes"]
    (kept.root / "archive").rename(kept.root / "elsewhere")
    assert 2 < len(reconcile(state).unproven)
    assert [] == reconcile(state, data=kept.root / "elsewhere").unproven


def test_archived_file_is_read_although_another_has_its_name_in_data(kept: Place) -> None:
    """A replay takes the archived bytes when DATA holds other ones under the name."""
    kept.once()
    kept.write(kept.data / FIRST, b"01000000000,1,999,20200417100000\n", LONG_AGO_S + 9)
    kept.once()
    assert {"held": 1, "done": 1} == {
        state: n for state, n in read_status(kept.output / ".upswell").summary.files.items() if n
    }
    assert [] == reconcile(kept.output / ".upswell").differences


def test_file_that_moves_while_it_is_replayed_is_found(
    kept: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replay beside a run goes on in the archive with a file that leaves DATA between two steps."""
    kept.once(archive=None)
    day = kept.root / "archive" / "20200417"
    day.mkdir(parents=True)
    from upswell.audit.replay.snapshot import StateSnapshot

    located = StateSnapshot.locate

    def moves(snapshot: StateSnapshot, name: str, **wanted: bool) -> tuple[bytes, bool] | None:
        found = located(snapshot, name, **wanted)
        if found and found[0] == os.fsencode(kept.data / name):
            (kept.data / name).rename(day / name)
        return found

    kept.once()  # the state knows the archive now
    for path in day.iterdir():
        path.rename(kept.data / path.name)
    monkeypatch.setattr(StateSnapshot, "locate", moves)
    assert [] == reconcile(kept.output / ".upswell").unproven
    for path in day.iterdir():
        path.rename(kept.data / path.name)
    assert [] == explain(kept.output / ".upswell", "01000000000").unproven


def test_directories_of_the_archive_are_as_open_as_data(kept: Place) -> None:
    """Whoever may read DATA may read the archive, whatever the umask."""
    kept.data.chmod(0o750)
    kept.once()
    places = [kept.root / "archive", kept.root / "archive" / "20200417"]
    assert ["0o750"] * 2 == [oct(path.stat().st_mode & 0o7777) for path in places]


@pytest.mark.parametrize(
    ("where", "what"),
    [
        ("data", "DATA"),
        ("data/archive", "DATA"),
        ("segment/archive", "SEGMENT"),
        ("rules", "RULES"),
        ("suppress/archive", "SUPPRESS"),
        ("output", "OUTPUT"),
        ("output/.upswell/archive", "OUTPUT"),
        ("state/archive", "the state"),
        (".", "DATA"),
    ],
)
def test_archive_within_another_place_is_refused(kept: Place, where: str, what: str) -> None:
    """DATA, SEGMENT, RULES, SUPPRESS, OUTPUT, the state and the archive do not lie within each other."""
    suppress, state = kept.root / "suppress", kept.root / "state"
    with refused(ConfigError, f"{what} .* within each other"):
        check_place(
            replace(kept.settings, archive=kept.root / where, suppress=suppress, state=state)
        )


def test_archive_without_a_parent_is_refused(kept: Place) -> None:
    """Only the archive itself is made."""
    with refused(ConfigError, "neither it nor its parent"):
        kept.once(archive=kept.root / "no" / "such")


def test_archive_on_another_file_system_is_refused(kept: Place, upswell: Upswell) -> None:
    """A move in one step is all there is, so another file system is an error at the start, and check tells it."""
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == kept.data.stat().st_dev:
        pytest.skip("there is no second file system")
    words = [kept.data, kept.root / "segment", kept.root / "rules", kept.output]
    for command in ("run", "check"):
        told = upswell(command, *words, "--archive", other / "upswell-archive", code=78)
        assert "another file system" in told.stdout + told.stderr
    with refused(ConfigError, "another file system"):
        kept.once(archive=other / "upswell-archive")
    assert not (other / "upswell-archive").exists()
    assert None is check_place(replace(kept.settings, archive=None))


def test_archive_that_cannot_be_written_is_refused(kept: Place) -> None:
    """It is tried at the start, not hours later; what stands in its place is none."""
    (kept.root / "archive" / ".probe.1").mkdir(parents=True)
    with refused(OutputUnwritable, "probe.1"):
        kept.once()
    with refused(ConfigError, "neither it nor its parent"):
        kept.once(archive=kept.write(kept.root / "file", b""))


def test_archive_on_a_full_disk_is_a_fault_of_the_disk(
    kept: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its disk will have room again, so a service must go on trying to start; nothing is wrong with the place."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", ".probe.2")

    monkeypatch.setattr(archive.syscalls, "rename_new", full)
    (kept.output / ".upswell").mkdir(parents=True)
    with (
        Checkpoint.open(kept.output / ".upswell", kernel.SHARDS) as checkpoint,
        refused(StorageError, "archive/.probe.2: No space left"),
    ):
        Archive.open(kept.settings, checkpoint)


def test_data_that_cannot_be_written_is_refused(
    kept: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files cannot be moved out of a directory that this user may not write to."""
    kept.data.chmod(0o555)
    if os.geteuid() == 0:  # who may write everywhere, unless the file system says no
        monkeypatch.setattr(archive.syscalls, "access", lambda *_, **__: False)
    with refused(OutputUnwritable, "data"):
        kept.once()


def test_failed_move_is_told_and_tried_again_later(
    kept: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An archive that cannot be used for a while holds up nothing; it is told once, and tried again after a while."""
    monkeypatch.setattr(archive, "RETRY_S", 0.5)
    day = kept.root / "archive" / "20200417"
    day.parent.mkdir()
    day.write_bytes(b"in the way")
    with kept.running():
        wait_for(lambda: "files cannot be archived" in kept.heard.text(), "it was not told")
        wait_for(lambda: 1 == kept.heard.summary.standing.archive_held, "metrics do not tell of it")
        assert {} == rows(kept)
        day.unlink()
        wait_for(lambda: {FIRST: "moved"} == rows(kept), "it was not tried again")
    assert 1 == kept.heard.text().count("files cannot be archived")


@pytest.mark.parametrize("fault", ["error", "lookback"])
def test_error_after_a_move_is_put_right_by_the_next_start(
    kept: Place, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """A look or a sync that fails after the move leaves the row open; the next start settles it."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error", FIRST)

    with monkeypatch.context() as patch:
        if fault == "error":
            rename = archive.syscalls.rename_new

            def moved(*names: object) -> None:
                rename(*names)
                if names[0] == FIRST:
                    patch.setattr(archive, "sync_directory", fail)

            patch.setattr(archive.syscalls, "rename_new", moved)
            with refused(StorageError, "Input/output error"):
                kept.once()
        else:
            seen = archive._stat_in
            calls = iter(range(9))
            patch.setattr(archive, "_stat_in", lambda *all_: fail() if next(calls) else seen(*all_))
            kept.once()
    assert "moving" in rows(kept).values()
    kept.once()
    assert {FIRST: "moved", SECOND: "moved"} == rows(kept)
    assert [] == verify(kept.output / ".upswell")


def test_kill_between_the_move_and_its_row_is_put_right(kept: Place) -> None:
    """A run that is killed right after a file has moved leaves a row that says so; the next start settles it."""
    killed = """
import os, signal, sys
from upswell.engine import archive
from upswell.cli.main import main
rename = archive.syscalls.rename_new
def last(source, *rest):
    rename(source, *rest)
    if source.startswith("DATA_"):
        os.kill(os.getpid(), signal.SIGKILL)
archive.syscalls.rename_new = last
main()
"""
    words = [kept.data, kept.root / "segment", kept.root / "rules", kept.output]
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            killed,
            *map(str, words),
            "--once",
            "--archive",
            kept.root / "archive",
        ],
        env=clean_environment(),
        check=False,
    )
    assert -signal.SIGKILL == done.returncode
    assert ([SECOND], [f"20200417/{FIRST}"]) == (tree(kept.data), tree(kept.root / "archive"))
    assert {FIRST: "moving", SECOND: "moving"} == rows(kept)
    assert 0 == kept.once().lines
    assert {FIRST: "moved", SECOND: "moved"} == rows(kept)
    law.check(kept.root / "archive" / "20200417", kept.output)


def test_kill_before_the_move_onto_a_name_that_is_taken(kept: Place) -> None:
    """A row that says "moving" is not believed when the file is still in DATA and another one in its place."""
    kept.once(archive=None)
    with Checkpoint.open(kept.output / ".upswell", kernel.SHARDS) as checkpoint:
        checkpoint.save_archived({FIRST: "moving", SECOND: "moving"})
    other = kept.root / "archive" / "20200417" / FIRST
    other.parent.mkdir(parents=True)
    other.write_bytes(b"another's")
    kept.once()
    assert {FIRST: "taken", SECOND: "moved"} == rows(kept)
    assert b"another's" == other.read_bytes()


class Beside(Surroundings):
    """A run that archives, among its writers and its consumer."""

    def __init__(self, root: Path, seed: int) -> None:
        super().__init__(root, seed)
        self.stamps: set[datetime] = set()

    def start(self, *options: str, small: bool = False) -> subprocess.Popen[str]:
        archive = ("--archive", str(self.root / "archive"), "--archive-after-s", "0.2")
        return super().start(*archive, *options, small=small)

    def _write_file(self, stamp: datetime) -> None:
        if stamp not in self.stamps:  # a name that was archived must not be used for other content
            self.stamps.add(stamp)
            super()._write_file(stamp)

    def gather(self) -> list[str]:
        """Put all that was written back into one directory, for the judgement; names that are in two places."""
        twice = []
        for path in (self.root / "archive").glob("*/DATA_*"):
            if (self.data / path.name).exists():
                twice.append(f"{path.name} is in two places")
            else:
                path.rename(self.data / path.name)
        return twice


@pytest.mark.trust("T8")
def test_kills_at_random_moments_lose_no_file(tmp_path: Path, trust: Trust) -> None:
    """A run that archives, killed again and again, leaves each file in one place; nothing is lost or repeated."""

    def round_of(kills: Sequence[int]) -> list[str]:
        with tempfile.TemporaryDirectory(dir=tmp_path) as root:
            around = Beside(Path(root), seed=kills[0])
            with around.traffic():
                for number in kills:
                    chance = random.Random(number)
                    process = around.start(small=chance.random() < 0.5)
                    around.wait_until_locked(process)
                    time.sleep(chance.random() * 1.2)
                    kill(process)
            around.finish()
            archived = len(list((around.root / "archive").glob("*/DATA_*")))
            wrong = around.gather() + around.complaints()
            if not archived:
                wrong.append("nothing was ever archived")
            return [f"kills {kills[0]} to {kills[-1]}: {sentence}" for sentence in wrong]

    trust(range(KILLS), round_of, case="kills of a run that archives", sample=8, chunk=20)


def test_older_archive_is_not_lost_from_sight(kept: Place) -> None:
    """After a change of the archive, and back, what was moved to either is found; a person is looked for in both."""
    first, second = kept.root / "archive", kept.root / "second"
    kept.once()
    kept.file("202004171002", record(2, 1, 300, "100200"))
    kept.once(archive=second)
    state = kept.output / ".upswell"
    assert (2, 1) == (len(tree(first)), len(tree(second)))
    for archive_now in (second, first, None):
        kept.once(archive=archive_now)
        found = reconcile(state)
        assert ([], [], 4) == (found.unproven, found.differences, found.lines)
        assert [] == explain(state, "01000000000").unproven
    with StateReader.open(state) as reader:
        assert (first, second) == reader.identity().archives
    stands = forget(state, ["01000000000", "01000000002"]).stands
    assert [
        f"{first}/20200417/{FIRST}",
        f"{first}/20200417/{SECOND}",
        f"{second}/20200417/DATA_202004171002.csv",
    ] == [place.split(":")[0] for place in stands if place.startswith(str(kept.root))]


def test_move_cut_off_in_an_older_archive_is_put_right(kept: Place) -> None:
    """A file that a killed run moved to another archive than today's is found there."""
    kept.once()
    with Checkpoint.open(kept.output / ".upswell", kernel.SHARDS) as checkpoint:
        checkpoint.save_archived({FIRST: "moving"})
    kept.once(archive=kept.root / "second")
    assert {FIRST: "moved", SECOND: "moved"} == rows(kept)


def test_growth_in_the_archive_is_told_while_it_runs_and_at_a_start(
    kept: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer that kept its file open and goes on in the archive is told of, once, and nothing is read there."""
    monkeypatch.setattr(archive, "RECHECK_S", 0.2)
    day = kept.root / "archive" / "20200417"
    kept.once(archive=None)
    with kept.running():
        wait_for(lambda: {FIRST: "moved", SECOND: "moved"} == rows(kept), "not archived")
        with (day / FIRST).open("ab") as stream:
            stream.write(record(3, 1, 300, "100002"))
        wait_for(lambda: "grew" == rows(kept)[FIRST], "it was not noticed")
        time.sleep(0.5)
    assert 1 == kept.heard.text().count("it grew or changed")
    kept.once()
    with (day / SECOND).open("ab") as stream:
        stream.write(record(3, 1, 300, "100102"))
    kept.once()
    assert {FIRST: "grew", SECOND: "grew"} == rows(kept)
    assert [FIRST, SECOND] == sorted(read_status(kept.output / ".upswell").archive_held)
    for name in (FIRST, SECOND):
        (day / name).rename(kept.data / name)
    assert 2 == kept.once(archive_after_s=0.0).lines
    assert {FIRST: "moved", SECOND: "moved"} == rows(kept)
    law.check(day, kept.output)


def test_file_moves_as_soon_as_its_name_is_free(
    kept: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever removes what stood in its place in the archive need not start the run again; others move meanwhile."""
    monkeypatch.setattr(archive, "RECHECK_S", 0.2)
    monkeypatch.setattr(planner, "FINISHED_MAX", 1)
    other = kept.root / "archive" / "20200417" / FIRST
    other.parent.mkdir(parents=True)
    other.write_bytes(b"another's")
    kept.once(archive=None)
    with kept.running():
        wait_for(lambda: {FIRST: "taken", SECOND: "moved"} == rows(kept), "it holds up others")
        wait_for(lambda: 1 == kept.heard.summary.standing.archive_held, "metrics do not tell of it")
        other.unlink()
        wait_for(lambda: {FIRST: "moved", SECOND: "moved"} == rows(kept), "it was not tried again")
    assert 1 == kept.heard.text().count("the archive has a file of that name")
    assert 0 == kept.heard.summary.standing.archive_held


def test_archive_that_cannot_be_looked_into_says_nothing(kept: Place) -> None:
    """What a row says stays as it is until it is known better."""
    kept.once(archive=None)
    day = kept.root / "archive" / "20200417"
    day.parent.mkdir()
    day.write_bytes(b"in the way")
    with Checkpoint.open(kept.output / ".upswell", kernel.SHARDS) as checkpoint:
        checkpoint.save_archived({FIRST: "moving"})
    kept.once(archive_after_s=1e9)
    assert {FIRST: "moving"} == rows(kept)
    day.unlink()
    kept.once(archive_after_s=1e9)
    assert {} == rows(kept)


def test_link_in_the_place_of_a_day_is_not_followed(kept: Place) -> None:
    """A link that somebody put into the archive leads no file elsewhere."""
    (kept.root / "archive").mkdir()
    (kept.root / "elsewhere").mkdir()
    (kept.root / "archive" / "20200417").symlink_to(kept.root / "elsewhere")
    kept.once()
    assert [] == tree(kept.root / "elsewhere")
    assert [FIRST, SECOND] == tree(kept.data)
    assert "files cannot be archived" in kept.heard.text()


def test_no_turn_moves_more_than_its_share(kept: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is due, a notification waits for no more than FILES_MAX moves."""
    moved: list[int] = []
    move = Archive._move

    def counted(self: Archive, some: dict[str, Stat]) -> list[str]:
        moved.append(len(some))
        return move(self, some)

    monkeypatch.setattr(archive, "FILES_MAX", 3)
    monkeypatch.setattr(Archive, "_move", counted)
    for minute in range(10, 20):
        kept.file(f"2020041710{minute}", b"%d\n" % minute)
    kept.once()
    assert (12, 3) == (sum(moved), max(moved))


def test_row_of_an_archived_duplicate_may_be_forgotten(kept: Place) -> None:
    """A duplicate that comes again longer, and goes before it is read, leaves nothing behind."""
    content = (kept.data / FIRST).read_bytes()
    kept.file("202004171003", content)
    kept.once()
    with kept.running(settle_s=5.0):
        (kept.data / "DATA_202004171003.csv").write_bytes(content[:-4])
        wait_for(
            lambda: 1 == read_status(kept.output / ".upswell").summary.files["waiting"],
            "it was not seen",
        )
        (kept.data / "DATA_202004171003.csv").unlink()
        wait_for(
            lambda: 2 == sum(read_status(kept.output / ".upswell").summary.files.values()),
            "it is still known",
        )
    assert {FIRST: "moved", SECOND: "moved"} == rows(kept)


def test_the_command_takes_an_archive(kept: Place, upswell: Upswell) -> None:
    """--archive works from the command line, and status tells how many files went there."""
    words = [kept.data, kept.root / "segment", kept.root / "rules", kept.output]
    upswell("run", *words, "--once", "--archive", kept.root / "archive")
    told = upswell("status", "--output", kept.output).stdout
    assert f"2 moved to the archive {kept.root / 'archive'}" in told
    found = json.loads(upswell("status", "--output", kept.output, "--json").stdout)
    path = str(kept.root / "archive")
    assert {"path": path, "before": [], "files": 2, "held": []} == found["archive"]
    upswell("run", *words, "--once", "--archive", kept.root / "second")
    told = upswell("status", "--output", kept.output).stdout
    assert f"2 moved to the archive {kept.root / 'second'}, earlier ones to {path}" in told
    found = json.loads(upswell("status", "--output", kept.output, "--json").stdout)
    assert [path] == found["archive"]["before"]


def test_older_archive_that_cannot_be_looked_into_ends_and_hides_nothing(kept: Place) -> None:
    """What another place says of a file is believed; of one that nobody sees nothing is said until it is seen."""
    second, third = kept.root / "second", kept.root / "third"
    back, unseen, last = (f"DATA_20200417100{minute}.csv" for minute in (2, 3, 4))
    kept.once()
    for minute in (2, 3):
        kept.file(f"20200417100{minute}", record(minute, 1, 300, f"100{minute}00"))
    kept.once(archive=second)
    kept.file("202004171004", record(4, 1, 300, "100400"))
    kept.once(archive=third)
    day = second / "20200417"
    (day / back).rename(kept.data / back)
    aside = day.rename(second / "aside")
    day.write_bytes(b"in the way")
    with Checkpoint.open(kept.output / ".upswell", kernel.SHARDS) as checkpoint:
        checkpoint.save_archived({FIRST: "moving", back: "grew", unseen: "moving", last: "moving"})
    kept.once(archive=third, archive_after_s=1e9)
    expected = {FIRST: "moved", SECOND: "moved", unseen: "moving", last: "moved"}
    assert expected == rows(kept)
    day.unlink()
    aside.rename(day)
    kept.once(archive=third, archive_after_s=1e9)
    assert expected | {unseen: "moved"} == rows(kept)


def test_archive_behind_a_link_is_found_when_that_leads_elsewhere(kept: Place) -> None:
    """Files move to where the link leads, so that is what the state remembers."""
    link, first, second = (kept.root / name for name in ("archive", "first", "second"))
    for place in (first, second):
        place.mkdir()
        link.unlink(missing_ok=True)
        link.symlink_to(place)
        kept.once()
    state = kept.output / ".upswell"
    with StateReader.open(state) as reader:
        assert (second, first) == reader.identity().archives
    assert ([], 3) == (reconcile(state).unproven, reconcile(state).lines)


def test_move_that_was_not_made_is_made_whatever_an_older_archive_has(kept: Place) -> None:
    """Whether a name is taken is asked of the archive that the file would move to."""
    kept.once(archive=None)
    other = kept.root / "archive" / "20200417" / FIRST
    other.parent.mkdir(parents=True)
    other.write_bytes(b"another's")
    kept.once(archive_after_s=1e9)
    with Checkpoint.open(kept.output / ".upswell", kernel.SHARDS) as checkpoint:
        checkpoint.save_archived({FIRST: "moving"})
    kept.once(archive=kept.root / "second")
    assert {FIRST: "moved", SECOND: "moved"} == rows(kept)
    assert [f"20200417/{FIRST}", f"20200417/{SECOND}"] == tree(kept.root / "second")
    assert "has a file of that name" not in kept.heard.text()


def test_file_that_grew_waits_for_a_hand_while_it_is_packed(kept: Place) -> None:
    """Whoever packs the archive does not let it go; back in DATA, or deleted, it waits no more."""
    kept.write(kept.data / f"{SECOND}.gz", gzip.compress(record(4, 1, 300, "100500")))
    kept.once()
    day = kept.root / "archive" / "20200417"
    for name in (FIRST, SECOND):
        with (day / name).open("ab") as stream:
            stream.write(record(3, 1, 300, f"10{name[-5]}002"))
    kept.once()
    own = {f"{SECOND}.gz": "moved"}
    assert own | {FIRST: "grew", SECOND: "grew"} == rows(kept)
    grown = (day / FIRST).read_bytes()
    (day / f"{FIRST}.gz").write_bytes(gzip.compress(grown))
    for name in (FIRST, SECOND):
        (day / name).unlink()
    kept.once()
    assert own | {FIRST: "grew"} == rows(kept), "the other file's twin is a file of its own"
    kept.write(kept.data / FIRST, grown, LONG_AGO_S + 9)
    assert 1 == kept.once().lines
    assert own | {FIRST: "moved"} == rows(kept)


def test_compressed_file_that_is_packed_again_did_not_grow(kept: Place) -> None:
    """Its length says nothing of what is in it."""
    content = record(4, 1, 300, "100500") * 50
    name = "DATA_202004171005.csv.gz"
    kept.write(kept.data / name, gzip.compress(content))
    kept.once()
    (kept.root / "archive" / "20200417" / name).write_bytes(gzip.compress(content, 0))
    kept.once()
    assert {FIRST: "moved", SECOND: "moved", name: "moved"} == rows(kept)


def test_files_that_could_not_be_moved_are_counted_while_they_are_there(
    kept: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once somebody has taken them out of DATA, nothing is left that fails."""
    monkeypatch.setattr(archive, "RETRY_S", 0.2)
    (kept.root / "archive").mkdir()
    (kept.root / "archive" / "20200417").write_bytes(b"in the way")
    with kept.running():
        wait_for(lambda: 1 == kept.heard.summary.standing.archive_held, "it is not counted")
        (kept.data / FIRST).unlink()
        wait_for(lambda: 0 == kept.heard.summary.standing.archive_held, "it is counted for ever")


def test_turn_that_fails_counts_what_it_did_not_move(
    kept: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that went to the archive before the fault is not told as one that could not."""
    rename = archive.syscalls.rename_new

    def fails(source: str, *rest: object) -> None:
        if source == SECOND:
            raise OSError(5, "Input/output error", source)
        rename(source, *rest)

    monkeypatch.setattr(archive.syscalls, "rename_new", fails)
    kept.once()
    assert {FIRST: "moved", SECOND: "moving"} == rows(kept)
    assert 1 == kept.heard.summary.standing.archive_held


def test_file_that_is_held_while_a_look_goes_on_stays_held(
    kept: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look of several turns goes by what the rows say when it comes to them, not when it began."""
    content = {name: (kept.data / name).read_bytes() for name in (FIRST, SECOND)}
    kept.once()
    for name in content:
        kept.write(kept.data / name, content[name])
    monkeypatch.setattr(archive, "FILES_MAX", 1)
    with Checkpoint.open(kept.output / ".upswell", kernel.SHARDS) as checkpoint:
        ours = Archive.open(kept.settings, checkpoint)
        assert ours is not None

        def again(*_: object) -> list[tuple[str, Stat]]:
            (name,) = ours._recheck
            seen = stat_regular(os.fsencode(kept.data / name))
            assert seen is not None
            return [(name, seen)]

        ours.move_due(again, 1, 1000.0)
        assert (1, 1) == (ours.held_files, len(ours._recheck))
        ours.move_due(again, 1, 1001.0)
        assert (1, 0) == (ours.held_files, len(ours._recheck))


def test_files_beyond_what_one_look_takes_are_looked_at_by_the_next(
    kept: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many wait for a hand, each is seen to once somebody has put it right."""
    monkeypatch.setattr(archive, "RECHECK_S", 0.1)
    monkeypatch.setattr(archive, "RECHECK_MAX", 1)
    kept.once(archive=None)
    day = kept.root / "archive" / "20200417"
    day.mkdir(parents=True)
    for name in (FIRST, SECOND):
        (day / name).write_bytes(b"another's")
    with kept.running():
        wait_for(lambda: {FIRST: "taken", SECOND: "taken"} == rows(kept), "they are not held")
        (day / SECOND).unlink()
        wait_for(lambda: {FIRST: "taken", SECOND: "moved"} == rows(kept), "it was not seen to")
