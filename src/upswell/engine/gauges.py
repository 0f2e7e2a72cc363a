"""What those who watch a run ask beside its counts: what earlier runs did, the last commit, what is in force now.

Owns how that is gathered for a summary. It only asks, and asks for nothing that takes longer the older a state is.
"""

import time
from datetime import datetime

from upswell.engine.summary import Standing, Summary
from upswell.reference.loading import Reference
from upswell.source.planner import Source
from upswell.state.checkpoint import Checkpoint


def remember(summary: Summary, checkpoint: Checkpoint) -> None:
    """Take note of what the state had when the run began, so that counters go on where those of the last run ended."""
    summary.before = checkpoint.totals()
    summary.notified_before = checkpoint.notified()
    if last := checkpoint.last():
        summary.committed_at_s = datetime.fromisoformat(last.committed_at).timestamp()


def note_commit(summary: Summary, commit_s: float) -> None:
    """Take note of a commit that has just ended and took so long."""
    summary.commit_s, summary.committed_at_s = commit_s, time.time()


def of(
    reference: Reference | None,
    entries: tuple[int, int] | None,
    source: Source,
    archive_held: int = 0,
) -> Standing:
    """Where the run stands now.

    Args:
        reference: the one in force, if there is one yet.
        entries: live totals and caps of the ledger, if they are known.
        source: of the run.
        archive_held: finished files that are held on their way to the archive.
    """
    totals, caps = entries or (None, None)
    now = Standing(
        totals=totals, caps=caps, oldest_at_s=source.oldest_at_s(), archive_held=archive_held
    )
    if reference is None:
        return now
    return now._replace(
        versions=reference.versions,
        rules=len(reference.ruleset.rules),
        dials=len(reference.segment),
        suppressed=len(reference.suppressed or ()),
        applications=tuple(reference.ruleset.applications()),
    )
