"""What is meant to exhaust memory, disk or time: each run stays small, says what it met, and serves the other files."""

import bz2
import gzip
import io
import json
import lzma
import os
import subprocess
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import pytest

from support.child import Ended, each, run
from support.command import PROFILE
from support.inputs import DIALS, RULES, write, write_inputs
from support.trust import Trust

MIB = 1 << 20
NAME = "DATA_202004171900.csv"
"""What is hostile comes before the file that must be served."""
RELEASE = PROFILE == "slow"
SIZES = "full size" if RELEASE else "small size"
RECORD = b"0126545098,9,1,20200417193743\n"
RUN_MIB = 256  # of memory: a run over small files takes about 60
STATE_MIB = 16  # of disk
REJECTS = ("--rejects-max-bytes-per-file", "1MiB")
TIMEOUT_S = 1800.0 if RELEASE else 300.0  # of what takes seconds on an idle machine


class Case(NamedTuple):
    """Something hostile, how it is made, and what is to come of it."""

    name: str
    make: Callable[[Path, int], object]
    """Given the directory of the inputs and how much of it."""
    sample: int
    """How much in a run of the suite."""
    full: int
    """How much in a release run."""
    state: tuple[str, str] = ("done", "")
    """Of the hostile file, with its reason."""
    code: int = 0
    memory_mib: int = RUN_MIB
    file: str = NAME


