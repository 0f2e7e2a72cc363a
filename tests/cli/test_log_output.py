"""The log output of a run: how often it is written, in which words, and that writing it never ends a run."""

import io
import json
import sys

import pytest

from upswell.audit.labels import OUTCOME_WORDS, REASON_WORDS, STATE_WORDS
from upswell.cli.log_output import LiveDisplay, LogLines, choose_log_output
from upswell.cli.summary_text import count, plural, seconds, size
from upswell.engine.summary import Standing, Summary
from upswell.reference.versions import Versions
from upswell.semantics import OUTCOMES, REASONS
from upswell.source.file import STATES


class Clock:
    """A clock that is set by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_progress_is_one_line_per_interval(capsys: pytest.CaptureFixture[str]) -> None:
    """However many batches there are; the rate is that of the interval."""
    clock = Clock()
    lines = LogLines(10.0, clock=clock)
    summary = Summary()
    for second in range(1, 26):
        clock.now = 100.0 + second
        summary.lines += 1000
        summary.batches += 1
        lines.progress(summary)
    said = capsys.readouterr().err.splitlines()

    assert 2 == len(said)
    assert "lines=10000 lines_per_s=1000" in said[0]
    assert "lines=20000 lines_per_s=1000" in said[1]
    assert summary is lines.latest


def test_every_batch_is_said_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    """-v says one line a batch, and none when nothing happened."""
    lines = LogLines(10.0, verbose=True, clock=Clock())
    summary = Summary()
    for batches in (1, 1, 2):
        summary.batches = batches
        lines.progress(summary)

    assert 2 == len(capsys.readouterr().err.splitlines())


def test_no_value_can_forge_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """A file's name with a newline or a quote stays one value of one line."""
    LogLines(10.0).event("held", file='a\nat=2026 event="stopped"\x1b[31m')
    (line,) = capsys.readouterr().err.splitlines()

    assert "\x1b" not in line
    assert line.endswith(r'event=held file="a\\x0aat=2026 event=\"stopped\"\\x1b[31m"')


def test_no_blank_ends_a_value(capsys: pytest.CaptureFixture[str]) -> None:
    """A space of any script is put in quotes: who splits a line at blanks finds no field that we did not write."""
    LogLines(10.0).event("held", file="a\u00a0event=stopped", name="b\u3000c")

    assert capsys.readouterr().err.endswith(' file="a\u00a0event=stopped" name="b\u3000c"\n')


def test_log_output_that_cannot_be_written_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed or missing stderr ends nothing."""
    closed = io.StringIO()
    closed.close()
    for stream in (closed, None):
        monkeypatch.setattr(sys, "stderr", stream)
        LogLines(10.0).event("said to nobody")


def test_every_slug_of_the_contract_has_words() -> None:
    """A new outcome, reason or state must be explained to people, too."""
    assert set(OUTCOMES) == set(OUTCOME_WORDS)
    assert set(REASONS) == set(REASON_WORDS)
    assert set(STATES) == set(STATE_WORDS)


def test_numbers_are_written_for_people() -> None:
    """Counts with separators, sizes and durations in the unit that suits them."""
    assert "1,234,567" == count(1_234_567)
    assert ["0 B", "1023 B", "1.0 KiB", "1.5 MiB", "200 GiB"] == [
        size(n) for n in (0, 1023, 1024, 3 << 19, 200 << 30)
    ]
    assert ["0.4 s", "12 s", "3 min 05 s", "2 h 10 min", "4 d 3 h"] == [
        seconds(s) for s in (0.4, 12, 185, 7800, 4 * 86400 + 3 * 3600)
    ]
    assert ["1 batch", "2 batches", "0 files"] == [
        plural(1, "batch"),
        plural(2, "batch"),
        plural(0, "file"),
    ]


def test_json_lines_hold_what_text_lines_do(capsys: pytest.CaptureFixture[str]) -> None:
    """Each line is one object: numbers stay numbers, and nothing in a value ends the line."""
    lines = choose_log_output(10.0, "json")
    lines.event("held", file='a\n{"event": "stopped"}\x1b[31m', bytes=12)
    (line,) = capsys.readouterr().err.splitlines()

    assert {"event": "held", "file": r'a\x0a{"event": "stopped"}\x1b[31m', "bytes": 12} == {
        key: value for key, value in json.loads(line).items() if key != "at"
    }


def test_the_live_lines_show_applications_and_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those with the most notifications by name, the others summed up, and what is in force."""
    monkeypatch.setenv("COLUMNS", "200")
    live = LiveDisplay()
    summary = Summary()
    summary.notifications.update({f"App {number}": number for number in range(1, 8)})
    summary.standing = Standing(Versions("a" * 64, "b" * 64), 7, 1_000_000)
    live.progress(summary)
    with live._console.capture() as drawn:
        live._console.print(live._picture())
    shown = drawn.get()

    assert "App 7 7   App 6 6   App 5 5   App 4 4   App 3 3   2 more 3" in shown
    assert "rules aaaaaaaaaaaa (7)   segment bbbbbbbbbbbb (1,000,000 MSISDNs)" in shown
