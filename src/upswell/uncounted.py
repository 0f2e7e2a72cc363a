"""Lines of a customer that no batch took: in files that repeat another, are held, were skipped, or wait to be read.

Owns the look for them, so that a silence has its reason even where there is no record to decide about. It knows the
bytes of their digits alone, not what the lines mean; it writes nothing, and what is not ours to read is told as such.
"""

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from upswell.batch import File, State
from upswell.config import threads_default
from upswell.kernel import search
from upswell.listing import archived_in, look_at, read_name, scan, show_name
from upswell.privacy import escape
from upswell.replay import Past
from upswell.view import View

_NOT_TAKEN: tuple[State, ...] = ("duplicate", "held", "skipped", "waiting", "reading")
_END = 1 << 62  # no file is as long


class Uncounted(NamedTuple):
    """Lines with a customer's digits of one file that were not counted, or not once more."""

    file: str
    lines: int | None
    """None: the file could not be looked through."""
    why: str


def uncounted(view: View, past: Past, msisdn: str, told: Mapping[str, int]) -> list[Uncounted]:
    """What of a customer was not counted, in the order of stamps. ``told``: their lines that were, by file.

    Raises InputMissing when DATA cannot be listed.
    """
    with ThreadPoolExecutor(threads_default()) as pool:
        looked = pool.map(lambda file: _look(past, file, msisdn), _files(view, past))
        found = [one for one in looked if one is not None]
    for name, lines in told.items():
        if repeats := past.files[name].repeats:
            times = "once" if repeats == 1 else f"{repeats:,} times"
            why = f"came again under its name {times}, with the same content: counted once"
            found.append(Uncounted(name, lines, why))
    return sorted(found, key=lambda one: (read_name(one.file)[0], one.file))


def _files(view: View, past: Past) -> Iterator[File]:
    """The files of which something may not have been taken."""
    known = {file.name: file for state in _NOT_TAKEN for file in view.files_in(state)}
    new = []
    for name, found in scan(os.fsencode(past.data)):
        file = past.files.get(name)
        if name in known or not read_name(name)[0]:
            continue
        if file is None:
            new.append(name)
        elif not file.compressed and found.st_size > file.offset:
            known[name] = file
    yield from known.values()
    seen = view.places(new)
    yield from (File(name, "waiting") for name in new if name not in seen)


def _look(past: Past, file: File, msisdn: str) -> Uncounted | None:
    """How many lines with these digits stand behind what was taken of a file; None when none do."""
    archives = (archived_in(place, file.name) for place in (*past.archives, past.data))
    try:
        for path in (past.data / file.name, *archives):
            if look_at(os.fsencode(path)) is not None:
                lines = _lines(path, file, msisdn)
                return Uncounted(file.name, lines, _why(file)) if lines else None
    except (OSError, ValueError) as error:
        words = escape(getattr(error, "strerror", None) or str(error))
        # Why a file is held says what is wrong with it.
        known = "" if file.state == "held" else f" ({words})"
        return Uncounted(file.name, None, f"{_why(file)}; what it holds is not known{known}")
    return None


def _lines(path: Path, file: File, msisdn: str) -> int:
    since = 0 if _is_other(file) else file.offset
    cuts = [since, _END] if since else [_END]
    hits = search(os.fsencode(path), file.compressed, cuts, msisdn).hits
    return sum(hit.byte >= since for hit in hits)


def _is_other(file: File) -> bool:
    """Whether it no longer holds what was taken of it."""
    return file.state == "held" and file.reason in ("changed", "shrank")


def _why(file: File) -> str:
    if _is_other(file):
        return f"not read as it is now: it is held, {escape(file.detail)}"
    since = f" from byte {file.offset:,} on" if file.offset else ""
    if file.state == "duplicate":
        return f"not read: its content is that of {show_name(file.detail)}"
    if file.state == "held":
        return f"not read{since}: it is held, {escape(file.detail or file.reason)}"
    if file.state == "skipped":
        return "not read: it is older than --since"
    return f"not read yet{since}"
