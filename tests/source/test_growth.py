"""Plain files are read as they grow, whole lines only, each byte once."""

from pathlib import Path

import pytest

from support.arrivals import Arrivals, name, record, records, stamp
from support.faults.limits import bound_by_modes
from support.kernel_runs import encoded
from upswell import kernel
from upswell.semantics import Line


@pytest.fixture
def arrivals(tmp_path: Path) -> Arrivals:
    """An empty DATA directory."""
    return Arrivals(tmp_path / "data")


def reject_bytes(line: int, byte: int) -> int:
    """What the line ``nonsense`` takes among the rejects."""
    return len(encoded(Line(name(1), line, byte, b"nonsense", "rejected", "columns")))


def test_lines_are_taken_as_they_are_written(arrivals: Arrivals) -> None:
    """What a scan shows is read at once, up to the last line end; the rest when it has one."""
    line = len(record(0))
    arrivals.write(1, records(0, 2) + record(2)[:3])

    assert [(name(1), 0, 2 * line)] == arrivals.turn()
    assert ("reading", "") == arrivals.state(name(1))

    arrivals.append(1, record(2)[3:] + record(3))

    assert [(name(1), 2 * line, 4 * line)] == arrivals.turn()
    assert kernel.crc64(arrivals.path(1).read_bytes()) == arrivals.row(name(1)).digest


def test_the_row_says_what_was_taken(arrivals: Arrivals) -> None:
    """Offset, line ends, digest, lines and outcomes of a file are those of the bytes that were consumed."""
    content = records(0, 3) + b"nonsense\n\n"
    arrivals.write(1, content)
    arrivals.turn()
    row = arrivals.row(name(1))

    assert (len(content), 5, 5) == (row.offset, row.newlines, row.lines)
    assert kernel.crc64(content) == row.digest
    assert {"not_in_segment": 3, "rejected": 1, "blank": 1} == row.outcomes
    assert {"columns": 1} == row.reasons
    assert kernel.crc64(record(0)[:-1]) == row.first_record
    assert reject_bytes(4, 3 * len(record(0))) == row.rejects_kept_bytes


def test_an_unfinished_line_is_not_read_again_until_it_changes(arrivals: Arrivals) -> None:
    """A poll over a file whose last line has no end costs no read."""
    arrivals.write(1, record(0) + b"0126")
    arrivals.turn()
    arrivals.wait(1)
    arrivals.source.scan()

    assert [] == arrivals.source.ready()


def test_an_unfinished_line_is_taken_when_still_and_a_newer_file_exists(arrivals: Arrivals) -> None:
    """Both are needed: without a newer file it stays, however long its quiet period is over."""
    content = record(0) + record(1)[:-1]
    arrivals.write(1, content)
    arrivals.turn()
    arrivals.wait(100)

    assert [] == arrivals.turn()

    arrivals.write(2, record(5))

    assert [
        (name(1), len(record(0)), len(content)),
        (name(2), 0, len(record(5))),
    ] == arrivals.turn()
    assert ("done", "") == arrivals.state(name(1))
    assert 1 == arrivals.row(name(1)).tail


def test_an_unfinished_line_waits_while_its_file_is_written_to(arrivals: Arrivals) -> None:
    """A newer file alone does not end a line."""
    arrivals.write(1, record(0) + b"0126")
    arrivals.write(2, record(5))
    arrivals.turn()
    arrivals.wait(1.9)

    assert [] == arrivals.turn()
    assert ("reading", "") == arrivals.state(name(1))


@pytest.mark.parametrize("seconds", [0, 1.99, 2])
def test_still_by_an_old_mtime(arrivals: Arrivals, seconds: float) -> None:
    """A file last changed as long ago as `settle_s` is past its quiet period at the first scan."""
    arrivals.write(1, record(0)[:-1], age_s=seconds)
    arrivals.write(2, record(5))

    assert (seconds >= 2) is (name(1) in [consumed[0] for consumed in arrivals.turn()])


def test_still_by_two_looks_when_the_mtime_is_in_the_future(arrivals: Arrivals) -> None:
    """A skewed clock on the writer's host delays nothing beyond `settle_s` of scans."""
    arrivals.write(1, record(0)[:-1], age_s=-3600)
    arrivals.write(2, record(5))
    arrivals.turn()
    arrivals.wait(2)

    assert [(name(1), 0, len(record(0)) - 1)] == arrivals.turn()


