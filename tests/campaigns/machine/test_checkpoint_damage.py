"""A damaged database is told, or the damage does no harm: never a wrong output in silence."""

import random
import shutil
import sqlite3
from collections import Counter
from pathlib import Path

import pytest

from support import strace
from support.batches import World, expected_output, made
from support.command import PROFILE
from support.faults.campaign import Consumer
from support.faults.damage import damage
from support.faults.ending import end
from support.faults.workload import go_on
from upswell.errors import StorageError, UpswellError
from upswell.state.maintenance.verify import verify

PLACES = 500
LAST = 4


def crashed(place: Path) -> Path:
    """An OUTPUT killed when one of two files of the last batch was published."""
    strace.available()
    whole, cut_off = place / "0-0", place / "0-1"
    (point,) = [
        point
        for point in strace.record_calls(lambda: end(lambda: go_on(whole, 3)), place / "trace")
        if 'WhatsApp>, "NOTIFY_0000000003' in point.text
    ]
    strace.inject(lambda: end(lambda: go_on(cut_off, 3)), point, "signal=KILL", place / "trace")
    return cut_off


def consequence(output: Path, consumer: Consumer) -> str:
    """What a restart over the damage ends in: "told", "harmless", or what is wrong."""
    try:
        go_on(output, LAST)
    except UpswellError as error:
        if error.exit_code not in (74, 78) or not error.hint:
            return f"{error!r} with exit code {error.exit_code}"
        return "told"
    consumer.take()
    if expected_output(range(1, LAST + 1)) != consumer.contents():
        return f"wrong output: {dict(consumer.taken)}"
    return "harmless"


@pytest.mark.trust("T14")
@pytest.mark.parametrize("crash", [False, True])
def test_damage_is_told_or_harmless(tmp_path, trust, crash):
    """Bits flipped, blocks lost and files cut in a state of hand-made batches, closed or killed: told or harmless."""
    if crash:
        start = crashed(tmp_path)
        files = ["checkpoint.db", "checkpoint.db-wal", "checkpoint.db-wal"]
    else:
        start = tmp_path / "start"
        go_on(start, 3)
        files = ["checkpoint.db"]
    consequences = Counter[str]()

    def try_all(seeds):
        wrong = []
        for seed in seeds:
            chance = random.Random(seed)
            output = tmp_path / "out"
            shutil.copytree(start, output)
            consumer = Consumer(output)
            consumer.take()
            done = damage(output / ".upswell" / chance.choice(files), chance)
            verify(output / ".upswell")
            found = consequence(output, consumer)
            if found not in ("told", "harmless"):
                wrong.append(f"{done} (seed {seed}): {found}")
            consequences[found] += 1
            shutil.rmtree(output)
        return wrong

    trust(range(PLACES), try_all, case="damaged places", sample=25)
    assert "slow" == PROFILE or {"told", "harmless"} == set(consequences)


@pytest.mark.parametrize("lost", ["checkpoint.db-wal", "checkpoint.db"])
def test_lost_file_is_told(tmp_path, lost):
    """A write-ahead log or database that was deleted never makes a batch be sent again."""
    output = crashed(tmp_path)
    (output / ".upswell" / lost).unlink()
    if lost == "checkpoint.db":
        (output / ".upswell" / "checkpoint.db-wal").unlink()
    with pytest.raises(StorageError, match="batch 3, but the state ends at batch"):
        go_on(output, LAST)


def test_damaged_page_is_an_error_with_a_next_step(tmp_path):
    """The message names the file and what to do, and holds nothing of the content."""
    with World(tmp_path / "out") as world:
        world.committer.commit(made(1))
    path = world.state / "checkpoint.db"
    data = path.read_bytes()
    path.write_bytes(data[:8192] + b"\xa5" * (len(data) - 8192))
    with (
        pytest.raises(StorageError, match=r"checkpoint\.db is damaged") as caught,
        World(world.output),
    ):
        pass
    assert "--adopt" in caught.value.hint
    assert "pages are inconsistent" in verify(world.state)[0]


def test_text_that_cannot_be_read_is_not_quoted(tmp_path):
    """SQLite's own message would hold the row's text."""
    with World(tmp_path / "out") as world:
        world.committer.commit(made(1))
    with sqlite3.connect(world.state / "checkpoint.db") as db:
        db.execute("UPDATE file SET detail = CAST(x'3031303030ff' AS TEXT)")
    db.close()
    problems = " ".join(verify(world.state))
    assert "cannot be read" in problems
    assert "01000" not in problems
