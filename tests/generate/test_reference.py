"""Generated RULES and SEGMENT: good input, the same for the same seed, and never over a file that is there."""

from pathlib import Path

import pytest

from upswell.errors import OutputUnwritable, UsageError
from upswell.generate.generator import write_rules, write_segment
from upswell.generate.population import choose_segment, make_msisdns
from upswell.reference.rules import Ruleset, parse_rules
from upswell.reference.segment import parse_segment


def parse(path: Path) -> Ruleset:
    """The rules in a file."""
    return parse_rules([(path.name, path.read_bytes())])


def test_rules_are_seven_good_ones_like_the_briefs(tmp_path: Path) -> None:
    """Every line is a rule; one window crosses midnight, one is the whole day; one session seldom exceeds any."""
    ruleset = parse(write_rules(tmp_path / "rules"))

    assert ((), 7) == (ruleset.problems, len(ruleset.rules))
    assert ["Twitter", "WhatsApp", "Youtube"] == ruleset.applications()[:3]
    assert any(rule.start_min > rule.end_min for rule in ruleset.rules)
    assert any((0, 1440) == (rule.start_min, rule.end_min) for rule in ruleset.rules)
    assert all(500 <= rule.threshold <= 3000 for rule in ruleset.rules)


def test_as_many_rules_as_wanted(tmp_path: Path) -> None:
    """Beyond the names there are, applications are numbered; the first rules stay what they are."""
    few = parse(write_rules(tmp_path / "few.csv", services=3))
    many = parse(write_rules(tmp_path / "many.csv", services=1000))

    assert ((), 1000) == (many.problems, len(many.rules))
    assert few.rules == many.rules[:3]


def test_a_segment_is_a_share_of_good_dials(tmp_path: Path) -> None:
    """A tenth of the customers, each once, as dials of eleven digits that begin with a zero."""
    path = write_segment(tmp_path / "segment", customers=50_000)
    parsed = parse_segment([path.read_bytes()])

    assert (5000, 0, []) == (len(parsed.msisdns), parsed.duplicates, parsed.bad)
    assert {11} == {len(dial) for dial in parsed.msisdns}
    assert {"010", "011", "012", "015"} == {dial[:3] for dial in parsed.msisdns}


def test_customers_are_never_the_same_dial() -> None:
    """Beyond a million customers, too, each has a dial of their own."""
    indexes = [*range(0, 400_000_000, 9_973), *range(2_000_000, 2_050_000)]
    indexes = sorted(set(indexes))

    assert len(indexes) == len(set(make_msisdns(1, indexes)))


def test_a_smaller_segment_is_the_first_part_of_a_larger_one() -> None:
    """Rules, segment and data agree although they were made for different sizes."""
    assert list(choose_segment(1, 1000, 0.1)) == list(choose_segment(1, 5000, 0.1))[:100]


def test_the_seed_decides(tmp_path: Path) -> None:
    """The same seed gives the same bytes, another one gives others."""
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_rules(tmp_path / f"rules_{name}.csv", seed=seed)
        write_segment(tmp_path / f"segment_{name}.csv", seed=seed, customers=1000)
    content = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    for kind in ("rules", "segment"):
        assert content[f"{kind}_a.csv"] == content[f"{kind}_b.csv"]
        assert content[f"{kind}_a.csv"] != content[f"{kind}_c.csv"]


def test_a_path_is_a_directory_unless_it_ends_in_csv(tmp_path: Path) -> None:
    """A directory is made and gets the file; a file path is the file; both say where it is."""
    assert tmp_path / "new" / "RULES.csv" == write_rules(tmp_path / "new")
    assert tmp_path / "mine.csv" == write_rules(tmp_path / "mine.csv")
    (tmp_path / "odd.csv").mkdir()
    assert tmp_path / "odd.csv" / "SEGMENT.csv" == write_segment(tmp_path / "odd.csv", customers=10)


def test_a_file_that_is_there_is_never_changed(tmp_path: Path) -> None:
    """Made again it is left as it is; with another content the command is refused, and nothing is left behind."""
    path = write_segment(tmp_path, customers=100)
    before = path.read_bytes()

    write_segment(tmp_path, customers=100)
    with pytest.raises(OutputUnwritable) as refused:
        write_segment(tmp_path, customers=200)

    assert "remove it" in refused.value.hint
    assert before == path.read_bytes()
    assert [path] == list(tmp_path.iterdir())


def test_a_missing_parent_is_named(tmp_path: Path) -> None:
    """Only the last directory of a path is made; the error says how to make the others."""
    with pytest.raises(OutputUnwritable) as refused:
        write_rules(tmp_path / "a" / "b")
    with pytest.raises(OutputUnwritable):
        write_rules(tmp_path / "a" / "RULES.csv")

    assert f"mkdir -p {tmp_path / 'a'}" in refused.value.hint


def test_a_directory_cannot_stand_where_a_file_is(tmp_path: Path) -> None:
    """A file without .csv is not taken for a directory, and not overwritten."""
    (tmp_path / "notes").write_text("mine")

    with pytest.raises(OutputUnwritable):
        write_rules(tmp_path / "notes")

    assert "mine" == (tmp_path / "notes").read_text()


@pytest.mark.parametrize(
    "options", [{"customers": 0}, {"customers": 400_000_001}, {"share": -0.1}, {"share": 2.0}]
)
def test_numbers_out_of_range_are_a_usage_error(tmp_path: Path, options: dict[str, float]) -> None:
    """The hint gives the range; nothing is written."""
    with pytest.raises(UsageError) as refused:
        write_segment(tmp_path / "segment", **options)

    assert "choose from" in refused.value.hint
    assert [] == list(tmp_path.iterdir())
