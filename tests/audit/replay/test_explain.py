"""Explain tells of each customer what the run decided, from the kept files alone, and when the state says otherwise."""

import gzip
import itertools
import json
import os
import random
import re
import sqlite3
from collections import defaultdict
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from support import law
from support.engine_runs import DIALS, LONG_AGO_S, Place, record
from support.inputs import inside, write_inputs
from support.replays import RULES, database, files, kept_back, nights, past, state, untaught
from upswell import kernel
from upswell.audit.replay.explain import explain
from upswell.audit.replay.timeline import Explanation
from upswell.cli.commands.explain import _from_stdin
from upswell.cli.main import commands
from upswell.errors import UsageError
from upswell.kernel import Segment
from upswell.reference.application import directory_name
from upswell.reference.compiled import unpack_rules
from upswell.reference.rules import parse_rules
from upswell.semantics import CommittedRange, Line
from upswell.source.listing import Stat, stat_regular
from upswell.state.ledger import read_ledger
from upswell.state.reader import StateReader


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Fresh directories with a segment and rules."""
    return Place(tmp_path)


def story(place: Place, dial: int, **asked: str | int) -> Explanation:
    """The story of one of DIALS."""
    return explain(state(place), DIALS[dial], **asked)


def lines_of_all(place: Place) -> dict[str, list[Line]]:
    """Every record by its msisdn, and every reject by the msisdns in it, in log order, as the specification decides.

    It is fed the whole log.
    """
    found = defaultdict(list)
    with StateReader.open(state(place)) as reader:
        specification = untaught(reader)
        for taken in reader.log():
            rules = parse_rules(unpack_rules(reader.reference("rules", taken.versions.rules))).rules
            dials = Segment.decode(reader.reference("segment", taken.versions.segment))
            data = law.content(place.data / taken.file)[taken.start : taken.end]
            some = CommittedRange(taken.file, taken.start, data, taken.stamp, taken.newest_stamp)
            segment, policy = frozenset(dials.sample(len(dials))), kept_back(reader, taken.versions)
            for line in specification.apply(some, segment, rules, *policy):
                if line.record is not None:
                    found[line.record.msisdn].append(line)
                    continue
                for dial in DIALS:
                    if re.search(rb"(?<![0-9])%b(?![0-9])" % dial.encode(), line.content):
                        found[dial].append(line)
    return found


def _cut(lines: list[Line]) -> list[Line]:
    """The lines without what is beyond the longest that is not too long."""
    return [line._replace(content=line.content[:4096]) for line in lines]


@pytest.mark.parametrize("seed", range(5))
def test_a_story_is_what_the_run_decided(
    place: Place, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For every customer: the same lines, refused ones too, the same notifications, a proof, and nothing is written."""
    past(place, seed, monkeypatch)
    before, expected = files(place), lines_of_all(place)
    sent: defaultdict[str, bytes] = defaultdict(bytes)
    for dial in DIALS:
        told = explain(state(place), dial)
        assert _cut(expected[dial]) == _cut([entry.decided.line for entry in told.entries])
        assert ([], [], []) == (told.differences, told.unproven, told.quoted)
        for entry in told.entries:
            if entry.output:
                if entry.outcome == "notified":
                    sent[directory_name(entry.application)] += entry.decided.line.content + b"\n"
                path = place.output / entry.output.removesuffix(" (still in OUTPUT)")
                assert entry.decided.line.content in path.read_bytes().splitlines()

    published = law.published(place.output)
    assert {name: sorted(lines.splitlines()) for name, lines in sent.items()} == {
        name: sorted(lines.splitlines()) for name, lines in published.items()
    }
    assert before == files(place)


