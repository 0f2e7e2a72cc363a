"""Which version of SEGMENT, RULES and SUPPRESS is in force.

Owns reading them once they are still, and putting in force what ``candidate`` accepts. It never touches the batch in
hand: the engine asks between two batches, and gets the next version when it has been loaded and validated, in a thread
of its own. The invariant: what is in force is always a version that was good when it was taken.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from upswell.errors import ConfigError, InputMissing, OutputUnwritable, UpswellError
from upswell.kernel import Segment
from upswell.reference import suppression
from upswell.reference.files import check_regular, list_files, missing
from upswell.reference.loading import (
    Change,
    Paths,
    Reference,
    Taken,
    compile_rules,
    load,
    unpack_rules,
)
from upswell.reference.policy import OFF, Policy
from upswell.reference.rules import parse_rules
from upswell.reference.versions import Kind, Versions


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


Look = tuple[tuple[str, int, int, int], ...]
"""(path, inode, size, mtime in ns) of every file of both arguments."""


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
        self._paths = Paths(rules, segment, suppress)
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
        list, the limit or a part of the control group would be lost, OutputUnwritable.
        """
        versions = self._kept.current_versions()
        before = self._restore(versions) if versions else None
        self._decided = self._look()
        is_listed = before is not None and before.suppressed is not None
        if is_listed and self._paths.suppress is None and not self._accept:
            raise ConfigError(*suppression.LEFT_OUT)
        change = load(self._paths, before, self._accept)
        self._check(change.reference.rules.applications)
        return self._keep(self._with_policy(change, versions))

    def _with_policy(self, change: Change, before: Versions | None) -> Change:
        """The change with the policy of this run, which is the same until its end."""
        if self._policy.version == change.reference.versions.policy:
            return change
        known = before.policy if before else ""
        old = Policy.parse(self._kept.reference("policy", known)) if known else OFF
        if not self._accept:
            for message, hint in old.losses(self._policy):
                raise ConfigError(message, hint)
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


class _Loading(threading.Thread):
    """Loads and validates what is on disk while the engine goes on."""

    def __init__(self, look: Look, paths: Paths, before: Reference, accept: bool) -> None:
        super().__init__(name="upswell-reload", daemon=True)
        self.look = look
        self._arguments = (paths, before, accept)
        self._outcome: Change | None = None
        self._error: Exception | None = None

    def run(self) -> None:
        paths, before, accept = self._arguments
        try:
            self._outcome = load(paths, before, accept)
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
