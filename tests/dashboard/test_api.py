"""What the page shows: the numbers of the commands, added up right, with dials masked."""

import itertools
import json
import re
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from support.command import Upswell
from support.inputs import DIALS, LONG_AGO_S, REPORT, RULES, inside, write, write_inputs
from support.running import Running
from upswell import kernel
from upswell.audit import history, status
from upswell.audit.labels import EXIT_STEPS
from upswell.dashboard import campaign, flow
from upswell.dashboard.api import (
    CACHED_MAX_S,
    CACHED_SHARE,
    PANELS,
    WAITING_MAX,
    Busy,
    Panels,
    Target,
    parse_day,
)
from upswell.dashboard.health import (
    DISK_FREE_MIN_BYTES,
    RECENT_MINUTES,
    REJECTED_MAX_RATIO,
    UNUSUAL_MAX_FILES,
    WAITING_MAX_S,
    health,
)
from upswell.engine import run_log
from upswell.engine.summary import MATCHED_MIN_RATIO
from upswell.errors import StorageError, UsageError
from upswell.source.listing import show_name
from upswell.state.connection import DATABASE

STATE = Path("out") / ".upswell"
ABOVE, BELOW = 315, 20


@pytest.fixture
def upswell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Upswell:
    """The command, within this process."""
    return inside(tmp_path, monkeypatch)


@pytest.fixture
def panels(tmp_path: Path, upswell: Upswell) -> Panels:
    """Over a finished run of five minutes: one is missing, one is held, one came with a reject."""
    paths = write_inputs(tmp_path)
    for minute, (dial, volume) in {38: (0, ABOVE), 39: (1, BELOW), 41: (2, BELOW)}.items():
        record = f"{DIALS[dial]},1,{volume},202004171{minute - 30}0000\n"
        write(tmp_path / "data" / f"DATA_2020041719{minute}.csv", record)
    write(tmp_path / "data" / "DATA_202004171942.csv", b"\x1f\x8b compressed")
    upswell(*paths, "--once")
    return Panels(Target(tmp_path / STATE))


def test_the_page_prints_what_the_commands_print(panels: Panels, upswell: Upswell) -> None:
    """A panel that a command has holds that command's object."""
    for name in ("status", "history", "sent", "rejects"):
        printed = json.loads(upswell(name, "--output", "out", "--json").stdout)
        shown = panels.answer(f"/api/{name}", {}, unmasked=False)
        shown = json.loads(json.dumps(shown))
        for volatile in ("last_commit", "state"):
            printed.pop(volatile, None)
        assert printed == {key: shown[key] for key in printed}


def test_every_path_can_be_printed_without_a_server(panels: Panels, upswell: Upswell) -> None:
    """--get gives one object for a path of JSON, and the page's own files as they are."""
    del panels
    for path in PANELS:
        assert json.loads(upswell("dashboard", "--output", "out", "--get", path).stdout)
    assert "<!doctype html>" in upswell("dashboard", "--output", "out", "--get", "/").stdout
    assert "export" in upswell("dashboard", "--output", "out", "--get", "/page/parts.js").stdout
    for odd in (
        "/page/../__init__.py",
        "/page/__init__.py",
        "/nothing",
        "/api/files?day=yesterday",
    ):
        upswell("dashboard", "--output", "out", "--get", odd, code=2)


def test_the_funnel_loses_each_line_once() -> None:
    """Every outcome is lost at one stage but the last, and what is left at the end was notified."""
    outcomes = {name: 2**at for at, name in enumerate(kernel.OUTCOMES)}
    stages = flow.funnel(outcomes)
    lost = [name for stage in stages for name in stage.lost]

    assert sum(outcomes.values()) == stages[0].lines
    assert [name for name in kernel.OUTCOMES if name != "notified"] == lost
    assert outcomes["notified"] == stages[-1].lines


