"""Verifies that a state is sound: every sum that must hold, over the database and the files beside it.

Owns the checks of ``upswell state verify``. It only reads, repairs nothing, and may work beside a run without holding
it up: what changes with a commit is read in one brief snapshot, and what is added and never changed (batches, log,
notifications) afterwards, page by page, up to the last batch of that snapshot. Each finding is a sentence with the next
step; none holds a whole msisdn. One file because every check reads the same moment of one state, and none has a
caller of its own.
"""

import errno
import hashlib
import os
import time
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping
from itertools import takewhile
from pathlib import Path

from upswell.errors import DAMAGED_HINT, RESTORE_HINT, StorageError, UpswellError
from upswell.output.marks import begun_in
from upswell.output.names import (
    IDENTITY,
    STAGING,
    parse_shard,
    parse_staged,
    rejects_name,
)
from upswell.output.reject_files import REWRITTEN, is_as_written
from upswell.privacy import escape
from upswell.state.ledger import committed_shard_files, decode_ledger, fetch_ledger
from upswell.state.queries.forgotten import forgotten_lines
from upswell.state.reader import StateReader
from upswell.state.rows import CommittedBatch
from upswell.state.shard_files import DamagedShard, read_shard_file
from upswell.storage.files import RECOVERS, directory, next_step, read_file, translate_os_errors
from upswell.storage.lock import holder

_PROBLEMS_MAX = 20  # of one kind: a damaged state may break every row
_PASSING_S = 0.2  # names that a run itself makes for a moment last milliseconds
_NO_FILE = {
    errno.ENOENT,
    errno.ENOTDIR,
    errno.ELOOP,
    errno.EINVAL,
}  # missing, or not a regular file
_PAGE_ROWS = 20_000  # of notifications, read at once: some 20 ms


def verify(state_dir: Path) -> list[str]:
    """Return what is wrong with the state in this directory, a sentence each; an empty list when it is sound."""
    try:
        with StateReader.open(state_dir) as reader:
            # Damage may stop several checks at the same place: it is reported once.
            return list(
                dict.fromkeys(sentence for check in _CHECKS for sentence in _first(check, reader))
            )
    except UpswellError as error:
        return [_worded(error)]


def _first(check: Callable[[StateReader], Iterator[str]], reader: StateReader) -> list[str]:
    """Return the first findings of a check; damage that stops it is the last of them."""
    found: list[str] = []
    try:
        for sentence in check(reader):
            found.append(sentence)
            if len(found) == _PROBLEMS_MAX:
                found.append("and more of this kind")
                break
    except StorageError as error:
        found.append(_worded(error))
    except (TypeError, ValueError, KeyError):
        found.append(f"a row of the database holds a value of the wrong type: {RESTORE_HINT}")
    return found


def _worded(error: UpswellError) -> str:
    return f"{error.message}: {RESTORE_HINT if error.hint == DAMAGED_HINT else error.hint}"


def _pages(reader: StateReader) -> Iterator[str]:
    for (message,) in reader._rows(f"PRAGMA integrity_check({_PROBLEMS_MAX})"):
        if message != "ok":
            yield f"the database's pages are inconsistent ({escape(' '.join(message.split()))}): {RESTORE_HINT}"
    with reader.snapshot():
        reader.check_seal(whole=True)
    if reader._rows("PRAGMA foreign_key_check"):
        yield f"rows of the database refer to missing rows: {RESTORE_HINT}"


