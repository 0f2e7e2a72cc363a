"""Policies and the forgotten where a batch is a job of tasks: as in one process, and in every form of a state."""

import pickle
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support.child import clean_environment
from support.engine_runs import DIALS, record, traffic
from support.forgetting_runs import COUNTED, OTHER, WHO, lived, proof, traces
from support.in_process import Cluster
from support.kernel_runs import Settings
from support.replays import state
from upswell import kernel
from upswell.audit import sent
from upswell.audit.replay.explain import explain
from upswell.engine.spark.executor import SentReference
from upswell.errors import StorageError
from upswell.kernel import Ledger
from upswell.reference.policy import Policy
from upswell.state import ledger_directory
from upswell.state.ledger import committed_shard_files, read_ledger
from upswell.state.maintenance.backup import back_up
from upswell.state.maintenance.forget import forget
from upswell.state.maintenance.transfer import export_state, import_state
from upswell.state.maintenance.verify import verify
from upswell.state.queries.forgotten import forgettings
from upswell.state.reader import StateReader

POLICY = Policy(1, 4_000, "a key that is long enough")
LIMITS = {"max_per_customer_per_day": 1, "control_share": 40.0, "control_key": POLICY.control_key}


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    """Fresh directories, two shards, small splits and batches."""
    return Cluster(tmp_path)


def test_the_reference_of_a_batch_travels_whole() -> None:
    """Segment, rules, suppression list, forgotten, limit and control group are the same where they arrive."""
    asked = Settings(
        suppressed=frozenset(DIALS[:2]), forgotten=frozenset(DIALS[2:4]), policy=POLICY
    )
    segment, _ = kernel.Segment.parse(["\n".join(DIALS).encode()])
    rules = [(1, "Twitter", 0, 1440, 100)]
    for policy in (kernel.Policy(), asked.kernel_policy()):
        arrived = pickle.loads(pickle.dumps(SentReference(segment, rules, policy)))
        assert segment.encode() == arrived.segment.encode()
        assert ["Twitter"] == arrived.rules.applications
        (sent_list, *expected), (came_list, *actual) = policy.parts(), arrived.policy.parts()
        assert expected == actual
        assert (sent_list and sent_list.encode()) == (came_list and came_list.encode())


def test_all_policies_hold_on_a_cluster(cluster: Cluster) -> None:
    """Each decided outcome is met, whoever is asked tells the truth about it, and no line is in two places."""
    suppressed = cluster.write(cluster.root / "SUPPRESS.csv", f"{OTHER}\n".encode())
    lines = [record(dial, service, 500, "100000") for dial in range(20) for service in (1, 2, 3)]
    cluster.file("202004171000", b"".join(lines + [record(2, 1, 500, "100001")] * 2))
    summary = cluster.once(suppress=suppressed, **LIMITS)

    met = ("suppressed", "capped_customer", "control", "notified")
    assert all(summary.outcomes[name] for name in met)
    cluster.law()
    assert [] == verify(state(cluster))
    assert ([], []) == proof(cluster)
    group = {row.msisdn for row in sent.rows(state(cluster), sent.SentFilter(control=True))}
    assert group == {dial for dial in DIALS[:20] if POLICY.is_control(dial)} - {OTHER}
    told = explain(state(cluster), OTHER)
    assert {"suppressed"} == {entry.outcome for entry in told.entries}


def test_nothing_of_a_person_is_left_in_the_files_of_shards(cluster: Cluster) -> None:
    """Bases and deltas are written anew, their old files are gone, and the person is suppressed from then on."""
    lived(cluster)
    before = {path.name for path in cluster.ledger_files()}
    removal = forget(state(cluster), [WHO])

    assert [] == traces(state(cluster), WHO)
    assert [] != traces(state(cluster), OTHER)
    assert removal.erased.ledger_blobs
    assert before != {path.name for path in cluster.ledger_files()}
    assert [] == verify(state(cluster))
    with StateReader.open(state(cluster)) as reader:
        assert {path.name for path in cluster.ledger_files()} == {
            file.name for file in committed_shard_files(reader)
        }
        ledger = Ledger.load(*read_ledger(reader), reader.day_open(), 1)
    assert ([], []) == (ledger.totals(WHO), ledger.caps(WHO))
    assert [] != ledger.totals(OTHER)
    cluster.file("202004171001", record(1, 1, 500, "110000") + record(2, 2, 500, "110000"))
    summary = cluster.once()
    assert (1, 1) == (summary.outcomes["suppressed"], summary.outcomes["notified"])
    assert ([], []) == proof(cluster)


def test_a_damaged_file_of_a_shard_stops_the_forgetting(cluster: Cluster) -> None:
    """What cannot be read may hold the person: nothing is removed, and the damage is told."""
    lived(cluster)
    file = cluster.ledger_files()[0]
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(StorageError, match=f"the ledger: {file.name}"):
        forget(state(cluster), [WHO])
    assert [WHO] == [
        row.msisdn for row in sent.rows(state(cluster), sent.SentFilter()) if row.msisdn == WHO
    ]


def test_who_stands_in_the_files_of_shards_alone_is_counted(cluster: Cluster) -> None:
    """A customer below every threshold was there, a dial that nobody has was not."""
    lived(cluster)
    cluster.file("202004171001", record(4, 1, 5, "100000"))
    cluster.once()
    erased = forget(state(cluster), [DIALS[4], "0999999999"]).erased

    assert (0, 0, 1) == (erased.notifications, erased.reject_lines, erased.people)


