"""The meaning of a line, as docs/semantics.md has it: every outcome, every reason, and the edges between them."""

import pytest

from upswell.reference.policy import OFF, SHARE_ALL, Policy
from upswell.reference.rules import Rule, parse_rules
from upswell.semantics import (
    OUTCOMES,
    REASONS,
    TOTAL_MAX,
    CommittedRange,
    Line,
    Specification,
    parse_record,
)
from upswell.zones import Zones

STAMP = "202004171937"
SEGMENT = {"0126545098", "0123917827", "0111111111"}
SUPPRESSED = {"0111111111"}
KEY = "a key that is long enough"
RULES = parse_rules(
    [("R", b"1,Twitter,8,20,147\n2,WhatsApp,9,18,68\n3,Night,22,6,100\n4,Twitter,0,24,50\n")]
).rules
DIAL = b"0126545098"


def record(service: int, volume: int, time: str, dial: bytes = DIAL) -> bytes:
    """One line of DATA; the time is MMddHHmmss of 2020."""
    return b"%b,%d,%d,2020%b\n" % (dial, service, volume, time.encode())


def outcomes(
    data: bytes,
    specification: Specification | None = None,
    rules: tuple[Rule, ...] = RULES,
    policy: Policy = OFF,
    **place: str,
) -> list[str]:
    """What becomes of each line of data, taken as one file."""
    return [line.outcome for line in take(data, specification, rules, policy=policy, **place)]


def take(
    data: bytes,
    specification: Specification | None = None,
    rules: tuple[Rule, ...] = RULES,
    *,
    start: int = 0,
    file: str = "f",
    stamp: str = STAMP,
    newest: str = "",
    policy: Policy = OFF,
) -> list[Line]:
    """Each line of data with its outcome."""
    specification = specification or Specification()
    taken = CommittedRange(file, start, data, stamp, newest or stamp)
    return specification.apply(taken, SEGMENT, rules, SUPPRESSED, policy)


def outcomes_at(start: int, data: bytes, specification: Specification) -> list[str]:
    """What becomes of each line of a later range of the same file."""
    return [line.outcome for line in take(data, specification, start=start)]


REASON_EXAMPLES = {
    "too_long": b"0" * 4097,
    "columns": b"0126545098,1,315",
    "msisdn": b"126x,1,315,20200417193743",
    "service": b"0126545098,1234567890,315,20200417193743",
    "volume": b"0126545098,1,-5,20200417193743",
    "timestamp": b"0126545098,1,315,20210229193743",
    "future": b"0126545098,1,315,20200419000000",
}

OUTCOME_EXAMPLES = {
    "rejected": b"nonsense 1\n",
    "blank": b" \t\n",
    "header": b"msisdn,service,volume,timestamp\n",
    "not_in_segment": record(1, 999, "0417100000", b"0100000000"),
    "suppressed": record(9, 999, "0417100000", b"0111111111"),
    "no_rule": record(9, 999, "0417100000"),
    "outside_window": record(1, 999, "0417070000"),
    "late": record(1, 999, "0415100000"),
    "counted": record(1, 147, "0417100000"),
    "notified": record(1, 148, "0417100000"),
    "capped": record(1, 148, "0417100000") + record(1, 999, "0417100001"),
    "capped_customer": record(1, 148, "0417100000") + record(2, 999, "0417100001"),
    "control": record(1, 148, "0417100000"),
}
POLICIES = {
    "capped_customer": Policy(max_per_customer_per_day=1),
    "control": Policy(control_share=SHARE_ALL, control_key=KEY),
}
"""Of the outcomes that need one."""


@pytest.mark.parametrize("reason", REASON_EXAMPLES)
def test_every_reason_has_a_line(reason: str) -> None:
    """Each reason's example is refused for it."""
    assert parse_record(REASON_EXAMPLES[reason], 20200418) == reason


