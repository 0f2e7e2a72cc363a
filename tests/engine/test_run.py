"""The whole engine in this process: what arrives, grows and changes comes out as the specification says."""

import gzip
import os
import random
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies

from support import law
from support.engine_runs import DIALS, LONG_AGO_S, RULES, Place, place, record, traffic, wait_for
from upswell.audit import history, status
from upswell.engine.commit import Committer
from upswell.engine.compute import Read
from upswell.engine.run import _Run
from upswell.errors import (
    ConfigError,
    InputMissing,
    Locked,
    OutputUnwritable,
    StorageError,
    TooManyRejects,
)
from upswell.kernel import SHARDS, Range
from upswell.source.listing import show_name
from upswell.state.batch import Batch
from upswell.state.checkpoint import Checkpoint
from upswell.state.codec import row_checksum
from upswell.state.ledger import read_ledger
from upswell.state.maintenance.transfer import export_state
from upswell.state.maintenance.verify import verify
from upswell.state.reader import StateReader

__all__ = ("place",)


def test_old_rejects_go_and_their_lines_stay_counted(place: Place) -> None:
    """With keep_rejects_days a run removes old reject files, says so, and the state stays sound."""
    place.file("202004171000", b"oops 1\n")
    place.once()
    (kept,) = (place.output / ".upswell" / "rejects").iterdir()
    os.utime(kept, (LONG_AGO_S, LONG_AGO_S))
    place.file("202004171001", b"oops 2\n")
    place.once(keep_rejects_days=30)
    (left,) = (place.output / ".upswell" / "rejects").iterdir()
    assert "REJECTS_0000000002.tsv" == left.name
    assert "old reject files removed {'files': 1}" in place.heard.text()
    assert [] == verify(place.output / ".upswell")
    place.law()


def test_one_run_gives_what_the_reference_gives(place: Place) -> None:
    """Three files of random traffic with bad lines, in one run."""
    generator = random.Random(1)
    for minute in range(3):
        place.file(f"20200417100{minute}", traffic(generator, 300))

    summary = place.once()

    assert sum(summary.outcomes.values()) == summary.lines == 900
    assert 3 == summary.files["done"]
    assert sum(summary.notifications.values()) == summary.outcomes["notified"] > 0
    place.law()


def test_a_second_run_with_nothing_new_changes_nothing(place: Place) -> None:
    """The same command again reads nothing and emits nothing."""
    place.file("202004171000", record(0, 1, 200, "100000"))
    place.once()
    before = law.published(place.output)

    summary = place.once()

    assert 0 == summary.lines
    assert law.published(place.output) == before


def test_totals_and_caps_survive_a_restart(place: Place) -> None:
    """What was counted before a restart counts after it, and what was notified is capped."""
    place.file("202004171000", record(0, 1, 100, "100000") + record(1, 1, 200, "100000"))
    place.once()
    place.file("202004171001", record(0, 1, 48, "100100") + record(1, 1, 200, "100100"))

    summary = place.once()

    assert (1, 1) == (summary.outcomes["notified"], summary.outcomes["capped"])
    place.law()


def test_a_ledger_that_cannot_be_is_told(place: Place) -> None:
    """A sound row that holds no ledger's change ends the start with 74: it is never taken for an empty one."""
    place.file("202004171000", record(0, 1, 100, "100000"))
    place.once()
    with Checkpoint.open(place.output / ".upswell", SHARDS) as checkpoint:
        content = b"no change of a ledger"
        with checkpoint.transaction() as db:
            db.execute(
                "UPDATE ledger_delta SET content = ?, row_checksum = ?",
                (content, row_checksum(1, content)),
            )
    with pytest.raises(StorageError, match=r"the ledger in .* is damaged"):
        place.once()
    with pytest.raises(StorageError, match="damaged: the ledger"):
        export_state(place.output / ".upswell", place.root / "file")
    assert not (place.root / "file").exists()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=strategies.integers(0, 2**32),
    runs=strategies.integers(1, 4),
    threads=strategies.integers(1, 3),
    small=strategies.booleans(),
)
def test_any_split_over_runs_obeys_the_law(
    tmp_path_factory: pytest.TempPathFactory, seed: int, runs: int, threads: int, small: bool
) -> None:
    """Random files over random days, taken in several runs, in large batches or in small ones, some arriving late."""
    place = Place(tmp_path_factory.mktemp("place"))
    generator = random.Random(seed)
    for _ in range(runs):
        for _ in range(generator.randrange(1, 4)):
            day = f"202004{generator.randrange(15, 20)}"
            stamp = f"{day}{generator.randrange(24):02}{generator.randrange(60):02}"
            if (place.data / f"DATA_{stamp}.csv").exists():
                continue  # what was taken must stay, for the law to be replayed over it
            place.file(stamp, traffic(generator, generator.randrange(60), day))
        with pytest.MonkeyPatch.context() as limits:
            if small:
                limits.setenv("UPSWELL_KERNEL_CHUNK_BYTES", "40")
                limits.setattr("upswell.engine.compute.WORK_MS_MAX", 0)
            place.once(threads=threads)

    place.law()


