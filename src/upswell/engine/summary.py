"""The summary of a run: its counts so far, and the observations that its operator should act on.

Owns the running counts and the two observations that need more than one line: records over their threshold but outside
their hours, and data that hardly matches the segment at all. It prints nothing; msisdns in its sentences are masked.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from upswell import kernel
from upswell.kernel import Result, Segment
from upswell.privacy import escape, mask, mask_line, show_format
from upswell.reference.rules import Ruleset
from upswell.reference.versions import Versions
from upswell.semantics import Record, parse_record
from upswell.source.file import STATES
from upswell.source.listing import show_name
from upswell.state.rows import Totals
from upswell.zones import DAY_MAX, Zones

MATCHED_MIN_RATIO = 0.001  # below it the formats are wrong, not the customers
MATCHED_SAMPLE_RECORDS = 10_000
UNREAD_NAMED_MAX = 3


class Standing(NamedTuple):
    """Gauges of a run: what goes up and down, at one moment."""

    versions: Versions = Versions("", "")
    """The active ones; empty before the first."""
    rules: int = 0
    msisdns: int = 0
    """Of the active segment."""
    totals: int | None = None
    """Live totals of the ledger; None when it is not in this process."""
    caps: int | None = None
    """Live caps of the ledger; None likewise."""
    oldest_at_s: float = 0.0
    """The mtime of the oldest file in the backlog, in seconds since the epoch; 0: the backlog is empty."""
    suppressed: int = 0
    """MSISDNs of the suppression list."""
    applications: tuple[str, ...] = ()
    """Those of the active rules."""
    archive_held: int = 0
    """Finished files that need manual action before they can be archived."""
    unread: int = 0
    """Names in DATA that look like those of data and are not read."""
    left_out: Mapping[str, int] = MappingProxyType({})
    """By kind, the lines that were left out of the active versions."""
    other_form_share: float = 0.0
    """The share of the sampled msisdns outside the segment that are in it in another form."""


@dataclass(slots=True)
class Summary:
    """The counts of a run so far."""

    batches: int = 0
    lines: int = 0
    bytes: int = 0
    outcomes: Counter[str] = field(
        default_factory=lambda: Counter(dict.fromkeys(kernel.OUTCOMES, 0))
    )
    rejects: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(kernel.REASONS, 0)))
    notifications: Counter[str] = field(default_factory=Counter)
    control: Counter[str] = field(default_factory=Counter)
    """By application, the notifications of the control group; ``notifications`` does not count them."""
    files: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STATES, 0))
    """By state: with ``--once`` the files whose state the run decided, otherwise those in DATA."""
    backlog_files: int = 0
    backlog_bytes: int = 0
    elapsed_s: float = 0.0
    warnings: list[str] = field(default_factory=list)
    """Sentences for the operator."""
    before: Totals | None = None
    """The counts of earlier runs of this state."""
    notified_before: dict[str, int] = field(default_factory=dict)
    """By application, the notifications of earlier runs of this state."""
    commit_s: float = 0.0
    """Duration of the last commit."""
    committed_at_s: float = 0.0
    """The time of this state's last commit, in seconds since the epoch; 0: none yet."""
    data_away: bool = False
    """DATA could not be listed at the last scan."""
    refused_edits: int = 0
    """Edits of SEGMENT, RULES and SUPPRESS that this run refused."""
    out_of_step: Counter[str] = field(default_factory=Counter)
    """Files missing, late and unusual, duplicates, exported again, and files without one record ("refused")."""
    standing: Standing = field(default_factory=Standing)

    def to_json(self) -> dict[str, object]:
        """Return the object that ``run --once --json`` prints at its end."""
        return {
            "lines": self.lines,
            "outcomes": dict(self.outcomes),
            "rejects": dict(self.rejects),
            # By name: the order in which they came depends on where batches ended.
            "notifications": dict(sorted(self.notifications.items())),
            "control": dict(sorted(self.control.items())),
            "files": dict(self.files),
            "batches": self.batches,
            "bytes": self.bytes,
            "elapsed_s": round(self.elapsed_s, 3),
            "warnings": self.warnings,
        }


