"""The benchmark's comparison: a program that answers differently is found out, however little it differs."""

import json
from pathlib import Path

import pytest

from bench.answers import Answer, differences, read, read_count

OURS = Answer(
    lines=7,
    outcomes={"rejected": 1, "header": 1, "capped": 1, "counted": 2, "notified": 2},
    published={"Twitter": b"1\n2\n", "WhatsApp": b"3\n"},
)


def test_an_answer_that_is_the_same_has_no_differences() -> None:
    """An answer that says the same has no differences."""
    assert [] == differences(OURS, OURS._replace())


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [
        (OURS._replace(lines=8), "lines: 7 and 8"),
        (OURS._replace(outcomes=OURS.outcomes | {"counted": 3}), "counted: 2 and 3"),
        (
            OURS._replace(outcomes={"rejected": 1, "header": 1, "capped": 1, "notified": 2}),
            "outcomes that only one tells: counted",
        ),
        (
            OURS._replace(published={"Twitter": b"1\n5\n", "WhatsApp": b"3\n"}),
            "the notifications of Twitter",
        ),
        (
            OURS._replace(published={"Twitter": b"2\n1\n", "WhatsApp": b"3\n"}),
            "the notifications of Twitter",
        ),
        (OURS._replace(published={"Twitter": b"1\n2\n"}), "the notifications of WhatsApp"),
        (
            OURS._replace(published={"Twitter": b"1\n1\n2\n", "WhatsApp": b"3\n"}, ordered=False),
            "the notifications of Twitter",
        ),
    ],
)
def test_a_wrong_answer_is_told_in_words(theirs: Answer, expected: str) -> None:
    """A line, a count, a missing outcome, a byte, an order, a lost or a doubled notification: each is a difference."""
    assert [expected] == differences(OURS, theirs)


def test_a_program_is_held_to_what_it_can_tell() -> None:
    """A program that promises no order, or tells two outcomes as one, is right when sets and sums are right."""
    outcomes = {"rejected+header": 2, "capped+counted": 3, "notified": 2}
    published = {"WhatsApp": b"3\n", "Twitter": b"2\n1\n"}
    assert [] == differences(OURS, Answer(7, outcomes, published, ordered=False))
    assert [] == differences(OURS, Answer(7, {}, None))


def test_an_answer_is_read_as_it_was_written(tmp_path: Path) -> None:
    """The directories of applications are read whatever the program calls them and its files; nothing else is."""
    report = tmp_path / "report.json"
    report.write_text(json.dumps({"lines": 7, "outcomes": OURS.outcomes}), "utf-8")
    output = tmp_path / "out"
    for path, content in {
        "Twitter/NOTIFY_1.csv": b"1\n",
        "Twitter/NOTIFY_2.csv": b"2\n",
        "application=WhatsApp/part-0.txt": b"3\n",
        "application=WhatsApp/.part-0.txt.crc": b"x",
        "_spark_metadata/0": b"x",
        ".upswell/checkpoint.db": b"x",
    }.items():
        (output / path).parent.mkdir(parents=True, exist_ok=True)
        (output / path).write_bytes(content)
    assert OURS == read(report, output)
    report.write_text("3 a.csv\n4 b.csv\n7 total\n", "utf-8")
    assert Answer(7, {}, None) == read_count(report)
