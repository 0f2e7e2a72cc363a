"""Content, then names, then the commit, then the moves: each is durable before what relies on it."""

import pytest

from support import strace
from support.command import ROOT
from support.faults.order import Order
from support.strace import Point

WORKLOAD = ROOT / "tests/support/faults" / "workload.py"
COMMITS = 1000
TIMEOUT_S = 500  # of as many commits under strace, on a machine that is busy


@pytest.mark.trust("T5")
def test_everything_is_durable_before_the_next_step_says_so(trust, tmp_path):
    """Every file, name and log record of 1,000 commits is synced before the step that relies on it."""
    strace.available()

    def attempt(numbers: list[int]) -> list[str]:
        last = len(numbers)
        found = strace.record(
            strace.python(WORKLOAD, tmp_path / "out", last), tmp_path / "trace", TIMEOUT_S
        )
        order = Order().read(found)
        assert last == len(order.batches)
        return order.wrong

    trust(range(1, COMMITS + 1), attempt, case="commits", sample=COMMITS, chunk=COMMITS)


STAGING, APPLICATION, OWN = "/out/.upswell/staging", "/out/Twitter", "/out/.upswell"
STAGED, REJECTS, LOG = (
    f"{STAGING}/0000000001_1_202004170001.csv",
    f"{OWN}/rejects/REJECTS_0000000001.tsv",
    f"{OWN}/checkpoint.db-wal",
)


def call(name: str, path: str, more: str = "", result: str = "0") -> Point:
    """A call as strace prints it."""
    return Point(name, 1, f"3<{path}>{more}) = {result}")


def made(path: str) -> Point:
    """The call that makes a file."""
    directory, name = path.rsplit("/", 1)
    return call("openat", directory, f', "{name}", O_WRONLY|O_CREAT, 0600', f"4<{path}>")


MOVE = call(
    "renameat2", STAGING,
    f', "0000000001_1_202004170001.csv", 5<{APPLICATION}>, "NOTIFY_0000000001_202004170001.csv", RENAME_NOREPLACE',
)  # fmt: skip
COMMIT = [call("pwrite64", LOG, ', "…", 24, 32', "24"), call("fdatasync", LOG)]
ORDERLY = {
    "make": made(STAGED),
    "write": call("write", STAGED, ', "0100010000,1,315"', "16"),
    "sync staged": call("fsync", STAGED),
    "sync staging": call("fsync", STAGING),
    "make rejects": made(REJECTS),
    "sync rejects": call("fsync", REJECTS),
    "sync directory of rejects": call("fsync", f"{OWN}/rejects"),
    "log": COMMIT[0],
    "sync log": COMMIT[1],
    "move": MOVE,
    "sync application": call("fsync", APPLICATION),
    "sync staging again": call("fsync", STAGING),
}


def test_orderly_trace_has_no_fault():
    """What the rules ask for is what a commit does."""
    order = Order().read(list(ORDERLY.values()))
    assert ([], {"0000000001"}) == (order.wrong, order.batches)


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("sync staged", f"fdatasync 1: 3<{LOG}>) = 0 relies on write"),
        ("sync staging", f"fdatasync 1: 3<{LOG}>) = 0 relies on openat"),
        ("sync rejects", f"fdatasync 1: 3<{LOG}>) = 0 relies on openat"),
        ("sync directory of rejects", f"fdatasync 1: 3<{LOG}>) = 0 relies on openat"),
        ("sync log", "comes before the commit"),
        ("make", "moves what was not staged"),
        ("sync application", "was not synced before the end of the run"),
        ("sync staging again", "was not synced before the end of the run"),
    ],
)
def test_missing_step_is_a_fault(missing, words):
    """The checker of the order is not blind: it finds every step that is left out of a trace."""
    wrong = Order().read([point for step, point in ORDERLY.items() if step != missing]).wrong
    assert any(words in sentence for sentence in wrong), wrong


def test_move_before_the_commit_is_a_fault():
    """The checker finds a file that is to be seen before its batch is true."""
    before = [point for point in ORDERLY.values() if point not in (MOVE, *COMMIT)]
    wrong = Order().read([*before[:7], MOVE, *before[7:], *COMMIT]).wrong
    assert [f"{MOVE} comes before the commit"] == wrong


def test_next_batch_before_the_moves_are_durable_is_a_fault():
    """The checker finds a batch that begins while the one before may still be half published."""
    second = made(STAGED.replace("0001_1_", "0002_1_"))
    moved = list(ORDERLY.values())[:-2]
    wrong = Order().read([*moved, second, *list(ORDERLY.values())[-2:]]).wrong
    assert [f"{MOVE} was not synced before {second}"] * 2 == wrong


def test_second_fsync_after_one_that_failed_is_a_fault():
    """The checker finds an fsync that is tried again: the kernel may have dropped the data, and report success."""
    failed = call("fsync", STAGED, result="-1 EIO (Input/output error)")
    wrong = Order().read([made(STAGED), failed, call("fsync", STAGED)]).wrong
    assert [f"{call('fsync', STAGED)} comes after one that failed"] == wrong
