"""Whether the files keep time: missing stamps, silence, late files and unusual sizes, in ``status`` and in the log."""

import json
import shutil
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.batches import SHARDS
from support.command import Upswell
from support.inputs import LONG_AGO_S, inside, write, write_inputs
from upswell.audit import status
from upswell.engine import arrivals
from upswell.engine.arrivals import ArrivalMonitor, Arrivals, Gap, Unusual
from upswell.source.file import File, State
from upswell.state.checkpoint import Checkpoint
from upswell.storage.lock import started_at

BEGIN = datetime(2020, 4, 17, 19, 0, tzinfo=UTC)
USUAL = [100] * arrivals.MEDIAN_FILES_MIN


@pytest.fixture
def upswell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Upswell:
    """The command, within this process."""
    return inside(tmp_path, monkeypatch)


def stamp(minute: int) -> str:
    """The stamp of the minute after 19:00."""
    return f"{BEGIN + timedelta(minutes=minute):%Y%m%d%H%M}"


def file(moment: int | str, state: State = "done", size: int = 100, **changes: Any) -> File:
    """The row of a minute's file, or of a stamp's."""
    written = moment if isinstance(moment, str) else stamp(moment)
    values = {"stamp": written, "offset": size, "mtime_ns": 1} | changes
    return File(f"DATA_{written}.csv", state, **values)


def looked(
    place: Path, files: Iterable[File], cadence_s: int = 60, timezone: str = "UTC"
) -> Arrivals:
    """How the files of a new state with these rows came."""
    with Checkpoint.open(place / "state", SHARDS) as checkpoint:
        checkpoint.save_files(files)
        return arrivals.find_arrivals(checkpoint.reader, cadence_s, timezone)


def deliver(root: Path, minute: int, lines: int = 1) -> None:
    """A file of records that match nothing, different from each other file."""
    content = "".join(f"0999999999,1,{minute},20200417190{at % 10}00\n" for at in range(lines))
    write(root / "data" / f"DATA_{stamp(minute)}.csv", content)


def test_a_gap_is_every_stamp_that_no_file_has(tmp_path: Path) -> None:
    """Also where the file is held, skipped or a duplicate one has come; beyond the newest done file none is missing."""
    rows = [
        file(0), file(1, "skipped"), file(3, "duplicate"), file(4, "held"), file(7), file(9, "reading"),
        File("notes.txt", "ignored"),
    ]  # fmt: skip

    assert [Gap(stamp(2), stamp(2), 1, stamp(3)), Gap(stamp(5), stamp(6), 2, stamp(7))] == looked(
        tmp_path, rows
    ).gaps


@given(st.sets(st.integers(0, 300), min_size=1), st.sampled_from([60, 120, 300]))
def test_gaps_are_what_is_missing_between_the_first_and_the_newest(
    tmp_path_factory: pytest.TempPathFactory, steps: set[int], cadence_s: int
) -> None:
    """Whichever files there are, the stamps that lack are those of the gaps, and they are counted."""
    minutes = cadence_s // 60
    place = tmp_path_factory.mktemp("gaps")
    gaps = looked(place, [file(step * minutes) for step in steps], cadence_s).gaps
    lacking = [stamp(step * minutes) for step in range(min(steps), max(steps)) if step not in steps]

    assert len(lacking) == sum(gap.files for gap in gaps)
    assert lacking == [one for one in lacking if any(gap.first <= one <= gap.last for gap in gaps)]


def test_a_file_off_the_beat_is_no_gap(tmp_path: Path) -> None:
    """Only where a whole file more would have fitted one is missing."""
    rows = [file(minute) for minute in (0, 5, 14, 15, 20)]

    assert [] == looked(tmp_path, rows, 300).gaps
    assert [Gap(stamp(25), stamp(25), 1, stamp(31))] == looked(tmp_path, [file(31)], 300).gaps


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("202403310159", "202403310300"),  # the clock skips from 2:00 to 3:00
        ("202410270259", "202410270300"),  # and shows 2:00 to 3:00 twice
    ],
)
def test_a_changing_clock_makes_no_gap(tmp_path: Path, before: str, after: str) -> None:
    """Of the hour that is skipped no file can come, and that which is repeated has its names already."""
    assert [] == looked(tmp_path, [file(before), file(after)], timezone="Europe/Berlin").gaps


