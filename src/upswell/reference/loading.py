"""Loading of SEGMENT, RULES and SUPPRESS: makes the files as they are a candidate, or says why it is refused.

Owns the limits within which a change is accepted, and the sentences that describe the change. It activates nothing:
``reload`` does. The invariant: what it accepts was valid when it was read.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from upswell import kernel
from upswell.errors import ConfigError
from upswell.kernel import Rules, Segment, SegmentReport
from upswell.privacy import escape, mask_digits
from upswell.reference import suppression
from upswell.reference.compiled import compile_rules, pack_rules
from upswell.reference.files import Contents, read_rules, read_segment
from upswell.reference.origin import FILES_NAMED_MAX, NO_ORIGIN, Origin, copies_of
from upswell.reference.rules import Problem, Ruleset, describe_change, parse_rules
from upswell.reference.segment import describe_bad_lines
from upswell.reference.versions import Kind, Versions

BAD_LINES_MAX_RATIO = 0.01
LOST_MAX_RATIO = 0.5
"""Of the msisdns or rules: a change that loses more is refused, unless it is a small list."""
LOST_MSISDNS_MIN, LOST_RULES_MIN = 100, 10
"""Fewer may go in any share: somebody edits a small list by hand."""
SWAPPED = (
    "SEGMENT and RULES are swapped: SEGMENT holds rules, and RULES holds msisdns",
    "pass the paths in this order: DATA SEGMENT RULES OUTPUT",
)
"""The error, and its next step, when ``are_swapped``."""
HEAD_BYTES = 64 << 10  # of a file, which show whether it holds rules or msisdns
SENTENCES_MAX = 10  # about one change: the log and the checkpoint keep them in one line


class LoadedReference(NamedTuple):
    """A version of each part of the reference, ready for the kernel."""

    ruleset: Ruleset
    rules: Rules
    segment: Segment
    versions: Versions
    suppressed: Segment | None = None
    """The suppression list, if any."""
    policy: kernel.Policy | None = None
    """Everything that keeps records back, also this list and forgotten customers; None until a run has set it."""
    origins: Mapping[str, Origin] = MappingProxyType({})
    """By kind, what each version was read from; the policy has none."""

    def standing_warnings(self) -> list[str]:
        """Return what is to be said of these versions at each start, in sentences."""
        return [
            sentence for kind, origin in self.origins.items() for sentence in origin.warnings(kind)
        ]


class NewVersion(NamedTuple):
    """A version that the state does not have yet."""

    kind: Kind
    version: str
    content: bytes
    note: str
    """Its changes, and the lines left out of it, in one sentence."""
    origin: Origin = NO_ORIGIN


@dataclass(frozen=True, slots=True)
class Change:
    """The result of loading: a reference to continue with, or a refusal."""

    reference: LoadedReference
    """The new one or, after a refusal, the one that stays active."""
    accepted: bool
    words: list[str] = field(default_factory=list)
    """The changes or, after a refusal, its reasons, in sentences."""
    warnings: list[str] = field(default_factory=list)
    """What may be wrong with the files that were accepted, beside their ``origins``, in sentences."""
    new_versions: list[NewVersion] = field(default_factory=list)
    """The parts of it that are new to the checkpoint."""


class Paths(NamedTuple):
    """The arguments RULES and SEGMENT, and the suppression list, if any."""

    rules: Path
    segment: Path
    suppress: Path | None


def load(paths: Paths, before: LoadedReference | None, accept: bool) -> Change:
    """Load the files as a candidate, or refuse them when ``before`` can stay active.

    Args:
        paths: the arguments.
        before: the reference that is active; None at the first start.
        accept: accept whatever ``before`` would lose (``--accept-reference``).

    Raises:
        InputMissing: a path is missing or unreadable.
        ConfigError: the files are too large, or they are refused and there is no ``before``.
    """
    rules_source, segment_source = read_rules(paths.rules), read_segment(paths.segment)
    suppress_source = read_segment(paths.suppress) if paths.suppress else None
    versions = Versions(
        rules_source.version,
        segment_source.version,
        suppress_source.version if suppress_source else "",
        before.versions.policy if before else "",
        before.versions.zones if before else "",
    )
    if before is not None and before.versions == versions:
        return Change(before, accepted=True, words=[])
    candidate = _Candidate(before, accept)
    ruleset, rules = candidate.rules(rules_source)
    segment = candidate.segment(segment_source)
    suppressed = candidate.suppressed(suppress_source)
    if candidate.refusals:
        if are_swapped(rules_source, segment_source):
            if before is None:
                raise ConfigError(*SWAPPED)
            candidate.refusals.insert(0, SWAPPED[0])
        if before is None:
            raise ConfigError(
                "; ".join(candidate.refusals),
                "correct it: `upswell check`, with the arguments and options of the run, names every line",
            )
        words = candidate.refusals + copies_of(candidate.origins)
        return Change(before, accepted=False, words=words)
    reference = LoadedReference(
        ruleset, rules, segment, versions, suppressed, origins=candidate.origins
    )
    return Change(reference, True, candidate.words, candidate.warnings, candidate.new_versions)


def are_swapped(rules: Contents, segment: Contents) -> bool:
    """Return whether RULES holds msisdns alone, and SEGMENT rules alone, by the heads of their files."""
    held = [
        [
            (holds_rules(content[:HEAD_BYTES]), holds_msisdns(content[:HEAD_BYTES]))
            for _, content in each.files
        ]
        for each in (rules, segment)
    ]
    return {(False, True)} == set(held[0]) and {(True, False)} == set(held[1])


def holds_rules(head: bytes) -> bool:
    """Return whether any line is a rule."""
    return bool(parse_rules([("", head)]).rules)


def holds_msisdns(head: bytes) -> bool:
    """Return whether any line is an msisdn of SEGMENT."""
    return len(Segment.parse([head])[0]) > 0


class _Candidate:
    """The contents of the files, compared with the reference that is active."""

    def __init__(self, before: LoadedReference | None, accept: bool) -> None:
        self.words: list[str] = []
        self.warnings: list[str] = []
        self.refusals: list[str] = []
        self.new_versions: list[NewVersion] = []
        self.origins = dict(before.origins) if before is not None else {}
        self._before = before
        self._accept = accept
        self._is_first = before is None or accept

    def rules(self, source: Contents) -> tuple[Ruleset, Rules]:
        before = self._before
        if before is not None and before.versions.rules == source.version:
            return before.ruleset, before.rules
        ruleset = parse_rules(source.files)
        old = before.ruleset if before is not None else None
        self.refusals += _rules_refusals(old, ruleset, first=self._is_first)
        self._check_line_ends("RULES", source)
        change = []
        if before is not None:
            change = _first_sentences(describe_change(before.ruleset, ruleset), "changes")
        self._add(
            "rules", source.version, pack_rules(source.files), change, rules_origin(source, ruleset)
        )
        return ruleset, compile_rules(ruleset)

    def segment(self, source: Contents) -> Segment:
        before = self._before
        if before is not None and before.versions.segment == source.version:
            return before.segment
        # The first version is parsed while its hash is still being computed.
        segment, report = Segment.parse([content for _, content in source.files])
        old = before.segment if before is not None else None
        origin = list_origin("SEGMENT", source, report)
        if refusals := _segment_refusals(old, segment, report, first=self._is_first):
            self.refusals += [*refusals, *origin.left_out]
        self._check_line_ends("SEGMENT", source)
        change = _segment_change(old, segment)
        self._add("segment", source.version, segment.encode(), change, origin)
        return segment

    def suppressed(self, source: Contents | None) -> Segment | None:
        before = self._before
        version = source.version if source else ""
        if before is not None and before.versions.suppress == version:
            return before.suppressed
        old = before.suppressed if before is not None else None
        new, origin = None, NO_ORIGIN
        if source is not None:
            new, report = Segment.parse([content for _, content in source.files])
            names = [name for name, _ in source.files]
            origin = list_origin("SUPPRESS", source, report)
            self.refusals += suppression.refusals(old, new, report, names, accept=self._accept)
            self._check_line_ends("SUPPRESS", source)
        if version or old is not None:
            change = suppression.describe_change(old, new)
            self._add("suppress", version, new.encode() if new else b"", change, origin)
        return new

    def _check_line_ends(self, what: str, source: Contents) -> None:
        """Refuse a file whose last line may have been cut; a first start, or one that accepts all, is warned."""
        for name in source.unterminated:
            fault = f"the last line of {mask_digits(name)} ({what}) has no line end: it may have been cut"
            if self._is_first:
                self.warnings.append(f"{fault}; it was taken as it is: end it with a line end")
            else:
                self.refusals.append(f"{fault}; end it with a line end")

    def _add(
        self, kind: Kind, version: str, content: bytes, change: list[str], origin: Origin
    ) -> None:
        note = "; ".join([*change, *origin.left_out])
        self.new_versions.append(NewVersion(kind, version, content, note, origin))
        self.words += change
        self.origins[kind] = origin


def rules_origin(source: Contents, ruleset: Ruleset) -> Origin:
    """Return what these rules were read from."""
    names = [name for name, _ in source.files]
    return Origin.of(names, ruleset.counts, len(ruleset.problems), _describe_problems(ruleset))


def list_origin(what: str, source: Contents, report: SegmentReport) -> Origin:
    """Return what a list of msisdns was read from. ``what``: SEGMENT or SUPPRESS."""
    names = [name for name, _ in source.files]
    unterminated = source.unterminated
    lines = [
        content.count(b"\n") + (name in unterminated)
        for name, content in source.files[:FILES_NAMED_MAX]
    ]
    left_out = describe_bad_lines(what, report.bad, report.errors, names)
    return Origin.of(names, lines, report.bad, left_out)


def describe_problem(problem: Problem) -> str:
    """Describe a refused line of RULES, safe for a terminal."""
    return f"{mask_digits(problem.file)} line {problem.line}: {escape(problem.message)}"


def _describe_problems(ruleset: Ruleset) -> list[str]:
    return _first_sentences(
        [describe_problem(problem) for problem in ruleset.problems],
        "lines of RULES: run upswell check",
    )


def _first_sentences(sentences: list[str], noun: str) -> list[str]:
    """Return the first sentences, and one that says how many more there are."""
    more = len(sentences) - SENTENCES_MAX
    return [*sentences[:SENTENCES_MAX], f"{more:,} more {noun}"] if more > 0 else sentences


def _rules_refusals(old: Ruleset | None, ruleset: Ruleset, *, first: bool) -> list[str]:
    if not ruleset.rules:
        return [
            "RULES has no usable rule",
            *(describe_problem(problem) for problem in ruleset.problems[:3]),
        ]
    if ruleset.problems and not first:
        return _describe_problems(ruleset)
    if old is not None and not first:
        # Counted and not compared one by one: whoever changes every window loses none.
        lost, known = len(old.rules) - len(ruleset.rules), len(old.rules)
        if lost >= LOST_RULES_MIN and lost > known * LOST_MAX_RATIO:
            return [f"RULES lost {lost:,} of {known:,} rules (limit {LOST_MAX_RATIO:.0%})"]
    return []


def _segment_refusals(
    old: Segment | None, new: Segment, report: SegmentReport, *, first: bool
) -> list[str]:
    if not len(new):
        return ["SEGMENT holds no MSISDN"]
    refusals = []
    if not first and report.bad > report.lines * BAD_LINES_MAX_RATIO:
        refusals.append(
            f"{report.bad:,} of {report.lines:,} SEGMENT lines are not valid MSISDNs"
            f" (limit {BAD_LINES_MAX_RATIO:.0%})"
        )
    if old is not None and not first:
        _, removed = old.diff(new)
        if removed >= LOST_MSISDNS_MIN and removed > len(old) * LOST_MAX_RATIO:
            refusals.append(
                f"SEGMENT lost {removed:,} of {len(old):,} MSISDNs (limit {LOST_MAX_RATIO:.0%})"
            )
    return refusals


def _segment_change(old: Segment | None, new: Segment) -> list[str]:
    if old is None:
        return []
    added, removed = old.diff(new)
    return [f"+{added:,} MSISDN{'s' * (added != 1)}, -{removed:,}"]
