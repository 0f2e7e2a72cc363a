"""``upswell sent``: what was notified, listed, filtered and counted."""

import csv
import io
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from support.batches import APPLICATIONS, DAY, PER_APPLICATION, World, made
from support.command import Upswell
from support.inputs import inside, write, write_inputs
from support.law import published
from upswell.audit import sent
from upswell.audit.sent import SentFilter

LATER = "0128419091,3,200,20200418103000\n+0126545098,1,400,20200418103001\n"


@pytest.fixture
def upswell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Upswell:
    """The command, within this process."""
    return inside(tmp_path, monkeypatch)


@pytest.fixture
def two_days(upswell: Upswell, tmp_path: Path) -> Upswell:
    """The command over a state of two batches on two days: one notification, then two."""
    paths = write_inputs(tmp_path)
    upswell(*paths, "--once")
    write(tmp_path / "data" / "DATA_202004181030.csv", LATER)
    upswell(*paths, "--once")
    return upswell


def test_the_rows_are_the_lines_of_output(two_days: Upswell, tmp_path: Path) -> None:
    """Every line of OUTPUT is listed, with the file it is in, and nothing else is."""
    rows = [json.loads(line) for line in listing(two_days, "--json").splitlines()]
    lines = [
        (str(path.relative_to(tmp_path / "out")), line)
        for path in sorted((tmp_path / "out").rglob("NOTIFY_*"))
        for line in path.read_text("ascii").splitlines()
    ]

    assert sorted(lines) == sorted((row["output"], row["record"]) for row in rows)
    assert 3 == len(rows)


def test_a_row_names_the_place_that_its_record_came_from(two_days: Upswell, tmp_path: Path) -> None:
    """At that byte of that file the record stands."""
    for row in map(json.loads, listing(two_days, "--json").splitlines()):
        content = (tmp_path / "data" / row["file"]).read_text("ascii")

        assert content[row["byte"] :].startswith(row["record"] + "\n")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), {(20200417, "Twitter"), (20200418, "Twitter"), (20200418, "Youtube")}),
        (("--day", "2020-04-18"), {(20200418, "Twitter"), (20200418, "Youtube")}),
        (("--day", "20200417"), {(20200417, "Twitter")}),
        (("--application", "Twitter"), {(20200417, "Twitter"), (20200418, "Twitter")}),
        (("--file", "DATA_202004171937.csv"), {(20200417, "Twitter")}),
        (("--batch", "2"), {(20200418, "Twitter"), (20200418, "Youtube")}),
        (("--batch", "2", "--application", "Youtube"), {(20200418, "Youtube")}),
        (("--batch", "2", "--day", "20200417"), set()),
        (("--batch", "7"), set()),
    ],
)
def test_filters_choose_rows_and_counts_alike(
    two_days: Upswell, words: tuple[str, ...], expected: set[tuple[int, str]]
) -> None:
    """Each filter, and several together, leave the same in the list and in the counts."""
    rows = [json.loads(line) for line in listing(two_days, "--json", *words).splitlines()]
    counted = json.loads(two_days("sent", "--output", "out", "--json", *words).stdout)

    assert expected == {(row["day"], row["application"]) for row in rows}
    assert expected == {(group["day"], group["application"]) for group in counted["groups"]}
    assert len(rows) == counted["notifications"]


def test_counts_hold_no_msisdn(two_days: Upswell) -> None:
    """On a terminal, as CSV and as JSON the summary is numbers by day and application."""
    text = two_days("sent", "--output", "out").stdout
    table = two_days("sent", "--output", "out", "--csv").stdout

    assert "2020-04-18  Youtube  1" in text
    assert "= all                3" in text
    assert "20200418,Youtube,1\n" in table
    assert "126545098" not in text + table


def test_people_see_the_record_and_both_places(two_days: Upswell) -> None:
    """A row is day, application, record, place in DATA and file in OUTPUT."""
    expected = (
        "2020-04-17  Twitter  0126545098,1,315,20200417193743  DATA_202004171937.csv byte 32"
        "  Twitter/NOTIFY_0000000001_202004171937.csv\n"
    )

    assert expected == listing(two_days, "--day", "20200417")


def test_a_spreadsheet_gets_no_formula(two_days: Upswell) -> None:
    r"""A record that begins with a plus is written with \x2b; every other cell is as it is."""
    rows = list(csv.DictReader(io.StringIO(listing(two_days, "--csv"))))

    assert ["0126545098", "0126545098", "0128419091"] == [row["msisdn"] for row in rows]
    assert r"\x2b0126545098,1,400,20200418103001" == rows[1]["record"]


