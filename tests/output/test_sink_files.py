"""OUTPUT: what appears there, with which mode, and what is refused."""

import fcntl
import grp
import os
import stat
from pathlib import Path

import pytest

from support.batches import World, expected_output, made, published, refused
from support.faults.limits import bound_by_modes, in_a_namespace
from upswell.errors import Locked, OutputUnwritable, StorageError
from upswell.output.names import (
    OutputMark,
    Staged,
    begun_name,
    parse_begun,
    parse_output_mark,
    parse_published,
    parse_rejects,
    parse_staged,
    rejects_name,
)
from upswell.output.reject_files import Expiry, Rejects
from upswell.output.sink import Sink
from upswell.storage import syscalls
from upswell.storage.files import create_file, directory, read_file

STAMP = "202004171937"
OUTPUTS = [(1, "Twitter", b"a\n"), (2, "Whats App/", b"b\nc\n")]


@pytest.fixture
def sink(tmp_path):
    """A new OUTPUT."""
    with Sink.open(tmp_path / "out") as opened:
        yield opened


def test_nothing_shows_before_it_is_published(sink):
    """Staged files lie where no consumer looks; publishing moves them, complete."""
    staged = sink.stage(7, STAMP, OUTPUTS)
    assert {} == published(sink.output)
    assert [one.staged_name for one in staged] == sink.staged_names()
    assert all(sink.is_whole(one) for one in staged)
    sink.publish(staged)
    assert {"Twitter": b"a\n", "Whats App%2F": b"b\nc\n"} == published(sink.output)
    assert [] == sink.staged_names()
    name = f"NOTIFY_0000000007_{STAMP}.csv"
    assert [("Twitter", name, 7, STAMP), ("Whats App%2F", name, 7, STAMP)] == sink.published()
    assert b"b\nc\n" == sink.read(sink.published()[1])
    assert 7 == sink.begun


def test_begun_mark_outlives_what_was_published(tmp_path):
    """A consumer may take every file: the highest batch is still known."""
    with Sink.open(tmp_path / "out") as sink:
        for batch in (3, 4):
            sink.publish(sink.stage(batch, STAMP, OUTPUTS))
        for one in sink.published():
            (sink.output / one.directory / one.name).unlink()
    with Sink.open(tmp_path / "out") as sink:
        assert 4 == sink.begun
        assert [] == sink.published()


def test_move_that_fails_shows_nothing(sink):
    """A file is staged or published, never both: a consumer that took it would get it again."""
    staged = sink.stage(1, STAMP, OUTPUTS)
    staging = sink.output / ".upswell/staging"
    (sink.output / "Twitter").mkdir()
    staging.chmod(0o500)
    with bound_by_modes(), refused(StorageError, "Permission denied"):
        sink.publish(staged)
    staging.chmod(0o700)
    assert b"" == published(sink.output)["Twitter"]
    sink.publish(staged)
    assert [] == sink.staged_names()


def test_name_of_same_content_was_published(sink):
    """A staged file whose target holds the same bytes is dropped, not sent again."""
    staged = sink.stage(1, STAMP, OUTPUTS)
    sink.publish(staged)
    sink.stage(1, STAMP, OUTPUTS)
    sink.publish(staged)
    assert 2 == len(sink.published())
    assert [] == sink.staged_names()


