"""The questions that a state answers to those who look on: what each gives, page by page, over a state made by hand."""

from dataclasses import replace

import pytest

from support.batches import DAY, LINE_BYTES, LINES, SHARDS, World, line, made, refused
from support.inputs import RULES
from upswell.errors import StorageError
from upswell.output.reject_files import digest_of
from upswell.reference.compiled import pack_rules
from upswell.source.file import File
from upswell.state.batch import DroppedRejects
from upswell.state.checkpoint import Checkpoint
from upswell.state.queries.archived import (
    archive_states,
    count_archived,
    newest_archived,
    pending_archive,
)
from upswell.state.queries.arrivals import (
    arrived_files,
    newest_done_stamp,
    stamp_of_files_before,
)
from upswell.state.queries.batches import (
    BatchSums,
    CommittedCounts,
    DroppedLines,
    RejectFile,
    commits_since,
    dropped_lines,
    first_batch_reaching,
    last_commits,
    reject_files,
    sum_batches,
)
from upswell.state.queries.edits import accepted_edits, refused_edit
from upswell.state.queries.files import (
    WaitingFiles,
    count_gone_whole,
    duplicates_since,
    file_standings,
    files_exported_again,
    files_of_day,
    gone_since,
    names_with_rejects,
    newest_days,
    newest_names,
    refused_files,
    unread_names,
    waiting_files,
)
from upswell.state.queries.notifications import (
    NotificationTotal,
    notification_groups,
    notification_totals,
    notifications_by_minute,
    notifications_in,
    notifications_of,
)
from upswell.state.queries.rules import active_ruleset, rulesets
from upswell.state.reader import StateReader, has_state


@pytest.fixture
def checkpoint(tmp_path):
    """A new state."""
    with Checkpoint.open(tmp_path / "state", SHARDS) as opened:
        yield opened


@pytest.fixture
def world(tmp_path, monkeypatch):
    """Three batches, of the second of which some rejects were not kept, read in pages of a row or two."""
    monkeypatch.setattr("upswell.state.queries.batches._PAGE_ROWS", 1)
    monkeypatch.setattr("upswell.state.queries.batches._SUMMED_ROWS", 2)
    monkeypatch.setattr("upswell.state.queries.notifications._GROUP_PAGE_ROWS", 3)
    with World(tmp_path / "out") as opened:
        for number in (1, 2, 3):
            dropped = [DroppedRejects(0, 5, 10, 90)] if number == 2 else []
            opened.committer.commit(replace(made(number), dropped=dropped))
        yield opened


def file(minute: int, state: str = "done", day: int = DAY, **values: object) -> File:
    """A file of a minute of a day."""
    return File(f"DATA_{day}{minute:04}.csv", state, f"{day}{minute:04}", **values)


def test_a_commit_is_seen_by_a_reader_that_stays_open(world):
    """The page asks for this number alone, and for the rest when it has changed."""
    assert has_state(world.state)
    assert not has_state(world.output)
    with StateReader.open(world.state) as reader:
        before = reader.data_version()
        assert before == reader.data_version()
        world.committer.commit(made(4))
        assert before != reader.data_version()


def test_batches_are_summed_and_found(world):
    """Over any cut into pages, by number, by time of commit and by what they can have read."""
    state = world.checkpoint.reader
    committed_at = state.last().committed_at
    assert BatchSums(3, 3 * LINES, 20) == sum_batches(state, 1, 4)
    assert BatchSums(1, LINES, 4) == sum_batches(state, 2, 3)
    assert [made(number).outcomes for number in (2, 3)] == [
        one.outcomes for one in commits_since(state, committed_at[:14], after_batch=1)
    ]
    assert CommittedCounts(
        committed_at[:16], LINES, LINES * LINE_BYTES, made(3).outcomes, made(3).reasons
    ) == next(commits_since(state, "2020", after_batch=2))
    assert [] == list(commits_since(state, "9999", after_batch=0))
    assert {made(3).files[0].name: committed_at} == last_commits(state, DAY, after_batch=2)
    assert [1, 2, 4] == [
        first_batch_reaching(state, stamp) for stamp in ("", f"{DAY}0002", f"{DAY}0004")
    ]


