"""Damage to one file of a state at one place: what a failing disk, or a careless hand, leaves."""

import random
from pathlib import Path

KINDS = ("flip", "flip", "flip", "zero", "cut", "random")
_ZEROED_BYTES, _RANDOM_BYTES = 512, 16


def damage(path: Path, chance: random.Random) -> str:
    """Damage a file at one place; what was done."""
    data = bytearray(path.read_bytes())
    at = chance.randrange(len(data))
    kind = chance.choice(KINDS)
    if kind == "flip":
        data[at] ^= 1 << chance.randrange(8)
    elif kind == "zero":
        data[at : at + _ZEROED_BYTES] = bytes(len(data[at : at + _ZEROED_BYTES]))
    elif kind == "random":
        data[at : at + _RANDOM_BYTES] = chance.randbytes(len(data[at : at + _RANDOM_BYTES]))
    else:
        del data[at:]
    path.write_bytes(data)
    return f"{kind} at byte {at} of {path.name}"