def test_a_file_moved_in_is_taken_while_it_runs(place: Place) -> None:
    """A rename into DATA is noticed and its notification appears without another file."""
    with place.running():
        place.write(place.root / "ready", record(0, 1, 200, "100000")).rename(
            place.data / "DATA_202004171000.csv"
        )
        wait_for(lambda: bool(law.published(place.output).get("Twitter")), "no notification")

    assert law.published(place.output) == {"Twitter": record(0, 1, 200, "100000")}
    place.law()


def test_a_growing_file_is_read_line_by_line(place: Place) -> None:
    """Whole lines are taken at once; half a line waits for its end."""
    file = place.data / "DATA_202004171000.csv"
    first, second = record(0, 1, 200, "100000"), record(1, 1, 200, "100001")
    with place.running(), file.open("ab", buffering=0) as stream:
        stream.write(first + second[:10])
        wait_for(
            lambda: law.published(place.output).get("Twitter") == first, "the first line is missing"
        )
        stream.write(second[10:])
        wait_for(
            lambda: law.published(place.output).get("Twitter") == first + second,
            "the second line is missing",
        )

    place.law()


def test_an_unterminated_last_line_is_taken_once_a_newer_file_exists(place: Place) -> None:
    """It waits while its file is the newest, and is taken as soon as the file is still and not the newest."""
    place.file("202004171000", record(0, 1, 200, "100000")[:-1])
    with place.running():
        time.sleep(0.3)
        assert {} == law.published(place.output)
        place.file("202004171001", b"")
        wait_for(
            lambda: bool(law.published(place.output).get("Twitter")), "the last line is missing"
        )

    place.law()


MANY = [*DIALS, *(f"0199999{number:04}" for number in range(200))]
"""A segment that is large enough to lose half of itself by mistake."""


def test_an_upload_that_stalls_in_the_last_number_is_waited_for(place: Place) -> None:
    """RULES cut within a threshold are no edit: nobody is notified by the smaller number; the whole file is taken."""
    cut, whole = b"1,Twitter,8,20,1", b"1,Twitter,8,20,180\n2,WhatsApp,9,18,68\n3,Night,22,6,300\n"
    with place.running():
        wait_for(lambda: "in force" in place.heard.text(), "no reference")
        (place.root / "rules" / "RULES.csv").write_bytes(cut)  # just now, unlike what `write` makes
        wait_for(lambda: "waiting for the end" in place.heard.text(), "the wait was not told")
        place.file("202004171000", record(0, 1, 150, "100000"))
        wait_for(lambda: place.heard.lines == 1, "the file was not taken")
        (place.root / "rules" / "RULES.csv").write_bytes(whole)
        wait_for(lambda: "Twitter 147 -> 180" in place.heard.text(), "the upload was not taken")

    assert 1 == place.heard.text().count("waiting for the end")
    assert {"Twitter": record(0, 1, 150, "100000")} == law.published(place.output)
    place.law()


