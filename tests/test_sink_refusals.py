"""What an OUTPUT and its state must not lie on, and how the refusal is told."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

import strace
from faults.limits import in_a_namespace
from upswell import disk
from upswell.errors import OutputUnwritable
from upswell.sink import Sink, check_directories

OPENING = Path(__file__).parent / "faults" / "opening.py"
SAY_WHETHER_IT_OPENS = (
    "from upswell.sink import Sink; from pathlib import Path; import sys\n"
    "from upswell.errors import OutputUnwritable\n"
    "try: Sink.open(Path(sys.argv[1]) / 'out'); print('opened')\n"
    "except OutputUnwritable as error: print(error)"
)


def opened(tmp_path: Path, call: str, fault: str, count: int = 1) -> strace.Faulted:
    """How a start ends whose count-th call of this name is faulted."""
    strace.available()
    command = strace.python(OPENING, tmp_path / "out")
    return strace.inject(command, strace.Point(call, count, ""), fault, tmp_path / "trace")


def test_file_system_that_overwrites_is_refused(tmp_path):
    """Where a move over an existing file succeeds, "never overwritten" could not be kept: it is tried at each start."""
    done = opened(tmp_path, "renameat2", "retval=0")
    assert 73 == done.code
    assert "RENAME_NOREPLACE" in done.errors


def test_file_system_without_locks_is_refused(tmp_path):
    """A lock that cannot be had for another reason than another run is told as what it is."""
    done = opened(tmp_path, "flock", "error=ENOLCK")
    assert 73 == done.code
    assert "No locks available" in done.errors


def test_c_library_without_the_move_is_refused(tmp_path, monkeypatch):
    """A glibc before 2.28 lacks it, and nothing else will do."""
    monkeypatch.setattr(disk, "_libc", SimpleNamespace())
    with pytest.raises(OutputUnwritable, match="no renameat2"):
        Sink.open(tmp_path / "out")


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
    with pytest.raises(OutputUnwritable, match="File name too long"):
        check_directories(tmp_path, ["x" * (os.pathconf(tmp_path, "PC_NAME_MAX") + 1)])
