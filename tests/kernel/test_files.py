"""The kernel reads files as they are: compressed, cut short, changed, or no files at all."""

import gzip
import os
import random
from pathlib import Path

import pytest

from support.kernel_runs import REJECTS_ALL, RULES, Settings, environment, random_file
from upswell import kernel
from upswell.kernel import Range

DAY_MAX = 20200418
LINE = b"0126545098,1,315,20200417193743\n"


def scanner(threads: int = 1, chunk_bytes: int = 0) -> kernel.Scanner:
    """A scanner with chunks of that size."""
    with environment(Settings(chunk_bytes=chunk_bytes)):
        return kernel.Scanner(threads, "total", kernel.Clock([]))


def range_of(path: Path, end: int, start: int = 0, **changes: object) -> Range:
    """A range of a file, final."""
    compressed = path.suffix == ".gz"
    wanted = Range(
        path.name,
        bytes(path),
        compressed,
        start,
        end,
        True,
        0,
        0,
        0,
        DAY_MAX,
        20200401,
        REJECTS_ALL,
    )
    return wanted._replace(**changes)


def process(
    ranges: list[Range], by: kernel.Scanner | None = None, output_bytes_max: int = REJECTS_ALL
) -> kernel.Result:
    """One call, with the brief's dial in the segment."""
    segment, _ = kernel.Segment.parse([b"0126545098\n"])
    rules = kernel.Rules([tuple(rule) for rule in RULES])
    return (by or scanner()).process(
        ranges, segment, rules, kernel.Ledger(), output_bytes_max, 9999
    )


def said(results: list[kernel.Result]) -> tuple[object, ...]:
    """What calls say together about one file."""
    outcomes = [
        sum(counts) for counts in zip(*(r.ranges[0].outcomes for r in results), strict=True)
    ]
    last = results[-1].ranges[0]
    rejects = b"".join(result.rejects for result in results)
    return outcomes, rejects, last.end, last.newlines, last.digest, last.tail


@pytest.mark.parametrize("chunk_bytes", [0, 100, 4096])
def test_compressed_is_as_plain(tmp_path: Path, chunk_bytes: int) -> None:
    """A compressed file of several members, read in any number of calls, gives what its content gives."""
    content = random_file(random.Random(3), 3000)
    plain, packed = tmp_path / "DATA.csv", tmp_path / "DATA.csv.gz"
    plain.write_bytes(content)
    half = len(content) // 2
    packed.write_bytes(gzip.compress(content[:half]) + gzip.compress(content[half:]))
    expected = said([process([range_of(plain, len(content))])])

    assert expected == said([process([range_of(packed, len(content), name="DATA.csv")])])

    by = scanner(2, chunk_bytes)
    results, start, newlines, digest = [], 0, 0, 0
    while start < len(content):
        wanted = range_of(
            packed, len(content), start, name="DATA.csv", newlines=newlines, digest=digest
        )
        results.append(process([wanted], by, output_bytes_max=5000))
        (scanned,) = results[-1].ranges
        assert scanned.problem is None
        start, newlines, digest = scanned.end, scanned.newlines, scanned.digest
    assert len(results) > 3 or 0 == chunk_bytes
    # Each call has a ledger of its own here, so only what needs none is compared.
    by_calls = said(results)
    assert expected[1:] == by_calls[1:]
    assert sum(expected[0]) == sum(by_calls[0])  # type: ignore[call-overload]


def test_damage_is_broken_and_a_missing_end_incomplete(tmp_path: Path) -> None:
    """check_gzip tells whole, incomplete, broken and too large files apart."""
    content = LINE * 5000
    packed = gzip.compress(content)
    path = tmp_path / "DATA.csv.gz"

    def check(data: bytes, bytes_max: int = 1 << 30) -> str:
        path.write_bytes(data)
        return kernel.check_gzip(bytes(path), bytes_max).verdict

    path.write_bytes(packed)
    whole = kernel.check_gzip(bytes(path), 1 << 30)
    assert ("whole", len(content), kernel.crc64(content)) == whole[:3]
    assert "whole" == check(packed + packed)
    assert "whole" == check(gzip.compress(b""))
    for cut in (0, 1, 5, 10, len(packed) // 2, len(packed) - 1):
        assert "incomplete" == check(packed[:cut]), cut
    assert "incomplete" == check(packed + packed[:7])
    assert "broken" == check(packed[:-8] + b"\0" + packed[-7:])
    assert "broken" == check(packed[:40] + bytes([packed[40] ^ 255]) + packed[41:])
    assert "broken" == check(packed + b"not gzip at all")
    assert "broken" == check(content)
    assert "too_large" == check(packed, len(content) - 1)


def test_problems_have_names(tmp_path: Path) -> None:
    """What cannot be read is a value, and the ranges after it are still read."""
    good = tmp_path / "DATA_1.csv"
    good.write_bytes(LINE)
    (tmp_path / "link").symlink_to(good)
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "fifo")
    packed = tmp_path / "cut.csv.gz"
    packed.write_bytes(gzip.compress(LINE * 1000)[:-30])
    broken = tmp_path / "broken.csv.gz"
    broken.write_bytes(b"nonsense, longer than a header")
    names = ["missing", "link", "directory", "fifo", "cut.csv.gz", "broken.csv.gz"]
    ranges = [range_of(tmp_path / name, 32_000) for name in names]

    result = process([*ranges, range_of(good, 32), range_of(good, 64)])

    problems = [scanned.problem for scanned in result.ranges]
    assert [
        "gone",
        "not_regular",
        "not_regular",
        "not_regular",
        "short",
        "broken",
        None,
        "short",
    ] == problems
    assert all(scanned.complete for scanned in result.ranges)
    assert 32 == result.ranges[6].end == result.ranges[7].end
    assert result.ranges[6].inode == good.stat().st_ino


