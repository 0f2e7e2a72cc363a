"""What SEGMENT, RULES and SUPPRESS as they are on disk would be as the next reference, or why they may not be.

Owns loading and validating them, saying in words what would change, and the forms in which a state keeps them and the
kernel takes them. It puts nothing in force: ``reload`` does. The invariant: what it accepts was good when it was read.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from upswell import kernel
from upswell.errors import ConfigError
from upswell.kernel import Rules, Segment, SegmentReport
from upswell.privacy import escape, mask_digits
from upswell.reference import suppression
from upswell.reference.files import Contents, read_rules, read_segment
from upswell.reference.policy import Policy
from upswell.reference.rules import Problem, Ruleset, describe_change, parse_rules
from upswell.reference.segment import bad_lines
from upswell.reference.suppression import Forgetting
from upswell.reference.versions import Kind, Versions

BAD_LINES_MAX_RATIO = 0.01
LOST_DIALS_MAX_RATIO = 0.5
SENTENCES_MAX = 10  # about one change: the log and the checkpoint keep them in one line
_FRAME = struct.Struct("<I")


class Reference(NamedTuple):
    """What is in force in one moment."""

    ruleset: Ruleset
    rules: Rules
    segment: Segment
    versions: Versions
    suppressed: Segment | None = None
    """The suppression list, if any."""
    policy: kernel.Policy | None = None
    """All that keeps records back, this list and those who were forgotten included; None before a run has put it in."""


class Taken(NamedTuple):
    """A version that is new."""

    kind: Kind
    version: str
    content: bytes
    note: str
    """What it changed and what of it was left out."""


@dataclass(frozen=True, slots=True)
class Change:
    """What came of loading: a reference to go on with, or the refusal of what is on disk."""

    reference: Reference
    """The new one or, when it was refused, the one that stays."""
    accepted: bool
    words: list[str] = field(default_factory=list)
    """The diff of what was taken, or the reasons of what was refused."""
    left_out: list[str] = field(default_factory=list)
    """Lines that are not part of what was taken, in words."""
    taken: list[Taken] = field(default_factory=list)
    """For the checkpoint: what of it is new."""


class Paths(NamedTuple):
    """The three arguments; None: there is no suppression list."""

    rules: Path
    segment: Path
    suppress: Path | None


def pack_rules(files: list[tuple[str, bytes]]) -> bytes:
    """The content of a version of RULES as one value, for the checkpoint."""
    parts = (
        part
        for name, content in files
        for part in (name.encode("utf-8", "surrogateescape"), content)
    )
    return b"".join(_FRAME.pack(len(part)) + part for part in parts)


def unpack_rules(packed: bytes) -> list[tuple[str, bytes]]:
    """What pack_rules packed."""
    parts = []
    at = 0
    while at < len(packed):
        (length,) = _FRAME.unpack_from(packed, at)
        at += _FRAME.size
        parts.append(packed[at : at + length])
        at += length
    return [
        (name.decode("utf-8", "surrogateescape"), content)
        for name, content in zip(parts[::2], parts[1::2], strict=True)
    ]


def compile_rules(ruleset: Ruleset) -> Rules:
    """The kernel's form of the rules."""
    return Rules(list(ruleset.rules))


def kernel_policy(
    policy: Policy, suppressed: Segment | None, forgettings: Iterable[Forgetting] = ()
) -> kernel.Policy:
    """The kernel's form of what keeps records back."""
    return kernel.Policy(
        suppressed,
        [(one.key, sorted(one.hashes)) for one in forgettings if one.key is not None],
        max_per_customer_per_day=policy.max_per_customer_per_day,
        control_share=policy.control_share,
        control_key=policy.hash_key or None,
    )


def load(paths: Paths, before: Reference | None, accept: bool) -> Change:
    """The reference on disk as a candidate, or the refusal of it when a last good version can go on."""
    rules_source, segment_source = read_rules(paths.rules), read_segment(paths.segment)
    suppress_source = read_segment(paths.suppress) if paths.suppress else None
    versions = Versions(
        rules_source.version,
        segment_source.version,
        suppress_source.version if suppress_source else "",
        before.versions.policy if before else "",
    )
    if before is not None and before.versions == versions:
        return Change(before, accepted=True, words=[])
    loaded = _Loaded(before, accept)
    ruleset, rules = loaded.rules(rules_source)
    segment = loaded.segment(segment_source)
    suppressed = loaded.suppressed(suppress_source)
    if loaded.refusals:
        if before is None:
            raise ConfigError(
                "; ".join(loaded.refusals),
                "correct it: `upswell check`, with the arguments and options of the run, names every line",
            )
        return Change(before, accepted=False, words=loaded.refusals)
    reference = Reference(ruleset, rules, segment, versions, suppressed)
    return Change(reference, True, loaded.words, loaded.left_out, loaded.taken)


