"""Batches that are jobs of tasks: the same bytes, counts and ledger as those of the embedded engine."""

import gzip
import random
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies

from support import law
from support.batches import refused
from support.engine_runs import DIALS, record, traffic, wait_for
from support.in_process import MEMORY, Cluster, Disorderly, InProcess, kept
from support.kernel_runs import random_file
from upswell.audit.replay.explain import explain
from upswell.audit.replay.reconcile import reconcile
from upswell.audit.replay.snapshot import take_snapshot
from upswell.engine.commit import Committer
from upswell.engine.spark.driver import first_bytes, splits_of
from upswell.engine.spark.tasks import Split, SplitReport
from upswell.errors import ConfigError, Locked, StorageError, UpswellError
from upswell.kernel import SHARDS, Range, crc64
from upswell.state.batch import Batch
from upswell.state.checkpoint import Checkpoint
from upswell.state.ledger import committed_shard_files
from upswell.state.maintenance.transfer import export_state, import_state
from upswell.state.maintenance.verify import verify
from upswell.state.queries.files import decode_files
from upswell.state.reader import StateReader


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    """Fresh directories, two shards, small splits and batches."""
    return Cluster(tmp_path)


@given(
    seed=strategies.integers(0, 2**32),
    runs=strategies.integers(1, 3),
    shards=strategies.sampled_from([1, 2, 8, 256]),
    split_bytes=strategies.sampled_from([7, 33, 50, 200, 1 << 20]),
    batch_bytes=strategies.sampled_from([40, 300, 1000, 1 << 20]),
    measure=strategies.sampled_from(["total", "session"]),
    compacts=strategies.booleans(),
)
def test_any_job_gives_what_the_embedded_engine_and_the_reference_give(
    seed: int,
    runs: int,
    shards: int,
    split_bytes: int,
    batch_bytes: int,
    measure: str,
    compacts: bool,
) -> None:
    """Random and hostile files over random days, plain and compressed, tasks in any order, twice, and left over."""
    # In memory: batches are many and small, and a disk takes its time for each of their syncs.
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as place:
        root = Path(place)
        cluster = Cluster(
            root,
            Disorderly(seed),
            shards=shards,
            split_bytes=split_bytes,
            batch_bytes=batch_bytes,
        )
        embedded = cluster.embedded()
        generator = random.Random(seed)
        limits = {
            "settle_s": 0.0,
            "accept_reference": True,
            "measure": measure,
            "rejects_max_bytes_per_file": generator.choice([0, 200, 1 << 20]),
        }
        suppressed = root / "SUPPRESS.csv"
        for _ in range(runs):
            limits |= {
                "max_per_customer_per_day": generator.choice([0, 0, 1, 2]),
                "control_share": generator.choice([0.0, 0.0, 40.0]),
                "control_key": "a key that is long enough",
            }
            if generator.random() < 0.4:
                dials = generator.sample(DIALS, generator.randrange(1, 4))
                cluster.write(suppressed, "".join(f"{dial}\n" for dial in dials).encode())
                limits |= {"suppress": suppressed}
            for _ in range(generator.randrange(1, 4)):
                day = f"202004{generator.randrange(15, 20)}"
                stamp = f"{day}{generator.randrange(24):02}{generator.randrange(60):02}"
                if list(cluster.data.glob(f"DATA_{stamp}*")):
                    continue  # what was taken must stay, for the law to be replayed over it
                content = (
                    random_file(generator, generator.randrange(30), 0.4, DIALS)
                    if generator.random() < 0.4
                    else traffic(generator, generator.randrange(40), day)
                )
                if generator.random() < 0.2:
                    path = cluster.data / f"DATA_{stamp}.csv.gz"
                    cluster.write(path, gzip.compress(content, mtime=0))
                else:
                    cluster.file(stamp, content)
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(
                    "upswell.engine.spark.driver.COMPACT_BYTES_MIN", 0 if compacts else 1 << 20
                )
                if generator.random() < 0.5:
                    patched.setenv("UPSWELL_KERNEL_CHUNK_BYTES", "64")
                threads = generator.randrange(1, 3)
                cluster.once(threads=threads, **limits)
            embedded.once(**limits)

        cluster.law()
        assert kept(embedded.output) == kept(cluster.output)
        assert [] == verify(cluster.state)
        with StateReader.open(cluster.state) as reader:
            named = {file.name for file in committed_shard_files(reader)}
        left = {path.name for path in (cluster.state / "ledger").iterdir()} - named
        cluster.once(**limits)
        assert named == {path.name for path in (cluster.state / "ledger").iterdir()}, left


