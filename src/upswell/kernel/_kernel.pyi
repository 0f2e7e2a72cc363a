r"""Typed contract and documentation of the compiled module ``upswell.kernel._kernel``.

Imported by ``upswell.kernel`` alone. Everything here is values in, values out: the kernel opens and reads
input files, and does nothing else to the world. It never prints, logs or raises on data: bad data comes back
as counts, encoded rejects and ``problem`` values. ``ValueError`` means that the caller broke this contract.

Days are integers ``yyyymmdd`` at this border (20200417), so that they compare in order and can be read.
Long calls release the GIL. Objects are not to be used from two threads at once, except Segment, Rules and
Clock (immutable).
"""

from collections.abc import Iterable, Sequence
from typing import Final, Self, final

from upswell.kernel import Range

__all__ = [
    "LINE_BYTES_MAX",
    "OUTCOMES",
    "PATHS",
    "REASONS",
    "SHARDS",
    "SOURCE_DIGEST",
    "VERSION",
    "Clock",
    "Ledger",
    "LedgerTotal",
    "Policy",
    "Result",
    "Rules",
    "Scanned",
    "Scanner",
    "Segment",
    "SegmentReport",
    "Splitting",
    "check_gzip",
    "count_lines",
    "crc64",
    "digest",
    "first_record",
    "forget_in",
    "gather",
    "parse_lines",
    "search",
    "step",
]

VERSION: Final[str]
SOURCE_DIGEST: Final[str]
"""Digest of the crate's sources at build time (kernel/build.rs); a test compares it with the present sources."""
OUTCOMES: Final[tuple[str, ...]]
"""Every outcome of a line in the order of the contract.

They are rejected, blank, header, not_in_segment, suppressed, no_rule, outside_window, late, capped, capped_customer,
control, counted, notified.
"""
REASONS: Final[tuple[str, ...]]
"""Every reject reason in the order of checks: too_long, columns, msisdn, service, volume, timestamp, future."""
LINE_BYTES_MAX: Final[int]
SHARDS: Final[int]
PATHS: Final[tuple[str, ...]]
"""The scanner paths this CPU can run, fastest first; the last is "scalar". UPSWELL_KERNEL_PATH forces one."""

@final
class Segment:
    """An immutable set of msisdns."""

    @staticmethod
    def parse(files: Sequence[bytes], errors_max: int = 1000) -> tuple[Segment, SegmentReport]:
        """Parse the contents of SEGMENT's files, in order, by the grammar of ``upswell.reference.segment``."""
    @staticmethod
    def load(dump: bytes) -> Segment:
        """The segment that ``dump`` wrote. ValueError when the bytes are damaged (they carry a checksum)."""
    def dump(self) -> bytes:
        """A compact, checksummed form (sorted keys, delta coded)."""
    def __len__(self) -> int: ...
    def __contains__(self, msisdn: str, /) -> bool: ...
    def diff(self, newer: Segment) -> tuple[int, int]:
        """(dials added, dials removed) from this one to the newer."""
    def sample(self, n: int) -> list[str]:
        """The n smallest dials as text, sorted (all when fewer), for messages and tests."""
    def lengths(self) -> dict[int, int]:
        """Dials by number of digits."""
    def memory_bytes(self) -> int: ...

@final
class SegmentReport:
    """What the lines of SEGMENT were."""

    @property
    def lines(self) -> int:
        """Lines that should be a dial: all but blank and header lines."""
    @property
    def bad(self) -> int: ...
    @property
    def duplicates(self) -> int: ...
    @property
    def errors(self) -> list[tuple[int, int, str, bytes]]:
        """(index of the file, line number from 1, reason, first 64 bytes), at most errors_max."""

@final
class Rules:
    """Compiled rules: immutable."""

    def __new__(cls, rules: Sequence[tuple[int, str, int, int, int]]) -> Self:
        """Of (service, application, start_min, end_min, threshold) each; minutes of the day, end exclusive.

        end < start crosses midnight; 0 to 1440 is the whole day. ValueError when windows of a service overlap
        or a service has two applications.
        """
    @property
    def applications(self) -> list[str]:
        """In order of first appearance; the index is the `application` of results."""

