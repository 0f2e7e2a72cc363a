"""Files that were moved to the archive, or are on their way to it.

Owns the SQL over ``archived``, whose rows have no checksum. It changes nothing.
"""

from collections.abc import Sequence

from upswell.state.codec import decode_name, encode_name
from upswell.state.reader import StateReader
from upswell.state.rows import Archived


def pending_archive(
    reader: StateReader, files_max: int = -1, after: str = ""
) -> dict[str, Archived]:
    """Return, by name, the files that are on their way to the archive or held on it.

    Args:
        reader: of the state.
        files_max: return at most so many, the first by name; -1 returns all.
        after: return only names that sort after this one.
    """
    rows = reader._rows(
        "SELECT name, archived.state FROM archived JOIN file ON file.id = archived.file"
        # The plus keeps SQLite from going through all names.
        " WHERE archived.state <> 'moved' AND +name > ? ORDER BY name LIMIT ?",
        (encode_name(after), files_max),
    )
    return {decode_name(name): state for name, state in rows}


def newest_archived(reader: StateReader, files_max: int) -> dict[str, Archived]:
    """Return, by name, at most ``files_max`` of the newest files in the archive."""
    rows = reader._rows(
        "SELECT name, archived.state FROM archived JOIN file ON file.id = archived.file"
        " WHERE archived.state = 'moved' ORDER BY archived.file DESC LIMIT ?",
        (files_max,),
    )
    return {decode_name(name): state for name, state in rows}


def archive_states(reader: StateReader, names: Sequence[str]) -> dict[str, Archived]:
    """Return how far these files are on their way to the archive; names that are not on it are absent."""
    marks = ",".join("?" * len(names))
    rows = reader._rows(
        "SELECT name, archived.state FROM archived JOIN file ON file.id = archived.file"
        f" WHERE name IN ({marks})",
        [encode_name(name) for name in names],
    )
    return {decode_name(name): state for name, state in rows}


def count_archived(reader: StateReader) -> int:
    """Return how many files are in the archive, as far as runs have seen: one that was moved back counts until then."""
    ((files,),) = reader._rows("SELECT count(*) FROM archived WHERE state IN ('moved', 'grew')")
    return int(files)