def _batches(reader: StateReader) -> Iterator[str]:
    """Check that numbers have no gap, and that sums over batches equal the totals and those over files."""
    of_files = Counter[str]()
    lines_of_files = 0
    wrong: list[str] = []
    with reader.snapshot():
        until, totals, expected = reader.last_batch(), reader.totals(), reader.first_batch()
        for file in reader.files_in():
            wrong += _sums(f"the file {escape(file.name)}", file.lines, file.outcomes, file.reasons)
            of_files.update(file.outcomes)
            lines_of_files += file.lines
    lines, outcomes, reasons = 0, Counter[str](), Counter[str]()
    taken_bytes = count = 0
    for batch in _until(reader, until):
        if batch.number != expected:
            yield f"batch {expected} is missing before batch {batch.number}: {RESTORE_HINT}"
        expected = batch.number + 1
        yield from _sums(f"batch {batch.number}", batch.lines, batch.outcomes, batch.reasons)
        count += 1
        lines += batch.lines
        taken_bytes += batch.bytes
        outcomes.update(batch.outcomes)
        reasons.update(batch.reasons)
    found = (
        totals.batches,
        totals.lines,
        totals.bytes,
        +Counter(totals.outcomes),
        +Counter(totals.reasons),
    )
    if found != (count, lines, taken_bytes, +outcomes, +reasons):
        yield f"the running totals are not the sums over the batches: {RESTORE_HINT}"
    yield from wrong
    if (lines_of_files, +of_files) != (lines, +outcomes):
        yield f"the lines of the files are not those of the batches: {RESTORE_HINT}"


def _until(reader: StateReader, last: int) -> Iterator[CommittedBatch]:
    """Return the batches up to this one: once committed they never change."""
    return takewhile(lambda batch: batch.number <= last, reader.batches())


def _sums(
    what: str, lines: int, outcomes: dict[str, int], reasons: dict[str, int]
) -> Iterator[str]:
    if sum(outcomes.values()) != lines or sum(reasons.values()) != outcomes.get("rejected", 0):
        yield f"the counts of {what} do not add up to its lines: {RESTORE_HINT}"


def _log(reader: StateReader) -> Iterator[str]:
    """Check that each file's ranges continue from 0 to its offset, and that the newest stamp never falls.

    Those of a file that continues another one begin at that one's offset.
    """
    with reader.snapshot():
        last = reader.last()
        offsets, before = {}, {}
        for file in reader.files_in():
            offsets[file.name] = file.offset
            if file.continues:
                before[file.name] = file.continues
    until = last.number if last else 0
    ends = {name: offsets.get(old, 0) for name, old in before.items()}
    newest = ""
    for taken in takewhile(lambda taken: taken.batch <= until, reader.log()):
        if taken.start != ends.get(taken.file, 0) or taken.end <= taken.start:
            yield (
                f"the log of {escape(taken.file)} jumps to byte {taken.start} in batch {taken.batch}:"
                f" {RESTORE_HINT}"
            )
        ends[taken.file] = taken.end
        if taken.newest_stamp < max(newest, taken.stamp):
            yield f"the newest stamp falls in batch {taken.batch}: {RESTORE_HINT}"
        newest = taken.newest_stamp
    if last is not None and last.newest_stamp != newest:
        yield f"the last batch and the log name different newest stamps: {RESTORE_HINT}"
    for name, offset in offsets.items():
        if offset != ends.get(name, 0):
            yield (
                f"{offset} bytes of {escape(name)} are marked as consumed, but the log says"
                f" {ends.get(name, 0)}: {RESTORE_HINT}"
            )


