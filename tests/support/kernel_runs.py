"""How kernel tests run the kernel and the specification on the same bytes: what is asked, and what both must say."""

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from operator import add
from os import environ
from pathlib import Path
from typing import NamedTuple

from hypothesis import strategies as st

from upswell import kernel
from upswell.reference.keyed_hash import keyed_hash
from upswell.reference.policy import Policy
from upswell.reference.rules import Rule
from upswell.semantics import CommittedRange, Line, Measure, Specification
from upswell.zones import Zones, day_max_of, day_open_of

DIALS = ("0126545098", "126545098", "00000", "999999999999999", "12345")
STRANGERS = ("0124637855", "000000", "54321")
RULES = (
    Rule(1, "Twitter", 0, 1440, 300),
    Rule(2, "WhatsApp", 9 * 60, 18 * 60, 68),
    Rule(2, "WhatsApp", 19 * 60 + 30, 20 * 60, 99),
    Rule(3, "Night", 22 * 60, 6 * 60, 100),
    Rule(999_999_999, "Twitter", 10 * 60, 20 * 60, 0),
    Rule(5000, "Day", 0, 1440, 10**15 - 1),
)
CAIRO = Zones("Africa/Cairo", "UTC")
REJECTS_ALL = 1 << 40
FORGETTING = bytes(range(16))


class Settings(NamedTuple):
    """What may differ between two runs without changing any result, and what does change it."""

    threads: int = 1
    path: str = ""
    chunk_bytes: int = 0
    output_bytes_max: int = REJECTS_ALL
    measure: Measure = "total"
    zones: Zones = Zones()
    keep_days: int = 2
    dials: tuple[str, ...] = DIALS
    suppressed: frozenset[str] = frozenset()
    forgotten: frozenset[str] = frozenset()
    policy: Policy = Policy()

    def kernel_policy(self) -> kernel.Policy:
        """The policy as the kernel takes it."""
        listed, _ = kernel.Segment.parse(["\n".join(sorted(self.suppressed)).encode()])
        hashes = [keyed_hash(FORGETTING, msisdn.encode()) for msisdn in sorted(self.forgotten)]
        return kernel.Policy(
            listed if self.suppressed else None,
            [(FORGETTING, hashes)] if hashes else [],
            self.policy.max_per_customer_per_day,
            self.policy.control_share,
            self.policy.hash_key or None,
        )


class Asked(NamedTuple):
    """A range as the source would ask for it: up to `end` of the file, from where that stands."""

    file: int
    end: int
    final: bool


class Run(NamedTuple):
    """All that a run of the kernel says."""

    taken: list[CommittedRange]
    lines: int
    outcomes: list[int]
    reasons: list[int]
    rejects: bytes
    outputs: dict[str, bytes]
    notifications: set[tuple[int, str, str, str, int, bytes]]
    control_outputs: dict[str, bytes]
    control_notifications: set[tuple[int, str, str, str, int, bytes]]
    totals: list[tuple[str, int, int, int, int, int, bool]]
    caps: list[tuple[str, str, int]]
    places: dict[int, tuple[int, int, int, int]]
    deltas: list[bytes]
    ledger: kernel.Ledger


@contextmanager
def environment(settings: Settings) -> Iterator[None]:
    """The variables that force a path and a chunk size."""
    names = {
        "UPSWELL_KERNEL_PATH": settings.path,
        "UPSWELL_KERNEL_CHUNK_BYTES": str(settings.chunk_bytes or ""),
    }
    before = {name: environ.get(name) for name in names}
    environ.update(names)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del environ[name]
            else:
                environ[name] = value


def stamp_of(file: int) -> str:
    """The stamp of the test's file: a day apart, so that days close and futures differ."""
    return f"202004{17 + file:02}1000"