def test_a_compressed_file_that_changes_is_broken(tmp_path: Path) -> None:
    """A file replaced between two calls is not read on."""
    path = tmp_path / "DATA.csv.gz"
    path.write_bytes(gzip.compress(LINE * 3000))
    by = scanner(1, 1000)
    first = process([range_of(path, 96_000)], by, output_bytes_max=1).ranges[0]
    assert first.end < 96_000
    path.write_bytes(gzip.compress(LINE * 3001))

    wanted = range_of(path, 96_000, first.end, newlines=first.newlines, digest=first.digest)
    again = process([wanted], by).ranges[0]

    assert ("broken", first.end) == (again.problem, again.end)


def test_a_very_long_line_is_one_reject(tmp_path: Path) -> None:
    """A line of many chunks is one too_long reject with its first bytes and its whole length."""
    path = tmp_path / "DATA.csv"
    length = 3_000_000
    path.write_bytes(LINE + b"7" * length + b"\r\n" + LINE)

    result = process([range_of(path, path.stat().st_size)], scanner(2, 100_000))

    raw = b"7" * kernel.LINE_BYTES_MAX
    assert b"DATA.csv\t2\t32\t%d\ttoo_long\t%s\n" % (length, raw) == result.rejects
    assert (3, 3) == (result.ranges[0].lines, result.ranges[0].newlines)


def test_rejects_beyond_the_limit_are_counted(tmp_path: Path) -> None:
    """Rejects are written up to the limit, by what they take on disk; beyond it lines and their place are counted."""
    path = tmp_path / "DATA.csv"
    path.write_bytes(b"a\xff1\n" * 100)
    everything = process([range_of(path, 400)]).rejects.splitlines(keepends=True)
    ten = b"".join(everything[:10])

    for chunk_bytes, spare in ((0, 0), (10, 0), (10, len(everything[10]) - 1)):
        wanted = range_of(path, 400, rejects_left_bytes=len(ten) + spare)
        result = process([wanted], scanner(1, chunk_bytes))
        (scanned,) = result.ranges
        assert ten == result.rejects
        assert 100 == scanned.outcomes[0]
        assert (len(ten), (90, 40, 399)) == (scanned.rejects_kept_bytes, scanned.rejects_dropped)


def test_output_ends_a_call_between_pieces(tmp_path: Path) -> None:
    """A call with enough output stops, and memory does not grow with the file."""
    path = tmp_path / "DATA.csv"
    path.write_bytes(b"x\n" * 2_000_000)

    result = process([range_of(path, 4_000_000)], output_bytes_max=1 << 20)

    (scanned,) = result.ranges
    assert not scanned.complete
    assert 0 < scanned.end < 4_000_000
    assert len(result.rejects) < 12 << 20


def test_digest_continues_and_first_record_is_found(tmp_path: Path) -> None:
    """Digests continue from any byte; the first record is found behind whatever is none."""
    content = b"\xef\xbb\xbfmsisdn,service\r\n\nbad\n" + b"x" * 300_000 + b"\n" + LINE[:-1] + b"\r"
    for name, data in (("a.csv", content), ("a.csv.gz", gzip.compress(content))):
        path = tmp_path / name
        path.write_bytes(data)
        packed = path.suffix == ".gz"
        head = kernel.crc64(content[:100])

        assert (kernel.crc64(content), len(content) - 100) == kernel.digest(
            bytes(path), 100, 1 << 40, head, compressed=packed
        )
        assert (head, 0) == kernel.digest(
            bytes(path), len(content), 1 << 40, head, compressed=packed
        )
        found = kernel.first_record(bytes(path), len(content), DAY_MAX, compressed=packed)
        assert (kernel.crc64(LINE[:-1]), len(content) - len(LINE)) == found
        assert kernel.first_record(bytes(path), 300_000, DAY_MAX, compressed=packed) is None
    with pytest.raises(FileNotFoundError):
        kernel.digest(bytes(tmp_path / "missing"), 0, 1, 0, compressed=False)
    path.write_bytes(b"\x1f\x8b nonsense")
    with pytest.raises(ValueError, match=r"gzip|header|stream|deflate|data"):
        kernel.digest(bytes(path), 0, 1 << 40, 0, compressed=True)


def test_examples_for_the_summary(tmp_path: Path) -> None:
    """The first stranger and the first record over its threshold outside its hours are told."""
    path = tmp_path / "DATA.csv"
    path.write_bytes(
        b"0126545098,2,60,20200417083743\n"
        b"0124637855,5,367,20200417193743\n"
        b"0126545098,2,222,20200417083743\n"
        b"0126545098,2,223,20200417083743\n"
    )

    result = process([range_of(path, path.stat().st_size)])

    assert "0124637855" == result.unmatched_example
    assert 2 == result.outside_over
    assert (0, 63, b"0126545098,2,222,20200417083743") == result.outside_over_example


def test_a_broken_contract_is_a_value_error(tmp_path: Path) -> None:
    """Ranges, rules, clocks and blobs that cannot be are refused."""
    path = tmp_path / "DATA.csv"
    path.write_bytes(LINE)
    for changes in ({"tail": 3}, {"tail": 1}, {"start": 9, "end": 3}):
        with pytest.raises(ValueError, match="range"):
            process([range_of(path, 32)._replace(**changes)])
    with pytest.raises(ValueError, match="overlaps"):
        kernel.Rules([(1, "A", 0, 60, 1), (1, "A", 30, 90, 1)])
    with pytest.raises(ValueError, match="ascend"):
        kernel.Clock([(5, 1), (5, 2)])
    with pytest.raises(ValueError, match="measure"):
        kernel.Scanner(1, "sum", kernel.Clock([]))
