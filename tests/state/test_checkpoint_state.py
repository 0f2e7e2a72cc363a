"""What the checkpoint keeps, refuses and says about itself."""

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from support.batches import (
    DAY,
    LINES,
    SHARDS,
    VERSIONS,
    World,
    made,
    published,
    refused,
)
from upswell.errors import (
    ConfigError,
    InputMissing,
    Locked,
    OutputUnwritable,
    StorageError,
    UpswellError,
)
from upswell.source.file import STATES, File
from upswell.state.batch import DroppedRejects
from upswell.state.checkpoint import Checkpoint
from upswell.state.connection import BUSY_S, open_writer
from upswell.state.ledger import read_ledger
from upswell.state.maintenance.verify import verify
from upswell.state.queries.files import (
    count_by_state,
    count_late_files,
    count_repeats,
    decode_files,
    fetch_consumed_files,
    repeated_files,
)
from upswell.state.queries.notifications import count_notified, notified_days, staged_content
from upswell.state.reader import StateReader


@pytest.fixture
def checkpoint(tmp_path):
    """A new state."""
    with Checkpoint.open(tmp_path / "state", SHARDS) as opened:
        yield opened


def committed(root: Path, count: int) -> Path:
    """A state after this many batches, closed; its directory."""
    with World(root / "out") as world:
        world.committer.recover()
        for number in range(1, count + 1):
            world.committer.commit(made(number))
        return world.state


def test_file_comes_back_as_it_was_saved(checkpoint):
    """Every field survives, numbers of 64 bits and names that are no UTF-8 included."""
    files = [
        File(
            os.fsdecode(b"DATA_\xff\n'.csv"), "ignored", detail=os.fsdecode(b"not \xff"), reason="name"
        ),
        File(
            "DATA_202004171200.csv.gz", "held", "202004171200", "stamp", "why", 2**64 - 1, 1, 2, 3, 4, 2**64 - 2, 2,
            5, 2**63, 2**63 + 1, True, 6, 9, {"blank": 9}, {},
        ),
    ]  # fmt: skip
    checkpoint.save_files(files)
    found = checkpoint.reader.files([*(file.name for file in files), "unknown"])
    assert {
        files[1].name: files[1],
        files[0].name: replace(files[0], detail="not \\udcff"),
    } == found
    assert ["held"] == [file.state for file in checkpoint.reader.files_in("held")]
    assert {state: int(state in ("held", "ignored")) for state in STATES} == count_by_state(
        checkpoint.reader
    )
    assert 1 == count_late_files(checkpoint.reader)


def test_many_names_are_looked_up(checkpoint):
    """More names than one query takes."""
    names = [f"DATA_{number:012}.csv" for number in range(1500)]
    checkpoint.save_files(File(name, "waiting") for name in names[:-1])
    assert set(names[:-1]) == set(checkpoint.reader.files(names))
    checkpoint.save_files(File(name, "reading", size=7) for name in names[:2])
    assert [7, 7] == [file.size for file in checkpoint.reader.files_in("reading")]
    assert 1499 == len(list(checkpoint.reader.files_in()))


def test_batch_is_true_in_every_table(tmp_path):
    """One commit: log, files, totals, notifications, staged files, ledger and versions."""
    with World(tmp_path / "out") as world:
        state = world.checkpoint.reader
        assert (0, "", 0) == (state.last_batch(), state.newest_stamp(), state.day_open())
        batches = [made(number) for number in (1, 2, 3)]
        dropped = [DroppedRejects(0, 5, 10, 90)]
        batches[1] = replace(batches[1], dropped=dropped)
        for batch in batches:
            world.committer.commit(batch)
        assert (3, batches[2].stamp, DAY - 1) == (
            state.last_batch(), state.newest_stamp(), state.day_open()
        )  # fmt: skip
        assert [one for batch in batches for one in batch.ranges] == list(state.log())
        assert [one for batch in batches[1:] for one in batch.ranges] == list(state.log(1))
        assert [batches[0].files[0]] == state.find_first_record(2**64 - 1)
        assert ["Twitter", "WhatsApp"] == list(count_notified(state))
        assert {"Twitter": 12, "WhatsApp": 8} == count_notified(state, DAY)
        assert {} == count_notified(state, DAY + 1)
        assert [DAY] == notified_days(state)
        totals = state.totals()
        assert (3, 3 * LINES) == (totals.batches, totals.lines)
        assert {"rejected": 3, "counted": 10, "notified": 20} == totals.outcomes
        assert {"columns": 3} == totals.reasons
        sql = "SELECT sequence, lines, from_byte, to_byte FROM dropped_rejects WHERE batch = 2"
        assert dropped == [DroppedRejects(*row) for row in state._rows(sql)]
        assert [1, 2, 3] == [batch.number for batch in state.batches()]
        taken = [file for file in state.files_in() if file.offset]
        assert taken == list(decode_files(state, fetch_consumed_files(state)))
        assert VERSIONS == state.current_versions()
        assert [1, 1] == [version.first_batch for version in state.references()]
        assert [] == verify(world.state)


