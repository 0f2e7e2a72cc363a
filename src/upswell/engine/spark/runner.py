"""Runs the tasks of a batch on Apache Spark: one ordinary job of two stages for each attempt.

Owns the jobs, the probe of the executors before the first one, and which reference the executors hold. Spark moves
bytes and starts tasks; it keeps no progress of ours, so that none of its directories matters to a restart. A job that
fails, is cut off or runs twice has changed nothing: what its tasks wrote means nothing until a commit names it.
"""

import secrets
import socket
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from upswell.config.settings import Settings
from upswell.engine.compute import Compute
from upswell.engine.spark import executor
from upswell.engine.spark.driver import ClusterCompute, Runner
from upswell.engine.spark.executor import ProbeResult, SharedDirectory
from upswell.engine.spark.session import NOT_SHARED_HINT, OTHER_BUILD_HINT, Session
from upswell.engine.spark.tasks import Job, ShardReport, ShardTask, Split, SplitReport
from upswell.errors import ConfigError, StorageError
from upswell.kernel import SOURCE_DIGEST, Policy
from upswell.privacy import escape
from upswell.reference.loading import LoadedReference
from upswell.state.binding import run_shards
from upswell.state.checkpoint import Checkpoint
from upswell.state.shard_files import DamagedShard

PROBE = "probe-"
"""Begins the names of files in the ledger's directory that only a start uses."""
PACK_BYTES = 8 << 20
"""Of small splits that share a task, whose own cost is about that of reading so much."""
_PROBE_PAUSE_S = 0.1
_NO_LINKS_HINT = "make the directory a mount of a file system that has hard links, on every node, then start again"


def compute(
    settings: Settings, checkpoint: Checkpoint, stopping: Callable[[], bool] = lambda: False
) -> Compute:
    """Start a session of Spark, and return what computes the batches of a run on it.

    ``stopping``: whether the run was asked to stop. Spark's start is given up then, and nothing must be read.

    Raises:
        ConfigError, InputMissing, SparkFailed: as ``Session`` does.
    """
    return compute_on(settings, checkpoint, SparkRunner(settings, stopping))


def compute_on(settings: Settings, checkpoint: Checkpoint, runner: Runner) -> Compute:
    """Return what computes the batches of a run by jobs of this runner."""
    return ClusterCompute(
        settings,
        checkpoint,
        runner,
        shards=run_shards(settings, checkpoint.reader.identity()),
        split_bytes=settings.split_bytes,
        batch_bytes=settings.batch_bytes,
    )