class Driver:
    """Reads files with the kernel as the source and the engine would, and keeps what it says."""

    def __init__(self, directory: Path, files: Sequence[bytes], settings: Settings) -> None:
        self.files = files
        self.settings = settings
        self.paths = [directory / f"DATA_{stamp_of(number)}.csv" for number, _ in enumerate(files)]
        for path, content in zip(self.paths, files, strict=True):
            path.write_bytes(content)
        self.segment, _ = kernel.Segment.parse(["\n".join(settings.dials).encode()])
        self.rules = kernel.Rules([tuple(rule) for rule in RULES])
        with environment(settings):
            clock = kernel.Clock(settings.zones.shifts())
            self.scanner = kernel.Scanner(settings.threads, settings.measure, clock)
        self.newest = ""
        self.policy = settings.kernel_policy()
        self.run = Run(
            [], 0, [0] * len(kernel.OUTCOMES), [0] * len(kernel.REASONS), b"", {}, set(), {}, set(), [], [], {}, [],
            kernel.Ledger(),
        )  # fmt: skip

    def take(self, call: Sequence[Asked]) -> None:
        """Process what is asked until all of it is taken."""
        rest = list(call)
        while rest:
            ranges = self.ranges(rest)
            result = self.scanner.process(
                ranges,
                self.segment,
                self.rules,
                self.run.ledger,
                self.settings.output_bytes_max,
                10_000,
                self.policy,
            )
            assert result.ranges
            for part, wanted, scanned in zip(rest, ranges, result.ranges, strict=False):
                self.note_range(part, wanted, scanned)
            self.note_result(ranges, result)
            rest = rest[sum(scanned.complete for scanned in result.ranges) :]

    def ranges(self, parts: Sequence[Asked]) -> list[kernel.Range]:
        """The ranges to ask for, each from where its file stands."""
        ranges, newest = [], self.newest
        for part in parts:
            stamp = stamp_of(part.file)
            newest = max(newest, stamp)
            at, newlines, digest, tail = self.run.places.get(part.file, (0, 0, 0, 0))
            ranges.append(
                kernel.Range(
                    name=self.paths[part.file].name,
                    path=bytes(self.paths[part.file]),
                    compressed=False,
                    start=at,
                    end=max(at, part.end),
                    final=part.final,
                    tail=tail,
                    newlines=newlines,
                    digest=digest,
                    day_max=day_max_of(stamp),
                    day_open=day_open_of(newest, self.settings.keep_days, self.settings.zones),
                    rejects_left_bytes=REJECTS_ALL,
                    stamp=stamp,
                    newest_stamp=newest,
                )
            )
        return ranges

    def note_range(self, part: Asked, wanted: kernel.Range, scanned: kernel.Scanned) -> None:
        """Where a range stands, and its counts, which must add up."""
        assert scanned.problem is None, scanned.problem_detail
        assert scanned.lines == sum(scanned.outcomes)
        assert scanned.outcomes[0] == sum(scanned.rejects)
        data = self.files[part.file]
        if scanned.end > wanted.start:  # only what was taken enters the log
            taken = data[wanted.start : scanned.end]
            self.run.taken.append(
                CommittedRange(wanted.name, wanted.start, taken, wanted.stamp, wanted.newest_stamp)
            )
        self.newest = max(self.newest, wanted.stamp)
        assert kernel.crc64(data[: scanned.end]) == scanned.digest
        place = scanned.end, scanned.newlines, scanned.digest, scanned.tail
        self.run.places[part.file] = place
        self.run = self.run._replace(
            lines=self.run.lines + scanned.lines,
            outcomes=list(map(add, self.run.outcomes, scanned.outcomes)),
            reasons=list(map(add, self.run.reasons, scanned.rejects)),
        )

    def note_result(self, ranges: Sequence[kernel.Range], result: kernel.Result) -> None:
        """Outputs, notifications, rejects and the delta of a call."""
        names = self.rules.applications
        for outputs, made, notifications, told in (
            (self.run.outputs, result.outputs, self.run.notifications, result.notifications),
            (
                self.run.control_outputs, result.control_outputs,
                self.run.control_notifications, result.control_notifications,
            ),
        ):  # fmt: skip
            for application, content in made:
                outputs[names[application]] = outputs.get(names[application], b"") + content
            assert sorted(told) == told
            for day, application, msisdn, number, byte, raw in told:
                notification = (day, names[application], msisdn, ranges[number].name, byte, raw)
                assert notification not in notifications
                notifications.add(notification)
        self.run.deltas.append(result.delta)
        self.run = self.run._replace(rejects=self.run.rejects + result.rejects)