@pytest.mark.parametrize("cut", range(0, 60, 7))
def test_a_search_finds_what_a_plain_one_finds(tmp_path: Path, cut: int) -> None:
    """Places, line numbers and digest, wherever ranges ended, plain and compressed."""
    content = b"".join(
        b"%s,1,%d,x\r\n" % (dial.encode(), number)
        for number, dial in enumerate(itertools.islice(itertools.cycle(DIALS[:3]), 9))
    )
    plain, packed = tmp_path / "plain", tmp_path / "packed.gz"
    plain.write_bytes(content)
    packed.write_bytes(gzip.compress(content))
    cuts = [cut, len(content)] if cut else [len(content)]
    pieces = [content[:cut], content[cut:]]
    expected = []
    at = newlines = 0
    for piece in pieces:
        for line in piece.splitlines(keepends=True):
            if DIALS[1].encode() in line:
                expected.append((at, newlines, line))
            at += len(line)
            newlines += line.endswith(b"\n")
    for path in (plain, packed):
        found = kernel.search(bytes(path), cuts, DIALS[1], compressed=path == packed)
        assert expected == [(hit.byte, hit.newlines, hit.line) for hit in found.hits]
        assert (kernel.crc64(content), len(content)) == found.digest
    with pytest.raises(ValueError, match="digits"):
        kernel.search(bytes(plain), cuts, "x", compressed=False)


@pytest.mark.parametrize("seed", range(3))
def test_a_day_of_a_story_is_that_of_the_whole(
    place: Place, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lines, decisions and proof are the same."""
    past(place, seed, monkeypatch)
    for dial in DIALS[:6]:
        whole = explain(state(place), dial)
        for day in (20200417, 20200418):
            alone = explain(state(place), dial, day=day)
            expected = [entry.to_json() for entry in whole.entries if entry.day == day]
            assert expected == [entry.to_json() for entry in alone.entries if entry.day]
            assert ([], []) == (alone.differences, alone.unproven)


def test_the_ledger_can_be_asked_for_one_msisdn(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Totals and caps of one are those that the list of all holds."""
    past(place, 1, monkeypatch)
    with StateReader.open(state(place)) as reader:
        ledger = kernel.Ledger.load(*read_ledger(reader), 0, 1)

    assert ledger.totals() and ledger.caps()
    assert ledger.totals() == [total for dial in DIALS for total in ledger.totals(dial)]
    assert ledger.caps() == [cap for dial in DIALS for cap in ledger.caps(dial)]
    assert [] == ledger.totals("99999")
    with pytest.raises(ValueError, match="msisdn"):
        ledger.totals("x")


def reasons(place: Place, dial: int) -> list[str]:
    """Why, line by line."""
    return [entry.why for entry in story(place, dial).entries]


def test_each_silence_has_its_reason(place: Place) -> None:
    """Below the threshold, outside the hours, without a rule, notified before, late, refused, not in the segment."""
    place.file(
        "202004171000",
        record(0, 1, 132, "100000")
        + record(0, 2, 500, "193000")
        + record(0, 2, 500, "190000")
        + record(0, 9, 500, "193000")
        + record(0, 1, 15, "085959")
        + record(0, 1, 132, "091455")
        + record(0, 1, 132, "101500")
        + record(0, 1, 132, "100000", "20200415")
        + f"{DIALS[0]},1,5x,20200417100000\n".encode()
        + b"019999999999,1,500,20200417100000\n",
    )
    place.once()

    told = reasons(place, 0)
    assert [
        "total 132 of 147 in 8-20",
        "hour 19:30 is outside 9-18",
        "hour 19 is outside 9-18",
        "no rule for service 9",
        "total 147 of 147 in 8-20: reached, not exceeded",
    ] == told[:5]
    assert told[5].startswith("total 279 exceeds 147: sent to Twitter/NOTIFY_0000000001_")
    assert [
        "already notified at 09:14 (DATA_202004171000.csv:6)",
        "arrived after 2020-04-15 was closed"
        " (a file stamped 202004171000 had arrived, and 2 days stay open)",
        "rejected (volume): the third field is not a whole number of 1 to 15 digits",
    ] == told[6:]
    (stranger,) = explain(state(place), "+019999999999").entries
    assert stranger.why.startswith("not in the segment (version ")


def test_a_story_may_be_about_one_application_or_day(place: Place) -> None:
    """Records of others are left out; a name that no rule ever had is a slip."""
    place.file("202004171000", record(0, 1, 1, "100000") + record(0, 2, 2, "100000"))
    place.file("202004181000", record(0, 2, 3, "100000", "20200418"))
    place.once()

    def volumes(**asked: str | int) -> list[int]:
        entries = story(place, 0, **asked).entries
        return [entry.decided.line.record.volume for entry in entries if entry.decided.line.record]

    assert [1, 2, 3] == volumes()
    assert [2, 3] == volumes(about="WhatsApp") == volumes(about="02")
    assert [1, 2] == volumes(day=20200417)
    assert [3] == volumes(day=20200418)
    assert [] == volumes(day=20200421)
    with pytest.raises(UsageError, match="Watsapp"):
        story(place, 0, about="Watsapp")
    with pytest.raises(UsageError, match="not a valid MSISDN"):
        explain(state(place), "12")


def test_a_segment_that_changed_is_told(place: Place) -> None:
    """In it, taken out, and back: each change with its batch, and the records between them."""
    segment = place.root / "segment" / "SEGMENT.csv"
    for number, dials in enumerate((DIALS, DIALS[1:], DIALS)):
        place.write(segment, "\n".join(dials).encode() + b"\n", 1_600_000_000 + number)
        place.file(f"20200417100{number}", record(0, 1, 10 + number, "100000"))
        place.once()

    told = story(place, 0)
    assert [(1, True), (2, False), (3, True)] == [
        (batch, is_in) for batch, _, is_in in told.segment
    ]
    assert ["counted", "not_in_segment", "counted"] == [
        e.decided.line.outcome for e in told.entries
    ]
    assert [(20200417, "Twitter", "total 22 of 147 in 8-20")] == list(told.verdicts())


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("DELETE FROM notification", "only in the replay"),
        (
            "UPDATE notification SET raw = CAST(raw || '0' AS BLOB)",
            "only in the state",
        ),
        ("DELETE FROM ledger_delta", "the total of 0100•••000, service 1, of 2020-04-17 is 0"),
    ],
)
def test_a_state_that_says_otherwise_is_a_difference(
    place: Place, statement: str, words: str
) -> None:
    """A notification or a total that the kept files do not give."""
    place.file("202004171000", record(0, 1, 200, "100000"))
    place.once()
    with database(place) as db:
        db.execute(statement)

    assert words in "\n".join(story(place, 0).differences)