def test_a_name_that_was_never_seen_is_told(two_days: Upswell) -> None:
    """An application or a file of another name is a slip, not an empty answer; the words that are known are shown."""
    wrong = two_days("sent", "--output", "out", "--application", "Twiter", code=2).stderr

    assert "never had an application 'Twiter'" in wrong
    assert "it knows Twitter, WhatsApp, Youtube" in wrong
    assert "never saw a file" in two_days("sent", "--output", "out", "--file", "x", code=2).stderr
    assert "2020-04-17" in two_days("sent", "--output", "out", "--day", "17/4", code=2).stderr
    assert (
        "cannot be combined"
        in two_days("sent", "--output", "out", "--csv", "--json", code=2).stderr
    )


def test_nothing_notified_is_said(upswell: Upswell, tmp_path: Path) -> None:
    """A state without a notification answers, too."""
    upswell(*write_inputs(tmp_path, "not a record\n"), "--once")

    assert "No notifications were sent.\n" == upswell("sent", "--output", "out").stdout
    assert "" == upswell("sent", "--output", "out", "--list").stdout


def test_an_application_that_has_rules_but_no_notification_is_known(two_days: Upswell) -> None:
    """Its answer is that nothing was notified; a name out of no version of RULES is still a slip."""
    words = ("sent", "--output", "out", "--application")

    assert "No notifications were sent.\n" == two_days(*words, "WhatsApp").stdout
    assert "" == two_days(*words, "WhatsApp", "--list").stdout
    assert "it knows Twitter, WhatsApp, Youtube" in two_days(*words, "B", code=2).stderr


def test_an_escape_in_an_unknown_name_is_shown_once(two_days: Upswell) -> None:
    """As it is written everywhere else."""
    told = two_days("sent", "--output", "out", "--application", "A\x1b[2J", code=2).stderr

    assert r"an application 'A\x1b[2J'" in told


@pytest.mark.parametrize("number", ["0", "-1", "x", "10000000000", "9" * 23])
def test_a_batch_that_cannot_be_is_a_slip(two_days: Upswell, number: str) -> None:
    """Batches have one to ten digits; what is no such number is a usage error."""
    told = two_days("sent", "--output", "out", "--batch", number, code=2).stderr

    assert "--batch" in told


@pytest.mark.parametrize("command", ["sent", "rejects"])
@pytest.mark.parametrize("day", ["", "17/4", "2-0-2-0-0417", "20200417--", "2020-02-30"])
def test_a_day_that_is_none_is_a_slip(two_days: Upswell, command: str, day: str) -> None:
    """Also an empty one: it never means all days. The message names the option and shows how a day is written."""
    told = two_days(command, "--output", "out", "--day", day, code=2).stderr

    assert "--day" in told
    assert "2020-04-17" in told


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM log WHERE batch = 1",
        "DELETE FROM file WHERE name = 'DATA_202004171937.csv'",
        "DELETE FROM batch WHERE number = 1",
        "UPDATE notification SET raw = CAST('0999999999,1,1,' AS BLOB) WHERE batch = 1",
        "UPDATE notification SET msisdn = '0999999999' WHERE batch = 1",
    ],
)
def test_a_row_that_the_state_does_not_bear_out_is_listed_and_told(
    two_days: Upswell, tmp_path: Path, damage: str
) -> None:
    """No notification is dropped in silence: the list has all three, and ends as that of a damaged state."""
    with closing(sqlite3.connect(tmp_path / "out" / ".upswell" / "checkpoint.db")) as db, db:
        db.execute(damage)
    done = two_days("sent", "--output", "out", "--list", code=74)

    assert 3 == len(done.stdout.splitlines())
    assert "1 of its notifications have lost their place" in done.stderr
    assert "0999999999" not in done.stderr


def test_rows_that_do_not_fit_one_page_are_all_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the length of a page, each notification is listed once, in order."""
    with World(tmp_path / "out") as world:
        for number in (1, 2, 3):
            world.committer.commit(made(number))
    whole = list(sent.rows(world.state, SentFilter()))
    monkeypatch.setattr("upswell.state.queries.notifications._GROUP_PAGE_ROWS", 3)

    assert whole == list(sent.rows(world.state, SentFilter()))
    assert whole == sorted(whole)
    assert PER_APPLICATION * (3 + 2) == len(whole)
    assert {(DAY, APPLICATIONS[0]): 12, (DAY, APPLICATIONS[1]): 8} == sent.counts(
        world.state, SentFilter()
    )


def test_what_is_committed_meanwhile_is_left_out(tmp_path: Path) -> None:
    """A list that was begun shows the state of its beginning."""
    with World(tmp_path / "out") as world:
        world.committer.commit(made(1))
        rows = sent.rows(world.state, SentFilter())
        first = next(rows)
        world.committer.commit(made(2))
        listed = [first, *rows]

    assert {1} == {row.batch for row in listed}
    assert (
        len(listed)
        == sum(content.count(b"\n") for content in published(tmp_path / "out").values())
        - PER_APPLICATION
    )


def listing(upswell: Upswell, *words: str) -> str:
    """What ``--list`` prints."""
    return upswell("sent", "--output", "out", "--list", *words).stdout