def totals_of(ledger: kernel.Ledger) -> list[tuple[str, int, int, int, int, int, bool]]:
    """The totals of a ledger as tuples: their key, the total and whether it has fired."""
    return [(*each.key, each.total, each.fired) for each in ledger.totals()]


def run_kernel(
    directory: Path, files: Sequence[bytes], asked: Sequence[Sequence[Asked]], settings: Settings
) -> Run:
    """Write the files and process the asked ranges, one call after another, each until all of it is taken."""
    driver = Driver(directory, files, settings)
    for call in asked:
        driver.take(call)
    ledger = driver.run.ledger
    return driver.run._replace(totals=totals_of(ledger), caps=ledger.caps())


def run_specification(taken: Sequence[CommittedRange], settings: Settings) -> Run:
    """What the specification says about the ranges that were consumed."""
    specification = Specification(settings.measure, settings.keep_days, settings.zones)
    segment = frozenset(settings.dials)
    suppressed = settings.suppressed | settings.forgotten
    rejects = []
    notified: dict[str, set[tuple[int, str, str, str, int, bytes]]] = defaultdict(set)
    for part in taken:
        for line in specification.apply(part, segment, RULES, suppressed, settings.policy):
            if line.outcome in ("rejected", "late"):
                rejects.append(encoded(line))
            if line.outcome in ("notified", "control") and line.record and line.rule:
                place = (line.file, line.byte, line.content)
                row = (line.day, line.rule.application, line.record.msisdn, *place)
                notified[line.outcome].add(row)
    keys = sorted(specification.totals.keys() | specification.fired)
    totals = [(*key, specification.totals.get(key, 0), key in specification.fired) for key in keys]
    return Run(
        list(taken),
        specification.lines,
        [specification.counts[name] for name in kernel.OUTCOMES],
        [specification.reasons[name] for name in kernel.REASONS],
        b"".join(rejects),
        {name: b"".join(lines) for name, lines in specification.outputs.items()},
        notified["notified"],
        {name: b"".join(lines) for name, lines in specification.control_outputs.items()},
        notified["control"],
        totals,
        sorted(specification.caps),
        {},
        [],
        kernel.Ledger(),
    )


def same(expected: Run, actual: Run) -> None:
    """Assert that two runs say the same about the lines."""
    for name in (
        "lines",
        "outcomes",
        "reasons",
        "rejects",
        "outputs",
        "notifications",
        "control_outputs",
        "control_notifications",
        "totals",
        "caps",
    ):
        assert getattr(expected, name) == getattr(actual, name), name


def encoded(line: Line) -> bytes:
    """A reject's line, as docs/operations.md describes it."""
    raw = line.content[: kernel.LINE_BYTES_MAX].decode("latin-1").translate(_ESCAPES)
    if raw and raw[0] in '=+-@"':
        raw = f"\\x{ord(raw[0]):02x}{raw[1:]}"
    fields = (line.file, line.line, line.byte, len(line.content), line.reason or "late", raw)
    return ("\t".join(map(str, fields)) + "\n").encode()


def random_content(
    generator: random.Random, dirty: float = 0.3, dials: Sequence[str] = DIALS
) -> bytes:
    """The content of a line: a record, or something that went wrong on its way to be one."""
    fields = [
        generator.choice(dials if generator.random() < 0.7 else STRANGERS),
        generator.choice(("1", "2", "3", "01", "999999999", "5000", "4", "000000002")),
        str(generator.choice((0, 1, 30, 68, 69, 100, 150, 10**15 - 1))),
        generator.choice(("20200416", "20200417", "20200418", "20200415", "20200419"))
        + generator.choice(("000000", "055959", "060000", "093743", "193743", "220000", "235959")),
    ]
    if generator.random() >= dirty:
        return ",".join(fields).encode()
    if generator.random() < 0.5:
        place = generator.randrange(4)
        fields[place] = generator.choice(HOSTILE_FIELDS)(fields[place])
    line = bytearray(",".join(fields).encode("latin-1"))
    for _ in range(generator.choice((0, 0, 1, 1, 2, 5))):
        at = generator.randrange(len(line) + 1)
        change = generator.randrange(4)
        if change == 0 and line:
            del line[at - 1 : at]
        elif change == 1:
            line[at:at] = bytes([generator.choice(HOSTILE_BYTES)])
        elif change == 2 and at < len(line):
            line[at] = generator.choice(HOSTILE_BYTES)
        else:
            line[at:] = generator.choice(HOSTILE_ENDS)
    return bytes(line).replace(b"\n", b"")