def test_each_expected_minute_is_a_cell(panels: Panels) -> None:
    """Done, missing and held ones, and none before the first or after the last."""
    found = panels.answer("/api/minutes", {}, unmasked=False)
    cells = found["cells"]
    assert isinstance(cells, list)

    assert [
        ("37", "done"), ("38", "done"), ("39", "done"), ("40", "missing"), ("41", "done"), ("42", "held"),
    ] == [(cell["stamp"][-2:], cell["state"]) for cell in cells]  # fmt: skip
    assert {"done": 4, "missing": 1, "held": 1} == found["counts"]
    assert (7, 1, 1) == tuple(cells[0][name] for name in ("lines", "rejected", "notified"))


def test_another_cadence_has_other_minutes(panels: Panels) -> None:
    """With none expected, none is missing."""
    found = Panels(panels.target._replace(cadence_s=0)).answer("/api/minutes", {}, unmasked=False)

    assert "missing" not in found["counts"]  # type: ignore[operator]


def test_files_have_their_counts_and_the_time_taken(panels: Panels) -> None:
    """The newest first; a file that was taken says how long after its last change."""
    found = panels.answer("/api/files", {"day": "2020-04-17"}, unmasked=False)["files"]
    assert isinstance(found, list)
    last, first = found[0], found[-1]

    assert ("DATA_202004171942.csv", "held", None) == (last["name"], last["state"], last["took_s"])
    assert (7, 1, 1) == (first["lines"], first["rejected"], first["notified"])
    assert first["took_s"] > LONG_AGO_S / 100
    assert [] == panels.answer("/api/files", {"day": "20200101"}, unmasked=False)["files"]


def test_samples_are_masked(tmp_path: Path, upswell: Upswell) -> None:
    """A reject shows its place and its line, the dial only to whoever may see it."""
    upswell(*write_inputs(tmp_path, f"{DIALS[0]},1,many,20200417193743\n\x1b[31m,1\n"), "--once")
    panels = Panels(Target(tmp_path / STATE))

    def sample(*, unmasked: bool) -> str:
        found = panels.answer("/api/rejects", {}, unmasked=unmasked)["samples"]["volume"]  # type: ignore[index]
        assert [("DATA_202004171937.csv", 1)] == [(one["file"], one["line"]) for one in found]
        return str(found[0]["raw"])

    assert "0123•••827,1,many,20200417193743" == sample(unmasked=False)
    assert f"{DIALS[0]},1,many,20200417193743" == sample(unmasked=True)
    assert r"\x1b[31m,1" in json.dumps(panels.answer("/api/rejects", {}, unmasked=True)).replace(
        "\\\\", "\\"
    )


def test_hours_are_those_of_the_rules_zone(tmp_path: Path, upswell: Upswell) -> None:
    """A record of 19:37 in Cairo is one of 17 o'clock for rules in UTC, also when its fields are in quotes."""
    records = '0126545098,1,315,20200417193743\n0123917827,1,315,"20200417103743"\n'
    paths = write_inputs(tmp_path, records)
    upswell(*paths, "--once", "--data-timezone", "Africa/Cairo", "--rules-timezone", "UTC")
    found = campaign.campaign(tmp_path / STATE, None)
    twitter = next(one for one in found["applications"] if one["name"] == "Twitter")  # type: ignore[attr-defined]

    assert {8: 1, 17: 1} == {hour: n for hour, n in enumerate(twitter["hours"]) if n}
    assert [("8-20", 147)] == [(rule["window"], rule["threshold"]) for rule in twitter["rules"]]
    assert (20200417, 2) == (found["day"], twitter["total"])


def test_the_control_group_is_counted_by_itself(tmp_path: Path, upswell: Upswell) -> None:
    """Who was kept from a notification is in no total of an application, and in the funnel under its own name."""
    paths = write_inputs(tmp_path, f"{DIALS[0]},1,315,20200417193743\n")
    key = ("--control-share", "100", "--control-key", "a key that is long enough")
    upswell(*paths, "--once", *key)
    found = campaign.campaign(tmp_path / STATE, None)

    assert (20200417, 1) == (found["day"], found["control"])
    assert 0 == sum(one["total"] for one in found["applications"])  # type: ignore[attr-defined]
    last = flow.funnel(status.read_status(tmp_path / STATE).summary.outcomes)[-1]
    assert ("notified", 0, 1) == (last.name, last.lines, last.lost["control"])


