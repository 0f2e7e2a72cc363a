"""What may keep a record back that would notify: a limit per customer and day, and a control group.

Owns these settings as one value, the form in which a state keeps it, and who is in a control group. It knows no
records and no state. The invariant: whether a customer is in a group follows from the key, the share and the digits
alone, so it is the same on every machine and in every replay, and a larger share only adds customers.
"""

import hashlib
import json
from collections.abc import Iterator
from typing import NamedTuple

from upswell.reference.keyed_hash import KEY_BYTES, keyed_hash

SHARE_ALL = 10_000
"""A share of all customers: shares are whole hundredths of a percent."""
CONTROL_KEY_CHARACTERS_MIN = 16  # whoever can guess it knows who is in the group


class Policy(NamedTuple):
    """The settings of a moment; a new one has everything off."""

    max_per_customer_per_day: int = 0
    """Notifications over all applications; 0: no limit."""
    control_share: int = 0
    """In hundredths of a percent of all customers; 0: no control group."""
    control_key: str = ""
    """Secret; empty without a group."""

    @property
    def hash_key(self) -> bytes:
        """The key of ``keyed_hash``: the first bytes of the SHA-256 of ``control_key``; empty without a group."""
        return (
            hashlib.sha256(self.control_key.encode()).digest()[:KEY_BYTES]
            if self.control_share
            else b""
        )

    def is_control(self, msisdn: str) -> bool:
        """Whether the customer is in the control group."""
        if not self.control_share:
            return False
        return keyed_hash(self.hash_key, msisdn.encode()) % SHARE_ALL < self.control_share

    @property
    def content(self) -> bytes:
        """What a state keeps; nothing when everything is off."""
        if self == Policy():
            return b""
        return json.dumps(self._asdict(), sort_keys=True).encode()

    @property
    def version(self) -> str:
        """Names the content as the log does: SHA-256, hex; "" when everything is off."""
        return hashlib.sha256(self.content).hexdigest() if self.content else ""

    @classmethod
    def parse(cls, content: bytes) -> "Policy":
        """The policy of a kept content."""
        return cls(**json.loads(content)) if content else cls()

    def words(self, suppressed: int) -> dict[str, object]:
        """What is on, for the narration, beside a suppression list of so many dials."""
        words = {
            "suppressed": suppressed,
            "max_per_customer_per_day": self.max_per_customer_per_day,
            "control_share": _percent(self.control_share) if self.control_share else 0,
        }
        return {name: value for name, value in words.items() if value}

    def losses(self, newer: "Policy") -> Iterator[tuple[str, str]]:
        """What a start with another policy would lose, most likely by mistake, and the next step.

        A message that was sent cannot be taken back. Another limit is one that somebody wrote down; none is not.
        """
        if self.max_per_customer_per_day and not newer.max_per_customer_per_day:
            yield (
                "this state has a limit per customer and day, and the start names none:"
                f" it was {self.max_per_customer_per_day:,}",
                "give --max-per-customer-per-day again or, to lift the limit, --accept-reference once",
            )
        smaller = newer.control_share < self.control_share
        if self.control_share and (smaller or newer.control_key != self.control_key):
            words = "; ".join(self._control_words(newer))
            yield (
                f"this state has a control group, and the start would notify some of it: {words}",
                "give --control-share and --control-key as before or, to end the comparison, --accept-reference once",
            )

    def describe_change(self, newer: "Policy") -> list[str]:
        """What another policy changes, in words that do not give the key away."""
        words = []
        if self.max_per_customer_per_day != newer.max_per_customer_per_day:
            words.append(
                "notifications a customer may get a day:"
                f" {_limit(self.max_per_customer_per_day)} -> {_limit(newer.max_per_customer_per_day)}"
            )
        return words + self._control_words(newer)

    def _control_words(self, newer: "Policy") -> list[str]:
        words = []
        if self.control_share != newer.control_share:
            words.append(
                f"control group: {_percent(self.control_share)} -> {_percent(newer.control_share)}"
            )
        if self.control_share and newer.control_share and self.control_key != newer.control_key:
            words.append("control group: other customers, by another key")
        return words


def _limit(most: int) -> str:
    return f"{most:,}" if most else "no limit"


def _percent(share: int) -> str:
    """A share in words."""
    return f"{share / 100:g} %"


OFF = Policy()