def test_a_clock_that_is_set_back_delays_little(arrivals: Arrivals) -> None:
    """Stillness counts from the new time on."""
    arrivals.write(1, record(0)[:-1])
    arrivals.write(2, record(5))
    arrivals.turn()
    arrivals.wait(-86400)
    arrivals.turn()
    arrivals.wait(2)

    assert [name(1)] == [consumed[0] for consumed in arrivals.turn()]


def test_a_file_is_done_when_still_and_a_newer_one_exists(arrivals: Arrivals) -> None:
    """Until then it is read, even when nothing is left to consume."""
    arrivals.write(1, records(0, 2))
    arrivals.write(2, record(9))
    arrivals.turn()

    assert ("reading", "") == arrivals.state(name(1))

    arrivals.wait()
    arrivals.turn()

    assert ("done", "") == arrivals.state(name(1))
    assert ("reading", "") == arrivals.state(name(2))


def test_an_empty_file_is_done_like_any_other(arrivals: Arrivals) -> None:
    """Nothing is consumed of it."""
    arrivals.write(1, b"", age_s=9)
    arrivals.write(2, record(9))

    assert [name(2)] == [consumed[0] for consumed in arrivals.turn()]
    assert ("done", "") == arrivals.state(name(1))


def test_a_newer_file_that_was_taken_and_deleted_still_counts(arrivals: Arrivals) -> None:
    """The log has its stamp, so a late file is done as soon as its quiet period is over."""
    arrivals.write(2, record(9))
    arrivals.write(3, record(10))
    arrivals.turn()
    arrivals.path(3).unlink()
    arrivals.wait()
    arrivals.turn()

    assert ("done", "") == arrivals.state(name(2))


@pytest.mark.parametrize("kind", ["ignored", "ahead", "broken", "skipped", "duplicate"])
def test_what_is_no_newer_file(arrivals: Arrivals, kind: str) -> None:
    """Ignored, held, skipped and duplicate files do not close an older one."""
    arrivals.write(1, record(0), age_s=9)
    arrivals.turn()
    if kind == "ignored":
        arrivals.write(name(2) + ".tmp", b"x")
        (arrivals.data / name(3)).mkdir()
    elif kind == "ahead":
        arrivals.write("DATA_209901010000.csv", record(1))
    elif kind == "broken":
        arrivals.write(2, b"\x1f\x8bnonsense", age_s=9, suffix="csv.gz")
    elif kind == "skipped":
        arrivals.restart(since=stamp(9))
        arrivals.write(2, record(1), age_s=9)
    else:
        arrivals.write(2, record(0), age_s=9)
    arrivals.turn()
    arrivals.turn()

    assert ("reading", "") == arrivals.state(name(1))


def test_a_done_file_that_grows_is_reading_again(arrivals: Arrivals) -> None:
    """It goes on at its offset."""
    arrivals.write(1, record(0), age_s=9)
    arrivals.write(2, record(9), age_s=9)
    arrivals.turn()
    assert ("done", "") == arrivals.state(name(1))
    for _ in range(3):
        arrivals.turn()  # by now only its stat is remembered

    arrivals.append(1, record(1))

    assert [(name(1), len(record(0)), 2 * len(record(0)))] == arrivals.turn()
    assert ("reading", "") == arrivals.state(name(1))

    arrivals.wait()
    arrivals.turn()

    assert ("done", "") == arrivals.state(name(1))
    assert kernel.crc64(records(0, 2)) == arrivals.row(name(1)).digest


@pytest.mark.parametrize(
    ("more", "reasons"),
    [(b"\n", {}), (b"\r\n", {}), (b"99\n", {"columns": 1}), (b"\n" + b"x\n", {"columns": 1})],
)
def test_what_follows_a_line_that_was_taken_unfinished(
    arrivals: Arrivals, more: bytes, reasons: dict[str, int]
) -> None:
    """Its line end is skipped; any other continuation is a reject of its own."""
    arrivals.write(1, record(0)[:-1], age_s=9)
    arrivals.write(2, record(9), age_s=9)
    arrivals.turn()
    arrivals.append(1, more + record(1))
    arrivals.turn()
    row = arrivals.row(name(1))

    assert (reasons, 2) == (row.reasons, row.outcomes["not_in_segment"])
    assert len(record(0)) - 1 + len(more + record(1)) == row.offset


