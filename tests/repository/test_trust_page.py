"""docs/trust.md says what was counted, and nothing else."""

import ast

from support import trust
from tools import trust_report


def test_the_page_is_made_of_the_counts() -> None:
    """Nobody edits the page: it is what the figures beside it give."""
    kept = list(trust.read(trust_report.FIGURES))

    assert trust_report.page(kept) == trust_report.PAGE.read_text()
    assert [] == [one for one in kept if one.wrong]


def test_pieces_of_a_release_run_are_added_up_and_the_fullest_run_is_shown() -> None:
    """A run that was cut off and went on counts once; a sample never stands for a release run."""
    piece = trust.Count(
        "T1", "a.py::b", "Claim.", "kills", True, 0, 100, 250, 0, 0, "x", "c", "2020-04-17", 1.0
    )
    cut_off = [piece, piece._replace(start=100), piece._replace(start=200, covered=50)]
    again = [piece._replace(sources="y", start=100, commit="d")]
    sample = piece._replace(release=False, covered=30, seed=7)

    assert [sample, piece._replace(covered=250, seconds=3.0)] == trust_report.runs(
        [*cut_off, sample, *again]
    )


def test_what_went_wrong_stays_until_as_much_went_well() -> None:
    """A red run is not hidden by an older one that covered more."""
    full = trust.Count(
        "T1", "a.py::b", "Claim.", "kills", True, 0, 250, 250, 0, 0, "x", "c", "2020-04-17", 1.0
    )
    red = full._replace(sources="y", covered=100, wrong=1)
    green = full._replace(sources="z")

    assert [red] == trust_report.runs([full, red])
    assert [green] == trust_report.runs([full, red, green])


def test_every_campaign_is_on_the_page() -> None:
    """No promise is tried without being counted."""
    marked = {
        f"{path.relative_to(trust.ROOT / 'tests')}::{node.name}"
        for path in (trust.ROOT / "tests").rglob("test_*.py")
        for node in ast.parse(path.read_text("utf-8")).body
        if isinstance(node, ast.FunctionDef)
        and any("pytest.mark.trust" in ast.unparse(each) for each in node.decorator_list)
    }
    counted = {one.test.partition("[")[0] for one in trust.read(trust_report.FIGURES)}

    assert len(marked) > 40
    assert set() == marked - counted