def test_other_content_is_never_overwritten(sink):
    """A target with other bytes stops the run, and both files stay."""
    staged = sink.stage(1, STAMP, OUTPUTS)
    place = sink.output / "Twitter"
    place.mkdir()
    (place / staged[0].published_name).write_bytes(b"theirs\n")
    with refused(StorageError, "is not overwritten"):
        sink.publish(staged)
    assert b"theirs\n" == (place / staged[0].published_name).read_bytes()
    assert staged[0].staged_name in sink.staged_names()


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_modes_hold_whatever_the_umask(tmp_path, umask):
    """Directories 0750, files as configured, our own 0700."""
    old = os.umask(umask)
    try:
        with Sink.open(tmp_path / "out", mode=0o604, group=str(os.getgid())) as sink:
            sink.publish(sink.stage(1, STAMP, OUTPUTS))
            sink.stage(2, STAMP, OUTPUTS)
        modes = {
            str(path.relative_to(tmp_path)): stat.S_IMODE(path.stat().st_mode)
            for path in tmp_path.rglob("*")
        }
    finally:
        os.umask(old)
    name = f"NOTIFY_0000000001_{STAMP}.csv"
    assert 0o750 == modes["out"] == modes["out/Twitter"]
    assert 0o604 == modes[f"out/Twitter/{name}"]
    assert 0o700 == modes["out/.upswell"] == modes["out/.upswell/staging"]
    assert 0o600 == modes["out/.upswell/output.id"] == modes["out/.upswell/output.lock"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files to any group")
def test_group_owns_what_consumers_read(tmp_path):
    """The group of OUTPUT's directories and files is the configured one."""
    group = next(one for one in grp.getgrall() if one.gr_gid not in (os.getgid(), 0))
    with Sink.open(tmp_path / "out", group=group.gr_name) as sink:
        sink.publish(sink.stage(1, STAMP, OUTPUTS))
        paths = [sink.output, *sink.output.glob("Twitter"), *sink.output.glob("Twitter/*")]
    assert 3 == len(paths)
    assert {group.gr_gid} == {path.stat().st_gid for path in paths}


def test_output_needs_its_parent(tmp_path):
    """Only the last directory is made; the message names the path and the reason."""
    with refused(OutputUnwritable, r"a/b: No such file"):
        Sink.open(tmp_path / "a" / "b")
    (tmp_path / "file").write_text("")
    with refused(OutputUnwritable, "Not a directory"):
        Sink.open(tmp_path / "file")


def test_output_keeps_its_identity(tmp_path):
    """The identity is made once; a damaged one is refused, not replaced."""
    with Sink.open(tmp_path / "out") as sink:
        first = sink.identity
    with Sink.open(tmp_path / "out") as sink:
        assert first == sink.identity
    (tmp_path / "out/.upswell/output.id").write_text("nonsense")
    with refused(OutputUnwritable, r"output\.id"):
        Sink.open(tmp_path / "out")


def test_second_run_on_an_output_is_refused(tmp_path):
    """Two states cannot write to one OUTPUT at a time."""
    held = Sink.open(tmp_path / "out")
    with refused(Locked, f"OUTPUT .*/out: process {os.getpid()}"):
        Sink.open(tmp_path / "out")
    held.close()
    Sink.open(tmp_path / "out").close()


def test_unwritable_output_is_found_at_start(tmp_path):
    """A file system mounted read-only is refused before anything is read."""
    done = in_a_namespace(
        tmp_path,
        "mount -t tmpfs none $1 && mkdir $1/out && mount -o remount,ro $1",
        "from upswell.output.sink import Sink; from pathlib import Path; import sys\n"
        "from upswell.errors import OutputUnwritable\n"
        "try: Sink.open(Path(sys.argv[1]) / 'out')\n"
        "except OutputUnwritable as error: print(error)",
    )
    assert "Read-only file system" in done


def test_directory_on_another_file_system_is_refused(tmp_path):
    """A mount in an application's place, of the same or another device, would break the one-step move."""
    done = in_a_namespace(
        tmp_path,
        "mkdir -p $1/out/Other $1/out/Same $1/from && mount -t tmpfs none $1/out/Other"
        " && mount --bind $1/from $1/out/Same",
        "from upswell.output.sink import Sink; from pathlib import Path; import sys\n"
        "from upswell.errors import OutputUnwritable\n"
        "sink = Sink.open(Path(sys.argv[1]) / 'out')\n"
        "for name in ('Other', 'Same'):\n"
        "    try: sink.check_directories([name])\n"
        "    except OutputUnwritable as error: print(error)",
    )
    for name in ("Other", "Same"):
        assert f"/out/{name} cannot be used: it is on another file system, so files cannot" in done


def test_links_are_not_followed(tmp_path):
    """A link in the place of an application's directory, or of our own, is refused; nothing goes through it."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with Sink.open(tmp_path / "out") as sink:
        (sink.output / "Twitter").symlink_to(elsewhere)
        (sink.output / "File").touch()
        for name, reason in (("Twitter", "is a link"), ("File", "not a directory")):
            with refused(OutputUnwritable, reason):
                sink.check_directories(["Fine", name])
        with refused(StorageError):
            sink.publish(sink.stage(1, STAMP, OUTPUTS))
    assert [] == list(elsewhere.iterdir())
    own = tmp_path / "out/.upswell/staging"
    own.rename(tmp_path / "staging")
    own.symlink_to(tmp_path / "staging")
    with refused(OutputUnwritable):
        Sink.open(tmp_path / "out")


def test_directory_of_another_user_is_refused(sink):
    """An application's directory that may not be written to is found before it is needed."""
    (sink.output / "Twitter").mkdir(0o500)
    with bound_by_modes(), refused(OutputUnwritable, "may not write"):
        sink.check_directories(["Twitter"])


def test_directory_may_come_and_go(sink):
    """A consumer that removes an empty directory gets it made again, with its mode."""
    for batch in (1, 2):
        sink.publish(sink.stage(batch, STAMP, OUTPUTS[:1]))
        (one,) = sink.published()
        (sink.output / one.directory / one.name).unlink()
        assert 0o750 == stat.S_IMODE((sink.output / "Twitter").stat().st_mode)
        (sink.output / "Twitter").rmdir()


def test_many_applications_are_published(sink):
    """More directories than are held open at once."""
    outputs = [(number, f"app {number}", b"x\n") for number in range(150)]
    sink.publish(sink.stage(1, STAMP, outputs))
    assert 150 == len(sink.published())


def test_damaged_staged_file_is_seen_and_replaced(sink):
    """Length and digest are checked, and a new content takes the place in one step."""
    (one,) = sink.stage(1, STAMP, OUTPUTS[:1])
    path = sink.output / ".upswell/staging" / one.staged_name
    for damage in (b"", b"b\n", b"a\n\n"):
        path.write_bytes(damage)
        assert not sink.is_whole(one)
    sink.rebuild(one, b"a\n")
    assert sink.is_whole(one)
    assert 0o640 == stat.S_IMODE(path.stat().st_mode)
    path.rename(sink.output / "whole")
    for target in (sink.output / "whole", "2b"):  # the same content, and a link of the same length
        path.unlink(missing_ok=True)
        path.symlink_to(target)
        assert not sink.is_whole(one)


def test_rejects_are_private_and_removed_without_a_commit(tmp_path):
    """A batch without rejects has no file; those after the last commit go."""
    rejects = Rejects(tmp_path)
    assert 0 == rejects.remove_after(0)
    rejects.write(1, b"")
    assert not rejects.path.exists()
    for batch in (1, 2, 3):
        rejects.write(batch, b"x\n")
    (rejects.path / "NOTES.txt").touch()
    rejects.write(4, b"x\n")
    assert 3 == rejects.remove_after(1)
    assert ["NOTES.txt", "REJECTS_0000000001.tsv"] == sorted(p.name for p in rejects.path.iterdir())
    assert 0o600 == stat.S_IMODE((rejects.path / "REJECTS_0000000001.tsv").stat().st_mode)
    assert 1 == rejects.remove_after(0)
    assert ["NOTES.txt"] == [path.name for path in rejects.path.iterdir()]


def test_old_rejects_are_removed_a_few_looked_at_at_a_time(tmp_path, monkeypatch):
    """Files go by their age, never one that is younger; a turn looks at its share, and the next one goes on there."""
    monkeypatch.setattr("upswell.output.reject_files.CHECKED_MAX", 2)
    listings, scandir = [], syscalls.scandir
    monkeypatch.setattr(syscalls, "scandir", lambda fd: listings.append(fd) or scandir(fd))
    rejects, day_s, now = Rejects(tmp_path), 86_400, 1_600_000_000.0
    expiry = Expiry(rejects, 3)
    assert 0 == expiry.remove_due(now)
    for batch, age_days in enumerate((9, 8, 7, 4, 2, 1), 1):
        rejects.write(batch, b"x\n")
        os.utime(rejects.path / rejects_name(batch), (now - age_days * day_s,) * 2)
    (rejects.path / "NOTES.txt").touch()
    assert 0 == Expiry(rejects, None).remove_due(now)
    assert 0 == expiry.remove_due(now + 1), "it looked a second ago"
    assert not expiry.is_due
    removed = []
    while not removed or expiry.is_due:
        removed.append(expiry.remove_due(now + 3601))
    assert (4, 4, 1) == (sum(removed), len(removed), len(listings))
    assert 2 >= max(removed)
    assert [rejects_name(5), rejects_name(6)] == sorted(
        p.name for p in rejects.path.glob("REJECTS*")
    )
    os.utime(rejects.path / rejects_name(5), (0, 0))
    assert 0 == expiry.remove_due(now + 3602), "it looked a second ago"
    assert 1 == expiry.remove_due(now - 9 * day_s), "the clock was set back: it looks again"
    assert 1 == Expiry(rejects, 1).remove_due(now + 1)
    assert (rejects.path / "NOTES.txt").exists()


def test_rejects_that_somebody_deletes_meanwhile_are_no_error(tmp_path):
    """Operators may delete reject files, also between a look and its removals."""
    rejects = Rejects(tmp_path)
    assert 0 == rejects.remove_old([rejects_name(1)], 2.0)
    rejects.write(1, b"x\n")
    os.utime(rejects.path / rejects_name(1), (1, 1))
    assert 1 == rejects.remove_old([rejects_name(1), rejects_name(2)], 2.0)


def test_a_rewritten_reject_file_waits_until_it_is_vouched_for(tmp_path):
    """It takes the other's place once the state says so, or goes; at once when nobody has to say it."""
    rejects = Rejects(tmp_path)
    assert [] == list(rejects.contents())
    rejects.write(1, b"one\n")
    (rejects.path / "NOTES.txt").write_bytes(b"mine")

    rejects.rewrite(1, b"", at_once=False)
    rejects.finish(lambda batch, content: (batch, content) != (1, b""))
    assert [(1, b"one\n")] == list(rejects.contents())
    rejects.rewrite(1, b"two\n", at_once=False)
    rejects.finish(lambda batch, content: (batch, content) == (1, b"two\n"))
    assert [(1, b"two\n")] == list(rejects.contents())
    rejects.rewrite(1, b"", at_once=True)
    assert [(1, b"")] == list(rejects.contents())
    assert {"NOTES.txt", "REJECTS_0000000001.tsv"} == {path.name for path in rejects.path.iterdir()}


def test_names_map_back():
    """Every name that is written is understood, and nothing else is."""
    one = Staged(12, 3, STAMP, "Twitter", 0, b"")
    assert (12, 3, STAMP, False) == parse_staged(one.staged_name)
    kept = one._replace(control=True)
    assert (12, 3, STAMP, True) == parse_staged(kept.staged_name)
    assert (12, STAMP) == parse_published(one.published_name)
    assert 12 == parse_begun(begun_name(12))
    assert 12 == parse_rejects(rejects_name(12))
    for mark in (OutputMark(12), OutputMark(12, settled=True)):
        assert mark == parse_output_mark(mark.name)
    for parse in (parse_staged, parse_published, parse_begun, parse_output_mark, parse_rejects):
        for name in ("", "x", one.staged_name + "x", "NOTIFY_١٢_x.csv", one.published_name + "\n"):
            assert parse(name) is None


def test_rename_never_overwrites(tmp_path):
    """The move says that the target is there, and leaves both."""
    with directory(tmp_path) as fd:
        create_file("a", fd, b"a", 0o600)
        create_file("b", fd, b"b", 0o600)
        with pytest.raises(FileExistsError):
            syscalls.rename_new("a", fd, "b", fd)
        syscalls.rename_new("a", fd, "c", fd)
        assert (b"b", b"a") == (read_file("b", fd), read_file("c", fd))


def test_special_files_are_not_read(tmp_path):
    """A pipe in the place of a file is an error, not a wait."""
    os.mkfifo(tmp_path / "pipe")
    with directory(tmp_path) as fd, pytest.raises(OSError, match="not a regular file"):
        read_file("pipe", fd)


def test_descriptors_do_not_reach_other_programs(sink):
    """Nothing of ours, the lock above all, is inherited."""
    for fd in (int(path.name) for path in Path("/proc/self/fd").iterdir()):
        try:
            target = Path(f"/proc/self/fd/{fd}").readlink()
        except FileNotFoundError:
            continue
        if target.is_relative_to(sink.output):
            assert fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC


def test_world_is_what_it_says(tmp_path):
    """The hand-made batches that other tests build on give the output they promise."""
    with World(tmp_path / "out") as world:
        world.committer.recover()
        for number in (1, 2, 3):
            world.committer.commit(made(number))
        assert expected_output((1, 2, 3)) == published(world.output)