class SparkRunner:
    """Runs jobs in a session of Spark, which it starts and ends."""

    def __init__(self, settings: Settings, stopping: Callable[[], bool] = lambda: False) -> None:
        """Start the session, which raises what ``Session`` does; ``stopping`` is as ``compute`` has it."""
        self._stopping = stopping
        self._data = self._ledger = SharedDirectory("", 0)
        self._versions: object = None
        self._policy: Policy | None = None
        self._broadcast: Any = None
        self.session = Session(settings, stopping)

    def check(self, data: Path, ledger: Path) -> None:
        """Probe the executors: they must have this Upswell, and share DATA and the ledger's directory with the driver.

        Leaves nothing behind; a crash leaves empty files, which the next call removes. Checks nothing once the run was
        asked to stop.

        Raises:
            ConfigError: an executor has another build, or the ledger's file system has no hard links. StorageError: a
                directory is not shared. SparkFailed: the job failed.
        """
        if not self._stopping():
            with self.session.starting():
                self._check(data, ledger)

    def _check(self, data: Path, ledger: Path) -> None:
        self._data, self._ledger = SharedDirectory.of(data), SharedDirectory.of(ledger)
        _remove_probes(ledger)
        token = ledger / f"{PROBE}{secrets.token_hex(8)}"
        token.touch(mode=0o600)
        try:
            results = self._probe(token.name)
            faults = [each.fault for each in results if each.fault]
            faults += [
                f"{each.executor}: {ledger}: what it wrote is not seen by the driver, {socket.gethostname()}"
                for each in results
                if each.reply and not (ledger / each.reply).exists()
            ]
        finally:
            _remove_probes(ledger)
        if others := [each.executor for each in results if each.build != SOURCE_DIGEST]:
            raise ConfigError(
                f"the executors' Upswell is not the driver's: {escape(others[0])}", OTHER_BUILD_HINT
            )
        if linkless := [each.fault for each in results if each.linkless]:
            raise ConfigError(
                "the directory of the ledger must be on a file system with hard links:"
                f" {escape(linkless[0])}",
                _NO_LINKS_HINT,
            )
        if faults:
            raise StorageError(f"not shared by all nodes: {escape(faults[0])}", NOT_SHARED_HINT)

    def _probe(self, token: str) -> list[ProbeResult]:
        """Run more probes than there are cores, so that every executor gets one."""
        context = self.session.context
        with self.session.translate_errors():
            tries = 2 * context.defaultParallelism
            probe = partial(executor.probe, self._data, self._ledger, _PROBE_PAUSE_S)
            results: list[ProbeResult] = (
                context.parallelize([token] * tries, tries).map(probe).collect()
            )
        return results

    def run(
        self,
        job: Job,
        splits: Sequence[Split],
        shards: Mapping[int, ShardTask],
        reference: LoadedReference,
    ) -> list[SplitReport | ShardReport]:
        """Scan the splits, step the shards that they have candidates for, and return the reports of both.

        Raises:
            DamagedShard, OSError: a task met what no other try or executor would mend. SparkFailed: the job failed.
        """
        scanning, stepping = (
            executor.StageInput(job, directory, SOURCE_DIGEST)
            for directory in (self._data, self._ledger)
        )
        broadcast = self._send(reference)
        context = self.session.context
        with self.session.translate_errors():
            cores = context.defaultParallelism
        packs = packed(splits, cores)
        # A task costs as much as some megabytes: no more of them than can run at once.
        steps = min(job.shards, cores)
        with self.session.translate_errors():
            context.setJobDescription(f"batch {job.batch}: {len(splits)} splits")
            reports: list[Any] = (
                context.parallelize(packs, len(packs))
                .flatMap(partial(executor.scan_splits, scanning, broadcast))
                .partitionBy(steps, int)
                .mapPartitions(partial(executor.step_shards, stepping, shards, broadcast))
                .collect()
            )
        for each in reports:
            if isinstance(each, executor.Damage):
                raise DamagedShard(each.words)
            if isinstance(each, executor.Fault):
                raise each.error()
        return reports

    def check_alive(self) -> None:
        """Raise SparkFailed when the JVM has gone."""
        self.session.check_alive()

    def close(self) -> None:
        """Give the executors back and end the JVM. A second call does nothing."""
        self.session.close()

    def _send(self, reference: LoadedReference) -> Any:
        """Return the reference as executors get it, and take the one before from them."""
        # Forgotten customers come into the policy, and leave it, without a new version.
        if reference.versions != self._versions or reference.policy is not self._policy:
            if self._broadcast is not None:
                with self.session.translate_errors():
                    self._broadcast.destroy()
            sent = executor.SentReference(
                reference.segment, list(reference.ruleset.rules), reference.policy or Policy()
            )
            with self.session.translate_errors():
                self._broadcast = self.session.context.broadcast(sent)
            self._versions, self._policy = reference.versions, reference.policy
        return self._broadcast


def packed(splits: Sequence[Split], cores: int) -> list[list[Split]]:
    """Pack the splits for one task each, in order: small ones together, but no fewer packs than keep cores busy."""
    total_bytes = sum(split.end - split.begin for split in splits)
    pack_bytes = min(PACK_BYTES, total_bytes // (2 * cores))
    packs: list[list[Split]] = []
    left = 0
    for split in splits:
        if left <= 0:
            packs.append([])
            left = pack_bytes
        packs[-1].append(split)
        left -= max(split.end - split.begin, 1)
    return packs


def _remove_probes(ledger: Path) -> None:
    for left in ledger.glob(f"{PROBE}*"):
        left.unlink()
