"""Runs over files that go on under other names: the law, and every proof over what is left of them."""

import gzip
import random
from pathlib import Path

import pytest

from support import law
from support.engine_runs import DIALS, LONG_AGO_S, Place, place, record, traffic, wait_for
from upswell.audit.replay.explain import explain
from upswell.audit.replay.reconcile import reconcile
from upswell.audit.status import read_status
from upswell.source.listing import archived_in
from upswell.state.maintenance.verify import verify
from upswell.state.reader import StateReader

__all__ = ["place"]
OLD, NEW = "DATA_202004171000.csv", "DATA_202004171030.csv"


def proven(place: Place) -> None:
    """Assert that all that looks at the state agrees with it."""
    state = place.output / ".upswell"
    found = reconcile(state)
    assert [] == found.differences + found.unproven
    for dial in DIALS[:6]:
        explained = explain(state, dial)
        assert [] == explained.differences + explained.unproven
        assert len(explained.entries) == len(
            {(one.decided.line.file, one.decided.line.byte) for one in explained.entries}
        )
    assert [] == verify(state)


@pytest.mark.parametrize("seed", range(6))
def test_any_history_of_names_obeys_the_law(place: Place, seed: int) -> None:
    """A file grows over some runs, and is renamed or packed between them; no line is decided twice."""
    generator = random.Random(seed)
    content = traffic(generator, 80)
    cuts = [*sorted(generator.sample(range(200, len(content)), 4)), len(content)]
    current = place.file("202004171000", content[: cuts[0]])
    place.file("202004170900", traffic(generator, 5))
    place.once()
    names = [current.name]
    for number, cut in enumerate(cuts[1:], 1):
        current.unlink()
        packed = number == 4 or generator.random() < 0.3
        name = f"DATA_20200417100{generator.choice([0, number])}.csv" + ".gz" * packed
        if name in names and name != names[-1]:
            name = f"DATA_20200417101{number}.csv" + ".gz" * packed
        written = content[:cut]
        current = place.write(place.data / name, gzip.compress(written) if packed else written)
        names.append(name)
        place.once(threads=generator.choice([1, 2]))

    specification = law.check(place.data, place.output)
    whole = sum(len(one) for one in (content, (place.data / "DATA_202004170900.csv").read_bytes()))
    with StateReader.open(place.output / ".upswell") as reader:
        assert whole == sum(taken.end - taken.start for taken in reader.log())
        chain = dict.fromkeys(names)
        states = [reader.file(name).state for name in chain]
    assert ["continued"] * (len(chain) - 1) + ["done"] == states
    assert specification.lines
    proven(place)


def test_nobody_is_notified_for_half_of_the_threshold(place: Place) -> None:
    """The volume before the renaming is counted once, and the one after it is added to it."""
    place.file("202004171000", record(0, 1, 100, "100000"))
    place.once()
    (place.data / OLD).unlink()
    place.file("202004171030", record(0, 1, 100, "100000") + record(1, 1, 1, "100100"))
    place.once()
    assert {} == law.published(place.output)

    (place.data / NEW).unlink()
    last = record(0, 1, 48, "100200")
    packed = record(0, 1, 100, "100000") + record(1, 1, 1, "100100") + last
    place.write(place.data / f"{NEW}.gz", gzip.compress(packed))
    place.once()

    assert {"Twitter": last} == law.published(place.output)
    events = [fields for event, fields in place.heard.events if event == "file went on"]
    assert [{"file": OLD, "under": NEW}, {"file": NEW, "under": f"{NEW}.gz"}] == events
    explained = explain(place.output / ".upswell", DIALS[0])
    assert [(OLD, NEW)] == explained.continued
    assert [OLD, f"{NEW}.gz"] == [one.decided.line.file for one in explained.entries]
    found = read_status(place.output / ".upswell")
    assert [(OLD, NEW), (NEW, f"{NEW}.gz")] == [
        (file.name, file.detail) for file in found.notable["continued"]
    ]
    assert [] == found.summary.warnings
    place.law()
    proven(place)


def test_a_running_engine_follows_a_renaming(place: Place) -> None:
    """The watcher reports both names; nothing is said to be lost."""
    first, second = record(0, 1, 100, "100000"), record(0, 1, 48, "100100")
    with place.running(), (place.data / OLD).open("ab", buffering=0) as stream:
        stream.write(first)
        wait_for(lambda: place.heard.lines == 1, "the first line is missing")
        (place.data / OLD).rename(place.data / NEW)
        stream.write(second)
        wait_for(lambda: law.published(place.output) != {}, "no notification")

    assert {"Twitter": second} == law.published(place.output)
    assert "disappeared" not in place.heard.text()
    place.law()
    proven(place)


def test_a_file_that_went_on_is_archived_and_proven_there(place: Place) -> None:
    """A replay reads what was consumed under the old name from the archive, too."""
    archive = place.root / "archive"
    content = record(0, 1, 100, "100000") + record(1, 1, 1, "100100")
    place.file("202004171000", content)
    place.once()
    (place.data / OLD).unlink()
    more = content + record(0, 1, 60, "100200")
    place.write(place.data / f"{OLD}.gz", gzip.compress(more), LONG_AGO_S)
    place.once(archive=archive, archive_after_s=0.0)
    place.once(archive=archive, archive_after_s=0.0)

    assert archived_in(archive, f"{OLD}.gz").exists()
    assert {"Twitter": record(0, 1, 60, "100200")} == law.published(place.output)
    proven(place)


def test_without_the_later_file_nothing_of_both_is_proven(place: Place) -> None:
    """What it continued cannot be read either; a whole copy under the old name proves that part again."""
    content = record(0, 1, 100, "100000") + record(1, 1, 1, "100100")
    place.file("202004171000", content)
    place.once()
    (place.data / OLD).rename(place.data / NEW)
    place.file("202004171030", content + record(0, 1, 60, "100200"))
    place.once()
    (place.data / NEW).unlink()
    found = reconcile(place.output / ".upswell")

    assert [OLD, NEW] == [words.split()[0] for words in found.unproven[:2]]
    assert [] == found.differences

    place.file("202004171000", content)
    found = reconcile(place.output / ".upswell")
    assert [NEW] == [words.split()[0] for words in found.unproven if words.startswith("DATA")]


@pytest.mark.parametrize("damaged", [b"0100000000,1,101", b"0200000000,1,100"])
def test_a_later_file_with_another_beginning_is_a_difference(place: Place, damaged: bytes) -> None:
    """It is told of both names, since neither holds what was consumed."""
    content = record(0, 1, 100, "100000") + record(1, 1, 1, "100100")
    place.file("202004171000", content)
    place.once()
    (place.data / OLD).unlink()
    place.file("202004171030", content + record(0, 1, 60, "100200"))
    place.once()
    later: Path = place.data / NEW
    later.write_bytes(damaged + later.read_bytes()[len(damaged) :])
    found = reconcile(place.output / ".upswell")

    assert [OLD, NEW] == [words.split()[0] for words in found.differences[:2]]