def test_second_notification_of_a_day_aborts_everything(tmp_path):
    """The same msisdn, application and day again: nothing is committed or published, and no msisdn is told."""
    with World(tmp_path / "out") as world:
        world.committer.commit(made(1))
        before = published(world.output)
        again = replace(made(3), number=2)
        again = replace(again, notifications=made(1).notifications)
        with pytest.raises(UpswellError) as caught:
            world.committer.commit(again)
        assert 70 == caught.value.exit_code
        assert made(1).notifications[0][2] not in str(caught.value)
        assert before == published(world.output)
        with refused(StorageError, "earlier write to the state failed"):
            world.checkpoint.set_identity(replace(world.checkpoint.reader.identity(), since="b"))
    with World(tmp_path / "out") as world:
        assert {"removed": 2, "rejects_removed": 1} == world.committer.recover().nonzero()
        assert 1 == world.checkpoint.reader.last_batch()
        world.committer.commit(made(2))
        assert [] == verify(world.state)


def test_deltas_stay_until_every_shard_has_a_newer_base(tmp_path):
    """A restart needs the deltas after the oldest base, and no others are kept."""
    with World(tmp_path / "out") as world:
        kept = []
        for number in range(1, 7):
            world.committer.commit(made(number))
            kept.append([batch for batch, _ in read_ledger(world.checkpoint.reader).deltas])
        assert [[1], [1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 5], [4, 5, 6]] == kept
        assert sorted((n, f"base {n}".encode()) for n in (3, 4, 5, 6)) == sorted(
            read_ledger(world.checkpoint.reader).bases
        )
        sizes = world.checkpoint.ledger_sizes()
    with World(tmp_path / "out") as world:
        assert sizes == world.checkpoint.ledger_sizes()
        assert (4 * 6, 3 * 7, [3, 0, 1, 2]) == sizes


def test_versions_that_no_batch_used_are_dropped(checkpoint):
    """A version goes when another replaces it before its first batch; the current one stays."""
    for version in ("a", "b", "a"):
        checkpoint.add_reference("rules", version, version.encode(), "")
    assert ["a"] == [one.version for one in checkpoint.reader.references()]
    assert checkpoint.reader.current_versions() is None
    checkpoint.add_reference("segment", "a", b"dials", "first")
    assert ("a", "a", "", "", "") == checkpoint.reader.current_versions()
    assert b"dials" == checkpoint.reader.reference("segment", "a")
    with refused(StorageError, "missing"):
        checkpoint.reader.reference("rules", "b")


def test_files_that_came_again_are_found(checkpoint):
    """By stamp, the newest of them, with the sum over all."""
    rows = [
        File(f"DATA_20200417000{at}.csv", "done", f"20200417000{at}", repeats=at)
        for at in (2, 0, 3, 1)
    ]
    checkpoint.save_files(rows)
    assert [2, 3] == [file.repeats for file in repeated_files(checkpoint.reader, 2)]
    assert 6 == count_repeats(checkpoint.reader)
    assert rows[1] == checkpoint.reader.file(rows[1].name)


def test_a_name_that_was_never_seen_is_told(checkpoint):
    """With the way to those that were."""
    with refused(UpswellError, "never saw a file notes.txt"):
        checkpoint.reader.file("notes.txt")


