"""Reports a run to its listeners: its events, its warnings, and its summary after each batch.

Owns the summary and the record of what was reported, so that each thing is said once. It decides nothing about a file
or a batch, writes nothing, and asks for nothing that takes longer the older a state is. Fields of events never hold a
whole msisdn.
"""

import re
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Protocol

from upswell.config.settings import Settings
from upswell.engine.arrivals import ArrivalMonitor
from upswell.engine.other_forms import OtherForms
from upswell.engine.summary import (
    Observations,
    Standing,
    Summary,
    cause_in,
    describe_exported_again,
    describe_refused,
    describe_unread,
)
from upswell.errors import InputMissing
from upswell.kernel import Range, Result
from upswell.reference.loading import LoadedReference
from upswell.source.file import EXPORTED_AGAIN, REFUSED, STATES, WHOLE, File, State
from upswell.source.planner import Source
from upswell.state.batch import Batch
from upswell.state.queries.notifications import count_notified
from upswell.state.reader import StateReader

WARNINGS_KEPT = 100  # in the summary; each one is also an event
REFUSALS_S = 3600.0  # a producer's fault is in each of its files: one line an hour is enough
_DIGIT = re.compile("[0-9]")


class Listener(Protocol):
    """Hears what a run does, and prints, counts or ignores it."""

    def event(self, event: str, /, **fields: object) -> None:
        """Take an event of the log output. Fields never hold a whole msisdn."""

    def progress(self, summary: Summary) -> None:
        """Take the summary so far, after every commit and every idle scan. It changes later: copy what is kept."""


