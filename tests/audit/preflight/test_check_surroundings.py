"""``upswell check`` on DATA, settings, directories and the state."""

import gzip
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from support.command import Upswell
from support.inputs import DIALS, RECORDS, inside, write, write_inputs
from upswell.source.listing import show_name


@pytest.fixture
def upswell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Upswell:
    """The command, within this process."""
    return inside(tmp_path, monkeypatch)


def report(upswell: Upswell, *words: str, code: int = 0, **environment: str) -> dict[str, object]:
    """What ``check --json`` says."""
    found: dict[str, object] = json.loads(
        upswell("check", *words, "--json", code=code, **environment).stdout
    )
    return found


def messages(found: dict[str, object], level: str) -> list[str]:
    """The findings of a level, each as one string."""
    every = found["findings"]
    assert isinstance(every, list)
    return [
        f"{one['where']}: {one['message']} | {one['hint']}"
        for one in every
        if one["level"] == level
    ]


def test_good_inputs_are_ok(upswell: Upswell, tmp_path: Path) -> None:
    """Without errors and warnings a run can start."""
    found = report(upswell, *write_inputs(tmp_path, RECORDS.replace("not a record\n", "")))

    assert True is found["ok"]
    assert [] == messages(found, "error") + messages(found, "warning")
    assert not (tmp_path / "out").exists()


def test_a_header_in_another_order_is_told(upswell: Upswell, tmp_path: Path) -> None:
    """A run would hold the file, plain or compressed; what is behind the header is not counted."""
    paths = write_inputs(tmp_path, RECORDS.replace("not a record\n", ""))
    records = b'\n"Volume";Dial;Service;Time\n315;0126545098;1;20200417193743\n'
    write(tmp_path / "data" / "DATA_202004171938.csv", records)
    write(tmp_path / "data" / "DATA_202004171939.csv.gz", gzip.compress(records))
    found = report(upswell, *paths[:3])

    plain, packed = messages(found, "warning")
    assert plain.startswith("DATA_202004171938.csv: its first line names the columns Volume, Dial")
    assert packed.startswith("DATA_202004171939.csv.gz: its first line names the columns Volume")
    assert (
        '[shape] delimiter = ";", columns = ["volume", "msisdn", "service", "timestamp"]' in plain
    )
    assert plain.endswith(" | it would be held")
    assert [] == [word for word in messages(found, "note") if "malformed" in word]


def test_rejected_lines_of_a_sample_are_shown_masked(upswell: Upswell, tmp_path: Path) -> None:
    """A reason, how many, and an example with its place; plain and compressed files alike."""
    paths = write_inputs(tmp_path)
    records = b"0126545098;1;315;20200417193743\n" * 3
    write(tmp_path / "data" / "DATA_202004171938.csv.gz", gzip.compress(records))
    refused, bad = messages(report(upswell, *paths[:3]), "warning")

    assert (
        "none of its 3 sampled lines is a record: its fields are separated by semicolons" in refused
    )
    assert "4 of 10 sampled lines are malformed (not four fields)" in bad
    assert "0126545098" not in bad
    assert "not a record" in bad


def test_dials_in_two_forms_are_noticed(upswell: Upswell, tmp_path: Path) -> None:
    """When nothing matches, both formats are shown, and nobody's number."""
    records = "".join(f"+2012654{n:05},1,20,20200417193743\n" for n in range(12_000))
    (seen,) = messages(report(upswell, *write_inputs(tmp_path, records)[:3]), "warning")

    assert "only 0 of 12,000 sampled records match the segment" in seen
    assert "DATA writes dials like 201265… (12 digits)" in seen or "20126… (12 digits)" in seen
    assert "SEGMENT like 0123… (10 digits)" in seen


def test_records_that_miss_their_hours_hint_at_the_zones(upswell: Upswell, tmp_path: Path) -> None:
    """The brief's own sample: 19:37 is in the hours only in another zone."""
    paths = write_inputs(tmp_path, "0126545098,2,222,20200417193744\n")
    (hint,) = messages(report(upswell, *paths[:3]), "note")

    assert "0126•••098 used 222 of WhatsApp at 19:37" in hint
    assert "its hours are 9-18" in hint
    assert "data_timezone and rules_timezone" in hint
    zones = {"UPSWELL_DATA_TIMEZONE": "Africa/Cairo", "UPSWELL_RULES_TIMEZONE": "UTC"}
    assert [] == messages(report(upswell, *paths[:3], **zones), "note")


