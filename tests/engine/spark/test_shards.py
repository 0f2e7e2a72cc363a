"""The files of shards: whole or not there, read as they were written or refused, and written anew in time."""

import errno
import os
import random
import resource
import stat
from functools import partial
from pathlib import Path

import pytest

from support import strace
from support.kernel_runs import DIALS, RULES, Settings, random_content
from support.split_runs import Batches, Way, range_of
from upswell import kernel
from upswell.engine.spark import tasks
from upswell.state import shard_files
from upswell.storage import files, syscalls
from upswell.zones import Zones

LINES = 40
CAPPED = kernel.OUTCOMES.index("capped")
PLAIN = Settings()
NEVER = 1 << 20  # bytes of deltas that no test writes: nothing is written anew


class Shards(Batches):
    """Batches of one file each, which all lie on some days."""

    def __init__(self, place: Path, way: Way, settings: Settings = PLAIN) -> None:
        segment, _ = kernel.Segment.parse(["\n".join(DIALS).encode()])
        rules = kernel.Rules([tuple(rule) for rule in RULES])
        (place / "ledger").mkdir(parents=True)
        super().__init__(place / "ledger", settings, way, segment, rules, random.Random(1))
        self.place = place

    def add(self, records: list[bytes], day_open: int = 20200416) -> kernel.Result:
        """A batch of these records."""
        path = self.place / f"DATA_2020041710{self.batch:02}.csv"
        path.write_bytes(b"".join(record + b"\n" for record in records))
        wanted = range_of(0, path, path.stat().st_size, final=True)
        result = self.run([wanted._replace(day_open=day_open)])
        assert isinstance(result, kernel.Result)
        return result

    def names(self) -> list[str]:
        """What lies in the ledger's directory."""
        return sorted(path.name for path in self.ledger.iterdir())

    def kinds(self, shard: int = 0) -> list[str]:
        """The kinds of a shard's files, in order."""
        return [file.kind for file in self.committed[shard]]


def record(dial: str, volume: int, day: int = 20200417) -> bytes:
    """A record of the first rule's service."""
    return b"%s,1,%d,%d093743" % (dial.encode(), volume, day)


def some(generator: random.Random) -> list[bytes]:
    """Records, most of which count."""
    return [random_content(generator, 0) for _ in range(LINES)]


def test_a_shard_is_written_anew_once_its_deltas_outgrow_half_of_its_base(tmp_path: Path) -> None:
    """Deltas pile up to compact_bytes_min, then to half of the base; a base stands for all before it."""
    shards = Shards(tmp_path, Way(shards=1, compact_bytes_min=2_000))
    generator = random.Random(2)
    for _ in range(40):
        before = shards.committed.get(0, ())
        shards.add(some(generator))
        *_, written = shards.committed[0]
        bases = [file.bytes for file in before if file.kind == "base"]
        deltas = [file.bytes for file in before if file.kind == "delta"]
        if written.kind == "delta":
            assert sum(deltas) + written.bytes <= max(2_000, *bases, 0) + 100
        else:
            assert [written] == list(shards.committed[0])

    assert "base" in shards.kinds()
    assert set(shards.names()) >= {file.name for file in shards.committed[0]}


def test_a_base_leaves_out_what_closed_days_alone_can_ask_for(tmp_path: Path) -> None:
    """A total of a closed day is in the deltas before, and gone from the file that is written anew."""
    shards = Shards(tmp_path, Way(shards=1, compact_bytes_min=NEVER))
    shards.add([record(DIALS[0], 200, 20200416)])
    assert [(DIALS[0], 20200416)] == [(each.msisdn, each.day) for each in shards.load(0).totals()]
    shards.way = Way(shards=1, compact_bytes_min=0)
    shards.add([record(DIALS[1], 1)], day_open=20200417)

    assert ["base"] == shards.kinds()
    assert [(DIALS[1], 20200417)] == [(each.msisdn, each.day) for each in shards.load(0).totals()]


def test_records_of_a_day_that_the_batch_closes_meet_its_totals(tmp_path: Path) -> None:
    """The first range of a batch may still be open for a day that a later one closes: its totals are there."""
    shards = Shards(tmp_path, Way(shards=1, compact_bytes_min=NEVER))
    shards.add([record(DIALS[0], 300, 20200416)])
    shards.way = Way(shards=1, compact_bytes_min=0)
    asked = []
    for number, day_open in enumerate((20200416, 20200417)):
        path = tmp_path / f"DATA_2020041{7 + number}1100.csv"
        path.write_bytes(record(DIALS[0], 1, 20200416) + b"\n")
        wanted = range_of(number, path, path.stat().st_size, final=True)
        asked.append(wanted._replace(day_open=day_open))

    result = shards.run(asked)

    assert isinstance(result, kernel.Result)
    assert [(20200416, 0)] == [(told[0], told[3]) for told in result.notifications]
    assert [1, 0] == [scanned.outcomes[-1] for scanned in result.ranges]
    assert (["base"], []) == (shards.kinds(), shards.load(0).totals())


