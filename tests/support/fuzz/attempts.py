"""What a fuzzer tries on the files that people write: SEGMENT and RULES.

An attempt takes any bytes, never fails on what is bad about them, and raises AssertionError when a promise is broken.
"""

from upswell.kernel import Segment
from upswell.reference.application import directory_name
from upswell.reference.compiled import compile_rules, pack_rules, unpack_rules
from upswell.reference.rules import DIRECTORY_BYTES_MAX, REASONS, describe_change, parse_rules
from upswell.reference.segment import parse_segment

BETWEEN_FILES = b"\0\0"
MESSAGE_CHARS_MAX = 400


def rules(data: bytes) -> None:
    """RULES of one or more files: what is taken can be run, what is refused says why, and nothing reaches a path."""
    files = [(f"{n}.csv", part) for n, part in enumerate(data.split(BETWEEN_FILES))]
    parsed = parse_rules(files)
    for problem in parsed.problems:
        assert problem.reason in REASONS
        assert problem.message.isprintable()
        assert len(problem.message) <= MESSAGE_CHARS_MAX
    names = parsed.applications()
    assert names == compile_rules(parsed).applications
    directories = [directory_name(name) for name in names]
    assert len(set(map(str.casefold, directories))) == len(directories)
    for directory in directories:
        assert "/" not in directory
        assert not directory.startswith(".")
        assert 1 <= len(directory.encode()) <= DIRECTORY_BYTES_MAX
    assert files == unpack_rules(pack_rules(files))
    assert [] == describe_change(parsed, parsed)


def segment(data: bytes) -> None:
    """SEGMENT of one or more files: the kernel takes what the plain grammar takes, and keeps it."""
    files = data.split(BETWEEN_FILES)
    expected = parse_segment(files)
    parsed, report = Segment.parse(files)
    assert expected.msisdns == frozenset(parsed.sample(len(parsed)))
    assert (expected.lines, expected.duplicates) == (report.lines, report.duplicates)
    assert len(expected.bad) == report.bad
    assert expected.bad[:1000] == [error[:3] for error in report.errors]
    assert parsed.encode() == Segment.decode(parsed.encode()).encode()


ATTEMPTS = {"rules": rules, "segment": segment}
