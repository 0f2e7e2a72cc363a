"""The loop of a run: source -> kernel -> commit, for ever or once.

Owns the loop and the wiring of one run, and decides nothing else: which bytes are next is the source's, where they are
computed ``compute``'s, what they mean the kernel's, in which order they become durable and visible the commit's. A
batch is committed and published before the next one is taken in; while that goes on the next ranges may be read, which
touches nothing that a commit vouches for. So a stop or a crash between any two lines here loses nothing: what was only
read is read again.
"""

import stat
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path
from typing import Protocol

from upswell import kernel
from upswell.config.settings import Settings
from upswell.engine import gauges
from upswell.engine.adopt import adopt
from upswell.engine.allocator import keep_freed
from upswell.engine.archive import Archive
from upswell.engine.arrivals import Cadence
from upswell.engine.assembly import assemble, check_sums
from upswell.engine.background import beside
from upswell.engine.commit import Committer
from upswell.engine.compute import Compute, Embedded, Read
from upswell.engine.summary import Observations, Summary
from upswell.errors import InputMissing, TooManyRejects
from upswell.kernel import Range, Result, Scanned
from upswell.output.reject_files import Expiry
from upswell.output.sink import Sink
from upswell.privacy import escape
from upswell.reference.loading import Change, Reference, kernel_policy
from upswell.reference.reload import Reload
from upswell.reference.suppression import Forgetting
from upswell.source.file import STATES, File, State
from upswell.source.planner import Source
from upswell.source.watcher import Wake, watch
from upswell.state import identity
from upswell.state.batch import Batch
from upswell.state.checkpoint import Checkpoint
from upswell.zones import day_open_of

WARNINGS_KEPT = 100  # in the summary; each one is narrated
STOP_CHECK_S = 0.1  # a stop during an idle wait is noticed within it
LOOK_SHARE = 4  # in a backlog, looking at DATA again takes at most one part in so many


class Listener(Protocol):
    """Hears what a run does; prints it or not."""

    def event(self, event: str, /, **fields: object) -> None:
        """One line of narration. Fields never hold a whole msisdn."""

    def progress(self, summary: Summary) -> None:
        """Called after every commit and every idle look."""


def run(
    settings: Settings,
    listener: Listener,
    stop: threading.Event,
    compute: Callable[[Settings, Checkpoint], Compute] = Embedded,
) -> Summary:
    """Run until ``stop`` is set or, with ``settings.once``, until what is there has been taken.

    Args:
        settings: of the run.
        listener: hears what it does.
        stop: set it to end the run after the batch in hand.
        compute: makes what computes the batches, for this state.

    Raises:
        UpswellError: with the exit code and the operator's next step. Whatever was committed stays; a restart goes on.
    """
    _check_data(settings.data)
    keep_freed()
    with (
        Sink.open(settings.output, mode=settings.output_mode, group=settings.output_group) as sink,
        Checkpoint.open(settings.state_dir, kernel.SHARDS) as checkpoint,
        closing(compute(settings, checkpoint)) as place,
    ):
        return _Run(settings, listener, stop, sink, checkpoint, place).run()


