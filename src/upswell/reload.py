"""Which version of SEGMENT and RULES is in force.

Owns reading them once they are still, deciding whether a change may be taken, and saying in words what changed. It
never touches the batch in hand: the engine asks between two batches, and gets the next version when it has been
loaded and validated, in a thread of its own. The invariant: what is in force is always a version that was good when
it was taken.
"""

import struct
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from upswell.batch import Versions
from upswell.contents import (
    Contents,
    check_regular,
    list_files,
    missing,
    read_rules,
    read_segment,
)
from upswell.errors import ConfigError, InputMissing, OutputUnwritable, UpswellError
from upswell.kernel import Rules, Segment, SegmentReport
from upswell.privacy import escape, mask_digits
from upswell.rules import Problem, Ruleset, describe_change, parse_rules

BAD_LINES_MAX_RATIO = 0.01
LOST_DIALS_MAX_RATIO = 0.5
SENTENCES_MAX = 10  # about one change: the log and the checkpoint keep them in one line
_FRAME = struct.Struct("<I")


class Reference(NamedTuple):
    """The rules and the segment of one moment."""

    ruleset: Ruleset
    rules: Rules
    segment: Segment
    versions: Versions


class Kept(Protocol):
    """Where the content of every version is kept."""

    def add_reference(
        self, kind: Literal["rules", "segment"], version: str, content: bytes, note: str
    ) -> None:
        """Keep this version and make it the current one of its kind."""

    def set_refused(self, words: str) -> None:
        """Keep why what is on disk was refused; "": nothing is."""

    def reference(self, kind: str, version: str) -> bytes:
        """The content of a kept version."""

    def current_versions(self) -> Versions | None:
        """The versions in force at the last stop, or None at the first start."""


class Taken(NamedTuple):
    """A version of the rules or the segment that is new."""

    kind: Literal["rules", "segment"]
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


Look = tuple[tuple[str, int, int, int], ...]
"""(path, inode, size, mtime in ns) of every file of both arguments."""


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


class Reload:
    """Follows SEGMENT and RULES from the start of a run to its end."""

    def __init__(
        self,
        segment: Path,
        rules: Path,
        kept: Kept,
        *,
        settle_s: float,
        accept: bool,
        check: Callable[[Sequence[str]], None],
        clock: Callable[[], float],
    ) -> None:
        """``check`` raises OutputUnwritable when OUTPUT cannot take these applications."""
        self._paths = (rules, segment)
        self._kept = kept
        self._settle_ns = int(settle_s * 1e9)
        self._accept = accept
        self._check = check
        self._clock = clock
        self._looked: Look = ()
        self._looked_at_ns = 0
        self._decided: Look | None = None
        self._loading: _Loading | None = None
        self.current: Reference | None = None

    def still(self) -> bool:
        """Whether both arguments are unchanged since a look at least settle_s ago, or older than that.

        Raises InputMissing when one is missing.
        """
        now_ns = int(self._clock() * 1e9)
        look = self._look()
        if look != self._looked:
            self._looked, self._looked_at_ns = look, now_ns
        self._looked_at_ns = min(self._looked_at_ns, now_ns)  # the clock may be set back
        newest_ns = max(mtime_ns for _, _, _, mtime_ns in look)
        return max(now_ns - self._looked_at_ns, now_ns - newest_ns) >= self._settle_ns

    def start(self) -> Change:
        """The reference that a start goes on with: what is on disk or, if that is refused, the last good version.

        Call it once both are still. Raises InputMissing, ConfigError when nothing usable is there, OutputUnwritable.
        """
        versions = self._kept.current_versions()
        before = self._restore(versions) if versions else None
        self._decided = self._look()
        change = _load(self._paths, before, self._accept)
        self._check(change.reference.rules.applications)
        return self._keep(change)

    def poll(self) -> Change | None:
        """A change that is ready to be taken or has just been refused; None when there is nothing new.

        Never waits: a change on disk is loaded by a thread, and a later call hands it over.
        """
        assert self.current is not None, "start comes first"
        if self._loading is not None:
            if self._loading.is_alive():
                return None
            loading, self._loading = self._loading, None
            if self._look_or_none() != loading.look:
                return None  # it changed while it was read: the next look begins again
            self._decided = loading.look
            return self._take(loading.result())
        try:
            if not self.still() or self._looked == self._decided:
                return None
        except InputMissing as error:
            if self._decided == ():
                return None
            self._decided = ()
            return self._keep(Change(self.current, accepted=False, words=[error.message]))
        self._loading = _Loading(self._looked, self._paths, self.current, self._accept)
        try:
            self._loading.start()
        except RuntimeError:  # the system gives no thread: it is tried again
            self._loading = None
        return None

    def _take(self, change: Change) -> Change:
        """Put a change in force unless OUTPUT cannot take its applications."""
        assert self.current is not None
        if change.accepted:
            try:
                self._check(change.reference.rules.applications)
            except OutputUnwritable as error:
                change = Change(self.current, accepted=False, words=[error.message])
        return self._keep(change)

    def _keep(self, change: Change) -> Change:
        for taken in change.taken:
            self._kept.add_reference(*taken)
        self._kept.set_refused("" if change.accepted else "; ".join(change.words))
        self.current = change.reference
        return change

    def _restore(self, versions: Versions) -> Reference:
        ruleset = parse_rules(unpack_rules(self._kept.reference("rules", versions.rules)))
        segment = Segment.load(self._kept.reference("segment", versions.segment))
        return Reference(ruleset, compile_rules(ruleset), segment, versions)

    def _look(self) -> Look:
        look = []
        for path in self._paths:
            for file in list_files(path):
                with missing(file):
                    found = file.stat()
                check_regular(file, found)
                look.append((str(file), found.st_ino, found.st_size, found.st_mtime_ns))
        return tuple(look)

    def _look_or_none(self) -> Look | None:
        try:
            return self._look()
        except InputMissing:
            return None