def test_names_that_would_be_ignored_or_held_are_told(upswell: Upswell, tmp_path: Path) -> None:
    """A file that is not read is the commonest surprise."""
    paths = write_inputs(tmp_path)
    ahead = f"{datetime.now(UTC) + timedelta(days=3):%Y%m%d%H%M}"
    for name in ("data.csv", "DATA_202013010000.csv", f"DATA_{ahead}.csv"):
        write(tmp_path / "data" / name, "")
    found = report(upswell, *paths[:3])

    assert any(f"DATA_{ahead}.csv: its stamp" in each for each in messages(found, "warning"))
    (ignored,) = [each for each in messages(found, "note") if "would be ignored" in each]
    assert "DATA_202013010000.csv (its stamp), data.csv (its name)" in ignored


@pytest.mark.parametrize("other", ["+20{}", "0020{}"])
def test_half_of_the_records_in_another_form_are_warned_of(
    upswell: Upswell, tmp_path: Path, other: str
) -> None:
    """Though enough of them match, and one lacks its zero: both forms, masked, and what to do."""
    forms = ["0{}"] * 60 + [other] * 60 + ["{}"]
    records = "".join(
        f"{form.format(DIALS[at % len(DIALS)][1:])},1,5,20200417193743\n"
        for at, form in enumerate(forms)
    )
    (told,) = [
        each
        for each in messages(report(upswell, *write_inputs(tmp_path, records)[:3]), "warning")
        if "in another form" in each
    ]

    assert "% of the sampled MSISDNs outside the segment are in it in another form" in told
    assert not any(dial[1:] in told for dial in DIALS)


def test_names_that_look_like_data_are_warned_of(upswell: Upswell, tmp_path: Path) -> None:
    """A whole feed under another suffix is no note, and neither is a file with CR alone as line ends."""
    paths = write_inputs(tmp_path, RECORDS.replace("not a record\n", ""))
    for at in range(5):
        write(tmp_path / "data" / f"DATA_20200417194{at}.CSV", "")
    write(tmp_path / "data" / "notes.txt", "")
    records = f"{RECORDS}".replace("not a record\n", "").replace("\n", "\r") * 9000
    write(tmp_path / "data" / "DATA_202004171938.csv", records)
    told = messages(report(upswell, *paths[:3]), "warning")

    assert any(
        f"5 names in DATA look like data and are not read: {show_name('DATA_202004171940.CSV')}"
        in each
        for each in told
    )
    assert any("DATA_202004171938.csv: its only sampled line is not" in each for each in told)
    assert any("its line ends are CR alone" in each for each in told)


def test_services_without_a_rule_are_told(upswell: Upswell, tmp_path: Path) -> None:
    """Whoever writes rules wants to know what else the segment uses."""
    assert any(
        "no rule for service 9: 1 sampled" in each
        for each in messages(report(upswell, *write_inputs(tmp_path)[:3]), "note")
    )


def test_every_setting_is_shown_with_its_origin(upswell: Upswell, tmp_path: Path) -> None:
    """``--show-config`` says which source won."""
    paths = write_inputs(tmp_path)
    write(tmp_path / "upswell.toml", "poll_s = 3\n")
    write(tmp_path / "rules" / "upswell.toml", 'measure = "session"\n')
    words = (*paths[:3], "--show-config", "--threads", "2")
    found = report(upswell, *words, UPSWELL_SETTLE_S="5")["config"]
    assert isinstance(found, dict)

    assert {"value": "2", "from": "--threads"} == found["threads"]
    assert {"value": "5.0", "from": "UPSWELL_SETTLE_S"} == found["settle_s"]
    assert {"value": "3.0", "from": "upswell.toml"} == found["poll_s"]
    assert {"value": "session", "from": "rules/upswell.toml"} == found["measure"]
    assert {"value": "2", "from": "default"} == found["keep_days"]
    assert "UPSWELL_SETTLE_S" in upswell("check", *words, UPSWELL_SETTLE_S="5").stdout


def test_an_output_that_cannot_be_made_is_an_error(upswell: Upswell, tmp_path: Path) -> None:
    """A file in its place, or a missing parent."""
    paths = write_inputs(tmp_path)
    write(tmp_path / "file", "")

    assert (
        "file: not a directory"
        in messages(report(upswell, *paths[:3], "file", code=78), "error")[0]
    )
    assert "mkdir -p" in messages(report(upswell, *paths[:3], "no/out", code=78), "error")[0]


def test_an_application_directory_that_is_a_link_is_an_error(
    upswell: Upswell, tmp_path: Path
) -> None:
    """A notification must be moved there in one step."""
    paths = write_inputs(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "Twitter").symlink_to(tmp_path)

    (message,) = messages(report(upswell, *paths, code=78), "error")

    assert "out/Twitter" in message
    assert "it is a link" in message


