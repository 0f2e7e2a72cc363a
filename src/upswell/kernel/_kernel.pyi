r"""The contract of the compiled module ``upswell.kernel._kernel``, which ``upswell.kernel`` alone imports.

Values in, values out: the kernel opens and reads input files, and does nothing else to the world. It never prints,
logs or raises on data: bad data comes back as counts, encoded rejects and ``problem`` values. ``ValueError`` means
that the caller broke this contract.

Days are integers ``yyyymmdd`` at this border (20200417), so that they compare in order and can be read. Long calls
release the GIL. Use an object from one thread at a time; Segment, Rules, Policy and Clock are immutable, and any thread
may use them. An argument that is a boolean is passed by name.
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
    "SplitScanner",
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
"""Every outcome of a line, in the order of docs/semantics.md.

They are: rejected, blank, header, not_in_segment, suppressed, no_rule, outside_window, late, capped, capped_customer,
control, counted, notified.
"""
REASONS: Final[tuple[str, ...]]
"""Every reject reason, in the order of the checks: too_long, columns, msisdn, service, volume, timestamp, future."""
LINE_BYTES_MAX: Final[int]
SHARDS: Final[int]
PATHS: Final[tuple[str, ...]]
"""The scanner paths that this CPU can run, fastest first; the last is "scalar". UPSWELL_KERNEL_PATH selects one."""

@final
class Segment:
    """An immutable set of msisdns."""

    @staticmethod
    def parse(files: Sequence[bytes], errors_max: int = 1000) -> tuple[Segment, SegmentReport]:
        """Parse the contents of SEGMENT's files, in order, by the grammar of ``upswell.reference.segment``."""
    @staticmethod
    def decode(encoded: bytes) -> Segment:
        """Return the segment that ``encode`` wrote. ValueError when the bytes are damaged (they carry a checksum)."""
    def encode(self) -> bytes:
        """Return a compact, checksummed form: sorted keys, delta coded. Equal sets have equal bytes."""
    def __len__(self) -> int: ...
    def __contains__(self, msisdn: str, /) -> bool: ...
    def diff(self, newer: Segment) -> tuple[int, int]:
        """Return (msisdns added, msisdns removed) from this set to the newer one."""
    def sample(self, n: int) -> list[str]:
        """Return the n smallest msisdns as text, sorted; all of them when there are fewer."""
    def lengths(self) -> dict[int, int]:
        """Return how many msisdns there are of each number of digits."""
    def memory_bytes(self) -> int: ...

@final
class SegmentReport:
    """Counts of the lines of SEGMENT, and the first bad ones."""

    @property
    def lines(self) -> int:
        """Lines that should be an msisdn: all but blank and header lines."""
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
        """Compile rules: (service, application, start_min, end_min, threshold) each, minutes of the day, end exclusive.

        A window whose end is before its start crosses midnight; 0 to 1440 is the whole day. ValueError when windows of
        a service overlap, or a service has two applications.
        """
    @property
    def applications(self) -> list[str]:
        """Names in order of first appearance; the index of a name is the `application` of results."""

@final
class Policy:
    """Decides what keeps a record of a targeted msisdn back: immutable. Without arguments it keeps nothing back."""

    def __new__(
        cls,
        suppressed: Segment | None = None,
        forgotten: Sequence[tuple[bytes, Sequence[int]]] | None = None,
        max_per_customer_per_day: int = 0,
        control_share: int = 0,
        control_key: bytes | None = None,
    ) -> Self:
        """Make a policy of a suppression list, forgotten msisdns, a limit and a control group.

        forgotten: (key, hashes of msisdns under it), suppressed as those of the list are. control_share: in hundredths
        of a percent, with the key that draws the group. Keys have 16 bytes; hashes are those of
        ``upswell.reference.keyed_hash``.
        """
    def parts(
        self,
    ) -> tuple[Segment | None, list[tuple[bytes, list[int]]], int, int, bytes | None]:
        """Return the arguments that make the same policy."""

