"""The status of a run, read from its state during the run or after it.

Owns what is worth saying about a state: the counts over all of it, the files that need attention, what a restart would
resume. It opens the checkpoint read-only and briefly, neither waits for the run nor holds it up, and changes nothing.
The counts are those of the last commit.

One file because ``Status`` is one value: its fields, how they are read in one moment, and the object that they become.
"""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from upswell import kernel
from upswell.engine import archive, arrivals
from upswell.engine.arrivals import Arrivals
from upswell.engine.run_log import LoggedRun, read_runs
from upswell.engine.summary import (
    Summary,
    describe_exported_again,
    describe_refused,
    describe_unmatched,
    describe_unread,
)
from upswell.privacy import escape
from upswell.reference.origin import NO_ORIGIN, copies_of
from upswell.reference.suppression import Forgetting
from upswell.source.file import File, State
from upswell.source.listing import show_name
from upswell.state.batch import LogRange
from upswell.state.identity import StateIdentity
from upswell.state.queries.archived import count_archived
from upswell.state.queries.edits import refused_edit
from upswell.state.queries.files import (
    count_by_state,
    count_gone_whole,
    count_late_files,
    count_repeats,
    files_exported_again,
    refused_files,
    repeated_files,
    unread_names,
)
from upswell.state.queries.forgotten import forgettings
from upswell.state.queries.notifications import count_notified, notified_days
from upswell.state.reader import StateReader
from upswell.state.rows import CommittedBatch, ReferenceVersion
from upswell.storage.lock import holder, started_at

NOTABLE: tuple[State, ...] = (
    "held",
    "gone",
    "duplicate",
    "continued",
    "waiting",
    "ignored",
    "skipped",
)
"""States whose files are named, those that need attention first."""
STANDING = ("rules", "suppress")
"""Kinds of which no line may be left out for good; of a large SEGMENT some always are, and their number is enough."""
RUNS_MAX = 10  # the last ones
NAMED_FILES_MAX = 10  # of each state: a page of names helps nobody
_MATCHED_WORDS = (
    "DATA and SEGMENT seem to write MSISDNs in different forms; `upswell check` shows both"
)


class Today(NamedTuple):
    """The newest day that has notifications."""

    day: int
    notifications: dict[str, int]


