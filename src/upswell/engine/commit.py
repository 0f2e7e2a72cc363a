"""The order in which a batch becomes durable and visible, and how a restart finishes or undoes what a crash cut off.

Owns that order and nothing else; both engines use it. The invariant: a batch is true once its transaction is committed.
Before that nothing of it can be seen, after it everything will be, whatever is killed. A staged file that is still
there has not been published, one that is gone has, unless OUTPUT's marks prove that its batch was never begun to be
published: then it was lost, and is rebuilt from the rows. So rows are not pruned before their batch is published.
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
    """Those among them that were damaged or lost, and rebuilt."""
    removed: int
    """Staged files of batches that were never committed."""
    rejects_removed: int
    """Reject files of such batches."""
    marks_made: int
    """1 when the mark in OUTPUT itself was missing although batches were committed, and was made again."""

    def nonzero(self) -> dict[str, int]:
        """Return the counts that are not 0, by name; empty after a clean stop."""
        return {name: count for name, count in self._asdict().items() if count}

    def warnings(self) -> list[str]:
        """Return what somebody should look at, a sentence each."""
        if not self.marks_made:
            return []
        return [
            "OUTPUT's mark .upswell-begun-<batch> was missing and is made again: until now nothing outside .upswell"
            " could have told that the state is older than what was published; what copies OUTPUT must copy the mark"
        ]


class Committer:
    """Commits batches, one after the other, into one checkpoint and one OUTPUT."""

    def __init__(self, checkpoint: Checkpoint, sink: Sink) -> None:
        self.checkpoint = checkpoint
        self.sink = sink
        self.rejects = Rejects(checkpoint.reader.state_dir)

    def recover(self) -> Recovered:
        """Finish or undo what the last run left. Call it once, at the start, before anything is read.

        It can be killed anywhere and run again: it removes what no commit vouches for, rebuilds what is lost or
        damaged, each file in one step, and only then publishes.

        Raises:
            ConfigError: the state belongs to another OUTPUT, or is older than what was published. StorageError: its
                database is, or a committed file can be neither read nor rebuilt.
        """
        self._check_identity()
        last = self.checkpoint.reader.last_batch()
        first = self.checkpoint.reader.first_batch()
        begun = self._check_begun(last)
        # From before the first batch on there is a mark, so a missing one is told.
        marks_made = int(self.sink.marks.outer is None and last >= first)
        self.sink.restore_marks(last)
        rejects_removed = self.rejects.remove_after(last)
        self.rejects.finish(self.checkpoint.reader.has_rejects)
        self.sink.remove_unfinished()
        orphans, staged, rebuilt = [], [], 0
        for name in self.sink.staged_names():
            parsed = parse_staged(name)
            if parsed is None:
                continue  # not ours: `upswell state verify` reports it
            if not first <= parsed.batch <= last or self._is_out_of_date(parsed.batch):
                orphans.append(name)
                continue
            one = self._committed(name, parsed.batch)
            staged.append(one)
            rebuilt += self._make_whole(one)
        removed = self.sink.remove_staged(orphans)
        if begun is not None and begun < last:
            # No file of the last batch was ever moved, so one that is not staged is lost. All earlier ones were.
            for one in self.checkpoint.reader.staged(last).values():
                if one not in staged:
                    self._make_again(one)
                    staged.append(one)
                    rebuilt += 1
        self.sink.publish(staged)
        if staged and not any(map(parse_staged, self.sink.staged_names())):
            self.sink.settle()
        return Recovered(len(staged), rebuilt, removed, rejects_removed, marks_made)

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
                "give the OUTPUT that it was created with, or another --state; if this is that OUTPUT and its .upswell"
                f" was deleted, write {known} into its .upswell/output.id",
            )

    def _check_begun(self, last: int) -> int | None:
        """Return the highest batch that was begun to be published, None when nothing tells; refuse an older state."""
        marks = self.sink.marks
        published = [one.batch for one in self.sink.published()]
        seen = max([marks.own or 0, *published])
        if seen > last:
            raise StorageError(
                f"OUTPUT has had notifications of batch {seen}, but the state ends at batch {last}: it is"
                " older, so going on would send them twice",
                f"if its database was replaced or restored by hand, put the newer one back, or {RESTORE_HINT}",
            )
        if marks.outer is not None and marks.outer.batch > last:
            raise ConfigError(
                f"OUTPUT has had notifications of batch {marks.outer.batch}, as its mark {marks.outer.name} says,"
                f" but the state ends at batch {last}: an older state was put in its place, and going on would"
                " send again what a consumer has taken",
                "put the newer state back; or begin a new one over this OUTPUT, with --state, --adopt and --since; or,"
                f" if all notifications after batch {last} may be sent again, remove the mark",
            )
        return None if marks.begun is None else max([marks.begun, *published])

    def _is_out_of_date(self, batch: int) -> bool:
        """Return whether a staged file of this batch came back with a copy after a recovery had published it."""
        outer = self.sink.marks.outer
        return outer is not None and outer.settled and batch <= outer.batch

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
        self._make_again(one)
        return True

    def _make_again(self, one: Staged) -> None:
        """Make a staged file from the notifications, over what is there of it."""
        content = staged_content(self.checkpoint.reader, one)
        self.sink.rebuild(one, content)
        if not self.sink.is_whole(one):
            raise StorageError(
                f"the staged file {one.staged_name} is damaged, and so are the notifications to rebuild it from",
                DAMAGED_HINT,
            )

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