@final
class Clock:
    """Converts local times of the data's zone to the rules' zone."""

    def __new__(cls, shifts: Sequence[tuple[int, int]]) -> Self:
        """Take (first local second since 0001-01-01T00:00:00 at which it holds, seconds to add) each, ascending.

        Empty: convert nothing.
        """

@final
class Ledger:
    """Totals, fired window instances and caps, in SHARDS shards by msisdn."""

    def __new__(cls) -> Self: ...
    @staticmethod
    def load(
        bases: Iterable[tuple[int, bytes]],
        deltas: Iterable[tuple[int, bytes]],
        day_open: int,
        threads: int,
        delta_bytes: int = 0,
    ) -> Ledger:
        """Load a checkpoint's ledger: (batch, base blob) in any order, (batch, delta blob) in commit order.

        Bases are consumed some at a time and not kept, then the deltas likewise; with more than one thread the next
        are requested while some are loaded. delta_bytes: about the bytes of all deltas, for which room is made.

        A delta does not apply to a shard whose base is of its batch or a later one. Entries that can receive no record
        of day_open or later are left out. ValueError when a blob is damaged (each carries a checksum).
        """
    def shard(self, index: int) -> bytes:
        """Return one shard as a base blob: all of its live entries."""
    def drop_before(self, day_open: int) -> None:
        """Drop totals and caps that can receive no record of day_open or later.

        They are gone at once for every method here; their memory comes back over the next calls of process.
        """
    def add_cap(self, msisdn: str, application: str, day: int) -> None:
        """Record that this application has notified this msisdn on this day (--adopt). Part of the next delta."""
    def forget(self, key: bytes, hashes: Sequence[int]) -> None:
        """Remove all entries of the msisdns with these hashes under this key: no later blob holds any."""
    def take_delta(self) -> bytes:
        """Return the entries changed since the last delta as a delta blob; b"" when none did."""
    def branch(self, count: int, points: int = 0) -> None:
        """Add branches, and points of a curve, each a copy of what the ledger holds now: see Scanner.process.

        Closed days and forgotten msisdns leave the branches, too. No delta and no blob has anything of them.
        """
    def take_branches(self) -> list[Ledger]:
        """Take the branches out, each as a ledger of its own, to be asked only: their deltas are incomplete."""
    def entries(self) -> tuple[int, int]:
        """Return (live totals, live caps)."""
    def memory_bytes(self) -> int: ...
    def nearest(self, window: tuple[int, int, int], threshold: int, most: int) -> list[LedgerTotal]:
        """Return the highest totals of (service, start_min, end_min) that are not above the threshold.

        At most so many, the highest first. Totals that have fired are not among them.
        """
    def totals(self, msisdn: str | None = None) -> list[LedgerTotal]:
        """Return the totals of one msisdn, or all (for small ledgers), sorted by their key.

        With measure "session" there are only totals that have fired, with total 0.
        """
    def caps(self, msisdn: str | None = None) -> list[tuple[str, str, int]]:
        """Return (msisdn, application, day) of one msisdn, or all (for small ledgers), sorted."""

@final
class LedgerTotal:
    """The total of an msisdn within a window instance: immutable."""

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
    """Reads ranges and decides their lines; owns buffers and open decompressors between calls.

    UPSWELL_KERNEL_CHUNK_BYTES sets the size of the chunks that one thread scans: for tests, as no result depends on it.
    """

    def __new__(cls, threads: int, measure: str, clock: Clock) -> Self:
        """Make a scanner. measure: "total" or "session"."""
    def process(
        self,
        ranges: Sequence[Range],
        segment: Segment,
        rules: Rules,
        ledger: Ledger,
        output_bytes_max: int,
        work_ms_max: int,
        policy: Policy | None = None,
        branches: Sequence[tuple[Rules, Policy | None]] = ...,
        points: Sequence[tuple[Rules, Policy | None]] = ...,
    ) -> Result:
        """Scan ranges in order and apply their records to the ledger.

        A range is read by its attributes, as Range documents them. Whole lines are consumed, and an unterminated last
        line when the range is `final`. Rejects are kept until one, encoded, does not fit into rejects_left_bytes.

        Stops early, between two chunks, when output, rejects, rows of notifications and delta together exceed
        output_bytes_max, or the work lasted work_ms_max; always after at least one chunk with progress. Nothing but the
        ledger changes.

        branches: other terms beside these, one for each branch of the ledger. Each decides the records that its rules
        select as a call of its own would, with its branch as the ledger; the scan is shared. The segment and whom the
        policy suppresses are the same for all. points: likewise, for the points of a curve: they are only counted, and
        their rules differ in nothing but thresholds.
        """

