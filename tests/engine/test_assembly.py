"""Between the kernel's result and the batch: sums that must hold, and shards that are written anew."""

from types import SimpleNamespace

import pytest

from upswell.engine import assembly
from upswell.errors import UpswellError
from upswell.kernel import Ledger
from upswell.state.rows import LedgerSizes

RANGE = SimpleNamespace(name="DATA_202004171937.csv")


def counted(lines: int, outcomes: tuple[int, ...], rejects: tuple[int, ...]) -> SimpleNamespace:
    """What the kernel counted of a range; the first outcome is `rejected`."""
    return SimpleNamespace(lines=lines, outcomes=outcomes, rejects=rejects)


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(counted(4, (1, 2), (1, 0)), id="a line without an outcome"),
        pytest.param(counted(2, (1, 2), (1, 0)), id="a line with two outcomes"),
        pytest.param(counted(3, (1, 2), (1, 1)), id="a reject with two reasons"),
        pytest.param(counted(3, (1, 2), (0, 0)), id="a reject without a reason"),
    ],
)
def test_counts_that_do_not_add_up_stop_the_run(wrong):
    """Better no notification than a wrong one: it ends with 70, names the file, and nothing is committed."""
    right = counted(3, (1, 2), (0, 1))
    assembly.check_sums([(RANGE, right)])
    with pytest.raises(UpswellError, match=r"DATA_202004171937\.csv do not add up") as caught:
        assembly.check_sums([(RANGE, right), (RANGE, wrong)])
    assert 70 == caught.value.exit_code


def test_a_commit_folds_twice_what_it_changed_oldest_first(monkeypatch):
    """Only once the deltas outgrow half of the bases; a ledger that is smaller is compacted whole."""
    ledger = Ledger()
    for at in range(400):
        ledger.add_cap(f"0100000{at:04}", "Twitter", 20200417)
    shards = [5, 3, 9, 0]
    each = len(ledger.shard(5))
    sizes = LedgerSizes(bases=1000, deltas=400, oldest_shards=shards)
    monkeypatch.setattr(assembly, "COMPACT_BYTES_MIN", 0)

    def compacted(deltas: int, delta_bytes: int) -> list[int]:
        found = assembly.compactions(ledger, sizes._replace(deltas=deltas), delta_bytes)
        assert [ledger.shard(shard) for shard, _ in found] == [content for _, content in found]
        return [shard for shard, _ in found]

    assert [] == compacted(500 - each, each)
    assert [5] == compacted(500, each // 2)
    assert [5, 3] == compacted(500, each // 2 + 1)
    assert shards == compacted(0, 10**6)
    monkeypatch.undo()
    assert [] == compacted(0, 10**6)
