"""Names of the versions of reference, policy and zone tables.

Owns the closed list of kinds; holds no content. A version is the hash (SHA-256, hex) of the content that it names.
"""

from typing import Literal, NamedTuple

Kind = Literal["rules", "segment", "suppress", "policy", "zones"]
"""The parts that have versions: the fields of Versions."""


class Versions(NamedTuple):
    """The active version of each part: content hashes (SHA-256, hex)."""

    rules: str
    segment: str
    suppress: str = ""
    """The suppression list; "" without one."""
    policy: str = ""
    """The limit per customer and the control group; "" without both."""
    zones: str = ""
    """The tables of both time zones; "" when they have one name, so that nothing is converted."""