@final
class SplitScanner:
    """Scans one split of a range: what needs no ledger is decided, the rest leaves as blobs of candidates.

    Iterate it for the blobs, then ask for the report; both are for step and gather alone. UPSWELL_KERNEL_CHUNK_BYTES
    sets the size of its chunks, too.
    """

    def __new__(
        cls,
        range: Range,
        split: tuple[int, int],
        bounds: tuple[int, int],
        shards: int,
        clock: Clock,
        segment: Segment,
        rules: Rules,
        policy: Policy | None = None,
    ) -> Self:
        """Find the lines of the range that start within bounds [begin, end), which is not empty unless the range is.

        split: (index of the range, index of the split in it); a split begins the range when it is the first, and only
        then. A compressed range is one split. Candidates are for `shards` shards, a power of two up to SHARDS: shard k
        of them is the kernel's SHARDS / shards consecutive ones from k * SHARDS / shards.
        """
    def __iter__(self) -> Self: ...
    def __next__(self) -> tuple[int, bytes]:
        """Return the next (shard, blob of candidates); scan on when none is left of the last pass."""
    def report(self) -> bytes:
        """Return the split's counts, rejects and position, once the iterator is exhausted."""

@final
class Result:
    """The result of process or gather. Outputs and notifications are made on each access: access them once."""

    @property
    def ranges(self) -> list[Scanned]:
        """One for each range that was begun, in order: a prefix of those passed; the last may be incomplete."""
    @property
    def outputs(self) -> list[tuple[int, bytes]]:
        """(application, bytes of its output file), for applications with notifications only, ascending."""
    @property
    def notifications(self) -> list[tuple[int, int, str, int, int, bytes]]:
        """(day, application, msisdn, index of the range, byte in the file, raw line).

        Sorted by (day, application, msisdn).
        """
    @property
    def control_outputs(self) -> list[tuple[int, bytes]]:
        """The same as outputs, of the control group."""
    @property
    def control_notifications(self) -> list[tuple[int, int, str, int, int, bytes]]:
        """The same as notifications, of the control group."""
    def branch_notifications(self, branch: int) -> list[tuple[int, int, str, int, int, bytes]]:
        """Return what notifications has, of a branch. ValueError: there is no such branch."""
    @property
    def point_counts(self) -> list[list[tuple[int, int, int]]]:
        """(day, application, notifications), ascending, of each point of the curve."""
    @property
    def rejects(self) -> bytes:
        """Encoded rejects in input order: name TAB line TAB byte TAB length TAB reason TAB raw NEWLINE.

        raw: printable ASCII as it is, backslash doubled, any other byte as backslash xNN; at most
        LINE_BYTES_MAX bytes of it. Late records are here too, with the reason "late".
        """
    @property
    def delta(self) -> bytes:
        """The ledger's delta of this call, as take_delta returns it; empty for gather."""
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
    """The position and the counts of a range after a call."""

    @property
    def end(self) -> int:
        """The bytes [start, end) are consumed: whole lines, and the unterminated last line of a final range."""
    @property
    def complete(self) -> bool:
        """Nothing more of this range can be consumed now."""
    @property
    def newlines(self) -> int: ...
    @property
    def digest(self) -> int: ...
    @property
    def tail(self) -> int:
        """The same as in Range, for the range that continues here."""
    @property
    def outcomes(self) -> tuple[int, ...]:
        """Lines by outcome, in the order of OUTCOMES."""
    @property
    def rejects(self) -> tuple[int, ...]:
        """Rejected lines by reason, in the order of REASONS."""
    @property
    def lines(self) -> int:
        """Lines read; counted apart from the outcomes, so that the sums can be compared."""
    @property
    def rejects_kept_bytes(self) -> int:
        """Bytes of this range's part of Result.rejects."""
    @property
    def rejects_dropped(self) -> tuple[int, int, int] | None:
        """(lines, from byte, to byte) of rejects beyond rejects_left_bytes: counted, not kept.

        These are all rejects from the first that did not fit.
        """
    @property
    def problem(self) -> str | None:
        """The reason that it could not be read to its end, or None.

        One of: gone (no such file), unreadable, short (the file ended before `end`), not_regular, broken
        (compressed data, or a compressed file that changed between two calls).
        """
    @property
    def problem_detail(self) -> str: ...
    @property
    def inode(self) -> int:
        """Of the file that was read."""