_ESCAPES = {
    byte: "\\\\" if byte == 0x5C else f"\\x{byte:02x}"
    for byte in range(256)
    if byte == 0x5C or not 0x20 <= byte <= 0x7E
}
HOSTILE_BYTES = b'0123456789,,"\r\t \\+-.\x00\xff\xef\xbb\xbf\x1b:/;)*' + bytes(range(0x80, 0x90))
HOSTILE_ENDS = (
    b"",
    b"\r",
    b"\r\r",
    b",",
    b" ",
    b'"',
    b"\x00" * 70,
    b"x" * 4090,
    b"9" * 5000,
    b"," * 90,
)
HOSTILE_FIELDS = (
    lambda field: "+" + field,
    lambda field: f'"{field}"',
    lambda field: f'"+{field}"',
    lambda field: f'"{field}',
    lambda field: field + " ",
    lambda field: field * 2,
    lambda field: field[:-1],
    lambda field: "0" + field,
    lambda _: "",
    lambda _: '""',
    lambda _: "20200229235959",
    lambda _: "20210229000000",
    lambda _: "20200431000000",
    lambda _: "20200417240000",
    lambda _: "20200417236000",
    lambda _: "20200417235960",
    lambda _: "00000417000000",
    lambda _: "00010101000000",
    lambda _: "99991231235959",
    lambda _: "1e3",
    lambda _: "0x1F",
    lambda _: "\u00b2\u00b9",
)


def random_file(
    generator: random.Random, lines: int, dirty: float = 0.3, dials: Sequence[str] = DIALS
) -> bytes:
    """A file of such lines, with all kinds of ends, sometimes a byte-order mark and a header."""
    parts = [b"\xef\xbb\xbf"] if generator.random() < 0.2 else []
    if generator.random() < 0.2:
        parts.append(b"msisdn,service,volume,timestamp\r\n")
    for _ in range(lines):
        parts.append(random_content(generator, dirty, dials))
        parts.append(
            generator.choice((b"\n",) * 12 + (b"\r\n",) * 4 + (b"\n\n", b" \t\n", b"\r", b"\r\r\n"))
        )
    if parts and generator.random() < 0.5:
        parts.pop()
    return b"".join(parts)


@st.composite
def files_and_calls(draw: st.DrawFn) -> tuple[list[bytes], list[list[Asked]]]:
    """Files, and calls that read them in steps: cut anywhere, final or not, several ranges in a call."""
    generator = random.Random(draw(st.integers(0, 2**32)))
    files = [
        random_file(generator, draw(st.integers(0, 12))) for _ in range(draw(st.integers(1, 3)))
    ]
    calls = []
    ends = [0] * len(files)
    for _ in range(draw(st.integers(0, 4))):
        call = []
        for number, content in enumerate(files):
            if generator.random() < 0.6:
                ends[number] = generator.randint(ends[number], len(content))
                call.append(Asked(number, ends[number], generator.random() < 0.3))
        calls.append(call)
    calls.append([Asked(number, len(content), True) for number, content in enumerate(files)])
    return files, calls


settings_strategy = st.builds(
    Settings,
    threads=st.integers(1, 3),
    path=st.sampled_from(kernel.PATHS),
    chunk_bytes=st.sampled_from((0, 1, 2, 3, 7, 33, 64, 100, 1000)),
    output_bytes_max=st.sampled_from((0, 100, REJECTS_ALL)),
    measure=st.sampled_from(("total", "session")),
    zones=st.sampled_from((Zones(), CAIRO, Zones("Asia/Kathmandu", "America/New_York"))),
    keep_days=st.integers(1, 3),
    suppressed=st.frozensets(st.sampled_from(DIALS), max_size=2),
    forgotten=st.frozensets(st.sampled_from(DIALS), max_size=1),
    policy=st.builds(
        Policy,
        max_per_customer_per_day=st.sampled_from((0, 0, 1, 2)),
        control_share=st.sampled_from((0, 0, 4_000, 10_000)),
        control_key=st.just("a key that is long enough"),
    ),
)
