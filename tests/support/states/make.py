"""Makes a state as a version of Upswell leaves it, for the tests that a later version goes on from it.

    python tests/support/states/make.py tests/support/states/NAME.tar.gz UPSWELL...

UPSWELL is the command of the version whose state is wanted, such as the path of its pex. A release adds one, made by
what is released. It has all that may be there at a start: files that are done, growing and compressed, rejects,
caps, totals of a window over midnight, and a staged file that a kill has kept from being published.
"""

import gzip
import os
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

LONG_AGO_S = 1_600_000_000
DIALS = [f"010000000{index:02}" for index in range(20)]
RULES = b"1,Twitter,8,20,147\n2,WhatsApp,9,18,68\n3,Night,22,6,120\n"
FIRST, GROWING, PACKED, LAST = (
    f"DATA_20200417{time}.csv" for time in ("1000", "1001", "2230", "2231")
)


def lines(first: int, count: int, time_of_day: str) -> bytes:
    """Records of all services and dials, a reject among them."""
    made = [
        f"{DIALS[n % 20]},{1 + n % 3},{20 + 13 * n % 170},20200417{time_of_day}{n % 60:02}\n"
        for n in range(first, first + count)
    ]
    return "".join([*made, f"oops {first}\n"]).encode()


GROWN = lines(60, 40, "1001")
GROWN_AT = 500
"""Where it ends in the state: within a line."""


def write(path: Path, content: bytes) -> None:
    """A file that has been still for long."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (LONG_AGO_S, LONG_AGO_S))


def make(place: Path, command: list[str]) -> None:
    """Two runs, and a kill after the second one's commit."""
    write(place / "segment" / "SEGMENT.csv", "".join(f"{dial}\n" for dial in DIALS[:15]).encode())
    write(place / "rules" / "RULES.csv", RULES)
    write(place / "data" / FIRST, lines(0, 60, "1000"))
    write(place / "data" / GROWING, GROWN[:GROWN_AT])
    paths = [str(place / name) for name in ("data", "segment", "rules", "out")]
    subprocess.run([*command, *paths, "--once"], check=True)
    write(place / "data" / f"{PACKED}.gz", gzip.compress(lines(100, 60, "2230"), mtime=0))
    subprocess.run([*command, *paths, "--once"], check=True)
    state = place / "out" / ".upswell"
    db = sqlite3.connect(f"file:{state / 'checkpoint.db'}?mode=ro", uri=True)
    sql = (
        "SELECT batch, application, stamp, directory FROM staged JOIN batch ON number = batch"
        " JOIN application ON id = application ORDER BY batch DESC LIMIT 1"
    )
    ((batch, application, stamp, directory),) = db.execute(sql)
    db.close()
    published = place / "out" / directory / f"NOTIFY_{batch:010d}_{stamp}.csv"
    published.rename(state / "staging" / f"{batch:010d}_{application}_{stamp}.csv")
    for leftover in state.glob("checkpoint.db-*"):
        leftover.unlink()


def main() -> None:
    """Make it, and pack it without anybody's name."""
    target, *command = sys.argv[1:]

    def nobody(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        return member

    with tempfile.TemporaryDirectory() as place, tarfile.open(target, "w:gz") as packed:
        make(Path(place), command)
        packed.add(place, "upswell", filter=nobody)


if __name__ == "__main__":
    main()
