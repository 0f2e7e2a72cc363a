"""Lines of a customer that no batch took: in files that repeat another, are held, were skipped, grew, or are not read.

Owns the look for them, so that a silence has its reason even where there is no record to decide about. It knows the
bytes of their digits alone, not what the lines mean; it writes nothing, and what is not ours to read is told as such.
"""

import os
from collections.abc import Iterator, Mapping, Set
from concurrent.futures import ThreadPoolExecutor

from upswell.audit.replay.replay import Past
from upswell.audit.replay.timeline import Untaken
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


def untaken(
    reader: StateReader, past: Past, msisdn: str, told: Mapping[str, int], day: int | None
) -> list[Untaken]:
    """What of a customer was not taken, in the order of stamps. ``told``: their lines that were, by file.

    ``day``: only files that may hold what would have counted on this day are looked through.

    Raises InputMissing when DATA cannot be listed.
    """
    grown = {name for name, state in pending_archive(reader).items() if state == "grew"}
    files = {file.name: file for file in _files(reader, past, grown)}
    # One that was packed since is found under its other name, unless that is a file of its own.
    known = past._replace(files=past.files | files)
    asked = [file for file in files.values() if day is None or _may_hold(past, file, day)]
    with ThreadPoolExecutor(threads_default()) as pool:
        looked = pool.map(
            lambda file: _look(known, file, msisdn, _why(file, grown=file.name in grown)), asked
        )
        found = [one for one in looked if one is not None]
    for name, lines in told.items():
        if repeats := past.files[name].repeats:
            times = "once" if repeats == 1 else f"{repeats:,} times"
            why = f"came again under its name {times}, with the same content: taken once"
            found.append(Untaken(name, lines, why))
    return sorted(found, key=lambda one: (read_name(one.file)[0], one.file))


def _files(reader: StateReader, past: Past, grown: Set[str]) -> Iterator[File]:
    """The files of which something may not have been taken. ``grown``: on their way to the archive, or in it."""
    known = reader.files(grown)
    known |= {file.name: file for state in _NOT_TAKEN for file in reader.files_in(state)}
    new = []
    for name, found in list_directory(os.fsencode(past.data)):
        file = past.files.get(name)
        if name in known or not read_name(name)[0]:
            continue
        if file is None:
            new.append(name)
        elif not file.compressed and found.st_size > file.offset:
            known[name] = file
    yield from known.values()
    seen = file_standings(reader, new)
    yield from (File(name, "waiting") for name in new if name not in seen)


def _may_hold(past: Past, file: File, day: int) -> bool:
    """Whether a file may hold a record that would have counted on this day: neither late nor `future`.

    What is held may be so for its stamp, which then tells nothing.
    """
    if file.state == "held":
        return True
    stamp = read_name(file.name)[0]
    first = day_open_of(stamp, past.keep_days, past.zones)
    return first <= day <= day_last_of(stamp, past.zones)


def _look(past: Past, file: File, msisdn: str, why: str) -> Untaken | None:
    """How many lines with these digits stand behind what was taken of a file; None when none do."""
    since = 0 if _is_other(file) else file.offset
    try:
        found = past.search(file.name, [since, _END] if since else [_END], msisdn, taken=False)
    except (OSError, ValueError) as error:
        words = escape(getattr(error, "strerror", None) or str(error))
        # Why a file is held says what is wrong with it.
        known = "" if file.state == "held" else f" ({words})"
        return Untaken(file.name, None, f"{why}; what it holds is not known{known}")
    lines = sum(hit.byte >= since for hit in found.hits) if found else 0
    return Untaken(file.name, lines, why) if lines else None


def _is_other(file: File) -> bool:
    """Whether it no longer holds what was taken of it."""
    return file.state == "held" and file.reason in ("changed", "shrank")


def _why(file: File, *, grown: bool) -> str:
    if _is_other(file):
        return f"not read as it is now: it is held, {escape(file.detail)}"
    since = f" from byte {file.offset:,} on" if file.offset else ""
    if file.state == "duplicate":
        return f"not read: its content is that of {show_name(file.detail)}"
    if file.state == "held":
        return f"not read{since}: it is held, {escape(file.detail or file.reason)}"
    if file.state == "skipped":
        return "not read: it is older than --since"
    if grown:
        return f"not read{since}: it grew in the archive, or on its way there; in DATA again it will be"
    return f"not read yet{since}"