@pytest.mark.parametrize("outcome", OUTCOME_EXAMPLES)
def test_every_outcome_has_a_line(outcome: str) -> None:
    """The last line of each outcome's example has it."""
    policy = POLICIES.get(outcome, OFF)
    assert outcomes(OUTCOME_EXAMPLES[outcome], policy=policy)[-1] == outcome


def test_no_reason_and_no_outcome_is_without_a_test() -> None:
    """A new reason or outcome fails here until it has an example above."""
    assert set(REASONS) == REASON_EXAMPLES.keys()
    assert set(OUTCOMES) == OUTCOME_EXAMPLES.keys()


@pytest.mark.parametrize(
    "line",
    [
        b"+0126545098,1,315,20200417193743",
        b'"0126545098","1","315","20200417193743"',
        b"0126545098,01,000000000000315,20200417193743",
        b"0126545098,1,0,20200229000000",
        b"0126545098,1,999999999999999,00010101000000",
    ],
)
def test_these_are_records(line: bytes) -> None:
    """A plus sign, quotes, leading zeros, the smallest and largest values."""
    parsed = parse_record(line, 20200418)

    assert not isinstance(parsed, str)
    assert "0126545098" == parsed.msisdn


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"0126545098,1,315,20200417193743,", "columns"),
        (b'"0126545098,1",315,20200417193743', "msisdn"),
        (b"0126545098 ,1,315,20200417193743", "msisdn"),
        ("٠١٢٦٥٤٥٠٩٨,1,315,20200417193743".encode(), "msisdn"),
        (b"0126545098,,315,20200417193743", "service"),
        (b"0126545098,1,12.5,20200417193743", "volume"),
        (b"0126545098,1,1e3,20200417193743", "volume"),
        (b"0126545098,1,1000000000000000,20200417193743", "volume"),
        (b"0126545098,1,315,2020041719374", "timestamp"),
        (b"0126545098,1,315,20200417240000", "timestamp"),
        (b"0126545098,1,315,20200417196000", "timestamp"),
        (b"0126545098,1,315,20200417193760", "timestamp"),
        (b"0126545098,1,315,00000417193743", "timestamp"),
        (b"0126545098,1,315,20200417193743\r", "timestamp"),
        (b"\x000126545098,1,315,20200417193743", "msisdn"),
        (b"x,x,x,x", "msisdn"),
        (b"0126545098,x,x,x", "service"),
    ],
)
def test_the_first_reason_that_applies_is_given(line: bytes, reason: str) -> None:
    """Fields are checked in order, and nothing is guessed."""
    assert parse_record(line, 20200418) == reason


def test_exceeded_is_strictly_greater() -> None:
    """The record that reaches the threshold exactly is counted; the one that passes it is notified."""
    assert outcomes(record(1, 100, "0417100000") + record(1, 47, "0417100001")) == ["counted"] * 2
    assert ["counted", "counted", "notified"] == outcomes(
        record(1, 100, "0417100000") + record(1, 47, "0417100001") + record(1, 1, "0417100002")
    )


def test_a_window_begins_at_its_start_and_ends_before_its_end() -> None:
    """8:00:00 counts, 7:59:59 and 20:00:00 do not."""
    times = ["0417075959", "0417080000", "0417195959", "0417200000"]

    assert [
        "outside_window",
        "counted",
        "counted",
        "outside_window",
    ] == outcomes(b"".join(record(1, 1, time) for time in times))


def test_an_application_notifies_once_a_day_whatever_the_service() -> None:
    """Services 1 and 4 are both Twitter: after one has fired the other is capped, until the next day."""
    data = (
        record(1, 200, "0417100000") + record(4, 200, "0417100001") + record(4, 200, "0418100001")
    )

    assert ["notified", "capped", "notified"] == outcomes(data, stamp="202004181000")


def test_different_applications_do_not_share_a_cap() -> None:
    """Twitter's notification does not silence WhatsApp's."""
    assert outcomes(record(1, 200, "0417100000") + record(2, 200, "0417100001")) == ["notified"] * 2


