"""What SEGMENT and RULES may lose at once, and what is taken of a file whose last line may have been cut."""

from pathlib import Path

import pytest

from support.inputs import write
from upswell.errors import ConfigError
from upswell.reference.loading import Change, Paths, load

RULE = "{0},App {0},0,24,100\n"


def rules(number: int) -> str:
    """So many rules, each of a service of its own."""
    return "".join(RULE.format(service) for service in range(1, number + 1))


def msisdns(number: int) -> str:
    """So many msisdns."""
    return "".join(f"0100000{each:04}\n" for each in range(number))


def changed(
    place: Path, before: tuple[str, str], after: tuple[str, str], *, accept: bool = False
) -> Change:
    """The change from one content of (RULES, SEGMENT) to another."""
    paths = Paths(place / "RULES.csv", place / "SEGMENT.csv", None)
    for path, text in zip(paths[:2], before, strict=True):
        write(path, text)
    first = load(paths, None, False)
    for path, text in zip(paths[:2], after, strict=True):
        write(path, text)
    return load(paths, first.reference, accept)


@pytest.mark.parametrize(
    ("before", "after", "accepted"),
    [(20, 10, True), (20, 9, False), (19, 9, False), (18, 9, True), (17, 8, True), (9, 1, True), (2, 1, True),
     (100, 40, False)],
)  # fmt: skip
def test_rules_are_not_lost_by_the_dozen(
    tmp_path: Path, before: int, after: int, accepted: bool
) -> None:
    """A change that loses more than half of the rules, and at least ten, is refused unless that is accepted."""
    texts = (rules(before), msisdns(3)), (rules(after), msisdns(3))
    change = changed(tmp_path, *texts)

    assert accepted == change.accepted
    assert changed(tmp_path, *texts, accept=True).accepted
    if not accepted:
        assert [f"RULES lost {before - after} of {before} rules (limit 50%)"] == change.words


def test_rules_are_counted_and_not_compared(tmp_path: Path) -> None:
    """Whoever moves every window loses none."""
    moved = rules(30).replace(",0,24,", ",8,20,")

    assert changed(tmp_path, (rules(30), msisdns(3)), (moved, msisdns(3))).accepted


@pytest.mark.parametrize(
    ("before", "after", "accepted"),
    [(300, 150, True), (300, 149, False), (150, 51, True), (150, 50, False), (3, 1, True)],
)
def test_msisdns_are_not_lost_by_the_hundred(
    tmp_path: Path, before: int, after: int, accepted: bool
) -> None:
    """A change that loses more than half of the segment, and at least a hundred, is refused."""
    change = changed(tmp_path, (rules(1), msisdns(before)), (rules(1), msisdns(after)))

    assert accepted == change.accepted


@pytest.mark.parametrize(
    ("after", "name"),
    [
        (("1,App 1,0,24,1", msisdns(3)), "RULES.csv (RULES)"),
        ((rules(1), msisdns(3) + "0100000"), "SEGMENT.csv (SEGMENT)"),
        ((rules(1) + "2,App 2,0,24,100\r", msisdns(3)), "RULES.csv (RULES)"),
    ],
)
def test_a_last_line_without_an_end_is_refused_while_a_good_version_is_there(
    tmp_path: Path, after: tuple[str, str], name: str
) -> None:
    """It may have been cut; --accept-reference takes it with a warning."""
    before = rules(1), msisdns(3)
    change = changed(tmp_path, before, after)
    accepted = changed(tmp_path, before, after, accept=True)

    assert not change.accepted
    assert any(f"{name} has no line end" in words for words in change.words)
    assert accepted.accepted
    assert any(f"{name} has no line end" in words for words in accepted.warnings)


def test_a_first_start_takes_a_last_line_without_an_end(tmp_path: Path) -> None:
    """There is no better version: it is taken, with a warning."""
    write(tmp_path / "RULES.csv", "1,A,0,24,100")
    write(tmp_path / "SEGMENT.csv", "0100000001")
    change = load(Paths(tmp_path / "RULES.csv", tmp_path / "SEGMENT.csv", None), None, False)

    assert (1, 1) == (len(change.reference.ruleset.rules), len(change.reference.segment))
    assert 2 == sum("has no line end" in words for words in change.warnings)


def test_an_unusable_first_version_is_an_error(tmp_path: Path) -> None:
    """Nothing is there to go on with."""
    write(tmp_path / "RULES.csv", "x\n1\n")
    write(tmp_path / "SEGMENT.csv", msisdns(3))
    with pytest.raises(ConfigError, match="RULES has no usable rule"):
        load(Paths(tmp_path / "RULES.csv", tmp_path / "SEGMENT.csv", None), None, False)


@pytest.mark.parametrize(
    ("segment", "cause"),
    [
        (msisdns(9).encode("utf-16-le"), "UTF-16"),
        (msisdns(9).replace("\n", ";x\n").encode(), "semicolons"),
        (msisdns(9).replace("\n", "\r").encode(), "carriage returns (CR) alone"),
    ],
)
def test_a_segment_without_an_msisdn_is_told_by_its_cause(
    tmp_path: Path, segment: bytes, cause: str
) -> None:
    """The error of a first start says more than that there is none."""
    paths = Paths(write(tmp_path / "RULES.csv", rules(1)), write(tmp_path / "SEGMENT.csv", segment), None)  # fmt: skip
    with pytest.raises(ConfigError) as told:
        load(paths, None, False)

    assert told.value.message.startswith("SEGMENT holds no MSISDN; ")
    assert cause in told.value.message
