"""Reconcile proves a sound run, while it runs and after, and names the place of each difference."""

import gzip
import json
import os
import random
import re
import shutil
import sqlite3
from pathlib import Path

import pytest
from click.testing import CliRunner

from support.engine_runs import DIALS, LONG_AGO_S, Place, record, wait_for
from support.replays import RULES, database, files, nights, past, state, traffic
from upswell.audit.replay.output_check import unknown_files
from upswell.audit.replay.reconcile import reconcile
from upswell.audit.replay.reconciliation import Reconciliation
from upswell.audit.replay.replay import Replay, is_unread
from upswell.audit.replay.scenarios import Days
from upswell.audit.replay.snapshot import batches, take_snapshot
from upswell.audit.replay.versions import VersionCache
from upswell.audit.replay.whatif import whatif
from upswell.cli.main import commands
from upswell.engine import compute
from upswell.state.reader import FILE_COLUMNS, StateReader


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Fresh directories with a segment and rules."""
    return Place(tmp_path)


def found(place: Place, day: int | None = None) -> Reconciliation:
    """What reconcile finds."""
    return reconcile(state(place), day=day)


@pytest.mark.parametrize("seed", range(8))
def test_a_sound_run_is_proven(place: Place, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever came, grew or changed: the replay is the run, for all days and for each, and nothing is written."""
    past(place, seed, monkeypatch)
    before = files(place)

    whole = found(place)

    assert ([], []) == (whole.differences, whole.unproven)
    assert whole.lines == sum(whole.outcomes.values())
    assert whole.outcomes["notified"] == sum(day.notifications for day in whole.days.values())
    assert whole.outcomes["notified"] == sum(day.where["in_output"] for day in whole.days.values())
    for day, of_day in whole.days.items():
        alone = found(place, day)
        assert ([], [], {day: of_day}) == (alone.differences, alone.unproven, alone.days)
    assert before == files(place)


def test_a_run_is_proven_while_it_runs(place: Place) -> None:
    """Beside a run that commits, and what was packed or unpacked since is the same content."""
    place.file("202004171000", record(0, 1, 200, "100000"))
    packed = place.write(
        place.data / "DATA_202004171001.csv.gz", gzip.compress(record(1, 1, 200, "100100"))
    )
    with place.running():
        wait_for(lambda: place.heard.lines == 2, "both files")
        (place.data / "DATA_202004171001.csv").write_bytes(gzip.decompress(packed.read_bytes()))
        packed.unlink()

        assert ([], []) == (found(place).differences, found(place).unproven)


def test_a_run_that_commits_meanwhile_is_no_difference(place: Place) -> None:
    """Looked at again and again while files grow and batches are committed: each look is of one moment."""
    generator = random.Random(5)
    place.file("202004171000", record(0, 1, 9, "100000"))
    with place.running(poll_s=0.01):
        for number in range(25):
            with (place.data / f"DATA_2020041710{number // 10:02}.csv").open("ab") as stream:
                stream.write(traffic(generator, 40))
            told = found(place) if place.heard.lines else Reconciliation()
            assert ([], []) == (told.differences, told.unproven)


