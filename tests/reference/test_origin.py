"""What a version was read from: a small record of its files, and the names that look like backup copies."""

import json

import pytest

from upswell.reference.origin import FILES_NAMED_MAX, Origin, OriginFile, looks_like_copy


@pytest.mark.parametrize(
    "name",
    [
        "RULES (copy).csv", "RULES (copy 2).csv", "RULES - Copy.csv", "Copy of RULES.csv", "RULES_old.csv",
        "RULES_OLD_20200417.csv", "rules.old.csv", "SEGMENT.csv.bak.csv", "SEGMENT_Backup.csv", "backup_SEGMENT.csv",
        "RULES~.csv",
    ],
)  # fmt: skip
def test_a_backup_copy_is_known_by_its_name(name: str) -> None:
    """As editors, file managers, browsers and people name them, in any case."""
    assert looks_like_copy(name)


@pytest.mark.parametrize(
    "name",
    [
        "RULES.csv", "_older_phones.csv", "threshold.csv", "Gold.csv", "old_town.csv", "copyright.csv",
        "copy_shops.csv", "bakery.csv", "RULES_20200417.csv", "SEGMENT2.csv", "(vip).csv",
    ],
)  # fmt: skip
def test_a_name_that_only_holds_such_letters_is_none(name: str) -> None:
    """A warning of a file that is meant would teach people to pass over warnings."""
    assert not looks_like_copy(name)


def test_a_file_that_is_alone_is_no_copy() -> None:
    """Somebody chose it: there is nothing beside it that it could repeat."""
    assert "" == Origin.of(["RULES_old.csv"], [3]).describe_copies()
    assert "RULES_old.csv" in Origin.of(["RULES.csv", "RULES_old.csv"], [3, 3]).describe_copies()


def test_a_number_in_brackets_tells_a_copy_beside_the_name_without_it() -> None:
    """A browser writes so what is there already; the parts of a segment are numbered, too, and are no copies."""
    parts = [f"part ({n}).csv" for n in (1, 2, 3)]

    assert "" == Origin.of(parts, [1, 1, 1]).describe_copies()
    assert ("RULES(2).csv", "RULES (1).csv") == Origin.of(
        ["RULES(2).csv", "RULES (1).csv", "RULES.csv"], [1, 1, 1]
    ).copies


def test_of_many_files_the_first_are_named_and_every_copy_is_found() -> None:
    """Thousands of files make no long record, and one that is among the last is still told."""
    names = [f"part-{at:04}.csv" for at in range(5000)] + [f"zone (copy {n}).csv" for n in range(5)]
    origin = Origin.of(names, [1, 2] + [7] * (FILES_NAMED_MAX - 2))
    words = origin.describe_files("rules")

    assert words.startswith("part-0000.csv (1 rule), part-0001.csv (2 rules), ")
    assert words.endswith("part-0009.csv (7 rules) and 4,995 more")
    assert "zone (copy 0).csv, zone (copy 1).csv, zone (copy 2).csv and 2 more)" in (
        origin.describe_copies()
    )
    assert len(json.dumps(origin.to_json())) < 1000


def test_a_record_is_read_back_and_holds_no_msisdn() -> None:
    """What the state keeps is what was given to it, with the digits of a name masked."""
    origin = Origin.of(["0126545098.csv", "a\x1b.csv"], [1, 2], 3, ["first", "second"])

    assert (OriginFile("0126•••098.csv", 1), OriginFile("a\\x1b.csv", 2)) == origin.files
    assert origin == Origin.of_json(json.loads(json.dumps(origin.to_json())))
    for damaged in (None, [], {"files": []}, {"files": [{"name": "a"}]}):
        with pytest.raises(ValueError, match=r"."):
            Origin.of_json(damaged)
