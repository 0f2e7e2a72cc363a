"""Removing a person: nothing of them is left in the state's bytes, nothing is sent twice, and all proofs say so."""

import gzip
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from support.child import clean_environment
from support.engine_runs import DIALS, LONG_AGO_S, Place, place, record, wait_for
from support.forgetting_runs import COUNTED, OTHER, WHO, lived, proof, traces, traces_of_key
from support.replays import past, state
from upswell.audit import sent, status
from upswell.audit.replay.explain import explain
from upswell.audit.replay.reconcile import reconcile
from upswell.audit.replay.whatif import whatif
from upswell.errors import ConfigError, InputMissing, Locked, UsageError
from upswell.kernel import Ledger, count_lines
from upswell.reference.policy import SHARE_ALL
from upswell.source.listing import list_directory
from upswell.state.ledger import read_ledger
from upswell.state.maintenance.forget import forget
from upswell.state.maintenance.transfer import export_state, import_state
from upswell.state.maintenance.verify import verify
from upswell.state.queries.forgotten import forgettings
from upswell.state.reader import StateReader
from upswell.storage.lock import lock

__all__ = ("place",)


def found_in(stands: list[str]) -> list[str]:
    """Where it stands, without the times and names that differ."""
    return [
        where.split(":")[0].replace("NOTIFY_0000000001_202004171000.csv", "*") for where in stands
    ]


def test_nothing_of_a_person_is_left_in_any_byte_of_the_state(place: Place) -> None:
    """Neither digits nor the kernel's forms are in database, log or rejects; another customer's are."""
    lived(place)
    assert {"checkpoint.db"} == {each.split(":")[0] for each in traces(state(place), WHO)} - {
        "REJECTS_0000000001.tsv"
    }
    removal = forget(state(place), [WHO])

    assert [] == traces(state(place), WHO)
    assert 3 == len(traces(state(place), OTHER))
    assert (1, 1, 3) == (removal.people, removal.erased.notifications, removal.erased.reject_lines)
    assert [] == verify(state(place))
    with StateReader.open(state(place)) as reader:
        ledger = Ledger.load(*read_ledger(reader), reader.day_open(), 1)
    assert ([], []) == (ledger.totals(WHO), ledger.caps(WHO))
    assert [] != ledger.totals(OTHER)


def test_where_the_dial_still_stands_is_listed(place: Place) -> None:
    """OUTPUT, DATA, SEGMENT and the kept version are named, and no dial is in the words."""
    lived(place)
    place.file("202004171005", record(1, 9, 1, "100500") * 2)
    removal = forget(state(place), [WHO])

    assert [
        "OUTPUT/Twitter/*",
        "DATA/DATA_202004171000.csv",
        "DATA/DATA_202004171005.csv",
        "SEGMENT/SEGMENT.csv",
    ] == found_in(removal.stands[:-1])
    assert "of SEGMENT that the state keeps for its log" in removal.stands[-1]
    assert WHO not in json.dumps(removal.to_json())
    assert [] == removal.unknown


def test_the_archive_and_an_exported_file_are_looked_through(place: Place) -> None:
    """Input that has left DATA, and the state as it was written to a file, are named as long as they are there."""
    archive, file = place.root / "archive", place.root / "file"
    lived(place, archive=archive)
    export_state(state(place), file)
    half = shutil.copy(file, f"{file}.half")  # as a killed export leaves it
    forgotten = forget(state(place), [WHO]).stands
    import_state(file, place.root / "new", None)
    again = forget(place.root / "new", [WHO]).stands

    for stands in (forgotten, again):
        assert "ARCHIVE/20200417/DATA_202004171000.csv" in found_in(stands)
        assert {f"the exported file {file}", f"the exported file {half}"} <= {*found_in(stands)}
    assert WHO not in json.dumps(forgotten)
    file.write_bytes(b"something else")
    assert [str(file)] == [one.split(":")[0] for one in forget(state(place), [OTHER]).unknown]
    file.unlink()
    assert f"the exported file {file}" not in found_in(forget(place.root / "new", [WHO]).stands)