def test_a_window_over_midnight_is_one_occurrence() -> None:
    """Its total runs on over midnight, and it notifies once."""
    data = (
        record(3, 60, "0416230000")
        + record(3, 50, "0417010000")
        + record(3, 500, "0417020000")
        + record(3, 500, "0417230000")
    )

    # 02:00 belongs to the occurrence that has fired; 23:00 opens another, but the 17th has had its notification.
    assert ["counted", "notified", "capped", "capped"] == outcomes(data)


def test_a_lowered_threshold_fires_at_the_next_record() -> None:
    """A total survives a change of threshold; the change alone notifies nobody."""
    specification = Specification()
    lowered = tuple(rule._replace(threshold=50) for rule in RULES)

    assert ["counted"] == outcomes(record(1, 100, "0417100000"), specification)
    assert ["notified"] == outcomes(record(1, 0, "0417100001"), specification, lowered, file="g")


def test_a_new_window_starts_at_zero() -> None:
    """Totals belong to service and window: another window does not inherit them."""
    specification = Specification()
    moved = tuple(rule._replace(end_min=1140) for rule in RULES)

    assert ["counted"] == outcomes(record(1, 140, "0417100000"), specification)
    assert ["counted"] == outcomes(record(1, 140, "0417100001"), specification, moved, file="g")


def test_usage_before_a_dial_joined_is_not_counted() -> None:
    """A total begins when the dial is in the segment, and survives its absence."""
    specification = Specification()
    taken = CommittedRange("f", 0, record(1, 100, "0417100000"), STAMP, STAMP)
    specification.apply(taken, set(), RULES)

    assert ["counted"] == outcomes(record(1, 100, "0417100001"), specification, file="g")
    specification.apply(taken._replace(file="h"), set(), RULES)
    assert ["notified"] == outcomes(record(1, 48, "0417100002"), specification, file="i")


def test_the_day_before_the_newest_stamps_is_open_and_no_earlier_one() -> None:
    """With keep_days 2, the 16th is open on the 17th and the 15th is late."""
    data = record(4, 200, "0416100000") + record(4, 200, "0415100000")

    assert ["notified", "late"] == outcomes(data)


def test_the_horizon_is_the_newest_stamp_taken_before() -> None:
    """An old file after a newer one is judged by the newer one's date."""
    assert ["late"] == outcomes(record(1, 200, "0414100000"), stamp="202004141000", newest=STAMP)


def test_measure_session_adds_nothing() -> None:
    """Each session stands for itself, and the cap holds."""
    specification = Specification(measure="session")
    data = b"".join(record(1, volume, "0417100000") for volume in (147, 147, 148, 500))

    assert ["counted", "counted", "notified", "capped"] == outcomes(data, specification)
    assert {} == specification.totals


def test_totals_saturate() -> None:
    """A total cannot overflow: it stays at the largest value."""
    specification = Specification()
    rules = (Rule(1, "Twitter", 0, 1440, 10**15 - 1),)
    occurrence = ("0126545098", 1, 0, 1440, 20200417)
    specification.totals[occurrence] = TOTAL_MAX - 1

    assert ["notified"] == outcomes(record(1, 5, "0417100000"), specification, rules)
    assert specification.totals[occurrence] == TOTAL_MAX


def test_the_rules_zone_decides_day_and_window() -> None:
    """19:37 in Cairo is 17:37 UTC, inside 9 to 18; 00:30 in Cairo belongs to the day before."""
    specification = Specification(zones=Zones("Africa/Cairo", "UTC"))
    late_evening = record(4, 200, "0417003000") + record(4, 200, "0416235959")

    assert ["notified"] == outcomes(record(2, 222, "0417193744"), specification)
    assert ["notified", "capped"] == outcomes(late_evening, specification, file="g")


def test_a_byte_order_mark_belongs_to_no_line() -> None:
    """It is skipped at the start of a file, where the first line then begins at byte 3."""
    lines = take(b"\xef\xbb\xbf" + record(1, 1, "0417100000"))

    assert [("counted", 3)] == [(line.outcome, line.byte) for line in lines]
    assert [] == take(b"\xef\xbb\xbf")
    assert ["blank", "rejected"] == outcomes(b"\n\xef\xbb\xbf" + record(1, 1, "0417100000"))


