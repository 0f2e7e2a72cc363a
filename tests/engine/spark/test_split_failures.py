"""A file that fails or changes between the tasks of a batch never makes half of a batch: it ends, or is done again."""

import os
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.kernel_runs import DIALS, REJECTS_ALL, RULES, Settings, random_file, stamp_of
from support.split_runs import Batches, Way, anywhere, bytewise, fields, range_of
from upswell import kernel
from upswell.engine.spark import tasks

LINE = b"0126545098,1,315,20200417193743\n"


class Change(NamedTuple):
    """What happens to a file; applied to its path."""

    name: str
    apply: Callable[[Path, random.Random], None]


def shrink(path: Path, generator: random.Random) -> None:
    """Truncate it anywhere."""
    os.truncate(path, generator.randint(0, path.stat().st_size))


def replace(path: Path, generator: random.Random) -> None:
    """Put another file under its name."""
    other = path.with_name("other")
    other.write_bytes(random_file(generator, 12))
    other.rename(path)


def grow(path: Path, generator: random.Random) -> None:
    """Write on."""
    with path.open("ab") as stream:
        stream.write(random_file(generator, 2))


CHANGES = (
    Change("deleted", lambda path, _: path.unlink()),
    Change("shrunk", shrink),
    Change("replaced", replace),
    Change("grown", grow),
)


class Reader:
    """What tests of failing files run batches with."""

    def __init__(self, directory: Path, way: Way, generator: random.Random) -> None:
        self.segment, _ = kernel.Segment.parse(["\n".join(DIALS).encode()])
        self.rules = kernel.Rules([tuple(rule) for rule in RULES])
        ledger = directory / "ledger"
        ledger.mkdir()
        settings = Settings(chunk_bytes=generator.choice((1, 7, 33, 1000)))
        self.tasks = Batches(ledger, settings, way, self.segment, self.rules, generator)

    def run_to_its_end(
        self, ranges: list[kernel.Range], before: Callable[[int], None]
    ) -> tuple[list[kernel.Range], kernel.Result, int]:
        """The batch, done again as long as it is cut: what was asked for at last, its result, how often it was cut."""
        cuts = 0
        while True:
            result = self.tasks.run(ranges, before)
            if isinstance(result, kernel.Result):
                return ranges, result, cuts
            last = ranges[result.sequence]
            assert last.start <= result.end <= last.end
            ended = last._replace(end=result.end, final=False)
            ranges = [*ranges[: result.sequence], ended]
            cuts += 1
            assert cuts <= 20

    def scanned_at_once(self, ranges: list[kernel.Range]) -> kernel.Result:
        """What one scanner gives, beginning with no ledger."""
        scanner = kernel.Scanner(1, "total", kernel.Clock([]))
        ledger = kernel.Ledger()
        return scanner.process(ranges, self.segment, self.rules, ledger, REJECTS_ALL, 60_000)


@given(
    st.sampled_from(CHANGES),
    st.integers(0, 2**32),
    st.sampled_from((bytewise, anywhere, anywhere)),
    st.booleans(),
)
def test_a_file_that_changes_between_two_tasks_is_taken_as_it_was_or_as_it_is(
    change: Change,
    seed: int,
    cut: Callable[[random.Random, int, int], list[int]],
    final: bool,
) -> None:
    """Whatever happens to a file, wherever: what is taken in the end is one file's, and is what one scanner gives."""
    generator = random.Random(seed)
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        reader = Reader(directory, Way(shards=2, cut=cut), generator)
        paths = [directory / f"DATA_{stamp_of(number)}.csv" for number in range(2)]
        contents = [random_file(generator, generator.randint(0, 9), 0.1) for _ in paths]
        for path, content in zip(paths, contents, strict=True):
            path.write_bytes(content)
        asked = [
            range_of(number, path, len(contents[number]), final=final)
            for number, path in enumerate(paths)
        ]
        changed, when = generator.randrange(2), generator.randrange(12)
        happened = []

        def before(number: int) -> None:
            if number == when and not happened:
                happened.append(change.name)
                change.apply(paths[changed], generator)

        ranges, result, cuts = reader.run_to_its_end(asked, before)
        whole = [scanned.problem is None for scanned in result.ranges]
        if cuts or not all(whole):
            assert happened
        for number, scanned in enumerate(result.ranges):
            now = paths[number].read_bytes() if paths[number].exists() else b""
            taken = {kernel.crc64(was[: scanned.end]) for was in (contents[number], now)}
            assert scanned.digest in taken
            assert scanned.lines == sum(scanned.outcomes)
        if cuts:
            assert fields(reader.scanned_at_once(ranges)) == fields(result)


