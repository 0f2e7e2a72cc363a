"""Reload: follows SEGMENT, RULES and SUPPRESS on disk, and decides which version of them is active.

Owns reading them after their quiet period, and activating what ``loading`` accepts; at a start also the versions of the
policy and of the zones' tables, which then stay. It never touches the batch in
hand: the engine polls between two batches, and gets the next version once a thread has loaded and validated it. The
invariant: the active reference is always a version that was valid when it was read.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from upswell.errors import ConfigError, InputMissing, OutputUnwritable, UpswellError
from upswell.kernel import Segment
from upswell.reference import suppression
from upswell.reference.compiled import compile_rules, unpack_rules
from upswell.reference.files import (
    check_regular,
    is_unterminated,
    list_files,
    translate_missing,
)
from upswell.reference.loading import Change, LoadedReference, NewVersion, Paths, load
from upswell.reference.origin import NO_ORIGIN, Origin
from upswell.reference.policy import OFF, Policy
from upswell.reference.rules import parse_rules
from upswell.reference.versions import Kind, Versions
from upswell.reference.zone_tables import describe_change
from upswell.zones import Zones


class KeptVersions(Protocol):
    """Reads the versions that a store keeps."""

    def reference(self, kind: str, version: str) -> bytes:
        """Return the content of a kept version."""

    def current_versions(self) -> Versions | None:
        """Return the versions that were active at the last stop; None at the first start."""

    def day_open(self) -> int:
        """Return the first day that is open after the last batch; 0 before the first commit."""

    def last_zones(self) -> str:
        """Return the version of the zones' tables of the last batch; "" without one."""

    def origins(self) -> Mapping[str, Origin]:
        """Return by kind what these versions were read from."""


class VersionStore(Protocol):
    """The store that keeps the content of every version."""

    @property
    def reader(self) -> KeptVersions:
        """The reader of the store."""

    def add_reference(
        self, kind: Kind, version: str, content: bytes, note: str, origin: Origin = NO_ORIGIN
    ) -> None:
        """Keep this version and make it the current one of its kind; "" switches the kind off."""

    def set_refused(self, words: str) -> None:
        """Keep why the files on disk were refused; "" when they were not."""


UNTERMINATED_SHARE = 10
"""Quiet periods that a file is waited for whose last line has no line end."""
NO_CONVERSION = Zones()
Stats = tuple[tuple[str, int, int, int], ...]
"""(path, inode, size, mtime in ns) of every file of the arguments."""