def test_reject_files_and_lines_not_kept_are_found(world):
    """By file, by day, or all of them."""
    state = world.checkpoint.reader
    written = [
        RejectFile(number, len(made(number).rejects), digest_of(made(number).rejects))
        for number in (1, 2, 3)
    ]
    second = made(2).files[0].name
    assert written == list(reject_files(state, 1, 3, file=None, day=None))
    assert written[1:2] == list(reject_files(state, 1, 3, file=second, day=DAY))
    assert [] == list(reject_files(state, 1, 3, file=None, day=DAY + 1))
    assert [DroppedLines(second, 5)] == list(dropped_lines(state, 1))
    assert [] == list(dropped_lines(state, 3))


def test_notifications_are_listed_counted_and_found(world):
    """Those of a group by file and by batch, those of a customer, and the sums that commits keep."""
    state = world.checkpoint.reader
    twitter, whatsapp = notification_groups(state)
    assert (DAY, "Twitter", 12) == (twitter.day, twitter.name, twitter.notifications)
    assert [twitter] == notification_groups(state, batch=2)
    assert [whatsapp] == notification_groups(state, day=DAY, application="WhatsApp")
    assert [] == notification_groups(state, control=True)
    listed = list(notifications_in(state, twitter, batch_max=2))
    assert [line(number, 0, index) for number in (1, 2) for index in range(4)] == [
        one.raw for one in listed
    ]
    second = made(2).files[0].name
    for only in ({"file": second}, {"batch": 2}):
        assert listed[4:] == list(notifications_in(state, twitter, batch_max=3, **only))
    assert (second, made(2).stamp) == (listed[4].file, listed[4].stamp)
    assert {f"{DAY}1937": 8} == notifications_by_minute(state, whatsapp)
    totals = [
        NotificationTotal(DAY, group.application, group.notifications)
        for group in (twitter, whatsapp)
    ]
    assert totals == notification_totals(state)
    assert [] == notification_totals(state, control=True)
    asked = {"day": DAY, "application": twitter.application}
    (one,) = notifications_of(state, listed[4].msisdn, **asked, batch_max=2)
    assert (2, second, listed[4].raw, False) == (one.batch, one.file, one.raw, one.control)
    assert [] == notifications_of(state, listed[4].msisdn, **asked, batch_max=1)


def test_files_that_brought_nothing_are_listed(checkpoint):
    """Refused files and duplicates of a stamp or later, and ignored names that look like data."""
    assert (0, []) == refused_files(checkpoint.reader, 2)
    refused_ones = [file(at, reason="refused", detail="why") for at in range(1, 4)]
    longer = file(7, reason="exported_again", detail="why")
    copies = [file(at, "duplicate") for at in (4, 5)]
    others = [File(name, "ignored") for name in ("DATA_202004171937.CSV", "notes.txt", "data2.zip")]
    checkpoint.save_files([*refused_ones, *copies, *others, longer])
    assert (1, [longer]) == files_exported_again(checkpoint.reader, 2)
    assert (3, refused_ones[1:]) == refused_files(checkpoint.reader, 2)
    assert (1, refused_ones[2:]) == refused_files(checkpoint.reader, 2, refused_ones[2].stamp)
    assert [copies[1].name, copies[0].name] == duplicates_since(checkpoint.reader, copies[0].stamp)
    assert [copies[1].name] == duplicates_since(checkpoint.reader, copies[1].stamp)
    assert ["DATA_202004171937.CSV", "data2.zip"] == unread_names(checkpoint.reader)


def test_files_that_went_after_all_was_read_are_counted_apart(checkpoint):
    """They are not among those of which something may be missing."""
    checkpoint.save_files([file(3, "gone", reason="whole"), file(4, "gone", reason="deleted")])
    assert 1 == count_gone_whole(checkpoint.reader)
    assert [file(4).name] == gone_since(checkpoint.reader, file(3).stamp)