class Reporter:
    """Keeps a run's summary and tells its listener. For the run's own thread, except ``committed``."""

    def __init__(self, listener: Listener, settings: Settings, reader: StateReader) -> None:
        self.summary = Summary()
        self._listener = listener
        self._reader = reader
        self._once = settings.once
        self._observations = Observations(settings.zones)
        self._other_forms = OtherForms()
        self._arrivals = ArrivalMonitor(
            reader, settings.cadence_s, settings.zones.data, time.time()
        )
        self._started = time.monotonic()
        self._touched: dict[str, State] = {}
        """Of a run with ``--once``: the files whose rows changed."""
        self._held: dict[str, str] = {}
        """Held files that were reported, with the reason."""
        self._exported: set[str] = set()
        """Files that begin as another one, and were reported and counted."""
        self._refused: set[str] = set()
        """Files without one record that were counted."""
        self._refusals: dict[str, list[File]] = {}
        """By cause: those of them that were not reported yet."""
        self._refusals_told: dict[str, float] = {}
        """By cause: when it was last reported, in seconds of the monotonic clock."""
        self._unread: set[str] = set()
        """Names that look like data and are not read, as they were reported: each digit a 0."""
        self._observed: set[str] = set()
        """Kinds of observations that were reported."""

    def begin(self, warnings: Iterable[str]) -> None:
        """Take over what earlier runs of the state counted, so that counters go on where the last run's ended.

        ``warnings``: of the recovery.
        """
        self.summary.before = self._reader.totals()
        self.summary.notified_before = count_notified(self._reader)
        if last := self._reader.last():
            self.summary.committed_at_s = datetime.fromisoformat(last.committed_at).timestamp()
        for sentence in warnings:
            self.warn(sentence)

    def event(self, event: str, /, **fields: object) -> None:
        """Report an event."""
        self._listener.event(event, **fields)

    def warn(self, sentence: str) -> None:
        """Report a sentence that somebody should act on; the summary keeps the first WARNINGS_KEPT different ones."""
        self.event("warning", text=sentence)
        warnings = self.summary.warnings
        if sentence not in warnings and len(warnings) < WARNINGS_KEPT:
            warnings.append(sentence)

    def refused_edit(self, sentence: str) -> None:
        """Warn of an edit of SEGMENT, RULES or SUPPRESS that was refused, and count it."""
        self.summary.refused_edits += 1
        self.warn(sentence)

    def data_listed(self) -> None:
        """Note that DATA could be listed."""
        self.summary.data_away = False

    def data_away(self, error: InputMissing) -> None:
        """Warn that DATA cannot be listed, once until it can be again."""
        if not self.summary.data_away:
            self.warn(f"{error.message}: {error.hint}; it is tried again")
        self.summary.data_away = True

    def files_changed(self, files: Sequence[File]) -> None:
        """Take note of files whose rows changed. Call it before the rows are saved."""
        if self._once:
            self._touched.update((file.name, file.state) for file in files)
        self._arrivals.files_changed(files, time.time())
        for file in files:
            if file.state == "gone" and file.offset and file.reason == WHOLE:
                self.event("file left", file=file.name, words=file.detail)
            elif file.state == "gone" and file.offset:
                self.warn(f"{file.name} disappeared: {file.detail}")
            if file.reason == REFUSED and file.name not in self._refused:
                self._refused.add(file.name)
                self._arrivals.counts["refused"] += 1
                self._refusals.setdefault(cause_in(file.detail), []).append(file)
        self._report_exported(
            [
                file
                for file in files
                if file.reason == EXPORTED_AGAIN and file.offset and file.name not in self._exported
            ]
        )

    def _report_exported(self, files: Sequence[File]) -> None:
        """Warn once of all these files that begin as another one."""
        if not files:
            return
        self._exported.update(file.name for file in files)
        self._arrivals.counts["exported_again"] += len(files)
        newest = max(files, key=lambda file: (file.stamp, file.name))
        self.warn(describe_exported_again(len(files), newest.name, newest.detail))

    def committed(self, commit_s: float) -> None:
        """Record a commit that has just ended and took ``commit_s`` seconds. May be called while a batch is read."""
        self.summary.commit_s, self.summary.committed_at_s = commit_s, time.time()

    def count(
        self, batch: Batch, ranges: Sequence[Range], result: Result, reference: LoadedReference
    ) -> None:
        """Add a committed batch, and what its result shows about the lines, to the summary."""
        summary = self.summary
        summary.batches += 1
        summary.lines += batch.lines
        summary.bytes += sum(each.end - each.start for each in batch.ranges)
        summary.outcomes.update(batch.outcomes)
        summary.rejects.update(batch.reasons)
        for output in batch.outputs:
            summary.notifications[output.application] += output.content.count(b"\n")
        for output in batch.control_outputs:
            summary.control[output.application] += output.content.count(b"\n")
        self._observations.add(result, [wanted.name for wanted in ranges], reference.ruleset)
        consumed = ranges[: len(result.ranges)]
        self._other_forms.sample(consumed, reference.segment, time.monotonic())

    def other_forms(self) -> str | None:
        """Return a sentence about msisdns in another form than the segment's, "" without any; None: not known yet."""
        return self._other_forms.sentence() if self._other_forms.is_known else None

    def report_news(
        self,
        held: Sequence[File],
        continuing: Sequence[File],
        unread: Sequence[str],
        reference: LoadedReference | None,
    ) -> None:
        """Report what is new: held, refused, unread and continuing files, observations, files out of step.

        Call it when the rows of all changed files are saved.
        """
        reasons = {file.name: file.reason for file in held}
        for file in held:
            if self._held.get(file.name) != file.reason:
                self.warn(f"{file.name} is held: {file.detail}")
        self._held = reasons
        self._report_refusals(time.monotonic())
        self._report_unread(unread)
        for file in continuing:
            self.event("file went on", file=file.continues, under=file.name)
        if reference is not None:
            self._report_observations(reference)
        for event, fields in self._arrivals.pop_events(time.time()):
            if event == "silence" and unread:
                fields["unread"] = len(unread)
            self.event(event, **fields)

    def _report_refusals(self, now: float) -> None:
        """Warn of files without one record: once a cause, and of more of that cause once in REFUSALS_S."""
        for cause, files in list(self._refusals.items()):
            told = self._refusals_told.get(cause)
            if told is not None and now - told < REFUSALS_S:
                continue
            self._refusals_told[cause] = now
            del self._refusals[cause]
            self.warn(describe_refused(len(files), files[0].name, files[0].detail))

    def _report_unread(self, names: Sequence[str]) -> None:
        """Warn of names that look like data and are not read, each form of them once."""
        forms = {_DIGIT.sub("0", name): name for name in reversed(names)}
        fresh = sorted(name for form, name in forms.items() if form not in self._unread)
        if fresh:
            self._unread.update(forms)
            self.warn(describe_unread(len(names), fresh))

    def _report_observations(self, reference: LoadedReference) -> None:
        sentences = self._observations.sentences(self.summary, lambda: reference.segment)
        if words := self.other_forms():
            sentences["other_forms"] = words
        for kind, sentence in sentences.items():
            if kind not in self._observed:
                self._observed.add(kind)
                self.warn(sentence)

    def progress(
        self,
        source: Source,
        reference: LoadedReference | None,
        ledger_entries: tuple[int, int] | None,
        archive_held: int,
    ) -> None:
        """Hand the summary to the listener.

        Args:
            source: of the run.
            reference: the active one; None before the first.
            ledger_entries: live totals and caps, if they are known.
            archive_held: finished files that need manual action before they can be archived.
        """
        summary = self.summary
        summary.files = self._files(source)
        summary.elapsed_s = time.monotonic() - self._started
        summary.backlog_files, summary.backlog_bytes = source.backlog()
        summary.out_of_step = self._arrivals.counts
        summary.standing = _standing(source, reference, ledger_entries, archive_held)._replace(
            other_form_share=self._other_forms.share()
        )
        self._listener.progress(summary)

    def _files(self, source: Source) -> dict[str, int]:
        """Count files by state: those that a run with ``--once`` touched, those in DATA of any other."""
        states = Counter(self._touched.values()) if self._once else source.counts()
        return {state: states[state] for state in STATES}


def _standing(
    source: Source,
    reference: LoadedReference | None,
    ledger_entries: tuple[int, int] | None,
    archive_held: int,
) -> Standing:
    totals, caps = ledger_entries or (None, None)
    now = Standing(
        totals=totals,
        caps=caps,
        oldest_at_s=source.oldest_at_s(),
        archive_held=archive_held,
        unread=len(source.unread()),
    )
    if reference is None:
        return now
    return now._replace(
        versions=reference.versions,
        rules=len(reference.ruleset.rules),
        msisdns=len(reference.segment),
        suppressed=len(reference.suppressed or ()),
        applications=tuple(reference.ruleset.applications()),
        left_out={kind: origin.bad_lines for kind, origin in reference.origins.items()},
    )
