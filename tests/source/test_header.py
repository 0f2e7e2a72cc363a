"""A header is read, not skipped: a file whose first line names other columns than are read is held."""

import gzip
import io
from pathlib import Path

import pytest

from support.arrivals import Arrivals, name, record, records
from upswell import kernel
from upswell.reference.segment import LINE_BYTES_MAX
from upswell.source.header import COLUMNS, FirstLine, describe_other_order, read_first_line

OTHER_ORDER = b"msisdn,volume,service,timestamp\n"
IN_ORDER = b"Dial,Service Identifier,Traffic_Volume,Time\r\n"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@pytest.fixture
def arrivals(tmp_path: Path) -> Arrivals:
    """An empty DATA directory."""
    return Arrivals(tmp_path / "data")


@pytest.mark.parametrize(
    ("line", "columns"),
    [
        ("msisdn,volume,service,timestamp", '["msisdn", "volume", "service", "timestamp"]'),
        ("TIME,Dial,Service-ID,Volume", '["timestamp", "msisdn", "service", "volume"]'),
        (
            '"Traffic Volume","cell","subscriber","SERVICE_IDENTIFIER","time_stamp"',
            '["volume", "-", "msisdn", "service", "timestamp"]',
        ),
        (
            "msisdn,service,volume,timestamp,cell",
            '["msisdn", "service", "volume", "timestamp", "-"]',
        ),
        (
            "volume;msisdn;service;time",
            'delimiter = ";", columns = ["volume", "msisdn", "service", "timestamp"]',
        ),
        (
            "volume\tmsisdn\tservice\ttime",
            'delimiter = "\\t", columns = ["volume", "msisdn", "service", "timestamp"]',
        ),
        (
            "x|msisdn|volume|service|time",
            'delimiter = "|", columns = ["-", "msisdn", "volume", "service", "timestamp"]',
        ),
    ],
)
def test_another_order_is_told_with_the_shape_that_reads_it(line: str, columns: str) -> None:
    """Names are compared without case, blanks, quotes, dashes and underscores."""
    words = describe_other_order(line.encode())

    assert f"they are read as {', '.join(COLUMNS)}" in words
    assert f"columns = {columns}" in words or columns in words
    assert "their shape: [shape] " in words


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("msisdn", "service is not there, volume is not there, timestamp is not there"),
        ("msisdn,service,volume,time,volume", "volume is there twice"),
        (",".join([*COLUMNS[::-1], *"x" * 80]), "84 columns are there"),
    ],
)
def test_columns_that_no_shape_reads_are_told_with_the_reason(line: str, why: str) -> None:
    """Nobody is sent after a shape that would not work."""
    assert f"no [shape] has them: {why}" in describe_other_order(line.encode())


@pytest.mark.parametrize(
    "line",
    [
        b"msisdn,service,volume,timestamp",
        IN_ORDER.rstrip(),
        b'"SUBSCRIBER", "service id" ,volume,"Time Stamp"',
        b"msisdn;service;volume;timestamp",
        record(1).rstrip(),
        b"customer,number,amount,moment",
        b"\xff\xfem\x00s\x00",
        b"",
        b"volume," + b"x" * LINE_BYTES_MAX,
    ],
)
def test_the_order_that_is_read_and_lines_without_a_known_name_are_no_fault(line: bytes) -> None:
    """Neither is a line that is too long to be judged."""
    assert "" == describe_other_order(line)


def test_a_message_about_columns_shows_no_customer() -> None:
    """A first record may hold a known word by accident; long lines are cut."""
    words = describe_other_order(b"0126545098,volume," + b"x," * 100)

    assert "0126545098" not in words
    assert words.count("x,") < 12


@pytest.mark.parametrize(
    ("content", "first"),
    [
        (b"", FirstLine(b"", 0, False)),
        (b"\n \r\n\t", FirstLine(b"", 4, False)),
        (BYTE_ORDER_MARK + b"\na\r\nb", FirstLine(b"a", 4, True)),
        (BYTE_ORDER_MARK + b"a", FirstLine(b"a", 0, False)),
        (b"\n" + BYTE_ORDER_MARK + b"a\n", FirstLine(BYTE_ORDER_MARK + b"a", 1, True)),
        (b" " * 5000 + b"\na\n", FirstLine(b" " * 4101, 0, True)),
    ],
)
def test_the_first_line_that_is_not_blank(content: bytes, first: FirstLine) -> None:
    """Blank lines and a byte-order mark come before it; a line that is too long is none of them."""
    assert first == read_first_line(io.BytesIO(content))