def test_files_of_days_are_listed(checkpoint):
    """A stamp that lies ahead of the others is no day when its file is held."""
    rejected = file(1, lines=3, outcomes={"rejected": 1, "counted": 2}, reasons={"columns": 1})
    late = file(2, "gone", late=True, outcomes={"late": 1}, size=9, mtime_ns=4)
    waiting = file(0, "waiting", DAY + 1, size=20, mtime_ns=7)
    packed = file(1, "reading", DAY + 1, size=5, content_bytes=30, offset=10, mtime_ns=6)
    ahead = file(0, "held", DAY + 100)
    checkpoint.save_files([late, rejected, waiting, packed, ahead])
    assert 0 == count_gone_whole(checkpoint.reader)
    assert [DAY + 1, DAY] == newest_days(checkpoint.reader, 5)
    assert [DAY + 1] == newest_days(checkpoint.reader, 1)
    assert [(rejected.stamp, "done", False, 3), (late.stamp, "gone", True, 0)] == [
        one[:4] for one in files_of_day(checkpoint.reader, DAY)
    ]
    assert rejected.outcomes == next(files_of_day(checkpoint.reader, DAY)).outcomes
    assert [late.name, rejected.name] == newest_names(checkpoint.reader, DAY, 2)
    assert [late.name] == newest_names(checkpoint.reader, DAY, 1)
    assert [late.name] == gone_since(checkpoint.reader, late.stamp)
    assert [] == gone_since(checkpoint.reader, waiting.stamp)
    assert WaitingFiles(2, 40, 6) == waiting_files(checkpoint.reader)
    assert {late.name, rejected.name} == set(names_with_rejects(checkpoint.reader))
    assert {late.name, rejected.name} == set(names_with_rejects(checkpoint.reader, DAY))
    assert [] == list(names_with_rejects(checkpoint.reader, DAY + 1))
    assert {packed.name: ("reading", 10, 5, 0)} == file_standings(
        checkpoint.reader, [packed.name, "no"]
    )


def test_arrivals_come_by_stamp(checkpoint, monkeypatch):
    """Ignored files are left out; a stamp that is none is damage, and told as such."""
    monkeypatch.setattr("upswell.state.queries.arrivals._PAGE_ROWS", 2)
    assert newest_done_stamp(checkpoint.reader) is None
    files = [file(minute, offset=minute) for minute in (3, 1, 2)]
    checkpoint.save_files([*files, file(4, "ignored"), file(5, "waiting")])
    first, last = f"{DAY}0001", f"{DAY}0005"
    assert files[0].stamp == newest_done_stamp(checkpoint.reader)
    assert files[1].stamp == stamp_of_files_before(checkpoint.reader, files[0].stamp, 5, since="")
    assert files[2].stamp == stamp_of_files_before(checkpoint.reader, files[0].stamp, 1, since="")
    assert "" == stamp_of_files_before(checkpoint.reader, files[1].stamp, 5, since="")
    assert [1, 2, 3, 0] == [one.offset for one in arrived_files(checkpoint.reader, first, last)]
    checkpoint.save_files([replace(files[0], stamp=f"{DAY}9999")])
    with refused(StorageError, "not a time"):
        newest_done_stamp(checkpoint.reader)


def test_files_are_followed_into_the_archive(checkpoint):
    """Those that are not there yet by name, those that are there by age."""
    names = [file(minute).name for minute in range(4)]
    checkpoint.save_files(file(minute) for minute in range(4))
    states = dict(zip(names, ("moved", "moved", "grew", "taken"), strict=True))
    checkpoint.save_archived(states)
    assert {name: states[name] for name in names[2:]} == pending_archive(checkpoint.reader)
    assert [names[2]] == list(pending_archive(checkpoint.reader, 1))
    assert [names[3]] == list(pending_archive(checkpoint.reader, 5, names[2]))
    assert [names[1]] == list(newest_archived(checkpoint.reader, 1))
    assert {names[0]: "moved"} == archive_states(checkpoint.reader, [names[0], "no"])
    assert 3 == count_archived(checkpoint.reader)


def test_edits_and_their_rules_come_in_order(checkpoint):
    """Each version until the next one of its kind, and the refused one apart."""
    assert () == active_ruleset(checkpoint.reader).rules
    assert refused_edit(checkpoint.reader) is None
    contents = [RULES, RULES.replace("147", "99")]
    for number, content in enumerate(contents):
        packed = pack_rules([("rules.csv", content.encode())])
        checkpoint.add_reference("rules", f"{number}" * 64, packed, f"words {number}")
    checkpoint.add_reference("segment", "s" * 64, b"", "")
    checkpoint.set_refused("no rules")
    assert "no rules" == refused_edit(checkpoint.reader).words
    assert [("rules", "words 0", 1), ("rules", "words 1", None), ("segment", "", None)] == [
        (edit.kind, edit.words, edit.until_batch) for edit in accepted_edits(checkpoint.reader)
    ]
    # No batch was scanned with the first version, so its content is gone.
    assert [99] == [ruleset.rules[0].threshold for ruleset in rulesets(checkpoint.reader)]
    assert 99 == active_ruleset(checkpoint.reader).rules[0].threshold