def test_what_is_gone_is_quoted(place: Place) -> None:
    """A file that is gone or changed: the state's word is given as that, and nothing is called proven."""
    place.file("202004171000", record(0, 1, 200, "100000"))
    place.file("202004171001", record(0, 2, 200, "100000"))
    place.once()
    (place.data / "DATA_202004171000.csv").unlink()
    path = place.data / "DATA_202004171001.csv"
    place.write(path, path.read_bytes().replace(b",200,", b",300,"))

    told = story(place, 0)
    assert ([], []) == (told.entries, told.differences)
    assert [(20200417, "Twitter"), (20200417, "WhatsApp")] == [each[:2] for each in told.quoted]
    assert [
        (20200417, "Twitter", f"according to the state, sent: {told.quoted[0].words}"),
        (20200417, "WhatsApp", f"according to the state, sent: {told.quoted[1].words}"),
    ] == list(told.verdicts())
    assert told.quoted[0].words.startswith(
        f"{DIALS[0]},1,200,20200417100000 (DATA_202004171000.csv byte 0"
    )
    assert ["WhatsApp"] == [each.application for each in story(place, 0, about="WhatsApp").quoted]
    assert (
        "DATA_202004171000.csv is no longer in DATA: its lines are missing here" == told.unproven[0]
    )
    assert "DATA_202004171001.csv differs from the bytes" in told.unproven[1]


