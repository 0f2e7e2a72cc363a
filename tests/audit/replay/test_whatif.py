"""What other rules would have sent is what a run under them sends, and asking has no side effects."""

import random
import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner

from support import law
from support.engine_runs import DIALS, Place, record
from support.replays import (
    RULES,
    database,
    files,
    kept_back,
    nights,
    past,
    state,
    traffic,
    untaught,
)
from upswell.audit.replay.replay import Replay, Terms
from upswell.audit.replay.scenarios import Days, Scenario, WhatIf, nearest
from upswell.audit.replay.snapshot import batches, take_snapshot
from upswell.audit.replay.versions import VersionCache
from upswell.audit.replay.whatif import AS_IT_WAS, FACTORS, whatif
from upswell.cli.main import commands
from upswell.errors import ConfigError, UsageError
from upswell.kernel import Segment
from upswell.reference.application import directory_name
from upswell.reference.compiled import compile_rules, unpack_rules
from upswell.reference.files import read_segment
from upswell.reference.rules import Ruleset, parse_rules
from upswell.semantics import CommittedRange, Record, parse_record
from upswell.state.reader import StateReader
from upswell.zones import DAY_MAX, Zones

OTHER = b"1,Twitter,8,20,60\n1,Twitter,20,8,90\n2,WhatsApp,10,18,200\n4,New,0,24,100\n"
SOME = DIALS[3:15]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Fresh directories with a segment and rules."""
    return Place(tmp_path)


def other(place: Place, rules: bytes = OTHER, name: str = "other.csv") -> Path:
    """A file with other rules."""
    return place.write(place.root / name, rules)


def sent(
    outputs: dict[str, list[bytes]], zones: Zones | None = None
) -> dict[str, set[tuple[int, str]]]:
    """By application: day and msisdn of these lines."""
    found = {}
    for name, lines in outputs.items():
        records = [parse_record(line.rstrip(b"\n"), law.DAY_MAX) for line in lines]
        found[name] = {
            ((zones or Zones()).convert(one.moment).day, one.msisdn)
            for one in records
            if isinstance(one, Record)
        }
    return {name: some for name, some in found.items() if some}


def replayed(
    place: Place, rules: Ruleset | None = None, dials: tuple[str, ...] | None = None
) -> dict[str, set[tuple[int, str]]]:
    """What the specification sends when it is fed the log under other rules, or another segment."""
    with StateReader.open(state(place)) as reader:
        specification = untaught(reader)
        for taken in reader.log():
            kept = unpack_rules(reader.reference("rules", taken.versions.rules))
            segment = Segment.decode(reader.reference("segment", taken.versions.segment))
            data = law.content(place.data / taken.file)[taken.start : taken.end]
            specification.apply(
                CommittedRange(taken.file, taken.start, data, taken.stamp, taken.newest_stamp),
                dials or segment.sample(len(segment)),
                (rules or parse_rules(kept)).rules,
                *kept_back(reader, taken.versions),
            )
    return sent(specification.outputs, specification.zones)


def by_application(scenario: Scenario) -> dict[str, set[tuple[int, str]]]:
    """What a scenario sends."""
    return dict(scenario.sent)


@pytest.mark.parametrize("seed", range(5))
def test_every_scenario_is_what_the_reference_gives(
    place: Place, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it was, under other rules, over another segment, and each point of the curve; nothing is written."""
    past(place, seed, monkeypatch)
    before, ruleset = files(place), parse_rules([("", OTHER)])
    segment = place.write(place.root / "dials.csv", "\n".join(SOME).encode() + b"\n")

    told = whatif(state(place), [other(place), other(place, RULES[1], "same.csv")])
    of_some = whatif(state(place), [], segment=segment)

    was, under, again = map(by_application, told.scenarios)
    assert replayed(place) == was
    assert replayed(place, ruleset) == under
    assert replayed(place, parse_rules([("", RULES[1])])) == again
    assert replayed(place, dials=tuple(SOME)) == by_application(of_some.scenarios[1])
    for at, factor in enumerate(sorted([1.0, *FACTORS])):
        scaled = [rule._replace(threshold=round(rule.threshold * factor)) for rule in ruleset.rules]
        expected = replayed(place, Ruleset(tuple(scaled), ()))
        for name, points in told.curves.items():
            assert (factor, len(expected.get(name, ()))) == (
                points[at].factor,
                points[at].notifications,
            )
    assert [] == told.notes
    assert before == files(place)


