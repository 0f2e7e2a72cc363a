"""Generated DATA: seeded, of any size, at once, compressed, or as time passes."""

import gzip
import threading
import time
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from upswell.errors import OutputUnwritable, UsageError
from upswell.generate.generator import DataOptions, DataReport, MadeFile, write_data
from upswell.semantics import Record, parse_record
from upswell.zones import day_max_of

SMALL = DataOptions(files=3, records_per_file=500, customers=200)
START = datetime(2026, 1, 5, 8)  # noqa: DTZ001 - a local time of the data's zone


def contents(directory: Path) -> dict[str, bytes]:
    """The files of a directory, uncompressed."""
    return {
        path.name: gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        for path in sorted(directory.iterdir())
    }


def records(content: bytes, stamp: str) -> list[Record]:
    """The records of a file, every line of which must be one."""
    parsed = [parse_record(line, day_max_of(stamp)) for line in content.splitlines()]
    assert [] == [record for record in parsed if not isinstance(record, Record)]
    return [record for record in parsed if isinstance(record, Record)]


def test_files_hold_the_records_asked_for(tmp_path: Path) -> None:
    """So many files, a minute apart, so many records each, every line a good one; the report counts them."""
    report = write_data(tmp_path / "data", SMALL)
    made = contents(tmp_path / "data")

    names = ["DATA_202601050800.csv", "DATA_202601050801.csv", "DATA_202601050802.csv"]
    assert names == list(made)
    assert [500] * 3 == [len(records(made[name], name[5:17])) for name in names]
    assert (1500, sum(map(len, made.values()))) == (report.lines, report.bytes)
    assert [(name, "", name[5:17]) for name in names] == [file[:3] for file in report.files]
    assert Counter() == report.faults


def test_records_are_of_their_minute_or_a_little_older(tmp_path: Path) -> None:
    """Times mostly ascend; a few records come up to two minutes late, so that each edge is crossed."""
    midnight = datetime(2026, 1, 6)  # noqa: DTZ001 - a local time of the data's zone
    write_data(tmp_path, replace(SMALL, files=1, start=midnight))
    (content,) = contents(tmp_path).values()
    times = [record.moment for record in records(content, "202601060000")]

    assert all(-120 <= (at - midnight).total_seconds() < 60 for at in times)
    assert any(at < midnight for at in times)
    assert 0.85 < sum(a <= b for a, b in pairwise(times)) / len(times) < 1


def test_some_customers_use_much_more_than_most(tmp_path: Path) -> None:
    """Usage is skewed: the busiest hundredth makes more than a tenth of the records."""
    write_data(tmp_path, replace(SMALL, customers=1000, files=1, records_per_file=50_000))
    (content,) = contents(tmp_path).values()
    usage = Counter(record.msisdn for record in records(content, "202601050800"))

    assert 0.1 < sum(count for _, count in usage.most_common(10)) / 50_000 < 0.5
    assert 0.9 < len(usage) / 1000


def test_a_rate_decides_the_size_of_a_file(tmp_path: Path) -> None:
    """Records a second, times the minutes of a file."""
    options = replace(SMALL, files=2, rate=2.5, minutes_between=5)
    assert 2 * 750 == write_data(tmp_path, options).lines
    assert ["DATA_202601050800.csv", "DATA_202601050805.csv"] == list(contents(tmp_path))


def test_a_large_file_is_made_piece_by_piece(tmp_path: Path) -> None:
    """More records than a piece holds are as many lines, in order of time."""
    report = write_data(tmp_path, replace(SMALL, files=1, records_per_file=250_001))
    (content,) = contents(tmp_path).values()

    assert (250_001, 250_001) == (report.lines, content.count(b"\n"))


@pytest.mark.parametrize("faults", [0.0, 0.02])
def test_the_seed_and_the_options_decide_every_byte(tmp_path: Path, faults: float) -> None:
    """The same twice, faults and compression included; another seed gives other files."""
    options = replace(SMALL, files=60, faults=faults, gzip_share=0.3)
    made: list[tuple[DataReport, dict[str, bytes]]] = []
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        report = write_data(tmp_path / name, replace(options, seed=seed))
        files = (tmp_path / name).iterdir()
        made.append((report, {path.name: path.read_bytes() for path in files if path.is_file()}))

    assert made[0] == made[1]
    assert made[0][0].bytes != made[2][0].bytes


def test_a_file_does_not_depend_on_those_before_it(tmp_path: Path) -> None:
    """A later start gives the same files from there on."""
    write_data(tmp_path / "a", SMALL)
    write_data(tmp_path / "b", replace(SMALL, files=2, start=START + timedelta(minutes=1)))

    assert contents(tmp_path / "b").items() <= contents(tmp_path / "a").items()


