"""A batch computed in tasks is the batch of one scanner, wherever files are cut and whenever tasks run."""

import gzip
import random
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from kernel_runs import (
    REJECTS_ALL,
    Asked,
    Driver,
    Settings,
    files_and_calls,
    settings_strategy,
    stamp_of,
)
from split_runs import Batches, Way, anywhere, bytewise, fields
from upswell import kernel
from upswell.zones import day_open_of

ways = st.builds(
    Way,
    shards=st.sampled_from((1, 2, 8, 256)),
    fold_bytes_min=st.sampled_from((0, 300, 1 << 20)),
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
            ranges, self.segment, self.rules, ledger, REJECTS_ALL, 60_000
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
        assert (ledger.items(), ledger.caps()) == (loaded.items(), loaded.caps())
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
