"""What keeps records back, over the whole engine: the law holds, and whoever is asked tells the truth about it."""

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from support.engine_runs import DIALS, LONG_AGO_S, Place, place, record, traffic, wait_for
from support.replays import past, state
from upswell.audit import sent, status
from upswell.audit.history import read_history
from upswell.audit.replay.explain import explain
from upswell.audit.replay.reconcile import reconcile
from upswell.audit.replay.whatif import whatif
from upswell.errors import ConfigError
from upswell.reference.policy import Policy
from upswell.state.maintenance.verify import verify

__all__ = ("place",)
KEY = "a key that is long enough"
ALL_CONTROL = {"control_share": 100.0, "control_key": KEY}
DAY = 20200417


def suppress(place: Place, *dials: str, name: str = "SUPPRESS.csv", at: int = 0) -> Path:
    """A suppression list that has been still for long."""
    content = "".join(f"{dial}\n" for dial in dials).encode()
    return place.write(place.root / name, content, LONG_AGO_S + at)


def outcomes(place: Place, dial: str, **changes: object) -> list[str]:
    """The outcomes of a customer's lines, as explain tells them; it must agree with the state."""
    told = explain(state(place), dial)
    assert ([], []) == (told.differences, told.unproven)
    return [entry.outcome for entry in told.entries]


