"""Every scanner path says of a line what the specification's grammar says."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.kernel_runs import random_file
from upswell import kernel
from upswell.kernel import ParsedLine
from upswell.reference.segment import BYTE_ORDER_MARK, has_digit, is_blank, without_line_end
from upswell.semantics import parse_record

DAY_MAX = 20200418


def by_reference(data: bytes, first: bool) -> list[ParsedLine]:
    """The lines of data, decided in plain Python."""
    if first:
        data = data.removeprefix(BYTE_ORDER_MARK)
    pieces = [piece + b"\n" for piece in data.split(b"\n")]
    pieces[-1] = pieces[-1][:-1]
    lines = []
    for number, piece in enumerate(piece for piece in pieces if piece):
        content = without_line_end(piece)
        parsed = parse_record(content, DAY_MAX)
        if parsed != "too_long" and is_blank(content):
            parsed = "blank"
        elif parsed != "too_long" and first and number == 0 and not has_digit(content):
            parsed = "header"
        if isinstance(parsed, str):
            lines.append(ParsedLine(parsed, "", 0, 0, ""))
        else:
            stamp = f"{parsed.moment:%m%d%H%M%S}"
            stamp = f"{parsed.moment.year:04}{stamp}"
            lines.append(ParsedLine("record", parsed.msisdn, parsed.service, parsed.volume, stamp))
    return lines


@given(st.integers(0, 2**32), st.integers(0, 300), st.sampled_from((0.0, 0.02, 0.5)), st.booleans())
def test_paths_agree_on_hostile_lines(seed: int, lines: int, dirty: float, first: bool) -> None:
    """Records, broken records and broken files: every path gives the specification's answer, line by line."""
    data = random_file(random.Random(seed), lines, dirty)

    expected = by_reference(data, first)
    for path in kernel.PATHS:
        assert expected == kernel.parse_lines(data, DAY_MAX, path, first=first), path


@given(
    st.binary(max_size=400) | st.text(alphabet='0123456789,\n\r"+ ', max_size=400).map(str.encode)
)
def test_paths_agree_on_any_bytes(data: bytes) -> None:
    """No bytes at all make a path differ from the reference."""
    expected = by_reference(data, True)
    for path in kernel.PATHS:
        assert expected == kernel.parse_lines(data, DAY_MAX, path, first=True), path


@pytest.mark.parametrize("path", kernel.PATHS)
def test_every_byte_at_every_place_of_a_line(path: str) -> None:
    """A plain line with any one byte put in any place is decided as the specification decides it."""
    line = b"0126545098,12,315,20200417193743"
    changed = [
        line[:at] + bytes([byte]) + line[at + 1 :] for at in range(len(line)) for byte in range(256)
    ]
    data = b"".join(content + end for content in changed for end in (b"\n", b"\r\n"))

    assert by_reference(data, False) == kernel.parse_lines(data, DAY_MAX, path, first=False)


@pytest.mark.parametrize("path", kernel.PATHS)
def test_every_length_of_every_field(path: str) -> None:
    """Fields of every length around their limits, and lines around the width of a register."""
    lines = [
        b"1" * a + b"," + b"2" * b + b"," + b"3" * c + b"," + b"20200417193743" + end
        for a in range(3, 18)
        for b in range(12)
        for c in range(18)
        for end in (b"\n", b"\r\n", b"0\n")
    ]
    lines += [b"x" * length + b"\n" for length in range(4090, 4102)]

    data = b"".join(lines)
    assert by_reference(data, False) == kernel.parse_lines(data, DAY_MAX, path, first=False)


@pytest.mark.parametrize("path", kernel.PATHS)
def test_every_time_and_many_dates(path: str) -> None:
    """Each number that six digits of time or eight of date can be near a limit is judged rightly."""
    times = [
        f"20200417{h:02}{m:02}{s:02}"
        for h in range(32)
        for m in (0, 59, 60, 99)
        for s in (0, 59, 60, 99)
    ]
    dates = [
        f"{y:04}{m:02}{d:02}120000"
        for y in (0, 1, 1900, 2000, 2019, 2020, 9999)
        for m in range(15)
        for d in (0, 1, 28, 29, 30, 31, 32)
    ]
    data = "".join(f"0126545098,1,2,{stamp}\n" for stamp in times + dates).encode()

    assert by_reference(data, False) == kernel.parse_lines(data, DAY_MAX, path, first=False)