def test_notifications_of_another_state_are_an_error(upswell: Upswell, tmp_path: Path) -> None:
    """--adopt is the way out, and accepted."""
    paths = write_inputs(tmp_path)
    upswell(*paths, "--once", "--state", "state")

    assert "--adopt" in messages(report(upswell, *paths, code=78), "error")[0]
    assert True is report(upswell, *paths, "--adopt")["ok"]
    assert True is report(upswell, *paths, "--state", "state")["ok"]


def test_notifications_that_were_taken_are_remembered(upswell: Upswell, tmp_path: Path) -> None:
    """OUTPUT's own mark says that there were some: a new state is refused there, as a run would refuse it."""
    paths = write_inputs(tmp_path)
    upswell(*paths, "--once")
    for file in (tmp_path / "out").glob("*/NOTIFY_*"):
        file.unlink()
    (error,) = messages(report(upswell, *paths, "--state", "new", code=78), "error")

    assert "or once did" in error
    assert "--adopt" in upswell(*paths, "--once", "--state", "new", code=78).stderr
    # That start made a state, but one that belongs to nothing yet.
    assert [error] == messages(report(upswell, *paths, "--state", "new", code=78), "error")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_foreign_directory_in_output_is_no_error(upswell: Upswell, tmp_path: Path) -> None:
    """lost+found is on every ext4 mount, and nobody but root may look into it."""
    paths = write_inputs(tmp_path)
    (tmp_path / "out" / "lost+found").mkdir(parents=True)
    (tmp_path / "out" / "lost+found").chmod(0)

    assert True is report(upswell, *paths)["ok"]
    upswell(*paths, "--once")
    assert "--adopt" in messages(report(upswell, *paths, "--state", "new", code=78), "error")[0]


def test_settings_that_differ_from_the_states_are_an_error(
    upswell: Upswell, tmp_path: Path
) -> None:
    """The check says before the start what the start would refuse."""
    paths = write_inputs(tmp_path)
    upswell(*paths, "--once")

    assert (
        "keep_days is 3"
        in messages(report(upswell, *paths, "--keep-days", "3", code=78), "error")[0]
    )
    assert True is report(upswell, *paths)["ok"]


def test_another_engine_than_the_states_is_an_error(upswell: Upswell, tmp_path: Path) -> None:
    """The check says which engine the state was created with, and how it moves."""
    paths = write_inputs(tmp_path)
    upswell(*paths, "--once")
    errors = messages(report(upswell, *paths, "--engine", "spark", code=78), "error")

    assert [True] == ["created with embedded" in each for each in errors if "engine is" in each]


def test_a_change_of_rules_that_a_running_job_would_refuse_is_an_error(
    upswell: Upswell, tmp_path: Path
) -> None:
    """With a state, a bad line refuses the whole change: better heard before it is delivered."""
    paths = write_inputs(tmp_path)
    upswell(*paths, "--once")
    write(tmp_path / "rules" / "RULES.csv", "1,Twitter,8,20,147\n2,WhatsApp,9,9,68\n")
    (error,) = messages(report(upswell, *paths, code=78), "error")

    assert "refused" in error


def test_what_would_be_lost_of_the_policies_is_an_error(upswell: Upswell, tmp_path: Path) -> None:
    """A start without list, limit or control group, and a list that has lost too many, before it happens."""
    paths = write_inputs(tmp_path)
    write(tmp_path / "SUPPRESS.csv", "".join(f"01000000{number:03}\n" for number in range(20)))
    key = {"UPSWELL_CONTROL_KEY": "a key that is long enough"}
    policies = (
        "--suppress",
        "SUPPRESS.csv",
        "--max-per-customer-per-day",
        "2",
        "--control-share",
        "5",
    )
    upswell(*paths, "--once", *policies, **key)
    assert [] == messages(report(upswell, *paths, *policies, **key), "error")
    errors = messages(report(upswell, *paths, code=78), "error")

    accepted = messages(report(upswell, *paths, "--accept-reference"), "warning")
    assert ["suppression list", "limit per customer", "control group"] == [
        what
        for error in errors
        for what in ("suppression list", "limit per customer", "control group")
        if f"this state has a {what}" in error
    ]
    assert set(errors) < set(accepted)
    write(tmp_path / "SUPPRESS.csv", "01000000001\n")
    (error,) = messages(report(upswell, *paths, *policies, code=78, **key), "error")
    assert "SUPPRESS lost 19 of 20 MSISDNs" in error


def test_a_damaged_state_is_an_error(upswell: Upswell, tmp_path: Path) -> None:
    """The state is verified, too."""
    paths = write_inputs(tmp_path)
    upswell(*paths, "--once")
    (tmp_path / "out" / ".upswell" / "checkpoint.db").write_bytes(b"x" * 100_000)

    assert "checkpoint.db" in messages(report(upswell, *paths, code=78), "error")[0]