def _notifications(reader: StateReader) -> Iterator[str]:
    """Check that there are as many notifications and bytes as each batch staged, and as each day's total says.

    Of days that are no longer kept rows may be missing: no batch has more than it counts, and those of all batches are
    together those of all days, each of which is counted to the row while it is kept.
    """
    with reader.snapshot():
        until = reader.last_batch()
        names = {number: name for name, number in reader.applications().items()}
        totals = reader._rows(
            "SELECT day, application, 0, lines FROM notified_total"
            " UNION ALL SELECT day, application, 1, lines FROM control_total"
        )
    lengths, of_batch, of_day = (
        Counter[tuple[int, int, int]](),
        Counter[tuple[int, int]](),
        Counter[tuple[int, int, int]](),
    )
    newest = 0
    for day, application, batch, length, control in _notified(reader):
        newest = max(newest, batch)
        if batch > until:
            continue  # committed since
        lengths[batch, application, control] += length + 1
        of_batch[batch, control] += 1
        of_day[day, application, control] += 1
    pruned = reader.pruned_before()
    for gone in forgotten_lines(reader):
        lengths[gone.batch, gone.application, gone.control] += gone.bytes
        of_batch[gone.batch, gone.control] += gone.lines
        of_day[gone.day, gone.application, gone.control] += gone.lines
    if newest > reader.last_batch():
        yield f"there are notifications of batch {newest}, but no such batch: {RESTORE_HINT}"
    staged = {
        (batch, application, control): length
        for batch, application, control, length in reader._rows(
            "SELECT batch, application, control, length FROM staged WHERE batch <= ?", (until,)
        )
    }
    counted = {
        (batch.number, control): batch.outcomes.get(outcome, 0)
        for batch in _until(reader, until)
        for control, outcome in enumerate(("notified", "control"))
    }
    partly = {key for key in counted if pruned and of_batch[key] < counted[key]}
    for key, count in counted.items():
        if of_batch[key] != count and key not in partly:
            yield f"batch {key[0]} counts other notifications than the state has: {RESTORE_HINT}"
    yield from _lengths(lengths, staged, partly, names)
    if any(
        sum(lines for _, _, of, lines in totals if of == control)
        != sum(count for (_, of), count in counted.items() if of == control)
        for control in (0, 1)
    ):
        yield f"the totals by day are not the sums over the batches: {RESTORE_HINT}"
    known = {
        (day, application, control): n for day, application, control, n in totals if day >= pruned
    }
    if known != {key: n for key, n in of_day.items() if key[0] >= pruned}:
        yield f"the totals by day are not the sums over the notifications: {RESTORE_HINT}"


def _lengths(
    lengths: Mapping[tuple[int, int, int], int],
    staged: Mapping[tuple[int, int, int], int],
    partly: Container[tuple[int, int]],
    names: Mapping[int, str],
) -> Iterator[str]:
    """Compare the bytes of notifications by batch, application and control with those that were staged.

    ``partly``: batch and control of those that may lack rows of older days.
    """
    for key in sorted(lengths.keys() | staged.keys()):
        batch, application, control = key
        there, length = lengths.get(key, 0), staged.get(key, 0)
        if there > length or (there < length and (batch, control) not in partly):
            yield (
                f"the notifications of {escape(names.get(application, '?'))} in batch {batch} are not those that"
                f" were published: {RESTORE_HINT}"
            )


def _notified(reader: StateReader) -> Iterator[tuple[int, int, int, int, int]]:
    """Yield (day, application, batch, length, control) of every notification, page by page."""
    sql = (
        "SELECT day, application, msisdn, batch, length(raw), control FROM notification"
        f" WHERE (day, application, msisdn) > (?, ?, ?) ORDER BY day, application, msisdn LIMIT {_PAGE_ROWS}"
    )
    after = (-1, -1, "")
    while rows := reader._rows(sql, after):
        for day, application, _, batch, length, control in rows:
            yield day, application, batch, length, control
        after = rows[-1][:3]


def _kept(reader: StateReader) -> Iterator[str]:
    """Check that the ledger and every reference version that a batch used can be read."""
    # At once: a version that is no longer active, and that no batch was scanned with, may be dropped.
    with reader.snapshot():
        current = reader.current_versions()
        for kind, version in sorted(current._asdict().items()) if current else ():
            _read_version(reader, kind, version)
    decode_ledger(reader, fetch_ledger(reader)._replace(files=[]))
    used = {version for batch in reader.batches() for version in batch.versions._asdict().items()}
    for kind, version in sorted(used):
        _read_version(reader, kind, version)
    yield from ()


def _read_version(reader: StateReader, kind: str, version: str) -> None:
    if version:
        reader.reference(kind, version)