@final
class Policy:
    """What keeps back a record of a targeted msisdn: immutable. A new one keeps nothing back."""

    def __new__(
        cls,
        suppressed: Segment | None = None,
        forgotten: Sequence[tuple[bytes, Sequence[int]]] | None = None,
        max_per_customer_per_day: int = 0,
        control_share: int = 0,
        control_key: bytes | None = None,
    ) -> Self:
        """suppressed: the suppression list.

        forgotten: (key, hashes of msisdns under it), suppressed likewise. control_share: in hundredths of a percent,
        with the key that draws the group. Keys have 16 bytes; hashes are those of ``upswell.reference.keyed_hash``.
        """
    def parts(
        self,
    ) -> tuple[Segment | None, list[tuple[bytes, list[int]]], int, int, bytes | None]:
        """What it was made of, as a new one takes it."""

@final
class Clock:
    """Converts local times of the data's zone to the rules' zone."""

    def __new__(cls, shifts: Sequence[tuple[int, int]]) -> Self:
        """Of (first local second since 0001-01-01T00:00:00 at which it holds, seconds to add), ascending.

        Empty: no conversion.
        """

@final
class Ledger:
    """Totals, fired occurrences and caps, in SHARDS shards by msisdn."""

    def __new__(cls) -> Self: ...
    @staticmethod
    def load(
        bases: Iterable[tuple[int, bytes]],
        deltas: Iterable[tuple[int, bytes]],
        day_open: int,
        threads: int,
        delta_bytes: int = 0,
    ) -> Ledger:
        """The ledger of a checkpoint: (batch, base blob) in any order, (batch, delta blob) in commit order.

        Bases are taken some at a time and not kept, and then the deltas likewise. With more than one thread the
        next are asked for while some are taken in. delta_bytes: about those of all deltas, for which room is made.

        A delta says nothing about a shard whose base is of its batch or a later one. What can receive no
        record of day_open or later is left out. ValueError when a blob is damaged (each carries a checksum).
        """
    def shard(self, index: int) -> bytes:
        """One shard as a base blob: all of its live entries."""
    def drop_before(self, day_open: int) -> None:
        """Forget totals and caps that can receive no record of day_open or later.

        They are gone at once for every method here; their memory comes back over the next calls of process.
        """
    def add_cap(self, msisdn: str, application: str, day: int) -> None:
        """Used by --adopt: this application has notified this msisdn on this day. Part of the next delta."""
    def forget(self, key: bytes, hashes: Sequence[int]) -> None:
        """Take out all that is about the msisdns with these hashes under this key: no blob made from now on has it."""
    def take_delta(self) -> bytes:
        """Entries changed since the last delta, as a delta blob (b"" when none)."""
    def entries(self) -> tuple[int, int]:
        """(live totals, live caps)."""
    def memory_bytes(self) -> int: ...
    def nearest(self, window: tuple[int, int, int], threshold: int, most: int) -> list[LedgerTotal]:
        """Return the highest totals of (service, start_min, end_min) that are not above the threshold.

        At most so many, the highest first; what has fired is not among them.
        """
    def totals(self, msisdn: str | None = None) -> list[LedgerTotal]:
        """Return all totals, or those of one msisdn, sorted by their key.

        All only for small ledgers. With measure "session" only fired occurrences are here, total 0.
        """
    def caps(self, msisdn: str | None = None) -> list[tuple[str, str, int]]:
        """(msisdn, application, day), sorted: all, for small ledgers, or those of one msisdn."""

@final
class LedgerTotal:
    """What an msisdn has come to within an occurrence of a window: immutable."""

    @property
    def key(self) -> tuple[str, int, int, int, int]:
        """msisdn, service, start_min, end_min and day."""
    @property
    def msisdn(self) -> str: ...
    @property
    def service(self) -> int: ...
    @property
    def start_min(self) -> int: ...
    @property
    def end_min(self) -> int: ...
    @property
    def day(self) -> int:
        """The day the window opened."""
    @property
    def total(self) -> int: ...
    @property
    def fired(self) -> bool: ...
    def __eq__(self, other: object, /) -> bool: ...