@pytest.mark.parametrize("before", [b"", b"\n \t\r\n", BYTE_ORDER_MARK])
@pytest.mark.parametrize("compressed", [False, True])
def test_a_file_with_another_order_is_held(
    arrivals: Arrivals, before: bytes, compressed: bool
) -> None:
    """Nothing of it is consumed, not even a blank line, and it counts as no newer file."""
    content = before + OTHER_ORDER + records(0, 3)
    one = arrivals.write_gzip(2, content) if compressed else arrivals.write(2, content)
    arrivals.write(1, record(9)[:-1])

    assert [] == arrivals.turn()
    assert ("held", "columns_order") == arrivals.state(one)
    assert "msisdn, volume, service, timestamp" in arrivals.row(one).detail
    arrivals.wait(9)
    assert [] == arrivals.turn()
    assert [one] == [file.name for file in arrivals.source.held()]


def test_a_file_in_the_order_that_is_read_is_taken(arrivals: Arrivals) -> None:
    """Its first line is a header."""
    arrivals.write(1, IN_ORDER + record(0))

    assert [(name(1), 0, len(IN_ORDER + record(0)))] == arrivals.turn()
    assert {"header": 1, "not_in_segment": 1} == arrivals.row(name(1)).outcomes


def test_a_corrected_file_is_read(arrivals: Arrivals) -> None:
    """The file is judged anew when it changes."""
    arrivals.write(1, OTHER_ORDER + record(0))
    arrivals.turn()
    arrivals.wait()
    arrivals.write(1, record(0))

    assert [(name(1), 0, len(record(0)))] == arrivals.turn()
    assert ("reading", "") == arrivals.state(name(1))


def test_a_growing_file_is_judged_when_its_first_line_ends(arrivals: Arrivals) -> None:
    """Blank lines before it are not consumed earlier, since a file of which something was is never judged."""
    arrivals.write(1, BYTE_ORDER_MARK + b"\n\n" + OTHER_ORDER[:9])
    assert [] == arrivals.turn()
    arrivals.wait()
    assert [] == arrivals.turn()
    assert ("waiting", "") == arrivals.state(name(1))

    arrivals.append(1, OTHER_ORDER[9:])
    arrivals.wait()
    assert [] == arrivals.turn()
    assert ("held", "columns_order") == arrivals.state(name(1))


def test_a_first_line_without_its_end_is_judged_when_it_would_be_taken(arrivals: Arrivals) -> None:
    """That is after the quiet period, with a newer file; blank lines alone are taken then."""
    arrivals.write(1, b"\n" + OTHER_ORDER[:-1], age_s=9)
    arrivals.turn()
    assert ("waiting", "") == arrivals.state(name(1))

    arrivals.write(2, b"\n \n", age_s=9)
    arrivals.turn()
    assert ("held", "columns_order") == arrivals.state(name(1))
    assert ("waiting", "") == arrivals.state(name(2))

    arrivals.write(3, record(0))
    arrivals.turn()
    assert ("done", "") == arrivals.state(name(2))


def test_a_file_of_which_something_was_consumed_is_not_judged(arrivals: Arrivals) -> None:
    """Its row says that it was read; a run before this rule may have done that."""
    arrivals.write(1, OTHER_ORDER + record(0))
    arrivals.turn()
    row = arrivals.row(name(1))
    row.state, row.reason, row.detail, row.offset = "reading", "", "", len(OTHER_ORDER)
    row.newlines, row.digest = 1, kernel.crc64(OTHER_ORDER)
    arrivals.restart()

    assert [(name(1), len(OTHER_ORDER), len(OTHER_ORDER + record(0)))] == arrivals.turn()


def test_a_start_judges_held_files_anew(arrivals: Arrivals) -> None:
    """What held a file of which nothing was consumed may be none of the present rules."""
    arrivals.write(1, record(0), age_s=9)
    arrivals.source.scan()
    arrivals.save()
    row = arrivals.row(name(1))
    row.state, row.reason, row.detail = "held", "columns_order", "words of another time"
    arrivals.restart()

    assert [(name(1), 0, len(record(0)))] == arrivals.turn()
    assert [] == arrivals.source.held()


def test_a_run_once_judges_too(arrivals: Arrivals) -> None:
    """Also a first line that has no end."""
    arrivals.write(1, OTHER_ORDER[:-1], age_s=9)
    arrivals.source.freeze()

    assert ([], []) == arrivals.once()
    assert ("held", "columns_order") == arrivals.state(name(1))


@pytest.mark.parametrize("damage", [b"", b"\x1f\x8b\x08\0\0\0\0\0\0\3", b"\x1f\x8b" + b"x" * 30])
def test_a_compressed_file_that_breaks_after_its_check_is_left_alone(
    arrivals: Arrivals, damage: bytes
) -> None:
    """What it was cannot be said then; the next scan shows it."""
    whole = gzip.compress(records(0, 3), mtime=0)
    one = arrivals.write(1, whole, suffix="csv.gz")
    arrivals.source.scan()
    tracked = arrivals.source._inventory.get(one)
    assert tracked is not None
    tracked.check()
    arrivals.path(one).write_bytes(damage)

    if damage:
        with pytest.raises(ValueError, match=r"end|invalid|Unknown"):
            tracked.first_line()
    else:
        assert b"" == tracked.first_line().content