def describe_unmatched(summary: Summary) -> str:
    """Return a sentence when hardly any record matches the segment; "" when enough do, or too few were read to tell."""
    outcomes = summary.outcomes
    records = summary.lines - outcomes["rejected"] - outcomes["blank"] - outcomes["header"]
    matched = records - outcomes["not_in_segment"]
    if records < MATCHED_SAMPLE_RECORDS or matched >= records * MATCHED_MIN_RATIO:
        return ""
    return f"only {matched:,} of {records:,} records match the segment"


def describe_refused(files: int, name: str, detail: str) -> str:
    """Return a sentence about files without one record. ``name``, ``detail``: of one of them."""
    if files == 1:
        return f"{name}: {detail}"
    return f"{files:,} files hold no record, such as {name}: {cause_in(detail)}"


def describe_exported_again(files: int, name: str, detail: str) -> str:
    """Return a sentence about files with the content of another and more. ``name``, ``detail``: of one of them."""
    if files == 1:
        return f"{name} {detail}"
    return f"{files:,} files begin as another and are longer, and are counted anew, such as {name}: it {detail}"


def cause_in(detail: str) -> str:
    """Return the cause in the detail of a file without one record, without its number of lines."""
    return detail.partition(": ")[2]


def describe_unread(files: int, names: Sequence[str]) -> str:
    """Return a sentence about names that look like those of data and are not read. ``names``: some of them."""
    shown = ", ".join(map(show_name, names[:UNREAD_NAMED_MAX]))
    more = " …" if files > min(len(names), UNREAD_NAMED_MAX) else ""
    step = "deliver regular files named DATA_yyyyMMddHHmm.csv or .csv.gz"
    return f"{unread_words(files)}: {shown}{more}; {step}"


def unread_words(files: int) -> str:
    """Return how many names look like data and are not read, in words."""
    if files == 1:
        return "1 name in DATA looks like data and is not read"
    return f"{files:,} names in DATA look like data and are not read"


class Observations:
    """Collects over a whole run what is to be reported once."""

    def __init__(self, zones: Zones) -> None:
        self._zones = zones
        self._outside_over = 0
        self._outside_example = ""
        self._unmatched = ""
        self._member = ""
        """Some MSISDN of the segment, once it was needed."""

    def add(self, result: Result, names: list[str], ruleset: Ruleset) -> None:
        """Add a batch. ``names`` are those of the files of the result's ranges."""
        self._outside_over += result.outside_over
        if result.outside_over_example and not self._outside_example:
            index, byte, raw = result.outside_over_example
            self._outside_example = self._describe_outside(
                raw, f"{names[index]} byte {byte}", ruleset
            )
        self._unmatched = self._unmatched or result.unmatched_example or ""

    def sentences(self, summary: Summary, segment: Callable[[], Segment]) -> dict[str, str]:
        """Return sentences about the lines so far, by kind. ``segment`` is called when one of its MSISDNs is shown."""
        found = {}
        if self._outside_over:
            count = (
                "1 record over its threshold but outside its hours"
                if self._outside_over == 1
                else f"{self._outside_over:,} records over their threshold but outside their hours"
            )
            found["outside_over"] = f"{count}: {self._outside_example}"
        if unmatched := describe_unmatched(summary):
            # A sample reads the whole segment, so it is taken when it is needed, and once.
            self._member = self._member or segment().sample(1)[0]
            found["unmatched"] = (
                f"{unmatched}: MSISDNs in DATA look like {show_format(self._unmatched)}, in SEGMENT"
                f" like {show_format(self._member)}; write both in one format"
            )
        return found

    def _describe_outside(self, raw: bytes, where: str, ruleset: Ruleset) -> str:
        record = parse_record(raw, DAY_MAX)
        if not isinstance(record, Record):
            return f"{mask_line(raw)} in {where}"
        rules = [rule for rule in ruleset.rules if rule.service == record.service]
        windows = ", ".join(rule.window() for rule in rules)
        minute = self._zones.convert(record.moment).minute
        return (
            f"{mask(record.msisdn)} used {record.volume:,} of {escape(rules[0].application)} at"
            f" {record.moment:%H:%M} ({minute // 60:02}:{minute % 60:02} in the rules' zone"
            f" {self._zones.rules}), but its hours are {windows} ({where}). If DATA's clock is not the"
            " rules' clock, set data_timezone and rules_timezone"
        )