def test_a_day_is_held_against_those_before(tmp_path: Path, upswell: Upswell) -> None:
    """The mean of the days before by hour, which may be held against the hours that the data has left behind."""
    paths = write_inputs(tmp_path, "")
    for day in (16, 17, 18):
        records = "".join(f"{dial},1,315,202004{day}100000\n" for dial in DIALS[: day - 15])
        write(tmp_path / "data" / f"DATA_202004{day}1000.csv", records)
    upswell(*paths, "--once")

    for asked, total, usual, over in (
        (None, 3, 1.5, 10), (20200417, 2, 1.0, 24), (20200416, 1, 0.0, 24), (20200419, 0, 2.0, 0),
    ):  # fmt: skip
        told = campaign.campaign(tmp_path / STATE, asked)
        assert over == told["hours_over"]
        found = told["applications"][0]  # type: ignore[index]
        assert (total, usual, usual) == (
            found["total"],
            found["usual_total"],
            found["usual_hours"][10],
        )


def test_who_is_near_is_masked(panels: Panels) -> None:
    """Customers who were not notified, the nearest first, as the ledger has them."""
    for unmasked, expected in ((False, "0128•••091"), (True, DIALS[2])):
        found = panels.answer("/api/near", {}, unmasked=unmasked)
        assert {"batch", "nearest"} == set(found)
        youtube = [one for one in found["nearest"] if one["application"] == "Youtube"]  # type: ignore[attr-defined]
        assert [(expected, 20, 99, "10-20")] == [
            (one["msisdn"], one["total"], one["threshold"], one["window"]) for one in youtube
        ]


def test_a_damaged_ledger_is_told(panels: Panels, tmp_path: Path) -> None:
    """Who is near is not made up of what is left of it."""
    with closing(sqlite3.connect(tmp_path / STATE / DATABASE)) as db, db:
        db.execute("UPDATE ledger_delta SET content = x'00'")
    with pytest.raises(StorageError):
        panels.answer("/api/near", {}, unmasked=False)


def test_a_story_is_what_explain_tells(panels: Panels) -> None:
    """With whole dials, as the server lets nobody look up without the token."""
    whole = panels.explain({"msisdn": f"+{DIALS[1]}", "about": "Twitter", "day": "2020-04-17"})

    assert DIALS[1] == whole["msisdn"]
    line = whole["lines"][0]  # type: ignore[index]
    assert ("2020-04-17T19:37:43", 315, 315, 147, "8-20") == tuple(
        line[name] for name in ("at", "volume", "total", "threshold", "window")
    )


@pytest.mark.parametrize(
    "asked",
    [{"msisdn": "12"}, {"msisdn": DIALS[0], "day": "soon"}, {"msisdn": DIALS[0], "about": "x"}, {}],
)
def test_a_look_up_that_means_nothing_is_refused(panels: Panels, asked: dict[str, str]) -> None:
    """With what to write instead."""
    with pytest.raises(UsageError) as caught:
        panels.explain(asked)

    assert caught.value.hint


