"""Odd lines and odd files: every kind comes up in a generated hour, and between them they meet every outcome."""

import gzip
import zlib
from collections import Counter
from datetime import datetime
from pathlib import Path
from random import Random

import pytest

from upswell.audit.labels import POLICY_OUTCOMES
from upswell.generate.answer_key import AnswerKey, compute_answer
from upswell.generate.file_faults import BESIDE_FAULTS, FILE_FAULTS, OWN_FAULTS
from upswell.generate.generator import FAULT_PERIOD_FILES, DataOptions, DataReport, write_data
from upswell.generate.line_faults import LINE_FAULTS, Scene
from upswell.generate.population import choose_segment, make_msisdns, make_rules
from upswell.reference.rules import Rule, Ruleset
from upswell.semantics import OUTCOMES, REASONS, CommittedRange, Specification

HOUR = DataOptions(files=60, records_per_file=200, customers=300, faults=0.03)
RULESET = Ruleset(tuple(make_rules(HOUR.seed, 7)), ())
DIALS = frozenset(
    dial.decode() for dial in make_msisdns(HOUR.seed, choose_segment(HOUR.seed, 300, 0.1))
)


@pytest.fixture(scope="module")
def hour(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, DataReport]:
    """An hour of small files with faults."""
    directory = tmp_path_factory.mktemp("hour")
    return directory, write_data(directory, HOUR)


@pytest.fixture(scope="module")
def answer(hour: tuple[Path, DataReport]) -> AnswerKey:
    """What a run over the hour must say."""
    return compute_answer(hour[0], hour[1].files, RULESET, DIALS)


def test_every_kind_of_fault_comes_up_in_an_hour(hour: tuple[Path, DataReport]) -> None:
    """Small files or not: each odd line at least once, each odd file exactly once."""
    _, report = hour

    assert [] == [kind for kind in LINE_FAULTS if not report.faults[kind]]
    assert dict.fromkeys(FILE_FAULTS, 1) == {kind: report.faults[kind] for kind in FILE_FAULTS}
    assert set(LINE_FAULTS) | set(FILE_FAULTS) == set(report.faults)
    assert not set(LINE_FAULTS) & set(FILE_FAULTS)


def test_an_hour_has_room_for_every_kind_of_file() -> None:
    """Odd files take every other place of the period, those beside an ordinary one the places between."""
    assert len(OWN_FAULTS) <= FAULT_PERIOD_FILES // 2
    assert len(BESIDE_FAULTS) < FAULT_PERIOD_FILES // 2


def test_every_kind_says_what_it_is() -> None:
    """One line each, for the help and the documentation."""
    descriptions = [fault.description for fault in (*LINE_FAULTS.values(), *FILE_FAULTS.values())]

    assert all(0 < len(text) <= 80 and "\n" not in text for text in descriptions)
    assert len(descriptions) == len(set(descriptions))


def test_every_outcome_and_every_reason_occurs_in_an_hour(answer: AnswerKey) -> None:
    """A run over a generated hour meets all there is to meet but policies, and the counts add up to the lines."""
    missed = {outcome for outcome in OUTCOMES if not answer.outcomes[outcome]}
    assert set(POLICY_OUTCOMES) == missed
    assert [] == [reason for reason in REASONS if not answer.rejects[reason]]
    assert answer.lines == sum(answer.outcomes.values())
    assert answer.outcomes["rejected"] == sum(answer.rejects.values())


def test_every_file_state_is_the_one_its_kind_stands_for(
    hour: tuple[Path, DataReport], answer: AnswerKey
) -> None:
    """The answer decides copies by their content, and comes to what the table of kinds says."""
    _, report = hour
    states = Counter(FILE_FAULTS[file.kind].state if file.kind else "done" for file in report.files)

    assert +states == {state: count for state, count in answer.files.items() if count}
    assert {"done", "held", "duplicate", "ignored"} == set(states)


def test_everything_in_the_directory_was_reported(hour: tuple[Path, DataReport]) -> None:
    """No name is missing and none is left over; sizes are those on disk."""
    directory, report = hour

    assert {path.name for path in directory.iterdir()} == {file.name for file in report.files}
    on_disk = sum(
        path.stat().st_size
        for path in directory.iterdir()
        if path.is_file() and not path.is_symlink()
    )
    assert on_disk == report.bytes


def test_no_two_odd_files_ever_meet_under_one_name(tmp_path: Path) -> None:
    """More than a day of them, begun at an odd minute: all that was made is there."""
    start = datetime(2026, 1, 30, 22, 47)  # noqa: DTZ001 - a local time of the data's zone
    options = DataOptions(files=1600, records_per_file=1, customers=1, faults=0.01, start=start)
    report = write_data(tmp_path, options)

    assert len(report.files) == len(list(tmp_path.iterdir()))


