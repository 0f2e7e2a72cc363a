"""Which version of SEGMENT, RULES and SUPPRESS is in force.

Owns reading them once they are still, deciding whether a change may be taken, and saying in words what changed. It
never touches the batch in hand: the engine asks between two batches, and gets the next version when it has been
loaded and validated, in a thread of its own. The invariant: what is in force is always a version that was good when
it was taken.
"""

import struct
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, Protocol

from upswell import kernel, suppression
from upswell.batch import Kind, Versions
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
from upswell.policy import Policy
from upswell.privacy import escape, mask_digits
from upswell.reference import OFF
from upswell.rules import Problem, Ruleset, describe_change, parse_rules
from upswell.stored import Forgetting

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


class Kept(Protocol):
    """Where the content of every version is kept."""

    def add_reference(self, kind: Kind, version: str, content: bytes, note: str) -> None:
        """Keep this version and make it the current one of its kind; "": the kind is off from now on."""

    def set_refused(self, words: str) -> None:
        """Keep why what is on disk was refused; "": nothing is."""

    def reference(self, kind: str, version: str) -> bytes:
        """The content of a kept version."""

    def current_versions(self) -> Versions | None:
        """The versions in force at the last stop, or None at the first start."""


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
        suppress: Path | None = None,
        policy: Policy = OFF,
    ) -> None:
        """``check`` raises OutputUnwritable when OUTPUT cannot take these applications."""
        self._paths = _Paths(rules, segment, suppress)
        self._policy = policy
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

        Call it once all are still. Raises InputMissing, ConfigError when nothing usable is there or the suppression
        list would be lost, OutputUnwritable.
        """
        versions = self._kept.current_versions()
        before = self._restore(versions) if versions else None
        self._decided = self._look()
        if before is not None and before.suppressed is not None and self._paths.suppress is None:
            suppression.refuse_loss(self._accept)
        change = _load(self._paths, before, self._accept)
        self._check(change.reference.rules.applications)
        return self._keep(self._with_policy(change, versions))

    def _with_policy(self, change: Change, before: Versions | None) -> Change:
        """The change with the policy of this run, which is the same until its end."""
        if self._policy.version == change.reference.versions.policy:
            return change
        known = before.policy if before else ""
        old = Policy.parse(self._kept.reference("policy", known)) if known else OFF
        words = old.describe_change(self._policy)
        versions = change.reference.versions._replace(policy=self._policy.version)
        taken = Taken("policy", versions.policy, self._policy.content, "; ".join(words))
        return replace(
            change,
            reference=change.reference._replace(versions=versions),
            words=change.words + words if change.accepted else change.words,
            taken=[*change.taken, taken],
        )

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
        suppressed = None
        if versions.suppress:
            suppressed = Segment.load(self._kept.reference("suppress", versions.suppress))
        return Reference(ruleset, compile_rules(ruleset), segment, versions, suppressed)

    def _look(self) -> Look:
        look = []
        for path in filter(None, self._paths):
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


class _Paths(NamedTuple):
    """The three arguments; None: there is no suppression list."""

    rules: Path
    segment: Path
    suppress: Path | None


class _Loading(threading.Thread):
    """Loads and validates what is on disk while the engine goes on."""

    def __init__(self, look: Look, paths: _Paths, before: Reference, accept: bool) -> None:
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
                "loading SEGMENT, RULES or SUPPRESS failed unexpectedly", "run again with --debug"
            ) from self._error
        return self._outcome


def _load(paths: _Paths, before: Reference | None, accept: bool) -> Change:
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
            raise ConfigError("; ".join(loaded.refusals), "run: upswell check DATA SEGMENT RULES")
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
        problems = _segment_problems(report, [name for name, _ in source.files])
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
            problems = suppression.bad_lines(report, names)
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
    return [f"+{added:,} dials, -{removed:,}"]


def _segment_problems(report: SegmentReport, names: list[str]) -> list[str]:
    if not report.bad:
        return []
    index, line, reason, _ = report.errors[0]
    return [
        f"{report.bad:,} SEGMENT lines are no dial, the first is {mask_digits(names[index])} line {line}: {reason}"
    ]