def test_one_customer_is_looked_up_at_a_time(
    panels: Panels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second look-up is told to come again, and one that failed leaves the way free."""
    asked = {"msisdn": DIALS[1]}

    def second(*_: object, **__: object) -> None:
        panels.explain(asked)

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr("upswell.dashboard.api.explain", second)
        with pytest.raises(UsageError, match="another customer is being looked up"):
            panels.explain(asked)

    assert panels.explain(asked)["lines"]


@pytest.mark.parametrize("text", ["2020-02-30", "202004", "٢٠٢٠٠٤١٧", "20200417x", "0" * 30])
def test_what_is_no_day_is_refused(text: str) -> None:
    """A parameter is a day or an error."""
    with pytest.raises(UsageError):
        parse_day(text)


def needs(found: object) -> Iterator[str]:
    """The alerts of a health panel."""
    assert isinstance(found, list)
    return (need["alert"] for need in found)


def test_health_says_what_needs_somebody(panels: Panels, tmp_path: Path) -> None:
    """A state that nobody runs, with a held and a missing file and many rejects."""
    found = panels.answer("/api/health", {}, unmasked=False)

    assert not found["running"]
    assert {
        "UpswellDown", "UpswellFilesMissing", "UpswellFilesHeld", "UpswellRefusedFiles", "UpswellRejects"
    } == set(needs(found["needs"]))  # fmt: skip
    assert 10 == sum(minute["lines"] for minute in found["rate"])  # type: ignore[attr-defined]
    assert 60 == len(found["rate"])  # type: ignore[arg-type]
    assert 0 < found["state_bytes"]["database"]  # type: ignore[index]
    assert None is found["memory_bytes"]
    assert {"state", "output"} == set(found["disk_free_bytes"])  # type: ignore[call-overload]


def tell_needs(panels: Panels) -> dict[str, str]:
    """The alerts of the health panel as it is now, with their words."""
    found = Panels(panels.target).answer("/api/health", {}, unmasked=False)["needs"]
    return {need["alert"]: need["words"] for need in found}  # type: ignore[attr-defined]


def test_what_happened_is_an_alert_for_an_hour(
    panels: Panels, tmp_path: Path, upswell: Upswell
) -> None:
    """Missing files, rejects, late and strange records are told while they are of the last hour, and then no more."""
    at_once, seen = ["data", "segment", "rules", "out", "--once"], set(tell_needs(panels))
    old = f"{DIALS[0]},1,5,20200410190000\n"
    strange = "0999999999,1,5,20200417190000\n" * 10_000
    write(tmp_path / "data" / "DATA_202004171943.csv", old + strange)
    upswell(*at_once)
    seen |= set(tell_needs(panels))
    assert {
        "UpswellRejects", "UpswellLateRecords", "UpswellNobodyMatches", "UpswellFilesMissing",
    } <= seen  # fmt: skip
    assert (
        "1 record of the last hour arrived after its day"
        in tell_needs(panels)["UpswellLateRecords"]
    )

    for minute in range(44, 125):
        stamp = f"{1900 + minute // 60 * 100 + minute % 60}"
        record = f"{DIALS[0]},1,1,20200417{stamp}00\n"
        write(tmp_path / "data" / f"DATA_20200417{stamp}.csv", record)
    upswell(*at_once)
    with closing(sqlite3.connect(tmp_path / STATE / DATABASE)) as db, db:
        last = "(SELECT max(number) FROM batch)"
        db.execute(f"UPDATE batch SET committed_at = '2020-04-17T00:00:00' WHERE number < {last}")
    assert {"UpswellDown", "UpswellFilesHeld"} == set(tell_needs(panels))

    # Had these stamps lain ahead of the clock, the missing file would be told still.
    then = replace(
        status.read_status(tmp_path / STATE), looked_at=datetime(2020, 4, 17, 19, 45, tzinfo=UTC)
    )
    assert "UpswellFilesMissing" in needs(health(then, {})["needs"])


def test_duplicates_refused_and_unread_files_are_alerts(tmp_path: Path, upswell: Upswell) -> None:
    """Each by name and with the likely cause; the unread ones though nothing was ever committed."""
    paths = write_inputs(tmp_path)
    panels, data = Panels(Target(tmp_path / STATE)), tmp_path / "data"
    for path in data.iterdir():
        path.rename(data / f"{path.stem}.CSV")
    upswell(*paths, "--once")
    told = tell_needs(panels)
    assert {"UpswellDown", "UpswellUnreadFiles"} == set(told)
    assert (
        f"1 name in DATA looks like data and is not read: {show_name('DATA_202004171937.CSV')}"
        == told["UpswellUnreadFiles"]
    )

    for path in data.iterdir():
        path.rename(data / f"{path.stem}.csv")
    for minute in (38, 39):
        write(data / f"DATA_2020041719{minute}.csv", f"{DIALS[0]},1,5,20200417190000\n")
    write(data / "DATA_202004171940.csv", f"{DIALS[0]};1;5;20200417190000\n" * 7)
    upswell(*paths, "--once")
    told = tell_needs(panels)
    assert (
        "1 file repeats the content of another: DATA_202004171939.csv"
        == (told["UpswellDuplicateFiles"])
    )
    assert (
        "1 file holds no record. DATA_202004171940.csv: none of its 7 lines is a record"
        in (told["UpswellRefusedFiles"])
    )
    assert "UpswellUnreadFiles" not in told


def test_msisdns_in_another_form_are_an_alert(tmp_path: Path, upswell: Upswell) -> None:
    """With both forms."""
    records = "".join(
        f"+20{dial[1:]},1,5,20200417193743\n{dial},1,5,20200417193743\n" for dial in DIALS
    )
    upswell(*write_inputs(tmp_path, records), "--once")
    told = tell_needs(Panels(Target(tmp_path / STATE)))["UpswellOtherForm"]

    assert "100% of the sampled MSISDNs outside the segment are in it in another form" in told
    assert not any(dial[1:] in told for dial in DIALS)


def test_silence_beside_unread_files_is_not_the_producers(tmp_path: Path, upswell: Upswell) -> None:
    """The step is to look at them; without them it is to ask the producer."""
    upswell(*write_inputs(tmp_path), "--once")
    found = status.read_status(tmp_path / STATE)
    assert found.last
    silent = replace(
        found,
        looked_at=datetime.fromisoformat(found.last.committed_at) + timedelta(seconds=999),
        holder="process 1, since 2020-01-01 00:00:00 UTC",
    )
    steps = [
        {need["alert"]: need["next"] for need in health(each, {})["needs"]}["UpswellSilent"]  # type: ignore[attr-defined]
        for each in (silent, replace(silent, unread=["DATA_202004171938.CSV"]))
    ]
    assert ["Ask the producer of DATA.", "Files that are not read lie in DATA: see below."] == steps


def test_a_file_that_went_is_told_for_an_hour(tmp_path: Path, upswell: Upswell) -> None:
    """One that was deleted while it grew, until files of an hour later have come."""
    paths = write_inputs(tmp_path)
    panels, growing = Panels(Target(tmp_path / STATE)), tmp_path / "data" / "DATA_202004171937.csv"
    run = Running(tmp_path, *paths, "--poll-s", "0.1")

    def wait_for(state: str) -> None:
        until = time.monotonic() + 30
        while (
            not (tmp_path / STATE / DATABASE).exists()
            or not (status.read_status(tmp_path / STATE).summary.files[state])
        ):
            assert time.monotonic() < until, f"no file is {state}"
            time.sleep(0.05)

    try:
        run.wait_for("reference in force")
        with growing.open("a") as more:
            more.write("0126")
        wait_for("reading")
        growing.unlink()
        wait_for("gone")
    finally:
        run.process.terminate()
        run.end()
    assert (
        "1 file is gone (deleted before they were fully read): DATA_202004171937.csv"
        == (tell_needs(panels)["UpswellFilesGone"])
    )
    write(tmp_path / "data" / "DATA_202004172038.csv", "")
    write(tmp_path / "data" / "DATA_202004172039.csv", f"{DIALS[0]},1,1,20200417203900\n")
    upswell(*paths, "--once")
    assert "UpswellFilesGone" not in tell_needs(panels)


def test_a_file_held_on_its_way_to_the_archive_is_told(tmp_path: Path, upswell: Upswell) -> None:
    """By name, for as long as it is."""
    paths = write_inputs(tmp_path)
    write(tmp_path / "archive" / "20200417" / "DATA_202004171937.csv", "another")
    upswell(*paths, "--once", "--archive", "archive")

    assert (
        "1 file needs manual action to be archived: DATA_202004171937.csv"
        == (tell_needs(Panels(Target(tmp_path / STATE)))["UpswellArchiveHeld"])
    )


def test_a_run_that_failed_is_told_with_its_next_step(
    panels: Panels, tmp_path: Path, upswell: Upswell
) -> None:
    """In the words of the error or, of a run that did not note them, in those of the manual."""
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    upswell("data", "segment", "rules", "out", "--once", code=66)
    log = tmp_path / STATE / run_log.NAME
    noted = [json.loads(line) for line in log.read_text("utf-8").splitlines()]

    def down() -> dict[str, str]:
        found = Panels(panels.target).answer("/api/health", {}, unmasked=False)["needs"]
        return next(need for need in found if need["alert"] == "UpswellDown")  # type: ignore[attr-defined]

    assert (
        "Exit code 66: mount it, or correct the path: DATA is the directory that the files arrive in."
        == down()["next"]
    )
    assert "No such file or directory" in down()["words"]
    del noted[-1]["hint"]
    write(log, "".join(json.dumps(line) + "\n" for line in noted))
    assert f"Exit code 66: {EXIT_STEPS[66]}." == down()["next"]


def test_the_page_and_the_manual_know_the_same_exit_codes(root: Path) -> None:
    """Each code that a run may end with has the next step of docs/operations.md."""
    manual = (root / "docs" / "operations.md").read_text("utf-8")
    table = manual.partition("\n## Exit codes\n")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| ([0-9]+) \| .* \| (.*) \|$", table, re.M))
    by_code = {int(code): step for code, step in rows.items()}
    for no_end_of_a_run in (0, 1, 2):
        del by_code[no_end_of_a_run]

    assert by_code == EXIT_STEPS


def test_an_old_state_costs_no_more_than_a_young_one(
    panels: Panels, tmp_path: Path, upswell: Upswell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """History has the newest edits over the newest batches, and says how much is older; samples are of few batches."""
    for threshold in (100, 101, 102):
        write(tmp_path / "rules" / "RULES.csv", f"1,Twitter,8,20,{threshold}\n")
        stamp = f"2020041720{threshold - 100:02}"
        for part in (1, 2):
            record = f"{DIALS[0]},1,many,20200417200000\n" * part
            write(tmp_path / "data" / f"DATA_{stamp}.csv", record, LONG_AGO_S + part)
            upswell("data", "segment", "rules", "out", "--once")
    whole = history.read_history(tmp_path / STATE)
    bounds = history.Bounds(edits=2, batches=3)
    some = history.read_history(tmp_path / STATE, bounds)
    last = history.read_history(tmp_path / STATE, bounds._replace(batches=1))

    assert (0, 3) == (whole.older, some.older)
    assert [edit.version for edit in whole.edits[-2:]] == [edit.version for edit in some.edits]
    assert [(2, 2), (2, 2)] == [(edit.batches, edit.lines) for edit in whole.edits[-2:]]
    assert [(1, 1), (2, 2)] == [(edit.batches, edit.lines) for edit in some.edits]
    assert [(0, 0), (1, 1)] == [(edit.batches, edit.lines) for edit in last.edits]
    assert [1, 0] == [edit.counted_from - edit.first_batch for edit in some.edits]
    assert "volume" in panels.answer("/api/rejects", {}, unmasked=False)["samples"]  # type: ignore[operator]
    monkeypatch.setattr(flow, "_SAMPLED_BATCHES_MAX", 1)
    young = flow.samples(tmp_path / STATE, 20200417, unmasked=False)
    assert "volume" not in young


def test_rejects_of_a_day_are_found_in_its_batches(tmp_path: Path, upswell: Upswell) -> None:
    """Samples of a day are looked for from its first batch on, also of a file that came late."""
    paths = write_inputs(tmp_path, "")
    for day in (16, 18, 17):
        write(tmp_path / "data" / f"DATA_202004{day}1000.csv", f"{DIALS[0]},{day},many,1\n")
        upswell(*paths, "--once")
    for day in (16, 17, 18):
        ((sample,),) = flow.samples(tmp_path / STATE, 20200400 + day, unmasked=True).values()
        assert f"{DIALS[0]},{day},many,1" == sample["raw"]


def test_few_wait_for_an_answer_that_is_being_made(
    panels: Panels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They share it; whoever comes beyond that is told so at once, and has it later."""
    begun, end, made = threading.Event(), threading.Event(), []

    def slow(_: object) -> dict[str, object]:
        made.append(1)
        begun.set()
        assert end.wait(30)
        return {"batch": 1}

    monkeypatch.setitem(PANELS, "/api/near", slow)
    ask = partial(panels.answer, "/api/near", {}, unmasked=False)
    with ThreadPoolExecutor(WAITING_MAX + 1) as askers:
        first = askers.submit(ask)
        assert begun.wait(30)
        others = [askers.submit(ask) for _ in range(WAITING_MAX)]
        until = time.monotonic() + 30
        while panels._waiting._value:
            assert time.monotonic() < until, "nobody waits"
            time.sleep(0.01)
        with pytest.raises(Busy):
            panels.answer("/api/near", {"day": "2020-04-17"}, unmasked=True)
        end.set()
        assert [{"batch": 1}] * (WAITING_MAX + 1) == [each.result(30) for each in (first, *others)]
    assert [1] == made


def test_the_last_answer_is_given_while_another_is_made(
    panels: Panels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits who can have it; after an error there is none."""
    found: list[object] = []

    def make(_: object) -> dict[str, object]:
        if len(found) == 2:
            raise StorageError("it is damaged")
        found.append(ask() if found else None)
        return {"batch": len(found)}

    later = itertools.count(0.0, 2 * CACHED_MAX_S)
    monkeypatch.setattr("upswell.dashboard.api.time.monotonic", lambda: next(later))
    monkeypatch.setitem(PANELS, "/api/near", make)
    ask = partial(panels.answer, "/api/near", {}, unmasked=False)
    assert [{"batch": 1}, {"batch": 2}] == [ask(), ask()]
    assert [None, {"batch": 1}] == found
    for _ in range(2):
        with pytest.raises(StorageError):
            ask()


def test_an_answer_of_long_ago_is_not_given_while_another_is_made(
    panels: Panels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last one is given for a moment; then whoever asks waits for the new one."""
    begun, end, made, now = threading.Event(), threading.Event(), list[int](), [0.0]

    def slow(_: object) -> dict[str, object]:
        if made:
            begun.set()
            assert end.wait(30)
        made.append(1)
        return {"batch": len(made)}

    monkeypatch.setattr("upswell.dashboard.api.time.monotonic", lambda: now[0])
    monkeypatch.setitem(PANELS, "/api/near", slow)
    ask = partial(panels.answer, "/api/near", {}, unmasked=False)
    assert {"batch": 1} == ask()
    now[0] = 2 * CACHED_MAX_S
    with ThreadPoolExecutor(2) as askers:
        first = askers.submit(ask)
        assert begun.wait(30)
        soon = ask()
        now[0] = 1000 * CACHED_MAX_S
        second = askers.submit(ask)
        while panels._waiting._value == WAITING_MAX and not second.done():
            time.sleep(0.01)
        end.set()
        assert [{"batch": 2}] * 2 == [each.result(30) for each in (first, second)]
    assert {"batch": 1} == soon


def test_who_is_told_to_come_again_leaves_the_last_answer(
    panels: Panels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When what an answer is made of has too many askers, that is no error of the answer."""
    made, found, now = list[int](), list[object](), [0.0]

    def make(_: object) -> dict[str, object]:
        made.append(1)
        if len(made) == 2:
            raise Busy("too many ask for this at once", "ask again in a moment")
        if len(made) == 3:
            found.append(ask())
        return {"batch": len(made)}

    monkeypatch.setattr("upswell.dashboard.api.time.monotonic", lambda: now[0])
    monkeypatch.setitem(PANELS, "/api/near", make)
    ask = partial(panels.answer, "/api/near", {}, unmasked=False)
    assert {"batch": 1} == ask()
    now[0] = CACHED_MAX_S
    with pytest.raises(Busy):
        ask()
    assert {"batch": 3} == ask()
    assert [{"batch": 1}] == found


def test_an_answer_that_is_dear_is_made_seldom(
    panels: Panels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is given again for many times as long as it took, up to a moment that somebody can wait."""
    now, made = [0.0], list[int]()

    def slow(_: object) -> dict[str, object]:
        now[0] += took_s
        made.append(1)
        return {"batch": len(made)}

    monkeypatch.setattr("upswell.dashboard.api.time.monotonic", lambda: now[0])
    monkeypatch.setitem(PANELS, "/api/near", slow)
    for took_s in (0.2, 30.0):
        kept_s, found = min(took_s * CACHED_SHARE, CACHED_MAX_S), []
        now[0] += CACHED_MAX_S
        for wait_s in (0.0, kept_s - 0.1, 0.2, 0.1):
            now[0] += wait_s
            found.append(panels.answer("/api/near", {}, unmasked=False)["batch"])
        assert [len(made) - 1, len(made) - 1, len(made), len(made)] == found


def test_every_alert_of_the_page_is_in_the_manual(root: Path) -> None:
    """What the page calls by name, docs/operations.md explains."""
    named = set((root / "src/upswell/dashboard/health.py").read_text("utf-8").split('"'))
    manual = (root / "docs" / "operations.md").read_text("utf-8")

    alerts = {word for word in named if word.startswith("Upswell")}
    assert len(alerts) >= 8
    assert set() == {alert for alert in alerts if f"| `{alert}` |" not in manual}


def test_the_page_and_the_alerts_have_the_same_limits(root: Path) -> None:
    """What Prometheus tells by name, the page tells from the same figure on."""
    alerts = (root / "contrib" / "alerts.yml").read_text("utf-8").split("- alert: ")
    limits = {alert.split()[0]: re.findall(r"[<>] ([0-9.e]+)$", alert, re.M) for alert in alerts}

    assert [WAITING_MAX_S] == [float(limit) for limit in limits["UpswellWaiting"]]
    assert [DISK_FREE_MIN_BYTES] == [float(limit) for limit in limits["UpswellDiskFull"]]
    assert [REJECTED_MAX_RATIO] == [float(limit) for limit in limits["UpswellRejects"]]
    assert [UNUSUAL_MAX_FILES] == [float(limit) for limit in limits["UpswellUnusualFiles"]]
    assert [1 - MATCHED_MIN_RATIO] == [float(limit) for limit in limits["UpswellNobodyMatches"]]
    for alert in ("FilesMissing", "FilesGone", "LateRecords", "UnusualFiles"):
        (text,) = (one for one in alerts if one.startswith(f"Upswell{alert}\n"))
        assert f"[{RECENT_MINUTES // 60}h]" in text


def test_only_reports_are_listed(tmp_path: Path, upswell: Upswell) -> None:
    """Of a directory what ``whatif --report`` wrote, and no link, other page or file beside it."""
    upswell(*write_inputs(tmp_path), "--once")
    place = tmp_path / "reports"
    place.mkdir()
    upswell(*REPORT, "reports/mild.html")
    write(place / "other.html", "<title>Another page</title>")
    (place / "link.html").symlink_to(place / "mild.html")
    write(tmp_path / "mild.html", (place / "mild.html").read_bytes())

    found = campaign.reports(place)["reports"]
    assert ["mild.html"] == [row["name"] for row in found]  # type: ignore[attr-defined]
    assert campaign.read_report(place, "mild.html")
    for odd in ("other.html", "link.html", "../mild.html", "mild.htm", ""):
        assert None is campaign.read_report(place, odd)
    assert {"place": "", "reports": []} == campaign.reports(None)


def test_a_state_that_nothing_was_read_into_is_shown(tmp_path: Path, upswell: Upswell) -> None:
    """Views that need no file are there; those of a day say what to do."""
    paths = write_inputs(tmp_path)
    (tmp_path / "data" / "DATA_202004171937.csv").unlink()
    upswell(*paths, "--once")
    panels = Panels(Target(tmp_path / STATE))

    for path in ("status", "campaign", "health", "history", "near", "reports", "sent"):
        assert panels.answer(f"/api/{path}", {}, unmasked=False)
    with pytest.raises(UsageError, match="no file has arrived yet"):
        panels.answer("/api/minutes", {}, unmasked=False)


def test_a_rule_that_was_left_out_is_an_alert_until_it_is_repaired(
    tmp_path: Path, upswell: Upswell
) -> None:
    """With file, line and reason; bad lines of the segment are none."""
    paths = write_inputs(tmp_path, rules=f"{RULES}4,Snap,9,9,5\n", segment="0126545098\nx1\n")
    upswell(*paths, "--once")
    panels = Panels(Target(tmp_path / STATE))
    assert (
        "RULES is active without 1 line of it: RULES.csv line 4: start and end are the same:"
        " write 0,24 for the whole day." == tell_needs(panels)["UpswellLinesLeftOut"]
    )

    write_inputs(tmp_path, rules=RULES)
    upswell(*paths, "--once")
    assert "UpswellLinesLeftOut" not in tell_needs(panels)