@pytest.mark.parametrize(
    ("kind", "outcome", "reason"),
    [
        ("too_long", "rejected", "too_long"),
        ("three_fields", "rejected", "columns"),
        ("quoted", "counted", ""),
        ("quoted_comma", "rejected", "columns"),
        ("spaces", "rejected", "msisdn"),
        ("blank_spaces", "blank", ""),
        ("crlf", "counted", ""),
        ("lone_cr", "rejected", "columns"),
        ("plus", "counted", ""),
        ("plus_country", "not_in_segment", ""),
        ("lost_zero", "not_in_segment", ""),
        ("arabic_digits", "rejected", "msisdn"),
        ("service_zeros", "counted", ""),
        ("service_unknown", "no_rule", ""),
        ("volume_zero", "counted", ""),
        ("volume_at_threshold", "counted", ""),
        ("volume_over_threshold", "notified", ""),
        ("volume_largest", "notified", ""),
        ("volume_huge", "rejected", "volume"),
        ("no_such_day", "rejected", "timestamp"),
        ("no_such_time", "rejected", "timestamp"),
        ("future", "rejected", "future"),
        ("tomorrow", "counted", ""),
        ("last_second", "counted", ""),
        ("late", "late", ""),
    ],
)
def test_an_odd_line_meets_the_outcome_it_was_made_for(
    kind: str, outcome: str, reason: str
) -> None:
    """Alone in a file, by the reference."""
    moment = datetime(2026, 1, 5, 8)  # noqa: DTZ001 - a local time of the data's zone
    scene = Scene(Random(1), b"01234567890", 4, 4, 100, moment, {4: 1000})
    content = LINE_FAULTS[kind].make(scene)
    taken = CommittedRange("f", 0, b"01,1,1,1\n" + content, "202601050800", "202601050800")

    line = Specification().apply(taken, {"01234567890"}, [Rule(4, "Facebook", 0, 1440, 1000)])[-1]

    assert (outcome, reason) == (line.outcome, line.reason)


def made(hour: tuple[Path, DataReport], kind: str) -> Path:
    """The path of the one file of that kind."""
    directory, report = hour
    (name,) = [file.name for file in report.files if file.kind == kind]
    return directory / name


def test_broken_compressed_files_are_broken(hour: tuple[Path, DataReport]) -> None:
    """One lacks its end, one fails its checksum, one is plain; two are compressed under a plain name."""
    with pytest.raises(EOFError):
        gzip.decompress(made(hour, "gzip_truncated").read_bytes())
    with pytest.raises((gzip.BadGzipFile, zlib.error)):
        gzip.decompress(made(hour, "gzip_corrupt").read_bytes())
    with pytest.raises(gzip.BadGzipFile):
        gzip.decompress(made(hour, "plain_as_gzip").read_bytes())
    assert b"\x1f\x8b" == made(hour, "gzip_as_plain").read_bytes()[:2]
    assert b"PK" == made(hour, "zip_as_plain").read_bytes()[:2]


def test_good_compressed_files_are_whole(hour: tuple[Path, DataReport]) -> None:
    """In one member or in several, they hold lines."""
    for kind in ("gzip", "gzip_members"):
        assert gzip.decompress(made(hour, kind).read_bytes()).endswith(b"\n")
    assert 2 <= made(hour, "gzip_members").read_bytes().count(b"\x1f\x8b\x08")


def test_a_copy_has_the_content_of_the_file_before_it(hour: tuple[Path, DataReport]) -> None:
    """Under another stamp, plain and compressed."""
    directory, _ = hour
    for kind in ("duplicate", "duplicate_gzip"):
        path = made(hour, kind)
        before = directory / f"DATA_{int(path.name[5:17]) - 1}.csv"
        content = path.read_bytes()
        assert before.read_bytes() == (
            gzip.decompress(content) if path.suffix == ".gz" else content
        )


def test_two_files_that_start_alike_are_no_copies(hour: tuple[Path, DataReport]) -> None:
    """The first line is an earlier file's, the rest is its own."""
    directory, _ = hour
    path = made(hour, "same_first_line")
    before = directory / f"DATA_{int(path.name[5:17]) - 1}.csv"

    first, *others = path.read_bytes().splitlines(keepends=True)
    assert before.read_bytes().startswith(first)
    assert not set(others) & set(before.read_bytes().splitlines(keepends=True)[1:]) - {b"\n"}


def test_faults_need_no_large_files(tmp_path: Path) -> None:
    """One record a file is enough for every odd file, copies and links included."""
    options = DataOptions(files=60, records_per_file=1, customers=1, faults=0.5)

    assert set(FILE_FAULTS) <= set(write_data(tmp_path, options).faults)