def test_what_hangs_on_lost_lines_is_not_decided(place: Place) -> None:
    """Behind a file that is gone: sent is what the state holds, capped what came after that, the rest is not proven."""
    place.file("202004171000", record(0, 1, 200, "100000") + record(1, 1, 100, "100000"))
    place.file("202004171001", record(0, 1, 300, "100100") + record(1, 1, 100, "100100"))
    place.file("202004171002", record(1, 1, 400, "100200") + record(0, 9, 1, "100200"))
    place.once()
    before = [entry.outcome for dial in (0, 1) for entry in story(place, dial).entries]
    assert ["notified", "capped", "no_rule", "counted", "notified", "capped"] == before
    (place.data / "DATA_202004171000.csv").unlink()

    first, second = story(place, 0), story(place, 1)

    assert ["not_proven", "no_rule"] == [entry.outcome for entry in first.entries]
    assert (
        "not proven: earlier lines are lost; total 300 of 147 in 8-20 without the lost lines"
        == first.entries[0].why
    )
    assert ["not_proven", False] == [
        first.to_json()["lines"][0][name] for name in ("outcome", "proven")
    ]
    assert ["notified", "capped"] == [entry.outcome for entry in second.entries]
    assert re.fullmatch(
        r"according to the state, sent to Twitter/NOTIFY_\S+ \(still in OUTPUT\);"
        r" total 100 of 147 in 8-20 without the lost lines",
        second.entries[0].why,
    )
    assert "already notified at 10:01 (DATA_202004171001.csv:2)" == second.entries[1].why
    assert [(20200417, "Twitter", f"according to the state, sent: {first.quoted[0].words}")] == [
        verdict for verdict in first.verdicts() if verdict[1] == "Twitter"
    ]
    assert ([], [], []) == (second.quoted, first.differences, second.differences)