def crc64(data: bytes, initial: int = 0) -> int:
    """Return the CRC-64/NVME of data, continued from initial (the CRC of what came before)."""

def forget_in(blob: bytes, key: bytes, hashes: Sequence[int]) -> tuple[bytes, set[int]] | None:
    """Return a ledger blob without the entries of the msisdns with these hashes under this key, and the hashes found.

    None when the blob has no such entry. ValueError when it is damaged.
    """

def digest(path: bytes, start: int, end: int, initial: int, *, compressed: bool) -> tuple[int, int]:
    """Return (CRC-64/NVME continued over the uncompressed bytes [start, end), bytes read).

    OSError when it cannot be opened or read; ValueError when compressed data is broken.
    """

def first_record(
    path: bytes, end: int, day_max: int, *, compressed: bool
) -> tuple[int, int] | None:
    """Return (CRC-64/NVME, byte) of the first line within [0, end) that is a record, without its line end.

    None when there is none. An unterminated last line counts. Raises as digest does.
    """

def check_gzip(path: bytes, bytes_max: int) -> tuple[str, int, int, str]:
    """Decompress a file to its end; return (verdict, uncompressed bytes, CRC-64/NVME, detail).

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
    """Apply candidates to one of `shards` shards of the ledger; return a report of what was decided.

    Pass the blobs of a batch in any order: they are applied in input order. ValueError when one is damaged or is for
    another shard; the ledger is of no use then.
    """

def gather(
    ranges: Sequence[Range],
    splits: Sequence[tuple[int, int, int, int, bytes]],
    decided: Sequence[bytes],
    rules: Rules,
) -> Result | tuple[int, int]:
    """Return what process would for the ranges, from the reports of all their splits and of the shards with candidates.

    splits: (index of the range, index of the split in it, begin, end, report) in this order; decided: in any order.
    Returns (index of a range, byte) when splits do not join, because a file failed or changed between two of them:
    nothing counts then; compute the batch again with this range ended at that byte, and no range after it.
    ValueError when a report is damaged or missing.
    """

def parse_lines(
    data: bytes, day_max: int, path: str, *, first: bool
) -> list[tuple[str, str, int, int, str]]:
    """Return each line of data as (kind, msisdn, service, volume, timestamp), an unterminated last one too.

    For tests and `check`. kind is "record", "blank", "header" or a reason. `path` is one of PATHS. `first`:
    data is the start of a file.
    """

def count_lines(path: bytes, msisdns: Sequence[str], *, compressed: bool) -> int:
    """Count the lines of a file that hold the digits of one of these msisdns, in one pass. Raises as digest does."""

def search(
    path: bytes, cuts: Sequence[int], msisdn: str, *, compressed: bool
) -> tuple[list[tuple[int, int, int, bytes]], int, int]:
    """Find the lines up to the last of `cuts` that hold the digits of msisdn, anywhere in the line.

    Returns (byte, line ends before it, last byte of the line that it continues or 0, its bytes with the line end) each,
    the CRC-64/NVME of the bytes read, and their number. `cuts` are the ends of the ranges that were consumed,
    ascending: a line ends there, too. Of a line that is too long only the beginning is returned. Raises as digest does;
    ValueError also when the caller broke this contract.
    """
