"""The embedded engine: source -> kernel -> commit, for ever or once.

Owns the loop and the wiring of one run, and decides nothing else: which bytes are next is the source's, what they mean
the kernel's, in which order they become durable and visible the commit's. One batch is in hand at a time; it is
committed and published before the next one is read, so a stop or a crash between any two lines here loses nothing.
"""

import threading
import time
from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from upswell import kernel
from upswell.adopt import adopt
from upswell.batch import STATES, Batch, DroppedRejects, File, LogRange, Output
from upswell.checkpoint import Checkpoint
from upswell.commit import Committer
from upswell.config import Settings
from upswell.errors import ConfigError, InputMissing, StorageError, TooManyRejects, UpswellError
from upswell.kernel import Range, Result, Scanned
from upswell.reload import Change, Reference, Reload
from upswell.sink import Sink
from upswell.source import Source
from upswell.summary import Observations, Summary
from upswell.wake import watch

OUTPUT_BYTES_MAX = 32 << 20  # of notifications and rejects a batch may hold in memory
WORK_MS_MAX = 1000  # about as long as a batch may work before its results are worth showing
FOLD_BYTES_MIN = 4 << 20  # deltas below this are quicker to replay at a start than to fold now
LEFT_OUT_SHOWN = 10  # lines of RULES in the summary; check shows all
STOP_CHECK_S = 0.1  # a stop during an idle wait is noticed within it
LOOK_SHARE = 4  # in a backlog, looking at DATA again takes at most one part in so many


class Listener(Protocol):
    """Hears what a run does; prints it or not."""

    def event(self, event: str, /, **fields: object) -> None:
        """One line of narration. Fields never hold a whole msisdn."""

    def progress(self, summary: Summary) -> None:
        """Called after every commit and every idle look."""


def run(settings: Settings, listener: Listener, stop: threading.Event) -> Summary:
    """Run until ``stop`` is set or, with ``settings.once``, until what is there has been taken.

    Raises:
        UpswellError: with the exit code and the operator's next step. Whatever was committed stays; a restart goes on.
    """
    if not settings.data.is_dir():
        raise InputMissing(
            f"{settings.data}: no such directory", "DATA is the directory that the files arrive in"
        )
    with (
        Sink.open(settings.output, mode=settings.output_mode, group=settings.output_group) as sink,
        Checkpoint.open(settings.state_dir, kernel.SHARDS) as checkpoint,
    ):
        return _Run(settings, listener, stop, sink, checkpoint).run()


