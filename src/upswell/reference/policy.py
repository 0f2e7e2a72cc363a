"""The policy: a limit of notifications per customer and day, and a control group.

Owns these settings as one value, its form in the state, and who is in the control group. It knows no records and no
state. The invariant: membership follows from the key, the share and the digits of the msisdn alone, so it is the same
on every machine and in every replay, and a larger share only adds customers.
"""

import hashlib
import json
from collections.abc import Iterator
from typing import NamedTuple

from upswell.reference.keyed_hash import KEY_BYTES, keyed_hash

SHARE_ALL = 10_000
"""The share that is all customers: shares are whole hundredths of a percent."""
CONTROL_KEY_CHARACTERS_MIN = 16  # whoever can guess it knows who is in the group


class Policy(NamedTuple):
    """The settings of one run; by default everything is off."""

    max_per_customer_per_day: int = 0
    """Notifications over all applications; 0: no limit."""
    control_share: int = 0
    """In hundredths of a percent of all customers; 0: no control group."""
    control_key: str = ""
    """Secret; empty without a group."""

    @property
    def hash_key(self) -> bytes:
        """The key for ``keyed_hash``: the first bytes of the SHA-256 of ``control_key``; empty without a group."""
        return (
            hashlib.sha256(self.control_key.encode()).digest()[:KEY_BYTES]
            if self.control_share
            else b""
        )

    def is_control(self, msisdn: str) -> bool:
        """Return whether the customer is in the control group."""
        if not self.control_share:
            return False
        return keyed_hash(self.hash_key, msisdn.encode()) % SHARE_ALL < self.control_share

    @property
    def content(self) -> bytes:
        """The form that a state keeps; empty when everything is off."""
        if self == Policy():
            return b""
        return json.dumps(self._asdict(), sort_keys=True).encode()

    @property
    def version(self) -> str:
        """The SHA-256 of the content in hex, as in the log; "" when everything is off."""
        return hashlib.sha256(self.content).hexdigest() if self.content else ""

    @classmethod
    def parse(cls, content: bytes) -> "Policy":
        """Return the policy that a state kept."""
        return cls(**json.loads(content)) if content else cls()

    def words(self, suppressed: int) -> dict[str, object]:
        """Return the settings that are on, for the log output; ``suppressed``: msisdns on the suppression list."""
        words = {
            "suppressed": suppressed,
            "max_per_customer_per_day": self.max_per_customer_per_day,
            "control_share": _percent(self.control_share) if self.control_share else 0,
        }
        return {name: value for name, value in words.items() if value}

    def losses(self, newer: "Policy") -> Iterator[tuple[str, str]]:
        """Yield (message, hint) for each part that a start with a ``newer`` policy would lose, probably by mistake.

        A message that was sent cannot be recalled. A changed limit was written by somebody; a missing one may have
        been forgotten.
        """
        if self.max_per_customer_per_day and not newer.max_per_customer_per_day:
            yield (
                f"this state has a limit per customer and day ({self.max_per_customer_per_day:,}),"
                " and the start gives none",
                "pass --max-per-customer-per-day again or, to lift the limit, --accept-reference once",
            )
        smaller = newer.control_share < self.control_share
        if self.control_share and (smaller or newer.control_key != self.control_key):
            words = "; ".join(self._control_words(newer))
            yield (
                f"this state has a control group, and the start would notify some of its members: {words}",
                "pass --control-share and --control-key as before or, to end the comparison, --accept-reference once",
            )

    def describe_change(self, newer: "Policy") -> list[str]:
        """Describe what a ``newer`` policy changes, without revealing the key."""
        words = []
        if self.max_per_customer_per_day != newer.max_per_customer_per_day:
            words.append(
                "limit per customer and day:"
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
            words.append("control group: other customers, since the key changed")
        return words


def _limit(most: int) -> str:
    return f"{most:,}" if most else "no limit"


def _percent(share: int) -> str:
    """Format a share as a percentage."""
    return f"{share / 100:g} %"


OFF = Policy()