@final
class Scanner:
    """Reads ranges and turns them into outcomes; owns buffers and open decompressors between calls.

    UPSWELL_KERNEL_CHUNK_BYTES sets the size of the chunks that are scanned at once: for tests, as no result
    depends on it.
    """

    def __new__(cls, threads: int, measure: str, clock: Clock) -> Self:
        """measure: "total" or "session"."""
    def process(
        self,
        ranges: Sequence[Range],
        segment: Segment,
        rules: Rules,
        ledger: Ledger,
        output_bytes_max: int,
        work_ms_max: int,
        policy: Policy | None = None,
    ) -> Result:
        r"""Scan ranges in order and apply their records to the ledger.

        A range is read by its attributes, as Range documents them. Whole lines only, and when `final` also an
        unterminated last line. Rejects are kept until one, encoded, does not fit into rejects_left_bytes.
        Stops early, between two chunks, when output, rejects, rows of notifications and delta together exceed
        output_bytes_max, or the work lasted work_ms_max (always after at least one chunk with progress).
        """

@final
class Splitting:
    """Scans one split of a range, in rounds: what needs no ledger is decided, the rest leaves as candidates.

    Its blobs and its report are for step and gather alone. UPSWELL_KERNEL_CHUNK_BYTES sets the size of its chunks, too.
    """

    def __new__(
        cls,
        range: Range,
        place: tuple[int, int],
        bounds: tuple[int, int],
        shards: int,
        clock: Clock,
        segment: Segment,
        rules: Rules,
        policy: Policy | None = None,
    ) -> Self:
        """The lines of the range that start within bounds [begin, end), which is not empty unless the range is.

        place: (index of the range, index of the split in it); a split begins the range when it is the first, and
        only then. A compressed range is one split. Candidates are for `shards` shards, a power of two up to SHARDS:
        shard k of them is the kernel's SHARDS / shards consecutive ones from k * SHARDS / shards.
        """
    def __iter__(self) -> Self: ...
    def __next__(self) -> tuple[int, bytes]:
        """Return the next (shard, blob of candidates); scan on when none is left of the last round."""
    def report(self) -> bytes:
        """What the split was, once it is exhausted."""

@final
class Result:
    """What a call of process or gather gives. Outputs and notifications are made when they are asked for: ask once."""

    @property
    def ranges(self) -> list[Scanned]:
        """One for each range of which something came, in order.

        A prefix of what was asked; the last may be incomplete.
        """
    @property
    def outputs(self) -> list[tuple[int, bytes]]:
        """(application, the bytes of its output file), applications with notifications only, ascending."""
    @property
    def notifications(self) -> list[tuple[int, int, str, int, int, bytes]]:
        """(day, application, msisdn, index of the range, byte in the file, raw line).

        Sorted by (day, application, msisdn).
        """
    @property
    def control_outputs(self) -> list[tuple[int, bytes]]:
        """As outputs, of the control group."""
    @property
    def control_notifications(self) -> list[tuple[int, int, str, int, int, bytes]]:
        """As notifications, of the control group."""
    @property
    def rejects(self) -> bytes:
        """Encoded rejects in input order: name TAB line TAB byte TAB length TAB reason TAB raw NEWLINE.

        raw: printable ASCII as it is, backslash doubled, any other byte as backslash xNN; at most
        LINE_BYTES_MAX bytes of it. Late records are here too, with the reason "late".
        """
    @property
    def delta(self) -> bytes:
        """The ledger's delta of this call (as take_delta); empty of gather."""
    @property
    def outside_over(self) -> int:
        """Records outside their hours whose own volume is above a threshold of their service."""
    @property
    def outside_over_example(self) -> tuple[int, int, bytes] | None:
        """(index of the range, byte, raw) of the first of them."""
    @property
    def unmatched_example(self) -> str | None:
        """The msisdn of the first record that is not in the segment."""

