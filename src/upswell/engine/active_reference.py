"""Which reference a run's next batch is decided by.

Owns the active reference: the first one of a run, its replacement between two batches, and the policy in it, of which
forgotten customers are a part until their days are closed. ``reload`` reads and validates versions; nothing here reads
a file. The invariant: a batch is decided by one reference from its first byte to its last.
"""

import threading
import time
from collections.abc import Callable
from functools import partial
from itertools import chain

from upswell.config.settings import Settings
from upswell.engine.reporter import Reporter
from upswell.errors import ConfigError
from upswell.output.sink import Sink
from upswell.privacy import escape
from upswell.reference.compiled import compile_policy
from upswell.reference.loading import SENTENCES_MAX, Change, LoadedReference
from upswell.reference.reload import UNTERMINATED_SHARE, Reload
from upswell.reference.suppression import Forgetting
from upswell.state.checkpoint import Checkpoint
from upswell.state.queries.forgotten import forgettings

STILL_CHECK_S = 0.05  # between two checks of SEGMENT and RULES while a start waits for them
Inspect = Callable[[], list[str]]
"""Looks at the inputs of a run as ``upswell check`` does, and returns its warnings."""


class ActiveReference:
    """The active reference of one run. Every call belongs between two batches."""

    def __init__(
        self,
        settings: Settings,
        checkpoint: Checkpoint,
        sink: Sink,
        reporter: Reporter,
        inspect: Inspect | None = None,
    ) -> None:
        self.current: LoadedReference | None = None
        """None until ``start`` has put the first one in."""
        self._settings = settings
        self._inspect = inspect
        self._checkpoint = checkpoint
        self._reporter = reporter
        self._forgettings: list[Forgetting] = []
        self._unterminated: list[str] = []
        self._reload = Reload(
            settings.segment,
            settings.rules,
            checkpoint,
            settle_s=settings.settle_s,
            accept=settings.accept_reference,
            check=partial(sink.check_directories, control=settings.policy.control_share > 0),
            clock=time.time,
            suppress=settings.suppress,
            policy=settings.policy,
            zones=settings.zones,
        )

    def require(self) -> LoadedReference:
        """Return the active reference, which a start must have put in."""
        assert self.current is not None, "start comes first"
        return self.current

    def start(self, stop: threading.Event) -> bool:
        """Activate the first reference once SEGMENT and RULES are unchanged for ``settle_s``.

        Returns False when ``stop`` was set before; no reference is active then.

        Raises:
            UpswellError: as ``Reload.start`` does: nothing usable is there, or too much of it would be lost.
            ConfigError: there is a warning, and the settings are strict; nothing of the reference is kept then.
        """
        is_reported = False
        while not self._reload.is_quiet():
            self._report_unterminated()
            if not is_reported:
                self._reporter.event(
                    "waiting for SEGMENT and RULES to be still", settle_s=self._settings.settle_s
                )
                is_reported = True
            if stop.wait(STILL_CHECK_S):
                return False
        change = self._reload.start(self._refuse_warnings)
        if not change.accepted:
            self._reporter.refused_edit(_describe_refused(change))
        elif change.words:
            self._reporter.event("reference changed", words="; ".join(change.words))
        for sentence in (*change.reference.standing_warnings(), *change.warnings):
            self._reporter.warn(sentence)
        self._activate(change.reference)
        return True

    def _refuse_warnings(self, change: Change) -> None:
        """Raise ConfigError when the settings are strict, and there is any warning before the first batch."""
        if not self._settings.strict:
            return
        found = [*self._reporter.summary.warnings, *change.warnings]
        if not change.accepted:
            found.append(_describe_refused(change))
        # Of what is on disk, accepted or not, an inspection names every line.
        found += change.reference.standing_warnings() if self._inspect is None else self._inspect()
        if not found:
            return
        more = len(found) - SENTENCES_MAX
        shown = "; ".join(found[:SENTENCES_MAX]) + (f"; {more:,} more" if more > 0 else "")
        count = "1 warning" if len(found) == 1 else f"{len(found):,} warnings"
        raise ConfigError(
            f"strict, as {self._settings.origins.get('strict', '--strict')} says: no start with {count}: {shown}",
            "correct what they name (`upswell check` says how), or start with UPSWELL_STRICT=0 and without --strict:"
            " nothing was consumed",
        )

    def poll(self) -> None:
        """Activate a change that was loaded meanwhile, or report why it was refused. Never waits."""
        change = self._reload.poll()
        self._report_unterminated()
        if change is None:
            return
        if not change.accepted:
            self._reporter.refused_edit(
                "a change of SEGMENT, RULES or SUPPRESS was refused: " + "; ".join(change.words)
            )
        elif change.reference.versions != self.require().versions:
            self._activate(change.reference)
            words = "; ".join(change.words) or "no difference"
            self._reporter.event("reference changed", words=words)
            fresh = [new.origin.warnings(new.kind) for new in change.new_versions]
            for sentence in chain(*fresh, change.warnings):
                self._reporter.warn(sentence)

    def _report_unterminated(self) -> None:
        """Report once that a file is waited for, whose last line may still be being written."""
        if self._reload.unterminated != self._unterminated:
            self._unterminated = self._reload.unterminated
            for file in self._unterminated:
                self._reporter.event(
                    "waiting for the end of a last line",
                    file=escape(file),
                    wait_s=UNTERMINATED_SHARE * self._settings.settle_s,
                )

    def can_end_forgetting(self, day_open: int) -> bool:
        """Return whether a forgotten customer's days are all before the first open day.

        No batch may be in the making when the key is dropped: it would be decided by it.
        """
        return any(one.until_day < day_open for one in self._forgettings)

    def end_forgetting(self, day_open: int) -> None:
        """Drop the keys of forgotten customers whose days are closed."""
        if self.can_end_forgetting(day_open):
            self._checkpoint.end_forgetting(day_open)
            self._set(self.require())

    def _activate(self, reference: LoadedReference) -> None:
        self._set(reference)
        self._reporter.event(
            "reference in force",
            rules=len(reference.ruleset.rules),
            dials=len(reference.segment),
            rules_version=reference.versions.rules[:12],
            segment_version=reference.versions.segment[:12],
            **{
                f"{kind}_files": origin.describe_files(kind)
                for kind, origin in reference.origins.items()
                if origin.files
            },
            **self._settings.policy.words(len(reference.suppressed or ())),
        )

    def _set(self, reference: LoadedReference) -> None:
        """Make this the reference of the next batch, with the policy that goes with it now."""
        self._forgettings = [
            one for one in forgettings(self._checkpoint.reader) if one.key is not None
        ]
        policy = compile_policy(self._settings.policy, reference.suppressed, self._forgettings)
        self.current = reference._replace(policy=policy)


def _describe_refused(change: Change) -> str:
    """Describe files that were refused at a start."""
    return (
        "SEGMENT, RULES or SUPPRESS were refused and the last good version stays active: "
        + "; ".join(change.words)
    )
