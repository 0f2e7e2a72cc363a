"""Pruning: notifications of days that are no longer kept go, little by little, and whoever is asked says so."""

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from support.engine_runs import DIALS, Place, place, record
from support.replays import state
from upswell.audit import sent
from upswell.audit.replay.explain import explain
from upswell.audit.replay.reconcile import reconcile
from upswell.cli.main import commands
from upswell.config.sources import resolve
from upswell.errors import ConfigError
from upswell.state import row_writer
from upswell.state.maintenance.backup import back_up
from upswell.state.maintenance.forget import forget
from upswell.state.maintenance.verify import verify
from upswell.state.reader import StateReader

__all__ = ("place",)
DAYS = ("20200417", "20200418", "20200419", "20200420")


def days(place: Place, *, keep: int | None) -> None:
    """A day's notifications to six customers, day after day, a run each."""
    for day in DAYS:
        lines = b"".join(record(dial, 1, 200, "100000", day) for dial in range(6))
        place.file(f"{day}1000", lines)
        place.once(keep_notifications_days=keep)


def kept(place: Place) -> list[int]:
    """The day of each notification in the state."""
    with StateReader.open(state(place)) as reader:
        return [day for (day,) in reader._rows("SELECT day FROM notification ORDER BY day")]


def test_older_days_are_pruned_and_counts_stay(place: Place) -> None:
    """With two days kept the rows of the two before are gone; what was sent is still counted."""
    days(place, keep=2)

    assert sorted(int(day) for day in DAYS[2:] for _ in range(6)) == kept(place)
    assert {(int(day), "Twitter"): 6 for day in DAYS} == sent.counts(
        state(place), sent.SentFilter()
    )
    assert 12 == sent.pruned(state(place), sent.SentFilter())
    assert 0 == sent.pruned(state(place), sent.SentFilter(batch=1))
    assert 12 == len(list(sent.rows(state(place), sent.SentFilter())))
    assert [] == verify(state(place))
    place.law()


def test_all_is_kept_unless_asked(place: Place) -> None:
    """Without the setting nothing is ever deleted."""
    days(place, keep=None)

    assert 24 == len(kept(place))


def test_a_commit_prunes_so_many_rows_and_no_more(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A day's end is worked off over some commits, twice as fast as rows come, and everything stays sound meanwhile."""
    monkeypatch.setattr(row_writer, "PRUNED_ROWS_MIN", 4)
    days(place, keep=None)
    left = []
    for minute in range(4):
        place.file(f"202004201{minute}01", record(7 + minute, 1, 200, "110000", DAYS[-1]))
        place.once(keep_notifications_days=2)
        left.append(sum(day < 20200419 for day in kept(place)))
        found = reconcile(state(place))

        assert ([], [], 12) == (found.differences, found.unproven, found.pruned)
        assert [] == verify(state(place))
        assert not sent.minutes(state(place), 20200418, "Twitter")
        assert sent.minutes(state(place), 20200419, "Twitter")
    assert [8, 4, 0, 0] == left


@pytest.mark.parametrize("keep", [2, 3, 4])
@pytest.mark.parametrize("order", [DAYS, (DAYS[0], DAYS[1], DAYS[0], DAYS[3]), DAYS[:3]])
def test_a_batch_over_more_days_than_are_kept_is_sound(
    place: Place, tmp_path: Path, keep: int, order: tuple[str, ...]
) -> None:
    """Rows are judged by their own days: what is pruned of a batch is no damage, in the state and in its backup."""
    for at, day in enumerate(order):
        lines = b"".join(record(dial, 1 + at % 2, 200, "100000", day) for dial in range(6))
        place.file(f"{max(order[: at + 1])}10{at:02}", lines)
    for dial in range(2):
        place.once(keep_notifications_days=keep)
        assert [] == verify(state(place))
        place.file(f"{order[-1]}11{dial:02}", record(7 + dial, 1, 200, "110000", order[-1]))
    back_up(state(place), tmp_path / "copy")

    assert [] == verify(tmp_path / "copy")
    assert [] == reconcile(state(place)).differences


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("DELETE FROM notification WHERE day = 20200420 AND msisdn LIKE '%3'", "totals by day"),
        ("UPDATE notification SET batch = 2 WHERE msisdn LIKE '%4'", "batch 2 counts other"),
        (
            "UPDATE notification SET raw = CAST(raw || '00' AS BLOB) WHERE msisdn LIKE '%4'",
            "batch 2 are not those",
        ),
        ("UPDATE notified_total SET lines = 5 WHERE day = 20200417", "sums over the batches"),
    ],
)
def test_what_is_missing_beside_pruned_rows_is_told(
    place: Place, statement: str, words: str
) -> None:
    """That older rows of a batch are pruned hides no change of those that are kept, nor of the totals."""
    for day in DAYS:
        lines = b"".join(record(dial, 1, 200, "100000", day) for dial in range(6))
        place.file(f"{day}1000", lines)
    place.once(keep_notifications_days=2)
    place.file(
        f"{DAYS[-1]}1001",
        record(7, 1, 200, "110000", DAYS[-1]) + record(14, 1, 200, "110000", DAYS[-1]),
    )
    place.once(keep_notifications_days=2)
    assert [] == verify(state(place))
    with sqlite3.connect(state(place) / "checkpoint.db") as db:
        db.execute(statement)
    db.close()

    assert words in " ".join(verify(state(place)))


