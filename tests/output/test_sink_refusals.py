"""What an OUTPUT and its state must not lie on, and how the refusal is told."""

import os
import resource
from pathlib import Path
from types import SimpleNamespace

import pytest

from support import strace
from support.batches import refused
from support.faults.ending import end
from support.faults.limits import bound_by_modes, in_a_namespace, without_descriptors
from upswell.errors import OutputUnwritable, StorageError
from upswell.output.directories import Published, check_directories
from upswell.output.reject_files import Rejects
from upswell.output.sink import Sink
from upswell.storage import syscalls

STAMP = "202004171937"
OUTPUTS = [(1, "A", b"a\n")]

SAY_WHETHER_IT_OPENS = (
    "from upswell.output.sink import Sink; from pathlib import Path; import sys\n"
    "from upswell.errors import OutputUnwritable\n"
    "try: Sink.open(Path(sys.argv[1]) / 'out'); print('opened')\n"
    "except OutputUnwritable as error: print(error)"
)


def opened(output: Path, call: str, about: str, fault: str) -> int:
    """The exit code of opening an OUTPUT whose first call of this name, which is about these files, fails."""
    strace.available()
    point = strace.Point(call, 1, f"{about}) = 0")
    trace = output.with_name("trace")
    return strace.inject(lambda: end(lambda: Sink.open(output).close()), point, fault, trace).code


def test_file_system_that_overwrites_is_refused(tmp_path, capfd):
    """Where a move over an existing file succeeds, "never overwritten" could not be kept: it is tried at each start."""
    place = f"3<{tmp_path}/out/.upswell/staging>"
    code = opened(
        tmp_path / "out", "renameat2", f'{place}, "probe.1", {place}, "probe.2"', "retval=0"
    )
    assert 73 == code
    assert "RENAME_NOREPLACE" in capfd.readouterr().err


@pytest.mark.parametrize(("fault", "expected"), [("ENOSPC", 74), ("EDQUOT", 74), ("EROFS", 73)])
def test_disk_that_is_full_at_a_start_is_a_fault_of_the_disk(tmp_path, fault, expected):
    """A service goes on trying then, and stays down where the place is wrong."""
    place = f"3<{tmp_path}/out/.upswell/staging>"
    about = f'{place}, "probe.1", {place}, "probe.2"'
    assert expected == opened(tmp_path / "out", "renameat2", about, f"error={fault}")


@pytest.mark.parametrize("fault", ["EINVAL", "ENOSYS", "EOPNOTSUPP"])
def test_file_system_that_cannot_move_without_overwriting_is_told(tmp_path, capfd, fault):
    """As FUSE and old file systems answer: the message names what is missing, not an argument."""
    place = f"3<{tmp_path}/out/.upswell/staging>"
    about = f'{place}, "probe.1", {place}, "probe.2"'
    assert 73 == opened(tmp_path / "out", "renameat2", about, f"error={fault}")
    told = capfd.readouterr().err
    assert "does not support renameat2 with RENAME_NOREPLACE" in told
    assert "use a local file system that has it" in told


def test_file_system_without_locks_is_refused(tmp_path, capfd):
    """A lock that cannot be had for another reason than another run is told as what it is."""
    lock = f"3<{tmp_path}/out/.upswell/output.lock>"
    code = opened(tmp_path / "out", "flock", lock, "error=ENOLCK")
    assert 73 == code
    assert "No locks available" in capfd.readouterr().err


def test_c_library_without_the_move_is_refused(tmp_path, monkeypatch):
    """A glibc before 2.28 lacks it, and nothing else will do."""
    monkeypatch.setattr(syscalls, "_libc", SimpleNamespace())
    with refused(OutputUnwritable, "no renameat2"):
        Sink.open(tmp_path / "out")


def test_output_has_its_mode_from_the_first_moment(tmp_path):
    """Killed right after it was made, OUTPUT is open to its consumers all the same, whatever the umask."""
    before = os.umask(0o077)
    try:
        code = opened(tmp_path / "out", "chmod", f'"{tmp_path}/out", 0750', "signal=KILL")
    finally:
        os.umask(before)
    assert -9 == code
    assert 0o750 == (tmp_path / "out").stat().st_mode & 0o777