class _Run:
    """One run over one state, from recovery to a clean stop."""

    def __init__(
        self,
        settings: Settings,
        listener: Listener,
        stop: threading.Event,
        sink: Sink,
        checkpoint: Checkpoint,
    ) -> None:
        self.settings = settings
        self.listener = listener
        self.stop = stop
        self.sink = sink
        self.checkpoint = checkpoint
        self.committer = Committer(checkpoint, sink)
        self.summary = Summary()
        self.observations = Observations(settings.zones)
        self.started = time.monotonic()
        self.zones = settings.zones
        self.touched: dict[str, File] = {}
        self.scanner = kernel.Scanner(
            settings.threads, settings.measure, kernel.Clock(self.zones.shifts())
        )
        self.source = Source(
            settings.data,
            checkpoint,
            settle_s=settings.settle_s,
            keep_days=settings.keep_days,
            zones=self.zones,
            max_stamp_ahead_days=settings.max_stamp_ahead_days,
            since=settings.since,
            rejects_max_bytes_per_file=settings.rejects_max_bytes_per_file,
        )
        self.reload = Reload(
            settings.segment,
            settings.rules,
            checkpoint,
            settle_s=settings.settle_s,
            accept=settings.accept_reference,
            clock=time.time,
        )
        self.ledger = kernel.Ledger()

    def run(self) -> Summary:
        if self._check_state() and self.settings.adopt:
            adopted = adopt(self.sink, self.checkpoint, self.zones)
            self._event("adopted", **adopted._asdict())
        recovered = self.committer.recover()
        if recovered.words():
            self._event("recovered", **recovered.words())
        if self.settings.once:
            self.source.freeze()
        if not self._start_reference():
            return self._finish()
        self._claim_state()
        self._load_ledger()
        self.source.verify_taken()
        if self.settings.once:
            self._run_once()
        else:
            self._run_forever()
        return self._finish()

    def _check_state(self) -> bool:
        """Check that the state belongs to these settings; True when it is new."""
        meta = self.checkpoint.meta()
        for key, value in self._fixed().items():
            if meta.get(key, value) != value:
                raise ConfigError(
                    f"{key} is {value} but this state was begun with {meta[key]}:"
                    " totals and caps of the two cannot be joined",
                    f"set {key} to {meta[key]}, or begin anew: another OUTPUT, and --since with"
                    " the next day's 0000",
                )
        new = "measure" not in meta
        if new and not self.settings.adopt and any(self.sink.published()):
            raise ConfigError(
                f"{self.settings.output} already holds notifications, but the state"
                f" {self.settings.state_dir} knows nothing of them",
                "give --state with the state that wrote them, or --adopt to take over their caps",
            )
        return new

    def _fixed(self) -> dict[str, str]:
        """The settings that belong to a state for good."""
        return {
            "data_timezone": self.zones.data,
            "rules_timezone": self.zones.rules,
            "measure": self.settings.measure,
            "keep_days": str(self.settings.keep_days),
        }

    def _claim_state(self) -> None:
        """Write down what the state belongs to, and where its run reads and writes."""
        paths = {
            name: str(getattr(self.settings, name).absolute())
            for name in ("data", "segment", "rules", "output")
        }
        self.checkpoint.set_meta({**self._fixed(), **paths})

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
            self._warn(
                "SEGMENT or RULES were refused and the last good version stays: "
                + "; ".join(change.words)
            )
        elif change.words:
            self._event("reference changed", words="; ".join(change.words))
        self._warn_left_out(change)
        self._use(change.reference)
        return True

    def _warn_left_out(self, change: Change) -> None:
        shown = change.left_out[:LEFT_OUT_SHOWN]
        for line in shown:
            self._warn(f"left out: {line}")
        if len(change.left_out) > len(shown):
            self._warn(
                f"{len(change.left_out) - len(shown):,} more lines of RULES were left out:"
                " run upswell check"
            )

    def _use(self, reference: Reference) -> None:
        """Make the reference the one of the next batch."""
        self.sink.check_directories(reference.rules.applications)
        self.reference = reference
        self._event(
            "reference in force",
            rules=len(reference.ruleset.rules),
            dials=len(reference.segment),
            rules_version=reference.versions.rules[:12],
            segment_version=reference.versions.segment[:12],
        )

    def _load_ledger(self) -> None:
        last = self.checkpoint.last()
        self.day_open = last.day_open if last else 0
        parts = self.checkpoint.ledger()
        try:
            self.ledger = kernel.Ledger.load(*parts, self.day_open, self.settings.threads)
        except ValueError as error:
            raise StorageError(
                f"the ledger in {self.settings.state_dir} is damaged: {error}",
                "run: upswell state verify; then restore a backup, or begin anew with --adopt",
            ) from error

    def _run_once(self) -> None:
        """Take what the listing at the start showed, and end."""
        while self.source.undecided() and not self.stop.wait(0.05):
            pass
        while not self.stop.is_set():
            ranges = self.source.ready()
            if not ranges:
                break
            self._take(ranges)
        if not self.stop.is_set():
            for warning in self.source.finish_once():
                self._warn(warning)
        self._save_files()

    def _run_forever(self) -> None:
        wake = threading.Event()
        with watch(self.settings.data, wake, enabled=self.settings.watch):
            while not self.stop.is_set():
                looked_at = time.monotonic()
                wake.clear()
                self.source.look()
                look_s = time.monotonic() - looked_at
                self._take_reference_change()
                while (ranges := self.source.ready()) and not self.stop.is_set():
                    self._take(ranges)
                    if time.monotonic() - looked_at > max(
                        self.settings.poll_s, LOOK_SHARE * look_s
                    ):
                        break
                else:
                    self._idle(wake, look_s)

    def _idle(self, wake: threading.Event, look_s: float) -> None:
        """Nothing is ready: save what is known, and wait for a change, a poll or a stop."""
        self._save_files()
        self.checkpoint.release(idle=True)
        self._progress()
        until = time.monotonic() + self.settings.poll_s
        while not self.stop.is_set() and not wake.wait(STOP_CHECK_S) and time.monotonic() < until:
            pass
        # In a directory of many names a look is dear: a busy writer must not cause one after another.
        self.stop.wait(look_s)

    def _take_reference_change(self) -> None:
        change = self.reload.poll()
        if change is None:
            return
        if change.accepted and change.reference.versions != self.reference.versions:
            self._use(change.reference)
            self._event("reference changed", words="; ".join(change.words) or "no difference")
            self._warn_left_out(change)
        elif not change.accepted:
            self._warn("a change of SEGMENT or RULES was refused: " + "; ".join(change.words))

    def _take(self, ranges: Sequence[Range]) -> None:
        """One batch: as much of the ranges as one commit should cover, read, decided, committed and published."""
        result = self.scanner.process(
            ranges,
            self.reference.segment,
            self.reference.rules,
            self.ledger,
            OUTPUT_BYTES_MAX,
            WORK_MS_MAX,
        )
        pairs = list(zip(ranges, result.ranges, strict=False))
        for wanted, scanned in pairs:
            _check_sums(wanted, scanned)
        self.source.advance(pairs)
        if any(scanned.end > wanted.start for wanted, scanned in pairs):
            batch = self._batch(pairs, result)
            self.committer.commit(batch)
            self._count(batch)
            names = [wanted.name for wanted in ranges]
            self.observations.add(
                result, names, self.reference.ruleset, self.reference.segment.sample(1)
            )
            self.checkpoint.release(idle=False)
        else:
            self._save_files()
        self._progress()

    def _batch(self, pairs: Sequence[tuple[Range, Scanned]], result: Result) -> Batch:
        number = self.checkpoint.last_batch() + 1
        taken = [(at, pair) for at, pair in enumerate(pairs) if pair[1].end > pair[0].start]
        day_open = max(wanted.day_open for _, (wanted, _) in taken)
        if day_open > self.day_open:
            self.day_open = day_open
            self.ledger.drop_before(day_open)
        files = self.source.changed()
        self.touched.update((file.name, file) for file in files)
        return Batch(
            number=number,
            ranges=[
                LogRange(
                    batch=number,
                    sequence=at,
                    file=wanted.name,
                    stamp=wanted.stamp,
                    start=wanted.start,
                    end=scanned.end,
                    newest_stamp=wanted.newest_stamp,
                    versions=self.reference.versions,
                )
                for at, (wanted, scanned) in taken
            ],
            files=files,
            applications=self.reference.rules.applications,
            outputs=[
                Output(self.reference.rules.applications[application], content)
                for application, content in result.outputs
            ],
            notifications=result.notifications,
            rejects=result.rejects,
            dropped=[
                DroppedRejects(at, *scanned.rejects_dropped)
                for at, (_, scanned) in taken
                if scanned.rejects_dropped
            ],
            delta=result.delta,
            folds=self._folds(len(result.delta)),
            day_open=self.day_open,
            lines=sum(scanned.lines for _, (_, scanned) in taken),
            outcomes=_sum(kernel.OUTCOMES, [scanned.outcomes for _, (_, scanned) in taken]),
            reasons=_sum(kernel.REASONS, [scanned.rejects for _, (_, scanned) in taken]),
        )

    def _folds(self, delta_bytes: int) -> list[tuple[int, bytes]]:
        """The shards to write anew with this batch, so that a restart never has many deltas to replay.

        Twice the delta's bytes are folded, oldest shard first, once the deltas outgrow half of the bases: the cost of a
        commit follows what changed, and what is kept stays within a small multiple of what lives.
        """
        sizes = self.checkpoint.ledger_sizes()
        if sizes.deltas + delta_bytes <= max(FOLD_BYTES_MIN, sizes.bases // 2):
            return []
        folds: list[tuple[int, bytes]] = []
        budget = 2 * delta_bytes
        for shard in sizes.oldest_shards:
            blob = self.ledger.shard(shard)
            folds.append((shard, blob))
            budget -= len(blob)
            if budget <= 0:
                break
        return folds

    def _count(self, batch: Batch) -> None:
        summary = self.summary
        summary.batches += 1
        summary.lines += batch.lines
        summary.bytes += sum(each.end - each.start for each in batch.ranges)
        summary.outcomes.update(batch.outcomes)
        summary.rejects.update(batch.reasons)
        for output in batch.outputs:
            summary.notifications[output.application] += output.content.count(b"\n")

    def _save_files(self) -> None:
        changed = self.source.changed()
        if changed:
            self.checkpoint.save_files(changed)
            self.touched.update((file.name, file) for file in changed)

    def _progress(self) -> None:
        summary = self.summary
        states = Counter(file.state for file in self.touched.values())
        summary.files = {state: states[state] for state in STATES}
        summary.elapsed_s = time.monotonic() - self.started
        summary.backlog_files, summary.backlog_bytes = self.source.backlog()
        self.listener.progress(summary)

    def _finish(self) -> Summary:
        self.checkpoint.release(idle=True)
        self._progress()
        for sentence in self.observations.sentences(self.summary):
            self._warn(sentence)
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
        if sentence not in self.summary.warnings:
            self.summary.warnings.append(sentence)
            self.listener.event("warning", text=sentence)


def _check_sums(wanted: Range, scanned: Scanned) -> None:
    """Every line has exactly one outcome, or the run stops: better no notification than a wrong one."""
    if sum(scanned.outcomes) != scanned.lines or sum(scanned.rejects) != scanned.outcomes[0]:
        raise UpswellError(
            f"the counts of {wanted.name} do not add up: {scanned.lines} lines,"
            f" outcomes {scanned.outcomes}, rejects {scanned.rejects}",
            "nothing of this batch was committed; keep the file and report this",
        )


def _sum(names: Sequence[str], rows: Sequence[Sequence[int]]) -> dict[str, int]:
    return {name: sum(row[at] for row in rows) for at, name in enumerate(names)}