def test_a_refused_edit_is_kept_until_it_is_repaired(checkpoint):
    """One at a time, with the moment of its own first refusal; told again it writes nothing."""
    sql = "SELECT words, at FROM edit WHERE kind = 'refused'"
    checkpoint.set_refused("")
    assert [] == checkpoint.reader._rows(sql)
    checkpoint.set_refused("line 1")
    first = checkpoint.reader._rows(sql)
    checkpoint.set_refused("line 1")
    assert first == checkpoint.reader._rows(sql)
    checkpoint.set_refused("line 2")
    assert ["line 2"] == [words for words, _ in checkpoint.reader._rows(sql)]
    checkpoint.set_refused("")
    assert [] == checkpoint.reader._rows(sql)


def test_adopted_state_begins_after_what_it_adopts(tmp_path):
    """Batch numbers go on after those in OUTPUT, and the caps are the first delta."""
    with World(tmp_path / "out") as world:
        for number in range(1, 4):
            world.committer.commit(made(number))
    for name in ("checkpoint.db", "lock"):
        (world.state / name).unlink()
    with World(tmp_path / "out") as world:
        assert 3 == world.sink.begun
        assert [1, 2, 3] == [
            one.batch for one in world.sink.published() if one.directory == "Twitter"
        ]
        with refused(StorageError, "batch 3, but the state ends at batch 0"):
            world.committer.recover()
        for _ in range(2):
            world.checkpoint.adopt(3, b"caps")
        world.committer.recover()
        assert ([], [(3, b"caps")]) == read_ledger(world.checkpoint.reader)
        assert 3 == world.checkpoint.reader.last_batch()
        world.committer.commit(made(4))
        with pytest.raises(UpswellError, match="cannot adopt"):
            world.checkpoint.adopt(9, b"")
        assert [] == verify(world.state)


def test_adopted_caps_stay_for_good(tmp_path):
    """However often all shards are compacted, a replay can begin with them; no compaction is weighed by them."""
    with World(tmp_path / "out") as world:
        world.checkpoint.adopt(3, b"caps")
        for number in range(4, 10):
            world.committer.commit(made(number))
        sizes = world.checkpoint.ledger_sizes()
        assert [3, 7, 8, 9] == [batch for batch, _ in read_ledger(world.checkpoint.reader).deltas]
    with World(tmp_path / "out") as world:
        assert sizes == world.checkpoint.ledger_sizes()
        assert (3 * 7, 4) == (sizes.deltas, world.checkpoint.reader.identity().adopted_bytes)


def test_files_are_private_whatever_the_umask(tmp_path):
    """Directories 0700, files 0600, those that SQLite or a reader creates too."""
    old = os.umask(0)
    try:
        state = committed(tmp_path, 1)
        with StateReader.open(state) as reader:
            reader.totals()
            seen = [path for path in state.rglob("*") if path.is_file()]
            assert {"checkpoint.db-shm"} <= {path.name for path in seen}
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in seen}
        with Checkpoint.open(state, SHARDS):
            modes |= {p.name: stat.S_IMODE(p.stat().st_mode) for p in state.glob("checkpoint*")}
        assert {0o600} == set(modes.values()), modes
        assert "checkpoint.db-wal" in modes
        directories = [state, *(path for path in state.rglob("*") if path.is_dir())]
        assert {0o700} == {stat.S_IMODE(path.stat().st_mode) for path in directories}
    finally:
        os.umask(old)


def test_second_start_is_told_who_holds_the_state(tmp_path):
    """The lock names the process, and is gone with it."""
    held = Checkpoint.open(tmp_path / "state", SHARDS)
    with refused(Locked, f"process {os.getpid()}, since 2"):
        Checkpoint.open(tmp_path / "state", SHARDS)
    held.close()
    Checkpoint.open(tmp_path / "state", SHARDS).close()


