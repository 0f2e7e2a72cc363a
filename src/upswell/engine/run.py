"""The loop of a run: source -> kernel -> commit, once or until it is stopped.

Owns the loop and the wiring of one run, and decides nothing else: the source says which bytes are next, ``compute``
where they are computed, the kernel what they mean, the commit in which order they become durable and visible. A batch
is committed and published before the next one is taken in; meanwhile the ranges after it may be read, which touches
nothing that a commit vouches for. So a stop or a crash between any two lines here loses nothing: it is read again.

One file because the loop is one thing: its turns share one state, and none of them is called from elsewhere.
"""

import stat
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

from upswell import kernel
from upswell.config.settings import Settings
from upswell.engine.active_reference import ActiveReference, Inspect
from upswell.engine.adopt import adopt
from upswell.engine.allocator import tune_allocator
from upswell.engine.archive import Archive
from upswell.engine.assembly import assemble, check_sums
from upswell.engine.background import in_background
from upswell.engine.commit import Committer
from upswell.engine.compute import Compute, Embedded, Read
from upswell.engine.places import check_places, doubted_places
from upswell.engine.reporter import Listener, Reporter
from upswell.engine.summary import Summary
from upswell.errors import InputMissing, TooManyRejects
from upswell.kernel import Range, Result
from upswell.output.reject_files import Expiry
from upswell.output.sink import Sink
from upswell.privacy import escape
from upswell.source.planner import Source
from upswell.source.watcher import Watcher, watch
from upswell.state.batch import Batch
from upswell.state.binding import bind, check_binding, since_stamp
from upswell.state.checkpoint import Checkpoint
from upswell.zones import day_open_of

STOP_CHECK_S = 0.1  # a stop during an idle wait is noticed within it
ONCE_CHECK_S = 0.05  # between two checks of the files that a run with --once waits for
SCAN_SHARE = 4  # in a backlog, scans of DATA take at most one part in so many of the time