def test_a_file_without_a_record_is_read_when_still(arrivals: Arrivals) -> None:
    """Its rejects are not counted while it might yet turn out to be a duplicate."""
    content = b"msisdn,service,volume,timestamp\nnonsense\n"
    arrivals.write(1, content)

    assert [] == arrivals.turn()
    assert ("waiting", "no_record") == arrivals.state(name(1))

    arrivals.wait()

    assert [(name(1), 0, len(content))] == arrivals.turn()
    assert {"header": 1, "rejected": 1} == arrivals.row(name(1)).outcomes


def test_a_first_record_that_comes_late_is_still_known(arrivals: Arrivals) -> None:
    """A file read without one has it as soon as it shows one, so that its duplicates are found."""
    arrivals.write(1, b"nonsense\n", age_s=9)
    arrivals.turn()
    arrivals.append(1, records(0, 2))
    arrivals.turn()

    assert kernel.crc64(record(0)[:-1]) == arrivals.row(name(1)).first_record


def test_a_long_file_without_a_record_is_not_searched_at_every_growth(
    arrivals: Arrivals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it grows the search for its first record reads a small multiple of it."""
    searched = []
    search = kernel.first_record

    def count(
        path: bytes, end: int, day_max: int, *, compressed: bool
    ) -> kernel.FirstRecord | None:
        searched.append(end)
        return search(path, end, day_max, compressed=compressed)

    monkeypatch.setattr(kernel, "first_record", count)
    arrivals.write(1, b"x\n")
    for _ in range(200):
        arrivals.append(1, b"nonsense\n")
        arrivals.turn()
        arrivals.wait(0.5)

    assert sum(searched) <= 3 * arrivals.path(1).stat().st_size


def test_a_last_line_that_was_rewritten_is_read(arrivals: Arrivals) -> None:
    """The size alone does not say that nothing new can be consumed."""
    arrivals.write(1, record(0) + b"012")
    arrivals.turn()
    arrivals.wait(1)
    arrivals.write(1, record(0) + b"01\n")

    assert [(name(1), len(record(0)), len(record(0)) + 3)] == arrivals.turn()


def test_kept_rejects_add_up(arrivals: Arrivals) -> None:
    """The limit is per file, not per range."""
    for _ in range(3):
        with arrivals.path(1).open("ab") as stream:
            stream.write(record(0) + b"nonsense\n")
        arrivals.turn()

    line, both = len(record(0)), len(record(0) + b"nonsense\n")
    written = sum(reject_bytes(2 * n + 2, n * both + line) for n in range(3))

    assert written == arrivals.row(name(1)).rejects_kept_bytes


def test_no_reject_is_kept_after_one_that_did_not_fit(arrivals: Arrivals) -> None:
    """The first reject that does not fit ends it for its file, however its ranges are cut."""
    arrivals.restart(rejects_max_bytes_per_file=300)
    arrivals.write(1, record(0))
    kept = []
    for content in (b"short\n", b"n" * 400 + b"\n", b"short\n"):
        arrivals.append(1, content)
        arrivals.turn()
        kept.append(arrivals.row(name(1)).rejects_kept_bytes)

    assert 3 == arrivals.row(name(1)).reasons["columns"]
    assert [True, False, False] == [each < 300 for each in kept]


def test_a_newest_file_that_cannot_be_read_makes_nothing_done(arrivals: Arrivals) -> None:
    """It is opened to learn whether it counts as newer; held, it does not."""
    arrivals.write(1, record(0), age_s=9)
    arrivals.write(2, record(1), age_s=9)
    arrivals.path(2).chmod(0)
    with bound_by_modes():
        assert [(name(1), 0, len(record(0)))] == arrivals.turn()

    assert ("held", "unreadable") == arrivals.state(name(2))
    assert ("reading", "") == arrivals.state(name(1))