def test_only_the_last_days_are_looked_at(tmp_path: Path) -> None:
    """A state of years answers as quickly as a new one."""
    day = 24 * 60
    rows = [file(0), file(10 * day), file(10 * day + 2)]

    assert [Gap(stamp(10 * day + 1), stamp(10 * day + 1), 1, stamp(10 * day + 2))] == looked(
        tmp_path, rows
    ).gaps
    assert [] == looked(tmp_path, [file("000101010000")], 0).gaps


def test_pages_hide_no_gap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the length of a page, also when several files have one stamp."""
    monkeypatch.setattr("upswell.state.queries.arrivals._PAGE_ROWS", 2)
    twins = [File(f"DATA_{stamp(3)}.csv.gz", "done", stamp(3)), file(3)]

    assert [Gap(stamp(2), stamp(2), 1, stamp(3))] == looked(
        tmp_path, [file(0), file(1), *twins, file(4)]
    ).gaps


@pytest.mark.parametrize(
    ("size", "unusual"), [(10, False), (9, True), (0, True), (1000, False), (1001, True)]
)
def test_a_size_is_unusual_beyond_ten_times_the_median(
    tmp_path: Path, size: int, unusual: bool
) -> None:
    """Of the files before it, both ways; the row tells which size was usual."""
    rows = [file(at, size=usual) for at, usual in enumerate([*USUAL, size])]
    expected = [Unusual(rows[-1].name, size, 100)] if unusual else []

    assert expected == looked(tmp_path, rows).unusual


def test_what_is_usual_follows_the_files(tmp_path: Path) -> None:
    """The median is that of the last sixty: a lasting change of size is told until it is half of them."""
    many = [10] * arrivals.MEDIAN_FILES + [1000] * arrivals.MEDIAN_FILES + [1001]
    found = looked(tmp_path, [file(at, size=size) for at, size in enumerate(many)]).unusual

    assert arrivals.MEDIAN_FILES // 2 == len(found)


def test_of_a_few_files_none_is_unusual(tmp_path: Path) -> None:
    """With fewer than ten before it nobody knows what is usual."""
    rows = [file(at, size=size) for at, size in enumerate([*USUAL[1:], 9999])]

    assert [] == looked(tmp_path, rows).unusual


def test_status_shows_what_is_out_of_step(upswell: Upswell, tmp_path: Path) -> None:
    """Missing stamps and late files, by name, for people and as JSON; nothing when all is well."""
    paths = write_inputs(tmp_path)
    upswell(*paths, "--once")
    assert "Missing, late and silent feeds" not in upswell("status", "--output", "out").stdout

    deliver(tmp_path, 41)
    upswell(*paths, "--once")
    deliver(tmp_path, 39)
    upswell(*paths, "--once")
    text = upswell("status", "--output", "out").stdout
    found = json.loads(upswell("status", "--output", "out", "--json").stdout)["cadence"]

    assert "Missing, late and silent feeds (a file every 1 min 00 s; last 7 days)\n" in text
    assert f"  missing {stamp(38)}: 1 file\n  missing {stamp(40)}: 1 file\n" in text
    assert f"  late DATA_{stamp(39)}.csv: it arrived after" in text
    assert (2, 60, None, [f"DATA_{stamp(39)}.csv"]) == (
        found["missing_files"], found["cadence_s"], found["silent_s"], found["late"]
    )  # fmt: skip


def test_many_gaps_do_not_fill_the_page(upswell: Upswell, tmp_path: Path) -> None:
    """The newest ten are named, the others counted; JSON has all."""
    paths = write_inputs(tmp_path)
    for minute in range(40, 70, 2):
        deliver(tmp_path, minute)
    done = upswell(*paths, "--once")
    text = upswell("status", "--output", "out").stdout
    found = json.loads(upswell("status", "--output", "out", "--json").stdout)["cadence"]

    assert 15 == len(found["gaps"])
    assert "missing … 5 earlier ones: --json lists all" in text
    assert 10 == text.count("  missing 2020")
    assert (10, 1) == (done.stderr.count("event=gap first"), done.stderr.count("event=gap more=5"))


@pytest.mark.parametrize("words", [("--cadence-s", "120"), ("--cadence", "0")])
def test_the_cadence_is_a_setting(upswell: Upswell, tmp_path: Path, words: tuple[str, str]) -> None:
    """What the run was told is what status expects, without being told again."""
    paths = write_inputs(tmp_path)
    deliver(tmp_path, 39)
    done = upswell(*paths, "--once", *words)

    assert "event=gap" not in done.stderr
    assert "Missing, late and silent feeds" not in upswell("status", "--output", "out").stdout


def test_a_look_with_another_cadence(upswell: Upswell, tmp_path: Path) -> None:
    """A flag before a variable before what the run was told; upswell.toml is for runs."""
    paths = write_inputs(tmp_path)
    deliver(tmp_path, 41)
    upswell(*paths, "--once", "--cadence-s", "120")

    def missing(*words: str, **variables: str) -> tuple[int, int]:
        text = upswell("status", "--output", "out", "--json", *words, **variables).stdout
        found = json.loads(text)["cadence"]
        return found["cadence_s"], found["missing_files"]

    write(tmp_path / "upswell.toml", "cadence_s = 0\n")
    assert (120, 1) == missing()
    assert (60, 3) == missing(UPSWELL_CADENCE_S="60")
    assert (0, 0) == missing("--cadence-s", "0", UPSWELL_CADENCE_S="60")
    assert "cadence_s" in upswell("status", "--output", "out", "--cadence-s", "1", code=2).stderr


def test_a_run_tells_each_thing_once(upswell: Upswell, tmp_path: Path) -> None:
    """A gap when it appears, no part of it when a late file fills some of it, and nothing at a restart or a repeat."""
    paths = write_inputs(tmp_path)
    deliver(tmp_path, 41)
    first = upswell(*paths, "--once").stderr
    deliver(tmp_path, 39)
    second = upswell(*paths, "--once").stderr
    deliver(tmp_path, 42)
    write(
        tmp_path / "data" / f"DATA_{stamp(41)}.csv",
        "0999999999,1,41,20200417190000\n",
        LONG_AGO_S + 1,
    )
    third = upswell(*paths, "--once").stderr

    assert f"event=gap first={stamp(38)} last={stamp(40)} files=3" in first
    assert "event=gap" not in second
    assert f'event="late file" file=DATA_{stamp(39)}.csv' in second
    assert "gap" not in third
    assert "late file" not in third


def test_a_run_tells_an_unusual_size(upswell: Upswell, tmp_path: Path) -> None:
    """With the size that was usual."""
    paths = write_inputs(tmp_path, "0999999999,1,1,20200417190000\n" * 5)
    for minute in range(38, 50):
        deliver(tmp_path, minute, 5)
    deliver(tmp_path, 50, 100)
    told = upswell(*paths, "--once").stderr

    assert (
        f'event="file of unusual size" file=DATA_{stamp(50)}.csv bytes=3100 median_bytes=155'
        in told
    )
    assert 1 == told.count("unusual size")


def test_silence_is_told_once_until_something_moves(tmp_path: Path) -> None:
    """After five cadences without a change of any file, counted from the run's start at the earliest."""
    with Checkpoint.open(tmp_path / "state", SHARDS) as checkpoint:
        watch = ArrivalMonitor(checkpoint.reader, 60, "UTC", 1000.0)
        told = [
            [event for event, _ in watch.pop_events(now)]
            for now in (1300.0, 1301.0, 1302.0)
        ]  # fmt: skip
        watch.files_changed([file(0, "reading")], 1303.0)
        told += [[event for event, _ in watch.pop_events(now)] for now in (1603.0, 1604.0)]

    assert [[], ["silence"], [], [], ["silence"]] == told
    assert None is arrivals.silence_s(9e9, 0.0, 0)


