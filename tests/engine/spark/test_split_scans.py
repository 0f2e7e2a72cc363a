"""A batch computed in tasks is the batch of one scanner, wherever files are cut and whenever tasks run."""

import gzip
import random
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from support.kernel_runs import (
    REJECTS_ALL,
    Asked,
    Driver,
    Settings,
    files_and_calls,
    settings_strategy,
    stamp_of,
)
from support.split_runs import Batches, Way, anywhere, bytewise, fields
from upswell import kernel
from upswell.engine.spark import tasks
from upswell.zones import day_open_of

ways = st.builds(
    Way,
    shards=st.sampled_from((1, 2, 8, 256)),
    compact_bytes_min=st.sampled_from((0, 300, 1 << 20)),
    cut=st.sampled_from((bytewise, anywhere, anywhere, Way().cut)),
)


class Compared(Driver):
    """Reads files with one scanner and in tasks, and holds each batch of the one against the other's."""

    def __init__(
        self,
        directory: Path,
        files: list[bytes],
        settings: Settings,
        way: Way,
        generator: random.Random,
        compressed: bool = False,
    ) -> None:
        super().__init__(directory, files, settings._replace(output_bytes_max=REJECTS_ALL))
        self.generator = generator
        self.compressed = compressed
        if compressed:
            self.paths = [path.with_suffix(".csv.gz") for path in self.paths]
            for path, content in zip(self.paths, files, strict=True):
                path.write_bytes(gzip.compress(content, 1))
        (directory / "ledger").mkdir()
        self.tasks = Batches(
            directory / "ledger", self.settings, way, self.segment, self.rules, generator
        )

    def ranges(self, parts: list[Asked]) -> list[kernel.Range]:
        """The ranges to ask for, with room for all rejects, or for few."""
        return [
            item._replace(
                compressed=self.compressed,
                rejects_left_bytes=self.generator.choice((0, 60, 300, 9000, REJECTS_ALL)),
            )
            for item in super().ranges(parts)
        ]

    def take(self, call: list[Asked]) -> None:
        """Compute a batch both ways."""
        ranges = self.ranges(call)
        ledger = self.run.ledger
        expected = self.scanner.process(
            ranges, self.segment, self.rules, ledger, REJECTS_ALL, 60_000, self.policy
        )
        actual = self.tasks.run(ranges)
        assert isinstance(actual, kernel.Result)
        assert fields(expected) == fields(actual)
        assert b"" == actual.delta
        for part, wanted, scanned in zip(call, ranges, expected.ranges, strict=True):
            self.note_range(part, wanted, scanned)
        self.note_result(ranges, expected)
        loaded = self.tasks.load(self.day_open())
        self.run.ledger.drop_before(self.day_open())
        assert (ledger.totals(), ledger.caps()) == (loaded.totals(), loaded.caps())
        assert ledger.entries() == loaded.entries()

    def day_open(self) -> int:
        """The first open day after the last batch."""
        newest = self.newest or stamp_of(0)
        return day_open_of(newest, self.settings.keep_days, self.settings.zones)


@given(files_and_calls(), settings_strategy, ways, st.booleans(), st.integers(0, 2**32))
def test_tasks_give_what_one_scanner_gives(
    asked: tuple[list[bytes], list[list[Asked]]],
    settings: Settings,
    way: Way,
    compressed: bool,
    seed: int,
) -> None:
    """Any files in any batches, cut down to bytes, tasks in any order: results and ledger are those of one scanner."""
    files, calls = asked
    with tempfile.TemporaryDirectory() as directory:
        compared = Compared(Path(directory), files, settings, way, random.Random(seed), compressed)
        for call in calls:
            compared.take(call)


def bytes_read() -> int:
    """What this process has asked the system to read so far."""
    fields = Path("/proc/self/io").read_text("ascii").split()
    return int(fields[fields.index("rchar:") + 1])


def test_a_line_longer_than_splits_is_read_by_its_owner_alone(tmp_path: Path) -> None:
    """A split in the middle of a long line looks through its own bytes, and not on for the line's end."""
    line, size, split_bytes = b"0126545098,1,315,20200417193743\n", 8 << 20, 1 << 20
    files = [line + b"7" * size + b"\n" + line]

    def cut(_: random.Random, begin: int, end: int) -> list[int]:
        return [*range(begin, end, split_bytes), end]

    compared = Compared(tmp_path, files, Settings(), Way(cut=cut), random.Random(1))
    (wanted,) = compared.ranges([Asked(0, len(files[0]), True)])
    job = compared.tasks.job(0)
    read = []
    for split in compared.tasks.splits([wanted]):
        before = bytes_read()
        rows = list(tasks.scan(job, split, compared.segment, compared.rules))
        read.append(bytes_read() - before)
        assert [job.shards] == [shard for shard, _ in rows[-1:]]

    assert 9 == len(read)
    assert (
        2 * size - split_bytes < read[0] < 2 * size + split_bytes
    )  # to find its end, and to take it
    assert all(split_bytes <= each < split_bytes + (64 << 10) for each in read[1:-1])
    compared.take([Asked(0, len(files[0]), True)])
