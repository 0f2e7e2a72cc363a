"""Who may read what is made: exact modes under every umask, and the group that was asked for."""

import grp
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import product
from pathlib import Path

import pytest

from support.child import each, run
from support.command import clean_environment
from support.inputs import write_inputs
from support.trust import Trust

UMASKS = (0o000, 0o022, 0o077, 0o777)
ENDINGS = ("once", "killed and started again", "looked at while it runs", "adopted")
OPTIONS = ((), ("--output-mode", "0604"), ("--state", "state"), ("--output-mode", "0660"))
CASES = list(product(UMASKS, ENDINGS, OPTIONS))
OWN = {"out/.upswell", "out/.upswell/staging", "out/.upswell/rejects", "state", "state/rejects"}


def expected_mode(path: str, options: Sequence[str]) -> int:
    """What docs/operations.md says."""
    if path in OWN:
        return 0o700
    if path == "out":
        return 0o750
    if path == "out/Twitter":
        return 0o770 if "0660" in options else 0o750
    if path.startswith("out/Twitter/"):
        return int(options[1], 8) if "--output-mode" in options else 0o640
    return 0o600


def modes(place: Path) -> Iterator[tuple[str, int]]:
    """Every path that a run made, with its mode."""
    for top in ("out", "state"):
        for path in [place / top, *(place / top).rglob("*")]:
            if path.exists():
                yield str(path.relative_to(place)), stat.S_IMODE(path.lstat().st_mode)


def attempt(root: Path, case: tuple[int, str, tuple[str, ...]]) -> Iterator[str]:
    """Make all that there is to make, and compare modes while and after."""
    umask, ending, options = case
    place = root / str(CASES.index(case))
    paths = write_inputs(place)
    where = ("--state", "state") if "--state" in options else ("--output", "out")
    go = partial(run, cwd=place, umask=umask)
    seen: dict[str, int] = {}

    def look(process: int) -> None:
        while not list(place.glob("out/Twitter/NOTIFY*")) and _alive(process):
            time.sleep(0.005)
        assert 0 == go("status", *where).code
        seen.update(modes(place))
        os.kill(process, 9 if ending.startswith("killed") else 15)

    if ending in ("once", "adopted"):
        done = [go(*paths, "--once", "--settle-s", "0", *options)]
    else:
        done = [go(*paths, "--settle-s", "0", "--poll-s", "0.05", *options, during=look)]
    if ending.startswith("killed"):
        done = [go(*paths, "--once", "--settle-s", "0", *options)]
    if ending == "adopted":
        done.append(go(*paths, "--once", "--settle-s", "0", "--state", "state", "--adopt"))
    done.append(go("check", *paths, *options))
    yield from (f"exit code {ended.code}: {ended.err!r}" for ended in done if ended.code)
    seen.update(modes(place))
    if len([path for path in seen if "NOTIFY" in path]) < 1 or len(seen) < 9:
        yield f"little was made: {sorted(seen)}"
    for path, mode in seen.items():
        if expected_mode(path, options) != mode:
            yield f"{path} is {mode:04o}, not {expected_mode(path, options):04o}"


def _alive(process: int) -> bool:
    return os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


@pytest.mark.trust("S5")
def test_modes_are_exact(trust: Trust, tmp_path: Path) -> None:
    """Every directory and file that a run, a restart after a kill, an adoption, or a look beside it makes has the mode
    that the manual says, whatever the umask.
    """
    trust(
        CASES, partial(each, partial(attempt, tmp_path)), case="umasks, ways and options", sample=8
    )


def test_a_umask_that_closes_all_does_not_keep_the_maker_out(tmp_path: Path) -> None:
    """Under umask 0777 a new directory is closed to its own maker, too: it is opened before it is needed."""
    as_others = (
        ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    )
    done = subprocess.run(
        [*as_others, sys.executable, "-m", "upswell", *write_inputs(tmp_path), "--once", "--settle-s", "0"],
        cwd=tmp_path, umask=0o777, env=clean_environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert 0 == done.returncode, done.stderr
    assert [] == [path for path, mode in modes(tmp_path) if expected_mode(path, ()) != mode]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files to any group")
def test_the_group_is_the_one_that_was_asked_for(tmp_path: Path) -> None:
    """OUTPUT, its directories and its files belong to it, and nothing of the state does."""
    group = next(one for one in grp.getgrall() if one.gr_gid not in (os.getgid(), 0))
    ended = run(
        *write_inputs(tmp_path), "--once", "--settle-s", "0", "--output-group", group.gr_name,
        cwd=tmp_path,
    )  # fmt: skip
    assert 0 == ended.code, ended.err
    groups = {path: (tmp_path / path).lstat().st_gid == group.gr_gid for path, _ in modes(tmp_path)}

    assert {path: path.startswith("out") and ".upswell" not in path for path in groups} == groups


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
@pytest.mark.parametrize(("mode", "taken"), [("0660", True), ("0640", False), ("0664", True)])
def test_consumer_of_the_group_takes_files_away_when_it_may_write_them(
    tmp_path: Path, mode: str, taken: bool
) -> None:
    """A member of output_group removes a file where the files' mode has the group's write bit, and nowhere else."""
    group = next(one for one in grp.getgrall() if one.gr_gid not in (os.getgid(), 0))
    options = ("--once", "--settle-s", "0", "--output-group", group.gr_name, "--output-mode", mode)
    assert 0 == run(*write_inputs(tmp_path), *options, cwd=tmp_path).code
    for parent in (tmp_path, *tmp_path.parents):
        if parent != Path("/") and str(parent).startswith("/tmp/pytest"):
            parent.chmod(0o755)
    [file] = (tmp_path / "out" / "Twitter").iterdir()
    as_member = ["setpriv", "--reuid", "54321", "--regid", str(group.gr_gid), "--clear-groups"]
    done = subprocess.run([*as_member, "rm", "-f", str(file)], capture_output=True, check=False)

    assert taken == (done.returncode == 0)
    assert taken != file.exists()
    assert 0o750 == stat.S_IMODE((tmp_path / "out").stat().st_mode)


def test_what_generate_makes_follows_the_umask(tmp_path: Path) -> None:
    """Its msisdns are made up, so that nobody needs to be kept from them."""
    for umask, file, directory in ((0o022, 0o644, 0o755), (0o077, 0o600, 0o700)):
        place = tmp_path / f"{umask:o}"
        ended = run("generate", "rules", str(place), cwd=tmp_path, umask=umask)

        assert 0 == ended.code, ended.err
        assert {file} == {stat.S_IMODE(path.stat().st_mode) for path in place.iterdir()}
        assert directory == stat.S_IMODE(place.stat().st_mode)