class _Loading(threading.Thread):
    """Loads and validates what is on disk while the engine goes on."""

    def __init__(
        self, look: Look, paths: tuple[Path, Path], before: Reference, accept: bool
    ) -> None:
        super().__init__(name="upswell-reload", daemon=True)
        self.look = look
        self._arguments = (paths, before, accept)
        self._outcome: Change | None = None
        self._error: Exception | None = None

    def run(self) -> None:
        paths, before, accept = self._arguments
        try:
            self._outcome = _load(paths, before, accept)
        except UpswellError as error:
            self._outcome = Change(before, accepted=False, words=[error.message])
        except MemoryError:
            self._outcome = Change(before, accepted=False, words=["not enough memory to load it"])
        except Exception as error:  # noqa: BLE001 - not told here, where its text would not be made safe
            self._error = error

    def result(self) -> Change:
        if self._outcome is None:
            raise UpswellError(
                "loading SEGMENT and RULES failed unexpectedly", "run again with --debug"
            ) from self._error
        return self._outcome


def _load(paths: tuple[Path, Path], before: Reference | None, accept: bool) -> Change:
    """The reference on disk as a candidate, or the refusal of it when a last good version can go on."""
    rules_source, segment_source = read_rules(paths[0]), read_segment(paths[1])
    if before is not None and before.versions == _versions(rules_source, segment_source):
        return Change(before, accepted=True, words=[])
    words: list[str] = []
    left_out: list[str] = []
    refusals: list[str] = []
    taken: list[Taken] = []
    if before is not None and before.versions.rules == rules_source.version:
        ruleset, rules = before.ruleset, before.rules
    else:
        ruleset = parse_rules(rules_source.files)
        refusals += _rules_refusals(ruleset, first=before is None or accept)
        rules = compile_rules(ruleset)
        if before is not None:
            words += _first(describe_change(before.ruleset, ruleset), "changes")
        left_out += _describe_problems(ruleset)
        content, note = pack_rules(rules_source.files), "; ".join(words + left_out)
        taken.append(Taken("rules", rules_source.version, content, note))
    # The first version of SEGMENT is parsed while it is still summed up.
    if before is not None and before.versions.segment == segment_source.version:
        segment = before.segment
    else:
        segment, report = Segment.parse([content for _, content in segment_source.files])
        old = before.segment if before is not None else None
        refusals += _segment_refusals(old, segment, report, first=before is None or accept)
        problems = _segment_problems(report, [name for name, _ in segment_source.files])
        change = _segment_change(old, segment)
        note = "; ".join(change + problems)
        taken.append(Taken("segment", segment_source.version, segment.dump(), note))
        words += change
        left_out += problems
    if refusals:
        if before is None:
            raise ConfigError("; ".join(refusals), "run: upswell check DATA SEGMENT RULES")
        return Change(before, accepted=False, words=refusals)
    versions = _versions(rules_source, segment_source)
    reference = Reference(ruleset, rules, segment, versions)
    return Change(reference, True, words, left_out, taken)


def _versions(rules: Contents, segment: Contents) -> Versions:
    return Versions(rules.version, segment.version)


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
    return [f"+{added:,} dials, -{removed:,}"]


def _segment_problems(report: SegmentReport, names: list[str]) -> list[str]:
    if not report.bad:
        return []
    index, line, reason, _ = report.errors[0]
    return [
        f"{report.bad:,} SEGMENT lines are no dial, the first is {mask_digits(names[index])} line {line}: {reason}"
    ]
