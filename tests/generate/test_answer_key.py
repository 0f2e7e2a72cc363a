"""The answer to generated data: right by a second, simple count, and what the program publishes and says."""

import csv
import gzip
import json
import os
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from upswell.errors import ConfigError, OutputUnwritable, UsageError
from upswell.generate.answer_key import AnswerKey, compute_answer, write_answer
from upswell.generate.generator import DataOptions, MadeFile, write_data, write_rules, write_segment
from upswell.reference.application import directory_name
from upswell.reference.rules import Ruleset, parse_rules
from upswell.reference.segment import parse_segment
from upswell.semantics import Specification

Upswell = Callable[..., subprocess.CompletedProcess[str]]

TINY = DataOptions(files=4, records_per_file=2000, customers=60)
RULES = b"1,Twitter,8,20,600\n2,WhatsApp,0,24,147\n3,Night Owls,22,6,1\n"


def dials_of(path: Path) -> frozenset[str]:
    """The dials in a SEGMENT.csv."""
    return parse_segment([path.read_bytes()]).msisdns


def simple_answer(data: Path, dials: frozenset[str]) -> tuple[Counter[str], dict[str, bytes]]:
    """Counts and outputs of good records, counted the naive way: no files but plain ones, no window over midnight."""
    outcomes: Counter[str] = Counter()
    outputs: defaultdict[str, bytes] = defaultdict(bytes)
    names = {"1": ("Twitter", 8, 20, 600), "2": ("WhatsApp", 0, 24, 147)}
    names["3"] = ("Night Owls", 24, 24, 1)  # it is morning
    totals: Counter[tuple[str, str, str]] = Counter()
    sent = set()
    for path in sorted(data.iterdir()):
        for row in csv.reader(path.read_text().splitlines()):
            dial, service, volume, moment = row
            application, start, end, threshold = names.get(service, ("", 0, 0, 0))
            key = (dial, application, moment[:8])
            if dial not in dials:
                outcomes["not_in_segment"] += 1
            elif not application:
                outcomes["no_rule"] += 1
            elif not start <= int(moment[8:10]) < end:
                outcomes["outside_window"] += 1
            elif key in sent:
                outcomes["capped"] += 1
            else:
                totals[key] += int(volume)
                over = totals[key] > threshold
                outcomes["notified" if over else "counted"] += 1
                if over:
                    sent.add(key)
                    outputs[application] += (",".join(row) + "\n").encode()
    return outcomes, outputs


def test_the_answer_is_that_of_a_simple_count(tmp_path: Path) -> None:
    """On good records, where the naive way is right, both come to the same notifications and counts."""
    report = write_data(tmp_path / "data", TINY)
    dials = dials_of(write_segment(tmp_path / "SEGMENT.csv", customers=60, share=0.5))
    ruleset = parse_rules([("RULES.csv", RULES)])

    answer = compute_answer(tmp_path / "data", report.files, ruleset, dials)

    outcomes, outputs = simple_answer(tmp_path / "data", dials)
    assert {"not_in_segment", "no_rule", "capped", "counted", "notified"} <= set(outcomes)
    assert outcomes == +Counter(answer.outcomes)
    assert outputs == answer.outputs
    assert 8000 == answer.lines
    assert {name: content.count(b"\n") for name, content in outputs.items()} | {
        "Night Owls": 0
    } == answer.notifications
    assert 4 == answer.files["done"]


def test_files_count_in_order_of_stamp_and_name(tmp_path: Path) -> None:
    """Whatever the order they were made in: by stamp first, then by the bytes of the name."""
    made = []
    for name, dial in (
        ("202601050900.csv", 1),
        ("202601050859.csv.gz", 2),
        ("202601050859.csv", 3),
    ):
        content = b"0%d234567,1,9,20260105085900\n" % dial
        if name.endswith(".gz"):
            content = gzip.compress(content)
        (tmp_path / f"DATA_{name}").write_bytes(content)
        made.append(MadeFile(f"DATA_{name}", "", name[:12], 0))
    ruleset = parse_rules([("RULES.csv", b"1,Twitter,0,24,1\n")])

    answer = compute_answer(tmp_path, made, ruleset, {f"0{dial}234567" for dial in (1, 2, 3)})

    assert [b"3", b"2", b"1"] == [line[1:2] for line in answer.outputs["Twitter"].splitlines()]