def test_a_shard_without_candidates_is_left_alone(tmp_path: Path) -> None:
    """Without blobs nothing is read, not even a file that is damaged, and nothing is written."""
    shards = Shards(tmp_path, Way(shards=1))
    broken = shard_files.ShardFile(0, 1, "base", "nowhere", 1, 1)

    assert tasks.step(shards.job(0), tasks.ShardTask(0, (broken,)), [], shards.rules) is None
    assert [] == shards.names()


def test_a_shard_that_nothing_changed_writes_nothing(tmp_path: Path) -> None:
    """Records that are all capped are decided, and leave no file."""
    shards = Shards(tmp_path, Way(shards=1))
    shards.add([record(DIALS[0], 301)])
    names = shards.names()
    result = shards.add([record(DIALS[0], 301)] * 3)

    assert (0, 3) == (len(result.notifications), result.ranges[0].outcomes[CAPPED])
    assert names == shards.names()


@pytest.mark.parametrize("harm", ["missing", "changed", "cut", "longer", "link", "directory"])
def test_a_damaged_file_of_a_shard_is_refused(tmp_path: Path, harm: str) -> None:
    """A step never goes on from less than was committed: the file's name and the reason are told."""
    shards = Shards(tmp_path, Way(shards=1))
    shards.add([record(DIALS[0], 1)])
    (file,) = shards.committed[0]
    path = shards.ledger / file.name
    content = path.read_bytes()
    path.unlink()
    if harm == "changed":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif harm == "cut":
        path.write_bytes(content[:-1])
    elif harm == "longer":
        path.write_bytes(content + b"\0")
    elif harm == "link":
        (tmp_path / "elsewhere").write_bytes(content)
        path.symlink_to(tmp_path / "elsewhere")
    elif harm == "directory":
        path.mkdir()

    with pytest.raises(shard_files.DamagedShard, match=file.name):
        shards.add([record(DIALS[0], 1)])


def test_a_file_that_cannot_be_read_is_not_taken_for_a_damaged_one(tmp_path: Path) -> None:
    """What the system refuses for now is told as it is: nobody is sent to restore a backup for it."""
    shards = Shards(tmp_path, Way(shards=1))
    shards.add([record(DIALS[0], 1)])
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, most))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            shard_files.read_shard_file(shards.ledger, *shards.committed[0])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, most))


def test_blobs_that_are_damaged_inside_are_refused(tmp_path: Path) -> None:
    """A file that is as it was written but holds no ledger is told as damaged, too."""
    shards = Shards(tmp_path, Way(shards=1))
    written = shard_files.write_shard_file(shards.ledger, 0, 1, "0a", "delta", [b"no ledger"])
    assert [b"no ledger"] == shard_files.read_shard_file(shards.ledger, written)
    shards.committed[0] = (written,)

    with pytest.raises(
        shard_files.DamagedShard, match="shard 0: the delta blob of batch 1 is damaged"
    ):
        shards.add([record(DIALS[0], 1)])


def test_candidates_for_another_shard_are_refused(tmp_path: Path) -> None:
    """What was sent to the wrong shard would be decided without its ledger."""
    shards = Shards(tmp_path, Way(shards=2))
    path = tmp_path / "DATA_202004171000.csv"
    path.write_bytes(record(DIALS[0], 1) + b"\n")
    (split,) = shards.splits([range_of(0, path, path.stat().st_size, final=True)])
    job = shards.job(0)
    (shard, blob), _ = tasks.scan(job, split, shards.segment, shards.rules)
    assert isinstance(blob, bytes)

    with pytest.raises(ValueError, match="candidates of another shard"):
        tasks.step(job, tasks.ShardTask(1 - shard, ()), [blob], shards.rules)
    for harmed in (blob[:-1], blob + b"\0", b"", b"\xff" * 40):
        with pytest.raises(ValueError, match="damaged"):
            tasks.step(job, tasks.ShardTask(shard, ()), [harmed], shards.rules)
    assert [] == shards.names()


def stepped(place: Path) -> int:
    """A step of a shard that has a base and a delta."""
    shards = Shards(place, Way(shards=1, compact_bytes_min=NEVER))
    job = shards.job(0)
    path = place / "DATA_202004171000.csv"
    path.write_bytes(record(DIALS[0], 1) + b"\n")
    (split,) = shards.splits([range_of(0, path, path.stat().st_size, final=True)])
    blobs = [blob for _, blob in tasks.scan(job, split, shards.segment, shards.rules)][:-1]
    # The one name that differs between two runs.
    shard_files.secrets.token_hex = lambda _: "0" * 16  # type: ignore[assignment]
    return int(tasks.step(job, tasks.ShardTask(0, ()), blobs, shards.rules) is None)  # type: ignore[arg-type]