def test_rules_change_between_two_batches(place: Place) -> None:
    """A lowered threshold is taken while it runs, its diff is told, and the next record fires."""
    place.file("202004171000", record(0, 1, 100, "100000"))
    with place.running():
        wait_for(lambda: place.heard.lines == 1, "the first file was not taken")
        place.write(place.root / "rules" / "RULES.csv", RULES.replace(b"147", b"99"))
        wait_for(lambda: "Twitter 147 -> 99" in place.heard.text(), "the diff was not told")
        place.file("202004171001", record(0, 1, 0, "100100"))
        wait_for(
            lambda: bool(law.published(place.output).get("Twitter")),
            "the lowered rule did not fire",
        )

    place.law()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("rules/RULES.csv", b"1,Twitter,8,20,1\n2,WhatsApp,9\n", "line 2"),
        ("rules/RULES.csv", b"", "no usable rule"),
        ("segment/SEGMENT.csv", DIALS[0].encode() + b"\n", "limit 50%"),
        ("segment/SEGMENT.csv", "\n".join([*DIALS, "x1", ""]).encode(), "limit 1%"),
        ("rules/RULES.csv", b"1,Twitter,8,20,1", "RULES.csv (RULES) has no line end"),
        ("segment/SEGMENT.csv", "\n".join(MANY).encode(), "SEGMENT.csv (SEGMENT) has no line end"),
    ],
)
def test_a_bad_edit_keeps_the_last_good_version(
    place: Place, name: str, content: bytes, words: str
) -> None:
    """It is refused with its reason while it runs and at a restart, and the good version goes on working."""
    place.write(
        place.root / "segment" / "SEGMENT.csv", "".join(f"{dial}\n" for dial in MANY).encode()
    )
    with place.running():
        wait_for(lambda: "in force" in place.heard.text(), "no reference")
        place.write(place.root / name, content)
        wait_for(lambda: words in place.heard.text(), "the refusal was not told")
    place.file("202004171000", record(0, 1, 147, "100000") + record(5, 1, 148, "100000"))

    summary = place.once()

    assert (1, 1) == (summary.outcomes["counted"], summary.outcomes["notified"])
    assert any(words in warning for warning in summary.warnings)
    place.law()


def test_a_refused_segment_can_be_accepted(place: Place) -> None:
    """--accept-reference takes a segment that lost more than half its dials."""
    place.write(
        place.root / "segment" / "SEGMENT.csv", "".join(f"{dial}\n" for dial in MANY).encode()
    )
    place.once()
    place.write(place.root / "segment" / "SEGMENT.csv", DIALS[0].encode() + b"\n")
    place.file("202004171000", record(0, 1, 200, "100000") + record(1, 1, 200, "100000"))

    summary = place.once(accept_reference=True)

    assert (1, 1) == (summary.outcomes["notified"], summary.outcomes["not_in_segment"])


def test_a_reference_removed_while_it_runs_is_a_refused_change(place: Place) -> None:
    """The run goes on with what it has, says so once, and takes the file when it is back."""
    with place.running():
        wait_for(lambda: "in force" in place.heard.text(), "no reference")
        content = (place.root / "rules" / "RULES.csv").read_bytes()
        (place.root / "rules" / "RULES.csv").unlink()
        wait_for(lambda: "refused" in place.heard.text(), "the loss was not told")
        place.write(place.root / "rules" / "RULES.csv", content.replace(b"147", b"99"))
        wait_for(lambda: "147 -> 99" in place.heard.text(), "the new file was not taken")


@pytest.mark.parametrize("name", ["data", "segment", "rules"])
def test_a_missing_input_is_named(place: Place, name: str) -> None:
    """An argument that does not exist ends the start with the path in the message."""
    with pytest.raises(InputMissing, match="nowhere"):
        place.once(**{name: place.root / "nowhere"})


@pytest.mark.parametrize(
    "changes",
    [{"data_timezone": "Africa/Cairo"}, {"measure": "session"}, {"keep_days": 3}],
)
def test_zones_measure_and_days_belong_to_a_state(place: Place, changes: dict[str, object]) -> None:
    """Starting with others is refused, with the value to go back to."""
    place.once()

    with pytest.raises(ConfigError, match="created with"):
        place.once(**changes)


def test_a_second_run_on_one_state_is_refused(place: Place) -> None:
    """The lock keeps two runs apart."""
    with place.running():
        wait_for(lambda: "in force" in place.heard.text(), "no reference")
        with pytest.raises(Locked):
            place.once()


def test_output_with_notifications_needs_its_state(place: Place) -> None:
    """A new state over an OUTPUT that holds notifications is refused; --adopt takes over caps and batch numbers."""
    place.file("202004171000", record(0, 1, 200, "100000"))
    place.once()
    other = place.root / "state"

    with pytest.raises(ConfigError, match="or once did"):
        place.once(state=other)
    place.file("202004171001", record(0, 1, 300, "100100") + record(1, 1, 300, "100100"))
    summary = place.once(state=other, adopt=True)

    assert (1, 2) == (summary.outcomes["notified"], summary.outcomes["capped"])
    assert [
        "NOTIFY_0000000001_202004171000.csv",
        "NOTIFY_0000000002_202004171000.csv",
    ] == sorted(file.name for file in (place.output / "Twitter").iterdir())


