"""The order in which a batch becomes durable and visible, and how a restart finishes or undoes what a crash cut off.

Owns that order and nothing else; both engines use it. The invariant: a batch is true once its transaction is committed.
Before that nothing of it can be seen, after it everything will be, whatever is killed. A staged file that is still
there has not been published, one that is gone has: there is no other record of it that could be wrong.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from upswell.errors import DAMAGED_HINT, RESTORE_HINT, ConfigError, StorageError, UpswellError
from upswell.output.names import Staged, parse_staged
from upswell.output.reject_files import Rejects
from upswell.output.sink import Sink
from upswell.privacy import escape
from upswell.state.batch import Batch
from upswell.state.checkpoint import Checkpoint
from upswell.state.queries.notifications import staged_content


class Recovered(NamedTuple):
    """The work that recovery did."""

    published: int
    """Staged files of committed batches that were moved to their places."""
    rebuilt: int
    """Those among them whose content was damaged, and rebuilt."""
    removed: int
    """Staged files of batches that were never committed."""
    rejects_removed: int
    """Reject files of such batches."""

    def words(self) -> dict[str, int]:
        """Return the counts that are not 0, by name; empty after a clean stop."""
        return {name: count for name, count in self._asdict().items() if count}


class Committer:
    """Commits batches, one after the other, into one checkpoint and one OUTPUT."""

    def __init__(self, checkpoint: Checkpoint, sink: Sink) -> None:
        self.checkpoint = checkpoint
        self.sink = sink
        self.rejects = Rejects(checkpoint.reader.state_dir)

    def recover(self) -> Recovered:
        """Finish or undo what the last run left. Call it once, at the start, before anything is read.

        It can be killed anywhere and run again: it removes what no commit vouches for, publishes what one does, and
        replaces damaged content in one step.

        Raises:
            ConfigError: the state belongs to another OUTPUT. StorageError: OUTPUT has seen batches that the state does
                not know, or a committed file can be neither read nor rebuilt.
        """
        self._check_identity()
        last = self.checkpoint.reader.last_batch()
        # The mark may have been restored together with an older state; the files that are still there were not.
        seen = max([self.sink.begun, *(one.batch for one in self.sink.published())])
        if seen > last:
            raise StorageError(
                f"OUTPUT has had notifications of batch {seen}, but the state ends at batch {last}: it is"
                " older, so going on would send them twice",
                f"if its database was replaced or restored by hand, put the newer one back, or {RESTORE_HINT}",
            )
        rejects_removed = self.rejects.remove_after(last)
        self.rejects.finish(self.checkpoint.reader.has_rejects)
        self.sink.remove_unfinished()
        first = self.checkpoint.reader.first_batch()
        orphans, staged, rebuilt = [], [], 0
        for name in self.sink.staged_names():
            parsed = parse_staged(name)
            if parsed is None:
                continue  # not ours: `upswell state verify` reports it
            if not first <= parsed.batch <= last:
                orphans.append(name)
                continue
            one = self._committed(name, parsed.batch)
            staged.append(one)
            rebuilt += self._make_whole(one)
        removed = self.sink.remove_staged(orphans)
        self.sink.publish(staged)
        return Recovered(len(staged), rebuilt, removed, rejects_removed)

    def commit(self, batch: Batch) -> None:
        """Make a batch true and visible. When this returns, all of it is durable.

        The steps, and what a crash after each one leaves:

        1. Outputs are staged and rejects written, all fsynced: files that no commit vouches for. Recovery removes them,
           and the batch is made again.
        2. The transaction is committed: the batch is true. Recovery moves its staged files.
        3. Each staged file is moved to its application: some are staged, some published. Recovery moves the rest; a
           consumer that took the others at once gets none of them again.
        4. The directories are fsynced: nothing is left to do.

        Any error leaves the same as a crash would, and nothing is tried twice: stop, and let the restart recover.

        Raises:
            StorageError: the disk or the database failed. UpswellError: the batch contradicts itself or a cap that
                was already used; nothing of it is true then.
        """
        self._check_sums(batch)
        outputs, control_outputs = batch.outputs, batch.control_outputs
        ids = self.checkpoint.application_ids(
            output.application for output in (*outputs, *control_outputs)
        )
        staged = self.sink.stage(
            batch.number,
            batch.stamp,
            *(
                ((ids[one.application], one.application, one.content) for one in some)
                for some in (outputs, control_outputs)
            ),
        )
        self.rejects.write(batch.number, batch.rejects)
        self.checkpoint.append(batch, staged)
        self.sink.publish(staged)

    def _check_identity(self) -> None:
        """Check that OUTPUT is the one of this state; a new state is bound to it. Raises ConfigError."""
        identity = self.checkpoint.reader.identity()
        known = identity.output_id
        if known is None:
            self.checkpoint.set_identity(replace(identity, output_id=self.sink.identity))
        elif known != self.sink.identity:
            raise ConfigError(
                f"the state {escape(str(self.checkpoint.reader.state_dir))} belongs to another OUTPUT than"
                f" {escape(str(self.sink.output))}",
                "give the OUTPUT that it was created with, or another --state",
            )

    def _committed(self, name: str, batch: int) -> Staged:
        """Return what the state knows of a staged file of a committed batch. Raises StorageError when it does not."""
        one = self.checkpoint.reader.staged(batch).get(name)
        if one is None:
            raise StorageError(
                f"the staged file {name} belongs to a committed batch, but the state does not know it",
                DAMAGED_HINT,
            )
        return one

    def _make_whole(self, one: Staged) -> bool:
        """Rebuild a staged file from the notifications if it is damaged; return whether it was."""
        if self.sink.is_whole(one):
            return False
        content = staged_content(self.checkpoint.reader, one)
        self.sink.rebuild(one, content)
        if not self.sink.is_whole(one):
            raise StorageError(
                f"the staged file {one.staged_name} is damaged, and so are the notifications to rebuild it from",
                DAMAGED_HINT,
            )
        return True

    def _check_sums(self, batch: Batch) -> None:
        """Check once more, before anything is written: every line has one outcome, every notification one line."""
        expected = self.checkpoint.reader.last_batch() + 1
        notified, control = (batch.outcomes.get(name, 0) for name in ("notified", "control"))
        written, control_written = (
            sum(output.content.count(b"\n") for output in outputs)
            for outputs in (batch.outputs, batch.control_outputs)
        )
        wrong = _difference(
            ("the number of the batch", batch.number, expected),
            ("lines by outcome", sum(batch.outcomes.values()), batch.lines),
            ("rejects by reason", sum(batch.reasons.values()), batch.outcomes.get("rejected", 0)),
            ("notifications", len(batch.notifications), notified),
            ("lines of output", written, notified),
            ("notifications of the control group", len(batch.control), control),
            ("lines of its output", control_written, control),
            ("reference versions", len({each.versions for each in batch.ranges}), 1),
        )
        if wrong:
            raise UpswellError(
                f"batch {batch.number} does not add up: {', '.join(wrong)}",
                "nothing of it was committed or published; please report this",
            )


def _difference(*sums: tuple[str, int, int]) -> Sequence[str]:
    return [
        f"{what}: {found} instead of {wanted}" for what, found, wanted in sums if found != wanted
    ]