def test_a_share_of_the_files_is_compressed(tmp_path: Path) -> None:
    """The share is met evenly, and the content is that of the plain file."""
    write_data(tmp_path / "plain", replace(SMALL, files=4))
    write_data(tmp_path / "half", replace(SMALL, files=4, gzip_share=0.5))
    plain, half = contents(tmp_path / "plain"), contents(tmp_path / "half")

    assert 2 == sum(name.endswith(".gz") for name in half)
    assert plain == {name.removesuffix(".gz"): content for name, content in half.items()}


def test_data_that_is_there_is_never_changed(tmp_path: Path) -> None:
    """The same command again changes nothing; one that would make other files is refused before it makes any."""
    write_data(tmp_path, SMALL)
    before = contents(tmp_path)

    write_data(tmp_path, SMALL)
    with pytest.raises(OutputUnwritable) as refused:
        write_data(tmp_path, replace(SMALL, seed=2))

    assert "DATA_202601050800.csv" in refused.value.message
    assert "--start" in refused.value.hint
    assert before == contents(tmp_path)


def test_live_files_appear_whole_when_their_time_has_passed(tmp_path: Path) -> None:
    """At a thousand times the clock's speed a minute takes 60 ms; what is seen under a final name is complete."""
    seen: list[tuple[str, int]] = []

    def look(made: MadeFile) -> None:
        seen.append((made.name, contents(tmp_path)[made.name].count(b"\n")))

    begun = time.monotonic()
    options = replace(SMALL, live=True, speed=1000, start=START)
    report = write_data(tmp_path, options, listener=look)

    assert 0.18 <= time.monotonic() - begun
    assert [(file.name, 500) for file in report.files] == seen
    assert 3 == len(seen)


def test_live_data_is_that_of_the_same_minutes_at_once(tmp_path: Path) -> None:
    """Time only decides when, not what."""
    write_data(tmp_path / "once", SMALL)
    write_data(tmp_path / "live", replace(SMALL, live=True, speed=6000, start=START))

    assert contents(tmp_path / "once") == contents(tmp_path / "live")


def test_a_growing_file_is_seen_shorter_and_cut_in_mid_line(tmp_path: Path) -> None:
    """It is there under its final name from its first second, grows, and ends up with every record."""
    stop = threading.Event()
    sizes: list[int] = []
    cut = False

    def watch() -> None:
        nonlocal cut
        while not stop.wait(0.005):
            for path in tmp_path.glob("DATA_*"):
                content = path.read_bytes()
                sizes.append(len(content))
                cut |= content[-1:] not in (b"", b"\n")

    watcher = threading.Thread(target=watch)
    watcher.start()
    options = replace(SMALL, files=1, live=True, grow=True, speed=120, start=START)
    report = write_data(tmp_path, options)
    stop.set()
    watcher.join()

    assert 500 == report.lines
    (content,) = contents(tmp_path).values()
    assert 500 == len(records(content, "202601050800"))
    assert len(set(sizes)) > 10
    assert sizes == sorted(sizes)
    assert cut


def test_a_growing_file_is_never_one_that_is_there(tmp_path: Path) -> None:
    """Appending to a stranger's file is refused, even when it is empty."""
    (tmp_path / "DATA_202601050800.csv").touch()

    with pytest.raises(OutputUnwritable):
        write_data(tmp_path, replace(SMALL, live=True, grow=True, speed=6000, start=START))


@pytest.mark.parametrize("grow", [False, True])
def test_a_stream_without_an_end_stops_when_told(tmp_path: Path, grow: bool) -> None:
    """Live from now on, in the middle of a minute: the stop is soon, and leaves no temporary file."""
    stop = threading.Event()
    timer = threading.Timer(0.3, stop.set)
    timer.start()
    begun = time.monotonic()
    write_data(tmp_path, replace(SMALL, files=None, live=True, grow=grow), stop=stop)
    timer.join()

    assert time.monotonic() - begun < 3
    assert all(name.startswith("DATA_20") for name in contents(tmp_path))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("files", 0),
        ("records_per_file", 0),
        ("minutes_between", 0),
        ("customers", 0),
        ("services", 0),
        ("faults", 1.5),
        ("gzip_share", -1.0),
        ("speed", 0.0),
        ("files", None),
        ("grow", True),
        ("start", datetime(2095, 1, 1)),  # noqa: DTZ001 - a local time of the data's zone
    ],
)
def test_options_that_make_no_sense_are_a_usage_error(
    tmp_path: Path, option: str, value: object
) -> None:
    """The hint says what to write instead; nothing is made."""
    with pytest.raises(UsageError) as refused:
        write_data(tmp_path / "data", replace(SMALL, **{option: value}))

    assert refused.value.hint
    assert [] == list(tmp_path.iterdir())


def test_a_missing_parent_of_the_data_is_named(tmp_path: Path) -> None:
    """Only the last directory of the path is made."""
    with pytest.raises(OutputUnwritable):
        write_data(tmp_path / "a" / "b", SMALL)
