"""What keeps records back: how the policies decide, in words of the specification, and who is in a control group."""

from typing import NamedTuple

from upswell.reference.keyed_hash import keyed_hash
from upswell.reference.policy import OFF, SHARE_ALL, Policy
from upswell.reference.rules import parse_rules
from upswell.semantics import CommittedRange, Specification

RULES = parse_rules(
    [("R", b"1,Twitter,0,24,100\n2,WhatsApp,0,24,100\n3,Night,22,6,100\n4,Youtube,0,24,100\n")]
).rules
DIAL = "0126545098"
KEY = "a key that is long enough"
ONE_A_DAY = Policy(max_per_customer_per_day=1)


class _Customer:
    """One customer, whose records are taken one by one."""

    def __init__(self) -> None:
        self.specification = Specification()
        self.taken = 0

    def uses(
        self, service: int, volume: int, time: str, policy: Policy, newest: str = "0418"
    ) -> str:
        """The outcome of a record at MMddHHmm of 2020."""
        self.taken += 1
        data = f"{DIAL},{service},{volume},2020{time}00\n".encode()
        stamp = f"2020{newest}1000"
        taken = CommittedRange(f"f{self.taken}", 0, data, stamp, stamp)
        (line,) = self.specification.apply(taken, {DIAL}, RULES, (), policy)
        return line.outcome


class _Vector(NamedTuple):
    data: bytes
    expected: int


def test_a_customer_gets_no_more_than_the_limit_a_day_whatever_the_application() -> None:
    """The second application's record is kept back, again and again, and the third's too; the day after it is not."""
    customer = _Customer()

    assert "notified" == customer.uses(1, 101, "04171000", ONE_A_DAY)
    assert "capped_customer" == customer.uses(2, 101, "04171001", ONE_A_DAY)
    assert "capped_customer" == customer.uses(2, 1, "04171002", ONE_A_DAY)
    assert "counted" == customer.uses(4, 100, "04171003", ONE_A_DAY)
    assert "capped" == customer.uses(1, 101, "04171004", ONE_A_DAY)
    assert "notified" == customer.uses(2, 101, "04181000", ONE_A_DAY)


def test_what_is_kept_back_is_added_and_fires_nothing() -> None:
    """Its volume counts, so the next record notifies as soon as the limit allows it."""
    customer = _Customer()
    customer.uses(1, 101, "04171000", ONE_A_DAY)
    customer.uses(2, 101, "04171001", ONE_A_DAY)

    assert 101 == customer.specification.totals[DIAL, 2, 0, 1440, 20200417]
    assert "notified" == customer.uses(2, 0, "04171002", Policy(max_per_customer_per_day=2))
    assert "capped" == customer.uses(2, 0, "04171003", Policy(max_per_customer_per_day=2))


def test_a_window_over_midnight_notifies_on_the_day_that_has_room() -> None:
    """Kept back before midnight, the same occurrence fires with the first record after it."""
    customer = _Customer()
    customer.uses(1, 101, "04171000", ONE_A_DAY)

    assert "capped_customer" == customer.uses(3, 101, "04172300", ONE_A_DAY)
    assert "notified" == customer.uses(3, 0, "04180100", ONE_A_DAY)


def test_notifications_of_before_the_limit_count() -> None:
    """A limit that begins in the middle of a day knows what the customer has had."""
    customer = _Customer()
    customer.uses(1, 101, "04171000", OFF)

    assert "capped_customer" == customer.uses(2, 101, "04171001", ONE_A_DAY)


def test_control_customers_are_kept_from_output_and_count_as_notified() -> None:
    """They would have been told once a day and application, and no more often than the limit allows."""
    customer = _Customer()
    everyone = Policy(1, SHARE_ALL, KEY)

    assert "control" == customer.uses(1, 101, "04171000", everyone)
    assert "capped" == customer.uses(1, 101, "04171001", everyone)
    assert "capped_customer" == customer.uses(2, 101, "04171002", everyone)
    assert {} == customer.specification.outputs
    assert {"Twitter"} == customer.specification.control_outputs.keys()


def test_a_group_is_drawn_by_its_key_and_only_grows_with_its_share() -> None:
    """About as many as asked for, others under another key, and a larger share keeps all of a smaller one."""
    dials = [f"01{number:08}" for number in range(4000)]

    def group(share: int, key: str) -> set[str]:
        policy = Policy(control_share=share, control_key=key)
        return {dial for dial in dials if policy.is_control(dial)}

    tenth = group(1000, KEY)
    assert 300 < len(tenth) < 500
    assert tenth < group(2000, KEY)
    assert tenth != group(1000, KEY + "!")
    assert set(dials) == group(SHARE_ALL, KEY)
    assert set() == group(0, "")


def test_the_keyed_hash_is_siphash() -> None:
    """It gives what its authors published, for every length of a last word."""
    key = bytes(range(16))
    vectors = [
        _Vector(b"", 0x726FDB47DD0E0E31),
        _Vector(bytes(range(8)), 0x93F5F5799A932462),
        _Vector(bytes(range(15)), 0xA129CA6149BE45E5),
    ]

    assert [vector.expected for vector in vectors] == [
        keyed_hash(key, vector.data) for vector in vectors
    ]


def test_a_policy_comes_back_from_what_is_kept() -> None:
    """Its content gives it back, equal policies have one version, and none is the empty one."""
    policy = Policy(3, 500, KEY)

    assert policy == Policy.parse(policy.content)
    assert Policy(3, 500, KEY).version == policy.version != Policy(3, 501, KEY).version
    assert (b"", "", OFF) == (OFF.content, OFF.version, Policy.parse(b""))


def test_a_changed_policy_is_told_without_its_key() -> None:
    """Limits and shares are named; of a key only that it is another."""
    words = [
        *OFF.describe_change(Policy(3, 550, KEY)),
        *Policy(3, 550, KEY).describe_change(Policy(3, 550, "another key of this length")),
    ]

    assert [
        "limit per customer and day: no limit -> 3",
        "control group: 0 % -> 5.5 %",
        "control group: other customers, since the key changed",
    ] == words