def test_a_batch_ends_where_its_bytes_end(cluster: Cluster) -> None:
    """Many small files and parts of long ones make a batch; each job has the number that its commit gets."""
    content = traffic(random.Random(1), 60)
    for minute in range(4):
        cluster.file(f"20200417100{minute}", content[: 100 * minute] + content)
    summary = cluster.once()
    assert summary.batches == len(cluster.runner.jobs) > 4
    assert list(range(1, summary.batches + 1)) == [job.batch for job in cluster.runner.jobs]
    assert len({job.attempt for job in cluster.runner.jobs}) == summary.batches
    assert cluster.runner.closed
    cluster.law()


def test_ranges_are_cut_into_splits_that_join() -> None:
    """Each byte is in one split, no split is longer than asked for, and a compressed file is one."""
    plain = asked(start=10, end=95)
    packed = asked(start=0, end=1000)._replace(compressed=True)
    empty = asked(start=5, end=5)
    assert [
        (0, 0, 10, 50), (0, 1, 50, 90), (0, 2, 90, 95), (1, 0, 0, 1000), (2, 0, 5, 5)
    ] == [split[:2] + split[3:] for split in splits_of([plain, packed, empty], 40)]  # fmt: skip


def test_a_batch_takes_the_first_ranges_up_to_its_bytes() -> None:
    """The last one ends where the bytes do, and is not its file's end then; a compressed one is never parted."""
    ranges = [asked(0, 60), asked(10, 70), asked(0, 5)]
    assert ranges == first_bytes(ranges, 125)
    assert [*ranges[:2]] == first_bytes(ranges, 120)
    assert [ranges[0], asked(10, 50)._replace(final=False)] == first_bytes(ranges, 100)
    assert [asked(0, 1)._replace(final=False)] == first_bytes(ranges, 1)
    packed = asked(0, 10**9)._replace(compressed=True)
    assert [packed] == first_bytes([packed, asked(0, 5)], 1)


def asked(start: int, end: int) -> Range:
    """A range of some file."""
    return Range("DATA_202004171000.csv", b"f", False, start, end, True, 0, 0, 0, 0, 0, 0)


def test_a_line_may_be_longer_than_a_batch(cluster: Cluster) -> None:
    """The batch grows until the line has an end, and the run goes on after it."""
    long = b"x" * 3000 + b"\n"
    cluster.file("202004171000", record(0, 1, 200, "100000") + long + record(1, 1, 200, "100000"))
    cluster.file("202004171001", long + long[:-1])
    summary = cluster.once()
    assert {"notified": 2, "rejected": 2, "header": 1} == {**+summary.outcomes}
    cluster.law()


def test_a_growing_file_is_read_on(cluster: Cluster) -> None:
    """Whole lines at once, while the run goes on; what is read ahead builds on files about to be committed."""
    file = cluster.data / "DATA_202004171000.csv"
    stop = threading.Event()
    thread = threading.Thread(
        target=cluster.run, args=(stop,), kwargs={"once": False, "threads": 2}
    )
    thread.start()
    lines = [record(at % 20, 1, 60, "100000") for at in range(100)]
    with file.open("ab", buffering=0) as stream:
        for at, line in enumerate(lines):
            stream.write(line)
            if at % 10 == 9:
                wait_for(lambda at=at: cluster.heard.lines > at, f"line {at} is not read")
    stop.set()
    thread.join(30)
    assert 100 == cluster.heard.lines
    cluster.law()