class Reload:
    """Follows the arguments from the start of a run to its end."""

    def __init__(
        self,
        segment: Path,
        rules: Path,
        store: VersionStore,
        *,
        settle_s: float,
        accept: bool,
        check: Callable[[Sequence[str]], None],
        clock: Callable[[], float],
        suppress: Path | None = None,
        policy: Policy = OFF,
        zones: Zones = NO_CONVERSION,
    ) -> None:
        """Read nothing yet: call ``start`` once ``is_quiet``.

        Args:
            segment: SEGMENT, a file or a directory.
            rules: RULES, a file or a directory.
            store: keeps the versions.
            settle_s: the quiet period, in seconds.
            accept: accept whatever a change would lose (``--accept-reference``).
            check: raises OutputUnwritable when OUTPUT cannot take these applications.
            clock: returns the time in seconds since the epoch, to compare with modification times.
            suppress: SUPPRESS, a file or a directory; None: there is no suppression list.
            policy: of the run.
            zones: of the run, with the tables that it converts by.
        """
        self._paths = Paths(rules, segment, suppress)
        self._policy = policy
        self._zones = zones
        self._store = store
        self._settle_ns = int(settle_s * 1e9)
        self._accept = accept
        self._check = check
        self._clock = clock
        self._seen: Stats = ()
        self._seen_at_ns = 0
        """The time at which these stats were first seen."""
        self._read: Stats = ()
        """The stats of the files whose last bytes were read."""
        self.unterminated: list[str] = []
        """Files whose last line has no line end, as if they were still being written; waited for longer."""
        self._decided: Stats | None = None
        """The stats of the files that were accepted or refused last; () when a path was missing."""
        self._loader: _Loader | None = None
        self.current: LoadedReference | None = None

    def is_quiet(self) -> bool:
        """Return whether the quiet period of all files is over: no change seen for settle_s, or mtimes that old.

        It is UNTERMINATED_SHARE times as long when a last line has no line end: an upload may have stalled within it.

        Raises:
            InputMissing: a path is missing.
        """
        now_ns = int(self._clock() * 1e9)
        stats = self._stat_files()
        if stats != self._seen:
            self._seen, self._seen_at_ns = stats, now_ns
        self._seen_at_ns = min(self._seen_at_ns, now_ns)  # the clock may be set back
        newest_ns = max(mtime_ns for _, _, _, mtime_ns in stats)
        waited_ns = max(now_ns - self._seen_at_ns, now_ns - newest_ns)
        if waited_ns < self._settle_ns:
            return False
        if self._read != stats:
            self.unterminated = [file for file, *_ in stats if is_unterminated(Path(file))]
            self._read = stats
        return not self.unterminated or waited_ns >= UNTERMINATED_SHARE * self._settle_ns

    def start(self, approve: Callable[[Change], None] = lambda _: None) -> Change:
        """Activate the files on disk or, when they are refused, the last good version. Call it once ``is_quiet``.

        ``approve`` may raise before anything of the change is kept.

        Raises:
            InputMissing: a path is missing or unreadable.
            ConfigError: nothing usable is there, or the suppression list, the limit or part of the control group
                would be lost.
            OutputUnwritable: OUTPUT cannot take the applications.
        """
        versions = self._store.reader.current_versions()
        before = self._restore(versions) if versions else None
        self._decided = self._stat_files()
        is_listed = before is not None and before.suppressed is not None
        if is_listed and self._paths.suppress is None and not self._accept:
            raise ConfigError(*suppression.LEFT_OUT)
        change = load(self._paths, before, self._accept)
        self._check(change.reference.rules.applications)
        change = self._with_policy(change, versions)
        approve(change)
        # Other tables come after that: they are told, and nobody can correct them.
        return self._record(self._with_zones(change))

    def _with_policy(self, change: Change, before: Versions | None) -> Change:
        """Add the policy of this run, which stays the same until its end."""
        if self._policy.version == change.reference.versions.policy:
            return change
        known = before.policy if before else ""
        old = Policy.parse(self._store.reader.reference("policy", known)) if known else OFF
        if not self._accept:
            for message, hint in old.losses(self._policy):
                raise ConfigError(message, hint)
        words = old.describe_change(self._policy)
        versions = change.reference.versions._replace(policy=self._policy.version)
        new = NewVersion("policy", versions.policy, self._policy.content, "; ".join(words))
        return replace(
            change,
            reference=change.reference._replace(versions=versions),
            words=change.words + words if change.accepted else change.words,
            new_versions=[*change.new_versions, new],
        )

    def _with_zones(self, change: Change) -> Change:
        """Add the tables of the time zones of this run, and what they change after a last batch by others."""
        reader, words, warnings, note = self._store.reader, list[str](), list[str](), ""
        version = self._zones.version
        if (known := reader.last_zones()) and known != version:
            content = reader.reference("zones", known)
            difference = describe_change(Zones.parse(content), self._zones, reader.day_open())
            (warnings if difference.is_ahead else words).append(difference.words)
            note = difference.note
        new_versions = list(change.new_versions)
        if version != change.reference.versions.zones:
            new_versions.append(NewVersion("zones", version, self._zones.content, note))
        versions = change.reference.versions._replace(zones=version)
        return replace(
            change,
            reference=change.reference._replace(versions=versions),
            words=change.words + words if change.accepted else change.words,
            warnings=change.warnings + warnings,
            new_versions=new_versions,
        )

    def poll(self) -> Change | None:
        """Return a change that was just activated or refused; None when there is none. Never waits.

        A change on disk is loaded by a thread, and a later call returns it.
        """
        assert self.current is not None, "start comes first"
        if self._loader is not None:
            if self._loader.is_alive():
                return None
            loader, self._loader = self._loader, None
            if self._stat_files_or_none() != loader.stats:
                return None  # changed while it was read: the next poll begins again
            self._decided = loader.stats
            return self._accept_or_refuse(loader.result())
        try:
            if not self.is_quiet() or self._seen == self._decided:
                return None
        except InputMissing as error:
            if self._decided == ():
                return None
            self._decided = ()
            return self._record(Change(self.current, accepted=False, words=[error.message]))
        self._loader = _Loader(self._seen, self._paths, self.current, self._accept)
        try:
            self._loader.start()
        except RuntimeError:  # no thread can be started now: a later poll tries again
            self._loader = None
        return None

    def _accept_or_refuse(self, change: Change) -> Change:
        """Activate a loaded change, unless OUTPUT cannot take its applications."""
        assert self.current is not None
        if change.accepted:
            try:
                self._check(change.reference.rules.applications)
            except OutputUnwritable as error:
                change = Change(self.current, accepted=False, words=[error.message])
        return self._record(change)

    def _record(self, change: Change) -> Change:
        """Keep a change in the store, and make its reference the current one."""
        for new in change.new_versions:
            self._store.add_reference(*new)
        self._store.set_refused("" if change.accepted else "; ".join(change.words))
        self.current = change.reference
        return change

    def _restore(self, versions: Versions) -> LoadedReference:
        ruleset = parse_rules(unpack_rules(self._store.reader.reference("rules", versions.rules)))
        segment = Segment.decode(self._store.reader.reference("segment", versions.segment))
        suppressed = None
        if versions.suppress:
            suppressed = Segment.decode(self._store.reader.reference("suppress", versions.suppress))
        origins = self._store.reader.origins()
        return LoadedReference(
            ruleset, compile_rules(ruleset), segment, versions, suppressed, origins=origins
        )

    def _stat_files(self) -> Stats:
        stats = []
        for path in filter(None, self._paths):
            for file in list_files(path):
                with translate_missing(file):
                    found = file.stat()
                check_regular(file, found)
                stats.append((str(file), found.st_ino, found.st_size, found.st_mtime_ns))
        return tuple(stats)

    def _stat_files_or_none(self) -> Stats | None:
        try:
            return self._stat_files()
        except InputMissing:
            return None


class _Loader(threading.Thread):
    """Loads and validates the files on disk while the engine goes on."""

    def __init__(self, stats: Stats, paths: Paths, before: LoadedReference, accept: bool) -> None:
        super().__init__(name="upswell-reload", daemon=True)
        self.stats = stats
        self._arguments = (paths, before, accept)
        self._change: Change | None = None
        self._error: Exception | None = None

    def run(self) -> None:
        paths, before, accept = self._arguments
        try:
            self._change = load(paths, before, accept)
        except UpswellError as error:
            self._change = Change(before, accepted=False, words=[error.message])
        except MemoryError:
            self._change = Change(before, accepted=False, words=["not enough memory to load it"])
        except Exception as error:  # noqa: BLE001 - raised by `result`: a thread would print it unescaped
            self._error = error

    def result(self) -> Change:
        if self._change is None:
            raise UpswellError(
                "loading SEGMENT, RULES or SUPPRESS failed unexpectedly", "run again with --debug"
            ) from self._error
        return self._change