def repeat(content: bytes, total: int) -> Iterator[bytes]:
    """Pieces of this content, repeated, of about so many bytes together."""
    piece = content * max(1, MIB // len(content))
    yield from islice(iter(lambda: piece, None), max(1, total // len(piece)))


def plain(content: bytes, place: Path, total: int) -> None:
    """A plain file."""
    pieces(place / "data" / NAME, repeat(content, total))


def packed(content: bytes, place: Path, total: int) -> None:
    """A gzip file of one member."""
    unpacked = repeat(content, total)
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    pieces(
        place / "data" / f"{NAME}.gz",
        (*(packer.compress(each) for each in unpacked), packer.flush()),
    )


def damaged(change: Callable[[bytes], bytes], place: Path, total: int) -> None:
    """A gzip file that was changed afterwards."""
    packed(RECORD, place, total)
    file = place / "data" / f"{NAME}.gz"
    write(file, change(file.read_bytes()))


def members(member: bytes, place: Path, count: int) -> None:
    """A gzip file of many members."""
    pieces(place / "data" / f"{NAME}.gz", repeat(member, count * len(member)))


def header(flag: int, rest: bytes, end: bytes = b"") -> bytes:
    """The beginning of a gzip file with such a field in its header."""
    return b"\x1f\x8b\x08" + bytes([flag]) + bytes(6) + rest + end


def headed(flag: int, place: Path, total: int) -> None:
    """A gzip file whose name or comment never ends."""
    pieces(place / "data" / f"{NAME}.gz", [header(flag, b"n" * total)])


def other(content: bytes, place: Path, _: int) -> None:
    """Another compression under a plain name."""
    write(place / "data" / NAME, content)


def sparse(path: str, place: Path, total: int) -> None:
    """A file that takes no disk, but is read as zeros without end."""
    pieces(place / path, [])
    os.truncate(place / path, total)
    os.utime(place / path, (1, 1))


def many_rules(place: Path, count: int) -> None:
    """As many rules as there are services."""
    rows = (f"{10 + n},Application {n % 500},0,24,{n}\n".encode() for n in range(count))
    pieces(place / "rules" / "RULES.csv", (RULES.encode(), b"".join(rows)))


def many_bad_rules(place: Path, count: int) -> None:
    """As many lines that are no rule."""
    pieces(
        place / "rules" / "RULES.csv",
        (RULES.encode(), b"".join(b"1,Other %d,0,24,1\n" % n for n in range(count))),
    )


def many_dials(place: Path, count: int) -> None:
    """A large segment."""
    rows = (
        b"".join(b"07%08d\n" % n for n in range(at, min(at + 10_000, count)))
        for at in range(0, count, 10_000)
    )
    pieces(place / "segment" / "SEGMENT.csv", (*[f"{dial}\n".encode() for dial in DIALS], *rows))


def many_files(name: str, place: Path, count: int) -> None:
    """As many names in DATA."""
    for number in range(count):
        day, minute = divmod(number, 1440)
        stamp = f"2020{day // 28 % 3 + 1:02}{day % 28 + 1:02}{minute // 60:02}{minute % 60:02}"
        write(
            place / "data" / name.format(stamp=stamp, number=number), RECORD[:-1] + b"%d\n" % number
        )


def deep(place: Path, depth: int) -> None:
    """Directories in directories."""
    here = os.open(place / "data", os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=here)
        here, above = os.open("d", os.O_RDONLY, dir_fd=here), here
        os.close(above)
    os.close(here)


def pieces(path: Path, content: Iterable[bytes]) -> None:
    """Write a file piece by piece, and let it be old."""
    with path.open("wb") as stream:
        stream.writelines(content)
    os.utime(path, (1, 1))


def zipped() -> bytes:
    """A zip file of zeros."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x", bytes(MIB))
    return buffer.getvalue()


GZ = f"{NAME}.gz"
REFUSED = ("done", "refused")
"""Of a file that has lines and no record."""
TWICE = gzip.compress(gzip.compress(bytes(MIB)))
BROKEN = ("held", "broken")
COMPRESSED = ("held", "compressed")
LONG = header(4, (65535).to_bytes(2, "little") + bytes(65535)) + gzip.compress(RECORD)[10:]
BOMBS = (
    Case("gzip of zeros", partial(packed, bytes(MIB)), 64 * MIB, 4096 * MIB, REFUSED, file=GZ),
    Case("gzip of newlines", partial(packed, b"\n"), 32 * MIB, 2048 * MIB, file=GZ),
    Case("gzip of one record over and over", partial(packed, RECORD), 32 * MIB, 2048 * MIB, file=GZ),
    Case("gzip in gzip in gzip", partial(packed, TWICE), MIB, 64 * MIB, REFUSED, file=GZ),
    Case("gzip of empty members", partial(members, gzip.compress(b"")), 50_000, 5_000_000, file=GZ),
    Case("gzip of members with the longest extra field", partial(members, LONG), 200, 5_000, file=GZ),
    Case("gzip that was cut", partial(damaged, lambda data: data[:-5]), MIB, 64 * MIB, BROKEN, file=GZ),
    Case("gzip of a wrong sum", partial(damaged, lambda data: data[:-8] + bytes(8)), MIB, 64 * MIB, BROKEN, file=GZ),
    Case("gzip and more behind it", partial(damaged, lambda data: data + b"x" * MIB), MIB, 64 * MIB, BROKEN, file=GZ),
    Case("gzip with a name without end", partial(headed, 8), 16 * MIB, 1024 * MIB, BROKEN, file=GZ),
    Case("gzip with a comment without end", partial(headed, 16), 16 * MIB, 1024 * MIB, BROKEN, file=GZ),
    Case("zip under a plain name", partial(other, zipped()), 1, 1, COMPRESSED),
    Case("xz under a plain name", partial(other, lzma.compress(bytes(MIB))), 1, 1, COMPRESSED),
    Case("bzip2 under a plain name", partial(other, bz2.compress(bytes(MIB))), 1, 1, COMPRESSED),
    Case("zstd under a plain name", partial(other, b"\x28\xb5\x2f\xfd" + bytes(99)), 1, 1, COMPRESSED),
    Case("gzip under a plain name", partial(other, gzip.compress(bytes(MIB))), 1, 1, COMPRESSED),
)  # fmt: skip
MASSES = (
    Case("sparse file of a terabyte", partial(sparse, f"data/{NAME}"), 1 << 40, 1 << 40, ("held", "too_large")),
    Case("sparse file", partial(sparse, f"data/{NAME}"), 64 * MIB, 32 << 30, ("held", "hole")),
    Case("one line", partial(plain, b"x"), 32 * MIB, 1024 * MIB, REFUSED),
    Case("one line of commas", partial(plain, b","), 32 * MIB, 1024 * MIB, REFUSED),
    Case("one quoted field", partial(plain, b'"'), 32 * MIB, 1024 * MIB, REFUSED),
    Case("lines of one byte", partial(plain, b"x\n"), 8 * MIB, 512 * MIB, REFUSED),
    Case("lines of no byte", partial(plain, b"\n"), 32 * MIB, 1024 * MIB),
    Case("lines as long as may be", partial(plain, b"x" * 4096 + b"\n"), 32 * MIB, 1024 * MIB, REFUSED),
    Case("rules", many_rules, 5_000, 1_000_000, memory_mib=1500, file=""),
    Case("lines of RULES that are no rule", many_bad_rules, 20_000, 1_000_000, memory_mib=1500, file=""),
    Case("dials", many_dials, 200_000, 10_000_000, memory_mib=800, file=""),
    Case("RULES of a terabyte", partial(sparse, "rules/RULES.csv"), 1 << 40, 1 << 40, code=78),
    Case("SEGMENT of a terabyte", partial(sparse, "segment/SEGMENT.csv"), 1 << 40, 1 << 40, code=78),
    Case("files", partial(many_files, "DATA_{stamp}.csv"), 500, 100_000, file=""),
    Case("names that are ignored", partial(many_files, "{number}.part"), 1000, 100_000, file=""),
    Case("directories in directories", deep, 500, 20_000, ("ignored", "name"), file="d"),
)  # fmt: skip


def attempt(root: Path, case: Case) -> Iterator[str]:
    """A run over the hostile thing, and what it cost."""
    place = root / case.name
    records = f"{DIALS[0]},1,500,20200417193743\n"
    paths = write_inputs(place, records)
    case.make(place, case.full if RELEASE else case.sample)
    ended = run(
        *paths, "--once", "--settle-s", "0", *REJECTS, cwd=place, measure=True, timeout_s=TIMEOUT_S
    )  # fmt: skip
    if case.code != ended.code:
        yield f"exit code {ended.code}: {ended.err[-600:]!r}"
        return
    yield from _costs(place, ended, case)
    if case.code:
        if b"MiB" not in ended.err:
            yield f"no clear words: {ended.err!r}"
        return
    status = run("status", "--output", "out", "--json", "--files", cwd=place, measure=True)
    if status.peak_mib > case.memory_mib:
        yield f"status took {status.peak_mib:.0f} MiB"
    found = json.loads(status.out)
    rows = {row["name"]: (row["state"], row["reason"]) for row in found["file_list"]}
    if case.file and rows[case.file] != case.state:
        yield f"it is {rows[case.file]}"
    if 1 != found["notifications"].get("Twitter"):
        yield f"the other file was not served: {found['outcomes']}"
    subprocess.run(["rm", "-r", place], check=True)  # which, other than shutil, goes to any depth


def _costs(place: Path, ended: Ended, case: Case) -> Iterator[str]:
    if ended.peak_mib > case.memory_mib:
        yield f"took {ended.peak_mib:.0f} MiB of memory"
    if len(ended.err) > MIB:
        yield f"told {len(ended.err):,} bytes"
    # The state keeps the versions of SEGMENT and RULES; one that was refused is in no state.
    kept = [*(place / "segment").iterdir(), *(place / "rules").iterdir()] if not ended.code else []
    allowed = STATE_MIB * MIB + sum(path.stat().st_size for path in kept)
    disk = sum(path.stat().st_blocks * 512 for path in (place / "out").rglob("*"))
    if disk > allowed:
        yield f"took {disk // MIB} MiB of disk"


@pytest.mark.trust("S7")
def test_no_bomb_bursts_a_run(trust: Trust, tmp_path: Path) -> None:
    """Compressed files that are damaged, endless or something else than they say cost a run bounded memory and disk;
    their state says what they are, and the other files are served.
    """
    trust(
        BOMBS,
        partial(each, partial(attempt, tmp_path)),
        case=f"bombs of {SIZES}",
        sample=len(BOMBS),
        chunk=1,
    )


@pytest.mark.trust("S8")
def test_no_mass_bursts_a_run(trust: Trust, tmp_path: Path) -> None:
    """Endless lines, files, names, rules and dials cost a run bounded memory, disk and words; what is too large is
    refused or held, and the other files are served.
    """
    trust(
        MASSES,
        partial(each, partial(attempt, tmp_path)),
        case=f"masses of {SIZES}",
        sample=len(MASSES),
        chunk=1,
    )