def test_a_commit_that_fails_drops_what_was_read_meanwhile(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files of both batches are swept by the next run, which begins from what was committed."""
    cluster.file("202004171000", traffic(random.Random(12), 200))
    commit = Committer.commit

    def fail_third(committer: Committer, batch: Batch) -> None:
        if batch.number == 3:
            wait_for(lambda: len(cluster.runner.jobs) == 4, "the next batch is not read meanwhile")
            raise StorageError("the disk is full", "free some space")
        commit(committer, batch)

    with monkeypatch.context() as failing:
        failing.setattr(Committer, "commit", fail_third)
        with refused(StorageError, "the disk is full"):
            cluster.once(threads=2)
    batches = {path.name.split("-")[2] for path in (cluster.state / "ledger").iterdir()}
    assert {f"{number:010}" for number in (3, 4)} <= batches
    cluster.once(threads=2)
    cluster.law()
    assert [] == verify(cluster.state)


def test_the_sweep_after_a_commit_leaves_the_files_of_the_batch_ahead(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were written before the commit of the batch that they build on, and are named by the next one."""
    cluster.file("202004171000", traffic(random.Random(12), 200))
    commit = Committer.commit

    def after_the_next_job(committer: Committer, batch: Batch) -> None:
        if batch.number <= 5:
            wait_for(lambda: len(cluster.runner.done) > batch.number, "nothing is read ahead")
        commit(committer, batch)

    monkeypatch.setattr(Committer, "commit", after_the_next_job)
    assert cluster.once(threads=2).batches > 5
    cluster.law()


def gone(path: Path) -> None:
    """It vanishes."""
    path.unlink()


def shorter(path: Path) -> None:
    """It ends where its first third ended."""
    with path.open("r+b") as stream:
        stream.truncate(path.stat().st_size // 3)


def replaced(path: Path) -> None:
    """Another file takes its name."""
    other = path.with_name("other")
    other.write_bytes(path.read_bytes()[::-1])
    other.rename(path)


def unreadable(path: Path) -> None:
    """A directory takes its name."""
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("harm", [gone, shorter, replaced, unreadable])
@pytest.mark.parametrize("order", ["forwards", "backwards"])
@pytest.mark.parametrize("at", [0, 1, 5, 9])
def test_a_file_may_change_between_two_tasks(
    tmp_path: Path, harm: Callable[[Path], None], order: str, at: int
) -> None:
    """The run goes on with what it could take of it and with the other files, and every line is counted once."""
    runner = Backwards() if order == "backwards" else InProcess()
    cluster = Cluster(tmp_path, runner, split_bytes=100, batch_bytes=10**6)
    generator = random.Random(at)
    contents = {f"DATA_20200417100{minute}.csv": traffic(generator, 40) for minute in range(3)}
    for name, content in contents.items():
        cluster.write(cluster.data / name, content)
    broken = cluster.data / "DATA_202004171001.csv"
    seen: list[Split] = []

    def between(split: Split) -> None:
        if split.sequence == 1:
            seen.append(split)
            if len(seen) == at + 1:
                harm(broken)

    runner.between = between
    summary = cluster.once()

    assert len(seen) > at
    with StateReader.open(cluster.state) as reader:
        files = {file.name: file for file in reader.files_in()}
    for minute in (0, 2):
        assert "done" == files[f"DATA_20200417100{minute}.csv"].state
    if broken.name in files:  # else it went before anything of it was taken
        row = files[broken.name]
        # What came in its place is read like any file when nothing was taken before; never parts of both.
        candidates = [contents[broken.name], contents[broken.name][::-1]]
        wholes = [one for one in candidates if row.digest == crc64(one[: row.offset])]
        contents[broken.name] = wholes[0]
    law.check(
        cluster.data,
        cluster.output,
        remembered=lambda taken: contents[taken.file][taken.start : taken.end],
    )
    assert summary.lines == sum(file.lines for file in files.values())
    assert [] == verify(cluster.state)


class BadBlock(InProcess):
    """Whoever reads a file from its start does not come far; all others read it well."""

    def __init__(self, short: Path) -> None:
        super().__init__()
        self.short = bytes(short)

    def scanned(self, job, split, reference):
        """The first split is read from what is short."""
        if split.range.name == "DATA_202004171000.csv" and split.begin == 0:
            split = split._replace(range=split.range._replace(path=self.short))
        return super().scanned(job, split, reference)


def test_what_cannot_be_read_within_a_line_longer_than_splits_ends_its_file(tmp_path: Path) -> None:
    """The batch is not made again for ever: the file is left alone, and the others are read."""
    cluster = Cluster(tmp_path, BadBlock(tmp_path / "short"), split_bytes=100, batch_bytes=10**6)
    content = b"1" * 600 + b"\n" + record(0, 1, 200, "100000") * 20
    cluster.file("202004171000", content)
    cluster.file("202004171001", record(1, 1, 200, "100000"))
    (tmp_path / "short").write_bytes(content[:150])
    summary = cluster.once()
    assert 1 == summary.lines
    assert {"Twitter": record(1, 1, 200, "100000")} == law.published(cluster.output)
    assert len(cluster.runner.jobs) < 20


class Elsewhere(InProcess):
    """An executor whose DATA is another directory, which has not the file."""

    def scanned(self, job, split, reference):
        """Read from a path that leads nowhere."""
        range = split.range._replace(path=split.range.path + b".elsewhere")
        return super().scanned(job, split._replace(range=range), reference)


def test_a_file_that_only_executors_miss_is_not_taken_for_lost(tmp_path: Path) -> None:
    """The run ends and says what is not shared; the next one, where it is, reads the file."""
    cluster = Cluster(tmp_path, Elsewhere())
    cluster.file("202004171000", record(1, 1, 200, "100000"))
    with refused(StorageError, "an executor reports that it is gone"):
        cluster.once()
    cluster.runner = InProcess()
    cluster.once()
    assert {"Twitter": record(1, 1, 200, "100000")} == law.published(cluster.output)


def test_a_shard_has_no_more_files_than_a_batch_can_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However small batches are, its deltas become one base before there are many."""
    monkeypatch.setattr("upswell.engine.spark.tasks.FILES_MAX", 3)
    cluster = Cluster(tmp_path, shards=1, batch_bytes=40)
    cluster.file("202004171000", b"".join(record(n, 1, 1, "100000") for n in range(12)))
    assert cluster.once().batches > 8
    assert len(cluster.ledger_files()) <= 4
    cluster.law()


class Backwards(InProcess):
    """Every task once, the last one first."""

    def order(self, items):
        """The last one first."""
        return items[::-1]


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda reports: reports[1:], id="a split is missing"),
        pytest.param(lambda reports: [*reports, reports[0]], id="a split came twice"),
        pytest.param(lambda reports: [*reports, reports[-1]], id="a shard came twice"),
        pytest.param(
            lambda reports: [reports[0]._replace(part=77), *reports[1:]], id="a split of no range"
        ),
    ],
)
def test_a_job_that_lost_or_doubled_a_task_is_not_believed(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[list[Any]], list[Any]]
) -> None:
    """It ends the run with nothing of the batch committed."""
    cluster.file("202004171000", traffic(random.Random(5), 100))
    tasks = InProcess.tasks

    def spoiled(*given: Any) -> list[Any]:
        reports = tasks(*given)
        assert isinstance(reports[0], SplitReport)
        assert not isinstance(reports[-1], SplitReport)
        return spoil(reports)

    with monkeypatch.context() as patched:
        patched.setattr(InProcess, "tasks", spoiled)
        with refused(UpswellError, "a job of .* splits gave") as caught:
            cluster.once()
    assert 70 == caught.value.exit_code
    assert cluster.runner.closed
    with StateReader.open(cluster.state) as reader:
        assert 0 == reader.last_batch()
    cluster.once()
    cluster.law()


def test_a_job_whose_shards_lose_what_was_scanned_is_tried_some_times_alone(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be a file that changed meanwhile, so it is tried again; but never for ever."""
    cluster.file("202004171000", traffic(random.Random(5), 100))
    tasks = InProcess.tasks
    with monkeypatch.context() as patched:
        patched.setattr(InProcess, "tasks", lambda *given: tasks(*given)[:-1])
        with refused(UpswellError, "8 jobs over the same ranges"):
            cluster.once()
    with StateReader.open(cluster.state) as reader:
        assert 0 == reader.last_batch()
    assert [] == cluster.ledger_files()
    cluster.once()
    cluster.law()


@pytest.mark.parametrize("harm", ["missing", "damaged", "half"])
def test_a_damaged_shard_ends_the_run(cluster: Cluster, harm: str) -> None:
    """It is never taken for an empty one: 74, the file's name and what to do; and nothing is committed after it."""
    for minute in range(2):
        cluster.file(f"20200417100{minute}", traffic(random.Random(minute), 50))
        if minute == 0:
            cluster.once()
    with StateReader.open(cluster.state) as reader:
        before = reader.last_batch()
        path = reader.ledger_dir / committed_shard_files(reader)[0].name
    content = path.read_bytes()
    path.unlink()
    if harm != "missing":
        path.write_bytes(content[: len(content) // 2] + (b"x" * 9 if harm == "damaged" else b""))
    with refused(StorageError, path.name) as caught:
        cluster.once()
    assert "state verify" in caught.value.hint
    assert any(path.name in problem for problem in verify(cluster.state))
    with StateReader.open(cluster.state) as reader:
        assert before == reader.last_batch()
    path.write_bytes(content)
    cluster.once()
    cluster.law()


@pytest.mark.parametrize("seen", ["No such file", "has 10 of .* bytes"])
def test_a_file_that_the_driver_does_not_see_is_not_committed(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, seen: str
) -> None:
    """A directory that is not shared is told before anything is true, not by the next batch's tasks."""
    cluster.file("202004171000", record(0, 1, 200, "100000"))
    stepped = InProcess.stepped

    def elsewhere(*given: Any) -> Any:
        report = stepped(*given)
        path = cluster.state / "ledger" / report.written.name
        path.unlink()
        if "bytes" in seen:
            path.write_bytes(b"some of it")
        return report

    with monkeypatch.context() as patched:
        patched.setattr(InProcess, "stepped", elsewhere)
        with refused(StorageError, f"shard-.*{seen}") as caught:
            cluster.once()
    assert "one file system that the driver and all executors share" in caught.value.hint
    with StateReader.open(cluster.state) as reader:
        assert 0 == reader.last_batch()


def test_others_read_the_ledger_in_files(cluster: Cluster) -> None:
    """What explains and reconciles a state finds what it would find in a database."""
    cluster.file("202004171000", record(0, 1, 100, "100000"))
    cluster.once()
    cluster.file("202004171001", record(0, 1, 60, "100100") + record(1, 1, 30, "100100"))
    cluster.once()
    found = explain(cluster.state, DIALS[0])
    assert [] == found.differences
    assert ["counted", "notified"] == [entry.outcome for entry in found.entries]
    assert [] == reconcile(cluster.state).differences


def test_a_ledger_that_is_replaced_while_it_is_read_is_read_again(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who looks on beside a run sees one moment of it, though the files of that moment may go meanwhile."""
    monkeypatch.setattr("upswell.engine.spark.driver.COMPACT_BYTES_MIN", 0)
    cluster.options["shards"] = 256  # so small that each change is a new base
    cluster.file("202004171000", record(0, 1, 100, "100000"))
    cluster.once()

    def with_a_run_beside(reader: StateReader, rows: Any) -> Any:
        number = 1 + len(list(cluster.data.iterdir()))
        if number <= 3:
            cluster.file(f"20200417100{number}", record(0, 1, 20, f"100{number}00"))
            cluster.once()
        return decode_files(reader, rows)

    monkeypatch.setattr("upswell.audit.replay.snapshot.decode_files", with_a_run_beside)
    with StateReader.open(cluster.state) as reader:
        snapshot = take_snapshot(reader)
    assert 3 == snapshot.last_batch
    assert [140] == [each.total for each in snapshot.ledger().totals()]


def test_batches_shrink_while_their_reports_are_large(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rejects come to the driver's memory: many of them are read in ever smaller batches, other data in large ones."""
    monkeypatch.setattr("upswell.engine.spark.driver.REPORT_BYTES_MAX", 3_000)
    cluster.options |= {"split_bytes": 1000, "batch_bytes": 12_000}
    bad = b"no record at all, and nothing that is like one;\n" * 800
    good = record(0, 9, 1, "100000") * 2500
    cluster.file("202004171000", bad)
    cluster.file("202004171001", good)
    cluster.once()
    with StateReader.open(cluster.state) as reader:
        read = [(each.file, each.end - each.start) for each in reader.log()]
    of_bad, of_good = ([size for name, size in read if stamp in name] for stamp in ("1000", "1001"))
    assert max(of_bad) < 3_100, "a batch begins no larger than its reports may be"
    assert min(of_bad[1:-1]) < max(of_bad) / 2 + 100
    assert max(of_good) > 11_000
    assert of_good.index(max(of_good)) <= 4, "they double"
    cluster.law()


def test_a_report_that_was_too_large_never_makes_batches_larger(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch may be so long that the least part of it is more than a run begins with: that stays, and is no more."""
    monkeypatch.setattr("upswell.engine.spark.driver.REPORT_BYTES_MAX", 3_000)
    cluster.options |= {"split_bytes": 1000, "batch_bytes": 256 * 12_000}
    cluster.file("202004171000", b"no record at all, and nothing that is like one;\n" * 800)
    assert cluster.once().batches > 10
    with StateReader.open(cluster.state) as reader:
        read = [each.end - each.start for each in reader.log()]
    assert max(read) < 3_100
    cluster.law()


def test_applications_are_counted_in_one_order(cluster: Cluster) -> None:
    """What a run ends with names them alike, whichever of them came first and wherever batches ended."""
    cluster.file("202004171000", record(0, 2, 200, "100000") + record(0, 1, 200, "100000"))
    cluster.options |= {"split_bytes": 40, "batch_bytes": 40}
    ours, embedded = (
        run.once().to_json()["notifications"] for run in (cluster, cluster.embedded())
    )
    assert list(embedded.items()) == list(ours.items())
    assert 2 == len(ours)


def test_a_run_may_go_on_with_other_splits_and_batches(cluster: Cluster) -> None:
    """How a batch was cut is nobody's business once it is committed."""
    generator = random.Random(21)
    cuts = [(40, 200), (1 << 20, 1 << 20), (7, 900), (300, 100)]
    for minute, (split_bytes, batch_bytes) in enumerate(cuts):
        cluster.options |= {"split_bytes": split_bytes, "batch_bytes": batch_bytes}
        cluster.file(f"20200417100{minute}", traffic(generator, 60))
        cluster.once()
    cluster.law()
    assert [] == verify(cluster.state)


def test_tasks_get_whole_paths_and_a_new_state_no_files(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task may run in another directory than the driver; and where no ledger is, none is written."""
    cluster.file("202004171000", record(0, 9, 200, "100000"))
    seen: list[Split] = []
    cluster.runner.between = seen.append
    monkeypatch.chdir(cluster.root)
    cluster.once(data=Path("data"), output=Path("output"))
    assert {bytes(cluster.data / "DATA_202004171000.csv")} == {split.range.path for split in seen}
    assert {str(cluster.state / "ledger")} == {job.ledger for job in cluster.runner.jobs}
    assert [] == list((cluster.state / "ledger").iterdir())


def test_a_second_driver_of_a_state_is_refused(cluster: Cluster) -> None:
    """Before it runs anything: one state has one driver, whatever computes its batches."""
    cluster.file("202004171000", record(0, 1, 200, "100000"))
    cluster.once()
    jobs = len(cluster.runner.jobs)
    with (
        Checkpoint.open(cluster.state, SHARDS),
        refused(Locked, "another run uses the state"),
    ):
        cluster.once()
    assert jobs == len(cluster.runner.jobs)


def test_adopted_caps_hold_on_a_cluster(cluster: Cluster) -> None:
    """They are written to files before the first batch, once, and a replay begins with them."""
    cluster.file("202004171000", record(0, 1, 200, "100000"))
    cluster.embedded().once()
    (cluster.root / "embedded" / ".upswell" / "checkpoint.db").unlink()
    (cluster.root / "embedded").rename(cluster.output)
    cluster.file("202004171001", record(0, 1, 200, "100100") + record(1, 1, 200, "100100"))

    summary = cluster.once(adopt=True, since="202004171001")

    assert (1, 1) == (summary.outcomes["capped"], summary.outcomes["notified"])
    adopted = {"Twitter": record(0, 1, 200, "100000")}
    law.check(cluster.data, cluster.output, adopted=adopted)
    assert [] == reconcile(cluster.state).differences
    cluster.file("202004171002", record(0, 1, 200, "100200"))
    assert 1 == cluster.once().outcomes["capped"]


def test_a_day_goes_on_over_engines_and_shards(cluster: Cluster) -> None:
    """Embedded, on two shards, embedded, on 64, on one: each goes on with the totals and caps of the one before."""
    generator = random.Random(8)
    state = cluster.root / "state0"
    plan = [None, 2, None, 64, 1, None]
    for number, shards in enumerate(plan):
        if number:
            file = cluster.root / f"file{number}"
            export_state(state, file)
            state = cluster.root / f"state{number}"
            import_state(file, state, shards)
        cluster.file(f"20200417100{number}", traffic(generator, 120))
        cluster.options["shards"] = shards
        (cluster.once if shards else super(Cluster, cluster).once)(state=state)
        law.check(cluster.data, cluster.output, state=state)
        assert [] == verify(state)
    with StateReader.open(state) as reader:
        assert reader.totals().outcomes["capped"] > 50
        assert 720 == reader.totals().lines


@pytest.mark.parametrize("shards", [1, 64, 256, None])
def test_a_ledger_of_few_shards_moves_whole(cluster: Cluster, shards: int | None) -> None:
    """A state that a cluster began has no files of shards that nobody was in: whoever is there keeps their caps."""
    cluster.options["shards"] = 256
    cluster.file("202004171000", record(0, 1, 200, "100000") + record(1, 1, 100, "100000"))
    cluster.once()
    with StateReader.open(cluster.state) as reader:
        assert 0 not in {file.shard for file in committed_shard_files(reader)}
    export_state(cluster.state, cluster.root / "file")
    state = cluster.root / "moved"
    import_state(cluster.root / "file", state, shards)
    cluster.file("202004171001", record(0, 1, 200, "100100") + record(1, 1, 60, "100100"))
    cluster.options["shards"] = shards
    summary = (cluster.once if shards else super(Cluster, cluster).once)(state=state)
    assert (1, 1) == (summary.outcomes["capped"], summary.outcomes["notified"])
    law.check(cluster.data, cluster.output, state=state)
    assert [] == verify(state)


def test_a_state_of_other_shards_is_refused(cluster: Cluster) -> None:
    """Shards are a state's for good: nothing is read or written with another number."""
    cluster.file("202004171000", record(0, 1, 200, "100000"))
    cluster.once()
    cluster.options["shards"] = 4
    with refused(ConfigError, "spark_shards is 4 but the state .* was created with 2"):
        cluster.once()
    with refused(ConfigError, "engine is embedded but the state .* was created with spark"):
        super(Cluster, cluster).once()


def test_a_link_in_the_place_of_the_ledger_is_refused(cluster: Cluster) -> None:
    """No task would follow it; a directory that nodes share is mounted there."""
    cluster.file("202004171000", record(0, 1, 200, "100000"))
    cluster.state.mkdir(parents=True)
    (cluster.state / "ledger").symlink_to(cluster.data)
    with refused(StorageError, "ledger: Not a directory"):
        cluster.once()
    assert cluster.runner.closed


def test_a_task_that_cannot_write_ends_the_run(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk under the ledger's files is told as any other, and the restart recovers."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    cluster.file("202004171000", record(0, 1, 200, "100000"))
    with monkeypatch.context() as patched:
        patched.setattr(cluster.runner, "stepped", full)
        with refused(StorageError, "ledger: No space left on device"):
            cluster.once()
    cluster.once()
    cluster.law()


def test_an_error_of_the_runner_ends_the_run(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its own words and exit code, at the check of the storage and in a job; the runner is closed either way."""

    def fail(*_: object) -> None:
        raise StorageError("executor 3 does not see the ledger", "mount it")

    cluster.file("202004171000", record(0, 1, 200, "100000"))
    for name in ("check", "run"):
        cluster.runner = InProcess()
        with monkeypatch.context() as patched:
            patched.setattr(cluster.runner, name, fail)
            with refused(StorageError, "executor 3"):
                cluster.once()
        assert cluster.runner.closed