def test_another_inode_is_no_news(tmp_path: Path) -> None:
    """As a share that is mounted again gives: no late file or size is told twice, and silence goes on."""
    rows = [file(at) for at in range(arrivals.MEDIAN_FILES_MIN)]
    rows += [file(20, size=9999), file(15, late=True), file(21, "held"), file(22, "duplicate")]
    with Checkpoint.open(tmp_path / "state", SHARDS) as checkpoint:
        watch = ArrivalMonitor(checkpoint.reader, 60, "UTC", 1000.0)
        watch.files_changed(rows, 1000.0)
        checkpoint.save_files(rows)
        first = [event for event, _ in watch.pop_events(1000.0)]
        again = [replace(row, inode=row.inode + 1, mtime_ns=2) for row in rows]
        watch.files_changed(again, 1400.0)
        checkpoint.save_files(again)
        then = [event for event, _ in watch.pop_events(1400.0)]
        watch.files_changed([replace(again[-2], state="done")], 1500.0)

        assert ["gap", "late file", "file of unusual size"] == first
        assert ["silence"] == then
        assert [again[-2].name] == list(watch._done)


def test_a_restart_over_other_inodes_tells_nothing(upswell: Upswell, tmp_path: Path) -> None:
    """A run over the same files, each of which is another on disk, has no news of them."""
    paths = write_inputs(tmp_path)
    deliver(tmp_path, 41)
    upswell(*paths, "--once")
    deliver(tmp_path, 39)
    upswell(*paths, "--once")
    for path in sorted((tmp_path / "data").iterdir()):
        shutil.copy2(path, tmp_path / "copy")
        (tmp_path / "copy").replace(path)
    told = upswell(*paths, "--once").stderr

    assert "event=gap" not in told
    assert "late file" not in told


