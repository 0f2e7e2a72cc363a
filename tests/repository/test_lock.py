"""requirements.lock holds what constraints.txt pins, with digests; constraints.txt holds none."""

import re

from support.command import ROOT

PINNED = re.compile(r"^([\w.-]+)==(\S+)", re.MULTILINE)


def pins(name: str) -> dict[str, str]:
    """The version of each package in a file of requirements, by its name in one form."""
    text = (ROOT / name).read_text("utf-8")
    return {match[1].lower().replace("_", "-"): match[2] for match in PINNED.finditer(text)}


def test_the_lock_holds_what_is_pinned() -> None:
    """Each package of constraints.txt is in requirements.lock at its version, and no other (``make lock``)."""
    locked = pins("requirements.lock")

    assert len(locked) > 10
    assert pins("constraints.txt") == locked


def test_every_locked_package_has_a_digest() -> None:
    """Pip takes a file of the lock by its SHA-256 alone."""
    text = (ROOT / "requirements.lock").read_text("utf-8")
    blocks = re.split(r"\n(?=[\w.-]+==)", text)

    assert [] == [block for block in blocks if not re.search(r"--hash=sha256:[0-9a-f]{64}", block)]


def test_constraints_have_no_digest() -> None:
    """One digest among constraints would put every pip that reads them into its mode of digests alone."""
    assert "--hash" not in (ROOT / "constraints.txt").read_text("utf-8")
