"""A file that begins as a consumed one, which is still there, and is longer: it is read, and noted with its row."""

import os
from pathlib import Path

import pytest

from support.arrivals import Arrivals, name, record, records
from upswell.source import content, tracked_file
from upswell.source.file import EXPORTED_AGAIN

LINE = len(record(0))
NOTED = f"begins as {name(1)} (4 lines) and is longer: counted anew"


@pytest.fixture
def done(tmp_path: Path) -> Arrivals:
    """A DATA directory whose first file, of four lines, is done."""
    arrivals = Arrivals(tmp_path / "data")
    arrivals.write(1, records(0, 4), age_s=9)
    arrivals.write(2, record(90), age_s=9)
    arrivals.turn()
    assert ("done", "") == arrivals.state(name(1))
    return arrivals


def noted(arrivals: Arrivals, one: str) -> tuple[str, str, str]:
    """State, reason and detail of a file as they were saved last."""
    row = arrivals.row(one)
    return row.state, row.reason, row.detail


def test_a_longer_export_is_read_and_noted_for_good(done: Arrivals) -> None:
    """From its first byte; the note outlives the end of the file, a restart and what is appended."""
    done.write(3, records(0, 5), age_s=9)

    assert [(name(3), 0, 5 * LINE)] == done.turn()
    assert ("reading", EXPORTED_AGAIN, NOTED) == noted(done, name(3))
    done.write(4, record(91), age_s=9)
    done.turn()
    assert ("done", EXPORTED_AGAIN, NOTED) == noted(done, name(3))
    done.restart()
    done.append(3, record(7))
    done.turn()
    assert ("reading", EXPORTED_AGAIN, NOTED) == noted(done, name(3))


def test_a_longer_export_that_is_packed_is_noted(done: Arrivals) -> None:
    """Its content counts."""
    one = done.write_gzip(3, records(0, 6), age_s=9)

    assert [(one, 0, 6 * LINE)] == done.turn()
    assert (EXPORTED_AGAIN, NOTED) == noted(done, one)[1:]


def test_an_export_that_waits_is_compared_once(
    done: Arrivals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is offered beside a batch opens nothing; a file that nothing shorter resembles is not read for it at all."""
    compared = []

    def digests_at(path: bytes, lengths: list[int], *, compressed: bool) -> dict[int, int]:
        compared.append((Path(os.fsdecode(path)).name, lengths))
        return content.digests_at(path, lengths, compressed=compressed)

    monkeypatch.setattr(tracked_file, "digests_at", digests_at)
    done.write(3, records(0, 5), age_s=9)
    other = done.write_gzip(4, records(50, 3), age_s=9)
    done.source.scan()
    offered = [done.source.ready(without_opening=again) for again in (False, True, True)]

    assert [[name(3), other]] * 3 == [[one.name for one in each] for each in offered]
    assert [(name(3), [4 * LINE])] == compared


def test_a_longer_export_beside_its_original_is_noted_at_the_first_look(tmp_path: Path) -> None:
    """Nothing of either was consumed before; of several originals the longest is named, an unfinished line counted."""
    arrivals = Arrivals(tmp_path / "data")
    arrivals.write(1, records(0, 4), age_s=9)
    arrivals.write(2, records(0, 5)[:-1], age_s=9)
    arrivals.write(3, records(0, 7), age_s=9)
    arrivals.turn()

    assert (EXPORTED_AGAIN, NOTED) == noted(arrivals, name(2))[1:]
    longest = f"begins as {name(2)} (5 lines) and is longer: counted anew"
    assert (EXPORTED_AGAIN, longest) == noted(arrivals, name(3))[1:]


def test_a_file_that_an_archive_took_is_no_less_there(done: Arrivals) -> None:
    """What was consumed of it and moved away by us is counted anew, too."""
    done.path(1).unlink()
    done.rows.archived.add(name(1))
    done.write(3, records(0, 5), age_s=9)

    assert [(name(3), 0, 5 * LINE)] == done.turn()
    assert (EXPORTED_AGAIN, NOTED) == noted(done, name(3))[1:]


@pytest.mark.parametrize("content", [records(0, 3) + records(50, 3), record(0) * 2 + records(1, 4)])
def test_a_longer_file_with_the_same_first_record_is_not_noted(
    done: Arrivals, content: bytes
) -> None:
    """Another line among those of the consumed one makes it another content."""
    done.write(3, content, age_s=9)

    assert [(name(3), 0, len(content))] == done.turn()
    assert ("reading", "", "") == noted(done, name(3))


def test_an_export_whose_original_has_left_goes_on_from_it(done: Arrivals) -> None:
    """It was noted, and not read yet, when the other one left: then nothing is counted anew."""
    done.write(3, records(0, 5), age_s=9)
    done.source.scan()
    assert [name(3)] == [one.name for one in done.source.ready()]
    done.path(1).unlink()

    assert [(name(3), 4 * LINE, 5 * LINE)] == done.turn()
    assert ("reading", "", "") == noted(done, name(3))
    assert name(1) == done.row(name(3)).continues


def test_an_export_of_a_file_that_went_on_names_it_as_it_is_called_now(done: Arrivals) -> None:
    """What lies there under the old name no more cannot be looked up."""
    done.path(1).rename(done.path(5))
    done.turn()
    assert ("continued", name(5)) == (done.row(name(1)).state, done.row(name(1)).detail)
    done.write(6, records(0, 5), age_s=9)
    done.turn()

    assert (EXPORTED_AGAIN, NOTED.replace(name(1), name(5))) == noted(done, name(6))[1:]


def test_an_export_that_is_written_anew_before_it_is_read_is_judged_anew(done: Arrivals) -> None:
    """What was noted of its old content does not stay with the new one."""
    done.write(3, records(0, 5), age_s=9)
    done.source.scan()
    assert [name(3)] == [one.name for one in done.source.ready()]
    assert ("waiting", EXPORTED_AGAIN, NOTED) == noted(done, name(3))
    done.write(3, records(0, 3) + records(50, 3), age_s=8)

    assert [(name(3), 0, 6 * LINE)] == done.turn()
    assert ("reading", "", "") == noted(done, name(3))