def lines_file(directory: Path, lines: int) -> Path:
    """A file of so many equal lines."""
    path = directory / f"DATA_{stamp_of(0)}.csv"
    path.write_bytes(LINE * lines)
    return path


def by_line(_: random.Random, begin: int, end: int) -> list[int]:
    """A split for each line."""
    return [*range(begin, end, len(LINE)), end]


@pytest.mark.parametrize("change", CHANGES[:2], ids=lambda change: change.name)
def test_a_range_stops_with_its_problem_where_nothing_later_was_taken(
    tmp_path: Path, change: Change
) -> None:
    """A file that vanished or shrank before its first task is told as one scanner tells it."""
    reader = Reader(tmp_path, Way(cut=by_line), random.Random(1))
    path = lines_file(tmp_path, 20)
    wanted = [range_of(0, path, 20 * len(LINE), final=True)]
    change.apply(path, random.Random(3))

    result = reader.tasks.run(wanted)

    assert isinstance(result, kernel.Result)
    assert fields(reader.scanned_at_once(wanted)) == fields(result)
    assert result.ranges[0].problem in ("gone", "short")


def test_a_file_that_is_no_file_is_told_as_one_scanner_tells_it(tmp_path: Path) -> None:
    """A link in the place of a file is a problem of its range; other ranges go on."""
    reader = Reader(tmp_path, Way(cut=by_line), random.Random(1))
    path = lines_file(tmp_path, 5)
    link = tmp_path / f"DATA_{stamp_of(1)}.csv"
    link.symlink_to(path)
    size = 5 * len(LINE)
    wanted = [range_of(0, link, size, final=True), range_of(1, path, size, final=True)]

    result = reader.tasks.run(wanted)

    assert isinstance(result, kernel.Result)
    assert fields(reader.scanned_at_once(wanted)) == fields(result)
    assert ["not_regular", None] == [scanned.problem for scanned in result.ranges]


class InOrder(random.Random):
    """Runs every task once, in order."""

    def choice(self, seq):  # type: ignore[no-untyped-def]
        """The first."""
        return seq[0]

    def shuffle(self, x):  # type: ignore[no-untyped-def]
        """Nothing."""


def test_a_split_that_fails_before_others_cuts_its_range(tmp_path: Path) -> None:
    """The file is away while the third of five splits is scanned: the range is to end with that one."""
    reader = Reader(tmp_path, Way(cut=by_line), InOrder(1))
    path = lines_file(tmp_path, 5)
    away = tmp_path / "away"

    def before(number: int) -> None:
        if number == 2:
            path.rename(away)
        elif number == 3:
            away.rename(path)

    result = reader.tasks.run([range_of(0, path, 5 * len(LINE), final=True)], before)

    assert kernel.Cut(0, 3 * len(LINE)) == result


def test_a_file_that_was_replaced_cuts_its_range_where_the_other_begins(tmp_path: Path) -> None:
    """Bytes of two files are never one range, even if both have a line start at the border."""
    reader = Reader(tmp_path, Way(cut=by_line), InOrder(1))
    path = lines_file(tmp_path, 5)
    other = tmp_path / "other"
    other.write_bytes(LINE.replace(b"315", b"316") * 5)

    def before(number: int) -> None:
        if number == 3:
            other.rename(path)

    result = reader.tasks.run([range_of(0, path, 5 * len(LINE), final=True)], before)

    assert kernel.Cut(0, 3 * len(LINE)) == result


def test_candidates_of_another_run_of_a_task_are_noticed(tmp_path: Path) -> None:
    """A shard that was stepped with what a lost run of a task sent does not go with the report of a later run."""
    reader = Reader(tmp_path, Way(shards=1, cut=by_line), InOrder(1))
    path = lines_file(tmp_path, 3)
    wanted = [range_of(0, path, 3 * len(LINE), final=True)]
    batches = reader.tasks
    job, splits = batches.job(0), batches.splits(wanted)

    def scan() -> tuple[list[bytes], list[tasks.SplitReport]]:
        rows = [
            row for split in splits for row in tasks.scan(job, split, reader.segment, reader.rules)
        ]
        return (
            [row for _, row in rows if isinstance(row, bytes)],
            [row for _, row in rows if isinstance(row, tasks.SplitReport)],
        )

    sent, _ = scan()
    with path.open("r+b") as stream:
        stream.write(LINE.replace(b"315", b"316"))
    _, reports = scan()
    stepped = tasks.step(job, tasks.ShardTask(0, ()), sent, reader.rules)
    assert stepped is not None

    result = kernel.gather(wanted, splits, reports, [stepped.decided], reader.rules)
    assert kernel.Cut(0, 3 * len(LINE)) == result
    without = kernel.gather(wanted, splits, reports, [], reader.rules)
    assert kernel.Cut(0, 3 * len(LINE)) == without