def test_a_story_says_what_is_pruned(place: Place) -> None:
    """The lines of old days are told all the same; that the state says so too is no longer claimed."""
    days(place, keep=2)
    story = explain(state(place), DIALS[1])

    assert ["notified"] * 4 == [entry.outcome for entry in story.entries]
    assert [] == story.differences
    assert ["notifications before 2020-04-19 are pruned"] == [
        sentence.split(":")[0] for sentence in story.unproven
    ]
    assert [] == explain(state(place), DIALS[1], day=20200420).unproven


def test_pruned_and_forgotten_go_together(place: Place) -> None:
    """Who was forgotten before is pruned with all others, and the sums hold."""
    days(place, keep=None)
    forget(state(place), [DIALS[1]])
    place.file("202004211000", record(2, 1, 200, "100000", "20200421"))
    place.once(keep_notifications_days=2)
    found = reconcile(state(place))

    assert ([], []) == (found.differences, found.unproven)
    assert (1, 18) == (found.forgotten, found.pruned)
    assert [] == verify(state(place))


def test_each_day_adds_up_whatever_is_no_longer_held(place: Place) -> None:
    """What was sent on a day is what stands in OUTPUT: pruned, forgotten and unproven ones are counted as such."""
    days(place, keep=None)
    forget(state(place), [DIALS[1]])
    place.file("202004211000", record(2, 1, 200, "100000", "20200421"))
    place.once(keep_notifications_days=2)
    (place.data / "DATA_202004211000.csv").unlink()
    shown = CliRunner().invoke(commands, ["reconcile", "--output", str(place.output)]).stdout

    assert (
        "Days\n"
        "  2020-04-17  6 notifications (6 pruned) = 6 in OUTPUT\n"
        "  2020-04-18  6 notifications (6 pruned) = 6 in OUTPUT\n"
        "  2020-04-19  6 notifications (6 pruned) = 6 in OUTPUT\n"
        "  2020-04-20  6 notifications (1 forgotten) = 6 in OUTPUT\n"
        "  2020-04-21  1 notification = 1 not proven\n"
    ) in shown
    assert "Pruned: of 18 notifications the state has only the count, as their days" in shown
    assert "Forgotten: of 1 notification the state has only the count, as their customers" in shown
    (day,) = reconcile(state(place), day=20200420).days.values()
    assert (6, 1, 0, 0) == (day.notifications, day.forgotten, day.pruned, day.unproven)


def test_a_raised_setting_brings_nothing_back(place: Place) -> None:
    """What is gone is gone: a longer time keeps what comes from now on."""
    days(place, keep=2)
    place.settings = replace(place.settings, keep_notifications_days=30)
    place.file("202004211000", record(2, 1, 200, "100000", "20200421"))
    place.once()

    assert 13 == len(kept(place))
    assert ([], []) == (reconcile(state(place)).differences, verify(state(place)))


def test_open_days_cannot_be_pruned() -> None:
    """Fewer days than stay open would take rows that a recovery may need."""
    paths = {"data": "d", "segment": "s", "rules": "r", "output": "o"}
    with pytest.raises(ConfigError, match="2 days stay open"):
        resolve(paths | {"keep_notifications_days": "1"}, environ={})
    assert (
        2 == resolve(paths | {"keep_notifications_days": "2"}, environ={}).keep_notifications_days
    )