@dataclass(frozen=True, slots=True)
class Status:
    """The status of a run, as of its last commit."""

    state_dir: Path
    identity: StateIdentity
    holder: str | None
    """The process that runs it now ("process 12, since …"); None when none does."""
    summary: Summary
    """Over the whole state. Its ``elapsed_s`` is 0, as runs are not timed together."""
    today: Today | None
    last: CommittedBatch | None
    references: list[ReferenceVersion]
    """The active versions, in the order of ``Versions``; none of a policy that is off."""
    left_out: str
    """The lines that were left out of the active RULES and SUPPRESS, in sentences; empty without any."""
    notable: dict[State, list[File]]
    """By state, at most NAMED_FILES_MAX each; states without files are absent."""
    reading: list[File]
    """Files that a restart resumes, newest first, at most NAMED_FILES_MAX."""
    repeats: int
    """How often files were delivered again under their own names with the same content."""
    repeated: list[File]
    """The newest of these files, at most NAMED_FILES_MAX."""
    late_files: int
    exported_again: int
    """Files with the content of another and more."""
    exported_again_named: list[File]
    """The newest of these files, at most NAMED_FILES_MAX."""
    refused_files: int
    """Files of which not one line is a record."""
    refused_named: list[File]
    """The newest of these files, at most NAMED_FILES_MAX."""
    unread: list[str]
    """Names in DATA that look like those of data and are not read."""
    archived_files: int
    archive_held: dict[str, str]
    """By name: finished files that need manual action before they can be archived, with what to do."""
    cadence_s: int
    arrivals: Arrivals
    """Of the last days."""
    runs: list[LoggedRun]
    """The last RUNS_MAX, in order; the last one may still be active."""
    refused: str
    """Why the last edit of SEGMENT, RULES or SUPPRESS was refused; empty when it is active."""
    forgettings: list[Forgetting]
    """Forgettings whose customers are still suppressed."""
    looked_at: datetime

    @property
    def age_s(self) -> float | None:
        """Seconds since the last commit."""
        if self.last is None:
            return None
        return (self.looked_at - datetime.fromisoformat(self.last.committed_at)).total_seconds()

    @property
    def silent_s(self) -> float | None:
        """Seconds without a new or growing file, if a run is active and that counts as silence; None otherwise."""
        began = started_at(self.holder or "")
        if began is None:
            return None
        moved_s = max(began.timestamp(), self.arrivals.changed_ns / 1e9)
        if self.last is not None:
            moved_s = max(moved_s, datetime.fromisoformat(self.last.committed_at).timestamp())
        return arrivals.silence_s(self.looked_at.timestamp(), moved_s, self.cadence_s)

    def to_json(self) -> dict[str, object]:
        """Return one JSON object: a run's summary, over the whole state, and what only a state knows."""
        last = self.last
        return self.summary.to_json() | {
            "state": str(self.state_dir),
            "output": str(self.identity.output or ""),
            "running": self.holder is not None,
            "holder": self.holder or "",
            "today": {"day": self.today.day, "notifications": self.today.notifications}
            if self.today
            else None,
            "last_commit": {
                "batch": last.number,
                "at": last.committed_at,
                "age_s": round(self.age_s or 0.0, 1),
                "newest_stamp": last.newest_stamp,
                "day_open": last.day_open,
            }
            if last
            else None,
            "reference": [
                version._asdict() | self.identity.origins.get(version.kind, NO_ORIGIN).to_json()
                for version in self.references
            ],
            "notable": [
                file_json(file) | {"name": show_name(file.name)}
                for files in self.notable.values()
                for file in files
            ],
            "resume": [
                {"file": file.name, "byte": file.offset, "size": file.size} for file in self.reading
            ],
            "duplicates": {
                "by_content": self.summary.files["duplicate"],
                "by_name": self.repeats,
                "repeated": [
                    {"name": file.name, "repeats": file.repeats} for file in self.repeated
                ],
            },
            "late_files": self.late_files,
            "other_forms": self.identity.other_forms,
            "exported_again": {
                "files": self.exported_again,
                "named": [
                    {"name": file.name, "why": file.detail} for file in self.exported_again_named
                ],
            },
            "refused_files": {
                "files": self.refused_files,
                "named": [{"name": file.name, "why": file.detail} for file in self.refused_named],
            },
            "unread": {
                "files": len(self.unread),
                "named": [show_name(name) for name in self.unread[:NAMED_FILES_MAX]],
            },
            "archive": {
                "path": str(self.identity.archives[0]) if self.identity.archives else "",
                "before": [str(path) for path in self.identity.archives[1:]],
                "files": self.archived_files,
                "held": [
                    {"name": show_name(name), "why": why} for name, why in self.archive_held.items()
                ],
            },
            "cadence": {
                "cadence_s": self.cadence_s,
                "gaps": [gap._asdict() for gap in self.arrivals.gaps],
                "missing_files": sum(gap.files for gap in self.arrivals.gaps),
                "silent_s": None if self.silent_s is None else round(self.silent_s, 1),
                "late": self.arrivals.late,
                "unusual": [one._asdict() for one in self.arrivals.unusual],
            },
            "runs": [run._asdict() for run in self.runs],
            "forgotten": [
                {"people": one.people, "first_batch": one.first_batch, "until_day": one.until_day}
                for one in self.forgettings
            ],
            "settings": self.identity.entries(),
        }


def read_status(state_dir: Path, cadence_s: int | None = None) -> Status:
    """Return the status of the run of this state. ``cadence_s``: None for the cadence that the run was given.

    Raises StorageError when there is no state, or it is damaged.
    """
    with StateReader.open(state_dir) as reader:
        # Before the transaction that reads all else: page by page, this holds nobody up.
        begun = reader.identity()
        if cadence_s is None:
            cadence_s = begun.cadence_s
        seen = arrivals.find_arrivals(reader, cadence_s, begun.zones.data)
        with reader.snapshot():
            identity, last, totals = reader.identity(), reader.last(), reader.totals()
            versions, known = reader.current_versions(), reader.references()
            counts, late_files = count_by_state(reader), count_late_files(reader)
            repeats, repeated = count_repeats(reader), repeated_files(reader, NAMED_FILES_MAX)
            exported, exported_named = files_exported_again(reader, NAMED_FILES_MAX)
            gone_whole = count_gone_whole(reader)
            all_refused, refused_named = refused_files(reader, NAMED_FILES_MAX)
            unread = unread_names(reader)
            days, notified = notified_days(reader), count_notified(reader)
            control = count_notified(reader, control=True)
            suppressed = [one for one in forgettings(reader) if one.key is not None]
            today = Today(days[-1], count_notified(reader, days[-1])) if days else None
            refused = refused_edit(reader)
            archived_files, archive_held = count_archived(reader), archive.held(reader)
            notable = {state: found for state in NOTABLE if (found := _some(reader, state))}
            reading = sorted(_some(reader, "reading"), key=lambda file: file.stamp, reverse=True)
    summary = Summary(batches=totals.batches, lines=totals.lines, bytes=totals.bytes)
    summary.outcomes = Counter({name: totals.outcomes.get(name, 0) for name in kernel.OUTCOMES})
    summary.rejects = Counter({name: totals.reasons.get(name, 0) for name in kernel.REASONS})
    summary.notifications = Counter(notified)
    summary.control = Counter(control)
    summary.files = {str(state): number for state, number in counts.items()}
    summary.warnings = _warnings(summary, notable, gone_whole)
    if exported_named:
        newest = exported_named[-1]
        summary.warnings.append(describe_exported_again(exported, newest.name, newest.detail))
    if refused_named:
        newest = refused_named[-1]
        summary.warnings.append(describe_refused(all_refused, newest.name, newest.detail))
    if unread:
        summary.warnings.append(describe_unread(len(unread), unread))
    if identity.other_forms:
        summary.warnings.append(identity.other_forms)
    if archive_held:
        word = "1 file is" if len(archive_held) == 1 else f"{len(archive_held):,} files are"
        summary.warnings.append(f"{word} held on the way to the archive (listed below)")
    left_out = "; ".join(
        words
        for kind, origin in identity.origins.items()
        if kind in STANDING and (words := origin.describe_left_out(kind))
    )
    if left_out:
        # Of an edit that was refused the lines on disk are others than those that were left out.
        way = "" if refused else "; `upswell check` says what to write"
        summary.warnings.append(f"{left_out}{way}")
    summary.warnings += copies_of(identity.origins)
    if refused:
        summary.warnings.append(
            f"the last edit of SEGMENT, RULES or SUPPRESS is refused: {refused.words}"
        )
    return Status(
        state_dir=state_dir,
        identity=identity,
        holder=(held := holder(state_dir)),
        summary=summary,
        today=today,
        last=last,
        references=[
            one
            for kind, version in (versions._asdict() if versions else {}).items()
            for one in known
            if (one.kind, one.version) == (kind, version)
        ],
        left_out=left_out,
        notable=notable,
        reading=reading,
        repeats=repeats,
        repeated=repeated,
        late_files=late_files,
        exported_again=exported,
        exported_again_named=exported_named,
        refused_files=all_refused,
        refused_named=refused_named,
        unread=unread,
        archived_files=archived_files,
        archive_held=archive_held,
        cadence_s=cadence_s,
        arrivals=seen,
        runs=read_runs(state_dir, held)[-RUNS_MAX:],
        refused=refused.words if refused else "",
        forgettings=suppressed,
        looked_at=datetime.now(UTC),
    )


