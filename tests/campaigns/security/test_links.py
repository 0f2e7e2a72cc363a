"""Links, pipes, devices and the like, wherever a stranger could put one: none is followed, none holds up a run."""

import json
import os
import shutil
import socket
import stat
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from support import law
from support.child import each, run
from support.inputs import RULES, write, write_inputs
from support.trust import Trust

SECRET = b"0128419091,1,999999,20200417193743\n"
"""What a link leads to: a record that would be sent to OUTPUT if it was followed."""
DATA_NAME = "DATA_202004171936.csv"
HANGS_S = 40.0  # a hundred times what a run takes


def _socket(path: Path, _: Path) -> None:
    # The name of a socket may have 108 bytes: it is made where names are short, and moved.
    short = Path(f"/tmp/{os.getpid()}-{id(path)}")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(short))
    shutil.move(short, path)


def _device(major: int, minor: int, kind: int, path: Path, _: Path) -> None:
    try:
        os.mknod(path, kind | 0o666, os.makedev(major, minor))
    except PermissionError:  # only root makes devices: a link to one is as near as others get
        path.symlink_to("/dev/zero")


KINDS: dict[str, Callable[[Path, Path], object]] = {
    "link to a file": lambda path, secret: path.symlink_to(secret),
    "link to a directory": lambda path, secret: path.symlink_to(secret.parent),
    "link to nothing": lambda path, secret: path.symlink_to(secret.parent / "nothing"),
    "link to itself": lambda path, _: path.symlink_to(path),
    "link to a device": lambda path, _: path.symlink_to("/dev/zero"),
    "link into /proc": lambda path, _: path.symlink_to("/proc/self/environ"),
    "link to a descriptor": lambda path, _: path.symlink_to("/dev/stdin"),
    "pipe": lambda path, _: os.mkfifo(path),
    "socket": _socket,
    "device without end": partial(_device, 1, 5, stat.S_IFCHR),
    "device without driver": partial(_device, 240, 7, stat.S_IFBLK),
    "directory": lambda path, _: path.mkdir(),
    "hard link": lambda path, secret: path.hardlink_to(secret),
}
"""How to put something at a path, given the file that must not be reached."""


class Place(NamedTuple):
    """Where a thing is put, and what becomes of the run."""

    path: str
    codes: dict[str, int]
    """Exit codes by kind, where they are not that of the place."""
    code: int
    """Of the run, with the path among its words."""
    words: tuple[str, ...] = ()
    """Further arguments."""


FILE, DIRECTORY = {"hard link": 0}, {"directory": 0}
PLACES = (
    Place(f"data/{DATA_NAME}", {}, 0),
    Place("segment/a.csv", FILE, 66),
    Place("rules/a.csv", FILE, 66),
    # A settings file may be a link; what it leads to is no settings here, and is not quoted.
    Place(
        "rules/upswell.toml",
        dict.fromkeys(("hard link", "link to a file", "link into /proc"), 78),
        0,
    ),
    Place("out/Twitter", DIRECTORY, 73),
    Place("out/.upswell", DIRECTORY, 73),
    Place("out/.upswell/staging", DIRECTORY, 73),
    Place("out/.upswell/output.lock", FILE, 73),
    Place("out/.upswell/output.id", {}, 73),
    Place("state/lock", FILE, 74, ("--state", "state")),
    Place("state/checkpoint.db", {}, 74, ("--state", "state")),
    Place("state/checkpoint.db-wal", {"hard link": 0}, 74, ("--state", "state")),
    Place("state/rejects", DIRECTORY, 74, ("--state", "state")),
)
CASES = [(place, kind) for place in PLACES for kind in KINDS]


def attempt(root: Path, case: tuple[Place, str]) -> Iterator[str]:
    """A run with the thing in its place, and another one once it is taken away."""
    place, kind = case
    top = root / str(CASES.index(case))
    paths = write_inputs(top / "in")
    secret = write(top / "elsewhere" / "secret.csv", SECRET)
    secret.chmod(0o644)
    odd = top / "in" / place.path
    odd.parent.mkdir(parents=True, exist_ok=True)
    KINDS[kind](odd, secret)
    words = (*paths, "--once", "--settle-s", "0", *place.words)
    ended = run(*words, cwd=top / "in", timeout_s=HANGS_S)
    expected = place.codes.get(kind, place.code)
    if expected != ended.code:
        yield f"exit code {ended.code}: {ended.err!r}"
    if place.code and expected and place.path.encode() not in ended.err:
        yield f"the words do not name it: {ended.err!r}"
    if kind != "hard link":
        state = stat.S_IMODE(secret.stat().st_mode), secret.read_bytes()
        if (0o644, SECRET) != state or [secret] != list(secret.parent.iterdir()):
            yield f"it was followed: {state}"
        if b"999999" in ended.told:
            yield "what it leads to was told"
    yield from _asked(top / "in", place, kind)
    if place.path == f"data/{DATA_NAME}":
        yield from _status_tells(top / "in", kind)
    if expected:
        shutil.rmtree(odd) if odd.is_dir() and not odd.is_symlink() else odd.unlink(missing_ok=True)
        again = run(*words, cwd=top / "in")
        if again.code:
            yield f"and without it: {again.err!r}"
    yield from _sent(top / "in/out", kind)
    shutil.rmtree(top)