def test_lock_goes_with_a_killed_process(tmp_path):
    """SIGKILL leaves no lock behind."""
    code = (
        "import sys; from pathlib import Path; from upswell.state.checkpoint import Checkpoint\n"
        f"c = Checkpoint.open(Path(sys.argv[1]), {SHARDS}); print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "state")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert b"open\n" == process.stdout.readline()
        with refused(Locked):
            Checkpoint.open(tmp_path / "state", SHARDS)
        process.kill()
        process.wait()
    Checkpoint.open(tmp_path / "state", SHARDS).close()


def test_reader_sees_a_running_state(tmp_path):
    """A reader beside the writer sees each commit, and one moment within a snapshot; it cannot write."""
    with World(tmp_path / "out") as world:
        world.committer.commit(made(1))
        with StateReader.open(world.state) as reader:
            assert 1 == reader.last_batch()
            with reader.snapshot():
                assert 1 == reader.last_batch()
                world.committer.commit(made(2))
                world.checkpoint.drain_wal()
                assert 1 == reader.last_batch()
            assert 2 == reader.last_batch()
            with refused(StorageError, "SQLITE_READONLY"):
                reader._rows("DELETE FROM notification")


def test_closed_state_is_one_file(tmp_path):
    """A clean stop leaves no write-ahead log to lose."""
    state = committed(tmp_path, 2)
    assert ["checkpoint.db"] == [path.name for path in state.glob("checkpoint*")]


def test_no_state_is_said_in_words(tmp_path):
    """A look at a directory without a state creates nothing."""
    with refused(InputMissing, "no state in"):
        StateReader.open(tmp_path)
    assert [] == list(tmp_path.iterdir())
    assert 1 == len(verify(tmp_path))


def test_state_directory_needs_its_parent(tmp_path):
    """Only the last directory is made."""
    with refused(OutputUnwritable, "No such file"):
        Checkpoint.open(tmp_path / "a" / "b", SHARDS)
    (tmp_path / "file").write_text("")
    with refused(OutputUnwritable, "Not a directory"):
        Checkpoint.open(tmp_path / "file", SHARDS)


def test_foreign_and_newer_databases_are_left_alone(tmp_path):
    """A database of another program, and one of a later version, are refused and not changed."""
    path = tmp_path / "checkpoint.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE theirs(x)")
    db.close()
    before = path.read_bytes()
    for open_ in (lambda: open_writer(tmp_path), lambda: StateReader.open(tmp_path)):
        with refused(ConfigError, "not a state"):
            open_()
    assert before == path.read_bytes()
    newer = committed(tmp_path, 1)
    with sqlite3.connect(newer / "checkpoint.db") as db:
        db.execute("PRAGMA user_version = 999")
    db.close()
    with refused(ConfigError, "newer version"):
        open_writer(newer)


def test_database_that_was_never_begun_is_begun(tmp_path):
    """A crash right after the file was made leaves an empty database."""
    (tmp_path / "checkpoint.db").touch(0o600)
    with refused(StorageError, "no run has begun it"):
        StateReader.open(tmp_path)
    with Checkpoint.open(tmp_path, SHARDS) as opened:
        assert 0 == opened.reader.last_batch()


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        ("UPDATE file SET offset = offset - 1 WHERE id = 2", "row of a file"),
        ("UPDATE batch SET newest_stamp = '209901010000' WHERE number = 3", "row of batch 3"),
        ("UPDATE meta SET value = 'x' WHERE key = 'output_id'", "entry of meta"),
        ("UPDATE ledger_base SET batch = 9 WHERE shard = 1", "shard 1 of the ledger"),
        ("UPDATE ledger_delta SET content = x'00' WHERE batch = 3", "change of batch 3"),
        ("UPDATE reference SET content = x'00' WHERE kind = 'rules'", "of the rules does not match its digest"),
        ("UPDATE application SET name = 'Twitte' WHERE id = 1", "application's name"),
        ("DELETE FROM batch WHERE number = 2", "batch 2 is missing"),
        ("UPDATE total SET value = value + 1 WHERE name = 'lines'", "running totals"),
        ("DELETE FROM file WHERE id = 2", "are not those of the batches"),
        ("UPDATE log SET to_byte = to_byte + 1 WHERE batch = 2", "are marked as consumed"),
        ("UPDATE log SET newest_stamp = '1' WHERE batch = 2", "newest stamp falls"),
        ("UPDATE log SET from_byte = 1 WHERE batch = 2", "jumps to byte 1 in batch 2"),
        ("DELETE FROM notification WHERE batch = 1 AND byte = 0", "in batch 1 are not those"),
        ("DELETE FROM notification WHERE batch = 1 AND byte = 0", "batch 1 counts other"),
        ("UPDATE notified_total SET lines = 1", "totals by day"),
        ("DELETE FROM reference WHERE kind = 'segment'", "of the segment is missing"),
        ("UPDATE log SET file = 77 WHERE batch = 1", "refer to missing rows"),
    ],
)  # fmt: skip
def test_verify_finds_what_does_not_add_up(tmp_path, damage, expected):
    """A row changed behind our back is found and said in words, without a msisdn."""
    state = committed(tmp_path, 3)
    assert [] == verify(state)
    with sqlite3.connect(state / "checkpoint.db") as db:
        db.execute("PRAGMA foreign_keys = OFF")
        db.execute(damage)
    db.close()
    problems = verify(state)
    assert any(expected in problem for problem in problems), problems
    assert not any("010001" in problem for problem in problems)