def test_a_compressed_file_of_many_batches_is_proven(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read on over batches, members added to it with an unterminated line between, or unpacked since."""
    monkeypatch.setenv("UPSWELL_KERNEL_CHUNK_BYTES", "5")
    monkeypatch.setattr(compute, "OUTPUT_BYTES_MAX", 1)
    first = b"".join(record(dial, 1, 200, "100000") for dial in range(20))[:-1]
    second = b"\n" + b"".join(record(dial, 2, 200, "100000") for dial in range(20))
    path = place.data / "DATA_202004171000.csv.gz"
    place.write(path, gzip.compress(first))
    place.once()
    place.write(path, gzip.compress(first) + gzip.compress(second), 1_600_000_001)
    place.once()

    told = found(place)
    assert ([], [], 40) == (told.differences, told.unproven, told.outcomes["notified"])
    assert told.batches > 5
    path.with_suffix("").write_bytes(first + second)
    path.unlink()
    assert ([], []) == (found(place).differences, found(place).unproven)


def test_a_batch_of_many_days_is_proven_for_each(place: Place) -> None:
    """Only what has to do with the day is told, though a batch published of other days, too."""
    for day in ("05", "11", "12"):
        place.file(f"202004{day}1000", record(1, 1, 200, "100000", f"202004{day}"))
    place.once(keep_days=20)

    for day in (20200405, 20200411, 20200412):
        told = found(place, day)
        assert ([], [], [day]) == (told.differences, told.unproven, list(told.days))
        assert (1, {"in_output": 1}) == (told.days[day].notifications, told.days[day].where)


def test_a_day_of_a_chain_of_nights_is_proven(place: Place) -> None:
    """Each night's total hangs on the cap of the night before: every day alone fits, as the whole does."""
    days = nights(place)
    assert ([], []) == (found(place).differences, found(place).unproven)
    for day in days:
        told = found(place, day)
        assert ([], []) == (told.differences, told.unproven)
        assert found(place).days.get(day) == told.days.get(day)


def test_a_day_is_proven_by_files_of_earlier_stamps_too(place: Place) -> None:
    """A file that stamps and days would leave out has a part in the caps of the day."""
    place.write(place.root / "rules" / "RULES.csv", b"1,A,0,24,100\n")
    for stamp, volume, day, time_of_day in (
        ("202601102359", 150, "20260110", "235900"),
        ("202601110000", 10, "20260110", "235959"),
        ("202601140000", 150, "20260114", "000000"),
    ):
        place.file(stamp, record(1, 1, volume, time_of_day, day))
    place.once()

    for day in (20260110, 20260114):
        told = found(place, day)
        assert ([], []) == (told.differences, told.unproven)
        assert 1 == told.days[day].notifications


def test_a_file_that_grew_later_is_compared_for_an_earlier_day(place: Place) -> None:
    """Taken, appended and taken again after the day was closed, then rewritten at its beginning."""
    first, later = record(0, 1, 200, "100000"), record(1, 1, 200, "100000", "20200420")
    path = place.file("202004171000", first)
    place.once()
    place.file("202004201000", record(2, 1, 200, "100000", "20200420"))
    place.once()
    place.write(path, first + later, LONG_AGO_S + 1)
    place.once()
    place.write(path, first.replace(b",200,", b",300,") + later, LONG_AGO_S + 1)

    told = found(place, 20200417)
    assert ["DATA_202004171000.csv (bytes 0 to 66) differs from the bytes that were consumed"] == (
        told.differences
    )
    rules = place.write(place.root / "other.csv", b"1,Twitter,8,20,60\n")
    asked = whatif(state(place), [rules], days=Days(20200417, 20200417), curve=False)
    assert "DATA_202004171000.csv differs from the bytes" in asked.notes[0]


def test_a_state_without_a_batch_is_proven(place: Place) -> None:
    """There is nothing to compare before the first commit."""
    place.once()

    assert Reconciliation() == found(place)


def test_an_output_that_was_moved_with_its_state_is_found(place: Place) -> None:
    """The state within OUTPUT, wherever that is now."""
    small_past(place)
    place.output = place.output.rename(place.root / "elsewhere")
    published(place).unlink()

    assert {"in_output": 1, "taken_away": 1} == found(place).days[20200417].where


def test_a_consumer_may_take_files(place: Place) -> None:
    """What was taken out of OUTPUT is counted, and is no difference."""
    place.file("202004171000", record(0, 1, 200, "100000") + record(1, 1, 200, "100000"))
    place.once()
    shutil.rmtree(place.output / "Twitter")

    told = found(place)

    assert [] == told.differences
    assert {"taken_away": 2} == told.days[20200417].where


def small_past(place: Place) -> None:
    """Two files in two batches, with a notification of each."""
    for minute in range(2):
        place.file(
            f"20200417100{minute}", record(minute, 1, 200, "100000") + record(9, 1, 9, "100000")
        )
        place.once()


def test_a_changed_byte_in_a_kept_file_is_found(place: Place) -> None:
    """A volume that somebody changed since: the file is named with its bytes, and what hangs on it is no proof."""
    small_past(place)
    path = place.data / "DATA_202004171000.csv"
    place.write(path, path.read_bytes().replace(b",9,", b",8,"))

    told = found(place)

    assert ["DATA_202004171000.csv (bytes 0 to 64) differs from the bytes that were consumed"] == (
        told.differences
    )
    assert "batch 1 on" in told.unproven[0]


def test_a_file_that_became_shorter_is_found(place: Place) -> None:
    """The end of a file is missing."""
    small_past(place)
    path = place.data / "DATA_202004171001.csv"
    place.write(path, path.read_bytes()[:40])

    (told,) = found(place).differences
    assert "DATA_202004171001.csv (bytes 0 to 64) is shorter" in told


def test_a_file_that_is_gone_is_told_and_not_guessed(place: Place) -> None:
    """What is older is proven, what hangs on the missing file is not, and nothing else is compared with a guess."""
    small_past(place)
    (place.data / "DATA_202004171001.csv").unlink()

    told = found(place)

    assert [] == told.differences
    assert "DATA_202004171001.csv (bytes 0 to 64) is no longer in DATA" == told.unproven[0]
    assert "from batch 2 on" in told.unproven[1]


def test_a_file_of_another_name_is_not_taken_for_one_that_is_gone(place: Place) -> None:
    """A compressed file of the same stamp, of which something was taken, too, says nothing of a plain one."""
    path = place.file("202004171000", record(0, 1, 200, "100000"))
    place.write(place.data / "DATA_202004171000.csv.gz", gzip.compress(record(1, 1, 200, "100000")))
    place.once()
    path.unlink()

    told = found(place)
    assert [] == told.differences
    assert "DATA_202004171000.csv (bytes 0 to 33) is no longer in DATA" == told.unproven[0]


def test_a_name_that_cannot_be_looked_at_is_no_difference(place: Place) -> None:
    """A loop of links in the place of DATA: nothing is known of its bytes."""
    small_past(place)
    with StateReader.open(state(place)) as reader:
        known = take_snapshot(reader)
        loop = place.root / "loop"
        loop.symlink_to(loop)
        replay = Replay(known._replace(data=loop), VersionCache(reader))
        for batch in batches(reader, known):
            assert [] == list(replay.steps(batch))

    assert {True} == {is_unread(why) for why in replay.lost.values()}
    assert {"cannot be read: Too many levels of symbolic links"} == set(replay.lost.values())


def published(place: Place) -> Path:
    """The first file of Twitter."""
    return sorted((place.output / "Twitter").iterdir())[0]


def test_a_missing_line_in_output_is_found(place: Place) -> None:
    """The file and the line in which it differs are named."""
    place.file("202004171000", b"".join(record(dial, 1, 200, "100000") for dial in range(3)))
    place.once()
    lines = published(place).read_bytes().splitlines(keepends=True)
    published(place).write_bytes(lines[0] + lines[2])

    (told,) = found(place).differences
    assert re.fullmatch(r"Twitter/NOTIFY_0000000001_\d+\.csv line 2: .* 2 lines, and had 3\)", told)


def test_a_file_that_no_batch_published_is_found(place: Place) -> None:
    """A name of ours that was put there by hand."""
    small_past(place)
    (place.output / "WhatsApp").mkdir()
    shutil.copy(published(place), place.output / "WhatsApp" / published(place).name)

    (told,) = found(place).differences
    assert told.startswith("WhatsApp/NOTIFY_0000000001_") and "not published by any batch" in told


@pytest.mark.parametrize(
    ("name", "is_stranger"),
    [
        ("NOTIFY_0000000000_202004171000.csv", True),
        ("NOTIFY_0000000001_202004171001.csv", True),
        ("NOTIFY_0000000003_202004171001.csv", True),
        ("NOTIFY_9999999999_202004171001.csv", True),
        ("NOTIFY_1_202004171001.csv", False),
    ],
)
def test_every_name_that_no_batch_published_is_found(
    place: Place, name: str, is_stranger: bool
) -> None:
    """Of a known batch with another stamp, of batch 0, and of batches that are still to come."""
    small_past(place)
    shutil.copy(published(place), place.output / "Twitter" / name)

    expected = [f"Twitter/{name}: not published by any batch"] if is_stranger else []
    assert expected == found(place).differences


def test_what_is_published_meanwhile_is_no_stranger(place: Place) -> None:
    """A batch after the moment that is spoken of; and what another state published before this one."""
    small_past(place)
    with StateReader.open(state(place)) as reader:
        known = {f"Twitter/{path.name}" for path in (place.output / "Twitter").iterdir()}
        assert [] == list(unknown_files(reader, place.output, set(), 1, 0))
        assert [] == list(unknown_files(reader, place.output, set(), 3, 2))
        assert sorted(known) == list(unknown_files(reader, place.output, set(), 1, 2))


@pytest.mark.parametrize("kind", ["link", "directory", "pipe", "linked directory", "no directory"])
def test_what_stands_in_the_place_of_a_published_file_is_told(place: Place, kind: str) -> None:
    """No file at all, or none that can be trusted, is a difference with its place, and the rest is compared."""
    small_past(place)
    path = published(place)
    away = place.root / "away"
    if "directory" in kind and kind != "directory":
        path.parent.rename(away)
        if kind == "linked directory":
            path.parent.symlink_to(away)
        else:
            path.parent.write_bytes(b"")
    else:
        path.rename(away)
        if kind == "link":
            path.symlink_to(away)
        elif kind == "pipe":
            os.mkfifo(path)
        else:
            path.mkdir()

    told = found(place)
    assert (
        f"Twitter/{path.name}: replaced by a link or something else that is not a regular file"
        == told.differences[0]
    )
    assert 2 == told.days[20200417].notifications
    assert 2 == sum(told.days[20200417].where.values())
    words = ["explain", DIALS[0], "--output", str(place.output)]
    assert "(changed since)" in CliRunner().invoke(commands, words).stdout


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE notification SET raw = CAST(raw || '0' AS BLOB)", "only in the state"),
        ("UPDATE notification SET msisdn = '01000000015' WHERE batch = 1", "missing in the state"),
        ("DELETE FROM notification WHERE batch = 2", "but has 1"),
        ("UPDATE notified_total SET lines = lines + 1", "counts 3 notifications but has 2"),
        ("UPDATE total SET value = value + 1 WHERE name = 'counted'", "counted 3, replayed 2"),
        ("UPDATE staged SET digest = x'00' WHERE batch = 2", "what batch 2 published"),
        ("DELETE FROM ledger_delta WHERE batch = 2", "service 1, of 2020-04-17 is 9 in the state"),
    ],
)
def test_a_tampered_state_is_found(place: Place, statement: str, words: str) -> None:
    """Each row that says something else than the replay is named, without a whole msisdn."""
    small_past(place)
    with database(place) as db:
        db.execute(statement)

    told = "\n".join(found(place).differences)
    assert words in told
    assert not [dial for dial in DIALS if dial in told]


