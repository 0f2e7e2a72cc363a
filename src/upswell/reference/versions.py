"""Names of the versions of reference data and policy.

Owns the closed list of kinds; holds no content. A version is the content hash (SHA-256, hex) of what it names.
"""

from typing import Literal, NamedTuple

Kind = Literal["rules", "segment", "suppress", "policy"]
"""What a version may be of: the fields of Versions."""


class Versions(NamedTuple):
    """The versions of what is in force: content hashes (SHA-256, hex)."""

    rules: str
    segment: str
    suppress: str = ""
    """Of the suppression list; "" without one."""
    policy: str = ""
    """Of the limit per customer and the control group; "" without both."""
