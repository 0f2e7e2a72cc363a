"""Runs with a past worth telling: random traffic with faults, growth, compressed files and changes of the reference.

Used by the tests of what replays a log. Everything is drawn out of a seed.
"""

import gzip
import random
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from support.engine_runs import DIALS, LONG_AGO_S, Place, record
from upswell.engine import compute
from upswell.kernel import Segment
from upswell.reference.policy import Policy
from upswell.reference.versions import Versions
from upswell.semantics import Specification
from upswell.state.codec import row_checksum
from upswell.state.reader import StateReader

DAYS = ("20200417", "20200418")
ODD = (
    b"\n",
    b"x,1\n",
    b"msisdn,service\n",
    b"0100000000,1,5,20200417100000\n",
    b"+01000000001,1,50,20200417100000\r\n",
    b'"01000000002","3","90","20200417230000"\n',
    b"01000000003,1,5x,20200417100000\n",
    b"01000000004 ,1,50,20200417100000\n",
    b"01000000005,1,50,20200430100000\n",
    b"901000000006,1,50,20200417100000\n",
    b"01000000007" + b"9" * 5000 + b"\n",
    b"01000000008,1,50,20200410100000\n",
)
RULES = (
    b"1,Twitter,8,20,147\n2,WhatsApp,9,18,68\n3,Night,22,6,300\n",
    b"1,Twitter,8,20,99\n2,WhatsApp,9,18,120\n3,Night,22,6,300\n4,Twitter,0,24,150\n",
    b"1,Twitter,8,12,60\n1,Twitter,12,20,147\n3,Late night,22,6,200\n",
)


def traffic(generator: random.Random, lines: int) -> bytes:
    """Random records of a day and the next, some of strangers, some of them odd, the last one perhaps unterminated."""
    made = []
    for _ in range(lines):
        dial = generator.choice([*DIALS[:12], "01999999999"])
        moment = (
            f"{generator.choice(DAYS)}{generator.randrange(24):02}{generator.randrange(60):02}00"
        )
        line = f"{dial},{generator.randrange(1, 6)},{generator.randrange(120)},{moment}\n".encode()
        made.append(line if generator.random() > 0.1 else generator.choice(ODD))
    content = b"".join(made)
    return content if generator.random() > 0.3 else content[: -generator.randrange(1, 8)]


def past(place: Place, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some runs, one after another, each over new, grown and compressed files, now and then under other rules.

    Time zones, measure and open days are drawn, too.
    """
    generator = random.Random(seed)
    if generator.random() < 0.5:
        place.settings = replace(
            place.settings,
            measure=generator.choice(["total", "session"]),
            data_timezone="Africa/Cairo",
            rules_timezone=generator.choice(["UTC", "Asia/Tokyo"]),
            keep_days=generator.choice([1, 2, 3]),
        )
    monkeypatch.setenv("UPSWELL_KERNEL_CHUNK_BYTES", str(generator.choice([64, 500, 4000])))
    monkeypatch.setattr(compute, "OUTPUT_BYTES_MAX", generator.choice([200, 1 << 20]))
    grown: dict[str, bytes] = {}
    policies = random.Random(f"policies of {seed}")
    for number in range(generator.randrange(2, 5)):
        for _ in range(generator.randrange(1, 3)):
            minute = generator.randrange(60)
            day = DAYS[min(number // 2, 1)]
            name, content = f"DATA_{day}10{minute:02}.csv", traffic(generator, 80)
            if generator.random() < 0.2 and not (place.data / f"{name}.gz").exists():
                place.write(place.data / f"{name}.gz", gzip.compress(content))
            else:
                mark = b"\xef\xbb\xbf" if generator.random() < 0.3 and name not in grown else b""
                grown[name] = grown.get(name, b"") + mark + content
                place.write(place.data / name, grown[name], LONG_AGO_S + number)
        if generator.random() < 0.5:
            place.write(
                place.root / "rules" / "RULES.csv", generator.choice(RULES), LONG_AGO_S + number
            )
        if generator.random() < 0.3:
            dials = generator.sample(DIALS, 15)
            segment = "\n".join(dials).encode() + b"\n"
            place.write(place.root / "segment" / "SEGMENT.csv", segment, LONG_AGO_S + number)
        place.once(accept_reference=True, **_policies(place, policies, number))
    place.law()


def _policies(place: Place, generator: random.Random, number: int) -> dict[str, object]:
    """Settings that keep records back, in some of the runs."""
    if generator.random() < 0.4:
        return {}
    suppress = place.root / "SUPPRESS.csv"
    dials = generator.sample(DIALS[:12], generator.randrange(1, 4))
    place.write(suppress, "\n".join(dials).encode() + b"\n", LONG_AGO_S + number)
    return {
        "suppress": suppress if generator.random() < 0.6 else None,
        "max_per_customer_per_day": generator.choice([0, 1, 1, 2]),
        "control_share": generator.choice([0.0, 30.0]),
        "control_key": generator.choice(["a key that is long enough", "another one of this sort"]),
    }


def untaught(reader: StateReader) -> Specification:
    """The specification with the state's settings, before it was fed anything."""
    identity = reader.identity()
    return Specification(
        identity.measure,
        identity.keep_days,
        identity.zones,
    )


def kept_back(reader: StateReader, versions: Versions) -> tuple[frozenset[str], Policy]:
    """The suppressed and the policy of a range, for the specification."""
    suppressed = frozenset[str]()
    if versions.suppress:
        dials = Segment.decode(reader.reference("suppress", versions.suppress))
        suppressed = frozenset(dials.sample(len(dials)))
    content = reader.reference("policy", versions.policy) if versions.policy else b""
    return suppressed, Policy.parse(content)


def files(place: Place) -> dict[str, bytes]:
    """Everything in OUTPUT and the state, by path: to see that nothing was written."""
    return {
        str(path.relative_to(place.output)): path.read_bytes()
        for path in sorted(place.output.rglob("*"))
        if path.is_file() and not path.name.endswith(("-shm", "-wal"))
    }


@contextmanager
def database(place: Place) -> Iterator[sqlite3.Connection]:
    """The state's database, for somebody who changes it and knows how rows are checked."""
    db = sqlite3.connect(place.output / ".upswell" / "checkpoint.db")
    db.create_function("row_checksum", -1, lambda *values: row_checksum(*values))
    try:
        with db:
            yield db
    finally:
        db.close()


def state(place: Place) -> Path:
    """The state directory."""
    return place.output / ".upswell"


def nights(place: Place) -> list[int]:
    """A run over seven nights, of which each total hangs on the cap of the night before; the days that they touch."""
    place.write(place.root / "rules" / "RULES.csv", b"1,A,22,6,100\n")
    days = list(range(20260105, 20260113))
    for day in days:
        lines = record(0, 1, 60, "010000", str(day)) + record(0, 1, 60, "230000", str(day))
        place.file(f"{day}2330", lines)
    place.once()
    return days