def test_many_are_looked_for_in_one_pass(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many are forgotten together, a file of DATA is read once, and each of its lines counted once."""
    lived(place)
    read: list[bytes] = []

    def spied(path: bytes, msisdns: list[str], *, compressed: bool) -> int:
        read.append(path)
        return count_lines(path, msisdns, compressed=compressed)

    monkeypatch.setattr("upswell.state.maintenance.occurrences.count_lines", spied)
    packed = gzip.compress(f"{WHO},1,1,20200417100600\n{WHO} {OTHER}\n".encode())
    (place.data / "DATA_202004171006.csv.gz").write_bytes(packed)
    removal = forget(state(place), [*DIALS, *(f"09{number:08}" for number in range(5000))])

    assert 2 == len(read)
    assert "DATA/DATA_202004171006.csv.gz: 2 times" in removal.stands


def test_a_dial_of_which_nothing_stood_is_told(place: Place) -> None:
    """A slip of the pen does not look like a success; that dial is suppressed all the same."""
    lived(place)
    removal = forget(state(place), ["0999999999"])

    assert (1, (0, 0, 0, 0), []) == (removal.people, removal.erased, removal.stands)
    assert 20200419 == removal.until_day
    # One was notified, one is in the ledger alone, one among the rejects alone.
    assert "0125000000" not in DIALS
    place.file("202004171001", record(4, 1, 5, "100000") + b"0125000000,1,5x,20200417100000\n")
    place.once()
    asked = [WHO, DIALS[4], "0125000000", "0999999999", "0999999998"]
    assert 3 == forget(state(place), asked).erased.people
    assert 0 == forget(state(place), asked).erased.people


def test_where_nobody_could_look_is_told(place: Place) -> None:
    """Without DATA and SEGMENT the rest is done all the same."""
    lived(place)
    (place.root / "data").rename(place.root / "moved")
    (place.root / "segment").rename(place.root / "gone")
    removal = forget(state(place), [WHO])

    assert 2 == len(removal.unknown)
    assert ["OUTPUT/Twitter/*"] == found_in(removal.stands[:1])
    again = forget(state(place), [WHO], data=place.root / "moved")
    assert ["SEGMENT"] == [one.split(":")[0] for one in again.unknown]


def test_files_of_other_names_are_told_as_not_looked_at(place: Place) -> None:
    """What no DATA file is called is not read, and nobody may think that it was."""
    lived(place)
    (place.data / "export.tmp").write_bytes(record(1, 1, 5, "100000"))
    (place.data / "below").mkdir()

    assert ["DATA, 1 of its files: their names are not those of DATA files"] == forget(
        state(place), [WHO]
    ).unknown


def test_the_search_leaves_the_state_to_others(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While DATA is looked through, a run may hold the state."""
    lived(place)
    held = []

    def scan_beside_a_run(place_of_data: bytes):
        os.close(lock(state(place) / "lock", "the state"))
        held.append(place_of_data)
        return list_directory(place_of_data)

    monkeypatch.setattr("upswell.state.maintenance.occurrences.list_directory", scan_beside_a_run)
    forget(state(place), [WHO])

    assert [bytes(place.data)] == held


def test_the_forgotten_are_suppressed_until_their_days_are_closed(place: Place) -> None:
    """No second notification on the day; then the key is destroyed, and only then they begin anew."""
    lived(place)
    forget(state(place), [WHO])
    place.file("202004171001", record(1, 1, 500, "110000") + record(1, 2, 500, "110000"))
    place.file("202004171002", record(2, 2, 500, "110000"))
    place.once()
    assert {"suppressed": 2} == {
        name: n
        for name, n in status.read_status(state(place)).summary.outcomes.items()
        if name == "suppressed"
    }
    assert ["suppressed until 2020-04-19 is closed: the customer was forgotten"] * 2 == [
        entry.why for entry in explain(state(place), WHO).entries if entry.outcome == "suppressed"
    ]
    assert [1] == [one.people for one in status.read_status(state(place)).forgettings]
    assert ([], []) == proof(place)
    for number, day in enumerate(("20200418", "20200420", "20200421")):
        place.file(f"{day}1000", record(1, 1, 500, "100000", day))
        place.once()
        alive = [one.key is not None for one in _forgettings(place)]
        assert [number < 2] == alive
    place.file("202004211001", record(1, 1, 500, "100100", "20200421"))
    place.once()

    assert [WHO] == [row.msisdn for row in sent.rows(state(place), sent.SentFilter(day=20200421))]
    assert [] == verify(state(place))
    assert [] == traces_of_key(place)


def _forgettings(place: Place):
    with StateReader.open(state(place)) as reader:
        return forgettings(reader)


def test_a_run_for_ever_lets_go_of_the_forgotten(place: Place) -> None:
    """The key goes while the run goes on, between two batches."""
    lived(place)
    forget(state(place), [WHO])
    with place.running():
        for day in ("20200418", "20200421"):
            place.file(f"{day}1000", record(1, 1, 500, "100000", day))
        wait_for(lambda: [] == traces_of_key(place), "the key is still there")
        place.file("202004211001", record(1, 1, 500, "100100", "20200421"))
        wait_for(lambda: _rows(place, 20200421) == [WHO], "not notified again")


def test_a_backlog_lets_go_of_the_forgotten_on_its_way(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One run over many days ends it with the batch that closes their day, not with the last one."""
    lived(place)
    forget(state(place), [WHO])
    monkeypatch.setattr("upswell.source.planner.RANGES_MAX", 1)
    for day in ("20200418", "20200421", "20200422", "20200423"):
        place.file(f"{day}1000", record(1, 1, 500, "100000", day))
    place.once()

    assert [3] == [one.until_batch for one in _forgettings(place)]
    assert [[], [], [WHO]] == [_rows(place, day) for day in (20200418, 20200421, 20200422)]
    assert [] == verify(state(place))
    found = reconcile(state(place))
    assert [] == found.differences
    assert "and the ledger" in found.unproven[1]
    assert [] == traces_of_key(place)


def _rows(place: Place, day: int) -> list[str]:
    return [row.msisdn for row in sent.rows(state(place), sent.SentFilter(day=day))]


@pytest.mark.parametrize("seed", range(4))
def test_proofs_count_who_was_forgotten(
    place: Place, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After any past, and any future: no difference, nothing unproven, and as many forgotten as were removed."""
    past(place, seed, monkeypatch)
    generator = random.Random(seed)
    people = generator.sample(DIALS[:12], 3)
    removed = sum(forget(state(place), [who]).erased.notifications for who in people[:2])
    removed += forget(state(place), people[1:]).erased.notifications
    first = reconcile(state(place))
    place.file("202004181100", b"".join(record(n, 1, 300, "110000", "20200418") for n in range(12)))
    place.once(accept_reference=True)
    second = reconcile(state(place))

    assert [([], []), ([], [])] == [(one.differences, one.unproven) for one in (first, second)]
    assert removed == first.forgotten == second.forgotten > 0
    assert [] == verify(state(place))
    for who in people:
        story = explain(state(place), who)
        assert [] == story.differences
        assert story.entries[-1].outcome in ("suppressed", "not_in_segment")


def test_a_missing_row_of_somebody_else_is_still_a_difference(place: Place) -> None:
    """Forgetting one does not cover the loss of another."""
    lived(place)
    forget(state(place), [WHO])
    with sqlite3.connect(state(place) / "checkpoint.db") as db:
        db.execute("DELETE FROM notification WHERE msisdn = ?", (OTHER,))

    assert [] != reconcile(state(place)).differences
    assert [] != verify(state(place))


def test_what_nobody_can_prove_any_more_is_told(place: Place) -> None:
    """Once the key is gone, the batches in which they were suppressed are unproven, and no others."""
    lived(place)
    forget(state(place), [WHO])
    place.file("202004171001", record(1, 1, 500, "110000") + record(1, 2, 500, "110000"))
    place.once()
    for day in ("20200421", "20200425", "20200426"):
        place.file(f"{day}1000", record(1, 1, 500, "100000", day))
        place.once()
    found = reconcile(state(place))
    story = explain(state(place), WHO)
    notes = whatif(state(place), [], max_per_customer_per_day=1).notes

    assert [True] == ["customers were forgotten" in note for note in notes]
    assert [] == found.differences
    assert ["decisions of batches 2 to 3", "therefore not compared either"] == [
        each.split(":")[0] for each in found.unproven
    ]
    assert "running totals" in found.unproven[1] and "ledger" not in found.unproven[1]
    assert [] == story.differences
    assert [] != story.unproven
    assert {"capped", "not_proven"} == {
        entry.outcome for entry in story.entries if entry.decided.logged.batch in (2, 3)
    }
    assert not any(why.endswith("sent to ?") for *_, why in story.verdicts())
    assert any("of these records may have been suppressed" in each for each in story.unproven)
    # Of somebody else the state has what the replay gives.
    assert ([], []) == (
        explain(state(place), OTHER).differences,
        explain(state(place), OTHER).unproven,
    )


def test_a_limit_that_nobody_can_prove_is_told(place: Place) -> None:
    """Once the key is gone, a notification that may never have been does not stand in another's way."""
    place.settings = replace(place.settings, max_per_customer_per_day=1)
    lived(place)
    forget(state(place), [WHO])
    day = "20200418"
    place.file(f"{day}1000", record(1, 1, 500, "100000", day) + record(1, 2, 500, "100100", day))
    place.once()
    for day in ("20200421", "20200425"):
        place.file(f"{day}1000", record(2, 1, 1, "100000", day))
        place.once()
    story = explain(state(place), WHO)

    assert [None] == [one.key for one in _forgettings(place)]
    assert ["not_proven"] * 2 == [entry.outcome for entry in story.entries if entry.day == 20200418]
    assert [] == story.differences
    assert any("2 of these records may have been suppressed" in each for each in story.unproven)


def test_counts_and_lists_say_what_is_missing(place: Place) -> None:
    """`sent` counts what was sent, and says how many of them it cannot list."""
    lived(place)
    before = sent.counts(state(place), sent.SentFilter())
    forget(state(place), [WHO])

    assert before == sent.counts(state(place), sent.SentFilter())
    assert 1 == sent.forgotten(state(place), sent.SentFilter())
    assert 0 == sent.forgotten(state(place), sent.SentFilter(batch=1))
    assert sum(before.values()) - 1 == len(list(sent.rows(state(place), sent.SentFilter())))


def test_the_control_group_and_an_adopted_cap_are_forgotten_too(place: Place) -> None:
    """Rows of the group go like the others, and so do caps out of an OUTPUT that was taken over."""
    everyone = {"control_share": SHARE_ALL / 100, "control_key": "a key that is long enough"}
    lived(place, **everyone)
    for path in state(place).glob("checkpoint.db*"):
        path.unlink()
    place.file("202004171001", record(1, 2, 500, "110000") + record(2, 2, 500, "110000"))
    place.once(adopt=True, since="202004171001", **everyone)
    removal = forget(state(place), [WHO])

    assert 1 == removal.erased.notifications
    assert [] == traces(state(place), WHO)
    assert ([], []) == proof(place)
    assert [] == verify(state(place))


def test_a_running_state_is_left_alone(place: Place) -> None:
    """Forgetting needs the run to be stopped; so says the lock."""
    lived(place)
    fd = lock(state(place) / "lock", "the state")
    try:
        with pytest.raises(Locked):
            forget(state(place), [WHO])
    finally:
        os.close(fd)
    assert [] != traces(state(place), WHO)


def test_a_reader_keeps_it_from_being_called_complete(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While another program reads the bytes of before, forgetting says so (75); the same again completes it."""
    lived(place)
    monkeypatch.setattr("upswell.state.checkpoint.BUSY_S", 0.2)
    with closing(sqlite3.connect(state(place) / "checkpoint.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM notification").fetchall()
        with pytest.raises(Locked, match="another program reads") as raised:
            forget(state(place), [WHO])
        assert "the same command again" in raised.value.hint
        assert [] != traces(state(place), WHO)
        with StateReader.open(state(place)) as state_reader:
            assert [1] == [one.people for one in forgettings(state_reader)]
            assert WHO not in {row.msisdn for row in sent.rows(state(place), sent.SentFilter())}
    forget(state(place), [WHO])

    assert [] == traces(state(place), WHO)
    assert ([], []) == proof(place)


def test_a_reader_that_ends_in_time_is_waited_for(place: Place) -> None:
    """A brief look of another program does not make it fail."""
    lived(place)
    reader = sqlite3.connect(
        state(place) / "checkpoint.db", isolation_level=None, check_same_thread=False
    )
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM notification").fetchall()
    end = threading.Timer(0.5, reader.close)
    end.start()
    forget(state(place), [WHO])
    end.join()

    assert [] == traces(state(place), WHO)


def test_a_large_state_is_not_written_anew_in_memory(place: Place) -> None:
    """The second copy that the database needs meanwhile is a file in the state's directory, gone afterwards."""
    lived(place)
    with closing(sqlite3.connect(state(place) / "checkpoint.db")) as db:
        db.execute("CREATE TABLE filler(content BLOB)")
        db.executemany("INSERT INTO filler VALUES (?)", [(os.urandom(1 << 20),) for _ in range(40)])
        db.commit()
    seen, ended = set(), threading.Event()

    def watch() -> None:
        while not ended.wait(0.001):
            for fd in Path("/proc/self/fd").iterdir():
                with suppress(OSError):
                    seen.add(fd.readlink())

    watcher = threading.Thread(target=watch)
    watcher.start()
    forget(state(place), [WHO])
    ended.set()
    watcher.join()

    temporary = [path for path in seen if path.name.startswith("etilqs")]
    assert {state(place).resolve()} == {path.parent for path in temporary}
    # It has a name for a moment, which may be seen, too.
    names = {path.name for path in temporary}
    assert set() == {name.removesuffix(" (deleted)") + " (deleted)" for name in names} - names
    assert [] == list(state(place).glob("etilqs*"))


def test_nothing_is_made_or_guessed(place: Place, tmp_path: Path) -> None:
    """No state, no msisdn and nobody at all are errors, and none of them writes anything."""
    with pytest.raises(InputMissing):
        forget(tmp_path / "nowhere", [WHO])
    assert not (tmp_path / "nowhere").exists()
    lived(place)
    for given in (["no dial"], []):
        with pytest.raises(UsageError):
            forget(state(place), given)
    assert [] != traces(state(place), WHO)


def test_what_waits_to_be_published_comes_first(place: Place) -> None:
    """A staged file could not be made again without the notifications, so the run must publish it before."""
    lived(place)
    (file,) = (place.output / "Twitter").iterdir()
    with StateReader.open(state(place)) as reader:
        (one,) = (one for one in reader.staged(1).values() if one.directory == "Twitter")
    file.rename(state(place) / "staging" / one.staged_name)
    with pytest.raises(ConfigError, match="are still to be published"):
        forget(state(place), [WHO])
    place.once()
    forget(state(place), [WHO])

    assert [] == traces(state(place), WHO)


def test_what_no_batch_has_is_for_recovery_first(place: Place) -> None:
    """A staged file of a batch that was never committed holds records, too: the next start removes it."""
    lived(place)
    (file,) = (place.output / "Twitter").iterdir()
    with StateReader.open(state(place)) as reader:
        (one,) = (one for one in reader.staged(1).values() if one.directory == "Twitter")
    left = state(place) / "staging" / one._replace(batch=2).staged_name
    left.write_bytes(file.read_bytes())
    with pytest.raises(ConfigError, match="of no batch"):
        forget(state(place), [WHO])
    place.once()
    forget(state(place), [WHO])

    assert not left.exists()
    assert [] == traces(state(place), WHO)


def test_an_adopted_cap_is_made_up_for_until_its_day_is_closed(place: Place) -> None:
    """Without a batch of its own the state knows the day of the cap alone, and suppresses until that is closed."""
    lived(place)
    for path in state(place).glob("checkpoint.db*"):
        path.unlink()
    (place.data / "DATA_202004171000.csv").unlink()
    place.once(adopt=True, since="202004171001")
    with StateReader.open(state(place)) as reader:
        assert reader.last() is None
    first = forget(state(place), [WHO])
    again = forget(state(place), [WHO])
    place.file("202004171001", record(1, 1, 500, "110000"))
    place.once()

    assert [20200417, 20200417] == [first.until_day, again.until_day]
    assert [] == _rows(place, 20200417)
    assert 1 == status.read_status(state(place)).summary.outcomes["suppressed"]
    assert ([], []) == proof(place)


def test_who_is_forgotten_again_hears_the_day_of_the_first_time(place: Place) -> None:
    """They stay suppressed until the day that was said then, though the state has seen later ones since."""
    lived(place)
    first = forget(state(place), [WHO])
    place.file("202004181000", record(2, 1, 500, "100000", "20200418"))
    place.once()
    again, other = forget(state(place), [WHO]), forget(state(place), [OTHER])
    both = forget(state(place), [OTHER, WHO])

    days = [one.until_day for one in (first, again, both)]
    assert [first.until_day] * 3 == days
    assert other.until_day > first.until_day


def test_a_rewritten_reject_file_is_as_old_as_it_was(place: Place) -> None:
    """Expiry by age is not held up by it."""
    lived(place)
    file = state(place) / "rejects" / "REJECTS_0000000001.tsv"
    os.utime(file, (LONG_AGO_S, LONG_AGO_S))
    assert 3 == forget(state(place), [WHO]).erased.reject_lines
    assert LONG_AGO_S == file.stat().st_mtime
    place.once(keep_rejects_days=30)

    assert not file.exists()


def test_numbers_of_a_reject_file_are_nobody_s_dial(place: Place) -> None:
    """A line goes when its content holds the dial, not when its line number or place does."""
    place.file("202004171000", record(1, 9, 1, "100000") * 400 + b"bad\n")
    place.once()
    file = state(place) / "rejects" / "REJECTS_0000000001.tsv"
    before = file.read_bytes()
    byte = before.split(b"\t")[2].decode()
    assert len(byte) >= 5

    assert 0 == forget(state(place), [byte]).erased.reject_lines
    assert before == file.read_bytes()


def test_a_deleted_reject_file_does_not_matter(place: Place) -> None:
    """Operators may delete reject files; what is left is rewritten, and stays sound."""
    lived(place)
    place.file("202004171001", f"{WHO},1,5x,20200417100000\n".encode())
    place.once()
    (state(place) / "rejects" / "REJECTS_0000000001.tsv").unlink()
    removal = forget(state(place), [WHO])

    assert 1 == removal.erased.reject_lines
    assert b"" == (state(place) / "rejects" / "REJECTS_0000000002.tsv").read_bytes()
    assert [] == traces(state(place), WHO)
    assert [] == verify(state(place))


KILLED = f"""{COUNTED}
for name in ("open", "write", "fsync", "rename", "unlink"):
    setattr(syscalls, name, counted(getattr(syscalls, name)))
for name in ("_put_forgetting", "_erase_notifications", "_erase_in_ledger", "_put_rejects", "_scrub"):
    setattr(erase.Eraser, name, counted(getattr(erase.Eraser, name)))
forget(Path(sys.argv[1]), [sys.argv[3]])
"""


def test_killed_anywhere_the_same_again_completes_it(place: Place, tmp_path: Path) -> None:
    """After a kill before any of its steps, a second attempt leaves nothing of them, and a start in between no harm."""
    lived(place)
    ended = False
    for step in range(1, 60):
        output = tmp_path / f"step {step}"
        shutil.copytree(place.output, output)
        own = output / ".upswell"
        command = [sys.executable, "-c", KILLED, str(own), str(step), WHO]
        done = subprocess.run(command, env=clean_environment(), capture_output=True, check=False)
        if ended := done.returncode == 0:
            break
        assert -signal.SIGKILL == done.returncode, done.stderr
        if step % 2:
            place.once(output=output)
        assert all("waits to be put in its place" in sentence for sentence in verify(own))
        forget(own, [WHO])
        assert [] == traces(own, WHO)
        assert [] == verify(own)
        assert [] == [path for path in (own / "rejects").iterdir() if path.suffix != ".tsv"]
    found = reconcile(own)
    assert ended and step > 10
    assert ([], [], 1) == (found.differences, found.unproven, found.forgotten)


def test_the_command_reads_dials_from_stdin(place: Place) -> None:
    """One a line, none of them shown; 75 while a run holds the state."""
    lived(place)
    command = [
        sys.executable,
        "-m",
        "upswell",
        "state",
        "forget",
        "-",
        "--output",
        str(place.output),
    ]

    def run(text: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            input=text,
            env=clean_environment(),
            capture_output=True,
            text=True,
            check=False,
        )

    fd = lock(state(place) / "lock", "the state")
    assert 75 == run(f"{WHO}\n").returncode
    os.close(fd)
    done = run(f"{WHO}\n\n+{OTHER}\n")

    assert (0, "") == (done.returncode, done.stderr)
    assert done.stdout.startswith("Forgotten: 2 people.\n  removed  2 notifications, 4 rejects")
    assert "Still found in\n  OUTPUT/Twitter/" in done.stdout
    assert WHO not in done.stdout and OTHER not in done.stdout
    assert 2 == run("not a dial\n").returncode
    again = run(f"{WHO}\n")
    assert (0, "Not found in the state: 1 MSISDN.") == (
        again.returncode,
        again.stdout.splitlines()[0],
    )


def test_a_limit_counts_without_the_forgotten(place: Place) -> None:
    """What others have had still counts, and a restart over the rewritten ledger goes on as before."""
    lived(place)
    forget(state(place), [WHO])
    place.settings = replace(place.settings, max_per_customer_per_day=1)
    place.write(place.data / "DATA_202004171001.csv", record(2, 2, 500, "110000"), LONG_AGO_S + 1)
    summary = place.once()

    assert 1 == summary.outcomes["capped_customer"]
    assert ([], []) == proof(place)