def test_too_few_open_files_are_told_as_such(tmp_path):
    """To free space, which is what other faults of the machine ask for, would not help."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    newest = os.open(tmp_path, os.O_RDONLY)
    resource.setrlimit(resource.RLIMIT_NOFILE, (newest + 2, before[1]))
    try:
        with pytest.raises(OutputUnwritable, match="Too many open files") as caught:
            Sink.open(tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        os.close(newest)
    assert "ulimit -n" in caught.value.hint


def test_network_file_system_is_refused(tmp_path):
    """The message names what is mounted and where; that of another place does not matter."""
    table = "21 1 0:30 / {} rw - nfs4 host:/ rw"
    for place, expected in (("/", "(nfs4, mounted at /)"), ("/mnt", "opened")):
        said = in_a_namespace(
            tmp_path,
            f"mount -t tmpfs none /proc && mkdir /proc/self && echo '{table.format(place)}' > /proc/self/mountinfo",
            SAY_WHETHER_IT_OPENS,
        )
        assert expected in said


def test_host_that_does_not_tell_its_mounts_is_no_obstacle(tmp_path):
    """Without /proc nothing is known of a network, and nothing is refused."""
    said = in_a_namespace(tmp_path, "mount -t tmpfs none /proc", SAY_WHETHER_IT_OPENS)
    assert "opened\n" == said


def test_staging_on_another_file_system_is_refused(tmp_path):
    """Files could not be moved out of it in one step."""
    said = in_a_namespace(
        tmp_path,
        "mkdir -p $1/out/.upswell/staging && mount -t tmpfs none $1/out/.upswell/staging",
        SAY_WHETHER_IT_OPENS,
    )
    assert "staging: is on another file system" in said


def test_application_whose_directory_cannot_be_looked_at_is_refused(tmp_path):
    """What the system says of the name is passed on."""
    with refused(OutputUnwritable, "File name too long"):
        check_directories(tmp_path, ["x" * (os.pathconf(tmp_path, "PC_NAME_MAX") + 1)])


@pytest.mark.parametrize(
    "step",
    [
        pytest.param(lambda sink, one: sink.staged_names(), id="list"),
        pytest.param(lambda sink, one: sink.is_whole(one), id="check"),
        pytest.param(lambda sink, one: sink.rebuild(one, b"a\n"), id="rebuild"),
        pytest.param(lambda sink, one: sink.stage(2, STAMP, OUTPUTS), id="stage"),
        pytest.param(lambda sink, one: sink.publish([one]), id="publish"),
        pytest.param(lambda sink, one: sink.remove_unfinished(), id="sweep"),
        pytest.param(lambda sink, one: sink.published(), id="look"),
        pytest.param(lambda sink, one: sink.read(Published("A", "x", 1, STAMP)), id="read"),
        pytest.param(lambda sink, one: Rejects(sink.output).write(1, b"x\n"), id="rejects"),
        pytest.param(lambda sink, one: Rejects(sink.output).remove_after(1), id="old rejects"),
    ],
)
def test_step_that_fails_tells_place_and_next_step(tmp_path, step):
    """Any step of OUTPUT that meets a machine with no more to give ends with 74, and nothing half done shows."""
    with Sink.open(tmp_path / "out") as sink:
        (one,) = sink.stage(1, STAMP, OUTPUTS)
        with (
            without_descriptors(),
            refused(StorageError, f"^{sink.output}.*: Too many open files$"),
        ):
            step(sink, one)
        assert [one.staged_name] == sink.staged_names()
        assert [] == sink.published()


def test_removal_that_fails_tells_the_name(tmp_path):
    """A directory in a staged file's place is not ours to empty."""
    with Sink.open(tmp_path / "out") as sink:
        (tmp_path / "out/.upswell/staging/x").mkdir()
        with refused(StorageError, "out/.upswell/staging/x: Is a directory"):
            sink.remove_staged(["x"])


def test_directories_that_hold_nothing_of_ours_are_passed_over(tmp_path):
    """Files in OUTPUT, and directories that this user may not even list, hide no notification."""
    with Sink.open(tmp_path / "out") as sink:
        sink.publish(sink.stage(1, STAMP, OUTPUTS))
        (sink.output / "0 file").touch()
        (sink.output / "0 closed").mkdir(0)
        with bound_by_modes():
            assert ["A"] == [one.directory for one in sink.published()]
            sink.check_directories(["A"])