def test_too_many_rejects_end_a_run_after_everything_is_published(place: Place) -> None:
    """--max-reject-ratio is told by the exit, but the good records are out."""
    place.file("202004171000", b"nonsense 1\n" + record(0, 1, 200, "100000"))

    with pytest.raises(TooManyRejects):
        place.once(max_reject_ratio=0.4)
    assert law.published(place.output) == {"Twitter": record(0, 1, 200, "100000")}


def test_records_outside_their_hours_are_told_in_words(place: Place) -> None:
    """The warning has an example with a masked dial and the settings that would change it."""
    place.file("202004171000", record(0, 2, 222, "193744"))

    warnings = " ".join(place.once().warnings)

    assert "1 record over its threshold but outside its hours" in warnings
    assert "9-18" in warnings
    assert "data_timezone" in warnings
    assert DIALS[0] not in warnings


def test_files_without_a_record_are_told_in_one_line_a_cause(place: Place) -> None:
    """Two of one cause and one of another, by name and with the cause; a second run tells nothing again."""
    lines = record(0, 1, 5, "100000") * 3
    for minute in (1, 2):
        place.file(f"20200417100{minute}", lines.replace(b",", b";"))
    place.file("202004171003", lines.replace(b"\n", b"\r"))
    place.file("202004171004", lines)

    assert [
        "2 files hold no record, such as DATA_202004171001.csv: its fields are separated by semicolons:"
        " deliver commas",
        "DATA_202004171003.csv: its only line is not a record: its line ends are CR alone:"
        " deliver LF, or CR and LF",
    ] == place.once().warnings
    place.law()
    assert [] == place.once().warnings


def test_names_that_look_like_data_are_told_once_a_form(place: Place) -> None:
    """A whole feed under another suffix is one line; markers and other files are none."""
    place.file("202004171000", record(0, 1, 5, "100000"))
    data = place.root / "data"
    for minute in range(5):
        (data / f"DATA_20200417101{minute}.CSV").write_bytes(b"")
    for name in ("notes.txt", "DATA_202004171000.csv.md5", ".DATA_202004171015.csv.part"):
        (data / name).write_bytes(b"")
    (data / "DATA_202004171016.csv.zip").write_bytes(b"")

    (told,) = place.once().warnings
    assert told.startswith("6 names in DATA look like data and are not read: ")
    assert show_name("DATA_202004171010.CSV") in told
    assert show_name("DATA_202004171016.csv.zip") in told
    assert told.endswith("; deliver regular files named DATA_yyyyMMddHHmm.csv or .csv.gz")


def test_unread_names_and_refused_files_are_told_while_it_runs(place: Place) -> None:
    """Each once, when it comes; more of the same form or cause add no line."""
    place.file("202004171000", b"0126545098;1;5;20200417100000\n")
    data = place.root / "data"
    (data / "DATA_202004171000.csv.lz4").write_bytes(b"")
    with place.running():
        wait_for(lambda: "are separated by semicolons" in place.heard.text(), "nothing was told")
        wait_for(lambda: "is not read" in place.heard.text(), "nothing was told")
        (data / "DATA_202004171001.csv.lz4").write_bytes(b"")
        place.file("202004171001", b"0126545098;1;5;20200417100100\n")
        place.file("202004171002", b"0126545098;1;5;20200417100200\n")
        wait_for(lambda: place.heard.summary.out_of_step["refused"] == 3, "they are not counted")
        (data / "DATA_202004171001.csv.zip").write_bytes(b"")
        wait_for(lambda: "3 names in DATA" in place.heard.text(), "nothing was told")
        wait_for(lambda: place.heard.summary.standing.unread == 3, "they are not counted")

    assert 1 == place.heard.text().count("separated by semicolons")
    assert 2 == place.heard.text().count("not read")


