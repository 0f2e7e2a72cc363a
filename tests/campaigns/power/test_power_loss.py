"""Power losses, kills and I/O errors in any number and order, by a model of the disk in place of ``storage.syscalls``.

Needs no rights and no tools, so it tries far more than faults in real system calls could. ``tests/power`` is the model;
``PYTHONPATH=tests python -m support.power SEED`` plays one history again, call by call.
"""

import ast
import multiprocessing
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from random import Random

import pytest

from support import power
from support.power.calls import Calls, Gone
from support.power.platter import Inode, Platter
from upswell.output.reject_files import Rejects
from upswell.storage import syscalls

SEEDS = 1_000_000
SAMPLE = 6_000
PIECE = 250  # seeds that a worker plays in one go
SOURCES = Path(syscalls.__file__).parents[1]
NOT_THE_DISK = {
    "fsencode",
    "fspath",
    "geteuid",
    "getpid",
    "sep",
    "umask",
}  # of os, beside its constants
OF_A_PATH = {
    "chmod", "exists", "is_dir", "is_file", "iterdir", "mkdir", "open", "read_bytes", "read_text", "rename", "resolve",
    "rmdir", "stat", "touch", "unlink", "write_bytes", "write_text",
}  # fmt: skip


@pytest.mark.trust("T9")
def test_nothing_is_lost_or_sent_twice_when_the_power_goes(trust):
    """Through power losses, kills and I/O errors in a row every notification comes whole, in order and once."""
    seen = Counter[str]()

    def attempt(seeds: Sequence[int]) -> list[str]:
        wrong: dict[int, str] = {}
        pieces = [seeds[at : at + PIECE] for at in range(0, len(seeds), PIECE)]
        # Fresh interpreters: a fork of this one would inherit threads and open files.
        with ProcessPoolExecutor(
            os.cpu_count(), mp_context=multiprocessing.get_context("spawn")
        ) as pool:
            for broken, counts in pool.map(power.play, pieces):
                wrong |= broken
                seen.update(counts)
        for seed in list(wrong)[:1]:
            print(f"PYTHONPATH=tests python -m support.power {seed}", power.trace(seed), sep="\n")
        return [f"seed {seed}: {complaint}" for seed, complaint in wrong.items()]

    trust(
        range(SEEDS), attempt, case="histories of power losses, kills and I/O errors",
        sample=SAMPLE, chunk=SAMPLE,
    )  # fmt: skip
    print(dict(seen))
    # The model has done what it is for, and the one documented exception has been met.
    if sum(seen[kind] for kind in power.STRIKES) > SAMPLE:
        assert [] == [kind for kind in power.KINDS if not seen[kind]]


def test_the_disk_is_reached_through_one_module():
    """Sink, rejects and their file system layer touch no file but by the calls that the model stands in for."""
    found = []
    for name in (
        "output/sink",
        "output/marks",
        "output/reject_files",
        "storage/files",
        "storage/lock",
        "storage/mounts",
    ):
        for node in ast.walk(ast.parse((SOURCES / f"{name}.py").read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                strange = node.func.id == "open"
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                of_os = node.value.id in ("os", "fcntl") and not node.attr.isupper()
                strange = (of_os and node.attr not in NOT_THE_DISK) or (
                    node.attr in OF_A_PATH and node.value.id not in ("syscalls", "Sink", "stat")
                )
            elif isinstance(node, ast.Attribute):
                strange = node.attr in OF_A_PATH
            else:
                strange = False
            if strange:
                found.append(f"{name}.py:{node.lineno}: {ast.unparse(node)}")
    assert [] == found
    assert [] == [name for name in syscalls.__all__ if name not in vars(Calls)]


def test_removal_that_a_kill_cut_off_is_durable_after_the_next_recovery():
    """Rejects of a batch that never was do not come back in a power loss, to lie beside a batch of that number."""
    platter = Platter()
    calls = Calls(platter, Random(1), watch=lambda: None)
    rejects = Rejects(Path("/state"))
    platter.make(platter.root, "state", Inode(0o700, directory=True))
    platter.sync(platter.root)
    with calls.in_place():
        rejects.write(1, b"x\n")
        calls.start(power.KILL)
        calls.aim(4)  # after open, listdir and unlink
        with pytest.raises(Gone):
            rejects.remove_after(0)
        assert [] == list(platter.root.find("state", "rejects").names)
        calls.start("")
        assert 0 == rejects.remove_after(0)
    assert [] == list(platter.root.find_kept("state", "rejects").kept_names)


def test_the_model_keeps_what_was_synced_and_nothing_else_for_sure():
    """After a power loss a synced file is whole; of one that was not, all, nothing, or a part is left."""
    left = set()
    for seed in range(200):
        platter, file = Platter(), Inode(0o600, directory=False)
        platter.make(platter.root, "synced", file)
        file.data = b"a" * 600
        platter.touch(file)
        platter.sync(file)
        platter.sync(platter.root)
        other = Inode(0o600, directory=False)
        platter.make(platter.root, "other", other)
        other.data = b"a" * 600
        platter.touch(other)
        platter.lose_power(Random(seed))
        assert (file, b"a" * 600) == (platter.root.find("synced"), file.data)
        kept = platter.root.find("other")
        left.add(None if kept is None else kept.data.replace(b"a" * 512, b"A"))
    assert {None, b"", b"A" + b"a" * 88, bytes(600), b"A" + bytes(88)} <= left
    assert any(some and set(some) == {97} for some in left)  # cut short


def test_the_model_keeps_a_move_from_the_sync_of_either_directory_on():
    """A move is in one place or the other, and which is settled by an fsync; it never comes without the directory."""
    places = set()
    for seed in range(200):
        platter, file = Platter(), Inode(0o600, directory=False)
        here, there = Inode(0o700, directory=True), Inode(0o700, directory=True)
        platter.make(platter.root, "here", here)
        platter.make(here, "file", file)
        platter.sync(here)
        platter.sync(platter.root)
        platter.make(platter.root, "there", there)
        platter.change((here, "file", None), (there, "file", file))
        synced = Random(seed).choice((None, here, there))
        if synced:
            platter.sync(synced)
        platter.lose_power(Random(seed))
        found = [name for name in ("here", "there") if platter.root.find(name, "file")]
        assert 1 == len(found)
        assert not synced or ["there"] == found
        places.add((synced is None, *found))
    assert {(True, "here"), (True, "there"), (False, "there")} == places


def test_the_model_forgets_what_a_failed_fsync_dropped():
    """After a failed fsync the data is still seen and a second fsync succeeds, but a power loss takes it."""
    lost = 0
    for seed in range(50):
        platter, file = Platter(), Inode(0o600, directory=False)
        platter.make(platter.root, "file", file)
        platter.sync(platter.root)
        file.data = b"a"
        platter.touch(file)
        platter.fail_sync(file, Random(seed))
        platter.sync(file)
        assert b"a" == file.data
        platter.lose_power(Random(seed))
        lost += b"a" != file.data
    assert lost > 10