def test_a_tampered_file_row_is_found(place: Place) -> None:
    """A count of a file that was changed together with its checksum."""
    small_past(place)
    with database(place) as db:
        db.execute("""UPDATE file SET outcomes = '{"notified":2}' WHERE id = 1""")
        db.execute(f"UPDATE file SET row_checksum = row_checksum({FILE_COLUMNS}) WHERE id = 1")

    told = "\n".join(found(place).differences)
    assert "DATA_202004171000.csv: its counts differ from its replay: counted 0, replayed 1" in told


def test_what_is_about_to_be_published_is_no_difference(place: Place) -> None:
    """A batch that was committed, and whose file has not been moved yet."""
    small_past(place)
    name = sorted((place.output / "Twitter").iterdir())[1]
    name.rename(state(place) / "staging" / f"{name.name[7:17]}_1_{name.name[18:]}")

    assert {"in_output": 1, "waiting": 1} == found(place).days[20200417].where
    assert [] == found(place).differences


def asked(place: Place, *words: str | Path, code: int = 0) -> str:
    """What the command prints."""
    words_ = ["reconcile", "--output", str(place.output), *map(str, words)]
    done = CliRunner().invoke(commands, words_)
    assert code == done.exit_code, done.stderr
    return done.stdout


def test_the_command_says_what_fits_and_what_does_not(place: Place) -> None:
    """Exit code 0 when everything fits or cannot be proven, and 1 with the place when something differs."""
    small_past(place)
    assert (
        "2020-04-17  2 notifications = 2 in OUTPUT\n\nDATA, state and OUTPUT are consistent."
        in asked(place, "--files")
    )
    assert "no notifications" in asked(place, "--day", "2020-04-16")
    archive = place.data.rename(place.root / "archive")
    assert [] == json.loads(asked(place, "--data", archive, "--json"))["differences"]
    (archive / "DATA_202004171001.csv").rename(place.root / "away")
    assert "? DATA_202004171001.csv (bytes 0 to 64) is no longer in DATA" in (
        asked(place, "--data", archive)
    )
    published(place).write_bytes(b"")
    told = asked(place, "--data", archive, code=1)
    assert "! Twitter/NOTIFY_0000000001_202004171000.csv line 1: not what was published" in told
    asked(place, code=66)
    asked(place, "--day", "yesterday", code=2)


def test_caps_that_were_taken_over_are_thought_of(place: Place) -> None:
    """A state that was begun over another's OUTPUT, capped by what stood there, is proven."""
    small_past(place)
    place.write(place.root / "rules" / "RULES.csv", RULES[1])
    place.once(state=place.root / "second", adopt=True)

    told = reconcile(place.root / "second")

    assert ([], []) == (told.differences, told.unproven)
    assert 2 == told.outcomes["capped"]


def test_taking_over_an_output_without_caps_is_proven(place: Place) -> None:
    """Though the state keeps no change of the ledger for it."""
    small_past(place)
    shutil.rmtree(place.output / "Twitter")
    place.once(state=place.root / "second", adopt=True)
    with sqlite3.connect(place.root / "second" / "checkpoint.db") as db:
        assert [("0",)] == db.execute(
            "SELECT value FROM meta WHERE key = 'adopted_bytes'"
        ).fetchall()
    db.close()

    told = reconcile(place.root / "second")

    assert ([], []) == (told.differences, told.unproven)