@pytest.mark.parametrize("seed", range(3))
def test_it_is_what_a_fresh_run_under_these_rules_sends(
    place: Place, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that are all there, read by two runs under two sets of rules: what if and what is are the same."""
    generator = random.Random(seed)
    for minute in range(4):
        place.file(f"2020041710{minute:02}", traffic(generator, 200))
    place.once()
    told = whatif(state(place), [other(place)], curve=False)

    place.once(output=place.root / "fresh", rules=other(place))

    lines = {
        name: content.splitlines() for name, content in law.published(place.root / "fresh").items()
    }
    assert {
        directory_name(name): some for name, some in by_application(told.scenarios[1]).items()
    } == (sent(lines))


def random_rules(generator: random.Random) -> bytes:
    """Rules whose windows may touch or cross midnight, and whose applications may have several services."""
    lines = []
    for service in range(1, 6):
        name = generator.choice(["Twitter", "WhatsApp", "Night"])
        start, middle, end = sorted(generator.sample(range(24), 3))
        windows = [(start, middle), (middle, end), (end, start)]
        for at in generator.choice([(), (0,), (2,), (0, 1), (0, 2), (0, 1, 2)]):
            hours = ",".join(map(str, windows[at]))
            lines.append(f"{service},{name},{hours},{generator.randrange(200)}")
    return "\n".join(lines or ["1,Twitter,0,24,50"]).encode() + b"\n"


class Alone(NamedTuple):
    """Replays one set of rules after another, each over a scan of its own."""

    place: Place
    limit: int | None
    segment: Path | None
    suppress: Path | None

    def replay(self, ruleset: Ruleset | None) -> Scenario:
        """What these rules would have sent; None: what was sent."""
        terms, listed = Terms(), [None, None]
        if ruleset is not None:
            terms = Terms(compile_rules(ruleset), self.limit)
            listed = [
                path and Segment.parse([content for _, content in read_segment(path).files])[0]
                for path in (self.segment, self.suppress)
            ]
        found = Scenario("")
        with StateReader.open(state(self.place)) as reader:
            snapshot = take_snapshot(reader, ledger=False)
            versions = VersionCache(reader)
            replay = Replay(snapshot, versions, terms, segment=listed[0], suppressed=listed[1])
            for batch in batches(reader, snapshot):
                for step in replay.steps(batch):
                    names = step.rules.applications
                    found.add(names, step.result.notifications, snapshot.zones, Days(0, DAY_MAX))
        if ruleset is not None:
            found.nearest = list(nearest(replay.ledger, ruleset, Days(0, DAY_MAX)))
        return found


@pytest.mark.parametrize("seed", range(30))
def test_one_scan_gives_what_a_replay_of_each_gives(
    place: Place, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scenarios and points of the curve, decided side by side, are what each is when it is replayed alone."""
    past(place, seed, monkeypatch)
    generator = random.Random(f"scenarios of {seed}")
    new = [place.write(place.root / f"{number}.csv", random_rules(generator)) for number in (1, 2)][
        : generator.randrange(1, 3)
    ]
    limit = generator.choice([None, None, 0, 1, 2])
    dials = place.write(
        place.root / "dials.csv", "\n".join(generator.sample(DIALS[:12], 8)).encode() + b"\n"
    )
    segment = generator.choice([None, None, dials])
    suppress = generator.choice(
        [None, None, place.write(place.root / "stop.csv", dials.read_bytes()[:48])]
    )

    told = whatif(
        state(place), new, segment=segment, suppress=suppress, max_per_customer_per_day=limit
    )

    by_itself = Alone(place, limit, segment, suppress)
    rulesets = [parse_rules([("", path.read_bytes())]) for path in new]
    for ruleset, scenario in zip([None, *rulesets], told.scenarios, strict=True):
        expected = by_itself.replay(ruleset)
        assert (expected.sent, expected.hours, expected.nearest) == (
            scenario.sent,
            scenario.hours,
            scenario.nearest,
        )
    for factor in FACTORS:
        lines = [
            rule._replace(threshold=round(rule.threshold * factor)) for rule in rulesets[0].rules
        ]
        expected = by_itself.replay(Ruleset(tuple(lines), ()))
        for name, points in told.curves.items():
            # Factors that come to the same threshold are one point.
            known = {point.factor: point.notifications for point in points}
            assert expected.notifications(name) == known.get(factor, expected.notifications(name))


def test_counts_are_by_hour_and_gained_and_lost_by_customer(place: Place) -> None:
    """A lower threshold gains, a narrower window loses; hours are those of the records that are sent."""
    place.file(
        "202004171000",
        record(0, 1, 100, "080000") + record(1, 1, 200, "190000") + record(2, 1, 200, "101500"),
    )
    place.once()
    told = whatif(state(place), [other(place, b"1,Twitter,8,18,99\n")])

    was, under = told.scenarios
    assert AS_IT_WAS == was.name
    assert {("Twitter", 19): 1, ("Twitter", 10): 1} == was.hours
    assert {("Twitter", 8): 1, ("Twitter", 10): 1} == under.hours
    assert {DIALS[0]} == under.gained("Twitter", was)
    assert {DIALS[1]} == was.gained("Twitter", under)
    assert [(25, 2), (50, 2), (74, 2), (99, 2), (124, 1), (148, 1), (198, 1), (396, 0)] == [
        (point.threshold, point.notifications) for point in told.curves["Twitter"]
    ]
    listed, counts = (told.to_json(listed=listed)["scenarios"] for listed in (True, False))
    assert [DIALS[0]] == listed[1]["applications"]["Twitter"]["gained"]
    assert 1 == counts[1]["applications"]["Twitter"]["lost"]


def test_the_nearest_totals_are_those_that_just_missed(place: Place) -> None:
    """Highest share of the threshold first, of those that did not exceed it."""
    lines = b"".join(record(dial, 1, 90 + dial, "100000") for dial in range(12))
    place.file("202004171000", lines)
    place.once()
    told = whatif(state(place), [other(place, b"1,Twitter,8,20,98\n2,WhatsApp,9,18,68\n")])

    assert [(DIALS[dial], 90 + dial, 98, "8-20", 20200417) for dial in (8, 7, 6, 5, 4)] == [
        (near.msisdn, near.total, near.threshold, near.window, near.day)
        for near in told.scenarios[1].nearest
    ]


@pytest.mark.parametrize("seed", range(4))
def test_days_count_what_the_whole_counts_of_them(
    place: Place, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A day alone is counted as it is among all days."""
    past(place, seed, monkeypatch)
    whole = whatif(state(place), [other(place)], curve=False)
    for day in (20200416, 20200417, 20200418, 20200419):
        alone = whatif(state(place), [other(place)], days=Days(day, day), curve=False)
        for one, all_days in zip(alone.scenarios, whole.scenarios, strict=True):
            expected = Counter(
                {name: sum(d == day for d, _ in some) for name, some in all_days.sent.items()}
            )
            assert +expected == Counter({name: len(some) for name, some in one.sent.items()})


def test_a_day_of_a_chain_of_nights_counts_what_the_whole_counts_of_it(place: Place) -> None:
    """Each night's total hangs on the cap of the night before."""
    days = nights(place)
    whole = whatif(state(place), [other(place, b"1,A,22,6,100\n")], curve=False)
    assert 3 < whole.scenarios[1].notifications("A") < len(days)
    for day in days:
        told = whatif(
            state(place), [other(place, b"1,A,22,6,100\n")], days=Days(day, day), curve=False
        )
        expected = {one for one in whole.scenarios[1].sent["A"] if one[0] == day}
        assert [expected, expected] == [one.sent["A"] for one in told.scenarios]
        assert [] == told.notes


def test_who_was_notified_that_day_is_not_near_to_it(place: Place) -> None:
    """A total of a second window does not count, once the application has notified the customer."""
    place.file(
        "202004171000",
        record(0, 1, 90, "070000") + record(0, 1, 200, "100000") + record(1, 1, 80, "070000"),
    )
    place.once()
    told = whatif(state(place), [other(place, b"1,Twitter,0,8,98\n1,Twitter,8,20,98\n")])

    assert [(DIALS[1], "0-8")] == [(near.msisdn, near.window) for near in told.scenarios[1].nearest]


def test_thresholds_that_come_to_the_same_are_one_point(place: Place) -> None:
    """A threshold of one cannot be a quarter of it."""
    place.file("202004171000", record(0, 1, 100, "100000"))
    place.once()
    told = whatif(state(place), [other(place, b"1,Twitter,8,20,1\n")])

    assert [(0, 0.25), (1, 1), (2, 1.5), (4, 4)] == [
        (point.threshold, point.factor) for point in told.curves["Twitter"]
    ]


def test_lines_that_are_left_out_are_counted(place: Place) -> None:
    """The first ones are told, of the others how many there are."""
    place.file("202004171000", record(0, 1, 100, "100000"))
    place.once()
    told = whatif(state(place), [other(place, OTHER + b"x\n" * 30)], curve=False)

    assert 11 == len(told.notes)
    assert told.notes[-1].startswith("skipped: 20 more lines of ")


def notes(place: Place, **asked: object) -> str:
    """What the reader is told."""
    told: WhatIf = whatif(state(place), [other(place)], curve=False, **asked)
    return "\n".join(told.notes)


def test_what_cannot_be_read_is_told(place: Place) -> None:
    """A file that is gone, and lines of the new rules that are none."""
    place.file("202004171000", record(0, 1, 200, "100000"))
    place.once()
    assert "" == notes(place)
    (place.data / "DATA_202004171000.csv").unlink()

    assert "DATA_202004171000.csv is no longer in DATA: the counts of all scenarios lack" in notes(
        place
    )
    told = whatif(state(place), [other(place, OTHER + b"x\n")])
    assert "skipped: other.csv line 5" in told.notes[0]
    with pytest.raises(ConfigError, match="no usable rule"):
        whatif(state(place), [other(place, b"x\n")])
    with pytest.raises(UsageError, match="no scenario given"):
        whatif(state(place), [])


def test_the_ledger_of_the_state_is_not_asked(place: Place) -> None:
    """It may be of gigabytes, and what if begins with an empty one."""
    place.file("202004171000", record(0, 1, 200, "100000"))
    place.once()
    with database(place) as db:
        db.execute("UPDATE ledger_delta SET content = x'00'")

    assert "" == notes(place)


def asked(place: Place, *words: str | Path, code: int = 0) -> str:
    """What the command prints."""
    done = CliRunner().invoke(commands, ["whatif", *map(str, words), "--output", str(place.output)])
    assert code == done.exit_code, done.stderr
    return done.stdout


def test_the_command_shows_dials_only_when_they_are_asked_for(place: Place) -> None:
    """Counts, hours, the nearest and a curve for people; whole dials with --list alone."""
    place.file("202004171000", record(0, 1, 100, "100000") + record(1, 1, 90, "100000"))
    place.once()
    rules = other(place, b"1,Twitter,8,20,99\n")

    shown = asked(place, "--rules", rules, "--day", "2020-04-17")
    assert "Twitter  0 -> 1 notifications; customers: 1 gained, 0 lost" in shown
    assert "Twitter by hour: 10h 0->1" in shown
    assert "8-20: 0100•••001 with 90 of 99" in shown
    assert "99  1  ####################<\n" in shown
    assert not {DIALS[0], DIALS[1]} & set(re.findall("[0-9]{5,}", shown))
    assert f"  Twitter + {DIALS[0]}\n" in asked(place, "--rules", rules, "--list", "--no-curve")
    assert "0 -> 0" not in asked(place, "--rules", rules, "--day", "20200416..20200416")
    for word in (
        "20200417..20200416",
        "",
        "20200417..",
        "..20200417",
        "2-0-2-0-0-4-17",
        "20200417--",
    ):
        assert "" == asked(place, "--rules", rules, "--day", word, code=2)


def test_the_report_is_one_file_that_asks_nobody(place: Place) -> None:
    """Charts without scripts, dials or addresses; a name out of RULES stays text; nothing is overwritten."""
    place.file("202004171000", record(0, 1, 200, "100000"))
    place.once()
    rules = other(
        place,
        b"1,<script>alert(1)</script>,8,20,99\n1,<script>alert(1)</script>,20,22,9\n<script>,2\n",
    )
    rules = rules.rename(place.root / "<script>'\"&.csv")
    report = place.root / "report.html"

    asked(place, "--rules", rules, "--report", report)

    page = report.read_text("utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "&lt;script&gt;&#x27;&quot;&amp;.csv" in page
    assert "Note: skipped: &lt;script&gt;&#x27;&quot;&amp;.csv line 3: " in page
    assert 3 == page.count("<svg ")
    assert "x 0.25" in page
    assert [] == re.findall("https?:|src=|href=", page)
    assert DIALS[0] not in page
    report.write_text("mine")
    asked(place, "--rules", rules, "--report", report, code=73)
    assert "mine" == report.read_text("utf-8")


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("", 2, "'--report'"),
        ("data", 73, "already exists"),
        ("away/report.html", 73, "away/report.html: No such file or directory"),
        ("rules/RULES.csv/report.html", 73, "Not a directory"),
    ],
)
def test_the_place_of_the_report_is_looked_at_first(
    place: Place, monkeypatch: pytest.MonkeyPatch, name: str, code: int, words: str
) -> None:
    """Before anything is replayed, and the hint is about the report: there is not even a state here."""
    monkeypatch.chdir(place.root)
    rules = other(place)
    arguments = ["whatif", "--rules", str(rules), "--output", str(place.output), "--report", name]
    done = CliRunner().invoke(commands, arguments)
    assert (code, True) == (done.exit_code, words in done.stderr), done.stderr
    assert "--start" not in done.stderr
