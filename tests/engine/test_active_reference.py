"""What is said of the active reference: its files, what of it is not in force, and when a start is refused for it."""

import pytest

from support.engine_runs import DIALS, LONG_AGO_S, RULES, Place, place, record, wait_for
from upswell.audit import status
from upswell.errors import ConfigError
from upswell.state.maintenance.verify import verify
from upswell.state.reader import StateReader

__all__ = ("place",)
BAD_RULE = "left out: RULES.csv line 4: start and end are the same: write 0,24 for the whole day"


def write_bad_rule(place: Place) -> None:
    """RULES with a fourth line that is left out at a first start."""
    place.write(place.root / "rules" / "RULES.csv", RULES + b"4,Snap,9,9,5\n")


def files_told(place: Place) -> list[dict[str, object]]:
    """Files and counts as each "reference in force" gave them."""
    return [
        {kind: words for kind, words in fields.items() if kind.endswith("_files")}
        for event, fields in place.heard.events
        if event == "reference in force"
    ]


def test_a_rule_that_was_left_out_is_told_at_each_start_until_it_is_repaired(place: Place) -> None:
    """In the log, in the figures and in ``status``; a refused edit on top of it does not hide it."""
    state = place.output / ".upswell"
    write_bad_rule(place)
    for _ in range(2):
        assert [BAD_RULE] == place.once().warnings
        assert {"rules": 1, "segment": 0} == place.heard.summary.standing.left_out
        found = status.read_status(state)
        assert "RULES is active without 1 line of it: RULES.csv line 4: " in found.left_out
        assert [found.left_out] == [words.partition("; ")[0] for words in found.summary.warnings]

    place.write(place.root / "rules" / "RULES.csv", RULES + b"x\n")
    refused, standing = sorted(place.once().warnings)
    assert BAD_RULE == standing
    assert "were refused and the last good version stays active" in refused

    place.write(place.root / "rules" / "RULES.csv", RULES + b"4,Snap,9,10,5\n")
    assert [] == place.once().warnings
    assert {"rules": 0, "segment": 0} == place.heard.summary.standing.left_out
    found = status.read_status(state)
    assert ("", []) == (found.left_out, found.summary.warnings)
    assert [] == verify(state)


def test_of_many_lines_that_were_left_out_the_first_are_told(place: Place) -> None:
    """A file of thousands of bad lines does not fill the log at each start, nor ``status``."""
    place.write(place.root / "rules" / "RULES.csv", RULES + b"x\n" * 3000)
    place.once()
    told = place.once().warnings
    (words,) = status.read_status(place.output / ".upswell").summary.warnings

    assert 11 == len(told)
    assert "left out: 2,990 more lines of RULES: run upswell check" == told[-1]
    assert "RULES is active without 3,000 lines of it: RULES.csv line 4: " in words
    assert 3 == words.count("RULES.csv line")


def test_bad_lines_of_the_segment_are_a_figure(place: Place) -> None:
    """A run says at each start how many there are; ``status`` has their number and no warning."""
    bad = "".join(f"{dial}\n" for dial in DIALS) + "12a4\nx9\n"
    place.write(place.root / "segment" / "SEGMENT.csv", bad.encode())
    for _ in range(2):
        (told,) = place.once().warnings
        assert "left out: 2 lines of SEGMENT are not valid MSISDNs, the first is" in told
    found = status.read_status(place.output / ".upswell")

    assert ([], "") == (found.summary.warnings, found.left_out)
    assert 2 == found.identity.origins["segment"].bad_lines
    assert {"rules": 0, "segment": 2} == place.heard.summary.standing.left_out