@pytest.mark.parametrize("seed", range(4))
def test_what_is_told_behind_a_loss_is_true(
    place: Place, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever file is gone: each outcome that is told is the one that was, and none is called a difference."""
    past(place, seed, monkeypatch)
    before = {dial: outcomes(place, dial) for dial in DIALS[:12]}
    random.Random(seed).choice(sorted(place.data.iterdir())).unlink()

    for dial, known in before.items():
        told = explain(state(place), dial)
        assert [] == told.differences
        assert {"not_proven"} >= {
            outcome
            for place_of, outcome in outcomes(place, dial).items()
            if outcome != known[place_of]
        }


def outcomes(place: Place, dial: str) -> dict[tuple[str, int], str]:
    """What is told of each line, by file and byte."""
    entries = explain(state(place), dial).entries
    return {(entry.decided.line.file, entry.decided.line.byte): entry.outcome for entry in entries}


def test_what_came_before_a_loss_is_held_against_the_state(place: Place) -> None:
    """A notification that was taken out of the state is a difference, though a later file is gone."""
    place.file("202004171000", record(0, 1, 200, "100000"))
    place.file("202004171001", record(1, 1, 200, "100000"))
    place.once()
    (place.data / "DATA_202004171001.csv").unlink()
    with database(place) as db:
        db.execute("DELETE FROM notification")

    assert ["notified"] == [entry.outcome for entry in story(place, 0).entries]
    assert "only in the replay" in story(place, 0).differences[0]


def test_a_cap_names_the_notification_that_it_comes_from(place: Place) -> None:
    """That of the same night, with its date, and under the name that was notified."""
    night = "235900"
    place.file("202004170000", record(0, 3, 400, night))
    place.once()
    rules = place.root / "rules" / "RULES.csv"
    place.write(rules, b"3,Late night,22,6,300\n", LONG_AGO_S + 1)
    place.file("202004180000", record(0, 3, 1, "010000", "20200418"))
    place.file("202004180001", record(0, 3, 500, night, "20200418"))
    place.file("202004180002", record(0, 3, 2, "010000", "20200418"))
    place.once()

    told = [entry.why for entry in story(place, 0).entries]
    cause = "2020-04-17 23:59 (DATA_202004170000.csv:1)"
    assert f"already notified as Night at {cause}" == told[1]
    assert told[2].startswith("total 500 exceeds 300: sent to Late night/")
    assert "already notified at 23:59 (DATA_202004180001.csv:1)" == told[3]


def test_a_verdict_is_where_the_day_ended(place: Place) -> None:
    """The last of counted and capped, not the first kind of them."""
    place.file("202004170000", record(0, 3, 400, "235900"))
    place.file(
        "202004180000",
        record(0, 3, 10, "230000", "20200418") + record(0, 3, 1, "010000", "20200418"),
    )
    place.once()

    (_, (day, name, why)) = story(place, 0).verdicts()
    assert (20200418, "Night") == (day, name)
    assert "already notified at 2020-04-17 23:59 (DATA_202004170000.csv:1)" == why


def test_lines_that_no_batch_took_are_told_with_the_reason(place: Place) -> None:
    """In a copy, a held, a skipped, a broken, a grown and a new file, and in one that came again; others are silent."""
    mine, other = record(0, 1, 1, "100000"), record(1, 1, 1, "100000")
    place.file("202004170900", mine)
    place.file("202004171000", mine + other)
    place.file("202004171001", mine + other)
    place.file("202004171002", other)
    place.file("209904171003", mine + mine)
    place.write(place.data / "DATA_202004171004.csv.gz", gzip.compress(mine * 99)[:-9], LONG_AGO_S)
    place.once(since="202004171000")
    place.write(place.data / "DATA_202004171000.csv", mine + other, LONG_AGO_S + 1)
    place.once(since="202004171000")
    place.write(place.data / "DATA_202004171002.csv", other + mine, LONG_AGO_S + 1)
    place.file("202004171005", mine)
    place.file("202004171006", other)

    assert [
        ("0900.csv", 1, "not processed: older than --since"),
        (
            "1000.csv",
            1,
            "delivered again once under its name with the same content: processed once",
        ),
        ("1001.csv", 1, "not processed: same content as DATA_202004171000.csv"),
        ("1002.csv", 1, f"not processed yet from byte {len(other)} on"),
        ("1004.csv.gz", None, "not processed: held, its gzip data is broken"),
        ("1005.csv", 1, "not processed yet"),
        (
            "1003.csv",
            2,
            "not processed: held, its stamp is over a day ahead of this machine's clock",
        ),
    ] == [
        (one.file[13:], one.lines, re.split(r" \(|: correct", one.why)[0])
        for one in story(place, 0).not_taken
    ]
    shown = (
        CliRunner().invoke(commands, ["explain", DIALS[0], "--output", str(place.output)]).stdout
    )
    assert (
        "Not processed\n  DATA_202004170900.csv: 1 line with this number, not processed: older"
        in shown
    )
    assert "DATA_202004171004.csv.gz: not processed: held" in shown


def test_a_copy_that_left_for_the_archive_is_told(place: Place) -> None:
    """Where a duplicate was moved to it still repeats the file that it repeats, packed there or not."""
    place.file("202004171000", record(0, 1, 1, "100000"))
    place.file("202004171001", record(0, 1, 1, "100000"))
    place.once(archive=place.root / "archive", archive_after_s=0.0)

    assert [] == list(place.data.iterdir())
    assert ["DATA_202004171001.csv"] == [one.file for one in story(place, 0).not_taken]
    copy = place.root / "archive" / "20200417" / "DATA_202004171001.csv"
    place.write(copy.with_name(f"{copy.name}.gz"), gzip.compress(copy.read_bytes()))
    copy.unlink()
    assert [(copy.name, 1)] == [(one.file, one.lines) for one in story(place, 0).not_taken]


def test_a_copy_that_was_packed_is_told_once(place: Place) -> None:
    """In DATA the packed one is a file of its own, before a run has seen it as well as after."""
    mine = record(0, 1, 1, "100000")
    place.file("202004171000", mine)
    copy = place.file("202004171001", mine)
    place.once()
    copy.unlink()
    packed = place.write(place.data / f"{copy.name}.gz", gzip.compress(mine))

    for _ in range(2):
        assert [packed.name] == [one.file for one in story(place, 0).not_taken]
        place.once()


def test_a_copy_that_leaves_for_the_archive_meanwhile_is_told(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at where it is and the reading of it: it is looked for again."""
    place.file("202004171000", record(0, 1, 1, "100000"))
    copy = place.file("202004171001", record(0, 1, 1, "100000"))
    place.once(archive=place.root / "archive", archive_after_s=1e12)
    there = place.root / "archive" / "20200417" / copy.name
    there.parent.mkdir()

    def look_beside_a_run(path: bytes) -> Stat | None:
        found = stat_regular(path)
        if found and path == os.fsencode(copy):
            copy.rename(there)
        return found

    monkeypatch.setattr("upswell.audit.replay.snapshot.stat_regular", look_beside_a_run)
    told = story(place, 0).not_taken

    assert there.exists()
    assert [(copy.name, 1)] == [(one.file, one.lines) for one in told]


def test_what_grew_in_the_archive_is_told(place: Place) -> None:
    """From where it was taken to, of a file that was empty, too; and nothing when that is of others."""
    settings = {"archive": place.root / "archive", "archive_after_s": 0.0}
    mine, day = record(0, 1, 1, "100000"), place.root / "archive" / "20200417"
    for stamp, before, after in (
        ("202004171000", mine, mine),
        ("202004171001", b"", mine * 2),
        ("202004171002", record(0, 1, 2, "100000"), record(1, 1, 1, "100000")),
    ):
        file = place.file(stamp, before)
        place.once(**settings)
        place.write(day / file.name, before + after, LONG_AGO_S + 1)
    place.once(**settings)

    assert [
        ("DATA_202004171000.csv", 1, f"not processed from byte {len(mine)} on"),
        ("DATA_202004171001.csv", 2, "not processed"),
    ] == [
        (one.file, one.lines, one.why.split(": it grew in the archive")[0])
        for one in story(place, 0).not_taken
    ]


def test_of_a_day_only_files_are_read_that_may_hold_it(place: Place) -> None:
    """By their stamps: what later or earlier ones hold of it is late or in the future, but for a held one."""
    mine = record(0, 1, 1, "100000")
    stamps = ("202004151000", "202004161000", "202004171000", "202004181000", "202004191000")
    place.file("202004201000", mine)
    for stamp in stamps:
        place.file(stamp, mine + stamp.encode())
    place.file("209904171000", mine)
    place.once(since="202004201000")

    def told(**day: int) -> list[str]:
        return [one.file[5:13] for one in story(place, 0, **day).not_taken]

    assert [*(stamp[:8] for stamp in stamps), "20990417"] == told()
    assert [*(stamp[:8] for stamp in stamps[:4]), "20990417"] == told(day=20200417)
    assert ["20200418", "20200419", "20990417"] == told(day=20200420)


def test_what_came_in_the_place_of_a_taken_file_is_told(place: Place) -> None:
    """All of it, though it is shorter than what was taken under its name, which the archive has."""
    settings = {"archive": place.root / "archive", "archive_after_s": 0.0}
    place.file("202004171000", record(0, 1, 1, "100000") * 2)
    place.once(**settings)
    place.write(place.data / "DATA_202004171000.csv", record(0, 1, 9, "100000"), LONG_AGO_S + 1)
    place.once(**settings)
    told = story(place, 0)

    assert ["total 1 of 147 in 8-20", "total 2 of 147 in 8-20"] == [
        entry.why for entry in told.entries
    ]
    ((_, lines, why),) = told.not_taken
    assert (1, "not processed in its present form: held") == (lines, why.partition(",")[0])


def test_times_are_told_in_the_zone_of_the_rules_too(place: Place) -> None:
    """When that is another than DATA's, beside the time of the record."""
    place.file("202004171000", record(0, 1, 200, "220000"))
    place.once(data_timezone="UTC", rules_timezone="Asia/Tokyo")

    (entry,) = story(place, 0).entries
    assert "2020-04-18 07:00" == entry.rules_time
    words = ["explain", DIALS[0], "--output", str(place.output)]
    shown = CliRunner().invoke(commands, words).stdout
    assert "2020-04-17 22:00:00 (2020-04-18 07:00 for the rules)" in shown


def test_a_short_msisdn_is_not_found_within_other_numbers(place: Place) -> None:
    """Five digits that stand in timestamps, volumes and longer dials, and once for themselves."""
    place.file(
        "202004171000",
        record(0, 1, 1, "041710", "20200417")
        + b"0100000000,1,20200417,20200417100000\n"
        + b"x 120041 x\n+20041,1,5x,20200417100000\n20041\n20041999,1,5,2020041710000x\n",
    )
    place.once()

    told = explain(state(place), "20041")
    assert [4, 5] == [entry.decided.line.line for entry in told.entries]


def test_a_day_of_a_chain_of_nights_is_decided_as_in_the_whole(place: Place) -> None:
    """What is capped on a day hangs on the night before, and that on the one before it."""
    days = nights(place)
    whole = story(place, 0)
    assert {"counted", "notified", "capped"} == {entry.outcome for entry in whole.entries}
    for day in days:
        alone = story(place, 0, day=day)
        expected = [entry.to_json() for entry in whole.entries if entry.day == day]
        assert expected == [entry.to_json() for entry in alone.entries]
        assert ([], []) == (alone.differences, alone.unproven)


def test_caps_that_were_taken_over_explain_a_silence(place: Place) -> None:
    """Notified by another state that this one took over."""
    place.file("202004171000", record(0, 1, 200, "100000"))
    place.once()
    place.write(place.root / "rules" / "RULES.csv", RULES[1])
    place.once(state=place.root / "second", adopt=True)

    told = explain(place.root / "second", DIALS[0])
    assert ["already notified before this state began"] == [entry.why for entry in told.entries]
    assert ([], []) == (told.differences, told.unproven)


def test_the_command_reads_the_msisdn_from_stdin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With - no list of processes shows it; the exit code is 0 when the state says the same, and 1 when not."""
    upswell = inside(tmp_path, monkeypatch)
    upswell(*write_inputs(tmp_path), "--once")
    words = ["explain", "-", "Twitter", "--output", "out"]

    with monkeypatch.context() as closed:
        closed.setattr("sys.stdin", None)
        with pytest.raises(UsageError, match="stdin is closed"):
            _from_stdin()
    told = CliRunner().invoke(commands, words, input="0126545098\n")
    assert 0 == told.exit_code
    assert "Customer 0126545098" in told.stdout
    assert "The state agrees." in told.stdout
    with closing(sqlite3.connect(tmp_path / "out" / ".upswell" / "checkpoint.db")) as db, db:
        db.execute("DELETE FROM notification")
    told = CliRunner().invoke(commands, [*words, "--json"], input="0126545098\n")
    assert 1 == told.exit_code
    assert not json.loads(told.stdout)["proven"]
    shown = CliRunner().invoke(commands, ["explain", "0126545098", "--output", "out"]).stdout
    place = "(DATA_202004171937.csv byte 32, batch 1): only in the replay"
    assert f"  ! 2020-04-17 Twitter: 0126545098,1,315,20200417193743 {place}" in shown
    (tmp_path / "data" / "DATA_202004171937.csv").unlink()
    shown = CliRunner().invoke(commands, ["explain", "0126545098", "--output", "out"]).stdout
    assert "  none\n\nNot proven\n  ? DATA_202004171937.csv is no longer in DATA" in shown
    named = CliRunner().invoke(commands, ["explain", "01265450x8", "--output", "out"])
    assert 2 == named.exit_code
    assert "01265450" not in named.stderr
