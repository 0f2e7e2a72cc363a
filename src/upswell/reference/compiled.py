"""The compiled forms of rules and policy: for the kernel, and as one value for the state.

Owns both conversions; reads no file and validates nothing. The invariant: what ``unpack_rules`` returns is what
``pack_rules`` was given, whatever bytes names and contents hold.
"""

import struct
from collections.abc import Iterable

from upswell import kernel
from upswell.kernel import Rules, Segment
from upswell.reference.policy import Policy
from upswell.reference.rules import Ruleset
from upswell.reference.suppression import Forgetting

_FRAME = struct.Struct("<I")


def pack_rules(files: list[tuple[str, bytes]]) -> bytes:
    """Return the files of a version of RULES, as (name, content), as one value for the checkpoint."""
    parts = (
        part
        for name, content in files
        for part in (name.encode("utf-8", "surrogateescape"), content)
    )
    return b"".join(_FRAME.pack(len(part)) + part for part in parts)


def unpack_rules(packed: bytes) -> list[tuple[str, bytes]]:
    """Return the files that ``pack_rules`` was given."""
    parts = []
    at = 0
    while at < len(packed):
        (length,) = _FRAME.unpack_from(packed, at)
        at += _FRAME.size
        parts.append(packed[at : at + length])
        at += length
    return [
        (name.decode("utf-8", "surrogateescape"), content)
        for name, content in zip(parts[::2], parts[1::2], strict=True)
    ]


def compile_rules(ruleset: Ruleset) -> Rules:
    """Return the kernel's form of the rules."""
    return Rules(list(ruleset.rules))


def compile_policy(
    policy: Policy, suppressed: Segment | None, forgettings: Iterable[Forgetting] = ()
) -> kernel.Policy:
    """Return the kernel's form of everything that keeps records back."""
    return kernel.Policy(
        suppressed,
        [(one.key, sorted(one.hashes)) for one in forgettings if one.key is not None],
        max_per_customer_per_day=policy.max_per_customer_per_day,
        control_share=policy.control_share,
        control_key=policy.hash_key or None,
    )
