"""SEGMENT.csv: what is a dial and what is not."""

import pytest

from upswell.reference.segment import BadLine, describe_bad_lines, parse_msisdn, parse_segment


def test_the_briefs_segment_is_read() -> None:
    """The three dials of the sample, leading zeros kept."""
    parsed = parse_segment([b"0123917827\n0126545098\n0128419091\n"])

    assert {"0123917827", "0126545098", "0128419091"} == parsed.msisdns
    assert [] == parsed.bad


@pytest.mark.parametrize("field", [b"01234", b"012345678901234", b"+20124637855", b"0020124637855"])
def test_five_to_fifteen_digits_are_a_msisdn(field: bytes) -> None:
    """The identity is the digits; a plus sign is not part of it, leading zeros are."""
    assert parse_msisdn(field) == field.lstrip(b"+").decode()


@pytest.mark.parametrize(
    "field",
    [
        b"",
        b"+",
        b"0123",
        b"0123456789012345",
        b"++20124637855",
        b"01 24637855",
        b"x124637855",
        "٠١٢٣٤٥".encode(),
    ],
)
def test_anything_else_is_no_msisdn(field: bytes) -> None:
    """Too short, too long, spaces, letters, other scripts' digits."""
    assert parse_msisdn(field) is None


def test_lines_count_once_whatever_they_are() -> None:
    """Headers, blanks and rows of commas are no dials; bad lines have file, number and reason; repeats are counted."""
    parsed = parse_segment(
        [
            b'\xef\xbb\xbfmsisdn\r\n0124637855\r\n\r\n"0124637855"\r\n',
            b"0124637855,5\n +20124637856\t\nabc\n" + b"1" * 4097 + b"\n0126545098\n,,\n ,\t\n",
        ]
    )

    assert {"0124637855", "20124637856", "0126545098"} == parsed.msisdns
    assert 1 == parsed.duplicates
    assert 7 == parsed.lines
    assert parsed.bad == [
        BadLine(1, 1, "columns"),
        BadLine(1, 3, "msisdn"),
        BadLine(1, 4, "too_long"),
    ]


@pytest.mark.parametrize("line", ["٠١٢٣٩١٧٨٢٧", "०१२३९१७८२७", "０１２３９１７８２７"])
def test_a_first_line_in_digits_of_another_script_is_no_header(line: str) -> None:
    """It is an msisdn that cannot be read, and is told of."""
    found = parse_segment([f"{line}\n0123917827\n".encode()])

    assert [(1, "msisdn")] == [(bad.line, bad.reason) for bad in found.bad]


@pytest.mark.parametrize(
    ("raw", "cause"),
    [
        (b"\xff\xfe0\x001\x002\x00", "UTF-16"), (b"\x000\x001\x002\x003", "UTF-16"),
        (b"0123917827" + b"\0" * 99, "NUL bytes, a hole"),
        (b"0123917827\r0126545098\r01284", "carriage returns (CR) alone"),
        (b"0123917827;Cairo", "semicolons"), (b"0123917827\tCairo", "tabs"), (b"no number", "not 5 to 15 digits"),
    ],
)  # fmt: skip
def test_a_list_of_another_form_is_told_by_its_cause(raw: bytes, cause: str) -> None:
    """What to write instead, and no digit of a number."""
    [words] = describe_bad_lines("SEGMENT", 2, [(0, 1, "msisdn", raw)], ["SEGMENT.csv"])

    assert cause in words
    assert "0123917827" not in words