def run(
    settings: Settings,
    listener: Listener,
    stop: threading.Event,
    compute: Callable[[Settings, Checkpoint], Compute] = Embedded,
    inspect: Inspect | None = None,
) -> Summary:
    """Run until ``stop`` is set or, with ``settings.once``, until everything that was there is consumed.

    Args:
        settings: of the run.
        listener: hears what it does.
        stop: set it to end the run after the batch in hand.
        compute: makes what computes the batches, for this state.
        inspect: asked by a start whose settings are strict, once SEGMENT and RULES are still.

    Raises:
        UpswellError: with the exit code and the operator's next step. Whatever was committed stays; a restart goes on.
    """
    check_places(settings)
    _check_data(settings.data)
    tune_allocator()
    with (
        Sink.open(settings.output, mode=settings.output_mode, group=settings.output_group) as sink,
        Checkpoint.open(settings.state_dir, kernel.SHARDS) as checkpoint,
        closing(compute(settings, checkpoint)) as computing,
    ):
        return _Run(settings, listener, stop, sink, checkpoint, computing, inspect).run()


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
        inspect: Inspect | None = None,
    ) -> None:
        self.is_new = check_binding(settings, checkpoint, sink, compute.ledger_form)
        self.settings = settings
        self.stop = stop
        self.sink = sink
        self.checkpoint = checkpoint
        self.compute = compute
        self.committer = Committer(checkpoint, sink)
        self.archive = Archive.open(settings, checkpoint)
        self.expiry = Expiry(self.committer.rejects, settings.keep_rejects_days)
        self.reporter = Reporter(listener, settings, checkpoint.reader)
        self.active = ActiveReference(settings, checkpoint, sink, self.reporter, inspect)
        self.day_open = 0
        self.commit_s = 0.0
        """Duration of the last commit."""
        self.source = Source(
            settings.data,
            checkpoint.reader,
            settle_s=settings.settle_s,
            keep_days=settings.keep_days,
            zones=settings.zones,
            max_stamp_ahead_days=settings.max_stamp_ahead_days,
            since=since_stamp(settings, checkpoint),
            rejects_max_bytes_per_file=settings.rejects_max_bytes_per_file,
            stopping=stop.is_set,
        )

    def run(self) -> Summary:
        self._recover()
        if self.settings.once:
            self.source.freeze()
        # The segment and the ledger are the most that a start has to load: both at once.
        with in_background(self.compute.prepare) if self.compute.overlaps else nullcontext():
            if not self.active.start(self.stop):
                return self._finish()
        bind(self.settings, self.checkpoint, self.compute.ledger_form)
        self.day_open = self.checkpoint.reader.day_open()
        self.active.end_forgetting(self.day_open)
        self.compute.begin()
        for sentence in self.archive.recover(time.time()) if self.archive else ():
            self.reporter.warn(sentence)
        self.source.verify_consumed()
        if self.settings.once:
            self._run_once()
        else:
            self._run_forever()
        return self._finish()

    def _recover(self) -> None:
        """Adopt what is to be adopted, and finish or undo what the last run left."""
        if self.is_new and self.settings.adopt:
            adopted = adopt(self.sink, self.checkpoint, self.settings.zones)
            self.reporter.event("adopted", **adopted._asdict())
        recovered = self.committer.recover()
        if counts := recovered.nonzero():
            self.reporter.event("recovered", **counts)
        self.reporter.begin([*recovered.warnings(), *doubted_places(self.settings)])

    # The two ways to run

    def _run_once(self) -> None:
        """Consume what the listing at the start showed, and end."""
        while self.source.undecided() and not self.stop.wait(ONCE_CHECK_S):
            pass
        self._consume_ready(self.stop.is_set)
        if not self.stop.is_set():
            for warning in self.source.finish_once():
                self.reporter.warn(warning)
        self._save_files()
        while self._tidy() and not self.stop.is_set():
            pass

    def _run_forever(self) -> None:
        with watch(self.settings.data, enabled=self.settings.watch) as watcher:
            while not self.stop.is_set():
                began = self._scan(watcher)
                if began is None:
                    self._progress()  # the run lives, though DATA is away
                    self.compute.check_alive()
                    self.stop.wait(self.settings.poll_s)
                    continue
                scan_s = time.monotonic() - began
                scan_again_at = began + max(self.settings.poll_s, SCAN_SHARE * scan_s)
                while self._turn(scan_again_at) and self._idle(watcher, scan_again_at):
                    self.source.rescan(watcher.pop_names())

    def _scan(self, watcher: Watcher) -> float | None:
        """Scan DATA; consume between two steps what the watcher reports meanwhile.

        Returns the start time plus the time spent on those batches, so that they do not stretch the scan interval; None
        when DATA cannot be listed now, as of a share that is away for a while.
        """
        began = time.monotonic()
        try:
            for _ in self.source.scan_in_steps():
                if self.stop.is_set():
                    break
                if watcher.wait(0):
                    paused = time.monotonic()
                    self.source.rescan(watcher.pop_names())
                    self._turn(paused + self.settings.poll_s)
                    began += time.monotonic() - paused
        except InputMissing as error:
            self.reporter.data_away(error)
            return None
        self.reporter.data_listed()
        return began

    def _turn(self, until: float) -> bool:
        """Consume what is ready; return whether all of it was, before the time ``until``."""
        self.active.poll()
        self.active.end_forgetting(self.day_open)
        is_all = self._consume_ready(partial(self._is_over, until))
        self._tidy()
        return is_all

    def _is_over(self, at: float) -> bool:
        return self.stop.is_set() or time.monotonic() > at

    def _tidy(self) -> bool:
        """Remove some old reject files and archive some finished files; return whether more of either is due."""
        if removed := self.expiry.remove_due(time.time()):
            self.reporter.event("old reject files removed", files=removed)
        if self.archive is None:
            return self.expiry.is_due
        for sentence in self.archive.move_due(self.source.finished, self.source.scans, time.time()):
            self.reporter.warn(sentence)
        return self.archive.is_due or self.expiry.is_due

    def _idle(self, watcher: Watcher, until: float) -> bool:
        """Save and report what is known, then wait until names come, ``until`` or a stop; return whether names came."""
        self._save_files()
        self._report_news()
        if why := watcher.pop_failure():
            words = f"the system does not report changes in DATA ({why})"
            self.reporter.warn(f"{words}; DATA is looked at every {self.settings.poll_s:g} s")
        self.checkpoint.drain_wal(idle=True)
        self._progress()
        while not self.stop.is_set() and time.monotonic() < until:
            self.compute.check_alive()
            if watcher.wait(STOP_CHECK_S):
                return True
        return False

    # One batch after the other

    def _consume_ready(self, is_over: Callable[[], bool]) -> bool:
        """Make batch after batch until ``is_over`` or nothing is ready; return whether nothing was.

        The ranges after a batch are read while it is committed, and taken in only after that: a commit that fails ends
        the run, and what was only read is dropped.
        """
        over = self.stop.is_set()
        while not over and (ready := self.source.ready()):
            following: Read | None = self._read(ready)
            while following is not None:
                (ranges, result), following = following, None
                batch = self._take_in(ranges, result)
                over = is_over()
                is_last = over or self.active.can_end_forgetting(self.day_open)
                # A batch in hand must not wait until other files have been opened and compared.
                ahead = [] if is_last else self.source.ready(without_opening=True)
                if batch is None:
                    self._save_files()
                    following = self._read(ahead) if ahead else None
                else:
                    following = self._commit(batch, ahead)
                    self.reporter.count(batch, ranges, result, self.active.require())
                self._progress()
                del batch  # or it would stay in memory while the next one is made
            self.active.end_forgetting(self.day_open)
        return not over

    def _read(self, ranges: Sequence[Range]) -> Read:
        """Read and decide as much of the ranges as one commit should cover."""
        return self.compute.read(ranges, self.active.require(), self.commit_s)

    def _take_in(self, ranges: Sequence[Range], result: Result) -> Batch | None:
        """Return the batch of what was read; None when nothing of it was consumed."""
        pairs = list(zip(ranges, result.ranges, strict=False))
        check_sums(pairs)
        self.source.advance(pairs)
        consumed = [wanted for wanted, scanned in pairs if scanned.end > wanted.start]
        if not consumed:
            return None
        self.day_open = max(self.day_open, *(wanted.day_open for wanted in consumed))
        files = self.source.changed()
        self.reporter.files_changed(files)
        reference = self.active.require()
        return assemble(
            self.checkpoint.reader.last_batch() + 1,
            pairs,
            result,
            applications=reference.rules.applications,
            versions=reference.versions,
            files=files,
            ledger=self.compute.change(result, self.day_open),
            day_open=self.day_open,
            prune_before=self._prune_before(max(wanted.newest_stamp for wanted in consumed)),
        )

    def _prune_before(self, newest_stamp: str) -> int:
        """Return the first day whose notifications are kept; 0: all are."""
        days = self.settings.keep_notifications_days
        return 0 if days is None else day_open_of(newest_stamp, days, self.settings.zones)

    def _commit(self, batch: Batch, ahead: Sequence[Range]) -> Read | None:
        """Commit and publish the batch; meanwhile, or after it with one thread, read the ranges that follow it."""

        def commit() -> None:
            began = time.monotonic()
            self.committer.commit(batch)
            self.compute.committed()
            self.checkpoint.drain_wal(idle=False)
            self.commit_s = time.monotonic() - began
            self.reporter.committed(self.commit_s)

        if not ahead or not self.compute.overlaps:
            commit()
            return self._read(ahead) if ahead else None
        with in_background(commit):
            return self._read(ahead)

    # What is saved and reported between batches

    def _save_files(self) -> None:
        changed, left = self.source.changed(), self.source.left_unconsumed()
        if changed or left:
            self.reporter.files_changed(changed)
            self.checkpoint.save_files(changed, left)

    def _report_news(self) -> None:
        source = self.source
        self.reporter.report_news(
            source.held(), source.continuing(), source.unread(), self.active.current
        )
        words, identity = self.reporter.other_forms(), self.checkpoint.reader.identity()
        # The shares in the words change with each sample: a row for each would say no more.
        if words is not None and bool(words) != bool(identity.other_forms):
            self.checkpoint.set_identity(replace(identity, other_forms=words))

    def _progress(self) -> None:
        self.reporter.progress(
            self.source,
            self.active.current,
            self.compute.entries(),
            self.archive.held_files if self.archive else 0,
        )

    def _finish(self) -> Summary:
        self._save_files()
        self.active.end_forgetting(self.day_open)
        self._report_news()
        self.checkpoint.drain_wal(idle=True)
        self._progress()
        summary, ratio = self.reporter.summary, self.settings.max_reject_ratio
        rejected = summary.outcomes["rejected"]
        if self.settings.once and ratio is not None and rejected > ratio * summary.lines:
            raise TooManyRejects(
                f"{rejected:,} of {summary.lines:,} lines were rejected, more than {ratio:.2%}",
                f"see {self.settings.state_dir / 'rejects'}; everything else is committed and published",
            )
        return summary


def _check_data(data: Path) -> None:
    try:
        missing = "" if stat.S_ISDIR(data.stat().st_mode) else "not a directory"
    except OSError as error:
        missing = error.strerror or str(error)
    if missing:
        raise InputMissing(
            f"{escape(str(data))}: {missing}",
            "mount it, or correct the path: DATA is the directory that the files arrive in",
        )
