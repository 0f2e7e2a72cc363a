"""Msisdns in another form than the segment's: which changes of form are found, and from which share on."""

from pathlib import Path

import pytest

from support.inputs import write
from upswell.engine import other_forms
from upswell.engine.other_forms import OtherForms, learn_codes
from upswell.kernel import Range, Segment

NATIONAL = [f"012{n:08}" for n in range(0, 500, 7)]


def segment_of(*msisdns: str) -> Segment:
    """A segment of these."""
    return Segment.parse([b"".join(f"{one}\n".encode() for one in msisdns)])[0]


def form(national: str, which: str) -> str:
    """A national number with its trunk 0 in one of the common forms."""
    return {
        "trunk": national,
        "code": f"20{national[1:]}",
        "zeros": f"0020{national[1:]}",
        "bare": national[1:],
    }[which]


FORMS = ["trunk", "code", "zeros", "bare"]


@pytest.mark.parametrize("segment_form", FORMS)
@pytest.mark.parametrize("data_form", FORMS)
def test_each_form_is_found_in_each_other(segment_form: str, data_form: str) -> None:
    """Half of the records are in the segment's form and half in another, and only then something is told."""
    segment = segment_of(*(form(one, segment_form) for one in NATIONAL))
    found = OtherForms()
    found.add([form(one, segment_form) for one in NATIONAL], segment)
    assert not found.is_known
    found.add([form(one, data_form) for one in NATIONAL] + ["0999999999"], segment)

    if data_form == segment_form:
        assert (0.0, "") == (found.share(), found.sentence())
        return
    assert len(NATIONAL) / (len(NATIONAL) + 1) == found.share()
    told = found.sentence()
    assert told.startswith("99% of the sampled MSISDNs outside the segment are in it in another")
    assert told.endswith("; deliver both in one form")
    assert 1 == told.count("DATA writes")
    for one in NATIONAL:
        assert form(one, data_form) not in told
        assert form(one, segment_form) not in told


def test_the_code_of_one_digit_or_three_is_learnt() -> None:
    """From the members alone; 00 before it does not matter, and a national number says nothing."""
    assert {"4", "49", "491"} == set(learn_codes(["4917012345", "004917012346", "01709999999"]))
    assert {"7"} == set(learn_codes(["79031112233", "74951112233", "78121112233"]))
    assert [] == learn_codes(["0124567890"])


def test_less_than_one_in_a_hundred_is_chance() -> None:
    """It is told from one in a hundred on, of each change by itself."""
    segment = segment_of(*NATIONAL)
    others = [f"0999{n:07}" for n in range(99)]
    found = OtherForms()
    found.add([*others, form(NATIONAL[0], "code")], segment)
    assert 0.01 == found.share()
    assert "1% of the sampled" in found.sentence()

    found.add(["0888888888"], segment)
    assert (0.0, "") == (found.share(), found.sentence())


def test_a_fault_that_is_mended_is_no_longer_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Older samples count less and less."""
    monkeypatch.setattr(other_forms, "_OUTSIDE_MAX", 100)
    segment = segment_of(*NATIONAL)
    found = OtherForms()
    found.add([form(one, "code") for one in NATIONAL], segment)
    assert 1.0 == found.share()
    for _ in range(12):
        found.add([f"0999{n:07}" for n in range(100)], segment)
    assert 0.0 == found.share()


def test_a_leading_zero_alone_is_known_as_such() -> None:
    """So that it is not told twice."""
    segment = segment_of(*NATIONAL)
    bare, mixed = OtherForms(), OtherForms()
    bare.add([form(one, "bare") for one in NATIONAL], segment)
    mixed.add([form(one, which) for one in NATIONAL for which in ("bare", "code")], segment)

    assert (True, False) == (bare.is_zero_alone, mixed.is_zero_alone)


def test_what_is_no_msisdn_in_another_form_is_none() -> None:
    """Too short or too long."""
    found = OtherForms()
    found.add(["00123", "123456789012345", "12345"], segment_of("123456", "0123456789012345"[:15]))

    assert 0.0 == found.share()


def wanted(path: Path, start: int, end: int, *, compressed: bool = False) -> Range:
    """A range of a file."""
    return Range(
        path.name, bytes(path), compressed, start, end, True, 0, 0, 0, 99991231, 0, 1 << 20
    )  # fmt: skip


def test_a_sample_is_of_whole_lines_of_some_ranges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From where they begin; a few batches at once, then one a minute; a file that went is left out."""
    segment = segment_of(*NATIONAL)
    lines = [f"{form(one, 'code')},1,5,20200417100000\n" for one in NATIONAL[:3]]
    path = write(tmp_path / "DATA_202004171000.csv", "msisdn,service\n" + "".join(lines))
    whole = wanted(path, 0, path.stat().st_size - 4)
    taken: list[list[str]] = []
    monkeypatch.setattr(OtherForms, "add", lambda _, some, __: taken.append(some))
    found = OtherForms()
    found.sample([whole, wanted(tmp_path / "gone", 0, 9)], segment, 1.0)
    assert [[form(one, "code") for one in NATIONAL[:2]], []] == taken

    taken.clear()
    found.sample([wanted(path, 15 + len(lines[0]), whole.end + 4)], segment, 2.0)
    assert [[form(one, "code") for one in NATIONAL[1:3]]] == taken
    for _ in range(9):
        found.sample([whole] * 11, segment, 3.0)
    assert 1 + 3 * other_forms._SAMPLED_RANGES == len(taken)
    found.sample([whole], segment, 3.0 + other_forms.SAMPLE_S)
    assert 2 + 3 * other_forms._SAMPLED_RANGES == len(taken)