def test_the_first_line_may_come_after_a_byte_order_mark_was_taken_alone() -> None:
    """A file of a mark alone has no line; what follows later is its first line, header or record."""
    for line, outcome in ((b"msisdn,service\n", "header"), (record(1, 1, "0417100000"), "counted")):
        specification = Specification()

        assert [] == take(b"\xef\xbb\xbf", specification)
        assert outcomes_at(3, line, specification) == [outcome]


def test_only_the_first_line_can_be_a_header() -> None:
    """A line without digits is a header at the start of a file, and a reject anywhere else."""
    assert ["header", "rejected"] == outcomes(b"a,b,c,d\na,b,c,d\n")
    assert ["blank", "rejected"] == outcomes(b"\na,b,c,d\n")


def test_line_ends_are_lf_or_crlf() -> None:
    """A lone CR ends no line, but an unterminated last line may end in one."""
    line = record(1, 1, "0417100000")[:-1]

    assert outcomes(line + b"\r\n" + line + b"\n" + line + b"\r") == ["counted"] * 3
    assert ["rejected"] == outcomes(line + b"\r" + line + b"\n")
    assert ["rejected"] == outcomes(line + b"\r\r\n")


@pytest.mark.parametrize(
    ("taken", "rest", "expected"),
    [
        (b"", b"\n", []),
        (b"", b"\r\n", []),
        (b"", b"\r", []),
        (b"\r", b"\n", []),
        (b"\r", b"\r\n", ["rejected"]),
        (b"", b"5\n", ["rejected"]),
        (b"", b" \n", ["rejected"]),
        (b"", b"x" * 5000 + b"\n", ["rejected"]),
        (b"", b"\n0126545098,9,1,20200417100000\n", ["no_rule"]),
    ],
)
def test_what_follows_a_line_taken_unterminated(
    taken: bytes, rest: bytes, expected: list[str]
) -> None:
    """Its own line end is skipped; any other continuation is one reject, as columns."""
    specification = Specification()
    head = record(1, 1, "0417100000")[:-1] + taken

    assert ["counted"] == outcomes(head, specification)
    lines = take(rest, specification, start=len(head))
    assert [line.outcome for line in lines] == expected
    assert {line.reason for line in lines if line.outcome == "rejected"} <= {"columns"}


def test_the_counts_add_up_to_the_lines_read() -> None:
    """Over every example at once, each line has exactly one outcome and the output holds the notified ones."""
    specification = Specification()
    data = b"".join(OUTCOME_EXAMPLES.values()) + b"\n".join(REASON_EXAMPLES.values())
    lines = take(data, specification)

    assert specification.lines == len(lines) == sum(specification.counts.values())
    assert specification.counts["rejected"] == sum(specification.reasons.values())
    assert b"".join(specification.outputs["Twitter"]) == record(1, 148, "0417100000")


def test_a_file_goes_on_under_another_name_where_the_old_one_ended() -> None:
    """Its first range continues lines, header and an unterminated line of the file that it continues."""
    specification = Specification()
    first, second = record(1, 100, "0417100000"), record(1, 60, "0417100100")
    start = len(first) + len(second) - 1
    take(first + second[:-1], specification, file="old")
    reference = {"segment": {DIAL.decode()}, "rules": RULES}
    rest = CommittedRange("new", start, b"\na,b,c,d\n" + first, STAMP, STAMP, continues="old")
    lines = specification.apply(rest, **reference)

    assert [("rejected", 3, start + 1), ("capped", 4, start + 9)] == [
        (line.outcome, line.line, line.byte) for line in lines
    ]
    more = CommittedRange("new", start + 9 + len(first), b"a\n", STAMP, STAMP, continues="old")
    assert [5] == [line.line for line in specification.apply(more, **reference)]