def _asked(place: Path, odd: Place, kind: str) -> Iterator[str]:
    """Those who only look are not held up either."""
    where = ("--state", "state") if odd.words else ("--output", "out")
    for words in (("status", *where), ("check", "data", "segment", "rules", "out", *odd.words)):
        ended = run(*words, cwd=place, timeout_s=HANGS_S)
        if ended.code < 0:
            yield f"{words[0]} hangs"
        if ended.code == 70 or (kind != "hard link" and b"999999" in ended.told):
            yield f"{words[0]}: {ended.told!r}"


def _sent(output: Path, kind: str) -> Iterator[str]:
    """OUTPUT holds what the other files say, and nothing of what a link leads to."""
    sent = b"".join(law.published(output).values())
    if b"0126545098" not in sent:
        yield "the other files were not served"
    if kind != "hard link" and b"999999" in sent:
        yield "what it leads to was sent"


def _status_tells(place: Path, kind: str) -> Iterator[str]:
    found = json.loads(run("status", "--output", "out", "--files", "--json", cwd=place).out)
    (row,) = [row for row in found["file_list"] if row["name"] == DATA_NAME]
    expected = ("done", "") if kind == "hard link" else ("ignored", "not_regular")
    if expected != (row["state"], row["reason"]):
        yield f"status says {row['state']}, {row['reason']}"


@pytest.mark.trust("S2")
def test_nothing_is_followed_and_nothing_hangs(trust: Trust, tmp_path: Path) -> None:
    """A link, pipe, socket, device or directory in the place of a file or directory is never followed and never holds
    up a run: the other files are served, or the start is refused in words that name it and works once it is gone.
    """
    trust(
        CASES, partial(each, partial(attempt, tmp_path)), case="kinds in places", sample=12,
        always=lambda case: (case[0].path, case[1]) in (
            ("state/checkpoint.db", "link to a file"), ("state/lock", "pipe"), ("rules/a.csv", "link to a file"),
        ),
    )  # fmt: skip


def test_a_link_within_rules_is_followed(tmp_path: Path) -> None:
    """A whole version of RULES may be exchanged in one step, as a cluster's config maps are."""
    paths = write_inputs(tmp_path)
    write(tmp_path / "rules" / "..1" / "RULES.csv", RULES)
    (tmp_path / "rules" / "RULES.csv").unlink()
    (tmp_path / "rules" / "..data").symlink_to("..1")
    (tmp_path / "rules" / "RULES.csv").symlink_to("..data/RULES.csv")
    (tmp_path / "linked").symlink_to("rules")

    for rules in ("rules", "linked", "rules/RULES.csv"):
        ended = run(paths[0], paths[1], rules, "out", "--once", "--settle-s", "0", cwd=tmp_path)
        assert 0 == ended.code, ended.err
    assert ["Twitter"] == list(law.published(tmp_path / "out"))


ODD_NAMES = (
    b"DATA_202004171936.csv\n", b"DATA_20200417\n1936.csv", b"DATA_'202004171936'.csv", b'DATA_"202004171936".csv',
    b"DATA_202004171936.csv\xff", b"DATA_\xff\xfe.csv", b"\xc3", b"DATA_202004171936\x1b[2J.csv", b"-rf", b"--once",
    b"DATA_202004171936.csv ", b" DATA_202004171936.csv", b"DATA_202004171936.csv.", b"*", b"$(id)", b"a" * 255,
    b"\xe2\x80\xae.csv", b"DATA_202004171936.csv\r", b"%s%n", b"DATA_\xd9\xa2\xd9\xa0.csv",
)  # fmt: skip


@pytest.mark.trust("S2")
def test_odd_names_are_ignored(trust: Trust, tmp_path: Path) -> None:
    """A file of DATA whose name is none of ours, whatever bytes it is made of, is ignored and told of, and the others
    are served.
    """

    def attempt_names(names: list[bytes]) -> list[str]:
        paths = write_inputs(tmp_path)
        for name in names:
            (tmp_path / "data" / os.fsdecode(name)).write_bytes(SECRET)
        ended = run(*paths, "--once", "--settle-s", "0", cwd=tmp_path)
        assert 0 == ended.code, ended.err
        found = json.loads(run("status", "--output", "out", "--files", "--json", cwd=tmp_path).out)
        ignored = {
            os.fsencode(row["name"]) for row in found["file_list"] if row["state"] == "ignored"
        }
        law.check(tmp_path / "data", tmp_path / "out")
        return [f"{name!r} is not ignored" for name in names if name not in ignored]

    trust(ODD_NAMES, attempt_names, case="names", sample=len(ODD_NAMES))