def test_every_file_is_named_with_its_count_when_a_version_is_accepted(place: Place) -> None:
    """At a start and during a run; the copy beside the file is warned of, by its own line and once."""
    rules, segment = place.root / "rules", place.root / "segment"
    place.write(segment / "Copy of SEGMENT.csv", b"0100000099\n0100000098")
    place.write(segment / "_older_phones.csv", b"")
    with place.running():
        wait_for(lambda: len(files_told(place)) == 1, "the first reference")
        place.write(rules / "RULES.csv.bak.csv", b"7,Other,1,2,3\n", LONG_AGO_S + 1)
        wait_for(lambda: "RULES.csv.bak.csv)" in place.heard.text(), "the copy")
    lists = "Copy of SEGMENT.csv (2 lines), SEGMENT.csv (20 lines), _older_phones.csv (0 lines)"
    told = [str(fields["text"]) for event, fields in place.heard.events if event == "warning"]

    assert [
        {"rules_files": "RULES.csv (3 rules)", "segment_files": lists},
        {"rules_files": "RULES.csv (3 rules), RULES.csv.bak.csv (1 rule)", "segment_files": lists},
    ] == files_told(place)
    assert [1, 1] == [
        sum(words in each for each in told)
        for words in ("a backup copy (Copy of SEGMENT.csv)", "a backup copy (RULES.csv.bak.csv)")
    ]
    copies = [
        words
        for words in status.read_status(place.output / ".upswell").summary.warnings
        if "looks like a backup copy" in words
    ]
    assert 2 == len(copies)
    assert all("to leave it out, move it to another directory" in words for words in copies)


def test_a_refused_edit_names_the_copy_that_it_may_come_from(place: Place) -> None:
    """The rule that clashes with a copy of itself is right: what is to be done is to move the copy."""
    place.once()
    place.write(place.root / "rules" / "RULES (copy).csv", RULES)
    told = "; ".join(place.once().warnings)

    assert "overlaps" in told
    assert "looks like a backup copy (RULES (copy).csv)" in told


def test_a_strict_start_keeps_nothing_of_a_reference_that_is_warned_of(place: Place) -> None:
    """It ends with 78 and the texts before the first batch; once the line is repaired it is a first start still."""
    place.file("202004171000", record(0, 1, 200, "100000"))
    write_bad_rule(place)
    with pytest.raises(
        ConfigError, match=r"no start with 1 warning: left out: RULES\.csv line 4"
    ) as (refused):
        place.once(strict=True)
    assert "or start with UPSWELL_STRICT=0" in refused.value.hint
    with StateReader.open(place.output / ".upswell") as reader:
        assert (None, None) == (reader.current_versions(), reader.last())
    assert [] == list(place.output.glob("*/NOTIFY_*"))

    place.write(place.root / "rules" / "RULES.csv", RULES)
    assert 1 == place.once(strict=True).outcomes["notified"]
    place.law()


@pytest.mark.parametrize("what", ["left out", "refused", "cut", "copy"])
def test_a_strict_start_is_refused_for_what_an_earlier_one_accepted(
    place: Place, what: str
) -> None:
    """A standing warning, an edit that is refused, a last line that may be cut, a copy: nothing of DATA is read."""
    rules = place.root / "rules"
    texts = {
        "left out": BAD_RULE,
        "refused": "were refused and the last good version stays active",
        "cut": "has no line end",
        "copy": "a backup copy (RULES_old.csv)",
    }
    if what == "left out":
        write_bad_rule(place)
    if what == "copy":
        place.write(rules / "RULES_old.csv", b"9,Other,1,2,3\n")
    if what != "cut":
        place.once()
    if what == "refused":
        place.write(rules / "RULES.csv", RULES + b"x\n")
    if what == "cut":
        place.write(rules / "RULES.csv", RULES.rstrip())
    place.file("202004171000", record(0, 1, 200, "100000"))
    with pytest.raises(ConfigError) as refused:
        place.once(strict=True)

    assert texts[what] in refused.value.message
    with StateReader.open(place.output / ".upswell") as reader:
        assert reader.last() is None
    assert 1 == place.once().outcomes["notified"]


def test_a_strict_start_without_a_warning_is_a_start(place: Place) -> None:
    """And again, over the state that it left."""
    for _ in range(2):
        assert [] == place.once(strict=True).warnings