class _Run:
    """One run over one state, from recovery to a clean stop."""

    def __init__(
        self,
        settings: Settings,
        listener: Listener,
        stop: threading.Event,
        sink: Sink,
        checkpoint: Checkpoint,
        compute: Compute,
    ) -> None:
        self.new = identity.check(settings, checkpoint, sink, compute.pinned)
        self.settings = settings
        self.listener = listener
        self.stop = stop
        self.sink = sink
        self.checkpoint = checkpoint
        self.compute = compute
        self.committer = Committer(checkpoint, sink)
        self.archive = Archive.open(settings, checkpoint)
        self.expiry = Expiry(self.committer.rejects, settings.keep_rejects_days)
        self.summary = Summary()
        self.observations = Observations(settings.zones)
        self.started = time.monotonic()
        self.zones = settings.zones
        self.touched: dict[str, State] = {}
        self.held: dict[str, str] = {}
        """Held files that were told of, with the reason."""
        self.told: set[str] = set()
        """Kinds of observations that were told."""
        self.day_open = 0
        self.forgettings: list[Forgetting] = []
        self.commit_s = 0.0
        """How long the last commit took."""
        self.source = Source(
            settings.data,
            checkpoint,
            settle_s=settings.settle_s,
            keep_days=settings.keep_days,
            zones=self.zones,
            max_stamp_ahead_days=settings.max_stamp_ahead_days,
            since=identity.since(settings, checkpoint),
            rejects_max_bytes_per_file=settings.rejects_max_bytes_per_file,
            stopping=stop.is_set,
        )
        self.reload = Reload(
            settings.segment,
            settings.rules,
            checkpoint,
            settle_s=settings.settle_s,
            accept=settings.accept_reference,
            check=partial(sink.check_directories, control=settings.policy.control_share > 0),
            clock=time.time,
            suppress=settings.suppress,
            policy=settings.policy,
        )
        self.cadence = Cadence(checkpoint, settings.cadence_s, self.zones.data, time.time())

    def run(self) -> Summary:
        if self.new and self.settings.adopt:
            adopted = adopt(self.sink, self.checkpoint, self.zones)
            self._event("adopted", **adopted._asdict())
        recovered = self.committer.recover()
        if recovered.words():
            self._event("recovered", **recovered.words())
        gauges.remember(self.summary, self.checkpoint)
        if self.settings.once:
            self.source.freeze()
        # The dials and the ledger are the most that a start has to load: both at once.
        with beside(self.compute.prepare) if self.compute.beside else nullcontext():
            if not self._start_reference():
                return self._finish()
        identity.claim(self.settings, self.checkpoint, self.compute.pinned)
        self.day_open = self.checkpoint.day_open()
        self._end_forgetting()
        self.compute.begin()
        for sentence in self.archive.recover(time.time()) if self.archive else ():
            self._warn(sentence)
        self.source.verify_taken()
        if self.settings.once:
            self._run_once()
        else:
            self._run_forever()
        return self._finish()

    def _start_reference(self) -> bool:
        """Put the first reference in force once SEGMENT and RULES are still; False when stopped before."""
        told = False
        while not self.reload.still():
            if not told:
                self._event(
                    "waiting for SEGMENT and RULES to be still", settle_s=self.settings.settle_s
                )
                told = True
            if self.stop.wait(0.05):
                return False
        change = self.reload.start()
        if not change.accepted:
            self.summary.refused_edits += 1
            self._warn(
                "SEGMENT, RULES or SUPPRESS were refused and the last good version stays: "
                + "; ".join(change.words)
            )
        elif change.words:
            self._event("reference changed", words="; ".join(change.words))
        self._warn_left_out(change)
        self._use(change.reference)
        return True

    def _warn_left_out(self, change: Change) -> None:
        for line in change.left_out:
            self._warn(f"left out: {line}")

    def _use(self, reference: Reference) -> None:
        """Make the reference the one of the next batch."""
        self.reference = reference
        self._use_policy()
        self._event(
            "reference in force",
            rules=len(reference.ruleset.rules),
            dials=len(reference.segment),
            rules_version=reference.versions.rules[:12],
            segment_version=reference.versions.segment[:12],
            **self.settings.policy.words(len(reference.suppressed or ())),
        )

    def _use_policy(self) -> None:
        """Make the policy the one of the next batch."""
        self.forgettings = [one for one in self.checkpoint.forgettings() if one.key is not None]
        policy = kernel_policy(self.settings.policy, self.reference.suppressed, self.forgettings)
        self.reference = self.reference._replace(policy=policy)

    def _end_forgetting(self) -> None:
        """Let go of those who were forgotten once their days are closed; between two batches."""
        if self._forgotten_enough():
            self.checkpoint.end_forgetting(self.day_open)
            self._use_policy()

    def _forgotten_enough(self) -> bool:
        return any(one.until_day < self.day_open for one in self.forgettings)

    def _run_once(self) -> None:
        """Take what the listing at the start showed, and end."""
        while self.source.undecided() and not self.stop.wait(0.05):
            pass
        self._take_ready(self.stop.is_set)
        if not self.stop.is_set():
            for warning in self.source.finish_once():
                self._warn(warning)
        self._save_files()
        while self._tidy() and not self.stop.is_set():
            pass

    def _run_forever(self) -> None:
        with watch(self.settings.data, enabled=self.settings.watch) as wake:
            while not self.stop.is_set():
                began = self._look(wake)
                if began is None:
                    self._progress()  # it lives, though DATA is away
                    self.compute.check_alive()
                    self.stop.wait(self.settings.poll_s)
                    continue
                look_s = time.monotonic() - began
                look_again_at = began + max(self.settings.poll_s, LOOK_SHARE * look_s)
                while self._turn(look_again_at) and self._idle(wake, look_again_at):
                    self.source.glance(wake.take())

    def _turn(self, until: float) -> bool:
        """Take what is ready; whether all of it was, before it was time to look again."""
        self._take_reference_change()
        self._end_forgetting()
        taken = self._take_ready(partial(self._is_over, until))
        self._tidy()
        return taken

    def _tidy(self) -> bool:
        """Remove some old rejects, and move some finished files out of DATA; whether there is more of either."""
        if removed := self.expiry.turn(time.time()):
            self._event("old reject files removed", files=removed)
        if self.archive is None:
            return self.expiry.is_due
        for sentence in self.archive.turn(self.source.finished, self.source.looks, time.time()):
            self._warn(sentence)
        return self.archive.is_due or self.expiry.is_due

    def _is_over(self, at: float) -> bool:
        return self.stop.is_set() or time.monotonic() > at

    def _look(self, wake: Wake) -> float | None:
        """Look at DATA; None when it cannot be listed just now, as a share that is away for a while.

        In a directory of many names that takes its time: what the watcher tells of meanwhile does not wait for it.
        Gives when it would have begun without these turns, so that they do not make looks seem dear and seldom.
        """
        began = time.monotonic()
        try:
            for _ in self.source.look_in_steps():
                if self.stop.is_set():
                    break
                if wake.wait(0):
                    paused = time.monotonic()
                    self.source.glance(wake.take())
                    self._turn(paused + self.settings.poll_s)
                    began += time.monotonic() - paused
        except InputMissing as error:
            if not self.summary.data_away:
                self._warn(f"{error.message}: {error.hint}; it is tried again")
            self.summary.data_away = True
            return None
        self.summary.data_away = False
        return began

    def _idle(self, wake: Wake, until: float) -> bool:
        """Nothing is ready: save what is known, wait for names, the next look or a stop; whether names came."""
        self._save_files()
        self._tell()
        self.checkpoint.release(idle=True)
        self._progress()
        while not self.stop.is_set() and time.monotonic() < until:
            self.compute.check_alive()
            if wake.wait(STOP_CHECK_S):
                return True
        return False

    def _take_reference_change(self) -> None:
        change = self.reload.poll()
        if change is None:
            return
        if change.accepted and change.reference.versions != self.reference.versions:
            self._use(change.reference)
            self._event("reference changed", words="; ".join(change.words) or "no difference")
            self._warn_left_out(change)
        elif not change.accepted:
            self.summary.refused_edits += 1
            self._warn(
                "a change of SEGMENT, RULES or SUPPRESS was refused: " + "; ".join(change.words)
            )

    def _take_ready(self, is_over: Callable[[], bool]) -> bool:
        """Batch after batch until ``is_over`` or nothing is ready; whether nothing was.

        What follows a batch is read while that is committed, and taken in only after it: a commit that fails ends the
        run, and with it what was only read.
        """
        over = self.stop.is_set()
        while not over and (ready := self.source.ready()):
            following: Read | None = self._read(ready)
            while following is not None:
                (ranges, result), following = following, None
                batch = self._take_in(ranges, result)
                over = is_over()
                # No batch may be in the making when a key is to go: it would be decided with that.
                is_last = over or self._forgotten_enough()
                # A batch in hand must not wait until other files have been opened and compared.
                ahead = [] if is_last else self.source.ready(opened=True)
                if batch is None:
                    self._save_files()
                    following = self._read(ahead) if ahead else None
                else:
                    following = self._commit(batch, ahead)
                    self._count(batch)
                    names = [wanted.name for wanted in ranges]
                    self.observations.add(result, names, self.reference.ruleset)
                self._progress()
                del batch  # or it would stay in memory while the next one is made
            self._end_forgetting()
        return not over

    def _read(self, ranges: Sequence[Range]) -> Read:
        """As much of the ranges as one commit should cover, read and decided."""
        return self.compute.read(ranges, self.reference, self.commit_s)

    def _take_in(self, ranges: Sequence[Range], result: Result) -> Batch | None:
        """The batch of what was read; None when nothing of it was taken."""
        pairs = list(zip(ranges, result.ranges, strict=False))
        check_sums(pairs)
        self.source.advance(pairs)
        if any(scanned.end > wanted.start for wanted, scanned in pairs):
            return self._batch(pairs, result)
        return None

    def _commit(self, batch: Batch, ahead: Sequence[Range]) -> Read | None:
        """Commit and publish the batch; meanwhile, or after it with one thread, read the ranges that follow it."""

        def commit() -> None:
            began = time.monotonic()
            self.committer.commit(batch)
            self.compute.committed()
            self.checkpoint.release(idle=False)
            self.commit_s = time.monotonic() - began
            gauges.note_commit(self.summary, self.commit_s)

        if not ahead or not self.compute.beside:
            commit()
            return self._read(ahead) if ahead else None
        with beside(commit):
            return self._read(ahead)

    def _batch(self, pairs: Sequence[tuple[Range, Scanned]], result: Result) -> Batch:
        day_open = max(wanted.day_open for wanted, scanned in pairs if scanned.end > wanted.start)
        self.day_open = max(self.day_open, day_open)
        files = self.source.changed()
        self._touch(files)
        return assemble(
            self.checkpoint.last_batch() + 1,
            pairs,
            result,
            applications=self.reference.rules.applications,
            versions=self.reference.versions,
            files=files,
            ledger=self.compute.change(result, self.day_open),
            day_open=self.day_open,
            prune_before=self._prune_before(pairs),
        )

    def _prune_before(self, pairs: Sequence[tuple[Range, Scanned]]) -> int:
        """The first day whose notifications are kept; 0: all are."""
        days = self.settings.keep_notifications_days
        if days is None:
            return 0
        newest = max(wanted.newest_stamp for wanted, scanned in pairs if scanned.end > wanted.start)
        return day_open_of(newest, days, self.zones)

    def _count(self, batch: Batch) -> None:
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

    def _save_files(self) -> None:
        changed, left = self.source.changed(), self.source.untaken_left()
        if changed or left:
            self._touch(changed)
            self.checkpoint.save_files(changed, left)

    def _touch(self, files: Sequence[File]) -> None:
        """Take note of files whose rows changed: a run that ends counts them, one for ever shows those in DATA."""
        if self.settings.once:
            self.touched.update((file.name, file.state) for file in files)
        self.cadence.see(files, time.time())
        for file in files:
            if file.state == "gone" and file.offset:
                self._warn(f"{file.name} went after {file.offset:,} bytes of it were taken")

    def _tell(self) -> None:
        """Say what somebody must hear, each thing once: held files, and what the lines so far show."""
        held = {file.name: file for file in self.source.held()}
        for name, file in held.items():
            if self.held.get(name) != file.reason:
                self._warn(f"{name} is held: {file.detail}")
        self.held = {name: file.reason for name, file in held.items()}
        sentences = self.observations.sentences(self.summary, lambda: self.reference.segment)
        for kind, sentence in sentences.items():
            if kind not in self.told:
                self.told.add(kind)
                self._warn(sentence)
        for event, fields in self.cadence.news(time.time()):
            self._event(event, **fields)

    def _progress(self) -> None:
        summary = self.summary
        if self.settings.once:
            states = Counter(self.touched.values())
            summary.files = {state: states[state] for state in STATES}
        else:
            summary.files = {state: count for state, count in self.source.counts().items()}
        summary.elapsed_s = time.monotonic() - self.started
        summary.backlog_files, summary.backlog_bytes = self.source.backlog()
        summary.out_of_step = self.cadence.counts
        summary.standing = gauges.of(
            self.reload.current,
            self.compute.entries(),
            self.source,
            self.archive.held_files if self.archive else 0,
        )
        self.listener.progress(summary)

    def _finish(self) -> Summary:
        self._save_files()
        self._end_forgetting()
        self._tell()
        self.checkpoint.release(idle=True)
        self._progress()
        ratio = self.settings.max_reject_ratio
        rejected = self.summary.outcomes["rejected"]
        if self.settings.once and ratio is not None and rejected > ratio * self.summary.lines:
            raise TooManyRejects(
                f"{rejected:,} of {self.summary.lines:,} lines were refused, more than {ratio:.2%}",
                f"see {self.settings.state_dir / 'rejects'}; everything else is committed and published",
            )
        return self.summary

    def _event(self, event: str, /, **fields: object) -> None:
        self.listener.event(event, **fields)

    def _warn(self, sentence: str) -> None:
        self.listener.event("warning", text=sentence)
        warnings = self.summary.warnings
        if sentence not in warnings and len(warnings) < WARNINGS_KEPT:
            warnings.append(sentence)


def _check_data(data: Path) -> None:
    try:
        missing = "" if stat.S_ISDIR(data.stat().st_mode) else "is no directory"
    except OSError as error:
        missing = error.strerror or str(error)
    if missing:
        raise InputMissing(
            f"{escape(str(data))}: {missing}",
            "mount it, or correct the path: DATA is the directory that the files arrive in",
        )