KILLED = f"""{COUNTED}
erase.write_shard_file = counted(erase.write_shard_file)
ledger_directory.sweep = counted(ledger_directory.sweep)
syscalls.unlink = counted(syscalls.unlink)
for name in ("_erase_notifications", "_replace_shard_files", "_put_rejects", "_scrub"):
    setattr(erase.Eraser, name, counted(getattr(erase.Eraser, name)))
forget(Path(sys.argv[1]), [sys.argv[3]])
"""


def test_killed_anywhere_the_same_again_empties_the_shards(cluster: Cluster) -> None:
    """A start in between goes on with the files that the last transaction named, and sweeps the others."""
    lived(cluster)
    before, ended = cluster.output.rename(cluster.root / "before"), False
    for step in range(1, 40):
        shutil.rmtree(cluster.output, ignore_errors=True)
        shutil.copytree(before, cluster.output)
        command = [sys.executable, "-c", KILLED, str(state(cluster)), str(step), WHO]
        done = subprocess.run(command, env=clean_environment(), capture_output=True, check=False)
        if ended := done.returncode == 0:
            break
        assert -signal.SIGKILL == done.returncode, done.stderr
        if step % 2:
            cluster.once()
        forget(state(cluster), [WHO])
        assert [] == traces(state(cluster), WHO)
        assert ([], []) == proof(cluster)
        assert [] == verify(state(cluster))
    assert ended and step > 6


@pytest.mark.parametrize("target", [None, 4])
def test_policies_and_the_forgotten_move_with_a_state(cluster: Cluster, target: int | None) -> None:
    """After a move the next run still suppresses them, still counts a customer's day, and keeps the group apart."""
    suppressed = cluster.write(cluster.root / "SUPPRESS.csv", f"{DIALS[5]}\n".encode())
    limits = {**LIMITS, "suppress": suppressed}
    lived(cluster, **limits)
    forget(state(cluster), [WHO])
    export_state(state(cluster), cluster.root / "file")
    import_state(cluster.root / "file", cluster.root / "new", target)
    assert not any("exported" in each for each in forget(cluster.root / "new", [WHO]).stands)
    assert [] == traces(cluster.root / "new", WHO)
    assert [] == verify(cluster.root / "new")
    with StateReader.open(state(cluster)) as old, StateReader.open(cluster.root / "new") as new:
        assert (forgettings(old), old.current_versions()) == (
            forgettings(new),
            new.current_versions(),
        )
    lines = [record(dial, service, 500, "110000") for dial in (1, 5, 7) for service in (1, 2, 3)]
    cluster.file("202004171001", b"".join(lines))
    if target is None:
        summary = super(Cluster, cluster).once(state=cluster.root / "new", **limits)
    else:
        cluster.options["shards"] = target
        summary = cluster.once(state=cluster.root / "new", **limits)

    assert 6 == summary.outcomes["suppressed"]
    assert 1 == summary.outcomes["capped_customer"]
    assert 1 == summary.outcomes["control"] + summary.outcomes["notified"]
    assert [] == verify(cluster.root / "new")


def test_a_backup_holds_the_files_that_its_database_names(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a run replaces files meanwhile it begins again with the database; the copy goes on as the state would."""
    monkeypatch.setattr(
        "upswell.engine.spark.driver.COMPACT_BYTES_MIN", 0
    )  # every batch replaces a base
    cluster.file("202004171000", traffic(random.Random(5), 100))
    cluster.once()
    make, again = ledger_directory.make, [True]

    def make_late(ledger_dir: Path) -> None:
        make(ledger_dir)
        if again and ledger_dir.parent.suffix == ".partial":
            again.pop()
            cluster.file("202004171001", traffic(random.Random(6), 100))
            cluster.once()

    monkeypatch.setattr(ledger_directory, "make", make_late)
    made = back_up(state(cluster), cluster.root / "copy")
    monkeypatch.setattr(ledger_directory, "make", make)

    assert not again
    with (
        StateReader.open(state(cluster)) as reader,
        StateReader.open(cluster.root / "copy") as copy,
    ):
        assert made.last_batch == reader.last_batch() == copy.last_batch()
        assert read_ledger(reader) == read_ledger(copy)
        assert sorted(file.name for file in committed_shard_files(copy)) == sorted(
            path.name for path in (cluster.root / "copy" / "ledger").iterdir()
        )
        assert made.bytes > sum(file.bytes for file in committed_shard_files(copy))
    assert [] == verify(cluster.root / "copy")
    cluster.file("202004171002", traffic(random.Random(7), 100))
    cluster.once(state=cluster.root / "copy")
    assert [] == verify(cluster.root / "copy")


def test_a_backup_of_a_state_that_lost_a_file_is_refused(cluster: Cluster) -> None:
    """What is missing for good is named; no copy comes about."""
    cluster.file("202004171000", traffic(random.Random(5), 100))
    cluster.once()
    file = cluster.ledger_files()[0]
    file.unlink()
    with pytest.raises(StorageError, match=f"{file.name} is missing"):
        back_up(state(cluster), cluster.root / "copy")
    assert not (cluster.root / "copy").exists()


def test_a_task_meets_the_policy_of_its_batch(cluster: Cluster) -> None:
    """A limit that begins in the middle of a day counts the caps that the files of shards hold."""
    cluster.file("202004171000", record(1, 1, 200, "100000"))
    cluster.once()
    cluster.file("202004171001", record(1, 2, 200, "100100") + record(2, 2, 200, "100100"))
    summary = cluster.once(max_per_customer_per_day=1)
    cluster.file("202004171002", record(1, 2, 0, "100200"))
    last = cluster.once(accept_reference=True)

    assert (1, 1) == (summary.outcomes["capped_customer"], summary.outcomes["notified"])
    assert 1 == last.outcomes["notified"]
    cluster.law()
