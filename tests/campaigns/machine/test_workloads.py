"""The workloads that faults are injected into have something to lose, each what it is named after."""

import sqlite3

import pytest

from support.faults.campaign import Consumer
from support.faults.workloads import BY_NAME

MEETS = {
    "commits": "SELECT count(*) >= 3 FROM batch",
    "files": "SELECT count(*) >= 3 FROM batch",
    "state elsewhere": "SELECT count(*) >= 2 FROM batch",
    "gzip": "SELECT count(*) >= 3 FROM log JOIN file ON file = file.id WHERE name LIKE '%.gz'",
    "growth": "SELECT count(*) > 0 FROM log WHERE from_byte = 300",
    "reference": "SELECT count(DISTINCT rules_version) = 2 AND count(DISTINCT segment_version) = 2 FROM batch",
    "rejects": "SELECT count(*) > 0 FROM dropped_rejects",
    "applications": "SELECT count(*) > 8 FROM staged WHERE batch = 1",
    "days": "SELECT (SELECT count(*) > 0 FROM ledger_base) AND value > 0 FROM total WHERE name = 'late'",
    "cluster": "SELECT (SELECT count(*) >= 3 FROM batch) AND (SELECT count(*) = 2 FROM shard_file WHERE kind = 'base')",
    "cluster adopted": "SELECT (SELECT value > 0 FROM total WHERE name = 'capped') AND count(DISTINCT kind) = 2"
    " FROM shard_file",
    "moved": "SELECT (SELECT count(*) >= 3 FROM batch) AND (SELECT count(*) = 0 FROM ledger_base)"
    " AND (SELECT count(*) > 0 FROM shard_file)",
    "moved elsewhere": "SELECT count(*) >= 3 FROM batch",
    "policies": "SELECT min(value) > 0 FROM total WHERE name IN ('suppressed', 'capped_customer', 'control')",
    "adopted": "SELECT min(value) > 0 FROM total WHERE name IN ('capped', 'notified')",
    "archive": "SELECT count(*) = 2 FROM archived WHERE state = 'moved'",
    "twins": "SELECT count(DISTINCT state) = 4 FROM file WHERE state IN ('done', 'duplicate', 'held', 'ignored')",
}  # fmt: skip
"""Asked of the state after an undisturbed run."""


@pytest.mark.parametrize("name", BY_NAME)
def test_workload_meets_what_it_is_named_after(tmp_path, name):
    """Its undisturbed run goes the way that its faults are to cut off, and obeys the law."""
    workload = BY_NAME[name]
    inputs, world = tmp_path / "inputs", tmp_path / "world"
    workload.prepare(inputs, world)
    workload.run(inputs, world)
    with sqlite3.connect(workload.state(world) / "checkpoint.db") as db:
        found = db.execute(MEETS[name]).fetchone()
    db.close()

    assert (1,) == found
    consumer = Consumer(world / "out")
    consumer.take()
    assert [] == workload.judge(inputs, world, consumer.contents())