@pytest.mark.parametrize("seed", range(6))
def test_the_law_holds_under_changing_policies(
    place: Place, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is on or off in each of some runs: OUTPUT, control group and ledger are the reference's."""
    past(place, seed, monkeypatch)
    proof = reconcile(state(place))

    assert [] == verify(state(place))
    assert ([], []) == (proof.differences, proof.unproven)
    assert proof.outcomes["control"] == sum(day.control for day in proof.days.values())
    for dial in DIALS[:12:4]:
        outcomes(place, dial)


def test_policies_are_all_met(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The runs of the test above have records of every outcome that a policy gives."""
    met: Counter[str] = Counter()
    for seed in range(4):
        (tmp_path / str(seed)).mkdir()
        one = Place(tmp_path / str(seed))
        past(one, seed, monkeypatch)
        met.update(status.read_status(state(one)).summary.outcomes)

    assert all(met[name] for name in ("suppressed", "capped_customer", "control", "notified"))


def test_a_limit_that_begins_in_the_middle_of_a_day_knows_what_was_sent(place: Place) -> None:
    """A restart with a limit counts the notifications of before, out of the stored ledger."""
    place.file("202004171000", record(1, 1, 200, "100000"))
    place.once()
    place.file("202004171001", record(1, 2, 200, "100100") + record(2, 2, 200, "100100"))
    summary = place.once(max_per_customer_per_day=1)
    place.file("202004171002", record(1, 2, 0, "100200"))
    place.once(accept_reference=True)

    assert (1, 1) == (summary.outcomes["capped_customer"], summary.outcomes["notified"])
    assert ["notified", "capped_customer", "notified"] == outcomes(place, DIALS[1])
    place.law()


def test_the_control_group_is_kept_apart(place: Place) -> None:
    """Its records are in OUTPUT/.control alone, closed to others, listed by themselves, and counted by themselves."""
    place.file("202004171000", record(1, 1, 200, "100000"))
    summary = place.once(**ALL_CONTROL)
    (file,) = (place.output / ".control" / "Twitter").iterdir()
    (row,) = sent.rows(state(place), sent.SentFilter(control=True))
    told = explain(state(place), DIALS[1]).entries[0].why

    assert record(1, 1, 200, "100000") == file.read_bytes()
    assert (0o750, 0o640) == (file.parent.stat().st_mode & 0o777, file.stat().st_mode & 0o777)
    assert 0o750 == file.parent.parent.stat().st_mode & 0o777
    assert not (place.output / "Twitter").exists()
    assert ({}, {"Twitter": 1}) == (summary.notifications, summary.control)
    assert [] == list(sent.rows(state(place), sent.SentFilter()))
    assert f".control/Twitter/{file.name}" == row.output
    assert {(DAY, "Twitter"): 1} == sent.counts(state(place), sent.SentFilter(control=True))
    assert "control group" in told and ".control/Twitter" in told and "still in OUTPUT" in told
    assert {"Twitter": 1} == status.read_status(state(place)).summary.control


def test_control_and_notified_of_one_application_in_one_batch(place: Place) -> None:
    """Both are staged and published side by side, and what a consumer takes of one leaves the other."""
    place.file("202004171000", b"".join(record(dial, 1, 200, "100000") for dial in range(20)))
    place.once(control_share=50.0, control_key=KEY)
    group = {dial for dial in DIALS if Policy(0, 5000, KEY).is_control(dial)}
    (kept,) = (place.output / ".control" / "Twitter").iterdir()
    (told,) = (place.output / "Twitter").iterdir()

    assert 0 < len(group) < 20
    assert group == {line[:11].decode() for line in kept.read_bytes().splitlines()}
    assert set(DIALS) - group == {line[:11].decode() for line in told.read_bytes().splitlines()}
    assert kept.name == told.name
    kept.unlink()
    assert [] == reconcile(state(place)).differences
    told.write_bytes(b"")
    assert 1 == len(reconcile(state(place)).differences)


def test_an_adopted_output_brings_the_caps_of_its_control_group(place: Place) -> None:
    """A new state over an OUTPUT with control files does not notify these customers on the same day."""
    place.file("202004171000", record(1, 1, 200, "100000"))
    place.once(**ALL_CONTROL)
    for path in state(place).glob("checkpoint.db*"):
        path.unlink()
    place.file("202004171001", record(1, 1, 200, "100100") + record(1, 2, 200, "100100"))
    with pytest.raises(ConfigError, match="contains notifications, or once did"):
        place.once()
    summary = place.once(adopt=True, since="202004171001", max_per_customer_per_day=1)

    assert (1, 1) == (summary.outcomes["capped"], summary.outcomes["capped_customer"])


def test_suppressed_customers_are_told_nothing(place: Place) -> None:
    """Their records are added to nothing until they are off the list."""
    place.file("202004171000", record(1, 1, 200, "100000") + record(2, 1, 200, "100000"))
    one, both = suppress(place, DIALS[1]), [*DIALS[5:], DIALS[1]]
    summary = place.once(suppress=one)
    place.file("202004171001", record(1, 1, 100, "100100"))
    suppress(place, *both, at=1)
    place.once(suppress=one)
    suppress(place, *both[:-1], at=2)
    place.file("202004171002", record(1, 1, 100, "100200"))
    place.once(suppress=one)
    story = explain(state(place), DIALS[1])

    assert (1, 1) == (summary.outcomes["suppressed"], summary.outcomes["notified"])
    assert ["suppressed", "suppressed", "counted"] == outcomes(place, DIALS[1])
    assert "on the suppression list (version " in story.entries[0].why
    assert [
        "suppressed: 1 MSISDN",
        "suppressed: +15 MSISDNs, -0",
        "suppressed: +0 MSISDNs, -1",
    ] == [edit.words for edit in read_history(state(place)).of("suppress")]
    place.law()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "SUPPRESS holds no MSISDN"),
        (
            b"01000000001\nno dial 7\n",
            "1 line of SUPPRESS is not a valid MSISDN: SUPPRESS.csv:2 (not 5 to 15 digits)",
        ),
        (b"01000000001\n01000000002\n", "SUPPRESS lost 18 of 20 MSISDNs"),
    ],
)
def test_a_list_that_lost_someone_is_refused(place: Place, content: bytes, words: str) -> None:
    """An emptied, a damaged and a shortened list leave the last good one in force, and that is told."""
    path = suppress(place, *DIALS)
    place.file("202004171000", record(19, 1, 200, "100000"))
    with place.running(suppress=path):
        wait_for(lambda: place.heard.lines == 1, "nothing was read")
        place.write(path, content, LONG_AGO_S + 1)
        wait_for(lambda: words in place.heard.text(), f"not refused: {place.heard.text()}")
        place.file("202004171001", record(19, 1, 200, "100100"))
        wait_for(lambda: place.heard.lines == 2, "the second file was not read")
    summary = place.once(suppress=path)

    assert {"suppressed": 2} == +status.read_status(state(place)).summary.outcomes
    assert words in " ".join(summary.warnings)
    assert words in (read_history(state(place)).refused or ("", ""))[1]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            b"",
            r"SUPPRESS holds no MSISDN \(SUPPRESS.csv\): leave the option out to suppress nobody",
        ),
        (
            b"1,2\n1",
            r"no MSISDN \(SUPPRESS.csv\).*; 2 lines of SUPPRESS are not valid MSISDNs, the first is SUPPRESS.csv:1",
        ),
        (b"01000000001\nno dial 7\n", "1 line of SUPPRESS is not a valid MSISDN: SUPPRESS.csv:2"),
    ],
)
def test_a_first_list_with_a_bad_line_starts_nothing(
    place: Place, content: bytes, words: str
) -> None:
    """An empty list and one with a line that is no dial are errors with file and line, not a list with less on it."""
    path = place.write(place.root / "SUPPRESS.csv", content)
    with pytest.raises(ConfigError, match=words) as refused:
        place.once(suppress=path)
    assert "with the arguments and options of the run" in refused.value.hint


def test_bad_lines_are_left_out_when_that_is_asked_for(place: Place) -> None:
    """With accept_reference a list is taken with what is good in it, but never an empty one."""
    path = place.write(place.root / "SUPPRESS.csv", b"01000000001\nno dial 7\n")
    place.file("202004171000", record(1, 1, 200, "100000"))
    summary = place.once(suppress=path, accept_reference=True)

    assert 1 == summary.outcomes["suppressed"]
    assert "left out: 1 line of SUPPRESS is not a valid MSISDN: SUPPRESS.csv:2" in " ".join(
        summary.warnings
    )
    place.write(path, b"", LONG_AGO_S + 1)
    assert "SUPPRESS holds no MSISDN" in " ".join(
        place.once(suppress=path, accept_reference=True).warnings
    )


def test_a_start_without_the_list_is_refused(place: Place) -> None:
    """Whoever leaves the option out by mistake does not lift all suppressions; on purpose it takes a word."""
    place.file("202004171000", record(1, 1, 200, "100000"))
    place.once(suppress=suppress(place, DIALS[1]))
    place.file("202004171001", record(1, 1, 200, "100100"))
    with pytest.raises(ConfigError, match="has a suppression list"):
        place.once()
    summary = place.once(accept_reference=True)

    assert 1 == summary.outcomes["notified"]
    assert "the suppression list is off" in read_history(state(place)).of("suppress")[-1].words
    assert 0 == place.once().lines
    place.law()


def test_a_start_without_the_limit_is_refused(place: Place) -> None:
    """A limit that was left out by mistake floods nobody; another one is taken, since somebody wrote it down."""
    place.file("202004171000", record(1, 1, 200, "100000"))
    place.once(max_per_customer_per_day=3)
    place.file("202004171001", record(1, 2, 200, "100100"))
    with pytest.raises(ConfigError, match=r"has a limit per customer and day \(3\)"):
        place.once()
    assert 1 == place.once(max_per_customer_per_day=1).outcomes["capped_customer"]
    place.file("202004171002", record(1, 2, 200, "100200"))

    assert 1 == place.once(accept_reference=True).outcomes["notified"]
    assert 0 == place.once().lines
    place.law()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"control_share": 49.99, "control_key": KEY},
        {"control_share": 50.0, "control_key": "another key of this length"},
    ],
    ids=["no group", "a smaller one", "another key"],
)
def test_a_start_that_would_notify_the_control_group_is_refused(
    place: Place, changes: dict[str, object]
) -> None:
    """What the group was not told cannot be untold: it takes a word to end a comparison."""
    place.file("202004171000", record(1, 1, 200, "100000"))
    place.once(control_share=50.0, control_key=KEY)
    place.file("202004171001", record(2, 1, 200, "100100"))
    with pytest.raises(ConfigError, match="control group"):
        place.once(**changes)
    assert 0 == place.once(**ALL_CONTROL).outcomes["notified"]
    place.file("202004171002", record(3, 1, 200, "100200"))
    place.once(**changes, accept_reference=True)
    place.law()


def test_edits_of_the_policy_are_history(place: Place) -> None:
    """Each change of limit and group is an edit with its effect, and none gives the key away."""
    accepted = {"accept_reference": True}
    for number, changes in enumerate(
        ({}, {"max_per_customer_per_day": 1}, ALL_CONTROL | accepted, accepted)
    ):
        place.file(f"20200417100{number}", record(number, 1, 200, f"100{number}00"))
        place.once(**changes)
    edits = read_history(state(place)).of("policy")

    assert [
        ("limit per customer and day: no limit -> 1", 1, 1),
        (
            "limit per customer and day: 1 -> no limit; control group: 0 % -> 100 %",
            1,
            0,
        ),
        ("control group: 100 % -> 0 %", 1, 1),
    ] == [(edit.words, edit.batches, edit.notifications) for edit in edits]
    assert KEY not in place.heard.text()
    place.law()


def test_the_limit_is_told_with_its_words(place: Place) -> None:
    """A customer who had all notifications of the day is told that, by name of the outcome and in words."""
    place.file("202004171000", record(1, 1, 200, "100000") + record(1, 2, 70, "100100"))
    place.once(max_per_customer_per_day=1)
    story = explain(state(place), DIALS[1])

    assert (
        "total 70 exceeds 68: but the customer already had 1 of 1 notifications on 2020-04-17:"
        " Twitter at 10:00 (DATA_202004171000.csv:1)" == story.entries[1].why
    )
    assert 70 == story.entries[1].to_json()["total"]


def test_who_is_in_the_control_group_is_never_said_to_be_notified(place: Place) -> None:
    """Neither by the records that came after, nor by the limit, nor in short."""
    place.file(
        "202004171000",
        record(1, 1, 200, "100000") + record(1, 1, 5, "100100") + record(1, 2, 70, "100200"),
    )
    place.once(max_per_customer_per_day=1, **ALL_CONTROL)
    story = explain(state(place), DIALS[1])
    group = "withheld (control group)"
    at = "at 10:00 (DATA_202004171000.csv:1)"

    assert [
        f"total 200 exceeds 147: {group}, written to .control/Twitter/NOTIFY_0000000001_202004171000.csv"
        " (still in OUTPUT)",
        f"already {group} {at}",
        "total 70 exceeds 68: but the customer already had 1 of 1 notifications on 2020-04-17:"
        f" Twitter {at}, control group",
    ] == [entry.why for entry in story.entries]
    assert [story.entries[0].why, story.entries[2].why] == [why for *_, why in story.verdicts()]


def test_a_limit_counts_what_was_taken_over(place: Place) -> None:
    """A cap out of an older OUTPUT has no record here: that is said, too."""
    place.file("202004171000", record(1, 1, 200, "100000"))
    place.once()
    for path in state(place).glob("checkpoint.db*"):
        path.unlink()
    place.file("202004171001", record(1, 2, 200, "100000"))
    place.once(adopt=True, since="202004171001", max_per_customer_per_day=1)

    (entry,) = explain(state(place), DIALS[1]).entries
    assert entry.why.endswith("on 2020-04-17: Twitter before this state began")


def test_whatif_tells_what_a_limit_and_a_list_would_have_sent(place: Place) -> None:
    """A limit takes the second notification of the day, a list all of a customer's; no limit gives them back."""
    lines = [record(dial, service, 200, "100000") for dial in (1, 2) for service in (1, 2)]
    place.file("202004171000", b"".join(lines))
    place.once()
    limited = whatif(state(place), [], max_per_customer_per_day=1).scenarios
    path = suppress(place, DIALS[1])
    listed = whatif(state(place), [], suppress=path).scenarios
    both = whatif(state(place), [], suppress=path, segment=path, max_per_customer_per_day=0)

    assert [(2, 2), (2, 0)] == [
        tuple(one.notifications(name) for name in ("Twitter", "WhatsApp")) for one in limited
    ]
    assert [{DIALS[1], DIALS[2]}, {DIALS[2]}] == [one.customers["Twitter"] for one in listed]
    assert [
        "the same rules, with a limit of 1 per customer and day",
        f"the same rules, with suppression list {path}",
        f"the same rules, with segment {path} and suppression list {path} and no limit per customer",
    ] == [each[1].name for each in (limited, listed, both.scenarios)]


def test_lost_files_leave_the_states_word_about_the_control_group(place: Place) -> None:
    """Behind a lost file a notification of the group is quoted as one that was kept back."""
    place.file("202004171000", record(2, 1, 1, "100000"))
    place.file("202004171001", record(1, 1, 200, "100000"))
    place.once(**ALL_CONTROL)
    (place.data / "DATA_202004171000.csv").unlink()
    story = explain(state(place), DIALS[1])
    (place.data / "DATA_202004171001.csv").unlink()
    ((*_, why),) = explain(state(place), DIALS[1]).verdicts()

    assert why.startswith("according to the state, withheld (control group): ")
    assert ["control"] == [entry.outcome for entry in story.entries]
    assert "according to the state, withheld (control group), written" in story.entries[0].why


def test_random_traffic_is_the_same_on_one_thread_and_two(place: Place, tmp_path: Path) -> None:
    """Policies decide in input order, whatever the threads."""
    generator = random.Random(5)
    content = traffic(generator, 2000)
    settings = {"max_per_customer_per_day": 1, "control_share": 30.0, "control_key": KEY}
    found = []
    for threads in (1, 3):
        (tmp_path / f"{threads}").mkdir()
        one = Place(tmp_path / f"{threads}")
        one.settings = replace(one.settings, threads=threads)
        one.file("202004171000", content)
        one.once(**settings)
        one.law()
        found.append(sorted(path.read_bytes() for path in one.output.rglob("NOTIFY_*")))

    assert found[0] == found[1] != []
