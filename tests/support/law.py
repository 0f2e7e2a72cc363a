"""The law that every run is checked against: the output is what the specification makes of the log.

Used by tests of the engine, of faults and of the command line. It reads DATA, OUTPUT and the state as a stranger
would, through the checkpoint's read-only reader, and knows nothing of the engine.
"""

import gzip
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import date, timedelta
from functools import cache, partial
from pathlib import Path

from upswell.kernel import Ledger, Segment
from upswell.reference.application import directory_name
from upswell.reference.compiled import unpack_rules
from upswell.reference.policy import OFF, Policy
from upswell.reference.rules import parse_rules
from upswell.semantics import CommittedRange, Record, Specification, parse_record
from upswell.state.batch import LogRange
from upswell.state.ledger import read_ledger
from upswell.state.queries.zones import zones_of
from upswell.state.reader import StateReader

DAY_MAX = 99991231


def published(output: Path) -> dict[str, bytes]:
    """By application directory: its files' contents, joined in the order of their names."""
    if not output.exists():
        return {}
    return {
        directory.name: b"".join(file.read_bytes() for file in sorted(directory.iterdir()))
        for directory in sorted(output.iterdir())
        if directory.is_dir() and not directory.name.startswith(".")
    }


def content(file: Path) -> bytes:
    """A DATA file's uncompressed bytes."""
    return gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()


def replay(
    data: Path,
    state: Path,
    adopted: dict[str, bytes] | None = None,
    remembered: Callable[[LogRange], bytes] | None = None,
) -> Specification:
    """The specification after the log of ranges, over the files in ``data`` or what is remembered of them.

    The caps of what was adopted come first.
    """

    def in_data(taken: LogRange) -> bytes:
        name = taken.file
        while later := known[name].continued_by:
            name = later
        return content(data / name)[taken.start : taken.end]

    read = remembered or in_data
    with StateReader.open(state) as reader:
        identity = reader.identity()
        known = {file.name: file for file in reader.files_in()}
        specification = Specification(
            identity.measure,
            identity.keep_days,
            identity.zones,
        )
        for application, lines in (adopted or {}).items():
            for record in (parse_record(line, DAY_MAX) for line in lines.splitlines()):
                assert isinstance(record, Record)
                day = specification.zones.convert(record.moment).day
                specification.caps.add((record.msisdn, application, day))
        kept: dict[str, object] = {}
        tables = cache(partial(zones_of, reader))
        for taken in reader.log():
            rules, segment, suppress, policy, zones = taken.versions
            if rules not in kept:
                files = unpack_rules(reader.reference("rules", rules))
                kept[rules] = parse_rules(files).rules
            if segment not in kept:
                dials = Segment.decode(reader.reference("segment", segment))
                kept[segment] = frozenset(dials.sample(len(dials)))
            if suppress and suppress not in kept:
                dials = Segment.decode(reader.reference("suppress", suppress))
                kept[suppress] = frozenset(dials.sample(len(dials)))
            if policy and policy not in kept:
                kept[policy] = Policy.parse(reader.reference("policy", policy))
            specification.apply(
                CommittedRange(
                    taken.file,
                    taken.start,
                    read(taken),
                    taken.stamp,
                    taken.newest_stamp,
                    known[taken.file].continues,
                    taken.day_open_before,
                ),
                kept[segment],
                kept[rules],
                kept.get(suppress, ()),
                kept.get(policy, OFF),
                tables(zones),
            )
    return specification


def check(
    data: Path,
    output: Path,
    *,
    state: Path | None = None,
    taken_away: dict[str, bytes] | None = None,
    adopted: dict[str, bytes] | None = None,
    remembered: Callable[[LogRange], bytes] | None = None,
) -> Specification:
    """Assert the law; the specification's replay, for more questions.

    Args:
        data: the DATA files; what a run took of them must still be in them, unless it is remembered.
        output: where the notifications are.
        state: the state directory, when it is not in OUTPUT.
        taken_away: by application directory, what a consumer has moved out of OUTPUT, in the order of the names.
        adopted: by application, what OUTPUT held when the state began.
        remembered: the bytes of a range, for DATA that its writers have changed since.
    """
    state = state or output / ".upswell"
    specification = replay(data, state, adopted, remembered)
    wanted: defaultdict[str, bytes] = defaultdict(bytes)
    for application, lines in (adopted or {}).items():
        wanted[directory_name(application)] += lines
    for application, lines in specification.outputs.items():
        wanted[directory_name(application)] += b"".join(lines)
    expected = {directory: lines for directory, lines in wanted.items() if lines}
    actual: defaultdict[str, bytes] = defaultdict(bytes, taken_away or {})
    for directory, lines in published(output).items():
        actual[directory] += lines

    assert {name: lines for name, lines in actual.items() if lines} == expected
    assert published(output / ".control") == {
        directory_name(application): b"".join(lines)
        for application, lines in sorted(specification.control_outputs.items())
    }
    with StateReader.open(state) as reader:
        totals = reader.totals()
        assert totals.lines == specification.lines
        assert {k: n for k, n in totals.outcomes.items() if n} == dict(specification.counts)
        assert {k: n for k, n in totals.reasons.items() if n} == dict(specification.reasons)
        assert sum(totals.outcomes.values()) == totals.lines
        files: Counter[str] = Counter()
        for file in reader.files_in():
            files.update(file.outcomes)
        assert {k: n for k, n in files.items() if n} == dict(specification.counts)
        same_ledger(specification, reader)
    assert [] == list((output / ".upswell" / "staging").iterdir())
    return specification


def same_ledger(specification: Specification, reader: StateReader) -> None:
    """Assert that totals, fired window instances and caps that still matter are those of the specification."""
    day_open = reader.day_open()
    ledger = Ledger.load(*read_ledger(reader), day_open, 1)
    expected = [
        (*key, specification.totals.get(key, 0), key in specification.fired)
        for key in sorted(specification.totals.keys() | specification.fired)
        if last_day(*key) >= day_open
    ]
    assert [(*each.key, each.total, each.fired) for each in ledger.totals()] == expected
    assert ledger.caps() == sorted(cap for cap in specification.caps if cap[2] >= day_open)


def last_day(_msisdn: str, _service: int, start_min: int, end_min: int, day: int) -> int:
    """The last day whose records belong to an occurrence: that of its end."""
    if start_min < end_min:
        return day
    after = date(day // 10_000, day // 100 % 100, day % 100) + timedelta(days=1)
    return after.year * 10_000 + after.month * 100 + after.day