@pytest.mark.parametrize(("minute", "words"), [(37, "nonsense"), (38, "2020041719!!")])
def test_a_stamp_that_is_none_is_a_damaged_state(
    upswell: Upswell, tmp_path: Path, minute: int, words: str
) -> None:
    """``status`` ends as at any other damage, with the way on."""
    paths = write_inputs(tmp_path)
    deliver(tmp_path, 38)
    deliver(tmp_path, 39)
    upswell(*paths, "--once")
    with closing(sqlite3.connect(tmp_path / "out" / ".upswell" / "checkpoint.db")) as db, db:
        name = f"DATA_{stamp(minute)}.csv"
        assert 1 == db.execute("UPDATE file SET stamp = ? WHERE name = ?", (words, name)).rowcount
    told = upswell("status", "--output", "out", code=74).stderr

    assert "is damaged: the row of a file" in told
    assert "upswell state verify" in told


def test_status_tells_of_silence_only_while_somebody_runs_it(
    upswell: Upswell, tmp_path: Path
) -> None:
    """From the last commit, the last change of a file or the start of the run, whichever was last."""
    upswell(*write_inputs(tmp_path), "--once")
    found = status.read_status(tmp_path / "out" / ".upswell")
    assert found.last
    committed = datetime.fromisoformat(found.last.committed_at)
    later = replace(found, looked_at=committed + timedelta(seconds=301))
    ran = replace(later, holder="process 1, since 2020-01-01 00:00:00 UTC")
    began = replace(
        ran, holder=f"process 1, since {committed + timedelta(days=1):%Y-%m-%d %H:%M:%S} UTC"
    )

    assert [None, 301.0, None] == [each.silent_s for each in (later, ran, began)]


def test_a_holder_that_does_not_say_since_when_is_no_error() -> None:
    """A lock file may be new, or hold anything."""
    assert None is started_at("a run that has just started")
    assert None is started_at("since 9999-99-99 99:99:99 UTC")