@final
class Scanned:
    """Where a range stands after a call."""

    @property
    def end(self) -> int:
        """The bytes [start, end) are taken: whole lines (and the tail, when final)."""
    @property
    def complete(self) -> bool:
        """Nothing more of this range can be taken now."""
    @property
    def newlines(self) -> int: ...
    @property
    def digest(self) -> int: ...
    @property
    def tail(self) -> int:
        """As in process, for the range that continues here."""
    @property
    def outcomes(self) -> tuple[int, ...]:
        """Lines by outcome, in the order of OUTCOMES."""
    @property
    def rejects(self) -> tuple[int, ...]:
        """Rejected lines by reason, in the order of REASONS."""
    @property
    def lines(self) -> int:
        """Lines read, counted apart from the outcomes so that the sums can be compared."""
    @property
    def rejects_kept_bytes(self) -> int:
        """Bytes of Result.rejects that are of this range."""
    @property
    def rejects_dropped(self) -> tuple[int, int, int] | None:
        """(lines, from byte, to byte) of rejects beyond rejects_left_bytes: counted, not kept.

        They are all rejects from the first that did not fit on.
        """
    @property
    def problem(self) -> str | None:
        """Why it ended before its end, or None.

        One of: gone (no such file), unreadable, short (the file ended before `end`), not_regular, broken
        (compressed data, or a compressed file that changed between two calls).
        """
    @property
    def problem_detail(self) -> str: ...
    @property
    def inode(self) -> int:
        """Of the file that was read."""

def crc64(data: bytes, initial: int = 0) -> int:
    """CRC-64/NVME of data, continuing from initial (the CRC of what came before)."""

def forget_in(blob: bytes, key: bytes, hashes: Sequence[int]) -> tuple[bytes, set[int]] | None:
    """A blob of a ledger without all that is about the msisdns with these hashes under this key; whose there was some.

    None when there is nothing of the kind. ValueError when the blob is damaged.
    """

def digest(path: bytes, start: int, end: int, initial: int, *, compressed: bool) -> tuple[int, int]:
    """(CRC-64/NVME continued over the uncompressed bytes [start, end), bytes really read).

    OSError when it cannot be opened or read; ValueError when compressed data is broken.
    """

def first_record(
    path: bytes, end: int, day_max: int, *, compressed: bool
) -> tuple[int, int] | None:
    """(CRC-64/NVME of the first line within [0, end) that is a record, without its line end; its byte).

    None when there is none. An unterminated last line counts. Errors as digest.
    """

def check_gzip(path: bytes, bytes_max: int) -> tuple[str, int, int, str]:
    """(verdict, uncompressed bytes, CRC-64/NVME, detail).

    verdict is "whole", "incomplete", "broken" or "too_large". Bounded memory; several members are one file.
    OSError when it cannot be read.
    """

def step(
    ledger: Ledger,
    shard: int,
    shards: int,
    measure: str,
    rules: Rules,
    blobs: Sequence[bytes],
    policy: Policy | None = None,
) -> bytes:
    """Apply candidates to one of `shards` shards of the ledger, and report what was decided.

    The blobs of a batch, in any order: they are applied in input order. ValueError when one is damaged or is for
    another shard; the ledger is of no use then.
    """

def gather(
    ranges: Sequence[Range],
    parts: Sequence[tuple[int, int, int, int, bytes]],
    decided: Sequence[bytes],
    rules: Rules,
) -> Result | tuple[int, int]:
    """What process gives for the ranges, out of the reports of all their splits and of the shards with candidates.

    parts: (index of the range, index of the split in it, begin, end, report) in this order; decided: in any order.
    (index of a range, byte) when splits do not join, because a file failed or changed between two of them: nothing
    counts then, and the batch is to be computed again with this range ended at that byte, and no range after it.
    ValueError when a report is damaged or missing.
    """

def parse_lines(
    data: bytes, day_max: int, path: str, *, first: bool
) -> list[tuple[str, str, int, int, str]]:
    """Each line of data (an unterminated last one too) as (kind, msisdn, service, volume, timestamp).

    For tests and `check`. kind is "record", "blank", "header" or a reason. `path` is one of PATHS. `first`:
    data is the start of a file.
    """

def count_lines(path: bytes, msisdns: Sequence[str], *, compressed: bool) -> int:
    """How many lines of a file hold the digits of one of these, wherever in the line. One pass. Errors as digest."""

def search(
    path: bytes, cuts: Sequence[int], msisdn: str, *, compressed: bool
) -> tuple[list[tuple[int, int, int, bytes]], int, int]:
    """Lines within the bytes up to the last of `cuts` that hold the digits of msisdn, wherever in the line.

    Gives (byte, line ends before it, last byte of the line that it continues or 0, its bytes with the line end) each,
    the CRC-64/NVME of what was read, and how many bytes that was. `cuts` are the ends of the ranges that were taken,
    ascending: a line ends there, too. Of a line that is too long the beginning is given. Errors as digest; ValueError
    also when the caller broke this contract.
    """