@pytest.mark.parametrize("compressed", [False, True])
def test_msisdns_in_another_form_are_told_until_they_are_mended(
    place: Place, compressed: bool
) -> None:
    """Half of the records write the country code: a warning, kept in the state until a run sees none."""
    state = place.output / ".upswell"
    half = "".join(
        f"{dial},1,1,20200417100000\n20{dial[1:]},1,1,20200417100000\n" for dial in DIALS
    )
    content = half.encode() * 20
    if compressed:
        place.write(place.data / "DATA_202004171000.csv.gz", gzip.compress(content))
    else:
        place.file("202004171000", content)
    (told,) = place.once().warnings
    assert "100% of the sampled MSISDNs outside the segment are in it in another form" in told
    assert "; deliver both in one form" in told
    assert not any(dial in told or dial[1:] in told for dial in DIALS)
    assert 1.0 == place.heard.summary.standing.other_form_share
    with StateReader.open(state) as reader:
        assert told == reader.identity().other_forms
    assert told in status.read_status(state).summary.warnings
    assert [] == place.once().warnings  # nothing was read: nothing is known of it
    assert told in status.read_status(state).summary.warnings

    place.file("202004171001", record(0, 1, 5, "100100") + b"0999999999,1,5,20200417100100\n" * 9)
    assert [] == place.once().warnings
    assert "" == status.read_status(state).identity.other_forms
    assert [] == verify(state)
    place.law()


def test_a_segment_that_matches_nothing_is_told(place: Place) -> None:
    """Ten thousand records without a match say how both sides write their dials."""
    place.file("202004171000", b"+20100000001,1,5,20200417100000\n" * 10_000)

    warnings = " ".join(place.once().warnings)

    assert "only 0 of 10,000 records match" in warnings
    assert "20100000001" not in warnings


def test_rejects_are_kept_with_their_place(place: Place) -> None:
    """A reject's line has file, line, byte, length, reason and the raw bytes, escaped."""
    place.file("202004171000", record(0, 1, 1, "100000") + b"a\x1b\\,1\n")
    place.once()

    (file,) = (place.output / ".upswell" / "rejects").iterdir()
    assert b"DATA_202004171000.csv\t2\t31\t5\tcolumns\ta\\x1b\\\\,1\n" == file.read_bytes()


def test_the_days_that_are_closed_leave_the_ledger(place: Place) -> None:
    """After a week of days a restart still knows the open ones, and the law holds."""
    generator = random.Random(3)
    for day in range(10, 17):
        place.file(f"202004{day}1200", traffic(generator, 200, f"202004{day}"))
        place.once()

    place.law()


def test_bad_lines_of_a_first_start_are_left_out_and_told(place: Place) -> None:
    """The good rules are used, and each bad line is a warning with its file, number and reason."""
    place.write(place.root / "rules" / "RULES.csv", RULES + b"4,Snap,8,8,1\n")
    place.file("202004171000", record(0, 1, 200, "100000"))

    summary = place.once()

    assert 1 == summary.outcomes["notified"]
    assert any("RULES.csv line 4: start and end are the same" in text for text in summary.warnings)


def test_a_file_of_a_byte_order_mark_alone_has_yet_to_begin(place: Place) -> None:
    """It is done, and what is added later begins with its first line."""
    place.file("202004171000", b"\xef\xbb\xbf")
    assert 1 == place.once().files["done"]
    place.file(
        "202004171000",
        b"\xef\xbb\xbfmsisdn,service,volume,timestamp\n" + record(0, 1, 200, "100000"),
    )

    summary = place.once()

    assert (1, 1) == (summary.outcomes["header"], summary.outcomes["notified"])
    place.law()


def test_new_rules_that_output_cannot_take_are_refused_while_it_runs(place: Place) -> None:
    """An application whose directory is a link refuses the new RULES, and the run and a restart go on with the old."""
    place.output.mkdir()
    (place.root / "elsewhere").mkdir()
    (place.output / "Linked").symlink_to(place.root / "elsewhere")
    with place.running():
        wait_for(lambda: "in force" in place.heard.text(), "no reference")
        place.write(place.root / "rules" / "RULES.csv", RULES + b"9,Linked,0,24,1\n")
        wait_for(lambda: "it is a link" in place.heard.text(), "the refusal was not told")
        place.file("202004171000", record(0, 1, 200, "100000"))
        wait_for(lambda: bool(law.published(place.output).get("Twitter")), "the run has stopped")

    with pytest.raises(OutputUnwritable, match="link"):
        place.once()


def test_the_same_bad_edit_is_told_each_time(place: Place) -> None:
    """Refused, corrected, and made again: a run for ever says so twice."""

    def refusals() -> int:
        return place.heard.text().count("no usable rule")

    with place.running():
        wait_for(lambda: "in force" in place.heard.text(), "no reference")
        for time_told in (1, 2):
            place.write(place.root / "rules" / "RULES.csv", b"\n", LONG_AGO_S + time_told)
            wait_for(lambda: refusals() == time_told, "the refusal was not told")  # noqa: B023
            place.write(place.root / "rules" / "RULES.csv", RULES, LONG_AGO_S + 10 + time_told)
            wait_for(
                lambda: history.read_history(place.output / ".upswell").refused is None,
                "the correction was not taken",
            )