class _Loaded:
    """What the files of a candidate hold, compared with what was in force before."""

    def __init__(self, before: Reference | None, accept: bool) -> None:
        self.words: list[str] = []
        self.left_out: list[str] = []
        self.refusals: list[str] = []
        self.taken: list[Taken] = []
        self._before = before
        self._accept = accept
        self._first = before is None or accept

    def rules(self, source: Contents) -> tuple[Ruleset, Rules]:
        before = self._before
        if before is not None and before.versions.rules == source.version:
            return before.ruleset, before.rules
        ruleset = parse_rules(source.files)
        self.refusals += _rules_refusals(ruleset, first=self._first)
        change = []
        if before is not None:
            change = _first(describe_change(before.ruleset, ruleset), "changes")
        problems = _describe_problems(ruleset)
        self._take("rules", source.version, pack_rules(source.files), change, problems)
        return ruleset, compile_rules(ruleset)

    def segment(self, source: Contents) -> Segment:
        before = self._before
        if before is not None and before.versions.segment == source.version:
            return before.segment
        # The first version is parsed while it is still summed up.
        segment, report = Segment.parse([content for _, content in source.files])
        old = before.segment if before is not None else None
        self.refusals += _segment_refusals(old, segment, report, first=self._first)
        names = [name for name, _ in source.files]
        problems = bad_lines("SEGMENT", report.bad, report.errors, names)
        change = _segment_change(old, segment)
        self._take("segment", source.version, segment.dump(), change, problems)
        return segment

    def suppressed(self, source: Contents | None) -> Segment | None:
        before = self._before
        version = source.version if source else ""
        if before is not None and before.versions.suppress == version:
            return before.suppressed
        old = before.suppressed if before is not None else None
        new, problems = None, []
        if source is not None:
            new, report = Segment.parse([content for _, content in source.files])
            names = [name for name, _ in source.files]
            problems = bad_lines("SUPPRESS", report.bad, report.errors, names)
            self.refusals += suppression.refusals(old, new, report, names, accept=self._accept)
        if version or old is not None:
            change = suppression.describe_change(old, new)
            self._take("suppress", version, new.dump() if new else b"", change, problems)
        return new

    def _take(
        self, kind: Kind, version: str, content: bytes, change: list[str], problems: list[str]
    ) -> None:
        self.taken.append(Taken(kind, version, content, "; ".join(change + problems)))
        self.words += change
        self.left_out += problems


def describe_problem(problem: Problem) -> str:
    """A refused line of RULES in words, safe for a terminal."""
    return f"{mask_digits(problem.file)} line {problem.line}: {escape(problem.message)}"


def _describe_problems(ruleset: Ruleset) -> list[str]:
    return _first(
        [describe_problem(problem) for problem in ruleset.problems],
        "lines of RULES: run upswell check",
    )


def _first(sentences: list[str], noun: str) -> list[str]:
    """The first sentences, and how many more there are."""
    more = len(sentences) - SENTENCES_MAX
    return [*sentences[:SENTENCES_MAX], f"{more:,} more {noun}"] if more > 0 else sentences


def _rules_refusals(ruleset: Ruleset, *, first: bool) -> list[str]:
    if not ruleset.rules:
        return [
            "RULES has no usable rule",
            *(describe_problem(problem) for problem in ruleset.problems[:3]),
        ]
    if ruleset.problems and not first:
        return _describe_problems(ruleset)
    return []


def _segment_refusals(
    old: Segment | None, new: Segment, report: SegmentReport, *, first: bool
) -> list[str]:
    if not len(new):
        return ["SEGMENT has no dial"]
    refusals = []
    if not first and report.bad > report.lines * BAD_LINES_MAX_RATIO:
        refusals.append(f"{report.bad:,} of {report.lines:,} SEGMENT lines are no dial (over 1 %)")
    if old is not None and not first:
        _, removed = old.diff(new)
        if removed > len(old) * LOST_DIALS_MAX_RATIO:
            refusals.append(f"SEGMENT lost {removed:,} of {len(old):,} dials (over half)")
    return refusals


def _segment_change(old: Segment | None, new: Segment) -> list[str]:
    if old is None:
        return []
    added, removed = old.diff(new)
    return [f"+{added:,} dial{'s' * (added != 1)}, -{removed:,}"]
