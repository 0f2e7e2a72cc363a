"""The directory that a command is started in: it need not be open to its user, and what lies in it is not trusted."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.command import Upswell, clean_environment
from support.inputs import inside, write_inputs


@pytest.fixture
def upswell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Upswell:
    """The command, within this process."""
    return inside(tmp_path, monkeypatch)


def in_closed(place: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a directory that its user may not enter; root gives up what would let it."""
    (place / "closed").mkdir(exist_ok=True)
    (place / "closed").chmod(0o700)
    # As from any installed script, the directory is no place for modules.
    command = [sys.executable, "-P", "-m", "upswell", *words]
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root enters every directory, and there is no setpriv")
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]
    return subprocess.run(
        ["sh", "-c", 'chmod 0 . && exec "$@"', "sh", *command],
        capture_output=True,
        text=True,
        check=False,
        cwd=place / "closed",
        env=clean_environment() | more,
    )


def test_every_command_works_where_its_user_may_not_enter(tmp_path: Path) -> None:
    """``sudo -u upswell`` in /root: ./upswell.toml counts as absent."""
    paths = [str(tmp_path / name) for name in write_inputs(tmp_path)]
    where = ["--output", paths[3]]
    for words in (
        [*paths, "--once", "--settle-s", "0"],
        ["check", *paths],
        ["status", *where, "--json"],
        ["sent", *where],
        ["rejects", *where],
        ["history", *where],
        ["explain", "0126545098", *where],
        ["whatif", "--rules", paths[2], *where],
        ["effect", *where],
        ["reconcile", *where],
        ["state", "verify", *where],
        ["state", "backup", str(tmp_path / "copy"), *where],
        ["generate", "rules", str(tmp_path / "generated")],
    ):
        done = in_closed(tmp_path, *words)
        assert 0 == done.returncode, (words, done.stderr)


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["status", "--config", "upswell.toml"], 66, "cannot read upswell.toml: Permission denied"),
        (
            ["check", "--config", "x/upswell.toml"],
            66,
            "cannot read x/upswell.toml: Permission denied",
        ),
        (["data", "segment", "rules", "out", "--once"], 66, "rules: Permission denied"),
    ],
)
def test_a_path_in_it_that_is_named_is_an_error(
    tmp_path: Path, words: list[str], code: int, told: str
) -> None:
    """Only what nobody asked for may be absent."""
    done = in_closed(tmp_path, *words)

    assert (code, True) == (done.returncode, told in done.stderr), done.stderr


def test_a_settings_file_in_a_variable_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    """As with --config."""
    done = in_closed(tmp_path, "status", UPSWELL_CONFIG="upswell.toml")

    assert 66 == done.returncode
    assert "cannot read upswell.toml" in done.stderr


def test_a_settings_file_that_is_found_is_named(upswell: Upswell, tmp_path: Path) -> None:
    """In the log output and by check; one that was asked for is no surprise."""
    paths = write_inputs(tmp_path)
    (tmp_path / "upswell.toml").write_text("settle_s = 0\n")
    file = str(tmp_path / "upswell.toml")

    assert file in upswell(*paths, "--once").stderr
    found = json.loads(upswell("check", *paths, "--json").stdout)["findings"]
    assert file in [one["where"] for one in found]
    assert file not in upswell(*paths, "--once", "--config", "upswell.toml").stderr


@pytest.mark.parametrize("mode", [0o666, 0o602, 0o646])
def test_a_settings_file_that_others_may_write_is_refused(
    upswell: Upswell, tmp_path: Path, mode: int
) -> None:
    """They would choose where notifications go; named with --config it is taken."""
    paths = write_inputs(tmp_path)
    (tmp_path / "upswell.toml").write_text("settle_s = 0\n")
    (tmp_path / "upswell.toml").chmod(mode)

    told = upswell(*paths, "--once", code=78).stderr
    assert f"upswell.toml may be written by other users (mode {mode:04o})" in told
    assert "pass --config upswell.toml" in told
    assert "may be written" in upswell("status", "--output", "out", code=78).stderr
    upswell(*paths, "--once", "--config", "upswell.toml")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("link", [False, True])
def test_a_settings_file_of_another_user_is_refused(
    upswell: Upswell, tmp_path: Path, link: bool
) -> None:
    """Also a link of theirs to a file of ours; the group's own right to write counts only for another group."""
    paths = write_inputs(tmp_path)
    file = tmp_path / "upswell.toml"
    if link:
        (tmp_path / "ours.toml").write_text("settle_s = 0\n")
        file.symlink_to("ours.toml")
    else:
        file.write_text("settle_s = 0\n")
    os.chown(file, 12345, -1, follow_symlinks=False)
    assert "belongs to another user (uid 12345)" in upswell(*paths, "--once", code=78).stderr

    os.chown(file, 0, os.getegid(), follow_symlinks=False)
    file.chmod(0o664)
    upswell(*paths, "--once")
    os.chown(file, 0, 12345)
    assert "may be written by other users" in upswell(*paths, "--once", code=78).stderr