@pytest.mark.parametrize("once", [True, False])
def test_a_held_file_is_told_by_its_name(place: Place, once: bool) -> None:
    """A file that lost what was taken of it is held, and the run says so, in a run that ends and in one for ever."""
    file = place.file("202004171000", record(0, 1, 200, "100000") + record(1, 1, 1, "100000"))
    place.once()
    place.write(file, record(0, 1, 200, "100000"), LONG_AGO_S + 60)
    if once:
        warnings = " ".join(place.once().warnings)
    else:
        with place.running():
            wait_for(lambda: "is held" in place.heard.text(), "nothing was told")
        warnings = place.heard.text()

    assert "DATA_202004171000.csv is held: it is shorter than" in warnings


def test_a_segment_that_matches_nothing_is_told_while_it_runs(place: Place) -> None:
    """A run for ever does not wait for its end to say that nothing matches."""
    place.file("202004171000", b"+20100000001,1,5,20200417100000\n" * 10_000)
    with place.running():
        wait_for(lambda: "records match the segment" in place.heard.text(), "nothing was told")


def test_a_pipe_in_the_place_of_rules_is_no_trap(place: Place) -> None:
    """A FIFO among the rules is named, not waited for."""
    os.mkfifo(place.root / "rules" / "extra.csv")

    with pytest.raises(InputMissing, match="not a regular file"):
        place.once()


def test_an_output_with_odd_directories_can_be_adopted(place: Place) -> None:
    """Directories that no application's name makes are counted, not stumbled over."""
    place.file("202004171000", record(0, 1, 200, "100000"))
    place.once()
    for odd in (b"\xff", b"%FF"):
        directory = Path(os.fsdecode(os.fsencode(place.output) + b"/" + odd))
        directory.mkdir()
        (directory / "NOTIFY_0000000001_202004171000.csv").write_bytes(record(0, 1, 200, "100000"))

    assert 1 == place.once(state=place.root / "state", adopt=True).outcomes["capped"]


def test_shards_that_are_folded_give_the_ledger_back(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With every commit folding some shards, restarts go on as if nothing was stored in parts."""
    monkeypatch.setattr("upswell.engine.assembly.COMPACT_BYTES_MIN", 0)
    generator = random.Random(11)
    for day in range(14, 20):
        for hour in (9, 10):
            place.file(f"202004{day}{hour:02}00", traffic(generator, 150, f"202004{day}"))
            place.once()

    place.law()
    with StateReader.open(place.output / ".upswell") as reader:
        assert len(read_ledger(reader).bases) > 1


def test_a_commit_that_fails_drops_what_was_read_meanwhile(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next batch is read before the commit has ended; when it fails nothing of the next one is true."""
    monkeypatch.setenv("UPSWELL_KERNEL_CHUNK_BYTES", "500")
    monkeypatch.setattr("upswell.engine.compute.WORK_MS_MAX", 0)
    generator = random.Random(12)
    for minute in range(8):
        place.file(f"2020041709{minute:02}", traffic(generator, 150))
    reads = threading.Semaphore(0)
    commit, read = Committer.commit, _Run._read

    def read_and_tell(run: _Run, ranges: Sequence[Range]) -> Read:
        result = read(run, ranges)
        reads.release()
        return result

    def fail_third(committer: Committer, batch: Batch) -> None:
        # That of this batch was told before; the next one comes while this is waiting.
        assert reads.acquire(timeout=20)
        if batch.number == 3:
            assert reads.acquire(timeout=20), "the next batch is not read meanwhile"
            raise StorageError("the disk is full", "free some space")
        commit(committer, batch)

    with monkeypatch.context() as failing:
        failing.setattr(_Run, "_read", read_and_tell)
        failing.setattr(Committer, "commit", fail_third)
        with pytest.raises(StorageError, match="the disk is full"):
            place.once(threads=2)
    with StateReader.open(place.output / ".upswell") as reader:
        assert 2 == reader.last_batch()
    place.law()
    place.once(threads=2)
    place.law()
    with StateReader.open(place.output / ".upswell") as reader:
        assert reader.last_batch() > 3