def _shard_files(reader: StateReader) -> Iterator[str]:
    """Check that the files of a ledger in files are whole, and that nothing else lies beside them."""
    for file in committed_shard_files(reader):
        try:
            with translate_os_errors(reader.ledger_dir, StorageError, RECOVERS):
                read_shard_file(reader.ledger_dir, file)
        except DamagedShard as error:
            if file in committed_shard_files(reader):  # else a run has replaced it meanwhile
                yield f"the ledger is damaged: {escape(str(error))}: {RESTORE_HINT}"
    if reader.ledger_dir.is_dir():
        for path in sorted(reader.ledger_dir.iterdir()):
            # A shard file that no commit names belongs to the next batch, or the next start removes it.
            if parse_shard(path.name) is None:
                yield f"{escape(str(path))} is not a file of Upswell: move it elsewhere"


def _beside(reader: StateReader) -> Iterator[str]:
    """Check that reject files and OUTPUT's own directory hold what the state says, unless operators removed it."""
    for batch in reader.batches():
        yield from _rejects(reader, batch)
    identity = reader.identity()
    own = identity.own_directory(reader.state_dir)
    if own is None or not (own / STAGING).is_dir():
        return
    if identity.output_id and _read(own, IDENTITY).strip() != identity.output_id.encode():
        yield (
            f"{escape(str(own.parent))} is not the OUTPUT that this state belongs to: pass its own OUTPUT, or"
            " another --state"
        )
    begun = begun_in(own) or 0
    paths = sorted((own / STAGING).iterdir())
    # A batch is committed before it is published: only a reader that opens after the listing must know of it.
    with StateReader.open(reader.state_dir) as now:
        if begun > now.last_batch():
            yield (
                f"OUTPUT has had notifications of batch {begun}, but the state ends before it: restore the newer"
                " state"
            )
        for path in paths:
            yield from _staged(now, path)


def _rejects(reader: StateReader, batch: CommittedBatch) -> Iterator[str]:
    path = reader.state_dir / "rejects" / rejects_name(batch.number)
    content = _read(path.parent, path.name)
    if is_as_written(content, batch.rejects_bytes, batch.rejects_digest):
        return
    rewritten = _read(path.parent, path.name + REWRITTEN)
    if rewritten and is_as_written(rewritten, batch.rejects_bytes, batch.rejects_digest):
        yield f"{escape(str(path))}{REWRITTEN} waits to be put in its place: start a run, or run state forget again"
        return
    # Operators may delete reject files once they have reviewed them.
    if os.path.lexists(path):
        yield (
            f"{escape(str(path))} was changed after it was written: restore it, or delete it once it has been"
            " reviewed"
        )


def _staged(reader: StateReader, path: Path) -> Iterator[str]:
    parsed = parse_staged(path.name)
    if parsed is None:
        if holder(reader.state_dir) is not None:
            time.sleep(_PASSING_S)
        if path.exists():
            yield f"{escape(str(path))} is not a file of Upswell: move it elsewhere"
        return
    if not reader.first_batch() <= parsed.batch <= reader.last_batch():
        return  # of the next batch, or left by a crash: the next start removes it
    one = reader.staged(parsed.batch).get(path.name)
    content = _read(path.parent, path.name)
    if not os.path.lexists(path):
        return  # published meanwhile
    if one is None or hashlib.sha256(content).digest() != one.digest:
        yield f"{escape(str(path))} waits to be published but is damaged: start a run, which rebuilds it"


def _read(place: Path, name: str) -> bytes:
    """Return the content of a file, not of a link's target; empty when it is missing or not a regular file."""
    try:
        with directory(place) as fd:
            return read_file(name, fd)
    except OSError as error:
        if error.errno in _NO_FILE:
            return b""
        raise StorageError(
            f"{escape(str(place / name))}: {error.strerror}",
            next_step(error, place / name, RECOVERS),
        ) from error


_CHECKS = (_pages, _batches, _log, _notifications, _kept, _shard_files, _beside)