def files(state_dir: Path) -> Iterator[File]:
    """Yield every file that the state knows, by stamp and name."""
    with StateReader.open(state_dir) as reader:
        found = list(reader.files_in())
    yield from sorted(found, key=lambda file: (file.stamp, os.fsencode(file.name)))


def log(state_dir: Path) -> Iterator[LogRange]:
    """Yield the log of ranges, in commit order."""
    with StateReader.open(state_dir) as reader:
        yield from reader.log()


def sizes(state_dir: Path) -> dict[str, int]:
    """Return the bytes on disk, by purpose."""
    places = {
        "database": state_dir.glob("checkpoint.db*"),
        "ledger": state_dir.glob("ledger/shard-*"),
        "rejects": state_dir.glob("rejects/*.tsv"),
    }
    return {name: sum(map(_size, paths)) for name, paths in places.items()}


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except FileNotFoundError:  # a run has removed it since
        return 0


def file_json(file: File) -> dict[str, object]:
    """Return a file as a JSON object, with digests in hex."""
    values = asdict(file)
    for name in ("digest", "content_digest", "first_record"):
        values[name] = None if values[name] is None else f"{values[name]:016x}"
    return values


def range_json(taken: LogRange) -> dict[str, object]:
    """Return a range of the log as a JSON object."""
    return {
        "batch": taken.batch,
        "sequence": taken.sequence,
        "file": taken.file,
        "from": taken.start,
        "to": taken.end,
        "stamp": taken.stamp,
        "newest_stamp": taken.newest_stamp,
        "rules": taken.versions.rules,
        "segment": taken.versions.segment,
        "suppress": taken.versions.suppress,
        "policy": taken.versions.policy,
        "zones": taken.versions.zones,
    }


def _some(reader: StateReader, state: State) -> list[File]:
    found = list(islice(reader.files_in(state), NAMED_FILES_MAX))
    return sorted(found, key=lambda file: (file.stamp, os.fsencode(file.name)))


def _warnings(summary: Summary, notable: dict[State, list[File]], gone_whole: int) -> list[str]:
    found = []
    if held := summary.files["held"]:
        word = "1 file is" if held == 1 else f"{held:,} files are"
        named = [f"{escape(file.name)}: {file.detail}" for file in notable.get("held", [])[:1]]
        found.append(f"{word} held: {', '.join(named) or 'listed below'}")
    if gone := summary.files["gone"] - gone_whole:
        found.append(
            "1 file was deleted before it was fully read: deliver it whole and under exactly its name again"
            if gone == 1
            else f"{gone:,} files were deleted before they were fully read: deliver them whole and under exactly their"
            " names again"
        )
    if unmatched := describe_unmatched(summary):
        found.append(f"{unmatched}: {_MATCHED_WORDS}")
    if (known := summary.lines) != (added := sum(summary.outcomes.values())):
        found.append(
            f"the outcomes add up to {added:,}, but {known:,} lines were read; please report this"
        )
    return found
