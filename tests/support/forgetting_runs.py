"""A run with a customer who will be forgotten, and what would still tell of one."""

import sqlite3
from pathlib import Path

from support.engine_runs import DIALS, Place, record
from support.replays import state
from upswell.audit.replay.reconcile import reconcile

WHO, OTHER = DIALS[1], DIALS[2]


FIRST_MULTIPLIER, SECOND_MULTIPLIER, KEY_MASK = (
    0x2C1B3C6D1F5A7 | 1,
    0x59E3779B97F4B | 1,
    (1 << 51) - 1,
)


def key(msisdn: str) -> int:
    """The number by which the kernel knows a msisdn."""
    return 10 ** len(msisdn) + int(msisdn)


def mixed(msisdn: str) -> int:
    """The same as the ledger keeps it."""
    x = key(msisdn) * FIRST_MULTIPLIER & KEY_MASK
    x ^= x >> 26
    x = x * SECOND_MULTIPLIER & KEY_MASK
    return x ^ x >> 26


def traces(directory: Path, msisdn: str, *, but: tuple[bytes, ...] = ()) -> list[str]:
    """The files of a state that hold the msisdn: as digits, as the kernel's number, or as a key of the ledger.

    A ledger's key has 43 bits of the mixed number above 21 bits of a column that is small: the bytes from the column's
    highest on are told apart from all others.
    """
    rest = (mixed(msisdn) & (1 << 43) - 1) << 21
    forms = [msisdn.encode(), key(msisdn).to_bytes(8, "little"), rest.to_bytes(8, "little")[2:]]
    found = []
    for path in sorted(directory.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            for spared in but:
                content = content.replace(spared, b"")
            found += [f"{path.name}: {form!r}" for form in forms if form in content]
    return found


def lived(place: Place, **settings: object) -> None:
    """A past with notifications, totals, caps and rejects of two customers."""
    lines = [record(dial, service, 200, "100000") for dial in (1, 2, 3) for service in (1, 3)]
    lines += [record(dial, 2, 5, "100000") for dial in (1, 2)]
    lines += [f"{dial},1,5x,20200417100000\n".encode() for dial in (WHO, OTHER)]
    lines += [f"\x00{WHO},1,5,20200417100000\n".encode(), f"+{WHO} ,1,5,20200417100000\n".encode()]
    place.file("202004171000", b"".join(lines))
    place.once(**settings)


def traces_of_key(place: Place) -> list[int]:
    """What is left of the hashes."""
    with sqlite3.connect(state(place) / "checkpoint.db") as db:
        return [value for (value,) in db.execute("SELECT hash FROM forgotten")]


def proof(place: Place) -> tuple[list[str], list[str]]:
    """What a replay finds."""
    found = reconcile(state(place))
    return found.differences, found.unproven


COUNTED = """
import os, signal, sys
from pathlib import Path
from upswell.state import ledger_directory
from upswell.state.maintenance import erase
from upswell.storage import syscalls
from upswell.state.maintenance.forget import forget

left = int(sys.argv[2])

def counted(call):
    def wrapper(*arguments, **named):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments, **named)
    return wrapper
"""
"""Ends the process before the call whose number is given, of those that are counted."""
