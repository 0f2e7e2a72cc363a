"""Typed contract and documentation of the compiled module ``upswell._kernel``.

Imported by ``upswell.kernel`` alone. Everything here is values in, values out: the kernel opens and reads input files, and
does nothing else to the world. It never prints, logs or raises on data: bad data comes back as counts, encoded rejects
and ``problem`` values. ``ValueError`` means that the caller broke this contract.

Days are integers ``yyyymmdd`` at this border (20200417), so that they compare in order and can be read.
Long calls release the GIL. Objects are not to be used from two threads at once, except Segment and Rules (immutable).
"""

from collections.abc import Sequence
from typing import Final, final

VERSION: Final[str]
SOURCE_DIGEST: Final[str]
"""Digest of the crate's sources at build time (kernel/build.rs); a test compares it with the present sources."""
OUTCOMES: Final[tuple[str, ...]]
"""Every outcome of a line in the order of the contract: rejected, blank, header, not_in_segment, no_rule, outside_window, late, capped, counted, notified."""
REASONS: Final[tuple[str, ...]]
"""Every reject reason in the order they are checked: too_long, columns, msisdn, service, volume, timestamp, future."""
LINE_BYTES_MAX: Final[int]
SHARDS: Final[int]
PATHS: Final[tuple[str, ...]]
"""The scanner paths this CPU can run, fastest first; the last is "scalar". UPSWELL_KERNEL_PATH forces one."""

@final
class Segment:
    """An immutable set of msisdns."""

    @staticmethod
    def parse(files: Sequence[bytes], errors_max: int = 1000) -> tuple["Segment", SegmentReport]:
        """Parse the contents of SEGMENT's files, in order, by the grammar of ``upswell.segment``."""
    @staticmethod
    def load(dump: bytes) -> "Segment":
        """The segment that ``dump`` wrote. ValueError when the bytes are damaged (they carry a checksum)."""
    def dump(self) -> bytes:
        """A compact, checksummed form (sorted keys, delta coded)."""
    def __len__(self) -> int: ...
    def __contains__(self, msisdn: str) -> bool: ...
    def diff(self, newer: "Segment") -> tuple[int, int]:
        """(dials added, dials removed) from this one to the newer."""
    def sample(self, n: int) -> list[str]:
        """The n smallest dials (all when fewer), for messages and tests."""
    def lengths(self) -> dict[int, int]:
        """Dials by number of digits."""
    def memory_bytes(self) -> int: ...

@final
class SegmentReport:
    lines: int
    """Lines that should be a dial: all but blank and header lines."""
    bad: int
    duplicates: int
    errors: list[tuple[int, int, str, bytes]]
    """(index of the file, line number from 1, reason, first 64 bytes), at most errors_max."""

@final
class Rules:
    """Compiled rules: immutable."""

    def __init__(self, rules: Sequence[tuple[int, str, int, int, int]]) -> None:
        """rules: (service, application, start_min, end_min, threshold); minutes of the day, end exclusive; end <= start crosses midnight (start == 0, end == 1440 is the whole day)."""
    applications: list[str]
    """In order of first appearance; the index is the `application` of results."""

@final
class Clock:
    """Converts local times of the data's zone to the rules' zone."""

    def __init__(self, shifts: Sequence[tuple[int, int]]) -> None:
        """shifts: (first local second since 0001-01-01T00:00:00 at which it holds, seconds to add), ascending; empty: no conversion."""

@final
class Ledger:
    """Totals, fired occurrences and caps, in SHARDS shards by msisdn."""

    def __init__(self) -> None: ...
    @staticmethod
    def load(
        bases: Sequence[tuple[int, bytes]], deltas: Sequence[tuple[int, bytes]], day_open: int, threads: int
    ) -> "Ledger":
        """The ledger of a checkpoint: (batch, base blob) of any shards in any order, (batch, delta blob) in commit order. A delta says nothing about a shard whose base is of its batch or a later one. What can receive no record of day_open or later is left out. ValueError when a blob is damaged (each carries a checksum)."""
    def shard(self, index: int) -> bytes:
        """One shard as a base blob: all of its live entries."""
    def shard_bytes(self, index: int) -> int:
        """About how long shard(index) is, without making it."""
    def drop_before(self, day_open: int) -> None:
        """Forget totals and caps that can receive no record of day_open or later."""
    def add_cap(self, msisdn: str, application: str, day: int) -> None:
        """Used by --adopt: this application has notified this msisdn on this day. Part of the next delta."""
    def take_delta(self) -> bytes:
        """Entries changed since the last delta, as a delta blob (b"" when none)."""
    def entries(self) -> tuple[int, int]:
        """(live totals, live caps)."""
    def memory_bytes(self) -> int: ...
    def items(self) -> list[tuple[str, int, int, int, int, int, bool]]:
        """(msisdn, service, start_min, end_min, occurrence day, total, fired), sorted: for tests and verify on small states."""
    def caps(self) -> list[tuple[str, str, int]]:
        """(msisdn, application, day), sorted: for tests and verify on small states."""