def test_a_file_is_durable_before_its_name_and_its_name_before_a_step_returns(
    tmp_path: Path,
) -> None:
    """Content is synced, then linked to its name, then the name is synced."""
    strace.available()
    found = strace.record_calls(partial(stepped, tmp_path / "0-0"), tmp_path / "0-0.trace")
    ledger = [point.name for point in found if "/ledger" in point.text and point.name != "mkdir"]

    of_file = ["openat", "write", "fchmod", "fsync"]
    assert ["openat", *of_file, "linkat", "unlinkat", "fsync"] == ledger


def test_a_kill_at_any_call_leaves_the_file_whole_or_not_there(tmp_path: Path) -> None:
    """A task that is killed leaves a name that nobody asks for, or what it would have returned."""
    strace.available()
    whole = tmp_path / "0-0"
    points = strace.record_calls(partial(stepped, whole), tmp_path / "0-0.trace")
    (file,) = (whole / "ledger").iterdir()
    name, content = file.name, file.read_bytes()

    def attempt(numbered: tuple[int, strace.Point]) -> str | None:
        number, point = numbered
        place = tmp_path / f"1-{number}"
        strace.inject(partial(stepped, place), point, "signal=KILL", tmp_path / f"1-{number}.trace")
        left = place / "ledger"
        found = {file.name: file.read_bytes() for file in left.iterdir()} if left.exists() else {}
        unready = [other for other in found if other.endswith(shard_files.UNREADY)]
        if found.keys() - set(unready) - {name} or found.get(name, content) != content:
            return f"{point}: {found}"
        return None

    of_ledger = [(n, point) for n, point in enumerate(points) if "/ledger" in point.text]
    assert [] == strace.each(attempt, of_ledger)


def test_the_same_attempt_twice_at_once_is_one_file(tmp_path: Path) -> None:
    """A twin of a task writes the same content under the same name, and no part of it is ever seen."""
    shards = Shards(tmp_path, Way())
    blobs = [b"a" * 70_000, b""]
    written = {
        shard_files.write_shard_file(shards.ledger, 3, 7, "0f", "base", blobs) for _ in range(2)
    }

    assert 1 == len(written)
    (file,) = written
    assert [file.name] == shards.names()
    assert blobs == shard_files.read_shard_file(shards.ledger, file)
    with files.directory(shards.ledger) as fd:
        assert file.bytes == len(files.read_file(file.name, fd))


def test_a_file_of_other_content_is_never_replaced(tmp_path: Path) -> None:
    """Whoever wrote it, a task that finds its name taken ends with an error, and leaves the file and no other."""
    shards = Shards(tmp_path, Way())
    written = shard_files.write_shard_file(shards.ledger, 3, 7, "0f", "base", [b"a"])
    for other in (b"b", b"ab"):
        with pytest.raises(FileExistsError, match=written.name):
            shard_files.write_shard_file(shards.ledger, 3, 7, "0f", "base", [other])
    assert [written.name] == shards.names()
    assert [b"a"] == shard_files.read_shard_file(shards.ledger, written)


def test_a_name_that_could_not_be_synced_is_no_fault_like_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second try would find the file and sync without an error, as if the first had not failed: it must not be."""
    shards = Shards(tmp_path, Way())
    failing = [stat.S_ISREG, stat.S_ISDIR]

    def fsync(fd: int) -> None:
        if failing[0](os.fstat(fd).st_mode):
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(syscalls, "fsync", fsync)
    for unsynced in (False, True):
        with pytest.raises(OSError, match="Input/output error") as caught:
            shard_files.write_shard_file(shards.ledger, 3, 7, "0f", "base", [b"a"])
        assert unsynced == isinstance(caught.value, shard_files.Unsynced)
        assert errno.EIO == caught.value.errno
        failing.pop(0)


def test_measures_and_zones_reach_the_tasks(tmp_path: Path) -> None:
    """A session is measured alone, and hours are those of the rules' zone."""
    cairo = Settings(measure="session", zones=Zones("Africa/Cairo", "UTC"))
    shards = Shards(tmp_path, Way(shards=1), cairo)
    dial = DIALS[0].encode()
    result = shards.add(
        [record(DIALS[0], 300), record(DIALS[0], 301), b"%s,2,69,20200417193743" % dial]
    )

    assert ["Twitter", "WhatsApp"] == [RULES[told[1]].application for told in result.notifications]
