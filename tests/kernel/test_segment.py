"""The kernel's segment is the set that the plain grammar of SEGMENT gives."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upswell.kernel import Segment
from upswell.reference.segment import parse_segment

_LINES = st.lists(
    st.sampled_from(
        (
            b"0126545098", b"0126545098 ", b"\t+0126545098", b'"12345"', b'"+12345"', b"12345", b"012345",
            b"1234", b"1234567890123456", b"999999999999999", b"", b" ", b"dial", b"1,2", b"12\r", b"\r",
            b"\xef\xbb\xbf12345", b"\xff", b"1" * 4097, b"++12345", b'"', b'""', b"x" * 5000, b" " * 4097,
            b",", b" ,\t,",
            "٠١٢٣٩١٧٨٢٧".encode(), "०१२३".encode(), "½".encode(), "Ⅻ".encode(), "msisdn°".encode(), "電話一".encode(),
        )
    ) | st.binary(max_size=20).map(lambda line: line.replace(b"\n", b"")),
    max_size=12,
)  # fmt: skip
_FILES = st.lists(
    st.builds(
        lambda mark, lines, end, last: mark + end.join(lines) + (end if last else b""),
        st.sampled_from((b"", b"\xef\xbb\xbf")),
        _LINES,
        st.sampled_from((b"\n", b"\r\n")),
        st.booleans(),
    ),
    max_size=3,
)


@given(_FILES)
def test_segment_agrees_with_the_grammar(files: list[bytes]) -> None:
    """Dials, counts and every bad line are those of upswell.reference.segment."""
    expected = parse_segment(files)
    segment, report = Segment.parse(files)

    assert expected.msisdns == frozenset(segment.sample(len(segment)))
    assert (expected.lines, expected.duplicates) == (report.lines, report.duplicates)
    assert expected.bad == [error[:3] for error in report.errors]
    assert len(expected.bad) == report.bad
    for _, _, _, raw in report.errors:
        assert len(raw) <= 64


@given(st.sets(st.integers(0, 10**15 - 1).map(lambda n: str(n).zfill(5)), max_size=300))
def test_a_dump_gives_the_segment_back(dials: set[str]) -> None:
    """What was dumped is loaded; membership, order, lengths and differences are those of the set."""
    segment, _ = Segment.parse(["\n".join(dials).encode()])
    again = Segment.decode(segment.encode())

    assert len(dials) == len(again)
    assert sorted(dials) == again.sample(10**6)
    assert sorted(dials)[:3] == again.sample(3)
    assert sorted(dials)[:1] == again.sample(1)
    assert all(dial in again for dial in dials)
    assert "0" + "0" * 15 not in again
    assert (0, 0) == segment.diff(again)
    assert sum(again.lengths().values()) == len(dials)
    some = set(sorted(dials)[::2])
    fewer, _ = Segment.parse(["\n".join(some).encode()])
    assert (0, len(dials) - len(some)) == segment.diff(fewer)
    assert (len(dials) - len(some), 0) == fewer.diff(segment)


def test_a_damaged_dump_is_refused() -> None:
    """The checksum of an encoded segment is verified."""
    encoded = bytearray(Segment.parse([b"12345\n"])[0].encode())
    encoded[-3] ^= 1
    with pytest.raises(ValueError, match="damaged"):
        Segment.decode(bytes(encoded))


def test_a_dial_takes_at_most_sixteen_bytes() -> None:
    """Memory follows the number of dials."""
    for count in (1000, 30_000, 200_000):
        segment, _ = Segment.parse(["\n".join(str(10**10 + i) for i in range(count)).encode()])
        assert segment.memory_bytes() <= 16 * count + 1024