@final
class Scanner:
    """Reads ranges and turns them into outcomes; owns threads' buffers and open decompressors between calls."""

    def __init__(self, threads: int, measure: str, clock: Clock) -> None:
        """measure: "total" or "session"."""
    def process(
        self,
        ranges: Sequence[tuple[str, bytes, bool, int, int, bool, int, int, int, int, int, int]],
        segment: Segment,
        rules: Rules,
        ledger: Ledger,
        output_bytes_max: int,
        work_ms_max: int,
    ) -> "Result":
        """Scan ranges in order and apply their records to the ledger.

        Each range: (name, path, compressed, start, end, final, tail, newlines, digest, day_max, day_open, rejects_left_bytes).
        name is what rejects carry; [start, end) in uncompressed bytes may be read; whole lines only, and when `final` also an unterminated last line.
        tail: 0 start is the start of a line; 1 it continues a line that was taken unterminated; 2 likewise and that line ended in "\\r".
        newlines, digest: of the bytes before start. day_max: a later date as written is `future`. day_open: an earlier day is `late`.
        Stops early, between two pieces, when output and rejects exceed output_bytes_max or the work lasted work_ms_max (always after at least one piece with progress).
        """

@final
class Result:
    ranges: list[Scanned]
    """One for each range begun, in order: a prefix of what was asked, the last of which may be incomplete."""
    outputs: list[tuple[int, bytes]]
    """(application, the bytes of its output file), applications with notifications only, ascending."""
    notifications: list[tuple[int, int, str, int, int, bytes]]
    """(day, application, msisdn, index of the range, byte in the file, raw line), sorted by (day, application, msisdn)."""
    rejects: bytes
    """Encoded rejects in input order: name TAB line TAB byte TAB length TAB reason TAB raw NEWLINE. raw: printable ASCII as it is, backslash doubled, any other byte as backslash xNN; at most LINE_BYTES_MAX bytes of it. Late records are here too, with the reason "late"."""
    delta: bytes
    """The ledger's delta of this call (as take_delta)."""
    outside_over: int
    """Records outside their hours whose own volume is above a threshold of their service."""
    outside_over_example: tuple[int, int, bytes] | None
    """(index of the range, byte, raw) of the first of them."""
    unmatched_example: str | None
    """The msisdn of the first record that is not in the segment."""

@final
class Scanned:
    end: int
    """The bytes [start, end) are taken: whole lines (and the tail, when final)."""
    complete: bool
    """Nothing more of this range can be taken now."""
    newlines: int
    digest: int
    tail: int
    """As in process, for the range that continues here."""
    outcomes: tuple[int, ...]
    """Lines by outcome, in the order of OUTCOMES."""
    rejects: tuple[int, ...]
    """Rejected lines by reason, in the order of REASONS."""
    lines: int
    """Lines read, counted apart from the outcomes so that the sums can be compared."""
    rejects_kept_bytes: int
    """Raw bytes kept in Result.rejects."""
    rejects_dropped: tuple[int, int, int] | None
    """(lines, from byte, to byte) of rejects beyond rejects_left_bytes: counted, not kept."""
    problem: str | None
    """None, or: gone (no such file), unreadable, short (the file ended before `end`), not_regular, broken (compressed data)."""
    problem_detail: str
    inode: int
    """Of the file that was read."""

def crc64(data: bytes, initial: int = 0) -> int:
    """CRC-64/NVME of data, continuing from initial (the CRC of what came before)."""

def digest(path: bytes, compressed: bool, start: int, end: int, initial: int) -> tuple[int, int]:
    """(CRC-64/NVME continued over the uncompressed bytes [start, end), bytes really read). OSError when it cannot be opened or read; ValueError when compressed data is broken."""

def first_record(path: bytes, compressed: bool, end: int, day_max: int) -> tuple[int, int] | None:
    """(CRC-64/NVME of the first line within [0, end) that is a record, without its line end; its byte), or None when there is none. An unterminated last line counts. Errors as digest."""

def check_gzip(path: bytes, bytes_max: int) -> tuple[str, int, int, str]:
    """(verdict, uncompressed bytes, CRC-64/NVME, detail): verdict is "whole", "incomplete", "broken" or "too_large". Bounded memory; several members are one file. OSError when it cannot be read."""

def parse_lines(data: bytes, first: bool, day_max: int, path: str) -> list[tuple[str, str, int, int, str]]:
    """For tests and `check`: each line of data (an unterminated last one too) as (kind, msisdn, service, volume, timestamp); kind is "record", "blank", "header" or a reason. `path` is one of PATHS."""
