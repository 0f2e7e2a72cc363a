"""Finds a customer's lines that were never processed: in duplicate, held or skipped files, or appended or pending.

Owns this search, so that a missing notification has its reason even where there is no record to decide about. It only
looks for the digits, not for what the lines mean. It writes nothing, and reports files that it may not read.
"""

import os
from collections.abc import Iterator, Mapping, Set
from concurrent.futures import ThreadPoolExecutor

from upswell.audit.replay.snapshot import StateSnapshot
from upswell.audit.replay.timeline import NotTaken
from upswell.config.settings import threads_default
from upswell.privacy import escape
from upswell.source.file import File, State
from upswell.source.listing import list_directory, read_name, show_name
from upswell.state.queries.archived import pending_archive
from upswell.state.queries.files import file_standings
from upswell.state.reader import StateReader
from upswell.zones import day_last_of, day_open_of

_NOT_TAKEN: tuple[State, ...] = ("duplicate", "held", "skipped", "waiting", "reading")
_END = 1 << 62  # no file is as long


def find_not_taken(
    reader: StateReader,
    snapshot: StateSnapshot,
    msisdn: str,
    processed: Mapping[str, int],
    day: int | None,
) -> list[NotTaken]:
    """Find a customer's lines that were not processed, by file in the order of stamps.

    Args:
        reader: of the state.
        snapshot: of the same state.
        msisdn: of the customer.
        processed: how many of their lines were processed, by file.
        day: search only files that may contain what would have counted on this day.

    Raises:
        InputMissing: DATA cannot be listed.
    """
    grown = {name for name, state in pending_archive(reader).items() if state == "grew"}
    files = {file.name: file for file in _files(reader, snapshot, grown)}
    # One that was packed since is found under its other name, unless that name is a file of its own.
    known = snapshot._replace(files=snapshot.files | files)
    asked = [file for file in files.values() if day is None or _may_contain(snapshot, file, day)]
    with ThreadPoolExecutor(threads_default()) as pool:
        searched = pool.map(
            lambda file: _search(known, file, msisdn, _why(file, grown=file.name in grown)), asked
        )
        found = [one for one in searched if one is not None]
    for name, lines in processed.items():
        if repeats := snapshot.files[name].repeats:
            times = "once" if repeats == 1 else f"{repeats:,} times"
            why = f"delivered again {times} under its name with the same content: processed once"
            found.append(NotTaken(name, lines, why))
    return sorted(found, key=lambda one: (read_name(one.file)[0], one.file))


def _files(reader: StateReader, snapshot: StateSnapshot, grown: Set[str]) -> Iterator[File]:
    """Yield files that may not have been processed fully. ``grown``: those that grew in the archive, or on the way."""
    known = reader.files(grown)
    known |= {file.name: file for state in _NOT_TAKEN for file in reader.files_in(state)}
    new = []
    for name, found in list_directory(os.fsencode(snapshot.data)):
        file = snapshot.files.get(name)
        if name in known or not read_name(name)[0]:
            continue
        if file is None:
            new.append(name)
        elif not file.compressed and found.st_size > file.offset:
            known[name] = file
    yield from known.values()
    seen = file_standings(reader, new)
    yield from (File(name, "waiting") for name in new if name not in seen)


def _may_contain(snapshot: StateSnapshot, file: File, day: int) -> bool:
    """Return whether a file may contain a record that would have counted on this day, neither late nor `future`.

    A held file may be held for its stamp, which then says nothing.
    """
    if file.state == "held":
        return True
    stamp = read_name(file.name)[0]
    first = day_open_of(stamp, snapshot.keep_days, snapshot.zones)
    return first <= day <= day_last_of(stamp, snapshot.zones)


def _search(snapshot: StateSnapshot, file: File, msisdn: str, why: str) -> NotTaken | None:
    """Count the lines with these digits after what was processed of a file; None when there are none."""
    since = 0 if _is_other(file) else file.offset
    try:
        found = snapshot.search(
            file.name, [since, _END] if since else [_END], msisdn, consumed=False
        )
    except (OSError, ValueError) as error:
        words = escape(getattr(error, "strerror", None) or str(error))
        # The reason for which a file is held says what is wrong with it.
        known = "" if file.state == "held" else f" ({words})"
        return NotTaken(file.name, None, f"{why}; its content is unknown{known}")
    lines = sum(hit.byte >= since for hit in found.hits) if found else 0
    return NotTaken(file.name, lines, why) if lines else None


def _is_other(file: File) -> bool:
    """Return whether it no longer contains what was processed of it."""
    return file.state == "held" and file.reason in ("changed", "shrank")


def _why(file: File, *, grown: bool) -> str:
    if _is_other(file):
        return f"not processed in its present form: held, {escape(file.detail)}"
    since = f" from byte {file.offset:,} on" if file.offset else ""
    if file.state == "duplicate":
        return f"not processed: same content as {show_name(file.detail)}"
    if file.state == "held":
        return f"not processed{since}: held, {escape(file.detail or file.reason)}"
    if file.state == "skipped":
        return "not processed: older than --since"
    if grown:
        return (
            f"not processed{since}: it grew in the archive, or on its way there; move it back to DATA to process the"
            " rest"
        )
    return f"not processed yet{since}"