def test_files_far_ahead_of_the_clock_are_held(tmp_path: Path) -> None:
    """Data for a year to come waits for its time, whatever it says."""
    start = datetime(2080, 1, 1)  # noqa: DTZ001 - a local time of the data's zone
    report = write_data(tmp_path, replace(TINY, start=start))

    answer = compute_answer(tmp_path, report.files, Ruleset((), ()), frozenset())

    assert (0, 4) == (answer.lines, answer.files["held"])


def test_the_settings_of_the_reference_count(tmp_path: Path) -> None:
    """By session nothing adds up, so fewer records notify."""
    report = write_data(tmp_path, TINY)
    ruleset = parse_rules([("RULES.csv", RULES)])
    dials = {dial for path in tmp_path.iterdir() for dial in path.read_text().split(",")}

    total = compute_answer(tmp_path, report.files, ruleset, dials)
    session = compute_answer(tmp_path, report.files, ruleset, dials, Specification("session"))

    assert session.outcomes["notified"] < total.outcomes["notified"]


def test_the_answer_is_a_directory_of_outputs_and_counts(tmp_path: Path) -> None:
    """A file for each application that has notifications, and the counts as the program's own JSON has them."""
    outputs = {"Twitter": b"1\n2\n", "A/B": b"3\n"}
    answer = AnswerKey(outputs, 3, {"notified": 3}, {}, {"Twitter": 2, "A/B": 1}, {"done": 1})

    for _ in range(2):  # made again it is left as it is
        write_answer(tmp_path / "answer", tmp_path / "data", answer)

    assert {"Twitter.csv", "A%2FB.csv", "counts.json"} == {
        path.name for path in (tmp_path / "answer").iterdir()
    }
    assert b"3\n" == (tmp_path / "answer" / "A%2FB.csv").read_bytes()
    assert {
        "lines": 3,
        "outcomes": {"notified": 3},
        "rejects": {},
        "notifications": {"Twitter": 2, "A/B": 1},
        "files": {"done": 1},
    } == json.loads((tmp_path / "answer" / "counts.json").read_text())


def test_an_answer_to_more_than_was_made_is_refused(tmp_path: Path) -> None:
    """Data, or an answer, of another time in the directory would make it wrong."""
    data, answer = tmp_path / "data", tmp_path / "answer"
    report = write_data(data, TINY)
    (data / "DATA_202601050700.csv").touch()
    (answer / "Netflix.csv").mkdir(parents=True)
    nothing = AnswerKey({}, 0, {}, {}, {}, {})

    with pytest.raises(ConfigError) as refused:
        compute_answer(data, report.files, Ruleset((), ()), frozenset())
    with pytest.raises(ConfigError):
        write_answer(answer, data, nothing)
    with pytest.raises(UsageError):
        write_answer(data / "answer", data, nothing)
    with pytest.raises(OutputUnwritable):
        write_answer(tmp_path / "no" / "answer", data, nothing)

    assert "DATA_202601050700.csv" in refused.value.message


def age(directory: Path) -> None:
    """Make every file still: an hour old."""
    hour_ago = time.time() - 3600
    for path in directory.iterdir():
        os.utime(path, (hour_ago, hour_ago), follow_symlinks=False)


@pytest.mark.parametrize("seed", [1, 2])
def test_the_program_gives_the_answer_to_an_hour_with_faults(
    tmp_path: Path, upswell: Upswell, seed: int
) -> None:
    """Every kind of fault in one run: the published files, read in name order, and the counts are the answer's."""
    options = DataOptions(
        seed=seed, records_per_file=300, customers=500, faults=0.05, gzip_share=0.2
    )
    report = write_data(tmp_path / "data", options)
    segment = write_segment(tmp_path / "segment", seed=seed, customers=500)
    rules = write_rules(tmp_path / "rules", seed=seed)
    for name in ("data", "segment", "rules"):
        age(tmp_path / name)
    ruleset = parse_rules([(rules.name, rules.read_bytes())])
    answer = compute_answer(tmp_path / "data", report.files, ruleset, dials_of(segment))

    done = upswell("data", "segment", "rules", "out", "--once", "--json")

    said = json.loads(done.stdout)
    assert answer.lines == said["lines"]
    assert answer.outcomes == said["outcomes"]
    assert answer.rejects == said["rejects"]
    assert answer.files == said["files"]
    assert +Counter(answer.notifications) == +Counter(said["notifications"])
    published = {
        directory.name: b"".join(
            path.read_bytes() for path in sorted(directory.glob("NOTIFY_*.csv"))
        )
        for directory in (tmp_path / "out").iterdir()
        if directory.name[0] != "."
    }
    assert {directory_name(name): content for name, content in answer.outputs.items()} == published