def test_verify_looks_beside_the_database(tmp_path):
    """Another OUTPUT, later notifications, changed rejects and foreign files are found."""
    state = committed(tmp_path, 2)
    (state / "rejects" / "REJECTS_0000000001.tsv").write_bytes(b"")
    (state / "rejects" / "REJECTS_0000000002.tsv").unlink()
    (state / "staging" / "x\x1b").touch()
    (state / "begun-0000000002").rename(state / "begun-0000000003")
    (state / "output.id").write_text("other\n")
    problems = verify(state)
    expected = ("changed after", "not the OUTPUT", "of batch 3", "is not a file of Upswell")
    assert 4 == len(problems)
    for words, problem in zip(expected, problems, strict=True):
        assert words in problem
    assert "\x1b" not in "".join(problems)


def test_other_output_is_refused(tmp_path):
    """A state goes with the OUTPUT it was begun with."""
    state = committed(tmp_path, 1)
    with World(tmp_path / "other") as world:
        shutil.copy(state / "checkpoint.db", tmp_path / "copy.db")
    shutil.copy(tmp_path / "copy.db", world.state / "checkpoint.db")
    with (
        World(tmp_path / "other") as world,
        refused(ConfigError, "upswell belongs to another OUTPUT than .*other$"),
    ):
        world.committer.recover()


def test_bulk_of_notifications_is_committed_quickly(tmp_path):
    """A hundred thousand notifications with ids in another order than the rules': seconds at most."""
    count = 100_000
    names = ("A", "B", "C")
    with World(tmp_path / "out") as world:
        world.checkpoint.application_ids(["C", "B"])
        rows = sorted(
            (DAY, n % 3, f"01{n:09}", 0, n * 30, b"01%09d,1,1,x" % n) for n in range(count)
        )
        contents = {
            index: b"".join(raw + b"\n" for *_, application, _, _, byte, raw in sorted(rows, key=lambda r: r[4])
                            if application == index)
            for index in range(3)
        }  # fmt: skip
        outcomes = {"notified": count}
        batch = made(1, names)
        batch = replace(
            batch,
            notifications=rows,
            outputs=[
                replace_content(output, contents[at]) for at, output in enumerate(batch.outputs)
            ],
            outcomes=outcomes,
            reasons={},
            lines=count,
            files=[replace(batch.files[0], outcomes=outcomes, reasons={}, lines=count)],
        )
        world.committer.commit(batch)
        assert count == sum(count_notified(world.checkpoint.reader).values())
        number = world.checkpoint.reader.applications()["B"]
        (one,) = (
            one for one in world.checkpoint.reader.staged(1).values() if one.application == number
        )
        assert contents[1] == staged_content(world.checkpoint.reader, one)
        assert [] == verify(world.state)


def replace_content(output, content):
    """The output with another content."""
    return output._replace(content=content)


def test_reader_does_not_hold_up_the_writer(tmp_path: Path) -> None:
    """Folding the log beside an open snapshot gives up at once: a stop or the next batch is not kept waiting."""
    with Checkpoint.open(tmp_path / "state", 4) as checkpoint:
        checkpoint.set_identity(replace(checkpoint.reader.identity(), since="1"))
        with StateReader.open(tmp_path / "state") as reader, reader.snapshot():
            reader.identity()
            checkpoint.set_identity(replace(checkpoint.reader.identity(), since="2"))
            began = time.monotonic()
            checkpoint.drain_wal(idle=True)

            assert time.monotonic() - began < BUSY_S / 2
